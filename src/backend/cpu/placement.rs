//! Gives every value of a program a place, and every call a stage.
//!
//! A stage holds calls that do not need each other: its threads meet only when it is done. A call stands in the first
//! stage after all that it needs, so that queries, keys and values are computed side by side. A value may take the
//! place of its input where nothing needs that afterwards; it is made in a buffer's rows where it is to end up there.
//!
//! What the threads of a run rely on is checked of the result, whatever led to it: what a step writes, no other step of its
//! stage touches.

use std::ops::Range;

use super::arena::{Lifetime, Place, Placer};
use super::program::{Call, Home, Kind, Offset, Program, RowAt, Source, Touched, Value, maximum, root};
use crate::graph::{BufferId, Dim, Graph, WeightId};

/// A graph, ready to run.
#[derive(Debug)]
pub(super) struct Placement {
    pub(super) stages: Vec<Vec<Step>>,
    pub(super) touched: Vec<Touched>,
}

/// A call, with the places of what it reads and makes.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) kind: Kind,
    pub(super) inputs: Vec<View>,
    pub(super) output: Option<View>,
    /// Which input stands where the output will.
    pub(super) in_place: Option<usize>,
}

/// A value as a step sees it: elements one after the other.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) base: Base,
    pub(super) offsets: Vec<Offset>,
    pub(super) shape: Vec<Dim>,
}

/// What a view is a view of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Base {
    Arena(Place),
    /// Rows of a buffer.
    Rows(BufferId, RowAt),
    Weight(WeightId),
}

/// A place that values take one after the other.
struct Slot {
    lifetime: Lifetime,
    home: Option<Home>,
}

/// Places one graph's program.
pub(super) fn place(graph: &Graph, program: Program, placer: &mut Placer) -> Placement {
    let stage_of = stages(&program);
    let uses = uses(&program);
    let mut order: Vec<usize> = (0..program.calls.len()).collect();
    order.sort_by_key(|c| (stage_of[*c], *c));

    let mut slots: Vec<Slot> = Vec::new();
    let mut slot_of: Vec<Option<usize>> = vec![None; program.values.len()];
    let mut in_place = vec![None; program.calls.len()];
    for &c in &order {
        let Some(output) = program.calls[c].output else { continue };
        let home = program.values[output].home;
        let last = uses[output].iter().map(|u| stage_of[*u]).max().unwrap_or(0).max(stage_of[c]);
        let reused = reusable(&program, c, &uses, &stage_of)
            .filter(|(_, value)| slots[slot_of[*value].expect("made before")].home.is_none());
        let slot = match reused {
            Some((input, value)) => {
                in_place[c] = Some(input);
                slot_of[value].expect("made before")
            }
            None => {
                let len = program.values[output].shape.iter().map(|d| maximum(graph, *d)).product();
                slots.push(Slot { lifetime: Lifetime { len, first: stage_of[c], last }, home: None });
                slots.len() - 1
            }
        };
        slot_of[output] = Some(slot);
        slots[slot].home = home;
        slots[slot].lifetime.last = last;
    }

    let bases = bases(&slots, placer);
    let view = |value: Value| view(&program, &slot_of, &bases, value);
    let n_stages = order.last().map_or(0, |c| stage_of[*c] + 1);
    let mut stages: Vec<Vec<Step>> = (0..n_stages).map(|_| Vec::new()).collect();
    let mut touched: Vec<Vec<Touch>> = vec![Vec::new(); n_stages];
    for c in order {
        let call = &program.calls[c];
        let inputs = call.inputs.iter().map(|v| view(*v)).collect();
        let output = call.output.map(view);
        let step = Step { kind: call.kind.clone(), inputs, output, in_place: in_place[c] };
        touched[stage_of[c]].extend(touches(&step, &call.reads));
        stages[stage_of[c]].push(step);
    }
    touched.into_iter().for_each(assert_apart);
    Placement { stages, touched: program.touched }
}

/// Memory that a step touches (elements of the arena, or a buffer as a whole), and whether it writes it.
type Touch = (Option<BufferId>, Range<usize>, bool);

/// What a step touches; what it reads in place counts as written only.
fn touches(step: &Step, buffers_read: &[BufferId]) -> Vec<Touch> {
    let touch = |view: &View, writes: bool| match view.base {
        Base::Arena(place) => Some((None, place.range(), writes)),
        Base::Rows(buffer, _) => Some((Some(buffer), 0..1, writes)),
        Base::Weight(_) => None,
    };
    let apart = step.inputs.iter().enumerate().filter(|(i, _)| step.in_place != Some(*i));
    let mut touches: Vec<Touch> = apart.filter_map(|(_, view)| touch(view, false)).collect();
    touches.extend(buffers_read.iter().map(|buffer| (Some(*buffer), 0..1, false)));
    touches.extend(step.output.iter().filter_map(|view| touch(view, true)));
    touches
}

