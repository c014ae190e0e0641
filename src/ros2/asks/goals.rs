//! The goals of the action, as `rcl_action` has them: where each is, who waits for its result, and results for a while.
//!
//! | state | |
//! | --- | --- |
//! | accepted, executing | it waits for its turn; it is answered |
//! | canceling | it is answered, and is to stop |
//! | succeeded, canceled, aborted | its result is there, until it is forgotten |

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::ros2::messages::{
    AskReply, CancelReply, CancelRequest, GetResultReply, GoalId, GoalInfo, GoalStatus, GoalStatuses, Time,
    encode,
};
use crate::ros2::transport::Reply;

/// How long a result is kept: as long as `rcl_action` does since Jazzy.
const KEPT: Duration = Duration::from_secs(10);
/// Results that are kept at most; beyond them the oldest goes.
const KEPT_MAX: usize = 32;
/// Who waits for one goal's result at most; whoever comes then has no reply.
const WAITING_MAX: usize = 8;
/// No goal is called that.
const NOBODY: GoalId = [0; 16];

/// A state, by its number in `action_msgs/msg/GoalStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Unknown = 0,
    Accepted = 1,
    Executing = 2,
    Canceling = 3,
    Succeeded = 4,
    Canceled = 5,
    Aborted = 6,
}

struct Goal {
    info: GoalInfo,
    status: Status,
    give_up: Arc<AtomicBool>,
    waiting: Vec<Reply>,
    /// When it ended, and its result as it is sent.
    ended: Option<(Instant, Vec<u8>)>,
}

/// All that are known, oldest first.
#[derive(Default)]
pub(super) struct Goals(Vec<Goal>);

/// A reply to be given, when nobody else is kept waiting by it.
pub(super) type Owed = (Reply, Vec<u8>);

impl Goals {
    /// Takes a goal in, unless it is known or has no name.
    pub(super) fn accept(&mut self, goal_id: GoalId, stamp: Time, give_up: Arc<AtomicBool>) -> bool {
        if goal_id == NOBODY || self.0.iter().any(|goal| goal.info.goal_id == goal_id) {
            return false;
        }
        let info = GoalInfo { goal_id, stamp };
        self.0.push(Goal { info, status: Status::Accepted, give_up, waiting: Vec::new(), ended: None });
        true
    }

    /// Says that a goal is being answered.
    pub(super) fn begin(&mut self, goal_id: GoalId) {
        if let Some(goal) = self.find(goal_id).filter(|goal| goal.status == Status::Accepted) {
            goal.status = Status::Executing;
        }
    }

    /// Gives a goal its result, and says who has waited for it. One that was to be canceled has not succeeded.
    pub(super) fn end(
        &mut self,
        goal_id: GoalId,
        status: Status,
        mut result: AskReply,
        now: Instant,
    ) -> Vec<Owed> {
        let Some(goal) = self.find(goal_id).filter(|goal| goal.ended.is_none()) else { return Vec::new() };
        let is_canceled = goal.status == Status::Canceling && status == Status::Succeeded;
        goal.status = if is_canceled { Status::Canceled } else { status };
        if is_canceled {
            // Said to the end all the same.
            (result.error, result.finish_reason) = ("canceled".to_owned(), "canceled".to_owned());
        }
        let body = reply(goal.status, result);
        let owed = goal.waiting.drain(..).map(|reply| (reply, body.clone())).collect();
        goal.ended = Some((now, body));
        self.forget(now);
        owed
    }

    /// Answers who asks for a result, now or when it is there.
    pub(super) fn result(&mut self, goal_id: GoalId, reply_to: Reply, now: Instant) -> Option<Owed> {
        self.forget(now);
        match self.find(goal_id) {
            Some(Goal { ended: Some((_, body)), .. }) => Some((reply_to, body.clone())),
            Some(goal) => {
                if goal.waiting.len() < WAITING_MAX {
                    goal.waiting.push(reply_to);
                }
                None
            }
            None => Some((reply_to, reply(Status::Unknown, AskReply::default()))),
        }
    }

