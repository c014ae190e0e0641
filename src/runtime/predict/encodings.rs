//! Whose the encoder's caches are: a clip's, from the end of its encoding until something else is encoded to them.
//!
//! The VAE's encoder is causal, so frames that follow a clip are encoded onward from the caches that the clip left. An encoding that
//! was stopped midway has left caches of nothing. So who would go on needs a [`Lease`], and there is one only of an encoding that has
//! finished.

/// Encoder caches are held for as many clips.
pub(super) const STATES_MAX: usize = 2;

/// Caches that an encoding has left: good until the next encoding to them begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    state: usize,
    encoding: u64,
}

/// An encoding under way. Unless it is finished, its caches are of nothing.
#[derive(Debug)]
#[must_use = "caches are good only of an encoding that has finished"]
pub(super) struct Encoding {
    state: usize,
    number: u64,
}

impl Encoding {
    /// Whose windows the encoder's runs take.
    pub(super) fn state(&self) -> usize {
        self.state
    }
}

/// The caches of every state.
#[derive(Debug)]
pub(super) struct Encodings {
    /// The encoding that each state's caches are of; none while one is under way, or after one that did not finish.
    finished: [Option<u64>; STATES_MAX],
    n_states: usize,
    newest: usize,
    n_begun: u64,
}

impl Encodings {
    /// Of a session that holds the caches of `n_states` clips, none of which was encoded yet.
    ///
    /// # Panics
    /// If they are none, or more than [`STATES_MAX`]: the wiring has clamped them.
    pub(super) fn new(n_states: usize) -> Self {
        assert!((1..=STATES_MAX).contains(&n_states));
        Self { finished: [None; STATES_MAX], n_states, newest: 0, n_begun: 0 }
    }

    /// Begins a clip, in the caches that were left longest ago: those of the clip before stay.
    pub(super) fn begin(&mut self) -> Encoding {
        self.newest = (self.newest + 1) % self.n_states;
        self.begin_in(self.newest)
    }

    /// Goes on from caches, which are then of the longer clip; none if they are of another one by now.
    pub(super) fn go_on(&mut self, lease: Lease) -> Option<Encoding> {
        self.holds(lease).then(|| self.begin_in(lease.state))
    }

    /// Ends an encoding whose runs have all succeeded.
    pub(super) fn finish(&mut self, encoding: Encoding) -> Lease {
        let Encoding { state, number } = encoding;
        self.finished[state] = Some(number);
        Lease { state, encoding: number }
    }

    /// Whether caches are still of this encoding.
    pub(super) fn holds(&self, lease: Lease) -> bool {
        self.finished[lease.state] == Some(lease.encoding)
    }

    /// Lets the next clip leave these caches, whatever was encoded since. Where one clip's alone are held it cannot.
    pub(super) fn keep(&mut self, lease: Lease) {
        self.newest = lease.state;
    }

    fn begin_in(&mut self, state: usize) -> Encoding {
        self.n_begun += 1;
        self.finished[state] = None;
        Encoding { state, number: self.n_begun }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_good_from_the_end_of_an_encoding_to_the_beginning_of_the_next() {
        let mut encodings = Encodings::new(2);
        let begun = encodings.begin();
        let first = encodings.finish(begun);
        let begun = encodings.begin();
        let second = encodings.finish(begun);
        assert!(encodings.holds(first) && encodings.holds(second) && first.state != second.state);
        // Dropped midway: what was there before is gone too.
        drop(encodings.begin());
        assert!(!encodings.holds(first) && encodings.holds(second));
        assert!(encodings.go_on(first).is_none());
        // Going on makes another clip's caches of them.
        let begun = encodings.go_on(second).expect("held");
        assert!(!encodings.holds(second));
        let longer = encodings.finish(begun);
        assert!(encodings.holds(longer) && !encodings.holds(second));
    }

    #[test]
    fn what_is_kept_outlives_any_number_of_clips() {
        let mut encodings = Encodings::new(2);
        let begun = encodings.begin();
        let kept = encodings.finish(begun);
        for _ in 0..3 {
            encodings.keep(kept);
            let begun = encodings.begin();
            let other = encodings.finish(begun);
            assert!(encodings.holds(kept) && encodings.holds(other));
        }
        // Two clips later nothing was said.
        let begun = encodings.begin();
        let _ = encodings.finish(begun);
        assert!(!encodings.holds(kept));
        let mut single = Encodings::new(1);
        let begun = single.begin();
        let kept = single.finish(begun);
        single.keep(kept);
        drop(single.begin());
        assert!(!single.holds(kept));
    }
}
