//! The header of a safetensors file, read as an allegation: nothing in it is believed before it fits the file.
//!
//! Layout: eight bytes, the header's length, little endian; the header, JSON; the data. Checked: the header lies inside the
//! file and is at most 100 MB, no name stands twice, every dtype is one of the format's, every tensor's byte count is its
//! shape's, and the tensors fill the data from end to end, without gaps or overlaps.
//! Why not the `safetensors` crate: it keeps the last of two tensors with one name, and reports an error by kind, not by tensor.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::CheckpointError;
use super::json::{Unique, UniqueMap};
use crate::tensor::DType;

/// The largest header that any writer of the format makes.
const HEADER_BYTES_MAX: u64 = 100_000_000;
/// More dimensions than any tensor has.
const RANK_MAX: usize = 8;

/// One tensor of a file: its place has been checked against the file.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    /// `None` for a type of the format that nothing here computes with.
    pub(super) dtype: Option<DType>,
    /// The type as the file spells it.
    pub(super) dtype_name: &'static str,
    /// First byte in the file.
    pub(super) begin: usize,
    /// One past the last byte in the file.
    pub(super) end: usize,
}

/// What a file's header says.
#[derive(Debug)]
pub(super) struct Header {
    /// In the order of their data.
    pub(super) entries: Vec<Entry>,
    /// Texts by name, for those who wrote the file.
    pub(super) metadata: Vec<(String, String)>,
}

/// Reads the header of the file with these bytes.
pub(super) fn read(path: &Path, file: &[u8]) -> Result<Header, CheckpointError> {
    let wrong = |what: String| CheckpointError::header(path, what);
    let (header, data_begin) = split(file).map_err(wrong)?;
    let Alleged { tensors, metadata } = serde_json::from_slice(header).map_err(|e| wrong(e.to_string()))?;

    let mut entries = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        match place(&tensor, data_begin, file.len()) {
            Ok((dtype_name, dtype, begin, end)) => {
                entries.push(Entry { name, shape: tensor.shape.0, dtype, dtype_name, begin, end });
            }
            Err(what) => return Err(wrong(format!("tensor `{name}`: {what}"))),
        }
    }
    entries.sort_by_key(|e| (e.begin, e.end));
    let mut filled = data_begin;
    for entry in &entries {
        if entry.begin != filled {
            let (name, begin) = (&entry.name, entry.begin);
            return Err(wrong(format!(
                "tensor `{name}` begins at byte {begin}, the one before it ends at byte {filled}"
            )));
        }
        filled = entry.end;
    }
    if filled != file.len() {
        return Err(wrong(format!("the tensors end at byte {filled}, the file at byte {}", file.len())));
    }
    Ok(Header { entries, metadata })
}

/// The header's bytes, and where in the file the data begins.
fn split(file: &[u8]) -> Result<(&[u8], usize), String> {
    let Some((length, rest)) = file.split_first_chunk::<8>() else {
        return Err(format!("the file has {} bytes, too few for a header", file.len()));
    };
    let length = u64::from_le_bytes(*length);
    if HEADER_BYTES_MAX < length {
        return Err(format!("its length is given as {length} bytes, the most is {HEADER_BYTES_MAX}"));
    }
    let header = usize::try_from(length).ok().and_then(|n| rest.get(..n));
    let header = header
        .ok_or_else(|| format!("its length is given as {length} bytes, the file has {}", rest.len()))?;
    Ok((header, 8 + header.len()))
}

/// Where a tensor lies in the file, and its type.
fn place(
    tensor: &AllegedTensor<'_>,
    data_begin: usize,
    file_bytes: usize,
) -> Result<(&'static str, Option<DType>, usize, usize), String> {
    let (dtype_name, dtype_bytes, dtype) =
        dtype(&tensor.dtype).ok_or_else(|| format!("unknown dtype `{}`", tensor.dtype.escape_debug()))?;
    let shape = &tensor.shape.0;
    let n_bytes = shape.iter().try_fold(dtype_bytes, |n, d| n.checked_mul(*d));
    let n_bytes = n_bytes.ok_or_else(|| format!("shape {shape:?} overflows"))?;
    let [begin, end] = tensor.data_offsets;
    if end.checked_sub(begin) != u64::try_from(n_bytes).ok() {
        return Err(format!(
            "{dtype_name} {shape:?} takes {n_bytes} bytes, its offsets are {begin} to {end}"
        ));
    }
    let in_file =
        |offset: u64| usize::try_from(offset).ok()?.checked_add(data_begin).filter(|o| *o <= file_bytes);
    match (in_file(begin), in_file(end)) {
        (Some(begin), Some(end)) => Ok((dtype_name, dtype, begin, end)),
        _ => Err(format!(
            "offsets {begin} to {end} lie outside the file's {} bytes of data",
            file_bytes - data_begin
        )),
    }
}

