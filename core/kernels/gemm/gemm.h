/* core/kernels/gemm/gemm.h - C[m,n] = act(alpha-free A[m,k] * B[k,n] + bias[n]), B packed once.
 *
 * Packed B ("p16"): panels of 16 columns; in a panel, k rows of 16 floats; columns past n are zero. One format for all
 * instruction sets, so a weight is packed once whatever the plan runs on. Bytes: ceil(n/16) * 16 * k * 4.
 * Bits: c[i][j] is one fma chain over k = 0..K-1 from +0, then + bias[j] (one add, when bias is given), then act. It depends on row i
 * of A and column j of B only. Same bits on every row of the table with order FMA_CHAIN, any m, any team.
 * Threads: tiles are fixed by (m, n, k). */
#ifndef QUERN_KERNELS_GEMM_H
#define QUERN_KERNELS_GEMM_H

#include "core/kernels/kernel.h"

typedef struct qn_gemm_args {
    int64_t m, n, k;
    const float *a; /* element (i, p) at a[i * lda + p] */
    int64_t lda;
    const float *b; /* packed p16 */
    float *c;       /* element (i, j) at c[i * ldc + j] */
    int64_t ldc;
    const float *bias_n; /* [n] added to column j, or NULL */
    const float *bias_m; /* [m] added to row i, or NULL (convolution: rows are output channels) */
    qn_act act;
    float lo, hi; /* for QN_ACT_CLIP */
} qn_gemm_args;

typedef void qn_gemm_fn(const qn_gemm_args *g, qn_team *team);

typedef struct qn_gemm_kernel {
    const char *name; /* dtype, rows x columns held in registers, instruction set: "f32_14x32__avx512" */
    unsigned needs;   /* QN_CPU_* bits */
    qn_order order;
    qn_gemm_fn *run;
} qn_gemm_kernel;

/* Best row of FMA_CHAIN order for these CPU flags; never NULL. */
const qn_gemm_kernel *qn_gemm_pick(unsigned cpu);
/* All rows, for tests and docs. */
const qn_gemm_kernel *qn_gemm_kernels(int32_t *n);

/* Bytes of packed B; false on overflow. */
bool qn_gemm_packed_bytes(int64_t k, int64_t n, size_t *bytes);
/* Pack rows [k0, k0 + k_rows) of B, element (p, j) at b[(p - k0) * row_stride + j * col_stride], into packed (zeroed before the
 * first call). Row_stride/col_stride serve both B[k,n] and its transpose. */
void qn_gemm_pack(float *packed, int64_t k, int64_t n, int64_t k0, int64_t k_rows, const float *b, int64_t row_stride, int64_t col_stride);
/* Pack columns [j0, j0 + n_cols), all k rows: element (p, j) at b[p * row_stride + (j - j0) * col_stride]. For weights that are stored
 * transposed and stream in by output. */
void qn_gemm_pack_cols(float *packed, int64_t k, int64_t n, int64_t j0, int64_t n_cols, const float *b, int64_t row_stride,
                       int64_t col_stride);

/* The OpenBLAS row (order OPENBLAS, B dense [k,n] row-major or transposed): loaded by dlopen on first use, single-threaded.
 * Trap: OpenBLAS 0.3.21 does not know recent CPUs and falls to its SSE3 kernels (five times slower), and it reads
 * OPENBLAS_CORETYPE when the library is loaded; so qn_openblas_open() sets the variable from `cpu` before dlopen unless the
 * user has set it. Call it from main() before threads start (it writes the environment). */
typedef struct qn_openblas qn_openblas;
qn_status qn_openblas_open(unsigned cpu, const qn_openblas **out, qn_error *err); /* QN_ERR_NOT_FOUND: not installed */
const char *qn_openblas_core(const qn_openblas *blas);                            /* "SkylakeX", "Haswell", ...: what it really runs */
/* Every size and stride must fit an int: callers check. */
void qn_openblas_sgemm(const qn_openblas *blas, bool trans_b, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
                       int64_t ldb, float *c, int64_t ldc);

#endif
