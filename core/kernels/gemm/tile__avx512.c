/* core/kernels/gemm/tile__avx512.c - 12 rows x 32 columns in 24 registers; few rows take more columns instead, so that the
 * fma units always have at least eight independent chains while B streams through once. */
#include "core/kernels/gemm/tile.h"

#include <immintrin.h>

/* One stretch of columns: what changes from block to block of a tile. */
typedef struct block {
    const float *b, *bias_n, *residual;
    float *c;
    __mmask16 last; /* valid columns of the last panel */
} block;

QN_INLINE __m512 act512(__m512 v, const qn_tile *t)
{
    if (t->act == QN_ACT_RELU) return _mm512_max_ps(_mm512_setzero_ps(), v); /* max(a, b) is a > b ? a : b */
    if (t->act == QN_ACT_CLIP) {
        v = _mm512_max_ps(_mm512_set1_ps(t->lo), v);
        return _mm512_min_ps(_mm512_set1_ps(t->hi), v);
    }
    return v;
}

/* The end of the chains: from registers by way of `sum` [rows][panels][16] to c. One function for all shapes, out of the loops. */
__attribute__((noinline)) static void finish(const qn_tile *t, const block *k, const float *sum, int panels)
{
    for (int i = 0; i < t->rows; i++) {
        for (int j = 0; j < panels; j++) {
            const __mmask16 m = j == panels - 1 ? k->last : (__mmask16)0xffff;
            __m512 v = _mm512_load_ps(sum + 16 * (i * panels + j));

            if (t->finish) {
                if (t->bias_m) v = _mm512_add_ps(v, _mm512_set1_ps(t->bias_m[i]));
                if (k->bias_n) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(m, k->bias_n + 16 * j));
                if (k->residual) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(m, k->residual + i * t->ldc + 16 * j));
                v = act512(v, t);
            }
            _mm512_mask_storeu_ps(k->c + i * t->ldc + 16 * j, m, v);
        }
    }
}

/* R, P and the flags are constants at every call: each combination becomes its own loop with acc in registers. */
QN_INLINE void run(const qn_tile *t, const block *k, const int R, const int P, const bool table, const bool mask_b)
{
    _Alignas(64) float sum[24 * 16];
    __m512 acc[24]; /* R * P of them: never more, or registers would spill */
    const float *a[4], *b = k->b;
    const int64_t lda = t->lda, b_panel = t->b_panel, b_row = t->b_row;
    const int32_t *off = t->off;

    QN_UNROLL
    for (int i = 0; i < R; i++) {
        QN_UNROLL
        for (int j = 0; j < P; j++)
            acc[i * P + j] = t->resume ? _mm512_maskz_loadu_ps(j == P - 1 ? k->last : (__mmask16)0xffff, k->c + i * t->ldc + 16 * j)
                                       : _mm512_setzero_ps();
    }
    /* three rows a pointer: base, base + lda and base + 2 lda are one address mode each */
    QN_UNROLL
    for (int i = 0; i < (R + 2) / 3; i++) a[i] = t->a + 3 * i * lda;
    for (int64_t p = 0; p < t->k; p++) {
        const float *bp = table ? b + off[p] : b;
        __m512 bv[8];

        QN_UNROLL
        for (int j = 0; j < P; j++) bv[j] = mask_b ? _mm512_maskz_loadu_ps(k->last, bp + j * b_panel) : _mm512_loadu_ps(bp + j * b_panel);
        QN_UNROLL
        for (int i = 0; i < R; i++) {
            const __m512 av = _mm512_set1_ps(a[i / 3][(i % 3) * lda]);
            QN_UNROLL
            for (int j = 0; j < P; j++) acc[i * P + j] = _mm512_fmadd_ps(av, bv[j], acc[i * P + j]);
        }
        QN_UNROLL
        for (int i = 0; i < (R + 2) / 3; i++) a[i]++;
        if (!table) b += b_row;
    }
    QN_UNROLL
    for (int i = 0; i < R; i++) {
        QN_UNROLL
        for (int j = 0; j < P; j++) _mm512_store_ps(sum + 16 * (i * P + j), acc[i * P + j]);
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
BLOCK(1, 8) BLOCK(1, 4) BLOCK(1, 2) BLOCK(1, 1)
BLOCK(2, 8) BLOCK(2, 4) BLOCK(2, 2) BLOCK(2, 1)
BLOCK(3, 4) BLOCK(3, 2) BLOCK(3, 1)
BLOCK(4, 4) BLOCK(4, 2) BLOCK(4, 1)
BLOCK(5, 2) BLOCK(5, 1)
BLOCK(6, 2) BLOCK(6, 1)
BLOCK(7, 2) BLOCK(7, 1)
BLOCK(8, 2) BLOCK(8, 1)
BLOCK(9, 2) BLOCK(9, 1)
BLOCK(10, 2) BLOCK(10, 1)
BLOCK(11, 2) BLOCK(11, 1)
BLOCK(12, 2) BLOCK(12, 1)
TAIL(1) TAIL(2) TAIL(3) TAIL(4) TAIL(5) TAIL(6) TAIL(7) TAIL(8) TAIL(9) TAIL(10) TAIL(11) TAIL(12)
    /* clang-format on */

    /* [rows][panels] */
    static block_fn *const blocks[QN_TILE_ROWS + 1][9] = {
        [1] = { [1] = block_1x1, [2] = block_1x2, [4] = block_1x4, [8] = block_1x8 },
        [2] = { [1] = block_2x1, [2] = block_2x2, [4] = block_2x4, [8] = block_2x8 },
        [3] = { [1] = block_3x1, [2] = block_3x2, [4] = block_3x4 },
        [4] = { [1] = block_4x1, [2] = block_4x2, [4] = block_4x4 },
        [5] = { [1] = block_5x1, [2] = block_5x2 },
        [6] = { [1] = block_6x1, [2] = block_6x2 },
        [7] = { [1] = block_7x1, [2] = block_7x2 },
        [8] = { [1] = block_8x1, [2] = block_8x2 },
        [9] = { [1] = block_9x1, [2] = block_9x2 },
        [10] = { [1] = block_10x1, [2] = block_10x2 },
        [11] = { [1] = block_11x1, [2] = block_11x2 },
        [12] = { [1] = block_12x1, [2] = block_12x2 },
    };
static block_fn *const tails[QN_TILE_ROWS + 1] = {
    NULL, tail_1, tail_2, tail_3, tail_4, tail_5, tail_6, tail_7, tail_8, tail_9, tail_10, tail_11, tail_12,
};

void qn_tile_f32__avx512(const qn_tile *t)
{
    const int widest = t->rows <= 2 ? 8 : t->rows <= 4 ? 4 : 2;
    int64_t col = 0;

    while (col < t->cols) {
        const int64_t left = t->cols - col, panels = (left + 15) / 16;
        const bool mask_b = !t->b_whole && left < 16;
        int p = widest;
        block k = { t->b + col / 16 * t->b_panel, t->bias_n ? t->bias_n + col : NULL, t->residual ? t->residual + col : NULL, t->c + col,
                    (__mmask16)0xffff };

        /* whole panels first when the last one has to be masked */
        while (p > 1 && (t->b_whole ? p > panels : 16 * p > left)) p /= 2;
        if (16 * p > left) k.last = (__mmask16)((1u << (left - 16 * (p - 1))) - 1);
        if (mask_b)
            tails[t->rows](t, &k);
        else
            blocks[t->rows][p](t, &k);
        col += 16 * p;
    }
}
