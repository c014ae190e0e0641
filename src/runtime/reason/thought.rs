//! Thought and answer kept apart in a text that comes piece by piece.
//!
//! A model that was asked to think writes `<think>`, its thought, `</think>` and the answer. Whether these are tokens of their own
//! or letters depends on the tokenizer, so they are found in the text; letters that may be the beginning of one are held back until
//! it is certain.

/// What opens a thought.
pub(super) const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Which of the two a piece of text belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Between `<think>` and `</think>`.
    Thought,
    /// What is said.
    Answer,
}

/// Splits a text. White space around a thought belongs to neither part.
#[derive(Debug)]
pub(super) struct Splitter {
    state: State,
    held: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing but white space so far.
    Beginning,
    /// Inside, and whether a letter of it has been given out.
    Thought {
        begun: bool,
    },
    /// After `</think>`, before the first letter of the answer.
    Between,
    Answer,
}

impl Splitter {
    /// With room for the text of a few tokens. `inside` if the prompt itself ends with `<think>`.
    pub(super) fn new(inside: bool) -> Self {
        let state = if inside { State::Thought { begun: false } } else { State::Beginning };
        Self { state, held: String::with_capacity(256) }
    }

    /// Begins a text anew.
    pub(super) fn restart(&mut self, inside: bool) {
        self.held.clear();
        self.state = if inside { State::Thought { begun: false } } else { State::Beginning };
    }

    /// Whether what comes next is thought, as far as is known. White space before it counts to neither.
    pub(super) fn is_in_thought(&self) -> bool {
        matches!(self.state, State::Thought { .. })
    }

    /// Whether the answer has begun.
    pub(super) fn is_in_answer(&self) -> bool {
        self.state == State::Answer
    }

    /// Whether these bytes, if they came next, could still be before the answer: thought, or white space around it.
    pub(super) fn stays_before_answer(&self, next: &[u8]) -> bool {
        match self.state {
            State::Thought { .. } => true,
            State::Between => next.iter().all(u8::is_ascii_whitespace),
            State::Beginning => {
                let text = [self.held.as_bytes(), next].concat();
                let text = text.trim_ascii_start();
                OPEN.as_bytes().starts_with(text) || text.starts_with(OPEN.as_bytes())
            }
            State::Answer => false,
        }
    }

    /// Adds text, and gives out what is certain.
    pub(super) fn push(&mut self, text: &str, mut emit: impl FnMut(Part, &str)) {
        self.held.push_str(text);
        while self.step(&mut emit) {}
    }

    /// Ends the text, and gives out what was held back. White space at the end of a thought is dropped.
    pub(super) fn finish(&mut self, mut emit: impl FnMut(Part, &str)) {
        let rest = match self.state {
            State::Thought { .. } => self.held.trim_end(),
            State::Between => self.held.trim_start(),
            State::Beginning | State::Answer => &self.held,
        };
        if !rest.is_empty() {
            emit(if self.is_in_thought() { Part::Thought } else { Part::Answer }, rest);
        }
        self.held.clear();
    }

    /// Gives out what is certain in this state; whether the state has changed.
    fn step(&mut self, emit: &mut impl FnMut(Part, &str)) -> bool {
        match self.state {
            State::Beginning => {
                let trimmed = self.held.trim_start();
                if let Some(rest) = trimmed.strip_prefix(OPEN) {
                    let n_bytes = self.held.len() - rest.len();
                    self.held.drain(..n_bytes);
                    self.state = State::Thought { begun: false };
                } else if OPEN.starts_with(trimmed) {
                    return false;
                } else {
                    self.state = State::Answer;
                }
                true
            }
            State::Thought { begun } => {
                if !begun {
                    drop_front(&mut self.held, |text| text.trim_start());
                }
                let close = self.held.find(CLOSE);
                let certain = match close {
                    Some(at) => self.held[..at].trim_end().len(),
                    None => {
                        let end = self.held.len() - beginning_of(CLOSE, &self.held);
                        self.held[..end].trim_end().len()
                    }
                };
                if 0 < certain {
                    emit(Part::Thought, &self.held[..certain]);
                }
                match close {
                    Some(at) => {
                        self.held.drain(..at + CLOSE.len());
                        self.state = State::Between;
                    }
                    None => {
                        self.held.drain(..certain);
                        self.state = State::Thought { begun: begun || 0 < certain };
                    }
                }
                close.is_some()
            }
            State::Between => {
                drop_front(&mut self.held, |text| text.trim_start());
                if self.held.is_empty() {
                    return false;
                }
                self.state = State::Answer;
                true
            }
            State::Answer => {
                if !self.held.is_empty() {
                    emit(Part::Answer, &self.held);
                    self.held.clear();
                }
                false
            }
        }
    }
}

