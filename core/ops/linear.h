/* core/ops/linear.h - what matrix products and convolutions share: reading types and scales, packing constants, naming kernels. */
#ifndef QUERN_OPS_LINEAR_H
#define QUERN_OPS_LINEAR_H

#include "core/graph/op.h"
#include "core/kernels/gemm/gemm.h"
#include "core/kernels/qgemm/qgemm.h"

/* -- inference ------------------------------------------------------------------------------------------------------------ */

/* Inputs 0..required-1 are given and tensors; optional ones given are tensors. Fails with QN_ERR_INVALID, QN_ERR_DTYPE. */
qn_status qn_linear_need(const qn_infer *c, int32_t required, qn_error *err);

/* Input i has one of the dtypes in `set` (bits 1u << QN_F32 | ...). Fails with QN_ERR_DTYPE. */
qn_status qn_linear_dtype(const qn_infer *c, int32_t i, uint32_t set, qn_error *err);
#define QN_LINEAR_BYTES (1u << QN_U8 | 1u << QN_I8)

/* Input i, if given, holds one element, or `n` along one axis when per_axis is set; where dims are known.
 * n QN_DIM_UNKNOWN: any number. Fails with QN_ERR_SHAPE. */
qn_status qn_linear_scale(const qn_infer *c, int32_t i, bool per_axis, qn_dim n, qn_error *err);

/* Two dimensions that must be the same differ for certain. */
bool qn_linear_differ(const qn_infer *c, qn_dim a, qn_dim b);

/* Output 0: dtype, rank, dims as copied from dims. */
void qn_linear_output(qn_infer *c, qn_dtype dtype, int32_t rank, const qn_dim *dims);

/* -- matrix product shapes ------------------------------------------------------------------------------------------------ */

/* numpy.matmul of a and b: the output's rank and dims into out. Ranks must be known. Fails with QN_ERR_SHAPE. */
qn_status qn_matmul_infer(const qn_infer *c, const qn_type *a, const qn_type *b, qn_type *out, qn_error *err);

/* Which axis of the output carries the batch; for A = input a, B = input b. Nothing else may depend on the rows. */
void qn_matmul_rows(const qn_infer *c, int32_t a, int32_t b, const int32_t *in_axis, int32_t *out_axis);

typedef struct qn_matmul_shape {
    int64_t m, n, k;
    int64_t batch;                                    /* products; B without batch dims makes m hold all rows of A */
    int64_t b_batch;                                  /* distinct matrices of B */
    int32_t rank;                                     /* of the batch dims of the output */
    int64_t dims[QN_MAX_RANK];                        /* of the batch */
    int64_t a_step[QN_MAX_RANK], b_step[QN_MAX_RANK]; /* in matrices; 0 where broadcast */
} qn_matmul_shape;

/* From real tensors whose shapes inference has accepted; symbols may still clash. Fails with QN_ERR_SHAPE. */
qn_status qn_matmul_shape_of(const qn_tensor *a, const qn_tensor *b, qn_matmul_shape *s, qn_error *err);
/* Product i of the batch: which matrix of A and of B. */
void qn_matmul_at(const qn_matmul_shape *s, int64_t i, int64_t *a, int64_t *b);

/* Work of a product of two matrices whose A is transposed by attribute transA: elements of the output times the other dimension of A. */
qn_cost_fn qn_gemm_cost;

/* -- packing -------------------------------------------------------------------------------------------------------------- */

/* The form p16 of `batch` matrices [k, n] (or [n, k] when trans) one after the other in w. */
qn_status qn_linear_pack_f32(qn_lower *lo, qn_weight *w, int64_t batch, int64_t k, int64_t n, bool trans, const float **data,
                             qn_error *err);
/* The form q16 likewise, of u8 or s8. */
qn_status qn_linear_pack_q8(qn_lower *lo, qn_weight *w, int64_t batch, int64_t k, int64_t n, bool trans, bool is_signed, const void **data,
                            qn_error *err);

/* -- lowering ------------------------------------------------------------------------------------------------------------- */

/* Every dimension of input and output tensors that run needs is known. Fails with QN_ERR_INTERNAL. */
qn_status qn_linear_known(const qn_lower *lo, qn_error *err);

/* "openblas/SkylakeX", in the plan's arena. */
const char *qn_linear_blas_name(qn_lower *lo, const qn_openblas *blas);

/* Why a kernel with these needs was not preceded by a better one. */
const char *qn_linear_why_f32(unsigned cpu);
const char *qn_linear_why_q8(unsigned cpu);

/* -- other element types ---------------------------------------------------------------------------------------------------- */

/* A product of f64, f16, bf16 or 32- and 64-bit integers by plain loops. c [m, n] dense; for f16 and bf16 it holds f32. */
typedef struct qn_naive {
    qn_dtype dtype;
    int64_t m, n, k;
    const void *a, *b;
    int64_t a_row, a_col, b_row, b_col; /* strides in elements */
    void *c;
} qn_naive;
void qn_naive_run(const qn_naive *g, qn_team *team);

/* -- quantization at run time --------------------------------------------------------------------------------------------- */

/* The parameters at inputs i of a run (scales, zero points) hold one element, or n where per_axis is set: inference saw only what was
 * known. Fails with QN_ERR_SHAPE. */
qn_status qn_linear_check(const qn_run *r, int32_t i, bool per_axis, int64_t n, qn_error *err);
/* Element 0 of a zero point in its own dtype; 0 for a tensor left out. */
int32_t qn_linear_zero(const qn_tensor *t);
/* All n of them into out, one repeated where the tensor holds one. */
void qn_linear_zeros(const qn_tensor *t, int64_t n, int32_t *out);
/* multiplier[j] = ((alpha * a_scale) * b_scale[j]) / y_scale, each step rounded to f32; y NULL or left out: without the division. */
void qn_linear_multipliers(float alpha, const qn_tensor *a, const qn_tensor *b, const qn_tensor *y, int64_t n, float *out);

/* "none", "relu", "clip" of attribute act with lo, hi. Fails with QN_ERR_INVALID. */
qn_status qn_linear_act(const qn_node *n, qn_act *act, float *lo, float *hi, qn_error *err);

#endif