    /// Lets goals give up: one, all that were accepted until a time, or all.
    pub(super) fn cancel(&mut self, request: &CancelRequest) -> CancelReply {
        const UNKNOWN_GOAL: i8 = 2;
        const TERMINATED: i8 = 3;
        let GoalInfo { goal_id, stamp } = request.goal_info;
        let (is_one, is_until) = (goal_id != NOBODY, stamp != Time::default());
        let is_meant = |info: &GoalInfo| match (is_one, is_until) {
            (false, false) => true,
            (_, true) if info.stamp.ns() <= stamp.ns() => true,
            (is_one, _) => is_one && info.goal_id == goal_id,
        };
        let mut goals_canceling = Vec::new();
        for goal in self.0.iter_mut().filter(|goal| is_meant(&goal.info)) {
            if matches!(goal.status, Status::Accepted | Status::Executing) {
                goal.status = Status::Canceling;
                goal.give_up.store(true, Relaxed);
                goals_canceling.push(goal.info);
            }
        }
        let return_code = match self.find(goal_id) {
            _ if !is_one || is_until || !goals_canceling.is_empty() => 0,
            None => UNKNOWN_GOAL,
            Some(_) => TERMINATED,
        };
        CancelReply { return_code, goals_canceling }
    }

    /// Where all are.
    pub(super) fn statuses(&self) -> GoalStatuses {
        let status = |goal: &Goal| GoalStatus { goal_info: goal.info, status: goal.status as i8 };
        GoalStatuses { status_list: self.0.iter().map(status).collect() }
    }

    /// Forgets results that were kept long enough, and the oldest beyond their number.
    fn forget(&mut self, now: Instant) {
        let ended = |goal: &Goal| goal.ended.as_ref().map(|(at, _)| *at);
        self.0.retain(|goal| ended(goal).is_none_or(|at| now.saturating_duration_since(at) < KEPT));
        let n_ended = self.0.iter().filter(|goal| goal.ended.is_some()).count();
        for _ in KEPT_MAX..n_ended {
            let all = self.0.iter().enumerate();
            let oldest = all.filter_map(|(i, goal)| Some((i, ended(goal)?))).min_by_key(|(_, at)| *at);
            oldest.map(|(i, _)| self.0.remove(i));
        }
    }

    fn find(&mut self, goal_id: GoalId) -> Option<&mut Goal> {
        self.0.iter_mut().find(|goal| goal.info.goal_id == goal_id)
    }
}

