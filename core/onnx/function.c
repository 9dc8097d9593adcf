/* core/onnx/function.c - FunctionProto: the model's own functions.
 * While ModelProto is scanned they are only noted by name. One is read when the first node that calls it is, as a graph that waits in the
 * reader's list like those of attributes: so a function nobody calls costs its name, and functions that call functions cost no stack.
 * Which of them call themselves is found out by core/graph/passes/functions.c. */
#include "core/onnx/read.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Fields of FunctionProto. */
enum { NAME = 1, INPUT = 4, OUTPUT = 5, NODE = 7, OPSET_IMPORT = 9, DOMAIN = 10, ATTRIBUTE_PROTO = 11, OVERLOAD = 13 };

/* "domain:name", or "domain:name:overload" where there is one. */
static qn_status make_key(qn_onnx_reader *r, qn_arena *a, const char *domain, const char *name, const char *overload, const char **out)
{
    size_t cap = strlen(domain) + strlen(name) + strlen(overload) + 3;
    char *key;
    qn_status st = a == &r->keep ? qn_onnx_spend(r, 1, cap + 64) : QN_OK;

    if (st) return st;
    key = qn_arena_alloc(a, cap);
    if (!key) return qn_error_set(r->err, QN_ERR_NOMEM, "name of a function");
    snprintf(key, cap, "%s:%s%s%s", strcmp(domain, "ai.onnx") == 0 ? "" : domain, name, *overload ? ":" : "", overload);
    *out = key;
    return QN_OK;
}

static qn_status add_noted(qn_onnx_reader *r, const char *key, const qn_onnx_span *span)
{
    int32_t n = r->n_noted;
    char shown[QN_ONNX_SHORT];

    if (qn_map_get(&r->functions, key) >= 0)
        return qn_error_set(r->err, QN_ERR_INVALID, "function '%s' is defined twice", qn_onnx_short(key, shown));
    if ((n & (n - 1)) == 0) { /* full at every power of two */
        size_t cap = n ? (size_t)n * 2 : 1;
        qn_onnx_noted *grown;
        qn_status st = qn_onnx_spend(r, cap, sizeof *grown);

        if (st) return st;
        grown = qn_arena_array(&r->keep, cap, sizeof *grown);
        if (!grown) return qn_error_set(r->err, QN_ERR_NOMEM, "table of functions");
        if (n) memcpy(grown, r->noted, (size_t)n * sizeof *grown);
        r->noted = grown;
    }
    r->noted[n] = (qn_onnx_noted){ .label = key, .span = *span, .function = QN_NONE };
    if (!qn_map_put(&r->functions, key, n)) return qn_error_set(r->err, QN_ERR_NOMEM, "table of functions");
    r->n_noted = n + 1;
    return QN_OK;
}

qn_status qn_onnx_note_function(qn_onnx_reader *r)
{
    qn_proto *p = &r->proto;
    qn_onnx_span span = { p->begin, p->end, true };
    const char *name = "", *domain = "", *overload = "", *key;
    qn_status st = QN_OK;

    if (!qn_proto_enter(p)) return p->status;
    while (!st && qn_proto_next(p)) {
        if (p->field == NAME)
            st = qn_onnx_name(r, &r->keep, "name of a function", &name);
        else if (p->field == DOMAIN)
            st = qn_onnx_name(r, &r->keep, "domain of a function", &domain);
        else if (p->field == OVERLOAD)
            st = qn_onnx_name(r, &r->keep, "overload of a function", &overload);
    }
    if (!st) st = p->status;
    if (st) return st;
    qn_proto_leave(p);
    if (!*name) return qn_error_set(r->err, QN_ERR_FORMAT, "a function without a name");
    st = make_key(r, &r->keep, domain, name, overload, &key);
    return st ? st : add_noted(r, key, &span);
}

/* The first call: it gets a place in the model's graph, and waits to be read. */
static qn_status first_call(qn_onnx_reader *r, qn_onnx_noted *f)
{
    qn_graph *top = r->scopes[0].g;
    int32_t n = top->n_functions;
    const char *label = qn_arena_strdup(&top->arena, f->label);
    qn_status st = QN_OK;

    if (!label) return qn_error_set(r->err, QN_ERR_NOMEM, "name of a function");
    if ((n & (n - 1)) == 0) {
        size_t cap = n ? (size_t)n * 2 : 1;
        qn_function *grown;

        st = qn_onnx_spend(r, cap, sizeof *grown);
        if (st) return st;
        grown = qn_arena_array(&top->arena, cap, sizeof *grown);
        if (!grown) return qn_error_set(r->err, QN_ERR_NOMEM, "functions of the model");
        if (n) memcpy(grown, top->functions, (size_t)n * sizeof *grown);
        top->functions = grown;
    }
    top->functions[n] = (qn_function){ .label = label };
    st = qn_onnx_add_body(r, n, &f->span, &top->functions[n].body);
    if (st) return st;
    f->function = n;
    top->n_functions = n + 1;
    return QN_OK;
}

qn_status qn_onnx_call(qn_onnx_reader *r, const char *domain, const char *op_type, const char *overload, int32_t *function)
{
    const char *key;
    int32_t i;
    qn_status st;

    *function = QN_NONE;
    if (r->n_noted == 0) return QN_OK;
    st = make_key(r, &r->tmp, domain, op_type, overload, &key);
    if (st) return st;
    i = qn_map_get(&r->functions, key);
    if (i < 0) return QN_OK;
    if (r->noted[i].function == QN_NONE) st = first_call(r, &r->noted[i]);
    *function = r->noted[i].function;
    return st;
}

