//! Best of N: plans of actions are rolled out in the world model from the same given frames, scored, and ranked.
//!
//! The frames are encoded once; every candidate then costs the denoiser's steps, and nothing is decoded unless the score looks at
//! frames. All candidates start from the same noises, so that they differ by their actions alone (common random numbers), and a
//! candidate's score depends neither on the others nor on the number of threads.
//!
//! Why an enum of scores and not a trait: there are four, and two of them need what the others do not (several noises at a time,
//! decoded frames and a second engine).

mod candidates;
mod critic;
mod error;
mod report;
mod score;
mod search;

pub use candidates::{Around, Candidate};
pub use critic::Critic;
pub use error::PlanError;
pub use report::{BestReport, CandidateReport, Report, ScoreReport};
pub use score::{Score, Target};
pub use search::{Noises, Ranked, Ranking, search};
