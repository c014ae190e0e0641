//! Training: from rendered clips to checkpoints that `export` reads.
//!
//! A recipe ([`Recipe`]) names a stage, its data and its network; [`train`] runs it in a folder of its own, which it can be resumed from.
//! Networks are those of `models/`, and are not written again: [`Interpreter`] runs their graphs on tensors that remember how they came
//! about ([`Tensor`], burn's tape), and [`ops`] has every op with its gradient. Weights go back to their checkpoints' names by the tables
//! that reading uses, so that nothing is special about what was trained here.
//!
//! All of it follows from the recipe's seed: clips are rendered by their indices, and what chance decides in a step is drawn from that
//! step's own generator. So a run that is resumed goes on as if it had not been stopped.

mod clips;
mod draw;
mod error;
mod interpreter;
pub mod ops;
pub mod optimizer;
mod real;
mod recipe;
mod run;
mod stages;
mod tape;
mod trainer;
mod value;

pub use error::DistillError;
pub use interpreter::Interpreter;
pub use real::Real;
pub use recipe::{
    GkdRecipe, GrpoRecipe, Recipe, Scenes, SftRecipe, StageRecipe, StudentRecipe, TeacherRecipe, Train,
    VaeRecipe,
};
pub use run::{CHECKPOINT, Step};
pub use tape::{Slopes, Tensor};
pub use trainer::{Event, Outcome, train};

/// Makes the threads that compute, this many; the first call of a process counts.
pub fn use_threads(n: usize) {
    // Asked again, the pool of the first call stays.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(n).build_global();
}
