//! The formats of compressed images, by their marks.

/// The formats of compressed images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// JPEG, baseline and progressive.
    Jpeg,
    /// PNG; 16 bits are cut to 8, alpha is dropped.
    Png,
    /// GIF; of several pictures the first, alpha is dropped.
    Gif,
}

impl Compression {
    /// The compression whose mark stands at the beginning of `data`.
    #[must_use]
    pub fn of(data: &[u8]) -> Option<Compression> {
        const MARKS: [(&[u8], Compression); 3] = [
            (b"\xff\xd8", Compression::Jpeg),
            (b"\x89PNG\r\n\x1a\n", Compression::Png),
            (b"GIF8", Compression::Gif),
        ];
        MARKS.iter().find(|(mark, _)| data.starts_with(mark)).map(|(_, compression)| *compression)
    }

    /// The format's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Compression::Jpeg => "jpeg",
            Compression::Png => "png",
            Compression::Gif => "gif",
        }
    }
}
