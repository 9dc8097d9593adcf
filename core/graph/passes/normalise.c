/* core/graph/passes/normalise.c - one form per op: what newer opsets say with inputs, older files say with attributes.
 *
 * Nodes are taken in order and inferred at once, so a rewrite may ask for the rank and dtype of its inputs. Each rewrite leaves
 * the node at the opset named in its row of the table below, and is skipped when no op covers that opset: then the op that covers
 * the old one is left to read the attributes.
 * Source: the version notes of each operator in ONNX's Changelog. */
#include "core/graph/passes/rewrite.h"

#include "core/base/half.h"

#include <float.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct rule rule;
typedef qn_status rule_fn(qn_pass *p, qn_node_id id, const rule *r, qn_error *err);

struct rule {
    const char *op;
    int64_t until;      /* last opset of the old form */
    int64_t now;        /* opset of the new one */
    const char *now_op; /* another op, or NULL */
    rule_fn *fn;
    const char *attr; /* for the simple ones */
};

static qn_node *node_of(qn_pass *p, qn_node_id id) { return &p->g->nodes[id]; }

/* -- pieces --------------------------------------------------------------------------------------------------------------- */

/* A list attribute becomes input i. */
static qn_status ints_to_input(qn_pass *p, qn_node_id id, const char *attr, int32_t i, qn_error *err)
{
    int64_t n;
    const int64_t *ints = qn_node_ints(node_of(p, id), attr, &n);
    qn_value_id v;
    qn_status st;

    if (!ints) return QN_OK;
    if (n > QN_INFER_CONST_MAX)
        return qn_error_set(err, QN_ERR_LIMIT, "node %.60s: attribute %s has %" PRId64 " elements", node_of(p, id)->name, attr, n);
    st = qn_pass_const_ints(p, node_of(p, id)->name, ints, (int32_t)n, &v, err);
    if (st == QN_OK) st = qn_pass_set_input(p, id, i, v, err);
    if (st == QN_OK) qn_pass_drop_attr(node_of(p, id), attr);
    return st;
}

/* A number as a scalar of the dtype the op works in. */
static qn_status float_to_input(qn_pass *p, qn_node_id id, float f, int32_t i, qn_error *err)
{
    qn_value_id x = qn_node_in(node_of(p, id), 0), v;
    qn_dtype dtype = x == QN_NONE ? QN_F32 : qn_pass_type(p, x)->dtype;
    double d = (double)f;
    uint16_t h = qn_f32_to_f16(f);
    qn_tensor t = { .dtype = dtype, .data = &f, .bytes = sizeof f };
    qn_status st;

    if (dtype == QN_F64) {
        t.data = &d;
        t.bytes = sizeof d;
    } else if (dtype == QN_F16) {
        t.data = &h;
        t.bytes = sizeof h;
    } else {
        t.dtype = QN_F32;
    }
    st = qn_pass_const(p, node_of(p, id)->name, &t, &v, err);
    return st == QN_OK ? qn_pass_set_input(p, id, i, v, err) : st;
}

/* -- rules ---------------------------------------------------------------------------------------------------------------- */

static qn_status list_attr(qn_pass *p, qn_node_id id, const rule *r, qn_error *err) { return ints_to_input(p, id, r->attr, 1, err); }

static qn_status topk(qn_pass *p, qn_node_id id, const rule *r, qn_error *err)
{
    const qn_attr *k = qn_node_attr(node_of(p, id), "k");
    qn_value_id v;
    qn_status st;

    (void)r;
    if (!k || k->type != QN_ATTR_INT) return QN_OK;
    st = qn_pass_const_ints(p, node_of(p, id)->name, &k->i, 1, &v, err);
    if (st == QN_OK) st = qn_pass_set_input(p, id, 1, v, err);
    if (st == QN_OK) qn_pass_drop_attr(node_of(p, id), "k");
    return st;
}

