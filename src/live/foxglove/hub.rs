//! Between a node and those who listen by Foxglove: what there is to hear, what waits for each viewer, and what the node hears of them.
//!
//! The node's threads put messages here, and wait for nobody: what a viewer does not take in time gives way to what comes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ros2::messages::{
    ByteOrder, Flag, Float32MultiArray, Message, Text, Twist, encapsulation, split_encapsulation,
};
use crate::ros2::transport::{MESSAGE_BYTES_MAX, MessageSink, TopicSeen};

/// Bytes that wait for one viewer at most, and messages.
const WAITING_BYTES_MAX: usize = 16 << 20;
const WAITING_MAX: usize = 512;
/// What people say to a node: neither what time it is nor what a camera is like.
const HEARD_TYPES: [&str; 4] = [Text::TYPE, Flag::TYPE, Twist::TYPE, Float32MultiArray::TYPE];

/// The node's own subscriber, shared with whoever else brings it messages.
pub(super) type SharedSink = Arc<Mutex<MessageSink>>;

/// The place where both sides meet.
#[derive(Default)]
pub(in crate::live) struct Hub(Mutex<State>);

#[derive(Default)]
struct State {
    channels: Vec<Channel>,
    ears: Vec<Ear>,
    viewers: BTreeMap<u64, Waiting>,
    n_came: u64,
}

/// A topic that can be heard. Channels stay, so that their places are their numbers.
struct Channel {
    topic: String,
    ros_type: &'static str,
    /// Whether the last message is for those too who come later.
    is_latched: bool,
    last: Option<Said>,
}

/// A topic on which the node hears.
struct Ear {
    topic: String,
    ros_type: &'static str,
    sink: SharedSink,
}

/// What one viewer wants, and has not been told yet.
#[derive(Default)]
struct Waiting {
    wanted: BTreeSet<usize>,
    messages: VecDeque<Said>,
    n_bytes: usize,
    n_lost: u64,
}

/// A message as viewers get it.
#[derive(Debug, Clone)]
pub(super) struct Said {
    /// The place of its channel.
    pub(super) channel: usize,
    /// When, in ROS time.
    pub(super) at_ns: i64,
    /// CDR, with its encapsulation.
    pub(super) payload: Arc<Vec<u8>>,
}

/// A channel as viewers are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) channel: usize,
    pub(super) topic: String,
    pub(super) ros_type: &'static str,
}

impl Hub {
    /// The place of a topic's channel, which is there from now on.
    pub(super) fn channel(&self, topic: &str, ros_type: &'static str, is_latched: bool) -> usize {
        let mut state = self.state();
        let known = state.channels.iter().position(|one| one.topic == topic && one.ros_type == ros_type);
        known.unwrap_or_else(|| {
            state.channels.push(Channel { topic: topic.to_owned(), ros_type, is_latched, last: None });
            state.channels.len() - 1
        })
    }

    /// Takes in what the node says, a little-endian body, for everyone who wants it.
    pub(super) fn offer(&self, channel: usize, at_ns: i64, body: &[u8]) {
        let is_kept = {
            let state = self.state();
            let is_kept = state.channels[channel].is_latched && body.len() <= MESSAGE_BYTES_MAX;
            if !is_kept && !state.viewers.values().any(|viewer| viewer.wanted.contains(&channel)) {
                return;
            }
            is_kept
        };
        // Copied while nobody waits for it.
        let mut payload = Vec::with_capacity(4 + body.len());
        payload.extend_from_slice(&encapsulation(ByteOrder::Little));
        payload.extend_from_slice(body);
        let said = Said { channel, at_ns, payload: Arc::new(payload) };
        let mut state = self.state();
        for viewer in state.viewers.values_mut().filter(|viewer| viewer.wanted.contains(&channel)) {
            viewer.push(said.clone());
        }
        if is_kept {
            state.channels[channel].last = Some(said);
        }
    }

    /// Counts viewers among the subscribers: what is published only where somebody listens is published for them too.
    pub(super) fn count_in(&self, graph: &mut Vec<TopicSeen>) {
        let state = self.state();
        for (place, Channel { topic, ros_type, .. }) in state.channels.iter().enumerate() {
            let n = state.viewers.values().filter(|viewer| viewer.wanted.contains(&place)).count();
            let known = |seen: &&mut TopicSeen| seen.name == *topic && seen.ros_type == *ros_type;
            match graph.iter_mut().find(known) {
                _ if n == 0 => {}
                Some(seen) => seen.subscribers += n,
                None => graph.push(TopicSeen {
                    name: topic.clone(),
                    ros_type: (*ros_type).to_owned(),
                    publishers: 0,
                    subscribers: n,
                }),
            }
        }
    }

