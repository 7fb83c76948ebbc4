//! What travels: every type here is accepted by the check, each time, and arrives as it was sent.

mod common;

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque},
    ffi::{CString, OsString},
    fmt,
    marker::PhantomData,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    num::{NonZeroI64, NonZeroU8, Saturating, Wrapping},
    ops::{Bound, Range, RangeFrom, RangeInclusive, RangeTo},
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use common::cases;
use proptest::prelude::*;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, de::DeserializeOwned};
use workfleet_wire::message;

/// Sends it a few times more than a type is checked without debug assertions.
#[track_caller]
fn arrives<T>(value: T)
where
    T: Serialize + DeserializeOwned + PartialEq + fmt::Debug + 'static,
{
    for _ in 0..message::CHECKED_VALUES + 2 {
        assert_eq!(sent(&value), value);
    }
}

#[track_caller]
fn sent<T: Serialize + DeserializeOwned + 'static>(value: &T) -> T {
    let payload = message::encode_checked(value).unwrap_or_else(|error| panic!("{error}"));
    message::decode(&payload).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn numbers_and_texts() {
    arrives((true, false, 'ß', '\u{10ffff}', String::from("text"), String::new()));
    arrives((i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN, isize::MIN));
    arrives((u8::MAX, u16::MAX, u32::MAX, u64::MAX, u128::MAX, usize::MAX));
    arrives((f32::MIN_POSITIVE, f64::INFINITY, -0.0_f64));
    arrives((NonZeroU8::MAX, NonZeroI64::MIN, Wrapping(7_u16), Saturating(-7_i64)));
    for number in [f64::NAN, -f64::NAN, f64::from_bits(0x7ff0_0000_0000_0001)] {
        assert_eq!(sent(&number).to_bits(), number.to_bits());
        assert!(sent(&vec![f32::NAN, 1.0])[0].is_nan());
    }
}

#[test]
fn collections() {
    arrives(vec![0_u8; 10_000]);
    arrives((Vec::<u8>::new(), vec![vec![String::from("a")], vec![]], [[1_u8; 3]; 2], [0_u16; 32]));
    arrives((VecDeque::from([1, 2]), LinkedList::from([1, 2]), BTreeSet::from([3, 1])));
    arrives(HashSet::<u64>::from_iter(0..1000));
    arrives(HashMap::<String, Vec<u8>>::from_iter((0..100).map(|n| (n.to_string(), vec![n; n.into()]))));
    arrives(BTreeMap::from([(Some('a'), HashMap::from([(1, HashSet::from([2, 3, 4, 5]))]))]));
    let heap = sent(&BinaryHeap::from([3, 1, 2]));
    assert_eq!(heap.into_sorted_vec(), [1, 2, 3]);
    arrives(String::from("text").into_boxed_str());
    arrives((vec![1_u8, 2].into_boxed_slice(), Box::new(Box::new(1))));
}

#[test]
fn what_takes_no_bytes() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Unit;
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Braces {}
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Parens();
    arrives(());
    arrives((Unit, Braces {}, Parens(), PhantomData::<u8>, [0_u8; 0]));
    arrives((vec![(); 3], Some(()), vec![Unit, Unit], Some(Some(None::<()>))));
}

#[test]
fn options_in_options() {
    for value in [None, Some(None), Some(Some(None)), Some(Some(Some(7_u8)))] {
        arrives(value);
    }
    arrives((Some(String::from("a")), None::<String>, vec![Some(1_i8), None]));
}

#[test]
fn other_types_of_the_standard_library() {
    arrives((Duration::MAX, Duration::ZERO, SystemTime::UNIX_EPOCH + Duration::new(5, 7)));
    arrives((PathBuf::from("/a/ü"), OsString::from("os"), CString::from(c"bytes")));
    arrives(IpAddr::V6(Ipv6Addr::LOCALHOST));
    arrives((
        Ipv4Addr::LOCALHOST,
        IpAddr::V4(Ipv4Addr::BROADCAST),
        SocketAddr::from(([1, 2, 3, 4], 5)),
        SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 1, 0, 0),
    ));
    arrives((
        Range { start: 1, end: 2 },
        RangeInclusive::new('a', 'b'),
        RangeFrom { start: 1 },
        RangeTo { end: 1 },
    ));
    arrives([Bound::Unbounded, Bound::Included(1), Bound::Excluded(2)]);
    arrives([Ok(1), Err(String::from("no"))]);
    arrives((Cow::<str>::Borrowed("a"), Cow::<[u8]>::Owned(vec![1, 2]), Cell::new(1), RefCell::new(vec![1])));
    arrives(std::cmp::Reverse(1));
    assert_eq!(*sent(&Mutex::new(7)).lock().expect("nobody has it"), 7);
    assert_eq!(sent(&AtomicU32::new(7)).load(Ordering::Relaxed), 7);
}

