//! What `export` refuses of a Predict checkpoint: texts and sizes that do not fit it, and weights that its network does not use.

use std::path::{Path, PathBuf};

use perihelion::export::{PredictOptions, export_predict};
use perihelion::models::predict25::PredictCheckpoint;
use safetensors::tensor::{SafeTensors, TensorView};

fn case(name: &str) -> PathBuf {
    Path::new("tests/fixtures/predict").join(name)
}

#[test]
fn texts_and_sizes_that_do_not_fit_are_refused_at_export() {
    let out = tempfile::tempdir().expect("a directory");
    let out = out.path().join("a.model");
    let with = |change: fn(&mut PredictOptions)| {
        let mut options = PredictOptions::default();
        change(&mut options);
        export_predict(&case("predict25_one_given/checkpoint"), &options, &out, &mut |_| {})
            .expect_err("refused")
            .to_string()
    };
    #[expect(clippy::type_complexity, reason = "read once, right below")]
    let refused: [(fn(&mut PredictOptions), &str); 7] = [
        (|o| o.height = Some(40), "height: expected a multiple of 16"),
        (|o| o.frames = Some(6), "frames: expected one frame, and then fours"),
        (|o| o.condition_frames = Some(5), "fewer than the clip's 5"),
        (|o| o.frames = Some(101), "the checkpoint has positions for 24"),
        (|o| o.action_names = Some(vec!["x".into()]), "takes no actions"),
        (
            |o| {
                o.texts =
                    vec![("default".into(), case("predict2_one_given/checkpoint/text_embedding.safetensors"))]
            },
            "another checkpoint",
        ),
        (
            |o| {
                o.texts = vec![(
                    "Default".into(),
                    case("predict25_one_given/checkpoint/text_embedding.safetensors"),
                )]
            },
            "lower case",
        ),
    ];
    for (change, expected) in refused {
        let message = with(change);
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        assert!(!out.exists());
    }
    assert!(PredictCheckpoint::open(&case("predict25_one_given")).is_err());
}

#[test]
fn weights_that_nobody_asks_for_are_refused() {
    let out = tempfile::tempdir().expect("a directory");
    // What training leaves beside the weights is known (this fixture has some of it), anything else is another network's.
    for (fixture, part, names, expected) in [
        (
            "predict25_actions_of_each_latent",
            "transformer",
            vec!["net.accum_video", "net.b._extra_state"],
            None,
        ),
        (
            "predict25_one_given",
            "transformer",
            vec!["transformer_blocks.2.attn1.to_q.weight", "img_context_proj.0.weight"],
            Some(
                "2 tensors that this config's network does not have, first `img_context_proj.0.weight`, `transformer_",
            ),
        ),
        ("predict25_one_given", "transformer", vec!["accum_video"], Some("1 tensors")),
        (
            "predict25_one_given",
            "vae",
            vec!["a", "b", "c", "d"],
            Some("4 tensors that this config's network does not have, first `a`, `b`, `c`;"),
        ),
    ] {
        let checkpoint = out.path().join("checkpoint");
        copy(&case(fixture).join("checkpoint"), &checkpoint);
        let file = checkpoint.join(part).join("diffusion_pytorch_model.safetensors");
        add_tensors(&file, &names);
        let model = out.path().join("a.model");
        let result = export_predict(&checkpoint, &PredictOptions::default(), &model, &mut |_| {});
        match (result, expected) {
            (Ok(_), None) => {}
            (Err(error), Some(expected)) => {
                let message = error.to_string();
                let path = file.display().to_string();
                assert!(message.contains(expected) && message.contains(&path), "{message}");
                assert!(!model.exists());
            }
            (result, _) => panic!("{fixture}, {names:?}: {result:?}"),
        }
        std::fs::remove_dir_all(&checkpoint).expect("removed");
        std::fs::remove_file(&model).ok();
    }
}

/// Copies a directory of directories of files.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("there") {
        let (path, to) = entry.map(|e| (e.path(), to.join(e.file_name()))).expect("readable");
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).expect("copied");
        }
    }
}

/// Adds tensors of one number to a safetensors file.
fn add_tensors(file: &Path, names: &[&str]) {
    let bytes = std::fs::read(file).expect("there");
    let stored = SafeTensors::deserialize(&bytes).expect("safetensors");
    let mut tensors = stored.tensors();
    let number = 1f32.to_le_bytes();
    let view = || TensorView::new(safetensors::Dtype::F32, vec![1], &number).expect("one number");
    tensors.extend(names.iter().map(|name| ((*name).to_owned(), view())));
    let changed = safetensors::serialize(tensors, None).expect("sound");
    std::fs::write(file, changed).expect("written");
}
