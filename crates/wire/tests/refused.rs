//! What does not travel: an error where it is encoded, which names the type and what to change; never another value.

#![expect(dead_code, reason = "some fields are there to be left out")]

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsStr,
    fmt,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, de::DeserializeOwned};
use workfleet_wire::{
    DecodeError, EncodeError,
    message::{self, NESTING_LIMIT},
};

/// It is refused by the check; its text begins with the type's last name and this.
#[track_caller]
fn refused<T: Serialize + DeserializeOwned + 'static>(value: &T, text: &str) -> EncodeError {
    let error = message::encode_checked(value).expect_err("it does not travel");
    assert!(error.to_string().contains(text), "{error}\ndoes not contain\n{text}");
    assert_eq!(error.type_name(), std::any::type_name::<T>());
    error
}

/// It is refused by what writes it already, whatever reads it.
#[track_caller]
fn refused_unread<T: Serialize + DeserializeOwned + 'static>(value: &T, text: &str) {
    let error = refused(value, text);
    assert_eq!(message::encode(value), Err(error));
}

fn is_zero(number: &u8) -> bool {
    *number == 0
}

#[test]
fn a_field_that_is_skipped() {
    #[derive(Serialize, Deserialize)]
    struct Order {
        #[serde(default, skip_serializing_if = "is_zero")]
        a: u8,
        b: Vec<u8>,
    }
    #[derive(Serialize, Deserialize)]
    enum Orders {
        One {
            #[serde(default, skip_serializing_if = "is_zero")]
            a: u8,
        },
        Many(Vec<Order>),
    }
    let text = "::Order`: field `a` was skipped (`skip_serializing_if`): values that travel have all their fields; \
                remove the attribute";
    refused_unread(&Order { a: 0, b: vec![1, 9] }, text);
    let text = "::Orders`: field `a` of `Order` was skipped";
    refused_unread(&Orders::Many(vec![Order { a: 1, b: vec![] }, Order { a: 0, b: vec![] }]), text);
    refused_unread(&Orders::One { a: 0 }, "::Orders`: field `a` was skipped");
    message::encode_checked(&Order { a: 1, b: vec![1, 9] }).expect("it has all its fields");
}

/// In a tuple struct nobody is told: the element is just not there.
#[test]
fn an_element_that_is_skipped() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Tuple(#[serde(default, skip_serializing_if = "is_zero")] u8, #[serde(default)] Vec<u8>);
    #[derive(Debug, Serialize, Deserialize)]
    struct Options(
        #[serde(default, skip_serializing_if = "Option::is_none")] Option<()>,
        #[serde(default)] Option<Option<()>>,
    );
    for _ in 0..20 {
        message::encode_checked(&Tuple(1, vec![1, 9])).expect("it has all its elements");
        message::encode_checked(&Options(Some(()), None)).expect("it has all its elements");
    }
    let text = "::Tuple`: element 0: it is written as a sequence, and a byte is read";
    refused(&Tuple(0, vec![1, 9]), text);
    // Byte by byte, it reads as the other's.
    refused(&Options(None, Some(None)), "::Options`: element 0: its fields are not those that are read");
}

#[test]
fn a_field_that_one_side_skips() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Unwritten {
        #[serde(default, skip_serializing)]
        a: u8,
        b: Vec<u8>,
    }
    #[derive(Serialize, Deserialize)]
    struct Unread {
        #[serde(skip_deserializing)]
        a: u8,
        b: Vec<u8>,
    }
    #[derive(Serialize, Deserialize)]
    struct Last {
        a: u8,
        #[serde(default, skip_serializing)]
        b: Vec<u8>,
    }
    #[derive(Serialize, Deserialize)]
    struct UnreadLast {
        a: u8,
        #[serde(skip_deserializing)]
        b: Vec<u8>,
    }
    let text = "::Unwritten`: field `b`: it is written as a sequence, and a byte is read as field `a`";
    refused(&Unwritten { a: 0, b: vec![1, 9] }, text);
    let text = "::Unread`: field `a`: it is written as a byte, and a sequence is read as field `b`";
    refused(&Unread { a: 0, b: vec![1, 9] }, text);
    refused(&Last { a: 0, b: vec![] }, "::Last`: element 1: it reads more than it wrote");
    refused(&vec![Last { a: 0, b: vec![] }, Last { a: 0, b: vec![] }], "it is written as");
    refused(&UnreadLast { a: 0, b: vec![] }, "::UnreadLast`: field `b`: it is written and not read");
}

