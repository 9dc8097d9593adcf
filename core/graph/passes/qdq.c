/* core/graph/passes/qdq.c - reading QuantizeLinear and DequantizeLinear nodes. */
#include "core/graph/passes/qdq.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Scale and zero point (inputs 1 and 2 of n) as constants; the integers have `dtype`. */
static bool parameters(const qn_pass *p, const qn_node *n, qn_dtype dtype, int32_t rank, qn_qvalue *out)
{
    qn_value_id zero = qn_node_in(n, 2);
    qn_tensor z;
    float *s;
    bool ok = true;

    out->dtype = dtype;
    out->scale = qn_node_in(n, 1);
    out->zero = zero;
    out->axis = 0;
    if (qn_node_int(n, "block_size", 0) != 0 || out->scale == QN_NONE || (zero != QN_NONE && !qn_pass_weight(p, zero))) return false;
    s = qn_pass_floats(p, out->scale, &out->n_scales);
    if (!s) return false;
    for (int64_t i = 0; i < out->n_scales; i++) ok = ok && isfinite(s[i]) && s[i] > 0.0f;
    free(s);
    if (!ok || out->n_scales < 1 || qn_pass_type(p, out->scale)->rank > 1) return false;
    if (zero != QN_NONE) {
        qn_weight_shape(qn_pass_weight(p, zero), &z);
        if (z.dtype != dtype || qn_tensor_count(&z) != out->n_scales) return false;
    }
    if (out->n_scales > 1) {
        qn_infer c = { .node = n };

        return qn_infer_axis(&c, qn_node_int(n, "axis", 1), rank, &out->axis, NULL) == QN_OK;
    }
    return true;
}

bool qn_qdq_dequantized(const qn_pass *p, qn_value_id v, qn_qvalue *out)
{
    qn_node_id id = qn_pass_producer(p, v, "DequantizeLinear");
    const qn_type *t;

    if (id == QN_NONE) return false;
    out->q = p->g->nodes[id].in[0];
    t = qn_pass_type(p, out->q);
    if ((t->dtype != QN_U8 && t->dtype != QN_I8 && t->dtype != QN_I32) || t->rank < 0) return false;
    return parameters(p, &p->g->nodes[id], t->dtype, t->rank, out);
}

bool qn_qdq_quantized(qn_pass *p, qn_value_id v, qn_qvalue *out, qn_node_id *id)
{
    const qn_type *t;

    *id = qn_uses_only(&p->uses, p->g, v);
    if (*id == QN_NONE || !qn_pass_is(&p->g->nodes[*id], "QuantizeLinear") || p->g->nodes[*id].in[0] != v) return false;
    out->q = p->g->nodes[*id].out[0];
    t = qn_pass_type(p, out->q);
    if (t->dtype != QN_U8 && t->dtype != QN_I8) return false;
    return parameters(p, &p->g->nodes[*id], t->dtype, t->rank, out) && out->n_scales == 1;
}

bool qn_qdq_numbers(const qn_pass *p, const qn_qvalue *v, float *scale, int64_t *zero)
{
    int32_t n;

    *zero = 0;
    if (v->n_scales != 1 || !qn_pass_scalar(p, v->scale, scale)) return false;
    return v->zero == QN_NONE || (qn_weight_ints(qn_pass_weight(p, v->zero), zero, 1, &n) && n == 1);
}

bool qn_qdq_same(const qn_pass *p, const qn_qvalue *a, const qn_qvalue *b)
{
    float sa, sb;
    int64_t za, zb;

    return a->dtype == b->dtype && qn_qdq_numbers(p, a, &sa, &za) && qn_qdq_numbers(p, b, &sb, &zb) && sa == sb && za == zb;
}

qn_status qn_qdq_need_zero(qn_pass *p, qn_qvalue *v, qn_error *err)
{
    qn_tensor t;
    qn_status st;

    if (v->zero != QN_NONE) return QN_OK;
    qn_weight_shape(qn_pass_weight(p, v->scale), &t);
    t.dtype = v->dtype;
    t.bytes = (size_t)v->n_scales * qn_dtype_size(v->dtype);
    t.data = calloc((size_t)v->n_scales, qn_dtype_size(v->dtype));
    if (!t.data) return qn_error_set(err, QN_ERR_NOMEM, "zero point");
    st = qn_pass_const(p, "zero_point", &t, &v->zero, err);
    free(t.data);
    return st;
}
