/* core/kernels/conv/qconv.c - 8-bit convolution: planes of quads (four channels of a pixel in one 32-bit lane) under the tile of
 * core/kernels/qgemm, weights as the signed side.
 *
 * With x' = u8 and w' = s8 as stored and the zero points moved likewise,
 *   sum (x' - zx)(w' - zw) = sum x' w'  -  zx * sum w'  -  zw * (sum x' - K * zx)
 * sum w' is packed with the weights. sum x' of a pixel is a row of weights that are all 1, packed last, and run only when some zw is
 * not 0. Padding has the value zx, so it adds nothing.
 *
 * Packed: rows 0..o-1 and the row of ones, each [quads of channels][taps][4] s8, channels past the last 0; then o sums in s32. */
#include "core/kernels/conv/conv.h"

#include "core/base/checked.h"
#include "core/kernels/conv/plane.h"
#include "core/kernels/qgemm/qtile.h"

#include <string.h>

enum { COLS = 128, FLAT_MOST = 2048 }; /* flat pixels: of a block on the stack, of a tile (plane.c gives at most 1024, or one row of 256) */

static const int64_t small_work = 1 << 19; /* below this many multiply-adds, waking a team costs more than the work */

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t volume(const int64_t v[3]) { return v[0] * v[1] * v[2]; }

typedef struct job {
    const qn_qconv_args *a;
    const qn_qunit *unit;
    qn_conv_shape s;     /* of the input as run: a 1x1 image is one long row */
    int64_t quads;       /* of a row of weights */
    const int32_t *sums; /* [o] */
    int64_t n_tiles, n_parts;
    bool w_shifted; /* some stored zero point of w is not 0 */
    qn_plane plane;
    const int32_t *off;
    uint32_t *planes; /* one per member */
} job;

static int64_t quads_of(const qn_conv_shape *s) { return (s->c / s->groups + 3) / 4; }

/* 1x1 without padding or stride: rows need not end where the image's do. */
static qn_conv_shape flattened(const qn_conv_shape *s)
{
    qn_conv_shape f = *s;
    bool flat = true;

    for (int d = 0; d < 3; d++) flat = flat && s->kernel[d] == 1 && s->stride[d] == 1 && s->pad[d] == 0 && s->in[d] == s->out[d];
    if (!flat) return f;
    f.in[2] = f.out[2] = volume(s->in);
    f.in[0] = f.in[1] = f.out[0] = f.out[1] = 1;
    return f;
}

/* One tile: its channels and its pixels. */
typedef struct place {
    int64_t image, o0, o1, y; /* y: index of pixel 0 of channel o0 */
    qn_plane_tile t;
    uint32_t *plane;
    const int32_t *x_sums; /* [flat] sum x' - K * zx, or NULL */
} place;

static int32_t w_zero_of(const qn_qconv_args *a, int64_t o) { return (a->w_zero ? a->w_zero[o] : 0) - (a->w_signed ? 0 : 128); }

/* Flat pixels [first, first + n) of rows [row, row + rows) of the part. */
__attribute__((noinline)) static void run_block(const job *jb, const place *at, int64_t row, int32_t rows, int64_t first, int64_t n)
{
    const qn_qconv_args *a = jb->a;
    const int64_t lda = 4 * jb->quads, o = at->o0 + row;
    const int32_t zx = a->x_zero + (a->x_signed ? 128 : 0);
    const size_t size = a->y_s32 ? 4 : 1;
    int32_t acc[QN_QTILE_ROWS * COLS], out[QN_QTILE_ROWS * COLS], add[QN_QTILE_ROWS], zw[QN_QTILE_ROWS];
    const qn_qtile tile = {
        .quads = jb->quads,
        .rows = rows,
        .cols = n,
        .sides = QN_QSIDES_S8_U8,
        .a = (const uint8_t *)a->w + o * lda,
        .lda = lda,
        .b = (const uint8_t *)(at->plane + first),
        .b_panel = 16,
        .off = jb->off,
        .c = acc,
        .ldc = COLS,
    };
    const qn_qstore store = {
        .rows = rows,
        .cols = n,
        .acc = acc,
        .ld_acc = COLS,
        .add_m = add,
        .cor_m = at->x_sums ? zw : NULL,
        .cor_n = at->x_sums ? at->x_sums + first : NULL,
        .mult_m = a->y_s32 ? NULL : a->multiplier + o,
        .out = a->y_s32      ? QN_QOUT_S32
               : a->y_signed ? QN_QOUT_S8
                             : QN_QOUT_U8,
        .zero = a->y_zero,
        .lo = a->y_lo,
        .hi = a->y_hi,
        .c = out,
        .ldc = COLS,
    };

    for (int32_t i = 0; i < rows; i++) {
        add[i] = (int32_t)((a->bias ? (uint32_t)a->bias[o + i] : 0) - (uint32_t)zx * (uint32_t)jb->sums[o + i]);
        zw[i] = w_zero_of(a, o + i);
    }
    jb->unit->tile(&tile);
    jb->unit->store(&store);
    qn_plane_scatter(&jb->s, &jb->plane, &at->t, first, n, rows, out, COLS, (char *)a->y + (size_t)(at->y + row * volume(jb->s.out)) * size,
                     volume(jb->s.out), size);
}