/// As of a service's users: one field comes in, another goes out, and both are texts.
#[test]
fn fields_that_take_each_others_place() {
    #[derive(Debug, Serialize, Deserialize)]
    struct User {
        #[serde(skip_deserializing)]
        id: String,
        name: String,
        #[serde(skip_serializing)]
        password: String,
    }
    #[derive(Debug, Serialize, Deserialize)]
    struct Swapped {
        #[serde(skip_deserializing)]
        id: String,
        #[serde(skip_serializing)]
        password: String,
    }
    let (id, name, password) = ("7".to_owned(), "me".to_owned(), "secret".to_owned());
    refused(
        &User { id: id.clone(), name, password: password.clone() },
        "::User`: field `id`: its fields are not",
    );
    refused(&Swapped { id, password }, "::Swapped`: field `id`: its fields are not those that are read");
}

#[test]
fn variants_behind_a_skipped_one() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Command {
        Start,
        #[serde(skip)]
        Local(std::time::Instant),
        Stop,
        Kill,
        #[serde(other)]
        Other,
    }
    for _ in 0..20 {
        message::encode_checked(&Command::Start).expect("it has its number");
    }
    let text = "::Command`: variant `Stop`: it arrives as `Kill`; a message numbers variants";
    refused(&Command::Stop, text);
    refused(&vec![Command::Start, Command::Stop], "variant `Stop` of `Command`: it arrives as `Kill`");
    refused(&Command::Kill, "variant `Kill`: it arrives as `Other`");

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Unread {
        #[serde(skip_deserializing)]
        A,
        B(u8),
    }
    refused(&Unread::A, "::Unread`: variant `A`");
    let text = "::Unread`: variant `B`: it does not read what it wrote: invalid value: integer `1`, expected variant index";
    refused(&Unread::B(7), text);

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Unwritten {
        #[serde(skip_serializing)]
        A,
        B,
    }
    refused_unread(&Unwritten::A, "::Unwritten`: the enum variant Unwritten::A cannot be serialized");
    message::encode_checked(&Unwritten::B).expect("its number is the same on both sides");
}

#[test]
fn what_asks_what_comes_next() {
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Shape {
        Square(f32),
        Label(String),
    }
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Internal {
        A { x: u8 },
        B,
    }
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(tag = "t", content = "c")]
    enum Adjacent {
        A { x: u8 },
        B,
    }
    #[derive(Debug, Serialize, Deserialize)]
    struct Order {
        number: u8,
        shape: Shape,
        after: u8,
    }
    #[derive(Debug, Serialize, Deserialize)]
    struct Flat {
        number: u8,
        #[serde(flatten)]
        more: BTreeMap<String, u8>,
    }
    refused(
        &Shape::Square(1.0),
        "::Shape` is an untagged enum (`#[serde(untagged)]`): it asks what comes next",
    );
    refused(&vec![Shape::Label("a".into())], "Shape>` is or holds an untagged enum");
    let order = Order { number: 1, shape: Shape::Square(1.0), after: 2 };
    refused(&order, "::Order`: field `shape` is an untagged enum");
    refused(&Internal::A { x: 1 }, "::Internal` is an internally tagged enum (`#[serde(tag = \"…\")]`)");
    refused(&Internal::B, "::Internal` is an internally tagged enum");
    refused(&Adjacent::A { x: 1 }, "is an adjacently tagged enum (`#[serde(tag = \"…\", content = \"…\")]`)");
    refused(&Adjacent::B, "is an adjacently tagged enum");
    let flat = Flat { number: 1, more: BTreeMap::new() };
    refused_unread(&flat, "::Flat` is a map whose length is not known beforehand (`#[serde(flatten)]`)");
    refused_unread(&(1_u8, vec![Some(flat)]), " is a map whose length is not known beforehand");

    /// As a value of JSON is.
    #[derive(Debug, Serialize)]
    struct Anything(u64);
    impl<'de> Deserialize<'de> for Anything {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl de::Visitor<'_> for Visitor {
                type Value = Anything;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("any value")
                }

                fn visit_u64<E: de::Error>(self, number: u64) -> Result<Anything, E> {
                    Ok(Anything(number))
                }
            }
            deserializer.deserialize_any(Visitor)
        }
    }
    refused(&Anything(1), "::Anything` is a type that takes whatever comes (any value)");
    let error = message::decode::<Anything>(&[1]).unwrap_err();
    assert!(matches!(error, DecodeError::SelfDescribing { .. }), "{error}");

    /// Reads and drops whatever there is.
    #[derive(Debug, Serialize)]
    struct Ignored(u64);
    impl<'de> Deserialize<'de> for Ignored {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            de::IgnoredAny::deserialize(deserializer).map(|_| Self(0))
        }
    }
    refused(&Ignored(1), "::Ignored` is a type that takes whatever comes");
}

mod only_written_as_text {
    use super::*;

    pub(super) fn serialize<S: Serializer>(value: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }
}

