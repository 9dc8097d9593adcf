/* core/ops/qlinear_matmul.c - QLinearMatMul, MatMulInteger, and com.microsoft's MatMulIntegerToFloat and DynamicQuantizeMatMul.
 * Spec   ONNX QLinearMatMul 10, 21: a, a_scale, a_zp, b, b_scale, b_zp, y_scale, y_zp. MatMulInteger 10: A, B, a_zp?, b_zp? -> s32.
 *        ONNX Runtime contrib ops, MatMulIntegerToFloat 1: A, B, a_scale, b_scale, a_zp?, b_zp?, bias? (f32 [n]) -> f32.
 *        DynamicQuantizeMatMul 1: A (f32), B, b_scale, b_zp?, bias? -> f32.
 *        u8 and s8 in every mix, shapes as numpy.matmul. Scale and zero point of b: one, or one per column; of a: one.
 * Value  exact s32 sums; times (a_scale * b_scale[j]) / y_scale in f32; to nearest even; plus y_zp; saturated. As ONNX Runtime.
 *        To float: times a_scale * b_scale[j], plus bias, each rounded. Dynamic: A becomes u8 first, as DynamicQuantizeLinear makes it
 *        of the whole tensor, so its rows depend on each other. */
#include "core/base/checked.h"
#include "core/graph/cost.h"
#include "core/ops/qproduct.h"
#include "core/ops/quantize.h"

#include <inttypes.h>
#include <string.h>

enum { BATCH_TEAM = 4 }; /* products of matrices from which threads share them */

typedef struct state {
    qn_qproduct p;
    size_t a_at; /* in scratch: A as u8 */
} state;

/* One of the four ops: where its inputs are. */
typedef struct layout {
    const char *op;
    qn_qproduct_layout at;
    int32_t bias, required;
} layout;

static const layout layouts[] = {
    { "QLinearMatMul", { .b = 3, .a_scale = 1, .a_zero = 2, .b_scale = 4, .b_zero = 5, .y_scale = 6, .y_zero = 7 }, -1, 8 },
    { "MatMulInteger", { .b = 1, .a_scale = -1, .a_zero = 2, .b_scale = -1, .b_zero = 3, .y_scale = -1, .y_zero = -1 }, -1, 2 },
    { "MatMulIntegerToFloat", { .b = 1, .a_scale = 2, .a_zero = 4, .b_scale = 3, .b_zero = 5, .y_scale = -1, .y_zero = -1 }, 6, 4 },
    { "DynamicQuantizeMatMul", { .b = 1, .a_scale = -1, .a_zero = -1, .b_scale = 2, .b_zero = 3, .y_scale = -1, .y_zero = -1 }, 4, 3 },
};

static const layout *layout_of(const qn_node *n)
{
    const layout *l = layouts;

    while (strcmp(l->op, n->op_type) != 0) l++; /* ends: these are the rows below */
    return l;
}

/* A is f32 and is quantized on each run. */
static bool is_dynamic(const layout *l) { return l->at.a_scale < 0 && l->at.b_scale >= 0; }

/* -- inference ------------------------------------------------------------------------------------------------------------ */

static qn_status infer_dtypes(const qn_infer *c, const layout *l, qn_error *err)
{
    const qn_qproduct_layout *at = &l->at;
    const int32_t floats[] = { at->a_scale, at->b_scale, at->y_scale, l->bias };
    qn_status st = qn_linear_need(c, l->required, err);

    if (st == QN_OK) st = qn_linear_dtype(c, 0, is_dynamic(l) ? 1u << QN_F32 : QN_LINEAR_BYTES, err);
    if (st == QN_OK) st = qn_linear_dtype(c, at->b, QN_LINEAR_BYTES, err);
    if (st == QN_OK && at->a_zero >= 0 && qn_infer_has(c, at->a_zero)) st = qn_linear_dtype(c, at->a_zero, 1u << c->in[0].dtype, err);
    if (st == QN_OK && qn_infer_has(c, at->b_zero)) st = qn_linear_dtype(c, at->b_zero, 1u << c->in[at->b].dtype, err);
    if (st == QN_OK && at->y_zero >= 0) st = qn_linear_dtype(c, at->y_zero, QN_LINEAR_BYTES, err);
    for (size_t i = 0; i < 4 && st == QN_OK; i++) {
        if (floats[i] >= 0 && qn_infer_has(c, floats[i])) st = qn_linear_dtype(c, floats[i], 1u << QN_F32, err);
    }
    return st;
}