/// The format's whole-byte types: spelling, bytes each, and our type where there is one.
fn dtype(name: &str) -> Option<(&'static str, usize, Option<DType>)> {
    Some(match name {
        "F32" => ("F32", 4, Some(DType::F32)),
        "F16" => ("F16", 2, Some(DType::F16)),
        "BF16" => ("BF16", 2, Some(DType::Bf16)),
        "I32" => ("I32", 4, Some(DType::I32)),
        "U8" => ("U8", 1, Some(DType::U8)),
        "F64" => ("F64", 8, None),
        "I64" => ("I64", 8, None),
        "U64" => ("U64", 8, None),
        "U32" => ("U32", 4, None),
        "I16" => ("I16", 2, None),
        "U16" => ("U16", 2, None),
        "I8" => ("I8", 1, None),
        "BOOL" => ("BOOL", 1, None),
        "F8_E4M3" => ("F8_E4M3", 1, None),
        "F8_E5M2" => ("F8_E5M2", 1, None),
        "F8_E8M0" => ("F8_E8M0", 1, None),
        _ => return None,
    })
}

/// What a header says: its tensors in its own order.
struct Alleged<'a> {
    tensors: Vec<(String, AllegedTensor<'a>)>,
    metadata: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AllegedTensor<'a> {
    #[serde(borrow)]
    dtype: Cow<'a, str>,
    shape: Extents,
    data_offsets: [u64; 2],
}

/// At most [`RANK_MAX`] extents: a header must not make us store more than it is long.
struct Extents(Vec<usize>);

impl<'de: 'a, 'a> Deserialize<'de> for Alleged<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tensors;
        impl<'de> Visitor<'de> for Tensors {
            type Value = Alleged<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut tensors, mut metadata) = (Vec::new(), Vec::new());
                let mut seen = Unique::default();
                while let Some(name) = map.next_key::<String>()? {
                    seen.add(&name).map_err(A::Error::custom)?;
                    let about = |e| A::Error::custom(format_args!("`{name}`: {e}"));
                    if name == "__metadata__" {
                        metadata = map.next_value::<UniqueMap<String>>().map_err(about)?.0;
                    } else {
                        let tensor = map.next_value().map_err(about)?;
                        tensors.push((name, tensor));
                    }
                }
                Ok(Alleged { tensors, metadata })
            }
        }
        deserializer.deserialize_map(Tensors)
    }
}

impl<'de> Deserialize<'de> for Extents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sizes;
        impl<'de> Visitor<'de> for Sizes {
            type Value = Extents;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {RANK_MAX} extents")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut extents = Vec::new();
                while let Some(extent) = seq.next_element()? {
                    if extents.len() == RANK_MAX {
                        return Err(A::Error::invalid_length(RANK_MAX + 1, &self));
                    }
                    extents.push(extent);
                }
                Ok(Extents(extents))
            }
        }
        deserializer.deserialize_seq(Sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with this header and this many bytes of data.
    fn file(header: &str, n_data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + n_data, 7);
        bytes
    }

    fn check(header: &str, n_data: usize, expected: Result<&[&str], &str>) {
        let found = read(Path::new("x.safetensors"), &file(header, n_data));
        match (found, expected) {
            (Ok(header), Ok(names)) => {
                assert_eq!(header.entries.iter().map(|e| &e.name[..]).collect::<Vec<_>>(), names)
            }
            (Err(e), Err(part)) => assert!(e.to_string().contains(part), "{e}"),
            (found, expected) => panic!("{header}: {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn entries_come_in_the_order_of_their_data() {
        let a = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}"#;
        let b = r#""b":{"dtype":"BF16","shape":[2,1],"data_offsets":[0,4]}"#;
        let scalar = r#""c":{"dtype":"U8","shape":[],"data_offsets":[12,13]}"#;
        check(
            &format!(r#"{{"__metadata__":{{"format":"pt"}},{a},{b},{scalar}}}  "#),
            13,
            Ok(&["b", "a", "c"]),
        );
        check("{}", 0, Ok(&[]));
    }

    #[test]
    fn names_what_is_wrong() {
        let tensor = |dtype, shape, offsets| {
            format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        check(&tensor("F32", "[2]", "[0,8]"), 9, Err("the tensors end at byte"));
        check(&tensor("F32", "[2]", "[1,9]"), 9, Err("tensor `a` begins at byte"));
        check(&tensor("F32", "[2]", "[0,8]"), 7, Err("lie outside"));
        check(&tensor("F32", "[3]", "[0,8]"), 8, Err("takes 12 bytes"));
        check(&tensor("F32", "[2]", "[8,0]"), 8, Err("takes 8 bytes"));
        check(&tensor("F32", "[4294967296,4294967296]", "[0,0]"), 0, Err("overflows"));
        check(&tensor("F32", "[-1]", "[0,4]"), 4, Err("`a`"));
        check(&tensor("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, Err("at most 8 extents"));
        check(&tensor("Q4_K", "[1]", "[0,1]"), 1, Err("unknown dtype `Q4_K`"));
        let twice = r#""a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
        check(&format!("{{{twice},{twice}}}"), 1, Err("`a` stands twice"));
        let other = twice.replace("\"a\"", "\"b\"");
        check(&format!("{{{twice},{other}}}"), 1, Err("the one before it ends"));
        check("[]", 0, Err("object of tensors"));
        check("", 0, Err("EOF"));
    }

    #[test]
    fn a_header_longer_than_its_file_is_refused_before_it_is_read() {
        for length in [1, 100_000_000, 100_000_001, u64::MAX] {
            let found = read(Path::new("x"), &length.to_le_bytes());
            assert!(found.is_err_and(|e| e.to_string().contains("its length is given as")));
        }
        assert!(read(Path::new("x"), &[0; 7]).is_err());
    }
}