#[test]
fn structs_and_enums() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Newtype(Vec<u8>);
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Tuple(u8, Vec<u8>, Option<Newtype>);
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Struct<T> {
        a: u8,
        b: T,
        inner: Tuple,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Enum {
        Unit,
        Newtype(Newtype),
        Tuple(u8, Option<Box<Enum>>),
        Struct { a: u64, b: Vec<Enum> },
    }
    let inner = || Tuple(1, vec![2], Some(Newtype(vec![3])));
    arrives(Struct { a: 1, b: (), inner: inner() });
    arrives(Struct { a: 1, b: Struct { a: 1, b: vec![1_u64], inner: inner() }, inner: inner() });
    let nested = Enum::Tuple(1, Some(Box::new(Enum::Newtype(Newtype(vec![])))));
    arrives(vec![Enum::Unit, Enum::Struct { a: 1, b: vec![Enum::Unit, nested] }, Enum::Tuple(0, None)]);
}

fn as_default() -> u8 {
    9
}

#[test]
fn attributes_that_both_sides_share() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(transparent)]
    struct Transparent {
        inner: Vec<u8>,
    }
    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    struct Renamed {
        first_field: u8,
        #[serde(rename = "other")]
        second_field: Vec<u8>,
        #[serde(default = "as_default")]
        third: u8,
        #[serde(alias = "a", alias = "zz")]
        fourth: u8,
        #[serde(alias = "another")]
        fifth: Vec<String>,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Skips {
        a: u8,
        #[serde(skip)]
        b: u64,
        c: Vec<u8>,
        #[serde(skip)]
        d: Vec<u8>,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct SkipsInTuple(u8, #[serde(skip)] Vec<u8>, Vec<u8>);
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Renumbered {
        FirstOne,
        #[serde(alias = "b", alias = "c")]
        SecondOne(u8),
        ThirdOne {
            #[serde(alias = "y")]
            x: u8,
            #[serde(skip)]
            z: u8,
        },
        /// The last: no number changes by it.
        #[serde(skip)]
        Local,
    }
    arrives(Transparent { inner: vec![1, 2] });
    let fifth = vec![String::from("a")];
    arrives(Renamed { first_field: 0, second_field: vec![1, 9], third: 0, fourth: 7, fifth });
    arrives(Skips { a: 1, b: 0, c: vec![1, 9], d: vec![] });
    arrives(SkipsInTuple(1, vec![], vec![1, 9]));
    let (second, third) = (Renumbered::SecondOne(2), Renumbered::ThirdOne { x: 1, z: 0 });
    arrives(vec![third, second, Renumbered::FirstOne]);
    assert!(message::encode_checked(&Renumbered::Local).is_err());
}

#[test]
fn names_that_differ_by_side() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all(serialize = "SCREAMING_SNAKE_CASE"))]
    struct Shouts {
        a: u8,
        b: Vec<u8>,
        kind: Kind,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename(serialize = "kind"), rename_all(deserialize = "UPPERCASE"))]
    enum Kind {
        One,
        Two(u8),
    }
    arrives(Shouts { a: 0, b: vec![1, 9], kind: Kind::Two(1) });
    arrives(vec![Kind::One, Kind::Two(2)]);
}

mod as_text {
    use super::*;

    pub(super) fn serialize<S: Serializer>(value: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// What an outside crate does to a type of its own.
#[derive(Debug, PartialEq)]
struct Foreign {
    a: u8,
    b: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Foreign")]
struct ForeignDef {
    a: u8,
    b: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
struct Level(u8);

impl From<Level> for String {
    fn from(level: Level) -> Self {
        "x".repeat(level.0.into())
    }
}

impl TryFrom<String> for Level {
    type Error = std::num::TryFromIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.len().try_into().map(Self)
    }
}

#[test]
fn conversions_with_and_remote() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Converted {
        #[serde(with = "as_text")]
        number: u32,
        #[serde(with = "ForeignDef")]
        foreign: Foreign,
        level: Level,
        levels: Vec<Level>,
    }
    let foreign = Foreign { a: 0, b: vec![1, 9] };
    arrives(Converted { number: 12345, foreign, level: Level(3), levels: vec![Level(0), Level(255)] });
}

/// As types of many crates are: text to people, bytes to machines.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Id([u8; 16]);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(&u128::from_le_bytes(self.0))
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("sixteen bytes, or their number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
                text.parse().map(u128::to_le_bytes).map(Id).map_err(E::custom)
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Id, E> {
                bytes.try_into().map(Id).map_err(E::custom)
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Visitor)
        } else {
            deserializer.deserialize_bytes(Visitor)
        }
    }
}

