/* core/kernels/gemm/tile.h - the f32 block that matrix product and convolution are both made of.
 *
 *   c[i][j] = act( sum_p a[i][p] * b[p][j]  + bias_m[i] + bias_n[j] + residual[i][j] )      rows x cols of it, p ascending
 *
 * Rows of `a` are read where they lie (weights or activations, row-major); rows of `b` are either a constant distance apart
 * (a packed panel, a channel plane) or at offsets from a table (convolution: the taps of a padded plane).
 * Bits: every element is one fma chain over p from +0, or from what c holds when `resume` is set: storing a partial sum as f32 and
 * reading it back changes nothing, so a long chain may be cut into stretches. Additions after the sum come in the order written.
 * relu is `v < 0 ? 0 : v`, as in core/kernels/eltwise: NaN and -0 pass. clip is `lo > v ? lo : v`, then `hi < v ? hi : v`: NaN passes.
 * A NaN is a NaN on every instruction set; which of two NaN operands gives its payload is not promised. */
#ifndef QUERN_KERNELS_TILE_H
#define QUERN_KERNELS_TILE_H

#include "core/kernels/kernel.h"

#define QN_TILE_ROWS 12 /* most rows of one tile */

typedef struct qn_tile {
    int64_t k;
    int32_t rows;   /* 1..QN_TILE_ROWS */
    int64_t cols;   /* any, >= 1 */
    const float *a; /* element (i, p) at a[i * lda + p] */
    int64_t lda;
    const float *b; /* element (p, 16 j + l) at b[j * b_panel + (off ? off[p] : p * b_row) + l] */
    int64_t b_row, b_panel;
    const int32_t *off; /* [k] or NULL */
    bool b_whole;       /* all 16 columns of the last panel may be read, valid or not */
    bool resume;        /* the chain goes on from c */
    bool finish;        /* the chain ends here: bias, residual and act */
    float *c;
    int64_t ldc;
    const float *bias_m, *bias_n; /* [rows], [cols] or NULL */
    const float *residual;        /* laid out as c, or NULL */
    qn_act act;
    float lo, hi;
} qn_tile;

typedef void qn_tile_run_fn(const qn_tile *t);

qn_tile_run_fn qn_tile_f32__avx512;
qn_tile_run_fn qn_tile_f32__avx2;
qn_tile_run_fn qn_tile_f32__scalar;      /* the reference: fmaf(), inlined where this machine has the instruction */
qn_tile_run_fn qn_tile_f32__scalar_soft; /* the same without asking the machine, for tests */

/* Full unrolling of loops whose bounds are constants after inlining: what keeps accumulators in registers. */
#ifdef __clang__
#define QN_UNROLL _Pragma("clang loop unroll(full)")
#else
#define QN_UNROLL _Pragma("GCC unroll 16")
#endif
#define QN_INLINE static inline __attribute__((always_inline))

/* The definition of act, one element. */
static inline float qn_act_apply(float v, qn_act act, float lo, float hi)
{
    switch (act) {
    case QN_ACT_RELU: return v < 0 ? 0.0f : v;
    case QN_ACT_CLIP: v = lo > v ? lo : v; return hi < v ? hi : v;
    case QN_ACT_NONE: break;
    }
    return v;
}

#endif
