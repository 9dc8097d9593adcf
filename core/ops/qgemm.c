/* core/ops/qgemm.c - com.microsoft QGemm, which lowering makes too.
 * Spec   ONNX Runtime contrib ops, QGemm 1: A, a_scale, a_zp, B, b_scale, b_zp, C (s32, broadcasts to [m, n]; may be left out), y_scale,
 *        y_zp (both or neither) -> u8 or s8, or f32 without y_scale. Attributes transA, transB, alpha.
 *        Scale and zero point of B: one, or one per column.
 * Value  exact s32 sums plus C; times ((alpha * a_scale) * b_scale[j]) / y_scale in f32; to nearest even; plus y_zp; saturated; or
 *        without the division as f32. As ONNX Runtime. */
#include "core/base/checked.h"
#include "core/graph/cost.h"
#include "core/ops/qproduct.h"

#include <inttypes.h>

enum { IN_A, IN_A_SCALE, IN_A_ZERO, IN_B, IN_B_SCALE, IN_B_ZERO, IN_C, IN_Y_SCALE, IN_Y_ZERO };

static const qn_qproduct_layout layout = { .b = IN_B,
                                           .a_scale = IN_A_SCALE,
                                           .a_zero = IN_A_ZERO,
                                           .b_scale = IN_B_SCALE,
                                           .b_zero = IN_B_ZERO,
                                           .y_scale = IN_Y_SCALE,
                                           .y_zero = IN_Y_ZERO };

typedef struct state {
    qn_qproduct p;
    bool trans_a, trans_b;
    float alpha;
    size_t a_at, sum_at; /* in scratch */
} state;

typedef struct sizes {
    int64_t m, n, k;
} sizes;

/* -- inference ------------------------------------------------------------------------------------------------------------ */

static qn_status infer_dtypes(const qn_infer *c, qn_error *err)
{
    qn_status st = qn_linear_need(c, 6, err);

    if (st == QN_OK) st = qn_linear_dtype(c, IN_A, QN_LINEAR_BYTES, err);
    if (st == QN_OK) st = qn_linear_dtype(c, IN_B, QN_LINEAR_BYTES, err);
    if (st == QN_OK) st = qn_linear_dtype(c, IN_A_SCALE, 1u << QN_F32, err);
    if (st == QN_OK) st = qn_linear_dtype(c, IN_B_SCALE, 1u << QN_F32, err);
    if (st == QN_OK) st = qn_linear_dtype(c, IN_A_ZERO, 1u << c->in[IN_A].dtype, err);
    if (st == QN_OK) st = qn_linear_dtype(c, IN_B_ZERO, 1u << c->in[IN_B].dtype, err);
    if (st == QN_OK && qn_infer_has(c, IN_C)) st = qn_linear_dtype(c, IN_C, 1u << QN_I32, err);
    if (st == QN_OK && qn_infer_has(c, IN_Y_SCALE)) st = qn_linear_dtype(c, IN_Y_SCALE, 1u << QN_F32, err);
    if (st == QN_OK && qn_infer_has(c, IN_Y_ZERO)) st = qn_linear_dtype(c, IN_Y_ZERO, QN_LINEAR_BYTES, err);
    if (st == QN_OK && qn_infer_has(c, IN_Y_SCALE) != qn_infer_has(c, IN_Y_ZERO))
        st = qn_error_set(err, QN_ERR_INVALID, "y_scale and y_zero_point must be given together or not at all");
    return st;
}

/* C, where dims are known, broadcasts to out. */
static qn_status infer_c(const qn_infer *c, const qn_dim *out, qn_error *err)
{
    const qn_type *t;
    int64_t v;

    if (!qn_infer_has(c, IN_C)) return QN_OK;
    t = &c->in[IN_C];
    if (t->rank > 2) return qn_error_set(err, QN_ERR_SHAPE, "input C has rank %d, expected at most 2", (int)t->rank);
    for (int32_t d = 0; d < t->rank; d++) {
        if (qn_dims_value(c->dims, t->dims[d], &v) && v != 1 && qn_linear_differ(c, t->dims[d], out[2 - t->rank + d]))
            return qn_error_set(err, QN_ERR_SHAPE, "input C has %" PRId64 " in dimension %d, which does not broadcast to the product", v,
                                (int)d);
    }
    return QN_OK;
}

