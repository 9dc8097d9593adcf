/* core/ops/qlinear_matmul.c - QLinearMatMul and MatMulInteger.
 * Spec   ONNX QLinearMatMul 10, 21: a, a_scale, a_zp, b, b_scale, b_zp, y_scale, y_zp. MatMulInteger 10: A, B, a_zp, b_zp -> s32.
 *        u8 and s8 in every mix, shapes as numpy.matmul. Scale and zero point of b: one, or one per column; of a: one.
 * Value  exact s32 sums; times (a_scale * b_scale[j]) / y_scale in f32; to nearest even; plus y_zp; saturated. As ONNX Runtime. */
#include "core/base/checked.h"
#include "core/ops/linear.h"

#include <inttypes.h>

enum {
    LONGEST_SUM = 66000,
    BATCH_TEAM = 4
}; /* products whose sum is sure to fit s32; products of matrices from which threads share them */

typedef struct state {
    const qn_qgemm_kernel *kernel;
    const void *packed;      /* b_batch matrices, or NULL: packed on each run */
    size_t one;              /* bytes of a packed matrix */
    size_t mult_at, zero_at; /* in scratch, behind packed B */
} state;

/* Where the inputs are: -1 where the op has none. */
typedef struct layout {
    int32_t b, a_scale, a_zero, b_scale, b_zero, y_scale, y_zero;
} layout;

static const layout linear_layout = { .b = 3, .a_scale = 1, .a_zero = 2, .b_scale = 4, .b_zero = 5, .y_scale = 6, .y_zero = 7 };
static const layout integer_layout = { .b = 1, .a_scale = -1, .a_zero = 2, .b_scale = -1, .b_zero = 3, .y_scale = -1, .y_zero = -1 };

static const layout *layout_of(const qn_node *n) { return n->op_type[0] == 'M' ? &integer_layout : &linear_layout; }

static const qn_tensor *given(const qn_run *r, int32_t i)
{
    return i >= 0 && i < r->node->n_in && r->in[i].dtype != QN_DTYPE_NONE ? &r->in[i] : NULL;
}

/* -- inference ------------------------------------------------------------------------------------------------------------ */

static qn_status infer(qn_infer *c, qn_error *err)
{
    const layout *l = layout_of(c->node);
    const int32_t floats[] = { l->a_scale, l->b_scale, l->y_scale }, ones[] = { l->a_scale, l->a_zero, l->y_scale, l->y_zero };
    qn_status st = qn_linear_need(c, l->y_zero < 0 ? 2 : 8, err);
    qn_dim n;

    if (st == QN_OK) st = qn_linear_dtype(c, 0, QN_LINEAR_BYTES, err);
    if (st == QN_OK) st = qn_linear_dtype(c, l->b, QN_LINEAR_BYTES, err);
    if (st == QN_OK && qn_infer_has(c, l->a_zero)) st = qn_linear_dtype(c, l->a_zero, 1u << c->in[0].dtype, err);
    if (st == QN_OK && qn_infer_has(c, l->b_zero)) st = qn_linear_dtype(c, l->b_zero, 1u << c->in[l->b].dtype, err);
    if (st == QN_OK && l->y_zero >= 0) st = qn_linear_dtype(c, l->y_zero, QN_LINEAR_BYTES, err);
    for (size_t i = 0; i < 3 && st == QN_OK; i++) {
        if (floats[i] >= 0) st = qn_linear_dtype(c, floats[i], 1u << QN_F32, err);
    }
    for (size_t i = 0; i < 4 && st == QN_OK; i++) {
        if (ones[i] >= 0) st = qn_linear_scale(c, ones[i], false, QN_DIM_UNKNOWN, err);
    }
    if (st != QN_OK) return st;
    c->out[0].dtype = l->y_zero < 0 ? QN_I32 : c->in[l->y_zero].dtype;
    if (c->in[0].rank < 0 || c->in[l->b].rank < 0) return QN_OK;
    st = qn_matmul_infer(c, &c->in[0], &c->in[l->b], &c->out[0], err);
    n = c->in[l->b].rank > 1 ? c->in[l->b].dims[c->in[l->b].rank - 1] : qn_dims_const(c->dims, 1);
    if (st == QN_OK) st = qn_linear_scale(c, l->b_zero, true, n, err);
    if (st == QN_OK && l->b_scale >= 0) st = qn_linear_scale(c, l->b_scale, true, n, err);
    return st;
}

static void rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    qn_matmul_rows(c, 0, layout_of(c->node)->b, in_axis, out_axis);
}

/* -- lowering ------------------------------------------------------------------------------------------------------------- */

static bool more_scratch(size_t *total, size_t bytes, size_t *at)
{
    return qn_size_align(*total, 64, at) && qn_size_add(*at, bytes, total);
}

