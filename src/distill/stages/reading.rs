//! How a network of Reason sees a lesson, reads its questions and answers them: the graphs that an engine runs, in the order in which it
//! runs them, for many clips and questions at once.
//!
//! Groups of frames, clips, questions and the places at which a token is predicted are all members of a batch, one after the other: the
//! vision graph takes every group of every clip; what their prompts begin with alike is read once for a clip; then each question takes
//! a clip's caches and goes on by itself, with its answer behind it; and the head takes every place of every answer.

use super::lesson::{Lesson, Posed};
use super::reasoner::Reasoner;
use crate::backend::{Run, RunError};
use crate::distill::interpreter::Interpreter;
use crate::distill::tape::Tensor;
use crate::graph::{BufferId, GraphId, Network};
use crate::models::reason2::{PREFILL_TOKENS_MAX, PatchInputs};
use crate::runtime::{Sampler, Sampling};
use crate::scenes::Rng;

/// A network that has read what the prompts of a lesson begin with.
pub(super) struct Reading<'r> {
    reasoner: &'r Reasoner,
    lesson: &'r Lesson,
    on: Interpreter<'r>,
    features: Tensor,
}

impl<'r> Reading<'r> {
    /// Sees the lesson's clips and reads the beginnings of their prompts, by these weights.
    pub(super) fn new(
        reasoner: &'r Reasoner,
        weights: &[Tensor],
        lesson: &'r Lesson,
    ) -> Result<Self, RunError> {
        let network = &reasoner.network;
        let mut on = Interpreter::new(network, weights[..network.weights.len()].to_vec());
        see(reasoner, &mut on, lesson)?;
        let features = on.buffer(buffer(network, "visual_features")).expect("just written").clone();
        // All prompts of a lesson begin with the same tokens at the same places.
        let prompt = &lesson.posed[0].prompt;
        let mut index = vec![-1; lesson.n_common];
        let spans = prompt.visual.iter().flat_map(|span| span.start..span.start + span.len);
        spans.enumerate().for_each(|(row, place)| index[place] = row as i32);
        let piece = Piece {
            tokens: prompt.ids[..lesson.n_common].iter().map(|id| *id as i32).collect(),
            positions: prompt.positions[..lesson.n_common].iter().flatten().copied().collect(),
            index,
            n: 1,
        };
        prefill(&mut on, &piece, 0, features.shape()[1], &[])?;
        // They are read; what follows is text.
        features_of(reasoner).into_iter().for_each(|id| on.clear(id));
        Ok(Reading { reasoner, lesson, on, features })
    }

    /// Visual tokens of all clips: `[views, tokens, width]`.
    pub(super) fn features(&self) -> &Tensor {
        &self.features
    }

    /// The logits of each token of answers, given those before it: pairs of a question's index and the answer's tokens. One row for each
    /// token, answer by answer: `[tokens, vocabulary]`.
    pub(super) fn logits(&self, answers: &[(usize, &[u32])]) -> Result<Tensor, RunError> {
        let mut on = self.on.clone();
        let posed: Vec<&Posed> = answers.iter().map(|(posed, _)| &self.lesson.posed[*posed]).collect();
        on.gather(&posed.iter().map(|posed| posed.view).collect::<Vec<usize>>());
        let begun = |posed: &Posed| posed.prompt.ids.len() - self.lesson.n_common;
        let mut ends = Vec::new();
        for (i, (posed, (_, answer))) in posed.iter().zip(answers).enumerate() {
            // The token at a place tells of the next.
            ends.extend((0..answer.len()).map(|at| (i, begun(posed) - 1 + at)));
        }
        let texts: Vec<Vec<u32>> = posed
            .iter()
            .zip(answers)
            .map(|(posed, (_, answer))| {
                [&posed.prompt.ids[self.lesson.n_common..], &answer[..answer.len() - 1]].concat()
            })
            .collect();
        let hidden = self.read(&mut on, &posed, &texts, &ends)?;
        head(&mut on, hidden)
    }

