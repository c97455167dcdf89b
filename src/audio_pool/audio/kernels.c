/* The loops that every sound is finished with and that numpy cannot run in one pass.
 *
 * Owns: recursive filters over all channels at once, powers between bounds, samples as whole numbers.
 * Must not know: Python, which cut-offs and weights are used, files. Memory is the caller's.
 *
 * Sounds are float [channels][frames], channel after channel. Sums and products are rounded one by one
 * (-ffp-contract=off), so that a machine with fused ones gives the same samples as one without.
 */

#include <stdint.h>
#include <string.h>

#ifndef KERNELS_OF
#define KERNELS_OF "unknown"
#endif

enum { MOST_SECTIONS = 8, BLOCK = 1024 };

/* Two channels side by side: what one waits for costs the other nothing. */
typedef double pair __attribute__((vector_size(16)));

typedef struct {
    pair b0, b1, b2, a1, a2, z0, z1;
} section;

/* Which source this library was made of. */
const char *kernels_of(void) { return KERNELS_OF; }

static void load(section *to, const double *from, int count) {
    for (int s = 0; s < count; s++, from += 6) {
        to[s].b0 = (pair){from[0], from[0]};
        to[s].b1 = (pair){from[1], from[1]};
        to[s].b2 = (pair){from[2], from[2]};
        to[s].a1 = (pair){from[4], from[4]};
        to[s].a2 = (pair){from[5], from[5]};
        to[s].z0 = to[s].z1 = (pair){0, 0};
    }
}

/* Filter a block in place: direct form II, transposed. */
static inline __attribute__((always_inline)) void run(section *all, const int count, pair *x, int64_t frames) {
    section now[MOST_SECTIONS];
    for (int s = 0; s < count; s++) now[s] = all[s];
    for (int64_t t = 0; t < frames; t++) {
        pair v = x[t];
        for (int s = 0; s < count; s++) {
            const pair y = now[s].b0 * v + now[s].z0;
            now[s].z0 = now[s].b1 * v - now[s].a1 * y + now[s].z1;
            now[s].z1 = now[s].b2 * v - now[s].a2 * y;
            v = y;
        }
        x[t] = v;
    }
    for (int s = 0; s < count; s++) {
        for (int lane = 0; lane < 2; lane++) {
            /* far below the least float: left to decay, it would be slow to reckon with */
            if (now[s].z0[lane] < 1e-200 && now[s].z0[lane] > -1e-200) now[s].z0[lane] = 0;
            if (now[s].z1[lane] < 1e-200 && now[s].z1[lane] > -1e-200) now[s].z1[lane] = 0;
        }
        all[s] = now[s];
    }
}

/* Numbers of sections that are known while compiling stay in registers. */
static void filter_block(section *all, int count, pair *x, int64_t frames) {
    while (count > 2) {
        run(all, 2, x, frames);
        all += 2, count -= 2;
    }
    if (count == 2) run(all, 2, x, frames);
    if (count == 1) run(all, 1, x, frames);
}

