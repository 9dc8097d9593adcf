/* core/kernels/qgemm/qgemm.c - the table of 8-bit matrix products, the packing of B, and the driver.
 *
 * With the stored bytes a' = u8 and b' = s8 and the zero points moved likewise,
 *   sum (a' - za)(b' - zb) = sum a' b'  -  za * sum b'  -  zb * (sum a' - K * za)
 * The first term is the tile; the sums of b' were packed with it; the sums of a' are only taken when some zb is not 0. */
#include "core/kernels/qgemm/qgemm.h"

#include "core/base/checked.h"
#include "core/kernels/qgemm/qtile.h"

#include <string.h>

enum { TILE_ROWS = 96, TILE_COLS = 128 };

static const int64_t small_work = 1 << 19; /* below this many multiply-adds, waking a team costs more than the work */

typedef struct job {
    const qn_qgemm_args *g;
    const qn_qunit *unit;
    int64_t quads, n_col_tiles, tile_rows;
    bool b_shifted; /* some stored zero point is not 0 */
} job;

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t quads_of(int64_t k) { return k / 4 + (k % 4 != 0); }

/* Sums for rows [row, row + rows) and columns [col, col + cols) into acc. */
static void sum_block(const job *jb, int64_t row, int32_t rows, int64_t col, int64_t cols, int32_t *acc)
{
    const qn_qgemm_args *g = jb->g;
    uint8_t tail[QN_QTILE_ROWS * 4] = { 0 };
    const int64_t whole = g->k / 4, rest = g->k % 4;
    qn_qtile t = {
        .quads = whole,
        .rows = rows,
        .cols = cols,
        .sides = g->a_signed ? QN_QSIDES_FLIP_S8 : QN_QSIDES_U8_S8,
        .a = g->a + row * g->lda,
        .lda = g->lda,
        .b = (const uint8_t *)g->b + col * 4 * jb->quads,
        .b_panel = 16 * jb->quads,
        .c = acc,
        .ldc = TILE_COLS,
    };

    jb->unit->tile(&t);
    if (!rest) return;
    for (int32_t i = 0; i < rows; i++)
        memcpy(tail + 4 * i, t.a + i * g->lda + 4 * whole, (size_t)rest); /* a row may end where memory ends */
    t.quads = 1;
    t.a = tail;
    t.lda = 4;
    t.b += 64 * whole;
    t.resume = true;
    jb->unit->tile(&t);
}

/* sum a' - K * za of each row. */
static void sum_rows(const job *jb, int64_t row, int64_t rows, int32_t *sums)
{
    const qn_qgemm_args *g = jb->g;
    const uint8_t flip = g->a_signed ? 0x80 : 0;
    const int32_t za = g->a_zero + (g->a_signed ? 128 : 0);

    for (int64_t i = 0; i < rows; i++) {
        const uint8_t *a = g->a + (row + i) * g->lda;
        uint32_t sum = 0;

        for (int64_t p = 0; p < g->k; p++) sum += (uint8_t)(a[p] ^ flip);
        sums[i] = (int32_t)(sum - (uint32_t)g->k * (uint32_t)za);
    }
}

static void run_tile(void *ctx, int64_t tile, int member)
{
    const job *jb = ctx;
    const qn_qgemm_args *g = jb->g;
    const int64_t row0 = tile / jb->n_col_tiles * jb->tile_rows, rows = min64(jb->tile_rows, g->m - row0);
    const int64_t col0 = tile % jb->n_col_tiles * TILE_COLS, cols = min64(TILE_COLS, g->n - col0);
    const int64_t groups = (rows + QN_QTILE_ROWS - 1) / QN_QTILE_ROWS, width = groups > 1 ? 32 : cols;
    const int32_t *b_sums = (const int32_t *)(const void *)((const uint8_t *)g->b + (g->n + 15) / 16 * 64 * jb->quads);
    const int32_t za = g->a_zero + (g->a_signed ? 128 : 0), shift = g->b_signed ? 0 : 128;
    int32_t acc[QN_QTILE_ROWS * TILE_COLS], row_sums[TILE_ROWS], add[TILE_COLS], zb[TILE_COLS];

    (void)member;
    for (int64_t j = 0; j < cols; j++) {
        add[j] = (int32_t)((g->bias ? (uint32_t)g->bias[col0 + j] : 0) - (uint32_t)za * (uint32_t)b_sums[col0 + j]);
        zb[j] = (g->b_zero ? g->b_zero[col0 + j] : 0) - shift;
    }
    if (jb->b_shifted) sum_rows(jb, row0, rows, row_sums);
    for (int64_t j = 0; j < cols; j += width) {
        for (int64_t i = 0; i < groups; i++) {
            const int64_t first = i * rows / groups, end = (i + 1) * rows / groups;
            const size_t c_size = g->out == QN_QOUT_S32 || g->out == QN_QOUT_F32 ? 4 : 1;
            const qn_qstore s = {
                .rows = (int32_t)(end - first),
                .cols = min64(width, cols - j),
                .acc = acc,
                .ld_acc = TILE_COLS,
                .add_n = add + j,
                .cor_m = jb->b_shifted ? row_sums + first : NULL,
                .cor_n = zb + j,
                .mult_n = g->multiplier ? g->multiplier + col0 + j : NULL,
                .out = g->out,
                .zero = g->c_zero,
                .lo = g->c_lo,
                .hi = g->c_hi,
                .c = (uint8_t *)g->c + (size_t)((row0 + first) * g->ldc + col0 + j) * c_size,
                .ldc = g->ldc,
            };

            sum_block(jb, row0 + first, s.rows, col0 + j, s.cols, acc);
            jb->unit->store(&s);
        }
    }
}

