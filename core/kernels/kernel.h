/* core/kernels/kernel.h - what every kernel table shares.
 * Kernels are plain loops on pointers, counts and strides; they know no graph, no tensor struct, no allocation. A table lists
 * its rows best first and the scalar reference last; `cpu` is an argument so that a test can ask for any row. */
#ifndef QUERN_KERNELS_KERNEL_H
#define QUERN_KERNELS_KERNEL_H

#include "quern/cpu.h"
#include "quern/team.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How a contraction is summed. Rows of one order give the same bits; a plan never mixes two. */
typedef enum qn_order {
    QN_ORDER_FMA_CHAIN = 1, /* one chain of fused multiply-adds over ascending k, starting from +0, bias added after */
    QN_ORDER_EXACT_INT,     /* s32 sums: any order gives the same bits */
    QN_ORDER_OPENBLAS,      /* OpenBLAS: depends on M and on its core type */
} qn_order;

/* What happens to an f32 result before it is stored: v = sum + bias[col]; v += residual; v = act(v). */
typedef enum qn_act { QN_ACT_NONE = 0, QN_ACT_RELU, QN_ACT_CLIP } qn_act;

#endif
