//! `~/ask` as an action: goals, the pieces of their answers as feedback, results, and stops in the middle.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::goals::{Goals, Status};
use super::queue::Queue;
use super::ticket::{Asker, Ending, Ticket};
use crate::frames::clock::Clock;
use crate::ros2::arguments::Remap;
use crate::ros2::messages::{
    AskFeedback, AskRequest, CancelReply, CancelRequest, FeedbackMessage, GetResultRequest, GoalId,
    GoalStatuses, Message, SendGoalReply, SendGoalRequest, Time, decode, encode, encode_padded,
};
use crate::ros2::names::{NameError, NodeName};
use crate::ros2::transport::{Delivery, Publisher, Reply, Transport, TransportError};

/// From one feedback to the next: readers keep ten, and are to miss none of them.
const FEEDBACK_PERIOD: Duration = Duration::from_millis(50);
/// Who comes later hears where the goals are.
const STATUS: Delivery = Delivery::Latched { kept: 1 };
const FEEDBACK_TYPE: &str = "perihelion_msgs/action/Ask_FeedbackMessage";

/// What the parts of the action are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    send_goal: String,
    cancel_goal: String,
    get_result: String,
    feedback: String,
    status: String,
}

impl Names {
    /// Below this name.
    ///
    /// # Errors
    /// If what one is remapped to is not allowed.
    pub(super) fn of(node: &NodeName, remaps: &[Remap], action: &str) -> Result<Self, NameError> {
        let service = |part: &str| node.service(&format!("{action}/_action/{part}"), remaps);
        let topic = |part: &str| node.topic(&format!("{action}/_action/{part}"), remaps);
        Ok(Self {
            send_goal: service("send_goal")?,
            cancel_goal: service("cancel_goal")?,
            get_result: service("get_result")?,
            feedback: topic("feedback")?,
            status: topic("status")?,
        })
    }
}

/// The action's server.
pub(super) struct Action {
    queue: Arc<Queue<AskRequest>>,
    clock: Arc<Clock>,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    goals: Goals,
    /// Until the node ends: the transport keeps services for longer than that.
    voice: Option<Voice>,
    rejected: u64,
}

struct Voice {
    feedback: Box<dyn Publisher>,
    status: Box<dyn Publisher>,
}

impl Action {
    /// Offers the services and announces the topics.
    ///
    /// # Errors
    /// If the transport cannot.
    pub(super) fn open(
        transport: &dyn Transport,
        names: &Names,
        queue: &Arc<Queue<AskRequest>>,
    ) -> Result<Arc<Self>, TransportError> {
        let voice = Voice {
            feedback: transport.advertise(&names.feedback, FEEDBACK_TYPE, Delivery::Reliable)?,
            status: transport.advertise(&names.status, GoalStatuses::TYPE, STATUS)?,
        };
        let book = Mutex::new(Book { voice: Some(voice), ..Book::default() });
        let action = Arc::new(Self { queue: Arc::clone(queue), clock: Arc::clone(transport.clock()), book });
        // What cannot be read has no reply.
        let server = Arc::clone(&action);
        let send_goal = move |body: &[u8], order, reply: Reply| {
            if let Ok(request) = decode::<SendGoalRequest<AskRequest>>(body, order) {
                server.take(request, reply);
            }
        };
        transport.serve(&names.send_goal, "perihelion_msgs/action/Ask_SendGoal", Box::new(send_goal))?;
        let server = Arc::clone(&action);
        let cancel = move |body: &[u8], order, reply: Reply| {
            if let Ok(request) = decode::<CancelRequest>(body, order) {
                reply.give(encode(&server.cancel(&request)));
                // Those that wait for their turn end at once.
                server.queue.withdraw();
            }
        };
        transport.serve(&names.cancel_goal, "action_msgs/srv/CancelGoal", Box::new(cancel))?;
        let server = Arc::clone(&action);
        let get_result = move |body: &[u8], order, reply: Reply| {
            if let Ok(GetResultRequest { goal_id }) = decode(body, order) {
                let owed = server.book().goals.result(goal_id, reply, Instant::now());
                if let Some((reply, body)) = owed {
                    reply.give(body);
                }
            }
        };
        transport.serve(&names.get_result, "perihelion_msgs/action/Ask_GetResult", Box::new(get_result))?;
        Ok(action)
    }

