// Rows from one buffer to another, with other pitches and another number format: the new rows of a cache behind the old ones,
// and a run's window, which may begin at any row, to and from a place that is aligned as a plan wants it.

enum Number { F32, F16, BF16, BITS32 };

struct RowArguments {
    const u8 *from;
    u8 *to;
    u64 from_pitch, to_pitch; // bytes from one row to the next
    u64 from_row, to_row;     // the first rows
    u64 n_rows, row_len;      // row_len in numbers
    u32 from_number, to_number;
};

FUNCTION float of_f16(u32 h) {
    const u32 sign = (h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 1023;
    if (exponent == 31) return float_of(sign | 0x7f800000 | fraction << 13);
    if (exponent != 0) return float_of(sign | (exponent + 112) << 23 | fraction << 13);
    const float magnitude = (float)fraction * (1.0f / 16777216.0f); // exact: units of 2^-24
    return sign ? -magnitude : magnitude;
}

// Drops `n` bits, rounding to the nearest, ties to the even.
FUNCTION u32 drop(u32 bits, u32 n) { return (bits + (1u << (n - 1)) - 1 + (bits >> n & 1)) >> n; }

FUNCTION u32 to_f16(float value) {
    const u32 bits = bits_of(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return sign | 0x7e00 | (magnitude >> 13 & 1023);  // a NaN, made quiet
    if (magnitude >= 0x47800000) return sign | 0x7c00;                            // 65536 and more
    if (magnitude >= 0x38800000) return sign | drop(magnitude - 0x38000000, 13);  // a carry may reach infinity
    const u32 exponent = magnitude >> 23;
    if (exponent < 102) return sign;                                              // below half of the least
    return sign | drop((magnitude & 0x7fffff) | 0x800000, 126 - exponent);
}

FUNCTION u32 to_bf16(float value) {
    const u32 bits = bits_of(value);
    if ((bits & 0x7fffffff) > 0x7f800000) return bits >> 16 | 0x40;
    return drop(bits, 16);
}

KERNEL(copy_rows, RowArguments) {
    EACH(i, a.n_rows * a.row_len) {
        const u64 row = i / a.row_len, column = i % a.row_len;
        const u8 *from = a.from + (a.from_row + row) * a.from_pitch;
        u8 *to = a.to + (a.to_row + row) * a.to_pitch;
        if (a.from_number == a.to_number) {
            if (a.to_number == F32 || a.to_number == BITS32) ((u32 *)to)[column] = ((const u32 *)from)[column];
            else ((u16 *)to)[column] = ((const u16 *)from)[column];
            continue;
        }
        float value = 0;
        switch (a.from_number) {
        case F16: value = of_f16(((const u16 *)from)[column]); break;
        case BF16: value = float_of((u32)((const u16 *)from)[column] << 16); break;
        default: value = ((const float *)from)[column];
        }
        switch (a.to_number) {
        case F16: ((u16 *)to)[column] = (u16)to_f16(value); break;
        case BF16: ((u16 *)to)[column] = (u16)to_bf16(value); break;
        default: ((float *)to)[column] = value;
        }
    }
}
