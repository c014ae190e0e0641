//! A lowering that is wrong in one place is seen: what is compared can tell axes, orders, operands and numbers apart.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use perihelion::backend::tensorrt::{
    Activation, Element, ElementWise, Function, Kind, Layer, Layers, Reduction,
};

use crate::case::{Case, Tolerance};
use crate::session::Evaluated;
use crate::{all, problem};

/// The layer with one thing wrong in it, in each way that there is.
fn wrong(layer: &Layer) -> Vec<Layer> {
    let with = |kind: Kind| Layer { kind, ..layer.clone() };
    let swapped = || {
        let mut inputs = layer.inputs.clone();
        inputs.swap(0, 1);
        Layer { inputs, ..layer.clone() }
    };
    match layer.kind.clone() {
        Kind::MatrixMultiply { transposed: [a, b] } => {
            vec![
                with(Kind::MatrixMultiply { transposed: [a, !b] }),
                with(Kind::MatrixMultiply { transposed: [!a, b] }),
            ]
        }
        Kind::ElementWise(operation) => {
            let other =
                if operation == ElementWise::Sum { ElementWise::Difference } else { ElementWise::Sum };
            vec![with(Kind::ElementWise(other))]
        }
        Kind::Unary(function) => {
            vec![with(Kind::Unary(if function == Function::Sine {
                Function::Cosine
            } else {
                Function::Sine
            }))]
        }
        Kind::Activation(activation) => {
            let other = if activation == Activation::Relu { Activation::GeluErf } else { Activation::Relu };
            vec![with(Kind::Activation(other))]
        }
        Kind::Reduce { operation, axes, keeps } => {
            let other = if operation == Reduction::Sum { Reduction::Mean } else { Reduction::Sum };
            vec![
                with(Kind::Reduce { operation: other, axes, keeps }),
                with(Kind::Reduce { operation, axes: 1, keeps }),
                with(Kind::Reduce { operation, axes, keeps: !keeps }),
            ]
        }
        Kind::Softmax { axes } => vec![with(Kind::Softmax { axes: axes >> 1 })],
        Kind::Shuffle { mut first, shape, second } if !first.is_empty() => {
            let last = first.len() - 1;
            first.swap(last - 1, last);
            vec![with(Kind::Shuffle { first, shape, second })]
        }
        Kind::Concatenation { axis } => vec![with(Kind::Concatenation { axis: axis - 1 }), swapped()],
        Kind::Slice { mut start, size, stride } if !start.is_empty() => {
            let Some(at) = start.iter().position(|s| *s != 0) else { return Vec::new() };
            start[at] -= 1;
            vec![with(Kind::Slice { start, size, stride })]
        }
        Kind::Gather { axis } => vec![with(Kind::Gather { axis: 1 - axis.min(1) })],
        Kind::Select => {
            let mut inputs = layer.inputs.clone();
            inputs.swap(1, 2);
            vec![Layer { inputs, ..layer.clone() }]
        }
        Kind::Convolution { maps, kernel, mut stride, before, after } => {
            let turned = Kind::Convolution {
                maps,
                kernel: kernel.clone(),
                stride: stride.clone(),
                before: after.clone(),
                after: before.clone(),
            };
            stride.reverse();
            vec![with(turned), with(Kind::Convolution { maps, kernel, stride, before, after })]
        }
        Kind::Resize { mut scales } => {
            scales.swap(1, 2);
            vec![with(Kind::Resize { scales })]
        }
        Kind::Attention { causal, decomposes } => {
            vec![with(Kind::Attention { causal: !causal, decomposes }), swapped()]
        }
        Kind::Constant { element: Element::F32, dims, mut bytes } => {
            // The first number's sign and highest exponent bit.
            bytes[3] ^= 0xc0;
            vec![with(Kind::Constant { element: Element::F32, dims, bytes })]
        }
        _ => Vec::new(),
    }
}

thread_local!(static IS_QUIET: Cell<bool> = const { Cell::new(false) });

/// What a body yields unless it panics, of which nothing is printed; other threads' panics are printed as ever.
pub(crate) fn quietly<T>(body: impl FnOnce() -> T) -> Option<T> {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |info| {
            if !IS_QUIET.get() {
                others(info);
            }
        }));
    });
    IS_QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(body));
    IS_QUIET.set(false);
    result.ok()
}

/// Whether the case still passes with these layers in place of the first graph's.
fn passes(case: &Case, expected: &[Vec<f32>], layers: Layers) -> bool {
    let mut session = Evaluated::new(&case.network, &case.weights, Element::F32, None).unwrap();
    session.plans[0].layers = layers;
    let found = quietly(|| case.on(&mut session));
    found.is_some_and(|found| Tolerance::Close.differs(expected, &found, &case.network).is_none())
}

