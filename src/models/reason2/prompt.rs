//! The prompt: a question, its media and what the checkpoint's chat template puts around them become ids and positions.
//!
//! A [`PromptLayout`] is the chat template reduced to pieces of text, made once at export; here it is only filled in. Media come
//! before the question, the standing system text before both, so that what stays the same between questions comes first.
//! Positions are those of Qwen3-VL: text counts on in all three axes at once; the tokens of a picture share one time and spread over
//! rows and columns; what follows goes on after the larger of the two. Each group of frames of a video is a picture of its own, with
//! its time written before it. Media that have names are introduced by them, as the text parts of a conversation stand between its media.

use serde::{Deserialize, Serialize};

use super::{Tokenizer, TokenizerError};

/// The longest text that is taken from outside. More would not fit any context, and must not keep the tokenizer busy.
const TEXT_BYTES_MAX: usize = 256 << 10;
/// More visual tokens than any context holds.
const VISUAL_TOKENS_MAX: usize = 1 << 20;

/// What stands before and after a medium or the system text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurroundingText {
    /// Text before.
    pub before: String,
    /// Text after.
    pub after: String,
}

/// A chat template in pieces; control tokens stand in the texts by name.
///
/// With a system text a prompt is `system.before`, the text, `system.after`, else `opening`; then the media, each between its texts;
/// the question; `closing`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptLayout {
    /// From the beginning to the media, without a system text (but with the one that the template may set itself).
    pub opening: String,
    /// Around the system text.
    pub system: SurroundingText,
    /// Around the visual tokens of an image.
    pub image: SurroundingText,
    /// Around all groups of frames of a video.
    pub video: SurroundingText,
    /// Before a group of frames: its time in seconds, with one decimal, stands between the two.
    pub group_time: SurroundingText,
    /// After the visual tokens of a group of frames.
    pub group_after: String,
    /// From the end of the question to where the answer begins.
    pub closing: String,
    /// Added to a question that should be thought about.
    pub think_suffix: Option<String>,
    /// The id of each visual token of an image.
    pub image_token_id: u32,
    /// The id of each visual token of a video.
    pub video_token_id: u32,
    /// Side of the square of patches that is one visual token.
    pub spatial_merge_size: usize,
}

/// A picture or video as the prompt sees it: `grid` is rows and columns of patches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Media<'a> {
    /// One image.
    Image {
        /// Rows and columns of patches, multiples of the merge size.
        grid: [usize; 2],
    },
    /// Frames in groups (pairs), each with its time.
    Video {
        /// Rows and columns of patches of one group, multiples of the merge size.
        grid: [usize; 2],
        /// The time of each group, seconds from the clip's beginning, as in `camera::VideoLayout`.
        seconds: &'a [f64],
    },
}

/// What is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Question<'a> {
    /// The standing instruction.
    pub system: Option<&'a str>,
    /// What the question is about, in order.
    pub media: &'a [Media<'a>],
    /// What each of them is called, said before it; empty where they have no names.
    pub captions: &'a [&'a str],
    /// The question.
    pub text: &'a str,
    /// Whether to ask for thought first.
    pub think: bool,
}

/// Where visual features go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VisualSpan {
    /// Index of the first token.
    pub start: usize,
    /// Number of tokens.
    pub len: usize,
    /// Index of the medium.
    pub media: usize,
    /// Index of the group of frames within it; 0 for an image.
    pub group: usize,
}

/// A prompt ready to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// Token ids.
    pub ids: Vec<u32>,
    /// For each token its position in time, height and width.
    pub positions: Vec<[i32; 3]>,
    /// The visual tokens, in order.
    pub visual: Vec<VisualSpan>,
    /// The position, in all three axes, of the first token after the prompt.
    pub next_position: i32,
}

/// Why a question cannot be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PromptError {
    /// A text is longer than is taken.
    #[error("the {what} has {bytes} bytes; the most is {TEXT_BYTES_MAX}")]
    TextTooLong {
        /// Which text.
        what: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// A medium's grid does not make whole visual tokens, or makes too many.
    #[error(
        "medium {index}: a grid of {grid:?} patches; expected positive multiples of {merge}, and fewer tokens in all"
    )]
    Grid {
        /// Which medium.
        index: usize,
        /// Its rows and columns of patches.
        grid: [usize; 2],
        /// The merge size.
        merge: usize,
    },
    /// A video without times, or with times that are no numbers.
    #[error(
        "medium {index}: a video needs a finite time, in seconds, for each of its one or more groups of frames"
    )]
    Times {
        /// Which medium.
        index: usize,
    },
    /// Thought is asked for, and the layout does not say how.
    #[error("this model was exported without a request to think; export it with --think-suffix TEXT")]
    NoThinkSuffix,
    /// The tokenizer refused a text.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

