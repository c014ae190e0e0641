//! A session that several loops run, with what its buffers hold.

use std::sync::Arc;

use super::feature_ring::FeatureRing;
use super::lender::{Lender, Limits, Loan};
use super::rows::CacheRows;
use crate::backend::{Memory, RunError, Session};

/// A session, and what stands in the buffers that more than one loop may read.
pub struct Held {
    pub(in crate::runtime) session: Box<dyn Session>,
    /// Rows of the key and value caches.
    pub(in crate::runtime) rows: CacheRows,
    /// Rows of the vision features.
    pub(in crate::runtime) features: FeatureRing,
}

/// A session that every loop over it has a handle of.
#[derive(Clone)]
pub struct SharedSession(Arc<Shared>);

struct Shared {
    lender: Lender<Held>,
    memory: Memory,
}

impl From<Box<dyn Session>> for SharedSession {
    /// Claims room for the counts; nothing is in the buffers yet.
    fn from(session: Box<dyn Session>) -> Self {
        let network = session.network();
        let features = network.buffer("visual_features");
        let features = FeatureRing::new(features.map_or(0, |id| network.buffers[id.index()].shape[0]));
        let rows = CacheRows::new(network.limit("context").unwrap_or(0));
        let memory = session.memory();
        Self(Arc::new(Shared { lender: Lender::new(Held { session, rows, features }), memory }))
    }
}

impl SharedSession {
    /// Takes it for one call.
    ///
    /// # Errors
    /// [`RunError::Deadline`] or [`RunError::Stopped`], if they come before who has it gives it back.
    pub fn take(&self, limits: Limits<'_>) -> Result<Loan<'_, Held>, RunError> {
        self.0.lender.take(limits)
    }

    /// Takes it for what has no deadline: opening, and questions about itself.
    pub(in crate::runtime) fn wait(&self) -> Loan<'_, Held> {
        self.take(Limits::default()).expect("without limits it only waits")
    }

    /// Bytes of the session, by purpose.
    pub fn memory(&self) -> Memory {
        self.0.memory.clone()
    }

    /// Bytes of the counts of what the buffers hold.
    pub fn claimed_bytes(&self) -> u64 {
        let held = self.wait();
        held.rows.claimed_bytes() + held.features.claimed_bytes()
    }
}
