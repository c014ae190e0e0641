//! From frames in order to clips and to stretches that are left out.
//!
//! A frame is judged when it comes. What moves too little is kept until it has stood for long enough to be left out from its first
//! frame on, so that of a stream no more is undecided than a clip and a moment.

use super::hash::{BITS, Hash};
use super::measure::{Grid, Measures, largest_change, mean_change};
use super::parameters::Parameters;
use super::record::{Begins, Measured, Reason};
use crate::camera::FrameSize;

/// Signs of a hash that a cut changes: light that is switched on changes few.
const CUT_BITS_MIN: u32 = BITS * 35 / 100;

/// A frame as the segmenter sees it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Its number in its stream, from 0.
    pub(super) frame: u64,
    pub(super) stamp_ns: i64,
    pub(super) size: FrameSize,
    pub(super) measures: Measures,
    /// Whether what came before is of something else, whatever the stamps say.
    pub(super) begins: bool,
}

/// What was decided. Each frame is stored when it comes, or never; a stored one is in one clip, or discarded.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Stored frames are a clip.
    Clip(Run),
    /// A stretch has begun that is left out, with this frame: the one that came, or a stored one that will be discarded.
    Opened(u64),
    /// Stored frames that are in no clip.
    Discarded(Vec<u64>),
    /// It has ended.
    Dropped(Stretch),
}

/// Frames of a clip.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) size: FrameSize,
    pub(super) begins: Begins,
    pub(super) frames: Vec<Kept>,
}

/// What is kept of a frame in a clip.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) frame: u64,
    pub(super) stamp_ns: i64,
    pub(super) hash: Hash,
    pub(super) measured: Measured,
}

/// Frames that are left out.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    pub(super) first: (u64, i64),
    pub(super) last: (u64, i64),
    pub(super) frames: u64,
    pub(super) reason: Reason,
    pub(super) value: f32,
    pub(super) threshold: f32,
}

/// Decides about a stream.
#[derive(Debug)]
pub(super) struct Segmenter {
    parameters: Parameters,
    /// The clip that is being made, and after it the frames that may be the beginning of a stretch that stands still.
    run: Vec<Kept>,
    begins: Begins,
    still: Option<Still>,
    stretch: Option<Stretch>,
    previous: Option<(FrameSize, i64, Box<Grid>, Hash)>,
    events: Vec<Event>,
}

/// What frames are held against to see whether anything moves.
#[derive(Debug)]
struct Still {
    grid: Box<Grid>,
    since_ns: i64,
    /// The first of those frames in `run`.
    from: usize,
    /// The furthest that one of them lies off.
    change_max: f32,
    /// Whether it has lasted for long enough.
    is_long: bool,
}

impl Segmenter {
    pub(super) fn new(parameters: &Parameters) -> Self {
        Self {
            parameters: parameters.clone(),
            run: Vec::new(),
            begins: Begins::Start,
            still: None,
            stretch: None,
            previous: None,
            events: Vec::new(),
        }
    }

    /// Takes the next frame, and says whether it is stored.
    pub(super) fn push(&mut self, seen: Seen) -> bool {
        let jump = self.jump(&seen);
        let is_stored = match self.fault(&seen.measures) {
            Some((reason, value, threshold)) => {
                self.end_run();
                self.still = None;
                self.begins = Begins::Dropped;
                self.drop_frame(&seen, reason, value, threshold);
                false
            }
            None => self.moves_or_stands(&seen, jump),
        };
        let Measures { grid, hash, .. } = seen.measures;
        self.previous = Some((seen.size, seen.stamp_ns, grid, hash));
        is_stored
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self) {
        self.end_run();
        self.end_stretch();
    }

    /// What was decided since this was last asked.
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// How far the picture is from the one before, after a clip was ended if that is too far.
    fn jump(&mut self, seen: &Seen) -> f32 {
        let Some((size, stamp_ns, grid, hash)) = &self.previous else { return 0.0 };
        let seconds = seen.stamp_ns.saturating_sub(*stamp_ns) as f64 / 1e9;
        let jump = mean_change(grid, &seen.measures.grid);
        let is_other = CUT_BITS_MIN <= hash.apart(&seen.measures.hash);
        let begins = match () {
            () if *size != seen.size => Begins::Size,
            () if seen.begins || seconds < 0.0 || self.parameters.gap_s < seconds => Begins::Gap,
            () if is_other && self.parameters.cut <= jump => Begins::Cut,
            () => return jump,
        };
        self.end_run();
        // Pages of text, one after the other, are one stretch.
        if begins != Begins::Cut {
            self.end_stretch();
        }
        self.still = None;
        self.begins = begins;
        0.0
    }

