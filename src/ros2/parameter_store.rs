//! The node's parameters while it runs: read by its threads; changed by services and topics, in one place that checks, logs and
//! notes what is to be told of it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::frames::clock::Clock;
use crate::ros2::messages::ParameterEvent;
use crate::ros2::parameter_events::ParameterEvents;
use crate::ros2::parameters::{Parameters, Value};

/// Letters of a value that the log shows: it may be a stranger's text.
const SHOWN_LETTERS_MAX: usize = 200;

/// Says what is wrong with values that fit each by itself.
pub type Judge = Box<dyn Fn(&Parameters) -> Result<(), String> + Send>;
/// Hears of new values.
pub type Follower = Box<dyn Fn(&Parameters) + Send>;

/// Parameters that services and the node's own threads share.
pub type SharedParameters = Arc<ParameterStore>;

/// Parameters, and who has to do with their changes.
pub struct ParameterStore(Mutex<State>);

struct State {
    parameters: Parameters,
    judge: Option<Judge>,
    follower: Option<Follower>,
    events: Option<(ParameterEvents, Arc<Clock>)>,
}

impl ParameterStore {
    /// Parameters that nobody judges and follows yet.
    pub fn new(parameters: Parameters) -> Self {
        Self(Mutex::new(State { parameters, judge: None, follower: None, events: None }))
    }

    /// Looks at the values of this moment.
    pub fn read<T>(&self, look: impl FnOnce(&Parameters) -> T) -> T {
        look(&self.lock().parameters)
    }

    /// Asks the judge about all as they are.
    ///
    /// # Errors
    /// What it says.
    pub fn judge_all(&self) -> Result<(), String> {
        let state = self.lock();
        state.judge.as_ref().map_or(Ok(()), |judge| judge(&state.parameters))
    }

    /// Changes all that `change` sets, or nothing. What is another value then is logged, noted as an event and told to the follower.
    ///
    /// # Errors
    /// What `change` or the judge says.
    pub fn change(&self, change: impl FnOnce(&mut Parameters) -> Result<(), String>) -> Result<(), String> {
        let mut state = self.lock();
        let mut trial = state.parameters.clone();
        change(&mut trial)?;
        let before_and_after = || state.parameters.iter().zip(trial.iter());
        if let Some(judge) = &state.judge
            && before_and_after().any(|((_, old), (_, new))| old != new)
        {
            judge(&trial)?;
        }
        state.take(trial);
        Ok(())
    }

    /// Sets each by itself, if it may be, and tells what became of each; changes are told one by one, as
    /// [`ParameterStore::change`] tells them. `value` makes a value of what was asked for.
    ///
    /// A name is set once: each change may cost the judge a while, and a message has room for thousands.
    pub fn set_each<Asked>(
        &self,
        asked: &[Asked],
        name: impl Fn(&Asked) -> &str,
        value: impl Fn(&Parameters, &Asked) -> Result<Value, String>,
    ) -> Vec<Result<(), String>> {
        let mut state = self.lock();
        let mut trial = state.parameters.clone();
        let mut names = HashSet::new();
        let mut set_one = |asked| {
            let name = name(asked);
            if !names.insert(name) {
                return Err(format!("parameter '{name}' stands twice in the request"));
            }
            let value = value(&trial, asked)?;
            let old = trial.get(name).cloned();
            trial.set(name, value)?;
            let Some(old) = old.filter(|old| trial.get(name) != Some(old)) else { return Ok(()) };
            if let Some(judge) = &state.judge
                && let Err(refusal) = judge(&trial)
            {
                trial.set(name, old).expect("it was so a moment ago");
                return Err(refusal);
            }
            state.take(trial.clone());
            Ok(())
        };
        asked.iter().map(&mut set_one).collect()
    }

    /// Declares what is not declared yet; what is keeps its value.
    pub fn add(&self, others: Parameters) {
        self.lock().parameters.add(others);
    }

    /// Lets nobody refuse changes any more.
    pub fn judged_by_nobody(&self) {
        self.lock().judge = None;
    }

    /// Lets `judge` refuse changes.
    pub fn judged_by(&self, judge: Judge) {
        self.lock().judge = Some(judge);
    }

    /// Lets `follower` hear of changes, and ends what is shared with it once the result goes.
    pub fn followed_by(&self, follower: Follower) -> Attended<'_> {
        self.lock().follower = Some(follower);
        Attended(self)
    }

    /// Notes events from now on, the first of what the values are.
    pub fn note_events(&self, mut events: ParameterEvents, clock: Arc<Clock>) {
        let mut state = self.lock();
        events.note(&state.parameters, clock.now().ros_ns);
        state.events = Some((events, clock));
    }

    /// Notes no events any more, and lets nobody refuse changes: a transport keeps the services, and these the parameters, for longer
    /// than the node runs.
    pub fn let_go(&self) {
        let mut state = self.lock();
        (state.judge, state.follower, state.events) = (None, None, None);
    }

    /// The events that are to be published now, oldest first.
    pub fn take_events(&self) -> Vec<ParameterEvent> {
        let State { parameters, events, .. } = &mut *self.lock();
        events.as_mut().map_or_else(Vec::new, |(events, clock)| events.take(parameters, clock.now().ros_ns))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes values that were found right, and tells who wants to know what is another now.
    fn take(&mut self, trial: Parameters) {
        let State { parameters, follower, events, .. } = self;
        let changes = parameters.iter().zip(trial.iter()).filter(|((_, old), (_, new))| old != new);
        let mut is_news = false;
        for ((declaration, old), (_, new)) in changes {
            is_news = true;
            log::info!("parameter {}: {} -> {}", declaration.name, shown(old), shown(new));
        }
        if !is_news {
            return;
        }
        *parameters = trial;
        if let Some(follower) = follower {
            follower(parameters);
        }
        if let Some((events, clock)) = events {
            events.note(parameters, clock.now().ros_ns);
        }
    }
}

