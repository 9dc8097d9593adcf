/* core/kernels/conv/conv.c - f32 convolution: four ways to bring it to the tile of core/kernels/gemm, on three instruction sets.
 *
 *   whole    the kernel covers the image: one pixel, so it is a matrix product with the batch as rows
 *   1x1      stride 1, no padding: the input is already the matrix of pixels; nothing is copied
 *   dw       groups of one channel: planes, one row of the tile, many columns
 *   plain    everything else: planes (plane.h)
 *
 * In all of them weights are the rows (dense, as in the file), pixels the columns, and the chain runs over (c, kd, kh, kw). */
#include "core/kernels/conv/conv.h"

#include "core/base/checked.h"
#include "core/kernels/conv/plane.h"
#include "core/kernels/gemm/gemm.h"
#include "core/kernels/gemm/tile.h"

enum { COLS = 128 }; /* flat pixels of a block of results on the stack */

static const int64_t small_work = 1 << 17; /* below this many multiply-adds, waking a team costs more than the work */

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t volume(const int64_t v[3]) { return v[0] * v[1] * v[2]; }

typedef struct job {
    const qn_conv_args *a;
    qn_tile_run_fn *run;
    int64_t k;       /* length of the chain */
    int64_t n_tiles; /* spatial */
    int64_t n_parts; /* of the output channels of a group */
    qn_plane plane;
    const int32_t *off;
    float *planes;  /* one per member */
    int64_t pixels; /* 1x1: of a tile */
} job;

/* What one tile is about. */
typedef struct place {
    int64_t image, group, tile;
    int64_t o0, o1;     /* output channels, counted over all groups */
    const float *x, *w; /* first channel of the group; row o0 */
    int64_t y;          /* index in y and residual of pixel 0 of channel o0 */
} place;

static place place_of(const job *jb, int64_t index)
{
    const qn_conv_shape *s = &jb->a->s;
    const int64_t per = s->o / s->groups, part = index % jb->n_parts;
    place at = { .tile = index / jb->n_parts % jb->n_tiles };

    index /= jb->n_parts * jb->n_tiles;
    at.group = index % s->groups;
    at.image = index / s->groups;
    at.o0 = at.group * per + part * per / jb->n_parts;
    at.o1 = at.group * per + (part + 1) * per / jb->n_parts;
    at.x = jb->a->x + (at.image * s->c + at.group * (s->c / s->groups)) * volume(s->in);
    at.w = (const float *)jb->a->w + at.o0 * jb->k;
    at.y = (at.image * s->o + at.o0) * volume(s->out);
    return at;
}

/* Row groups of a part: as even as it goes. */
static int64_t n_row_groups(const place *at) { return (at->o1 - at->o0 + QN_TILE_ROWS - 1) / QN_TILE_ROWS; }

static int64_t row_group_start(const place *at, int64_t i) { return (at->o1 - at->o0) * i / n_row_groups(at); }

/* -- plain and dw --------------------------------------------------------------------------------------------------------- */

/* Sums at rest in tmp: bias, residual and act where they lie in y. */
static void scatter_with_residual(const job *jb, const place *at, const qn_plane_tile *t, int64_t row, int32_t rows, int64_t first,
                                  int64_t n, const float *tmp)
{
    const qn_conv_args *a = jb->a;
    const qn_conv_shape *s = &a->s;
    const int64_t pixels = volume(s->out), pitch = jb->plane.pitch;

    for (int64_t r = first / pitch; r * pitch < first + n; r++) {
        const int64_t from = max64(first, r * pitch), to = min64(first + n, r * pitch + t->w);
        const int64_t px = (t->d * s->out[1] + t->h0 + r) * s->out[2] + t->w0 - r * pitch;

        for (int32_t i = 0; i < rows; i++) {
            const float *residual = a->residual + at->y + (row + i) * pixels + px;
            float *y = a->y + at->y + (row + i) * pixels + px;

            for (int64_t q = from; q < to; q++) {
                float v = tmp[i * COLS + q - first];

                if (a->bias) v += a->bias[at->o0 + row + i];
                y[q] = qn_act_apply(v + residual[q], a->act, a->lo, a->hi);
            }
        }
    }
}