#[test]
fn sides_that_do_not_fit() {
    #[derive(Debug, Serialize, Deserialize)]
    struct OneSided {
        before: u8,
        #[serde(serialize_with = "only_written_as_text::serialize")]
        number: u32,
    }
    let text = "::OneSided`: field `number`: it is written as a text, and an unsigned integer is read as field `number`";
    let error = refused(&OneSided { before: 1, number: 7 }, text);
    assert!(error.to_string().contains("`serialize_with`"), "{error}");

    /// It is text to people, and reads only that.
    #[derive(Debug, Deserialize)]
    struct ForPeople(String);
    impl Serialize for ForPeople {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if serializer.is_human_readable() {
                self.0.serialize(serializer)
            } else {
                (self.0.len() as u64).serialize(serializer)
            }
        }
    }
    let after = String::from("after it");
    refused(
        &(Some(ForPeople("a".into())), after),
        "it is written as an unsigned integer, and a text is read",
    );

    /// It leaves some of the elements.
    #[derive(Debug, Serialize)]
    struct Leaves(Vec<u8>);
    impl<'de> Deserialize<'de> for Leaves {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> de::Visitor<'de> for Visitor {
                type Value = Leaves;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a sequence")
                }

                fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Leaves, A::Error> {
                    Ok(Leaves(seq.next_element()?.into_iter().collect()))
                }
            }
            deserializer.deserialize_seq(Visitor)
        }
    }
    refused(&Leaves(vec![1, 2]), "::Leaves`: it is written and not read");
    refused(&(Leaves(vec![1, 2]), String::from("behind it")), "it is written as a byte, and a text is read");
}

/// In a build without debug assertions too, however many values came before without what is wrong.
#[test]
fn what_comes_late_is_refused_as_well() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Inner {
        #[serde(skip_serializing)]
        a: u8,
        b: Vec<u8>,
    }
    #[derive(Debug, Serialize, Deserialize)]
    struct Outer(Vec<Inner>);
    for _ in 0..1000 {
        message::encode_checked(&Outer(vec![])).expect("it has none");
    }
    let mut out = b"before".to_vec();
    let late = Outer(vec![Inner { a: 0, b: vec![1, 9] }]);
    message::encode_checked_into(&late, &mut out).expect_err("it does not travel");
    assert_eq!(out, b"before");
}

#[test]
fn what_does_not_encode_says_why() {
    #[derive(Serialize, Deserialize)]
    struct Copy {
        path: PathBuf,
        at: SystemTime,
    }
    let path = PathBuf::from(OsStr::from_bytes(b"/not/utf-8/\xff"));
    let at = SystemTime::UNIX_EPOCH;
    refused_unread(&Copy { path, at }, "::Copy`: field `path`: path contains invalid UTF-8 characters");
    let at = at - Duration::from_secs(1);
    let text = "::Copy`: field `at`: SystemTime must be later than UNIX_EPOCH";
    refused_unread(&Copy { path: PathBuf::new(), at }, text);

    #[derive(Serialize, Deserialize)]
    struct Poisoned(std::sync::Mutex<u8>);
    let poisoned = Poisoned(std::sync::Mutex::new(1));
    std::thread::scope(|scope| {
        let lock = || {
            let _held = poisoned.0.lock();
            std::panic::resume_unwind(Box::new("poisoned"));
        };
        assert!(scope.spawn(lock).join().is_err());
    });
    refused_unread(&poisoned, "::Poisoned`: element 0: lock poison error while serializing");
}

#[test]
fn what_does_not_decode_says_why() {
    let payload = message::encode(&(1_u8, vec![200_u8, 201])).expect("it encodes");
    let error = message::decode::<(u8, String)>(&payload).unwrap_err();
    assert_eq!(error.to_string(), "4 bytes are not a value of type (u8, alloc::string::String)");
    #[derive(Debug, Serialize, Deserialize)]
    enum Choice {
        A,
        B(std::num::NonZeroU8),
    }
    let error = message::decode::<Choice>(&[7]).unwrap_err();
    assert!(matches!(error, DecodeError::Refused { len_bytes: 1, .. }), "{error}");
    assert!(error.to_string().ends_with("expected variant index 0 <= i < 2"), "{error}");
    let error = message::decode::<Choice>(&[1, 0]).unwrap_err();
    assert!(error.to_string().ends_with("expected a nonzero u8"), "{error}");
    message::decode::<Choice>(&message::encode_checked(&Choice::A).expect("it arrives")).expect("it decodes");
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Node(Option<Box<Node>>);

#[derive(Debug, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Branch(Vec<Tree>),
    Field { of: Box<Tree> },
    Pair(Box<Tree>, u8),
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Bare(Vec<Bare>);

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Table(HashMap<u8, Table>);

fn grow<T>(levels: u32, first: T, mut around: impl FnMut(T) -> T) -> T {
    (0..levels).fold(first, |inner, _| around(inner))
}

/// Boxes would be dropped one within the other, however deep.
fn forget<T>(value: T, check: impl FnOnce(&T)) {
    check(&value);
    std::mem::forget(value);
}

#[track_caller]
fn too_deep<T: Serialize + DeserializeOwned + 'static>(value: &T) {
    let text = format!("` is nested more than {NESTING_LIMIT} levels deep");
    refused_unread(value, &text);
}

