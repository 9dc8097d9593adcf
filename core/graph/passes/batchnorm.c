/* core/graph/passes/batchnorm.c - BatchNormalization behind a Conv moves into its weights.
 *
 *   y = (conv(x, W) + b - mean) * s + B,  s = scale / sqrt(var + epsilon)      per output channel
 *     = conv(x, W * s) + ((b - mean) * s + B)
 * in double, rounded once, so that the folded weights are as good as f32 allows. Other readers of W keep the old one. */
#include "core/graph/passes/rewrite.h"

#include <math.h>
#include <stdlib.h>

typedef struct affine {
    double *s, *b; /* [n] y = x * s + b */
    int64_t n;
} affine;

/* What the node does to channel i, from its constants; false if they are not constant or do not fit. */
static bool read_affine(const qn_pass *p, const qn_node *bn, int64_t channels, affine *a)
{
    double eps = (double)qn_node_float(bn, "epsilon", 1e-5f);
    float *in[4] = { NULL };
    int64_t n[4] = { 0 };
    bool ok = bn->n_in >= 5;

    for (int32_t i = 0; i < 4 && ok; i++) {
        in[i] = qn_pass_floats(p, bn->in[1 + i], &n[i]);
        ok = in[i] && n[i] == channels;
    }
    a->n = channels;
    a->s = malloc(((size_t)channels + 1) * sizeof *a->s);
    a->b = malloc(((size_t)channels + 1) * sizeof *a->b);
    ok = ok && a->s && a->b;
    for (int64_t i = 0; i < channels && ok; i++) {
        a->s[i] = (double)in[0][i] / sqrt((double)in[3][i] + eps);
        a->b[i] = (double)in[1][i] - (double)in[2][i] * a->s[i];
        ok = isfinite(a->s[i]) && isfinite(a->b[i]); /* a negative variance stays the file's problem */
    }
    for (int32_t i = 0; i < 4; i++) free(in[i]);
    return ok;
}

static qn_status scaled_weight(qn_pass *p, const char *name, qn_value_id w, const affine *a, qn_value_id *out, bool *ok, qn_error *err)
{
    int64_t count, per;
    float *f = qn_pass_floats(p, w, &count);
    qn_tensor t;
    qn_status st;

    *ok = f != NULL;
    if (!f) return QN_OK;
    qn_weight_shape(qn_pass_weight(p, w), &t);
    per = count / a->n;
    for (int64_t i = 0; i < count; i++) f[i] = (float)((double)f[i] * a->s[i / per]);
    t.data = f;
    st = qn_pass_const(p, name, &t, out, err);
    free(f);
    return st;
}

static qn_status shifted_bias(qn_pass *p, const char *name, qn_value_id bias, const affine *a, qn_value_id *out, bool *ok, qn_error *err)
{
    int64_t n = a->n;
    float *f = bias == QN_NONE ? calloc((size_t)n, sizeof *f) : qn_pass_floats(p, bias, &n);
    qn_tensor t = { .dtype = QN_F32, .rank = 1, .dims = { a->n }, .data = f, .bytes = (size_t)a->n * sizeof *f };
    qn_status st = QN_OK;

    *ok = f && n == a->n;
    for (int64_t i = 0; i < n && *ok; i++) f[i] = (float)((double)f[i] * a->s[i] + a->b[i]);
    if (*ok) st = qn_pass_const(p, name, &t, out, err);
    free(f);
    return st;
}

static bool inference_only(const qn_pass *p, const qn_node *bn)
{
    for (int32_t i = 1; i < bn->n_out; i++)
        if (bn->out[i] != QN_NONE && qn_uses_count(&p->uses, bn->out[i]) > 0) return false;
    if (bn->opset < 9 && qn_node_int(bn, "spatial", 1) == 0) return false; /* statistics of every place, not of a channel */
    return qn_node_int(bn, "training_mode", 0) == 0 && bn->out[0] != QN_NONE;
}

static qn_status fold_into(qn_pass *p, qn_node_id conv_id, qn_node_id bn_id, qn_error *err)
{
    const qn_node *conv = &p->g->nodes[conv_id], *bn = &p->g->nodes[bn_id];
    qn_value_id w = qn_node_in(conv, 1), bias = qn_node_in(conv, 2), in[3] = { conv->in[0], QN_NONE, QN_NONE };
    qn_patch patch = { .domain = "",
                       .op_type = "Conv",
                       .opset = conv->opset,
                       .in = in,
                       .n_in = 3,
                       .attrs = conv->attrs,
                       .n_attrs = conv->n_attrs,
                       .out = bn->out[0],
                       .name = conv->name };
    int64_t channels = qn_pass_weight(p, w) ? qn_pass_dim(p, w, 0) : -1;
    affine a = { 0 };
    bool ok;
    qn_status st = QN_OK;

    if (channels < 1 || (bias != QN_NONE && !qn_pass_weight(p, bias))) return QN_OK;
    ok = read_affine(p, bn, channels, &a);
    if (ok) st = scaled_weight(p, conv->name, w, &a, &in[1], &ok, err);
    if (st == QN_OK && ok) st = shifted_bias(p, patch.name, bias, &a, &in[2], &ok, err);
    if (st == QN_OK && ok) st = qn_pass_patch(p, &patch, &ok, err);
    free(a.s);
    free(a.b);
    return st;
}

qn_status qn_pass_batchnorm(qn_pass *p, qn_error *err)
{
    qn_status st = QN_OK;

    for (int32_t i = 0; i < p->g->n_order && st == QN_OK; i++) {
        qn_node_id id = p->g->order[i], conv;

        if (!qn_pass_is(&p->g->nodes[id], "BatchNormalization") || !inference_only(p, &p->g->nodes[id])) continue;
        conv = qn_pass_producer(p, p->g->nodes[id].in[0], "Conv");
        if (conv != QN_NONE && qn_uses_only(&p->uses, p->g, p->g->nodes[id].in[0]) == id) st = fold_into(p, conv, id, err);
    }
    return st;
}