/// A swapped axis in the heads of attention, as the smallest example.
#[test]
fn a_swapped_axis_fails_the_comparison() {
    let case = all().into_iter().find(|case| case.name.starts_with("attention, 4 heads over 2")).unwrap();
    assert_eq!(problem(&case, None), None);
    let session = Evaluated::new(&case.network, &case.weights, Element::F32, None).unwrap();
    let mut layers = session.plans[0].layers.clone();
    let order = |layer: &&mut Layer| matches!(&layer.kind, Kind::Shuffle { first, .. } if !first.is_empty());
    let layer = layers.layers.iter_mut().find(order).unwrap();
    let Kind::Shuffle { first, .. } = &mut layer.kind else { unreachable!("found as such") };
    assert_eq!(first, &[1, 2, 0, 3], "queries by group, head and token");
    first.swap(0, 1);
    assert!(!passes(&case, &case.reference(), layers));
}

/// Case, layer and what is wrong in it, of what cannot be seen there, since it changes no element by more than rounding does. One that is
/// seen must go from here.
const THE_SAME: &[(&str, &str, &str)] = &[
    // The eps, a millionth of the mean square.
    ("rms norm of 16, weight true", "main.1 rms_norm #3", "ElementWise(Sum) → ElementWise(Difference)"),
    ("layer norm of 16, weight true", "main.1 layer_norm #5", "ElementWise(Sum) → ElementWise(Difference)"),
    // The sum over the new tokens, of which there is one.
    (
        "cached attention, 4 heads over 2 of 16, 1 new of 40",
        "main.4 cached_attention #34",
        "Reduce { operation: Sum, axes: 1, keeps: true } → Reduce { operation: Mean, axes: 1, keeps: true }",
    ),
    // A list of zeros in another order.
    (
        "cached attention, 4 heads over 4 of 24, 3 new of 40",
        "main.4 cached_attention #43",
        "Concatenation { axis: 0 } → Concatenation { axis: 0 }",
    ),
    // Groups of one head.
    (
        "cached attention, 4 heads over 4 of 24, 3 new of 40",
        "main.4 cached_attention #50",
        "Shuffle { first: [2, 0, 1, 3], shape: None, second: [] } → Shuffle { first: [2, 0, 3, 1], shape: None, second: [] }",
    ),
];

/// Each layer of small cases of every family, wrong in each way.
#[test]
fn layers_that_are_wrong_in_one_place_are_seen() {
    let names = [
        "linear 3 → 5, up to 4 rows, bias true",
        "gated feed-forward with residual",
        "GeluTanh",
        "rms norm of 16, weight true",
        "layer norm of 16, weight true",
        "select rows, Add, in place false",
        "interpolate rows",
        "rotary table of whole positions",
        "sinusoid",
        "rotary Halves of 10",
        "rotary Pairs of 10",
        "attention, 4 heads over 2 of 16, up to 40 tokens",
        "cached attention, 4 heads over 2 of 16, 1 new of 40",
        "cached attention, 4 heads over 4 of 24, 3 new of 40",
        "concatenation along 1",
        "slice of axis 1",
        "transposition [0, 3, 1, 2]",
        "upsample",
        "convolution 4 → 18 by 3 × 3 × 3",
        "convolution 20 → 7 by 1 × 3 × 3",
    ];
    let (mut n_wrong, mut unseen) = (0, Vec::new());
    let mut same: Vec<_> = THE_SAME.to_vec();
    for name in names {
        let case = all().into_iter().find(|case| case.name == name);
        let case = case.unwrap_or_else(|| panic!("no case `{name}`"));
        let expected = case.reference();
        let layers = Evaluated::new(&case.network, &case.weights, Element::F32, None).unwrap();
        let layers = layers.plans[0].layers.clone();
        for (i, layer) in layers.layers.iter().enumerate() {
            for wrong in wrong(layer).into_iter().filter(|wrong| wrong != layer) {
                let mut layers = layers.clone();
                n_wrong += 1;
                let (at, shown) = (layer.name.clone(), format!("{:?} → {:?}", layer.kind, wrong.kind));
                layers.layers[i] = wrong;
                if !passes(&case, &expected, layers) {
                    continue;
                }
                match same.iter().position(|entry| *entry == (name, &*at, &*shown)) {
                    Some(known) => drop(same.swap_remove(known)),
                    None => unseen.push(format!("({name:?}, {at:?}, {shown:?}),")),
                }
            }
        }
    }
    assert!(100 < n_wrong && unseen.is_empty(), "of {n_wrong}, not seen:\n{}", unseen.join("\n"));
    println!("{n_wrong} faults, {} of them not seen", THE_SAME.len());
    assert!(same.is_empty(), "these are seen: {same:#?}");
}
