/* core/kernels/move/reduce.c - see reduce.h. */
#include "core/kernels/move/reduce.h"

#include "core/base/half.h"

#include <string.h>

#define MAX(a, b) ((b) > (a) || (b) != (b) ? (b) : (a))
#define MIN(a, b) ((b) < (a) || (b) != (b) ? (b) : (a))

/* Real types; arithmetic in `wide`, which load and store convert to and from. */
#define REDUCE(name, type, wide, load, store)                                                                                              \
    static void reduce_##name(qn_scatter op, type *d, const type *s, int64_t n)                                                            \
    {                                                                                                                                      \
        for (int64_t i = 0; i < n; i++) {                                                                                                  \
            wide a = load(d[i]), b = load(s[i]);                                                                                           \
                                                                                                                                           \
            switch (op) {                                                                                                                  \
            case QN_SCATTER_NONE: d[i] = s[i]; break;                                                                                      \
            case QN_SCATTER_ADD: d[i] = store(a + b); break;                                                                               \
            case QN_SCATTER_MUL: d[i] = store(a * b); break;                                                                               \
            case QN_SCATTER_MAX: d[i] = store(MAX(a, b)); break;                                                                           \
            case QN_SCATTER_MIN: d[i] = store(MIN(a, b)); break;                                                                           \
            }                                                                                                                              \
        }                                                                                                                                  \
    }
#define SAME(v) (v)
REDUCE(f32, float, float, SAME, SAME)
REDUCE(f64, double, double, SAME, SAME)
REDUCE(f16, uint16_t, float, qn_f16_to_f32, qn_f32_to_f16)
REDUCE(bf16, uint16_t, float, qn_bf16_to_f32, qn_f32_to_bf16)

/* Integers: comparisons in their own type, sums and products in an unsigned one, where wrapping is defined. */
#define REDUCE_INT(name, type)                                                                                                             \
    static void reduce_##name(qn_scatter op, type *d, const type *s, int64_t n)                                                            \
    {                                                                                                                                      \
        for (int64_t i = 0; i < n; i++) {                                                                                                  \
            type a = d[i], b = s[i];                                                                                                       \
                                                                                                                                           \
            switch (op) {                                                                                                                  \
            case QN_SCATTER_NONE: d[i] = b; break;                                                                                         \
            case QN_SCATTER_ADD: d[i] = (type)((uint64_t)a + (uint64_t)b); break;                                                          \
            case QN_SCATTER_MUL: d[i] = (type)((uint64_t)a * (uint64_t)b); break;                                                          \
            case QN_SCATTER_MAX: d[i] = b > a ? b : a; break;                                                                              \
            case QN_SCATTER_MIN: d[i] = b < a ? b : a; break;                                                                              \
            }                                                                                                                              \
        }                                                                                                                                  \
    }
REDUCE_INT(i8, int8_t)
REDUCE_INT(i16, int16_t)
REDUCE_INT(i32, int32_t)
REDUCE_INT(i64, int64_t)
REDUCE_INT(u8, uint8_t)
REDUCE_INT(u16, uint16_t)
REDUCE_INT(u32, uint32_t)
REDUCE_INT(u64, uint64_t)

static void reduce_bool(qn_scatter op, uint8_t *d, const uint8_t *s, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (op == QN_SCATTER_NONE)
            d[i] = s[i];
        else if (op == QN_SCATTER_ADD || op == QN_SCATTER_MAX)
            d[i] |= s[i];
        else
            d[i] &= s[i];
    }
}

void qn_move_reduce(qn_scatter op, qn_dtype dtype, void *dst, const void *src, int64_t n)
{
    if (op == QN_SCATTER_NONE) {
        if (n) memcpy(dst, src, (size_t)n * qn_dtype_size(dtype));
        return;
    }
    switch (dtype) {
    case QN_F32: reduce_f32(op, dst, src, n); break;
    case QN_F64: reduce_f64(op, dst, src, n); break;
    case QN_F16: reduce_f16(op, dst, src, n); break;
    case QN_BF16: reduce_bf16(op, dst, src, n); break;
    case QN_I8: reduce_i8(op, dst, src, n); break;
    case QN_I16: reduce_i16(op, dst, src, n); break;
    case QN_I32: reduce_i32(op, dst, src, n); break;
    case QN_I64: reduce_i64(op, dst, src, n); break;
    case QN_U8: reduce_u8(op, dst, src, n); break;
    case QN_U16: reduce_u16(op, dst, src, n); break;
    case QN_U32: reduce_u32(op, dst, src, n); break;
    case QN_U64: reduce_u64(op, dst, src, n); break;
    case QN_BOOL: reduce_bool(op, dst, src, n); break;
    case QN_I4:
    case QN_U4: /* 4 bits hold no sum: the ops refuse them */
    case QN_STRING:
    case QN_DTYPE_NONE:
    case QN_DTYPE_COUNT: break;
    }
}
