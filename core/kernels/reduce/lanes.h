/* core/kernels/reduce/lanes.h - sixteen virtual lanes and the tree that joins them.
 *
 * Element i of a reduction goes to lane i mod 16, in ascending order; then lane l takes lane l + 8, l + 4, l + 2, l + 1 in turn. That is
 * the order on every instruction set, for rows that lie in one piece as for columns, so the bits are the same.
 * Include it only from kernel files; they are compiled once per instruction set. */
#ifndef QUERN_KERNELS_REDUCE_LANES_H
#define QUERN_KERNELS_REDUCE_LANES_H

#include "core/kernels/vmath/lanes.h"

#define QN_N_LANES 16

typedef float qn_lanes __attribute__((vector_size(64)));
typedef int32_t qn_lanes_mask __attribute__((vector_size(64)));

/* mask ? a : b, lane by lane */
static inline void qn_lanes_select(qn_lanes *out, const qn_lanes_mask *mask, const qn_lanes *a, const qn_lanes *b)
{
    *out = (qn_lanes)((*mask & (qn_lanes_mask)*a) | (~*mask & (qn_lanes_mask)*b));
}

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

/* acc[l] = acc[l] + f(x) over n elements that start at a multiple of 16; expr is an expression in v (a qn_lanes or a float). */
#define QN_LANES_SUM(acc, x, n, expr)                                                                                                      \
    do {                                                                                                                                   \
        qn_lanes lanes_sum_;                                                                                                               \
        int64_t lanes_i_ = 0;                                                                                                              \
                                                                                                                                           \
        memcpy(&lanes_sum_, (acc), sizeof lanes_sum_);                                                                                     \
        for (; lanes_i_ + QN_N_LANES <= (n); lanes_i_ += QN_N_LANES) {                                                                     \
            qn_lanes v;                                                                                                                    \
                                                                                                                                           \
            memcpy(&v, (x) + lanes_i_, sizeof v);                                                                                          \
            lanes_sum_ = lanes_sum_ + (expr);                                                                                              \
        }                                                                                                                                  \
        memcpy((acc), &lanes_sum_, sizeof lanes_sum_);                                                                                     \
        for (int lanes_l_ = 0; lanes_i_ < (n); lanes_i_++, lanes_l_++) {                                                                   \
            float v = (x)[lanes_i_];                                                                                                       \
                                                                                                                                           \
            (acc)[lanes_l_] = (acc)[lanes_l_] + (expr);                                                                                    \
        }                                                                                                                                  \
    } while (0)

static inline void qn_lanes_max(float *acc, const float *x, int64_t n)
{
    qn_lanes a, v;
    int64_t i = 0;

    memcpy(&a, acc, sizeof a);
    for (; i + QN_N_LANES <= n; i += QN_N_LANES) {
        qn_lanes_mask take;

        memcpy(&v, x + i, sizeof v);
        take = ((v > a) | (v != v)) & (a == a);
        qn_lanes_select(&a, &take, &v, &a);
    }
    memcpy(acc, &a, sizeof a);
    for (int l = 0; i < n; i++, l++) acc[l] = qn_lane_reduce_max(acc[l], x[i]);
}

static inline void qn_lanes_min(float *acc, const float *x, int64_t n)
{
    qn_lanes a, v;
    int64_t i = 0;

    memcpy(&a, acc, sizeof a);
    for (; i + QN_N_LANES <= n; i += QN_N_LANES) {
        qn_lanes_mask take;

        memcpy(&v, x + i, sizeof v);
        take = ((v < a) | (v != v)) & (a == a);
        qn_lanes_select(&a, &take, &v, &a);
    }
    memcpy(acc, &a, sizeof a);
    for (int l = 0; i < n; i++, l++) acc[l] = qn_lane_reduce_min(acc[l], x[i]);
}

/* Sum of n elements. */
static inline float qn_lanes_row_sum(const float *x, int64_t n)
{
    float acc[QN_N_LANES] = { 0 };

    QN_LANES_SUM(acc, x, n, v);
    return qn_lanes_tree_sum(acc);
}

/* Sum of (x[i] - m)^2. */
static inline float qn_lanes_row_sum_dev(const float *x, int64_t n, float m)
{
    float acc[QN_N_LANES] = { 0 };

    QN_LANES_SUM(acc, x, n, (v - m) * (v - m));
    return qn_lanes_tree_sum(acc);
}

static inline float qn_lanes_row_max(const float *x, int64_t n)
{
    float acc[QN_N_LANES];

    for (int l = 0; l < QN_N_LANES; l++) acc[l] = -INFINITY;
    qn_lanes_max(acc, x, n);
    return qn_lanes_tree_max(acc);
}

#endif
