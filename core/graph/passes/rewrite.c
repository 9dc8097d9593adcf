/* core/graph/passes/rewrite.c - the moves passes are made of. */
#include "core/graph/passes/rewrite.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

qn_status qn_pass_run(qn_pass *p, qn_pass_fn *fn, qn_error *err)
{
    qn_status st;

    qn_uses_init(&p->uses, p->g);
    qn_inferer_init(&p->infer, p->g);
    st = p->uses.failed ? qn_error_set(err, QN_ERR_NOMEM, "uses of values") : fn(p, err);
    if (st == QN_OK && p->uses.failed) st = qn_error_set(err, QN_ERR_NOMEM, "uses of values");
    qn_uses_release(&p->uses);
    qn_inferer_release(&p->infer);
    if (st != QN_OK) return st;
    qn_graph_sweep(p->g);
    return qn_graph_sort(p->g, err);
}

/* -- looking -------------------------------------------------------------------------------------------------------------- */

bool qn_pass_is(const qn_node *n, const char *op_type) { return !n->dead && n->domain[0] == '\0' && strcmp(n->op_type, op_type) == 0; }

qn_node_id qn_pass_producer(const qn_pass *p, qn_value_id v, const char *op_type)
{
    qn_node_id id = v == QN_NONE ? QN_NONE : p->g->values[v].producer;

    return id != QN_NONE && qn_pass_is(&p->g->nodes[id], op_type) ? id : QN_NONE;
}

qn_weight *qn_pass_weight(const qn_pass *p, qn_value_id v)
{
    return v != QN_NONE && qn_value_is_const(&p->g->values[v]) ? p->g->values[v].weight : NULL;
}

bool qn_pass_scalar(const qn_pass *p, qn_value_id v, float *out)
{
    qn_weight *w = qn_pass_weight(p, v);
    qn_tensor t;

    if (!w) return false;
    qn_weight_shape(w, &t);
    return (t.dtype == QN_F32 || t.dtype == QN_F64 || t.dtype == QN_F16) && qn_weight_scalar_f32(w, out);
}

bool qn_pass_about(const qn_pass *p, qn_value_id v, float want)
{
    float f;

    return qn_pass_scalar(p, v, &f) && fabsf(f - want) <= 1e-4f * fabsf(want);
}

bool qn_pass_ints(const qn_pass *p, qn_value_id v, int64_t *vals, int32_t cap, int32_t *n)
{
    const qn_known *k = v == QN_NONE ? NULL : p->g->values[v].known;

    if (!k) return qn_weight_ints(qn_pass_weight(p, v), vals, cap, n);
    if (k->n > cap) return false;
    for (int32_t i = 0; i < k->n; i++)
        if (!qn_dims_value(p->g->dims, k->elems[i], &vals[i])) return false;
    *n = k->n;
    return true;
}

float *qn_pass_floats(const qn_pass *p, qn_value_id v, int64_t *count)
{
    qn_weight *w = qn_pass_weight(p, v);
    qn_tensor t;
    float *f;

    if (!w) return NULL;
    qn_weight_shape(w, &t);
    if (t.dtype != QN_F32) return NULL;
    *count = qn_tensor_count(&t);
    f = malloc(((size_t)*count + 1) * sizeof *f);
    if (f && qn_weight_read(w, 0, *count, f, NULL) == QN_OK) return f;
    free(f);
    return NULL;
}

bool qn_pass_equal(const qn_pass *p, qn_value_id a, qn_value_id b)
{
    qn_weight *x = qn_pass_weight(p, a), *y = qn_pass_weight(p, b);

    if (a == b) return true;
    return x && y && (x == y || memcmp(qn_weight_digest(x), qn_weight_digest(y), sizeof(qn_digest)) == 0);
}

qn_type *qn_pass_type(const qn_pass *p, qn_value_id v) { return &p->g->values[v].type; }

int64_t qn_pass_dim(const qn_pass *p, qn_value_id v, int32_t d)
{
    const qn_type *t = qn_pass_type(p, v);
    int64_t n;

    return d >= 0 && d < t->rank && qn_dims_value(p->g->dims, t->dims[d], &n) ? n : -1;
}

/* -- changing ------------------------------------------------------------------------------------------------------------- */

qn_status qn_pass_set_input(qn_pass *p, qn_node_id id, int32_t i, qn_value_id v, qn_error *err)
{
    qn_node *n = &p->g->nodes[id];
    qn_value_id *in;

    if (i >= n->n_in) {
        in = qn_arena_array(&p->g->arena, (size_t)i + 1, sizeof *in);
        if (!in) return qn_error_set(err, QN_ERR_NOMEM, "node %s", n->name);
        if (n->n_in) memcpy(in, n->in, (size_t)n->n_in * sizeof *in);
        for (int32_t k = n->n_in; k <= i; k++) in[k] = QN_NONE;
        n->in = in;
        n->n_in = i + 1;
    }
    qn_uses_set_input(&p->uses, p->g, id, i, v);
    return QN_OK;
}

