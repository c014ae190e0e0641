//! Text to token ids and back, by the checkpoint's own `tokenizer.json`.
//!
//! Text from outside never becomes a control token: what looks like one is encoded letter by letter. Control tokens come only
//! from a prompt's layout, by [`Tokenizer::control_token`]. Added tokens that control nothing (`<think>`) are found in any text,
//! as the reference finds them.
//!
//! Why not the crate's decoder: it decodes a whole answer at once or keeps strings per step; a table of each token's bytes lets an
//! answer appear as it is generated, without an allocation per token.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// No tokenizer has more ids; bounds the table of their bytes.
const IDS_MAX: usize = 1 << 22;

/// Why a tokenizer cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The bytes are no tokenizer.
    #[error("tokenizer.json: {0}; fetch the file again from the checkpoint")]
    Broken(String),
    /// A tokenizer of another kind than the models here have.
    #[error("tokenizer.json: expected a byte-level tokenizer with at most {IDS_MAX} ids, found {0}")]
    Unsupported(String),
    /// The tokenizer refused a text.
    #[error("the text could not be encoded: {0}")]
    Encode(String),
}

/// A loaded tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Control tokens, longest first, so that the first that matches is the one meant.
    control: Vec<(String, u32)>,
    /// The bytes of all tokens, one after another; control tokens have none.
    bytes: Vec<u8>,
    /// Where the bytes of each id begin, and, at the end, where the last end.
    begins: Vec<u32>,
}

impl Tokenizer {
    /// Loads a `tokenizer.json`.
    ///
    /// # Errors
    /// If it is none, or not byte-level.
    pub fn from_bytes(json: &[u8]) -> Result<Self, TokenizerError> {
        // The crate panics at some errors of syntax, so they are found first.
        serde_json::from_slice::<Sound>(json).map_err(|e| TokenizerError::Broken(e.to_string()))?;
        let mut inner =
            tokenizers::Tokenizer::from_bytes(json).map_err(|e| TokenizerError::Broken(e.to_string()))?;
        inner.set_encode_special_tokens(true);
        if !matches!(inner.get_decoder(), Some(tokenizers::DecoderWrapper::ByteLevel(_))) {
            return Err(TokenizerError::Unsupported("another decoder".to_owned()));
        }
        let added = inner.get_added_tokens_decoder();
        let mut control: Vec<(String, u32)> = added
            .iter()
            .filter(|(_, token)| token.special)
            .map(|(id, token)| (token.content.clone(), *id))
            .collect();
        control.retain(|(text, _)| !text.is_empty());
        control.sort_unstable_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
        let (bytes, begins) = byte_table(&inner, &control)?;
        Ok(Self { inner, control, bytes, begins })
    }

    /// The ids of a text in which nothing is a control token.
    ///
    /// # Errors
    /// If the tokenizer refuses it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding =
            self.inner.encode_fast(text, false).map_err(|e| TokenizerError::Encode(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The control token with which `text` begins, if it begins with one: its length in bytes, and its id.
    pub fn control_token(&self, text: &str) -> Option<(usize, u32)> {
        self.control.iter().find(|(token, _)| text.starts_with(token)).map(|(token, id)| (token.len(), *id))
    }

    /// Whether `id` is a control token.
    pub fn is_control(&self, id: u32) -> bool {
        self.control.iter().any(|(_, control)| *control == id)
    }

    /// The token's own text, control tokens included; `None` for an id that the tokenizer does not have.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The bytes that `id` adds to a text: none for a control token or an unknown id.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        match self.begins.get(id as usize..) {
            Some([begin, end, ..]) => &self.bytes[*begin as usize..*end as usize],
            _ => &[],
        }
    }

    /// The text of these ids, without control tokens; bytes that are no UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let (mut text, mut stream) = (String::new(), TextStream::default());
        for id in ids {
            stream.push(self.token_bytes(*id), &mut text);
        }
        stream.finish(&mut text);
        text
    }
}

/// Turns the bytes of tokens into text as they come: a character appears when its last byte does.
#[derive(Debug, Default)]
pub struct TextStream {
    held: Vec<u8>,
}

impl TextStream {
    /// Adds the bytes of one token and appends to `out` all that is now certain. Allocates only if `out` or the few held bytes
    /// outgrow their capacity.
    pub fn push(&mut self, token: &[u8], out: &mut String) {
        self.held.extend_from_slice(token);
        let mut done = 0;
        for chunk in self.held.utf8_chunks() {
            out.push_str(chunk.valid());
            done += chunk.valid().len();
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            let at_end = done + invalid.len() == self.held.len();
            if at_end && std::str::from_utf8(invalid).is_err_and(|e| e.error_len().is_none()) {
                break;
            }
            out.push(char::REPLACEMENT_CHARACTER);
            done += invalid.len();
        }
        self.held.drain(..done);
    }

    /// Ends the text: what is held is no character and becomes U+FFFD.
    pub fn finish(&mut self, out: &mut String) {
        out.push_str(&String::from_utf8_lossy(&self.held));
        self.held.clear();
    }
}

/// Any JSON whose every string is good Unicode. Why not `IgnoredAny`: it does not look at strings.
struct Sound;

impl<'de> Deserialize<'de> for Sound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Sound)
    }
}

