//! Requests of one kind that wait for their turn: a few, and only while somebody serves them.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::kind::Kind;
use super::ticket::{Ending, Tally, Ticket};

/// Requests that wait, beside the one that is looked at. Who comes then asks again: a robot wants to know about now.
const WAITING_MAX: usize = 4;

/// Who is there for requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::ros2) enum Attendance {
    /// Nobody, as in a managed node that is not active.
    #[default]
    Away,
    /// Engines that do nothing of the kind.
    Mute,
    /// One that does.
    There,
}

pub(in crate::ros2) struct Queue<K: Kind> {
    book: Mutex<Book<K>>,
    tally: Arc<Tally>,
}

struct Book<K: Kind> {
    attendance: Attendance,
    waiting: VecDeque<Ticket<K>>,
    wake: Option<Box<dyn Fn() + Send>>,
}

/// Says that nobody is there any more when it goes, also to those that wait.
pub(in crate::ros2) struct Attending<'a, K: Kind>(&'a Queue<K>);

impl<K: Kind> Default for Queue<K> {
    fn default() -> Self {
        let (attendance, waiting, wake, tally) = Default::default();
        Self { book: Mutex::new(Book { attendance, waiting, wake }), tally }
    }
}

impl<K: Kind> Queue<K> {
    /// Lets requests be served, or not, until the guard goes. `wake` is called when one has come.
    pub(in crate::ros2) fn attended(
        &self,
        attendance: Attendance,
        wake: impl Fn() + Send + 'static,
    ) -> Attending<'_, K> {
        let mut book = self.book();
        book.attendance = attendance;
        book.wake = Some(Box::new(wake));
        Attending(self)
    }

    pub(super) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// How many were served, and how many were not.
    pub(in crate::ros2) fn counts(&self) -> [u64; 2] {
        [&self.tally.served, &self.tally.failed].map(|n| n.load(Relaxed))
    }

    /// Whether a request that comes now would wait for its turn, and not be ended at once for want of room.
    pub(super) fn has_room(&self) -> bool {
        self.book().waiting.len() < WAITING_MAX
    }

    /// Lets a request wait, or ends it.
    pub(super) fn add(&self, ticket: Ticket<K>) {
        let refusal = match ticket.request().check() {
            Err(problem) => problem,
            Ok(()) => {
                let mut book = self.book();
                match book.attendance {
                    Attendance::Away => "the node is not active".to_owned(),
                    Attendance::Mute => K::MUTE.to_owned(),
                    Attendance::There if WAITING_MAX <= book.waiting.len() => {
                        format!("{WAITING_MAX} {} wait already; ask again later", K::SEVERAL)
                    }
                    Attendance::There => {
                        book.waiting.push_back(ticket);
                        if let Some(wake) = &book.wake {
                            wake();
                        }
                        return;
                    }
                }
            }
        };
        ticket.end(Ending::failed(refusal));
    }

    /// The request whose turn it is; those that nobody wants any more are ended.
    pub(in crate::ros2) fn next(&self) -> Option<Ticket<K>> {
        self.withdraw();
        self.book().waiting.pop_front()
    }

    /// Ends those that nobody wants any more.
    pub(super) fn withdraw(&self) {
        let mut withdrawn = Vec::new();
        let mut book = self.book();
        while let Some(at) = book.waiting.iter().position(Ticket::is_given_up) {
            withdrawn.extend(book.waiting.remove(at));
        }
        drop(book);
        for ticket in withdrawn {
            ticket.end(Ending::Canceled(Box::default()));
        }
    }

    fn book(&self) -> MutexGuard<'_, Book<K>> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Kind> Drop for Attending<'_, K> {
    fn drop(&mut self) {
        let mut book = self.0.book();
        (book.attendance, book.wake) = (Attendance::Away, None);
        let waiting = std::mem::take(&mut book.waiting);
        drop(book);
        // Each says so itself, and no lock is held meanwhile.
        drop(waiting);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc::{Sender, channel};

    use super::super::ticket::Asker;
    use super::*;
    use crate::ros2::messages::{AskReply, AskRequest};

    struct Ear(Sender<AskReply>);

    impl Asker<AskRequest> for Ear {
        fn because(&self) -> &'static str {
            "test"
        }

        fn ended(self: Box<Self>, ending: Ending<AskRequest>) {
            self.0.send(ending.into_reply()).unwrap();
        }
    }

    #[test]
    fn every_question_ends_once_whatever_happens() {
        let (queue, (sender, heard)) = (Queue::default(), channel());
        let give_up: Vec<Arc<AtomicBool>> = (0..8).map(|_| Arc::default()).collect();
        let ticket = |i: usize| {
            let request = AskRequest { prompt: i.to_string(), ..AskRequest::default() };
            Ticket::new(
                request,
                Box::new(Ear(sender.clone())),
                Arc::clone(&give_up[i]),
                Arc::clone(queue.tally()),
            )
        };
        let heard = || heard.try_iter().map(|reply| reply.error).collect::<Vec<_>>();
        queue.add(ticket(0));
        assert_eq!(heard(), ["the node is not active"]);
        let mute = queue.attended(Attendance::Mute, || {});
        queue.add(ticket(0));
        assert_eq!(heard(), ["no engine of this node answers questions"]);
        drop(mute);
        let woken = Arc::new(AtomicBool::new(false));
        let bell = Arc::clone(&woken);
        let there = queue.attended(Attendance::There, move || bell.store(true, Relaxed));
        for i in 0..6 {
            queue.add(ticket(i));
        }
        assert!(woken.load(Relaxed) && !queue.has_room());
        let full = "4 questions wait already; ask again later";
        assert_eq!(heard(), [full, full]);
        give_up[1].store(true, Relaxed);
        let first = queue.next().unwrap();
        assert_eq!((first.request().prompt.as_str(), heard()), ("0", vec!["canceled".to_owned()]));
        first.end(Ending::Served(Box::default()));
        drop(there);
        let stopped = "the node has stopped answering".to_owned();
        assert_eq!(heard(), [String::new(), stopped.clone(), stopped]);
        assert!(queue.next().is_none());
        assert_eq!(queue.counts(), [1, 6]);
    }
}