static qn_status clip(qn_pass *p, qn_node_id id, const rule *r, qn_error *err)
{
    float lo = qn_node_float(node_of(p, id), "min", -FLT_MAX), hi = qn_node_float(node_of(p, id), "max", FLT_MAX);
    qn_status st = QN_OK;

    (void)r;
    if (lo != -FLT_MAX) st = float_to_input(p, id, lo, 1, err);
    if (st == QN_OK && hi != FLT_MAX) st = float_to_input(p, id, hi, 2, err);
    qn_pass_drop_attr(node_of(p, id), "min");
    qn_pass_drop_attr(node_of(p, id), "max");
    return st;
}

static qn_status pad(qn_pass *p, qn_node_id id, const rule *r, qn_error *err)
{
    float value = qn_node_float(node_of(p, id), "value", 0.0f);
    qn_status st = ints_to_input(p, id, qn_node_attr(node_of(p, id), "paddings") ? "paddings" : "pads", 1, err);

    (void)r;
    if (st == QN_OK && value != 0.0f) st = float_to_input(p, id, value, 2, err);
    qn_pass_drop_attr(node_of(p, id), "value");
    return st;
}

static qn_status slice(qn_pass *p, qn_node_id id, const rule *r, qn_error *err)
{
    qn_status st = ints_to_input(p, id, "starts", 1, err);

    (void)r;
    if (st == QN_OK) st = ints_to_input(p, id, "ends", 2, err);
    if (st == QN_OK) st = ints_to_input(p, id, "axes", 3, err);
    return st;
}

static qn_status dropout(qn_pass *p, qn_node_id id, const rule *r, qn_error *err)
{
    float ratio = qn_node_float(node_of(p, id), "ratio", 0.5f);
    qn_value_id v;
    qn_tensor t = { .dtype = QN_F32, .data = &ratio, .bytes = sizeof ratio };
    qn_status st = qn_pass_const(p, node_of(p, id)->name, &t, &v, err);

    (void)r;
    if (st == QN_OK) st = qn_pass_set_input(p, id, 1, v, err);
    qn_pass_drop_attr(node_of(p, id), "ratio");
    qn_pass_drop_attr(node_of(p, id), "is_test");
    qn_pass_drop_attr(node_of(p, id), "consumed_inputs");
    return st;
}

/* Room for `more` attributes, which the caller fills from the returned index on. */
static qn_status more_attrs(qn_pass *p, qn_node_id id, int32_t more, qn_error *err)
{
    qn_node *n = node_of(p, id);
    qn_attr *attrs = qn_arena_array(&p->g->arena, (size_t)n->n_attrs + (size_t)more, sizeof *attrs);

    if (!attrs) return qn_error_set(err, QN_ERR_NOMEM, "node %s", n->name);
    if (n->n_attrs) memcpy(attrs, n->attrs, (size_t)n->n_attrs * sizeof *attrs);
    n->attrs = attrs;
    return QN_OK;
}

static void add_text(qn_node *n, const char *name, const char *text)
{
    n->attrs[n->n_attrs++] = (qn_attr){ .name = name, .type = QN_ATTR_STRING, .n = (int64_t)strlen(text), .s = text };
}

/* Old Resize rounds an index down along an axis that it enlarges and up along one that it shrinks: the nearest_mode that says the same, or
 * NULL if none does, or if the scales are not known yet. */
static const char *nearest_of(const qn_pass *p, const qn_node *node)
{
    const qn_attr *a = qn_node_attr(node, "scales");
    int64_t n = a && a->type == QN_ATTR_FLOATS ? a->n : 0, up = 0, down = 0;
    float *known = n == 0 && qn_node_in(node, 1) != QN_NONE ? qn_pass_floats(p, qn_node_in(node, 1), &n) : NULL;
    const float *f = known ? known : n > 0 && a ? a->floats : NULL;

    for (int64_t i = 0; f && i < n; i++) {
        up += f[i] > 1.0f;
        down += f[i] < 1.0f;
    }
    free(known);
    return !f || (up && down) ? NULL : down ? "ceil" : "floor";
}

