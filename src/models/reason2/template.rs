//! The checkpoint's chat template becomes a [`PromptLayout`]: it is rendered, at export only, around marks that stand for the texts
//! and media of later questions, and cut at the marks.
//!
//! That the pieces fit together again is not believed: other conversations, with several media, are rendered too and must come out
//! as the pieces say. A template that does more (numbers its pictures, trims the question) is refused, since a layout cannot say it.
//!
//! Why no template engine on the robot: what it would compute is always the same, and data can be checked when it is made.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::{Value, context};

use super::Reason2Config;
use super::{PromptLayout, SurroundingText, Tokenizer, jinja};
use crate::checkpoint::{Checkpoint, CheckpointError};

/// Stand for the texts of a question. Spaces at both ends, so that a template that trims is found out.
const SYSTEM_MARK: &str = " \u{f0000}system\u{f0001} ";
const QUESTION_MARK: &str = " \u{f0000}question\u{f0001} ";

/// Why a chat template cannot be made a layout.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The checkpoint's files could not be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// There is no template.
    #[error("{}: no chat template: expected chat_template.jinja, chat_template.json, or `chat_template` in tokenizer_config.json", .0.display())]
    None(PathBuf),
    /// The template is broken, or refuses the conversation.
    #[error("{}: the chat template cannot be rendered: {message}", path.display())]
    Render {
        /// The file that holds it.
        path: PathBuf,
        /// The engine's words.
        message: String,
    },
    /// The template does more than put text around texts and media.
    #[error("{}: the chat template {what}, which a prompt layout cannot say", path.display())]
    Irregular {
        /// The file that holds it.
        path: PathBuf,
        /// What it does.
        what: String,
    },
    /// The config's visual tokens are none of the tokenizer's.
    #[error(
        "tokenizer.json: `{key}` is {id} in config.json, which is no control token here; the files do not belong together"
    )]
    VisualToken {
        /// The config's key.
        key: &'static str,
        /// Its value.
        id: u32,
    },
}

/// The source of a chat template, and what it may refer to.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    path: PathBuf,
    source: String,
    /// Names and texts of `bos_token` and the like.
    tokens: Vec<(String, String)>,
    /// The moment of a template that asks for the date, in seconds after 1970.
    now_s: i64,
}

/// The texts of the control tokens around and in place of media.
struct VisualTokens {
    image: String,
    video: String,
    start: String,
    end: String,
}

/// What stands in a conversation.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Image,
    Video,
    Question,
}

impl ChatTemplate {
    /// Finds the template where transformers looks for it, newest place first.
    ///
    /// # Errors
    /// If there is none, or a file cannot be read.
    pub fn find(checkpoint: &Checkpoint) -> Result<Self, TemplateError> {
        let config = checkpoint.json("tokenizer_config.json")?;
        let mut tokens = Vec::new();
        if let Some(config) = &config {
            let root = config.root()?;
            for name in ["bos_token", "eos_token", "pad_token", "unk_token"] {
                let text = root.get(name).and_then(|v| v.as_str().or_else(|| v.get("content")?.as_str()));
                tokens.extend(text.map(|text| (name.to_owned(), text.to_owned())));
            }
        }
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        let found = |name: &str, source: String| {
            Ok(Self { path: checkpoint.dir().join(name), source, tokens: tokens.clone(), now_s })
        };
        if let Some(bytes) = checkpoint.file("chat_template.jinja")? {
            return found("chat_template.jinja", String::from_utf8_lossy(&bytes).into_owned());
        }
        let in_json = checkpoint.json("chat_template.json")?;
        for (name, file) in [("chat_template.json", &in_json), ("tokenizer_config.json", &config)] {
            let value = file.as_ref().and_then(|file| file.value().get("chat_template"));
            if let Some(source) = value.and_then(default_template) {
                return found(name, source.to_owned());
            }
        }
        Err(TemplateError::None(checkpoint.dir().to_owned()))
    }

    /// Cuts the template into pieces.
    ///
    /// # Errors
    /// If it cannot be rendered, or does what a layout cannot say.
    pub fn layout(
        &self,
        config: &Reason2Config,
        tokenizer: &Tokenizer,
        think_suffix: Option<String>,
    ) -> Result<PromptLayout, TemplateError> {
        let token = |key, id| match tokenizer.token(id) {
            Some(text) if tokenizer.is_control(id) => Ok(text),
            _ => Err(TemplateError::VisualToken { key, id }),
        };
        let tokens = VisualTokens {
            image: token("image_token_id", config.image_token_id)?,
            video: token("video_token_id", config.video_token_id)?,
            start: token("vision_start_token_id", config.vision_start_token_id)?,
            end: token("vision_end_token_id", config.vision_end_token_id)?,
        };
        Ok(PromptLayout {
            think_suffix,
            image_token_id: config.image_token_id,
            video_token_id: config.video_token_id,
            spatial_merge_size: config.vision.spatial_merge_size,
            ..self.pieces(&tokens)?
        })
    }

