//! What a service manager is told of this process: that it is ready, and that it still comes round.
//!
//! The protocol is systemd's (`sd_notify(3)`, `sd_watchdog_enabled(3)`): a datagram of lines to the socket that `NOTIFY_SOCKET` names; with
//! `WATCHDOG_USEC`, one that says so must come more often than that, or the manager ends and starts the process anew. Without a manager all
//! of it does nothing.
//!
//! The heartbeat is of the threads that do the work, not of one that only beats: it is sent when every one of them has come round since
//! the last.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The manager of this process, if it has one.
#[derive(Debug)]
pub struct Supervisor(Option<Manager>);

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    /// How often a heartbeat is sent: twice in the manager's patience.
    period: Option<Duration>,
    beats: Mutex<Beats>,
}

#[derive(Debug)]
struct Beats {
    last: Instant,
    /// Which threads have come round since.
    came: Vec<bool>,
}

impl Supervisor {
    /// The manager that the environment names, of a process with so many threads that work.
    pub fn from_environment(n_threads: usize) -> Supervisor {
        let variable = |name: &str| std::env::var_os(name);
        // A process that inherits the variables is not the one that is meant.
        let is_meant = variable("WATCHDOG_PID").is_none_or(|pid| pid == *std::process::id().to_string());
        let patience = variable("WATCHDOG_USEC").filter(|_| is_meant);
        let patience = patience.and_then(|text| Some(Duration::from_micros(text.to_str()?.parse().ok()?)));
        let Some(socket) = variable("NOTIFY_SOCKET") else { return Supervisor(None) };
        match Supervisor::of(&socket, patience, n_threads) {
            Ok(supervisor) => supervisor,
            Err(error) => {
                log::warn!("NOTIFY_SOCKET {}: {error}; the service manager hears nothing", socket.display());
                Supervisor(None)
            }
        }
    }

    /// The manager at a socket: a path, or `@` and a name of the abstract space.
    ///
    /// # Errors
    /// If that is no address, or there are no sockets.
    pub fn of(socket: &OsStr, patience: Option<Duration>, n_threads: usize) -> io::Result<Supervisor> {
        let address = match socket.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(socket)?,
        };
        let own = UnixDatagram::unbound()?;
        // A manager that does not read is not waited for.
        own.set_nonblocking(true)?;
        let beats = Beats { last: Instant::now(), came: vec![false; n_threads] };
        let period = patience.filter(|patience| !patience.is_zero()).map(|patience| patience / 2);
        Ok(Supervisor(Some(Manager { socket: own, address, period, beats: Mutex::new(beats) })))
    }

    /// Everything is open, and the first frame finds it so.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// The process leaves by itself.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// So many threads work from now on, each of which is to come round.
    pub fn regroup(&self, n_threads: usize) {
        let Some(Manager { beats, .. }) = &self.0 else { return };
        beats.lock().unwrap_or_else(PoisonError::into_inner).came = vec![false; n_threads];
    }

    /// A thread has come round.
    ///
    /// # Panics
    /// If there is no such thread.
    pub fn beat(&self, thread: usize) {
        let Some(Manager { period: Some(period), beats, .. }) = &self.0 else { return };
        let mut beats = beats.lock().unwrap_or_else(PoisonError::into_inner);
        beats.came[thread] = true;
        if *period <= beats.last.elapsed() && beats.came.iter().all(|came| *came) {
            beats.came.fill(false);
            beats.last = Instant::now();
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, line: &str) {
        let Some(Manager { socket, address, .. }) = &self.0 else { return };
        // It hears the next one; if it never does, it starts the process anew, which is what it is for.
        let _ = socket.send_to_addr(line.as_bytes(), address);
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn manager(patience: Option<Duration>, n_threads: usize) -> (Supervisor, UnixDatagram, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let supervisor = Supervisor::of(path.as_os_str(), patience, n_threads).unwrap();
        (supervisor, manager, folder)
    }

    fn heard(manager: &UnixDatagram) -> Option<String> {
        let mut line = [0; 64];
        let n = manager.recv(&mut line).ok()?;
        Some(String::from_utf8_lossy(&line[..n]).into_owned())
    }

    #[test]
    fn one_thread_that_hangs_stops_the_heartbeat() {
        let (supervisor, manager, _folder) = manager(Some(Duration::from_nanos(2)), 2);
        supervisor.ready();
        assert_eq!(heard(&manager).as_deref(), Some("READY=1"));
        for _ in 0..3 {
            supervisor.beat(0);
        }
        assert_eq!(heard(&manager), None);
        supervisor.beat(1);
        assert_eq!(heard(&manager).as_deref(), Some("WATCHDOG=1"));
        supervisor.beat(1);
        assert_eq!(heard(&manager), None);
    }

    #[test]
    fn a_heartbeat_is_not_sent_more_often_than_it_is_awaited() {
        let (supervisor, manager, _folder) = manager(Some(Duration::from_secs(3600)), 1);
        supervisor.beat(0);
        assert_eq!(heard(&manager), None);
    }

    #[test]
    fn without_patience_or_manager_nothing_is_sent() {
        let (supervisor, manager, _folder) = manager(None, 1);
        supervisor.beat(0);
        supervisor.stopping();
        assert_eq!(heard(&manager).as_deref(), Some("STOPPING=1"));
        assert_eq!(heard(&manager), None);
        Supervisor(None).ready();
        assert!(Supervisor::of(OsStr::new("a\0b"), None, 1).is_err());
    }
}