/* Upsample 7, 9 and Resize 10 are Resize with "asymmetric" coordinates. */
static qn_status resize(qn_pass *p, qn_node_id id, const rule *r, qn_error *err)
{
    const qn_attr *a = qn_node_attr(node_of(p, id), "scales");
    const char *known = nearest_of(p, node_of(p, id)), *nearest = known ? known : "floor"; /* unknown: not that mode, see stays() */
    qn_value_id scales = qn_node_in(node_of(p, id), 1);
    qn_status st = QN_OK;

    (void)r;
    if (a && a->type == QN_ATTR_FLOATS && a->n <= QN_MAX_RANK) {
        qn_tensor t = {
            .dtype = QN_F32, .rank = 1, .dims = { a->n }, .data = (void *)(uintptr_t)a->floats, .bytes = (size_t)a->n * sizeof(float)
        };

        st = qn_pass_const(p, node_of(p, id)->name, &t, &scales, err);
        qn_pass_drop_attr(node_of(p, id), "scales");
    }
    if (st == QN_OK && scales == QN_NONE)
        st = qn_error_set(err, QN_ERR_UNSUPPORTED, "node %.60s: %s without scales is unsupported", node_of(p, id)->name,
                          node_of(p, id)->op_type);
    if (st == QN_OK) st = qn_pass_set_input(p, id, 2, scales, err);
    if (st == QN_OK) st = qn_pass_set_input(p, id, 1, QN_NONE, err);
    if (st == QN_OK) st = more_attrs(p, id, 2, err);
    if (st != QN_OK) return st;
    add_text(node_of(p, id), "coordinate_transformation_mode", "asymmetric");
    add_text(node_of(p, id), "nearest_mode", nearest);
    return QN_OK;
}

/* Outputs after the first, before opset 14, ask for training: not if nobody reads them. */
static void forget_unread(qn_pass *p, qn_node *n)
{
    while (n->n_out > 1) {
        const qn_value_id v = n->out[n->n_out - 1];

        if (v != QN_NONE && qn_uses_count(&p->uses, v) > 0) return;
        if (v != QN_NONE) p->g->values[v].producer = QN_NONE;
        n->n_out--;
    }
}

static qn_status batchnorm(qn_pass *p, qn_node_id id, const rule *r, qn_error *err)
{
    qn_node *n = node_of(p, id);

    (void)r;
    (void)err;
    qn_pass_drop_attr(n, "spatial");
    qn_pass_drop_attr(n, "is_test");
    qn_pass_drop_attr(n, "consumed_inputs");
    return QN_OK;
}

/* Old forms that newer opsets cannot say: BatchNormalization in training or with statistics of every place, Dropout whose mask has the
 * dtype of its data, and Resize to the nearest that enlarges one axis and shrinks another. Their ops read the old opset. */
static bool stays(const qn_pass *p, const qn_node *n)
{
    bool read = false;

    if (!qn_op_index_find(&p->ops, "", n->op_type, n->opset, NULL)) return false;
    for (int32_t i = 1; i < n->n_out; i++) read = read || (n->out[i] != QN_NONE && qn_uses_count(&p->uses, n->out[i]) > 0);
    if (qn_pass_is(n, "Resize") || qn_pass_is(n, "Upsample"))
        return n->opset < 11 && strcmp(qn_node_str(n, "mode", "nearest"), "nearest") == 0 && !nearest_of(p, n);
    if (qn_pass_is(n, "BatchNormalization")) return n->opset < 14 && (read || (n->opset < 9 && qn_node_int(n, "spatial", 1) == 0));
    return qn_pass_is(n, "Dropout") && n->opset < 10 && read;
}

