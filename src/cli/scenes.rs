//! `perihelion scenes`: clips of the rendered world, with what happened in them, as pictures and JSON or as a bag.

use std::fs;
use std::io::BufWriter;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::places::{CLIP_FILE, Places};
use super::progress::Progress;
use super::{Context, one_of, output};
use crate::install::{Partial, PartialFolder};
use crate::ros2::messages::{
    Clock, HeaderView, ImageView, Message, ShortString, Time, Twist, Vector3, encode,
};
use crate::ros2::transport::BagWriter;
use crate::scenes::robot::{Body, Clip, ClipOptions, Contact, SPEED_MAX, Split};
use crate::scenes::{FPS, Rng};

/// Render clips of a robot's table: frames, actions, tracks, events, questions with their answers
#[derive(Debug, Args)]
#[command(after_help = "\
A clip is a folder of DIR: 000017/frame_000.png and on, and 000017/clip.json (actions in pixels a frame, tracks, events,
questions). A bag has /camera/image_raw, /cmd_vel (linear.x to the right, linear.y down, 1 is the pusher's greatest speed)
and /clock, one clip after the other with a second between them.

Example:
  perihelion scenes -o clips.mcap --count 100 --split validation")]
pub(crate) struct Options {
    /// A folder that is not there or empty, or a bag (a name that ends with .mcap)
    #[arg(short, long, value_name = "DIR|BAG.mcap")]
    output: PathBuf,
    /// Clips
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    count: u64,
    /// The first clip's number within its split
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..1 << 61))]
    first: u64,
    /// Which seeds: train, validation or held-out
    #[arg(long, value_name = "SPLIT", default_value = "train", value_parser = one_of(Split::ALL, Split::name))]
    split: Split,
    /// Frames of a clip, at 8 a second
    #[arg(long, value_name = "N", default_value_t = 13, value_parser = clap::value_parser!(u64).range(1..=4096))]
    frames: u64,
    /// Width and height of the frames, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 64, value_parser = clap::value_parser!(u64).range(16..=1024))]
    size: u64,
    /// Objects on the table at most
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=6))]
    objects: u64,
    /// Replace the clips that lie in the folder
    #[arg(long)]
    overwrite: bool,
    /// One JSON object about what was written
    #[arg(long)]
    json: bool,
}

impl Options {
    fn clip_options(&self) -> ClipOptions {
        ClipOptions {
            n_frames: self.frames as usize,
            n_objects_max: self.objects as usize,
            ..ClipOptions::default()
        }
    }

    fn is_bag(&self) -> bool {
        self.output.extension().is_some_and(|extension| extension == "mcap")
    }
}

pub(crate) fn run(options: &Options, _context: &Context) -> anyhow::Result<()> {
    let places = Places::new();
    let places = if options.is_bag() {
        places.writes("--output", Some(&options.output), 0)
    } else {
        places.writes_clips("--output", &options.output, options.overwrite)
    };
    places.check()?;
    let progress = Progress::counting("scenes");
    let (mut n_questions, mut n_events) = (0, 0);
    let mut clips = (0..options.count).map(|done| {
        progress.set(done, options.count, "");
        let index = options.first + done;
        let clip = Clip::draw(options.split, index, &options.clip_options());
        let described = describe(&clip, options.split, index);
        n_questions += described["questions"].as_array().map_or(0, Vec::len);
        n_events += clip.events.len();
        (index, clip, described)
    });
    if options.is_bag() {
        write_bag(options, &mut clips)?;
    } else {
        write_folder(options, &mut clips)?;
    }
    drop(progress);
    let place = options.output.display();
    if options.json {
        return output::json(&json!({
            "output": place.to_string(), "split": options.split.name(), "first": options.first, "clips": options.count,
            "frames": options.count * options.frames, "events": n_events, "questions": n_questions,
        }));
    }
    output::text(&format!(
        "{place}: {} clips of {} frames, {n_events} contacts, {n_questions} questions\n",
        options.count, options.frames
    ))
}

type Clips<'a> = dyn Iterator<Item = (u64, Clip, Value)> + 'a;