static qn_status infer(qn_infer *c, qn_error *err)
{
    const layout *l = layout_of(c->node);
    const qn_qproduct_layout *at = &l->at;
    const int32_t ones[] = { at->a_scale, at->a_zero, at->y_scale, at->y_zero };
    qn_status st = infer_dtypes(c, l, err);
    qn_dim n;

    for (size_t i = 0; i < 4 && st == QN_OK; i++) {
        if (ones[i] >= 0) st = qn_linear_scale(c, ones[i], false, QN_DIM_UNKNOWN, err);
    }
    if (st != QN_OK) return st;
    c->out[0].dtype = at->b_scale < 0 ? QN_I32 : at->y_zero < 0 ? QN_F32 : c->in[at->y_zero].dtype;
    if (c->in[0].rank < 0 || c->in[at->b].rank < 0) return QN_OK;
    st = qn_matmul_infer(c, &c->in[0], &c->in[at->b], &c->out[0], err);
    n = c->in[at->b].rank > 1 ? c->in[at->b].dims[c->in[at->b].rank - 1] : qn_dims_const(c->dims, 1);
    if (st == QN_OK) st = qn_linear_scale(c, at->b_zero, true, n, err);
    if (st == QN_OK && at->b_scale >= 0) st = qn_linear_scale(c, at->b_scale, true, n, err);
    if (st == QN_OK && l->bias >= 0) st = qn_linear_scale(c, l->bias, true, n, err);
    return st;
}

static void rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    qn_matmul_rows(c, 0, layout_of(c->node)->at.b, in_axis, out_axis);
}

/* -- lowering ------------------------------------------------------------------------------------------------------------- */

static qn_status lower(qn_lower *lo, qn_error *err)
{
    const layout *l = layout_of(lo->node);
    state *s = qn_arena_alloc(lo->arena, sizeof *s);
    qn_matmul_shape shape;
    qn_status st = qn_linear_known(lo, err);

    if (!s) return qn_error_set(err, QN_ERR_NOMEM, "state of a product");
    if (st == QN_OK) st = qn_matmul_shape_of(&lo->in[0], &lo->in[l->at.b], &shape, err);
    if (st == QN_OK) {
        const qn_qproduct_sizes z = {
            .k = shape.k, .n = shape.n, .b_batch = shape.b_batch, .n_unpacked = shape.batch >= BATCH_TEAM ? lo->team_size : 1
        };

        st = qn_qproduct_lower(lo, l->at.b, &z, &s->p, err);
    }
    if (st != QN_OK) return st;
    lo->state = s;
    if (is_dynamic(l) && !qn_qproduct_more_scratch(&lo->scratch_bytes, (size_t)qn_tensor_count(&lo->in[0]), 1, &s->a_at))
        return qn_error_set(err, QN_ERR_LIMIT, "A as bytes does not fit in memory");
    return QN_OK;
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

typedef struct products {
    const qn_run *r;
    const state *s;
    const layout *l;
    const qn_matmul_shape *shape;
    qn_qgemm_args g; /* of the first product */
    qn_team *team;
} products;

static void one_product(void *ctx, int64_t i, int member)
{
    const products *x = ctx;
    const qn_matmul_shape *s = x->shape;
    const qn_qproduct *p = &x->s->p;
    qn_qgemm_args g = x->g;
    int64_t a, b;

    qn_matmul_at(s, i, &a, &b);
    g.a += a * s->m * s->k;
    g.c = (char *)g.c + (size_t)(i * s->m * s->n) * (g.out == QN_QOUT_S32 || g.out == QN_QOUT_F32 ? 4 : 1);
    if (p->packed) {
        g.b = (const char *)p->packed + (size_t)b * p->one;
    } else {
        char *room = (char *)x->r->scratch + (size_t)member * p->one;

        qn_qproduct_pack(x->r, &x->l->at, b, s->k, s->n, false, room);
        g.b = room;
    }
    p->kernel->run(&g, x->team);
}

/* y += bias, for every row. */
static void add_bias(const qn_tensor *bias, const qn_matmul_shape *s, float *y)
{
    const float *b = bias->data;
    const int64_t rows = s->batch * s->m, step = qn_tensor_count(bias) == 1 ? 0 : 1;

    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < s->n; j++) y[i * s->n + j] += b[j * step];
    }
}

