//! The report as a page: what was asked and answered, how long it took, what was forecast and how surprising what came was.

use super::{LiveForecasts, Report, album};
use crate::demo::sent::Frames;
use crate::demo::{errands, forecast};
use crate::quality::boxes::IOU_MIN;
use crate::report::{Html, Page, Plot, Series, Threshold, Tile, bar, element, table};

impl Report {
    /// The page, as a file.
    pub(in crate::demo) fn page(&self) -> String {
        let mut page = Page::new("Perihelion demo", self.lead());
        if self.is_interrupted {
            page.note("The demo was interrupted: this is what there was until then.");
        }
        if self.answers.scored == 0 {
            page.note(format!("No answer could be judged; {} were heard.", self.answers.heard));
        }
        for tile in self.tiles() {
            page.tile(tile);
        }
        page.section("answers", "Questions and answers", self.answers_section());
        page.section("latency", "How old an answer is", self.latency_section());
        if self.forecast.is_some() || self.live_forecasts.is_some() {
            page.section("surprise", "Surprise", self.surprise_section());
        }
        if let Some(forecast) = &self.forecast {
            page.section("forecasts", "Forecasts beside what came", forecast.films());
        }
        if let Some(robot) = &self.robot {
            page.section("robot", "The robot acts", robot.films());
        }
        page.section("frames", "Where every frame went", self.frames_section());
        page.section("words", "What the words mean", words());
        page.html()
    }

    fn lead(&self) -> String {
        let &Report { seconds, scenes, scenes_backward, .. } = self;
        let how = if self.scenes_asked.is_some() {
            "in simulated time, as fast as they were answered"
        } else {
            "live"
        };
        format!(
            "A rendered camera showed {scenes} scenes in {seconds:.1} s ({scenes_backward} of them backward), {how}, over DDS on this \
             machine. A node with the small trained engines watched it, answered questions and forecast what would come. What \
             is true of each scene is known, and stands beside each answer."
        )
    }

