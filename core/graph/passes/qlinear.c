/* core/graph/passes/qlinear.c - Conv, MatMul and Gemm between DequantizeLinear and QuantizeLinear become integer operators.
 *
 * The result must equal ONNX Runtime's after every QuantizeLinear, so what it computes in integers we do, and what it leaves in float
 * we leave. Observed with onnxruntime 1.30 (default options, CPU; the optimised model written out), activations and weights 8-bit in
 * any mixture of signs:
 *   DQ, DQ[, bias] -> Conv -> Q                   QLinearConv; bias s32 DQ with scale sx*sw, or a float constant, which it rounds
 *                                                 to s32 itself: rne(b / (sx*sw)), sx*sw in f32
 *   ... -> Relu or Clip -> Q                      the same, only where Q saturates there anyway (clip_quant.c removed it then);
 *                                                 otherwise all of it stays float
 *   DQ, DQ[, bias] -> Gemm -> Q                   QGemm, bias as above, beta = 1, alpha = 1 where there is a bias
 *   DQ, DQ -> MatMul -> Add(bias) -> Q            QGemm (a higher rank of A is reshaped)
 *   DQ, DQ -> MatMul -> Q                         QLinearMatMul, also of two activations; Transpose of a dequantized weight counts as
 *                                                 a dequantized weight (dq_transpose.c)
 *   DQ, DQ[, s32 DQ bias] -> Gemm, no Q           QGemm with f32 output; with a float bias: float
 *   DQ, DQ -> MatMul, no Q                        MatMulIntegerToFloat; before an Add of a float constant: float
 *   Conv without Q, or with several readers       float
 *   a bias whose scale is not sx*sw               float */
#include "core/graph/passes/qdq.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* |q - z| <= 255, so k products stay below 2^31 up to here; the kernels promise 66,000 */
#define MAX_K 33025

typedef struct product {
    qn_qvalue x, w, y;
    bool has_q;       /* y is valid */
    qn_value_id bias; /* QN_NONE, or s32 [n] with scale sx*sw */
    qn_value_id out;  /* y.q or the f32 output */
    const char *name;
} product;

static bool eight_bits(const qn_qvalue *v) { return v->dtype == QN_U8 || v->dtype == QN_I8; }

/* Both operands are 8-bit, x per tensor, w per tensor or along w_axis. */
static bool operands(const qn_pass *p, qn_value_id x, qn_value_id w, int32_t w_axis, product *m)
{
    if (x == QN_NONE || w == QN_NONE || !qn_qdq_dequantized(p, x, &m->x) || !qn_qdq_dequantized(p, w, &m->w)) return false;
    if (!eight_bits(&m->x) || !eight_bits(&m->w) || m->x.n_scales != 1) return false;
    return m->w.n_scales == 1 || (m->w.axis == w_axis && m->w.n_scales == qn_pass_dim(p, m->w.q, w_axis));
}

/* sx * sw for each of n outputs, [n] the caller frees. */
static float *product_scales(const qn_pass *p, const product *m, int64_t n)
{
    int64_t nx, nw;
    float *sx = qn_pass_floats(p, m->x.scale, &nx), *sw = qn_pass_floats(p, m->w.scale, &nw), *s = malloc(((size_t)n + 1) * sizeof *s);

    for (int64_t i = 0; i < n && sx && sw && s; i++) s[i] = sx[0] * sw[nw == 1 ? 0 : i];
    if (!sx || !sw) {
        free(s);
        s = NULL;
    }
    free(sx);
    free(sw);
    return s;
}

/* A constant bias with one element for each of n outputs along the last axis (Conv: rank 1). */
static bool bias_shape(const qn_pass *p, qn_value_id b, int64_t n)
{
    const qn_type *t = qn_pass_type(p, b);

    for (int32_t d = 0; d < t->rank; d++)
        if (qn_pass_dim(p, b, d) != (d == t->rank - 1 ? n : 1)) return false;
    return t->rank >= 1 && qn_pass_weight(p, b);
}

