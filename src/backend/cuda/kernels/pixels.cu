// A camera's bytes to a network's input in one pass: pixel format, antialiased resize, normalisation, patches.
//
// The sums are those of camera/resize.rs, in its fixed point, so that the result is the CPU's to the last bit: across, rounded
// to a byte, then down, rounded to a byte. A target pixel's rows across are summed anew for each target row that uses them;
// in exchange nothing is written in between.

enum Format {
    RGB8, BGR8, RGBA8, BGRA8, MONO8, UYVY, YUYV, NV12,
    BAYER_RGGB8, BAYER_BGGR8, BAYER_GBRG8, BAYER_GRBG8,
    MONO16, RGB16, BGR16, RGBA16, BGRA16,
    BAYER_RGGB16, BAYER_BGGR16, BAYER_GBRG16, BAYER_GRBG16
};

// The windows and weights of one pass.
struct Taps {
    const i32 *start;   // [n_targets]
    const i32 *count;   // [n_targets]
    const i16 *weight;  // [n_targets, taps_max], in units of 2^-fraction_bits
    u32 taps_max;
    u32 fraction_bits;
};

struct PixelArguments {
    const u8 *data;      // rows of the message
    const float *value;  // [3, 256]: what a byte becomes, by channel
    float *out;          // patches [n_patches, 3, n_frames_of_patch, side, side], or [height, width, 3] where side is 0
    Taps across, down;
    u32 format, step, width, height;
    u32 high;            // which byte of a 16-bit sample is the high one
    u32 target_width, target_height;
    u32 side;            // of a patch, in pixels
    u32 merge;           // side, in patches, of the square that becomes one token
    u32 n_frames_of_patch;
    u32 frame_first, frame_end; // the frames of each patch that this image fills
};

struct Rgb {
    i32 channel[3];
};

FUNCTION i32 clamp_byte(i32 value) { return value < 0 ? 0 : value > 255 ? 255 : value; }

// BT.601, limited range, in 20-bit fixed point.
FUNCTION Rgb of_yuv(i32 luma, i32 u, i32 v) {
    const i32 one = 1 << 20;
    i32 y = (i32)(1.164 * one) * (luma < 16 ? 0 : luma - 16) + (1 << 19);
    u -= 128;
    v -= 128;
    return Rgb{{clamp_byte((y + (i32)(1.596 * one) * v) >> 20),
                clamp_byte((y - (i32)(0.813 * one) * v - (i32)(0.391 * one) * u) >> 20),
                clamp_byte((y + (i32)(2.018 * one) * u) >> 20)}};
}

// A colour filter whose red samples lie at (red_x, red_y) of each 2×2 cell; mirrored at the border.
FUNCTION Rgb of_bayer(const PixelArguments &a, u32 x, u32 y, u32 red_x, u32 red_y, u32 sample_bytes) {
    const u32 high = sample_bytes == 1 ? 0 : a.high;
    const u8 *here = a.data + (u64)y * a.step;
    const u8 *above = a.data + (u64)(y == 0 ? 1 : y - 1) * a.step;
    const u8 *below = a.data + (u64)(y + 1 == a.height ? a.height - 2 : y + 1) * a.step;
    const u32 left = x == 0 ? 1 : x - 1, right = x + 1 == a.width ? a.width - 2 : x + 1;
#define AT(row, column) ((i32)(row)[(u64)(column) * sample_bytes + high])
    const bool is_red_row = y % 2 == red_y;
    const u32 own_x = is_red_row ? red_x : 1 - red_x;
    i32 own, green, other;
    if (x % 2 == own_x) {
        own = AT(here, x);
        green = (AT(here, left) + AT(here, right) + AT(above, x) + AT(below, x) + 2) / 4;
        other = (AT(above, left) + AT(above, right) + AT(below, left) + AT(below, right) + 2) / 4;
    } else {
        own = (AT(here, left) + AT(here, right) + 1) / 2;
        green = AT(here, x);
        other = (AT(above, x) + AT(below, x) + 1) / 2;
    }
#undef AT
    return is_red_row ? Rgb{{own, green, other}} : Rgb{{other, green, own}};
}

