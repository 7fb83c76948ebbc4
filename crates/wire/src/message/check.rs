//! Checks that a value can be read back, before it is sent.
//!
//! Writing and reading each make a number of what they do. If the numbers are equal, the value passes. If not, both are run again
//! and compared step by step, because the type may fit nevertheless.
//!
//! Invariants:
//! - A refused value would have arrived as another value, or not at all. If that is not certain, the value is sent, and the
//!   receiver decides: an error or a panic of the type's own `Deserialize` may be true only here.
//! - While a value is read here, [`is_dry_run`] is true: a type that stands for something outside must not touch that.

use std::{
    any::type_name,
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    decoder::Decoder,
    encoder::Encoder,
    error::{EncodeError, EncodeErrorKind, Fault, FaultKind, Member, Place},
    probe::Token,
    seen::Key,
    trace::{Digest, Item, Record},
};

thread_local! {
    static DRY_RUN: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread reads a copy of a value only to check that it can be read back.
///
/// For types that stand for something outside the value: a place in a table, a file, a connection. Such a type asks in its
/// `Deserialize`, and in the `Drop` of the deserialised value. If it is true, leave the outside thing alone: the copy is
/// dropped at once, and no code gets it.
///
/// ```
/// use serde::{Deserialize, Deserializer};
/// use workfleet_wire::message;
///
/// /// Names a slot, which its receiver takes.
/// struct Ticket { slot: Option<u64> }
///
/// impl<'de> Deserialize<'de> for Ticket {
///     fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
///         let slot = u64::deserialize(deserializer)?;
///         Ok(Self { slot: (!message::is_dry_run()).then_some(slot) })
///     }
/// }
/// ```
#[must_use]
pub fn is_dry_run() -> bool {
    DRY_RUN.get()
}

struct DryRun;

impl DryRun {
    fn begin() -> Self {
        DRY_RUN.set(true);
        Self
    }
}

impl Drop for DryRun {
    fn drop(&mut self) {
        DRY_RUN.set(false);
    }
}

/// What is to be thought of a value.
pub(super) enum Verdict {
    /// It arrives, and so will others that are made of the same structs and variants.
    Arrives,
    /// Nothing speaks against this one.
    Unsure,
    Refused(EncodeError),
}

/// Writes a value of the type of this key, and tells a digest.
pub(super) fn write<T: Serialize>(value: &T, key: Key, out: &mut Vec<u8>) -> Result<Digest, Fault> {
    let mut written = Digest::of_type(key);
    value.serialize(&mut Encoder::new(out, &mut written))?;
    Ok(written)
}

/// Reads what was written, and compares.
pub(super) fn check<T>(value: &T, payload: &[u8], written: &Digest) -> Verdict
where
    T: Serialize + DeserializeOwned,
{
    let dry_run = DryRun::begin();
    let quick = catch_unwind(AssertUnwindSafe(|| agrees::<T>(payload, written)));
    let verdict = match quick {
        Ok(true) => Verdict::Arrives,
        Ok(false) => {
            let compared = catch_unwind(AssertUnwindSafe(|| compare(value)));
            compared.unwrap_or_else(|panic| {
                // Its destructor may panic too.
                std::mem::forget(panic);
                Verdict::Unsure
            })
        }
        Err(panic) => {
            std::mem::forget(panic);
            Verdict::Unsure
        }
    };
    drop(dry_run);
    verdict
}

fn agrees<T: Serialize + DeserializeOwned>(payload: &[u8], written: &Digest) -> bool {
    let mut read = Digest::new();
    let mut decoder = Decoder::new(payload, &mut read);
    let Ok(copy) = T::deserialize(&mut decoder) else { return false };
    if !decoder.rest().is_empty() || !read.agrees(written) {
        return false;
    }
    if written.variants().is_empty() {
        return true;
    }
    // The number of a variant may mean another one where it is read.
    let mut again = Digest::new();
    let rewritten = copy.serialize(&mut Encoder::new(&mut Vec::new(), &mut again));
    rewritten.is_err() || again.variants() == written.variants()
}

/// The long way: writes the value again, reads that, and compares all that was told.
fn compare<T: Serialize + DeserializeOwned>(value: &T) -> Verdict {
    let (mut payload, mut written, mut read) = (Vec::new(), Record::default(), Record::default());
    if value.serialize(&mut Encoder::new(&mut payload, &mut written)).is_err() {
        // It was written once, and does not write itself twice.
        return Verdict::Unsure;
    }
    let mut decoder = Decoder::new(&payload, &mut read);
    let decoded = T::deserialize(&mut decoder);
    let trailing = !decoder.rest().is_empty();
    let refuse = |place, kind| Verdict::Refused(EncodeError::new(type_name::<T>(), place, kind));
    let asymmetric = |place, reason| refuse(place, EncodeErrorKind::Asymmetric { reason });

    if let Some((place, reason)) = first_difference(&written, &read) {
        return asymmetric(place, reason);
    }
    let copy = match decoded {
        Ok(_) if trailing => {
            let place = written.place_of(read.tokens);
            return asymmetric(place, format!("it is written and not read{ONE_SIDED}"));
        }
        Ok(copy) => copy,
        Err(fault) => {
            let place = read.open_place(&written).or(fault.place());
            return match fault.kind() {
                FaultKind::Own(_) => Verdict::Unsure,
                FaultKind::SelfDescribing(asked) => {
                    let outermost = place.is_none() && read.tokens == 0 && !is_compound(type_name::<T>());
                    let asked = if outermost || place.is_some() {
                        asked.clone()
                    } else {
                        format!("or holds {asked}")
                    };
                    refuse(place, EncodeErrorKind::SelfDescribing { asked })
                }
                FaultKind::TooDeep => {
                    refuse(place, EncodeErrorKind::TooDeep { limit: super::depth::NESTING_LIMIT })
                }
                FaultKind::Shape(text) => {
                    let hint = if text.contains("variant index") { SKIPPED_VARIANT } else { ONE_SIDED };
                    let place = written.place_of(read.tokens.saturating_sub(1)).or(place);
                    asymmetric(place, format!("it does not read what it wrote: {text}{hint}"))
                }
                _ => {
                    let place = place.or_else(|| written.place_of(read.tokens.checked_sub(1)?));
                    asymmetric(place, format!("it reads more than it wrote: {fault}{ONE_SIDED}"))
                }
            };
        }
    };
    let (structs, read_structs) = (written.structs(), read.structs());
    let mut renamed = None;
    for (ours, theirs) in pairs(&structs, &read_structs) {
        let (ours_filled, theirs_filled) = (ours.filled(), theirs.filled());
        let starts = |filled: &[&Part]| filled.iter().map(|part| part.start).collect::<Vec<_>>();
        if starts(&ours_filled) != starts(&theirs_filled) {
            let place = ours_filled.first().map(|part| part.place(ours.name));
            return asymmetric(place, format!("its fields are not those that are read{ONE_SIDED}"));
        }
        if !ours.names_fit(theirs) {
            renamed.get_or_insert((ours, theirs));
        }
    }
    if renamed.is_none() && written.variants.is_empty() {
        return Verdict::Arrives;
    }
    let mut again = Record::default();
    if copy.serialize(&mut Encoder::new(&mut Vec::new(), &mut again)).is_err() {
        return Verdict::Unsure;
    }
    if again.variants != written.variants {
        let place = written.variant_not_in(&again);
        let arrives_as = again.variant_not_in(&written).map(|place| place.member);
        let arrives_as = match arrives_as {
            Some(Member::Variant(name)) => format!("it arrives as `{name}`{SKIPPED_VARIANT}"),
            _ => format!("it arrives as another one{SKIPPED_VARIANT}"),
        };
        return asymmetric(place, arrives_as);
    }
    match renamed {
        // Its names differ: a field that only one side skips, or one that has two names. The value tells.
        Some((ours, _)) if again.contents != written.contents => {
            let place = ours.parts.first().map(|part| part.place(ours.name));
            asymmetric(place, format!("its fields are not those that are read{ONE_SIDED}"))
        }
        // Another value may tell otherwise.
        Some(_) => Verdict::Unsure,
        None => Verdict::Arrives,
    }
}

const ONE_SIDED: &str = "; what one side alone skips or changes (`skip_serializing`, `skip_deserializing`, \
                         `serialize_with`, `deserialize_with`) does not travel: give both sides the same";
const SKIPPED_VARIANT: &str = "; a message numbers variants, and the numbers of those behind a skipped one (`skip`, \
                               `skip_deserializing`) differ where it is read: put skipped variants last";

/// Whether a type of this name has no name of its own.
fn is_compound(type_name: &str) -> bool {
    type_name.starts_with(['(', '[', '&']) || type_name.contains('<')
}

/// What takes bytes, as the format tells it apart, and for how many units of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Byte,
    Unsigned,
    Signed,
    Float32,
    Float64,
    Length,
    Option,
    Variant,
}

