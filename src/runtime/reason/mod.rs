//! Reason: a question about images or a clip becomes an answer.
//!
//! [`Reason`] drives the graphs `vision`, `prefill`, `head` and `decode` of an opened engine. What outlives a question is in the
//! session's buffers (key and value caches, vision features) and counted beside it (`runtime/shared`): which rows of the cache are of
//! which tokens and pictures, and which rows of the feature buffers are of which picture. So a question that begins
//! as the last one did goes on where they part, and a clip that has moved on by a group of frames encodes one group.
//!
//! What the loop itself needs is claimed when it is opened. A question allocates where it takes texts apart and puts them together
//! (tokenizer, prompt, answer), and for the media's digests and layout; encoding, prefill, decoding and sampling do not.

mod ask;
mod boxes;
mod choices;
mod error;
mod media;
mod open;
mod progress;
mod request;
mod settings;
mod texts;
mod thought;
mod wiring;

pub use crate::camera::Picture;
pub use boxes::{Place, places};
pub use error::AskError;
pub use open::{OpenError, Reason, ReasonParts};
pub use request::{Answer, Choice, FinishReason, RecordedPicture, Recording, Request, Shown, Timings};
pub use settings::AnswerSettings;
pub use texts::TextCheck;
pub use thought::Part;
