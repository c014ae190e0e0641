//! How fast a network could run on a device, were nothing lost: the roofline of Williams, Waterman & Patterson 2009
//! (<https://doi.org/10.1145/1498765.1498785>).
//!
//! A run takes at least as long as its bytes take through memory, and at least as long as its products take on the tensor cores. It is a
//! bound and no forecast: values between ops are not counted as moved, and nothing of it was measured.

use serde::Serialize;

use crate::board::{Device, Figure, STORAGES, Storage};
use crate::cli::output;
use crate::graph::{Graph, Network, WeightUse, Work};

/// The bound of every graph, in every format that the device has.
#[derive(Debug, Serialize)]
pub(super) struct Roofline {
    /// What these figures are.
    note: &'static str,
    device: Device,
    graphs: Vec<GraphBound>,
}

/// One graph at some extents.
#[derive(Debug, Serialize)]
struct GraphBound {
    graph: String,
    extents: Vec<Extent>,
    matrix_operations: u64,
    weight_elements: u64,
    cache_elements: u64,
    buffer_elements: u64,
    bounds: Vec<Bound>,
}

#[derive(Debug, Serialize)]
struct Extent {
    name: String,
    value: usize,
}

/// A run with all matrices in one format, and everything else in f16.
#[derive(Debug, Serialize)]
struct Bound {
    format: &'static str,
    bytes: f64,
    ms_memory: f64,
    ms_products: f64,
    /// The larger of the two.
    ms_min: f64,
}

const NOTE: &str = "an estimate: a bound that no run can be faster than, from data sheets and counted operations; \
                    nothing of it was measured";
/// What is no matrix is kept in so many bytes: biases, norms, tables of rows, caches, inputs and outputs.
const REST_BYTES: f64 = 2.0;

impl Roofline {
    pub(super) fn of(network: &Network, device: &Device) -> Self {
        // Graphs of one patch serve golden cases only.
        let graphs = network.graphs.iter().filter(|graph| !graph.name.ends_with(".small"));
        let bounds =
            graphs.flat_map(|graph| runs(graph).into_iter().map(|run| bound(network, graph, &run, device)));
        Self { note: NOTE, device: *device, graphs: bounds.collect() }
    }

    pub(super) fn text(&self) -> String {
        let device = &self.device;
        let mut text = format!("{}, {}\n{}\n\n", device.title, device.gpu_architecture, self.note);
        let source = |name: &str, value: String, Figure { source, .. }: Figure| {
            vec![name.to_owned(), value, source.to_owned()]
        };
        let mut rows = vec![
            source(
                "memory",
                format!("{:.0} GiB", device.memory_bytes.value / (1_u64 << 30) as f64),
                device.memory_bytes,
            ),
            source(
                "bandwidth",
                format!("{:.1} GB/s", device.bandwidth_bytes_per_second.value / 1e9),
                device.bandwidth_bytes_per_second,
            ),
        ];
        for peak in device.peaks {
            let tera = peak.per_second.value / 1e12;
            rows.push(source(
                &format!("{} products", peak.format),
                format!("{tera:.1} T/s"),
                peak.per_second,
            ));
        }
        for [name, value, source] in rows.iter().map(|row| [&row[0], &row[1], &row[2]]) {
            text.push_str(&format!("  {name:14}  {value:>10}  {source}\n"));
        }
        text.push_str(
            "\nms of one run at the least, by what matrices are stored as (m: memory bounds it, p: products do)\n",
        );
        let formats = self.graphs.first().map_or(&[][..], |graph| &graph.bounds);
        let mut table = vec![["graph", "Gops", "weights", "caches"].map(str::to_owned).to_vec()];
        table[0].extend(formats.iter().map(|bound| bound.format.to_owned()));
        for graph in &self.graphs {
            let extents: Vec<String> =
                graph.extents.iter().map(|e| format!("{} {}", e.name, e.value)).collect();
            let name = [&[graph.graph.clone()][..], &extents].concat().join(" ");
            let giga = |n: u64| format!("{:.3}", n as f64 / 1e9);
            let mut row = vec![
                name,
                giga(graph.matrix_operations),
                giga(graph.weight_elements),
                output::bytes((graph.cache_elements as f64 * REST_BYTES) as u64),
            ];
            row.extend(graph.bounds.iter().map(|bound| {
                let by = if bound.ms_products < bound.ms_memory { "m" } else { "p" };
                format!("{:.2} {by}", bound.ms_min)
            }));
            table.push(row);
        }
        text.push_str(&output::table(&table));
        text.push_str("\nweights in 10⁹ elements; caches and everything that is no matrix in f16\n");
        text
    }
}

