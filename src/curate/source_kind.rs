//! What a source is, as records and manifests say it.

use serde::{Deserialize, Serialize};

/// What a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// A bag: a file, or a folder of files that follow each other.
    Bag,
    /// A folder of frames.
    Frames,
    /// A data set of LeRobot's.
    LeRobot,
}
