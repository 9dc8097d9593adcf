/* core/ops/gemm.c - Gemm, and quern.FusedGemm with an activation.
 * Spec   ONNX Gemm, opsets 1, 6, 7, 9, 11, 13: y = alpha * A' * B' + beta * C, C broadcast to [m, n] one way.  (Before 7 the attribute
 *        `broadcast` had to announce it; it changes nothing that is valid.)  f32, f64
 * Value  sum over k as one fma chain; times alpha (one multiplication, none when alpha is 1); plus beta * C (likewise); act.
 *        quern.FusedGemm: attributes of Gemm and act ("none", "relu", "clip"), lo, hi. */
#include "core/base/checked.h"
#include "core/graph/cost.h"
#include "core/graph/grad.h"
#include "core/kernels/gemm/tile.h"
#include "core/ops/linear.h"

#include <inttypes.h>
#include <limits.h>

static const int64_t blas_from = (int64_t)1 << 24; /* multiply-adds at capacity from which OpenBLAS may be worth its call */

typedef struct state {
    const qn_gemm_kernel *kernel;
    const float *packed;     /* or NULL: B is packed on each run */
    const qn_openblas *blas; /* or NULL */
    bool trans_a, trans_b;
    float alpha, beta, lo, hi;
    qn_act act;
    size_t a_offset; /* of A transposed in scratch, after packed B */
} state;

static qn_status gemm_infer(qn_infer *c, qn_error *err)
{
    const bool trans_a = qn_node_int(c->node, "transA", 0) != 0, trans_b = qn_node_int(c->node, "transB", 0) != 0;
    qn_status st = qn_linear_need(c, 2, err);
    qn_dim out[2] = { QN_DIM_UNKNOWN, QN_DIM_UNKNOWN }, k[2] = { QN_DIM_UNKNOWN, QN_DIM_UNKNOWN };

    if (st == QN_OK) st = qn_linear_dtype(c, 0, 1u << QN_F32 | 1u << QN_F64, err);
    for (int32_t i = 0; i < 2 && st == QN_OK; i++) {
        const qn_type *t = &c->in[i];
        const bool trans = i == 0 ? trans_a : trans_b;

        if (t->dtype != c->in[0].dtype)
            st = qn_error_set(err, QN_ERR_DTYPE, "inputs 0 and 1 are of different dtypes");
        else if (t->rank >= 0 && t->rank != 2)
            st = qn_error_set(err, QN_ERR_SHAPE, "input %d has rank %d, expected 2", (int)i, (int)t->rank);
        else if (t->rank == 2) {
            out[i] = t->dims[(i == 0) == trans];
            k[i] = t->dims[(i == 0) != trans];
        }
    }
    if (st != QN_OK) return st;
    if (qn_linear_differ(c, k[0], k[1])) {
        char x[32], y[32];

        return qn_error_set(err, QN_ERR_SHAPE, "inner dimensions %s and %s differ", qn_dims_print(c->dims, k[0], x, sizeof x),
                            qn_dims_print(c->dims, k[1], y, sizeof y));
    }
    if (qn_infer_has(c, 2)) {
        const qn_type *t = &c->in[2];

        if (t->dtype != c->in[0].dtype)
            return qn_error_set(err, QN_ERR_DTYPE, "input C is %s, A is %s", qn_dtype_name(t->dtype), qn_dtype_name(c->in[0].dtype));
        if (t->rank > 2) return qn_error_set(err, QN_ERR_SHAPE, "input C has rank %d, expected at most 2", (int)t->rank);
        for (int32_t d = 0; d < t->rank; d++) {
            int64_t v;

            if (qn_dims_value(c->dims, t->dims[d], &v) && v != 1 && qn_linear_differ(c, t->dims[d], out[2 - t->rank + d]))
                return qn_error_set(err, QN_ERR_SHAPE, "input C has %" PRId64 " in dimension %d, which does not broadcast to the product",
                                    v, (int)d);
        }
    }
    qn_linear_output(c, c->in[0].dtype, 2, out);
    return QN_OK;
}

static qn_status fused_infer(qn_infer *c, qn_error *err)
{
    qn_act act;
    float lo, hi;
    qn_status st = qn_linear_act(c->node, &act, &lo, &hi, err);

    return st == QN_OK ? gemm_infer(c, err) : st;
}

