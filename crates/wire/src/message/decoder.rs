//! serde's `Deserializer` in front of postcard's: it reads the same bytes, bounds how deep they nest, and keeps the words of
//! a type that refuses them.
//!
//! Invariants:
//! - Every byte is read by postcard. Only what nests others is done here, so that no level is read unseen.
//! - What nests counts the same levels as where it was written.

use serde::{
    Deserialize,
    de::{self, DeserializeSeed, Expected, IntoDeserializer, Visitor},
};

use super::{
    depth::Levels,
    error::{Fault, FaultKind, Place},
    probe::{Probe, Token},
};

/// Reads one value from the front of a payload.
pub(super) struct Decoder<'de, P> {
    rest: &'de [u8],
    levels: Levels,
    probe: P,
}

impl<'de, P: Probe> Decoder<'de, P> {
    pub(super) fn new(payload: &'de [u8], probe: P) -> Self {
        Self { rest: payload, levels: Levels::new(), probe }
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'de [u8] {
        self.rest
    }

    /// Reads what takes bytes and nests nothing.
    #[inline]
    fn read<V: Deserialize<'de>>(&mut self, token: impl FnOnce(&V) -> Token) -> Result<V, Fault> {
        let (value, rest) = postcard::take_from_bytes::<V>(self.rest)?;
        let read = &self.rest[..self.rest.len() - rest.len()];
        self.rest = rest;
        self.probe.token(token(&value), read);
        Ok(value)
    }

    #[inline]
    fn elements<V: Visitor<'de>>(&mut self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.levels.enter()?;
        let value = visitor.visit_seq(Elements { decoder: self, left: len })?;
        self.levels.leave();
        Ok(value)
    }

    /// The fields of a struct, or of a variant of an enum of this name.
    #[inline]
    fn fields<V: Visitor<'de>>(
        &mut self,
        name: &'static str,
        names: Names,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.levels.enter()?;
        self.probe.open(name, names.len(), names.all());
        let value = visitor.visit_seq(Fields { decoder: self, name, names, next: 0 })?;
        self.probe.close();
        self.levels.leave();
        Ok(value)
    }

    #[cold]
    fn asked<T, V: Visitor<'de>>(visitor: &V) -> Result<T, Fault> {
        // The names of serde's own visitors tell what made them.
        let (name, expected) = (std::any::type_name::<V>(), (visitor as &dyn Expected).to_string());
        let asked = if name.contains("TaggedContentVisitor") {
            "an internally tagged enum (`#[serde(tag = \"…\")]`)".to_owned()
        } else if name.contains("ContentVisitor") {
            "an untagged enum (`#[serde(untagged)]`)".to_owned()
        } else if expected == "variant identifier" {
            "an adjacently tagged enum (`#[serde(tag = \"…\", content = \"…\")]`)".to_owned()
        } else if expected == "field identifier" {
            "a struct with flattened fields (`#[serde(flatten)]`)".to_owned()
        } else {
            format!("a type that takes whatever comes ({expected})")
        };
        Err(Fault::new(FaultKind::SelfDescribing(asked)))
    }
}

/// The fields of a struct.
#[derive(Clone, Copy)]
enum Names {
    /// Their names, and those that they have beside (`alias`).
    Known(&'static [&'static str]),
    /// How many there are.
    Count(usize),
}

impl Names {
    #[inline]
    fn len(self) -> usize {
        match self {
            Self::Known(names) => names.len(),
            Self::Count(count) => count,
        }
    }

    #[inline]
    fn all(self) -> &'static [&'static str] {
        match self {
            Self::Known(names) => names,
            Self::Count(_) => &[],
        }
    }
}

macro_rules! numbers {
    ($($method:ident: $type:ident => $visit:ident, $token:ident;)*) => {
        $(
            #[inline]
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
                let value = self.read::<$type>(|_| Token::$token)?;
                visitor.$visit(value)
            }
        )*
    };
}

