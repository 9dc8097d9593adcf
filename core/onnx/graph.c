/* core/onnx/graph.c - GraphProto: nodes, inputs, outputs, initializers of one scope, in any order. */
#include "core/onnx/read.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* One id more in an array of the graph's arena, which doubles whenever its length reaches a power of two. */
qn_status qn_onnx_push_id(qn_onnx_reader *r, qn_graph *g, qn_value_id **ids, int32_t *n, qn_value_id id)
{
    if ((*n & (*n - 1)) == 0) {
        size_t cap = *n ? (size_t)*n * 2 : 1;
        qn_status st = qn_onnx_spend(r, cap, sizeof **ids);
        qn_value_id *grown;

        if (st) return st;
        grown = qn_arena_array(&g->arena, cap, sizeof *grown);
        if (!grown) return qn_error_set(r->err, QN_ERR_NOMEM, "inputs or outputs of a graph");
        if (*n) memcpy(grown, *ids, (size_t)*n * sizeof *grown);
        *ids = grown;
    }
    (*ids)[(*n)++] = id;
    return QN_OK;
}

/* -- nodes ---------------------------------------------------------------------------------------------------------------- */

/* Fields of NodeProto. */
enum { INPUT = 1, OUTPUT = 2, NODE_NAME = 3, OP_TYPE = 4, ATTRIBUTE = 5, DOMAIN = 7, OVERLOAD = 8 };

typedef struct node_scan {
    const char *name, *op_type, *domain, *overload, *first_output;
    uint64_t n_in, n_out, n_attrs;
    char label[160]; /* "node 'conv1' (Conv)", for errors */
} node_scan;

static qn_status scan_node(qn_onnx_reader *r, const qn_onnx_span *span, node_scan *s)
{
    qn_proto *p = &r->proto;
    qn_status st = QN_OK;

    if (!qn_proto_open(p, span->begin, span->end)) return p->status;
    while (!st && qn_proto_next(p)) {
        switch (p->field) {
        case INPUT: s->n_in++; break;
        case OUTPUT:
            if (s->n_out++ == 0) st = qn_onnx_name(r, &r->tmp, "output of a node", &s->first_output);
            break;
        case NODE_NAME: st = qn_onnx_name(r, &r->tmp, "node name", &s->name); break;
        case OP_TYPE: st = qn_onnx_name(r, &r->tmp, "op_type", &s->op_type); break;
        case DOMAIN: st = qn_onnx_name(r, &r->tmp, "domain of a node", &s->domain); break;
        case OVERLOAD: st = qn_onnx_name(r, &r->tmp, "overload of a node", &s->overload); break;
        case ATTRIBUTE: s->n_attrs++; break;
        default: break;
        }
    }
    if (!st) st = p->status;
    if (!st) qn_proto_leave(p);
    return st;
}

/* A node without a name is called after its first output, or after its op and number. */
static qn_status name_node(qn_onnx_reader *r, node_scan *s)
{
    char shown[QN_ONNX_SHORT], op[QN_ONNX_SHORT];
    size_t cap = strlen(s->op_type) + 32;
    char *made;

    if (!*s->name) s->name = s->first_output;
    if (!*s->name) {
        made = qn_arena_alloc(&r->tmp, cap);
        if (!made) return qn_error_set(r->err, QN_ERR_NOMEM, "name of a node");
        snprintf(made, cap, "%s_%" PRId64, s->op_type, r->n_nodes);
        s->name = made;
    }
    snprintf(s->label, sizeof s->label, "node '%s' (%s)", qn_onnx_short(s->name, shown), qn_onnx_short(s->op_type, op));
    return QN_OK;
}

/* The opset that the model, or the function around the node, imports. */
static qn_status find_opset(qn_onnx_reader *r, int32_t scope, const char *domain, int64_t *version)
{
    const qn_onnx_scope *s = &r->scopes[scope];
    char shown[QN_ONNX_SHORT];

    while (s->outer >= 0) s = &r->scopes[s->outer];
    for (int32_t i = 0; i < s->g->n_opsets; i++) {
        if (strcmp(s->g->opsets[i].domain, domain) == 0) {
            *version = s->g->opsets[i].version;
            return QN_OK;
        }
    }
    return qn_error_set(r->err, QN_ERR_INVALID, "the %s does not import the opset of domain '%s'",
                        s->function == QN_NONE ? "model" : "function", qn_onnx_short(domain, shown));
}

static qn_status read_input(qn_onnx_reader *r, qn_onnx_scope *s, qn_node_id id, int32_t i)
{
    const char *name;
    qn_value_id v = QN_NONE;
    qn_status st = qn_onnx_name(r, &r->tmp, "input of a node", &name);

    if (!st && *name) st = qn_onnx_scope_use(r, s, name, &v);
    if (!st) s->g->nodes[id].in[i] = v;
    return st;
}

