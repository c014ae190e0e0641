//! What a Parquet file of a stranger says of its pages, held against its bytes before a page is read.
//!
//! The library makes room for what a page's head says: two gigabytes of values, or so many entries of a dictionary. Here every head of
//! a column is read first (Thrift's compact protocol), and what cannot be true of the bytes in the file is refused. Encodings that
//! neither Arrow nor this program writes unasked are refused as well: their heads say sizes of their own.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use parquet::file::metadata::ColumnChunkMetaData;

/// A page's head has no more bytes.
const HEAD_BYTES_MAX: u64 = 1 << 20;
/// A page may have so many bytes, and `RATIO` for each of its compressed ones: more is no image.
const PAGE_BYTES: u64 = 16 << 20;
const RATIO: u64 = 64;
/// An entry of a dictionary has at least so many.
const ENTRY_BYTES: u64 = 4;
const DEPTH_MAX: usize = 8;
/// Plain, dictionaries, run lengths.
const ENCODINGS: [i64; 4] = [0, 2, 3, 8];

/// Looks at all pages of a column in a row group.
pub(super) fn check(file: &mut File, column: &ColumnChunkMetaData) -> Result<(), String> {
    let file_bytes = file.metadata().map_err(|error| error.to_string())?.len();
    let first = match column.dictionary_page_offset() {
        Some(dictionary) if 0 < dictionary => dictionary.min(column.data_page_offset()),
        _ => column.data_page_offset(),
    };
    let range = u64::try_from(first).ok().zip(u64::try_from(column.compressed_size()).ok());
    let end = range.and_then(|(first, bytes)| Some((first, first.checked_add(bytes)?)));
    let Some((mut at, end)) = end.filter(|(_, end)| *end <= file_bytes) else {
        return Err(format!("a column lies beyond its {file_bytes} bytes"));
    };
    // The library goes by these two itself.
    if column.data_page_offset() < 0 || column.dictionary_page_offset().is_some_and(|at| at < 0) {
        return Err("a column begins before it".to_owned());
    }
    let mut bytes = Vec::new();
    while at < end {
        bytes.clear();
        file.seek(SeekFrom::Start(at)).map_err(|error| error.to_string())?;
        let n = (end - at).min(256);
        file.by_ref().take(n).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        let mut head = Head::read(&bytes);
        if head.is_none() {
            let n = (end - at).min(HEAD_BYTES_MAX) - n;
            file.by_ref().take(n).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
            head = Head::read(&bytes);
        }
        let Some(Head { bytes: head_bytes, sizes: [Some(plain), Some(packed)], entries, encoding }) = head
        else {
            return Err(format!("byte {at} begins no page"));
        };
        let (Ok(plain), Ok(packed)) = (u64::try_from(plain), u64::try_from(packed)) else {
            return Err(format!("the page at byte {at} has less than no bytes"));
        };
        at += head_bytes as u64;
        if end - at < packed {
            return Err(format!(
                "the page before byte {at} has {packed} bytes, of which {} are there",
                end - at
            ));
        }
        if RATIO * packed + PAGE_BYTES < plain {
            return Err(format!("the page at byte {at} would be {plain} bytes, from {packed}"));
        }
        if let Some(entries) = entries
            && u64::try_from(entries).is_ok_and(|entries| plain / ENTRY_BYTES < entries)
        {
            return Err(format!("the dictionary at byte {at} would have {entries} entries in {plain} bytes"));
        }
        if let Some(encoding) = encoding.filter(|encoding| !ENCODINGS.contains(encoding)) {
            return Err(format!(
                "the page at byte {at} is encoded in manner {encoding}, which is not read; write it plain or with a dictionary"
            ));
        }
        at += packed;
    }
    Ok(())
}

/// What a page's head says.
#[derive(Debug, Default, PartialEq)]
struct Head {
    /// Its own length.
    bytes: usize,
    /// Bytes of the page, and as they lie there.
    sizes: [Option<i64>; 2],
    /// Entries of a dictionary.
    entries: Option<i64>,
    encoding: Option<i64>,
}

