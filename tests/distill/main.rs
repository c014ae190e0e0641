//! Training: the interpreter held to the reference evaluation, and its gradients to finite differences.
//!
//! The cases are those of the conformance tests: one for each op and each way in which it is used, and whole networks.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

#[path = "../conformance/case.rs"]
#[allow(dead_code, reason = "shared with the conformance tests, which run on sessions")]
mod case;
#[path = "../conformance/cases.rs"]
mod cases;
#[path = "../conformance/networks.rs"]
mod networks;

#[path = "../support/tiny_reason.rs"]
mod tiny_reason;

mod agree;
mod command;
mod gkd;
mod ops;
mod reason;
mod training;
