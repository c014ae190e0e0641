//! Reason: a question about images or a clip becomes an answer.
#![expect(dead_code, reason = "the loop that uses these parts comes with the session")]

mod boxes;
mod feature_ring;
mod prefix;
mod thought;

pub use boxes::{Place, places};
pub use prefix::Digest;
pub use thought::Part;
