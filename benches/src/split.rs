//! Two figures from one measurement, for two races.
//!
//! What takes seconds to watch is watched once for both: each contender hands on what it has seen and not yet
//! told. The second race then takes what the rounds of the first have left, in their order.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::error::Error;

/// What one half of a measurement takes.
pub(crate) type Measure = Box<dyn FnMut() -> Result<f64, Error>>;

/// Splits a measurement of two figures into one for each.
pub(crate) fn split(measure: impl FnMut() -> Result<[f64; 2], Error> + 'static) -> [Measure; 2] {
    let measure = Rc::new(RefCell::new(measure));
    let untold: Rc<RefCell<[VecDeque<f64>; 2]>> = Rc::default();
    [0, 1].map(|side| {
        let (measure, untold) = (Rc::clone(&measure), Rc::clone(&untold));
        Box::new(move || {
            if let Some(figure) = untold.borrow_mut()[side].pop_front() {
                return Ok(figure);
            }
            let figures = (measure.borrow_mut())()?;
            untold.borrow_mut()[1 - side].push_back(figures[1 - side]);
            Ok(figures[side])
        }) as Measure
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_measurement_is_told_once_to_each() -> Result<(), Error> {
        let mut count = 0.0;
        let [mut left, mut right] = split(move || {
            count += 1.0;
            Ok([count, -count])
        });
        assert_eq!((left()?, left()?), (1.0, 2.0));
        assert_eq!((right()?, right()?, right()?), (-1.0, -2.0, -3.0));
        assert_eq!((left()?, left()?), (3.0, 4.0));
        Ok(())
    }

    #[test]
    fn an_error_is_told_to_whoever_asks() {
        let [mut left, mut right] = split(|| Err(Error::Unable("no".to_owned())));
        assert!(matches!(left(), Err(Error::Unable(_))));
        assert!(matches!(right(), Err(Error::Unable(_))));
    }
}
