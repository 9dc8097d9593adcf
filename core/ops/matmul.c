/* core/ops/matmul.c - MatMul, all broadcasting forms of numpy.matmul.
 * Spec   ONNX MatMul, opsets 1, 9, 13: f16, bf16, f32, f64, i32, i64, u32, u64
 * Value  one fma chain over k for floats (f16 and bf16 in f32, rounded once); integers wrap
 * A constant B is packed when the plan is made; a B that is computed is packed into scratch on each run. */
#include "core/base/checked.h"
#include "core/base/half.h"
#include "core/graph/cost.h"
#include "core/graph/grad.h"
#include "core/ops/linear.h"

#include <limits.h>
#include <string.h>

enum { BATCH_TEAM = 4 }; /* from so many products on, threads share products instead of the tiles of one */

static const int64_t blas_from = (int64_t)1 << 24; /* multiply-adds at capacity from which OpenBLAS may be worth its call */

typedef struct state {
    const qn_gemm_kernel *kernel;
    const float *packed;     /* b_batch matrices, or NULL: B is packed on each run */
    const qn_openblas *blas; /* or NULL */
    size_t one;              /* bytes of a packed matrix */
} state;

static qn_status matmul_infer(qn_infer *c, qn_error *err)
{
    const uint32_t dtypes =
        1u << QN_F32 | 1u << QN_F64 | 1u << QN_F16 | 1u << QN_BF16 | 1u << QN_I32 | 1u << QN_I64 | 1u << QN_U32 | 1u << QN_U64;
    qn_status st = qn_linear_need(c, 2, err);

    if (st == QN_OK) st = qn_linear_dtype(c, 0, dtypes, err);
    if (st == QN_OK && c->in[1].dtype != c->in[0].dtype)
        st = qn_error_set(err, QN_ERR_DTYPE, "inputs are %s and %s, expected the same", qn_dtype_name(c->in[0].dtype),
                          qn_dtype_name(c->in[1].dtype));
    if (st != QN_OK) return st;
    c->out[0].dtype = c->in[0].dtype;
    if (c->in[0].rank < 0 || c->in[1].rank < 0) return QN_OK;
    return qn_matmul_infer(c, &c->in[0], &c->in[1], &c->out[0], err);
}

static void matmul_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis) { qn_matmul_rows(c, 0, 1, in_axis, out_axis); }

static bool fits_int(int64_t v) { return v <= INT_MAX; }

/* OpenBLAS for a large product with one constant B, when bits may depend on the batch. */
static const qn_openblas *try_blas(qn_lower *lo, const qn_matmul_shape *s)
{
    const qn_openblas *blas;
    int64_t work;

    if (lo->bits != QN_BITS_FAST || !lo->weight[1] || s->batch != 1 || lo->in[1].rank < 2) return NULL;
    if (!fits_int(s->m) || !fits_int(s->n) || !fits_int(s->k)) return NULL;
    if (!qn_i64_mul(s->m, s->n, &work) || !qn_i64_mul(work, s->k, &work) || work < blas_from || s->m < 64) return NULL;
    return qn_openblas_open(lo->cpu, &blas, NULL) == QN_OK ? blas : NULL;
}

static qn_status lower_f32(qn_lower *lo, state *s, const qn_matmul_shape *shape, qn_error *err)
{
    s->kernel = qn_gemm_pick(lo->cpu);
    s->blas = try_blas(lo, shape);
    if (s->blas) {
        lo->kernel = qn_linear_blas_name(lo, s->blas);
        return QN_OK;
    }
    lo->kernel = s->kernel->name;
    lo->why = qn_linear_why_f32(lo->cpu);
    if (!qn_gemm_packed_bytes(shape->k, shape->n, &s->one)) return qn_error_set(err, QN_ERR_LIMIT, "B does not fit in memory");
    if (lo->weight[1]) {
        lo->skip_in = 1u << 1;
        return qn_linear_pack_f32(lo, lo->weight[1], shape->b_batch, shape->k, shape->n, false, &s->packed, err);
    }
    if (!*lo->why) lo->why = "B is computed: packed on each run";
    if (!qn_size_mul(s->one, shape->batch >= BATCH_TEAM ? (size_t)lo->team_size : 1, &lo->scratch_bytes))
        return qn_error_set(err, QN_ERR_LIMIT, "B does not fit in memory");
    return QN_OK;
}