static bool matching_scale(const qn_pass *p, const qn_qvalue *b, const float *want, int64_t n)
{
    int64_t nb;
    float *s = qn_pass_floats(p, b->scale, &nb);
    bool ok = s && (nb == 1 || nb == n);

    for (int64_t i = 0; i < n && ok; i++) ok = fabsf(s[nb == 1 ? 0 : i] - want[i]) <= 1e-5f * want[i];
    free(s);
    return ok;
}

/* All zero, or absent: digests tell without reading a long one, but a bias is short. */
static bool zero_is_zero(const qn_pass *p, qn_value_id zero)
{
    int64_t z[64];
    int32_t n;
    qn_tensor t;
    bool ok = true;

    if (zero == QN_NONE) return true;
    qn_weight_shape(qn_pass_weight(p, zero), &t);
    if (t.rank > 1) return false;
    if (qn_tensor_count(&t) > 64) {
        int32_t *v = malloc((size_t)qn_tensor_count(&t) * sizeof *v);

        ok = v && t.dtype == QN_I32 && qn_weight_read(qn_pass_weight(p, zero), 0, qn_tensor_count(&t), v, NULL) == QN_OK;
        for (int64_t i = 0; i < qn_tensor_count(&t) && ok; i++) ok = v[i] == 0;
        free(v);
        return ok;
    }
    if (!qn_weight_ints(qn_pass_weight(p, zero), z, 64, &n)) return false;
    for (int32_t i = 0; i < n; i++) ok = ok && z[i] == 0;
    return ok;
}

/* A float bias as s32 in units of s; *done false if a value does not fit. */
static qn_status round_bias(qn_pass *p, qn_value_id b, const float *s, int64_t n, qn_value_id *out, bool *done, qn_error *err)
{
    int64_t nb;
    float *f = qn_pass_floats(p, b, &nb);
    qn_tensor t = { .dtype = QN_I32, .rank = 1, .dims = { n }, .bytes = (size_t)n * sizeof(int32_t) };
    int32_t *q = malloc(t.bytes + 1);
    qn_status st = QN_OK;

    *done = f && q && nb == n;
    for (int64_t i = 0; i < n && *done; i++) {
        float v = rintf(f[i] / s[i]);

        if (!(fabsf(v) < 2147483648.0f)) /* NaN too */
            *done = false;
        else
            q[i] = (int32_t)v;
    }
    t.data = q;
    if (*done) st = qn_pass_const(p, "bias", &t, out, err);
    free(f);
    free(q);
    return st;
}

/* The f32 bias b as an s32 constant for n outputs. */
static qn_status integer_bias(qn_pass *p, product *m, qn_value_id b, int64_t n, bool *done, qn_error *err)
{
    qn_qvalue q;
    float *s;
    qn_status st = QN_OK;

    *done = b == QN_NONE;
    m->bias = QN_NONE;
    if (b == QN_NONE || n < 1) return QN_OK;
    s = product_scales(p, m, n);
    if (!s) return QN_OK;
    if (qn_qdq_dequantized(p, b, &q)) {
        *done = q.dtype == QN_I32 && bias_shape(p, q.q, n) && qn_pass_type(p, q.q)->rank == 1 && matching_scale(p, &q, s, n) &&
                zero_is_zero(p, q.zero);
        m->bias = q.q;
    } else if (m->has_q && bias_shape(p, b, n) && qn_pass_type(p, b)->dtype == QN_F32) {
        st = round_bias(p, b, s, n, &m->bias, done, err);
    }
    free(s);
    return st;
}

/* What follows v: a Q that takes it all, or (float_too) anything. */
static bool tail(qn_pass *p, qn_value_id v, bool float_too, product *m)
{
    qn_node_id id;

    m->has_q = qn_qdq_quantized(p, v, &m->y, &id);
    m->out = m->has_q ? m->y.q : v;
    return m->has_q || float_too;
}

static qn_status need_zeros(qn_pass *p, product *m, qn_error *err)
{
    qn_status st = qn_qdq_need_zero(p, &m->x, err);

    if (st == QN_OK) st = qn_qdq_need_zero(p, &m->w, err);
    if (st == QN_OK && m->has_q) st = qn_qdq_need_zero(p, &m->y, err);
    return st;
}