/* Before opset 7 the second input lined up at `axis`; now it needs dimensions of 1 behind it. */
static qn_status broadcast(qn_pass *p, qn_node_id id, const rule *r, qn_error *err)
{
    qn_node *n = node_of(p, id);
    qn_value_id a = qn_node_in(n, 0), b = qn_node_in(n, 1), wide;
    int64_t axis = 0, axes[QN_MAX_RANK], k;
    int32_t ra, rb;
    qn_value_id in[2];
    qn_status st = QN_OK;
    bool prelu = strcmp(n->op_type, "PRelu") == 0;

    (void)r;
    if (a != QN_NONE && b != QN_NONE && (prelu || qn_node_attr(n, "axis"))) {
        ra = qn_pass_type(p, a)->rank;
        rb = qn_pass_type(p, b)->rank;
        axis = prelu ? 1 : qn_node_int(n, "axis", 0);
        if (axis < 0) axis += ra;
        k = ra - axis - rb;
        if (ra < 0 || rb < 0)
            return qn_error_set(err, QN_ERR_UNSUPPORTED, "node %.60s: broadcast along axis of an unknown rank is unsupported", n->name);
        if (prelu && rb != 1) k = 0;
        if (k < 0 || axis < 0 || rb + k > QN_MAX_RANK)
            return qn_error_set(err, QN_ERR_SHAPE, "node %.60s: axis %" PRId64 " with ranks %d and %d", n->name, axis, ra, rb);
        for (int32_t i = 0; i < k; i++) axes[i] = rb + i;
        if (k > 0) {
            in[0] = b;
            st = qn_pass_const_ints(p, n->name, axes, (int32_t)k, &in[1], err);
            if (st == QN_OK) st = qn_pass_emit(p, "Unsqueeze", 13, node_of(p, id)->name, in, 2, NULL, 0, &wide, err);
            if (st == QN_OK) st = qn_pass_set_input(p, id, 1, wide, err);
        }
    }
    qn_pass_drop_attr(node_of(p, id), "axis");
    qn_pass_drop_attr(node_of(p, id), "broadcast");
    qn_pass_drop_attr(node_of(p, id), "consumed_inputs");
    return st;
}

static qn_status nothing(qn_pass *p, qn_node_id id, const rule *r, qn_error *err)
{
    (void)p;
    (void)id;
    (void)r;
    (void)err;
    return QN_OK;
}

static const rule rules[] = {
    { "Squeeze", 12, 13, NULL, list_attr, "axes" },
    { "Unsqueeze", 12, 13, NULL, list_attr, "axes" },
    { "ReduceSum", 12, 13, NULL, list_attr, "axes" },
    { "ReduceMean", 17, 18, NULL, list_attr, "axes" },
    { "ReduceMax", 17, 18, NULL, list_attr, "axes" },
    { "ReduceMin", 17, 18, NULL, list_attr, "axes" },
    { "ReduceProd", 17, 18, NULL, list_attr, "axes" },
    { "ReduceL1", 17, 18, NULL, list_attr, "axes" },
    { "ReduceL2", 17, 18, NULL, list_attr, "axes" },
    { "ReduceLogSum", 17, 18, NULL, list_attr, "axes" },
    { "ReduceLogSumExp", 17, 18, NULL, list_attr, "axes" },
    { "ReduceSumSquare", 17, 18, NULL, list_attr, "axes" },
    { "Split", 12, 13, NULL, list_attr, "split" },
    { "Reshape", 4, 13, NULL, list_attr, "shape" },
    { "Slice", 9, 13, NULL, slice, NULL },
    { "Pad", 10, 13, NULL, pad, NULL },
    { "Clip", 10, 13, NULL, clip, NULL },
    { "TopK", 9, 11, NULL, topk, NULL },
    { "Dropout", 11, 13, NULL, dropout, NULL },
    { "Upsample", 9, 13, "Resize", resize, NULL },
    { "Resize", 10, 13, NULL, resize, NULL },
    { "BatchNormalization", 13, 15, NULL, batchnorm, NULL },
    { "Add", 6, 7, NULL, broadcast, NULL },
    { "Sub", 6, 7, NULL, broadcast, NULL },
    { "Mul", 6, 7, NULL, broadcast, NULL },
    { "Div", 6, 7, NULL, broadcast, NULL },
    { "Pow", 6, 7, NULL, broadcast, NULL },
    { "And", 6, 7, NULL, broadcast, NULL },
    { "Or", 6, 7, NULL, broadcast, NULL },
    { "Xor", 6, 7, NULL, broadcast, NULL },
    { "Less", 6, 7, NULL, broadcast, NULL },
    { "Greater", 6, 7, NULL, broadcast, NULL },
    { "Equal", 6, 7, NULL, broadcast, NULL },
    { "PRelu", 6, 7, NULL, broadcast, NULL },
    { "Gemm", 6, 7, NULL, nothing, NULL }, /* the old broadcast flag allowed less than is allowed now */
    { "Sum", 7, 8, NULL, nothing, NULL },
    { "Max", 7, 8, NULL, nothing, NULL },
    { "Min", 7, 8, NULL, nothing, NULL },
    { "Mean", 7, 8, NULL, nothing, NULL },
};

