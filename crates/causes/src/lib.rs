//! An error with its sources, as text; and a readable `Debug` form for errors. (If `main` returns an error, it is
//! printed in its `Debug` form.)
//!
//! Invariants:
//! - Every walk along sources ends, although an error may be its own source, or return a new source at each call.
//! - An error may panic when it is asked for its text or its source: the panic is caught.
//! - `{:?}` reads like `Display` with the sources behind it; `{:#?}` shows the structure.

#![cfg_attr(docsrs, feature(doc_cfg))]

use std::{
    error::Error,
    fmt::{self, Display, Write as _},
};

use workfleet_panics::catch;

pub mod convention;

/// At most this many sources of one error are read.
pub const SOURCES_LIMIT: usize = 64;

/// The text of an error, in its long form (`{:#}`) or the usual one. It also works for an error that panics, or has no
/// text.
pub fn shown(error: &dyn Display, is_long: bool) -> String {
    let mut text = String::new();
    match catch(|| if is_long { write!(text, "{error:#}") } else { write!(text, "{error}") }) {
        Ok(Ok(())) => text,
        Ok(Err(fmt::Error)) | Err(_) => "(an error that cannot be shown)".to_owned(),
    }
}

/// The source, if asking for it does not panic.
fn source_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    catch(|| error.source()).ok().flatten()
}

/// The error's text, then those of its sources, outermost first.
pub fn chain(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut texts = vec![shown(&error, false)];
    let mut source = source_of(error);
    while let Some(error) = source {
        if texts.len() > SOURCES_LIMIT {
            texts.push(format!("… (sources beyond {SOURCES_LIMIT} are left out)"));
            break;
        }
        texts.push(shown(&error, false));
        source = source_of(error);
    }
    texts
}

/// An error's text and those of its sources, in one line. If a text already ends with the next source's text, that is
/// not repeated.
///
/// ```
/// use std::io::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::Other, Error::from(ErrorKind::NotFound));
/// assert_eq!(workfleet_causes::with_sources(&error), "entity not found");
/// ```
pub fn with_sources(error: &(dyn Error + 'static)) -> String {
    joined(&chain(error))
}

/// The texts of a [`chain`] in one line, as by [`with_sources`].
///
/// ```
/// let texts = ["no page: it is gone".to_owned(), "it is gone".to_owned(), "as told".to_owned()];
/// assert_eq!(workfleet_causes::joined(&texts), "no page: it is gone: as told");
/// ```
pub fn joined(texts: &[String]) -> String {
    let mut said: Vec<&str> = Vec::with_capacity(texts.len());
    for text in texts {
        if !said.last().is_some_and(|before| before.ends_with(&**text)) {
            said.push(text);
        }
    }
    said.join(": ")
}

/// Implements `Debug` for an error: readable, or its structure if it is asked for by `{:#?}`.
///
/// It takes an enum with all variants, or `struct` and a struct, each with all fields.
///
/// ```
/// use workfleet_causes::readable;
///
/// #[derive(thiserror::Error)]
/// enum Unread {
///     #[error("there is none")]
///     Missing,
///     #[error("{name} cannot be read")]
///     Refused { name: String, source: std::io::Error },
/// }
/// readable!(Unread { Missing, Refused { name, source } });
///
/// assert_eq!(format!("{:?}", Unread::Missing), "there is none");
/// assert_eq!(format!("{:#?}", Unread::Missing), "Missing");
/// ```
#[macro_export]
macro_rules! readable {
    (struct $type:ident $({ $($field:ident),+ $(,)? })?) => {
        impl ::std::fmt::Debug for $type {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                if !f.alternate() {
                    return f.write_str(&$crate::with_sources(self));
                }
                let Self $({ $($field),+ })? = self;
                $crate::readable!(@ f, $type $({ $($field),+ })?)
            }
        }
    };
    ($type:ident { $($variant:ident $(($($item:ident),+))? $({ $($field:ident),+ })?),+ $(,)? }) => {
        impl ::std::fmt::Debug for $type {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                if !f.alternate() {
                    return f.write_str(&$crate::with_sources(self));
                }
                match self {
                    $(Self::$variant $(($($item),+))? $({ $($field),+ })? => {
                        $crate::readable!(@ f, $variant $(($($item),+))? $({ $($field),+ })?)
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

/// The programs in the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Ouroboros;

    impl Display for Ouroboros {
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

    #[derive(Debug)]
    struct Mute;

    impl Display for Mute {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("no text")
        }
    }

    impl Error for Mute {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            panic!("no source")
        }
    }

    #[test]
    fn an_error_that_panics_when_it_is_asked_is_shown() {
        assert_eq!(with_sources(&Mute), "(an error that cannot be shown)");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the file is not there: {0}")]
    struct Says(#[source] std::io::Error);

    fn not_found() -> std::io::Error {
        std::io::ErrorKind::NotFound.into()
    }

    #[test]
    fn a_source_that_was_said_is_not_said_again() {
        let error = Says(not_found());
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

    #[derive(thiserror::Error)]
    #[error("it is gone")]
    struct Gone;
    readable!(struct Gone);

    #[derive(thiserror::Error)]
    #[error("{name} has not come")]
    struct Late {
        name: &'static str,
        source: std::io::Error,
    }
    readable!(struct Late { name, source });

    #[test]
    fn the_debug_form_reads_like_display_and_shows_the_structure_when_asked() {
        let another = Kinds::Another(not_found());
        assert_eq!(format!("{:?}", Kinds::One), "one of them");
        assert_eq!(format!("{another:?}"), "another: entity not found");
        assert_eq!(format!("{:#?}", Kinds::One), "One");
        let fields = format!("{:#?}", Kinds::Fields { count: 2, name: "them" });
        assert_eq!(fields, "Fields {\n    count: 2,\n    name: \"them\",\n}");
        assert!(format!("{another:#?}").starts_with("Another(\n    Kind("), "{another:#?}");
        assert_eq!((format!("{Gone:?}"), format!("{Gone:#?}")), ("it is gone".into(), "Gone".into()));
        let late = Late { name: "spring", source: not_found() };
        assert_eq!(format!("{late:?}"), "spring has not come: entity not found");
        assert!(format!("{late:#?}").starts_with("Late {\n    name: \"spring\","), "{late:#?}");
    }
}