fn reply(status: Status, result: AskReply) -> Vec<u8> {
    encode(&GetResultReply { status: status as i8, result })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::ros2::messages::{ByteOrder, decode};

    fn id(n: u8) -> GoalId {
        [n; 16]
    }

    fn at(sec: i32) -> Time {
        Time { sec, nanosec: 0 }
    }

    fn listener() -> (Reply, Receiver<Option<Vec<u8>>>) {
        let (sender, heard) = channel();
        (Reply::by(move |body| drop(sender.send(body))), heard)
    }

    /// The state and the error of the result of a goal, where there is one.
    fn result(goals: &mut Goals, n: u8, now: Instant) -> Option<(i8, String)> {
        let (reply, _heard) = listener();
        let (_, body) = goals.result(id(n), reply, now)?;
        let GetResultReply { status, result } =
            decode::<GetResultReply<AskReply>>(&body, ByteOrder::Little).unwrap();
        Some((status, result.error))
    }

    fn states(goals: &Goals) -> Vec<(u8, i8)> {
        goals.statuses().status_list.iter().map(|one| (one.goal_info.goal_id[0], one.status)).collect()
    }

    #[test]
    fn a_goal_goes_its_way_and_its_result_is_kept_for_a_while() {
        let (mut goals, now) = (Goals::default(), Instant::now());
        assert!(goals.accept(id(1), at(1), Arc::default()) && !goals.accept(id(1), at(1), Arc::default()));
        assert!(!goals.accept(NOBODY, at(1), Arc::default()));
        assert_eq!(result(&mut goals, 9, now), Some((0, String::new())));
        let waiting: Vec<_> = (0..WAITING_MAX + 2)
            .map(|_| {
                let (reply, heard) = listener();
                assert!(goals.result(id(1), reply, now).is_none());
                heard
            })
            .collect();
        assert_eq!(states(&goals), [(1, 1)]);
        goals.begin(id(1));
        assert_eq!(states(&goals), [(1, 2)]);
        let owed = goals.end(id(1), Status::Succeeded, AskReply::default(), now);
        assert_eq!(owed.len(), WAITING_MAX);
        owed.into_iter().for_each(|(reply, body)| reply.give(body));
        let heard: Vec<bool> = waiting.iter().map(|heard| heard.try_recv().unwrap().is_some()).collect();
        assert_eq!(
            (heard.iter().filter(|is_given| **is_given).count(), heard.len()),
            (8, 10),
            "who is one too many hears so"
        );
        assert!(goals.end(id(1), Status::Aborted, AskReply::default(), now).is_empty(), "it ends once");
        assert_eq!(result(&mut goals, 1, now), Some((4, String::new())));
        let later = now + KEPT;
        assert_eq!(result(&mut goals, 1, later - Duration::from_millis(1)), Some((4, String::new())));
        assert_eq!((result(&mut goals, 1, later), states(&goals)), (Some((0, String::new())), Vec::new()));
    }

    #[test]
    fn results_are_bounded_in_number() {
        let (mut goals, now) = (Goals::default(), Instant::now());
        for n in 1..=200 {
            assert!(goals.accept(id(n), at(1), Arc::default()));
            goals.end(id(n), Status::Aborted, AskReply::default(), now);
        }
        assert_eq!(states(&goals).len(), KEPT_MAX);
        assert_eq!((states(&goals)[0], states(&goals)[31]), ((169, 6), (200, 6)));
    }

    #[test]
    fn the_result_of_a_goal_that_took_long_is_kept_as_long_as_any() {
        let (mut goals, now) = (Goals::default(), Instant::now());
        assert!(goals.accept(id(1), at(1), Arc::default()));
        for n in 2..=50 {
            assert!(goals.accept(id(n), at(1), Arc::default()));
            goals.end(id(n), Status::Aborted, AskReply::default(), now);
        }
        let later = now + Duration::from_secs(1);
        goals.end(id(1), Status::Succeeded, AskReply::default(), later);
        assert_eq!(result(&mut goals, 1, later), Some((4, String::new())));
        assert_eq!(states(&goals).len(), KEPT_MAX);
    }

    #[test]
    fn goals_are_canceled_as_rcl_does_it() {
        let canceled = |request: (u8, i32)| {
            let (mut goals, now) = (Goals::default(), Instant::now());
            let give_up: Vec<Arc<AtomicBool>> = (0..4).map(|_| Arc::default()).collect();
            for n in 1..=4u8 {
                goals.accept(id(n), at(10 * i32::from(n)), Arc::clone(&give_up[usize::from(n) - 1]));
            }
            goals.begin(id(2));
            goals.end(id(4), Status::Succeeded, AskReply::default(), now);
            let goal_info = GoalInfo { goal_id: id(request.0), stamp: at(request.1) };
            let CancelReply { return_code, goals_canceling } = goals.cancel(&CancelRequest { goal_info });
            let told: Vec<u8> = goals_canceling.iter().map(|info| info.goal_id[0]).collect();
            let set: Vec<u8> = (1..=4).filter(|n| give_up[usize::from(*n) - 1].load(Relaxed)).collect();
            assert_eq!(told, set);
            assert!(states(&goals).iter().all(|(n, status)| (*status == 3) == told.contains(n)));
            (return_code, told)
        };
        assert_eq!(canceled((0, 0)), (0, vec![1, 2, 3]), "all");
        assert_eq!(canceled((2, 0)), (0, vec![2]), "one");
        assert_eq!(canceled((0, 20)), (0, vec![1, 2]), "until then");
        assert_eq!(canceled((3, 10)), (0, vec![1, 3]), "until then, and one");
        assert_eq!(canceled((9, 0)), (2, vec![]), "nobody knows it");
        assert_eq!(canceled((4, 0)), (3, vec![]), "it has ended");
        assert_eq!(canceled((0, 5)), (0, vec![]), "there were none yet");
    }

    #[test]
    fn who_was_canceled_has_not_succeeded() {
        let (mut goals, now) = (Goals::default(), Instant::now());
        goals.accept(id(1), at(1), Arc::default());
        goals.cancel(&CancelRequest::default());
        goals.begin(id(1));
        assert_eq!(states(&goals), [(1, 3)]);
        goals.end(id(1), Status::Succeeded, AskReply::default(), now);
        assert_eq!(states(&goals), [(1, 5)]);
        assert_eq!(
            goals.cancel(&CancelRequest { goal_info: GoalInfo { goal_id: id(1), stamp: at(0) } }).return_code,
            3
        );
    }
}
