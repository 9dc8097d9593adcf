/* core/kernels/qgemm/qtile.h - the 8-bit block that matrix product and convolution are both made of, and the way its sums are stored.
 *
 *   c[i][j] = sum over quads p and r = 0..3 of a[i][4 p + r] * b[p][j][r],  modulo 2^32
 *
 * One side is unsigned, the other signed, because that is what vpdpbusd multiplies; who is which is `sides`. b holds quads of four
 * consecutive k: a packed q16 panel, or a plane of pixels with four channels each.
 * Bits: integers, so any order gives the same. */
#ifndef QUERN_KERNELS_QTILE_H
#define QUERN_KERNELS_QTILE_H

#include "core/kernels/kernel.h"
#include "core/kernels/qgemm/qgemm.h"

#define QN_QTILE_ROWS 12 /* most rows of one tile */

typedef enum qn_qsides {
    QN_QSIDES_U8_S8 = 0, /* a u8, b s8 */
    QN_QSIDES_FLIP_S8,   /* a s8, read as u8 with the top bit flipped; b s8 */
    QN_QSIDES_S8_U8,     /* a s8, b u8: convolution, a being the weights */
} qn_qsides;

typedef struct qn_qtile {
    int64_t quads;
    int32_t rows; /* 1..QN_QTILE_ROWS */
    int64_t cols; /* any, >= 1 */
    qn_qsides sides;
    const uint8_t *a;   /* quad p of row i at a + i * lda + 4 * p */
    int64_t lda;        /* bytes */
    const uint8_t *b;   /* quad (p, 16 j + l) at b + 4 * (j * b_panel + (off ? off[p] : 16 * p) + l); all 16 of a panel are readable */
    int64_t b_panel;    /* quads */
    const int32_t *off; /* [quads], in quads, or NULL */
    bool resume;        /* add to what c holds */
    int32_t *c;
    int64_t ldc;
} qn_qtile;

typedef void qn_qtile_fn(const qn_qtile *t);

/* v = acc[i][j] + add_m[i] + add_n[j] - cor_m[i] * cor_n[j], modulo 2^32; then by `out`
 *   S32  v        F32  (float)v * mult        U8, S8  zero + rne(clamp((float)v * mult, lo - zero, hi - zero)), NaN gives lo */
typedef struct qn_qstore {
    int32_t rows;
    int64_t cols;
    const int32_t *acc;
    int64_t ld_acc;
    const int32_t *add_m, *add_n; /* each may be NULL */
    const int32_t *cor_m, *cor_n; /* both or neither */
    const float *mult_m, *mult_n; /* exactly one, unless S32 */
    qn_qout out;
    int32_t zero, lo, hi;
    void *c; /* element (i, j) at c[i * ldc + j] */
    int64_t ldc;
} qn_qstore;

typedef void qn_qstore_fn(const qn_qstore *s);

/* What one instruction set offers. */
typedef struct qn_qunit {
    qn_qtile_fn *tile;
    qn_qstore_fn *store;
} qn_qunit;

extern const qn_qunit qn_qunit__vnni, qn_qunit__avx2, qn_qunit__scalar;

#endif