    /// The node hears on this topic, if it is one for people.
    pub(super) fn hears(&self, topic: &str, ros_type: &'static str, sink: &SharedSink) {
        if !HEARD_TYPES.contains(&ros_type) {
            return;
        }
        let mut state = self.state();
        // A managed node that goes on subscribes anew.
        state.ears.retain(|ear| ear.topic != topic || ear.ros_type != ros_type);
        state.ears.push(Ear { topic: topic.to_owned(), ros_type, sink: Arc::clone(sink) });
    }

    /// Whether the node hears on this topic, and what.
    pub(super) fn heard_type(&self, topic: &str) -> Option<&'static str> {
        self.state().ears.iter().find(|ear| ear.topic == topic).map(|ear| ear.ros_type)
    }

    /// Brings the node a message, as a publisher of the graph would; CDR with its encapsulation.
    ///
    /// # Errors
    /// If it is none, or nobody hears on that topic.
    pub(super) fn tell(&self, topic: &str, payload: &[u8]) -> Result<(), &'static str> {
        let (order, body) = split_encapsulation(payload).ok_or("the message is no CDR")?;
        let sink = {
            let state = self.state();
            let ear = state.ears.iter().find(|ear| ear.topic == topic);
            Arc::clone(&ear.ok_or("the node does not hear on that topic")?.sink)
        };
        let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
        sink(Ok((body, order)));
        Ok(())
    }

    /// A viewer comes.
    pub(super) fn enter(self: &Arc<Self>) -> Place {
        let mut state = self.state();
        state.n_came += 1;
        let number = state.n_came;
        state.viewers.insert(number, Waiting::default());
        Place { hub: Arc::clone(self), number }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn push(&mut self, said: Said) {
        self.n_bytes += said.payload.len();
        self.messages.push_back(said);
        while WAITING_BYTES_MAX < self.n_bytes || WAITING_MAX < self.messages.len() {
            self.pop();
            self.n_lost += 1;
        }
    }

    fn pop(&mut self) -> Option<Said> {
        let said = self.messages.pop_front()?;
        self.n_bytes -= said.payload.len();
        Some(said)
    }
}

/// A viewer's place, until it goes.
pub(super) struct Place {
    hub: Arc<Hub>,
    number: u64,
}

impl Place {
    /// Channels from this place on.
    pub(super) fn channels(&self, from: usize) -> Vec<Told> {
        let state = self.hub.state();
        let channels = state.channels.iter().enumerate().skip(from);
        channels
            .map(|(channel, one)| Told { channel, topic: one.topic.clone(), ros_type: one.ros_type })
            .collect()
    }

    /// Hears a channel from now on, and what was said last if that is for those who come later. Says whether there is such a channel.
    pub(super) fn want(&self, channel: usize) -> bool {
        self.with(|state, viewer| {
            let Some(known) = state.get(channel) else { return false };
            if viewer.wanted.insert(channel) {
                known.last.iter().for_each(|last| viewer.push(last.clone()));
            }
            true
        })
    }

    /// Hears a channel no more.
    pub(super) fn leave(&self, channel: usize) {
        self.with(|_, viewer| {
            viewer.wanted.remove(&channel);
            viewer.messages.retain(|said| said.channel != channel);
            viewer.n_bytes = viewer.messages.iter().map(|said| said.payload.len()).sum();
        });
    }

    pub(super) fn wants(&self, channel: usize) -> bool {
        self.with(|_, viewer| viewer.wanted.contains(&channel))
    }

    /// What waited longest.
    pub(super) fn next(&self) -> Option<Said> {
        self.with(|_, viewer| viewer.pop())
    }

    /// Messages that found no room since this was asked last.
    pub(super) fn take_lost(&self) -> u64 {
        self.with(|_, viewer| std::mem::take(&mut viewer.n_lost))
    }

