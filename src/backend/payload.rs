//! What a backend has built: named sections of bytes that stay where they are.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use super::BackendError;

/// Sections begin at addresses that are multiples of this: a cache line, and more than any vector.
pub const SECTION_ALIGN_BYTES: usize = 64;

/// The bytes of one section.
#[derive(Clone)]
pub struct Payload {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
    is_mapped: bool,
}

impl Payload {
    /// Part of a mapped file.
    ///
    /// # Panics
    /// If the range is beyond the file: whoever read its table has checked it.
    pub fn mapped(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> Payload {
        assert!(
            range.start <= range.end && range.end <= (*owner).as_ref().len(),
            "checked by the file's reader"
        );
        Payload { owner, range, is_mapped: true }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }

    /// Whether they are part of a file, shared between processes.
    pub fn is_mapped(&self) -> bool {
        self.is_mapped
    }
}

/// Takes what a backend builds: `plan.GRAPH` for each graph, where it compiles them ahead, and `weights` once for all of them.
pub trait SectionSink {
    /// Takes a section, whose bytes `fill` writes in order. No two have one name.
    ///
    /// # Errors
    /// What `fill` says, or why the bytes cannot be kept.
    fn section(
        &mut self,
        name: &str,
        fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()>;
}

/// What was built, by name. It is itself a [`SectionSink`], which keeps sections in private memory.
#[derive(Clone, Default)]
pub struct Sections(Vec<(String, Payload)>);

impl Sections {
    /// Adds a section.
    pub fn add(&mut self, name: &str, payload: Payload) {
        self.0.push((name.to_owned(), payload));
    }

    /// The section of that name.
    ///
    /// # Errors
    /// If there is none.
    pub fn get(&self, name: &str) -> Result<&Payload, BackendError> {
        let found = self.0.iter().find(|(known, _)| known == name).map(|(_, payload)| payload);
        found.ok_or_else(|| {
            let known: Vec<&str> = self.0.iter().map(|(known, _)| known.as_str()).collect();
            BackendError::Payload { why: format!("no section `{name}`, only {known:?}") }
        })
    }
}

impl SectionSink for Sections {
    fn section(
        &mut self,
        name: &str,
        fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut bytes = AlignedBytes::default();
        fill(&mut bytes)?;
        let range = 0..bytes.len;
        self.add(name, Payload { owner: Arc::new(bytes), range, is_mapped: false });
        Ok(())
    }
}

/// Private memory that starts at a multiple of [`SECTION_ALIGN_BYTES`].
#[derive(Default)]
struct AlignedBytes {
    lines: Vec<Line>,
    len: usize,
}

#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
struct Line([u8; SECTION_ALIGN_BYTES]);

impl AsRef<[u8]> for AlignedBytes {
    fn as_ref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl Write for AlignedBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = self.len + bytes.len();
        self.lines.resize(end.div_ceil(SECTION_ALIGN_BYTES), Line([0; SECTION_ALIGN_BYTES]));
        bytemuck::cast_slice_mut(&mut self.lines)[self.len..end].copy_from_slice(bytes);
        self.len = end;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[test]
fn sections_are_kept_aligned_and_found_by_name() {
    let mut sections = Sections::default();
    for (name, len) in [("plan.decode", 3), ("weights", 130)] {
        let mut fill = |out: &mut dyn Write| (0..len).try_for_each(|i| out.write_all(&[i as u8]));
        sections.section(name, &mut fill).unwrap();
    }
    for (name, len) in [("plan.decode", 3), ("weights", 130)] {
        let payload = sections.get(name).unwrap();
        assert_eq!(payload.bytes(), (0..len).map(|i| i as u8).collect::<Vec<_>>());
        assert!(payload.bytes().as_ptr().addr().is_multiple_of(SECTION_ALIGN_BYTES) && !payload.is_mapped());
    }
    let missing = sections.get("plan.prefill").err().unwrap().to_string();
    assert!(missing.contains("`plan.prefill`") && missing.contains("plan.decode"), "{missing}");
    let failed = sections.section("full", &mut |_| Err(io::Error::other("full")));
    assert!(failed.is_err() && sections.get("full").is_err());
}
