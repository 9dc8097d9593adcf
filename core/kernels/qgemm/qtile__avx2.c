/* core/kernels/qgemm/qtile__avx2.c - exact without VNNI: bytes widened to 16 bits, vpmaddwd.
 * (vpmaddubsw would be a third faster, and saturates: not exact.) 2 rows x 16 columns in 8 registers; each holds four columns as
 * two half sums, which meet at the end. */
#include "core/kernels/gemm/tile.h"
#include "core/kernels/qgemm/qstore.inc"

#include <immintrin.h>
#include <string.h>

/* Four bytes of a row of a, four times, as 16-bit numbers. */
QN_INLINE __m256i quad(const uint8_t *a, const qn_qsides S)
{
    int32_t v;
    __m128i x;

    memcpy(&v, a, sizeof v);
    x = _mm_set1_epi32(v);
    if (S == QN_QSIDES_FLIP_S8) x = _mm_xor_si128(x, _mm_set1_epi8((char)0x80));
    return S == QN_QSIDES_S8_U8 ? _mm256_cvtepi8_epi16(x) : _mm256_cvtepu8_epi16(x);
}

/* Rows [row, row + R) of one panel with `cols` valid columns. R and S are constants at every call. */
QN_INLINE void run(const qn_qtile *t, int row, int64_t col, int cols, const int R, const qn_qsides S)
{
    _Alignas(32) int32_t sum[16];
    __m256i acc[2][4];
    const uint8_t *a = t->a + row * t->lda, *b = t->b + 4 * (col / 16 * t->b_panel);
    int32_t *c = t->c + row * t->ldc + col;

    QN_UNROLL
    for (int i = 0; i < R; i++) {
        QN_UNROLL
        for (int j = 0; j < 4; j++) acc[i][j] = _mm256_setzero_si256();
    }
    for (int64_t p = 0; p < t->quads; p++) {
        const uint8_t *bp = b + 4 * (t->off ? (int64_t)t->off[p] : 16 * p);
        __m256i av[2];

        QN_UNROLL
        for (int i = 0; i < R; i++) av[i] = quad(a + i * t->lda + 4 * p, S);
        QN_UNROLL
        for (int j = 0; j < 4; j++) {
            const __m128i bytes = _mm_loadu_si128((const __m128i *)(bp + 16 * j));
            const __m256i bv = S == QN_QSIDES_S8_U8 ? _mm256_cvtepu8_epi16(bytes) : _mm256_cvtepi8_epi16(bytes);

            QN_UNROLL
            for (int i = 0; i < R; i++) acc[i][j] = _mm256_add_epi32(acc[i][j], _mm256_madd_epi16(av[i], bv));
        }
    }
    for (int i = 0; i < R; i++) {
        for (int j = 0; j < 2; j++) {
            const __m256i halves = _mm256_hadd_epi32(acc[i][2 * j], acc[i][2 * j + 1]); /* columns 0 1 4 5 | 2 3 6 7 */

            _mm256_store_si256((__m256i *)(sum + 8 * j), _mm256_permute4x64_epi64(halves, 0xd8));
        }
        for (int j = 0; j < cols; j++) {
            const uint32_t before = t->resume ? (uint32_t)c[i * t->ldc + j] : 0;

            c[i * t->ldc + j] = (int32_t)(before + (uint32_t)sum[j]);
        }
    }
}

#define SIDE(S)                                                                                                                            \
    case S:                                                                                                                                \
        if (rows == 2)                                                                                                                     \
            run(t, row, col, cols, 2, S);                                                                                                  \
        else                                                                                                                               \
            run(t, row, col, cols, 1, S);                                                                                                  \
        break;

__attribute__((noinline)) static void run_panel(const qn_qtile *t, int row, int rows, int64_t col, int cols)
{
    switch (t->sides) {
        SIDE(QN_QSIDES_U8_S8)
        SIDE(QN_QSIDES_FLIP_S8)
        SIDE(QN_QSIDES_S8_U8)
    }
}

static void tile(const qn_qtile *t)
{
    for (int64_t col = 0; col < t->cols; col += 16) {
        const int cols = t->cols - col < 16 ? (int)(t->cols - col) : 16;

        for (int row = 0; row < t->rows; row += 2) run_panel(t, row, t->rows - row < 2 ? 1 : 2, col, cols);
    }
}

const qn_qunit qn_qunit__avx2 = { tile, q_store };
