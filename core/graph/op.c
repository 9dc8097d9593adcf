/* core/graph/op.c - finding a row, and what most infer functions share. */
#include "core/graph/op.h"

#include "core/graph/infer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* -- rows by name --------------------------------------------------------------------------------------------------------- */

static bool same_domain(const char *a, const char *b)
{
    if (!a || strcmp(a, "ai.onnx") == 0) a = ""; /* a row that names no domain is ai.onnx's */
    if (strcmp(b, "ai.onnx") == 0) b = "";
    return strcmp(a, b) == 0;
}

static bool covers(const qn_op *op, int64_t opset) { return opset >= op->since && (op->until == 0 || opset <= op->until); }

const qn_op *qn_op_find(const qn_op_table *t, const char *domain, const char *name, int64_t opset, bool *known_name)
{
    if (known_name) *known_name = false;
    for (int32_t i = 0; t && i < t->n; i++) {
        const qn_op *op = t->rows[i];

        if (op->name[0] != name[0] || strcmp(op->name, name) != 0 || !same_domain(op->domain, domain)) continue;
        if (known_name) *known_name = true;
        if (covers(op, opset)) return op;
    }
    return NULL;
}

qn_status qn_op_index_init(qn_op_index *x, const qn_op_table *t, qn_error *err)
{
    static const qn_op_table none = { NULL, 0 };

    *x = (qn_op_index){ .table = t ? t : &none };
    qn_map_init(&x->first);
    x->next = malloc(((size_t)x->table->n + 1) * sizeof *x->next);
    if (!x->next) goto no_mem;
    for (int32_t i = x->table->n - 1; i >= 0; i--) { /* backwards: the first row stays first */
        x->next[i] = qn_map_get(&x->first, x->table->rows[i]->name);
        if (!qn_map_put(&x->first, x->table->rows[i]->name, i)) goto no_mem;
    }
    return QN_OK;
no_mem:
    qn_op_index_release(x);
    return qn_error_set(err, QN_ERR_NOMEM, "index of ops");
}

const qn_op *qn_op_index_find(const qn_op_index *x, const char *domain, const char *name, int64_t opset, bool *known_name)
{
    if (known_name) *known_name = false;
    for (int32_t i = qn_map_get(&x->first, name); i >= 0; i = x->next[i]) {
        const qn_op *op = x->table->rows[i];

        if (!same_domain(op->domain, domain)) continue;
        if (known_name) *known_name = true;
        if (covers(op, opset)) return op;
    }
    return NULL;
}

void qn_op_index_release(qn_op_index *x)
{
    qn_map_release(&x->first);
    free(x->next);
    x->next = NULL;
}

/* -- small integers ------------------------------------------------------------------------------------------------------- */

static qn_known *new_known(qn_arena *arena, int32_t n)
{
    int32_t count = n < 0 ? 1 : n;
    qn_known *k;

    if (count > QN_KNOWN_MAX) return NULL;
    k = qn_arena_alloc(arena, sizeof *k);
    if (!k) return NULL;
    k->elems = qn_arena_array(arena, (size_t)count, sizeof *k->elems);
    if (!k->elems) return NULL;
    k->rank = n < 0 ? 0 : 1;
    k->n = count;
    for (int32_t i = 0; i < count; i++) k->elems[i] = QN_DIM_UNKNOWN;
    return k;
}

qn_known *qn_infer_known(qn_infer *c, int32_t n) { return new_known(c->arena, n); }

static bool read_int(const qn_tensor *t, int64_t i, int64_t *v)
{
    switch (t->dtype) {
    case QN_I64: *v = ((const int64_t *)t->data)[i]; return true;
    case QN_I32: *v = ((const int32_t *)t->data)[i]; return true;
    case QN_BOOL: *v = ((const uint8_t *)t->data)[i] != 0; return true;
    default: return false;
    }
}

qn_known *qn_known_from_tensor(const qn_tensor *t, qn_dims *dims, qn_arena *arena)
{
    int64_t n, v;
    qn_known *k;

    if (!t || t->rank > 1 || (t->dtype != QN_I64 && t->dtype != QN_I32 && t->dtype != QN_BOOL)) return NULL;
    n = qn_tensor_count(t);
    if (n > QN_KNOWN_MAX || (n > 0 && !t->data)) return NULL;
    k = new_known(arena, t->rank == 0 ? -1 : (int32_t)n);
    for (int32_t i = 0; k && i < k->n; i++)
        if (read_int(t, i, &v)) k->elems[i] = qn_dims_const(dims, v);
    return k;
}

