//! The kernels' arguments as they lie in memory, field for field as in `kernels/*.cu`.
//!
//! Addresses are of the memory that the kernel runs in: of the device, or of the host in tests.

use crate::camera::{FrameSize, PatchLayout, PixelFormat, Taps};

/// An address, 0 for none.
pub type Address = u64;

/// What of [`Taps`] a kernel is told; the lists lie at the addresses.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct TapArguments {
    /// `[n_target]` i32.
    pub starts: Address,
    /// `[n_target]` i32.
    pub counts: Address,
    /// `[n_target, taps_max]` i16.
    pub weights: Address,
    /// Weights of a row.
    pub taps_max: u32,
    /// Bits behind the point.
    pub fraction_bits: u32,
}

impl TapArguments {
    /// Of taps whose lists were put at these addresses.
    #[must_use]
    pub fn new(taps: &Taps, starts: Address, counts: Address, weights: Address) -> Self {
        TapArguments {
            starts,
            counts,
            weights,
            taps_max: taps.taps_max as u32,
            fraction_bits: taps.fraction_bits,
        }
    }
}

/// Of `camera_to_input`. What a message claims has been checked before, as [`camera::convert`](crate::camera::convert) does.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Pixels {
    /// Rows of the message.
    pub data: Address,
    /// `[3, 256]` f32: what a byte becomes, by channel.
    pub values: Address,
    /// `[n_patches, 3, n_frames_of_patch, side, side]` f32, or `[height, width, 3]` where `side` is 0.
    pub out: Address,
    /// From source columns to target columns.
    pub across: TapArguments,
    /// From source rows to target rows.
    pub down: TapArguments,
    /// The format's place in [`PixelFormat::ALL`].
    pub format: u32,
    /// Bytes from one row to the next.
    pub step: u32,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Which byte of a 16-bit sample is the high one.
    pub high: u32,
    /// Pixels across after resizing.
    pub target_width: u32,
    /// Pixels down after resizing.
    pub target_height: u32,
    /// Side of a patch in pixels, or 0.
    pub side: u32,
    /// Side, in patches, of the square that becomes one token.
    pub merge: u32,
    /// Frames in a patch.
    pub n_frames_of_patch: u32,
    /// First frame of each patch that this image fills.
    pub frame_first: u32,
    /// One past the last.
    pub frame_end: u32,
}

impl Pixels {
    /// Sets what describes the message.
    pub fn set_source(&mut self, format: PixelFormat, size: FrameSize, step: u32, is_bigendian: bool) {
        let place = PixelFormat::ALL.iter().position(|other| *other == format);
        self.format = place.expect("all formats are listed") as u32;
        (self.width, self.height) = (size.width as u32, size.height as u32);
        self.step = step;
        self.high = u32::from(!is_bigendian);
    }

    /// Sets the target's size, and its patches if it is cut into such.
    pub fn set_target(&mut self, size: FrameSize, patches: Option<PatchLayout>) {
        (self.target_width, self.target_height) = (size.width as u32, size.height as u32);
        let layout = patches.unwrap_or(PatchLayout { patch_size: 0, temporal_patch_size: 1, merge_size: 1 });
        self.side = layout.patch_size as u32;
        self.merge = layout.merge_size as u32;
        self.n_frames_of_patch = layout.temporal_patch_size as u32;
        (self.frame_first, self.frame_end) = (0, self.n_frames_of_patch);
    }
}

/// How a number is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Number {
    /// 32-bit float.
    F32,
    /// 16-bit float, IEEE 754.
    F16,
    /// The upper half of a 32-bit float.
    Bf16,
    /// 32 bits that are copied as they are.
    Bits32,
}

impl Number {
    /// Bytes of one.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            Number::F32 | Number::Bits32 => 4,
            Number::F16 | Number::Bf16 => 2,
        }
    }
}

/// Of `copy_rows`. Only floats are turned into one another; they round to the nearest, ties to the even.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Rows {
    /// Row 0 of the source.
    pub from: Address,
    /// Row 0 of the target.
    pub to: Address,
    /// Bytes from one source row to the next.
    pub from_pitch: u64,
    /// Bytes from one target row to the next.
    pub to_pitch: u64,
    /// First row that is taken.
    pub from_row: u64,
    /// Where it goes.
    pub to_row: u64,
    /// Rows.
    pub n_rows: u64,
    /// Numbers of a row.
    pub row_len: u64,
    /// How the source's are stored.
    pub from_number: Number,
    /// How the target's are.
    pub to_number: Number,
}

/// Of `sample`, which does what the runtime does on the CPU, in that order.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Sample {
    /// `[n]` f32.
    pub logits: Address,
    /// `[n]` bytes: bit 0 if the token stands in the prompt, bit 1 if in the answer.
    pub seen: Address,
    /// `[n]` f32, scratch.
    pub scores: Address,
    /// `[n]` u64, scratch.
    pub weights: Address,
    /// `[2]` u32: the token, and the first one whose logit is no finite number; `u32::MAX` for none.
    pub result: Address,
    /// 53 random bits, the lowest ones.
    pub random: u64,
    /// Share of the likeliest that is kept; 1 keeps all.
    pub top_p: f64,
    /// 1 for none.
    pub repetition_penalty: f32,
    /// 0 for none.
    pub presence_penalty: f32,
    /// One over the temperature.
    pub inverse_temperature: f32,
    /// Tokens that are kept, with all that are as likely as the last; 0 keeps all.
    pub top_k: u32,
    /// Tokens of the vocabulary.
    pub n: u32,
    /// 1 for the likeliest.
    pub is_greedy: u32,
}