/// The extents to look at: the largest, and where a past grows with every run, also the smallest past.
fn runs(graph: &Graph) -> Vec<Vec<usize>> {
    let largest: Vec<usize> = graph.dims.iter().map(|dim| dim.max).collect();
    let Some(past) = graph.dims.iter().position(|dim| dim.name == "past") else { return vec![largest] };
    let mut first = largest.clone();
    first[past] = graph.dims[past].min;
    vec![first, largest]
}

fn bound(network: &Network, graph: &Graph, extents: &[usize], device: &Device) -> GraphBound {
    let work = graph.work(network, extents);
    let named =
        graph.dims.iter().zip(extents).map(|(dim, value)| Extent { name: dim.name.clone(), value: *value });
    GraphBound {
        graph: graph.name.clone(),
        extents: named.collect(),
        matrix_operations: work.matrix_operations,
        weight_elements: work.weights.iter().map(|w| w.elements).sum(),
        cache_elements: work.cache_elements,
        buffer_elements: work.buffer_elements,
        bounds: STORAGES.iter().filter_map(|storage| in_format(&work, storage, device)).collect(),
    }
}

fn in_format(work: &Work, storage: &Storage, device: &Device) -> Option<Bound> {
    // The two of 16 bits have the same bound.
    let peak = device.peak(storage).filter(|_| storage.name != "bf16")?.value;
    let of_weights = work.weights.iter().map(|weight| match weight.usage {
        WeightUse::Matrix => storage.bytes(weight.elements),
        WeightUse::Table | WeightUse::Elements => weight.elements as f64 * REST_BYTES,
    });
    let moved = work.cache_elements.saturating_add(work.buffer_elements);
    let bytes = of_weights.sum::<f64>() + moved as f64 * REST_BYTES;
    let ms_memory = bytes / device.bandwidth_bytes_per_second.value * 1e3;
    let ms_products = work.matrix_operations as f64 / peak * 1e3;
    Some(Bound { format: storage.name, bytes, ms_memory, ms_products, ms_min: ms_memory.max(ms_products) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{GraphBuilder, Purpose};
    use crate::tensor::DType;

    /// `n` rows through one matrix of 1000 by 1000.
    fn network(n_max: usize) -> Network {
        let mut network = Network::default();
        let x = network.declare_buffer("x", DType::F32, &[n_max, 1000], Purpose::Input);
        let y = network.declare_buffer("y", DType::F32, &[n_max, 1000], Purpose::Output);
        let weight = network.declare_weight("all", "w", DType::Bf16, &[1000, 1000]);
        let mut graph = GraphBuilder::new(&mut network, "main");
        let n = graph.dim("n", 1, n_max, 1);
        let x = graph.read(x, n);
        let out = graph.linear(x, weight, None);
        graph.write(y, out);
        graph.finish();
        network
    }

    #[test]
    fn few_rows_wait_for_memory_and_many_for_products() {
        let device = Device::named("agx-orin").unwrap();
        let one = Roofline::of(&network(1), device);
        let formats: Vec<&str> = one.graphs[0].bounds.iter().map(|bound| bound.format).collect();
        assert_eq!(formats, ["f16", "int8", "int4"], "an Orin has no fp8");
        let f16 = &one.graphs[0].bounds[0];
        assert_eq!(f16.bytes, 2e6 + 2.0 * 2000.0);
        assert!((f16.ms_min - f16.bytes / 204.8e9 * 1e3).abs() < 1e-12);
        let int4 = &one.graphs[0].bounds[2];
        assert_eq!(int4.bytes, 1e6 * 4.125 / 8.0 + 2.0 * 2000.0);
        let many = Roofline::of(&network(10_000), device);
        let f16 = &many.graphs[0].bounds[0];
        assert!((f16.ms_min - 2e10 / 42.5e12 * 1e3).abs() < 1e-12, "{f16:?}");
        assert!(many.text().contains("an estimate") && many.text().contains("0.47 p"), "{}", many.text());
        assert!(one.text().contains("0.01 m"), "{}", one.text());
    }
}
