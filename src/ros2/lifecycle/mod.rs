//! A managed node: others say when its engines are opened, when they answer, and when they go.
//!
//! `configure` opens and tests the engines, `activate` subscribes and answers, `deactivate` stops within a frame, `cleanup` gives
//! the engines' memory back, `shutdown` ends the process. Parameters, types and log levels are there in every state. An engine that
//! does not load makes `configure` fail, and the node can be configured again.

mod desk;
mod machine;
mod reused;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

pub use machine::{Ending, Machine, State, TRANSITIONS, Transition};

use self::desk::{Desk, Names, Wanted};
use self::reused::Reused;
use crate::ros2::asks::{self, Asks};
use crate::ros2::node::{
    self, Checker, Engines, NodeError, NodeOptions, OnlookerOption, Performance, Presence, Said,
};
use crate::ros2::parameter_store::{ParameterStore, SharedParameters};
use crate::ros2::parameters::Parameters;
use crate::ros2::recorder::Recording;
use crate::ros2::told::Told;
use crate::ros2::transport::Transport;
use crate::supervisor::Supervisor;

/// How often is looked at what is not waited for.
const TICK: Duration = Duration::from_millis(50);

/// The engines of a managed node, which come and go.
pub trait Crew: Send {
    /// Opens the engines and tests them; the settings of the node that has them, in which the parameters as they are now count.
    ///
    /// # Errors
    /// Why not. Nothing is open then.
    fn configure(&mut self, now: &Parameters) -> Result<NodeOptions, String>;

    /// The engines that are open.
    fn engines(&mut self) -> Engines<'_>;

    /// What says beforehand which settings would be refused, if anything does.
    fn checker(&self) -> Option<Checker>;

    /// Lets go of the engines and of all that they hold.
    fn cleanup(&mut self);
}