static qn_status put(qn_pass *p, const product *m, const char *domain, const char *op, int64_t opset, const qn_value_id *in, int32_t n_in,
                     const qn_attr *attrs, int32_t n_attrs, bool *done, qn_error *err)
{
    qn_patch patch = { .domain = domain,
                       .op_type = op,
                       .opset = opset,
                       .in = in,
                       .n_in = n_in,
                       .attrs = attrs,
                       .n_attrs = n_attrs,
                       .out = m->out,
                       .name = m->name };

    while (patch.n_in > 0 && in[patch.n_in - 1] == QN_NONE) patch.n_in--;
    return strcmp(op, "QGemm") == 0 ? qn_pass_patch_matrix(p, &patch, done, err) : qn_pass_patch(p, &patch, done, err);
}

/* -- Conv ----------------------------------------------------------------------------------------------------------------- */

static bool conv_fits(const qn_pass *p, qn_value_id w)
{
    int64_t k = 1;

    for (int32_t d = 1; d < qn_pass_type(p, w)->rank; d++) {
        int64_t n = qn_pass_dim(p, w, d);

        if (n < 0 || n > MAX_K) return false;
        k *= n;
        if (k > MAX_K) return false;
    }
    return qn_pass_weight(p, w) != NULL;
}

static qn_status conv(qn_pass *p, qn_node_id id, qn_error *err)
{
    const qn_node *n = &p->g->nodes[id];
    product m = { .name = n->name };
    bool done;
    qn_status st;

    if (!operands(p, qn_node_in(n, 0), qn_node_in(n, 1), 0, &m) || !conv_fits(p, m.w.q) || !tail(p, n->out[0], false, &m)) return QN_OK;
    st = integer_bias(p, &m, qn_node_in(n, 2), qn_pass_dim(p, m.w.q, 0), &done, err);
    if (st != QN_OK || !done) return st;
    st = need_zeros(p, &m, err);
    if (st != QN_OK) return st;
    n = &p->g->nodes[id];
    {
        const qn_value_id in[] = { m.x.q, m.x.scale, m.x.zero, m.w.q, m.w.scale, m.w.zero, m.y.scale, m.y.zero, m.bias };

        return put(p, &m, "", "QLinearConv", 10, in, 9, n->attrs, n->n_attrs, &done, err);
    }
}

/* -- Gemm and MatMul ------------------------------------------------------------------------------------------------------ */

static qn_status put_gemm(qn_pass *p, product *m, qn_value_id bias, bool trans_a, bool trans_b, float alpha, bool *done, qn_error *err)
{
    int64_t n = qn_pass_dim(p, m->w.q, trans_b ? 0 : 1), k = qn_pass_dim(p, m->w.q, trans_b ? 1 : 0);
    qn_attr attrs[] = { { .name = "transA", .type = QN_ATTR_INT, .i = trans_a },
                        { .name = "transB", .type = QN_ATTR_INT, .i = trans_b },
                        { .name = "alpha", .type = QN_ATTR_FLOAT, .f = alpha } };
    qn_status st;

    *done = false;
    if (qn_pass_type(p, m->w.q)->rank != 2 || k < 0 || k > MAX_K || !qn_pass_weight(p, m->w.q)) return QN_OK;
    if (bias != QN_NONE && alpha != 1.0f) return QN_OK;
    st = integer_bias(p, m, bias, n, done, err);
    if (st != QN_OK || !*done) return st;
    st = need_zeros(p, m, err);
    if (st != QN_OK) return st;
    {
        const qn_value_id in[] = { m->x.q,
                                   m->x.scale,
                                   m->x.zero,
                                   m->w.q,
                                   m->w.scale,
                                   m->w.zero,
                                   m->bias,
                                   m->has_q ? m->y.scale : QN_NONE,
                                   m->has_q ? m->y.zero : QN_NONE };

        return put(p, m, "com.microsoft", "QGemm", 1, in, m->has_q ? 9 : 7, attrs, 3, done, err);
    }
}