fn write_folder(options: &Options, clips: &mut Clips<'_>) -> anyhow::Result<()> {
    let place = &options.output;
    let folder = PartialFolder::create(place).with_context(|| place.display().to_string())?;
    let side = options.size as u32;
    let mut rgb = vec![0; options.size as usize * options.size as usize * 3];
    for (index, clip, described) in clips {
        let dir = folder.path().join(format!("{index:06}"));
        let within = |name: &str| format!("{}/{index:06}/{name}", place.display());
        fs::create_dir(&dir).with_context(|| within(""))?;
        for frame in 0..clip.n_frames() {
            clip.render(frame, options.size as usize, &mut rgb);
            let name = format!("frame_{frame:03}.png");
            image::save_buffer(dir.join(&name), &rgb, side, side, image::ExtendedColorType::Rgb8)
                .with_context(|| within(&name))?;
        }
        let text = serde_json::to_vec_pretty(&described)?;
        fs::write(dir.join(CLIP_FILE), text).with_context(|| within(CLIP_FILE))?;
    }
    folder.install().with_context(|| place.display().to_string())
}

/// Nanoseconds between two frames.
const FRAME_NS: i64 = (1e9 / FPS) as i64;
/// When a bag begins: not at zero, which readers take for a stamp that was never set.
const BEGIN_NS: i64 = 1_000_000_000;

fn write_bag(options: &Options, clips: &mut Clips<'_>) -> anyhow::Result<()> {
    let place = options.output.display().to_string();
    let partial = Partial::create(&options.output).with_context(|| place.clone())?;
    let mut bag = BagWriter::begin(BufWriter::new(partial)).with_context(|| place.clone())?;
    let clock = bag.add("/clock", Clock::TYPE)?;
    let image = bag.add("/camera/image_raw", "sensor_msgs/msg/Image")?;
    let action = bag.add("/cmd_vel", Twist::TYPE)?;
    let side = options.size as u32;
    let mut rgb = vec![0; options.size as usize * options.size as usize * 3];
    let mut now_ns = BEGIN_NS;
    for (_, clip, _) in clips {
        for frame in 0..clip.n_frames() {
            let stamp = Time::from_ns(now_ns);
            let time_ns = u64::try_from(now_ns)?;
            bag.write(clock, time_ns, &encode(&Clock { clock: stamp }))?;
            clip.render(frame, options.size as usize, &mut rgb);
            let short = |text| ShortString::new(text).context("a name that is too long");
            bag.write(
                image,
                time_ns,
                &encode(&ImageView {
                    header: HeaderView { stamp, frame_id: short("camera")? },
                    height: side,
                    width: side,
                    encoding: ShortString::new("rgb8").context("a name that is too long")?,
                    is_bigendian: 0,
                    step: 3 * side,
                    data: &rgb,
                }),
            )?;
            let [x, y] = clip.actions.get(frame).copied().unwrap_or_default().map(|v| v / SPEED_MAX);
            let still = Vector3 { x: 0.0, y: 0.0, z: 0.0 };
            bag.write(action, time_ns, &encode(&Twist { linear: Vector3 { x, y, z: 0.0 }, angular: still }))?;
            now_ns += FRAME_NS;
        }
        now_ns += 1_000_000_000 - FRAME_NS;
    }
    bag.finish().with_context(|| place.clone())?;
    let partial = bag.into_inner().into_inner().map_err(|e| e.into_error()).with_context(|| place.clone())?;
    partial.install().with_context(|| place)
}

/// What `clip.json` holds.
fn describe(clip: &Clip, split: Split, index: u64) -> Value {
    let objects = clip.tables[0].objects.iter().enumerate().map(|(i, object)| {
        let track: Vec<_> = clip.tables.iter().map(|table| table.objects[i].position).collect();
        let visible: Vec<_> = (0..clip.n_frames()).map(|frame| clip.visible(frame, i)).collect();
        json!({
            "kind": object.kind.name(), "color": object.color.name(), "half": object.half, "track": track,
            "visible": visible, "next": clip.next[i].map(|body| clip.name_of(body)),
        })
    });
    let pusher: Option<Vec<_>> =
        clip.tables.iter().map(|table| table.pusher.map(|pusher| pusher.position)).collect();
    let events = clip.events.iter().map(|event| {
        let Contact { object, with } = event.contact;
        json!({ "frame": event.frame, "object": clip.name_of(Body::Object(object)), "with": clip.name_of(with) })
    });
    // The order of what is shuffled follows from the clip's number too.
    let questions = clip.questions(&mut Rng::new(index)).into_iter().map(|asked| {
        json!({
            "topic": asked.topic.name(), "texts": asked.texts, "answer": asked.truth,
            "frames": asked.show.frames(clip.n_frames()),
        })
    });
    json!({
        "split": split.name(), "index": index, "fps": FPS, "actions": clip.actions,
        "objects": objects.collect::<Vec<_>>(), "pusher": pusher,
        "panel": clip.last().panel.map(|panel| json!({ "center": panel.center, "half": panel.half })),
        "events": events.collect::<Vec<_>>(), "questions": questions.collect::<Vec<_>>(),
    })
}