impl<'de> Visitor<'de> for Sound {
    type Value = Sound;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_str<E>(self, _: &str) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Sound, A::Error> {
        while seq.next_element::<Sound>()?.is_some() {}
        Ok(Sound)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Sound, A::Error> {
        while map.next_entry::<Sound, Sound>()?.is_some() {}
        Ok(Sound)
    }
}

/// The bytes of all tokens, and where those of each id begin.
fn byte_table(
    inner: &tokenizers::Tokenizer,
    control: &[(String, u32)],
) -> Result<(Vec<u8>, Vec<u32>), TokenizerError> {
    let vocab = inner.get_vocab(true);
    let n_ids = vocab.values().max().map_or(0, |id| *id as usize + 1);
    if IDS_MAX < n_ids {
        return Err(TokenizerError::Unsupported(format!("an id of {}", n_ids - 1)));
    }
    let byte_of = bytes_of_letters();
    let mut text_of = vec![""; n_ids];
    for (text, id) in &vocab {
        text_of[*id as usize] = text;
    }
    for (_, id) in control {
        text_of[*id as usize] = "";
    }
    let (mut bytes, mut begins) = (Vec::new(), Vec::with_capacity(n_ids + 1));
    for text in text_of {
        begins.push(bytes.len() as u32);
        let begin = bytes.len();
        bytes.extend(text.chars().filter_map(|letter| byte_of.get(&letter)));
        if bytes.len() - begin != text.chars().count() {
            // An added token may be written plainly.
            bytes.truncate(begin);
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    begins.push(bytes.len() as u32);
    Ok((bytes, begins))
}

/// Byte-level vocabularies write every byte as a printable letter: printable Latin-1 as itself, the others, in order, from U+0100.
fn bytes_of_letters() -> HashMap<char, u8> {
    let mut n_shifted = 0;
    (0..=u8::MAX)
        .map(|byte| match byte {
            b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => (char::from(byte), byte),
            _ => {
                let letter = char::from_u32(0x100 + n_shifted).expect("below U+0144");
                n_shifted += 1;
                (letter, byte)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tokenizer of bytes, with one control token and one added token that controls nothing.
    fn tokenizer() -> Tokenizer {
        let mut letters: Vec<(char, u8)> = bytes_of_letters().into_iter().collect();
        letters.sort_unstable_by_key(|(_, byte)| *byte);
        let vocab: serde_json::Map<String, serde_json::Value> =
            letters.iter().map(|(letter, byte)| (letter.to_string(), (*byte).into())).collect();
        let added = |id: u32, content: &str, special: bool| {
            serde_json::json!({ "id": id, "content": content, "special": special, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false })
        };
        let byte_level = serde_json::json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false });
        let json = serde_json::json!({
            "version": "1.0", "added_tokens": [added(256, "<|end|>", true), added(257, "<a b>", false)],
            "normalizer": null, "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
            "model": { "type": "BPE", "vocab": vocab, "merges": [] }
        });
        Tokenizer::from_bytes(json.to_string().as_bytes()).expect("a good tokenizer")
    }

    #[test]
    fn every_byte_has_a_letter_of_its_own() {
        let mut bytes: Vec<u8> = bytes_of_letters().into_values().collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(bytes_of_letters()[&'Ġ'], b' ');
        assert_eq!(bytes_of_letters()[&'Ċ'], b'\n');
    }

    #[test]
    fn control_tokens_are_known_by_name_and_never_read_from_text() {
        let tokenizer = tokenizer();
        assert_eq!(tokenizer.control_token("<|end|>x"), Some((7, 256)));
        assert_eq!(tokenizer.control_token("x<|end|>"), None);
        assert_eq!(tokenizer.encode("<|end|>").expect("text"), b"<|end|>".map(u32::from));
        assert_eq!(tokenizer.encode("é<a b>").expect("text"), [0xc3, 0xa9, 257]);
        assert_eq!(tokenizer.decode(&[65, 256, 257, 9999, 66]), "A<a b>B");
    }

    #[test]
    fn a_character_appears_with_its_last_byte() {
        let tokenizer = tokenizer();
        let (mut stream, mut text) = (TextStream::default(), String::new());
        let mut check = |id: u32, expected: &str| {
            stream.push(tokenizer.token_bytes(id), &mut text);
            assert_eq!(text, expected);
        };
        for (byte, expected) in "a🤖".bytes().zip(["a", "a", "a", "a", "a🤖"]) {
            check(byte.into(), expected);
        }
        check(0xe6, "a🤖");
        check(0x41, "a🤖\u{fffd}A");
        check(0xff, "a🤖\u{fffd}A\u{fffd}");
        check(0xc3, "a🤖\u{fffd}A\u{fffd}");
        stream.finish(&mut text);
        assert_eq!(text, "a🤖\u{fffd}A\u{fffd}\u{fffd}");
    }

    #[test]
    fn decodes_any_bytes_as_the_standard_library_does() {
        let tokenizer = tokenizer();
        let mut state = 1_u32;
        for n in 0..2000 {
            let bytes: Vec<u8> = (0..n % 12)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    [0x41, 0x80, 0xbf, 0xc3, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0xed, 0xa0, 0xff]
                        [(state >> 24) as usize % 12]
                })
                .collect();
            let ids: Vec<u32> = bytes.iter().map(|b| u32::from(*b)).collect();
            assert_eq!(tokenizer.decode(&ids), String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn refuses_what_is_no_byte_level_tokenizer() {
        assert!(matches!(Tokenizer::from_bytes(b"{}"), Err(TokenizerError::Broken(_))));
        let other = r#"{"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":null,"post_processor":null,
            "decoder":null,"model":{"type":"BPE","vocab":{},"merges":[]}}"#;
        assert!(matches!(Tokenizer::from_bytes(other.as_bytes()), Err(TokenizerError::Unsupported(_))));
    }
}