#[test]
fn what_is_nested_too_deep() {
    const DEEP: u32 = 8000;
    forget(grow(DEEP, Node(None), |inner| Node(Some(Box::new(inner)))), too_deep);
    forget(grow(DEEP, Tree::Leaf, |inner| Tree::Branch(vec![inner])), too_deep);
    forget(grow(DEEP, Tree::Leaf, |inner| Tree::Field { of: Box::new(inner) }), too_deep);
    forget(grow(DEEP, Tree::Leaf, |inner| Tree::Pair(Box::new(inner), 7)), too_deep);
    forget(grow(DEEP, Bare(vec![]), |inner| Bare(vec![inner])), too_deep);
    forget(grow(DEEP, Table::default(), |inner| Table(HashMap::from([(1, inner)]))), too_deep);
}

#[test]
fn bytes_that_nest_too_deep() {
    #[track_caller]
    fn too_deep<T: DeserializeOwned>(payload: &[u8]) {
        match message::decode::<T>(payload).map(drop) {
            Err(DecodeError::TooDeep { limit: NESTING_LIMIT, len_bytes, .. }) => {
                assert_eq!(len_bytes, payload.len())
            }
            other => panic!("{other:?}"),
        }
    }
    too_deep::<Node>(&[1; 100_000]);
    too_deep::<Bare>(&[1; 100_000]);
    too_deep::<Table>(&[1; 100_000]);
    too_deep::<Tree>(&[1; 100_000]);
    too_deep::<Tree>(&[2; 100_000]);
    too_deep::<Tree>(&[3; 100_000]);
    too_deep::<Vec<Vec<Option<Tree>>>>(&[1; 100_000]);
}

/// The deepest value that travels is one level below the shallowest that does not; both sides count alike.
#[test]
fn the_limit_is_the_same_on_both_sides() {
    #[track_caller]
    fn ends_at<T: Serialize + DeserializeOwned + 'static>(levels: u32, grown: impl Fn(u32) -> T) {
        let payload = message::encode_checked(&grown(levels)).unwrap_or_else(|error| panic!("{error}"));
        message::decode::<T>(&payload).unwrap_or_else(|error| panic!("{error}"));
        too_deep(&grown(levels + 1));
    }
    // A newtype and the inside of an option each.
    ends_at(NESTING_LIMIT / 2 - 1, |levels| grow(levels, Node(None), |inner| Node(Some(Box::new(inner)))));
    ends_at(NESTING_LIMIT / 2, |levels| grow(levels, Tree::Leaf, |inner| Tree::Branch(vec![inner])));
    ends_at(NESTING_LIMIT, |levels| grow(levels, Tree::Leaf, |inner| Tree::Pair(Box::new(inner), 7)));
    ends_at(NESTING_LIMIT - 1, |levels| grow(levels, Bare(vec![]), |inner| Bare(vec![inner])));
}

/// What arrived can be looked at and dropped on a small stack, as it was read on one.
#[test]
fn the_deepest_value_fits_a_small_stack() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Wide {
        padding: [u64; 32],
        text: String,
        inner: Option<Box<Wide>>,
    }
    let (padding, text) = ([7; 32], "text".to_owned());
    let wide = Wide { padding, text: text.clone(), inner: None };
    let wide = grow(NESTING_LIMIT / 3, wide, |inner| Wide {
        padding,
        text: text.clone(),
        inner: Some(Box::new(inner)),
    });
    let tree = grow(NESTING_LIMIT, Tree::Leaf, |inner| Tree::Field { of: Box::new(inner) });
    let on_a_small_stack = move || {
        let payload = message::encode_checked(&tree).expect("it is as deep as it may be");
        let arrived: Tree = message::decode(&payload).expect("it arrived");
        assert!(format!("{arrived:#?}").len() > payload.len());
        let payload = message::encode_checked(&wide).expect("it is not too deep");
        let arrived: Wide = message::decode(&payload).expect("it arrived");
        assert!(format!("{arrived:?}").len() > payload.len());
    };
    let thread = std::thread::Builder::new().stack_size(1024 * 1024).spawn(on_a_small_stack);
    thread.expect("it starts").join().expect("it fits");
}