/* A carries the batch at axis 0, or at 1 when it is transposed; C may only broadcast along it. */
static void gemm_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    const int32_t want = qn_node_int(c->node, "transA", 0) != 0 ? 1 : 0;
    int64_t v;

    if (in_axis[0] != want || in_axis[1] != QN_ROWS_NONE) return;
    if (qn_infer_has(c, 2)) {
        const qn_type *t = &c->in[2];

        if (in_axis[2] != QN_ROWS_NONE && in_axis[2] != t->rank - 2) return;
        if (in_axis[2] == QN_ROWS_NONE && t->rank == 2 && !(qn_dims_value(c->dims, t->dims[0], &v) && v == 1)) return;
    }
    out_axis[0] = 0;
}

/* -- lowering ------------------------------------------------------------------------------------------------------------- */

typedef struct sizes {
    int64_t m, n, k;
} sizes;

static qn_status sizes_of(const state *s, const qn_tensor *a, const qn_tensor *b, sizes *out, qn_error *err)
{
    out->m = a->dims[s->trans_a ? 1 : 0];
    out->k = a->dims[s->trans_a ? 0 : 1];
    out->n = b->dims[s->trans_b ? 0 : 1];
    if (b->dims[s->trans_b ? 1 : 0] != out->k)
        return qn_error_set(err, QN_ERR_SHAPE, "inner dimensions %" PRId64 " and %" PRId64 " differ", out->k, b->dims[s->trans_b ? 1 : 0]);
    return QN_OK;
}

static const qn_openblas *try_blas(qn_lower *lo, const state *s, const sizes *z)
{
    const qn_openblas *blas;
    int64_t work;

    if (lo->bits != QN_BITS_FAST || !lo->weight[1] || s->trans_a || z->m < 64) return NULL;
    if (z->m > INT_MAX || z->n > INT_MAX || z->k > INT_MAX) return NULL;
    if (!qn_i64_mul(z->m, z->n, &work) || !qn_i64_mul(work, z->k, &work) || work < blas_from) return NULL;
    return qn_openblas_open(lo->cpu, &blas, NULL) == QN_OK ? blas : NULL;
}

static qn_status lower_f32(qn_lower *lo, state *s, const sizes *z, qn_error *err)
{
    size_t bytes, a_bytes = 0;

    s->kernel = qn_gemm_pick(lo->cpu);
    s->blas = try_blas(lo, s, z);
    if (s->blas) {
        lo->kernel = qn_linear_blas_name(lo, s->blas);
        return QN_OK;
    }
    lo->kernel = s->kernel->name;
    lo->why = qn_linear_why_f32(lo->cpu);
    if (!qn_gemm_packed_bytes(z->k, z->n, &bytes)) return qn_error_set(err, QN_ERR_LIMIT, "B does not fit in memory");
    if (lo->weight[1]) {
        qn_status st = qn_linear_pack_f32(lo, lo->weight[1], 1, z->k, z->n, s->trans_b, &s->packed, err);

        if (st != QN_OK) return st;
        lo->skip_in = 1u << 1;
        bytes = 0;
    } else if (!*lo->why) {
        lo->why = "B is computed: packed on each run";
    }
    s->a_offset = bytes;
    if (s->trans_a && (!qn_size_mul((size_t)z->m, (size_t)z->k, &a_bytes) || !qn_size_mul(a_bytes, sizeof(float), &a_bytes)))
        return qn_error_set(err, QN_ERR_LIMIT, "A does not fit in memory");
    if (!qn_size_add(bytes, a_bytes, &lo->scratch_bytes)) return qn_error_set(err, QN_ERR_LIMIT, "A does not fit in memory");
    return QN_OK;
}

