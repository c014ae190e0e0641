//! The page: tables, plots over the horizon, clips beside what was forecast, mistakes beside what was shown.

use super::{ANSWER_HEADING, HEADING, Measured, SURPRISE_HEADING, answer_rows, forecast_rows, surprise_rows};
use crate::quality::answers::Mistake;
use crate::quality::forecasts::{Example, Forecasts, Horizon, Measures};
use crate::quality::world::World;
use crate::report::{Film, Html, Page, Plot, Series, Tile, bar, element, table};
use crate::scenes::{FPS, SIZE};

pub(super) fn page(world: World, measured: &[Measured]) -> Page {
    let lead = format!(
        "Rendered clips of the world `{}` that our training never draws: forecasts beside what came, answers beside what is true.",
        world.name()
    );
    let mut page = Page::new("How good these engines are", lead);
    tiles(measured, &mut page);
    if measured.iter().any(|of| !of.forecasts.is_empty()) {
        page.section("forecasts", "Forecasts", forecasts(measured));
        page.section("clips", "Clips", clips(measured));
    }
    let surprises = surprise_rows(measured);
    if !surprises.is_empty() {
        let said = "A clip as it went, and once more with something strange planted in it. AUROC is how often one with it surprises \
                    more than one without, over all pairs: 0.5 is chance, 1 is always. By place: of the latent's most surprising place, once what differs is blurred.";
        let table = table(&SURPRISE_HEADING, cells(surprises));
        page.section("surprise", "Surprise", Html::join([element("p", "soft").with(said).into(), table]));
    }
    if measured.iter().any(|of| of.answers.is_some()) {
        page.section("answers", "Answers", answers(measured));
        page.section("mistakes", "Mistakes", mistakes(measured));
    }
    page.section("engines", "Engines", engines(measured));
    page
}

/// The first forecaster's and the first answerer's figures.
fn tiles(measured: &[Measured], page: &mut Page) {
    let mut tile = |name, value: Option<String>, beside: String| {
        if let Some(value) = value {
            page.tile(Tile { value, name, beside });
        }
    };
    let db = |of: Option<f64>| of.map(|v| format!("{v:.1} dB"));
    let percent = |of: Option<f64>| of.map(|v| format!("{:.0} %", 100.0 * v));
    if let Some(answers) = measured.iter().find_map(|of| of.answers.as_ref()) {
        let [right, asked] = answers.tasks.iter().fold([0, 0], |[r, a], t| [r + t.right, a + t.asked]);
        let share = (0 < asked).then(|| right as f64 / asked as f64);
        tile("answers right", percent(share), format!("{right} of {asked}"));
    }
    if let Some(of) = measured.iter().find_map(|of| of.forecasts.first()) {
        let [forecast, held, recalled] = [&of.forecast, &of.held, &of.recalled].map(Horizon::whole);
        let beside = |found: fn(&Measures) -> Option<f64>| {
            let text = |of: &Measures| db(found(of)).unwrap_or_default();
            format!("held still {}, VAE {}", text(&held), text(&recalled))
        };
        tile("PSNR where something moves", db(forecast.psnr_moving_db()), beside(Measures::psnr_moving_db));
        tile("PSNR of all pixels", db(forecast.psnr_db()), beside(Measures::psnr_db));
        let things = forecast.things();
        let off = things.away_px().map_or(String::new(), |px| format!("{px:.1} px off on average"));
        tile("things found", percent(things.found()), off);
        tile("colour kept", percent(things.color_kept()), "of those that are there".to_owned());
    }
}

fn cells(rows: Vec<Vec<String>>) -> Vec<Vec<Html>> {
    rows.into_iter().map(|row| row.iter().map(|cell| Html::from(cell.as_str())).collect()).collect()
}

fn forecasts(measured: &[Measured]) -> Html {
    let mut parts = vec![table(&HEADING, cells(forecast_rows(measured)))];
    for Measured { file, forecasts, .. } in measured {
        for of in forecasts {
            let title = |what: &str| format!("{what}, {file}, steps: {}", of.steps);
            let plots = [
                plot(title("PSNR where something moves"), "dB", of, Measures::psnr_moving_db),
                plot(title("Where things are, off by"), "px", of, |of| of.things().away_px()),
            ];
            parts.push(element("div", "pair").with_all(plots.iter().map(Plot::figure)).into());
        }
    }
    Html::join(parts)
}

