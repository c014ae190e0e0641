//! One question from its text and images to its answer.
//!
//! What the caches hold is counted here and only after a run has succeeded, so that a question that was stopped, cut or refused
//! leaves them as good as they were.

use std::time::Instant;

use super::choices::ChoiceTokens;
use super::media::MediaLayout;
use super::progress::{Progress, milliseconds_since};
use super::request::{Answer, FinishReason, RecordedPicture, Recording, Request, Timings};
use super::thought::Part;
use super::{AskError, Reason, places};
use crate::backend::RunError;
use crate::models::reason2::{Prompt, Question};
use crate::runtime::shared::TokenKey;
use crate::runtime::{Held, Limits, check_finite};

/// What closes a thought that was too long.
const THOUGHT_END: &str = "\n</think>\n\n";

/// Tokens between a thought that was cut and its answer, at most: what closes the thought, and white space.
const SEPARATOR_TOKENS_MAX: usize = 32;

impl Reason {
    /// Answers a question. `emit` gets each piece of text as soon as it is certain.
    ///
    /// Runs and the choice of tokens allocate nothing. The prompt's assembly, the media's layout, the answer's texts and a recording do.
    ///
    /// # Errors
    /// See [`AskError`]. The deadline is no error: it ends the answer.
    pub fn ask(
        &mut self,
        request: &Request<'_>,
        recording: Option<&mut Recording>,
        emit: &mut dyn FnMut(Part, &str),
    ) -> Result<Answer, AskError> {
        let begin = Instant::now();
        request.sampling.check()?;
        let choices = ChoiceTokens::new(&self.tokenizer, request.choices)?;
        let media = self.lay_out(request)?;
        let prompt = self.assemble(request, &media)?;
        self.check_size(&prompt, &media)?;
        let keys = keys(&prompt, &media);

        let mut progress = Progress {
            request,
            recording,
            emit,
            begin,
            timings: Timings::default(),
            tokens: Vec::with_capacity(request.tokens_max.min(self.wiring.context)),
            text: String::new(),
            thought: None,
            thought_truncated: false,
            encoded_pictures: 0,
            choices,
            finish: None,
        };
        progress.timings.preprocess_ms = milliseconds_since(begin);
        self.begin_text();
        let mut reused = 0;
        let session = self.session.clone();
        let run = session.take(limits_of(request)).map_err(AskError::from).and_then(|mut held| {
            // The last token is always run, for its logits.
            reused = held.rows.common_with(&keys).min(keys.len() - 1);
            self.see(&mut held, &prompt, &media, reused, &mut progress)?;
            self.read(&mut held, &prompt, &media, &keys, reused, &mut progress)?;
            self.say(&mut held, &prompt, &mut progress)
        });
        match run {
            Err(AskError::Run(RunError::Deadline)) => progress.finish = Some(FinishReason::Deadline),
            Err(AskError::Run(RunError::Stopped)) => return Err(AskError::Stopped),
            other => other?,
        }
        Ok(self.answer(prompt, &media, reused, progress))
    }

    /// Whether a question could be asked, as far as its texts, settings and media decide.
    ///
    /// # Errors
    /// What [`Reason::ask`] would refuse it with.
    pub fn check(&self, request: &Request<'_>) -> Result<(), AskError> {
        request.sampling.check()?;
        ChoiceTokens::new(&self.tokenizer, request.choices)?;
        let media = self.lay_out(request)?;
        self.check_size(&self.assemble(request, &media)?, &media)
    }

    pub(super) fn lay_out(&self, request: &Request<'_>) -> Result<MediaLayout, AskError> {
        // A clip leaves a quarter of the context to text and answer.
        let clip_tokens_max = self.wiring.context - self.wiring.context / 4;
        let group_tokens_max =
            |n_groups: usize| self.wiring.picture_tokens_max.min(clip_tokens_max / n_groups);
        MediaLayout::new(self.preprocessor.rules(), request.shown, group_tokens_max)
    }

    pub(super) fn assemble(&self, request: &Request<'_>, media: &MediaLayout) -> Result<Prompt, AskError> {
        let media = media.in_prompt();
        let Request { system, captions, question: text, think, .. } = *request;
        let question = Question { system, media: &media, captions, text, think };
        let mut prompt = self.layout.assemble(&self.tokenizer, &question)?;
        for id in request.answer_begin {
            prompt.ids.push(*id);
            prompt.positions.push([prompt.next_position; 3]);
            prompt.next_position += 1;
        }
        Ok(prompt)
    }

    fn check_size(&self, prompt: &Prompt, media: &MediaLayout) -> Result<(), AskError> {
        let context = self.wiring.context;
        let (prompt_tokens, image_tokens) = (prompt.ids.len(), media.n_tokens());
        if context <= prompt_tokens {
            return Err(AskError::TooLong { prompt_tokens, image_tokens, context });
        }
        if let Some(found) = media.clip_frames().find(|n_frames| self.wiring.frames_max < *n_frames) {
            return Err(AskError::TooManyFrames { found, expected: self.wiring.frames_max });
        }
        let largest = media.pictures.iter().map(|picture| picture.n_tokens).max().unwrap_or(0);
        for (what, found, expected) in [
            ("a picture has", largest, self.wiring.picture_tokens_max),
            ("the pictures together have", image_tokens, self.wiring.feature_rows),
        ] {
            if expected < found {
                return Err(AskError::TooManyVisualTokens { what, found, expected });
            }
        }
        Ok(())
    }