static qn_status read_output(qn_onnx_reader *r, qn_onnx_scope *s, qn_node_id id, int32_t i)
{
    const char *name;
    qn_value_id v = QN_NONE;
    qn_status st = qn_onnx_name(r, &r->tmp, "output of a node", &name);

    if (!st && *name) st = qn_onnx_scope_define(r, s, name, 0, "output", &v);
    if (st) return st;
    s->g->nodes[id].out[i] = v;
    if (v != QN_NONE) s->g->values[v].producer = id;
    return QN_OK;
}

static qn_status read_attr(qn_onnx_reader *r, int32_t scope, qn_node_id id, int32_t i)
{
    qn_attr *attrs = r->scopes[scope].g->nodes[id].attrs; /* in the arena: stays where it is when nodes grow */
    qn_onnx_span span = { r->proto.begin, r->proto.end, true };
    char shown[QN_ONNX_SHORT];
    qn_status st;

    if (!qn_proto_expect(&r->proto, QN_WIRE_BYTES)) return r->proto.status;
    st = qn_onnx_read_attr(r, scope, &span, &attrs[i]);
    if (st) return st;
    for (int32_t k = 0; k < i; k++) {
        if (strcmp(attrs[k].name, attrs[i].name) == 0)
            return qn_error_set(r->err, QN_ERR_FORMAT, "attribute '%s' is given twice", qn_onnx_short(attrs[i].name, shown));
    }
    return QN_OK;
}

/* The second look at a node: its lists have places now. */
static qn_status fill_node(qn_onnx_reader *r, int32_t scope, const qn_onnx_span *span, qn_node_id id)
{
    qn_proto *p = &r->proto;
    qn_status st = QN_OK;
    int32_t in = 0, out = 0, attr = 0;

    if (!qn_proto_open(p, span->begin, span->end)) return p->status;
    while (!st && qn_proto_next(p)) {
        const qn_node *node = &r->scopes[scope].g->nodes[id];

        if ((p->field == INPUT && in == node->n_in) || (p->field == OUTPUT && out == node->n_out) ||
            (p->field == ATTRIBUTE && attr == node->n_attrs))
            return qn_error_set(r->err, QN_ERR_FORMAT, "the node changed while it was read");
        if (p->field == INPUT)
            st = read_input(r, &r->scopes[scope], id, in++);
        else if (p->field == OUTPUT)
            st = read_output(r, &r->scopes[scope], id, out++);
        else if (p->field == ATTRIBUTE)
            st = read_attr(r, scope, id, attr++);
    }
    if (!st) st = p->status;
    if (!st) qn_proto_leave(p);
    return st;
}

static qn_status add_node(qn_onnx_reader *r, int32_t scope, const qn_onnx_span *span, const node_scan *s)
{
    qn_graph *g = r->scopes[scope].g;
    qn_node_id id;
    int64_t opset = 1; /* a call needs none: what its nodes mean is for the function to say */
    int32_t function;
    qn_status st;

    if (s->n_attrs > QN_ONNX_MAX_ATTRS)
        return qn_error_set(r->err, QN_ERR_LIMIT, "%" PRIu64 " attributes, at most %d allowed", s->n_attrs, QN_ONNX_MAX_ATTRS);
    st = qn_onnx_call(r, s->domain, s->op_type, s->overload, &function);
    if (!st && function == QN_NONE) st = find_opset(r, scope, s->domain, &opset);
    if (!st) st = qn_onnx_spend(r, 1, sizeof(qn_node) + strlen(s->name) + strlen(s->op_type) + strlen(s->domain) + 64);
    if (!st) st = qn_onnx_spend(r, s->n_in, sizeof(qn_value_id));
    if (!st) st = qn_onnx_spend(r, s->n_out, sizeof(qn_value_id));
    if (!st) st = qn_onnx_spend(r, s->n_attrs, sizeof(qn_attr));
    /* what was spent bounds the counts far below INT32_MAX */
    if (!st)
        st = qn_graph_add_node(g, s->domain, s->op_type, s->name, (int32_t)s->n_in, (int32_t)s->n_out, (int32_t)s->n_attrs, &id, r->err);
    if (st) return st;
    g->nodes[id].opset = opset;
    g->nodes[id].function = function;
    return fill_node(r, scope, span, id);
}