/// Checks that what one step of a stage writes, no other step touches, nor the step itself but in place.
///
/// # Panics
/// If it does: memory would be written and read at the same time.
fn assert_apart(mut touched: Vec<Touch>) {
    touched.sort_by_key(|(buffer, range, _)| (*buffer, range.start));
    // How far what begins before reaches: what is read, and what is written.
    let (mut within, mut read_to, mut written_to) = (None, 0, 0);
    for (buffer, range, writes) in touched.into_iter().filter(|(_, range, _)| !range.is_empty()) {
        if within != buffer {
            (within, read_to, written_to) = (buffer, 0, 0);
        }
        let taken_to = if writes { written_to.max(read_to) } else { written_to };
        assert!(taken_to <= range.start, "steps of one stage share {range:?} of {buffer:?}");
        let reaches = if writes { &mut written_to } else { &mut read_to };
        *reaches = range.end.max(*reaches);
    }
}

/// The earliest stage of each call.
fn stages(program: &Program) -> Vec<usize> {
    let mut maker = vec![None; program.values.len()];
    let mut stage_of: Vec<usize> = Vec::with_capacity(program.calls.len());
    // For each buffer, the first stage in which it may be read, and in which it may be written.
    let mut readable: Vec<(BufferId, usize, usize)> = Vec::new();
    for (c, call) in program.calls.iter().enumerate() {
        let made = call.inputs.iter().filter_map(|v| maker[root(program, *v).0]);
        let mut stage =
            made.chain(call.after.iter().copied()).map(|dep: usize| stage_of[dep] + 1).max().unwrap_or(0);
        for (buffer, writes) in accesses(program, call) {
            let known = readable.iter().find(|(b, ..)| *b == buffer);
            stage = stage.max(known.map_or(0, |(_, read, write)| if writes { *write } else { *read }));
        }
        for (buffer, writes) in accesses(program, call) {
            if !readable.iter().any(|(b, ..)| *b == buffer) {
                readable.push((buffer, 0, 0));
            }
            let known = readable.iter_mut().find(|(b, ..)| *b == buffer).expect("pushed above");
            known.2 = known.2.max(stage + 1);
            if writes {
                known.1 = stage + 1;
            }
        }
        stage_of.push(stage);
        if let Some(output) = call.output {
            maker[output] = Some(c);
        }
    }
    stage_of
}

/// Buffers that a call touches in an order that matters, and whether it writes them.
fn accesses(program: &Program, call: &Call) -> impl Iterator<Item = (BufferId, bool)> {
    let views = call.inputs.iter().filter_map(|v| match program.values[root(program, *v).0].source {
        Source::Buffer(buffer) => Some(buffer),
        _ => None,
    });
    let reads = views.chain(call.reads.iter().copied()).map(|b| (b, false));
    reads.chain(call.writes.iter().map(|b| (*b, true)))
}

/// For each value the calls that read it or a view of it.
fn uses(program: &Program) -> Vec<Vec<usize>> {
    let mut uses = vec![Vec::new(); program.values.len()];
    for (c, call) in program.calls.iter().enumerate() {
        for value in &call.inputs {
            uses[root(program, *value).0].push(c);
        }
    }
    uses
}

/// The input whose place the output of call `c` may take, and its value: one that is whole, that a call made to no fixed
/// home, and that nothing else needs in this stage or later.
fn reusable(program: &Program, c: usize, uses: &[Vec<usize>], stage_of: &[usize]) -> Option<(usize, Value)> {
    let call = &program.calls[c];
    let input = call.may_reuse?;
    let (value, is_whole) = root(program, call.inputs[input]);
    let info = &program.values[value];
    let others_done = uses[value].iter().all(|user| *user == c || stage_of[*user] < stage_of[c]);
    let used_once_here = uses[value].iter().filter(|user| **user == c).count() == 1;
    let can = is_whole
        && matches!(info.source, Source::Call)
        && info.home.is_none()
        && others_done
        && used_once_here;
    can.then_some((input, value))
}

fn bases(slots: &[Slot], placer: &mut Placer) -> Vec<Base> {
    let in_arena: Vec<Lifetime> = slots.iter().filter(|s| s.home.is_none()).map(|s| s.lifetime).collect();
    let mut places = placer.share(&in_arena).into_iter();
    let base = |slot: &Slot| match slot.home {
        Some(home) => Base::Rows(home.buffer, home.at),
        None => Base::Arena(places.next().expect("one place for each slot without a home")),
    };
    slots.iter().map(base).collect()
}

