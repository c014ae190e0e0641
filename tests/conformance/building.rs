//! What a backend builds: how much it says that is, what it refuses, and that a sink that fails is not passed over.

use std::io::{self, Write};

use perihelion::backend::cpu::{Cpu, Isa};
use perihelion::backend::{Backend, OpenOptions, SectionSink, Sections, Stored, Told, WeightFormat};
use perihelion::graph::Weights;

use crate::case::Case;
use crate::networks;

const OPEN: OpenOptions = OpenOptions { threads: Some(1) };

fn case() -> Case {
    let with_weights = |case: &Case| 1 < case.network.weights.len();
    networks::all().into_iter().find(with_weights).expect("networks have weights")
}

fn formats(case: &Case, format: WeightFormat) -> Stored {
    vec![format; case.network.weights.len()].into()
}

fn build(case: &Case, format: WeightFormat, out: &mut dyn SectionSink) -> Result<(u64, Vec<u64>), String> {
    let (cpu, mut told) = (Cpu::with_isa(Isa::Portable), Vec::new());
    let formats = formats(case, format);
    let weights: &dyn Weights = &case.weights;
    let built = cpu.build(&case.network, weights, &formats, out, &mut |what| match what {
        Told::Weights(done) => told.push(done),
        other => panic!("a CPU has no plans: {other:?}"),
    });
    built.map(|n_bytes| (n_bytes, told)).map_err(|why| why.to_string())
}

#[test]
fn as_many_bytes_are_written_as_the_estimate_the_progress_and_the_build_say() {
    let case = case();
    for &format in Cpu::with_isa(Isa::Portable).storing().formats {
        let mut sections = Sections::default();
        let (n_bytes, told) = build(&case, format, &mut sections).unwrap();
        let weights = sections.get("weights").unwrap();
        assert_eq!(weights.bytes().len() as u64, n_bytes);
        assert_eq!(told.last(), Some(&n_bytes));
        assert!(told.is_sorted());
        let cpu = Cpu::with_isa(Isa::Portable);
        assert_eq!(cpu.estimate_bytes(&case.network, &formats(&case, format)), Some(n_bytes));
        let session = cpu.open(case.network.clone(), &formats(&case, format), &sections, &OPEN).unwrap();
        assert_eq!(session.memory().weights_private_bytes, n_bytes);
        assert_eq!(session.memory().weights_mapped_bytes, 0);
    }
}

#[test]
fn sections_of_other_formats_are_refused() {
    let case = case();
    let cpu = Cpu::with_isa(Isa::Portable);
    let mut sections = Sections::default();
    build(&case, WeightFormat::F32, &mut sections).unwrap();
    let refused = |format: WeightFormat, sections: &Sections| {
        let opened = cpu.open(case.network.clone(), &formats(&case, format), sections, &OPEN);
        opened.err().expect("of another format").to_string()
    };
    let other = refused(WeightFormat::Bf16, &sections);
    assert!(other.contains("bytes") && other.contains("build the engine again"), "{other}");
    let unknown = refused(WeightFormat::F16, &sections);
    assert!(unknown.contains("f16") && unknown.contains("f32, bf16, int8 and int4"), "{unknown}");
    let empty = refused(WeightFormat::F32, &Sections::default());
    assert!(empty.contains("`weights`"), "{empty}");
}

#[test]
fn numbers_that_blocks_cannot_hold_are_refused_by_the_name_of_their_weight() {
    for wrong in [f32::NAN, f32::NEG_INFINITY, 1e30] {
        let mut case = case();
        let id = case.spoil_a_matrix(wrong);
        let name = case.network.weights[id.index()].name.clone();
        for format in [WeightFormat::Int8, WeightFormat::Int4] {
            let why = build(&case, format, &mut Sections::default()).unwrap_err();
            assert!(why.contains(&name) && why.contains("bf16 or f32"), "{wrong} as {format}: {why}");
        }
        build(&case, WeightFormat::F32, &mut Sections::default()).unwrap();
    }
}

/// Takes some bytes, then no more.
struct Full {
    left: usize,
}

impl SectionSink for Full {
    fn section(&mut self, _: &str, fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        fill(self)
    }
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_sink_that_is_full_ends_the_build_with_its_reason() {
    let case = case();
    let (n_bytes, _) = build(&case, WeightFormat::F32, &mut Full { left: usize::MAX }).unwrap();
    for left in [0, 1, n_bytes as usize / 2, n_bytes as usize - 1] {
        let why = build(&case, WeightFormat::F32, &mut Full { left }).unwrap_err();
        assert!(why.contains(&io::Error::from(io::ErrorKind::StorageFull).to_string()), "{left}: {why}");
    }
    build(&case, WeightFormat::F32, &mut Full { left: n_bytes as usize }).unwrap();
}
