/* core/kernels/qgemm/qtile__vnni.c - vpdpbusd: 64 products and sums an instruction, exact in s32.
 * 12 rows x 32 columns in 24 registers; few rows take more columns instead, as in tile__avx512.c. */
#include "core/kernels/gemm/tile.h"
#include "core/kernels/qgemm/qstore.inc"

#include <immintrin.h>
#include <string.h>

/* One stretch of columns. */
typedef struct block {
    const uint8_t *b;
    int32_t *c;
    __mmask16 last; /* valid columns of the last panel */
} block;

QN_INLINE __m512i quad(const uint8_t *a)
{
    int32_t v;

    memcpy(&v, a, sizeof v);
    return _mm512_set1_epi32(v);
}

/* R, P, S and table are constants at every call: each combination becomes its own loop with acc in registers. */
QN_INLINE void run(const qn_qtile *t, const block *k, const int R, const int P, const qn_qsides S, const bool table)
{
    __m512i acc[24]; /* R * P of them: never more, or registers would spill */
    const uint8_t *a[4], *b = k->b;
    const int64_t lda = t->lda, b_panel = 4 * t->b_panel;
    const int32_t *off = t->off;
    const __m512i flip = _mm512_set1_epi8((char)0x80);

    QN_UNROLL
    for (int i = 0; i < R; i++) {
        QN_UNROLL
        for (int j = 0; j < P; j++)
            acc[i * P + j] = t->resume ? _mm512_maskz_loadu_epi32(j == P - 1 ? k->last : (__mmask16)0xffff, k->c + i * t->ldc + 16 * j)
                                       : _mm512_setzero_si512();
    }
    QN_UNROLL
    for (int i = 0; i < (R + 2) / 3; i++) a[i] = t->a + 3 * i * lda;
    for (int64_t p = 0; p < t->quads; p++) {
        const uint8_t *bp = table ? b + 4 * (int64_t)off[p] : b;
        __m512i bv[8];

        QN_UNROLL
        for (int j = 0; j < P; j++) bv[j] = _mm512_loadu_si512(bp + j * b_panel);
        QN_UNROLL
        for (int i = 0; i < R; i++) {
            __m512i av = quad(a[i / 3] + (i % 3) * lda);

            if (S == QN_QSIDES_FLIP_S8) av = _mm512_xor_si512(av, flip);
            QN_UNROLL
            for (int j = 0; j < P; j++)
                acc[i * P + j] =
                    S == QN_QSIDES_S8_U8 ? _mm512_dpbusd_epi32(acc[i * P + j], bv[j], av) : _mm512_dpbusd_epi32(acc[i * P + j], av, bv[j]);
        }
        QN_UNROLL
        for (int i = 0; i < (R + 2) / 3; i++) a[i] += 4;
        if (!table) b += 64;
    }
    QN_UNROLL
    for (int i = 0; i < R; i++) {
        QN_UNROLL
        for (int j = 0; j < P; j++)
            _mm512_mask_storeu_epi32(k->c + i * t->ldc + 16 * j, j == P - 1 ? k->last : (__mmask16)0xffff, acc[i * P + j]);
    }
}

typedef void block_fn(const qn_qtile *t, const block *k);

/* A function each: inlined together they would share one huge frame. Only convolution reads by a table of offsets. */
#define BLOCK(R, P)                                                                                                                        \
    __attribute__((noinline)) static void block_##R##x##P(const qn_qtile *t, const block *k)                                               \
    {                                                                                                                                      \
        if (t->sides == QN_QSIDES_S8_U8)                                                                                                   \
            run(t, k, R, P, QN_QSIDES_S8_U8, true);                                                                                        \
        else if (t->sides == QN_QSIDES_U8_S8)                                                                                              \
            run(t, k, R, P, QN_QSIDES_U8_S8, false);                                                                                       \
        else                                                                                                                               \
            run(t, k, R, P, QN_QSIDES_FLIP_S8, false);                                                                                     \
    }

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
    /* clang-format on */

    /* [rows][panels] */
    static block_fn *const blocks[QN_QTILE_ROWS + 1][9] = {
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

static void tile(const qn_qtile *t)
{
    const int widest = t->rows <= 2 ? 8 : t->rows <= 4 ? 4 : 2;
    int64_t col = 0;

    while (col < t->cols) {
        const int64_t left = t->cols - col;
        int p = widest;
        block k = { t->b + 4 * (col / 16 * t->b_panel), t->c + col, (__mmask16)0xffff };

        while (p > 1 && p > (left + 15) / 16) p /= 2;
        if (16 * p > left) k.last = (__mmask16)((1u << (left - 16 * (p - 1))) - 1);
        blocks[t->rows][p](t, &k);
        col += 16 * p;
    }
}

const qn_qunit qn_qunit__vnni = { tile, q_store };