    /// Greedy answers to all questions, each with the token that ends it if one of them came; `tokens_max` at most.
    pub(super) fn answers(&self, tokens_max: usize) -> Result<Vec<Vec<u32>>, RunError> {
        let all: Vec<(usize, Sampling)> =
            (0..self.lesson.posed.len()).map(|posed| (posed, Sampling::default())).collect();
        self.said(&all, tokens_max)
    }

    /// Answers to questions that are put by their index, each as often as one likes, with how tokens are chosen; each with the token that
    /// ends it if one of them came, `tokens_max` at most, or broken off where logits are no numbers. Nothing is learnt of how they came
    /// about.
    pub(super) fn said(
        &self,
        put: &[(usize, Sampling)],
        tokens_max: usize,
    ) -> Result<Vec<Vec<u32>>, RunError> {
        let length = |(posed, _): &(usize, Sampling)| self.lesson.posed[*posed].prompt.ids.len();
        let mut answers = vec![Vec::new(); put.len()];
        let mut lengths: Vec<usize> = put.iter().map(length).collect();
        lengths.sort_unstable();
        lengths.dedup();
        for n in lengths {
            // Those whose caches are as long as each other's go on together.
            let members: Vec<usize> = (0..put.len()).filter(|i| length(&put[*i]) == n).collect();
            self.say(put, &members, tokens_max, &mut answers)?;
        }
        Ok(answers)
    }

    /// Reads questions as long as each other, each of them once, however many members of the batch go on from it: those, and the logits
    /// behind their questions, `[members, vocabulary]`.
    fn heard(&self, members: &[usize]) -> Result<(Interpreter<'r>, Vec<f32>), RunError> {
        let mut asked = members.to_vec();
        asked.sort_unstable();
        asked.dedup();
        let posed: Vec<&Posed> = asked.iter().map(|i| &self.lesson.posed[*i]).collect();
        let mut on = self.on.detached();
        on.gather(&posed.iter().map(|posed| posed.view).collect::<Vec<usize>>());
        let texts: Vec<Vec<u32>> =
            posed.iter().map(|posed| posed.prompt.ids[self.lesson.n_common..].to_vec()).collect();
        let ends: Vec<(usize, usize)> =
            texts.iter().enumerate().map(|(i, text)| (i, text.len() - 1)).collect();
        let hidden = self.read(&mut on, &posed, &texts, &ends)?;
        let logits = head(&mut on, hidden)?.to_f32();
        let rows: Vec<usize> =
            members.iter().map(|i| asked.binary_search(i).expect("it is one of them")).collect();
        on.gather(&rows);
        let n = logits.len() / asked.len();
        Ok((on, rows.iter().flat_map(|row| &logits[row * n..][..n]).copied().collect()))
    }

    fn say(
        &self,
        put: &[(usize, Sampling)],
        members: &[usize],
        tokens_max: usize,
        answers: &mut [Vec<u32>],
    ) -> Result<(), RunError> {
        let manifest = &self.reasoner.manifest;
        let posed: Vec<&Posed> = members.iter().map(|i| &self.lesson.posed[put[*i].0]).collect();
        let length = posed[0].prompt.ids.len();
        let (mut on, mut logits) = self.heard(&members.iter().map(|i| put[*i].0).collect::<Vec<usize>>())?;
        let mut samplers: Vec<Sampler> = Vec::new();
        for (posed, i) in posed.iter().zip(members) {
            let mut sampler = Sampler::new(manifest.vocab_size);
            sampler.begin(put[*i].1, &posed.prompt.ids).expect("recipes are checked");
            samplers.push(sampler);
        }
        let positions: Vec<i32> = posed.iter().map(|posed| posed.prompt.next_position).collect();
        // Members of the batch that still speak.
        let mut speaking: Vec<usize> = (0..members.len()).collect();
        for step in 0..tokens_max {
            let mut kept = Vec::new();
            for (row, member) in speaking.iter().enumerate() {
                let logits = &logits[row * manifest.vocab_size..][..manifest.vocab_size];
                // What is no number ends the answer here and the run where its loss is looked at.
                let Ok(token) = samplers[*member].pick(logits) else { continue };
                answers[members[*member]].push(token);
                if !manifest.stop_token_ids.contains(&token) {
                    kept.push(row);
                }
            }
            if kept.is_empty() || step + 1 == tokens_max {
                break;
            }
            if kept.len() < speaking.len() {
                on.gather(&kept);
                speaking = kept.iter().map(|row| speaking[*row]).collect();
            }
            let n = speaking.len();
            let last = |member: &usize| *answers[members[*member]].last().expect("just said") as i32;
            let places = |member: &usize| [positions[*member] + step as i32; 3];
            let network = on.network();
            on.write_whole(
                buffer(network, "tokens"),
                &speaking.iter().map(last).collect::<Vec<_>>(),
                &[n, 1],
            );
            let places: Vec<i32> = speaking.iter().flat_map(places).collect();
            on.write_whole(buffer(network, "positions"), &places, &[n, 1, 3]);
            on.run(graph(network, "decode"), &Run { extents: &[length + step], ..Run::default() })?;
            logits = on.buffer(buffer(network, "logits")).expect("just written").to_f32();
        }
        Ok(())
    }