impl Wire {
    /// A text is a length and bytes, as a sequence of bytes is: many types write the one and read the other.
    fn of(token: Token) -> (Self, usize) {
        match token {
            Token::Bool | Token::I8 | Token::U8 => (Self::Byte, 0),
            Token::I16 | Token::I32 | Token::I64 | Token::I128 => (Self::Signed, 0),
            Token::U16 | Token::U32 | Token::U64 | Token::U128 => (Self::Unsigned, 0),
            Token::F32 => (Self::Float32, 0),
            Token::F64 => (Self::Float64, 0),
            Token::Char { len_bytes } | Token::Str { len_bytes } | Token::Bytes { len_bytes } => {
                (Self::Length, len_bytes)
            }
            Token::Seq | Token::Map => (Self::Length, 0),
            Token::Option => (Self::Option, 0),
            Token::Variant => (Self::Variant, 0),
        }
    }

    /// Whether the one may be read as the other: an option as a flag before its value, a variant as its number.
    fn fits(self, other: Self) -> bool {
        let may_be = |a, b| {
            a == b
                || (a == Self::Option && b == Self::Byte)
                || (a == Self::Variant && matches!(b, Self::Byte | Self::Unsigned))
        };
        may_be(self, other) || may_be(other, self)
    }

    /// How many units a token is.
    fn units(token: Token) -> usize {
        1 + Self::of(token).1
    }
}

