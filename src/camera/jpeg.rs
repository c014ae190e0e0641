//! JPEGs as cameras and files bring them, made into what a strict decoder takes, or refused.
//!
//! A walk over the segments (ITU-T T.81, annex B) copies what the pixels depend on and says what else matters. Cameras that send
//! MJPEG leave out the Huffman tables and mean the standard ones (annex K.3): each missing table is put in. Application data,
//! comments, fill bytes and whatever follows the end are left out.
//!
//! A picture that was cut is never shown in part. Where the coded data of a piece end, ones are appended: no Huffman code is all
//! ones, so a decoder that runs past the end of what came fails there instead of inventing the rest. Beside that, the end of the
//! image must have come, restart markers must follow each other and be as many as the size asks for, and every coefficient of a
//! progressive image must have been sent down to its last bit.
//!
//! Why baseline images in several scans are refused: `zune-jpeg` 0.5 gives wrong colours for them and says nothing, and no camera
//! sends them.

use super::jpeg_tables::{STANDARD_TABLES, Table};

/// More scans than any camera writes; each one costs a pass over the image.
const SCANS_MAX: usize = 32;
/// 64 ones, stuffed: more than the longest code with its extra bits, twice.
const ONES: [u8; 16] = [0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0];

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const DQT: u8 = 0xdb;
const DHT: u8 = 0xc4;
const DRI: u8 = 0xdd;
const TEM: u8 = 0x01;
const EXIF: u8 = 0xe1;
const ADOBE: u8 = 0xee;

/// What is wrong with a JPEG. The decoder's callers say only that it is corrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damaged;

/// What a walk found beside the pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found<'a> {
    /// The EXIF data (a TIFF file), where there are any.
    pub(super) exif: Option<&'a [u8]>,
}

/// Width and height from the frame header.
pub(super) fn dimensions(data: &[u8]) -> Result<(u32, u32), Damaged> {
    let mut walk = Walk::new(data);
    loop {
        match walk.segment()? {
            (SOS | EOI, _) => return Err(Damaged),
            (code, body) if is_frame(code) => {
                let frame = Frame::parse(code, body)?;
                return Ok((frame.width as u32, frame.height as u32));
            }
            _ => {}
        }
    }
}

/// Width and height from the frame header, whatever else it says.
pub(super) fn size(data: &[u8]) -> Option<(u32, u32)> {
    let header = frame_header(data)?;
    let at = |offset| u16_at(header, offset).map(u32::from).ok();
    Some((at(3)?, at(1)?))
}

/// How many channels its header says.
pub(super) fn channels(data: &[u8]) -> Option<u8> {
    frame_header(data)?.get(5).copied()
}

fn frame_header(data: &[u8]) -> Option<&[u8]> {
    let mut walk = Walk::new(data);
    loop {
        match walk.segment().ok()? {
            (SOS | EOI, _) => return None,
            (code, body) if is_frame(code) => return Some(body),
            _ => {}
        }
    }
}

/// Writes the image in `data`, which begins with the marker of a JPEG, to `out` as the decoder takes it.
///
/// # Errors
/// If it was cut, contradicts itself, or is of a kind that is not decoded (arithmetic, lossless, hierarchical, baseline in several
/// scans).
pub(super) fn canonical<'a>(data: &'a [u8], out: &mut Vec<u8>) -> Result<Found<'a>, Damaged> {
    out.clear();
    out.extend([0xff, SOI]);
    let mut walk = Walk::new(data);
    let mut found = Found::default();
    let mut frame: Option<Frame> = None;
    // Whether DC and AC tables 0 and 1 have come.
    let mut tables = [[false; 2]; 2];
    let (mut interval, mut n_scans) = (0, 0_usize);
    loop {
        let (code, body) = walk.segment()?;
        match code {
            EOI => break,
            SOS => {
                let frame = frame.as_mut().ok_or(Damaged)?;
                n_scans += 1;
                if (if frame.is_progressive { SCANS_MAX } else { 1 }) < n_scans {
                    return Err(Damaged);
                }
                if n_scans == 1 && !frame.is_progressive {
                    put_missing_tables(&mut tables, out);
                }
                let n_units = frame.begin_scan(body)?;
                put(SOS, body, out);
                let n_restarts = walk.coded_data(interval, out)?;
                // Some write one more after the last piece.
                let expected = if interval == 0 { 0 } else { n_units.div_ceil(interval) - 1 };
                if n_restarts != expected && (interval == 0 || n_restarts != expected + 1) {
                    return Err(Damaged);
                }
            }
            DHT => {
                note_tables(body, &mut tables)?;
                put(code, body, out);
            }
            DRI => {
                interval = usize::from(u16_at(body, 0)?);
                put(code, body, out);
            }
            DQT | ADOBE => put(code, body, out),
            EXIF => found.exif = found.exif.or(body.strip_prefix(b"Exif\0\0")),
            _ if is_frame(code) => {
                if frame.is_some() {
                    return Err(Damaged);
                }
                frame = Some(Frame::parse(code, body)?);
                put(code, body, out);
            }
            _ => {}
        }
    }
    let frame = frame.ok_or(Damaged)?;
    if !frame.is_complete() {
        return Err(Damaged);
    }
    // The decoder looks for the marker right behind the first scan of several; behind the last one it searches.
    if !frame.is_progressive || 1 < n_scans {
        out.extend(ONES);
    }
    out.extend([0xff, EOI]);
    Ok(found)
}