void qn_pass_drop_attr(qn_node *n, const char *name)
{
    for (int32_t i = 0; i < n->n_attrs; i++) {
        if (!n->attrs[i].name || strcmp(n->attrs[i].name, name) != 0) continue;
        if (n->attrs[i].type == QN_ATTR_TENSOR) qn_weight_unref(n->attrs[i].t);
        n->n_attrs--;
        memmove(&n->attrs[i], &n->attrs[i + 1], (size_t)(n->n_attrs - i) * sizeof *n->attrs);
        return;
    }
}

qn_status qn_pass_const(qn_pass *p, const char *stem, const qn_tensor *t, qn_value_id *out, qn_error *err)
{
    qn_weight *w = NULL;
    qn_status st = qn_weight_from_tensor(t, &w, err);

    *out = QN_NONE;
    return st == QN_OK ? qn_graph_add_const(p->g, stem, w, out, err) : st;
}

qn_status qn_pass_emit(qn_pass *p, const char *op_type, int64_t opset, const char *name, const qn_value_id *in, int32_t n_in,
                       const qn_attr *attrs, int32_t n_attrs, qn_value_id *out, qn_error *err)
{
    qn_node_id id;
    qn_status st = qn_graph_add_temp(p->g, name, out, err);

    if (st == QN_OK) st = qn_graph_emit(p->g, "", op_type, opset, name, in, n_in, out, 1, attrs, n_attrs, &id, err);
    if (st != QN_OK) return st;
    qn_uses_add_node(&p->uses, p->g, id);
    return qn_inferer_node(&p->infer, id, err);
}

qn_status qn_pass_const_ints(qn_pass *p, const char *stem, const int64_t *vals, int32_t n, qn_value_id *out, qn_error *err)
{
    qn_status st = qn_graph_add_ints(p->g, stem, vals, n, out, err);

    return st == QN_OK ? qn_inferer_source(&p->infer, *out, err) : st;
}

/* A row takes the patch, and would give what `like` is. */
static bool accepted(qn_pass *p, const qn_patch *patch, const char *name, qn_value_id like)
{
    qn_value_id out = like;
    qn_node trial = { .name = name,
                      .domain = patch->domain,
                      .op_type = patch->op_type,
                      .opset = patch->opset,
                      .n_in = patch->n_in,
                      .n_out = 1,
                      .in = (qn_value_id *)(uintptr_t)patch->in,
                      .out = &out,
                      .n_attrs = patch->n_attrs,
                      .attrs = (qn_attr *)(uintptr_t)patch->attrs };

    trial.op = qn_op_index_find(&p->ops, patch->domain, patch->op_type, patch->opset, NULL);
    if (!trial.op || trial.n_in < trial.op->min_in || (trial.n_in > trial.op->max_in && !(trial.op->flags & QN_OP_VARIADIC))) return false;
    for (int32_t i = 0; i < trial.op->min_in; i++)
        if (patch->in[i] == QN_NONE) return false;
    return qn_inferer_accepts(&p->infer, &trial, like);
}

static qn_status emit_patch(qn_pass *p, const qn_patch *patch, const char *name, qn_value_id out, qn_error *err)
{
    qn_node_id id;
    qn_status st = qn_graph_emit(p->g, patch->domain, patch->op_type, patch->opset, name, patch->in, patch->n_in, &out, 1, patch->attrs,
                                 patch->n_attrs, &id, err);

    if (st == QN_OK) qn_uses_add_node(&p->uses, p->g, id);
    return st;
}

qn_status qn_pass_patch(qn_pass *p, const qn_patch *patch, bool *done, qn_error *err)
{
    qn_node_id old = p->g->values[patch->out].producer;
    const char *name = patch->name ? patch->name : p->g->nodes[old].name;

    *done = accepted(p, patch, name, patch->out);
    if (!*done) return QN_OK;
    qn_uses_kill(&p->uses, p->g, old);
    return emit_patch(p, patch, name, patch->out, err);
}

bool qn_pass_has_row(const qn_pass *p, const char *op_type) { return qn_op_index_find(&p->ops, "", op_type, 13, NULL) != NULL; }