fn plot(title: String, unit: &str, of: &Forecasts, value: fn(&Measures) -> Option<f64>) -> Plot {
    let series = |(name, horizon): (&str, &Horizon)| {
        let points = horizon.by_frame().iter().enumerate();
        let points = points.map(|(i, measures)| [(i + 1) as f64, value(measures).unwrap_or(f64::NAN)]);
        Series { name: name.to_owned(), points: points.collect() }
    };
    let all =
        [("forecast", &of.forecast), ("newest frame held", &of.held), ("VAE of what came", &of.recalled)];
    Plot {
        title,
        across: "frames ahead".to_owned(),
        unit: unit.to_owned(),
        series: all.map(series).into(),
        ..Plot::default()
    }
}

fn clips(measured: &[Measured]) -> Html {
    let mut parts: Vec<Html> = vec![
        element("p", "soft")
            .with("From above: what came, what was forecast, and what the VAE makes of what came.")
            .into(),
    ];
    for Measured { file, forecasts, .. } in measured {
        for of in forecasts {
            let heading = format!("{file}, steps: {}", of.steps);
            parts.push(element("h3", "").with(heading.as_str()).into());
            parts.push(element("div", "cards").with_all(of.examples.iter().map(|one| clip(one, of))).into());
        }
    }
    Html::join(parts)
}

fn clip(example: &Example, of: &Forecasts) -> Html {
    let came = &example.truth[of.n_given..];
    let mut rows = element("div", "rows");
    for (name, frames) in
        [("came", came), ("forecast", &example.forecast[..]), ("VAE", &example.recalled[..])]
    {
        let film = Film::new(frames, of.side as u32, of.side as u32, FPS);
        let strip = film.around("div", "").with(film.strip(&format!("{name}, {} frames", frames.len())));
        rows = rows.with(element("span", "name").with(name)).with(strip);
    }
    let head = element("header", "").with(element("h3", "").with(format!("Clip {}", example.index)));
    element("article", "card").with(head).with(rows).into()
}

fn answers(measured: &[Measured]) -> Html {
    let mut parts: Vec<Html> = Vec::new();
    for Measured { file, answers, .. } in measured {
        let Some(answers) = answers else { continue };
        let with_bar = |(row, task): (Vec<String>, &crate::quality::answers::Task)| {
            let mut row: Vec<Html> = row.iter().map(|cell| Html::from(cell.as_str())).collect();
            row.push(bar(Some(task.share)));
            row
        };
        let rows = answer_rows(answers).into_iter().zip(&answers.tasks).map(with_bar).collect();
        let heading: Vec<&str> = ANSWER_HEADING.iter().copied().chain([""]).collect();
        parts.push(element("h3", "").with(format!("{file}, {} clips", answers.n_clips)).into());
        parts.push(table(&heading, rows));
    }
    Html::join(parts)
}

fn mistakes(measured: &[Measured]) -> Html {
    let mut parts: Vec<Html> = Vec::new();
    for Measured { file, answers, .. } in measured {
        let Some(answers) = answers else { continue };
        parts.push(element("h3", "").with(file.as_str()).into());
        if answers.mistakes.is_empty() {
            parts.push(element("p", "soft").with("None.").into());
        }
        parts.push(element("div", "cards").with_all(answers.mistakes.iter().map(mistake)).into());
    }
    Html::join(parts)
}

fn mistake(of: &Mistake) -> Html {
    let film = Film::new(&of.frames, SIZE as u32, SIZE as u32, FPS);
    let said = element("p", "")
        .with(element("strong", "").with(of.answer.as_str()))
        .with(element("span", "soft").with(format!(" where it is: {}", of.asked.truth)));
    let words = format!("clip {}, as it was shown", of.index);
    film.around("article", "card")
        .with(element("header", "").with(element("h3", "").with(of.asked.text.as_str())))
        .with(said)
        .with(film.strip(&words))
        .into()
}

fn engines(measured: &[Measured]) -> Html {
    let row = |of: &Measured| -> Vec<Html> {
        let id = &of.identity;
        [&of.file, &id.checkpoint, &id.backend, &id.precision, &id.engine_sha256]
            .map(|cell| Html::from(cell.as_str()))
            .into()
    };
    table(&["file", "checkpoint", "backend", "precision", "SHA-256"], measured.iter().map(row).collect())
}
