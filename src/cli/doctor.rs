//! `doctor`: what this machine can run, and why not what it cannot.

mod resolved;

use clap::Args;
use serde::Serialize;

use self::resolved::Resolved;
use super::machine::Machine;
use super::{Context, output};
use crate::backend::backend;
use crate::board::{Advice, Board, Line, Root};
use crate::ros2::environment::{Environment, Reach};
use crate::ros2::kernel_limits::{
    KernelLimits, advice, receive_buffer_errors, receive_buffer_granted, remedy,
};

/// Says what this machine can run and why not: processor, memory, the board of a Jetson, the kernel's UDP buffers, ROS, backends.
///
/// With `--ros-args` it says what they make of a node's names, log level and parameters.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  perihelion doctor --json
  perihelion doctor --ros-args -r __ns:=/robot -r image:=/camera/image_raw --params-file robot.yaml")]
pub(crate) struct Options {
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    threads_default: usize,
    machine: Machine,
    board: BoardReport,
    network: Network,
    ros: Ros,
    backends: Vec<BackendState>,
    findings: Vec<Advice>,
}

/// A Jetson, what was looked at on it, and how that is.
#[derive(Debug, Default, Serialize)]
struct BoardReport {
    is_jetson: bool,
    #[serde(flatten)]
    board: Option<Board>,
    lines: Vec<Line>,
}

/// What the kernel lets UDP hold, over which DDS receives.
#[derive(Debug, Serialize)]
struct Network {
    rmem_max_bytes: Option<u64>,
    rmem_default_bytes: Option<u64>,
    /// What this program gets when it asks for the buffer that the node wants.
    receive_buffer_bytes: Option<u64>,
    /// Datagrams dropped since the machine started because a buffer was full, over all programs.
    receive_buffer_errors: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Ros {
    domain_id: Option<u16>,
    localhost_only: Option<bool>,
    distro: Option<String>,
    rmw: Option<String>,
    /// What `--ros-args` make of a node, if there are any.
    node: Option<Resolved>,
}

#[derive(Debug, Serialize)]
struct BackendState {
    name: &'static str,
    can_run: bool,
    /// What it runs on, or why it cannot.
    why: String,
}

pub(crate) fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let report = Report::look(Resolved::of(context)?);
    if options.json { output::json(&report) } else { output::text(&report.text()) }
}

impl Report {
    fn look(node: Option<Resolved>) -> Self {
        let mut findings = Vec::new();
        let machine = Machine::look();
        let board = BoardReport::look(&mut findings);
        let network = Network::look(&mut findings);
        let ros = Ros { node, ..Ros::look(&mut findings) };
        let backends = backends();
        // Of a board, its clocks tell more than the name of what drives them.
        if !board.is_jetson && machine.governor.as_deref() == Some("powersave") {
            findings.push(Advice {
                what: "the processor's governor is powersave: latencies will vary".to_owned(),
                remedy: "sudo cpupower frequency-set -g performance".to_owned(),
            });
        }
        let threads_default = super::machine::default_threads().get();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            threads_default,
            machine,
            board,
            network,
            ros,
            backends,
            findings,
        }
    }

    fn text(&self) -> String {
        let machine = &self.machine;
        let size = |n: Option<u64>| n.map_or_else(|| "unknown".to_owned(), output::bytes);
        let mut rows = Vec::new();
        let mut row = |name: &str, value: String| rows.push([name.to_owned(), value]);
        let sets = machine.instruction_sets.join(" ");
        row("perihelion", self.version.to_owned());
        if !self.board.is_jetson {
            let other = machine.board.as_deref().map_or(String::new(), |name| format!(": {name}"));
            row("board", format!("not a Jetson{other}"));
        }
        row("processor", machine.cpu.clone());
        row("cores", format!("{}, of which {} compute by default", machine.cores, self.threads_default));
        row("instruction sets", format!("{} {sets}", machine.architecture));
        if !self.board.is_jetson {
            let (total, available) = (size(machine.memory_total_bytes), size(machine.memory_available_bytes));
            row("memory", format!("{total}, {available} of it available"));
        }
        if let Some(limit) = machine.memory_cgroup_limit_bytes {
            row("memory limit (cgroup)", output::bytes(limit));
        }
        row("kernel", machine.kernel.clone().unwrap_or_else(|| "unknown".to_owned()));
        if let Some(governor) = &machine.governor {
            row("governor", governor.clone());
        }
        for Line { name, value, advice } in &self.board.lines {
            let verdict = if advice.is_some() { "!" } else { "good:" };
            row(name, format!("{verdict} {value}"));
        }
        row("net.core.rmem_max", size(self.network.rmem_max_bytes));
        row("net.core.rmem_default", size(self.network.rmem_default_bytes));
        row("receive buffer", self.network.granted());
        if let Some(id) = self.ros.domain_id {
            let distro = self.ros.distro.as_deref().unwrap_or("no distribution sourced");
            let reach = if self.ros.localhost_only == Some(true) { ", this machine only" } else { "" };
            row("ROS", format!("domain {id}, {distro}{reach}"));
        }
        for (name, value) in self.ros.node.iter().flat_map(Resolved::rows) {
            row(name, value);
        }
        for backend in &self.backends {
            let verdict = if backend.can_run { "runs" } else { "does not run" };
            row(&format!("backend {}", backend.name), format!("{verdict}: {}", backend.why));
        }
        let width = rows.iter().map(|row| row[0].chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for [name, value] in &rows {
            text.push_str(&format!("{name:width$}  {value}\n"));
        }
        for Advice { what, remedy } in &self.findings {
            text.push_str(&format!("\n! {what}\n  {remedy}\n"));
        }
        if self.findings.is_empty() {
            text.push_str("\nNothing to mend.\n");
        }
        text
    }
}