fn describe(token: Token) -> &'static str {
    match token {
        Token::Bool => "a bool",
        Token::I8 | Token::I16 | Token::I32 | Token::I64 | Token::I128 => "a signed integer",
        Token::U8 => "a byte",
        Token::U16 | Token::U32 | Token::U64 | Token::U128 => "an unsigned integer",
        Token::F32 | Token::F64 => "a floating-point number",
        Token::Char { .. } => "a char",
        Token::Str { .. } => "a text",
        Token::Bytes { .. } => "bytes",
        Token::Option => "an option",
        Token::Seq => "a sequence",
        Token::Map => "a map",
        Token::Variant => "an enum",
    }
}

/// Where the two told differently, as far as both told anything.
fn first_difference(written: &Record, read: &Record) -> Option<(Option<Place>, String)> {
    let mut ours = Units::new(written);
    let mut theirs = Units::new(read);
    loop {
        let (Some(our), Some(their)) = (ours.current(), theirs.current()) else { return None };
        if !our.wire.fits(their.wire) {
            let (place, expected) = (written.place_of(our.index), read.place_of(their.index));
            let at = match expected {
                Some(place) => format!(" as {place}"),
                None => String::new(),
            };
            let (wrote, reads) = (describe(our.token), describe(their.token));
            return Some((place, format!("it is written as {wrote}, and {reads} is read{at}{ONE_SIDED}")));
        }
        let units = our.units.min(their.units);
        ours.pass(units);
        theirs.pass(units);
    }
}

/// What is next of a record.
#[derive(Clone, Copy)]
struct Unit {
    wire: Wire,
    units: usize,
    token: Token,
    index: usize,
}

struct Units<'r> {
    tokens: Box<dyn Iterator<Item = (usize, Token)> + 'r>,
    current: Option<Unit>,
    /// The bytes of a text, once its length is passed.
    then: Option<Unit>,
}

impl<'r> Units<'r> {
    fn new(record: &'r Record) -> Self {
        let mut units = Self { tokens: Box::new(record.all_tokens().enumerate()), current: None, then: None };
        units.advance();
        units
    }

    fn current(&self) -> Option<Unit> {
        self.current
    }

    fn pass(&mut self, units: usize) {
        match &mut self.current {
            Some(current) if current.units > units => current.units -= units,
            _ => self.advance(),
        }
    }

    fn advance(&mut self) {
        self.current = self.then.take().or_else(|| {
            let (index, token) = self.tokens.next()?;
            let (wire, bytes) = Wire::of(token);
            self.then = (bytes > 0).then_some(Unit { wire: Wire::Byte, units: bytes, token, index });
            Some(Unit { wire, units: 1, token, index })
        });
    }
}

/// A struct, or a variant with fields, that one side told of.
struct Opened {
    name: &'static str,
    expected: &'static [&'static str],
    start: usize,
    parts: Vec<Part>,
}

/// A field of it, and which units it took.
struct Part {
    index: usize,
    name: Option<&'static str>,
    start: usize,
    end: usize,
}

impl Part {
    fn place(&self, container: &'static str) -> Place {
        match self.name {
            Some(name) => Place::field(container, name),
            None => Place::element(container, self.index),
        }
    }
}

impl Opened {
    /// The fields that took any bytes.
    fn filled(&self) -> Vec<&Part> {
        self.parts.iter().filter(|part| part.end > part.start).collect()
    }

    /// Whether the fields that were written are, in this order, among those that `reader` expects.
    fn names_fit(&self, reader: &Self) -> bool {
        if reader.expected.is_empty() {
            return true;
        }
        let mut expected = reader.expected.iter();
        self.parts.iter().filter_map(|part| part.name).all(|name| expected.any(|other| *other == name))
    }
}

