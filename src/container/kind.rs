//! The kinds of files.

use std::fmt;

/// What lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What `export` writes.
    Model,
    /// What `build` writes.
    Engine,
}

impl Kind {
    pub(super) const ALL: [Kind; 2] = [Kind::Model, Kind::Engine];

    pub(super) fn code(self) -> u32 {
        match self {
            Kind::Model => 1,
            Kind::Engine => 2,
        }
    }

    pub(super) fn article(self) -> &'static str {
        match self {
            Kind::Model => "a",
            Kind::Engine => "an",
        }
    }

    pub(super) fn made_by(self) -> &'static str {
        match self {
            Kind::Model => "`perihelion export CHECKPOINT -o MODEL` makes one",
            Kind::Engine => "`perihelion build MODEL -o ENGINE` makes one",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Model => "model",
            Kind::Engine => "engine",
        })
    }
}
