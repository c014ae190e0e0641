//! The columns of a Parquet file, a row at a time.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parquet::basic::{Compression, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type};
use parquet::file::reader::{FileReader as _, SerializedFileReader};

use super::pages;

/// What is said of a file at its end has at most so many bytes.
const FOOTER_BYTES_MAX: u64 = 256 << 20;
/// Values of a row's list, at most.
const VALUES_MAX: usize = 1 << 20;

/// A file.
pub(super) struct Columns {
    file: File,
    reader: SerializedFileReader<File>,
}

impl Columns {
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let metadata = file.metadata().map_err(|error| error.to_string())?;
        if !metadata.is_file() {
            return Err("it is no regular file".to_owned());
        }
        let footer_bytes = footer_bytes(&file, metadata.len())?;
        if FOOTER_BYTES_MAX.min(metadata.len()) < footer_bytes {
            return Err(format!("it says that its end has {footer_bytes} bytes"));
        }
        let copy = file.try_clone().map_err(|error| error.to_string())?;
        let reader = guarded(|| SerializedFileReader::new(copy))?;
        Ok(Self { file, reader })
    }

    pub(super) fn groups(&self) -> usize {
        self.reader.num_row_groups()
    }

    pub(super) fn rows(&self, group: usize) -> i64 {
        self.reader.metadata().row_group(group).num_rows()
    }

    /// The number of a column by the beginning of its path.
    pub(super) fn find(&self, parts: &[&str]) -> Option<usize> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let begins =
            |path: &[String]| path.len() >= parts.len() && path.iter().zip(parts).all(|(a, b)| a == b);
        schema.columns().iter().position(|column| begins(column.path().parts()))
    }

    /// The first column of texts.
    pub(super) fn find_text(&self) -> Option<usize> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        schema.columns().iter().position(|column| column.physical_type() == Physical::BYTE_ARRAY)
    }

    /// A column of a row group, once its pages were looked at.
    pub(super) fn column(&mut self, group: usize, column: usize) -> Result<Column, String> {
        let metadata = self.reader.metadata().row_group(group);
        let chunk = metadata.columns().get(column).ok_or("a row group lacks a column")?;
        if !matches!(
            chunk.compression(),
            Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::ZSTD(_)
        ) {
            let codec = chunk.compression();
            return Err(format!(
                "it is compressed by {codec}; expected none, SNAPPY or ZSTD, as lerobot writes it"
            ));
        }
        pages::check(&mut self.file, chunk)?;
        let has_lists = 0 < chunk.column_descr().max_rep_level();
        let reader = guarded(|| self.reader.get_row_group(group)?.get_column_reader(column))?;
        Ok(Column { reader, has_lists })
    }
}

fn footer_bytes(mut file: &File, file_bytes: u64) -> Result<u64, String> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut end = [0; 8];
    let read =
        file.seek(SeekFrom::Start(file_bytes.saturating_sub(8))).and_then(|_| file.read_exact(&mut end));
    let [a, b, c, d, magic @ ..] = end;
    match read {
        Ok(()) if magic == *b"PAR1" => Ok(u64::from(u32::from_le_bytes([a, b, c, d]))),
        _ => Err("it does not end as Parquet files do: it is cut, or something else".to_owned()),
    }
}

/// What the library says; also where it gives up because of bytes that it did not expect.
fn guarded<T>(read: impl FnOnce() -> parquet::errors::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err("it is damaged in a way that the reader of Parquet files does not take".to_owned()),
    }
}

/// A column that is being read.
pub(super) struct Column {
    reader: ColumnReader,
    has_lists: bool,
}

/// A row's value.
pub(super) enum Cell {
    Whole(Vec<i64>),
    Real(Vec<f64>),
    Bytes(Vec<ByteArray>),
}

impl Column {
    /// The next row's values: one, or those of its list; none for what is missing.
    pub(super) fn next(&mut self) -> Result<Cell, String> {
        let has_lists = self.has_lists;
        guarded(|| {
            Ok(match &mut self.reader {
                ColumnReader::Int64ColumnReader(reader) => Cell::Whole(row(reader, has_lists)?),
                ColumnReader::Int32ColumnReader(reader) => {
                    Cell::Whole(row::<Int32Type>(reader, has_lists)?.into_iter().map(i64::from).collect())
                }
                ColumnReader::FloatColumnReader(reader) => {
                    Cell::Real(row::<FloatType>(reader, has_lists)?.into_iter().map(f64::from).collect())
                }
                ColumnReader::DoubleColumnReader(reader) => Cell::Real(row::<DoubleType>(reader, has_lists)?),
                ColumnReader::ByteArrayColumnReader(reader) => {
                    Cell::Bytes(row::<ByteArrayType>(reader, has_lists)?)
                }
                _ => {
                    return Err(parquet::errors::ParquetError::General(
                        "a column of another type".to_owned(),
                    ));
                }
            })
        })
    }

    /// The next row's whole number.
    pub(super) fn whole(&mut self, name: &str) -> Result<i64, String> {
        match self.next()? {
            Cell::Whole(values) if values.len() == 1 => Ok(values[0]),
            _ => Err(format!("expected a whole number in each row of `{name}`")),
        }
    }
}

fn row<T: DataType>(reader: &mut ColumnReaderImpl<T>, has_lists: bool) -> parquet::errors::Result<Vec<T::T>> {
    let (mut values, mut levels, mut repeats) = (Vec::new(), Vec::new(), Vec::new());
    let repeats = has_lists.then_some(&mut repeats);
    let (n, _, _) = reader.read_records(1, Some(&mut levels), repeats, &mut values)?;
    if n == 0 {
        return Err(parquet::errors::ParquetError::General("it has fewer rows than it says".to_owned()));
    }
    if VALUES_MAX < values.len() {
        return Err(parquet::errors::ParquetError::General("a row has too many values".to_owned()));
    }
    Ok(values)
}
