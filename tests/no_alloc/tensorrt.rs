//! The session of TensorRT engines touches the heap no more than the CPU's: what it asks of a device, it asks without.

use perihelion::backend::tensorrt::{
    Claim, Constant, Device, Failure, Layers, Place, STORING, Space, open_on, write_sections,
};
use perihelion::backend::{BackendError, Sections, Stored, WeightFormat};
use perihelion::engine::Engine;

use super::heap_calls;

/// Copies, and computes nothing: what plans would leave is what was there before.
#[derive(Default)]
struct Idle {
    device: Vec<u64>,
    host: Vec<u64>,
    n_launches: usize,
}

impl Idle {
    fn bytes(&mut self, space: Space) -> &mut [u8] {
        bytemuck::cast_slice_mut(if space == Space::Device { &mut self.device } else { &mut self.host })
    }
}

impl Device for Idle {
    fn load(
        &mut self,
        _: &str,
        _: &[u8],
        _: &Layers,
        _: &[usize],
        _: &[Constant<'_>],
    ) -> Result<usize, BackendError> {
        Ok(0)
    }

    fn claim(&mut self, claim: &Claim) -> Result<(), BackendError> {
        self.device = vec![0; claim.device_bytes.div_ceil(8)];
        self.host = vec![0; claim.host_bytes.div_ceil(8)];
        Ok(())
    }

    fn shares_memory(&self) -> bool {
        false
    }

    fn host(&self) -> &[u8] {
        bytemuck::cast_slice(&self.host)
    }

    fn host_mut(&mut self) -> &mut [u8] {
        self.bytes(Space::Host)
    }

    fn store(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Failure> {
        self.bytes(Space::Device)[offset..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn fetch(&self, offset: usize, out: &mut [u8]) -> Result<(), Failure> {
        out.copy_from_slice(&bytemuck::cast_slice(&self.device)[offset..][..out.len()]);
        Ok(())
    }

    fn copy(&mut self, from: Place, to: Place, n_bytes: usize) -> Result<(), Failure> {
        let (from_range, to_range) = (from.offset..from.offset + n_bytes, to.offset..to.offset + n_bytes);
        let device: &mut [u8] = bytemuck::cast_slice_mut(&mut self.device);
        let host: &mut [u8] = bytemuck::cast_slice_mut(&mut self.host);
        match (from.space, to.space) {
            (Space::Host, Space::Device) => device[to_range].copy_from_slice(&host[from_range]),
            // What a plan would have left: some numbers.
            (Space::Device, Space::Host) => host[to_range].fill(0x3f),
            (Space::Device, Space::Device) => device.copy_within(from_range, to.offset),
            (Space::Host, Space::Host) => unreachable!("nothing moves on the host"),
        }
        Ok(())
    }

    fn bind(&mut self, _: usize, _: usize, _: Place) -> Result<(), Failure> {
        Ok(())
    }

    fn set_rows(&mut self, _: usize, _: usize, _: usize) -> Result<(), Failure> {
        Ok(())
    }

    fn launch(&mut self, _: usize) -> Result<(), Failure> {
        self.n_launches += 1;
        Ok(())
    }

    fn wait(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// The steady state and the refusals of small-reason, and what a narrower type adds: caches that are written and read through it.
pub(super) fn check(engine: &Engine, model: &perihelion::model::Model) {
    let network = engine.network();
    for format in [WeightFormat::F32, WeightFormat::F16, WeightFormat::Int4] {
        let choice = perihelion::backend::FormatChoice::from(format);
        let formats = choice.of_parts(network, &STORING).expect("it has parts");
        let stored = Stored::new(&formats, network, None).expect("of this network");
        let mut sections = Sections::default();
        write_sections(network, model, &stored, &mut |_, _| Ok(vec![0]), &mut sections)
            .expect("it can be lowered");
        let opened = open_on(network.clone(), &stored, &sections, Box::new(Idle::default()));
        let mut session = opened.expect("an idle device lacks nothing");
        super::steady_state(session.as_mut());
        super::refusals(session.as_mut());
        let cache = perihelion::graph::Purpose::Cache;
        let cache = network.buffers.iter().position(|b| b.purpose == cache).expect("Reason has caches");
        let id = perihelion::graph::BufferId(cache as u32);
        let mut rows = vec![0.5; 9 * network.buffers[cache].row_len()];
        let counted = heap_calls(|| {
            session.write(id, 1, perihelion::backend::Elements::F32(&rows)).expect("rows of a cache");
            session.read(id, 1, &mut rows).expect("the same");
        });
        assert_eq!((counted, rows[0]), (0, 0.5), "{format}");
    }
    println!("tensorrt's session, on a device that computes nothing: 0 heap calls in as many runs");
}
