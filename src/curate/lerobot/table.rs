//! Tables as Parquet files, in the columns that LeRobot's are of and laid out as Arrow writes them: every value may be missing by its
//! type, and none is.
//!
//! Values are neither compressed nor looked up: nearly all bytes are images, which are compressed. So pages go to the file as they fill,
//! and of a row group one column at a time is in memory, of images one page.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};
use sha2::{Digest as _, Sha256};

use crate::container::hex;
use crate::curate::error::CurateError;

/// The level of what may be missing, and is there.
const PRESENT: i16 = 1;

/// What a column holds in each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    I64,
    F32,
    Text,
    /// An image file's bytes, and its name.
    Image,
    F32s,
    F64s,
    I64s,
    Texts,
    /// A number for each channel, as an image of one pixel.
    Channels,
}

/// The values of a column in the rows of one group.
pub(super) enum Cells<'a> {
    I64(Vec<i64>),
    F32(Vec<f32>),
    Text(Vec<String>),
    /// So many, and what gives name and bytes of one after the other.
    Images(usize, &'a mut dyn FnMut(usize) -> Result<(String, Vec<u8>), CurateError>),
    F32s(Vec<Vec<f32>>),
    F64s(Vec<Vec<f64>>),
    I64s(Vec<Vec<i64>>),
    Texts(Vec<Vec<String>>),
    Channels(Vec<[f64; 3]>),
}

/// A file that is being written.
pub(super) struct Table {
    path: PathBuf,
    writer: SerializedFileWriter<BufWriter<Digesting>>,
}

