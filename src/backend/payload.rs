//! What a backend has built, as bytes that stay where they are.

use std::ops::Range;
use std::sync::Arc;

/// What `build` has made of a network's weights, as bytes that stay in place.
#[derive(Clone)]
pub struct Payload {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
    is_mapped: bool,
}

impl Payload {
    /// Part of a mapped file.
    ///
    /// # Panics
    /// If the range is beyond the file: whoever read its table has checked it.
    pub fn mapped(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> Payload {
        assert!(
            range.start <= range.end && range.end <= (*owner).as_ref().len(),
            "checked by the file's reader"
        );
        Payload { owner, range, is_mapped: true }
    }

    /// Private memory.
    pub fn in_memory(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Payload {
        let range = 0..bytes.as_ref().len();
        Payload { owner: Arc::new(bytes), range, is_mapped: false }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }

    /// Whether they are part of a file, shared between processes.
    pub fn is_mapped(&self) -> bool {
        self.is_mapped
    }
}
