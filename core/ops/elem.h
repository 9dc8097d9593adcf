/* core/ops/elem.h - what the element-wise ops share: inference with broadcasting, small known integers, and one walk over the elements.
 *
 * Every op is written on four classes of numbers: f32, f64, i64, u64. f32 runs on the kernels; f16 and bf16 are read as f32, narrower
 * integers as i64 or u64 (bool: u64 0 or 1), in chunks, and stored back by truncation: arithmetic of a narrow integer wraps as that
 * of its own width does. Messages name no node: whoever calls an op puts it in front. */
#ifndef QUERN_OPS_ELEM_H
#define QUERN_OPS_ELEM_H

#include "core/kernels/eltwise/eltwise.h"
#include "core/kernels/vmath/vmath.h"
#include "core/ops/move.h"

#include <stdatomic.h>

/* Sets of dtypes: 1u << QN_F32 | ... */
#define QN_SET_FLOAT    (1u << QN_F32 | 1u << QN_F64 | 1u << QN_F16 | 1u << QN_BF16)
#define QN_SET_SIGNED   (1u << QN_I8 | 1u << QN_I16 | 1u << QN_I32 | 1u << QN_I64)
#define QN_SET_UNSIGNED (1u << QN_U8 | 1u << QN_U16 | 1u << QN_U32 | 1u << QN_U64)
#define QN_SET_INT      (QN_SET_SIGNED | QN_SET_UNSIGNED)
#define QN_SET_NUMERIC  (QN_SET_FLOAT | QN_SET_INT)
#define QN_SET_BOOL     (1u << QN_BOOL)
#define QN_SET_ALL      (QN_SET_NUMERIC | QN_SET_BOOL | 1u << QN_STRING)

/* -- inference ------------------------------------------------------------------------------------------------------------ */

/* Inputs 0 .. n - 1 are given, of one dtype of `set`; output 0 has their broadcast shape and dtype `out` (QN_DTYPE_NONE: theirs).
 * The broadcast / axis attributes of opsets before 7 are obeyed. Fails with QN_ERR_INVALID, QN_ERR_DTYPE, QN_ERR_SHAPE. */
qn_status qn_elem_infer(qn_infer *c, int32_t n, uint32_t set, qn_dtype out, qn_error *err);

/* Output i is a plain tensor of dtype `dtype` with the shape of input `in`. */
void qn_elem_like(const qn_infer *c, int32_t in, int32_t i, qn_dtype dtype);

/* How small known integers go through an op: `number` when both operands are numbers (false: it cannot be told, e.g. overflow),
 * else `symbol` (NULL: unknown). For one operand b is ignored. */
typedef struct qn_elem_known {
    bool (*number)(int64_t a, int64_t b, int64_t *out);
    qn_dim (*symbol)(qn_dims *t, qn_dim a, qn_dim b);
} qn_elem_known;

/* Set output 0's known integers from those of inputs 0 and 1 (n_in = 2) or 0 (n_in = 1), when they are known and the output is an
 * i64, i32 or bool of rank 0 or 1. Call it after the type is set. */
void qn_elem_set_known(qn_infer *c, int32_t n_in, const qn_elem_known *k);

/* -- numbers -------------------------------------------------------------------------------------------------------------- */

typedef enum qn_elem_class { QN_ELEM_F32, QN_ELEM_F64, QN_ELEM_I64, QN_ELEM_U64, QN_ELEM_CLASSES } qn_elem_class;

#define QN_ELEM_CHUNK 256 /* elements converted at a time */
typedef union qn_elem_buf {
    uint64_t u64[QN_ELEM_CHUNK];
    float f32[QN_ELEM_CHUNK];
} qn_elem_buf; /* a chunk of any class */

qn_elem_class qn_elem_class_of(qn_dtype dtype);
/* n <= QN_ELEM_CHUNK elements at src, src + step, ... as their class: src itself where nothing is to do, else buf. */
const void *qn_elem_load(qn_dtype dtype, const void *src, int64_t step, int64_t n, qn_elem_buf *buf);
/* n elements of dtype's class to dst; integers are truncated, f16 and bf16 rounded. */
void qn_elem_store(qn_dtype dtype, void *dst, int64_t n, const void *src);
/* src + n elements */
static inline const void *qn_elem_at(qn_dtype dtype, const void *src, int64_t n)
{
    return (const char *)src + n * (int64_t)qn_dtype_size(dtype);
}