/* sum x' - K * zx of every flat pixel. */
static void sum_pixels(const job *jb, const place *at, int32_t *sums)
{
    const qn_qconv_args *a = jb->a;
    const uint32_t all = (uint32_t)(jb->s.c / jb->s.groups * jb->plane.taps) * (uint32_t)(a->x_zero + (a->x_signed ? 128 : 0));
    const qn_qtile tile = {
        .quads = jb->quads,
        .rows = 1,
        .cols = at->t.flat,
        .sides = QN_QSIDES_S8_U8,
        .a = (const uint8_t *)a->w + jb->s.o * 4 * jb->quads,
        .lda = 4 * jb->quads,
        .b = (const uint8_t *)at->plane,
        .b_panel = 16,
        .off = jb->off,
        .c = sums,
        .ldc = FLAT_MOST,
    };

    jb->unit->tile(&tile);
    for (int64_t q = 0; q < at->t.flat; q++) sums[q] = (int32_t)((uint32_t)sums[q] - all);
}

static void run_tile(void *ctx, int64_t index, int member)
{
    const job *jb = ctx;
    const qn_qconv_args *a = jb->a;
    const qn_conv_shape *s = &jb->s;
    const int64_t per = s->o / s->groups, part = index % jb->n_parts, tile = index / jb->n_parts % jb->n_tiles;
    const int64_t group = index / jb->n_parts / jb->n_tiles % s->groups;
    const uint8_t flip = a->x_signed ? 0x80 : 0;
    int32_t x_sums[FLAT_MOST];
    int64_t n_rows, n_groups;
    place at = { .image = index / jb->n_parts / jb->n_tiles / s->groups, .plane = jb->planes + member * jb->plane.elems };

    at.o0 = group * per + part * per / jb->n_parts;
    at.o1 = group * per + (part + 1) * per / jb->n_parts;
    at.y = (at.image * s->o + at.o0) * volume(s->out);
    qn_plane_tile_at(s, &jb->plane, tile, &at.t);
    qn_plane_fill_u8(s, &jb->plane, &at.t, a->x + (at.image * s->c + group * (s->c / s->groups)) * volume(s->in), s->c / s->groups, flip,
                     (uint8_t)((uint8_t)a->x_zero ^ flip), at.plane);
    if (jb->w_shifted) {
        sum_pixels(jb, &at, x_sums);
        at.x_sums = x_sums;
    }
    n_rows = at.o1 - at.o0;
    n_groups = (n_rows + QN_QTILE_ROWS - 1) / QN_QTILE_ROWS;
    for (int64_t g = 0; g < n_groups; g++) {
        const int64_t row = n_rows * g / n_groups, end = n_rows * (g + 1) / n_groups;

        for (int64_t first = 0; first < at.t.flat; first += COLS)
            run_block(jb, &at, row, (int32_t)(end - row), first, min64(COLS, at.t.flat - first));
    }
}

static void qconv_run(const qn_qconv_args *a, qn_team *team, const qn_qunit *unit)
{
    job jb = { .a = a, .unit = unit, .s = flattened(&a->s), .off = a->scratch };
    size_t table;

    if (volume(jb.s.out) == 0 || !qn_plane_init(&jb.s, quads_of(&jb.s), &jb.plane)) return; /* accepts() has seen that it fits */
    jb.quads = jb.plane.steps * jb.plane.taps;
    jb.sums = (const int32_t *)(const void *)((const uint8_t *)a->w + (jb.s.o + 1) * 4 * jb.quads);
    for (int64_t o = 0; o < jb.s.o; o++) jb.w_shifted |= w_zero_of(a, o) != 0;
    table = ((size_t)jb.quads * sizeof(int32_t) + 63) & ~(size_t)63;
    jb.planes = (uint32_t *)(void *)((char *)a->scratch + table);
    qn_plane_offsets(&jb.s, &jb.plane, a->scratch);
    jb.n_tiles = jb.s.out[0] * jb.plane.n_h * jb.plane.n_w;
    jb.n_parts = qn_conv_channel_parts(&jb.s, jb.n_tiles);
    qn_team_run(qn_conv_work(&jb.s) < small_work ? NULL : team, jb.s.n * jb.s.groups * jb.n_tiles * jb.n_parts, run_tile, &jb);
}

