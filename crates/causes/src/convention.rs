//! What the errors of this workspace have in common, as a check for the tests of its crates.
//!
//! Invariant: the check names every rule that an error breaks, not the first alone.

use std::error::Error;

use crate::{chain, with_sources};

/// The errors of this workspace have fewer texts, their sources counted.
const TEXTS_LIMIT: usize = 16;

/// Says what is wrong with an error of this workspace; it is empty if nothing is.
///
/// - Its text is one line, opens with no capitalised word, and has no full stop at its end.
/// - Its sources have an end, and no text contains that of one of its sources.
/// - `{:?}` is its text with those of its sources.
///
/// ```
/// use workfleet_causes::convention::breaches;
///
/// let error = std::num::ParseIntError::from("x".parse::<u8>().unwrap_err());
/// assert_eq!(breaches(&error).len(), 1, "its Debug form is a structure");
/// ```
pub fn breaches(error: &(dyn Error + 'static)) -> Vec<String> {
    let texts = chain(error);
    let mut breaches = Vec::new();
    let mut breach = |what: String| breaches.push(format!("{what}: {texts:?}"));
    let text = &texts[0];
    let mut letters = text.chars();
    let opens = (letters.next(), letters.next());
    if text.trim().is_empty() || text.contains('\n') {
        breach("its text is not one line".to_owned());
    }
    if matches!(opens, (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase()) {
        breach("its text opens with a capitalised word".to_owned());
    }
    if text.ends_with('.') {
        breach("its text ends with a full stop".to_owned());
    }
    if texts.len() > TEXTS_LIMIT {
        breach(format!("it has more than {TEXTS_LIMIT} texts"));
    }
    for (depth, text) in texts.iter().enumerate() {
        if let Some(source) = texts.iter().skip(depth + 1).find(|source| text.contains(&***source)) {
            breach(format!("{text:?} contains the text of its source {source:?}"));
        }
    }
    let debug = format!("{error:?}");
    if debug != with_sources(error) {
        breach(format!("its Debug form is {debug:?}"));
    }
    breaches
}

/// Checks an error of each variant: panics, naming what is wrong, if one breaks the rules of [`breaches`].
///
/// A variant that is left out does not compile, as in a `match`.
///
/// ```
/// use workfleet_causes::{check_variants, readable};
///
/// #[derive(thiserror::Error)]
/// enum Unread {
///     #[error("there is none")]
///     Missing,
///     #[error("{name} cannot be read")]
///     Refused { name: &'static str },
/// }
/// readable!(Unread { Missing, Refused { name } });
///
/// check_variants!(Unread {
///     Unread::Missing => Unread::Missing,
///     Unread::Refused { .. } => Unread::Refused { name: "a page" },
/// });
/// ```
///
/// `check_variants!(Cause as error_of { … })` checks the errors that `error_of` makes of each variant of something that is no
/// error itself.
#[macro_export]
macro_rules! check_variants {
    ($type:ty { $($variant:pat => $error:expr),+ $(,)? }) => {
        $crate::check_variants!(@ $type, |error| error, { $($variant => $error),+ })
    };
    ($type:ident as $error_of:ident { $($variant:pat => $cause:expr),+ $(,)? }) => {
        $crate::check_variants!(@ $type, $error_of, { $($variant => $cause),+ })
    };
    (@ $type:ty, $error_of:expr, { $($variant:pat => $value:expr),+ }) => {{
        let variant = |value: &$type| match value { $($variant => stringify!($variant)),+ };
        $(
            let value: $type = $value;
            assert_eq!(variant(&value), stringify!($variant), "it is another variant");
            let breaches = $crate::convention::breaches(&($error_of)(value));
            assert!(breaches.is_empty(), "{}: {breaches:#?}", stringify!($variant));
        )+
    }};
}

#[cfg(test)]
mod tests {
    use std::{fmt, io};

    use super::*;

    struct Own {
        text: &'static str,
        debug: &'static str,
        source: Option<io::Error>,
    }

    impl fmt::Display for Own {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.text)
        }
    }

    impl fmt::Debug for Own {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.debug)
        }
    }

    impl Error for Own {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.source.as_ref().map(|source| source as _)
        }
    }

    fn count(text: &'static str, debug: &'static str, source: Option<io::Error>) -> usize {
        breaches(&Own { text, debug, source }).len()
    }

    #[test]
    fn each_rule_has_its_breach() {
        let not_found = || Some(io::ErrorKind::NotFound.into());
        assert_eq!(count("it broke", "it broke", None), 0);
        assert_eq!(count("it broke", "it broke: entity not found", not_found()), 0);
        assert_eq!(count("NAME is none", "NAME is none", None), 0);
        assert_eq!(count("it broke", "Own", None), 1, "a structure");
        assert_eq!(count("It broke", "It broke", None), 1, "a capital");
        assert_eq!(count("it broke.", "it broke.", None), 1, "a full stop");
        assert_eq!(count("it\nbroke", "it\nbroke", None), 1, "two lines");
        assert_eq!(count("", "", None), 1, "no text");
        assert_eq!(count("no: entity not found", "no: entity not found", not_found()), 1, "a repetition");
    }

    #[test]
    fn an_error_without_an_end_breaks_the_rules() {
        #[derive(Debug, thiserror::Error)]
        #[error("deep")]
        struct Deep(#[source] Option<Box<Deep>>);
        let deep = (0..20).fold(Deep(None), |deep, _| Deep(Some(Box::new(deep))));
        assert!(
            breaches(&deep).iter().any(|breach| breach.contains("more than 16")),
            "{:?}",
            breaches(&deep)
        );
    }
}
