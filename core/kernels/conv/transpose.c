/* core/kernels/conv/transpose.c - transposed convolution: a matrix product per output channel, [taps, c] x [c, pixels], whose rows
 * are then added to the places their tap points at. */
#include "core/kernels/conv/transpose.h"

#include "core/base/checked.h"
#include "core/kernels/gemm/gemm.h"
#include "core/kernels/gemm/tile.h"

#include <string.h>

enum { PIXELS = 512 }; /* of one product: taps x 512 floats of scratch */

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b > 0); }
static int64_t volume(const int64_t v[3]) { return v[0] * v[1] * v[2]; }

typedef struct job {
    const qn_conv_transpose_args *a;
    qn_tile_run_fn *run;
    int64_t taps, per_c; /* per_c: input channels of a group */
    float *products;     /* [member][taps][PIXELS] */
} job;

/* Add row [from, from + n) of input pixels along the width, all in input row (id, ih), to y. */
static void add_row(const qn_conv_shape *s, const int64_t k[3], int64_t id, int64_t ih, int64_t from, int64_t n, const float *v, float *y)
{
    const int64_t od = id * s->stride[0] - s->pad[0] + k[0] * s->dilation[0], oh = ih * s->stride[1] - s->pad[1] + k[1] * s->dilation[1];
    const int64_t base = k[2] * s->dilation[2] - s->pad[2], step = s->stride[2]; /* ow = iw * step + base */
    const int64_t lo = max64(from, ceil_div(-base, step)), hi = min64(from + n, ceil_div(s->out[2] - base, step));

    if (od < 0 || od >= s->out[0] || oh < 0 || oh >= s->out[1]) return;
    y += (od * s->out[1] + oh) * s->out[2];
    for (int64_t iw = lo; iw < hi; iw++) y[iw * step + base] += v[iw - from];
}

/* Pixels [first, first + n) of one tap. */
static void add_tap(const qn_conv_shape *s, int64_t tap, int64_t first, int64_t n, const float *v, float *y)
{
    const int64_t k[3] = { tap / s->kernel[2] / s->kernel[1], tap / s->kernel[2] % s->kernel[1], tap % s->kernel[2] };

    for (int64_t done = 0; done < n;) {
        const int64_t px = first + done, iw = px % s->in[2], ih = px / s->in[2] % s->in[1], id = px / s->in[2] / s->in[1];
        const int64_t run = min64(n - done, s->in[2] - iw);

        add_row(s, k, id, ih, iw, run, v + done, y);
        done += run;
    }
}

/* The additions of an output pixel must come in the order of taps, whatever the cut into products: so a tap is finished for all
 * pixels before the next begins, unless one product holds all pixels. */
static void run_channel(const job *jb, const float *x, const float *w, float *products, float *y)
{
    const qn_conv_shape *s = &jb->a->s;
    const int64_t pixels = volume(s->in);
    const int64_t rows_at_once = pixels <= PIXELS ? QN_TILE_ROWS : 1;

    for (int64_t tap = 0; tap < jb->taps; tap += rows_at_once) {
        const int32_t rows = (int32_t)min64(rows_at_once, jb->taps - tap);
        const int64_t width = PIXELS * (QN_TILE_ROWS / rows_at_once);

        for (int64_t first = 0; first < pixels; first += width) {
            const int64_t n = min64(width, pixels - first);
            const qn_tile t = {
                .k = jb->per_c,
                .rows = rows,
                .cols = n,
                .a = w + tap * jb->per_c,
                .lda = jb->per_c,
                .b = x + first,
                .b_row = pixels,
                .b_panel = 16,
                .finish = true,
                .c = products,
                .ldc = width,
            };

            jb->run(&t);
            for (int32_t i = 0; i < rows; i++) add_tap(s, tap + i, first, n, products + i * width, y);
        }
    }
}

static void run_tile(void *ctx, int64_t index, int member)
{
    const job *jb = ctx;
    const qn_conv_transpose_args *a = jb->a;
    const qn_conv_shape *s = &a->s;
    const int64_t image = index / s->o, o = index % s->o, group = o / (s->o / s->groups), size = volume(s->out);
    float *y = a->y + index * size;

    memset(y, 0, (size_t)size * sizeof *y);
    run_channel(jb, a->x + (image * s->c + group * jb->per_c) * volume(s->in), a->w + o * jb->taps * jb->per_c,
                jb->products + member * (PIXELS * QN_TILE_ROWS), y);
    if (!a->bias) return;
    for (int64_t i = 0; i < size; i++) y[i] += a->bias[o];
}

static const struct {
    const char *name;
    unsigned needs;
    qn_tile_run_fn *run;
} rows[] = {
    { "f32_12x32__avx512", QN_CPU_AVX512, qn_tile_f32__avx512 },
    { "f32_6x16__avx2", QN_CPU_AVX2 | QN_CPU_FMA, qn_tile_f32__avx2 },
    { "f32_4x16__scalar", 0, qn_tile_f32__scalar },
};

static int pick(unsigned cpu)
{
    int i = 0;

    while (rows[i].needs & ~cpu) i++; /* ends: the last row needs nothing */
    return i;
}

const char *qn_conv_transpose_name(unsigned cpu) { return rows[pick(cpu)].name; }

bool qn_conv_transpose_packed_bytes(const qn_conv_shape *s, size_t *bytes)
{
    size_t n, channels, taps = sizeof(float);

    for (int d = 0; d < 3; d++) {
        if (!qn_size_mul(taps, (size_t)s->kernel[d], &taps)) return false;
    }
    return qn_i64_to_size(s->o, &n) && qn_i64_to_size(s->c / s->groups, &channels) && qn_size_mul(n, channels, &n) &&
           qn_size_mul(n, taps, bytes);
}

void qn_conv_transpose_pack(const qn_conv_shape *s, float *packed, const float *w)
{
    const int64_t per_o = s->o / s->groups, per_c = s->c / s->groups, taps = volume(s->kernel);

    for (int64_t o = 0; o < s->o; o++) {
        for (int64_t tap = 0; tap < taps; tap++) {
            for (int64_t c = 0; c < per_c; c++) *packed++ = w[((o / per_o * per_c + c) * per_o + o % per_o) * taps + tap];
        }
    }
}

bool qn_conv_transpose_scratch(const qn_conv_shape *s, int team_size, size_t *bytes)
{
    (void)s;
    *bytes = (size_t)team_size * PIXELS * QN_TILE_ROWS * sizeof(float);
    return true;
}

void qn_conv_transpose_run(unsigned cpu, const qn_conv_transpose_args *a, qn_team *team)
{
    job jb = { .a = a, .run = rows[pick(cpu)].run, .taps = volume(a->s.kernel), .per_c = a->s.c / a->s.groups, .products = a->scratch };

    qn_team_run(team, a->s.n * a->s.o, run_tile, &jb);
}