fn drop_front(held: &mut String, keep: impl Fn(&str) -> &str) {
    let n_bytes = held.len() - keep(held).len();
    held.drain(..n_bytes);
}

/// How many bytes at the end of `text` are a beginning of `mark`, at most all of it but its last.
fn beginning_of(mark: &str, text: &str) -> usize {
    (1..mark.len()).rev().find(|n| text.ends_with(&mark[..*n])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The thought and the answer of a text that comes in pieces of `n` letters.
    fn split(text: &str, n: usize, inside: bool) -> (String, String) {
        let (mut thought, mut answer) = (String::new(), String::new());
        let mut emit = |part, piece: &str| match part {
            Part::Thought => thought.push_str(piece),
            Part::Answer => answer.push_str(piece),
        };
        let mut splitter = Splitter::new(inside);
        let letters: Vec<char> = text.chars().collect();
        for piece in letters.chunks(n) {
            splitter.push(&piece.iter().collect::<String>(), &mut emit);
        }
        splitter.finish(&mut emit);
        (thought, answer)
    }

    fn check(text: &str, inside: bool, thought: &str, answer: &str) {
        for n in [1, 2, 3, 7, 100] {
            assert_eq!(split(text, n, inside), (thought.into(), answer.into()), "{text:?} in pieces of {n}");
        }
    }

    #[test]
    fn a_thought_ends_where_it_says_and_spaces_around_it_are_dropped() {
        check("<think>\nOne ball, </th at all.\n</think>\n\nleft ", false, "One ball, </th at all.", "left ");
        check("One ball.\n</think>\nleft", true, "One ball.", "left");
        check(" <think></think>é", false, "", "é");
    }

    #[test]
    fn without_a_thought_all_is_answer() {
        check("left", false, "", "left");
        check("\n<b>left</think>", false, "", "\n<b>left</think>");
        check("<thin", false, "", "<thin");
        check("a <think>b</think>", false, "", "a <think>b</think>");
    }

    #[test]
    fn a_thought_that_does_not_end_is_all_thought() {
        check("<think>One ball </thi", false, "One ball </thi", "");
    }

    #[test]
    fn the_first_letter_of_an_answer_is_told_from_what_may_stand_before_it() {
        let mut splitter = Splitter::new(false);
        let mut check = |text: &str, before: &[&str], answer: &[&str]| {
            splitter.push(text, |_, _| {});
            for next in before {
                assert!(splitter.stays_before_answer(next.as_bytes()), "{next:?} after {text:?}");
            }
            for next in answer {
                assert!(!splitter.stays_before_answer(next.as_bytes()), "{next:?} after {text:?}");
            }
        };
        check("", &["\n", "<think>\n", "<", " <th"], &["yes", "<b", "\nno"]);
        check("\n<thi", &["nk>", "nk"], &["s"]);
        check("nk>a", &["yes", "<"], &[]);
        check("</think>", &["\n\n", " "], &["yes", "\nyes"]);
        check("y", &[], &[" "]);
    }

    #[test]
    fn text_is_given_out_as_soon_as_it_is_certain() {
        let mut splitter = Splitter::new(false);
        let mut pieces = Vec::new();
        for text in ["<think>", "One ", "ball", "<", "/x", "</think>", "\n", "up"] {
            splitter.push(text, |part, piece| pieces.push((part, piece.to_owned())));
        }
        let texts: Vec<&str> = pieces.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["One", " ball", "</x", "up"]);
    }
}
