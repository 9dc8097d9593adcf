/* core/kernels/qgemm/qgemm.h - 8-bit matrix product with s32 sums, and requantization.
 *
 * acc[i][j] = sum_p (a[i][p] - za) * (b[p][j] - zb[j]),  exact in s32 (K <= 66,000; callers check).
 * Packed B ("q16"): panels of 16 columns; in a panel, ceil(k/4) groups of 16 columns x 4 consecutive k; unsigned B is stored with
 * its top bit flipped (s8 = u8 - 128, zero point moved likewise); k past the end is zero. After the panels come per-column
 * s32 sums of the stored s8. One format for scalar, AVX2 (exact, by 16-bit products) and VNNI.
 * Signed A is read with its top bit flipped (u8 = s8 + 128, zero point moved likewise).
 * Requantization, as ONNX Runtime does it: y = saturate(rne((float)acc * multiplier[j]) + zy), multiplier = sa * sb[j] / sy in f32.
 * Bits: integers, so the same everywhere; the f32 multiply is one operation and rounding is to nearest even. */
#ifndef QUERN_KERNELS_QGEMM_H
#define QUERN_KERNELS_QGEMM_H

#include "core/kernels/kernel.h"

typedef enum qn_qout { QN_QOUT_S32 = 0, QN_QOUT_U8, QN_QOUT_S8, QN_QOUT_F32 } qn_qout;

typedef struct qn_qgemm_args {
    int64_t m, n, k;
    const uint8_t *a; /* bytes, u8 or s8 */
    bool a_signed;
    int64_t lda;
    int32_t a_zero;        /* zero point in A's own dtype */
    const void *b;         /* packed q16 */
    bool b_signed;         /* of the original B: decides how b_zero is read */
    const int32_t *b_zero; /* [n] in B's own dtype, or NULL for the default 0 */
    const int32_t *bias;   /* [n] s32 or NULL */
    qn_qout out;
    void *c; /* s32, u8, s8 or f32; element (i, j) at c[i * ldc + j] */
    int64_t ldc;
    const float *multiplier; /* [n]; for U8/S8: sa*sb[j]/sy; for F32: sa*sb[j] */
    int32_t c_zero;          /* zero point of a U8/S8 output */
    int32_t c_lo, c_hi;      /* clamp of the quantized output (a fused Relu raises c_lo to c_zero): 0..255 or -128..127 */
} qn_qgemm_args;

typedef void qn_qgemm_fn(const qn_qgemm_args *g, qn_team *team);

typedef struct qn_qgemm_kernel {
    const char *name;
    unsigned needs;
    qn_order order; /* EXACT_INT */
    qn_qgemm_fn *run;
} qn_qgemm_kernel;

const qn_qgemm_kernel *qn_qgemm_pick(unsigned cpu);
const qn_qgemm_kernel *qn_qgemm_kernels(int32_t *n);

bool qn_qgemm_packed_bytes(int64_t k, int64_t n, size_t *bytes);
/* Pack all of B, element (p, j) at b[p * row_stride + j * col_stride], signed or unsigned bytes. */
void qn_qgemm_pack(void *packed, int64_t k, int64_t n, const uint8_t *b, bool b_signed, int64_t row_stride, int64_t col_stride);

#endif