static qn_status run(qn_run *r, qn_error *err)
{
    const state *s = r->state;
    const layout *l = layout_of(r->node);
    const qn_tensor *bias = qn_qproduct_given(r, l->bias);
    float scale = 0;
    const qn_tensor a_scale = { .dtype = QN_F32, .data = &scale, .bytes = sizeof scale };
    qn_matmul_shape shape;
    products x = { .r = r, .s = s, .l = l, .shape = &shape };
    qn_status st = qn_matmul_shape_of(&r->in[0], &r->in[l->at.b], &shape, err);

    if (st == QN_OK) st = qn_qproduct_check(r, &l->at, shape.n, err);
    if (st == QN_OK && bias) st = qn_linear_check(r, l->bias, true, shape.n, err);
    if (st != QN_OK || qn_tensor_count(&r->out[0]) == 0) return st;
    x.g = (qn_qgemm_args){
        .m = shape.m, .n = shape.n, .k = shape.k, .a = r->in[0].data, .lda = shape.k, .c = r->out[0].data, .ldc = shape.n
    };
    if (is_dynamic(l)) {
        uint8_t *a = (uint8_t *)r->scratch + s->a_at;
        int32_t zero;

        qn_quantize_dynamic(r->cpu, r->team, r->in[0].data, qn_tensor_count(&r->in[0]), a, &scale, &zero);
        qn_qproduct_parameters(r, &l->at, &s->p, &a_scale, 1, shape.n, &x.g);
        x.g.a = a;
        x.g.a_zero = zero;
    } else {
        qn_qproduct_parameters(r, &l->at, &s->p, NULL, 1, shape.n, &x.g);
    }
    if (shape.batch >= BATCH_TEAM) {
        qn_team_run(r->team, shape.batch, one_product, &x);
    } else {
        x.team = r->team;
        for (int64_t i = 0; i < shape.batch; i++) one_product(&x, i, 0);
    }
    if (bias) add_bias(bias, &shape, r->out[0].data);
    return QN_OK;
}

const qn_op qn_op_qlinear_matmul = {
    .domain = "",
    .name = "QLinearMatMul",
    .since = 10,
    .min_in = 8,
    .max_in = 8,
    .min_out = 1,
    .max_out = 1,
    .infer = infer,
    .rows = rows,
    .lower = lower,
    .run = run,
    .cost = qn_cost_product,
    .kernels = "qgemm",
};

const qn_op qn_op_matmul_integer = {
    .domain = "",
    .name = "MatMulInteger",
    .since = 10,
    .min_in = 2,
    .max_in = 4,
    .min_out = 1,
    .max_out = 1,
    .infer = infer,
    .rows = rows,
    .lower = lower,
    .run = run,
    .cost = qn_cost_product,
    .kernels = "qgemm",
};

const qn_op qn_op_ms_matmul_integer_to_float = {
    .domain = "com.microsoft",
    .name = "MatMulIntegerToFloat",
    .since = 1,
    .min_in = 4,
    .max_in = 7,
    .min_out = 1,
    .max_out = 1,
    .infer = infer,
    .rows = rows,
    .lower = lower,
    .run = run,
    .cost = qn_cost_product,
    .kernels = "qgemm",
};

const qn_op qn_op_ms_dynamic_quantize_matmul = {
    .domain = "com.microsoft",
    .name = "DynamicQuantizeMatMul",
    .since = 1,
    .min_in = 3,
    .max_in = 5,
    .min_out = 1,
    .max_out = 1,
    .infer = infer,
    .lower = lower,
    .run = run,
    .cost = qn_cost_product,
    .kernels = "qgemm, quant",
};