static void plane_tile(void *ctx, int64_t index, int member)
{
    const job *jb = ctx;
    const qn_conv_args *a = jb->a;
    const qn_conv_shape *s = &a->s;
    const place at = place_of(jb, index);
    float *plane = jb->planes + member * jb->plane.elems;
    _Alignas(64) float tmp[QN_TILE_ROWS * COLS];
    qn_plane_tile t;

    qn_plane_tile_at(s, &jb->plane, at.tile, &t);
    qn_plane_fill_f32(s, &jb->plane, &t, at.x, plane);
    for (int64_t g = 0; g < n_row_groups(&at); g++) {
        const int64_t row = row_group_start(&at, g);
        const int32_t rows = (int32_t)(row_group_start(&at, g + 1) - row);

        for (int64_t first = 0; first < t.flat; first += COLS) {
            const int64_t n = min64(COLS, t.flat - first);
            const qn_tile tile = {
                .k = jb->k,
                .rows = rows,
                .cols = n,
                .a = at.w + row * jb->k,
                .lda = jb->k,
                .b = plane + first,
                .b_panel = 16,
                .off = jb->off,
                .b_whole = true,
                .finish = !a->residual,
                .c = tmp,
                .ldc = COLS,
                .bias_m = a->bias ? a->bias + at.o0 + row : NULL,
                .act = a->act,
                .lo = a->lo,
                .hi = a->hi,
            };

            jb->run(&tile);
            if (a->residual)
                scatter_with_residual(jb, &at, &t, row, rows, first, n, tmp);
            else
                qn_plane_scatter(s, &jb->plane, &t, first, n, rows, tmp, COLS, a->y + at.y + row * volume(s->out), volume(s->out),
                                 sizeof *tmp);
        }
    }
}

static bool plane_scratch(const qn_conv_shape *s, int team_size, size_t *bytes)
{
    qn_plane p;
    size_t table, planes;

    return qn_plane_init(s, s->c / s->groups, &p) && qn_size_mul((size_t)(p.steps * p.taps), sizeof(int32_t), &table) &&
           qn_size_align(table, 64, &table) && qn_size_mul((size_t)p.elems, (size_t)team_size * sizeof(float), &planes) &&
           qn_size_add(table, planes, bytes);
}

static void plane_run(const qn_conv_args *a, qn_team *team, qn_tile_run_fn *run)
{
    const qn_conv_shape *s = &a->s;
    job jb = { .a = a, .run = run, .off = a->scratch };
    size_t table;

    if (volume(s->out) == 0 || !qn_plane_init(s, s->c / s->groups, &jb.plane)) return; /* accepts() has seen that it fits */
    jb.k = jb.plane.steps * jb.plane.taps;
    table = ((size_t)jb.k * sizeof(int32_t) + 63) & ~(size_t)63;
    jb.planes = (float *)(void *)((char *)a->scratch + table);
    qn_plane_offsets(s, &jb.plane, a->scratch);
    jb.n_tiles = s->out[0] * jb.plane.n_h * jb.plane.n_w;
    jb.n_parts = qn_conv_channel_parts(s, jb.n_tiles);
    qn_team_run(qn_conv_work(s) < small_work ? NULL : team, s->n * s->groups * jb.n_tiles * jb.n_parts, plane_tile, &jb);
}

/* -- 1x1 ------------------------------------------------------------------------------------------------------------------ */

static void pixel_tile(void *ctx, int64_t index, int member)
{
    const job *jb = ctx;
    const qn_conv_args *a = jb->a;
    const int64_t pixels = volume(a->s.out);
    const place at = place_of(jb, index);
    const int64_t first = at.tile * jb->pixels;

    (void)member;
    for (int64_t g = 0; g < n_row_groups(&at); g++) {
        const int64_t row = row_group_start(&at, g), y = at.y + row * pixels + first;
        const qn_tile tile = {
            .k = jb->k,
            .rows = (int32_t)(row_group_start(&at, g + 1) - row),
            .cols = min64(jb->pixels, pixels - first),
            .a = at.w + row * jb->k,
            .lda = jb->k,
            .b = at.x + first,
            .b_row = pixels,
            .b_panel = 16,
            .finish = true,
            .c = a->y + y,
            .ldc = pixels,
            .bias_m = a->bias ? a->bias + at.o0 + row : NULL,
            .residual = a->residual ? a->residual + y : NULL,
            .act = a->act,
            .lo = a->lo,
            .hi = a->hi,
        };

        jb->run(&tile);
    }
}