/* -- the body ------------------------------------------------------------------------------------------------------------- */

/* What nodes need before any of them is read: opsets, and how many attributes have a default. */
static qn_status scan_body(qn_onnx_reader *r, const qn_onnx_scope *s, qn_graph *body, uint64_t *n_defaults)
{
    qn_proto *p = &r->proto;
    struct qn_opset opsets[QN_ONNX_MAX_OPSETS];
    int32_t n = 0;
    qn_status st = QN_OK;

    *n_defaults = 0;
    if (!qn_proto_open(p, s->span.begin, s->span.end)) return p->status;
    while (!st && qn_proto_next(p)) {
        if (p->field == OPSET_IMPORT)
            st = qn_onnx_read_opset(r, opsets, &n);
        else if (p->field == ATTRIBUTE_PROTO)
            ++*n_defaults;
    }
    if (!st) st = p->status;
    if (st) return st;
    qn_proto_leave(p);
    return qn_onnx_keep_opsets(r, body, opsets, n);
}

static qn_status read_port(qn_onnx_reader *r, int32_t scope, bool input)
{
    qn_onnx_scope *s = &r->scopes[scope];
    const char *name;
    qn_value_id v;
    qn_status st = qn_onnx_name(r, &r->tmp, input ? "input of a function" : "output of a function", &name);

    if (!st && !*name) st = qn_error_set(r->err, QN_ERR_FORMAT, "%s without a name", input ? "input" : "output");
    if (!st) st = input ? qn_onnx_scope_define(r, s, name, QN_NAME_INPUT, "input", &v) : qn_onnx_scope_use(r, s, name, &v);
    if (st) return st;
    if (input) {
        s->g->values[v].is_input = true;
        return qn_onnx_push_id(r, s->g, &s->g->inputs, &s->g->n_inputs, v);
    }
    s->g->values[v].is_output = true;
    return qn_onnx_push_id(r, s->g, &s->g->outputs, &s->g->n_outputs, v);
}

static qn_status read_default(qn_onnx_reader *r, int32_t scope, qn_attr *defaults, int32_t *n, uint64_t room)
{
    qn_onnx_span span = { r->proto.begin, r->proto.end, true };
    char shown[QN_ONNX_SHORT];
    qn_attr *a = &defaults[*n];
    qn_status st;

    if (!qn_proto_expect(&r->proto, QN_WIRE_BYTES)) return r->proto.status;
    if ((uint64_t)*n == room) return qn_error_set(r->err, QN_ERR_FORMAT, "the function changed while it was read");
    r->scopes[0].g->functions[r->scopes[scope].function].n_defaults = ++*n;
    st = qn_onnx_read_attr(r, scope, &span, a);
    if (st) return st;
    if (a->ref || a->type == QN_ATTR_GRAPH || a->type == QN_ATTR_GRAPHS)
        return qn_error_set(r->err, QN_ERR_UNSUPPORTED, "the default of attribute '%s' is %s", qn_onnx_short(a->name, shown),
                            a->ref ? "a reference" : "a graph");
    for (int32_t k = 0; k < *n - 1; k++)
        if (strcmp(defaults[k].name, a->name) == 0)
            return qn_error_set(r->err, QN_ERR_FORMAT, "attribute '%s' has two defaults", qn_onnx_short(a->name, shown));
    return QN_OK;
}

static qn_status read_body(qn_onnx_reader *r, int32_t scope)
{
    qn_proto *p = &r->proto;
    qn_onnx_span span = r->scopes[scope].span;
    qn_graph *body = r->scopes[scope].g;
    qn_attr *defaults;
    uint64_t room;
    int32_t n = 0;
    qn_status st = scan_body(r, &r->scopes[scope], body, &room);

    if (!st && room > QN_ONNX_MAX_ATTRS)
        st = qn_error_set(r->err, QN_ERR_LIMIT, "%" PRIu64 " attributes, at most %d allowed", room, QN_ONNX_MAX_ATTRS);
    if (!st) st = qn_onnx_spend(r, room, sizeof *defaults);
    if (st) return st;
    defaults = qn_arena_array(&body->arena, (size_t)room, sizeof *defaults);
    if (!defaults) return qn_error_set(r->err, QN_ERR_NOMEM, "attributes of a function");
    r->scopes[0].g->functions[r->scopes[scope].function].defaults = defaults;
    if (!qn_proto_open(p, span.begin, span.end)) return p->status;
    while (!st && qn_proto_next(p)) {
        switch (p->field) {
        case INPUT: st = read_port(r, scope, true); break;
        case OUTPUT: st = read_port(r, scope, false); break;
        case NODE: st = qn_onnx_read_node(r, scope); break;
        case ATTRIBUTE_PROTO: st = read_default(r, scope, defaults, &n, room); break;
        default: break;
        }
        qn_arena_release(&r->tmp);
    }
    if (!st) st = p->status;
    if (st) return st;
    qn_proto_leave(p);
    return qn_onnx_scope_close(r, scope);
}

qn_status qn_onnx_read_function(qn_onnx_reader *r, int32_t scope)
{
    char shown[QN_ONNX_SHORT];
    qn_status st = read_body(r, scope);

    if (st) qn_error_prefix(r->err, "function '%s'", qn_onnx_short(r->scopes[0].g->functions[r->scopes[scope].function].label, shown));
    return st;
}
