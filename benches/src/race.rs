//! A race: one figure of ours, the limit, and every rival, measured by turns in the same run.
//!
//! Machines drift by tens of per cent within minutes; so each round measures every contender once, a round
//! begins one contender further than the last, and only medians over the rounds are compared. A contender
//! that is not installed, cannot do what is asked, or failed, keeps its place in the report and is not tried
//! again.

use std::fmt;

use crate::benchmark::Measurement;
use crate::command::{Placement, Program};
use crate::error::{Error, chain};
use crate::figure::{Unit, median};

/// Someone who takes part in a race.
pub(crate) struct Contender {
    /// How the report calls it.
    pub(crate) name: String,
    /// Which version or command it is.
    pub(crate) how: String,
    measure: Box<dyn FnMut() -> Result<f64, Error>>,
}

/// A figure that is to be compared.
#[derive(Debug)]
pub(crate) struct Race {
    /// The benchmark's id, with a variant where it has several: `P2 unpinned`.
    pub(crate) id: &'static str,
    /// What is measured.
    pub(crate) what: &'static str,
    pub(crate) unit: Unit,
    pub(crate) ours: Contender,
    /// What the machine can do at all; none where nothing but the answer of a pool is counted.
    pub(crate) limit: Option<Contender>,
    pub(crate) rivals: Vec<Contender>,
}

/// How a race ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    pub(crate) unit: Unit,
    pub(crate) ours: Placing,
    pub(crate) limit: Option<Placing>,
    pub(crate) rivals: Vec<Placing>,
}

/// How one contender did.
#[derive(Debug)]
pub(crate) struct Placing {
    pub(crate) name: String,
    pub(crate) how: String,
    pub(crate) result: Result<f64, NoFigure>,
}

/// Why a contender has no figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoFigure {
    /// It is not installed.
    NotInstalled(String),
    /// It is there, and does not do such a thing.
    Unable(String),
    /// It is there and failed.
    Failed(String),
}

impl Contender {
    /// A contender measured by any means.
    pub(crate) fn new(
        name: impl Into<String>,
        how: impl Into<String>,
        measure: impl FnMut() -> Result<f64, Error> + 'static,
    ) -> Contender {
        Contender { name: name.into(), how: how.into(), measure: Box::new(measure) }
    }

    /// A contender measured by this executable in a fresh process.
    pub(crate) fn own(
        name: &str,
        how: impl Into<String>,
        measurement: &'static Measurement,
        placement: Placement,
    ) -> Result<Contender, Error> {
        let program = Program::own()?.arg(crate::roles::MEASURE).arg(measurement.name).placed(placement)?;
        Ok(Contender::new(name, how, move || program.measure(measurement.unit)))
    }

    /// A contender that is not there.
    pub(crate) fn absent(name: impl Into<String>, reason: String) -> Contender {
        Contender::new(name, String::new(), move || Err(Error::NotInstalled(reason.clone())))
    }
}

impl fmt::Debug for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contender").field("name", &self.name).field("how", &self.how).finish_non_exhaustive()
    }
}

impl Race {
    /// Measures every contender once in each round.
    pub(crate) fn run(self, rounds: u32) -> Result<Outcome, Error> {
        let has_limit = self.limit.is_some();
        let mut lanes: Vec<Lane> =
            self.limit.into_iter().chain([self.ours]).chain(self.rivals).map(Lane::new).collect();
        for round in 0..rounds as usize {
            eprintln!("{}: round {} of {rounds}", self.id, round + 1);
            for turn in 0..lanes.len() {
                let index = (round + turn) % lanes.len();
                lanes[index].measure()?;
            }
        }
        let mut placings = lanes.into_iter().map(Lane::finish);
        let limit = if has_limit { placings.next() } else { None };
        let Some(ours) = placings.next() else { unreachable!("ours was put in front of the rivals") };
        Ok(Outcome { id: self.id, what: self.what, unit: self.unit, ours, limit, rivals: placings.collect() })
    }
}