impl<'de, P: Probe> de::Deserializer<'de> for &mut Decoder<'de, P> {
    type Error = Fault;

    numbers! {
        deserialize_bool: bool => visit_bool, Bool;
        deserialize_i8: i8 => visit_i8, I8;
        deserialize_i16: i16 => visit_i16, I16;
        deserialize_i32: i32 => visit_i32, I32;
        deserialize_i64: i64 => visit_i64, I64;
        deserialize_i128: i128 => visit_i128, I128;
        deserialize_u8: u8 => visit_u8, U8;
        deserialize_u16: u16 => visit_u16, U16;
        deserialize_u32: u32 => visit_u32, U32;
        deserialize_u64: u64 => visit_u64, U64;
        deserialize_u128: u128 => visit_u128, U128;
        deserialize_f32: f32 => visit_f32, F32;
        deserialize_f64: f64 => visit_f64, F64;
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        Decoder::<P>::asked(&visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        Decoder::<P>::asked(&visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        Decoder::<P>::asked(&visitor)
    }

    #[inline]
    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let value: char = self.read(|value: &char| Token::Char { len_bytes: value.len_utf8() })?;
        visitor.visit_char(value)
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let value: &'de str = self.read(|value: &&str| Token::Str { len_bytes: value.len() })?;
        visitor.visit_borrowed_str(value)
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let value: &'de [u8] = self.read(|value: &&[u8]| Token::Bytes { len_bytes: value.len() })?;
        visitor.visit_borrowed_bytes(value)
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_bytes(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        // As postcard reads an option of nothing: its tag.
        match self.read::<Option<()>>(|_| Token::Option)? {
            None => visitor.visit_none(),
            Some(()) => {
                self.levels.enter()?;
                let value = visitor.visit_some(&mut *self)?;
                self.levels.leave();
                Ok(value)
            }
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.levels.enter()?;
        let value = visitor.visit_newtype_struct(&mut *self);
        let value = value.map_err(|fault| fault.at(Place::element(name, 0)))?;
        self.levels.leave();
        Ok(value)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let len: usize = self.read(|_| Token::Seq)?;
        self.elements(len, visitor)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.elements(len, visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.fields(name, Names::Count(len), visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let len: usize = self.read(|_| Token::Map)?;
        self.levels.enter()?;
        let value = visitor.visit_map(Elements { decoder: &mut *self, left: len })?;
        self.levels.leave();
        Ok(value)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.fields(name, Names::Known(fields), visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_enum(Variant { decoder: self, name })
    }
}

/// A sequence, tuple or map on its way.
struct Elements<'d, 'de, P> {
    decoder: &'d mut Decoder<'de, P>,
    left: usize,
}

impl<P: Probe> Elements<'_, '_, P> {
    #[inline]
    fn next(&mut self) -> bool {
        let more = self.left > 0;
        self.left -= usize::from(more);
        more
    }

    /// Nothing, where the bytes that are there cannot be that many elements: then nobody reserves memory for them.
    #[inline]
    fn credible(&self) -> Option<usize> {
        (self.left <= self.decoder.rest.len()).then_some(self.left)
    }
}

impl<'de, P: Probe> de::SeqAccess<'de> for Elements<'_, 'de, P> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if self.next() { seed.deserialize(&mut *self.decoder).map(Some) } else { Ok(None) }
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.credible()
    }
}

impl<'de, P: Probe> de::MapAccess<'de> for Elements<'_, 'de, P> {
    type Error = Fault;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if self.next() { seed.deserialize(&mut *self.decoder).map(Some) } else { Ok(None) }
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(&mut *self.decoder)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.credible()
    }
}

/// A struct, or a variant with fields, on its way.
struct Fields<'d, 'de, P> {
    decoder: &'d mut Decoder<'de, P>,
    name: &'static str,
    names: Names,
    next: usize,
}

impl<'de, P: Probe> de::SeqAccess<'de> for Fields<'_, 'de, P> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let index = self.next;
        if index == self.names.len() {
            return Ok(None);
        }
        self.next += 1;
        self.decoder.probe.field(self.names.all().get(index).copied());
        // By its number: with `alias`, the names are more than the fields.
        let read = seed.deserialize(&mut *self.decoder);
        read.map(Some).map_err(|fault| fault.at(Place::element(self.name, index)))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.names.len() - self.next)
    }
}

/// A variant of the enum of this name.
struct Variant<'d, 'de, P> {
    decoder: &'d mut Decoder<'de, P>,
    name: &'static str,
}

impl<'de, P: Probe> de::EnumAccess<'de> for Variant<'_, 'de, P> {
    type Error = Fault;
    type Variant = Self;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Fault> {
        let index: u32 = self.decoder.read(|_| Token::Variant)?;
        let variant = seed.deserialize(IntoDeserializer::<Fault>::into_deserializer(index))?;
        Ok((variant, self))
    }
}

impl<'de, P: Probe> de::VariantAccess<'de> for Variant<'_, 'de, P> {
    type Error = Fault;

    #[inline]
    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        self.decoder.levels.enter()?;
        let value = seed.deserialize(&mut *self.decoder)?;
        self.decoder.levels.leave();
        Ok(value)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.decoder.fields(self.name, Names::Count(len), visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.decoder.fields(self.name, Names::Known(fields), visitor)
    }
}