    /// Says nothing any more.
    pub(super) fn hush(&self) {
        self.book().voice = None;
    }

    fn take(self: &Arc<Self>, request: SendGoalRequest<AskRequest>, reply: Reply) {
        let SendGoalRequest { goal_id, goal } = request;
        let (stamp, give_up) = (Time::from_ns(self.clock.now().ros_ns), Arc::default());
        let mut book = self.book();
        let accepted = self.queue.has_room() && book.goals.accept(goal_id, stamp, Arc::clone(&give_up));
        if accepted {
            book.tell();
        } else {
            book.rejected += 1;
            // At powers of two: who asks again and again must not fill the log.
            if book.rejected.is_power_of_two() {
                let rejected = book.rejected;
                log::warn!("a goal was rejected ({rejected} so far): too many wait, or it is known already");
            }
        }
        drop(book);
        reply.give(encode(&SendGoalReply { accepted, stamp }));
        if accepted {
            let (said, pending) = Default::default();
            let client = Client { action: Arc::clone(self), goal_id, said, pending, told: None };
            let tally = Arc::clone(self.queue.tally());
            self.queue.add(Ticket::new(goal, Box::new(client), give_up, tally));
        }
    }

    fn cancel(&self, request: &CancelRequest) -> CancelReply {
        let mut book = self.book();
        let reply = book.goals.cancel(request);
        if !reply.goals_canceling.is_empty() {
            book.tell();
        }
        reply
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Tells where the goals are.
    fn tell(&self) {
        if let Some(voice) = &self.voice {
            // The next one tells all of it again.
            let _ = voice.status.publish(encode_padded(&self.goals.statuses()));
        }
    }
}

/// Whoever sent a goal.
struct Client {
    action: Arc<Action>,
    goal_id: GoalId,
    said: String,
    /// What was said since the last feedback.
    pending: String,
    told: Option<Instant>,
}

impl Client {
    fn feed_back(&mut self) {
        let feedback = AskFeedback { text: self.said.clone(), added: std::mem::take(&mut self.pending) };
        let body = encode_padded(&FeedbackMessage { goal_id: self.goal_id, feedback });
        if let Some(voice) = &self.action.book().voice {
            // What is lost is in the text of the next one, and in the result.
            let _ = voice.feedback.publish(body);
        }
        self.told = Some(Instant::now());
    }
}

impl Asker<AskRequest> for Client {
    fn because(&self) -> &'static str {
        "action"
    }

    fn begun(&mut self) {
        let mut book = self.action.book();
        book.goals.begin(self.goal_id);
        book.tell();
    }

    fn said(&mut self, piece: &str) {
        self.said.push_str(piece);
        self.pending.push_str(piece);
        if self.told.is_none_or(|told| FEEDBACK_PERIOD <= told.elapsed()) {
            self.feed_back();
        }
    }

    fn ended(mut self: Box<Self>, ending: Ending<AskRequest>) {
        if !self.pending.is_empty() {
            self.feed_back();
        }
        let status = match &ending {
            Ending::Served(_) => Status::Succeeded,
            Ending::Canceled(_) => Status::Canceled,
            Ending::Failed(..) => Status::Aborted,
        };
        let mut book = self.action.book();
        let owed = book.goals.end(self.goal_id, status, ending.into_reply(), Instant::now());
        book.tell();
        drop(book);
        owed.into_iter().for_each(|(reply, body)| reply.give(body));
    }
}