    fn with<T>(&self, what: impl FnOnce(&[Channel], &mut Waiting) -> T) -> T {
        let State { channels, viewers, .. } = &mut *self.hub.state();
        what(channels, viewers.get_mut(&self.number).expect("it came, and has not gone"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hub.state().viewers.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ros2::messages::{Clock, DiagnosticArray, encode, with_encapsulation};

    fn drain(place: &Place) -> Vec<(usize, i64)> {
        std::iter::from_fn(|| place.next()).map(|said| (said.channel, said.at_ns)).collect()
    }

    #[test]
    fn who_comes_late_hears_what_was_said_last_where_that_is_meant() {
        let hub = Arc::new(Hub::default());
        let (answer, surprise) = (
            hub.channel("/answer", Text::TYPE, true),
            hub.channel("/surprise", "std_msgs/msg/Float32", false),
        );
        assert_eq!(hub.channel("/answer", Text::TYPE, true), answer);
        for at_ns in [1, 2] {
            hub.offer(answer, at_ns, b"answer");
            hub.offer(surprise, at_ns, b"surprise");
        }
        let place = hub.enter();
        assert!(drain(&place).is_empty() && place.want(answer) && place.want(surprise) && !place.want(7));
        assert_eq!(drain(&place), [(answer, 2)]);
        hub.offer(surprise, 3, b"surprise");
        hub.offer(answer, 3, b"answer");
        assert_eq!(place.next().map(|said| said.payload.to_vec()), Some(b"\0\x01\0\0surprise".to_vec()));
        assert_eq!(drain(&place), [(answer, 3)]);
        assert_eq!(
            place.channels(1),
            [Told { channel: 1, topic: "/surprise".into(), ros_type: "std_msgs/msg/Float32" }]
        );
        hub.offer(answer, 4, b"answer");
        place.leave(answer);
        hub.offer(answer, 5, b"answer");
        assert!(drain(&place).is_empty() && !place.wants(answer) && place.wants(surprise));
    }

    #[test]
    fn who_does_not_take_it_in_loses_the_oldest_and_is_told() {
        let hub = Arc::new(Hub::default());
        let channel = hub.channel("/forecast", "sensor_msgs/msg/Image", false);
        let (slow, quick) = (hub.enter(), hub.enter());
        assert!(slow.want(channel) && quick.want(channel));
        let image = vec![0; 3 << 20];
        for at_ns in 0..20 {
            hub.offer(channel, at_ns, &image);
            assert_eq!(drain(&quick), [(channel, at_ns)]);
        }
        assert_eq!((slow.take_lost(), slow.take_lost(), quick.take_lost()), (15, 0, 0));
        assert_eq!(drain(&slow), (15..20).map(|at_ns| (channel, at_ns)).collect::<Vec<_>>());
        for at_ns in 0..600 {
            hub.offer(channel, at_ns, b"small");
        }
        assert_eq!((slow.take_lost(), drain(&slow).len()), (600 - 512, 512));
        hub.offer(channel, 0, &vec![0; 17 << 20]);
        assert_eq!((slow.take_lost(), drain(&slow).len()), (1, 0), "what is too large for everyone");
    }

    #[test]
    fn viewers_count_as_subscribers() {
        let hub = Arc::new(Hub::default());
        let (a, b) = (hub.channel("/a", Text::TYPE, false), hub.channel("/b", Text::TYPE, false));
        hub.channel("/c", Text::TYPE, false);
        let (one, other) = (hub.enter(), hub.enter());
        assert!(one.want(a) && other.want(a) && one.want(b));
        let seen = |name: &str, publishers, subscribers| TopicSeen {
            name: name.to_owned(),
            ros_type: Text::TYPE.to_owned(),
            publishers,
            subscribers,
        };
        let mut graph = vec![seen("/b", 1, 3), seen("/c", 1, 0)];
        hub.count_in(&mut graph);
        assert_eq!(graph, [seen("/b", 1, 4), seen("/c", 1, 0), seen("/a", 0, 2)]);
        drop((one, other));
        let mut graph = Vec::new();
        hub.count_in(&mut graph);
        assert!(graph.is_empty());
    }

    #[test]
    fn the_node_hears_what_people_say_and_nothing_else() {
        let hub = Hub::default();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = |word: &'static str| -> SharedSink {
            let heard = Arc::clone(&heard);
            Arc::new(Mutex::new(Box::new(move |body| {
                let (body, order) = body.unwrap();
                heard.lock().unwrap().push((word, body.to_vec(), order));
            })))
        };
        hub.hears("/prompt", Text::TYPE, &ear("before"));
        hub.hears("/prompt", Text::TYPE, &ear("prompt"));
        hub.hears("/clock", Clock::TYPE, &ear("clock"));
        hub.hears("/diagnostics", DiagnosticArray::TYPE, &ear("diagnostics"));
        let text = encode(&Text { data: "What?".to_owned() });
        assert_eq!(hub.tell("/prompt", &with_encapsulation(&text)), Ok(()));
        assert_eq!(hub.tell("/prompt", b"\0\0\0\0big"), Ok(()));
        for (topic, payload) in
            [("/prompt", &b"{}"[..]), ("/prompt", b""), ("/clock", b"\0\x01\0\0"), ("/x", b"\0\x01\0\0")]
        {
            assert!(hub.tell(topic, payload).is_err(), "{topic}");
        }
        let expected = [("prompt", text, ByteOrder::Little), ("prompt", b"big".to_vec(), ByteOrder::Big)];
        assert_eq!(*heard.lock().unwrap(), expected);
        assert_eq!((hub.heard_type("/prompt"), hub.heard_type("/clock")), (Some(Text::TYPE), None));
    }
}
