//! A robot's logs as a clean set of clips to calibrate on and to train with.
//!
//! Images of bags and of folders become clips in one pass: what a frame looks like is measured (`measure`), the stream is cut where
//! the picture or the clock jumps, and stretches that stand still, are dark, blurred or full of text are left out (`segment`). What
//! is left of a source lies in a folder of its own with its record (`survey`, `record`). All records together then become the set
//! (`finish`): near duplicates go, clips are put in order by aspect, size and length, and frames, shards or data sets (`lerobot`) are
//! written with a manifest and a page.
//!
//! Every decision follows from the frames and the parameters. What needs all sources at once is decided from their records alone, so
//! that parts made on several machines join to the bytes of one (`part`).
//!
//! Memory: of a clip that is being read the frames are on disk and their measures in memory; of a finished one a hash of each
//! frame stays.

mod beside;
mod bucket;
mod came;
mod duplicates;
mod encoded;
mod error;
mod finish;
mod hash;
mod lerobot;
mod manifest;
mod measure;
mod page;
mod parameters;
mod part;
mod pictures;
mod pixels;
mod reading;
mod record;
mod segment;
mod source;
mod source_kind;
mod survey;
mod text;
mod thumbnail;

pub use self::error::CurateError;
pub use self::finish::{Summary, finish};
pub use self::hash::Hash;
pub use self::lerobot::text_name_problem;
pub use self::manifest::{Count, MANIFEST_FILE, Totals};
pub use self::parameters::{Format, Parameters};
pub use self::part::{PART_FILE, Part, read_parts, take_share};
pub use self::record::{Begins, Clip, Damaged, Dropped, Measured, Reason, Said, SourceRecord, Stream};
pub use self::source::{Source, find};
pub use self::source_kind::SourceKind;
pub use self::survey::{RECORD_FILE, read_record, survey};
