//! How a table looks: light, texture, a camera that trembles and is noisy; and the frames.

use super::SIDE;
use super::shape::Kind;
use super::table::{Object, Panel, Pusher, Table};
use crate::scenes::Rng;

/// What a camera sees beside what lies on the table. Drawn with a clip; held still over it but for tremble and noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// Red, green, blue of the table, 0..=255.
    pub background: [f64; 3],
    /// How much brighter the table is at the end towards which `light_from` points, as a share of its brightness.
    pub light: f64,
    /// Where the light comes from, of length one.
    pub light_from: [f64; 2],
    /// Levels by which the table's texture differs.
    pub texture: f64,
    /// Pixels between the texture's knots.
    pub texture_scale: f64,
    /// Levels of the camera's noise, one standard deviation.
    pub noise: f64,
    /// Pixels by which a frame may lie off, along each axis.
    pub tremble: f64,
    /// Seeds texture, noise and tremble.
    pub seed: u64,
}

/// Levels of the panel's two stripes, and of the pusher and its ring.
const PANEL: [[f64; 3]; 2] = [[104.0, 88.0, 70.0], [88.0, 74.0, 60.0]];
const PUSHER: [f64; 3] = [36.0, 36.0, 40.0];
const RING: [f64; 3] = [232.0, 232.0, 228.0];
/// Pixels between the panel's stripes.
const STRIPE: f64 = 4.0;
/// Share of the light that a shadow keeps, and where it falls, in pixels away from the light.
const SHADOW: f64 = 0.72;
const SHADOW_LENGTH: f64 = 1.6;

impl Look {
    pub(super) fn draw(rng: &mut Rng) -> Look {
        let shade = rng.uniform(28.0, 72.0);
        // A way of length one without trigonometry: a point of the disc.
        let light_from = loop {
            let p = [rng.uniform(-1.0, 1.0), rng.uniform(-1.0, 1.0)];
            let length = (p[0] * p[0] + p[1] * p[1]).sqrt();
            if (0.2..=1.0).contains(&length) {
                break p.map(|v| v / length);
            }
        };
        Look {
            background: [(); 3].map(|()| shade + rng.uniform(-8.0, 8.0)),
            light: rng.uniform(0.0, 0.25),
            light_from,
            texture: rng.uniform(0.0, 10.0),
            texture_scale: rng.uniform(3.0, 12.0),
            noise: rng.uniform(0.0, 3.0),
            tremble: if rng.chance(0.5) { 0.0 } else { rng.uniform(0.0, 0.4) },
            seed: (rng.unit() * (1u64 << 53) as f64) as u64,
        }
    }

    /// Renders `table` as frame number `frame`, `size` pixels wide and high, packed RGB `[size, size, 3]`.
    ///
    /// # Panics
    /// If `rgb` is not `size * size * 3` bytes long.
    pub fn render(&self, table: &Table, frame: usize, size: usize, rgb: &mut [u8]) {
        assert_eq!(rgb.len(), size * size * 3, "a frame is {size}x{size} pixels of three bytes");
        let scale = SIDE / size as f64;
        let offset = [0, 1].map(|k| self.tremble * (2.0 * self.unit(3, frame as u64, k) - 1.0));
        for (i, pixel) in rgb.chunks_exact_mut(3).enumerate() {
            let at = [i % size, i / size];
            let point = [0, 1].map(|k| (at[k] as f64 + 0.5) * scale + offset[k]);
            let color = self.color(table, point, scale);
            for (k, (byte, value)) in pixel.iter_mut().zip(color).enumerate() {
                *byte = (value + self.noise_at(frame, i * 3 + k)).round_ties_even().clamp(0.0, 255.0) as u8;
            }
        }
    }

    fn color(&self, table: &Table, point: [f64; 2], scale: f64) -> [f64; 3] {
        let mut color = self.background.map(|level| level + self.texture * (self.texture_at(point) - 0.5));
        let shadow_of = |cover: &dyn Fn([f64; 2]) -> f64| {
            cover([0, 1].map(|k| point[k] + SHADOW_LENGTH * self.light_from[k]))
        };
        for object in &table.objects {
            let shadow = shadow_of(&|p| cover(object.kind, object.position, object.half, p, scale));
            color = color.map(|level| level * (1.0 - (1.0 - SHADOW) * shadow));
        }
        for object in &table.objects {
            let inside = cover(object.kind, object.position, object.half, point, scale);
            if 0.0 < inside {
                paint(&mut color, self.object_color(object, point), inside);
            }
        }
        if let Some(pusher) = &table.pusher {
            paint_pusher(&mut color, pusher, point, scale);
        }
        if let Some(panel) = &table.panel {
            paint_panel(&mut color, panel, point, scale);
        }
        let along = (0..2).map(|k| (point[k] - SIDE / 2.0) / SIDE * self.light_from[k]).sum::<f64>();
        color.map(|level| level * (1.0 + self.light * along))
    }