qn_status qn_onnx_read_node(qn_onnx_reader *r, int32_t scope)
{
    qn_onnx_span span = { r->proto.begin, r->proto.end, true };
    node_scan s = { .name = "", .op_type = "", .domain = "", .overload = "", .first_output = "" };
    qn_status st;

    if (!qn_proto_expect(&r->proto, QN_WIRE_BYTES)) return r->proto.status;
    if (++r->n_nodes > r->limits.n_nodes)
        return qn_error_set(r->err, QN_ERR_LIMIT, "the model has more than %" PRId64 " nodes (limit n_nodes)", r->limits.n_nodes);
    st = scan_node(r, &span, &s);
    if (!st && !*s.op_type) st = qn_error_set(r->err, QN_ERR_FORMAT, "a node without op_type");
    if (st) {
        qn_error_prefix(r->err, "node %" PRId64, r->n_nodes - 1);
        return st;
    }
    if (strcmp(s.domain, "ai.onnx") == 0) s.domain = "";
    st = name_node(r, &s);
    if (!st) st = add_node(r, scope, &span, &s);
    if (st) qn_error_prefix(r->err, "%s", s.label);
    return st;
}

/* -- values --------------------------------------------------------------------------------------------------------------- */

/* Fields of GraphProto. */
enum { NODE = 1, GRAPH_NAME = 2, INITIALIZER = 5, GRAPH_INPUT = 11, GRAPH_OUTPUT = 12, VALUE_INFO = 13, SPARSE_INITIALIZER = 15 };

static qn_status scan_value_info(qn_onnx_reader *r, const char **name, qn_onnx_span *type)
{
    qn_proto *p = &r->proto;
    qn_status st = QN_OK;

    if (!qn_proto_enter(p)) return p->status;
    while (!st && qn_proto_next(p)) {
        if (p->field == 1)
            st = qn_onnx_name(r, &r->tmp, "name of a value", name);
        else if (p->field == 2)
            st = qn_onnx_span_take(r, type, "type of a value");
    }
    if (!st) st = p->status;
    if (!st) qn_proto_leave(p);
    return st;
}

static bool is_untyped(const qn_type *t) { return t->kind == QN_KIND_TENSOR && t->dtype == QN_DTYPE_NONE && t->rank < 0; }

static qn_status read_value_info(qn_onnx_reader *r, qn_onnx_scope *s, uint32_t field)
{
    const char *what = field == GRAPH_INPUT ? "input" : field == GRAPH_OUTPUT ? "output" : "value_info", *name = "";
    qn_graph *g = s->g;
    qn_onnx_span span = { 0 };
    char shown[QN_ONNX_SHORT];
    qn_value_id v = QN_NONE;
    qn_status st = scan_value_info(r, &name, &span);
    qn_type type;

    if (!st && !*name && field == VALUE_INFO) return QN_OK;
    if (!st && !*name) st = qn_error_set(r->err, QN_ERR_FORMAT, "no name");
    if (!st) st = qn_onnx_read_type(r, g->dims, &span, field == GRAPH_INPUT && s->level == 0 ? name : NULL, &type);
    if (!st && field == GRAPH_INPUT) {
        st = qn_onnx_scope_define(r, s, name, QN_NAME_INPUT, "graph input", &v);
        if (st) return st;
        st = qn_onnx_push_id(r, g, &g->inputs, &g->n_inputs, v);
        if (!st) g->values[v].is_input = true;
        if (!st) g->values[v].type = type;
    } else if (!st && field == GRAPH_OUTPUT) {
        st = qn_onnx_scope_use(r, s, name, &v);
        if (!st) st = qn_onnx_push_id(r, g, &g->outputs, &g->n_outputs, v);
        if (!st) g->values[v].is_output = true;
    } else if (!st) {
        st = qn_onnx_scope_value(r, s, name, &v);
    }
    if (!st && is_untyped(&g->values[v].type)) g->values[v].type = type;
    if (st) qn_error_prefix(r->err, "%s '%s'", what, qn_onnx_short(name, shown));
    return st;
}

static qn_status add_weight(qn_onnx_reader *r, qn_onnx_scope *s, const char *name, qn_weight *w)
{
    qn_value_id v;
    qn_status st = QN_OK;
    qn_tensor t;

    if (!*name) st = qn_error_set(r->err, QN_ERR_FORMAT, "initializer without a name");
    if (!st) st = qn_onnx_scope_define(r, s, name, QN_NAME_WEIGHT, "initializer", &v);
    if (st) {
        qn_weight_unref(w);
        return st;
    }
    qn_weight_shape(w, &t);
    r->n_params += qn_tensor_count(&t);
    s->g->values[v].weight = w;
    return QN_OK;
}

static qn_status read_initializer(qn_onnx_reader *r, int32_t scope, bool sparse)
{
    qn_onnx_span span = { r->proto.begin, r->proto.end, true };
    qn_onnx_tensor t;
    const char *name = "";
    qn_weight *w = NULL;
    qn_status st;

    if (!qn_proto_expect(&r->proto, QN_WIRE_BYTES)) return r->proto.status;
    st = qn_onnx_spend(r, 1, 256);
    if (st) return st;
    if (sparse) {
        st = qn_onnx_sparse_weight(r, &span, &name, &w);
    } else {
        st = qn_onnx_scan_tensor(r, &span, &t);
        if (!st) st = qn_onnx_tensor_weight(r, &t, &w);
        name = t.name;
    }
    if (st) {
        qn_error_prefix(r->err, "initializer");
        return st;
    }
    return add_weight(r, &r->scopes[scope], name, w);
}