const qn_dim *qn_infer_ints(qn_infer *c, int32_t i, int32_t *n)
{
    const qn_known *k;

    *n = -1;
    if (!qn_infer_has(c, i)) return NULL;
    k = c->in_known[i];
    if (!k) k = qn_known_from_tensor(c->in_const[i], c->dims, c->arena);
    if (!k) return NULL;
    *n = k->n;
    return k->elems;
}

bool qn_infer_numbers(qn_infer *c, int32_t i, int64_t *vals, int32_t cap, int32_t *n)
{
    const qn_dim *d = qn_infer_ints(c, i, n);

    if (!d || *n > cap) return false;
    for (int32_t k = 0; k < *n; k++)
        if (!qn_dims_value(c->dims, d[k], &vals[k])) return false;
    return true;
}

/* -- axes and broadcasting ------------------------------------------------------------------------------------------------ */

qn_status qn_infer_axis(const qn_infer *c, int64_t axis, int32_t rank, int32_t *out, qn_error *err)
{
    if (axis < -(int64_t)rank || axis >= rank)
        return qn_error_set(err, QN_ERR_SHAPE, "%s: axis %" PRId64 ", expected [%d, %d] for rank %d", c->node->name, axis, -rank, rank - 1,
                            rank);
    *out = (int32_t)(axis < 0 ? axis + rank : axis);
    return QN_OK;
}

/* One dimension of a broadcast; false if it cannot be. */
static bool broadcast_dim(qn_dims *t, qn_dim a, qn_dim b, qn_dim *out)
{
    int64_t va = -1, vb = -1;
    bool ka = qn_dims_value(t, a, &va), kb = qn_dims_value(t, b, &vb);

    if (a == b)
        *out = a;
    else if (ka && va == 1)
        *out = b;
    else if (kb && vb == 1)
        *out = a;
    else if (ka && kb)
        return false;
    else if (ka) /* against a symbol that can then only be 1 or the same number */
        *out = a;
    else if (kb)
        *out = b;
    else if (qn_dims_is_capped(t, b, a)) /* min(a, k) against a: the same, or 1, or an error when it runs */
        *out = a;
    else if (qn_dims_is_capped(t, a, b))
        *out = b;
    else
        *out = QN_DIM_UNKNOWN;
    return true;
}

qn_status qn_infer_broadcast(const qn_infer *c, const qn_type *a, const qn_type *b, qn_type *out, qn_error *err)
{
    qn_dim dims[QN_MAX_RANK];
    int32_t rank = a->rank > b->rank ? a->rank : b->rank;

    if (a->rank < 0 || b->rank < 0) {
        out->rank = -1;
        return QN_OK;
    }
    for (int32_t i = 1; i <= rank; i++) { /* from the last dimension */
        qn_dim da = i <= a->rank ? a->dims[a->rank - i] : qn_dims_const(c->dims, 1);
        qn_dim db = i <= b->rank ? b->dims[b->rank - i] : qn_dims_const(c->dims, 1);
        char ta[48], tb[48];

        if (!broadcast_dim(c->dims, da, db, &dims[rank - i]))
            return qn_error_set(err, QN_ERR_SHAPE, "%s: dimension %d is %s in one input and %s in another: they do not broadcast",
                                c->node->name, -i, qn_dims_print(c->dims, da, ta, sizeof ta), qn_dims_print(c->dims, db, tb, sizeof tb));
    }
    out->rank = rank;
    memcpy(out->dims, dims, sizeof dims[0] * (size_t)rank);
    return QN_OK;
}

bool qn_op_carried_hold(const qn_node *n)
{
    int32_t in = 0, out = 0, count = n->op->carried ? n->op->carried(n, &in, &out) : 0;
    const qn_graph *body = qn_node_subgraph(n, 0);

    for (int32_t i = 0; i < count; i++) {
        const qn_type *a = &body->values[body->inputs[in + i]].type, *b = &body->values[body->outputs[out + i]].type;

        if (a->kind != QN_KIND_TENSOR || a->rank < 0) continue;
        if (a->rank != b->rank || memcmp(a->dims, b->dims, (size_t)a->rank * sizeof a->dims[0]) != 0) return false;
        for (int32_t d = 0; d < a->rank; d++)
            if (a->dims[d] == QN_DIM_UNKNOWN) return false;
    }
    return true;
}
