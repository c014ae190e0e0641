//! Clips and questions about them, drawn and laid out as whoever asks an engine lays them out: the same pixels, the same prompt.
//!
//! A question leads: its kind is drawn by the recipe's shares, then a clip that it can be asked of. Where its answer is yes or no, a coin
//! says which it is to be, so that neither answer pays by itself. Further questions about what that one shows come along, since seeing a
//! clip costs more than asking about it. Clips that are shown with as many frames have prompts that begin alike, and are a [`Lesson`].

use std::sync::{Mutex, PoisonError};

use super::reasoner::Reasoner;
use crate::camera::{FrameSize, Grid, Preprocess, PreprocessError, Preprocessor, VideoLayout};
use crate::distill::DistillError;
use crate::distill::recipe::{Recipe, Scenes};
use crate::models::reason2::{Media, Prompt, Question};
use crate::quality::answers::TOKENS_MAX;
use crate::scenes::robot::{Asked, Clip, ClipOptions, Split, Topic};
use crate::scenes::{FPS, Rng};

/// Clips that are looked at for one of which a kind of question can be asked.
const TRIES: usize = 32;
/// Kinds that are tried one after the other before a recipe's questions are said to be none.
const LEADS: usize = 64;
/// Clips that a measurement looks at together.
const MEASURED_AT_ONCE: u64 = 16;
/// Of the choices that a measurement's questions leave open, apart from the seeds of clips.
const CHOICES: u64 = 0x9e37_79b9;

/// A question with its true answer, and its prompt.
pub(super) struct Posed {
    pub(super) topic: Topic,
    pub(super) truth: String,
    /// Which of the lesson's views it is about.
    pub(super) view: usize,
    pub(super) prompt: Prompt,
    /// The true answer, with the token that ends it.
    pub(super) answer: Vec<u32>,
}

/// A clip as it is shown.
pub(super) struct View {
    pub(super) clip: Clip,
    /// Numbers of its frames, in the order in which they are shown.
    pub(super) frames: Vec<usize>,
}

/// Views of one layout, and questions about them.
pub(super) struct Lesson {
    pub(super) views: Vec<View>,
    /// Of one view: groups of frames, rows and columns of patches.
    pub(super) grid: Grid,
    /// `[views, groups, rows · columns, numbers of a patch]`
    pub(super) patches: Vec<f32>,
    pub(super) posed: Vec<Posed>,
    /// Tokens with which all prompts begin: up to the last visual one.
    pub(super) n_common: usize,
}

/// Draws lessons.
pub(super) struct Lessons {
    recipe: Recipe,
    scenes: Scenes,
    topics: Vec<(Topic, f64)>,
    n_questions: usize,
    preprocessor: Mutex<Preprocessor>,
    rules: Preprocess,
}

/// A view with what is asked of it, before it is laid out.
struct Drawn {
    view: View,
    asked: Vec<(Asked, usize)>,
}

impl Lessons {
    /// Refuses what no clip of the recipe's size and lengths could be asked.
    pub(super) fn new(
        recipe: &Recipe,
        reasoner: &Reasoner,
        topics: Vec<(Topic, f64)>,
        n_questions: usize,
    ) -> Result<Lessons, DistillError> {
        let rules = reasoner.manifest.preprocess;
        let preprocessor = Preprocessor::new(rules).map_err(|why| refused(recipe, &why))?.into();
        let scenes = recipe.scenes.clone();
        let all = Lessons { recipe: recipe.clone(), scenes, topics, n_questions, preprocessor, rules };
        for n_frames in recipe.scenes.frames.clone() {
            all.draw_of(reasoner, n_frames, 1, &mut Rng::new(recipe.seed))?;
        }
        Ok(all)
    }

    /// `n` clips of the training split, all drawn with one length.
    pub(super) fn draw(
        &self,
        reasoner: &Reasoner,
        n: usize,
        rng: &mut Rng,
    ) -> Result<Vec<Lesson>, DistillError> {
        let n_frames = self.scenes.frames[rng.below(self.scenes.frames.len())];
        self.draw_of(reasoner, n_frames, n, rng)
    }

    fn draw_of(
        &self,
        reasoner: &Reasoner,
        n_frames: usize,
        n: usize,
        rng: &mut Rng,
    ) -> Result<Vec<Lesson>, DistillError> {
        let drawn = (0..n).map(|_| self.one(n_frames, rng)).collect::<Result<_, _>>()?;
        self.lay_out(reasoner, drawn)
    }

