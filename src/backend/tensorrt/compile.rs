//! A plan is made in a process of its own, since the library that makes it may take the process down with it.
//!
//! The child is this program again: it reads an [`Order`] as JSON, and writes the most memory that it has had (bytes, 8,
//! little-endian) and then the plan. Whatever ends it is an error of the one that asked, and memory that TensorRT keeps ends with it.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::layers::Layers;
use super::shim::{Library, Network, Target};
use crate::backend::BackendError;
use crate::board::kib_field;

/// What is to be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// The graph's name, for errors.
    pub graph: String,
    /// The network.
    pub layers: Layers,
    /// For which GPUs.
    pub target: Target,
}

/// A plan, and what it took.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// As TensorRT serialised it.
    pub plan: Vec<u8>,
    /// How long it took.
    pub elapsed: Duration,
    /// The most memory that the process had at once.
    pub peak_bytes: u64,
}

/// What a child has said of itself at most, when it failed.
const SAID_BYTES_MAX: usize = 64 << 10;

/// How often whoever waits is told how long he has.
const TICK: Duration = Duration::from_millis(200);

/// Has a plan made by a child process: `child` is this program with the verb that calls [`serve`]. `tick` is told, some times a
/// second, how long it has taken.
///
/// # Errors
/// If the child cannot be started, or ends without a plan: with its signal or its exit code, and what it said.
pub fn compile(
    mut child: Command,
    order: &Order,
    tick: &mut dyn FnMut(Duration),
) -> Result<Compiled, BackendError> {
    let begun = Instant::now();
    let failed = |why: String| BackendError::Compiler { graph: order.graph.clone(), why };
    let request = serde_json::to_vec(order).expect("plain data");
    let started = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let started =
        started.map_err(|why| failed(format!("{:?} does not start: {why}", child.get_program())))?;
    let (status, answer, said) = talk(started, &request, &mut || tick(begun.elapsed()))
        .map_err(|why| failed(format!("the pipe to its process: {why}")))?;
    if !status.success() {
        return Err(failed(format!("{}: {}", ended(status), last_words(status, &said))));
    }
    let Some((peak, plan)) = answer.split_first_chunk::<8>().filter(|(_, plan)| !plan.is_empty()) else {
        return Err(failed(format!(
            "its process wrote {} bytes, which are no plan: {}",
            answer.len(),
            said.trim()
        )));
    };
    Ok(Compiled { plan: plan.to_vec(), elapsed: begun.elapsed(), peak_bytes: u64::from_le_bytes(*peak) })
}

/// Gives a child its input and takes all that it writes, all at once, since each pipe holds only so much.
fn talk(
    mut child: Child,
    request: &[u8],
    tick: &mut dyn FnMut(),
) -> std::io::Result<(ExitStatus, Vec<u8>, String)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut stdin, mut stdout, mut stderr) =
        (stdin.expect("piped"), stdout.expect("piped"), stderr.expect("piped"));
    let talked = std::thread::scope(|scope| {
        let given = scope.spawn(move || match stdin.write_all(request) {
            // It ended before it had read everything: how, its status tells.
            Err(why) if why.kind() == ErrorKind::BrokenPipe => Ok(()),
            other => other,
        });
        let said = scope.spawn(move || {
            // The last of it tells how it ended.
            let (mut said, mut piece) = (Vec::new(), vec![0; SAID_BYTES_MAX]);
            loop {
                match stderr.read(&mut piece) {
                    Ok(0) => break,
                    Ok(n) => said.extend_from_slice(&piece[..n]),
                    Err(why) if why.kind() == ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
                said.drain(..said.len().saturating_sub(SAID_BYTES_MAX));
            }
            String::from_utf8_lossy(&said).into_owned()
        });
        let (done, is_done) = mpsc::channel();
        let answer = scope.spawn(move || {
            let mut answer = Vec::new();
            let taken = stdout.read_to_end(&mut answer);
            // Nobody hears it who does not wait any more.
            let _ = done.send(());
            taken.map(|_| answer)
        });
        while let Err(RecvTimeoutError::Timeout) = is_done.recv_timeout(TICK) {
            tick();
        }
        let answer = answer.join().expect("it does not panic");
        let given = given.join().expect("it does not panic");
        let said = said.join().expect("it does not panic");
        given.and(answer).map(|answer| (answer, said))
    });
    if talked.is_err() {
        // Nobody waits for what it makes any more.
        let _ = child.kill();
    }
    let status = child.wait()?;
    talked.map(|(answer, said)| (status, answer, said))
}

/// What a process said of its end: its own error, which has the cause in it; or the last lines before something took it down.
fn last_words(status: ExitStatus, said: &str) -> String {
    const LINES_MAX: usize = 12;
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let own =
        lines.iter().rposition(|line| line.starts_with("error: ")).filter(|_| status.signal().is_none());
    let from = own.unwrap_or(lines.len().saturating_sub(LINES_MAX));
    if lines.is_empty() { "it said nothing".into() } else { lines[from..].join(" · ") }
}

/// How a process ended, and what that mostly means.
fn ended(status: ExitStatus) -> String {
    match status.signal() {
        Some(libc::SIGKILL) => {
            "its process was killed (signal 9), as the system does when memory runs out: free some, or add swap".into()
        }
        Some(signal) => format!("its process ended by signal {signal}, inside TensorRT"),
        None => format!("its process ended with code {}", status.code().unwrap_or(-1)),
    }
}

/// The child's side: reads an order, has the plan made by the library that is there, writes it.
///
/// # Errors
/// What the order lacks, or what TensorRT says.
pub fn serve(input: &mut dyn Read, output: &mut dyn Write) -> Result<(), BackendError> {
    // Whoever asked may be interrupted or killed; nobody is to go on for hours for him. Where the system does not know this, the
    // pipe breaks when the plan is there.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let order: Order = serde_json::from_reader(input)
        .map_err(|why| BackendError::Unsupported { why: format!("the order is none: {why}") })?;
    let library = Library::open(None)?;
    library.print_log();
    let plan = Network::new(&library, &order.layers)?.plan(&order.target)?;
    let wrote = output.write_all(&peak_bytes().to_le_bytes()).and_then(|()| output.write_all(&plan));
    wrote
        .and_then(|()| output.flush())
        .map_err(|source| BackendError::System { what: "to write a plan", source })
}

/// Bytes that making a plan of these layers takes at most, by rule of thumb: the library and its code, what it keeps of each layer,
/// and what it makes of constants. Weights are inputs, and take none.
pub(super) fn estimate_bytes(layers: &Layers) -> u64 {
    const LIBRARY: u64 = 384 << 20;
    const LAYER: u64 = 256 << 10;
    let constants: usize = layers.layers.iter().map(|layer| layer.kind.bytes().len()).sum();
    LIBRARY + LAYER * layers.layers.len() as u64 + 8 * constants as u64
}

/// Bytes that processes can still have, with what can be swapped out; none if the system does not tell.
pub(super) fn available_bytes() -> Option<u64> {
    let memory = std::fs::read_to_string("/proc/meminfo").ok()?;
    let swap_bytes = kib_field(&memory, "SwapFree").unwrap_or(0);
    Some(kib_field(&memory, "MemAvailable")?.saturating_add(swap_bytes))
}

/// The most memory that this process has had at once; 0 if the system does not tell.
fn peak_bytes() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| kib_field(&status, "VmHWM"))
        .unwrap_or(0)
}
