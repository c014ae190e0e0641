//! Parity with `transformers` 5.23, for small random checkpoints that it wrote itself (`tests/reference/reason.py`).
//!
//! The network's pixels, and, by position, its logits; tolerances are stated where they are used.

mod support;

use support::{Case, largest_difference};

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