static void pixel_run(const qn_conv_args *a, qn_team *team, qn_tile_run_fn *run)
{
    enum { ELEMS_GOAL = 48 * 1024, MOST = 512, LEAST = 64 };
    const qn_conv_shape *s = &a->s;
    const int64_t pixels = volume(s->out), k = s->c / s->groups;
    const int64_t most = max64(LEAST, min64(MOST, ELEMS_GOAL / max64(1, k))); /* keeps the pixels of a tile in L2 beside the weights */
    job jb = { .a = a, .run = run, .k = k };

    if (pixels == 0) return;
    jb.n_tiles = (pixels + most - 1) / most;
    jb.pixels = ((pixels + jb.n_tiles - 1) / jb.n_tiles + 15) / 16 * 16; /* whole panels, but for the last tile */
    jb.n_tiles = (pixels + jb.pixels - 1) / jb.pixels;
    jb.n_parts = qn_conv_channel_parts(s, jb.n_tiles);
    qn_team_run(qn_conv_work(s) < small_work ? NULL : team, s->n * s->groups * jb.n_tiles * jb.n_parts, pixel_tile, &jb);
}

static bool no_scratch(const qn_conv_shape *s, int team_size, size_t *bytes)
{
    (void)s;
    (void)team_size;
    *bytes = 0;
    return true;
}

/* -- whole ---------------------------------------------------------------------------------------------------------------- */

static void whole_run(const qn_conv_args *a, qn_team *team, const qn_gemm_kernel *gemm)
{
    const qn_conv_shape *s = &a->s;
    const int64_t k = s->c * volume(s->kernel);
    const qn_gemm_args g = {
        .m = s->n,
        .n = s->o,
        .k = k,
        .a = a->x,
        .lda = k,
        .b = a->w,
        .c = a->y,
        .ldc = s->o,
        .bias_n = a->bias,
        .act = a->residual ? QN_ACT_NONE : a->act,
        .lo = a->lo,
        .hi = a->hi,
    };

    gemm->run(&g, team);
    for (int64_t i = 0; a->residual && i < s->n * s->o; i++) a->y[i] = qn_act_apply(a->y[i] + a->residual[i], a->act, a->lo, a->hi);
}

static bool whole_bytes(const qn_conv_shape *s, size_t *bytes) { return qn_gemm_packed_bytes(s->c * volume(s->kernel), s->o, bytes); }

static void whole_pack(const qn_conv_shape *s, void *packed, const float *w)
{
    const int64_t k = s->c * volume(s->kernel);

    qn_gemm_pack(packed, k, s->o, 0, k, w, 1, k);
}

static bool whole_accepts(const qn_conv_shape *s)
{
    bool ok = s->groups == 1;

    for (int d = 0; d < 3; d++) {
        ok = ok && s->out[d] == 1 && s->pad[d] == 0 && s->in[d] == s->kernel[d] && (s->dilation[d] == 1 || s->kernel[d] == 1);
    }
    return ok;
}

/* -- the table ------------------------------------------------------------------------------------------------------------ */

static bool dense_bytes(const qn_conv_shape *s, size_t *bytes)
{
    size_t n, channels, taps;

    return qn_i64_to_size(s->o, &n) && qn_i64_to_size(s->c / s->groups, &channels) &&
           qn_size_mul((size_t)volume(s->kernel), channels, &taps) && qn_size_mul(n, taps, &n) && qn_size_mul(n, sizeof(float), bytes);
}

static bool pixel_accepts(const qn_conv_shape *s)
{
    bool ok = true;

    for (int d = 0; d < 3; d++) ok = ok && s->kernel[d] == 1 && s->stride[d] == 1 && s->pad[d] == 0 && s->in[d] == s->out[d];
    return ok;
}

static bool plane_accepts(const qn_conv_shape *s)
{
    qn_plane p;

    return qn_plane_init(s, s->c / s->groups, &p);
}

