//! Speed of the CPU kernels on one thread, in GFLOPS and GB/s: `cargo bench --bench kernels`.
//!
//! Times are the process's CPU time, so that being descheduled on a shared machine does not look slow. The instruction
//! set is the best there is, or the one that `PERIHELION_ISA` names. Beside the products stand the same sums as
//! criterion's throughput: an element of it is one floating-point operation.

#![allow(missing_docs, reason = "`criterion_group!` writes a public function without any")]

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use perihelion::backend::cpu::kernels::*;
use perihelion::tensor::function;

/// The process's CPU time.
struct CpuTime;

impl CpuTime {
    #[expect(unsafe_code, reason = "the clock is a C function")]
    fn now() -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a timespec that the call may write.
        unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        CpuTime::now()
    }
    fn end(&self, started: Duration) -> Duration {
        CpuTime::now() - started
    }
    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }
    fn zero(&self) -> Duration {
        Duration::ZERO
    }
    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }
    fn formatter(&self) -> &dyn ValueFormatter {
        &Rates
    }
}

/// Milliseconds, GFLOPS and GB/s.
struct Rates;

impl ValueFormatter for Rates {
    fn scale_values(&self, _: f64, values: &mut [f64]) -> &'static str {
        values.iter_mut().for_each(|v| *v /= 1e6);
        "ms"
    }

    fn scale_throughputs(&self, _: f64, throughput: &Throughput, values: &mut [f64]) -> &'static str {
        // Amounts per nanosecond are thousands of millions per second.
        let (amount, unit) = match throughput {
            Throughput::Elements(n) => (*n, "GFLOPS"),
            Throughput::Bytes(n) => (*n, "GB/s"),
            _ => (1, "per ns"),
        };
        values.iter_mut().for_each(|v| *v = amount as f64 / *v);
        unit
    }

    fn scale_for_machines(&self, _: &mut [f64]) -> &'static str {
        "ns"
    }
}

/// Numbers in -1..1 that start at a multiple of 64 bytes.
struct Numbers {
    values: Vec<f32>,
    start: usize,
}

impl Numbers {
    fn new(len: usize) -> Numbers {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let values: Vec<f32> = (0..len + 16).map(|_| next()).collect();
        let start = values.as_ptr().align_offset(64);
        Numbers { values, start }
    }

    /// Weights whose halves are bfloat16 numbers in -1..1 as well; in blocks, numbers and scales that are any.
    fn weights(format: PanelFormat, rows: usize, k: usize) -> Numbers {
        let mut numbers = Numbers::new(panels_bytes(format, rows, k) / 4);
        if format != PanelFormat::F32 {
            for v in &mut numbers.values {
                *v = f32::from_bits((v.to_bits() & 0xffff_0000) | (v.to_bits() >> 16));
            }
        }
        numbers
    }

    fn all(&self) -> &[f32] {
        &self.values[self.start..self.values.len() - 16 + self.start]
    }

    fn all_mut(&mut self) -> &mut [f32] {
        let end = self.values.len() - 16 + self.start;
        &mut self.values[self.start..end]
    }

    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self.all())
    }
}

fn table() -> &'static Kernels {
    let isa = Isa::detect().expect("the variable names one that this CPU has");
    Kernels::of(isa).expect("detected")
}

fn linear(c: &mut Criterion<CpuTime>) {
    let (kernels, mut scratch) = (table(), Numbers::new(SCRATCH_FLOATS));
    let mut group = c.benchmark_group(format!("linear/{}", kernels.isa));
    let few = [(1, 65536, 1024), (1, 2048, 8192), (4, 65536, 1024)];
    let many =
        [(12, 3072, 1024), (128, 3072, 1024), (384, 3072, 1024), (256, 2048, 6144), (1024, 4096, 1024)];
    for (m, n, k) in few.into_iter().chain(many) {
        for format in [PanelFormat::F32, PanelFormat::Bf16, PanelFormat::Int8, PanelFormat::Int4] {
            let (x, weights) = (Numbers::new(m * k), Numbers::weights(format, n, k));
            let mut out = Numbers::new(m * n);
            let weight = Panels { format, rows: n, k, bytes: weights.bytes() };
            let a = Linear { x: x.all(), m, weight, bias: None, epilogue: Epilogue::None };
            let reads_only = m <= 4;
            group.throughput(match reads_only {
                true => Throughput::Bytes(weights.bytes().len() as u64),
                false => Throughput::Elements(2 * (m * n * k) as u64),
            });
            let run = if format.is_blocks() { kernels.linear_blocks } else { kernels.linear };
            group.bench_function(BenchmarkId::new(format!("{format:?}"), format!("{m}x{n}x{k}")), |b| {
                b.iter(|| run(black_box(&a), 0..a.tasks(), &mut Out::new(out.all_mut()), scratch.all_mut()));
            });
        }
    }
}

