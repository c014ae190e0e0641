//! What goes into a graph and comes out of it: rows of buffers, by name.
//!
//! ONNX has no memory that outlives a run. So a run's windows become the caller's: it passes the rows of a buffer from the window on,
//! and puts what comes out where the run would have written it. A key or value cache goes in as the rows that it holds, and the rows
//! of the new tokens come out, to be put behind them. Whoever keeps a cache in one piece passes its beginning, and takes the new rows
//! right behind it: nothing is copied.

use crate::graph::{BufferId, Dim, Graph, Network, Op, Purpose, Symbol, ValueId};
use crate::tensor::DType;

/// Where in their buffer the rows of a port begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// At its first row.
    First,
    /// At the run's window.
    Window,
    /// At the row that the extent counts.
    At(Symbol),
}

/// An input or an output of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name in the ONNX graph, no other port's: the buffer's, and `present.BUFFER` for what is put back into a cache. Where that is
    /// taken, as by another port of the buffer, it has a number behind it.
    pub name: String,
    /// Whose rows they are.
    pub buffer: BufferId,
    /// Where they begin.
    pub begins: Begins,
    /// Extents, rows first.
    pub shape: Vec<Dim>,
    /// [`DType::F32`] or [`DType::I32`].
    pub dtype: DType,
    /// Of an input the node that takes it, the first if several do; of an output the value that it is.
    pub value: ValueId,
}

/// Everything that goes into a graph and comes out of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// In the order in which nodes ask for them.
    pub inputs: Vec<Port>,
    /// What caches are appended, then what is written.
    pub outputs: Vec<Port>,
}

impl Interface {
    /// Of a graph of a verified network.
    pub fn of(network: &Network, graph: &Graph) -> Self {
        let mut interface = Self::default();
        for (i, node) in graph.nodes.iter().enumerate() {
            let value = ValueId(i as u32);
            match &node.op {
                Op::Read { buffer } => {
                    interface.take(network, *buffer, Begins::Window, node.shape.clone(), value);
                }
                Op::CachedAttention { key_cache, value_cache, past, .. } => {
                    for (cache, new) in [(key_cache, node.inputs[1]), (value_cache, node.inputs[2])] {
                        let shape = &graph.nodes[new.index()].shape;
                        let held = std::iter::once(Dim::of(*past)).chain(shape[1..].iter().copied());
                        interface.take(network, *cache, Begins::First, held.collect(), value);
                        interface.give(network, *cache, Begins::At(*past), shape.clone(), new);
                    }
                }
                _ => {}
            }
        }
        for write in &graph.writes {
            let shape = graph.nodes[write.value.index()].shape.clone();
            interface.give(network, write.buffer, Begins::Window, shape, write.value);
        }
        interface
    }

    /// The input of these rows.
    ///
    /// # Panics
    /// If no node of the graph reads such.
    pub(super) fn input(&self, buffer: BufferId, begins: Begins, shape: &[Dim]) -> &Port {
        let is_it = |port: &&Port| (port.buffer, port.begins, &port.shape[..]) == (buffer, begins, shape);
        self.inputs.iter().find(is_it).expect("every read has a port")
    }

    fn take(&mut self, network: &Network, buffer: BufferId, begins: Begins, shape: Vec<Dim>, value: ValueId) {
        let mut of_buffer = self.inputs.iter().filter(|port| port.buffer == buffer);
        if of_buffer.any(|port| (port.begins, &port.shape) == (begins, &shape)) {
            return;
        }
        let declared = &network.buffers[buffer.index()];
        let name = self.free(&declared.name);
        self.inputs.push(Port { name, buffer, begins, shape, dtype: declared.dtype, value });
    }

    fn give(&mut self, network: &Network, buffer: BufferId, begins: Begins, shape: Vec<Dim>, value: ValueId) {
        let declared = &network.buffers[buffer.index()];
        let also_read = self.inputs.iter().any(|port| port.buffer == buffer);
        let name = match declared.purpose == Purpose::Cache || also_read {
            true => self.free(&format!("present.{}", declared.name)),
            false => self.free(&declared.name),
        };
        self.outputs.push(Port { name, buffer, begins, shape, dtype: declared.dtype, value });
    }

    /// The name, or with a number behind it if another port has it: what buffers are called is free.
    fn free(&self, name: &str) -> String {
        let is_free = |name: &String| self.inputs.iter().chain(&self.outputs).all(|port| port.name != *name);
        let numbered = (2..).map(|n| format!("{name}.{n}"));
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        names.find(is_free).expect("there are enough numbers")
    }
}

#[cfg(test)]
#[test]
fn buffers_with_the_names_of_other_ports_have_ports_of_their_own() {
    let mut network = Network::default();
    let mut declare = |name: &str, purpose| network.declare_buffer(name, DType::F32, &[4, 2], purpose);
    let [a, second, present] =
        [("a", Purpose::Cache), ("a.2", Purpose::Input), ("present.a", Purpose::Input)]
            .map(|(n, p)| declare(n, p));
    let mut graph = crate::graph::GraphBuilder::new(&mut network, "main");
    let reads = [(a, 1), (a, 2), (second, 1), (present, 1)].map(|(id, rows)| graph.read(id, rows));
    graph.write(a, reads[0]);
    graph.finish();
    let interface = Interface::of(&network, &network.graphs[0]);
    let names: Vec<&str> = interface.inputs.iter().chain(&interface.outputs).map(|p| &*p.name).collect();
    assert_eq!(names, ["a", "a.2", "a.2.2", "present.a", "present.a.2"]);
}
