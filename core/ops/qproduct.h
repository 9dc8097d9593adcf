/* core/ops/qproduct.h - what the products of 8-bit matrices share: packing B, scales and zero points, the output's requantization. */
#ifndef QUERN_OPS_QPRODUCT_H
#define QUERN_OPS_QPRODUCT_H

#include "core/ops/linear.h"

/* Inputs of a product: -1 where the op has none; one that may be left out is looked for at run time. */
typedef struct qn_qproduct_layout {
    int32_t b, a_scale, a_zero, b_scale, b_zero, y_scale, y_zero;
} qn_qproduct_layout;

typedef struct qn_qproduct {
    const qn_qgemm_kernel *kernel;
    const void *packed;      /* matrices of B one after the other, or NULL: packed on each run, at the start of scratch */
    size_t one;              /* bytes of a packed matrix */
    size_t mult_at, zero_at; /* in scratch: f32 and s32 [n] */
} qn_qproduct;

/* Input i of the run, or NULL: left out, or i is -1. */
const qn_tensor *qn_qproduct_given(const qn_run *r, int32_t i);

/* Bytes behind what scratch holds so far, 64-byte aligned. False on overflow. */
bool qn_qproduct_more_scratch(size_t *total, size_t n, size_t each, size_t *at);

/* Name the kernel, pack a constant B of b_batch matrices [k, n] ([n, k] when trans) or ask for scratch for n_unpacked of a computed one,
 * and for the parameters. Fails with QN_ERR_UNSUPPORTED (sums that may not fit s32), QN_ERR_LIMIT, QN_ERR_NOMEM. */
typedef struct qn_qproduct_sizes {
    int64_t k, n, b_batch;
    bool trans_b;
    int n_unpacked;
} qn_qproduct_sizes;
qn_status qn_qproduct_lower(qn_lower *lo, int32_t b, const qn_qproduct_sizes *z, qn_qproduct *p, qn_error *err);

/* The parameters hold one element, or n for those of b. Fails with QN_ERR_SHAPE. */
qn_status qn_qproduct_check(const qn_run *r, const qn_qproduct_layout *l, int64_t n, qn_error *err);

/* Zero points, multipliers, output form of g: what is left out is 0 or not there. Without y_scale the output is f32 where there is
 * b_scale, else s32. a_scale NULL: input l->a_scale. */
void qn_qproduct_parameters(const qn_run *r, const qn_qproduct_layout *l, const qn_qproduct *p, const qn_tensor *a_scale, float alpha,
                            int64_t n, qn_qgemm_args *g);

/* B packed into room of p->one bytes. */
void qn_qproduct_pack(const qn_run *r, const qn_qproduct_layout *l, int64_t matrix, int64_t k, int64_t n, bool trans_b, void *room);

#endif