/// What was opened on both sides at the same unit, under the same name.
fn pairs<'s>(ours: &'s [Opened], theirs: &'s [Opened]) -> impl Iterator<Item = (&'s Opened, &'s Opened)> {
    let mut theirs = theirs.iter().peekable();
    ours.iter().filter_map(move |our| {
        while theirs.peek().is_some_and(|their| their.start < our.start) {
            theirs.next();
        }
        let mut candidates = theirs.clone().take_while(|their| their.start == our.start);
        let found = candidates.find(|their| their.name == our.name)?;
        // Those that nest in one another at one unit come in the same order on both sides.
        while theirs.next().is_some_and(|their| !std::ptr::eq(their, found)) {}
        Some((our, found))
    })
}

impl Record {
    fn all_tokens(&self) -> impl Iterator<Item = Token> {
        self.items.iter().filter_map(|item| match item {
            Item::Token(token) => Some(*token),
            _ => None,
        })
    }

    /// The innermost place of a token.
    fn place_of(&self, token: usize) -> Option<Place> {
        let mut stack: Vec<(&'static str, Option<Place>, usize)> = Vec::new();
        let mut seen = 0;
        let mut variant = None;
        for item in &self.items {
            match *item {
                Item::Token(_) => {
                    if seen == token {
                        break;
                    }
                    seen += 1;
                    variant = None;
                }
                Item::Variant(of, name) => variant = Some(Place::variant(of, name)),
                _ => follow(&mut stack, item),
            }
        }
        variant.or_else(|| stack.last().and_then(|(_, place, _)| *place))
    }

    /// The innermost place that was open when the reading ended, by the name that it was written under.
    fn open_place(&self, written: &Self) -> Option<Place> {
        let mut stack = Vec::new();
        for item in &self.items {
            follow(&mut stack, item);
        }
        let (depth, index) = (stack.len(), stack.last()?.2);
        let mut stack: Vec<(&'static str, Option<Place>, usize)> = Vec::new();
        let mut seen = 0;
        for item in &written.items {
            follow(&mut stack, item);
            seen += usize::from(matches!(item, Item::Token(_)));
            if seen >= self.tokens && stack.len() >= depth && stack[depth - 1].2 == index {
                return stack[depth - 1].1;
            }
        }
        None
    }

    /// A variant that was written, and not in the other.
    fn variant_not_in(&self, other: &Self) -> Option<Place> {
        let index = |place: usize| match self.items.get(place) {
            Some(Item::Variant(of, name)) => Some((*of, *name)),
            _ => None,
        };
        let others: Vec<_> = other
            .items
            .iter()
            .filter_map(|item| match item {
                Item::Variant(of, name) => Some((*of, *name)),
                _ => None,
            })
            .collect();
        let found = (0..self.items.len()).filter_map(index).find(|variant| !others.contains(variant));
        found.map(|(of, name)| Place::variant(of, name))
    }

    /// Every struct, in the order in which they begin.
    fn structs(&self) -> Vec<Opened> {
        let (mut all, mut open) = (Vec::<Opened>::new(), Vec::<usize>::new());
        let mut unit = 0;
        let end_part = |opened: &mut Opened, unit| {
            if let Some(part) = opened.parts.last_mut() {
                part.end = unit;
            }
        };
        for item in &self.items {
            match *item {
                Item::Token(token) => unit += Wire::units(token),
                Item::Variant(..) => {}
                Item::Open(name, expected) => {
                    open.push(all.len());
                    all.push(Opened { name, expected, start: unit, parts: Vec::new() });
                }
                Item::Field(name) => {
                    if let Some(&which) = open.last() {
                        end_part(&mut all[which], unit);
                        let index = all[which].parts.len();
                        all[which].parts.push(Part { index, name, start: unit, end: unit });
                    }
                }
                Item::Close => {
                    if let Some(which) = open.pop() {
                        end_part(&mut all[which], unit);
                    }
                }
            }
        }
        all
    }
}

/// Keeps what is open, each with its current field, and how many fields it has had.
fn follow(stack: &mut Vec<(&'static str, Option<Place>, usize)>, item: &Item) {
    match *item {
        Item::Open(name, _) => stack.push((name, None, 0)),
        Item::Field(field) => {
            if let Some((container, place, count)) = stack.last_mut() {
                *place = Some(match field {
                    Some(field) => Place::field(container, field),
                    None => Place::element(container, *count),
                });
                *count += 1;
            }
        }
        Item::Close => {
            stack.pop();
        }
        Item::Token(_) | Item::Variant(..) => {}
    }
}
