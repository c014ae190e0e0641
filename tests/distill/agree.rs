//! What a run's state says of a network's weights, against the model that was exported of its checkpoint: every graph.

use perihelion::backend::reference::Reference;
use perihelion::backend::{Elements, Run, Session};
use perihelion::checkpoint::Tensors;
use perihelion::distill::{Interpreter, Tensor};
use perihelion::graph::{BufferId, Purpose};
use perihelion::model::Model;
use perihelion::scenes::Rng;
use perihelion::tensor::DType;

/// Whole numbers that all inputs of them may have.
const WHOLE: usize = 6;

/// Runs every graph by both, with an extent as `extent` says of its name and its largest value; how many outputs were compared.
pub(crate) fn agree(state: &Tensors, model: &Model, extent: impl Fn(&str, usize) -> usize) -> usize {
    // The trainer's side: its own weights, by its own evaluation.
    let network = model.network();
    let weights = network.weights.iter().map(|weight| {
        let values = state.tensor(&format!("{}.mean", weight.name)).unwrap().to_f32();
        Tensor::constant(values, &weight.shape)
    });
    let mut trainer = Interpreter::new(network, weights.collect());
    let mut exported = Reference::new(network, model);
    let mut rng = Rng::new(9);
    for (i, buffer) in network.buffers.iter().enumerate() {
        let id = BufferId(i as u32);
        if buffer.purpose == Purpose::Input && buffer.dtype == DType::I32 {
            let values: Vec<i32> = (0..buffer.len()).map(|_| rng.below(WHOLE) as i32).collect();
            exported.write(id, 0, Elements::I32(&values)).unwrap();
            trainer.write_whole(id, &values, &[&[1], &buffer.shape[..]].concat());
        } else if buffer.purpose == Purpose::Input {
            assert_eq!(buffer.dtype, DType::F32);
            let values: Vec<f32> = (0..buffer.len()).map(|_| rng.uniform(-1.0, 1.0) as f32).collect();
            exported.write(id, 0, Elements::F32(&values)).unwrap();
            trainer.write(id, Tensor::constant(values, &[&[1], &buffer.shape[..]].concat()));
        }
    }
    let mut compared = 0;
    for (i, graph) in network.graphs.iter().enumerate() {
        let extents: Vec<usize> = graph.dims.iter().map(|dim| extent(&dim.name, dim.max)).collect();
        let given = Run { extents: &extents, ..Run::default() };
        let id = perihelion::graph::GraphId(i as u32);
        trainer.run(id, &given).unwrap();
        exported.run(id, &given).unwrap();
        for write in &graph.writes {
            let found = trainer.buffer(write.buffer).unwrap();
            let rows = found.shape()[1];
            let found = found.to_f32();
            let mut expected = vec![0.0; rows * network.buffers[write.buffer.index()].row_len()];
            exported.read(write.buffer, 0, &mut expected).unwrap();
            let largest = expected.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
            let off = found.iter().zip(&expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max);
            let name = &network.buffers[write.buffer.index()].name;
            assert!(off <= 1e-4 * largest, "{}, {name}: {off} of {largest}", graph.name);
            compared += usize::from(0.0 < largest && expected.iter().any(|v| *v != 0.0));
        }
    }
    compared
}
