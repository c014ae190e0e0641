//! A text of at most `N` bytes that lives in place.
//!
//! Why not `String`: the texts of an image header are a stranger's, and a claimed frame id of a gigabyte must be an
//! error, not an allocation. Decoding also runs under the topic cache's lock, where nothing should wait on the heap.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};

/// A UTF-8 text of at most `N` bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ShortString<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> ShortString<N> {
    /// A copy of `text`, or `None` if it is longer than `N` bytes.
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; N];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { bytes, len: text.len() })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).expect("copied from a `str`")
    }
}

impl<const N: usize> Default for ShortString<N> {
    fn default() -> Self {
        Self { bytes: [0; N], len: 0 }
    }
}

impl<const N: usize> fmt::Debug for ShortString<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<const N: usize> Serialize for ShortString<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de, const N: usize> Deserialize<'de> for ShortString<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Copying<const N: usize>;
        impl<const N: usize> Visitor<'_> for Copying<N> {
            type Value = ShortString<N>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a text of at most {N} bytes")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                ShortString::new(text).ok_or_else(|| E::invalid_length(text.len(), &self))
            }
        }
        deserializer.deserialize_str(Copying)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_up_to_its_length_and_no_more() {
        assert_eq!(ShortString::<4>::new("äö").map(|s| s.as_str().to_owned()).as_deref(), Some("äö"));
        assert_eq!(ShortString::<4>::new("abcde"), None);
        assert_eq!(ShortString::<4>::default().as_str(), "");
    }
}