static bool depthwise_accepts(const qn_conv_shape *s) { return s->groups == s->c && plane_accepts(s); }

static void whole__avx512(const qn_conv_args *a, qn_team *team) { whole_run(a, team, qn_gemm_pick(QN_CPU_AVX512)); }
static void whole__avx2(const qn_conv_args *a, qn_team *team) { whole_run(a, team, qn_gemm_pick(QN_CPU_AVX2 | QN_CPU_FMA)); }
static void whole__scalar(const qn_conv_args *a, qn_team *team) { whole_run(a, team, qn_gemm_pick(0)); }
static void pixel__avx512(const qn_conv_args *a, qn_team *team) { pixel_run(a, team, qn_tile_f32__avx512); }
static void pixel__avx2(const qn_conv_args *a, qn_team *team) { pixel_run(a, team, qn_tile_f32__avx2); }
static void pixel__scalar(const qn_conv_args *a, qn_team *team) { pixel_run(a, team, qn_tile_f32__scalar); }
static void plane__avx512(const qn_conv_args *a, qn_team *team) { plane_run(a, team, qn_tile_f32__avx512); }
static void plane__avx2(const qn_conv_args *a, qn_team *team) { plane_run(a, team, qn_tile_f32__avx2); }
static void plane__scalar(const qn_conv_args *a, qn_team *team) { plane_run(a, team, qn_tile_f32__scalar); }

#define NEEDS_AVX2 (QN_CPU_AVX2 | QN_CPU_FMA)

static const qn_conv_kernel kernels[] = {
    { "f32_whole_12x32__avx512", QN_CPU_AVX512, QN_ORDER_FMA_CHAIN, whole_accepts, whole_bytes, whole_pack, no_scratch, whole__avx512 },
    { "f32_1x1_12x32__avx512", QN_CPU_AVX512, QN_ORDER_FMA_CHAIN, pixel_accepts, dense_bytes, NULL, no_scratch, pixel__avx512 },
    { "f32_dw_1x128__avx512", QN_CPU_AVX512, QN_ORDER_FMA_CHAIN, depthwise_accepts, dense_bytes, NULL, plane_scratch, plane__avx512 },
    { "f32_12x32__avx512", QN_CPU_AVX512, QN_ORDER_FMA_CHAIN, plane_accepts, dense_bytes, NULL, plane_scratch, plane__avx512 },
    { "f32_whole_6x16__avx2", NEEDS_AVX2, QN_ORDER_FMA_CHAIN, whole_accepts, whole_bytes, whole_pack, no_scratch, whole__avx2 },
    { "f32_1x1_6x16__avx2", NEEDS_AVX2, QN_ORDER_FMA_CHAIN, pixel_accepts, dense_bytes, NULL, no_scratch, pixel__avx2 },
    { "f32_dw_1x64__avx2", NEEDS_AVX2, QN_ORDER_FMA_CHAIN, depthwise_accepts, dense_bytes, NULL, plane_scratch, plane__avx2 },
    { "f32_6x16__avx2", NEEDS_AVX2, QN_ORDER_FMA_CHAIN, plane_accepts, dense_bytes, NULL, plane_scratch, plane__avx2 },
    { "f32_whole_4x16__scalar", 0, QN_ORDER_FMA_CHAIN, whole_accepts, whole_bytes, whole_pack, no_scratch, whole__scalar },
    { "f32_1x1_4x16__scalar", 0, QN_ORDER_FMA_CHAIN, pixel_accepts, dense_bytes, NULL, no_scratch, pixel__scalar },
    { "f32_4x16__scalar", 0, QN_ORDER_FMA_CHAIN, plane_accepts, dense_bytes, NULL, plane_scratch, plane__scalar },
};

const qn_conv_kernel *qn_conv_pick(unsigned cpu, const qn_conv_shape *s)
{
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++) {
        if (!(kernels[i].needs & ~cpu) && kernels[i].accepts(s)) return &kernels[i];
    }
    return NULL;
}

const qn_conv_kernel *qn_conv_kernels(int32_t *n)
{
    *n = (int32_t)(sizeof kernels / sizeof kernels[0]);
    return kernels;
}