    fn tiles(&self) -> Vec<Tile> {
        let tile =
            |value: Option<String>, name, beside: String| value.map(|value| Tile { value, name, beside });
        let ms = |value: Option<f64>| value.map(|value| format!("{value:.0} ms"));
        let scored = self.answers.scored;
        let right = self.log.iter().filter(|verdict| verdict.is_right).count();
        let share = (0 < scored).then(|| format!("{:.0} %", 100.0 * right as f64 / scored as f64));
        let age = &self.latency.age_ms.summary;
        let first = &self.latency.ttft_ms.summary;
        let at_most =
            |value: Option<f64>| ms(value).map_or(String::new(), |value| format!("median; at most {value}"));
        let forecast = self.forecast.as_ref();
        let [psnr, held, quiet, jump] = forecast.map(forecast::Report::figures).unwrap_or([f64::NAN; 4]);
        let robot = self.robot.as_ref().map(errands::Report::figures);
        let of_forecasts = |text: String| forecast.map(|_| text);
        [
            tile(share, "answers right", format!("{right} of {scored} judged")),
            tile(ms(age.p50).filter(|_| age.max != Some(0.0)), "age of an answer", at_most(age.max)),
            tile(ms(first.p50), "to the first token", at_most(first.max)),
            tile(
                self.boxes.map(|boxes| format!("{:.2}", boxes.mean_iou)),
                "mean IoU of boxes",
                self.boxes
                    .map_or(String::new(), |b| format!("{} of {} at {IOU_MIN} or more", b.right, b.asked)),
            ),
            tile(
                of_forecasts(format!("{psnr:.1} dB")),
                "forecasts, PSNR",
                format!("{held:.1} dB if nothing moved"),
            ),
            tile(
                robot.map(|[starts, arrived, _]| format!("{arrived} of {starts}")),
                "errands done",
                robot.map_or(String::new(), |[.., random]| format!("{random} by plans at random")),
            ),
            tile(
                of_forecasts(format!("{jump:.2}")),
                "surprise at a jump",
                format!("{quiet:.2} at most while none does"),
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn answers_section(&self) -> Html {
        let rows = self.accuracy.iter().map(|(task, tally)| {
            let share = tally["share"].as_f64();
            let percent = share.map_or("–".to_owned(), |share| format!("{:.0} %", 100.0 * share));
            let number = |key: &str| Html::from(tally[key].to_string());
            vec![task.as_str().into(), number("right"), number("asked"), percent.into(), bar(share)]
        });
        let accuracy = table(&["question", "right", "of", "", ""], rows.collect());
        let mut parts = vec![accuracy];
        if let Some(boxes) = self.boxes {
            let said = format!(
                "Boxes: IoU {:.2} on average; {} of {} overlap the true one by half or more, {} are the true one number by number.",
                boxes.mean_iou, boxes.right, boxes.asked, boxes.exact
            );
            parts.push(element("p", "soft").with(said).into());
        }
        parts.push(album::cards(&self.log));
        Html::join(parts)
    }

    fn latency_section(&self) -> Html {
        let begin = self.stamps_s.iter().copied().fold(f64::INFINITY, f64::min);
        let over_time = |values: &[f64]| -> Vec<[f64; 2]> {
            self.stamps_s.iter().zip(values).map(|(stamp, value)| [stamp - begin, *value]).collect()
        };
        let series = |name: &str, values: &[f64]| Series { name: name.to_owned(), points: over_time(values) };
        let latency = &self.latency;
        let mut lines = vec![series("camera to answer", &latency.camera_to_answer_ms.samples)];
        // In simulated time no time passes while the node thinks.
        if latency.age_ms.summary.max != Some(0.0) {
            lines.insert(0, series("age of the newest frame", &latency.age_ms.samples));
        }
        let in_turn = |values: &[f64]| values.iter().enumerate().map(|(i, v)| [(i + 1) as f64, *v]).collect();
        let ages = Plot {
            title: "Age when published".to_owned(),
            across: "stamp of the newest frame, seconds from the first answer's".to_owned(),
            unit: "ms".to_owned(),
            series: lines,
            ..Plot::default()
        };
        let tokens = Plot {
            title: "Time to the first token".to_owned(),
            across: "answers, in their order".to_owned(),
            unit: "ms".to_owned(),
            series: vec![Series { name: "TTFT".to_owned(), points: in_turn(&latency.ttft_ms.samples) }],
            ..Plot::default()
        };
        let rows = self.latency_rows();
        let heading: Vec<&str> = rows[0].iter().map(String::as_str).collect();
        let cells = |row: &Vec<String>| row.iter().map(|cell| cell.as_str().into()).collect();
        Html::join([
            element("div", "pair").with(ages.figure()).with(tokens.figure()).into(),
            table(&heading, rows[1..].iter().map(cells).collect()),
            element("p", "soft small")
                .with(format!(
                    "Percentile p is {}; – where the samples are too few for it.",
                    latency.percentile_rule
                ))
                .into(),
        ])
    }

    fn surprise_section(&self) -> Html {
        let mut plots = Vec::new();
        if let Some(LiveForecasts { surprise, .. }) = &self.live_forecasts {
            let points = surprise.samples.iter().enumerate().map(|(i, v)| [(i + 1) as f64, *v]).collect();
            let plot = Plot {
                title: "Live, in latent space".to_owned(),
                across: "surprises heard, in their order".to_owned(),
                unit: "standard deviations".to_owned(),
                series: vec![Series { name: "the camera's scenes".to_owned(), points }],
                thresholds: vec![Threshold {
                    name: "rare while nothing jumps".to_owned(),
                    value: forecast::THRESHOLD.latent.into(),
                }],
                ..Plot::default()
            };
            plots.push(plot.figure());
        }
        plots.extend(self.forecast.iter().flat_map(forecast::Report::plots));
        let said = "How far what came lies from what was forecast. After the live camera, one scene is followed as it rolls on, and once \
                    more with a ball that suddenly lies elsewhere.";
        Html::join([
            Html::from(element("p", "soft").with(said)),
            element("div", "pair").with_all(plots).into(),
        ])
    }

    fn frames_section(&self) -> Html {
        let live = self.live_forecasts.as_ref().map(|live| ("the engine that forecasts", &live.frames));
        let engines = [("the engine that answers", &self.frames)].into_iter().chain(live);
        let row = |(name, frames): (&str, &Frames)| -> Vec<Html> {
            let Frames { sent, received, answered, clip_members, dropped, in_flight, lost, .. } = frames;
            let figures = [sent, received, answered, clip_members, dropped, in_flight, lost];
            let figures = figures.map(|figure| Html::from(figure.to_string()));
            std::iter::once(Html::from(name)).chain(figures).collect()
        };
        let heading = ["for", "sent", "received", "served", "clip members", "dropped", "in flight", "lost"];
        Html::join([
            table(&heading, engines.map(row).collect()),
            element("p", "soft small")
                .with("received = served + clip members + dropped + in flight; each frame is counted once.")
                .into(),
        ])
    }
}

fn words() -> Html {
    let words = [
        ("age", "from the newest frame's stamp to the publishing of its answer".to_owned()),
        ("camera to answer", "from that frame's arrival to the publishing of its answer".to_owned()),
        ("TTFT, TPOT", "time to the first token; time of each further one, on average over an answer".to_owned()),
        ("right", format!("letter by letter the truth; of a box: IoU of {IOU_MIN} or more with the true one")),
        ("IoU", "intersection over union: what two boxes share, as a part of what they cover together".to_owned()),
        ("PSNR", "how near the pixels of a forecast are to those that came, in decibels; more is nearer".to_owned()),
        (
            "surprise",
            "how far what came lies from the forecast of it: in latent space, in standard deviations, and in pixels, as a share of their range"
                .to_owned(),
        ),
        ("clip member", "a frame that was shown as one of a clip, whose newest frame was answered".to_owned()),
    ];
    let entry = |(word, meaning): (&str, String)| {
        Html::join([element("dt", "").with(word), element("dd", "").with(meaning)])
    };
    element("dl", "").with_all(words.map(entry)).into()
}
