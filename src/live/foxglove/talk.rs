//! One viewer of Foxglove's, from its welcome until it goes.
//!
//! A turn hears what it asks, looks what is new, says as much as the line takes, and waits a moment. Everything is bounded: what a viewer
//! may say in a turn, what waits for it, and how long it may stand still.

use std::collections::{BTreeMap, VecDeque};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tungstenite::{Error, Message as Frame};

use super::Welcome;
use super::hub::{Hub, Place, Said};
use super::line::Line;
use super::settings;
use super::words::{self, Announced, Asked, Level, Setting, Subscription};
use crate::live::known::Known;
use crate::live::pictures::Pictures;
use crate::ros2::messages::{CompressedImageView, Message, ShortString, encode, with_encapsulation};

/// Messages that are written in a turn at most.
const SAID_MAX: usize = 64;
/// Words that wait; whoever does not read them is not heard meanwhile.
const WORDS_MAX: usize = 32;
/// Problems of one message that are told.
const PROBLEMS_MAX: usize = 8;
/// Topics on which a viewer speaks.
const SPOKEN_MAX: usize = 32;
/// How often it is looked whether parameters are others, and told that messages were left out.
const SETTINGS: Duration = Duration::from_millis(500);
const LOSSES: Duration = Duration::from_secs(5);

const TOO_OFTEN: &str = "that was too often: five changes within a second are taken, of all viewers together";

/// What a viewer has to do with.
#[derive(Clone, Copy)]
pub(in crate::live) struct Robot<'a> {
    pub(in crate::live) known: &'a Known,
    pub(in crate::live) pictures: &'a Pictures,
    pub(in crate::live) hub: &'a Arc<Hub>,
}

/// Talks with a viewer until it goes, or it is to stop.
pub(in crate::live) fn talk(stream: TcpStream, welcome: &Welcome, robot: Robot<'_>, stop: &AtomicBool) {
    // Whoever has gone needs no farewell.
    let _ = Talk::begin(stream, welcome, robot).and_then(|mut talk| talk.go_on(stop));
}

struct Talk<'a> {
    robot: Robot<'a>,
    line: Line,
    place: Place,
    /// The viewer's numbers of channels.
    subscriptions: BTreeMap<usize, u32>,
    /// The topics on which it speaks, by its numbers.
    spoken: BTreeMap<u32, String>,
    /// Channels that it was told of.
    n_told: usize,
    /// Parameters of which it wants to hear, as it knows them.
    followed: BTreeMap<String, Json>,
    words: VecDeque<String>,
    /// The picture of the camera that was shown last.
    shown: Option<(u64, u64)>,
    next_settings: Instant,
    next_losses: Instant,
}

impl<'a> Talk<'a> {
    fn begin(stream: TcpStream, welcome: &Welcome, robot: Robot<'a>) -> Result<Self, Error> {
        let line = Line::begin(stream, welcome)?;
        let now = Instant::now();
        let node = robot.known.node().map(|node| node.name.clone());
        let info = words::server_info(node.as_deref(), robot.known.run());
        Ok(Self {
            robot,
            line,
            place: robot.hub.enter(),
            subscriptions: BTreeMap::new(),
            spoken: BTreeMap::new(),
            n_told: 0,
            followed: BTreeMap::new(),
            words: VecDeque::from([info]),
            shown: None,
            next_settings: now,
            next_losses: now,
        })
    }

    fn go_on(&mut self, stop: &AtomicBool) -> Result<(), Error> {
        while !stop.load(Relaxed) {
            self.line.turn();
            self.hear()?;
            self.look()?;
            self.say()?;
            self.line.mind_the_time()?;
            self.line.wait(self.is_deaf());
        }
        self.line.close()
    }

    /// Whether so many words wait that no more are asked for.
    fn is_deaf(&self) -> bool {
        WORDS_MAX <= self.words.len()
    }

    fn hear(&mut self) -> Result<(), Error> {
        while !self.is_deaf()
            && let Some(frame) = self.line.hear()?
        {
            let mut problems = self.take(frame);
            problems.truncate(PROBLEMS_MAX);
            self.words.extend(problems.iter().map(|problem| words::status(Level::Error, problem)));
        }
        Ok(())
    }