/// Runs a managed node until it is shut down, or `stop` is set.
///
/// `options` are the node's before an engine is known; `on_said` hears of everything as it is published. `transport` is one that lets go of
/// a camera when it is told to ([`Transport::ignore_images`]).
///
/// # Errors
/// If a service or topic that every state needs cannot be had.
///
/// # Panics
/// If an engine does, as [`node::run`].
pub fn run(
    transport: &dyn Transport,
    options: &NodeOptions,
    crew: &mut dyn Crew,
    stop: &AtomicBool,
    on_said: &mut (dyn FnMut(Said<'_>) + Send),
) -> Result<(), NodeError> {
    let told = Told::new(transport, &options.qos_overrides);
    let parameters = Arc::new(ParameterStore::new(options.parameters()));
    let presence = Presence::open(&told, options, &parameters)?;
    options.onlooker.meet(&options.name.to_string(), &options.prompt, &parameters);
    let asks = Asks::open(&told, &asks::Names::of(&options.name, &options.remaps)?)?;
    let names = Names::of(&options.name, &options.remaps)?;
    let desk = Desk::open(&told, &names, options.onlooker.clone())?;
    let supervisor = Supervisor::from_environment(1);
    supervisor.ready();
    log::info!("managed: {}", desk.state().label());
    let reused = Reused::new(transport);
    let managed = Managed {
        transport: &reused,
        presence: &presence,
        desk,
        parameters,
        supervisor,
        stop,
        settings: None,
        onlooker: &options.onlooker,
        recording: &options.recording,
        asks: &asks,
    };
    managed.attend(crew, on_said)
}

struct Managed<'a> {
    transport: &'a Reused<'a>,
    presence: &'a Presence,
    desk: Desk,
    parameters: SharedParameters,
    supervisor: Supervisor,
    stop: &'a AtomicBool,
    /// Of the node as it was configured.
    settings: Option<NodeOptions>,
    /// Who looks on and what records, whatever it is configured as.
    onlooker: &'a OnlookerOption,
    recording: &'a Recording,
    asks: &'a Asks,
}

impl Managed<'_> {
    fn attend(
        mut self,
        crew: &mut dyn Crew,
        on_said: &mut (dyn FnMut(Said<'_>) + Send),
    ) -> Result<(), NodeError> {
        let (mut next, mut ended) = (None, Ok(()));
        while let Some(wanted) = next.take().or_else(|| self.await_change(0, &|| false)) {
            match wanted.transition.goal {
                State::Configuring => {
                    let ending = self.configure(crew);
                    self.desk.end(wanted, ending);
                }
                State::CleaningUp => {
                    self.let_go(crew);
                    self.desk.end(wanted, Ending::Success);
                }
                State::Activating => {
                    next = self.be_active(wanted, crew, on_said);
                    let is_to_leave = next.is_some() || self.stop.load(Relaxed);
                    if !is_to_leave && self.desk.state() == State::Active {
                        ended = Err(NodeError::Ended);
                        break;
                    }
                }
                State::Deactivating => self.desk.end(wanted, Ending::Success),
                State::ShuttingDown => {
                    self.let_go(crew);
                    self.desk.end(wanted, Ending::Success);
                    break;
                }
                other => unreachable!("no transition that others ask for leads to {other:?}"),
            }
        }
        self.supervisor.stopping();
        self.presence.tell();
        ended
    }

    /// The next change; none when the node is to leave, or `is_over` says so. `thread` is ours among those that work.
    fn await_change(&self, thread: usize, is_over: &dyn Fn() -> bool) -> Option<Wanted> {
        while !self.stop.load(Relaxed) && !is_over() {
            self.come_round(thread);
            if let Some(wanted) = self.desk.wait(TICK) {
                return Some(wanted);
            }
        }
        None
    }

    fn come_round(&self, thread: usize) {
        self.supervisor.beat(thread);
        self.presence.tell();
    }

    fn configure(&mut self, crew: &mut dyn Crew) -> Ending {
        let now = self.parameters.read(Parameters::clone);
        // Opening takes its time, in which the services go on.
        let settings = std::thread::scope(|scope| {
            let opening = scope.spawn(|| crew.configure(&now));
            while !opening.is_finished() {
                self.come_round(0);
                std::thread::park_timeout(TICK);
            }
            opening.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        match settings {
            Ok(settings) => {
                self.parameters.add(settings.parameters());
                self.judge(crew, &settings);
                // Nobody has judged what was set before there was an engine, or while it was opened.
                if let Err(reason) = self.parameters.judge_all() {
                    log::error!("the engine does not take the parameters as they are: {reason}");
                    self.let_go(crew);
                    return Ending::Failure;
                }
                let (onlooker, recording) = (self.onlooker.clone(), self.recording.clone());
                self.settings = Some(NodeOptions { onlooker, recording, ..settings });
                Ending::Success
            }
            Err(reason) => {
                log::error!("the engine does not load: {reason}");
                Ending::Failure
            }
        }
    }

    fn judge(&self, crew: &mut dyn Crew, settings: &NodeOptions) {
        let forecasts = crew.engines().forecaster.is_some();
        node::judge(&self.parameters, crew.checker(), settings, forecasts);
    }

    fn let_go(&mut self, crew: &mut dyn Crew) {
        self.parameters.judged_by_nobody();
        self.settings = None;
        crew.cleanup();
    }

    /// Answers until another change is asked for, which is returned; none if the camera cannot be subscribed to, or the node is to
    /// leave.
    fn be_active(
        &mut self,
        wanted: Wanted,
        crew: &mut dyn Crew,
        on_said: &mut (dyn FnMut(Said<'_>) + Send),
    ) -> Option<Wanted> {
        let mut settings = self.settings.clone().expect("a node is configured before it is activated");
        self.parameters.read(|parameters| settings.take_over(parameters));
        let (quit, is_ready) = (AtomicBool::new(false), AtomicBool::new(false));
        let engines = crew.engines();
        let n_engines = engines.count();
        self.supervisor.regroup(n_engines + 1);
        let performance = Performance {
            transport: self.transport,
            options: &settings,
            parameters: &self.parameters,
            supervisor: &self.supervisor,
            stop: &quit,
            presence: None,
            asks: self.asks,
        };
        let main = std::thread::current();
        let ready = || {
            is_ready.store(true, Relaxed);
            main.unpark();
        };
        let next = std::thread::scope(|scope| {
            let playing = scope.spawn(|| performance.play(engines, on_said, &ready));
            while !is_ready.load(Relaxed) && !playing.is_finished() {
                self.come_round(n_engines);
                std::thread::park_timeout(TICK);
            }
            let is_active = is_ready.load(Relaxed);
            self.desk.end(wanted, if is_active { Ending::Success } else { Ending::Failure });
            let next = is_active.then(|| self.await_change(n_engines, &|| playing.is_finished())).flatten();
            quit.store(true, Relaxed);
            let played = playing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            if let Err(error) = played {
                log::error!("{error}");
            }
            next
        });
        self.transport.rest();
        self.supervisor.regroup(1);
        next
    }
}