    /// Clips of the validation split, with the first question of each kind; their length is the longest.
    pub(super) fn measured(
        &self,
        reasoner: &Reasoner,
        clips: std::ops::Range<u64>,
    ) -> Result<Vec<Lesson>, DistillError> {
        let mut drawn: Vec<Drawn> = Vec::new();
        for index in clips {
            let clip = self.clip(Split::Validation, index, self.scenes.frames_max());
            let asked = clip.questions(&mut Rng::new(CHOICES ^ index));
            let first = drawn.len();
            for (topic, _) in &self.topics {
                let Some(asked) = asked.iter().find(|asked| asked.topic == *topic) else { continue };
                let frames = asked.show.frames(clip.n_frames());
                let place = drawn[first..].iter().position(|drawn| drawn.view.frames == frames);
                let place = place.map_or_else(
                    || {
                        let view = View { clip: clip.clone(), frames };
                        drawn.push(Drawn { view, asked: Vec::new() });
                        drawn.len() - 1
                    },
                    |place| first + place,
                );
                drawn[place].asked.push((asked.clone(), 0));
            }
        }
        self.lay_out(reasoner, drawn)
    }

    fn clip(&self, split: Split, index: u64, n_frames: usize) -> Clip {
        let options = ClipOptions { n_frames, n_objects_max: self.scenes.objects, ..ClipOptions::default() };
        Clip::draw(split, index, &options)
    }

    /// A clip of the training split with questions about one view of it.
    fn one(&self, n_frames: usize, rng: &mut Rng) -> Result<Drawn, DistillError> {
        for _ in 0..LEADS {
            let lead = self.topics[weighed(self.topics.iter().map(|(_, share)| *share), rng)].0;
            let wanted = matches!(lead, Topic::Path | Topic::Push).then(|| rng.chance(0.5));
            for _ in 0..TRIES {
                let index = (rng.unit() * self.scenes.clips as f64) as u64;
                let clip = self.clip(Split::Train, index.min(self.scenes.clips - 1), n_frames);
                let asked = clip.questions(rng);
                let leads = |asked: &&Asked| {
                    asked.topic == lead
                        && wanted.is_none_or(|yes| asked.truth == if yes { "yes" } else { "no" })
                };
                let leads: Vec<&Asked> = asked.iter().filter(leads).collect();
                if !leads.is_empty() {
                    let lead = leads[rng.below(leads.len())].clone();
                    return Ok(self.with_others(clip, &lead, asked, rng));
                }
            }
        }
        let names: Vec<&str> = self.topics.iter().map(|(topic, _)| topic.name()).collect();
        let why =
            format!("none of the tasks {} can be asked of clips of {n_frames} frames", names.join(", "));
        Err(DistillError::Recipe { path: self.recipe.path.clone(), why })
    }

    /// The question that leads, and others about what it shows.
    fn with_others(&self, clip: Clip, lead: &Asked, asked: Vec<Asked>, rng: &mut Rng) -> Drawn {
        let share = |asked: &Asked| {
            let share = self.topics.iter().find(|(topic, _)| *topic == asked.topic).map_or(0.0, |(_, s)| *s);
            if asked.show == lead.show && asked != lead { share } else { 0.0 }
        };
        let mut others: Vec<(f64, Asked)> = asked.into_iter().map(|asked| (share(&asked), asked)).collect();
        // Of one kind several may be there, of which each object has one: they share the kind's part.
        let all: Vec<Topic> = others.iter().filter(|(s, _)| 0.0 < *s).map(|(_, asked)| asked.topic).collect();
        for (share, asked) in &mut others {
            *share /= all.iter().filter(|topic| **topic == asked.topic).count().max(1) as f64;
        }
        others.retain(|(share, _)| 0.0 < *share);
        let mut chosen = vec![lead.clone()];
        while chosen.len() < self.n_questions && !others.is_empty() {
            let place = weighed(others.iter().map(|(share, _)| *share), rng);
            chosen.push(others.remove(place).1);
        }
        let frames = lead.show.frames(clip.n_frames());
        let worded = |asked: Asked| {
            let wording = rng.below(asked.texts.len());
            (asked, wording)
        };
        Drawn { view: View { clip, frames }, asked: chosen.into_iter().map(worded).collect() }
    }

    /// Views with as many frames together, each with its patches and prompts.
    fn lay_out(&self, reasoner: &Reasoner, drawn: Vec<Drawn>) -> Result<Vec<Lesson>, DistillError> {
        let mut lessons: Vec<Lesson> = Vec::new();
        for Drawn { view, asked } in drawn {
            let n_frames = view.frames.len();
            let place = lessons.iter().position(|lesson| lesson.views[0].frames.len() == n_frames);
            let (grid, seconds) = self.layout_of(n_frames)?;
            let media = match seconds.is_empty() {
                true => Media::Image { grid: [grid.h, grid.w] },
                false => Media::Video { grid: [grid.h, grid.w], seconds: &seconds },
            };
            let mut posed = Vec::new();
            for (asked, wording) in asked {
                posed.push(self.pose(reasoner, media, &asked, wording)?);
            }
            let patches = self.patches(&view, grid)?;
            match place.map(|place| &mut lessons[place]) {
                Some(lesson) => {
                    posed.iter_mut().for_each(|posed| posed.view = lesson.views.len());
                    lesson.views.push(view);
                    lesson.patches.extend(patches);
                    lesson.posed.extend(posed);
                }
                None => {
                    let last = posed[0].prompt.visual.last().expect("a clip has visual tokens");
                    let n_common = last.start + last.len;
                    lessons.push(Lesson { views: vec![view], grid, patches, posed, n_common });
                }
            }
        }
        Ok(lessons)
    }

