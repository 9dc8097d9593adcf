/* core/kernels/gemm/gemm.c - the table of f32 matrix products, the packing of B, and the one driver that cuts a product into tiles.
 *
 * A tile is up to 96 rows x 128 columns of C. In a tile the chain is cut into stretches of 256: a stretch of two panels (32 KiB)
 * stays in L1 while the rows pass over it, and the sums rest in C between stretches. With four rows or fewer nothing would be
 * used twice, so B streams through once with more columns in registers. */
#include "core/kernels/gemm/gemm.h"

#include "core/base/checked.h"
#include "core/kernels/gemm/tile.h"

enum { TILE_ROWS = 96, TILE_COLS = 128, STRETCH = 256, STRETCH_FROM = 384 };

/* Below this many multiply-adds, waking a team costs more than the work. */
static const int64_t small_work = 1 << 17;

typedef struct job {
    const qn_gemm_args *g;
    qn_tile_run_fn *run;
    int64_t n_col_tiles, tile_rows;
} job;

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

/* Rows [row, row + rows) and columns [col, col + cols): one stretch of the chain. */
static void run_part(const job *jb, int64_t row, int32_t rows, int64_t col, int64_t cols, int64_t p, int64_t stretch)
{
    const qn_gemm_args *g = jb->g;
    const qn_tile t = {
        .k = stretch,
        .rows = rows,
        .cols = cols,
        .a = g->a + row * g->lda + p,
        .lda = g->lda,
        .b = g->b + col * g->k + 16 * p,
        .b_row = 16,
        .b_panel = 16 * g->k,
        .b_whole = true,
        .resume = p > 0,
        .finish = p + stretch == g->k,
        .c = g->c + row * g->ldc + col,
        .ldc = g->ldc,
        .bias_m = g->bias_m ? g->bias_m + row : NULL,
        .bias_n = g->bias_n ? g->bias_n + col : NULL,
        .act = g->act,
        .lo = g->lo,
        .hi = g->hi,
    };

    jb->run(&t);
}

static void run_tile(void *ctx, int64_t tile, int member)
{
    const job *jb = ctx;
    const qn_gemm_args *g = jb->g;
    const int64_t row0 = tile / jb->n_col_tiles * jb->tile_rows, rows = min64(jb->tile_rows, g->m - row0);
    const int64_t col0 = tile % jb->n_col_tiles * TILE_COLS, cols = min64(TILE_COLS, g->n - col0);
    const int64_t groups = (rows + QN_TILE_ROWS - 1) / QN_TILE_ROWS;
    const int64_t stretch = groups > 1 && g->k > STRETCH_FROM ? STRETCH : g->k;
    const int64_t width = groups > 1 ? 32 : cols;
    int64_t p = 0;

    (void)member;
    do {
        const int64_t k = min64(stretch, g->k - p);

        for (int64_t j = 0; j < cols; j += width) {
            for (int64_t i = 0; i < groups; i++) {
                const int64_t first = i * rows / groups, end = (i + 1) * rows / groups; /* as even as it goes: 13 rows are 6 + 7 */

                run_part(jb, row0 + first, (int32_t)(end - first), col0 + j, min64(width, cols - j), p, k);
            }
        }
        p += k;
    } while (p < g->k);
}

static void gemm_run(const qn_gemm_args *g, qn_team *team, qn_tile_run_fn *run)
{
    job jb = { .g = g, .run = run, .n_col_tiles = (g->n + TILE_COLS - 1) / TILE_COLS };
    int64_t n_row_tiles;

    if (g->m <= 0 || g->n <= 0) return;
    n_row_tiles = (g->m + TILE_ROWS - 1) / TILE_ROWS;
    jb.tile_rows = (g->m + n_row_tiles - 1) / n_row_tiles;
    if (min64(g->m, small_work) * min64(g->n, small_work) < small_work / (g->k + 1)) team = NULL;
    qn_team_run(team, jb.n_col_tiles * n_row_tiles, run_tile, &jb);
}

static void f32__avx512(const qn_gemm_args *g, qn_team *team) { gemm_run(g, team, qn_tile_f32__avx512); }
static void f32__avx2(const qn_gemm_args *g, qn_team *team) { gemm_run(g, team, qn_tile_f32__avx2); }
static void f32__scalar(const qn_gemm_args *g, qn_team *team) { gemm_run(g, team, qn_tile_f32__scalar); }

static const qn_gemm_kernel kernels[] = {
    { "f32_12x32__avx512", QN_CPU_AVX512, QN_ORDER_FMA_CHAIN, f32__avx512 },
    { "f32_6x16__avx2", QN_CPU_AVX2 | QN_CPU_FMA, QN_ORDER_FMA_CHAIN, f32__avx2 },
    { "f32_4x16__scalar", 0, QN_ORDER_FMA_CHAIN, f32__scalar }, /* the twin */
};

const qn_gemm_kernel *qn_gemm_pick(unsigned cpu)
{
    const qn_gemm_kernel *k = kernels;

    while (k->needs & ~cpu) k++; /* ends: the last row needs nothing */
    return k;
}

const qn_gemm_kernel *qn_gemm_kernels(int32_t *n)
{
    *n = (int32_t)(sizeof kernels / sizeof kernels[0]);
    return kernels;
}

bool qn_gemm_packed_bytes(int64_t k, int64_t n, size_t *bytes)
{
    size_t cols, rows, count;

    return qn_i64_to_size(n, &cols) && qn_i64_to_size(k, &rows) && qn_size_align(cols, 16, &cols) && qn_size_mul(cols, rows, &count) &&
           qn_size_mul(count, sizeof(float), bytes);
}

void qn_gemm_pack(float *packed, int64_t k, int64_t n, int64_t k0, int64_t k_rows, const float *b, int64_t row_stride, int64_t col_stride)
{
    for (int64_t j = 0; j < n; j += 16) {
        const int64_t cols = min64(16, n - j);
        float *panel = packed + j * k + 16 * k0;

        for (int64_t p = 0; p < k_rows; p++) {
            for (int64_t l = 0; l < cols; l++) panel[16 * p + l] = b[p * row_stride + (j + l) * col_stride];
        }
    }
}

void qn_gemm_pack_cols(float *packed, int64_t k, int64_t n, int64_t j0, int64_t n_cols, const float *b, int64_t row_stride,
                       int64_t col_stride)
{
    (void)n;
    for (int64_t j = j0; j < j0 + n_cols; j++) {
        float *column = packed + j / 16 * 16 * k + j % 16;

        for (int64_t p = 0; p < k; p++) column[16 * p] = b[p * row_stride + (j - j0) * col_stride];
    }
}
