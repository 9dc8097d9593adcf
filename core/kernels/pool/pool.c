/* core/kernels/pool/pool.c - pools of every element type, from pool.inc. A row of outputs walks through the taps of its windows
 * together, so the inner loop runs over columns and becomes vectors, while each output still sees its taps in ascending order. */
#include "core/kernels/pool/pool.h"

#include "core/base/checked.h"
#include "core/base/half.h"

#include <math.h>

enum { CHUNK = 256, PLANES = 8 }; /* columns of a row at a time, on the stack; planes of a tile */

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b > 0); } /* b > 0; right for a < 0 too */
static int64_t volume(const int64_t v[3]) { return v[0] * v[1] * v[2]; }
static int64_t n_tiles(const qn_pool_shape *s) { return (s->planes + PLANES - 1) / PLANES; }

/* Waking a team costs more than a few thousand reads. */
static bool worth_a_team(const qn_pool_shape *s)
{
    int64_t reads = s->planes;

    for (int d = 0; d < 3; d++) {
        if (!qn_i64_mul(reads, s->out[d], &reads) || !qn_i64_mul(reads, s->kernel[d], &reads)) return true;
    }
    return reads >= 1 << 16;
}

bool qn_pool_is_global(const qn_pool_shape *s)
{
    for (int d = 0; d < 3; d++) {
        if (s->out[d] != 1 || s->kernel[d] != s->in[d] || s->pad[d] != 0 || s->pad_end[d] != 0) return false;
        if (s->dilation[d] != 1 && s->kernel[d] != 1) return false;
    }
    return true;
}

/* The taps of one row of windows, in order: for each, the columns [lo, hi) of the row that have input there; column q reads
 * x[it.x + q * stride]. */
typedef struct tap_iter {
    const qn_pool_shape *s;
    int64_t w0, n;            /* columns of the row */
    int64_t i[2];             /* input depth and row of tap 0 */
    int64_t lo_k[2], hi_k[2]; /* taps that lie inside, per dimension */
    int64_t k[3];             /* next tap */
    int64_t x, lo, hi;
} tap_iter;

/* Taps of dimension d whose input exists for output position o: [*lo, *hi). */
static void taps_inside(const qn_pool_shape *s, int d, int64_t o, int64_t *lo, int64_t *hi)
{
    const int64_t first = o * s->stride[d] - s->pad[d];

    *lo = min64(s->kernel[d], max64(0, ceil_div(-first, s->dilation[d])));
    *hi = max64(*lo, min64(s->kernel[d], ceil_div(s->in[d] - first, s->dilation[d])));
}

/* Taps of dimension d that an average counts. */
static int64_t counted(const qn_pool_shape *s, int d, int64_t o, bool include_pad)
{
    int64_t lo, hi;

    if (include_pad)
        return max64(1, min64(s->kernel[d], ceil_div(s->in[d] + s->pad_end[d] - (o * s->stride[d] - s->pad[d]), s->dilation[d])));
    taps_inside(s, d, o, &lo, &hi);
    return max64(1, hi - lo); /* a window of padding only: 0 / 1 */
}

static void tap_begin(tap_iter *it, const qn_pool_shape *s, const int64_t at[2], int64_t w0, int64_t n)
{
    *it = (tap_iter){ .s = s, .w0 = w0, .n = n };
    for (int d = 0; d < 2; d++) {
        it->i[d] = at[d] * s->stride[d] - s->pad[d];
        taps_inside(s, d, at[d], &it->lo_k[d], &it->hi_k[d]);
    }
    it->k[0] = it->lo_k[0];
    it->k[1] = it->lo_k[1];
}

static bool tap_next(tap_iter *it)
{
    const qn_pool_shape *s = it->s;

    if (it->lo_k[1] >= it->hi_k[1]) return false;
    if (it->k[2] == s->kernel[2]) {
        it->k[2] = 0;
        it->k[1]++;
    }
    if (it->k[1] == it->hi_k[1]) {
        it->k[1] = it->lo_k[1];
        it->k[0]++;
    }
    if (it->k[0] >= it->hi_k[0]) return false;

    const int64_t base = it->w0 * s->stride[2] - s->pad[2] + it->k[2] * s->dilation[2]; /* input column of q = 0 */
    const int64_t depth = it->i[0] + it->k[0] * s->dilation[0], row = it->i[1] + it->k[1] * s->dilation[1];

    it->x = (depth * s->in[1] + row) * s->in[2] + base;
    it->lo = min64(it->n, max64(0, ceil_div(-base, s->stride[2])));
    it->hi = max64(it->lo, min64(it->n, ceil_div(s->in[2] - base, s->stride[2])));
    it->k[2]++;
    return true;
}

/* Place inside a plane, row-major -> place in x. */
static int64_t whole_index(const qn_pool_max_args *a, int64_t plane, int64_t i)
{
    const int64_t *in = a->s.in;

    if (i < 0) return -1;
    if (a->column_major) {
        const int64_t w = i % in[2], h = i / in[2] % in[1], d = i / in[2] / in[1];

        i = d + in[0] * (h + in[1] * w);
    }
    return plane * volume(in) + i;
}

#define T         float
#define ACC       float
#define LOAD(v)   (v)
#define STORE(v)  (v)
#define LOWEST    (-INFINITY)
#define IS_NAN(v) ((v) != (v))
#define NAME(x)   x##_f32
#define WITH_SUM
#include "core/kernels/pool/pool.inc"

#define T         double
#define ACC       double
#define LOAD(v)   (v)
#define STORE(v)  (v)
#define LOWEST    ((double)-INFINITY)
#define IS_NAN(v) ((v) != (v))
#define NAME(x)   x##_f64
#define WITH_SUM
#include "core/kernels/pool/pool.inc"

#define T         uint16_t
#define ACC       float
#define LOAD(v)   qn_f16_to_f32(v)
#define STORE(v)  qn_f32_to_f16(v)
#define LOWEST    (-INFINITY)
#define IS_NAN(v) ((v) != (v))
#define NAME(x)   x##_f16
#define WITH_SUM
#include "core/kernels/pool/pool.inc"

#define T         int8_t
#define ACC       int8_t
#define LOAD(v)   (v)
#define STORE(v)  (v)
#define LOWEST    INT8_MIN
#define IS_NAN(v) false
#define NAME(x)   x##_i8
#include "core/kernels/pool/pool.inc"

#define T         uint8_t
#define ACC       uint8_t
#define LOAD(v)   (v)
#define STORE(v)  (v)
#define LOWEST    0
#define IS_NAN(v) false
#define NAME(x)   x##_u8
#include "core/kernels/pool/pool.inc"