/// Lets go of the follower when it goes.
pub struct Attended<'a>(&'a ParameterStore);

impl Drop for Attended<'_> {
    fn drop(&mut self) {
        self.0.lock().follower = None;
    }
}

/// In one line, and not all of it.
fn shown(value: &Value) -> String {
    let whole = value.to_string();
    let mut shown: String = whole.chars().take(SHOWN_LETTERS_MAX).collect();
    if shown.len() < whole.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ros2::names::NodeName;
    use crate::ros2::node::NodeOptions;

    fn store() -> ParameterStore {
        ParameterStore::new(NodeOptions::new(NodeName::new("/", "eye").unwrap()).parameters())
    }

    fn set(store: &ParameterStore, values: &[(&str, Value)]) -> Result<(), String> {
        store.change(|trial| values.iter().try_for_each(|(name, value)| trial.set(name, value.clone())))
    }

    #[test]
    fn a_change_is_whole_or_none_and_the_judge_has_the_last_word() {
        let store = store();
        let rate = || store.read(|parameters| parameters.double("max_rate"));
        let (good, bad) = (("max_rate", Value::Double(5.0)), ("max_rate", Value::Double(-1.0)));
        let prompt = ("prompt", Value::Text("no".into()));
        assert!(set(&store, &[good.clone(), bad]).unwrap_err().contains("max_rate"));
        assert_eq!(rate(), 0.0);
        store.judged_by(Box::new(|trial| match trial.text("prompt") {
            "no" => Err("not that".into()),
            _ => Ok(()),
        }));
        assert_eq!(set(&store, &[good.clone(), prompt]).unwrap_err(), "not that");
        assert_eq!(rate(), 0.0);
        set(&store, &[good]).unwrap();
        assert_eq!(rate(), 5.0);
    }

    #[test]
    fn each_is_set_by_itself_and_a_name_once() {
        let store = store();
        let heard = Arc::new(Mutex::new(0));
        let ears = Arc::clone(&heard);
        let _attended = store.followed_by(Box::new(move |_| *ears.lock().unwrap() += 1));
        let judged = Arc::new(Mutex::new(0));
        let calls = Arc::clone(&judged);
        store.judged_by(Box::new(move |trial| {
            *calls.lock().unwrap() += 1;
            if trial.text("prompt") == "no" { Err("not that".into()) } else { Ok(()) }
        }));
        let text = |text: &str| Value::Text(text.to_owned());
        let mut asked = vec![
            ("prompt", text("no")),
            ("max_rate", Value::Double(5.0)),
            ("max_age", Value::Double(-1.0)),
            ("nobody's", Value::Bool(true)),
        ];
        asked.extend((0..20_000).map(|i| ("prompt", text(&i.to_string()))));
        let outcomes = store.set_each(&asked, |(name, _)| name, |_, (_, value)| Ok(value.clone()));
        let is_set: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
        assert_eq!(is_set[..4], [false, true, false, false]);
        assert!(is_set[4..].iter().all(|is_set| !is_set) && is_set.len() == asked.len());
        assert!(outcomes[4].as_ref().unwrap_err().contains("twice"));
        assert_eq!(
            store.read(|now| (now.text("prompt").to_owned(), now.double("max_rate"))),
            ("What do you see?".to_owned(), 5.0)
        );
        assert_eq!((*judged.lock().unwrap(), *heard.lock().unwrap()), (2, 1));
    }

    #[test]
    fn followers_hear_of_what_is_another_value_until_they_are_let_go() {
        let store = store();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ears = Arc::clone(&heard);
        let attended =
            store.followed_by(Box::new(move |now| ears.lock().unwrap().push(now.double("max_rate"))));
        for rate in [2.0, 2.0, 3.0] {
            set(&store, &[("max_rate", Value::Double(rate))]).unwrap();
        }
        drop(attended);
        set(&store, &[("max_rate", Value::Double(4.0))]).unwrap();
        assert_eq!(*heard.lock().unwrap(), [2.0, 3.0]);
        assert_eq!(Arc::strong_count(&heard), 1);
    }

    #[test]
    fn values_are_shown_in_one_line_and_not_all_of_them() {
        assert_eq!(shown(&Value::Text("a\nb".into())), "\"a\\nb\"");
        assert_eq!(shown(&Value::Double(5.0)), "5");
        assert_eq!(shown(&Value::Text("x".repeat(1 << 14))).chars().count(), SHOWN_LETTERS_MAX + 1);
    }
}