FUNCTION Rgb pixel_at(const PixelArguments &a, u32 x, u32 y) {
    const u8 *row = a.data + (u64)y * a.step;
#define PICK(size, r, g, b) Rgb{{row[(u64)x * (size) + (r)], row[(u64)x * (size) + (g)], row[(u64)x * (size) + (b)]}}
    const u32 h = a.high;
    switch (a.format) {
    case RGB8: return PICK(3, 0, 1, 2);
    case BGR8: return PICK(3, 2, 1, 0);
    case RGBA8: return PICK(4, 0, 1, 2);
    case BGRA8: return PICK(4, 2, 1, 0);
    case UYVY: {
        const u8 *cell = row + (u64)(x / 2) * 4;
        return of_yuv(cell[1 + x % 2 * 2], cell[0], cell[2]);
    }
    case YUYV: {
        const u8 *cell = row + (u64)(x / 2) * 4;
        return of_yuv(cell[x % 2 * 2], cell[1], cell[3]);
    }
    case NV12: {
        const u8 *color = a.data + (u64)(a.height + y / 2) * a.step + x / 2 * 2;
        return of_yuv(row[x], color[0], color[1]);
    }
    case BAYER_RGGB8: return of_bayer(a, x, y, 0, 0, 1);
    case BAYER_BGGR8: return of_bayer(a, x, y, 1, 1, 1);
    case BAYER_GBRG8: return of_bayer(a, x, y, 0, 1, 1);
    case BAYER_GRBG8: return of_bayer(a, x, y, 1, 0, 1);
    case MONO16: return PICK(2, h, h, h);
    case RGB16: return PICK(6, h, 2 + h, 4 + h);
    case BGR16: return PICK(6, 4 + h, 2 + h, h);
    case RGBA16: return PICK(8, h, 2 + h, 4 + h);
    case BGRA16: return PICK(8, 4 + h, 2 + h, h);
    case BAYER_RGGB16: return of_bayer(a, x, y, 0, 0, 2);
    case BAYER_BGGR16: return of_bayer(a, x, y, 1, 1, 2);
    case BAYER_GBRG16: return of_bayer(a, x, y, 0, 1, 2);
    case BAYER_GRBG16: return of_bayer(a, x, y, 1, 0, 2);
    default: return PICK(1, 0, 0, 0);
    }
#undef PICK
}

KERNEL(camera_to_input, PixelArguments) {
    EACH(i, (u64)a.target_width * a.target_height) {
        const u32 x = (u32)(i % a.target_width), y = (u32)(i / a.target_width);
        const i16 *down = a.down.weight + (u64)y * a.down.taps_max;
        const i16 *across = a.across.weight + (u64)x * a.across.taps_max;
        const i32 half_down = 1 << a.down.fraction_bits >> 1, half_across = 1 << a.across.fraction_bits >> 1;
        i32 sum[3] = {half_down, half_down, half_down};
        for (i32 v = 0; v < a.down.count[y]; ++v) {
            i32 row[3] = {half_across, half_across, half_across};
            for (i32 h = 0; h < a.across.count[x]; ++h) {
                const Rgb pixel = pixel_at(a, (u32)(a.across.start[x] + h), (u32)(a.down.start[y] + v));
                for (u32 c = 0; c < 3; ++c) row[c] += across[h] * pixel.channel[c];
            }
            for (u32 c = 0; c < 3; ++c) sum[c] += down[v] * clamp_byte(row[c] >> a.across.fraction_bits);
        }
        for (u32 c = 0; c < 3; ++c) {
            const float value = a.value[c * 256 + clamp_byte(sum[c] >> a.down.fraction_bits)];
            if (a.side == 0) {
                a.out[i * 3 + c] = value;
                continue;
            }
            // Patches lie in the order in which they are merged.
            const u32 side = a.side, merge = a.merge, patch_x = x / side, patch_y = y / side;
            const u64 squares_across = a.target_width / side / merge;
            const u64 square = patch_y / merge * squares_across + patch_x / merge;
            const u64 patch = (square * merge + patch_y % merge) * merge + patch_x % merge;
            const u64 area = (u64)side * side;
            for (u32 frame = a.frame_first; frame < a.frame_end; ++frame)
                a.out[((patch * 3 + c) * a.n_frames_of_patch + frame) * area + y % side * side + x % side] = value;
        }
    }
}