    /// Patches of a view, and the time of each group of its frames; none for a single frame, which is an image.
    fn layout_of(&self, n_frames: usize) -> Result<(Grid, Vec<f64>), DistillError> {
        let (rules, size) = (&self.rules, self.size());
        match n_frames {
            1 => rules.image_grid(size).map(|grid| (grid, Vec::new())),
            _ => VideoLayout::new(rules, n_frames, Some(FPS), size, false)
                .map(|layout| (layout.grid, layout.timestamps_s)),
        }
        .map_err(|why| refused(&self.recipe, &why))
    }

    fn size(&self) -> FrameSize {
        FrameSize { width: self.scenes.size, height: self.scenes.size }
    }

    fn patches(&self, view: &View, grid: Grid) -> Result<Vec<f32>, DistillError> {
        let size = self.size();
        let frames: Vec<Vec<u8>> = view
            .frames
            .iter()
            .map(|frame| {
                let mut rgb = vec![0; size.rgb_bytes()];
                view.clip.render(*frame, size.width, &mut rgb);
                rgb
            })
            .collect();
        let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        let mut patches = vec![0.0; grid.n_patches() * self.rules.patches.patch_len()];
        let mut preprocessor = self.preprocessor.lock().unwrap_or_else(PoisonError::into_inner);
        match frames[..] {
            [only] => preprocessor.image(only, size, &mut patches),
            _ => preprocessor.video(&frames, size, &mut patches),
        }
        .map_err(|why| refused(&self.recipe, &why))?;
        Ok(patches)
    }

    fn pose(
        &self,
        reasoner: &Reasoner,
        media: Media<'_>,
        asked: &Asked,
        wording: usize,
    ) -> Result<Posed, DistillError> {
        let wrong = |why: String| DistillError::Recipe { path: self.recipe.path.clone(), why };
        let question = Question { media: &[media], text: &asked.texts[wording], ..Question::default() };
        let manifest = &reasoner.manifest;
        let prompt = manifest.prompt.assemble(&reasoner.tokenizer, &question);
        let prompt = prompt.map_err(|why| wrong(why.to_string()))?;
        let mut answer = reasoner.tokenizer.encode(&asked.truth).map_err(|why| wrong(why.to_string()))?;
        answer.push(manifest.stop_token_ids[0]);
        let limit = |name| reasoner.network.limit(name).expect("the network declares it");
        let n_group = prompt.visual.iter().map(|span| span.len).max().unwrap_or(0);
        // What is answered may be longer than what is true.
        let n_tokens = prompt.ids.len() + answer.len().max(TOKENS_MAX);
        for (what, found, expected) in [
            ("tokens of a question and its answer", n_tokens, limit("context")),
            ("tokens of a group of frames", n_group, limit("image_tokens")),
        ] {
            if expected < found {
                return Err(wrong(format!(
                    "`scenes.size` and `scenes.frames` make {found} {what}; expected {expected} at most"
                )));
            }
        }
        Ok(Posed { topic: asked.topic, truth: asked.truth.clone(), view: 0, prompt, answer })
    }
}

impl Lesson {
    /// Patches of a group of frames.
    pub(super) fn n_patches(&self) -> usize {
        self.grid.h * self.grid.w
    }
}

/// The clips of a measurement, some at a time.
pub(super) fn together(n_clips: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    let from = (0..n_clips).step_by(MEASURED_AT_ONCE as usize);
    from.map(move |first| first..n_clips.min(first + MEASURED_AT_ONCE))
}

fn refused(recipe: &Recipe, why: &PreprocessError) -> DistillError {
    DistillError::Recipe { path: recipe.path.clone(), why: format!("`scenes.size`, `scenes.frames`: {why}") }
}

/// An index, as often as its share says.
fn weighed(shares: impl Iterator<Item = f64> + Clone, rng: &mut Rng) -> usize {
    let mut at = rng.unit() * shares.clone().sum::<f64>();
    let mut last = 0;
    for (i, share) in shares.enumerate() {
        last = i;
        at -= share;
        if at < 0.0 {
            return i;
        }
    }
    last
}
