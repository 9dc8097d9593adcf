/* core/graph/passes/epilogue.c - what follows a contraction is done while its result is in registers.
 *
 *   Conv [+ constant per channel] [+ a value of the same shape] [Relu or Clip]     -> quern.FusedConv (X, W, B, R)
 *   Gemm or MatMul by a constant matrix [+ constant per column] [Relu or Clip]     -> quern.FusedGemm (A, B, C)
 * The kernels do it in this order (sum, + bias, + residual, act), each step rounded as the separate node would: the bits stay. Only where
 * every value in between has the one reader. Without residual and act, it is just Conv or Gemm with a bias. */
#include "core/graph/passes/rewrite.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

typedef struct chain {
    qn_value_id out; /* the last value taken in */
    qn_value_id bias, residual;
    const char *act;
    float lo, hi;
} chain;

/* The node that alone reads the end of the chain, if it is `op`. */
static const qn_node *next_is(qn_pass *p, const chain *c, const char *op)
{
    qn_node_id id = qn_uses_only(&p->uses, p->g, c->out);

    return id != QN_NONE && qn_pass_is(&p->g->nodes[id], op) ? &p->g->nodes[id] : NULL;
}

/* b is a constant f32 with `n` elements along `axis` of a value of that rank, and 1 elsewhere. */
static bool is_bias(const qn_pass *p, qn_value_id b, int32_t rank, int32_t axis, int64_t n)
{
    const qn_type *t = qn_pass_type(p, b);

    if (!qn_pass_weight(p, b) || t->dtype != QN_F32 || t->rank > rank || t->rank < rank - axis) return false;
    for (int32_t d = 0; d < t->rank; d++)
        if (qn_pass_dim(p, b, d) != (d == axis - (rank - t->rank) ? n : 1)) return false;
    return true;
}

/* The bias as rank 1. */
static qn_status flat_bias(qn_pass *p, const char *name, qn_value_id b, int64_t n, qn_value_id *out, qn_error *err)
{
    qn_tensor t;
    float *f;
    int64_t count;
    qn_status st;

    *out = b;
    if (qn_pass_type(p, b)->rank == 1) return QN_OK;
    f = qn_pass_floats(p, b, &count);
    if (!f || count != n) {
        free(f);
        return qn_error_set(err, QN_ERR_NOMEM, "bias of node %s", name);
    }
    t = (qn_tensor){ .dtype = QN_F32, .rank = 1, .dims = { n }, .data = f, .bytes = (size_t)n * sizeof *f };
    st = qn_pass_const(p, name, &t, out, err);
    free(f);
    return st;
}

static qn_status take_bias(qn_pass *p, chain *c, const char *name, int32_t rank, int32_t axis, int64_t n, qn_error *err)
{
    const qn_node *add = c->bias == QN_NONE && n > 0 && rank > 0 ? next_is(p, c, "Add") : NULL;
    qn_value_id other, out;
    qn_status st;

    if (!add) return QN_OK;
    other = add->in[0] == c->out ? add->in[1] : add->in[0];
    out = add->out[0];
    if (!is_bias(p, other, rank, axis, n)) return QN_OK;
    st = flat_bias(p, name, other, n, &c->bias, err);
    c->out = out;
    return st;
}

static bool same_shape(const qn_type *a, const qn_type *b)
{
    if (a->dtype != b->dtype || a->rank != b->rank || a->rank < 0) return false;
    for (int32_t d = 0; d < a->rank; d++)
        if (a->dims[d] != b->dims[d] || a->dims[d] == QN_DIM_UNKNOWN) return false;
    return true;
}

static void take_residual(qn_pass *p, chain *c)
{
    const qn_node *add = next_is(p, c, "Add");
    qn_value_id other;

    if (!add) return;
    other = add->in[0] == c->out ? add->in[1] : add->in[0];
    if (other == c->out || !same_shape(qn_pass_type(p, other), qn_pass_type(p, c->out))) return;
    c->residual = other;
    c->out = add->out[0];
}

static void take_act(qn_pass *p, chain *c)
{
    const qn_node *relu = next_is(p, c, "Relu"), *clip = next_is(p, c, "Clip");

    if (relu) {
        c->act = "relu";
        c->out = relu->out[0];
        return;
    }
    if (!clip) return;
    c->lo = -FLT_MAX;
    c->hi = FLT_MAX;
    if (qn_node_in(clip, 1) != QN_NONE && !qn_pass_scalar(p, clip->in[1], &c->lo)) return;
    if (qn_node_in(clip, 2) != QN_NONE && !qn_pass_scalar(p, clip->in[2], &c->hi)) return;
    if (!(c->lo <= c->hi)) return;
    c->act = "clip";
    c->out = clip->out[0];
}

enum { MAX_ATTRS = 16 }; /* of Conv and Gemm together with the three below; a node with more is left alone */