/// The frame header, and which coefficients have come.
struct Frame {
    is_progressive: bool,
    width: usize,
    height: usize,
    components: Vec<Component>,
}

struct Component {
    id: u8,
    /// Blocks of a unit across and down.
    sampling: (usize, usize),
    /// For each coefficient the lowest bit that has come, or `UNSEEN`.
    lowest_bit: [u8; 64],
}

const UNSEEN: u8 = u8::MAX;

impl Frame {
    fn parse(code: u8, body: &[u8]) -> Result<Frame, Damaged> {
        // Baseline, extended and progressive, all by Huffman codes.
        if !(0xc0..=0xc2).contains(&code) {
            return Err(Damaged);
        }
        let (height, width) = (usize::from(u16_at(body, 1)?), usize::from(u16_at(body, 3)?));
        let n = usize::from(*body.get(5).ok_or(Damaged)?);
        let parts = body.get(6..6 + 3 * n).ok_or(Damaged)?;
        let component = |part: &[u8]| Component {
            id: part[0],
            sampling: (usize::from(part[1] >> 4), usize::from(part[1] & 15)),
            lowest_bit: [UNSEEN; 64],
        };
        let components: Vec<Component> = parts.chunks_exact(3).map(component).collect();
        let fits = |c: &Component| (1..=4).contains(&c.sampling.0) && (1..=4).contains(&c.sampling.1);
        if !(1..=4).contains(&n) || !components.iter().all(fits) || width == 0 || height == 0 {
            return Err(Damaged);
        }
        Ok(Frame { is_progressive: code == 0xc2, width, height, components })
    }

    /// Notes what a scan brings; returns its units between which restarts are counted.
    fn begin_scan(&mut self, header: &[u8]) -> Result<usize, Damaged> {
        let n = usize::from(*header.first().ok_or(Damaged)?);
        let (parts, rest) = header.get(1..).and_then(|h| h.split_at_checked(2 * n)).ok_or(Damaged)?;
        let &[first, last, bits] = rest else { return Err(Damaged) };
        let low = bits & 15;
        // Elsewhere these three say nothing.
        let (first, last, low) = if self.is_progressive { (first, last, low) } else { (0, 63, 0) };
        let is_whole = self.is_progressive || n == self.components.len();
        if last < first || 63 < last || !(1..=4).contains(&n) || !is_whole {
            return Err(Damaged);
        }
        for part in parts.chunks_exact(2) {
            let component = self.components.iter_mut().find(|c| c.id == part[0]).ok_or(Damaged)?;
            component.lowest_bit[usize::from(first)..=usize::from(last)].fill(low);
        }
        let max = |of: fn(&Component) -> usize| self.components.iter().map(of).max().unwrap_or(1);
        let (across_max, down_max) = (max(|c| c.sampling.0), max(|c| c.sampling.1));
        if 1 < n {
            return Ok(self.width.div_ceil(8 * across_max) * self.height.div_ceil(8 * down_max));
        }
        // Alone, a component has units of one block, and none beyond its own edge.
        let component = self.components.iter().find(|c| c.id == parts[0]).ok_or(Damaged)?;
        let (across, down) = component.sampling;
        let blocks = |pixels: usize, n: usize, max: usize| (pixels * n).div_ceil(max).div_ceil(8);
        Ok(blocks(self.width, across, across_max) * blocks(self.height, down, down_max))
    }

