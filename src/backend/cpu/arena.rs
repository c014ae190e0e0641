//! All memory of a session in one piece, and the places in it.
//!
//! Buffers keep their places; intermediate values share the rest by lifetime: two of them may lie over each other only if
//! no stage needs both. Places are given for the largest extents, and a smaller run uses the starts of them.
//! The piece is zeroed, and so claimed from the system, when a session opens: no run meets a page for the first time.
//!
//! That no two threads write the same element, or one writes what another reads, is checked where it comes about: of the places
//! of each stage, whenever a session opens, by [`super::placement`]; of the tasks of each kernel by the kernels' tests, which
//! run them one by one and see what each writes; of the hand-over from thread to thread by `tests/soundness`, which has Miri
//! look at a run over this memory as well.
#![expect(unsafe_code, reason = "threads of a run write disjoint places of one piece of memory")]

use std::ops::Range;
use std::ptr::NonNull;

use memmap2::MmapMut;

use super::kernels::Out;

/// Places start at multiples of this: a cache line.
const ALIGN_FLOATS: usize = 16;

/// A place in a session's memory.
///
/// Only a [`Placer`] makes places. Those that it gives for one time share no element, which it checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    start: usize,
    len: usize,
}

impl Place {
    /// Its elements, of all of the memory.
    pub(super) fn range(self) -> Range<usize> {
        self.start..self.start + self.len
    }
}

/// How long an intermediate value is needed: from the stage that makes it to the last one that reads it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime {
    /// Elements at the largest extents.
    pub(super) len: usize,
    pub(super) first: usize,
    pub(super) last: usize,
}

/// Gives out places.
#[derive(Debug, Default)]
pub(super) struct Placer {
    kept: usize,
    arena: usize,
}

impl Placer {
    /// A place that nothing else ever shares. All of these must be asked for before any [`Placer::share`].
    pub(super) fn keep(&mut self, len: usize) -> Place {
        assert_eq!(self.arena, 0, "kept places come first");
        let start = self.kept;
        self.kept += len.next_multiple_of(ALIGN_FLOATS);
        Place { start, len }
    }

    /// Places for values of one graph. Graphs never run at the same time in a session, so they lie over each other.
    pub(super) fn share(&mut self, lifetimes: &[Lifetime]) -> Vec<Place> {
        let mut order: Vec<usize> = (0..lifetimes.len()).collect();
        order.sort_by_key(|i| std::cmp::Reverse(lifetimes[*i].len));
        let mut places = vec![Place { start: 0, len: 0 }; lifetimes.len()];
        // The largest first, each at the lowest start where it meets none of those placed that live at its time.
        let mut placed: Vec<usize> = Vec::new();
        for i in order {
            let own = lifetimes[i];
            let mut taken: Vec<Range<usize>> = placed
                .iter()
                .filter(|j| at_one_time(own, lifetimes[**j]))
                .map(|j| places[*j].start..places[*j].start + places[*j].len.next_multiple_of(ALIGN_FLOATS))
                .collect();
            taken.sort_by_key(|r| r.start);
            let mut start = self.kept;
            for range in taken {
                if start + own.len <= range.start {
                    break;
                }
                start = start.max(range.end);
            }
            places[i] = Place { start, len: own.len };
            placed.push(i);
            self.arena = self.arena.max(start + own.len - self.kept);
        }
        assert_disjoint(lifetimes, &places);
        places
    }

    /// Bytes of the places that are shared.
    pub(super) fn arena_bytes(&self) -> usize {
        self.arena * size_of::<f32>()
    }

    /// Claims the memory.
    ///
    /// # Errors
    /// If the system has not so much.
    pub(super) fn claim(&self) -> std::io::Result<Memory> {
        let n_bytes = (self.kept + self.arena).max(1).saturating_mul(size_of::<f32>());
        // Claiming more than there is would not fail but have the system end this process, or another.
        if let Some(free) = available_bytes().filter(|free| *free < n_bytes as u64) {
            let why = format!("{n_bytes} bytes are needed, {free} are available; build with smaller limits");
            return Err(std::io::Error::new(std::io::ErrorKind::OutOfMemory, why));
        }
        let mut map = MmapMut::map_anon(n_bytes)?;
        // Larger pages are a wish: where the system has none, everything works with small ones. Miri knows no advice.
        #[cfg(all(target_os = "linux", not(miri)))]
        let is_claimed = {
            let _ = map.advise(memmap2::Advice::HugePage);
            map.advise(memmap2::Advice::PopulateWrite).is_ok()
        };
        #[cfg(any(not(target_os = "linux"), miri))]
        let is_claimed = false;
        if !is_claimed {
            map.fill(0);
        }
        let start = NonNull::new(map.as_mut_ptr().cast()).expect("a map is not at address 0");
        Ok(Memory { start, len: self.kept + self.arena, _map: map })
    }
}