impl Head {
    /// Of bytes that begin with one; none where they do not, or end within it.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut head = Self::default();
        let mut rest = bytes;
        each_field(&mut rest, &mut |field, kind, rest| {
            match (field, kind) {
                (2 | 3, I32) => head.sizes[usize::from(field == 3)] = Some(number(rest)?),
                // Data page, dictionary page, data page of the second version.
                (5 | 7 | 8, STRUCT) => each_field(rest, &mut |inner, kind, rest| {
                    match (field, inner, kind) {
                        (7, 1, I32) => head.entries = Some(number(rest)?),
                        (5 | 7, 2, I32) | (8, 4, I32) => head.encoding = Some(number(rest)?),
                        _ => skip(rest, kind, DEPTH_MAX)?,
                    }
                    Some(())
                })?,
                _ => skip(rest, kind, DEPTH_MAX)?,
            }
            Some(())
        })?;
        head.bytes = bytes.len() - rest.len();
        Some(head)
    }
}

const I32: u8 = 5;
const STRUCT: u8 = 12;

/// Takes the value of a field of this number and kind.
type Take<'t, 'a> = dyn FnMut(i64, u8, &mut &'a [u8]) -> Option<()> + 't;

/// Reads a structure, of which `take` takes each field's value.
fn each_field<'a>(rest: &mut &'a [u8], take: &mut Take<'_, 'a>) -> Option<()> {
    let mut field = 0i64;
    loop {
        let head = byte(rest)?;
        if head == 0 {
            return Some(());
        }
        field = match head >> 4 {
            0 => number(rest)?,
            step => field.checked_add(i64::from(step))?,
        };
        take(field, head & 15, rest)?;
    }
}

fn skip(rest: &mut &[u8], kind: u8, depth: usize) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    match kind {
        1 | 2 => {}
        3 => {
            byte(rest)?;
        }
        4..=6 => {
            number(rest)?;
        }
        7 => *rest = rest.get(8..)?,
        8 => {
            let n = usize::try_from(varint(rest)?).ok()?;
            *rest = rest.get(n..)?;
        }
        9 | 10 => {
            let head = byte(rest)?;
            let n = if head >> 4 == 15 { varint(rest)? } else { u64::from(head >> 4) };
            for _ in 0..n {
                // Truths have a byte each in a list.
                skip(rest, if head & 15 <= 2 { 3 } else { head & 15 }, depth)?;
            }
        }
        STRUCT => each_field(rest, &mut |_, kind, rest| skip(rest, kind, depth))?,
        _ => return None,
    }
    Some(())
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    let (first, others) = rest.split_first()?;
    *rest = others;
    Some(*first)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = byte(rest)?;
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Some(value);
        }
    }
    None
}

/// With the sign in the lowest bit.
fn number(rest: &mut &[u8]) -> Option<i64> {
    let value = varint(rest)?;
    Some((value >> 1) as i64 ^ -((value & 1) as i64))
}

#[cfg(test)]
#[test]
fn a_head_is_read_to_its_end_or_not_at_all() {
    // Type 0, 300 bytes from 20, and a data page of 7 values in encoding 8 with levels in runs (3), statistics with a text.
    let head = [
        0x15, 0x00, 0x15, 0xd8, 0x04, 0x15, 0x28, 0x2c, 0x15, 0x0e, 0x15, 0x10, 0x15, 0x06, 0x15, 0x06, 0x1c,
        0x18, 0x02, b'h', b'i', 0x00, 0x00, 0x00,
    ];
    let expected = Head { bytes: head.len(), sizes: [Some(300), Some(20)], entries: None, encoding: Some(8) };
    assert_eq!(Head::read(&[&head[..], &[1, 2, 3]].concat()), Some(expected));
    for n in 0..head.len() {
        assert_eq!(Head::read(&head[..n]), None, "{n}");
    }
    // Structures within structures without an end, a list of more than there is, a number that does not end.
    assert_eq!(Head::read(&[0x1c; 99]), None);
    assert_eq!(Head::read(&[0x19, 0xf5, 0xff, 0xff, 0xff, 0xff, 0x0f, 1]), None);
    assert_eq!(Head::read(&[0xff; 99]), None);
}
