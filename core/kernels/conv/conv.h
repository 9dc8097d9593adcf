/* core/kernels/conv/conv.h - 1-, 2- and 3-dimensional convolution on plain NCHW data.
 * One spatial description serves them all; 1-d and 2-d are 3-d with leading 1s.
 * Bits: y[o][pixel] is one fma chain over (c, kd, kh, kw) ascending, padding counted as fma with +0 input; then bias, act. */
#ifndef QUERN_KERNELS_CONV_H
#define QUERN_KERNELS_CONV_H

#include "core/kernels/kernel.h"

typedef struct qn_conv_shape {
    int64_t n, c, o, groups; /* batch, input channels, output channels */
    int64_t in[3], out[3];   /* depth, height, width */
    int64_t kernel[3], stride[3], dilation[3];
    int64_t pad[3]; /* leading pads; trailing ones follow from out */
} qn_conv_shape;

typedef struct qn_conv_args {
    qn_conv_shape s;
    const float *x;        /* [n, c, in...] */
    const void *w;         /* packed by the kernel's pack(), or dense where that is NULL */
    const float *bias;     /* [o] or NULL */
    const float *residual; /* [n, o, out...] added before act, or NULL */
    float *y;              /* [n, o, out...] */
    qn_act act;
    float lo, hi;
    void *scratch; /* qn_conv_scratch() bytes */
} qn_conv_args;

typedef struct qn_conv_kernel {
    const char *name;
    unsigned needs;
    qn_order order;
    bool (*accepts)(const qn_conv_shape *s);
    bool (*packed_bytes)(const qn_conv_shape *s, size_t *bytes);
    void (*pack)(const qn_conv_shape *s, void *packed, const float *w); /* w [o, c/groups, kernel...] dense. NULL: run reads w as it lies */
    bool (*scratch_bytes)(const qn_conv_shape *s, int team_size, size_t *bytes);
    void (*run)(const qn_conv_args *a, qn_team *team);
} qn_conv_kernel;

/* The best row for these CPU flags that accepts the shape; NULL if none does (a plane of one row of pixels passes 2^30 elements). */
const qn_conv_kernel *qn_conv_pick(unsigned cpu, const qn_conv_shape *s);
const qn_conv_kernel *qn_conv_kernels(int32_t *n);

/* The 8-bit twin: x u8/s8, w u8/s8, s32 sums, requantized as in qgemm.h. */
typedef struct qn_qconv_args {
    qn_conv_shape s;
    const uint8_t *x;
    bool x_signed;
    int32_t x_zero; /* padding has this value */
    const void *w;  /* packed by pack() */
    bool w_signed;
    const int32_t *w_zero; /* [o], or NULL for 0 */
    const int32_t *bias;   /* [o] or NULL */
    bool y_signed, y_s32;  /* y_s32: store the sums (ConvInteger) */
    void *y;
    const float *multiplier; /* [o] */
    int32_t y_zero, y_lo, y_hi;
    void *scratch;
} qn_qconv_args;

typedef struct qn_qconv_kernel {
    const char *name;
    unsigned needs;
    qn_order order;
    bool (*accepts)(const qn_conv_shape *s);
    bool (*packed_bytes)(const qn_conv_shape *s, size_t *bytes);
    void (*pack)(const qn_conv_shape *s, void *packed, const uint8_t *w, bool w_signed);
    bool (*scratch_bytes)(const qn_conv_shape *s, int team_size, size_t *bytes);
    void (*run)(const qn_qconv_args *a, qn_team *team);
} qn_qconv_kernel;

const qn_qconv_kernel *qn_qconv_pick(unsigned cpu, const qn_conv_shape *s);
const qn_qconv_kernel *qn_qconv_kernels(int32_t *n);

#endif