fn view(program: &Program, slot_of: &[Option<usize>], bases: &[Base], value: Value) -> View {
    let shape = program.values[value].shape.clone();
    let mut offsets = Vec::new();
    let mut at = value;
    loop {
        let base = match &program.values[at].source {
            Source::View(of, offset) => {
                if offset.places.is_some() {
                    offsets.push(offset.clone());
                }
                at = *of;
                continue;
            }
            Source::Buffer(buffer) => Base::Rows(*buffer, RowAt::Window),
            Source::Weight(weight) => Base::Weight(*weight),
            Source::Call => bases[slot_of[at].expect("its call comes before")],
            Source::Nothing => unreachable!("nothing reads what does not exist"),
        };
        return View { base, offsets, shape };
    }
}

#[cfg(test)]
mod tests {
    use super::super::lower::lower;
    use super::*;
    use crate::graph::{Binary, GraphBuilder, Network, Op, Purpose, RotaryStyle, Unary, ValueId};
    use crate::tensor::DType;

    /// The stages of the only graph of a network, each as the kinds of its steps; `*` marks a step in place.
    fn stages_of(network: &Network) -> Vec<String> {
        let graph = &network.graphs[0];
        let placement = place(
            graph,
            lower(network, graph, &vec![false; network.buffers.len()]).unwrap(),
            &mut Placer::default(),
        );
        let name = |step: &Step| {
            let kind = format!("{:?}", step.kind);
            let name = kind.split(|c: char| !c.is_alphanumeric()).next().unwrap_or("").to_owned();
            if step.in_place.is_some() { name + "*" } else { name }
        };
        placement.stages.iter().map(|stage| stage.iter().map(name).collect::<Vec<_>>().join(" ")).collect()
    }

