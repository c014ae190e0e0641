//! Camera frames on their way to an engine: pooled buffers, the newest frame and the newest clip, accounts, clocks.

pub mod accounts;
pub mod clock;
pub mod frame;
pub mod intake;
pub mod pictures;
pub mod scaled;
