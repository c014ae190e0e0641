//! Which seeds are for what: no clip of one split is drawn in another.

use crate::scenes::Rng;

/// What clips are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// Models learn from them.
    Train,
    /// Choices between models are made by them.
    Validation,
    /// Figures are reported of them, and nothing else.
    HeldOut,
}

impl Split {
    /// Every split.
    pub const ALL: [Split; 3] = [Split::Train, Split::Validation, Split::HeldOut];

    /// As the command line names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::HeldOut => "held-out",
        }
    }

    /// The generator of clip `index`. The split stands in the seed's highest bits.
    ///
    /// # Panics
    /// If the index reaches 2^62.
    #[must_use]
    pub fn rng(self, index: u64) -> Rng {
        assert!(index < 1 << 62, "an index of a clip is below 2^62");
        let place = Split::ALL.iter().position(|split| *split == self).expect("all are listed");
        Rng::new(index | (place as u64 + 1) << 62)
    }
}