static qn_status lower(qn_lower *lo, qn_error *err)
{
    const layout *l = layout_of(lo->node);
    state *s = qn_arena_alloc(lo->arena, sizeof *s);
    qn_matmul_shape shape;
    size_t columns;
    qn_status st = qn_linear_known(lo, err);

    if (!s) return qn_error_set(err, QN_ERR_NOMEM, "state of a product");
    if (st == QN_OK) st = qn_matmul_shape_of(&lo->in[0], &lo->in[l->b], &shape, err);
    if (st != QN_OK) return st;
    if (shape.k > LONGEST_SUM)
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "sums of %" PRId64 " products of bytes, which may not fit 32 bits; the most is %d",
                            shape.k, LONGEST_SUM);
    s->kernel = qn_qgemm_pick(lo->cpu);
    lo->state = s;
    lo->kernel = s->kernel->name;
    lo->why = qn_linear_why_q8(lo->cpu);
    if (!qn_qgemm_packed_bytes(shape.k, shape.n, &s->one) || !qn_size_align(s->one, 4, &s->one))
        return qn_error_set(err, QN_ERR_LIMIT, "B does not fit in memory");
    if (lo->weight[l->b]) {
        lo->skip_in = (uint64_t)1 << l->b;
        st = qn_linear_pack_q8(lo, lo->weight[l->b], shape.b_batch, shape.k, shape.n, false, lo->in[l->b].dtype == QN_I8, &s->packed, err);
        if (st != QN_OK) return st;
    } else {
        if (!*lo->why) lo->why = "B is computed: packed on each run";
        if (!qn_size_mul(s->one, shape.batch >= BATCH_TEAM ? (size_t)lo->team_size : 1, &lo->scratch_bytes))
            return qn_error_set(err, QN_ERR_LIMIT, "B does not fit in memory");
    }
    if (!qn_size_mul((size_t)shape.n, 4, &columns) || !more_scratch(&lo->scratch_bytes, columns, &s->mult_at) ||
        !more_scratch(&lo->scratch_bytes, columns, &s->zero_at))
        return qn_error_set(err, QN_ERR_LIMIT, "%" PRId64 " columns", shape.n);
    return QN_OK;
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

typedef struct products {
    const state *s;
    const qn_matmul_shape *shape;
    qn_qgemm_args g;  /* of the first product */
    const uint8_t *b; /* dense, when it is not packed */
    char *scratch;
    qn_team *team;
} products;

static void one_product(void *ctx, int64_t i, int member)
{
    const products *x = ctx;
    const qn_matmul_shape *s = x->shape;
    qn_qgemm_args g = x->g;
    int64_t a, b;

    qn_matmul_at(s, i, &a, &b);
    g.a += a * s->m * s->k;
    g.c = (char *)g.c + (size_t)(i * s->m * s->n) * (g.out == QN_QOUT_S32 ? 4 : 1);
    if (x->s->packed) {
        g.b = (const char *)x->s->packed + (size_t)b * x->s->one;
    } else {
        char *packed = x->scratch + (size_t)member * x->s->one;

        qn_qgemm_pack(packed, s->k, s->n, x->b + b * s->k * s->n, g.b_signed, s->n, 1);
        g.b = packed;
    }
    x->s->kernel->run(&g, x->team);
}

static qn_status check_parameters(const qn_run *r, const layout *l, int64_t n, qn_error *err)
{
    const int32_t one[] = { l->a_scale, l->a_zero, l->y_scale, l->y_zero }, many[] = { l->b_scale, l->b_zero };
    qn_status st = QN_OK;

    for (size_t i = 0; i < 4 && st == QN_OK; i++) {
        if (one[i] >= 0) st = qn_linear_check(r, one[i], false, n, err);
    }
    for (size_t i = 0; i < 2 && st == QN_OK; i++) {
        if (many[i] >= 0) st = qn_linear_check(r, many[i], true, n, err);
    }
    return st;
}

static qn_status run(qn_run *r, qn_error *err)
{
    const state *s = r->state;
    const layout *l = layout_of(r->node);
    float *mult = (float *)(void *)((char *)r->scratch + s->mult_at);
    int32_t *zeros = (int32_t *)(void *)((char *)r->scratch + s->zero_at);
    qn_matmul_shape shape;
    products x = { .s = s, .shape = &shape, .b = r->in[l->b].data, .scratch = r->scratch };
    qn_status st = qn_matmul_shape_of(&r->in[0], &r->in[l->b], &shape, err);

    if (st == QN_OK) st = check_parameters(r, l, shape.n, err);
    if (st != QN_OK || qn_tensor_count(&r->out[0]) == 0) return st;
    x.g = (qn_qgemm_args){
        .m = shape.m, .n = shape.n, .k = shape.k, .a = r->in[0].data, .lda = shape.k, .c = r->out[0].data, .ldc = shape.n
    };
    x.g.a_signed = r->in[0].dtype == QN_I8;
    x.g.b_signed = r->in[l->b].dtype == QN_I8;
    x.g.a_zero = qn_linear_zero(given(r, l->a_zero));
    if (given(r, l->b_zero)) {
        qn_linear_zeros(given(r, l->b_zero), shape.n, zeros);
        x.g.b_zero = zeros;
    }
    if (l->y_zero < 0) {
        x.g.out = QN_QOUT_S32;
    } else {
        qn_linear_multipliers(1, &r->in[l->a_scale], &r->in[l->b_scale], &r->in[l->y_scale], shape.n, mult);
        x.g.multiplier = mult;
        x.g.out = r->out[0].dtype == QN_I8 ? QN_QOUT_S8 : QN_QOUT_U8;
        x.g.c_zero = qn_linear_zero(&r->in[l->y_zero]);
        x.g.c_lo = x.g.out == QN_QOUT_S8 ? -128 : 0;
        x.g.c_hi = x.g.c_lo + 255;
    }
    if (shape.batch >= BATCH_TEAM) {
        qn_team_run(r->team, shape.batch, one_product, &x);
    } else {
        x.team = r->team;
        for (int64_t i = 0; i < shape.batch; i++) one_product(&x, i, 0);
    }
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
    .kernels = "qgemm",
};
