/* core/kernels/reduce/lanes.h - sixteen virtual lanes and the tree that joins them.
 *
 * Element i of a reduction goes to lane i mod 16, in ascending order; then lane l takes lane l + 8, l + 4, l + 2, l + 1 in turn. That is
 * the order on every instruction set, for rows that lie in one piece as for columns, so the bits are the same.
 * Include it only from kernel files; they are compiled once per instruction set. */
#ifndef QUERN_KERNELS_REDUCE_LANES_H
#define QUERN_KERNELS_REDUCE_LANES_H

#include "core/kernels/vmath/lanes.h"

#define QN_N_LANES 16

/* The lanes live in as many registers as the instruction set needs for sixteen floats. */
#if defined(__AVX512F__)
#define QN_LANES_WIDTH 16
#elif defined(__AVX2__)
#define QN_LANES_WIDTH 8
#else
#define QN_LANES_WIDTH 4
#endif
#define QN_LANES_REGS (QN_N_LANES / QN_LANES_WIDTH)

typedef float qn_lanes __attribute__((vector_size(4 * QN_LANES_WIDTH)));
typedef int32_t qn_lanes_mask __attribute__((vector_size(4 * QN_LANES_WIDTH)));

/* x > m ? x : m and x < m ? x : m, lane by lane: on x86 one instruction, which keeps m for a NaN as the comparison does. */
#if defined(__AVX512F__)
#include <immintrin.h>
#define QN_LANES_LARGER(x, m)  ((qn_lanes)_mm512_max_ps((__m512)(x), (__m512)(m)))
#define QN_LANES_SMALLER(x, m) ((qn_lanes)_mm512_min_ps((__m512)(x), (__m512)(m)))
#elif defined(__AVX2__)
#include <immintrin.h>
#define QN_LANES_LARGER(x, m)  ((qn_lanes)_mm256_max_ps((__m256)(x), (__m256)(m)))
#define QN_LANES_SMALLER(x, m) ((qn_lanes)_mm256_min_ps((__m256)(x), (__m256)(m)))
#elif defined(__SSE__)
#include <xmmintrin.h>
#define QN_LANES_LARGER(x, m)  ((qn_lanes)_mm_max_ps((__m128)(x), (__m128)(m)))
#define QN_LANES_SMALLER(x, m) ((qn_lanes)_mm_min_ps((__m128)(x), (__m128)(m)))
#else
#define QN_LANES_PICK(mask, x, m) ((qn_lanes)(((mask) & (qn_lanes_mask)(x)) | (~(mask) & (qn_lanes_mask)(m))))
#define QN_LANES_LARGER(x, m)     QN_LANES_PICK((x) > (m), x, m)
#define QN_LANES_SMALLER(x, m)    QN_LANES_PICK((x) < (m), x, m)
#endif

/* The larger; NaN wins and stays. A lane keeps what it has when both are equal. */
static inline float qn_lane_reduce_max(float acc, float x)
{
    float y = x > acc ? x : acc;

    y = x == x ? y : x;
    return acc == acc ? y : acc;
}

static inline float qn_lane_reduce_min(float acc, float x)
{
    float y = x < acc ? x : acc;

    y = x == x ? y : x;
    return acc == acc ? y : acc;
}

static inline float qn_lanes_tree_sum(float *acc)
{
    for (int w = QN_N_LANES / 2; w > 0; w /= 2)
        for (int l = 0; l < w; l++) acc[l] = acc[l] + acc[l + w];
    return acc[0];
}

static inline float qn_lanes_tree_max(float *acc)
{
    for (int w = QN_N_LANES / 2; w > 0; w /= 2)
        for (int l = 0; l < w; l++) acc[l] = qn_lane_reduce_max(acc[l], acc[l + w]);
    return acc[0];
}

/* acc[l] = expr over n elements that start at a multiple of 16; expr joins a (the lane so far) and v (the element), each a qn_lanes or a
 * float. */
#define QN_LANES_FOLD(acc, x, n, expr)                                                                                                     \
    do {                                                                                                                                   \
        qn_lanes reg_[QN_LANES_REGS];                                                                                                      \
        int64_t i_ = 0;                                                                                                                    \
                                                                                                                                           \
        memcpy(reg_, (acc), sizeof reg_);                                                                                                  \
        for (; i_ + QN_N_LANES <= (n); i_ += QN_N_LANES) {                                                                                 \
            for (int k_ = 0; k_ < QN_LANES_REGS; k_++) {                                                                                   \
                qn_lanes a = reg_[k_], v;                                                                                                  \
                                                                                                                                           \
                memcpy(&v, (x) + i_ + k_ * QN_LANES_WIDTH, sizeof v);                                                                      \
                reg_[k_] = (expr);                                                                                                         \
            }                                                                                                                              \
        }                                                                                                                                  \
        memcpy((acc), reg_, sizeof reg_);                                                                                                  \
        for (int l_ = 0; i_ < (n); i_++, l_++) {                                                                                           \
            float a = (acc)[l_], v = (x)[i_];                                                                                              \
                                                                                                                                           \
            (acc)[l_] = (expr);                                                                                                            \
        }                                                                                                                                  \
    } while (0)