    /// Whether the template writes the date: a layout keeps that of its making.
    ///
    /// # Errors
    /// If it cannot be rendered.
    pub fn writes_the_date(&self) -> Result<bool, TemplateError> {
        const DAYS: i64 = 86_400;
        // Another day, weekday, month and year.
        let later = Self { now_s: self.now_s + 400 * DAYS, ..self.clone() };
        for system in [false, true] {
            if self.render(system, &[Part::Question])? != later.render(system, &[Part::Question])? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The texts of the layout; ids and sizes are left at 0.
    fn pieces(&self, tokens: &VisualTokens) -> Result<PromptLayout, TemplateError> {
        let plain = self.render(false, &[Part::Question])?;
        let (opening, closing) = self.cut(&plain, QUESTION_MARK, "the question")?;
        let with_system = self.render(true, &[Part::Question])?;
        let (system_before, rest) = self.cut(&with_system, SYSTEM_MARK, "the system text")?;
        let (system_after, _) = self.cut(rest, QUESTION_MARK, "the question")?;
        let around = |part: Part, token: &str, what: &str| {
            let text = self.render(false, &[part, Part::Question])?;
            let (before, _) = self.cut(&text, QUESTION_MARK, "the question")?;
            let medium = before.strip_prefix(opening);
            let medium = medium.ok_or_else(|| self.irregular(format!("changes what comes before {what}")))?;
            self.cut(medium, token, what).map(|(before, after)| surrounding(before, after))
        };
        let layout = PromptLayout {
            opening: opening.to_owned(),
            system: surrounding(system_before, system_after),
            image: around(Part::Image, &tokens.image, "an image")?,
            video: around(Part::Video, &tokens.video, "a video")?,
            // The processor writes these itself, whatever the template says.
            group_time: surrounding("<", &format!(" seconds>{}", tokens.start)),
            group_after: tokens.end.clone(),
            closing: closing.to_owned(),
            think_suffix: None,
            image_token_id: 0,
            video_token_id: 0,
            spatial_merge_size: 0,
        };
        self.check(&layout, tokens)?;
        Ok(layout)
    }

    /// Renders conversations of several media and compares them with what the layout says.
    fn check(&self, layout: &PromptLayout, tokens: &VisualTokens) -> Result<(), TemplateError> {
        use Part::{Image, Question, Video};
        for parts in
            [&[Image, Image, Question][..], &[Video, Image, Question], &[Image, Video, Video, Question]]
        {
            for system in [false, true] {
                let mut expected = if system {
                    format!("{}{SYSTEM_MARK}{}", layout.system.before, layout.system.after)
                } else {
                    layout.opening.clone()
                };
                for part in parts {
                    let (around, inside) = match part {
                        Image => (&layout.image, &tokens.image),
                        Video => (&layout.video, &tokens.video),
                        Question => continue,
                    };
                    expected.extend([&around.before[..], inside, &around.after]);
                }
                expected.extend([QUESTION_MARK, &layout.closing]);
                if self.render(system, parts)? != expected {
                    return Err(self.irregular(
                        "writes a medium differently beside others or after a system text".to_owned(),
                    ));
                }
            }
        }
        Ok(())
    }

    fn render(&self, system: bool, parts: &[Part]) -> Result<String, TemplateError> {
        let content = parts.iter().map(|part| match part {
            Part::Image => context! { type => "image" },
            Part::Video => context! { type => "video" },
            Part::Question => context! { type => "text", text => QUESTION_MARK },
        });
        let mut messages = vec![context! { role => "user", content => content.collect::<Vec<_>>() }];
        if system {
            messages.insert(0, context! { role => "system", content => SYSTEM_MARK });
        }
        let tokens = Value::from_iter(self.tokens.iter().cloned());
        // These two are there and are none, which templates ask for.
        let (tools, documents) = ((), ());
        let values = context! { messages, tools, documents, add_generation_prompt => true, ..tokens };
        jinja::render(&self.source, values, self.now_s)
            .map_err(|e| TemplateError::Render { path: self.path.clone(), message: format!("{e:#}") })
    }

    /// What comes before and after the one place where `mark` stands.
    fn cut<'t>(&self, text: &'t str, mark: &str, what: &str) -> Result<(&'t str, &'t str), TemplateError> {
        match text.split_once(mark) {
            Some((before, after)) if !after.contains(mark) => Ok((before, after)),
            Some(_) => Err(self.irregular(format!("writes {what} more than once"))),
            None => Err(self.irregular(format!("leaves out or changes {what}"))),
        }
    }

    fn irregular(&self, what: String) -> TemplateError {
        TemplateError::Irregular { path: self.path.clone(), what }
    }
}

/// The template itself, or the default one of a list of named ones.
fn default_template(value: &serde_json::Value) -> Option<&str> {
    match value {
        serde_json::Value::Array(list) => list.iter().find(|t| t["name"] == "default")?["template"].as_str(),
        value => value.as_str(),
    }
}

fn surrounding(before: &str, after: &str) -> SurroundingText {
    SurroundingText { before: before.to_owned(), after: after.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURNS: &str = "{% for m in messages %}[{{ m.role }}]{% if m.content is string %}{{ m.content }}{% else %}\
        {% for p in m.content %}{% if p.type == 'image' %}(I){% elif p.type == 'video' %}(V){% else %}{{ p.text }}{% endif %}\
        {% endfor %}{% endif %}[end]{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";

    /// The layout of a template in which `I` and `V` stand for the visual tokens, or the error's message.
    fn layout(source: &str) -> Result<PromptLayout, String> {
        let template = ChatTemplate {
            path: "dir/template".into(),
            source: source.to_owned(),
            tokens: Vec::new(),
            now_s: 0,
        };
        let tokens =
            VisualTokens { image: "I".into(), video: "V".into(), start: "<s>".into(), end: "<e>".into() };
        template.pieces(&tokens).map_err(|e| e.to_string())
    }

    #[test]
    fn pieces_are_cut_at_texts_and_media() {
        let layout = layout(TURNS).expect("a regular template");
        assert_eq!(layout.opening, "[user]");
        assert_eq!(layout.system, surrounding("[system]", "[end][user]"));
        assert_eq!(layout.image, surrounding("(", ")"));
        assert_eq!(layout.video, surrounding("(", ")"));
        assert_eq!(layout.group_time, surrounding("<", " seconds><s>"));
        assert_eq!(layout.group_after, "<e>");
        assert_eq!(layout.closing, "[end][assistant]");
        let json = serde_json::to_string(&layout).expect("serialises");
        assert_eq!(layout, serde_json::from_str(&json).expect("reads back"));
    }

    #[test]
    fn what_published_templates_do_still_makes_a_layout() {
        let cases: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/templates.json")).unwrap();
        let source = |name: &str| {
            let cases = cases["cases"].as_array().unwrap();
            let case = cases.iter().find(|case| case["name"] == name).expect(name);
            case["template"].as_str().unwrap().replace("<|image_pad|>", "I").replace("<|video_pad|>", "V")
        };
        let thinking = layout(&source("thinking with tools")).unwrap();
        assert_eq!(thinking.opening, "<|im_start|>user\n");
        assert_eq!(thinking.system.before, "<|im_start|>system\n");
        assert_eq!(thinking.image, surrounding("<|vision_start|>", "<|vision_end|>"));
        assert_eq!(thinking.closing, "<|im_end|>\n<|im_start|>assistant\n<think>\n");
        let with_a_system_text = layout(&source("counted pictures")).unwrap();
        assert!(with_a_system_text.opening.contains("You are a helpful assistant."));
        assert_eq!(with_a_system_text.system.before, "<|im_start|>system\n");
        layout(&source("turns")).unwrap();
    }

    #[test]
    fn a_template_that_writes_the_date_is_known() {
        let is_dated = |source: &str| {
            let source = source.to_owned();
            ChatTemplate { path: "t".into(), source, tokens: Vec::new(), now_s: 1_709_210_096 }
                .writes_the_date()
                .unwrap()
        };
        assert!(!is_dated(TURNS));
        assert!(is_dated("{{ strftime_now('%d %b') }}{{ messages[0].role }}"));
        assert!(is_dated("{% if messages[0].role == 'system' %}{{ strftime_now('%Y') }}{% endif %}"));
    }

    #[test]
    fn refuses_what_a_layout_cannot_say() {
        let check = |source: &str, part: &str| {
            let message = layout(source).expect_err(source);
            assert!(message.contains(part) && message.contains("dir/template"), "{message}");
        };
        check(&TURNS.replace("{{ p.text }}", "{{ p.text|trim }}"), "leaves out or changes the question");
        check(
            &TURNS.replace("{{ p.text }}", "{{ p.text }}{{ p.text }}"),
            "writes the question more than once",
        );
        check(
            &TURNS.replace("{{ m.content }}", "{{ m.content|trim }}"),
            "leaves out or changes the system text",
        );
        check(&TURNS.replace("(I)", "({{ loop.index }}: I)"), "writes a medium differently beside others");
        check(&TURNS.replace("(V)", ""), "leaves out or changes a video");
        check(&TURNS.replace("(I)", "(II)"), "writes an image more than once");
        check("{{ messages[0].content[0].text }}", "leaves out or changes the system text");
        check(&TURNS.replace("(I)", "{{ raise_exception('no pictures') }}"), "no pictures");
        check("{% for %}", "cannot be rendered");
    }
}