static qn_status infer(qn_infer *c, qn_error *err)
{
    const bool trans_a = qn_node_int(c->node, "transA", 0) != 0, trans_b = qn_node_int(c->node, "transB", 0) != 0;
    const qn_type *a = &c->in[IN_A], *b = &c->in[IN_B];
    qn_dim out[2] = { QN_DIM_UNKNOWN, QN_DIM_UNKNOWN }, k[2] = { QN_DIM_UNKNOWN, QN_DIM_UNKNOWN };
    qn_status st = infer_dtypes(c, err);

    if (st != QN_OK) return st;
    if ((a->rank >= 0 && a->rank != 2) || (b->rank >= 0 && b->rank != 2))
        return qn_error_set(err, QN_ERR_SHAPE, "A and B have ranks %d and %d, expected 2", (int)a->rank, (int)b->rank);
    if (a->rank == 2) {
        out[0] = a->dims[trans_a ? 1 : 0];
        k[0] = a->dims[trans_a ? 0 : 1];
    }
    if (b->rank == 2) {
        out[1] = b->dims[trans_b ? 0 : 1];
        k[1] = b->dims[trans_b ? 1 : 0];
    }
    if (qn_linear_differ(c, k[0], k[1])) return qn_error_set(err, QN_ERR_SHAPE, "the inner dimensions of A and B differ");
    st = infer_c(c, out, err);
    for (int32_t i = IN_A_SCALE; i <= IN_Y_ZERO && st == QN_OK; i++) {
        if (i != IN_B && i != IN_C) st = qn_linear_scale(c, i, i == IN_B_SCALE || i == IN_B_ZERO, out[1], err);
    }
    if (st == QN_OK) qn_linear_output(c, qn_infer_has(c, IN_Y_ZERO) ? c->in[IN_Y_ZERO].dtype : QN_F32, 2, out);
    return st;
}

static void rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    const int32_t want = qn_node_int(c->node, "transA", 0) != 0 ? 1 : 0;
    int64_t v;

    if (in_axis[IN_A] != want) return;
    for (int32_t i = 1; i < c->node->n_in; i++) {
        if (qn_infer_has(c, i) && in_axis[i] != QN_ROWS_NONE) return;
    }
    if (qn_infer_has(c, IN_C) && c->in[IN_C].rank == 2 && !(qn_dims_value(c->dims, c->in[IN_C].dims[0], &v) && v == 1)) return;
    out_axis[0] = 0;
}

/* -- lowering ------------------------------------------------------------------------------------------------------------- */

static qn_status sizes_of(const state *s, const qn_tensor *in, sizes *z, qn_error *err)
{
    const qn_tensor *a = &in[IN_A], *b = &in[IN_B];

    z->m = a->dims[s->trans_a ? 1 : 0];
    z->k = a->dims[s->trans_a ? 0 : 1];
    z->n = b->dims[s->trans_b ? 0 : 1];
    if (b->dims[s->trans_b ? 1 : 0] != z->k) return qn_error_set(err, QN_ERR_SHAPE, "the inner dimensions of A and B differ");
    return QN_OK;
}

/* C as a bias per column; otherwise it is added to sums at rest. */
static bool c_is_bias(const qn_tensor *c, int64_t n)
{
    return c->rank >= 1 && c->dims[c->rank - 1] == n && (c->rank == 1 || c->dims[0] == 1);
}