    fn fault(&self, measures: &Measures) -> Option<(Reason, f32, f32)> {
        let Parameters { dark, text, blurred, .. } = self.parameters;
        match () {
            () if measures.light < dark => Some((Reason::Dark, measures.light, dark)),
            () if text <= measures.text => Some((Reason::Text, measures.text, text)),
            () if blurred <= measures.blur => Some((Reason::Blurred, measures.blur, blurred)),
            () => None,
        }
    }

    fn moves_or_stands(&mut self, seen: &Seen, jump: f32) -> bool {
        let threshold = self.parameters.still;
        let change = self.still.as_ref().map(|still| largest_change(&still.grid, &seen.measures.grid));
        if let (Some(still), Some(change)) = (&mut self.still, change)
            && change < threshold
        {
            still.change_max = still.change_max.max(change);
            let lasted_s = seen.stamp_ns.saturating_sub(still.since_ns) as f64 / 1e9;
            if still.is_long {
                self.drop_frame(seen, Reason::Still, change, threshold);
                return false;
            }
            if self.parameters.still_s <= lasted_s {
                self.stands_still(seen);
                return false;
            }
            self.run.push(kept(seen, jump));
            return true;
        }
        self.end_stretch();
        self.settle();
        self.still = Some(Still {
            grid: seen.measures.grid.clone(),
            since_ns: seen.stamp_ns,
            from: self.run.len(),
            change_max: 0.0,
            is_long: false,
        });
        self.run.push(kept(seen, jump));
        true
    }

    /// The frames that have been waiting stand still, and so does this one.
    fn stands_still(&mut self, seen: &Seen) {
        let Some(still) = &mut self.still else { return };
        still.is_long = true;
        let value = still.change_max;
        let waiting = self.run.split_off(still.from);
        still.from = 0;
        self.end_run();
        self.begins = Begins::Dropped;
        let first = waiting.first().map_or((seen.frame, seen.stamp_ns), |kept| (kept.frame, kept.stamp_ns));
        self.events.push(Event::Opened(first.0));
        self.stretch = Some(Stretch {
            first,
            last: (seen.frame, seen.stamp_ns),
            frames: waiting.len() as u64 + 1,
            reason: Reason::Still,
            value,
            threshold: self.parameters.still,
        });
        self.events.push(Event::Discarded(waiting.iter().map(|kept| kept.frame).collect()));
    }

    fn drop_frame(&mut self, seen: &Seen, reason: Reason, value: f32, threshold: f32) {
        let last = (seen.frame, seen.stamp_ns);
        match &mut self.stretch {
            Some(stretch) if stretch.reason == reason => {
                stretch.last = last;
                stretch.frames += 1;
                let is_nearer = (value - threshold).abs() < (stretch.value - threshold).abs();
                stretch.value = if is_nearer { value } else { stretch.value };
            }
            _ => {
                self.end_stretch();
                self.events.push(Event::Opened(seen.frame));
                self.stretch = Some(Stretch { first: last, last, frames: 1, reason, value, threshold });
            }
        }
    }

    fn end_stretch(&mut self) {
        self.events.extend(self.stretch.take().map(Event::Dropped));
    }

    /// Ends clips of the greatest length, of frames that no longer wait.
    fn settle(&mut self) {
        let longest = self.longest();
        while longest <= self.run.len() {
            let rest = self.run.split_off(longest);
            let whole = std::mem::replace(&mut self.run, rest);
            self.emit(whole);
        }
    }

    fn end_run(&mut self) {
        self.settle();
        let rest = std::mem::take(&mut self.run);
        self.emit(rest);
    }

    fn longest(&self) -> usize {
        usize::try_from(self.parameters.max_frames).unwrap_or(usize::MAX)
    }

    fn emit(&mut self, frames: Vec<Kept>) {
        let (Some(first), Some(last), Some((size, ..))) = (frames.first(), frames.last(), &self.previous)
        else {
            // The first frame of a stream has no previous one, and ends nothing.
            return;
        };
        let begins = std::mem::replace(&mut self.begins, Begins::Length);
        if self.parameters.min_frames <= frames.len() as u64 {
            self.events.push(Event::Clip(Run { size: *size, begins, frames }));
            return;
        }
        let stretch = Stretch {
            first: (first.frame, first.stamp_ns),
            last: (last.frame, last.stamp_ns),
            frames: frames.len() as u64,
            reason: Reason::Short,
            value: frames.len() as f32,
            threshold: self.parameters.min_frames as f32,
        };
        self.events.push(Event::Opened(stretch.first.0));
        self.events.push(Event::Discarded(frames.iter().map(|kept| kept.frame).collect()));
        self.events.push(Event::Dropped(stretch));
    }
}

fn kept(seen: &Seen, jump: f32) -> Kept {
    let Measures { light, blur, text, hash, .. } = &seen.measures;
    let measured = Measured { light_min: *light, blur_max: *blur, text_max: *text, jump_max: jump };
    Kept { frame: seen.frame, stamp_ns: seen.stamp_ns, hash: *hash, measured }
}
