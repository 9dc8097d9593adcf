/* core/kernels/gemm/tile__avx2.c - 6 rows x 16 columns in 12 registers; one to three rows take more columns instead. */
#include "core/kernels/gemm/tile.h"

#include <immintrin.h>

/* One stretch of rows and columns: what changes from block to block of a tile. */
typedef struct block {
    const float *a, *b, *bias_m, *bias_n, *residual;
    float *c;
    int rows;
    int last; /* valid columns of the last panel, 1..16 */
} block;

/* Lanes of half h (0 or 1) of a panel with n valid columns. */
static __m256i half_mask(int n, int h)
{
    static const int32_t ones_then_zeros[24] = { -1, -1, -1, -1, -1, -1, -1, -1 };
    const int valid = n - 8 * h < 0 ? 0 : n - 8 * h > 8 ? 8 : n - 8 * h;

    return _mm256_loadu_si256((const __m256i *)(ones_then_zeros + 8 - valid));
}

QN_INLINE __m256 act256(__m256 v, const qn_tile *t)
{
    if (t->act == QN_ACT_RELU) return _mm256_max_ps(_mm256_setzero_ps(), v); /* max(a, b) is a > b ? a : b */
    if (t->act == QN_ACT_CLIP) {
        v = _mm256_max_ps(_mm256_set1_ps(t->lo), v);
        return _mm256_min_ps(_mm256_set1_ps(t->hi), v);
    }
    return v;
}

/* The end of the chains: from registers by way of `sum` [rows][panels][16] to c. */
__attribute__((noinline)) static void finish(const qn_tile *t, const block *k, const float *sum, int panels)
{
    for (int i = 0; i < k->rows; i++) {
        for (int j = 0; j < 2 * panels; j++) {
            const __m256i m = half_mask(j / 2 == panels - 1 ? k->last : 16, j % 2);
            __m256 v = _mm256_load_ps(sum + 8 * (2 * i * panels + j));

            if (t->finish) {
                if (k->bias_m) v = _mm256_add_ps(v, _mm256_set1_ps(k->bias_m[i]));
                if (k->bias_n) v = _mm256_add_ps(v, _mm256_maskload_ps(k->bias_n + 8 * j, m));
                if (k->residual) v = _mm256_add_ps(v, _mm256_maskload_ps(k->residual + i * t->ldc + 8 * j, m));
                v = act256(v, t);
            }
            _mm256_maskstore_ps(k->c + i * t->ldc + 8 * j, m, v);
        }
    }
}

/* R, P and the flags are constants at every call: each combination becomes its own loop with acc in registers. */
QN_INLINE void run(const qn_tile *t, const block *k, const int R, const int P, const bool table, const bool mask_b)
{
    _Alignas(32) float sum[12 * 8];
    __m256 acc[12]; /* R * 2 P of them: never more, or registers would spill */
    const float *a[2], *b = k->b;
    const int64_t lda = t->lda, b_panel = t->b_panel, b_row = t->b_row;
    const int32_t *off = t->off;
    const __m256i m0 = half_mask(k->last, 0), m1 = half_mask(k->last, 1);

    QN_UNROLL
    for (int i = 0; i < R; i++) {
        QN_UNROLL
        for (int j = 0; j < 2 * P; j++) {
            if (!t->resume)
                acc[2 * i * P + j] = _mm256_setzero_ps();
            else if (j / 2 < P - 1)
                acc[2 * i * P + j] = _mm256_loadu_ps(k->c + i * t->ldc + 8 * j);
            else
                acc[2 * i * P + j] = _mm256_maskload_ps(k->c + i * t->ldc + 8 * j, j % 2 ? m1 : m0);
        }
    }
    QN_UNROLL
    for (int i = 0; i < (R + 2) / 3; i++) a[i] = k->a + 3 * i * lda;
    for (int64_t p = 0; p < t->k; p++) {
        const float *bp = table ? b + off[p] : b;
        __m256 bv[8];

        QN_UNROLL
        for (int j = 0; j < 2 * P; j++) {
            const float *half = bp + (j / 2) * b_panel + 8 * (j % 2);

            bv[j] = mask_b ? _mm256_maskload_ps(half, j % 2 ? m1 : m0) : _mm256_loadu_ps(half);
        }
        QN_UNROLL
        for (int i = 0; i < R; i++) {
            const __m256 av = _mm256_broadcast_ss(a[i / 3] + (i % 3) * lda);

            QN_UNROLL
            for (int j = 0; j < 2 * P; j++) acc[2 * i * P + j] = _mm256_fmadd_ps(av, bv[j], acc[2 * i * P + j]);
        }
        QN_UNROLL
        for (int i = 0; i < (R + 2) / 3; i++) a[i]++;
        if (!table) b += b_row;
    }
    QN_UNROLL
    for (int i = 0; i < R; i++) {
        QN_UNROLL
        for (int j = 0; j < 2 * P; j++) _mm256_store_ps(sum + 8 * (2 * i * P + j), acc[2 * i * P + j]);
    }
    finish(t, k, sum, P);
}