    /// Does what is asked; what is wrong with it.
    fn take(&mut self, frame: Frame) -> Vec<String> {
        match frame {
            Frame::Text(text) => match serde_json::from_str(&text) {
                Ok(asked) => self.asked(asked),
                Err(error) => vec![format!("this is no message of the protocol: {error}")],
            },
            Frame::Binary(bytes) => match words::data(&bytes) {
                Some((channel, payload)) => self.spoken(channel, payload).err().into_iter().collect(),
                None => vec!["of messages in bytes, data of announced topics are taken".to_owned()],
            },
            _ => Vec::new(),
        }
    }

    fn asked(&mut self, asked: Asked) -> Vec<String> {
        match asked {
            Asked::Subscribe { subscriptions } => {
                subscriptions.into_iter().filter_map(|one| self.subscribe(one).err()).collect()
            }
            Asked::Unsubscribe { subscription_ids } => {
                let is_meant = |id: &u32| subscription_ids.contains(id);
                let left = self.subscriptions.extract_if(.., |_, id| is_meant(id));
                left.for_each(|(channel, _)| self.place.leave(channel));
                Vec::new()
            }
            Asked::Advertise { channels } => {
                channels.into_iter().filter_map(|one| self.announced(one).err()).collect()
            }
            Asked::Unadvertise { channel_ids } => {
                self.spoken.retain(|id, _| !channel_ids.contains(id));
                Vec::new()
            }
            Asked::GetParameters { parameter_names, id } => {
                self.tell(&parameter_names, id.as_deref());
                Vec::new()
            }
            Asked::SetParameters { parameters, id } => self.set(&parameters, id.as_deref()),
            Asked::SubscribeParameterUpdates { parameter_names } => {
                for told in self.settings(&parameter_names) {
                    let name = told["name"].as_str().unwrap_or_default().to_owned();
                    self.followed.entry(name).or_insert(told);
                }
                Vec::new()
            }
            Asked::UnsubscribeParameterUpdates { parameter_names } => {
                self.followed
                    .retain(|name, _| !parameter_names.is_empty() && !parameter_names.contains(name));
                Vec::new()
            }
            Asked::Other => vec!["this is not offered here: see the capabilities".to_owned()],
        }
    }

    fn subscribe(&mut self, Subscription { id, channel_id }: Subscription) -> Result<(), String> {
        if self.subscriptions.contains_key(&channel_id)
            || self.subscriptions.values().any(|known| *known == id)
        {
            return Err(format!(
                "subscription {id} of channel {channel_id}: one of both is subscribed to already"
            ));
        }
        if !self.place.want(channel_id) {
            return Err(format!("subscription {id}: there is no channel {channel_id}"));
        }
        self.subscriptions.insert(channel_id, id);
        // Whoever comes back to the camera is shown it at once.
        self.shown = None;
        Ok(())
    }

    fn announced(&mut self, Announced { id, topic, encoding, schema_name }: Announced) -> Result<(), String> {
        // Panels announce what they will never say: when they do is time enough for a word.
        let Some(heard) = self.robot.hub.heard_type(&topic) else { return Ok(()) };
        // Both ways of writing it are in use.
        if schema_name != heard && schema_name != heard.replace("/msg/", "/") {
            return Err(format!("{topic}: expected {heard}, found {schema_name}"));
        }
        if encoding != "cdr" {
            return Err(format!("{topic}: messages are taken in cdr, not in {encoding}"));
        }
        if SPOKEN_MAX <= self.spoken.len() {
            return Err(format!("{topic}: {SPOKEN_MAX} topics are announced, which is as many as are taken"));
        }
        self.spoken.insert(id, topic);
        Ok(())
    }

    fn spoken(&self, channel: u32, payload: &[u8]) -> Result<(), String> {
        let unknown = || {
            format!("channel {channel} was not announced, or with a topic on which the node does not hear")
        };
        let topic = self.spoken.get(&channel).ok_or_else(unknown)?;
        if !self.robot.known.may_change() {
            return Err(format!("{topic}: {TOO_OFTEN}"));
        }
        self.robot.hub.tell(topic, payload).map_err(|problem| format!("{topic}: {problem}"))
    }