    /// Whether every coefficient has come down to its last bit.
    fn is_complete(&self) -> bool {
        self.components.iter().all(|component| component.lowest_bit.iter().all(|low| *low == 0))
    }
}

/// Goes through the segments of a JPEG.
struct Walk<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn new(data: &'a [u8]) -> Self {
        Walk { data, at: 2 }
    }

    /// The next segment's code and body; markers that have none are passed over, but for the end of the image.
    fn segment(&mut self) -> Result<(u8, &'a [u8]), Damaged> {
        loop {
            let rest = self.data.get(self.at..).ok_or(Damaged)?;
            let marker = rest.iter().position(|byte| *byte == 0xff).ok_or(Damaged)?;
            let fill = rest[marker..].iter().position(|byte| *byte != 0xff).ok_or(Damaged)?;
            let code = rest[marker + fill];
            self.at += marker + fill + 1;
            match code {
                EOI => return Ok((code, &[])),
                SOI => return Err(Damaged),
                0 | TEM | 0xd0..=0xd7 => {}
                _ => {
                    let length = usize::from(u16_at(self.data, self.at)?);
                    let body = self.data.get(self.at + 2..self.at + length).ok_or(Damaged)?;
                    self.at += length;
                    return Ok((code, body));
                }
            }
        }
    }

    /// Copies coded data up to the next marker that is no restart, and counts the restarts.
    fn coded_data(&mut self, interval: usize, out: &mut Vec<u8>) -> Result<usize, Damaged> {
        let mut n_restarts = 0;
        loop {
            let rest = self.data.get(self.at..).ok_or(Damaged)?;
            let n = rest.iter().position(|byte| *byte == 0xff).ok_or(Damaged)?;
            out.extend(&rest[..n]);
            let fill = rest[n..].iter().position(|byte| *byte != 0xff).ok_or(Damaged)?;
            let code = rest[n + fill];
            match code {
                0 => out.extend([0xff, 0]),
                0xd0..=0xd7 => {
                    if interval == 0 || usize::from(code - 0xd0) != n_restarts % 8 {
                        return Err(Damaged);
                    }
                    n_restarts += 1;
                    out.extend(ONES);
                    out.extend([0xff, code]);
                }
                // The segments go on from this marker.
                _ => {
                    self.at += n;
                    return Ok(n_restarts);
                }
            }
            self.at += n + fill + 1;
        }
    }
}

/// SOF0 to SOF15, without DHT, JPG and DAC, which lie among them.
fn is_frame(code: u8) -> bool {
    matches!(code, 0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf)
}

fn put(code: u8, body: &[u8], out: &mut Vec<u8>) {
    out.extend([0xff, code]);
    // The body came with a length of 16 bits.
    out.extend((body.len() as u16 + 2).to_be_bytes());
    out.extend(body);
}

/// Marks the tables that a segment defines.
fn note_tables(mut body: &[u8], tables: &mut [[bool; 2]; 2]) -> Result<(), Damaged> {
    while let Some((&place, rest)) = body.split_first() {
        let counts = rest.get(..16).ok_or(Damaged)?;
        let n: usize = counts.iter().map(|n| usize::from(*n)).sum();
        body = rest.get(16 + n..).ok_or(Damaged)?;
        if let Some(seen) =
            tables.get_mut(usize::from(place >> 4)).and_then(|t| t.get_mut(usize::from(place & 15)))
        {
            *seen = true;
        }
    }
    Ok(())
}

fn put_missing_tables(tables: &mut [[bool; 2]; 2], out: &mut Vec<u8>) {
    for Table { class, id, counts, symbols } in &STANDARD_TABLES {
        let seen = &mut tables[usize::from(*class)][usize::from(*id)];
        if !*seen {
            let body = [&[class << 4 | id], &counts[..], symbols].concat();
            put(DHT, &body, out);
            *seen = true;
        }
    }
}

fn u16_at(data: &[u8], at: usize) -> Result<u16, Damaged> {
    let bytes = data.get(at..at + 2).ok_or(Damaged)?;
    Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
}