typedef void block_fn(const qn_tile *t, const block *k);

/* A function each: inlined together they would share one huge frame. */
#define BLOCK(R, P)                                                                                                                        \
    __attribute__((noinline)) static void block_##R##x##P(const qn_tile *t, const block *k)                                                \
    {                                                                                                                                      \
        if (t->off)                                                                                                                        \
            run(t, k, R, P, true, false);                                                                                                  \
        else                                                                                                                               \
            run(t, k, R, P, false, false);                                                                                                 \
    }
/* The last panel of a B that ends with its last column. */
#define TAIL(R)                                                                                                                            \
    __attribute__((noinline)) static void tail_##R(const qn_tile *t, const block *k) { run(t, k, R, 1, false, true); }

/* clang-format off */
BLOCK(1, 4) BLOCK(1, 2) BLOCK(1, 1)
BLOCK(2, 2) BLOCK(2, 1)
BLOCK(3, 2) BLOCK(3, 1)
BLOCK(4, 1)
BLOCK(5, 1)
BLOCK(6, 1)
TAIL(1) TAIL(2) TAIL(3) TAIL(4) TAIL(5) TAIL(6)
    /* clang-format on */

    /* [rows][panels] */
    static block_fn *const blocks[7][5] = {
        [1] = { [1] = block_1x1, [2] = block_1x2, [4] = block_1x4 },
        [2] = { [1] = block_2x1, [2] = block_2x2 },
        [3] = { [1] = block_3x1, [2] = block_3x2 },
        [4] = { [1] = block_4x1 },
        [5] = { [1] = block_5x1 },
        [6] = { [1] = block_6x1 },
    };
static block_fn *const tails[7] = { NULL, tail_1, tail_2, tail_3, tail_4, tail_5, tail_6 };

static void run_rows(const qn_tile *t, int row, int rows)
{
    const int widest = rows == 1 ? 4 : rows <= 3 ? 2 : 1;
    int64_t col = 0;

    while (col < t->cols) {
        const int64_t left = t->cols - col, panels = (left + 15) / 16;
        int p = widest;
        block k = { t->a + row * t->lda,
                    t->b + col / 16 * t->b_panel,
                    t->bias_m ? t->bias_m + row : NULL,
                    t->bias_n ? t->bias_n + col : NULL,
                    t->residual ? t->residual + row * t->ldc + col : NULL,
                    t->c + row * t->ldc + col,
                    rows,
                    16 };

        while (p > 1 && (t->b_whole ? p > panels : 16 * p > left)) p /= 2; /* whole panels first when the last one has to be masked */
        if (16 * p > left) k.last = (int)(left - 16 * (p - 1));
        if (!t->b_whole && left < 16)
            tails[rows](t, &k);
        else
            blocks[rows][p](t, &k);
        col += 16 * p;
    }
}

void qn_tile_f32__avx2(const qn_tile *t)
{
    const int first = t->rows > 6 ? (t->rows + 1) / 2 : t->rows; /* 7 is 4 + 3, 12 is 6 + 6 */

    run_rows(t, 0, first);
    if (first < t->rows) run_rows(t, first, t->rows - first);
}
