/* core/ops/spatial.h - windows over 1 to 3 spatial dimensions: the attributes that convolutions and pools share, checked, and the
 * output sizes that follow from them. A file may lie in every attribute; nothing here trusts one. */
#ifndef QUERN_OPS_SPATIAL_H
#define QUERN_OPS_SPATIAL_H

#include "core/graph/op.h"
#include "core/kernels/conv/conv.h"

#define QN_SPATIAL_MAX 3

typedef enum qn_auto_pad { QN_PAD_NOTSET = 0, QN_PAD_VALID, QN_PAD_SAME_UPPER, QN_PAD_SAME_LOWER } qn_auto_pad;

/* Index 0 is the outermost spatial dimension. */
typedef struct qn_spatial {
    int32_t n;                                                /* spatial dimensions, 1..QN_SPATIAL_MAX */
    int64_t kernel[QN_SPATIAL_MAX];                           /* 1..2^31-1; 0: not known yet */
    int64_t stride[QN_SPATIAL_MAX], dilation[QN_SPATIAL_MAX]; /* 1..2^31-1 */
    int64_t pad[QN_SPATIAL_MAX], pad_end[QN_SPATIAL_MAX];     /* 0..2^31-1; for SAME set by qn_spatial_sizes() */
    qn_auto_pad auto_pad;
    bool ceil_mode;
} qn_spatial;

/* Read kernel_shape, strides, dilations, pads, auto_pad, ceil_mode for a tensor of this rank (batch and channels included).
 *  kernel  [rank - 2] sizes that kernel_shape must agree with, 0 where not known; NULL: kernel_shape is required.
 *  Fails with QN_ERR_INVALID (a value out of range, a list of the wrong length, a kernel_shape that disagrees), QN_ERR_SHAPE (rank below
 *  3), QN_ERR_UNSUPPORTED (more than three spatial dimensions). */
qn_status qn_spatial_read(const qn_node *n, int32_t rank, const int64_t *kernel, qn_spatial *s, qn_error *err);

/* Output size of dimension d for input size `in`: a number, an expression or unknown. Fails with QN_ERR_SHAPE when it is certain that the
 * window does not fit. */
qn_status qn_spatial_infer(const qn_infer *c, const qn_spatial *s, int32_t d, qn_dim in, qn_dim *out, qn_error *err);

/* The same with numbers: out[n] for in[n], and pad, pad_end where auto_pad is SAME. Fails with QN_ERR_SHAPE. */
qn_status qn_spatial_sizes(qn_spatial *s, const int64_t *in, int64_t *out, qn_error *err);

/* x [n, c, in...] convolved by s to `o` channels, as the kernels want it: three dimensions, leading 1s. */
void qn_spatial_shape(const qn_spatial *s, const qn_tensor *x, int64_t o, int64_t groups, const int64_t *out, qn_conv_shape *shape);

/* Attribute group, 1..2^31-1. Fails with QN_ERR_INVALID. */
qn_status qn_spatial_group(const qn_node *n, int64_t *group, qn_error *err);

/* -- what every convolution checks ---------------------------------------------------------------------------------------- */

/* x at input ix [n, c, in...], w at iw [o, c / group, kernel...], bias at ib [o] (-1: none): writes output 0's shape.
 * Fails with QN_ERR_SHAPE, QN_ERR_INVALID, QN_ERR_UNSUPPORTED. */
qn_status qn_conv_infer_shape(qn_infer *c, int32_t ix, int32_t iw, int32_t ib, qn_dtype dtype, qn_error *err);

/* The shape of a convolution from real tensors. Fails like qn_conv_infer_shape(). */
qn_status qn_conv_shape_of(const qn_node *n, const qn_tensor *x, const qn_tensor *w, qn_conv_shape *shape, qn_error *err);

/* Work of a convolution by w [o, c / group, kernel...] to y: each element of y takes all of w for one o. */
uint64_t qn_conv_cost(const qn_tensor *w, const qn_tensor *y);
/* Elements of the window that attribute kernel_shape says, no longer in any dimension than x [n, c, in...] is. */
uint64_t qn_spatial_window(const qn_node *n, const qn_tensor *x);

#endif
