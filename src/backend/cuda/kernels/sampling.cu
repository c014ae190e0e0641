// From the logits of one position to a token, in one block: what runtime/sampler.rs does, by selection instead of sorting.
//
// A token's weight is exp(score - max) in units of 2^-40, so that sums are of integers: the same in every order, and as
// often as it is run. Where the first k tokens end, where the likeliest reach their share, and whose turn the drawn number is,
// are three searches for a key (a score as an integer of the same order), a byte at a time from the highest, over counts or
// weights. Of equally likely tokens the one with the lower id comes first.

struct SampleArguments {
    const float *logits; // [n]
    u8 *seen;            // [n]: bit 0 in the prompt, bit 1 in the answer
    float *scores;       // [n], scratch
    u64 *weights;        // [n], scratch
    u32 *result;         // the token; the first token whose logit is no finite number, or NONE
    u64 random;          // 53 random bits, the lowest ones
    double top_p;        // 1 keeps all
    float repetition_penalty, presence_penalty, inverse_temperature;
    u32 top_k;           // 0 keeps all
    u32 n;
    u32 is_greedy;
};

#define NONE 0xffffffffu
#define N_THREADS_MAX 1024
#define FOUND(key, found, n_digits) (((key) ^ (found)) >> (32 - 8 * (n_digits)) == 0)

FUNCTION bool is_finite(float value) { return (bits_of(value) & 0x7f800000) != 0x7f800000; }

// A score as an integer of the same order; both zeros are one.
FUNCTION u32 key_of(float score) {
    const u32 bits = bits_of(score + 0.0f);
    return bits & 0x80000000 ? ~bits : bits | 0x80000000;
}

// The highest key, and what is above it, at which counts (or weights) from above reach `wanted`, or for IS_OVER pass it.
// `mass[d]` holds what has the digit d behind the digits found so far.
#define SEARCH(found, above, wanted, IS_OVER, MASS)                                                    \
    THREADS(t) if (t == 0) { found = 0; above = 0; }                                                   \
    for (u32 digit = 0; digit < 4; ++digit) {                                                          \
        THREADS(t) for (u32 d = t; d < 256; d += N_THREADS) mass[d] = 0;                               \
        THREADS(t) for (u32 i = t; i < a.n; i += N_THREADS) {                                          \
            const u32 key = key_of(a.scores[i]);                                                       \
            if (digit == 0 || FOUND(key, found, digit)) add(&mass[key >> (24 - 8 * digit) & 255], (u64)(MASS)); \
        }                                                                                              \
        THREADS(t) if (t == 0) {                                                                       \
            u32 d = 255;                                                                               \
            while (0 < d && (IS_OVER ? above + mass[d] <= wanted : above + mass[d] < wanted)) above += mass[d--]; \
            found |= d << (24 - 8 * digit);                                                            \
        }                                                                                              \
    }

KERNEL(sample, SampleArguments) {
    SHARED u32 best[N_THREADS_MAX], bad[N_THREADS_MAX], n_before[N_THREADS_MAX];
    SHARED u64 mass[256];
    SHARED u64 above, wanted, total;
    SHARED u32 edge, key_found;

    THREADS(t) {
        best[t] = NONE;
        bad[t] = NONE;
        for (u32 i = t; i < a.n; i += N_THREADS) {
            float score = a.logits[i];
            if (!is_finite(score) && bad[t] == NONE) bad[t] = i;
            const u8 seen = a.seen[i];
            if (seen != 0) score = score < 0 ? score * a.repetition_penalty : score / a.repetition_penalty;
            if (seen & 2) score -= a.presence_penalty;
            if (!a.is_greedy) score *= a.inverse_temperature;
            a.scores[i] = score;
            if (best[t] == NONE || a.scores[best[t]] < score) best[t] = i;
        }
    }
    THREADS(t) if (t == 0) {
        for (u32 other = 1; other < N_THREADS; ++other) {
            if (bad[other] < bad[0]) bad[0] = bad[other];
            if (best[other] == NONE) continue;
            const float mine = a.scores[best[0]], theirs = a.scores[best[other]];
            if (mine < theirs || (mine == theirs && best[other] < best[0])) best[0] = best[other];
        }
        a.result[0] = bad[0] == NONE ? best[0] : NONE;
        a.result[1] = bad[0];
        if (a.is_greedy && bad[0] == NONE) a.seen[best[0]] |= 2;
    }
    if (a.is_greedy || bad[0] != NONE) return; // The same for every thread.

    // The first k, and all that are as likely as the last of them.
    THREADS(t) if (t == 0) edge = 0;
    if (0 < a.top_k && a.top_k < a.n) {
        SEARCH(key_found, above, (u64)a.top_k, false, 1)
        THREADS(t) if (t == 0) edge = key_found;
    }
    THREADS(t) if (t == 0) total = 0;
    THREADS(t) {
        const float max = a.scores[best[0]];
        u64 sum = 0;
        for (u32 i = t; i < a.n; i += N_THREADS) {
            const float score = a.scores[i];
            const bool is_kept = edge <= key_of(score);
            a.weights[i] = is_kept ? (u64)(exp((double)(score - max)) * 1099511627776.0 + 0.5) : 0;
            sum += a.weights[i];
        }
        add(&total, sum);
    }

    // The likeliest tokens that together reach the share: all above a key, and of those at it as many as it takes.
    THREADS(t) if (t == 0) {
        wanted = 1.0 <= a.top_p ? total : (u64)ceil(a.top_p * (double)total);
        if (wanted < 1) wanted = 1;
        if (total < wanted) wanted = total;
    }
    SEARCH(key_found, above, wanted, false, a.weights[i])
    THREADS(t) for (u32 i = t; i < a.n; i += N_THREADS) {
        if (key_of(a.scores[i]) == key_found) total = a.weights[i]; // The same whoever writes it.
    }
    THREADS(t) if (t == 0) {
        const u64 weight = total;
        const u64 n_at_key = (wanted - above + weight - 1) / weight;
        // A number of [0, mass of the nucleus), of which the whole is the random bits' range.
        wanted = high_product(a.random << 11, above + n_at_key * weight);
    }

    // Whose turn that number is.
    SEARCH(key_found, above, wanted, true, a.weights[i])
    THREADS(t) {
        n_before[t] = 0;
        const u32 piece = (a.n + N_THREADS - 1) / N_THREADS;
        for (u32 i = t * piece; i < a.n && i < (t + 1) * piece; ++i) {
            if (key_of(a.scores[i]) != key_found) continue;
            n_before[t] += 1;
            total = a.weights[i];
        }
    }
    THREADS(t) if (t == 0) {
        u32 n = 0;
        for (u32 piece = 0; piece < N_THREADS; ++piece) {
            const u32 here = n_before[piece];
            n_before[piece] = n;
            n += here;
        }
        wanted = (wanted - above) / total;
    }
    THREADS(t) {
        u64 n = n_before[t];
        const u32 piece = (a.n + N_THREADS - 1) / N_THREADS;
        for (u32 i = t * piece; i < a.n && i < (t + 1) * piece; ++i) {
            if (key_of(a.scores[i]) != key_found) continue;
            if (n == wanted) {
                a.result[0] = i;
                a.seen[i] |= 2;
            }
            n += 1;
        }
    }
}
