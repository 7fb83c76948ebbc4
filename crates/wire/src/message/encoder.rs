//! serde's `Serializer` in front of postcard's: it writes the same bytes, and refuses what would not be read back.
//!
//! Invariants:
//! - Every byte is postcard's. Only what nests others is done here, so that no level is written unseen.
//! - A sequence, map or text is written with the length that it turned out to have, also if it announced another.
//! - An error is made with its reason, and gets its place on the way out. A value that does not fail costs nothing for this.

use std::fmt::{self, Write as _};

use postcard::ser_flavors::Flavor;
use serde::ser::{self, Serialize};

use super::{
    depth::Levels,
    error::{Fault, FaultKind, Place},
    probe::{Probe, Token},
};

/// Appends one value to a vector.
pub(super) struct Encoder<'o, P> {
    out: &'o mut Vec<u8>,
    levels: Levels,
    probe: P,
}

impl<'o, P: Probe> Encoder<'o, P> {
    pub(super) fn new(out: &'o mut Vec<u8>, probe: P) -> Self {
        Self { out, levels: Levels::new(), probe }
    }

    /// Writes what takes bytes and nests nothing.
    #[inline]
    fn write<V: Serialize + ?Sized>(&mut self, token: Token, value: &V) -> Result<(), Fault> {
        let start = self.out.len();
        value.serialize(&mut postcard::Serializer { output: Append(self.out) })?;
        self.probe.token(token, &self.out[start..]);
        Ok(())
    }

    #[inline]
    fn nested<V: Serialize + ?Sized>(&mut self, value: &V) -> Result<(), Fault> {
        self.levels.enter()?;
        value.serialize(&mut *self)?;
        self.levels.leave();
        Ok(())
    }

    #[inline]
    fn variant(&mut self, of: &'static str, index: u32, name: &'static str) -> Result<(), Fault> {
        self.probe.variant(of, index, name);
        self.write(Token::Variant, &index)
    }

    /// Writes a length that may turn out to be another.
    #[inline]
    fn length(&mut self, token: Token, len: usize) -> Result<Length, Fault> {
        let start = self.out.len();
        self.write(token, &len)?;
        Ok(Length { start, written: len })
    }

    #[cold]
    fn correct(&mut self, length: &Length, len: usize) -> Result<(), Fault> {
        let (mut old, mut new) = ([0; 10], [0; 10]);
        let old = postcard::to_slice(&length.written, &mut old)?.len();
        let new = postcard::to_slice(&len, &mut new)?;
        self.out.splice(length.start..length.start + old, new.iter().copied());
        Ok(())
    }
}

/// A length, and where it was written.
struct Length {
    start: usize,
    written: usize,
}

/// A sequence or map on its way.
pub(super) struct Elements<'e, 'o, P> {
    encoder: &'e mut Encoder<'o, P>,
    length: Length,
    count: usize,
}

impl<P: Probe> Elements<'_, '_, P> {
    #[inline]
    fn end(self) -> Result<(), Fault> {
        let Self { encoder, length, count } = self;
        if count != length.written {
            encoder.correct(&length, count)?;
        }
        encoder.levels.leave();
        Ok(())
    }
}

/// A struct or a variant with fields on its way.
pub(super) struct Fields<'e, 'o, P> {
    encoder: &'e mut Encoder<'o, P>,
    name: &'static str,
    count: usize,
}

impl<P: Probe> Fields<'_, '_, P> {
    #[inline]
    fn named<V: Serialize + ?Sized>(&mut self, field: &'static str, value: &V) -> Result<(), Fault> {
        self.encoder.probe.field(Some(field));
        value.serialize(&mut *self.encoder).map_err(|fault| fault.at(Place::field(self.name, field)))
    }

    #[inline]
    fn numbered<V: Serialize + ?Sized>(&mut self, value: &V) -> Result<(), Fault> {
        let index = self.count;
        self.count += 1;
        self.encoder.probe.field(None);
        value.serialize(&mut *self.encoder).map_err(|fault| fault.at(Place::element(self.name, index)))
    }

    #[inline]
    fn end(self) {
        self.encoder.probe.close();
        self.encoder.levels.leave();
    }
}

#[cold]
fn skipped(name: &'static str, field: &'static str) -> Fault {
    Fault::new(FaultKind::SkippedField(field)).at(Place::field(name, field))
}