    /// Reads these texts behind what is common, and gives what the head takes at each of `ends`, in their order.
    fn read(
        &self,
        on: &mut Interpreter<'_>,
        posed: &[&Posed],
        texts: &[Vec<u32>],
        ends: &[(usize, usize)],
    ) -> Result<Tensor, RunError> {
        let n_rows = texts.iter().map(Vec::len).max().expect("there is a text");
        let mut piece = Piece { n: texts.len(), ..Piece::default() };
        for (posed, text) in posed.iter().zip(texts) {
            // Nothing looks at what comes after a text's end.
            piece.tokens.extend((0..n_rows).map(|i| text.get(i).map_or(0, |id| *id as i32)));
            let prompt = &posed.prompt;
            let begun = &prompt.positions[self.lesson.n_common..];
            let place = |i: usize| match begun.get(i) {
                Some(position) => *position,
                None => [prompt.next_position + (i - begun.len()) as i32; 3],
            };
            piece.positions.extend((0..n_rows).flat_map(place));
        }
        piece.index = vec![-1; n_rows];
        prefill(on, &piece, self.lesson.n_common, 1, ends)
    }
}

/// Every token by its likelihood at this temperature, with a seed of its own.
pub(super) fn at_random(temperature: f64, rng: &mut Rng) -> Sampling {
    let seed = (rng.unit() * (1u64 << 53) as f64) as u64;
    Sampling { greedy: false, temperature: temperature as f32, top_k: 0, seed, ..Sampling::default() }
}

/// Tokens of members that lie side by side.
#[derive(Default)]
struct Piece {
    /// `[n, rows]`
    tokens: Vec<i32>,
    /// `[n, rows, 3]`
    positions: Vec<i32>,
    /// `[rows]`: where features are, the same for all members.
    index: Vec<i32>,
    n: usize,
}

/// Runs the vision graph on every group of frames of every clip; features then lie clip by clip.
fn see(reasoner: &Reasoner, on: &mut Interpreter<'_>, lesson: &Lesson) -> Result<(), RunError> {
    let network = on.network();
    let n = lesson.n_patches();
    let n_groups = lesson.views.len() * lesson.grid.t;
    let (mut index, mut share, mut position) = (vec![0; 4 * n], vec![0.0_f32; 4 * n], vec![0; 2 * n]);
    let inputs = PatchInputs { index: &mut index, share: &mut share, position: &mut position };
    reasoner.manifest.patch_positions.fill(lesson.grid.h, lesson.grid.w, inputs);
    let patch_len = lesson.patches.len() / (n_groups * n);
    on.write_constant(buffer(network, "patches"), &lesson.patches, &[n_groups, n, patch_len]);
    on.write_whole(buffer(network, "position_index"), &index, &[1, n, 4]);
    on.write_constant(buffer(network, "position_share"), &share, &[1, n, 4]);
    on.write_whole(buffer(network, "patch_positions"), &position, &[1, n, 2]);
    on.run(graph(network, "vision"), &Run { extents: &[n], ..Run::default() })?;
    // Its members are groups of frames, which no others are.
    for name in ["patches", "position_index", "position_share", "patch_positions"] {
        on.clear(buffer(network, name));
    }
    for id in features_of(reasoner) {
        let of_groups = on.buffer(id).expect("just written").clone();
        let [_, n_tokens, width] = <[usize; 3]>::try_from(of_groups.shape()).expect("rows of features");
        let of_clips = of_groups.reshaped(&[lesson.views.len(), lesson.grid.t * n_tokens, width]);
        on.write(id, of_clips);
    }
    Ok(())
}

