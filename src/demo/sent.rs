//! Where every frame that the camera sent has gone.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::frames::accounts::Accounts;

/// Where every frame has gone.
#[derive(Debug, Serialize)]
pub(super) struct Frames {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) answered: u64,
    pub(super) clip_members: u64,
    pub(super) dropped: u64,
    pub(super) dropped_by_reason: Map<String, Value>,
    pub(super) in_flight: u64,
    pub(super) lost: u64,
    pub(super) is_balanced: bool,
    #[serde(skip)]
    pub(super) line: String,
}

impl Frames {
    /// What became of `sent` frames, as a node accounts for them.
    pub(super) fn new(accounts: &Accounts, sent: u64) -> Self {
        let &Accounts { received, served: answered, clip_members, in_flight, lost, .. } = accounts;
        Self {
            sent,
            received,
            answered,
            clip_members,
            dropped: accounts.dropped_total(),
            dropped_by_reason: accounts
                .drops()
                .map(|(reason, n)| (reason.name().to_owned(), n.into()))
                .collect(),
            in_flight,
            lost,
            is_balanced: accounts.balance(),
            line: accounts.to_string(),
        }
    }
}
