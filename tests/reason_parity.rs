//! Parity with `transformers` 5.23, for small random checkpoints that it wrote itself (`tests/reference/reason.py`).
//!
//! From the very files: pixels and grids, prompt and positions, vision features, logits of every position and greedy tokens. The loop
//! that answers questions makes them, once over the reference evaluation and once over an engine built for the CPU. A token may differ only where the reference's own two first
//! choices lie closer than the tolerance; each such tie is named, and the answer goes on from what the reference said.

mod support;

use perihelion::backend::reference::Reference;
use perihelion::backend::{OpenOptions, Session, WeightFormat};
use perihelion::camera::Image;
use perihelion::engine::{BuildOptions, Engine, build};
use perihelion::export::{ReasonOptions, export_reason};
use perihelion::model::Model;
use perihelion::models::reason2::{Limits, PatchPositions, Reason2, Reason2Config};
use perihelion::runtime::Sampling;
use perihelion::runtime::reason::{Picture, Reason, ReasonParts, RecordedPicture, Recording, Request, Shown};
use support::{Case, MediaFile, largest_difference};

/// Half a step of an eight-bit pixel, which in the network's input (mean and deviation 0.5) is 2/255.
const PIXEL_TOLERANCE: f32 = 1.0 / 255.0;

#[test]
fn pixels_and_grids() {
    let mut n_media = 0;
    for case in Case::all() {
        let media = case.media();
        n_media += media.len();
        for (name, is_video, grids) in [
            ("pixel_values", false, &case.image_grid_thw),
            ("pixel_values_videos", true, &case.video_grid_thw),
        ] {
            let of_kind = || media.iter().filter(|m| m.seconds.is_some() == is_video);
            let found_grids: Vec<[usize; 3]> = of_kind().map(|m| [m.grid.t, m.grid.h, m.grid.w]).collect();
            assert_eq!(found_grids, *grids, "{}: {name}", case.name());
            if grids.is_empty() {
                continue;
            }
            let found: Vec<f32> = of_kind().flat_map(|m| m.patches.iter().copied()).collect();
            let expected = case.expected().tensor(name).expect(case.name()).to_f32();
            let (difference, _) = largest_difference(&found, &expected);
            println!("{}: {name} differ by at most {difference:.1e}", case.name());
            assert!(difference <= PIXEL_TOLERANCE, "{}: {name} differ by {difference}", case.name());
        }
    }
    assert!(10 <= n_media, "only {n_media} pictures and videos were compared");
}

/// Of the largest expected value: of a case's vision features, each kind by itself, and of its logits.
const TOLERANCE: f32 = 2e-4;

/// An answer that left the reference where the reference itself had two equal choices.
#[derive(Debug)]
struct Tie {
    case: String,
    position: usize,
    gap: f32,
}

#[test]
fn the_reference_evaluation_equals_transformers() {
    check_all(reference);
}

#[test]
fn a_cpu_engine_equals_transformers() {
    check_all(cpu_engine);
}

/// Asks each case's question of what `open` makes of its checkpoint.
fn check_all(open: fn(&Case) -> Reason) {
    let cases = Case::all();
    assert!(8 <= cases.len(), "only {} cases", cases.len());
    let ties: Vec<Tie> = cases.iter().flat_map(|case| check_case(case, &mut open(case))).collect();
    let n_tokens: usize = cases.iter().map(|case| case.generated.len()).sum();
    println!("{} of {n_tokens} tokens equal, {} left at a tie", n_tokens - ties.len(), ties.len());
    for Tie { case, position, gap } in &ties {
        println!("  {case}, token {position}: the reference's first two lie {gap:.1e} apart");
    }
    assert!(ties.len() * 100 <= n_tokens, "{ties:?}: so many ties are no accident");
}

/// The case's checkpoint, exported, built in f32 and opened.
fn cpu_engine(case: &Case) -> Reason {
    let dir = tempfile::tempdir().expect("a directory");
    let (model_path, engine_path) = (dir.path().join("model"), dir.path().join("engine"));
    export_reason(&case.dir.join("checkpoint"), &ReasonOptions::default(), &model_path, &mut |_| ())
        .expect(case.name());
    let model = Model::open(&model_path).expect(case.name());
    let open = OpenOptions { threads: Some(2) };
    let options = BuildOptions {
        backend: "cpu".to_owned(),
        formats: WeightFormat::F32.into(),
        limits: Vec::new(),
        open,
    };
    build(&model, &options, &engine_path, &mut |_| ()).expect(case.name());
    // The files may go: what is mapped stays.
    let engine = Engine::open(&engine_path).expect(case.name());
    let session = engine.session(&open).expect(case.name());
    Reason::open(&engine, session).expect(case.name())
}