/// Memory that the system could still give, if it says.
fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn at_one_time(a: Lifetime, b: Lifetime) -> bool {
    a.first <= b.last && b.first <= a.last
}

fn assert_disjoint(lifetimes: &[Lifetime], places: &[Place]) {
    for (i, a) in places.iter().enumerate() {
        for (j, b) in places.iter().enumerate().skip(i + 1) {
            let apart = a.start + a.len <= b.start || b.start + b.len <= a.start;
            assert!(apart || !at_one_time(lifetimes[i], lifetimes[j]), "values {i} and {j} share memory");
        }
    }
}

/// A session's memory: f32, or i32 where a buffer holds those.
#[derive(Debug)]
pub(super) struct Memory {
    start: NonNull<f32>,
    len: usize,
    _map: MmapMut,
}

// SAFETY: the memory belongs to this value alone. Through a shared reference it is reached by `read` and `out` only, whose
// rules make a write exclusive.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Elements `part` of a place, which no thread writes while the slice lives: a stage reads only what earlier
    /// stages have made, and what a stage makes has a place of its own during it.
    ///
    /// # Panics
    /// If the part is beyond the place.
    pub(super) fn read(&self, place: Place, part: Range<usize>) -> &[f32] {
        let start = self.checked(place, &part);
        // SAFETY: within the memory, which is initialised (zeroed). Nobody writes it: a stage writes no place that one of
        // its steps reads but in place, which `placement` has checked; and in place is read through `out`.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), part.len()) }
    }

    /// Elements `part` of a place, to be written by this thread and others that compute the same step. What its tasks
    /// do not share, [`Out`] says.
    ///
    /// # Panics
    /// If the part is beyond the place.
    pub(super) fn out(&self, place: Place, part: Range<usize>) -> Out<'_> {
        let start = self.checked(place, &part);
        // SAFETY: within the memory, which is aligned and initialised. A place that a step writes is read or written by
        // no other step of its stage, which `placement` has checked; the threads of a step have different tasks, which
        // never write the same element, which the kernels' tests have checked.
        unsafe { Out::from_raw(start, part.len()) }
    }

    /// Elements `part` of a place, while no run is under way.
    ///
    /// # Panics
    /// If the part is beyond the place.
    pub(super) fn get_mut(&mut self, place: Place, part: Range<usize>) -> &mut [f32] {
        let start = self.checked(place, &part);
        // SAFETY: within the memory, which is initialised; exclusive by `&mut self`.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), part.len()) }
    }

    fn checked(&self, place: Place, part: &Range<usize>) -> NonNull<f32> {
        assert!(part.start <= part.end && part.end <= place.len, "{part:?} is within {place:?}");
        let at = place.start + part.start;
        assert!(at + part.len() <= self.len, "{place:?} is within the memory");
        // SAFETY: within the allocation, as just checked.
        unsafe { self.start.add(at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_that_do_not_meet_share_memory() {
        let mut placer = Placer::default();
        let kept = placer.keep(5);
        let lifetime = |len, first, last| Lifetime { len, first, last };
        let places =
            placer.share(&[lifetime(100, 0, 1), lifetime(64, 1, 2), lifetime(100, 2, 3), lifetime(16, 0, 3)]);
        assert_eq!(placer.arena_bytes(), (112 + 64 + 16) * 4);
        assert_eq!(places[0], places[2]);
        assert_eq!((kept, places[0].start), (Place { start: 0, len: 5 }, 16));
    }

    #[test]
    #[should_panic(expected = "is within")]
    fn parts_beyond_a_place_are_refused() {
        let mut placer = Placer::default();
        let place = placer.keep(4);
        placer.keep(4);
        let memory = placer.claim().unwrap();
        memory.read(place, 0..5);
    }
}
