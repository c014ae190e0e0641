//! Plans that were made before, in a folder of the user's: `$PERIHELION_CACHE`, else `$XDG_CACHE_HOME/perihelion`, else
//! `~/.cache/perihelion`, below it `plans/`.
//!
//! A plan is found again by a digest of everything that it depends on, so that nothing is ever asked whether it is still right. Its
//! file holds its own digest: one that was damaged is made again. It is written beside its place and renamed, and locked while it is
//! made: who asks for the same plan meanwhile waits for it. Without a folder that can be written to, plans are made and not kept.
//! Files are never removed by this program; the folder may be, at any time.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::compile::Compiled;
use crate::backend::BackendError;
use crate::install::Partial;

/// What a file begins with: counted up when something else follows.
const MAGIC: &[u8; 16] = b"perihelion.plan1";
const DIGEST_BYTES: usize = 32;

/// What a plan depends on, digested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key(String);

impl Key {
    /// Of all of it, each part apart from the next.
    pub(super) fn of(parts: &[&[u8]]) -> Key {
        let mut digest = Sha256::new();
        for part in parts {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        Key(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// The folder, if there is to be one.
#[derive(Clone, Debug)]
pub(super) struct PlanCache {
    folder: Option<PathBuf>,
}

impl PlanCache {
    /// Where the environment says.
    pub(super) fn of_user() -> PlanCache {
        let named = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let own = || named("PERIHELION_CACHE");
        let of_xdg = || named("XDG_CACHE_HOME").map(|folder| folder.join("perihelion"));
        let of_home = || named("HOME").map(|home| home.join(".cache/perihelion"));
        PlanCache { folder: own().or_else(of_xdg).or_else(of_home).map(|folder| folder.join("plans")) }
    }

    /// In this folder.
    #[cfg(test)]
    pub(super) fn at(folder: &Path) -> PlanCache {
        PlanCache { folder: Some(folder.to_owned()) }
    }

    /// The plan of this key: kept from before, or made now and kept; and whether it was kept. `note` is told why one is made again,
    /// or not kept.
    ///
    /// # Errors
    /// What `make` says.
    pub(super) fn plan(
        &self,
        key: &Key,
        note: &mut dyn FnMut(&str),
        make: &mut dyn FnMut() -> Result<Compiled, BackendError>,
    ) -> Result<(Compiled, bool), BackendError> {
        let Some(folder) = &self.folder else {
            note("plans are not kept: none of PERIHELION_CACHE, XDG_CACHE_HOME and HOME names a folder");
            return Ok((make()?, false));
        };
        let place = folder.join(format!("{}.plan", key.0));
        if let Some(kept) = kept(&place, note) {
            return Ok((kept, true));
        }
        let lock = match locked(folder, key, note) {
            Ok(lock) => lock,
            Err(why) => {
                note(&format!(
                    "plans are not kept: {}: {why}; name another folder in PERIHELION_CACHE",
                    folder.display()
                ));
                return Ok((make()?, false));
            }
        };
        // Another process may have made it while this one waited.
        if let Some(kept) = kept(&place, note) {
            return Ok((kept, true));
        }
        let made = make()?;
        if let Err(why) = keep(&place, &made) {
            note(&format!("a plan is not kept: {}: {why}", place.display()));
        }
        drop(lock);
        Ok((made, false))
    }
}

/// The lock of a plan that is being made; its file goes with it.
struct Lock {
    _file: File,
    path: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Whoever waits for it has it open, and looks for the plan once he has the lock.
        let _ = fs::remove_file(&self.path);
    }
}

fn locked(folder: &Path, key: &Key, note: &mut dyn FnMut(&str)) -> std::io::Result<Lock> {
    fs::create_dir_all(folder)?;
    let path = folder.join(format!("{}.lock", key.0));
    let file = File::options().create(true).append(true).open(&path)?;
    if let Err(fs::TryLockError::WouldBlock) = file.try_lock() {
        note("another process makes this plan: waiting for it");
        // A file system that has no locks leaves each process to itself.
        let _ = file.lock();
    }
    Ok(Lock { _file: file, path })
}

/// What lies there, if it is whole.
fn kept(place: &Path, note: &mut dyn FnMut(&str)) -> Option<Compiled> {
    let bytes = fs::read(place).ok()?;
    let parsed = parse(&bytes);
    if parsed.is_none() {
        note(&format!("{} is damaged: the plan is made again", place.display()));
    }
    parsed
}

fn parse(bytes: &[u8]) -> Option<Compiled> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (digest, content) = rest.split_at_checked(DIGEST_BYTES)?;
    if Sha256::digest(content)[..] != *digest {
        return None;
    }
    let (elapsed_ms, content) = content.split_first_chunk::<8>()?;
    let (peak_bytes, plan) = content.split_first_chunk::<8>()?;
    Some(Compiled {
        plan: plan.to_vec(),
        elapsed: Duration::from_millis(u64::from_le_bytes(*elapsed_ms)),
        peak_bytes: u64::from_le_bytes(*peak_bytes),
    })
}

fn keep(place: &Path, made: &Compiled) -> std::io::Result<()> {
    let elapsed_ms = u64::try_from(made.elapsed.as_millis()).unwrap_or(u64::MAX);
    let numbers = [elapsed_ms.to_le_bytes(), made.peak_bytes.to_le_bytes()].concat();
    let mut digest = Sha256::new();
    digest.update(&numbers);
    digest.update(&made.plan);
    let mut file = Partial::create(place)?;
    for part in [&MAGIC[..], &digest.finalize(), &numbers, &made.plan] {
        file.write_all(part)?;
    }
    file.put()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(plan: &[u8]) -> Compiled {
        Compiled { plan: plan.to_vec(), elapsed: Duration::from_millis(1500), peak_bytes: 7 }
    }

    /// Asks for a plan: what came, whether it was kept, how often it was made, what was noted.
    fn ask(cache: &PlanCache, key: &Key, plan: &[u8]) -> (Vec<u8>, bool, usize, String) {
        let (mut n_made, mut noted) = (0, String::new());
        let mut make = || {
            n_made += 1;
            Ok(made(plan))
        };
        let (found, is_kept) = cache.plan(key, &mut |note| noted += note, &mut make).unwrap();
        (found.plan, is_kept, n_made, noted)
    }

    #[test]
    fn a_plan_is_made_once_for_each_key_and_again_if_its_file_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let cache = PlanCache::at(&folder.path().join("new"));
        let keys = [Key::of(&[b"ab", b"c"]), Key::of(&[b"a", b"bc"])];
        assert_ne!(keys[0], keys[1], "parts are apart");
        assert_eq!(ask(&cache, &keys[0], b"first"), (b"first".to_vec(), false, 1, String::new()));
        assert_eq!(ask(&cache, &keys[0], b"other"), (b"first".to_vec(), true, 0, String::new()));
        assert_eq!(ask(&cache, &keys[1], b"second"), (b"second".to_vec(), false, 1, String::new()));
        let place = folder.path().join("new").join(format!("{}.plan", keys[0].0));
        let whole = fs::read(&place).unwrap();
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for damaged in [&[][..], &whole[..10], &whole[..whole.len() - 1], &flipped] {
            fs::write(&place, damaged).unwrap();
            let (plan, is_kept, n_made, noted) = ask(&cache, &keys[0], b"again");
            assert_eq!((&plan[..], is_kept, n_made), (&b"again"[..], false, 1));
            assert!(noted.contains("is damaged"), "{noted}");
        }
        let left: Vec<_> =
            fs::read_dir(folder.path().join("new")).unwrap().map(|e| e.unwrap().path()).collect();
        assert!(left.iter().all(|path| path.extension().is_some_and(|e| e == "plan")), "{left:?}");
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_is_named_and_done_without() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let (plan, is_kept, n_made, noted) = ask(&PlanCache::at(&file), &Key::of(&[b"a"]), b"plan");
        assert_eq!((&plan[..], is_kept, n_made), (&b"plan"[..], false, 1));
        assert!(noted.contains("not kept") && noted.contains("PERIHELION_CACHE"), "{noted}");
    }

    #[test]
    fn two_that_ask_at_once_make_it_once() {
        let folder = tempfile::tempdir().unwrap();
        let key = Key::of(&[b"a"]);
        let n_made = std::sync::atomic::AtomicUsize::new(0);
        let begun = std::sync::Barrier::new(2);
        let one = |_| {
            let mut make = || {
                n_made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Ok(made(b"plan"))
            };
            begun.wait();
            PlanCache::at(folder.path()).plan(&key, &mut |_| (), &mut make).unwrap().0.plan
        };
        std::thread::scope(|scope| {
            let both = [0, 1].map(|i| scope.spawn(move || one(i)));
            for thread in both {
                assert_eq!(thread.join().unwrap(), b"plan");
            }
        });
        assert_eq!(n_made.into_inner(), 1);
    }

    #[test]
    fn what_cannot_be_made_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let cache = PlanCache::at(folder.path());
        let failed = || BackendError::Compiler { graph: "g".into(), why: "it fell".into() };
        let refused = cache.plan(&Key::of(&[b"a"]), &mut |_| (), &mut || Err(failed()));
        assert!(refused.unwrap_err().to_string().contains("it fell"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
