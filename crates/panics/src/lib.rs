//! Panics of user code: caught, kept as text, and dropped where they do no harm.
//!
//! A panic carries a value of any type, and that value has a destructor, which can panic with another such value. Code
//! that catches a panic and drops its value outside a catch has caught nothing. So the crates of this workspace catch with [`catch`],
//! or give what they caught to [`discard`] or [`message`].

#![cfg_attr(docsrs, feature(doc_cfg))]

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Calls `code`. If it panics, the error is the panic's message.
///
/// `code` may leave its data half changed: the caller must drop such data, or pass it on as failed.
///
/// ```
/// assert_eq!(workfleet_panics::catch(|| 1), Ok(1));
/// assert_eq!(workfleet_panics::catch(|| panic!("it {}", "broke")), Err::<(), _>("it broke".to_owned()));
/// ```
///
/// # Errors
/// `code` panicked.
pub fn catch<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(message)
}

/// The message of a panic, as the standard hook prints it. The panic's value is dropped.
pub fn message(payload: Box<dyn Any + Send>) -> String {
    let text = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        (None, None) => "a value that is no text".to_owned(),
    };
    discard(payload);
    text
}

/// Drops a value of the user, such as a panic's value or a callback. A panic of its destructor is caught and ignored.
///
/// The panic hook has reported that panic. The value of that panic is leaked, because its own destructor may panic as
/// well.
pub fn discard<T>(value: T) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        std::mem::forget(second);
    }
}

/// The programs in the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

#[cfg(test)]
mod tests {
    use super::*;

    struct Explosive;
    impl Drop for Explosive {
        fn drop(&mut self) {
            std::panic::panic_any(Explosive);
        }
    }

    #[test]
    fn a_payload_that_panics_when_dropped_with_one_that_does_is_survived() {
        let result = catch(|| std::panic::panic_any(Explosive));
        assert_eq!(result, Err::<(), _>("a value that is no text".into()));
        discard(Explosive);
        discard(vec![Explosive]);
    }

    #[test]
    fn the_text_of_a_panic_is_kept() {
        assert_eq!(catch(|| 1), Ok(1));
        assert_eq!(catch(|| panic!("a literal")), Err::<(), _>("a literal".into()));
        assert_eq!(catch(|| panic!("it {}", "broke")), Err::<(), _>("it broke".into()));
    }
}