    /// A network of one graph over `x [n, 32]`, whose value goes to a buffer of such rows.
    fn network(make: impl FnOnce(&mut GraphBuilder<'_>, ValueId, Dim) -> ValueId) -> Network {
        let mut network = Network::default();
        let x = network.declare_buffer("x", DType::F32, &[9, 32], Purpose::Input);
        let y = network.declare_buffer("y", DType::F32, &[9, 32], Purpose::Output);
        let mut graph = GraphBuilder::new(&mut network, "main");
        let n = Dim::of(graph.dim("n", 1, 9, 1));
        let value = graph.read(x, n);
        let value = make(&mut graph, value, n);
        graph.write(y, value);
        graph.finish();
        network
    }

    fn linear(graph: &mut GraphBuilder<'_>, x: ValueId, name: &str, shape: [usize; 2]) -> ValueId {
        let weight = graph.network.declare_weight("main", name, DType::F32, &shape);
        graph.linear(x, weight, None)
    }

    #[test]
    fn parts_of_one_matrix_are_made_side_by_side_and_never_copied() {
        let network = network(|g, x, n| {
            let all = linear(g, x, "qkv", [96, 32]);
            let all = g.reshape(all, &[n, 3.into(), 2.into(), 16.into()]);
            let mut part = |i: usize| {
                let one = g.add(Op::Slice { axis: 1, start: i.into(), len: 1.into() }, &[all]);
                g.reshape(one, &[n, 2.into(), 16.into()])
            };
            let parts = [part(0), part(1), part(2)];
            let y = g.add(Op::Attention { scale: 1.0 }, &parts);
            g.reshape(y, &[n, 32.into()])
        });
        assert_eq!(stages_of(&network), ["Linear Linear Linear", "Attention"]);
    }

    #[test]
    fn gates_and_residuals_are_epilogues_in_place() {
        let network = network(|g, x, _| {
            let x = g.add(Op::Unary { function: Unary::Relu }, &[x]);
            let normed = g.add(Op::RmsNorm { weight: None, eps: 1e-6 }, &[x]);
            let gate = linear(g, normed, "gate", [64, 32]);
            let gate = g.add(Op::Unary { function: Unary::Silu }, &[gate]);
            let up = linear(g, normed, "up", [64, 32]);
            let hidden = g.add(Op::Binary { function: Binary::Mul }, &[gate, up]);
            let down = linear(g, hidden, "down", [32, 64]);
            g.add(Op::Binary { function: Binary::Add }, &[x, down])
        });
        assert_eq!(stages_of(&network), ["Unary", "RmsNorm", "Linear", "Linear*", "Linear*"]);
    }

    #[test]
    fn keys_are_made_in_their_cache() {
        let mut network = Network::default();
        let buffer = |network: &mut Network, name: &str, rows, purpose| {
            network.declare_buffer(name, DType::F32, &[rows, 2, 16], purpose)
        };
        let x = network.declare_buffer("x", DType::F32, &[1, 32], Purpose::Input);
        let table = network.declare_buffer("table", DType::F32, &[1, 16], Purpose::Input);
        let keys = buffer(&mut network, "keys", 50, Purpose::Cache);
        let values = buffer(&mut network, "values", 50, Purpose::Cache);
        let out = buffer(&mut network, "out", 1, Purpose::Output);
        let mut g = GraphBuilder::new(&mut network, "decode");
        let past = g.dim("past", 0, 49, 1);
        let (x, table) = (g.read(x, 1), g.read(table, 1));
        let [q, k, v] = ["q", "k", "v"].map(|name| {
            let y = linear(&mut g, x, name, [32, 32]);
            g.reshape(y, &[1.into(), 2.into(), 16.into()])
        });
        let q = g.add(Op::Rotary { style: RotaryStyle::Halves }, &[q, table]);
        let k = g.add(Op::Rotary { style: RotaryStyle::Halves }, &[k, table]);
        let y =
            g.add(Op::CachedAttention { key_cache: keys, value_cache: values, past, scale: 1.0 }, &[q, k, v]);
        g.write(out, y);
        g.finish();
        let stages = stages_of(&network);
        assert_eq!(stages, ["Linear Linear Linear", "Rotary* Rotary*", "DecodeRanges", "DecodeJoin"]);
    }

    #[test]
    fn a_value_that_is_needed_later_is_not_overwritten() {
        let network = network(|g, x, _| {
            let x = g.add(Op::Unary { function: Unary::Relu }, &[x]);
            let y = g.add(Op::Unary { function: Unary::Silu }, &[x]);
            let z = g.add(Op::Unary { function: Unary::Silu }, &[y]);
            g.add(Op::Binary { function: Binary::Add }, &[x, z])
        });
        assert_eq!(stages_of(&network), ["Unary", "Unary", "Unary*", "Binary*"]);
    }

    #[test]
    fn steps_that_would_share_what_one_writes_are_caught() {
        let caught = |touched: &[Touch]| std::panic::catch_unwind(|| assert_apart(touched.to_vec())).is_err();
        let (arena, buffer) = (None, Some(BufferId(3)));
        assert!(!caught(&[(arena, 0..8, false), (arena, 4..20, false), (arena, 20..24, true)]));
        assert!(!caught(&[
            (arena, 0..8, true),
            (buffer, 0..1, true),
            (arena, 8..9, true),
            (arena, 4..4, true)
        ]));
        assert!(caught(&[(arena, 0..8, true), (arena, 7..9, true)]));
        assert!(caught(&[(arena, 7..9, true), (arena, 0..8, false)]));
        assert!(caught(&[(arena, 0..30, true), (arena, 4..5, true), (arena, 20..24, false)]));
        assert!(caught(&[(buffer, 0..1, false), (arena, 0..8, true), (buffer, 0..1, true)]));
    }

    #[test]
    fn graphs_of_more_calls_than_a_stage_has_room_for_are_refused() {
        let chain = |n_calls: usize| {
            let network = network(|g, x, _| {
                (0..n_calls).fold(x, |x, _| g.add(Op::Unary { function: Unary::Relu }, &[x]))
            });
            lower(&network, &network.graphs[0], &vec![false; network.buffers.len()])
                .map(|program| program.calls.len())
        };
        assert_eq!(chain(1 << 16), Ok(1 << 16));
        let why = chain((1 << 16) + 1).unwrap_err();
        assert_eq!(why, "graph `main` takes 65537 kernel calls; at most 65536");
    }

    #[test]
    fn heads_longer_than_the_kernels_take_are_refused_with_their_node() {
        let with_head = |dim: usize| {
            let mut network = Network::default();
            let x = network.declare_buffer("x", DType::F32, &[9, 1, dim], Purpose::Input);
            let y = network.declare_buffer("y", DType::F32, &[9, 1, dim], Purpose::Output);
            let mut graph = GraphBuilder::new(&mut network, "main");
            let n = Dim::of(graph.dim("n", 1, 9, 1));
            let value = graph.read(x, n);
            let value = graph.add(Op::Attention { scale: 1.0 }, &[value, value, value]);
            graph.write(y, value);
            graph.finish();
            lower(&network, &network.graphs[0], &vec![false; network.buffers.len()]).map(|_| ())
        };
        assert_eq!(with_head(512), Ok(()));
        let why = with_head(528).unwrap_err();
        assert!(
            why.contains("graph `main`, node 1") && why.contains("heads of 528 elements; at most 512"),
            "{why}"
        );
    }
}