static int32_t attrs_of(const qn_node *n, const chain *c, qn_attr *attrs)
{
    int32_t k = n->n_attrs;

    if (k) memcpy(attrs, n->attrs, (size_t)k * sizeof *attrs);
    attrs[k++] = (qn_attr){ .name = "act", .type = QN_ATTR_STRING, .n = (int64_t)strlen(c->act), .s = c->act };
    attrs[k++] = (qn_attr){ .name = "lo", .type = QN_ATTR_FLOAT, .f = c->lo };
    attrs[k++] = (qn_attr){ .name = "hi", .type = QN_ATTR_FLOAT, .f = c->hi };
    return k;
}

/* Conv, Gemm (plain) or the fused op in place of the last node of the chain. */
static qn_status put(qn_pass *p, const qn_node *n, const chain *c, bool fused, const char *plain, int64_t opset, const char *fused_op,
                     bool *done, qn_error *err)
{
    qn_value_id in[4] = { n->in[0], n->in[1], c->bias, c->residual };
    qn_attr attrs[MAX_ATTRS];
    qn_patch patch = { .domain = fused ? "quern" : "",
                       .op_type = fused ? fused_op : plain,
                       .opset = fused ? 1 : opset,
                       .in = in,
                       .n_in = 4,
                       .attrs = fused ? attrs : n->attrs,
                       .n_attrs = fused ? attrs_of(n, c, attrs) : n->n_attrs,
                       .out = c->out,
                       .name = n->name };

    while (in[patch.n_in - 1] == QN_NONE) patch.n_in--;
    return strcmp(plain, "Gemm") == 0 ? qn_pass_patch_matrix(p, &patch, done, err) : qn_pass_patch(p, &patch, done, err);
}

static qn_status conv(qn_pass *p, qn_node_id id, qn_error *err)
{
    const qn_node *n = &p->g->nodes[id];
    const qn_type *t = qn_pass_type(p, n->out[0]);
    chain c = { .out = n->out[0], .bias = qn_node_in(n, 2), .residual = QN_NONE, .act = "none" }, with;
    bool done = false;
    qn_status st = take_bias(p, &c, n->name, t->rank, 1, qn_pass_dim(p, n->in[1], 0), err);

    if (st != QN_OK) return st;
    n = &p->g->nodes[id];
    with = c;
    take_residual(p, &with);
    if (with.residual != QN_NONE) {
        take_act(p, &with);
        st = put(p, n, &with, true, "Conv", n->opset, "FusedConv", &done, err);
        if (st != QN_OK || done) return st;
    }
    take_act(p, &c);
    return c.out == n->out[0] ? QN_OK : put(p, n, &c, strcmp(c.act, "none") != 0, "Conv", n->opset, "FusedConv", &done, err);
}

static qn_status gemm(qn_pass *p, qn_node_id id, bool matmul, qn_error *err)
{
    const qn_node *n = &p->g->nodes[id];
    int32_t rank = qn_pass_type(p, n->out[0])->rank;
    int64_t columns = qn_pass_dim(p, n->in[1], !matmul && qn_node_int(n, "transB", 0) != 0 ? 0 : 1);
    chain c = { .out = n->out[0], .bias = qn_node_in(n, 2), .residual = QN_NONE, .act = "none" };
    bool done;
    qn_status st;

    if (matmul && (!qn_pass_weight(p, n->in[1]) || qn_pass_type(p, n->in[1])->rank != 2)) return QN_OK;
    if (!matmul && c.bias == QN_NONE && qn_node_float(n, "beta", 1.0f) != 1.0f) columns = -1; /* beta would scale the new bias */
    st = take_bias(p, &c, n->name, rank, rank - 1, columns, err);
    if (st != QN_OK) return st;
    n = &p->g->nodes[id];
    take_act(p, &c);
    if (c.out == n->out[0]) return QN_OK;
    return put(p, n, &c, strcmp(c.act, "none") != 0, "Gemm", matmul ? 13 : n->opset, "FusedGemm", &done, err);
}

qn_status qn_pass_epilogue(qn_pass *p, qn_error *err)
{
    qn_status st = QN_OK;

    for (int32_t i = 0; i < p->g->n_order && st == QN_OK; i++) {
        qn_node_id id = p->g->order[i];
        const qn_node *n = &p->g->nodes[id];

        if (n->dead || n->n_attrs > MAX_ATTRS - 3 || qn_node_out(n, 0) == QN_NONE || qn_pass_type(p, n->out[0])->dtype != QN_F32) continue;
        if (qn_pass_is(n, "Conv")) st = conv(p, id, err);
        if (qn_pass_is(n, "Gemm")) st = gemm(p, id, false, err);
        if (qn_pass_is(n, "MatMul")) st = gemm(p, id, true, err);
    }
    return st;
}
