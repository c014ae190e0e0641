//! The scenes that a page shows: each as a film, with the questions about it, the answers and the truth.

use std::sync::Arc;

use crate::demo::scoreboard::Verdict;
use crate::demo::stage::Take;
use crate::quality::boxes::box_in;
use crate::report::{Element, Film, Html, Overlay, element};
use crate::scenes::{FPS, FRAME_BYTES, SIZE};

/// Scenes that a page shows at most; a day of them would be read by nobody.
const SCENES_MAX: usize = 40;

/// The answers about one scene, in the order in which they came.
struct Scene<'a> {
    take: &'a Arc<Take>,
    verdicts: Vec<&'a Verdict>,
}

/// A card for each scene, and before them how many there are of how many.
pub(super) fn cards(log: &[Verdict]) -> Html {
    let scenes = scenes(log);
    let shown = chosen(&scenes);
    let mut said = format!("The {} scene(s) that answers were about.", scenes.len());
    if shown.len() < scenes.len() {
        said = format!(
            "{} of {} scenes: those with a wrong answer first, then the earliest.",
            shown.len(),
            scenes.len()
        );
    }
    said.push_str(" Each plays as the camera showed it; below it are its frames, oldest first.");
    let cards = shown.into_iter().map(|number| card(&scenes[number]));
    Html::join([element("p", "soft").with(said), element("div", "cards").with_all(cards)])
}

fn scenes(log: &[Verdict]) -> Vec<Scene<'_>> {
    let mut scenes: Vec<Scene<'_>> = Vec::new();
    for verdict in log {
        // A course shows its scene once for each question; it is the same take.
        match scenes.iter_mut().rev().take(2).find(|scene| Arc::ptr_eq(scene.take, &verdict.clip.0)) {
            Some(scene) => scene.verdicts.push(verdict),
            None => scenes.push(Scene { take: &verdict.clip.0, verdicts: vec![verdict] }),
        }
    }
    scenes
}

/// Places of the scenes that are shown, in their order.
fn chosen(scenes: &[Scene<'_>]) -> Vec<usize> {
    let is_right = |number: &usize| scenes[*number].verdicts.iter().all(|verdict| verdict.is_right);
    let mut places: Vec<usize> = (0..scenes.len()).collect();
    places.sort_by_key(is_right);
    places.truncate(SCENES_MAX);
    places.sort_unstable();
    places
}

fn card(scene: &Scene<'_>) -> Html {
    let Scene { take, verdicts } = scene;
    let n_frames = take.n_frames();
    let frames: Vec<Vec<u8>> = (0..n_frames)
        .map(|shown| {
            let mut rgb = vec![0; FRAME_BYTES];
            take.render(shown, &mut rgb);
            rgb
        })
        .collect();
    let film = Film::new(&frames, SIZE as u32, SIZE as u32, FPS);
    let n_right = verdicts.iter().filter(|verdict| verdict.is_right).count();
    let way = if take.is_backward() { "shown backward" } else { "shown forward" };
    let number = verdicts.first().map_or(0, |verdict| verdict.scene);
    let head = element("header", "")
        .with(element("h3", "").with(format!("Scene {number}")))
        .with(element("span", "soft small").with(format!("{n_right} of {} right · {way}", verdicts.len())));
    let playing = film.playing(&format!("scene {number}, {way}"));
    let answers = element("ul", "answers").with_all(verdicts.iter().map(|verdict| answer(verdict, &film)));
    film.around("article", "card")
        .with(head)
        .with(element("div", "scene-body").with(playing).with(answers))
        .with(film.strip(&format!("the {n_frames} frames of scene {number}")))
        .into()
}

fn answer(verdict: &Verdict, film: &Film) -> Element {
    let Verdict { task, question, answer, truth, is_right, iou, age_ms, clip: (take, first), .. } = verdict;
    let (class, mark, words) =
        if *is_right { ("mark-right", "✓", "right") } else { ("mark-wrong", "✗", "wrong") };
    let last = first + crate::demo::stage::CLIP_FRAMES;
    let iou = iou.map_or(String::new(), |iou| format!(" · IoU {iou:.2}"));
    let meta =
        format!("{task} · frames {}–{last} of {} · {age_ms:.0} ms old{iou}", first + 1, take.n_frames());
    let said = if answer.is_empty() { "(nothing)" } else { answer };
    let mut words_of_it = element("div", "")
        .with(element("div", "").with(question.as_str()))
        .with(element("div", "said").with(element("bdi", "").with(said)));
    if !is_right || (verdict.iou.is_some() && answer != truth) {
        words_of_it = words_of_it.with(element("div", "truth-text").with(format!("truth: {truth}")));
    }
    let words_of_it = words_of_it.with(element("div", "meta").with(meta));
    let mark = element("span", class).set("title", words).set("aria-label", words).with(mark);
    let item = element("li", "").with(mark);
    match boxes(answer, truth, verdict.iou.is_some()) {
        Some(boxes) => {
            let still = film.still(last - 1, &boxes, "the answer's box and, dashed, the true one");
            item.with(element("div", "with-still").with(words_of_it).with(still))
        }
        None => item.with(words_of_it),
    }
}

fn boxes(answer: &str, truth: &str, is_asked: bool) -> Option<Vec<Overlay>> {
    let overlay = |text, class| box_in(text).map(|corners| Overlay { corners, class });
    is_asked.then(|| overlay(answer, "answer").into_iter().chain(overlay(truth, "truth")).collect())
}
