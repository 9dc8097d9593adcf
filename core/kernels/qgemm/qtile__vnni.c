/* core/kernels/qgemm/qtile__vnni.c - vpdpbusd: 64 products and sums an instruction, exact in s32.
 * 12 rows x 32 columns in 24 registers; few rows take more columns instead, as in tile__avx512.c. */
#include "core/kernels/gemm/tile.h"
#include "core/kernels/qgemm/qstore.inc"

#include <immintrin.h>
#include <string.h>

/* One stretch of columns. */
typedef struct block {
    const uint8_t *b;
    int32_t       *c;
    __mmask16      last; /* valid columns of the last panel */
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
    __m512i acc[12][8];
    const uint8_t *a[4], *b = k->b;
    const int64_t lda = t->lda, b_panel = 4 * t->b_panel;
    const int32_t *off = t->off;
    const __m512i flip = _mm512_set1_epi8((char)0x80);

    QN_UNROLL
    for (int i = 0; i < R; i++) {
        QN_UNROLL
        for (int j = 0; j < P; j++)
            acc[i][j] = t->resume ? _mm512_maskz_loadu_epi32(j == P - 1 ? k->last : (__mmask16)0xffff, k->c + i * t->ldc + 16 * j)
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
                acc[i][j] = S == QN_QSIDES_S8_U8 ? _mm512_dpbusd_epi32(acc[i][j], bv[j], av) : _mm512_dpbusd_epi32(acc[i][j], av, bv[j]);
        }
        QN_UNROLL
        for (int i = 0; i < (R + 2) / 3; i++) a[i] += 4;
        if (!table) b += 64;
    }
    QN_UNROLL
    for (int i = 0; i < R; i++) {
        QN_UNROLL
        for (int j = 0; j < P; j++)
            _mm512_mask_storeu_epi32(k->c + i * t->ldc + 16 * j, j == P - 1 ? k->last : (__mmask16)0xffff, acc[i][j]);
    }
}

#define SIDE(S, R, P)                               \
    case (S)*256 + (R)*16 + (P):                    \
        run(t, k, R, P, S, (S) == QN_QSIDES_S8_U8); \
        break;
#define CASE(R, P)                 \
    SIDE(QN_QSIDES_U8_S8, R, P)    \
    SIDE(QN_QSIDES_FLIP_S8, R, P)  \
    SIDE(QN_QSIDES_S8_U8, R, P)

__attribute__((noinline)) static void run_block(const qn_qtile *t, const block *k, int panels)
{
    switch ((int)t->sides * 256 + t->rows * 16 + panels) {
        CASE(1, 8)
        CASE(1, 4)
        CASE(1, 2)
        CASE(1, 1)
        CASE(2, 8)
        CASE(2, 4)
        CASE(2, 2)
        CASE(2, 1)
        CASE(3, 4)
        CASE(3, 2)
        CASE(3, 1)
        CASE(4, 4)
        CASE(4, 2)
        CASE(4, 1)
        CASE(5, 2)
        CASE(5, 1)
        CASE(6, 2)
        CASE(6, 1)
        CASE(7, 2)
        CASE(7, 1)
        CASE(8, 2)
        CASE(8, 1)
        CASE(9, 2)
        CASE(9, 1)
        CASE(10, 2)
        CASE(10, 1)
        CASE(11, 2)
        CASE(11, 1)
        CASE(12, 2)
        CASE(12, 1)
    default: break;
    }
}

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
        run_block(t, &k, p);
        col += 16 * p;
    }
}

const qn_qunit qn_qunit__vnni = { tile, q_store };