    /// Encodes the pictures that the tokens from `reused` on show and that are not there.
    fn see(
        &mut self,
        held: &mut Held,
        prompt: &Prompt,
        media: &MediaLayout,
        reused: usize,
        progress: &mut Progress<'_>,
    ) -> Result<(), AskError> {
        let records = progress.recording.as_ref().is_some_and(|recording| !recording.only_times);
        let mut needed = Vec::with_capacity(media.pictures.len());
        for span in &prompt.visual {
            if reused < span.start + span.len || records {
                needed.push(media.picture(span.media, span.group));
            }
        }
        let is_needed = |digest: &_| needed.iter().any(|index| media.pictures[*index].digest == *digest);
        let mut next = 0;
        let mut has_cleared = false;
        while let Some(picture) = needed.get(next).map(|index| &media.pictures[*index]) {
            next += 1;
            if held.features.find(&picture.digest).is_some() {
                continue;
            }
            let Some(start) = held.features.reserve(picture.n_tokens, is_needed) else {
                assert!(!has_cleared, "all pictures together fit, which was checked");
                held.features.clear();
                (next, has_cleared) = (0, true);
                continue;
            };
            let begin = Instant::now();
            let patches = self.wiring.patches(held.session.as_mut(), picture.n_patches())?;
            picture.preprocess(&mut self.preprocessor, progress.request.shown, patches)?;
            progress.timings.preprocess_ms += milliseconds_since(begin);
            let begin = Instant::now();
            let run = limits_of(progress.request).run(&[], &[]);
            self.wiring.encode(held.session.as_mut(), picture.patches(), start, &run)?;
            held.features.commit(picture.digest, start, picture.n_tokens);
            progress.timings.vision_ms += milliseconds_since(begin);
            progress.encoded_pictures += 1;
        }
        match &mut progress.recording {
            Some(recording) if !recording.only_times => {
                recording.positions.clone_from(&prompt.positions);
                for picture in &media.pictures {
                    let start = held.features.find(&picture.digest).expect("encoded above");
                    let mut pixels = vec![0.0; picture.n_patches() * self.wiring.patch_len];
                    picture.preprocess(&mut self.preprocessor, progress.request.shown, &mut pixels)?;
                    recording.pictures.push(RecordedPicture {
                        is_clip: picture.is_clip,
                        grid: picture.patches(),
                        pixels,
                        n_tokens: picture.n_tokens,
                        features: self.wiring.features(held.session.as_ref(), start, picture.n_tokens)?,
                    });
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Runs the prompt from `reused` on, in pieces, and leaves the logits of its last token.
    fn read(
        &mut self,
        held: &mut Held,
        prompt: &Prompt,
        media: &MediaLayout,
        keys: &[TokenKey],
        reused: usize,
        progress: &mut Progress<'_>,
    ) -> Result<(), AskError> {
        let begin = Instant::now();
        held.rows.cut(reused);
        let mut feature_rows = vec![-1i32; prompt.ids.len()];
        for span in prompt.visual.iter().filter(|span| reused < span.start + span.len) {
            let digest = &media.pictures[media.picture(span.media, span.group)].digest;
            let first = held.features.find(digest).expect("encoded a moment ago");
            for (i, row) in feature_rows[span.start..span.start + span.len].iter_mut().enumerate() {
                *row = (first + i) as i32;
            }
        }
        let ids: Vec<i32> = prompt.ids.iter().map(|id| *id as i32).collect();
        let run = limits_of(progress.request).run(&[], &[]);
        let mut from = reused;
        while from < ids.len() {
            let to = ids.len().min(from + self.wiring.prefill_tokens_max);
            let piece = (&ids[from..to], &prompt.positions[from..to], &mut feature_rows[from..to]);
            self.wiring.prefill(held.session.as_mut(), piece, from, &run)?;
            held.rows.commit(&keys[from..to]);
            from = to;
        }
        self.wiring.head(held.session.as_mut(), &run)?;
        progress.timings.prefill_ms = milliseconds_since(begin);
        Ok(())
    }

    /// Forgets what is left of an answer that ended in an error: the beginning of a character, or of what may have been a tag.
    fn begin_text(&mut self) {
        self.text_stream.finish(&mut self.piece);
        self.piece.clear();
        self.splitter.restart(self.begins_in_thought);
    }

    /// Chooses tokens and runs them, until the answer ends.
    fn say(&mut self, held: &mut Held, prompt: &Prompt, progress: &mut Progress<'_>) -> Result<(), AskError> {
        let request = progress.request;
        self.sampler.begin(request.sampling, &prompt.ids)?;
        let thinks = request.think || self.begins_in_thought;
        let thought_end: Vec<u32> = if thinks { self.tokenizer.encode(THOUGHT_END)? } else { Vec::new() };
        // Tokens still to be said to close a thought that was too long.
        let mut forced: &[u32] = &[];
        let (mut n_thought, mut n_answer) = (0, 0);
        let mut position = prompt.next_position;
        let run = limits_of(request).run(&[], &[]);
        let finish = loop {
            let logits = self.wiring.logits(held.session.as_ref())?;
            check_finite(logits)?;
            progress.record_logits(logits);
            if let Some(choices) = progress.choices.as_mut().filter(|_| forced.is_empty()) {
                let next = self.tokenizer.token_bytes(self.sampler.peek(logits)?);
                if !thinks || !self.splitter.stays_before_answer(next) {
                    let token = choices.decide(logits)?;
                    progress.note_token();
                    progress.tokens.push(token);
                    break FinishReason::Stop;
                }
            }
            let token = match forced.split_first() {
                Some((first, rest)) => {
                    forced = rest;
                    self.sampler.accept(*first);
                    *first
                }
                None => self.sampler.pick(logits)?,
            };
            progress.note_token();
            if self.stop_tokens.contains(&token) && !request.ignore_stop_tokens {
                break FinishReason::Stop;
            }
            progress.tokens.push(token);
            self.piece.clear();
            self.text_stream.push(self.tokenizer.token_bytes(token), &mut self.piece);
            self.splitter.push(&self.piece, |part, text| progress.emit(part, text));

            let is_thought = thinks && !self.splitter.is_in_answer();
            *(if is_thought { &mut n_thought } else { &mut n_answer }) += 1;
            if request.tokens_max <= n_answer {
                break FinishReason::Length;
            }
            if is_thought && forced.is_empty() && request.thought_tokens_max <= n_thought {
                if self.splitter.is_in_thought() && !progress.thought_truncated {
                    progress.thought_truncated = true;
                    forced = &thought_end;
                } else if request.thought_tokens_max.saturating_add(SEPARATOR_TOKENS_MAX) <= n_thought {
                    break FinishReason::Length;
                }
            }
            if self.wiring.context <= held.rows.len() {
                break FinishReason::Length;
            }
            let past = held.rows.len();
            self.wiring.decode(held.session.as_mut(), token, position, past, &run)?;
            held.rows.commit(&[TokenKey::Text(token)]);
            position += 1;
        };
        progress.finish = Some(finish);
        Ok(())
    }

    fn answer(
        &mut self,
        prompt: Prompt,
        media: &MediaLayout,
        reused: usize,
        mut progress: Progress<'_>,
    ) -> Answer {
        self.piece.clear();
        self.text_stream.finish(&mut self.piece);
        self.splitter.push(&self.piece, |part, text| progress.emit(part, text));
        self.splitter.finish(|part, text| progress.emit(part, text));
        let Progress { request, begin, mut timings, tokens, mut text, thought, choices, finish, .. } =
            progress;
        timings.total_ms = milliseconds_since(begin);
        let finish_reason = finish.unwrap_or(FinishReason::Deadline);
        let choices = choices.map(|choices| choices.into_choices(request.choices)).unwrap_or_default();
        if let Some(likeliest) = choices.iter().max_by(|a, b| a.share.total_cmp(&b.share)) {
            text.clone_from(&likeliest.text);
        }
        Answer {
            places: places(&text, source_size(request)),
            text,
            thought,
            tokens,
            prompt_tokens: prompt.ids.len(),
            prompt: prompt.ids,
            image_tokens: media.n_tokens(),
            reused_tokens: reused,
            encoded_pictures: progress.encoded_pictures,
            finish_reason,
            truncated: finish_reason != FinishReason::Stop,
            thought_truncated: progress.thought_truncated,
            choices,
            timings,
        }
    }
}

fn limits_of<'a>(request: &Request<'a>) -> Limits<'a> {
    Limits { deadline: request.deadline, stop: request.stop }
}

/// What each of the prompt's rows in the cache will be of.
fn keys(prompt: &Prompt, media: &MediaLayout) -> Vec<TokenKey> {
    let mut keys: Vec<TokenKey> = prompt.ids.iter().map(|id| TokenKey::Text(*id)).collect();
    for span in &prompt.visual {
        let digest = media.pictures[media.picture(span.media, span.group)].digest;
        for (index, key) in keys[span.start..span.start + span.len].iter_mut().enumerate() {
            *key = TokenKey::Visual { digest, index: index as u32 };
        }
    }
    keys
}

/// The size of the images that an answer's boxes are about, if all have one.
fn source_size(request: &Request<'_>) -> Option<[usize; 2]> {
    let size = |shown: &_| match shown {
        super::Shown::Image(picture) => Some(picture.size),
        super::Shown::Clip { frames, .. } => frames.first().map(|frame: &super::Picture<'_>| frame.size),
    };
    let mut sizes = request.shown.iter().map(size);
    let first = sizes.next()??;
    sizes.all(|other| other == Some(first)).then_some([first.width, first.height])
}
