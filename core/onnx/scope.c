/* core/onnx/scope.c - names of one graph.
 * A name becomes a value when it is first seen, whether defined or read: files need not be sorted. What is defined and what is read is
 * marked beside it; when the whole graph was seen, a name that is read and not defined must come from a graph around it. */
#include "core/onnx/read.h"

#include "core/base/checked.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static qn_status mark_room(qn_onnx_reader *r, qn_onnx_scope *s, int32_t n)
{
    int32_t cap = s->cap_names ? s->cap_names : 32;
    uint8_t *grown;

    while (cap < n) {
        if (cap > INT32_MAX / 2) return qn_error_set(r->err, QN_ERR_LIMIT, "a graph with more than %" PRId32 " values", cap);
        cap *= 2;
    }
    if (cap > s->cap_names) {
        grown = realloc(s->names, (size_t)cap);
        if (!grown) return qn_error_set(r->err, QN_ERR_NOMEM, "names of a graph");
        s->names = grown;
        s->cap_names = cap;
    }
    while (s->n_names < n) s->names[s->n_names++] = 0;
    return QN_OK;
}

qn_status qn_onnx_scope_value(qn_onnx_reader *r, qn_onnx_scope *s, const char *name, qn_value_id *out)
{
    qn_value_id id = qn_map_get(&s->g->by_name, name);
    qn_status st;

    if (id == QN_NONE) {
        st = qn_onnx_spend(r, 1, sizeof(qn_value) + strlen(name) + 64);
        if (!st) st = qn_graph_add_value(s->g, name, &id, r->err);
        if (!st) st = mark_room(r, s, id + 1);
        if (st) return st;
        qn_onnx_no_type(&s->g->values[id].type);
        s->g->values[id].producer = QN_NONE;
    }
    *out = id;
    return QN_OK;
}

qn_status qn_onnx_scope_use(qn_onnx_reader *r, qn_onnx_scope *s, const char *name, qn_value_id *out)
{
    qn_status st = qn_onnx_scope_value(r, s, name, out);

    if (!st) s->names[*out] |= QN_NAME_USED;
    return st;
}

qn_status qn_onnx_scope_define(qn_onnx_reader *r, qn_onnx_scope *s, const char *name, unsigned as, const char *what, qn_value_id *out)
{
    char shown[QN_ONNX_SHORT];
    qn_status st = qn_onnx_scope_value(r, s, name, out);
    unsigned was;

    if (st) return st;
    was = s->names[*out];
    /* An initializer that is also an input is a default value; every other second definition is an error. */
    if ((was & QN_NAME_DEFINED) && !((was & QN_NAME_INPUT) && !(was & QN_NAME_WEIGHT) && as == QN_NAME_WEIGHT) &&
        !((was & QN_NAME_WEIGHT) && !(was & QN_NAME_INPUT) && as == QN_NAME_INPUT))
        return qn_error_set(r->err, QN_ERR_INVALID, "%s '%s': the name is taken by another value of the graph", what,
                            qn_onnx_short(name, shown));
    s->names[*out] = (uint8_t)(was | as | QN_NAME_DEFINED);
    return QN_OK;
}

/* One capture more in s->g. The array doubles whenever its length reaches a power of two. */
static qn_status add_capture(qn_onnx_reader *r, qn_onnx_scope *s, qn_value_id inner, qn_value_id outer)
{
    qn_graph *g = s->g;
    int32_t n = g->n_captures;

    if ((n & (n - 1)) == 0) {
        size_t cap = n ? (size_t)n * 2 : 1;
        struct qn_capture *grown;
        qn_status st = qn_onnx_spend(r, cap, sizeof *grown);

        if (st) return st;
        grown = qn_arena_array(&g->arena, cap, sizeof *grown);
        if (!grown) return qn_error_set(r->err, QN_ERR_NOMEM, "captures of a graph");
        if (n) memcpy(grown, g->captures, (size_t)n * sizeof *grown);
        g->captures = grown;
    }
    g->captures[n] = (struct qn_capture){ .inner = inner, .outer = outer };
    g->n_captures = n + 1;
    s->names[inner] |= QN_NAME_DEFINED;
    g->values[inner].type = g->outer->values[outer].type;
    return QN_OK;
}

/* Nothing makes what inner stands for: say who wants it. */
static qn_status refuse_missing(qn_onnx_reader *r, const qn_graph *g, qn_value_id v)
{
    const char *where = g->outer ? "its graph or the graphs around it" : "the graph";
    char name[QN_ONNX_SHORT], node[QN_ONNX_SHORT];

    qn_onnx_short(g->values[v].name, name);
    for (int32_t i = 0; i < g->n_nodes; i++) {
        for (int32_t k = 0; k < g->nodes[i].n_in; k++) {
            if (g->nodes[i].in[k] != v) continue;
            return qn_error_set(r->err, QN_ERR_INVALID, "'%s' is read by node '%s', but nothing in %s makes it", name,
                                qn_onnx_short(g->nodes[i].name, node), where);
        }
    }
    return qn_error_set(r->err, QN_ERR_INVALID, "'%s' is an output of the graph, but nothing in %s makes it", name, where);
}

/* Bring `name` from the nearest graph around `scope` that defines it, through all graphs in between. */
static qn_status capture(qn_onnx_reader *r, int32_t scope, qn_value_id inner)
{
    const char *name = r->scopes[scope].g->values[inner].name;
    qn_value_id from = QN_NONE;
    int32_t at = scope;

    for (;;) { /* outwards: read by everyone on the way */
        qn_onnx_scope *s;

        at = r->scopes[at].outer;
        if (at < 0) return refuse_missing(r, r->scopes[scope].g, inner);
        s = &r->scopes[at];
        from = qn_map_get(&s->g->by_name, name);
        if (from != QN_NONE && (s->names[from] & QN_NAME_DEFINED)) break;
    }
    while (at != scope) { /* inwards again: the child of `at` on the way to `scope` */
        int32_t child = scope;
        qn_value_id in_child;
        qn_status st;

        while (r->scopes[child].outer != at) child = r->scopes[child].outer;
        r->scopes[at].names[from] |= QN_NAME_USED;
        st = qn_onnx_scope_value(r, &r->scopes[child], name, &in_child);
        if (!st) st = add_capture(r, &r->scopes[child], in_child, from);
        if (st) return st;
        r->scopes[child].g->values[in_child].dead = false;
        at = child;
        from = in_child;
    }
    return QN_OK;
}

qn_status qn_onnx_scope_close(qn_onnx_reader *r, int32_t scope)
{
    qn_graph *g = r->scopes[scope].g;

    for (qn_value_id v = 0; v < g->n_values; v++) {
        unsigned is = r->scopes[scope].names[v];
        qn_status st = QN_OK;

        if (is & QN_NAME_DEFINED) continue;
        if (is & QN_NAME_USED)
            st = capture(r, scope, v);
        else
            g->values[v].dead = true; /* value_info about a name that nothing makes or reads */
        if (st) return st;
    }
    return QN_OK;
}