/* -- the graph ------------------------------------------------------------------------------------------------------------ */

static qn_status read_field(qn_onnx_reader *r, int32_t scope)
{
    qn_graph *g = r->scopes[scope].g;
    const char *name;
    qn_status st = QN_OK;

    switch (r->proto.field) {
    case NODE: return qn_onnx_read_node(r, scope);
    case GRAPH_NAME:
        st = qn_onnx_name(r, &g->arena, "graph name", &name);
        if (!st) g->name = name;
        return st;
    case INITIALIZER: return read_initializer(r, scope, false);
    case SPARSE_INITIALIZER: return read_initializer(r, scope, true);
    case GRAPH_INPUT:
    case GRAPH_OUTPUT:
    case VALUE_INFO: return read_value_info(r, &r->scopes[scope], r->proto.field);
    default: return QN_OK;
    }
}

/* The declared type of an input must allow the initializer that is its default. */
static qn_status check_default(qn_onnx_reader *r, const qn_graph *g, const qn_value *v, const qn_tensor *t)
{
    char shown[QN_ONNX_SHORT], shape[96];

    if (v->type.dtype != t->dtype)
        return qn_error_set(r->err, QN_ERR_DTYPE, "input '%s' is %s, its initializer %s", qn_onnx_short(v->name, shown),
                            qn_dtype_name(v->type.dtype), qn_dtype_name(t->dtype));
    if (v->type.rank < 0) return QN_OK;
    for (int32_t i = 0; i < t->rank && v->type.rank == t->rank; i++) {
        int64_t want;

        if (qn_dims_value(g->dims, v->type.dims[i], &want) && want != t->dims[i])
            return qn_error_set(r->err, QN_ERR_SHAPE, "input '%s' has dimension %" PRId32 " = %" PRId64 ", its initializer %" PRId64,
                                qn_onnx_short(v->name, shown), i, want, t->dims[i]);
    }
    if (v->type.rank != t->rank)
        return qn_error_set(r->err, QN_ERR_SHAPE, "input '%s' has rank %" PRId32 ", its initializer shape %s",
                            qn_onnx_short(v->name, shown), v->type.rank, qn_shape_print(t->rank, t->dims, shape, sizeof shape));
    return QN_OK;
}

/* Types of initializers are those of their bytes; an input with a default keeps what is declared, which may be more general. */
static qn_status type_weights(qn_onnx_reader *r, qn_graph *g)
{
    for (qn_value_id i = 0; i < g->n_values; i++) {
        qn_value *v = &g->values[i];
        qn_tensor t;
        qn_status st;

        if (!v->weight) continue;
        qn_weight_shape(v->weight, &t);
        if (v->is_input && !is_untyped(&v->type)) {
            st = check_default(r, g, v, &t);
            if (st) return st;
            continue;
        }
        qn_onnx_no_type(&v->type);
        v->type.dtype = t.dtype;
        v->type.rank = t.rank;
        for (int32_t k = 0; k < t.rank; k++) v->type.dims[k] = qn_dims_const(g->dims, t.dims[k]);
    }
    return qn_dims_status(g->dims, r->err);
}

/* What is served has inputs of a known dtype; inputs of nested graphs get theirs from the node around. */
static qn_status check_inputs(qn_onnx_reader *r, const qn_graph *g)
{
    char shown[QN_ONNX_SHORT];

    for (int32_t i = 0; i < g->n_inputs; i++) {
        const qn_value *v = &g->values[g->inputs[i]];

        if (v->type.kind == QN_KIND_TENSOR && v->type.dtype == QN_DTYPE_NONE)
            return qn_error_set(r->err, QN_ERR_FORMAT, "input '%s' has no element type", qn_onnx_short(v->name, shown));
    }
    return QN_OK;
}

qn_status qn_onnx_read_graph(qn_onnx_reader *r, int32_t scope)
{
    qn_proto *p = &r->proto;
    qn_onnx_span span = r->scopes[scope].span;
    qn_status st = QN_OK;

    if (!qn_proto_open(p, span.begin, span.end)) return p->status;
    while (!st && qn_proto_next(p)) {
        st = read_field(r, scope);
        qn_arena_release(&r->tmp);
    }
    if (!st) st = p->status;
    if (st) return st;
    qn_proto_leave(p);
    st = type_weights(r, r->scopes[scope].g);
    if (!st && r->scopes[scope].level == 0) st = check_inputs(r, r->scopes[scope].g);
    return st ? st : qn_onnx_scope_close(r, scope);
}
