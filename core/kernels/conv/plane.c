/* core/kernels/conv/plane.c - geometry and copying of planes; see plane.h. */
#include "core/kernels/conv/plane.h"

#include "core/base/checked.h"

#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Elements of a plane that keep it in L2 beside the weights, flat pixels of a tile, and how few make vectors idle. */
enum { ELEMS_GOAL = 48 * 1024, FLAT_MOST = 1024, FLAT_LEAST = 64, WIDTH_MOST = 256 };

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b > 0); } /* b > 0; right for a < 0 too */

/* Is a plane per tap cheaper than one whose rows overlap by halo_w? Copying one element more costs about as much as eight rows of
 * results for one pixel that is thrown away. */
static bool wasteful(const qn_conv_shape *s, int64_t halo_w)
{
    enum { ROWS = 8 };
    const int64_t width = min64(s->out[2], WIDTH_MOST), rows = s->o / s->groups;

    return halo_w > 0 && width > 0 && halo_w >= width / 2 && rows >= 2 * ROWS;
}

bool qn_plane_init(const qn_conv_shape *s, int64_t steps, qn_plane *p)
{
    int64_t per_row, elems;

    *p = (qn_plane){ .steps = steps };
    if (!qn_i64_mul(s->kernel[0], s->kernel[1], &p->taps) || !qn_i64_mul(p->taps, s->kernel[2], &p->taps)) return false;
    if (!qn_i64_mul(s->kernel[1] - 1, s->dilation[1], &p->halo_h) || !qn_i64_mul(s->kernel[2] - 1, s->dilation[2], &p->halo_w))
        return false;
    p->phase_h = min64(s->stride[1], p->halo_h + 1);
    p->phase_w = min64(s->stride[2], p->halo_w + 1);
    p->halo_h /= s->stride[1];
    p->halo_w /= s->stride[2];
    p->next_h = p->next_w = 1;
    if (wasteful(s, p->halo_w)) {
        p->phase_h = s->kernel[1];
        p->phase_w = s->kernel[2];
        p->next_h = s->dilation[1];
        p->next_w = s->dilation[2];
        p->halo_h = p->halo_w = 0;
        p->per_tap = true;
    }

    /* elements of one plane row and column position, over all channels and phases */
    if (!qn_i64_mul(steps, s->kernel[0], &per_row) || !qn_i64_mul(per_row, p->phase_h, &per_row) ||
        !qn_i64_mul(per_row, p->phase_w, &per_row) || per_row > INT32_MAX)
        return false;
    p->tile_w = max64(FLAT_LEAST, min64(WIDTH_MOST, ELEMS_GOAL / max64(1, per_row * min64(p->halo_h + 1, ELEMS_GOAL))));
    p->n_w = ceil_div(s->out[2], p->tile_w);
    p->tile_w = max64(1, ceil_div(s->out[2], max64(1, p->n_w))); /* 1 for an output without pixels */
    p->pitch = p->tile_w + p->halo_w;
    if (p->pitch > INT32_MAX || p->halo_h > INT32_MAX) return false;
    p->tile_h = ELEMS_GOAL / max64(1, per_row * p->pitch) - p->halo_h;
    p->tile_h = min64(p->tile_h, FLAT_MOST / p->pitch);
    p->tile_h = max64(p->tile_h, max64(1, FLAT_LEAST / p->pitch));
    p->tile_h = min64(p->tile_h, max64(1, s->out[1]));
    p->n_h = ceil_div(s->out[1], p->tile_h);
    p->tile_h = max64(1, ceil_div(s->out[1], max64(1, p->n_h)));
    p->rows = p->tile_h + p->halo_h;
    if (!qn_i64_mul(per_row, p->rows, &elems) || !qn_i64_mul(elems, p->pitch, &elems)) return false;
    p->elems = elems + 16;
    return elems <= (1 << 30);
}

void qn_plane_offsets(const qn_conv_shape *s, const qn_plane *p, int32_t *off)
{
    const int64_t phase = p->rows * p->pitch, slice = p->phase_h * p->phase_w * phase;

    for (int64_t i = 0; i < p->steps * s->kernel[0]; i++) {
        for (int64_t kh = 0; kh < s->kernel[1]; kh++) {
            const int64_t ih = kh * s->dilation[1];

            for (int64_t kw = 0; kw < s->kernel[2]; kw++) {
                const int64_t iw = kw * s->dilation[2];

                if (p->per_tap)
                    *off++ = (int32_t)(i * slice + (kh * p->phase_w + kw) * phase);
                else
                    *off++ = (int32_t)(i * slice + (ih % s->stride[1] * p->phase_w + iw % s->stride[2]) * phase +
                                       ih / s->stride[1] * p->pitch + iw / s->stride[2]);
            }
        }
    }
}

void qn_plane_tile_at(const qn_conv_shape *s, const qn_plane *p, int64_t index, qn_plane_tile *t)
{
    t->w0 = index % p->n_w * p->tile_w;
    t->h0 = index / p->n_w % p->n_h * p->tile_h;
    t->d = index / p->n_w / p->n_h;
    t->w = min64(p->tile_w, s->out[2] - t->w0);
    t->h = min64(p->tile_h, s->out[1] - t->h0);
    t->flat = (t->h - 1) * p->pitch + t->w;
}