static const rule *rule_for(const qn_pass *p, const qn_node *n)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        const rule *r = &rules[i];

        if (n->opset <= r->until && qn_pass_is(n, r->op) && !stays(p, n))
            return qn_op_index_find(&p->ops, "", r->now_op ? r->now_op : r->op, r->now, NULL) ? r : NULL;
    }
    return NULL;
}

/* -- Constant ------------------------------------------------------------------------------------------------------------- */

static qn_status text_weight(const char *const *s, const int64_t *len, int64_t n, int32_t rank, qn_weight **w, qn_error *err)
{
    size_t head = ((size_t)n + 1) * sizeof(uint64_t), total = head;
    qn_tensor t = { .dtype = QN_STRING, .rank = rank, .dims = { n } };
    uint64_t at = 0;
    qn_status st;

    for (int64_t i = 0; i < n; i++) total += len ? (size_t)len[i] : strlen(s[i]); /* they lie in memory: no overflow */
    t.data = malloc(total);
    t.bytes = total;
    if (!t.data) return qn_error_set(err, QN_ERR_NOMEM, "constant of strings");
    for (int64_t i = 0; i < n; i++) {
        size_t k = len ? (size_t)len[i] : strlen(s[i]);

        memcpy((char *)t.data + (size_t)i * sizeof at, &at, sizeof at);
        memcpy((char *)t.data + head + at, s[i], k);
        at += k;
    }
    memcpy((char *)t.data + (size_t)n * sizeof at, &at, sizeof at);
    st = qn_weight_from_tensor(&t, w, err);
    free(t.data);
    return st;
}

static qn_status constant_weight(const qn_attr *a, qn_weight **w, qn_error *err)
{
    qn_tensor t = { 0 };

    switch (a->type) {
    case QN_ATTR_TENSOR:
        *w = a->t ? qn_weight_ref(a->t) : NULL;
        return *w ? QN_OK : qn_error_set(err, QN_ERR_FORMAT, "Constant without a tensor");
    case QN_ATTR_FLOAT: t = (qn_tensor){ .dtype = QN_F32, .data = (void *)(uintptr_t)&a->f, .bytes = sizeof a->f }; break;
    case QN_ATTR_INT: t = (qn_tensor){ .dtype = QN_I64, .data = (void *)(uintptr_t)&a->i, .bytes = sizeof a->i }; break;
    case QN_ATTR_FLOATS:
        t = (qn_tensor){
            .dtype = QN_F32, .rank = 1, .dims = { a->n }, .data = (void *)(uintptr_t)a->floats, .bytes = (size_t)a->n * sizeof(float)
        };
        break;
    case QN_ATTR_INTS:
        t = (qn_tensor){
            .dtype = QN_I64, .rank = 1, .dims = { a->n }, .data = (void *)(uintptr_t)a->ints, .bytes = (size_t)a->n * sizeof(int64_t)
        };
        break;
    case QN_ATTR_STRING: return text_weight(&a->s, &a->n, 1, 0, w, err);
    case QN_ATTR_STRINGS: return text_weight(a->strings, NULL, a->n, 1, w, err);
    default: return qn_error_set(err, QN_ERR_UNSUPPORTED, "Constant with attribute %s is unsupported", a->name);
    }
    return qn_weight_from_tensor(&t, w, err);
}