static qn_status gemm_lower(qn_lower *lo, qn_error *err)
{
    state *s = qn_arena_alloc(lo->arena, sizeof *s);
    qn_status st = qn_linear_known(lo, err);
    sizes z;

    if (!s) return qn_error_set(err, QN_ERR_NOMEM, "state of a product");
    if (st != QN_OK) return st;
    s->trans_a = qn_node_int(lo->node, "transA", 0) != 0;
    s->trans_b = qn_node_int(lo->node, "transB", 0) != 0;
    s->alpha = qn_node_float(lo->node, "alpha", 1);
    s->beta = qn_node_float(lo->node, "beta", 1);
    lo->state = s;
    st = qn_linear_act(lo->node, &s->act, &s->lo, &s->hi, err);
    if (st == QN_OK) st = sizes_of(s, &lo->in[0], &lo->in[1], &z, err);
    if (st == QN_OK && lo->in[0].dtype == QN_F32) st = lower_f32(lo, s, &z, err);
    return st;
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

/* How C lies over [m, n]. */
typedef struct spread {
    const void *data; /* NULL: no C */
    int64_t row, col; /* strides in elements, 0 where broadcast */
} spread;

static qn_status spread_of(const qn_run *r, const sizes *z, spread *c, qn_error *err)
{
    const qn_tensor *t = r->node->n_in > 2 ? &r->in[2] : NULL;
    int64_t rows, cols;

    *c = (spread){ 0 };
    if (!t || t->dtype == QN_DTYPE_NONE) return QN_OK;
    cols = t->rank > 0 ? t->dims[t->rank - 1] : 1;
    rows = t->rank > 1 ? t->dims[0] : 1;
    if ((cols != 1 && cols != z->n) || (rows != 1 && rows != z->m))
        return qn_error_set(err, QN_ERR_SHAPE, "C [%" PRId64 ",%" PRId64 "] does not broadcast to [%" PRId64 ",%" PRId64 "]", rows, cols,
                            z->m, z->n);
    *c = (spread){ t->data, rows == 1 ? 0 : cols, cols == 1 ? 0 : 1 };
    return QN_OK;
}

/* alpha, C and act over sums that rest in y. */
static void finish_f32(const state *s, const sizes *z, const spread *c, float *y)
{
    for (int64_t i = 0; i < z->m; i++) {
        for (int64_t j = 0; j < z->n; j++) {
            float v = y[i * z->n + j];

            if (s->alpha != 1) v *= s->alpha;
            if (c->data) {
                const float x = ((const float *)c->data)[i * c->row + j * c->col];

                v += s->beta != 1 ? s->beta * x : x;
            }
            y[i * z->n + j] = qn_act_apply(v, s->act, s->lo, s->hi);
        }
    }
}

static void run_f32(qn_run *r, const state *s, const sizes *z, const spread *c)
{
    float *y = r->out[0].data;
    qn_gemm_args g = { .m = z->m, .n = z->n, .k = z->k, .a = r->in[0].data, .lda = z->k, .b = s->packed, .c = y, .ldc = z->n };
    /* what the kernel can do on its way out; column strides 0 and 1 with one row are a bias */
    const bool bias_n = c->data && c->row == 0 && c->col == 1, bias_m = c->data && c->col == 0 && c->row == 1;
    const bool fused = !s->blas && s->alpha == 1 && (!c->data || (s->beta == 1 && (bias_n || bias_m)));

    if (s->blas) {
        const int64_t ldb = s->trans_b ? z->k : z->n;

        if (z->m && z->n) qn_openblas_sgemm(s->blas, s->trans_b, z->m, z->n, z->k, g.a, z->k, r->in[1].data, ldb, y, z->n);
        finish_f32(s, z, c, y);
        return;
    }
    if (!s->packed) {
        size_t bytes = 0;

        if (!qn_gemm_packed_bytes(z->k, z->n, &bytes)) return; /* lowering has seen that it fits */
        for (size_t i = 0; i < bytes / sizeof(float); i++) ((float *)r->scratch)[i] = 0;
        qn_gemm_pack(r->scratch, z->k, z->n, 0, z->k, r->in[1].data, s->trans_b ? 1 : z->n, s->trans_b ? z->k : 1);
        g.b = r->scratch;
    }
    if (s->trans_a) {
        float *a = (float *)(void *)((char *)r->scratch + s->a_offset);

        for (int64_t i = 0; i < z->m; i++) {
            for (int64_t p = 0; p < z->k; p++) a[i * z->k + p] = g.a[p * z->m + i];
        }
        g.a = a;
    }
    if (fused) {
        g.bias_n = bias_n ? c->data : NULL;
        g.bias_m = !bias_n && bias_m ? c->data : NULL;
        g.act = s->act;
        g.lo = s->lo;
        g.hi = s->hi;
    }
    s->kernel->run(&g, r->team);
    if (!fused) finish_f32(s, z, c, y);
}

static void run_f64(qn_run *r, const state *s, const sizes *z, const spread *c)
{
    double *y = r->out[0].data;
    const qn_naive g = {
        .dtype = QN_F64,
        .m = z->m,
        .n = z->n,
        .k = z->k,
        .a = r->in[0].data,
        .b = r->in[1].data,
        .a_row = s->trans_a ? 1 : z->k,
        .a_col = s->trans_a ? z->m : 1,
        .b_row = s->trans_b ? 1 : z->n,
        .b_col = s->trans_b ? z->k : 1,
        .c = y,
    };

    qn_naive_run(&g, r->team);
    for (int64_t i = 0; i < z->m; i++) {
        for (int64_t j = 0; j < z->n; j++) {
            double v = (double)s->alpha * y[i * z->n + j];

            if (c->data) v += (double)s->beta * ((const double *)c->data)[i * c->row + j * c->col];
            if (s->act == QN_ACT_RELU) v = v < 0 ? 0.0 : v;
            if (s->act == QN_ACT_CLIP) v = (double)s->lo > v ? (double)s->lo : (double)s->hi < v ? (double)s->hi : v;
            y[i * z->n + j] = v;
        }
    }
}

static qn_status gemm_run(qn_run *r, qn_error *err)
{
    const state *s = r->state;
    sizes z;
    spread c;
    qn_status st = sizes_of(s, &r->in[0], &r->in[1], &z, err);

    if (st == QN_OK) st = spread_of(r, &z, &c, err);
    if (st != QN_OK) return st;
    if (r->in[0].dtype == QN_F32)
        run_f32(r, s, &z, &c);
    else
        run_f64(r, s, &z, &c);
    return QN_OK;
}

/* alpha x y, either of them turned. */
static qn_value_id product(qn_builder *b, qn_value_id x, bool turn_x, qn_value_id y, bool turn_y, float alpha)
{
    const qn_value_id in[] = { x, y };
    const qn_attr attrs[] = { { .name = "alpha", .type = QN_ATTR_FLOAT, .f = alpha },
                              { .name = "transA", .type = QN_ATTR_INT, .i = turn_x },
                              { .name = "transB", .type = QN_ATTR_INT, .i = turn_y } };

    return qn_grad_emit(b, "Gemm", in, 2, attrs, 3);
}

static void gemm_grad(qn_builder *b)
{
    const qn_node *n = qn_grad_node(b);
    const float alpha = qn_node_float(n, "alpha", 1), beta = qn_node_float(n, "beta", 1);
    const bool ta = qn_node_int(n, "transA", 0) != 0, tb = qn_node_int(n, "transB", 0) != 0;
    const qn_value_id a = qn_grad_in(b, 0), w = qn_grad_in(b, 1), dy = qn_grad_of(b, 0);

    if (qn_grad_wanted(b, 0)) qn_grad_give(b, 0, ta ? product(b, w, tb, dy, true, alpha) : product(b, dy, false, w, !tb, alpha));
    if (qn_grad_wanted(b, 1)) qn_grad_give(b, 1, tb ? product(b, dy, true, a, ta, alpha) : product(b, a, !ta, dy, false, alpha));
    if (qn_grad_wanted(b, 2)) qn_grad_give(b, 2, qn_grad_op2(b, "Mul", dy, qn_grad_number(b, (double)beta, dy)));
}

const qn_op qn_op_gemm = {
    .domain = "",
    .name = "Gemm",
    .since = 1,
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .infer = gemm_infer,
    .rows = gemm_rows,
    .lower = gemm_lower,
    .run = gemm_run,
    .cost = qn_gemm_cost,
    .grad = gemm_grad,
    .kernels = "gemm",
};

const qn_op qn_op_fused_gemm = {
    .domain = "quern",
    .name = "FusedGemm",
    .since = 1,
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .infer = fused_infer,
    .rows = gemm_rows,
    .lower = gemm_lower,
    .run = gemm_run,
    .cost = qn_gemm_cost,
    .kernels = "gemm",
};