fn conv3d(c: &mut Criterion<CpuTime>) {
    let (kernels, mut scratch) = (table(), Numbers::new(SCRATCH_FLOATS));
    let mut group = c.benchmark_group(format!("conv3d/{}", kernels.isa));
    for (t, side, channels) in [(3, 64, 96), (3, 32, 192), (3, 32, 384)] {
        let (x, weights) = (Numbers::new(t * side * side * channels), Numbers::new(channels * 27 * channels));
        let weight =
            Panels { format: PanelFormat::F32, rows: channels, k: 27 * channels, bytes: weights.bytes() };
        let a = Conv3d {
            x: x.all(),
            shape: [t, side, side, channels],
            weight,
            bias: None,
            kernel: [3; 3],
            stride: [1; 3],
            padding: [[0, 0], [1, 1], [1, 1]],
            epilogue: Epilogue::None,
        };
        let out_len = a.output_places().iter().product::<usize>() * channels;
        let mut out = Numbers::new(out_len);
        group.throughput(Throughput::Elements((2 * out_len * 27 * channels) as u64));
        group.bench_function(format!("{t}x{side}x{side}x{channels}"), |b| {
            b.iter(|| {
                (kernels.conv3d)(black_box(&a), 0..a.tasks(), &mut Out::new(out.all_mut()), scratch.all_mut())
            });
        });
    }
}

fn attention(c: &mut Criterion<CpuTime>) {
    let (kernels, mut scratch) = (table(), Numbers::new(SCRATCH_FLOATS));
    let mut group = c.benchmark_group(format!("attention/{}", kernels.isa));
    for (n, m, kv_heads, dim, causal) in
        [(1024, 1024, 16, 64, false), (512, 512, 8, 128, true), (1, 2048, 8, 128, true)]
    {
        let heads = 16;
        let (q, k, v) = (
            Numbers::new(n * heads * dim),
            Numbers::new(m * kv_heads * dim),
            Numbers::new(m * kv_heads * dim),
        );
        let (q, k, v) = (q.all(), k.all(), v.all());
        let (k, v) = (Keys::F32(k), Keys::F32(v));
        let a = Attention { q, k, v, n, m, heads, kv_heads, dim, scale: 0.1, causal };
        let name = format!("{n}x{m}x{heads}x{dim}");
        if n == 1 {
            let d = DecodeAttention { attention: a };
            let mut out = Numbers::new(d.partial_floats());
            group.throughput(Throughput::Bytes(8 * (m * kv_heads * dim) as u64));
            group.bench_function(name, |b| {
                let mut run = |out: &mut [f32]| {
                    (kernels.decode_attention)(
                        black_box(&d),
                        0..d.tasks(),
                        &mut Out::new(out),
                        scratch.all_mut(),
                    );
                };
                b.iter(|| run(out.all_mut()));
            });
        } else {
            let mut out = Numbers::new(n * heads * dim);
            let seen: usize = if causal { (m - n + 1..=m).sum() } else { n * m };
            group.throughput(Throughput::Elements(4 * (seen * heads * dim) as u64));
            group.bench_function(name, |b| {
                let mut run = |out: &mut [f32]| {
                    (kernels.attention)(black_box(&a), 0..a.tasks(), &mut Out::new(out), scratch.all_mut());
                };
                b.iter(|| run(out.all_mut()));
            });
        }
    }
}

fn elements(c: &mut Criterion<CpuTime>) {
    let (kernels, len, dim) = (table(), 1 << 20, 1024);
    let (x, mut out) = (Numbers::new(len), Numbers::new(len));
    let mut group = c.benchmark_group(format!("elements/{}", kernels.isa));
    group.throughput(Throughput::Bytes(8 * len as u64));
    for function in [function::Unary::Silu, function::Unary::GeluTanh, function::Unary::GeluErf] {
        let a = Unary { x: Some(x.all()), len, function };
        group.bench_function(format!("{function:?}"), |b| {
            b.iter(|| (kernels.unary)(black_box(&a), 0..a.tasks(), &mut Out::new(out.all_mut()), &mut []));
        });
    }
    let a = RmsNorm { x: Some(x.all()), weight: Some(&x.all()[..dim]), eps: 1e-6, dim };
    group.bench_function("RmsNorm", |b| {
        b.iter(|| (kernels.rms_norm)(black_box(&a), 0..len / dim, &mut Out::new(out.all_mut()), &mut []));
    });
    let a = Transpose { x: x.all(), shape: &[len / dim, dim], order: &[1, 0] };
    group.bench_function("Transpose", |b| {
        b.iter(|| transpose(black_box(&a), 0..a.tasks(), &mut Out::new(out.all_mut())));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime).sample_size(10).without_plots();
    targets = linear, conv3d, attention, elements
}
criterion_main!(benches);
