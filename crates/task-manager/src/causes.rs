//! An error with its sources, as text; and a readable `Debug` form for errors that `?` takes out of `main`, which prints that
//! form.
//!
//! Invariants:
//! - Every walk along sources ends: an error may be its own source, or have a new one each time that it is asked.
//! - `{:?}` reads like `Display` with the sources behind it; `{:#?}` shows the structure.

use std::error::Error;

/// No more sources of one error are looked at.
const SOURCES_LIMIT: usize = 64;

/// The error's text, then those of its sources, outermost first.
pub(crate) fn chain(error: &dyn Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        if texts.len() > SOURCES_LIMIT {
            texts.push(format!("… (sources beyond {SOURCES_LIMIT} are left out)"));
            break;
        }
        texts.push(error.to_string());
        source = error.source();
    }
    texts
}

/// An error's text and those of its sources, in one line. A source that the text before it ends with is not said twice.
pub(crate) fn with_sources(error: &dyn Error) -> String {
    let mut texts = chain(error);
    texts.dedup_by(|source, before| before.ends_with(&**source));
    texts.join(": ")
}

/// Implements `Debug` for an error: readable, or its structure if it is asked for by `{:#?}`.
macro_rules! readable {
    ($type:ident { $($variant:ident $(($($item:ident),+))? $({ $($field:ident),+ })?),+ $(,)? }) => {
        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                if !f.alternate() {
                    return f.write_str(&$crate::causes::with_sources(self));
                }
                match self {
                    $(Self::$variant $(($($item),+))? $({ $($field),+ })? => {
                        $crate::causes::readable!(@ f, $variant $(($($item),+))? $({ $($field),+ })?)
                    })+
                }
            }
        }
    };
    (@ $f:ident, $variant:ident) => { $f.write_str(stringify!($variant)) };
    (@ $f:ident, $variant:ident ($($item:ident),+)) => {
        $f.debug_tuple(stringify!($variant))$(.field($item))+.finish()
    };
    (@ $f:ident, $variant:ident { $($field:ident),+ }) => {
        $f.debug_struct(stringify!($variant))$(.field(stringify!($field), $field))+.finish()
    };
}
pub(crate) use readable;

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Ouroboros;

    impl fmt::Display for Ouroboros {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a snake")
        }
    }

    impl Error for Ouroboros {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(self)
        }
    }

    #[test]
    fn an_error_that_is_its_own_source_has_an_end() {
        let texts = chain(&Ouroboros);
        assert_eq!(texts.len(), SOURCES_LIMIT + 2);
        assert!(texts[SOURCES_LIMIT + 1].contains("left out"), "{texts:?}");
        assert_eq!(with_sources(&Ouroboros), "a snake: … (sources beyond 64 are left out)");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the file is not there: {0}")]
    struct Says(#[source] std::io::Error);

    #[test]
    fn a_source_that_was_said_is_not_said_again() {
        let error = Says(std::io::Error::from_raw_os_error(libc::ENOENT));
        assert_eq!(chain(&error).len(), 2);
        assert_eq!(with_sources(&error), error.to_string());
    }

    #[derive(thiserror::Error)]
    enum Kinds {
        #[error("one of them")]
        One,
        #[error("another")]
        Another(#[source] std::io::Error),
        #[error("{count} of {name}")]
        Fields { count: u32, name: &'static str },
    }
    readable!(Kinds { One, Another(source), Fields { count, name } });

    #[test]
    fn the_debug_form_reads_like_display_and_shows_the_structure_when_asked() {
        let another = Kinds::Another(std::io::Error::from_raw_os_error(libc::ENOENT));
        assert_eq!(format!("{:?}", Kinds::One), "one of them");
        assert_eq!(format!("{another:?}"), "another: No such file or directory (os error 2)");
        assert_eq!(format!("{:#?}", Kinds::One), "One");
        let fields = format!("{:#?}", Kinds::Fields { count: 2, name: "them" });
        assert_eq!(fields, "Fields {\n    count: 2,\n    name: \"them\",\n}");
        assert!(format!("{another:#?}").starts_with("Another(\n    Os {"));
    }
}
