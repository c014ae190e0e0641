//! Buffers in place: inputs are filled where they stand, outputs are viewed there, and nothing is reached beyond them.

use perihelion::backend::cpu::Cpu;
use perihelion::backend::{Elements, OpenOptions, Run, RunError, Session, Stored};
use perihelion::graph::{BufferId, GraphBuilder, GraphId, Network, Op, Purpose, Unary};
use perihelion::tensor::DType;

use crate::case::Held;

/// Rows of two: `x` and `ids` in, `y` out, `kept` between, whose windows begin at even rows.
const X: BufferId = BufferId(0);
const IDS: BufferId = BufferId(1);
const Y: BufferId = BufferId(2);
const KEPT: BufferId = BufferId(3);
const MAIN: GraphId = GraphId(0);

/// `y` becomes `relu(x)`, and so do the rows of `kept` from the run's window on.
fn network() -> Network {
    let mut network = Network::default();
    let mut declare = |name: &str, dtype, purpose| network.declare_buffer(name, dtype, &[4, 2], purpose);
    let x = declare("x", DType::F32, Purpose::Input);
    declare("ids", DType::I32, Purpose::Input);
    let y = declare("y", DType::F32, Purpose::Output);
    let kept = declare("kept", DType::F32, Purpose::Features);
    network.keep_windows(kept, 2);
    let mut graph = GraphBuilder::new(&mut network, "main");
    let value = graph.read(x, 2);
    let value = graph.add(Op::Unary { function: Unary::Relu }, &[value]);
    graph.write(y, value);
    graph.write(kept, value);
    graph.finish();
    network
}

fn session() -> Box<dyn Session> {
    let cpu = Cpu::new().unwrap();
    cpu.prepare(&network(), &Held::default(), &Stored::from(Vec::new()), &OpenOptions { threads: Some(1) })
        .unwrap()
}

#[test]
fn inputs_are_filled_and_outputs_viewed_where_they_stand() {
    let mut session = session();
    session.write(X, 0, Elements::F32(&[9.0; 8])).unwrap();
    session.input(X, 1, 1).unwrap().copy_from_slice(&[-1.0, 2.0]);
    assert_eq!(session.input(X, 0, 2).unwrap(), [9.0, 9.0, -1.0, 2.0], "other rows stay as they are");
    session.input_i32(IDS, 3, 1).unwrap().copy_from_slice(&[5, 6]);
    assert_eq!(session.input_i32(IDS, 2, 2).unwrap(), [0, 0, 5, 6]);
    session.run(MAIN, &Run { windows: &[(Y, 1)], ..Run::default() }).unwrap();
    assert_eq!(session.view(Y, 0, 4).unwrap(), [0.0, 0.0, 9.0, 9.0, 0.0, 2.0, 0.0, 0.0]);
    let mut copied = [0.0; 4];
    session.read(Y, 1, &mut copied).unwrap();
    assert_eq!(session.view(Y, 1, 2).unwrap(), copied);
    assert_eq!(session.view(Y, 4, 0).unwrap(), [0.0; 0]);
}

#[test]
fn rows_and_purposes_that_are_not_there_are_refused() {
    let mut session = session();
    let nowhere = BufferId(9);
    for (row, n_rows, end) in [(0, 5, 5), (4, 1, 5), (usize::MAX, 1, usize::MAX), (1, usize::MAX, usize::MAX)]
    {
        let beyond = |buffer| Some(RunError::Bounds { buffer, row, end });
        assert_eq!(session.input(X, row, n_rows).err(), beyond(X), "{row}, {n_rows}");
        assert_eq!(session.input_i32(IDS, row, n_rows).err(), beyond(IDS), "{row}, {n_rows}");
        assert_eq!(session.view(Y, row, n_rows).err(), beyond(Y), "{row}, {n_rows}");
    }
    assert_eq!(session.input(IDS, 0, 1).err(), Some(RunError::Type(IDS)));
    assert_eq!(session.input_i32(X, 0, 1).err(), Some(RunError::Type(X)));
    for other in [Y, KEPT] {
        assert_eq!(session.input(other, 0, 1).err(), Some(RunError::Purpose(other)));
    }
    for other in [X, KEPT] {
        assert_eq!(session.view(other, 0, 1).err(), Some(RunError::Purpose(other)));
    }
    let run = |extents, windows| Run { extents, windows, ..Run::default() };
    assert_eq!(session.run(MAIN, &run(&[7], &[])), Err(RunError::Extent { index: 0, value: 7 }));
    assert_eq!(session.run(MAIN, &run(&[], &[(nowhere, 0)])), Err(RunError::Type(nowhere)));
    assert_eq!(session.run(GraphId(1), &Run::default()), Err(RunError::Graph(GraphId(1))));
    assert_eq!(session.input(nowhere, 0, 1).err(), Some(RunError::Type(nowhere)));
    assert_eq!(session.view(nowhere, 0, 1).err(), Some(RunError::Type(nowhere)));
}

#[test]
fn windows_begin_where_their_buffer_lets_them() {
    let mut session = session();
    assert_eq!(session.network().buffers[KEPT.index()].window_bytes(), 16);
    let mut run = |row| session.run(MAIN, &Run { windows: &[(KEPT, row)], ..Run::default() });
    assert_eq!((run(0), run(2)), (Ok(()), Ok(())));
    assert_eq!(run(1), Err(RunError::Window { buffer: KEPT, row: 1, step: 2 }));
    assert_eq!(run(4), Err(RunError::Bounds { buffer: KEPT, row: 4, end: 6 }));

    let mut nowhere = network();
    nowhere.keep_windows(KEPT, 0);
    assert!(nowhere.verify().unwrap_err().to_string().contains("`kept`"));
}