/// Runs `prefill` piece by piece behind `past` tokens, and gives what the head takes at each of `ends`, in their order.
fn prefill(
    on: &mut Interpreter<'_>,
    piece: &Piece,
    past: usize,
    n_visual: usize,
    ends: &[(usize, usize)],
) -> Result<Tensor, RunError> {
    let network = on.network();
    let n_rows = piece.index.len();
    let (mut found, mut order) = (Vec::new(), Vec::new());
    for from in (0..n_rows).step_by(PREFILL_TOKENS_MAX) {
        let to = n_rows.min(from + PREFILL_TOKENS_MAX);
        let rows = |values: &[i32], each: usize| -> Vec<i32> {
            let of_member = |values: &[i32]| values[from * each..to * each].to_vec();
            values.chunks_exact(n_rows * each).flat_map(of_member).collect()
        };
        on.write_whole(buffer(network, "tokens"), &rows(&piece.tokens, 1), &[piece.n, to - from]);
        on.write_whole(buffer(network, "positions"), &rows(&piece.positions, 3), &[piece.n, to - from, 3]);
        on.write_whole(buffer(network, "visual_index"), &piece.index[from..to], &[1, to - from]);
        let here: Vec<usize> = (0..ends.len()).filter(|i| (from..to).contains(&ends[*i].1)).collect();
        let is_read = !here.is_empty();
        let places = here.iter().map(|i| (ends[*i].0, ends[*i].1 - from)).collect();
        on.end_at(is_read.then_some(places));
        let extents = [to - from, past + from, n_visual];
        on.run(graph(network, "prefill"), &Run { extents: &extents, ..Run::default() })?;
        if is_read || ends.is_empty() {
            found.push(on.buffer(buffer(network, "hidden")).expect("just written").clone());
        }
        order.extend(here);
    }
    on.end_at(None);
    // Pieces may have changed the order; as a rule there is one.
    let is_sorted = order.windows(2).all(|pair| pair[0] < pair[1]);
    let all = Tensor::joined(&found, 0);
    Ok(if is_sorted { all } else { reordered(&all, &order) })
}

/// Row `order[i]` of the result is row `i`.
fn reordered(x: &Tensor, order: &[usize]) -> Tensor {
    let mut places = vec![0; order.len()];
    order.iter().enumerate().for_each(|(i, place)| places[*place] = i);
    let rows: Vec<Tensor> = places.into_iter().map(|i| x.sliced(0, i, 1)).collect();
    Tensor::joined(&rows, 0)
}

/// The logits of what `prefill` gave, `[n, 1, width]`: `[n, vocabulary]`.
fn head(on: &mut Interpreter<'_>, hidden: Tensor) -> Result<Tensor, RunError> {
    let network = on.network();
    let n = hidden.shape()[0];
    on.write(buffer(network, "hidden"), hidden);
    on.run(graph(network, "head"), &Run::default())?;
    let logits = on.buffer(buffer(network, "logits")).expect("just written");
    Ok(logits.reshaped(&[n, logits.shape()[2]]))
}

fn features_of(reasoner: &Reasoner) -> Vec<BufferId> {
    let taps = (0..reasoner.manifest.n_deepstack).map(|i| format!("deepstack.{i}"));
    let names = std::iter::once("visual_features".to_owned()).chain(taps);
    names.map(|name| buffer(&reasoner.network, &name)).collect()
}

fn buffer(network: &Network, name: &str) -> BufferId {
    network.buffer(name).expect("a network of Reason has it")
}

fn graph(network: &Network, name: &str) -> GraphId {
    network.graph(name).expect("a network of Reason has it")
}
