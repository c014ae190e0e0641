//! Read-only maps of whole files: what is looked at is read when it is looked at, shared between processes, and counted to nobody's
//! private memory.
//!
//! A mapped file must not be written to: everything here is installed by a rename, which leaves a file that is mapped as it was,
//! whatever its name becomes. Who writes into an engine or a checkpoint all the same, or cuts it, or takes its disk or server away,
//! takes the bytes from under a running program, which Unix says by SIGBUS, when they are next read. That ends the process, in order:
//! a line on stderr that names the file, exit code [`EXIT_CODE`], no core. There is nothing to go on with: a run may be reading
//! weights on several threads, and zeros in their place would be wrong answers.
//!
//! Why not a copy, sealed: engines have gigabytes. Why not a read lease (`F_SETLEASE`): it only delays the writer, and only files of
//! the same user on local disks have one. Why not check the length before each run: it may change between check and use.
//! Why not the time of the last change, for who writes other bytes of the same length in place: a `touch` would end a robot's node, and a
//! write may be half read before its time is seen. What was written before the start is found by the golden cases; afterwards the rename
//! is what keeps a file whole.
#![expect(
    unsafe_code,
    reason = "a map is unsafe because others may write to the file below it; a handler of signals is FFI"
)]

use std::fs::File;
use std::io::{Error, ErrorKind};
use std::ops::{Deref, Range};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize};

/// Of a process whose mapped file was changed: a part of the machine is lost, start the process anew (`EX_SOFTWARE`).
pub const EXIT_CODE: i32 = 70;
const MESSAGE: [&str; 2] = [
    "error: ",
    ": the file was changed while in use, or can no longer be read; install files by renaming them into place\n",
];
/// Of a path, as messages show it.
const NAME_BYTES_MAX: usize = 4096;

/// The bytes of one regular file, and its path for messages.
#[derive(Debug)]
pub struct FileMap {
    path: PathBuf,
    // Dropped before the bytes are: a fault there is ours as long as they are mapped.
    _guard: Guard,
    bytes: memmap2::Mmap,
}

impl FileMap {
    /// Maps the file at `path`, which must be a regular file.
    ///
    /// # Errors
    /// If it cannot be opened or mapped, or is no regular file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        // Asked before opening: opening a pipe would wait for its writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
        }
        handle_faults()?;
        let file = File::open(path)?;
        // SAFETY: the map is private and read-only. That nobody writes to the file meanwhile is asked of whoever installs files (see
        // the module); we never do: every file this program writes is made beside its place and renamed. A file that is cut ends the
        // process before a byte beyond its end is seen.
        let bytes = unsafe { memmap2::Mmap::map(&file) }?;
        let begin = bytes.as_ptr().addr();
        let guard = Guard::new(begin..begin + bytes.len(), path);
        Ok(Self { path: path.to_owned(), _guard: guard, bytes })
    }

    /// The file's path, as it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Deref for FileMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A mapped range of addresses and the name of its file, for the handler: atomics alone, in places that are never freed.
struct Entry {
    is_taken: AtomicBool,
    begin: AtomicUsize,
    /// Zero while there is no range.
    end: AtomicUsize,
    name_bytes: AtomicUsize,
    name: [AtomicU8; NAME_BYTES_MAX],
    next: OnceLock<Box<Entry>>,
}

static FIRST: Entry = Entry::new();

impl Entry {
    const fn new() -> Entry {
        Entry {
            is_taken: AtomicBool::new(false),
            begin: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            name_bytes: AtomicUsize::new(0),
            name: [const { AtomicU8::new(0) }; NAME_BYTES_MAX],
            next: OnceLock::new(),
        }
    }

    fn holds(&self, address: usize) -> bool {
        address < self.end.load(Acquire) && self.begin.load(Relaxed) <= address
    }

    /// Writes the message. Only what a handler may do: no lock, no memory.
    fn report(&self) {
        let mut name = [0; NAME_BYTES_MAX];
        let name_bytes = self.name_bytes.load(Relaxed).min(NAME_BYTES_MAX);
        for (to, from) in name.iter_mut().zip(&self.name[..name_bytes]) {
            *to = from.load(Relaxed);
        }
        for part in [MESSAGE[0].as_bytes(), &name[..name_bytes], MESSAGE[1].as_bytes()] {
            // SAFETY: `part` is as long as it says. Whether it can be written does not matter: the exit code says it too.
            unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
        }
    }
}

