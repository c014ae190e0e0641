//! Perihelion runs NVIDIA Cosmos Reason and few-step Cosmos Predict on a robot, behind ROS 2.
//!
//! ```text
//! teacher ──distill──▶ checkpoint ──export──▶ model ──build──▶ engine ──run──▶ ROS 2
//!                        camera log ──calibrate──▶ scales ──┘
//! ```
//! Each arrow is a verb of the command and a folder's work; `ARCHITECTURE.md` says which folder uses which.

pub mod backend;
pub mod board;
pub mod bounded;
pub mod camera;
pub mod checkpoint;
pub mod cli;
pub mod command;
pub mod container;
pub mod curate;
pub mod demo;
#[cfg(feature = "distill")]
pub mod distill;
pub mod drawing;
pub mod engine;
pub mod export;
pub mod frames;
pub mod graph;
pub mod install;
pub mod live;
pub mod mapped;
pub mod merge;
pub mod model;
pub mod models;
pub mod onnx;
pub mod quality;
pub mod quantize;
pub mod report;
pub mod ros2;
pub mod runtime;
pub mod scenes;
pub mod supervisor;

pub use perihelion_tensor as tensor;