/* -- filling -------------------------------------------------------------------------------------------------------------- */

/* Where one row of one phase comes from. */
typedef struct span {
    int64_t n;      /* columns wanted */
    int64_t lo, hi; /* [lo, hi) exist, the others are padding */
    int64_t first;  /* input column of lo */
    int64_t step;
} span;

static span span_of(const qn_conv_shape *s, const qn_plane *p, const qn_plane_tile *t, int64_t column)
{
    const int64_t stride = s->stride[2], base = t->w0 * stride - s->pad[2] + column; /* input column of q = 0 */
    span r = { .n = t->w + p->halo_w, .step = stride };

    r.lo = min64(r.n, max64(0, ceil_div(-base, stride)));
    r.hi = max64(r.lo, min64(r.n, ceil_div(s->in[2] - base, stride)));
    r.first = base + r.lo * stride;
    return r;
}

/* dst[i] = x[2 i] for i < n; reads nothing past x[2 n - 2]. */
static void every_second_f32(const float *x, int64_t n, float *dst)
{
    int64_t i = 0;

#ifdef __SSE2__
    for (; i + 4 < n; i += 4) { /* not the last four: the second load takes one more than it needs */
        const __m128 a = _mm_loadu_ps(x + 2 * i), b = _mm_loadu_ps(x + 2 * i + 4);

        _mm_storeu_ps(dst + i, _mm_shuffle_ps(a, b, 0x88));
    }
#endif
    for (; i < n; i++) dst[i] = x[2 * i];
}

static void copy_f32(const span *r, const float *x, float *dst)
{
    memset(dst, 0, (size_t)r->lo * sizeof *dst);
    if (r->step == 1) {
        memcpy(dst + r->lo, x + r->first, (size_t)(r->hi - r->lo) * sizeof *dst);
    } else if (r->step == 2) {
        every_second_f32(x + r->first, r->hi - r->lo, dst + r->lo);
    } else {
        for (int64_t q = r->lo; q < r->hi; q++) dst[q] = x[r->first + (q - r->lo) * r->step];
    }
    memset(dst + r->hi, 0, (size_t)(r->n - r->hi) * sizeof *dst);
}

/* Input row ih of depth id, or NULL for padding. */
static bool row_exists(const qn_conv_shape *s, int64_t id, int64_t ih) { return id >= 0 && id < s->in[0] && ih >= 0 && ih < s->in[1]; }

void qn_plane_fill_f32(const qn_conv_shape *s, const qn_plane *p, const qn_plane_tile *t, const float *x, float *plane)
{
    const int64_t image = s->in[0] * s->in[1] * s->in[2];

    for (int64_t i = 0; i < p->steps * s->kernel[0]; i++) {
        const int64_t c = i / s->kernel[0], id = t->d * s->stride[0] - s->pad[0] + i % s->kernel[0] * s->dilation[0];

        for (int64_t f = 0; f < p->phase_h * p->phase_w; f++, plane += p->rows * p->pitch) {
            const span r = span_of(s, p, t, f % p->phase_w * p->next_w);

            for (int64_t row = 0; row < t->h + p->halo_h; row++) {
                const int64_t ih = (t->h0 + row) * s->stride[1] - s->pad[1] + f / p->phase_w * p->next_h;

                if (row_exists(s, id, ih))
                    copy_f32(&r, x + c * image + (id * s->in[1] + ih) * s->in[2], plane + row * p->pitch);
                else
                    memset(plane + row * p->pitch, 0, (size_t)r.n * sizeof *plane);
            }
        }
    }
    memset(plane, 0, 16 * sizeof *plane); /* read with the last panel, never used */
}

static void fill_u32(uint32_t *dst, int64_t n, uint32_t v)
{
    for (int64_t i = 0; i < n; i++) dst[i] = v;
}

#ifdef __SSE2__
/* Sixteen bytes, each step 1 or 2 from the one before; with 2 it reads one byte past the last. */
static inline __m128i sixteen(const uint8_t *x, int64_t step)
{
    const __m128i even = _mm_set1_epi16(0x00ff), lo = _mm_loadu_si128((const __m128i *)(const void *)x);

    if (step == 1) return lo;
    return _mm_packus_epi16(_mm_and_si128(lo, even), _mm_and_si128(_mm_loadu_si128((const __m128i *)(const void *)(x + 16)), even));
}
#endif