static qn_status constant(qn_pass *p, qn_node_id id, qn_error *err)
{
    static const char *const names[] = { "value",      "value_float",  "value_floats",  "value_int",
                                         "value_ints", "value_string", "value_strings", "sparse_value" };
    const qn_node *n = node_of(p, id);
    const qn_attr *a = NULL;
    qn_value_id v = qn_node_out(n, 0);
    qn_weight *w = NULL;
    qn_status st;

    for (size_t i = 0; i < sizeof names / sizeof names[0] && !a; i++) a = qn_node_attr(n, names[i]);
    if (!a) return qn_error_set(err, QN_ERR_UNSUPPORTED, "node %.60s: Constant without a value is unsupported", n->name);
    if (v == QN_NONE) {
        qn_graph_kill_node(p->g, id);
        return QN_OK;
    }
    st = constant_weight(a, &w, err);
    if (st != QN_OK) {
        qn_error_prefix(err, "node %.60s", n->name);
        return st;
    }
    qn_graph_kill_node(p->g, id);
    p->g->values[v].weight = w;
    return qn_inferer_source(&p->infer, v, err);
}

/* -- Softmax before 13 ---------------------------------------------------------------------------------------------------- */

static bool old_softmax(const qn_node *n)
{
    return n->opset < 13 && (qn_pass_is(n, "Softmax") || qn_pass_is(n, "LogSoftmax") || qn_pass_is(n, "Hardmax"));
}

/* y = Reshape(Softmax(Flatten(x, axis)), Shape(x)): the old op works on all dimensions from `axis` on as one. */
static qn_status softmax(qn_pass *p, qn_node_id id, qn_error *err)
{
    qn_node *n = node_of(p, id);
    qn_attr axis = { .name = "axis", .type = QN_ATTR_INT, .i = qn_node_int(n, "axis", 1) };
    qn_value_id x = n->in[0], y = n->out[0], flat, shape, soft, in[2];
    int32_t rank = qn_pass_type(p, x)->rank, last = 0;
    qn_node_id made;
    qn_status st = QN_OK;

    if (rank == 0) return qn_error_set(err, QN_ERR_SHAPE, "node %.60s: %s of a scalar", n->name, n->op_type);
    if (rank > 0) {
        qn_infer c = { .node = n };

        if (qn_infer_axis(&c, axis.i, rank, &last, err) != QN_OK) return QN_ERR_SHAPE;
    }
    qn_pass_drop_attr(n, "axis"); /* from 13 on the default is the last axis */
    n->opset = 13;
    n->op = qn_op_index_find(&p->ops, "", n->op_type, 13, NULL);
    if (rank > 0 && last == rank - 1) return qn_pass_infer(p, id, err);
    st = qn_pass_emit(p, "Shape", 13, n->name, &x, 1, NULL, 0, &shape, err);
    if (st == QN_OK) st = qn_pass_emit(p, "Flatten", 13, node_of(p, id)->name, &x, 1, &axis, 1, &flat, err);
    if (st == QN_OK) st = qn_graph_add_temp(p->g, node_of(p, id)->name, &soft, err);
    if (st != QN_OK) return st;
    node_of(p, id)->in[0] = flat;
    node_of(p, id)->out[0] = soft;
    p->g->values[soft].producer = id;
    p->g->values[y].producer = QN_NONE;
    st = qn_pass_infer(p, id, err);
    in[0] = soft;
    in[1] = shape;
    if (st == QN_OK) st = qn_graph_emit(p->g, "", "Reshape", 13, node_of(p, id)->name, in, 2, &y, 1, NULL, 0, &made, err);
    return st == QN_OK ? qn_inferer_node(&p->infer, made, err) : st;
}

/* -- the pass ------------------------------------------------------------------------------------------------------------- */

static qn_status unsupported(const qn_node *n, qn_error *err)
{
    return qn_error_set(err, QN_ERR_UNSUPPORTED, "node %.60s: op %.24s.%.40s (opset %" PRId64 ") is unsupported", n->name,
                        *n->domain ? n->domain : "ai.onnx", n->op_type, n->opset);
}

/* The first op nobody knows, before anything else is complained about: it is the more useful message. */
static qn_status check_names(qn_pass *p, qn_error *err)
{
    for (int32_t i = 0; i < p->g->n_order; i++) {
        const qn_node *n = node_of(p, p->g->order[i]);
        bool known;

        if (qn_pass_is(n, "Constant") || rule_for(p, n)) continue;
        if (!qn_op_index_find(&p->ops, n->domain, n->op_type, old_softmax(n) ? 13 : n->opset, &known)) return unsupported(n, err);
    }
    return QN_OK;
}