static qn_status matmul_lower(qn_lower *lo, qn_error *err)
{
    state *s = qn_arena_alloc(lo->arena, sizeof *s);
    qn_matmul_shape shape;
    qn_status st = qn_linear_known(lo, err);
    size_t count;

    if (!s) return qn_error_set(err, QN_ERR_NOMEM, "state of a product");
    if (st == QN_OK) st = qn_matmul_shape_of(&lo->in[0], &lo->in[1], &shape, err);
    if (st != QN_OK) return st;
    lo->state = s;
    if (lo->in[0].dtype == QN_F32) return lower_f32(lo, s, &shape, err);
    if (lo->in[0].dtype != QN_F16 && lo->in[0].dtype != QN_BF16) return QN_OK;
    if (!qn_size_mul((size_t)shape.m, (size_t)shape.n, &count) || !qn_size_mul(count, sizeof(float), &lo->scratch_bytes))
        return qn_error_set(err, QN_ERR_LIMIT, "a product of [%lld,%lld] does not fit in memory", (long long)shape.m, (long long)shape.n);
    return QN_OK;
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

typedef struct products {
    const state *s;
    const qn_matmul_shape *shape;
    const float *a, *b; /* b NULL when packed */
    float *c;
    char *scratch; /* one packed matrix per member */
    qn_team *team; /* for the tiles of one product */
} products;

static void one_product(void *ctx, int64_t i, int member)
{
    const products *x = ctx;
    const qn_matmul_shape *s = x->shape;
    int64_t a, b;
    qn_gemm_args g = { .m = s->m, .n = s->n, .k = s->k, .lda = s->k, .ldc = s->n };

    qn_matmul_at(s, i, &a, &b);
    g.a = x->a + a * s->m * s->k;
    g.c = x->c + i * s->m * s->n;
    if (x->s->packed) {
        g.b = (const float *)(const void *)((const char *)x->s->packed + (size_t)b * x->s->one);
    } else {
        float *packed = (float *)(void *)(x->scratch + (size_t)member * x->s->one);

        if (s->n % 16 && s->k > 0) memset(packed + s->n / 16 * 16 * s->k, 0, (size_t)(16 * s->k) * sizeof *packed); /* columns past n */
        qn_gemm_pack(packed, s->k, s->n, 0, s->k, x->b + b * s->k * s->n, s->n, 1);
        g.b = packed;
    }
    x->s->kernel->run(&g, x->team);
}

static void run_f32(qn_run *r, const qn_matmul_shape *s)
{
    const state *st = r->state;
    products x = { .s = st, .shape = s, .a = r->in[0].data, .b = r->in[1].data, .c = r->out[0].data, .scratch = r->scratch };

    if (st->blas) {
        if (s->m && s->n) qn_openblas_sgemm(st->blas, false, s->m, s->n, s->k, x.a, s->k, x.b, s->n, x.c, s->n);
    } else if (s->batch >= BATCH_TEAM) {
        qn_team_run(r->team, s->batch, one_product, &x);
    } else {
        x.team = r->team;
        for (int64_t i = 0; i < s->batch; i++) one_product(&x, i, 0);
    }
}

static void narrow(qn_dtype dtype, const float *x, int64_t n, uint16_t *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = dtype == QN_F16 ? qn_f32_to_f16(x[i]) : qn_f32_to_bf16(x[i]);
}

static void run_others(qn_run *r, const qn_matmul_shape *s)
{
    const qn_dtype dtype = r->in[0].dtype;
    const bool half = dtype == QN_F16 || dtype == QN_BF16;
    const size_t size = qn_dtype_size(dtype);

    for (int64_t i = 0; i < s->batch; i++) {
        int64_t a, b;
        char *c = (char *)r->out[0].data + (size_t)(i * s->m * s->n) * size;
        qn_naive g = { .dtype = dtype, .m = s->m, .n = s->n, .k = s->k, .a_row = s->k, .a_col = 1, .b_row = s->n, .b_col = 1 };

        qn_matmul_at(s, i, &a, &b);
        g.a = (const char *)r->in[0].data + (size_t)(a * s->m * s->k) * size;
        g.b = (const char *)r->in[1].data + (size_t)(b * s->k * s->n) * size;
        g.c = half ? r->scratch : c;
        qn_naive_run(&g, r->team);
        if (half) narrow(dtype, r->scratch, s->m * s->n, (uint16_t *)(void *)c);
    }
}

static qn_status matmul_run(qn_run *r, qn_error *err)
{
    qn_matmul_shape s;
    qn_status st = qn_matmul_shape_of(&r->in[0], &r->in[1], &s, err);

    if (st != QN_OK || qn_tensor_count(&r->out[0]) == 0) return st;
    if (r->in[0].dtype == QN_F32)
        run_f32(r, &s);
    else
        run_others(r, &s);
    return QN_OK;
}

/* v with its last two axes exchanged. */
static qn_value_id swapped(qn_builder *b, qn_value_id v)
{
    const int32_t rank = qn_grad_type(b, v)->rank;
    int64_t perm[QN_MAX_RANK];
    const qn_attr attr = { .name = "perm", .type = QN_ATTR_INTS, .n = rank, .ints = perm };

    for (int32_t i = 0; i < rank; i++) perm[i] = i;
    if (rank >= 2) {
        perm[rank - 2] = rank - 1;
        perm[rank - 1] = rank - 2;
    }
    return qn_grad_emit(b, "Transpose", &v, 1, &attr, 1);
}

static qn_value_id with_axis(qn_builder *b, const char *op_type, qn_value_id v, int64_t axis)
{
    return qn_grad_op2(b, op_type, v, qn_grad_ints(b, &axis, 1));
}

/* dA = dY B', dB = A' dY; a vector is a matrix of one row (A) or column (B). */
static void matmul_grad(qn_builder *b)
{
    qn_value_id a = qn_grad_in(b, 0), w = qn_grad_in(b, 1), dy = qn_grad_of(b, 0);
    const int32_t rank_a = qn_grad_type(b, a)->rank, rank_b = qn_grad_type(b, w)->rank;

    if (rank_a < 1 || rank_b < 1) {
        qn_grad_refuse(b, "no gradient, because its ranks are not known");
        return;
    }
    if (rank_b == 1) {
        w = with_axis(b, "Unsqueeze", w, 1);
        dy = with_axis(b, "Unsqueeze", dy, -1);
    }
    if (rank_a == 1) {
        a = with_axis(b, "Unsqueeze", a, 0);
        dy = with_axis(b, "Unsqueeze", dy, -2);
    }
    if (qn_grad_wanted(b, 0)) qn_grad_give(b, 0, qn_grad_op2(b, "MatMul", dy, swapped(b, w)));
    if (qn_grad_wanted(b, 1)) {
        dy = qn_grad_op2(b, "MatMul", swapped(b, a), dy);
        qn_grad_give(b, 1, rank_b == 1 ? with_axis(b, "Squeeze", dy, -1) : dy);
    }
}

const qn_op qn_op_matmul = {
    .domain = "",
    .name = "MatMul",
    .since = 1,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .infer = matmul_infer,
    .rows = matmul_rows,
    .lower = matmul_lower,
    .run = matmul_run,
    .cost = qn_cost_product,
    .grad = matmul_grad,
    .kernels = "gemm",
};
