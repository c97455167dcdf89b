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
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#ifndef KERNELS_OF
#define KERNELS_OF "unknown"
#endif

enum { MOST_SECTIONS = 8, BLOCK = 1024 };

/* Two channels side by side: what one waits for costs the other nothing. */
typedef double pair __attribute__((vector_size(16)));

typedef struct {
    pair b0, b1, b2, a1, a2;
    pair x1, x2; /* what came in last, and before */
    pair y1, y2; /* what went out */
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
        to[s].x1 = to[s].x2 = to[s].y1 = to[s].y2 = (pair){0, 0};
    }
}

/* Far below the least float: left to decay, it would be slow to reckon with. */
static pair flushed(pair x) {
    for (int lane = 0; lane < 2; lane++)
        if (x[lane] < 1e-200 && x[lane] > -1e-200) x[lane] = 0;
    return x;
}

/* Filter a block in place: direct form I. Only one product and one difference of a frame wait for the frame before;
 * of the transposed form II, which takes fewer places, it would be two more. */
static inline __attribute__((always_inline)) void run(section *all, const int count, pair *x, int64_t frames) {
    section now[MOST_SECTIONS];
    for (int s = 0; s < count; s++) now[s] = all[s];
    for (int64_t t = 0; t < frames; t++) {
        pair v = x[t];
        for (int s = 0; s < count; s++) {
            const pair in = now[s].b0 * v + (now[s].b1 * now[s].x1 + now[s].b2 * now[s].x2);
            const pair y = (in - now[s].a2 * now[s].y2) - now[s].a1 * now[s].y1;
            now[s].x2 = now[s].x1;
            now[s].x1 = v;
            now[s].y2 = now[s].y1;
            now[s].y1 = y;
            v = y;
        }
        x[t] = v;
    }
    for (int s = 0; s < count; s++) {
        now[s].x1 = flushed(now[s].x1), now[s].x2 = flushed(now[s].x2);
        now[s].y1 = flushed(now[s].y1), now[s].y2 = flushed(now[s].y2);
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

/* Add up what two channels have: out is {sum, sum, square, square, product}, each channel's first; tops takes the
 * highest of each, whatever its sign. */
void moments(const float *one, const float *other, int64_t frames, double *out, float *tops) {
    int64_t done = 0;
    for (int k = 0; k < 5; k++) out[k] = 0;
    tops[0] = tops[1] = 0;
#ifdef __SSE2__
    const __m128 no_sign = _mm_castsi128_ps(_mm_set1_epi32(0x7fffffff));
    __m128d sums[5][2];
    __m128 top[2] = {_mm_setzero_ps(), _mm_setzero_ps()};
    for (int k = 0; k < 5; k++) sums[k][0] = sums[k][1] = _mm_setzero_pd();
    for (; done + 4 <= frames; done += 4) {
        const __m128 a = _mm_loadu_ps(one + done), b = _mm_loadu_ps(other + done);
        const __m128d x[2] = {_mm_cvtps_pd(a), _mm_cvtps_pd(_mm_movehl_ps(a, a))};
        const __m128d y[2] = {_mm_cvtps_pd(b), _mm_cvtps_pd(_mm_movehl_ps(b, b))};
        for (int i = 0; i < 2; i++) {
            sums[0][i] = _mm_add_pd(sums[0][i], x[i]);
            sums[1][i] = _mm_add_pd(sums[1][i], y[i]);
            sums[2][i] = _mm_add_pd(sums[2][i], _mm_mul_pd(x[i], x[i]));
            sums[3][i] = _mm_add_pd(sums[3][i], _mm_mul_pd(y[i], y[i]));
            sums[4][i] = _mm_add_pd(sums[4][i], _mm_mul_pd(x[i], y[i]));
        }
        top[0] = _mm_max_ps(_mm_and_ps(a, no_sign), top[0]);
        top[1] = _mm_max_ps(_mm_and_ps(b, no_sign), top[1]);
    }
    for (int k = 0; k < 5; k++) {
        double parts[2];
        _mm_storeu_pd(parts, _mm_add_pd(sums[k][0], sums[k][1]));
        out[k] = parts[0] + parts[1];
    }
    for (int k = 0; k < 2; k++) {
        float parts[4];
        _mm_storeu_ps(parts, top[k]);
        for (int i = 0; i < 4; i++) tops[k] = parts[i] > tops[k] ? parts[i] : tops[k];
    }
#endif
    for (; done < frames; done++) {
        const double x = one[done], y = other[done];
        const float high = __builtin_fabsf(one[done]), other_high = __builtin_fabsf(other[done]);
        out[0] += x;
        out[1] += y;
        out[2] += x * x;
        out[3] += y * y;
        out[4] += x * y;
        tops[0] = high > tops[0] ? high : tops[0];
        tops[1] = other_high > tops[1] ? other_high : tops[1];
    }
}

static int32_t in_24_bits(float sample) {
    const float full = 8388608.0f;
    const double magic = 6755399441055744.0; /* 1.5 x 2^52: no bits are left behind the point, halves go to even */
    float step = sample * full;
    step = step < full - 1 ? step : full - 1;
    step = step > -full ? step : -full;
    return (int32_t)(((double)step + magic) - magic) * 256;
}

/* Round to steps of 2^-23 within -1..1: out [frames][channels], in the topmost bits. Channels are `apart` samples. */
void round_to_24_bits(const float *audio, int64_t channels, int64_t apart, int64_t frames, int32_t *out) {
    int64_t done = 0;
#ifdef __SSE2__
    if (channels == 2) {
        const __m128 full = _mm_set1_ps(8388608.0f), most = _mm_set1_ps(8388607.0f), low = _mm_set1_ps(-8388608.0f);
        for (; done + 4 <= frames; done += 4) {
            __m128i whole[2];
            for (int c = 0; c < 2; c++) {
                const __m128 step = _mm_mul_ps(_mm_loadu_ps(audio + c * apart + done), full);
                whole[c] = _mm_slli_epi32(_mm_cvtps_epi32(_mm_max_ps(_mm_min_ps(step, most), low)), 8);
            }
            _mm_storeu_si128((__m128i *)(out + 2 * done), _mm_unpacklo_epi32(whole[0], whole[1]));
            _mm_storeu_si128((__m128i *)(out + 2 * done + 4), _mm_unpackhi_epi32(whole[0], whole[1]));
        }
    }
#endif
    for (int64_t t = done; t < frames; t++)
        for (int64_t c = 0; c < channels; c++) out[t * channels + c] = in_24_bits(audio[c * apart + t]);
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
