/* core/ops/qlinear.h - what com.microsoft's element-wise and pooling ops on 8-bit tensors share. */
#ifndef QUERN_OPS_QLINEAR_H
#define QUERN_OPS_QLINEAR_H

#include "core/ops/linear.h"

/* A tensor's quantization, read at run time. */
typedef struct qn_qlinear {
    float scale;
    int32_t zero;
    bool is_signed;
} qn_qlinear;

/* x at input i is u8 or s8; i + 1 is its scale, i + 2 its zero point, of x's dtype, or left out: one element each where that is known.
 * x -1: the parameters of an output at inputs i, i + 1, its dtype `like`. */
qn_status qn_qlinear_infer(const qn_infer *c, int32_t x, int32_t scale, int32_t zero, qn_dtype like, qn_error *err);

/* The same at run time. Fails with QN_ERR_SHAPE (not one element). */
qn_status qn_qlinear_read(const qn_run *r, int32_t scale, int32_t zero, qn_dtype dtype, qn_qlinear *q, qn_error *err);

/* table[b] for each byte b of `from`: f(real) as `to`. f NULL: the same real. */
typedef void qn_qlinear_fn(const void *ctx, const float *x, float *y, int64_t n);
void qn_qlinear_table(unsigned cpu, const qn_qlinear *from, const qn_qlinear *to, qn_qlinear_fn *f, const void *ctx, uint8_t table[256]);

/* v + zero to the nearest, halves to even, then to the range of `to`; NaN becomes its smallest. */
uint8_t qn_qlinear_round(float v, const qn_qlinear *to);

/* Attribute channels_last of a com.microsoft op. */
bool qn_qlinear_channels_last(const qn_node *n);
void qn_qlinear_planar_dims(int64_t *dims, int32_t rank); /* [n, .., c] -> [n, c, ..] */
void qn_qlinear_last_dims(qn_dim *dims, int32_t rank);    /* [n, c, ..] -> [n, .., c] */

#endif
