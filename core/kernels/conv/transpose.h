/* core/kernels/conv/transpose.h - transposed convolution: what convolution's gradient with respect to its input computes.
 *   y[o][i * stride - pad + k * dilation] += sum_c x[c][i] * w[c][o][k]
 * Bits: for each input pixel and tap one fma chain over c; an output pixel adds the taps that reach it, (kd, kh, kw) ascending, to +0;
 *       then the bias.
 * Threads: tiles are (image, output channel), fixed by shape. */
#ifndef QUERN_KERNELS_CONV_TRANSPOSE_H
#define QUERN_KERNELS_CONV_TRANSPOSE_H

#include "core/kernels/conv/conv.h"

typedef struct qn_conv_transpose_args {
    qn_conv_shape s;   /* c, in: of x; o, out: of y; pad: leading pads taken off y */
    const float *x;    /* [n, c, in...] */
    const float *w;    /* packed by qn_conv_transpose_pack() */
    const float *bias; /* [o] or NULL */
    float *y;          /* [n, o, out...] */
    void *scratch;     /* qn_conv_transpose_scratch() bytes */
} qn_conv_transpose_args;

/* Name of the row for these CPU flags. */
const char *qn_conv_transpose_name(unsigned cpu);

/* Packed: [o][taps][c / groups], from w [c, o / groups, kernel...]. */
bool qn_conv_transpose_packed_bytes(const qn_conv_shape *s, size_t *bytes);
void qn_conv_transpose_pack(const qn_conv_shape *s, float *packed, const float *w);
bool qn_conv_transpose_scratch(const qn_conv_shape *s, int team_size, size_t *bytes);
void qn_conv_transpose_run(unsigned cpu, const qn_conv_transpose_args *a, qn_team *team);

#endif