/* The extremes: NaN is noticed beside the chain of comparisons, not in it, and put into its lane at the end. */
#define QN_LANES_EXTREME(name, JOIN, one)                                                                                                  \
    static inline void name(float *acc, const float *x, int64_t n)                                                                         \
    {                                                                                                                                      \
        qn_lanes reg[QN_LANES_REGS];                                                                                                       \
        qn_lanes_mask nan[QN_LANES_REGS];                                                                                                  \
        int32_t is_nan[QN_N_LANES];                                                                                                        \
        int64_t i = 0;                                                                                                                     \
                                                                                                                                           \
        memcpy(reg, acc, sizeof reg);                                                                                                      \
        for (int k = 0; k < QN_LANES_REGS; k++) nan[k] = reg[k] != reg[k];                                                                 \
        for (; i + QN_N_LANES <= n; i += QN_N_LANES) {                                                                                     \
            for (int k = 0; k < QN_LANES_REGS; k++) {                                                                                      \
                qn_lanes v;                                                                                                                \
                                                                                                                                           \
                memcpy(&v, x + i + k * QN_LANES_WIDTH, sizeof v);                                                                          \
                nan[k] |= v != v;                                                                                                          \
                reg[k] = JOIN(v, reg[k]);                                                                                                  \
            }                                                                                                                              \
        }                                                                                                                                  \
        memcpy(acc, reg, sizeof reg);                                                                                                      \
        memcpy(is_nan, nan, sizeof nan);                                                                                                   \
        for (int l = 0; l < QN_N_LANES; l++) acc[l] = is_nan[l] ? NAN : acc[l];                                                            \
        for (int l = 0; i < n; i++, l++) acc[l] = one(acc[l], x[i]);                                                                       \
    }

QN_LANES_EXTREME(qn_lanes_max, QN_LANES_LARGER, qn_lane_reduce_max)
QN_LANES_EXTREME(qn_lanes_min, QN_LANES_SMALLER, qn_lane_reduce_min)

/* Sum of n elements. */
static inline float qn_lanes_row_sum(const float *x, int64_t n)
{
    float acc[QN_N_LANES] = { 0 };

    QN_LANES_FOLD(acc, x, n, a + v);
    return qn_lanes_tree_sum(acc);
}

/* Sum of (x[i] - m)^2. */
static inline float qn_lanes_row_sum_dev(const float *x, int64_t n, float m)
{
    float acc[QN_N_LANES] = { 0 };

    QN_LANES_FOLD(acc, x, n, a + (v - m) * (v - m));
    return qn_lanes_tree_sum(acc);
}

/* The largest of n elements; NaN gives NaN. */
static inline float qn_lanes_row_max(const float *x, int64_t n)
{
    float acc[QN_N_LANES];

    for (int l = 0; l < QN_N_LANES; l++) acc[l] = -INFINITY;
    qn_lanes_max(acc, x, n);
    return qn_lanes_tree_max(acc);
}

/* The largest of n elements that are not NaN, -inf if there are none: cheaper, for short rows. */
static inline float qn_lanes_row_peak(const float *x, int64_t n)
{
    qn_lanes reg[QN_LANES_REGS];
    float acc[QN_N_LANES];
    int64_t i = 0;

    for (int k = 0; k < QN_LANES_REGS; k++)
        for (int l = 0; l < QN_LANES_WIDTH; l++) reg[k][l] = -INFINITY;
    for (; i + QN_N_LANES <= n; i += QN_N_LANES) {
        for (int k = 0; k < QN_LANES_REGS; k++) {
            qn_lanes v;

            memcpy(&v, x + i + k * QN_LANES_WIDTH, sizeof v);
            reg[k] = QN_LANES_LARGER(v, reg[k]);
        }
    }
    memcpy(acc, reg, sizeof reg);
    for (int l = 0; i < n; i++, l++) acc[l] = x[i] > acc[l] ? x[i] : acc[l];
    for (int w = QN_N_LANES / 2; w > 0; w /= 2)
        for (int l = 0; l < w; l++) acc[l] = acc[l + w] > acc[l] ? acc[l + w] : acc[l];
    return acc[0];
}

#endif
