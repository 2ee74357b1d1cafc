//! Members of JSON values as raw text, so that an unreadable one does not spoil the others.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Bytes that values are parsed from. They need not be UTF-8: strings may hold parts of characters.
pub(super) struct Source<'a> {
    bytes: &'a [u8],
    /// `bytes` with a `?` for each byte that is not UTF-8; equally long.
    text: Cow<'a, str>,
}

impl<'a> Source<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(masked(bytes)),
        };
        Self { bytes, text }
    }

    /// Text to parse values from.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Bytes of `value`, which must come from this source, if it is a string; lone surrogates as in WTF-8.
    pub(super) fn bytes(&self, value: &RawValue) -> Option<Vec<u8>> {
        // The value borrows from the text, whose offsets equal those of the bytes.
        let at = value.get().as_ptr().addr().checked_sub(self.text.as_ptr().addr())?;
        let bytes = self.bytes.get(at..at.checked_add(value.get().len())?)?;
        if !bytes.starts_with(b"\"") {
            return None;
        }
        serde_json::Deserializer::from_slice(bytes).deserialize_bytes(StringBytes).ok()
    }

    /// `value` if it is a string, decoded lossily.
    pub(super) fn string(&self, value: &RawValue) -> Option<String> {
        self.bytes(value).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// `bytes` with a `?` for each that is not UTF-8.
fn masked(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}

/// Members of `value` with these names, `null` as `None`; `None` if it is no object.
pub(super) fn named<'a, const N: usize>(value: &'a RawValue, names: [&str; N]) -> Option<[Option<&'a RawValue>; N]> {
    if !value.get().starts_with('{') {
        return None;
    }
    serde_json::Deserializer::from_str(value.get()).deserialize_map(Named(names)).ok()
}

/// Elements of `value`; `None` if it is no list.
pub(super) fn elements(value: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(value.get()).ok()
}

/// Visitor for the members of these names. The last of duplicates counts.
struct Named<'n, const N: usize>([&'n str; N]);

impl<'a, const N: usize> Visitor<'a> for Named<'_, N> {
    type Value = [Option<&'a RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = [None; N];
        while let Some(place) = map.next_key_seed(Place(&self.0))? {
            match place.and_then(|place| members.get_mut(place)) {
                Some(member) => *member = map.next_value::<Option<&RawValue>>()?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(members)
    }
}

/// Deserializes a name as its index among these.
struct Place<'n>(&'n [&'n str]);

impl<'a> DeserializeSeed<'a> for Place<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        // As bytes: an invalid name must not fail the whole object.
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Place<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_bytes<E>(self, name: &[u8]) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|wanted| wanted.as_bytes() == name))
    }
}

/// Deserializes a string as bytes.
struct StringBytes;

impl Visitor<'_> for StringBytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(bytes.to_vec())
    }
}