impl BoardReport {
    fn look(findings: &mut Vec<Advice>) -> Self {
        let Some(board) = Board::read(&Root::machine()) else { return Self::default() };
        let lines = board.lines();
        findings.extend(lines.iter().filter_map(|line| line.advice.clone()));
        Self { is_jetson: true, board: Some(board), lines }
    }
}

impl Network {
    fn look(findings: &mut Vec<Advice>) -> Self {
        let limits = KernelLimits::read();
        let receive_buffer_bytes = receive_buffer_granted();
        if let Some(what) = receive_buffer_bytes.and_then(advice) {
            findings.push(Advice { what, remedy: remedy() });
        }
        Self {
            rmem_max_bytes: limits.map(|limits| limits.receive_bytes_max),
            rmem_default_bytes: limits.map(|limits| limits.receive_bytes_default),
            receive_buffer_bytes,
            receive_buffer_errors: receive_buffer_errors(),
        }
    }
}

impl Network {
    /// The buffer that is granted, and whether by a capability.
    fn granted(&self) -> String {
        let Some(granted) = self.receive_buffer_bytes else { return "unknown".to_owned() };
        let is_beyond = self.rmem_max_bytes.is_some_and(|limit| limit < granted);
        let how = if is_beyond { ", beyond rmem_max by CAP_NET_ADMIN" } else { "" };
        format!("{}{how}", output::bytes(granted))
    }
}

impl Ros {
    fn look(findings: &mut Vec<Advice>) -> Self {
        match Environment::from_process() {
            Ok(environment) => {
                if let Some((what, remedy)) = environment.apart() {
                    findings.push(Advice { what, remedy: remedy.to_owned() });
                }
                let Environment { domain_id, reach, distro, rmw, unsupported, .. } = environment;
                for name in unsupported {
                    findings.push(Advice {
                        what: format!("{name} is set, which other nodes obey and this program cannot"),
                        remedy: format!("unset {name}"),
                    });
                }
                Self {
                    domain_id: Some(domain_id),
                    localhost_only: Some(reach == Reach::Localhost),
                    distro,
                    rmw,
                    node: None,
                }
            }
            Err(error) => {
                findings.push(Advice { what: error.to_string(), remedy: "correct the variable".to_owned() });
                Self { domain_id: None, localhost_only: None, distro: None, rmw: None, node: None }
            }
        }
    }
}

fn backends() -> Vec<BackendState> {
    let state = |name| match backend(name).and_then(|backend| backend.check()) {
        Ok(why) => BackendState { name, can_run: true, why },
        Err(error) => BackendState { name, can_run: false, why: error.to_string() },
    };
    ["cpu", "tensorrt"].map(state).into()
}
