//! How often `max_age` is too short.

/// Which of the last answers, or forecasts, `max_age` cut short.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cuts {
    total: u64,
    /// One bit for each of the last [`Cuts::RECENT`], the newest lowest.
    recent: u32,
    n_recent: u32,
}

impl Cuts {
    const RECENT: u32 = 16;

    pub(super) fn note(&mut self, is_cut: bool) {
        self.total += u64::from(is_cut);
        self.recent = (self.recent << 1 | u32::from(is_cut)) & ((1 << Self::RECENT) - 1);
        self.n_recent = (self.n_recent + 1).min(Self::RECENT);
    }

    /// How many of how many.
    pub(super) fn recent(&self) -> (u32, u32) {
        (self.recent.count_ones(), self.n_recent)
    }

    /// Since the start.
    pub(super) fn total(&self) -> u64 {
        self.total
    }
}
