/* core/kernels/qgemm/qtile__scalar.c - the reference. Sums are unsigned: they wrap where vectors would. */
#include "core/kernels/qgemm/qstore.inc"

static int32_t value(uint8_t byte, bool is_signed) { return is_signed ? (int8_t)byte : byte; }

static uint32_t dot(const qn_qtile *t, const uint8_t *a, const uint8_t *b)
{
    const bool a_signed = t->sides == QN_QSIDES_S8_U8;
    const uint8_t flip = t->sides == QN_QSIDES_FLIP_S8 ? 0x80 : 0;
    int32_t sum = 0; /* of four products: at most 4 * 255 * 128 */

    for (int r = 0; r < 4; r++) sum += value(a[r] ^ flip, a_signed) * value(b[r], !a_signed);
    return (uint32_t)sum;
}

static void tile(const qn_qtile *t)
{
    for (int i = 0; i < t->rows; i++) {
        for (int64_t j = 0; j < t->cols; j++) {
            const uint8_t *a = t->a + i * t->lda, *b = t->b + 4 * (j / 16 * t->b_panel + j % 16);
            uint32_t sum = t->resume ? (uint32_t)t->c[i * t->ldc + j] : 0;

            for (int64_t p = 0; p < t->quads; p++) sum += dot(t, a + 4 * p, b + 4 * (t->off ? (int64_t)t->off[p] : 16 * p));
            t->c[i * t->ldc + j] = (int32_t)sum;
        }
    }
}

const qn_qunit qn_qunit__scalar = { tile, q_store };
