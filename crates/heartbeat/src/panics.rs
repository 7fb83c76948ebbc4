//! Panics of other people's code: caught, and kept as text.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Calls `code`; its panic is an error with the panic's message.
///
/// Whoever calls this keeps nothing of what `code` left half done.
pub(crate) fn catch<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(message)
}

fn message(payload: Box<dyn Any + Send>) -> String {
    let text = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        (None, None) => "a panic without a message".to_owned(),
    };
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // The payload's destructor panicked too; that one's may as well.
        std::mem::forget(second);
    }
    text
}

#[cfg(all(test, not(workfleet_loom)))]
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
        assert_eq!(result, Err::<(), _>("a panic without a message".into()));
        assert_eq!(catch(|| panic!("it {}", "broke")), Err::<(), _>("it broke".into()));
    }
}
