//! Ten thousand hostile images: every one is a counted drop, and the heap is as large afterwards as before.
//!
//! Why a file of its own: the allocator that counts is the process's.
#![expect(unsafe_code, reason = "`GlobalAlloc` is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use perihelion::camera::Decoder;
use perihelion::frames::clock::Clock;
use perihelion::frames::decoding::decode;
use perihelion::ros2::messages::{
    ByteOrder, CompressedImageView, HeaderView, ImageView, ShortString, encode,
};
use perihelion::ros2::names::NodeName;
use perihelion::ros2::node::{Answer, Answerer, Engines, NodeOptions, Outcome, Question, run};
use perihelion::ros2::transport::{ImageTransport, Memory};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

#[global_allocator]
static ALLOCATOR: Counting = Counting;
static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);
static LARGEST_BYTES: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes unchanged to `System`. The default `realloc` and `alloc_zeroed` come through here too.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size(), Relaxed);
        LARGEST_BYTES.fetch_max(layout.size(), Relaxed);
        // SAFETY: our caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Relaxed);
        // SAFETY: our caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(ptr, layout) }
    }
}

const PIXELS_MAX: usize = 10_000;

/// Ends the node also when the thread that plays the camera panics.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Decodes as an engine would, and answers what can be decoded.
struct Decodes(Decoder);

impl Answerer for Decodes {
    fn answer(&mut self, question: &Question<'_>) -> Outcome {
        match decode(&mut self.0, question.frames) {
            Ok(_) => Outcome::Made(Answer::default()),
            Err((frame, error)) => {
                Outcome::Rejected { frame, reason: error.into(), message: error.to_string() }
            }
        }
    }
}

/// An image message in which something is wrong, most of the time.
fn hostile(random: &mut ChaCha8Rng, transport: ImageTransport) -> Vec<u8> {
    let sizes = [0, 1, 2, 3, 63, 64, 640, 65_535, 1 << 16, 0x7fff_ffff, u32::MAX];
    let encodings = [
        "rgb8",
        "bgr8",
        "mono8",
        "rgba8",
        "yuv422",
        "nv12",
        "bayer_rggb8",
        "16UC1",
        "32FC1",
        "",
        "\0",
        "rgb8 ",
        "jpeg",
    ];
    let formats = ["jpeg", "png", "rgb8; jpeg compressed bgr8", "16UC1; compressedDepth", "", "gif"];
    let mut pick = |n: usize| (random.next_u32() as usize) % n;
    let (width, height, step) = (sizes[pick(11)], sizes[pick(11)], sizes[pick(11)]);
    let mut data = vec![0; [0, 1, 100, 12_288, 40_000, 50_000][pick(6)]];
    let (encoding, format) = (encodings[pick(13)], formats[pick(6)]);
    random.fill_bytes(&mut data);
    if transport == ImageTransport::Compressed && 8 < data.len() {
        let magic: &[u8] = if format == "png" { b"\x89PNG\r\n\x1a\n" } else { &[0xff, 0xd8, 0xff, 0xe0] };
        data[..magic.len()].copy_from_slice(magic);
    }
    let (header, is_bigendian) = (HeaderView::default(), random.next_u32() as u8);
    let mut body = match transport {
        ImageTransport::Raw => {
            let encoding = ShortString::new(encoding).expect("short");
            encode(&ImageView { header, height, width, encoding, is_bigendian, step, data: &data })
        }
        ImageTransport::Compressed => {
            let format = ShortString::new(format).expect("short");
            encode(&CompressedImageView { header, format, data: &data })
        }
    };
    // A lie in the lengths of texts and data, or a cut.
    match random.next_u32() % 4 {
        0 => body.truncate(random.next_u32() as usize % (body.len() + 1)),
        1 => {
            let at = random.next_u32() as usize % body.len().min(60);
            body[at] ^= 1 << (random.next_u32() % 8);
        }
        _ => {}
    }
    body
}

#[test]
fn ten_thousand_hostile_images_cost_nothing() {
    let before = LIVE_BYTES.load(Relaxed);
    let held = std::hint::black_box(vec![1u8; 1 << 22]);
    assert!(
        before + (1 << 21) < LIVE_BYTES.load(Relaxed),
        "the counter must count, or the rest proves nothing"
    );
    drop(held);
    for transport in [ImageTransport::Raw, ImageTransport::Compressed] {
        let name = NodeName::new("/", "eye").expect("a name");
        let mut options =
            NodeOptions { max_image_bytes: 45_000, max_pixels: PIXELS_MAX, ..NodeOptions::new(name) };
        options.image_transport = transport;
        let topic = options.image_topics().expect("a topic").remove(0).topic;
        let memory = Memory::new(Arc::new(Clock::system()));
        let stop = AtomicBool::new(false);
        let summary = std::thread::scope(|scope| {
            scope.spawn(|| {
                let _stops = Stops(&stop);
                let mut random = ChaCha8Rng::seed_from_u64(7);
                let mut send = |n: usize| {
                    for _ in 0..n {
                        let body = hostile(&mut random, transport);
                        let order =
                            if random.next_u32() % 8 == 0 { ByteOrder::Big } else { ByteOrder::Little };
                        memory.inject(&topic, transport.ros_type(), &body, order);
                    }
                    memory.published("/diagnostics");
                    memory.published("/eye/answer");
                    memory.published("/eye/answer/json");
                    LIVE_BYTES.load(Relaxed)
                };
                // A first report says that the node listens.
                while memory.published("/diagnostics").is_empty() {
                    std::thread::yield_now();
                }
                // What is claimed once, is claimed by then.
                let before = send(1000);
                LARGEST_BYTES.store(0, Relaxed);
                let after = send(10_000);
                // The thread's own bookkeeping and a report on its way come and go.
                assert!(
                    after < before + 65_536,
                    "{transport:?}: the heap grew from {before} to {after} bytes"
                );
                let largest = LARGEST_BYTES.load(Relaxed);
                assert!(largest <= 1 << 20, "{transport:?}: one allocation of {largest} bytes");
            });
            let mut decodes = Decodes(Decoder::new());
            let report = run(&memory, &options, Engines::answering(&mut decodes), &stop, &mut |_| {});
            report.expect("the node lives").answers.expect("its engine answers")
        });
        assert_eq!(summary.accounts.received, 11_000);
        assert!(summary.accounts.balance() && summary.accounts.in_flight == 0, "{}", summary.accounts);
        assert!(0 < summary.accounts.dropped_total());
        println!("{transport:?}: {}", summary.accounts);
    }
}