/// The entry of a map that lives.
struct Guard(&'static Entry);

impl Guard {
    fn new(range: Range<usize>, path: &Path) -> Guard {
        let mut entry = &FIRST;
        while entry.is_taken.swap(true, AcqRel) {
            entry = entry.next.get_or_init(|| Box::new(Entry::new()));
        }
        let name = path.as_os_str().as_bytes();
        for (to, from) in entry.name.iter().zip(name) {
            to.store(*from, Relaxed);
        }
        entry.name_bytes.store(name.len().min(NAME_BYTES_MAX), Relaxed);
        entry.begin.store(range.start, Relaxed);
        entry.end.store(range.end, Release);
        Guard(entry)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.end.store(0, Relaxed);
        self.0.is_taken.store(false, Release);
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let begin = self.0.begin.load(Relaxed);
        f.debug_tuple("Guard").field(&(begin..self.0.end.load(Relaxed))).finish()
    }
}

/// What handled SIGBUS before us, once we do.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Has SIGBUS answered by [`on_fault`], from the first map on.
fn handle_faults() -> Result<(), Error> {
    static INSTALLED: OnceLock<Option<i32>> = OnceLock::new();
    let failed = INSTALLED.get_or_init(|| {
        // SAFETY: `sigaction` is plain data, for which zeros are the default; both pointers are to such.
        let (previous, given) = unsafe {
            let mut previous: libc::sigaction = std::mem::zeroed();
            let given = libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut previous);
            (previous, given)
        };
        if given != 0 {
            return Error::last_os_error().raw_os_error();
        }
        // Known before it is needed.
        let _ = PREVIOUS.set(previous);
        // SAFETY: as above; the handler takes three arguments, as SA_SIGINFO says, and does only what a handler may.
        let taken = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
            action.sa_sigaction = on_fault as *const () as usize;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut())
        };
        if taken == 0 { None } else { Error::last_os_error().raw_os_error() }
    });
    failed.map_or(Ok(()), |code| Err(Error::from_raw_os_error(code)))
}

/// Ends the process if a mapped file's bytes are gone; anything else is given to whoever handled it before.
extern "C" fn on_fault(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the system passes the signal's own information, which for SIGBUS has an address; it is read only for faults.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    let is_fault = code == libc::BUS_ADRERR;
    let mut entry = Some(&FIRST);
    while let Some(at) = entry.filter(|_| is_fault) {
        if at.holds(address) {
            at.report();
            // SAFETY: it only ends the process, and runs nothing on the way, which might need what the fault has left half done.
            unsafe { libc::_exit(EXIT_CODE) };
        }
        entry = at.next.get().map(|next| &**next);
    }
    let Some(previous) = PREVIOUS.get() else { return };
    // SAFETY: `previous` is what the system gave. A fault comes again when this returns; a signal that was sent is sent once more.
    unsafe {
        libc::sigaction(signal, previous, std::ptr::null_mut());
        if code <= 0 {
            libc::raise(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry_of(address: usize) -> Option<String> {
        let mut entry = Some(&FIRST);
        while let Some(at) = entry {
            if at.holds(address) {
                let n = at.name_bytes.load(Relaxed);
                let name = at.name[..n].iter().map(|b| b.load(Relaxed)).collect();
                return Some(String::from_utf8(name).unwrap());
            }
            entry = at.next.get().map(|next| &**next);
        }
        None
    }

    #[test]
    fn each_map_is_known_as_long_as_it_lives() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..5).map(|i| dir.path().join(format!("file{i}"))).collect();
        let open = |path: &PathBuf| {
            std::fs::write(path, b"some bytes").unwrap();
            FileMap::open(path).unwrap()
        };
        let mut maps: Vec<FileMap> = paths.iter().map(open).collect();
        let of = |map: &FileMap| map.as_ptr().addr()..map.as_ptr().addr() + map.len();
        for (map, path) in maps.iter().zip(&paths) {
            let range = of(map);
            assert_eq!(entry_of(range.start).as_deref(), path.to_str());
            assert_eq!(entry_of(range.end - 1).as_deref(), path.to_str());
            assert_ne!(entry_of(range.end).as_deref(), path.to_str());
        }
        // The place of one that went is taken by the next.
        let gone = maps.remove(2);
        let (range, place) = (of(&gone), std::ptr::from_ref(gone._guard.0));
        drop(gone);
        assert_ne!(entry_of(range.start).as_deref(), paths[2].to_str());
        assert!(!std::ptr::eq(place, maps[0]._guard.0));
        // A shorter name than the one that stood there.
        let short = dir.path().join("s");
        let map = open(&short);
        assert_eq!(entry_of(map.as_ptr().addr()).as_deref(), short.to_str());
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(FileMap::open(dir.path()).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(FileMap::open(&dir.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