/* Whole rows as f32, for ops that compute f16 and bf16 in f32: dtype F32, F16 or BF16, dense. */
void qn_elem_to_f32(qn_dtype dtype, const void *src, float *dst, int64_t n);
void qn_elem_from_f32(qn_dtype dtype, void *dst, const float *src, int64_t n);

/* -- the walk ------------------------------------------------------------------------------------------------------------- */

#define QN_ELEM_MAX_IN 3
/* n elements in a row: x[i] steps by step[i] (0 or 1) elements, y by 1. Called from any thread of the team. */
typedef void qn_elem_span_fn(void *ctx, const void *const *x, const int64_t *step, void *y, int64_t n);

/* Walk inputs in[0 .. n), which broadcast to out's shape. */
void qn_elem_walk(qn_team *team, int32_t n, const qn_tensor *const *in, const qn_tensor *out, qn_elem_span_fn *fn, void *ctx);

/* Run fn for tiles [lo, hi) of [0, n), about `grain` each; the cut depends on n and grain alone. */
typedef void qn_elem_range_fn(void *ctx, int64_t lo, int64_t hi, int member);
void qn_elem_ranges(qn_team *team, int64_t n, int64_t grain, qn_elem_range_fn *fn, void *ctx);

/* -- one op --------------------------------------------------------------------------------------------------------------- */

typedef struct qn_elem_env {
    float a, b;        /* parameters */
    atomic_int failed; /* set by a function that met what it must not, e.g. a division by zero */
} qn_elem_env;

/* y[i] from x[0][i], x[1][i], ... of one class; y may be x[0]. */
typedef void qn_elem_fn(qn_elem_env *env, const void *const *x, void *y, int64_t n);

typedef enum qn_elem_fast { QN_ELEM_PLAIN, QN_ELEM_UNARY, QN_ELEM_BINARY, QN_ELEM_VMATH } qn_elem_fast;

typedef struct qn_elem_op {
    int32_t n_in;                    /* 1 or 2 */
    qn_elem_fast fast;               /* kernel family of the f32 class, or PLAIN: fn[QN_ELEM_F32] */
    int32_t kernel;                  /* qn_unary, qn_binary or qn_vmath */
    qn_elem_fn *fn[QN_ELEM_CLASSES]; /* NULL where infer lets no such dtype through */
    bool to_bool;                    /* the functions write bytes 0 or 1 */
    const char *failure;             /* text for env.failed */
} qn_elem_op;

/* Broadcast, place output 0 and compute it. Fails with QN_ERR_SHAPE, or QN_ERR_RANGE with op->failure. */
qn_status qn_elem_run(qn_run *r, const qn_elem_op *op, float a, float b, qn_error *err);
/* out = op(x, y) over tensors that are in place already; x may be out. */
qn_status qn_elem_apply(qn_run *r, const qn_elem_op *op, const qn_tensor *x, const qn_tensor *y, const qn_tensor *out, float a, float b,
                        qn_error *err);

/* The same with a span function of the op's own: op gives n_in and to_bool, the inputs may differ in dtype. */
qn_status qn_elem_run_with(qn_run *r, const qn_elem_op *op, qn_elem_span_fn *fn, void *ctx, qn_error *err);

/* Names the kernel row for inspect. */
qn_status qn_elem_lower(qn_lower *lo, qn_error *err);

/* Bodies of qn_elem_fn: an expression in u (and v) of type T, giving type R. */
#define QN_ELEM_FN1(name, T, R, expr)                                                                                                      \
    static void name(qn_elem_env *env, const void *const *x, void *y, int64_t n)                                                           \
    {                                                                                                                                      \
        const T *p = x[0];                                                                                                                 \
        R *out = y;                                                                                                                        \
                                                                                                                                           \
        (void)env;                                                                                                                         \
        for (int64_t i = 0; i < n; i++) {                                                                                                  \
            const T u = p[i];                                                                                                              \
                                                                                                                                           \
            out[i] = (R)(expr);                                                                                                            \
        }                                                                                                                                  \
    }

#define QN_ELEM_FN2(name, T, R, expr)                                                                                                      \
    static void name(qn_elem_env *env, const void *const *x, void *y, int64_t n)                                                           \
    {                                                                                                                                      \
        const T *p = x[0], *q = x[1];                                                                                                      \
        R *out = y;                                                                                                                        \
                                                                                                                                           \
        (void)env;                                                                                                                         \
        for (int64_t i = 0; i < n; i++) {                                                                                                  \
            const T u = p[i], v = q[i];                                                                                                    \
                                                                                                                                           \
            out[i] = (R)(expr);                                                                                                            \
        }                                                                                                                                  \
    }

#endif