/// A file that is whole.
pub(super) struct Written {
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

struct Digesting {
    file: File,
    digest: Sha256,
    bytes: u64,
}

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.digest.update(&bytes[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Table {
    /// Begins a file of these columns. `described` is what is said of the whole, by names.
    pub(super) fn begin(
        path: &Path,
        columns: &[(String, Column)],
        described: &[(&str, String)],
    ) -> Result<Self, CurateError> {
        let schema = schema(columns).map_err(|error| failed(path, error))?;
        let described =
            described.iter().map(|(name, text)| KeyValue::new((*name).to_owned(), text.clone())).collect();
        let mut properties = WriterProperties::builder()
            // A library's version would be another one's bytes.
            .set_created_by("perihelion".to_owned())
            .set_dictionary_enabled(false)
            .set_offset_index_disabled(true)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_key_value_metadata(Some(described));
        for (name, column) in columns {
            if *column == Column::Image {
                for part in ["bytes", "path"] {
                    let place = vec![name.clone(), part.to_owned()].into();
                    properties = properties.set_column_statistics_enabled(place, EnabledStatistics::None);
                }
            }
        }
        let file = File::create_new(path).map_err(CurateError::at(path))?;
        let out = BufWriter::new(Digesting { file, digest: Sha256::new(), bytes: 0 });
        let writer = SerializedFileWriter::new(out, schema, Arc::new(properties.build()));
        Ok(Self { path: path.to_owned(), writer: writer.map_err(|error| failed(path, error))? })
    }

    /// Writes a group of rows, the columns in their order.
    pub(super) fn write(&mut self, cells: Vec<Cells<'_>>) -> Result<(), CurateError> {
        let Self { path, writer } = self;
        let mut group = writer.next_row_group().map_err(|error| failed(path, error))?;
        let mut leaves = Leaves { path, group: &mut group };
        for cells in cells {
            leaves.write(cells)?;
        }
        group.close().map(drop).map_err(|error| failed(path, error))
    }

    pub(super) fn end(self) -> Result<Written, CurateError> {
        let Self { path, writer } = self;
        let out = writer.into_inner().map_err(|error| failed(&path, error))?;
        let out = out.into_inner().map_err(|error| CurateError::at(&path)(error.into_error()))?;
        Ok(Written { bytes: out.bytes, sha256: hex(&out.digest.finalize()) })
    }
}

/// The columns of a file's schema, one after the other.
struct Leaves<'a, 'g> {
    path: &'a Path,
    group: &'a mut SerializedRowGroupWriter<'g, BufWriter<Digesting>>,
}

impl Leaves<'_, '_> {
    fn write(&mut self, cells: Cells<'_>) -> Result<(), CurateError> {
        match cells {
            Cells::I64(values) => self.plain::<Int64Type>(&values, PRESENT),
            Cells::F32(values) => self.plain::<FloatType>(&values, PRESENT),
            Cells::Text(values) => self.plain::<ByteArrayType>(&bytes(values), PRESENT),
            Cells::F32s(rows) => self.lists::<FloatType>(rows),
            Cells::F64s(rows) => self.lists::<DoubleType>(rows),
            Cells::I64s(rows) => self.lists::<Int64Type>(rows),
            Cells::Texts(rows) => self.lists::<ByteArrayType>(rows.into_iter().map(bytes).collect()),
            Cells::Channels(rows) => {
                let (levels, repeats) = levels(rows.iter().map(|row| row.len()), 7);
                self.leaf::<DoubleType>(rows.as_flattened(), &levels, Some(&repeats))
            }
            Cells::Images(n, read) => {
                let mut names = Vec::new();
                self.column(|path, column| {
                    for at in 0..n {
                        let (name, image) = read(at)?;
                        names.push(name);
                        let image = ByteArray::from(image);
                        let written = column.typed::<ByteArrayType>().write_batch(&[image], Some(&[2]), None);
                        written.map_err(|error| failed(path, error))?;
                    }
                    Ok(())
                })?;
                self.plain::<ByteArrayType>(&bytes(names), 2)
            }
        }
    }

    fn plain<T: DataType>(&mut self, values: &[T::T], level: i16) -> Result<(), CurateError> {
        self.leaf::<T>(values, &vec![level; values.len()], None)
    }

    /// Rows of at least one value.
    fn lists<T: DataType>(&mut self, rows: Vec<Vec<T::T>>) -> Result<(), CurateError> {
        let (levels, repeats) = levels(rows.iter().map(Vec::len), 3);
        let values: Vec<T::T> = rows.into_iter().flatten().collect();
        self.leaf::<T>(&values, &levels, Some(&repeats))
    }

    fn leaf<T: DataType>(
        &mut self,
        values: &[T::T],
        levels: &[i16],
        repeats: Option<&[i16]>,
    ) -> Result<(), CurateError> {
        self.column(|path, column| {
            let written = column.typed::<T>().write_batch(values, Some(levels), repeats);
            written.map(drop).map_err(|error| failed(path, error))
        })
    }

    fn column(
        &mut self,
        write: impl FnOnce(
            &Path,
            &mut parquet::file::writer::SerializedColumnWriter<'_>,
        ) -> Result<(), CurateError>,
    ) -> Result<(), CurateError> {
        let next = self.group.next_column().map_err(|error| failed(self.path, error))?;
        let mut column = next.expect("cells are as the columns of the schema");
        write(self.path, &mut column)?;
        column.close().map_err(|error| failed(self.path, error))
    }
}

fn levels(lengths: impl Iterator<Item = usize>, level: i16) -> (Vec<i16>, Vec<i16>) {
    let repeats: Vec<i16> = lengths.flat_map(|n| (0..n).map(|at| i16::from(0 < at))).collect();
    (vec![level; repeats.len()], repeats)
}

fn bytes(texts: Vec<String>) -> Vec<ByteArray> {
    texts.into_iter().map(|text| ByteArray::from(text.into_bytes())).collect()
}

fn schema(columns: &[(String, Column)]) -> Result<TypePtr, ParquetError> {
    let fields = columns.iter().map(|(name, column)| {
        Ok(match column {
            Column::I64 => number(name, Physical::INT64)?,
            Column::F32 => number(name, Physical::FLOAT)?,
            Column::Text => text(name)?,
            Column::Image => {
                let parts = vec![number("bytes", Physical::BYTE_ARRAY)?, text("path")?];
                let group = Type::group_type_builder(name).with_repetition(Repetition::OPTIONAL);
                Arc::new(group.with_fields(parts).build()?)
            }
            Column::F32s => list(name, number("element", Physical::FLOAT)?)?,
            Column::F64s => list(name, number("element", Physical::DOUBLE)?)?,
            Column::I64s => list(name, number("element", Physical::INT64)?)?,
            Column::Texts => list(name, text("element")?)?,
            Column::Channels => {
                let pixel = list("element", number("element", Physical::DOUBLE)?)?;
                list(name, list("element", pixel)?)?
            }
        })
    });
    let fields = fields.collect::<Result<Vec<_>, ParquetError>>()?;
    Ok(Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?))
}

fn number(name: &str, physical: Physical) -> Result<TypePtr, ParquetError> {
    let leaf = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
    Ok(Arc::new(leaf.build()?))
}

fn text(name: &str) -> Result<TypePtr, ParquetError> {
    let leaf = Type::primitive_type_builder(name, Physical::BYTE_ARRAY)
        .with_repetition(Repetition::OPTIONAL)
        .with_converted_type(ConvertedType::UTF8)
        .with_logical_type(Some(LogicalType::String));
    Ok(Arc::new(leaf.build()?))
}

fn list(name: &str, element: TypePtr) -> Result<TypePtr, ParquetError> {
    let repeated = Type::group_type_builder("list").with_repetition(Repetition::REPEATED);
    let repeated = Arc::new(repeated.with_fields(vec![element]).build()?);
    let group = Type::group_type_builder(name)
        .with_repetition(Repetition::OPTIONAL)
        .with_converted_type(ConvertedType::LIST)
        .with_logical_type(Some(LogicalType::List));
    Ok(Arc::new(group.with_fields(vec![repeated]).build()?))
}

/// What the system says where it is that, or what the library says.
fn failed(path: &Path, error: ParquetError) -> CurateError {
    let source = match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(source) => *source,
            Err(source) => std::io::Error::other(source),
        },
        error => std::io::Error::other(error),
    };
    CurateError::Io { path: path.to_owned(), source }
}