/* The shape of x with `columns` as its last dimension, as a value; *out QN_NONE if it cannot be said. */
static qn_status shape_with_columns(qn_pass *p, const char *name, qn_value_id x, int64_t columns, qn_value_id *out, qn_error *err)
{
    int32_t lead = qn_pass_type(p, x)->rank - 1, free_dims = 0;
    int64_t dims[QN_MAX_RANK], zero = 0, end = lead;
    qn_value_id in[4], parts[2];
    qn_attr axis = { .name = "axis", .type = QN_ATTR_INT, .i = 0 };
    qn_status st;

    *out = QN_NONE;
    for (int32_t d = 0; d < lead; d++) {
        dims[d] = qn_pass_dim(p, x, d);
        free_dims += dims[d] < 0;
        if (dims[d] == 0) return QN_OK; /* beside a 0 there is no telling what -1 means */
    }
    dims[lead] = columns;
    if (free_dims <= 1) return qn_pass_const_ints(p, name, dims, lead + 1, out, err);
    if (!qn_pass_has_row(p, "Shape") || !qn_pass_has_row(p, "Slice") || !qn_pass_has_row(p, "Concat")) return QN_OK;
    st = qn_pass_emit(p, "Shape", 13, name, &x, 1, NULL, 0, &in[0], err);
    if (st == QN_OK) st = qn_pass_const_ints(p, name, &zero, 1, &in[1], err);
    if (st == QN_OK) st = qn_pass_const_ints(p, name, &end, 1, &in[2], err);
    in[3] = in[1]; /* axis 0 */
    if (st == QN_OK) st = qn_pass_emit(p, "Slice", 13, name, in, 4, NULL, 0, &parts[0], err);
    if (st == QN_OK) st = qn_pass_const_ints(p, name, &columns, 1, &parts[1], err);
    return st == QN_OK ? qn_pass_emit(p, "Concat", 13, name, parts, 2, &axis, 1, out, err) : st;
}

qn_status qn_pass_patch_matrix(qn_pass *p, const qn_patch *patch, bool *done, qn_error *err)
{
    qn_value_id x = patch->in[0], flat[2], back[2], in[16];
    int32_t rank = qn_pass_type(p, x)->rank;
    int64_t fold[2] = { -1, qn_pass_dim(p, x, rank - 1) }, columns = qn_pass_dim(p, patch->out, qn_pass_type(p, patch->out)->rank - 1);
    const char *name = patch->name ? patch->name : p->g->nodes[p->g->values[patch->out].producer].name;
    qn_patch product = *patch, unfold = { .domain = "", .op_type = "Reshape", .opset = 13, .in = back, .n_in = 2, .out = patch->out };
    qn_type *t;
    qn_status st = qn_pass_patch(p, patch, done, err);

    if (st != QN_OK || *done || rank < 3 || fold[1] < 1 || columns < 1 || patch->n_in > 16 || !qn_pass_has_row(p, "Reshape") ||
        !qn_op_index_find(&p->ops, patch->domain, patch->op_type, patch->opset, NULL))
        return st;
    flat[0] = x;
    st = qn_pass_const_ints(p, name, fold, 2, &flat[1], err);
    memcpy(in, patch->in, (size_t)patch->n_in * sizeof *in);
    if (st == QN_OK) st = qn_pass_emit(p, "Reshape", 13, name, flat, 2, NULL, 0, &in[0], err);
    if (st == QN_OK) st = shape_with_columns(p, name, x, columns, &back[1], err);
    if (st == QN_OK) st = qn_graph_add_temp(p->g, name, &back[0], err);
    if (st != QN_OK || back[1] == QN_NONE) return st;
    t = qn_pass_type(p, back[0]);
    t->dtype = qn_pass_type(p, patch->out)->dtype;
    t->rank = 2;
    t->dims[0] = qn_pass_type(p, in[0])->dims[0];
    t->dims[1] = qn_dims_const(p->g->dims, columns);
    product.in = in;
    if (!accepted(p, &product, name, back[0])) return QN_OK;
    st = emit_patch(p, &product, name, back[0], err);
    return st == QN_OK ? qn_pass_patch(p, &unfold, done, err) : st;
}

bool qn_pass_alias(qn_pass *p, qn_node_id id, qn_value_id x)
{
    qn_graph *g = p->g;
    qn_value_id y = g->nodes[id].out[0];
    qn_node *from;

    if (!p->uses.pinned[y]) {
        qn_uses_kill(&p->uses, g, id);
        qn_uses_replace(&p->uses, g, y, x);
        return true;
    }
    if (!g->values[y].is_output || g->values[x].producer == QN_NONE || p->uses.pinned[x]) return false;
    from = &g->nodes[g->values[x].producer];
    qn_uses_kill(&p->uses, g, id);
    qn_uses_replace(&p->uses, g, x, y);
    for (int32_t i = 0; i < from->n_out; i++)
        if (from->out[i] == x) from->out[i] = y;
    g->values[y].producer = g->values[x].producer;
    g->values[y].type = g->values[x].type;
    g->values[y].known = g->values[x].known;
    g->values[x].producer = QN_NONE;
    return true;
}