/* Four rows of bytes into one row of quads. */
static void copy_quads(const span *r, const uint8_t *const row[4], uint8_t flip, uint32_t pad, uint32_t *dst)
{
    const uint8_t *a = row[0] + r->first, *b = row[1] + r->first, *c = row[2] + r->first, *d = row[3] + r->first;
    const int64_t n = r->hi - r->lo;
    int64_t q = 0;

    fill_u32(dst, r->lo, pad);
    fill_u32(dst + r->hi, r->n - r->hi, pad);
    dst += r->lo;
#ifdef __SSE2__
    if (r->step <= 2) {
        const __m128i f = _mm_set1_epi8((char)flip);

        for (; q + 16 <= n - (r->step - 1); q += 16) {
            const __m128i va = sixteen(a + q * r->step, r->step), vb = sixteen(b + q * r->step, r->step);
            const __m128i vc = sixteen(c + q * r->step, r->step), vd = sixteen(d + q * r->step, r->step);
            const __m128i ab0 = _mm_xor_si128(_mm_unpacklo_epi8(va, vb), f), ab1 = _mm_xor_si128(_mm_unpackhi_epi8(va, vb), f);
            const __m128i cd0 = _mm_xor_si128(_mm_unpacklo_epi8(vc, vd), f), cd1 = _mm_xor_si128(_mm_unpackhi_epi8(vc, vd), f);
            __m128i *out = (__m128i *)(void *)(dst + q);

            _mm_storeu_si128(out, _mm_unpacklo_epi16(ab0, cd0));
            _mm_storeu_si128(out + 1, _mm_unpackhi_epi16(ab0, cd0));
            _mm_storeu_si128(out + 2, _mm_unpacklo_epi16(ab1, cd1));
            _mm_storeu_si128(out + 3, _mm_unpackhi_epi16(ab1, cd1));
        }
    }
#endif
    for (; q < n; q++) {
        const int64_t i = q * r->step;

        dst[q] = ((uint32_t)a[i] | (uint32_t)b[i] << 8 | (uint32_t)c[i] << 16 | (uint32_t)d[i] << 24) ^ flip * 0x01010101u;
    }
}

void qn_plane_fill_u8(const qn_conv_shape *s, const qn_plane *p, const qn_plane_tile *t, const uint8_t *x, int64_t channels, uint8_t flip,
                      uint8_t pad, uint32_t *plane)
{
    const int64_t image = s->in[0] * s->in[1] * s->in[2];
    const uint32_t pads = pad * 0x01010101u;

    for (int64_t i = 0; i < p->steps * s->kernel[0]; i++) {
        const int64_t c = i / s->kernel[0] * 4, id = t->d * s->stride[0] - s->pad[0] + i % s->kernel[0] * s->dilation[0];

        for (int64_t f = 0; f < p->phase_h * p->phase_w; f++, plane += p->rows * p->pitch) {
            const span r = span_of(s, p, t, f % p->phase_w * p->next_w);

            for (int64_t row = 0; row < t->h + p->halo_h; row++) {
                const int64_t ih = (t->h0 + row) * s->stride[1] - s->pad[1] + f / p->phase_w * p->next_h;
                const uint8_t *rows[4];

                if (!row_exists(s, id, ih)) {
                    fill_u32(plane + row * p->pitch, r.n, pads);
                    continue;
                }
                for (int l = 0; l < 4; l++) rows[l] = x + min64(c + l, channels - 1) * image + (id * s->in[1] + ih) * s->in[2];
                copy_quads(&r, rows, flip, pads, plane + row * p->pitch);
            }
        }
    }
    memset(plane, 0, 16 * sizeof *plane);
}

/* -- back to the output --------------------------------------------------------------------------------------------------- */

void qn_plane_scatter(const qn_conv_shape *s, const qn_plane *p, const qn_plane_tile *t, int64_t first, int64_t n, int32_t rows,
                      const void *tmp, int64_t ld, void *y, int64_t y_stride, size_t size)
{
    for (int64_t r = first / p->pitch; r * p->pitch < first + n; r++) {
        const int64_t from = max64(first, r * p->pitch), to = min64(first + n, r * p->pitch + t->w);
        const int64_t at = (t->d * s->out[1] + t->h0 + r) * s->out[2] + t->w0 + from - r * p->pitch;

        if (from >= to) continue; /* only the halo of this row */
        for (int32_t i = 0; i < rows; i++)
            memcpy((char *)y + (size_t)(i * y_stride + at) * size, (const char *)tmp + (size_t)(i * ld + from - first) * size,
                   (size_t)(to - from) * size);
    }
}

/* -- cutting -------------------------------------------------------------------------------------------------------------- */

int64_t qn_conv_work(const qn_conv_shape *s)
{
    const int64_t factors[] = { s->n, s->o, s->out[0], s->out[1], s->out[2], s->c / s->groups, s->kernel[0], s->kernel[1], s->kernel[2] };
    int64_t work = 1;

    for (size_t i = 0; i < sizeof factors / sizeof factors[0]; i++) {
        if (!qn_i64_mul(work, factors[i], &work)) return INT64_MAX;
    }
    return work;
}

int64_t qn_conv_channel_parts(const qn_conv_shape *s, int64_t n_tiles)
{
    enum { GOAL = 8, LEAST_CHANNELS = 48, LEAST_WORK = 1 << 22 };
    qn_conv_shape one = *s;
    const int64_t channels = s->o / s->groups, tiles = n_tiles * s->groups;

    one.n = 1; /* a batch must not change how an image is cut */
    if (tiles >= GOAL || qn_conv_work(&one) < LEAST_WORK) return 1;
    return max64(1, min64(ceil_div(GOAL, max64(1, tiles)), channels / LEAST_CHANNELS));
}