/* -- packing, scratch ----------------------------------------------------------------------------------------------------- */

static bool plane_of(const qn_conv_shape *s, qn_plane *p)
{
    const qn_conv_shape f = flattened(s);

    return qn_plane_init(&f, quads_of(&f), p) && (p->tile_h - 1) * p->pitch + p->tile_w <= FLAT_MOST;
}

static bool accepts(const qn_conv_shape *s)
{
    qn_plane p;

    return plane_of(s, &p);
}

static bool packed_bytes(const qn_conv_shape *s, size_t *bytes)
{
    qn_plane p;
    size_t rows, row, sums;

    return plane_of(s, &p) && qn_i64_to_size(s->o, &rows) && qn_size_mul((size_t)(p.steps * p.taps), 4, &row) &&
           qn_size_mul(rows, sizeof(int32_t), &sums) && qn_size_add(rows, 1, &rows) && qn_size_mul(rows, row, bytes) &&
           qn_size_add(*bytes, sums, bytes);
}

static void pack(const qn_conv_shape *s, void *packed, const uint8_t *w, bool w_signed)
{
    const int64_t channels = s->c / s->groups, taps = volume(s->kernel), row = quads_of(s) * taps * 4;
    const uint8_t flip = w_signed ? 0 : 0x80;
    int8_t *out = packed;
    int32_t *sums = (int32_t *)(void *)(out + (s->o + 1) * row);

    memset(packed, 0, (size_t)((s->o + 1) * row + s->o * 4));
    for (int64_t o = 0; o <= s->o; o++, out += row) {
        uint32_t sum = 0;

        for (int64_t c = 0; c < channels; c++) {
            for (int64_t tap = 0; tap < taps; tap++) {
                const int32_t v = o < s->o ? (int8_t)(w[(o * channels + c) * taps + tap] ^ flip) : 1;

                out[(c / 4 * taps + tap) * 4 + c % 4] = (int8_t)v;
                sum += (uint32_t)v;
            }
        }
        if (o < s->o) sums[o] = (int32_t)sum;
    }
}

static bool scratch_bytes(const qn_conv_shape *s, int team_size, size_t *bytes)
{
    qn_plane p;
    size_t table, planes;

    return plane_of(s, &p) && qn_size_mul((size_t)(p.steps * p.taps), sizeof(int32_t), &table) && qn_size_align(table, 64, &table) &&
           qn_size_mul((size_t)p.elems, (size_t)team_size * sizeof(uint32_t), &planes) && qn_size_add(table, planes, bytes);
}

/* -- the table ------------------------------------------------------------------------------------------------------------ */

static void q8__vnni(const qn_qconv_args *a, qn_team *team) { qconv_run(a, team, &qn_qunit__vnni); }
static void q8__avx2(const qn_qconv_args *a, qn_team *team) { qconv_run(a, team, &qn_qunit__avx2); }
static void q8__scalar(const qn_qconv_args *a, qn_team *team) { qconv_run(a, team, &qn_qunit__scalar); }

static const qn_qconv_kernel kernels[] = {
    { "q8_12x32__vnni", QN_CPU_AVX512 | QN_CPU_AVX512_VNNI, QN_ORDER_EXACT_INT, accepts, packed_bytes, pack, scratch_bytes, q8__vnni },
    { "q8_2x16__avx2", QN_CPU_AVX2, QN_ORDER_EXACT_INT, accepts, packed_bytes, pack, scratch_bytes, q8__avx2 },
    { "q8_1x1__scalar", 0, QN_ORDER_EXACT_INT, accepts, packed_bytes, pack, scratch_bytes, q8__scalar }, /* the twin */
};

const qn_qconv_kernel *qn_qconv_pick(unsigned cpu, const qn_conv_shape *s)
{
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++) {
        if (!(kernels[i].needs & ~cpu) && kernels[i].accepts(s)) return &kernels[i];
    }
    return NULL;
}

const qn_qconv_kernel *qn_qconv_kernels(int32_t *n)
{
    *n = (int32_t)(sizeof kernels / sizeof kernels[0]);
    return kernels;
}