static void qgemm_run(const qn_qgemm_args *g, qn_team *team, const qn_qunit *unit)
{
    job jb = { .g = g, .unit = unit, .quads = quads_of(g->k), .n_col_tiles = (g->n + TILE_COLS - 1) / TILE_COLS };
    int64_t n_row_tiles;

    if (g->m <= 0 || g->n <= 0) return;
    n_row_tiles = (g->m + TILE_ROWS - 1) / TILE_ROWS;
    jb.tile_rows = (g->m + n_row_tiles - 1) / n_row_tiles;
    jb.b_shifted = !g->b_signed && !g->b_zero;
    for (int64_t j = 0; g->b_zero && j < g->n; j++) jb.b_shifted |= g->b_zero[j] != (g->b_signed ? 0 : 128);
    if (min64(g->m, small_work) * min64(g->n, small_work) < small_work / (g->k + 1)) team = NULL;
    qn_team_run(team, jb.n_col_tiles * n_row_tiles, run_tile, &jb);
}

static void q8__vnni(const qn_qgemm_args *g, qn_team *team) { qgemm_run(g, team, &qn_qunit__vnni); }
static void q8__avx2(const qn_qgemm_args *g, qn_team *team) { qgemm_run(g, team, &qn_qunit__avx2); }
static void q8__scalar(const qn_qgemm_args *g, qn_team *team) { qgemm_run(g, team, &qn_qunit__scalar); }

static const qn_qgemm_kernel kernels[] = {
    { "q8_12x32__vnni", QN_CPU_AVX512 | QN_CPU_AVX512_VNNI, QN_ORDER_EXACT_INT, q8__vnni },
    { "q8_2x16__avx2", QN_CPU_AVX2, QN_ORDER_EXACT_INT, q8__avx2 },
    { "q8_1x1__scalar", 0, QN_ORDER_EXACT_INT, q8__scalar }, /* the twin */
};

const qn_qgemm_kernel *qn_qgemm_pick(unsigned cpu)
{
    const qn_qgemm_kernel *k = kernels;

    while (k->needs & ~cpu) k++; /* ends: the last row needs nothing */
    return k;
}

const qn_qgemm_kernel *qn_qgemm_kernels(int32_t *n)
{
    *n = (int32_t)(sizeof kernels / sizeof kernels[0]);
    return kernels;
}

bool qn_qgemm_packed_bytes(int64_t k, int64_t n, size_t *bytes)
{
    size_t cols, rows, panels, sums;

    return qn_i64_to_size(n, &cols) && qn_i64_to_size(k, &rows) && qn_size_align(cols, 16, &cols) && qn_size_align(rows, 4, &rows) &&
           qn_size_mul(cols, rows, &panels) && qn_size_mul(cols, sizeof(int32_t), &sums) && qn_size_add(panels, sums, bytes);
}

void qn_qgemm_pack(void *packed, int64_t k, int64_t n, const uint8_t *b, bool b_signed, int64_t row_stride, int64_t col_stride)
{
    const uint8_t flip = b_signed ? 0 : 0x80;
    const int64_t quads = quads_of(k), cols = (n + 15) / 16 * 16;
    int8_t *out = packed;
    int32_t *sums = (int32_t *)(void *)(out + cols * 4 * quads);

    memset(packed, 0, (size_t)(cols * 4 * quads + 4 * cols));
    for (int64_t j = 0; j < n; j++) {
        int8_t *column = out + j / 16 * 64 * quads + j % 16 * 4;
        uint32_t sum = 0;

        for (int64_t p = 0; p < k; p++) {
            const int32_t v = (int8_t)(b[p * row_stride + j * col_stride] ^ flip);

            column[p / 4 * 64 + p % 4] = (int8_t)v;
            sum += (uint32_t)v;
        }
        sums[j] = (int32_t)sum;
    }
}