impl PromptLayout {
    /// Puts the question and its media where the template has them.
    ///
    /// # Errors
    /// If a text is too long, or a medium has no possible grid or times.
    pub fn assemble(&self, tokenizer: &Tokenizer, question: &Question<'_>) -> Result<Prompt, PromptError> {
        let think_suffix = match (question.think, &self.think_suffix) {
            (true, None) => return Err(PromptError::NoThinkSuffix),
            (true, Some(suffix)) => suffix,
            (false, _) => "",
        };
        let texts = [("system text", question.system.unwrap_or("")), ("question", question.text)];
        for (what, text) in texts.into_iter().chain(question.captions.iter().map(|text| ("caption", *text))) {
            if TEXT_BYTES_MAX < text.len() {
                return Err(PromptError::TextTooLong { what, bytes: text.len() });
            }
        }
        let mut writer = Writer { tokenizer, prompt: Prompt::default(), pending: String::new() };
        match question.system {
            Some(system) => {
                writer.template(&self.system.before)?;
                writer.pending.push_str(system);
                writer.template(&self.system.after)?;
            }
            None => writer.template(&self.opening)?,
        }
        for (index, media) in question.media.iter().enumerate() {
            if let Some(caption) = question.captions.get(index) {
                writer.pending.push_str(caption);
                writer.pending.push_str(": ");
            }
            self.write_media(&mut writer, index, media)?;
        }
        writer.pending.push_str(question.text);
        writer.template(think_suffix)?;
        writer.template(&self.closing)?;
        writer.flush()?;
        Ok(writer.prompt)
    }

    fn write_media(
        &self,
        writer: &mut Writer<'_>,
        index: usize,
        media: &Media<'_>,
    ) -> Result<(), PromptError> {
        let (Media::Image { grid } | Media::Video { grid, .. }) = *media;
        let rows_columns = self.tokens_of(grid, writer.prompt.ids.len());
        let [rows, columns] =
            rows_columns.ok_or(PromptError::Grid { index, grid, merge: self.spatial_merge_size })?;
        match *media {
            Media::Image { .. } => {
                writer.template(&self.image.before)?;
                writer.visual(self.image_token_id, [rows, columns], index, 0)?;
                writer.template(&self.image.after)
            }
            Media::Video { seconds, .. } => {
                if seconds.is_empty() || seconds.iter().any(|s| !s.is_finite()) {
                    return Err(PromptError::Times { index });
                }
                writer.template(&self.video.before)?;
                for (group, seconds) in seconds.iter().enumerate() {
                    if VISUAL_TOKENS_MAX < writer.prompt.ids.len() {
                        return Err(PromptError::Grid { index, grid, merge: self.spatial_merge_size });
                    }
                    writer.template(&self.group_time.before)?;
                    writer.pending.push_str(&format!("{seconds:.1}"));
                    writer.template(&self.group_time.after)?;
                    writer.visual(self.video_token_id, [rows, columns], index, group)?;
                    writer.template(&self.group_after)?;
                }
                writer.template(&self.video.after)
            }
        }
    }

    /// Rows and columns of visual tokens; `None` if the grid has none or, after `n_before` tokens, too many.
    fn tokens_of(&self, grid: [usize; 2], n_before: usize) -> Option<[usize; 2]> {
        let merge = self.spatial_merge_size;
        let whole = grid.iter().all(|n| 0 < *n && n.is_multiple_of(merge));
        let [rows, columns] = whole.then(|| grid.map(|n| n / merge))?;
        let n_tokens = rows.checked_mul(columns)?.checked_add(n_before)?;
        (n_tokens <= VISUAL_TOKENS_MAX).then_some([rows, columns])
    }
}

/// A prompt being written. Text gathers until a control or visual token ends it, since neighbouring texts are encoded as one.
struct Writer<'a> {
    tokenizer: &'a Tokenizer,
    prompt: Prompt,
    pending: String,
}

impl Writer<'_> {
    /// Adds text of the layout, in which control tokens are meant.
    fn template(&mut self, text: &str) -> Result<(), PromptError> {
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            if let Some((n_bytes, id)) = self.tokenizer.control_token(rest) {
                self.flush()?;
                self.push_text_id(id);
                rest = &rest[n_bytes..];
            } else {
                self.pending.push(letter);
                rest = &rest[letter.len_utf8()..];
            }
        }
        Ok(())
    }

    /// Encodes the text that has gathered.
    fn flush(&mut self) -> Result<(), PromptError> {
        for id in self.tokenizer.encode(&self.pending)? {
            self.push_text_id(id);
        }
        self.pending.clear();
        Ok(())
    }

    fn push_text_id(&mut self, id: u32) {
        let prompt = &mut self.prompt;
        prompt.ids.push(id);
        prompt.positions.push([prompt.next_position; 3]);
        prompt.next_position += 1;
    }

    /// Adds the visual tokens of one picture of `[rows, columns]` tokens.
    fn visual(&mut self, id: u32, extent: [usize; 2], media: usize, group: usize) -> Result<(), PromptError> {
        self.flush()?;
        // `tokens_of` has bounded the extents.
        let [rows, columns] = extent.map(|n| n as i32);
        let prompt = &mut self.prompt;
        let (start, first) = (prompt.ids.len(), prompt.next_position);
        for row in 0..rows {
            for column in 0..columns {
                prompt.ids.push(id);
                prompt.positions.push([first, first + row, first + column]);
            }
        }
        prompt.next_position += rows.max(columns);
        prompt.visual.push(VisualSpan { start, len: prompt.ids.len() - start, media, group });
        Ok(())
    }
}