    fn settings(&self, names: &[String]) -> Vec<Json> {
        let node = self.robot.known.node();
        node.map_or_else(Vec::new, |node| settings::of_names(&node.parameters, names))
    }

    fn tell(&mut self, names: &[String], id: Option<&str>) {
        let settings = self.settings(names);
        self.words.push_back(words::parameter_values(settings, id));
    }

    fn set(&mut self, asked: &[Setting], id: Option<&str>) -> Vec<String> {
        let problems = match self.robot.known.node() {
            None => vec!["no node is there yet".to_owned()],
            Some(_) if !self.robot.known.may_change() => vec![TOO_OFTEN.to_owned()],
            Some(node) => settings::set(&node.parameters, asked),
        };
        // As they are now, whatever was asked.
        let names: Vec<String> = asked.iter().map(|setting| setting.name.clone()).collect();
        if !names.is_empty() {
            self.tell(&names, id);
        }
        problems
    }

    /// Looks what is new of what the hub does not bring.
    fn look(&mut self) -> Result<(), Error> {
        let Robot { known, hub, .. } = self.robot;
        let camera = known.camera_topic().map(|topic| hub.channel(&topic, CompressedImageView::TYPE, false));
        let news = self.place.channels(self.n_told);
        if !news.is_empty() {
            self.n_told += news.len();
            self.words.push_back(words::advertise(&news));
        }
        let now = Instant::now();
        if !self.followed.is_empty() && self.next_settings <= now {
            self.next_settings = now + SETTINGS;
            self.follow();
        }
        if self.next_losses <= now {
            let n_lost = self.place.take_lost();
            if 0 < n_lost {
                self.next_losses = now + LOSSES;
                let told =
                    format!("{n_lost} messages were left out: this connection is slower than they come");
                self.words.push_back(words::status(Level::Warning, &told));
            }
        }
        match camera {
            Some(camera) if !self.line.is_busy() && self.place.wants(camera) => self.show(camera),
            _ => Ok(()),
        }
    }

    fn follow(&mut self) {
        let names: Vec<String> = self.followed.keys().cloned().collect();
        let mut news = self.settings(&names);
        news.retain(|told| {
            let known = told["name"].as_str().and_then(|name| self.followed.get_mut(name));
            known.is_some_and(|known| std::mem::replace(known, told.clone()) != *told)
        });
        if !news.is_empty() {
            self.words.push_back(words::parameter_values(news, None));
        }
    }

    /// Shows the camera's newest frame, if it was not shown yet.
    fn show(&mut self, camera: usize) -> Result<(), Error> {
        let Robot { known, pictures, .. } = self.robot;
        let (Some(shown), Some(id)) = (pictures.frame(known), self.subscriptions.get(&camera).copied())
        else {
            return Ok(());
        };
        if self.shown.replace(shown.number) == Some(shown.number) {
            return Ok(());
        }
        let format = ShortString::new("jpeg").expect("it is short");
        let body = encode(&CompressedImageView { header: shown.header, format, data: &shown.jpeg });
        // When it was drawn.
        let at_ns = shown.seen_ns.saturating_add((shown.age_ms * 1e6) as i64);
        let said = Said { channel: camera, at_ns, payload: Arc::new(with_encapsulation(&body)) };
        self.line.put(Frame::binary(words::message(id, &said)))
    }

    /// Says as much as the line takes in.
    fn say(&mut self) -> Result<(), Error> {
        self.line.flush()?;
        for _ in 0..SAID_MAX {
            if self.line.is_busy() {
                break;
            }
            if let Some(words) = self.words.pop_front() {
                self.line.put(Frame::text(words))?;
                continue;
            }
            let Some(said) = self.place.next() else { break };
            if let Some(id) = self.subscriptions.get(&said.channel) {
                self.line.put(Frame::binary(words::message(*id, &said)))?;
            }
        }
        Ok(())
    }
}