static qn_status lower(qn_lower *lo, qn_error *err)
{
    state *s = qn_arena_alloc(lo->arena, sizeof *s);
    const qn_node *n = lo->node;
    const bool has_c = n->n_in > IN_C && n->in[IN_C] != QN_NONE;
    sizes z;
    qn_status st = qn_linear_known(lo, err);

    if (!s) return qn_error_set(err, QN_ERR_NOMEM, "state of a product");
    if (st != QN_OK) return st;
    s->trans_a = qn_node_int(n, "transA", 0) != 0;
    s->trans_b = qn_node_int(n, "transB", 0) != 0;
    s->alpha = qn_node_float(n, "alpha", 1);
    lo->state = s;
    st = sizes_of(s, lo->in, &z, err);
    if (st == QN_OK) {
        const qn_qproduct_sizes b = { .k = z.k, .n = z.n, .b_batch = 1, .trans_b = s->trans_b, .n_unpacked = 1 };

        st = qn_qproduct_lower(lo, IN_B, &b, &s->p, err);
    }
    if (st != QN_OK) return st;
    if ((s->trans_a && !qn_qproduct_more_scratch(&lo->scratch_bytes, (size_t)z.m, (size_t)z.k, &s->a_at)) ||
        (has_c && !c_is_bias(&lo->in[IN_C], z.n) &&
         !qn_qproduct_more_scratch(&lo->scratch_bytes, (size_t)z.m, (size_t)z.n * 4, &s->sum_at)))
        return qn_error_set(err, QN_ERR_LIMIT, "a product of [%" PRId64 ",%" PRId64 "] does not fit in memory", z.m, z.n);
    return QN_OK;
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

/* A C that is not one row: the kernel's sums rest in `sums` and get C there; then the kernel runs once more for each row, on a product
 * of length 0 whose bias is that row. So there is one requantization, and it is the kernel's. */
static void add_c_and_store(const state *s, const sizes *z, const qn_tensor *c, const qn_qgemm_args *whole, int32_t *sums)
{
    const int64_t cols = c->rank > 0 ? c->dims[c->rank - 1] : 1, row_step = c->rank > 1 && c->dims[0] != 1 ? cols : 0;
    const int32_t *add = c->data;

    for (int64_t i = 0; i < z->m; i++) {
        int32_t *row = sums + i * z->n;
        qn_qgemm_args g = *whole;

        for (int64_t j = 0; j < z->n; j++) row[j] = (int32_t)((uint32_t)row[j] + (uint32_t)add[i * row_step + (cols == 1 ? 0 : j)]);
        g.m = 1;
        g.k = 0;
        g.a_signed = false; /* with no products there is nothing to correct */
        g.a_zero = 0;
        g.b_signed = true;
        g.b_zero = NULL;
        g.bias = row;
        g.c = (char *)whole->c + (size_t)(i * z->n) * (whole->out == QN_QOUT_F32 ? 4 : 1);
        s->p.kernel->run(&g, NULL);
    }
}

static qn_status check_inputs(const qn_run *r, const sizes *z, qn_error *err)
{
    const qn_tensor *c = qn_qproduct_given(r, IN_C);
    qn_status st = qn_qproduct_check(r, &layout, z->n, err);

    if (st != QN_OK || !c) return st;
    if ((c->rank > 0 && c->dims[c->rank - 1] != 1 && c->dims[c->rank - 1] != z->n) ||
        (c->rank > 1 && c->dims[0] != 1 && c->dims[0] != z->m))
        return qn_error_set(err, QN_ERR_SHAPE, "C does not broadcast to [%" PRId64 ",%" PRId64 "]", z->m, z->n);
    return QN_OK;
}

static void fill_operands(const qn_run *r, const state *s, const sizes *z, qn_qgemm_args *g)
{
    g->a = r->in[IN_A].data;
    g->b = s->p.packed;
    if (s->trans_a) {
        uint8_t *a = (uint8_t *)r->scratch + s->a_at;

        for (int64_t i = 0; i < z->m; i++) {
            for (int64_t p = 0; p < z->k; p++) a[i * z->k + p] = g->a[p * z->m + i];
        }
        g->a = a;
    }
    if (s->p.packed) return;
    qn_qproduct_pack(r, &layout, 0, z->k, z->n, s->trans_b, r->scratch);
    g->b = r->scratch;
}

static qn_status run(qn_run *r, qn_error *err)
{
    const state *s = r->state;
    const qn_tensor *c = qn_qproduct_given(r, IN_C);
    sizes z;
    qn_qgemm_args g = { 0 };
    qn_status st = sizes_of(s, r->in, &z, err);

    if (st == QN_OK) st = check_inputs(r, &z, err);
    if (st != QN_OK || qn_tensor_count(&r->out[0]) == 0) return st;
    g.m = z.m;
    g.n = z.n;
    g.k = g.lda = z.k;
    g.c = r->out[0].data;
    g.ldc = z.n;
    qn_qproduct_parameters(r, &layout, &s->p, NULL, s->alpha, z.n, &g);
    fill_operands(r, s, &z, &g);
    if (!c || c_is_bias(c, z.n)) {
        g.bias = c ? c->data : NULL;
        s->p.kernel->run(&g, r->team);
    } else {
        int32_t *sums = (int32_t *)(void *)((char *)r->scratch + s->sum_at);
        qn_qgemm_args to_sums = g;

        to_sums.out = QN_QOUT_S32;
        to_sums.c = sums;
        s->p.kernel->run(&to_sums, r->team);
        add_c_and_store(s, &z, c, &g, sums);
    }
    return QN_OK;
}

const qn_op qn_op_ms_qgemm = {
    .domain = "com.microsoft",
    .name = "QGemm",
    .since = 1,
    .min_in = 6,
    .max_in = 9,
    .min_out = 1,
    .max_out = 1,
    .infer = infer,
    .rows = rows,
    .lower = lower,
    .run = run,
    .cost = qn_gemm_cost,
    .kernels = "qgemm",
};