#[cfg(test)]
mod tests {
    use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

    use super::*;
    use crate::camera::{Compression, Decoder, FrameError};

    const WIDTH: usize = 85;
    const HEIGHT: usize = 51;

    fn encoded(set: impl FnOnce(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
        let rgb: Vec<u8> = (0..WIDTH * HEIGHT * 3)
            .map(|i| ((i / 3 % WIDTH) * 3 + i / 3 / WIDTH * 2 + i % 3 * 60 + (i * i) % 23) as u8)
            .collect();
        let mut jpeg = Vec::new();
        let mut encoder = Encoder::new(&mut jpeg, 85);
        set(&mut encoder);
        encoder.encode(&rgb, WIDTH as u16, HEIGHT as u16, ColorType::Rgb).unwrap();
        jpeg
    }

    /// Of every kind that cameras and files have: sampling, restarts, progressive.
    fn kinds() -> Vec<Vec<u8>> {
        let mut kinds = Vec::new();
        for sampling in [
            SamplingFactor::R_4_4_4,
            SamplingFactor::R_4_2_2,
            SamplingFactor::R_4_2_0,
            SamplingFactor::R_4_4_0,
        ] {
            kinds.push(encoded(|e| e.set_sampling_factor(sampling)));
            for interval in [1, 3, 6] {
                kinds.push(encoded(|e| {
                    e.set_sampling_factor(sampling);
                    e.set_restart_interval(interval);
                }));
            }
            kinds.push(encoded(|e| {
                e.set_sampling_factor(sampling);
                e.set_progressive(true);
            }));
        }
        kinds
    }

    fn decode(jpeg: &[u8]) -> Result<Vec<u8>, FrameError> {
        let mut rgb = vec![0; 3 * WIDTH * HEIGHT];
        Decoder::new().decode("", jpeg, &mut rgb)?;
        Ok(rgb)
    }

    /// The segments as (code, place, length with marker), up to the first scan.
    fn segments(jpeg: &[u8]) -> Vec<(u8, usize, usize)> {
        let mut at = 2;
        let mut segments = Vec::new();
        loop {
            let length = 2 + usize::from(u16_at(jpeg, at + 2).unwrap());
            segments.push((jpeg[at + 1], at, length));
            if jpeg[at + 1] == SOS {
                return segments;
            }
            at += length;
        }
    }

    #[test]
    fn no_beginning_of_an_image_is_an_image() {
        for jpeg in kinds() {
            let whole = decode(&jpeg).unwrap();
            for length in 2..jpeg.len() {
                assert!(decode(&jpeg[..length]).is_err(), "{length} of {} bytes", jpeg.len());
            }
            // Nor where what was cut is followed by an end, zeros, or an image that came before.
            let data = segments(&jpeg).last().map(|(_, at, length)| at + length).unwrap();
            for length in data..jpeg.len() - 3 {
                for end in [&[0xff, EOI][..], &[0; 64], &jpeg] {
                    let cut = [&jpeg[..length], end].concat();
                    if let Ok(shown) = decode(&cut) {
                        // A cut within the last code may still give the last bits of the last block.
                        let wrong = shown.iter().zip(&whole).filter(|(a, b)| a != b).count();
                        assert!(
                            jpeg.len() - 10 < length && wrong < 3 * 256,
                            "{length} of {}, {wrong}",
                            jpeg.len()
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_piece_that_was_lost_between_restarts_is_noticed() {
        let jpeg = encoded(|e| e.set_restart_interval(3));
        let restarts: Vec<usize> = (0..jpeg.len() - 1)
            .filter(|i| jpeg[*i] == 0xff && (0xd0..=0xd7).contains(&jpeg[i + 1]))
            .collect();
        assert!(4 < restarts.len());
        for pair in restarts.windows(2) {
            let lost = [&jpeg[..pair[0]], &jpeg[pair[1]..]].concat();
            assert!(decode(&lost).is_err(), "a whole piece");
            let half = [&jpeg[..pair[1] - (pair[1] - pair[0]) / 2], &jpeg[pair[1]..]].concat();
            assert!(decode(&half).is_err(), "half a piece");
        }
    }

    #[test]
    fn missing_tables_are_the_standard_ones_each_for_itself() {
        let jpeg = encoded(|_| ());
        let expected = decode(&jpeg).unwrap();
        let tables: Vec<_> = segments(&jpeg).into_iter().filter(|(code, ..)| *code == DHT).collect();
        // One segment or several: either way each subset of the tables is left out.
        let bodies: Vec<Vec<u8>> = STANDARD_TABLES
            .iter()
            .map(|t| [&[t.class << 4 | t.id], &t.counts[..], t.symbols].concat())
            .collect();
        let mut bare = jpeg.clone();
        for (_, at, length) in tables.iter().rev() {
            bare.drain(*at..at + length);
        }
        assert!(!tables.is_empty() && bare.len() + 420 <= jpeg.len());
        for kept in 0..16 {
            let mut some = bare[..2].to_vec();
            for (_, body) in bodies.iter().enumerate().filter(|(i, _)| kept >> i & 1 == 1) {
                put(DHT, body, &mut some);
            }
            some.extend(&bare[2..]);
            assert_eq!(decode(&some).unwrap(), expected, "{kept:04b}");
        }
        // As a UVC camera sends it: no tables, no application data.
        let (_, at, length) = segments(&bare)[0];
        bare.drain(at..at + length);
        assert_eq!(decode(&bare).unwrap(), expected);
    }

    #[test]
    fn what_says_nothing_of_the_pixels_is_passed_over() {
        for jpeg in kinds() {
            let expected = decode(&jpeg).unwrap();
            let followed = [&jpeg[..], &[0; 4096], b"\xff\xd8 and another"].concat();
            assert_eq!(decode(&followed).unwrap(), expected);
            // Fill bytes before every marker, comments and application data after the first.
            let mut filled = b"\xff\xd8\xff\xff\xff\xfe\0\x09comment\xff\xe5\0\x04\xff\xd8".to_vec();
            let mut is_header = true;
            for (i, byte) in jpeg.iter().enumerate().skip(2) {
                let next = jpeg.get(i + 1).copied().unwrap_or(0);
                let is_marker = *byte == 0xff && next != 0;
                let starts = segments(&jpeg);
                if is_header && starts.iter().any(|(_, at, _)| *at == i) || !is_header && is_marker {
                    filled.extend([0xff; 3]);
                }
                is_header &= starts.last().is_none_or(|(_, at, length)| i < at + length - 1);
                filled.push(*byte);
            }
            assert!(jpeg.len() + 30 < filled.len());
            // Scans after the first have headers of their own, in which bytes of ones are no markers.
            if !jpeg.windows(2).any(|pair| pair == [0xff, 0xc2]) {
                assert_eq!(decode(&filled).unwrap(), expected);
            }
        }
    }

    #[test]
    fn exif_turns_an_image() {
        let jpeg = encoded(|_| ());
        let tiff = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let mut turned = vec![0xff, SOI];
        put(EXIF, tiff, &mut turned);
        turned.extend(&jpeg[2..]);
        let mut rgb = vec![0; 3 * WIDTH * HEIGHT];
        let size = Decoder::new().decode("jpeg", &turned, &mut rgb).unwrap();
        assert_eq!((size.width, size.height), (HEIGHT, WIDTH));
        // A quarter to the right: what was at the lower left is at the upper left.
        assert_eq!(rgb[..3], decode(&jpeg).unwrap()[3 * WIDTH * (HEIGHT - 1)..][..3]);
    }

    #[test]
    fn kinds_that_are_not_decoded_are_refused() {
        let jpeg = encoded(|_| ());
        let frame = segments(&jpeg).iter().find(|(code, ..)| is_frame(*code)).map(|(_, at, _)| *at).unwrap();
        let several_scans = encoded(|e| e.set_optimized_huffman_tables(true));
        assert_eq!(several_scans.windows(2).filter(|pair| *pair == [0xff, SOS]).count(), 3);
        assert_eq!(decode(&several_scans), Err(FrameError::Corrupt(Compression::Jpeg)));
        for code in [0xc3, 0xc5, 0xc9, 0xcb, 0xcf] {
            let mut other = jpeg.clone();
            other[frame + 1] = code;
            assert_eq!(decode(&other), Err(FrameError::Corrupt(Compression::Jpeg)), "{code:x}");
        }
    }
}