    /// A ball is brightest where the light falls on it; a box has a darker edge.
    fn object_color(&self, object: &Object, point: [f64; 2]) -> [f64; 3] {
        let color = object.color.rgb().map(f64::from);
        let away = [0, 1].map(|k| (point[k] - object.position[k]) / object.half);
        match object.kind {
            Kind::Ball => {
                let off = [0, 1].map(|k| away[k] - 0.4 * self.light_from[k]);
                let far = off[0] * off[0] + off[1] * off[1];
                let highlight = (1.0 - far / 0.09).max(0.0) * 40.0;
                color.map(|level| level * (1.05 - 0.22 * far.min(1.5)) + highlight)
            }
            Kind::Box => {
                let edge = away[0].abs().max(away[1].abs());
                color.map(|level| level * if edge < 0.72 { 1.0 } else { 0.78 })
            }
        }
    }

    /// Smooth noise in 0..1: four knots, faded between.
    fn texture_at(&self, point: [f64; 2]) -> f64 {
        let cell = point.map(|v| (v / self.texture_scale).floor());
        let part = [0, 1].map(|k| fade(point[k] / self.texture_scale - cell[k]));
        let knot = |dx: i64, dy: i64| {
            let [x, y] = [cell[0] as i64 + dx, cell[1] as i64 + dy];
            self.unit(1, x as u64, y as u64)
        };
        let row = |dy| knot(0, dy) * (1.0 - part[0]) + knot(1, dy) * part[0];
        row(0) * (1.0 - part[1]) + row(1) * part[1]
    }

    /// The sum of two uniform numbers is near enough to a camera's noise.
    fn noise_at(&self, frame: usize, place: usize) -> f64 {
        let bits = mixed(self.seed ^ mixed(2 ^ mixed(frame as u64 ^ mixed(place as u64))));
        let halves = (bits >> 32) as f64 + (bits & 0xffff_ffff) as f64;
        (halves / 4_294_967_296.0 - 1.0) * self.noise * 6.0_f64.sqrt()
    }

    fn unit(&self, what: u64, a: u64, b: u64) -> f64 {
        (mixed(self.seed ^ mixed(what ^ mixed(a ^ mixed(b)))) >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn paint_pusher(color: &mut [f64; 3], pusher: &Pusher, point: [f64; 2], scale: f64) {
    let disc = |radius| cover(Kind::Ball, pusher.position, radius, point, scale);
    paint(color, PUSHER, disc(pusher.radius));
    paint(color, RING, disc(pusher.radius * 0.72));
    paint(color, PUSHER, disc(pusher.radius * 0.4));
}

fn paint_panel(color: &mut [f64; 3], panel: &Panel, point: [f64; 2], scale: f64) {
    let [across, down] =
        [0, 1].map(|k| ((panel.half[k] - (point[k] - panel.center[k]).abs()) / scale + 0.5).clamp(0.0, 1.0));
    let stripe = ((point[0] + point[1]) / STRIPE).floor() as i64;
    paint(color, PANEL[stripe.rem_euclid(2) as usize], across * down);
}

/// How much of the pixel at `point` a shape covers, judged by its distance to the edge.
fn cover(kind: Kind, center: [f64; 2], half: f64, point: [f64; 2], scale: f64) -> f64 {
    let away = [0, 1].map(|k| (point[k] - center[k]).abs());
    match kind {
        Kind::Ball => {
            let distance = (away[0] * away[0] + away[1] * away[1]).sqrt();
            ((half - distance) / scale + 0.5).clamp(0.0, 1.0)
        }
        Kind::Box => away.map(|d| ((half - d) / scale + 0.5).clamp(0.0, 1.0)).iter().product(),
    }
}

fn paint(under: &mut [f64; 3], over: [f64; 3], cover: f64) {
    for (u, o) in under.iter_mut().zip(over) {
        *u = *u * (1.0 - cover) + o * cover;
    }
}

fn fade(t: f64) -> f64 {
    t * t * (3.0 - 2.0 * t)
}

/// Every bit of the result depends on every bit given (Steele et al. 2014, <https://doi.org/10.1145/2714064.2660195>).
fn mixed(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
