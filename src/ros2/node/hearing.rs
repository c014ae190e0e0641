//! Says how the images of a topic come over the network, what is lost of them, and how to mend it: each once.

use log::Level;

use super::concerns::say;
use crate::ros2::kernel_limits::{advice, image_bytes_repeated, image_bytes_safe, remedy};
use crate::ros2::transport::{Choice, Reception, Transport, Why};

/// What was said of one image topic.
pub(super) struct Hearing {
    topic: String,
    reception: Option<Reception>,
    told: Option<Choice>,
    told_of_loss: bool,
}

/// So many datagrams are dropped of images that come whole in the end; where none has come after more, none will.
const DATAGRAMS_OF_NOTHING: u64 = 500;

/// A line of the log.
type Line = (Level, String);

impl Hearing {
    pub(super) fn new(topic: String) -> Self {
        Self { topic, reception: None, told: None, told_of_loss: false }
    }

    /// Looks at how the topic comes, and logs what is new.
    pub(super) fn look(&mut self, transport: &dyn Transport) {
        let Some(reception) = transport.reception(&self.topic) else { return };
        say(None, self.lines(&reception));
        self.reception = Some(reception);
    }

    /// Datagrams that the kernel dropped.
    pub(super) fn dropped_datagrams(&self) -> u64 {
        self.reception.map_or(0, |reception| reception.dropped_datagrams)
    }

    /// What diagnostics show of it.
    pub(super) fn figures(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.reception.into_iter().flat_map(|reception| {
            let buffer = reception.buffer_bytes.map(|bytes| ("receive_buffer_bytes", bytes.to_string()));
            [("image_reliability", reception.choice.name().to_owned())].into_iter().chain(buffer)
        })
    }

    fn lines(&mut self, reception: &Reception) -> Vec<Line> {
        let mut lines = Vec::new();
        if self.told != Some(reception.choice) {
            self.told = Some(reception.choice);
            // What is lost now is lost in another way.
            self.told_of_loss = false;
            lines.extend(self.of_choice(reception));
        }
        if !self.told_of_loss
            && let Some(line) = self.of_loss(reception)
        {
            self.told_of_loss = true;
            lines.push(line);
        }
        lines
    }

    fn of_choice(&self, reception: &Reception) -> Option<Line> {
        let (topic, remedy) = (&self.topic, remedy());
        let buffer_bytes = reception.buffer_bytes.unwrap_or(0);
        let safe_kb = image_bytes_safe(buffer_bytes) / 1000;
        Some(match reception.choice.why {
            Why::LargeBuffer => return None,
            Why::Told if reception.choice.is_reliable => {
                (Level::Info, format!("{topic} is read reliably, as it was told to be"))
            }
            Why::Told | Why::NobodyYet => {
                (Level::Warn, format!("{}; to mend it: {remedy}", advice(buffer_bytes)?))
            }
            Why::SmallBuffer => (
                Level::Info,
                format!(
                    "{topic} is read reliably: the receive buffer of {buffer_bytes} bytes does not hold images over about \
                 {safe_kb} kB, and what is lost of them is sent again; a larger one would make them come sooner: {remedy}"
                ),
            ),
            Why::NothingRepeated => (
                Level::Warn,
                format!(
                    "{topic} is published best effort, and the receive buffer of {buffer_bytes} bytes does not hold images \
                 over about {safe_kb} kB, which are lost; to mend it: {remedy}, or let the camera publish reliably"
                ),
            ),
            Why::Unheard => (
                Level::Warn,
                format!(
                    "a publisher of {topic} is best effort and is not heard, since only reliable ones were asked for"
                ),
            ),
        })
    }