impl<'e, 'o, P: Probe> ser::Serializer for &'e mut Encoder<'o, P> {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Elements<'e, 'o, P>;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Fields<'e, 'o, P>;
    type SerializeTupleVariant = Fields<'e, 'o, P>;
    type SerializeMap = Elements<'e, 'o, P>;
    type SerializeStruct = Fields<'e, 'o, P>;
    type SerializeStructVariant = Fields<'e, 'o, P>;

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), Fault> {
        self.write(Token::Bool, &value)
    }

    #[inline]
    fn serialize_i8(self, value: i8) -> Result<(), Fault> {
        self.write(Token::I8, &value)
    }

    #[inline]
    fn serialize_i16(self, value: i16) -> Result<(), Fault> {
        self.write(Token::I16, &value)
    }

    #[inline]
    fn serialize_i32(self, value: i32) -> Result<(), Fault> {
        self.write(Token::I32, &value)
    }

    #[inline]
    fn serialize_i64(self, value: i64) -> Result<(), Fault> {
        self.write(Token::I64, &value)
    }

    #[inline]
    fn serialize_i128(self, value: i128) -> Result<(), Fault> {
        self.write(Token::I128, &value)
    }

    #[inline]
    fn serialize_u8(self, value: u8) -> Result<(), Fault> {
        self.write(Token::U8, &value)
    }

    #[inline]
    fn serialize_u16(self, value: u16) -> Result<(), Fault> {
        self.write(Token::U16, &value)
    }

    #[inline]
    fn serialize_u32(self, value: u32) -> Result<(), Fault> {
        self.write(Token::U32, &value)
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Result<(), Fault> {
        self.write(Token::U64, &value)
    }

    #[inline]
    fn serialize_u128(self, value: u128) -> Result<(), Fault> {
        self.write(Token::U128, &value)
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<(), Fault> {
        self.write(Token::F32, &value)
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<(), Fault> {
        self.write(Token::F64, &value)
    }

    #[inline]
    fn serialize_char(self, value: char) -> Result<(), Fault> {
        self.write(Token::Char { len_bytes: value.len_utf8() }, &value)
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), Fault> {
        self.write(Token::Str { len_bytes: value.len() }, value)
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Fault> {
        self.write(Token::Bytes { len_bytes: value.len() }, &Bytes(value))
    }

    /// Formatted once, in place; the length is put in front afterwards.
    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), Fault> {
        struct Text<'o>(&'o mut Vec<u8>);

        impl fmt::Write for Text<'_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.extend_from_slice(text.as_bytes());
                Ok(())
            }
        }

        let start = self.out.len();
        0_usize.serialize(&mut postcard::Serializer { output: Append(self.out) })?;
        let text_start = self.out.len();
        if write!(Text(self.out), "{value}").is_err() {
            return Err(Fault::new(FaultKind::Own("its `Display` form failed".into())));
        }
        let len_bytes = self.out.len() - text_start;
        if len_bytes > 0 {
            self.correct(&Length { start, written: 0 }, len_bytes)?;
        }
        self.probe.token(Token::Str { len_bytes }, &self.out[start..]);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Fault> {
        self.write(Token::Option, &None::<()>)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Fault> {
        self.write(Token::Option, &Some(()))?;
        self.nested(value)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Fault> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Fault> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<(), Fault> {
        self.variant(name, index, variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        self.nested(value).map_err(|fault| fault.at(Place::element(name, 0)))
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        self.variant(name, index, variant)?;
        self.nested(value).map_err(|fault| fault.at(Place::variant(name, variant)))
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, Fault> {
        self.levels.enter()?;
        let length = self.length(Token::Seq, len.unwrap_or(0))?;
        Ok(Elements { encoder: self, length, count: 0 })
    }

    #[inline]
    fn serialize_tuple(self, _len: usize) -> Result<Self::SerializeTuple, Fault> {
        self.levels.enter()?;
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, Fault> {
        self.levels.enter()?;
        self.probe.open(name, len, &[]);
        Ok(Fields { encoder: self, name, count: 0 })
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, Fault> {
        self.levels.enter()?;
        self.variant(name, index, variant)?;
        self.probe.open(name, len, &[]);
        Ok(Fields { encoder: self, name, count: 0 })
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, Fault> {
        // What has none is a struct with flattened fields, which asks for its keys when it is read.
        let len = len.ok_or_else(|| Fault::new(FaultKind::UnknownLength))?;
        self.levels.enter()?;
        let length = self.length(Token::Map, len)?;
        Ok(Elements { encoder: self, length, count: 0 })
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, Fault> {
        self.levels.enter()?;
        self.probe.open(name, len, &[]);
        Ok(Fields { encoder: self, name, count: 0 })
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, Fault> {
        self.levels.enter()?;
        self.variant(name, index, variant)?;
        self.probe.open(name, len, &[]);
        Ok(Fields { encoder: self, name, count: 0 })
    }
}

impl<P: Probe> ser::SerializeSeq for Elements<'_, '_, P> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.count += 1;
        value.serialize(&mut *self.encoder)
    }

    #[inline]
    fn end(self) -> Result<(), Fault> {
        self.end()
    }
}

impl<P: Probe> ser::SerializeMap for Elements<'_, '_, P> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        self.count += 1;
        key.serialize(&mut *self.encoder)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        value.serialize(&mut *self.encoder)
    }

    #[inline]
    fn end(self) -> Result<(), Fault> {
        self.end()
    }
}

impl<P: Probe> ser::SerializeTuple for &mut Encoder<'_, P> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        value.serialize(&mut **self)
    }

    #[inline]
    fn end(self) -> Result<(), Fault> {
        self.levels.leave();
        Ok(())
    }
}

/// serde has one trait for the fields of a struct and one for those of a variant; nothing differs between the two.
macro_rules! fields {
    (numbered: $($part:ident),+) => {$(
        impl<P: Probe> ser::$part for Fields<'_, '_, P> {
            type Ok = ();
            type Error = Fault;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
                self.numbered(value)
            }

            #[inline]
            fn end(self) -> Result<(), Fault> {
                self.end();
                Ok(())
            }
        }
    )+};
    (named: $($part:ident),+) => {$(
        impl<P: Probe> ser::$part for Fields<'_, '_, P> {
            type Ok = ();
            type Error = Fault;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                field: &'static str,
                value: &T,
            ) -> Result<(), Fault> {
                self.named(field, value)
            }

            fn skip_field(&mut self, field: &'static str) -> Result<(), Fault> {
                Err(skipped(self.name, field))
            }

            #[inline]
            fn end(self) -> Result<(), Fault> {
                self.end();
                Ok(())
            }
        }
    )+};
}

fields!(numbered: SerializeTupleStruct, SerializeTupleVariant);
fields!(named: SerializeStruct, SerializeStructVariant);

/// Bytes as one piece, to postcard.
struct Bytes<'b>(&'b [u8]);

impl Serialize for Bytes<'_> {
    #[inline]
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Where the format writes to: the end of a vector that we keep, also when it fails.
struct Append<'a>(&'a mut Vec<u8>);

impl Flavor for Append<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
