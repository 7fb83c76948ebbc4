//! The name that a worker has if it gives itself none: that of its type, in snake_case.

use std::any::type_name;

/// `HTTPServer` → `http_server`. Of a closure, the function that it stands in.
pub(crate) fn of_type<T: ?Sized>() -> String {
    snake_case(short(type_name::<T>()))
}

/// The last segment of a type's path, without its generics; the function around a closure.
fn short(path: &str) -> &str {
    let path = path.trim_start_matches('&');
    let path = path.split_once('<').map_or(path, |(head, _)| head);
    path.rsplit("::").find(|segment| !segment.starts_with('{')).unwrap_or(path)
}

/// A new word begins at an upper-case letter after a lower-case one or a digit, and at the last letter of an acronym if a
/// word follows.
fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let mut chars = name.chars().peekable();
    let mut before: Option<char> = None;
    while let Some(char) = chars.next() {
        if char.is_uppercase() {
            let after_lower = before.is_some_and(|c| c.is_lowercase() || c.is_ascii_digit());
            let ends_acronym =
                before.is_some_and(char::is_uppercase) && chars.peek().is_some_and(|c| c.is_lowercase());
            if after_lower || ends_acronym {
                out.push('_');
            }
            out.extend(char.to_lowercase());
        } else {
            out.push(char);
        }
        before = Some(char);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    struct HTTPServer;
    struct Generic<T>(std::marker::PhantomData<T>);

    fn name_of<T>(_: T) -> String {
        of_type::<T>()
    }

    #[test]
    fn types_give_their_last_segment() {
        assert_eq!(of_type::<HTTPServer>(), "http_server");
        assert_eq!(of_type::<Generic<Vec<HTTPServer>>>(), "generic");
        assert_eq!(of_type::<str>(), "str");
    }

    #[test]
    fn closures_give_the_function_around_them() {
        assert_eq!(name_of(|| ()), "closures_give_the_function_around_them");
    }

    #[test]
    fn words_are_parted() {
        for (name, expected) in [
            ("Ticker", "ticker"),
            ("QueueConsumerWorker", "queue_consumer_worker"),
            ("ParseJSON", "parse_json"),
            ("Base64Decoder", "base64_decoder"),
            ("already_snake", "already_snake"),
            ("ÄrgerÜber", "ärger_über"),
            ("", ""),
        ] {
            assert_eq!(snake_case(name), expected);
        }
    }
}