    fn of_loss(&self, reception: &Reception) -> Option<Line> {
        let Reception { choice, buffer_bytes, dropped_datagrams, image_bytes_max } = *reception;
        let (topic, buffer_bytes, remedy) = (&self.topic, buffer_bytes?, remedy());
        if choice.is_reliable {
            let carried = image_bytes_repeated(buffer_bytes);
            let what = if carried < image_bytes_max {
                format!("{topic} has images of {image_bytes_max} bytes")
            } else if image_bytes_max == 0 && DATAGRAMS_OF_NOTHING < dropped_datagrams {
                format!(
                    "no image of {topic} has come whole, and the kernel has dropped {dropped_datagrams} datagrams"
                )
            } else {
                return None;
            };
            return Some((
                Level::Warn,
                format!(
                    "{what}: also where what is lost is sent again, a receive buffer of {buffer_bytes} bytes carries images \
                     up to about {} kB, and larger ones are late or lost; to mend it: {remedy}",
                    carried / 1000
                ),
            ));
        }
        if reception.loses(image_bytes_max) {
            return Some((
                Level::Warn,
                format!(
                    "{topic} has images of {image_bytes_max} bytes, which the receive buffer of {buffer_bytes} bytes does not \
                 hold: some are lost; to mend it: {remedy}"
                ),
            ));
        }
        (0 < dropped_datagrams).then(|| {
            (Level::Warn, format!(
                "the kernel has dropped {dropped_datagrams} datagrams, since the receive buffer of {buffer_bytes} bytes \
                 was full: images of {topic} are lost; to mend it: {remedy}"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reception(is_reliable: bool, why: Why, buffer_bytes: u64) -> Reception {
        let choice = Choice { is_reliable, why };
        Reception { choice, buffer_bytes: Some(buffer_bytes), dropped_datagrams: 0, image_bytes_max: 0 }
    }

    #[test]
    fn what_is_lost_is_said_once_and_of_the_topic() {
        let mut hearing = Hearing::new("/cam/image/compressed".to_owned());
        let stock = reception(false, Why::NobodyYet, 212_992);
        let said = |lines: Vec<Line>| match &lines[..] {
            [] => String::new(),
            [(_, text)] => text.clone(),
            _ => panic!("{lines:?}"),
        };
        let first = said(hearing.lines(&stock));
        assert!(
            first.contains("191 kB") && first.contains("rmem_max") && first.contains("setcap"),
            "{first}"
        );
        assert_eq!(hearing.lines(&stock), []);
        let lost = Reception { dropped_datagrams: 3, ..stock };
        let text = said(hearing.lines(&lost));
        assert!(text.contains("/cam/image/compressed") && text.contains("dropped 3"), "{text}");
        assert_eq!(hearing.lines(&Reception { dropped_datagrams: 900, ..stock }), []);
        let reliable = said(hearing.lines(&reception(true, Why::SmallBuffer, 212_992)));
        assert!(reliable.starts_with("/cam/image/compressed is read reliably"), "{reliable}");
    }

    #[test]
    fn the_first_image_that_does_not_fit_is_enough() {
        let mut hearing = Hearing::new("/image".to_owned());
        let stock = reception(false, Why::NothingRepeated, 212_992);
        assert_eq!(hearing.lines(&stock).len(), 1);
        let lines = hearing.lines(&Reception { image_bytes_max: 230_000, ..stock });
        let [(Level::Warn, text)] = &lines[..] else { panic!("{lines:?}") };
        assert!(text.contains("/image has images of 230000 bytes"), "{text}");
    }

    #[test]
    fn images_that_asking_again_does_not_save_are_named() {
        let small = reception(true, Why::SmallBuffer, 212_992);
        let said = |news: Reception| {
            let mut hearing = Hearing::new("/image".to_owned());
            assert_eq!(hearing.lines(&small).len(), 1);
            let lines = hearing.lines(&news);
            let [(Level::Warn, text)] = &lines[..] else { panic!("{lines:?}") };
            assert_eq!(hearing.lines(&news), []);
            text.clone()
        };
        let text = said(Reception { image_bytes_max: 2_764_800, dropped_datagrams: 1000, ..small });
        assert!(text.contains("/image has images of 2764800 bytes") && text.contains("1277 kB"), "{text}");
        assert!(text.contains("rmem_max"), "{text}");
        let text = said(Reception { dropped_datagrams: 1000, ..small });
        assert!(
            text.contains("no image of /image has come whole") && text.contains("dropped 1000"),
            "{text}"
        );
    }

    #[test]
    fn where_nothing_is_lost_nothing_is_said() {
        let mut hearing = Hearing::new("/image".to_owned());
        let large = reception(false, Why::LargeBuffer, 8 << 20);
        assert_eq!(hearing.lines(&Reception { image_bytes_max: 6 << 20, ..large }), []);
        let mut hearing = Hearing::new("/image".to_owned());
        let small = reception(true, Why::SmallBuffer, 212_992);
        assert_eq!(hearing.lines(&small).len(), 1);
        // VGA: what is dropped of it comes again.
        let lossy = Reception { image_bytes_max: 921_000, dropped_datagrams: 1000, ..small };
        assert_eq!(hearing.lines(&lossy), []);
    }
}