static bool has_subgraph(const qn_node *n)
{
    for (int32_t i = 0; i < n->n_attrs; i++)
        if (n->attrs[i].type == QN_ATTR_GRAPH || n->attrs[i].type == QN_ATTR_GRAPHS) return true;
    return false;
}

/* A body becomes canonical before its node is inferred, from types that hold in every iteration: rewriting cannot be taken back. */
static qn_status subgraphs(qn_pass *p, qn_node_id id, qn_error *err)
{
    qn_graph *sub;
    qn_status st;

    if (!(node_of(p, id)->op->flags & QN_OP_CONTROL)) return unsupported(node_of(p, id), err);
    qn_pass_sink_constants(p->g, node_of(p, id));
    st = qn_inferer_enter(&p->infer, id, false, err);
    for (int32_t i = 0; (sub = qn_node_subgraph(node_of(p, id), i)) && st == QN_OK; i++) {
        st = qn_pass_canonical_sub(p, sub, err);
        if (st == QN_OK) st = qn_graph_infer(sub, err);
    }
    return st == QN_OK ? qn_inferer_outputs(&p->infer, id, err) : st;
}

static qn_status one(qn_pass *p, qn_node_id id, qn_error *err)
{
    const rule *r;
    qn_node *n = node_of(p, id);
    bool variadic;
    qn_status st = QN_OK;

    st = qn_pass_check_attributes(n, err);
    if (st != QN_OK) return st;
    if (qn_pass_is(n, "Constant")) return constant(p, id, err);
    if (old_softmax(n) && qn_node_in(n, 0) != QN_NONE && qn_node_out(n, 0) != QN_NONE) return softmax(p, id, err);
    if (qn_pass_is(n, "BatchNormalization") && n->opset < 14) forget_unread(p, n);
    r = rule_for(p, n);
    if (r) st = r->fn(p, id, r, err);
    if (st != QN_OK) return st;
    n = node_of(p, id);
    if (r) n->opset = r->now;
    if (r && r->now_op) n->op_type = r->now_op;
    n->op = qn_op_index_find(&p->ops, n->domain, n->op_type, n->opset, NULL);
    if (!n->op) return unsupported(n, err);
    variadic = (n->op->flags & QN_OP_VARIADIC) != 0;
    if (n->n_in < n->op->min_in || (n->n_in > n->op->max_in && !variadic) || n->n_out < n->op->min_out ||
        (n->n_out > n->op->max_out && !variadic))
        return qn_error_set(err, QN_ERR_INVALID, "node %.60s: %.40s has %d inputs and %d outputs, expected %d..%d and %d..%d", n->name,
                            n->op_type, n->n_in, n->n_out, n->op->min_in, n->op->max_in, n->op->min_out, n->op->max_out);
    for (int32_t i = 0; i < n->op->min_in; i++) /* infer functions read required inputs without asking */
        if (n->in[i] == QN_NONE)
            return qn_error_set(err, QN_ERR_INVALID, "node %.60s: input %d of %.40s is left out, but required", n->name, i, n->op_type);
    return has_subgraph(n) ? subgraphs(p, id, err) : qn_pass_infer(p, id, err);
}

qn_status qn_pass_normalise(qn_pass *p, qn_error *err)
{
    qn_graph *g = p->g;
    int32_t n_order = g->n_order;
    qn_node_id *order = g->order; /* emitted nodes are inferred where they are made */
    qn_type *said = malloc(((size_t)g->n_outputs + 1) * sizeof *said);
    qn_status st;

    if (!said) return qn_error_set(err, QN_ERR_NOMEM, "types of outputs");
    for (int32_t i = 0; i < g->n_outputs; i++) said[i] = g->values[g->outputs[i]].type;
    st = check_names(p, err);
    if (st == QN_OK) st = qn_inferer_sources(&p->infer, err);
    for (int32_t i = 0; i < n_order && st == QN_OK; i++) st = one(p, order[i], err);
    for (int32_t i = 0; i < g->n_outputs && st == QN_OK; i++)
        if (!g->values[g->outputs[i]].is_input) st = qn_infer_check_output(g, g->outputs[i], &said[i], err);
    free(said);
    return st;
}