/// Bytes that are written as one piece, and read element by element; or the reverse.
#[derive(Debug, PartialEq)]
struct Mixed<const PIECE: bool>(Vec<u8>);

impl<const PIECE: bool> Serialize for Mixed<PIECE> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if PIECE { serializer.serialize_bytes(&self.0) } else { self.0.serialize(serializer) }
    }
}

impl<'de, const PIECE: bool> Deserialize<'de> for Mixed<PIECE> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        if PIECE {
            Vec::deserialize(deserializer).map(Self)
        } else {
            deserializer.deserialize_byte_buf(Visitor).map(Self)
        }
    }
}

/// Written as a tuple, and read as the struct that it is; as a wider number, and as an array.
#[derive(Debug, PartialEq, Deserialize)]
struct HandWritten {
    a: u32,
    b: Vec<u8>,
    c: (u8, (u8, u8)),
    flag: u8,
}

impl Serialize for HandWritten {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (c, (d, e)) = self.c;
        (u64::from(self.a), &self.b, [c, d, e], self.flag == 1).serialize(serializer)
    }
}

/// A sequence, and a map, that do not know or do not tell how long they are.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(transparent)]
struct Even(Vec<u32>);

impl Serialize for Even {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().filter(|number| *number % 2 == 0))
    }
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(transparent)]
struct Liar(BTreeMap<u16, u8>);

impl Serialize for Liar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(1))?;
        self.0.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
        map.end()
    }
}

/// A map that is a sequence of pairs in memory.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(transparent)]
struct Pairs(Vec<(String, u8)>);

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

/// Written as its number, and read as the enum that it is.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
enum Numbered {
    Zero,
    One,
}

impl Serialize for Numbered {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(*self as u32)
    }
}

/// Written as a flag and a value, and read as the option that it is.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(transparent)]
struct Flagged(Option<u32>);

impl Serialize for Flagged {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(number) => (true, number).serialize(serializer),
            None => false.serialize(serializer),
        }
    }
}

#[test]
fn hand_written_types_that_fit_each_other() {
    arrives((vec![Numbered::One, Numbered::Zero], Flagged(None), Flagged(Some(7)), Numbered::One));
    arrives(HashMap::from([(Id([7; 16]), HashSet::from([Id([8; 16])]))]));
    arrives((Mixed::<true>(vec![1, 2, 200]), 7_u8, Mixed::<false>(vec![1, 2, 200]), 7_u8));
    arrives(vec![Mixed::<true>(vec![]), Mixed(vec![0; 300])]);
    arrives(vec![HandWritten { a: 300, b: vec![1, 9], c: (1, (2, 3)), flag: 1 }]);
    for len in [0_u32, 1, 127, 128, 20_000] {
        arrives((1_u8, Even((0..len).map(|number| 2 * number).collect()), String::from("behind it")));
        arrives((1_u8, Liar((0..len.min(40_000)).map(|n| (n as u16, n as u8)).collect()), 7_u8));
    }
    arrives(Pairs(vec![("a".into(), 1), ("b".into(), 2)]));
    assert_eq!(sent(&Even(vec![1, 2, 3, 4])), Even(vec![2, 4]));
}

/// What is left of some time: another number each time it is written, and no reason to refuse it.
#[derive(Debug)]
struct Remaining;

impl Serialize for Remaining {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        serializer.serialize_u32(NEXT.fetch_add(100, Ordering::Relaxed))
    }
}

impl<'de> Deserialize<'de> for Remaining {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u32::deserialize(deserializer).map(|_| Self)
    }
}

#[test]
fn what_is_written_differently_each_time() {
    #[derive(Serialize, Deserialize)]
    struct Deadline {
        left: Remaining,
        #[serde(alias = "and")]
        then: Result<u8, Remaining>,
    }
    for _ in 0..20 {
        let _: Deadline = sent(&Deadline { left: Remaining, then: Err(Remaining) });
    }
}

/// It can be written once: its elements are gone then.
struct Once(RefCell<Option<Vec<u8>>>);

impl Serialize for Once {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let elements = self.0.take().ok_or_else(|| serde::ser::Error::custom("it is gone"))?;
        serializer.collect_seq(elements)
    }
}

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(|elements| Self(RefCell::new(Some(elements))))
    }
}

#[test]
fn what_can_be_written_once() {
    for _ in 0..20 {
        let elements = sent(&Once(RefCell::new(Some(vec![1, 9])))).0.into_inner();
        assert_eq!(elements, Some(vec![1, 9]));
    }
}