/// A contender and what it has shown so far.
struct Lane {
    contender: Contender,
    figures: Vec<f64>,
    out: Option<NoFigure>,
}

impl Lane {
    fn new(contender: Contender) -> Lane {
        Lane { contender, figures: Vec::new(), out: None }
    }

    /// Only an interruption is an error: everything else concerns this contender alone.
    fn measure(&mut self) -> Result<(), Error> {
        if self.out.is_some() {
            return Ok(());
        }
        match (self.contender.measure)() {
            Ok(value) => self.figures.push(value),
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(Error::NotInstalled(reason)) => self.out = Some(NoFigure::NotInstalled(reason)),
            Err(Error::Unable(reason)) => self.out = Some(NoFigure::Unable(reason)),
            Err(error) => self.out = Some(NoFigure::Failed(chain(&error))),
        }
        Ok(())
    }

    fn finish(self) -> Placing {
        let result = match self.out {
            Some(out) => Err(out),
            None => median(&self.figures).ok_or_else(|| NoFigure::Failed("no round was run".to_owned())),
        };
        Placing { name: self.contender.name, how: self.contender.how, result }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    fn race(ours: Contender, limit: Contender, rivals: Vec<Contender>) -> Race {
        Race { id: "T1", what: "a test", unit: Unit::Seconds, ours, limit: Some(limit), rivals }
    }

    #[test]
    fn every_round_measures_everyone_and_begins_one_further() -> Result<(), Error> {
        let log = Rc::new(RefCell::new(String::new()));
        let contender = |name: &'static str| {
            let log = Rc::clone(&log);
            Contender::new(name, "", move || {
                log.borrow_mut().push_str(name);
                Ok(1.0)
            })
        };
        race(contender("o"), contender("l"), vec![contender("r")]).run(3)?;
        assert_eq!(*log.borrow(), ["lor", "orl", "rlo"].concat());
        Ok(())
    }

    #[test]
    fn the_absent_and_the_failed_keep_their_place_and_are_not_tried_again() -> Result<(), Error> {
        let tries = Rc::new(RefCell::new(0));
        let counted = Rc::clone(&tries);
        let failing = Contender::new("failing", "", move || {
            *counted.borrow_mut() += 1;
            Err(Error::Wrong("2 for 1".to_owned()))
        });
        let mut figure = 0.0;
        let ours = Contender::new("ours", "", move || {
            figure += 1.0;
            Ok(figure)
        });
        let limit = Contender::absent("limit", "nobody home".to_owned());
        let outcome = race(ours, limit, vec![failing]).run(3)?;
        assert_eq!(outcome.ours.result, Ok(2.0));
        let limit = outcome.limit.map(|limit| limit.result);
        assert_eq!(limit, Some(Err(NoFigure::NotInstalled("nobody home".to_owned()))));
        assert_eq!(outcome.rivals[0].result, Err(NoFigure::Failed("wrong result: 2 for 1".to_owned())));
        assert_eq!(*tries.borrow(), 1);
        Ok(())
    }

    #[test]
    fn a_race_needs_no_limit() -> Result<(), Error> {
        let mut race =
            race(Contender::new("ours", "", || Ok(1.0)), Contender::new("", "", || Ok(9.0)), vec![]);
        race.limit = None;
        race.rivals = vec![Contender::new("unable", "", || Err(Error::Unable("it cannot".to_owned())))];
        let outcome = race.run(1)?;
        assert!(outcome.limit.is_none());
        assert_eq!(outcome.ours.result, Ok(1.0));
        assert_eq!(outcome.rivals[0].result, Err(NoFigure::Unable("it cannot".to_owned())));
        Ok(())
    }

    #[test]
    fn an_interruption_ends_the_race() {
        let contender = |name| Contender::new(name, "", || Ok(1.0));
        let stopped = Contender::new("stopped", "", || Err(Error::Interrupted));
        let outcome = race(contender("ours"), contender("limit"), vec![stopped]).run(3);
        assert!(matches!(outcome, Err(Error::Interrupted)));
    }
}