/* Take frames from..from+frames of two channels; before the first are the last, as in a loop. */
static void take(pair *x, const float *one, const float *other, int64_t length, int64_t from, int64_t frames) {
    for (int64_t t = 0; t < frames; t++) {
        int64_t at = from + t;
        if (at < 0) at = length - 1 - (-at - 1) % length;
        x[t] = (pair){one[at], other[at]};
    }
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Filter a sound from rest by sections [count][6]; `warm` frames of its end are run through before, as in a loop.
 *
 * offsets [channels]: subtracted before. Returns 0, or -1 where there are too many sections. */
int filter_sound(const double *sections, int count, const float *audio, int64_t channels, int64_t length, int64_t warm,
                 const double *offsets, float *out) {
    if (count > MOST_SECTIONS) return -1;
    for (int64_t c = 0; c < channels; c += 2) {
        const int64_t other = c + 1 < channels ? c + 1 : c;
        const float *one_in = audio + c * length, *other_in = audio + other * length;
        float *one_out = out + c * length, *other_out = out + other * length;
        const pair offset = {offsets[c], offsets[other]};
        section state[MOST_SECTIONS];
        pair x[BLOCK];
        load(state, sections, count);
        for (int64_t from = -warm; from < length;) {
            const int64_t frames = least(BLOCK, (from < 0 ? 0 : length) - from);
            take(x, one_in, other_in, length, from, frames);
            for (int64_t t = 0; t < frames; t++) x[t] -= offset;
            filter_block(state, count, x, frames);
            if (from >= 0)
                for (int64_t t = 0; t < frames; t++) {
                    one_out[from + t] = (float)x[t][0];
                    other_out[from + t] = (float)x[t][1];
                }
            from += frames;
        }
    }
    return 0;
}

/* Add up the squares of a filtered sound, of all channels together, between bounds [n + 1] in order: sums [n].
 *
 * Returns 0, or -1 where there are too many sections. */
int filtered_powers(const double *sections, int count, const float *audio, int64_t channels, int64_t length,
                    int64_t warm, const int64_t *bounds, int64_t n, double *sums) {
    if (count > MOST_SECTIONS) return -1;
    memset(sums, 0, (size_t)n * sizeof *sums);
    for (int64_t c = 0; c < channels; c += 2) {
        const int64_t other = c + 1 < channels ? c + 1 : c;
        const float *one = audio + c * length, *second = audio + other * length;
        section state[MOST_SECTIONS];
        pair x[BLOCK];
        load(state, sections, count);
        for (int64_t from = -warm; from < 0;) {
            const int64_t frames = least(BLOCK, -from);
            take(x, one, second, length, from, frames);
            filter_block(state, count, x, frames);
            from += frames;
        }
        int64_t from = 0;
        for (int64_t i = 0; i < n; i++) {
            pair sum = {0, 0};
            while (from < bounds[i + 1]) {
                /* what is before the first bound is filtered, and counts nowhere */
                const int64_t frames = least(BLOCK, (from < bounds[i] ? bounds[i] : bounds[i + 1]) - from);
                take(x, one, second, length, from, frames);
                filter_block(state, count, x, frames);
                if (from >= bounds[i])
                    for (int64_t t = 0; t < frames; t++) sum += x[t] * x[t];
                from += frames;
            }
            sums[i] += other == c ? sum[0] : sum[0] + sum[1];
        }
    }
    return 0;
}

/* Add up what two channels have in common: out is {sum, sum, square, square, product} in float64, of one channel
 * with itself where other == one; tops takes the highest of each, whatever its sign. */
void moments(const float *one, const float *other, int64_t frames, double *out, float *tops) {
    /* as many sums side by side as hide what each waits for */
    enum { WIDE = 8 };
    double sums[5][WIDE] = {{0}};
    float top[2][WIDE] = {{0}};
    int64_t t = 0;
    for (; t + WIDE <= frames; t += WIDE)
        for (int i = 0; i < WIDE; i++) {
            const float a = one[t + i], b = other[t + i];
            const float high = __builtin_fabsf(a), other_high = __builtin_fabsf(b);
            sums[0][i] += a;
            sums[1][i] += b;
            sums[2][i] += (double)a * a;
            sums[3][i] += (double)b * b;
            sums[4][i] += (double)a * b;
            top[0][i] = high > top[0][i] ? high : top[0][i];
            top[1][i] = other_high > top[1][i] ? other_high : top[1][i];
        }
    for (; t < frames; t++) {
        const float a = one[t], b = other[t];
        const float high = __builtin_fabsf(a), other_high = __builtin_fabsf(b);
        sums[0][0] += a;
        sums[1][0] += b;
        sums[2][0] += (double)a * a;
        sums[3][0] += (double)b * b;
        sums[4][0] += (double)a * b;
        top[0][0] = high > top[0][0] ? high : top[0][0];
        top[1][0] = other_high > top[1][0] ? other_high : top[1][0];
    }
    for (int k = 0; k < 5; k++) {
        out[k] = 0;
        for (int i = 0; i < WIDE; i++) out[k] += sums[k][i];
    }
    for (int k = 0; k < 2; k++) {
        tops[k] = 0;
        for (int i = 0; i < WIDE; i++) tops[k] = top[k][i] > tops[k] ? top[k][i] : tops[k];
    }
}

/* Round to steps of 2^-23 within -1..1: out [frames][channels], in the topmost bits. Channels are `apart` samples. */
void round_to_24_bits(const float *audio, int64_t channels, int64_t apart, int64_t frames, int32_t *out) {
    const float full = 8388608.0f;
    const double magic = 6755399441055744.0; /* 1.5 x 2^52: no bits are left behind the point, halves go to even */
    for (int64_t c = 0; c < channels; c++)
        for (int64_t t = 0; t < frames; t++) {
            float step = audio[c * apart + t] * full;
            step = step < full - 1 ? step : full - 1;
            step = step > -full ? step : -full;
            out[t * channels + c] = (int32_t)(((double)step + magic) - magic) * 256;
        }
}

/* Add the power between bounds [bands + 1] of spectra [n][bins], real and imaginary parts in turns: sums [n][bands]. */
void add_band_powers(const float *spectra, int64_t n, int64_t bins, const int64_t *bounds, int64_t bands,
                     double *sums) {
    for (int64_t i = 0; i < n; i++, spectra += 2 * bins, sums += bands)
        for (int64_t b = 0; b < bands; b++) {
            double sum = 0, other = 0;
            const float *v = spectra + 2 * bounds[b], *end = spectra + 2 * bounds[b + 1];
            for (; v < end; v += 2) {
                sum += (double)(v[0] * v[0]);
                other += (double)(v[1] * v[1]);
            }
            sums[b] += sum + other;
        }
}