static qn_status gemm(qn_pass *p, qn_node_id id, qn_error *err)
{
    const qn_node *n = &p->g->nodes[id];
    bool trans_a = qn_node_int(n, "transA", 0) != 0, trans_b = qn_node_int(n, "transB", 0) != 0, done;
    product m = { .name = n->name };

    if (!operands(p, qn_node_in(n, 0), qn_node_in(n, 1), trans_b ? 0 : 1, &m) || !tail(p, n->out[0], true, &m)) return QN_OK;
    if (qn_node_in(n, 2) != QN_NONE && qn_node_float(n, "beta", 1.0f) != 1.0f) return QN_OK;
    return put_gemm(p, &m, qn_node_in(n, 2), trans_a, trans_b, qn_node_float(n, "alpha", 1.0f), &done, err);
}

/* v's only reader adds a constant to it (perhaps a dequantized one). */
static bool added_constant(qn_pass *p, qn_value_id v, qn_value_id *bias, qn_value_id *sum)
{
    qn_node_id id = qn_uses_only(&p->uses, p->g, v);
    const qn_node *n;
    qn_qvalue q;

    if (id == QN_NONE || !qn_pass_is(&p->g->nodes[id], "Add")) return false;
    n = &p->g->nodes[id];
    *bias = n->in[0] == v ? n->in[1] : n->in[0];
    *sum = n->out[0];
    return qn_pass_weight(p, *bias) || (qn_qdq_dequantized(p, *bias, &q) && qn_pass_weight(p, q.q));
}

static qn_status matmul_with_bias(qn_pass *p, product *m, qn_value_id bias, qn_value_id sum, bool *done, qn_error *err)
{
    *done = false;
    return tail(p, sum, true, m) ? put_gemm(p, m, bias, false, false, 1.0f, done, err) : QN_OK;
}

static qn_status matmul_alone(qn_pass *p, product *m, qn_value_id v, qn_error *err)
{
    int32_t rank = qn_pass_type(p, m->w.q)->rank;
    int64_t k = qn_pass_dim(p, m->w.q, rank - 2);
    bool done;
    qn_status st;

    /* K of an activation may be a symbol; then the op has to live with what comes */
    if (k > MAX_K || rank < 2 || !tail(p, v, true, m)) return QN_OK;
    st = need_zeros(p, m, err);
    if (st != QN_OK) return st;
    if (m->has_q) {
        const qn_value_id in[] = { m->x.q, m->x.scale, m->x.zero, m->w.q, m->w.scale, m->w.zero, m->y.scale, m->y.zero };

        return put(p, m, "", "QLinearMatMul", 10, in, 8, NULL, 0, &done, err);
    }
    {
        const qn_value_id in[] = { m->x.q, m->w.q, m->x.scale, m->w.scale, m->x.zero, m->w.zero };

        return put(p, m, "com.microsoft", "MatMulIntegerToFloat", 1, in, 6, NULL, 0, &done, err);
    }
}

static qn_status matmul(qn_pass *p, qn_node_id id, qn_error *err)
{
    const qn_node *n = &p->g->nodes[id];
    product m = { .name = n->name };
    qn_value_id v = n->out[0], w = qn_node_in(n, 1), bias, sum;
    bool done = false;
    qn_qvalue probe;

    if (w == QN_NONE || !qn_qdq_dequantized(p, w, &probe) || !operands(p, qn_node_in(n, 0), w, qn_pass_type(p, probe.q)->rank - 1, &m))
        return QN_OK;
    if (added_constant(p, v, &bias, &sum)) return matmul_with_bias(p, &m, bias, sum, &done, err);
    return matmul_alone(p, &m, v, err);
}

qn_status qn_pass_qlinear(qn_pass *p, qn_error *err)
{
    qn_status st = QN_OK;

    for (int32_t i = 0; i < p->g->n_order && st == QN_OK; i++) {
        const qn_node *n = &p->g->nodes[p->g->order[i]];

        if (n->dead || n->n_out < 1 || n->out[0] == QN_NONE) continue;
        if (qn_pass_is(n, "Conv")) st = conv(p, p->g->order[i], err);
        if (qn_pass_is(n, "Gemm")) st = gemm(p, p->g->order[i], err);
        if (qn_pass_is(n, "MatMul")) st = matmul(p, p->g->order[i], err);
    }
    return st;
}