/// What its own reader says, or a panic of it, is for the receiver to judge: it may know more.
#[test]
fn a_value_that_only_its_reader_refuses_goes() {
    #[derive(Serialize)]
    struct There(u8);
    impl<'de> Deserialize<'de> for There {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            match u8::deserialize(deserializer)? {
                0 => Err(de::Error::custom("not here")),
                1 => std::panic::resume_unwind(Box::new("not here")),
                other => Ok(Self(other)),
            }
        }
    }
    for number in 0..3 {
        assert_eq!(message::encode_checked(&There(number)), Ok(vec![number]));
    }
    assert!(!message::is_dry_run());
    let error = message::decode::<There>(&[0]).map(|There(number)| number).unwrap_err();
    assert!(error.to_string().ends_with(": not here"), "{error}");
}

/// Nobody gets the copy that is read for the check: what stands for something outside can tell.
#[test]
fn a_copy_knows_that_it_is_one() {
    thread_local! {
        static READ: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
    }
    #[derive(Serialize)]
    struct Handle(u8);
    impl<'de> Deserialize<'de> for Handle {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let (dry, real) = READ.get();
            let is_dry = message::is_dry_run();
            READ.set((dry + u32::from(is_dry), real + u32::from(!is_dry)));
            u8::deserialize(deserializer).map(Self)
        }
    }
    let payload = message::encode_checked(&Handle(7)).expect("it arrives");
    assert_eq!(READ.get(), (1, 0));
    let Handle(number) = message::decode(&payload).expect("it decodes");
    assert_eq!((number, READ.get()), (7, (1, 1)));
}

/// Beyond the first values, a value is written once and not read: but where something in it is new to its type.
#[test]
fn only_the_first_values_are_read_back_without_debug_assertions() {
    thread_local! {
        static READ: Cell<u32> = const { Cell::new(0) };
    }
    #[derive(Serialize)]
    struct Counts(u8);
    impl<'de> Deserialize<'de> for Counts {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            READ.set(READ.get() + 1);
            u8::deserialize(deserializer).map(Self)
        }
    }
    #[derive(Serialize, Deserialize)]
    enum Message {
        Often(Counts),
        Late(Counts),
    }
    let mut expected = 0;
    for number in 0..1000 {
        let is_late = number >= 500;
        let message = if is_late { Message::Late(Counts(7)) } else { Message::Often(Counts(7)) };
        let payload = message::encode_checked(&message).expect("it arrives");
        assert_eq!(payload, [u8::from(is_late), 7]);
        let is_read = cfg!(debug_assertions) || number < message::CHECKED_VALUES || number == 500;
        expected += u32::from(is_read);
        assert_eq!(READ.get(), expected, "at {number}");
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    id: u64,
    name: Option<String>,
    #[serde(skip)]
    local: (),
    body: Body,
    table: BTreeMap<String, Vec<Body>>,
    #[serde(alias = "tags")]
    labels: HashSet<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Body {
    Empty,
    Bytes(Vec<u8>),
    Pair(i32, char),
    Tree { left: Option<Box<Body>>, right: Vec<Body> },
    Duration(Duration),
    Text(Cow<'static, str>),
}

fn bodies() -> impl Strategy<Value = Body> {
    let leaf = prop_oneof![
        Just(Body::Empty),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Body::Bytes),
        any::<(i32, char)>().prop_map(|(number, letter)| Body::Pair(number, letter)),
        any::<Duration>().prop_map(Body::Duration),
        ".{0,9}".prop_map(|text| Body::Text(text.into())),
    ];
    leaf.prop_recursive(5, 30, 4, |inner| {
        let left = prop::option::of(inner.clone().prop_map(Box::new));
        (left, prop::collection::vec(inner, 0..4)).prop_map(|(left, right)| Body::Tree { left, right })
    })
}

fn records() -> impl Strategy<Value = Record> {
    let table = prop::collection::btree_map(".{0,5}", prop::collection::vec(bodies(), 0..3), 0..3);
    let labels = prop::collection::hash_set(".{0,5}", 0..6);
    (any::<u64>(), prop::option::of(".{0,9}"), bodies(), table, labels)
        .prop_map(|(id, name, body, table, labels)| Record { id, name, local: (), body, table, labels })
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn values_of_every_shape_are_accepted_and_arrive(records in prop::collection::vec(records(), 0..4)) {
        let payload = message::encode_checked(&records);
        prop_assert!(payload.is_ok(), "{}", payload.unwrap_err());
        prop_assert_eq!(message::decode::<Vec<Record>>(&payload?)?, records);
    }

    #[test]
    fn a_checked_message_has_the_bytes_of_postcard(record in records()) {
        prop_assert_eq!(message::encode_checked(&record)?, postcard::to_stdvec(&record)?);
        prop_assert_eq!(message::encode(&record)?, postcard::to_stdvec(&record)?);
    }
}