/// The loop over the reference evaluation, so that what a backend gets wrong is told from what the loop does. The checkpoint and its
/// model are leaked: they live as long as the test.
fn reference(case: &Case) -> Reason {
    let checkpoint = case.checkpoint();
    let config = Reason2Config::parse(checkpoint.config()).expect(case.name());
    let tokenizer = checkpoint.file("tokenizer.json").expect(case.name()).expect("every case has one");
    let parts = ReasonParts {
        tokenizer: &tokenizer,
        layout: case.layout().0,
        preprocess: case.rules(),
        patch_positions: PatchPositions {
            merge_size: config.vision.spatial_merge_size,
            table_side: config.vision.position_grid_side,
        },
        default_sampling: Sampling::default(),
        stop_tokens: config.eos_token_ids,
    };
    let limits = Limits { context: 256, image_tokens: 64, frames: 16 };
    let model: &'static Reason2<'static> =
        Box::leak(Box::new(Reason2::new(Box::leak(Box::new(checkpoint)), limits).expect(case.name())));
    let session: Box<dyn Session> = Box::new(Reference::new(&model.network, model));
    Reason::new(session, parts).expect(case.name())
}

fn check_case(case: &Case, reason: &mut Reason) -> Vec<Tie> {
    let expected = case.expected();
    let images = case.pictures();
    let pictures: Vec<Vec<Picture<'_>>> =
        images.iter().map(|frames| frames.iter().map(as_picture).collect()).collect();
    let shown: Vec<Shown<'_>> = (case.media.iter().zip(&pictures))
        .map(|(media, frames)| match media {
            MediaFile::Image { .. } => Shown::Image(frames[0]),
            MediaFile::Video { fps, .. } => Shown::Clip { frames, fps: *fps },
        })
        .collect();
    // The request to think is part of the question here, so that no token is counted as thought.
    let question = format!("{}{}", case.question, case.think_suffix.as_deref().unwrap_or(""));
    let n = case.generated.len();
    let request = Request {
        system: case.system.as_deref(),
        ignore_stop_tokens: true,
        ..Request::new(&shown, &question, n)
    };

    let mut recording = Recording::default();
    let answer = reason.ask(&request, Some(&mut recording), &mut |_, _| ()).expect(case.name());
    assert_eq!(answer.prompt, case.prompt_ids, "{}", case.name());
    check_features(case, &recording.pictures);

    let logits = expected.tensor("logits").expect(case.name()).to_f32();
    let largest = logits.iter().fold(0.0, |m: f32, v| m.max(v.abs()));
    let vocab = logits.len() / n;
    let (mut ties, mut begin, mut tokens) = (Vec::new(), 0, answer.tokens);
    loop {
        let differs = (begin..n).find(|i| tokens[i - begin] != case.generated[*i]);
        // Up to where the tokens part, both have seen the same.
        let end = differs.map_or(n, |i| i + 1);
        let found = &recording.logits[..(end - begin) * vocab];
        close(case, &format!("logits {begin}..{end}"), found, &logits[begin * vocab..end * vocab], largest);
        let Some(position) = differs else { return ties };
        let gap = case.top_two_gaps[position];
        assert!(gap <= TOLERANCE * largest, "{}: token {position} differs, preferred by {gap}", case.name());
        ties.push(Tie { case: case.name().to_owned(), position, gap });
        begin = end;
        if begin == n {
            return ties;
        }
        // On, from what the reference said.
        recording = Recording::default();
        let request = Request { answer_begin: &case.generated[..begin], tokens_max: n - begin, ..request };
        tokens = reason.ask(&request, Some(&mut recording), &mut |_, _| ()).expect(case.name()).tokens;
    }
}

fn check_features(case: &Case, pictures: &[RecordedPicture]) {
    for (kind, is_clip) in [("image", false), ("video", true)] {
        let pictures: Vec<&RecordedPicture> = pictures.iter().filter(|p| p.is_clip == is_clip).collect();
        let n_kinds = pictures.first().map_or(0, |picture| picture.features.len());
        for i in 0..n_kinds {
            let name =
                if i == 0 { format!("{kind}.features") } else { format!("{kind}.deepstack.{}", i - 1) };
            let found: Vec<f32> = pictures.iter().flat_map(|p| p.features[i].iter().copied()).collect();
            let expected = case.expected().tensor(&name).expect(case.name()).to_f32();
            let largest = expected.iter().fold(0.0, |m: f32, v| m.max(v.abs()));
            close(case, &name, &found, &expected, largest);
        }
        let n_expected = case.expected().names().filter(|name| name.starts_with(kind)).count();
        assert_eq!(n_kinds, n_expected, "{}: {kind} features", case.name());
    }
}

#[test]
fn a_difference_that_is_no_number_is_the_largest() {
    let (difference, largest) = largest_difference(&[0.0, f32::NAN, 3.0], &[0.0, 1.0, -2.0]);
    assert!(difference.is_nan());
    assert_eq!(largest, 2.0);
}

/// Fails unless all of `found` lies within [`TOLERANCE`] of `expected`, as a share of `largest`.
fn close(case: &Case, what: &str, found: &[f32], expected: &[f32], largest: f32) {
    let (difference, _) = largest_difference(found, expected);
    println!("{}: {what} differ by at most {:.1e} of the largest", case.name(), difference / largest);
    assert!(
        difference <= TOLERANCE * largest,
        "{}: {what} differ by {difference}, the largest is {largest}",
        case.name()
    );
}

fn as_picture(image: &Image) -> Picture<'_> {
    Picture::new(&image.rgb, image.size())
}
