//! What several loops use, lent to one of them at a time: a session with what its buffers hold, and an opened engine with its critic.
//!
//! An engine may have several roles over one session and one cache. So no loop owns its session: each call takes a loan of it, under
//! the call's own deadline and stop flag, and gives it back when it ends. What the buffers hold that more than one loop reads (rows of
//! the key and value caches, vision features) is counted beside the session and lent with it; what one loop alone reads and writes is
//! counted in that loop.
//!
//! Why not a session as an argument of every call: a loop and its session belong together from its opening on, since ids and sizes
//! were looked up in it, and an argument could be another engine's.

mod feature_ring;
mod lender;
mod rows;
mod session;

pub use lender::{Lender, Limits, Loan};
pub use rows::Digest;
pub use session::{Held, SharedSession};

pub(in crate::runtime) use rows::TokenKey;
