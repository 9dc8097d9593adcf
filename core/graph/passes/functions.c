/* core/graph/passes/functions.c - a call of one of the model's own functions becomes the nodes of its body.
 *
 * First the calls are counted, without building anything: who calls whom must have no cycle, and what all calls come to, subgraphs
 * included, must stay within graph->max_nodes and MAX_BYTES. A chain of n functions that each call the next one twice is 2^n nodes from
 * n lines, so counting goes from the called to the callers and multiplies nothing out.
 * Then, graph by graph, each call is replaced: inputs and outputs of the body are those of the call, every other value gets the name
 * "CALL/inner", attributes that refer to one of the call take its value, else the function's default, else they are left out. Nodes keep
 * the opset that their function imports. Calls inside a body are appended like other nodes, and replaced when their turn comes.
 * Source: onnx.proto, FunctionProto; docs/IR.md "Functions" of ONNX. */
#include "core/base/checked.h"
#include "core/graph/passes/rewrite.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NODES 100000
#define MAX_BYTES ((uint64_t)512 << 20) /* of nodes, values and attributes */
#define NAME_MAX  256                   /* longer names are cut: calls in calls make names of names */

/* -- counting ------------------------------------------------------------------------------------------------------------- */

typedef struct cost {
    uint64_t nodes, bytes;
} cost;

typedef struct census {
    const qn_graph *top;
    cost *cost;        /* [n_functions + 1]: of a body, with all that it calls once it is done; the last one is the model's graph */
    int32_t *first;    /* [n_functions + 2]: its part of callees */
    int32_t *callees;  /* [n_callees] */
    int32_t n_callees; /* counted first, then filled */
    uint8_t *state;    /* [n_functions + 1] NEW, OPEN, DONE */
    int32_t *stack;    /* [n_functions + 1] open ones, the model's graph first */
    int32_t *next;     /* [n_functions + 1] the callee to look at next, an index of callees */
} census;

enum { NEW = 0, OPEN, DONE };

static uint64_t plus(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

static uint64_t attr_bytes(const qn_attr *a)
{
    uint64_t each = a->type == QN_ATTR_STRING ? 1 : a->type >= QN_ATTR_FLOATS ? 8 : 0;

    return sizeof *a + each * (uint64_t)a->n; /* the file was bounded, so this is far from wrapping */
}

/* Count graph g; note its calls where callees is there. Recursion follows subgraphs: at most QN_GRAPH_MAX_DEPTH. */
static void count_graph(census *c, const qn_graph *g, cost *sum)
{
    sum->bytes = plus(sum->bytes, sizeof *g + (uint64_t)g->n_values * (sizeof(qn_value) + NAME_MAX));
    for (int32_t i = 0; i < g->n_nodes; i++) {
        const qn_node *n = &g->nodes[i];

        if (n->dead) continue;
        sum->nodes = plus(sum->nodes, 1);
        sum->bytes = plus(sum->bytes, sizeof *n + NAME_MAX + ((uint64_t)n->n_in + (uint64_t)n->n_out) * sizeof(qn_value_id));
        if (n->function != QN_NONE) {
            if (c->callees) c->callees[c->n_callees] = n->function;
            c->n_callees++;
        }
        for (int32_t k = 0; k < n->n_attrs; k++) {
            const qn_attr *a = &n->attrs[k];

            sum->bytes = plus(sum->bytes, attr_bytes(a));
            if (a->type == QN_ATTR_GRAPH && a->g) count_graph(c, a->g, sum);
            for (int64_t j = 0; a->type == QN_ATTR_GRAPHS && j < a->n; j++)
                if (a->graphs[j]) count_graph(c, a->graphs[j], sum);
        }
    }
}

static const qn_graph *body_of(const census *c, int32_t f) { return f < c->top->n_functions ? c->top->functions[f].body : c->top; }

static qn_status recursive(const census *c, int32_t f, int32_t depth, qn_error *err)
{
    int32_t caller = c->stack[depth - 1];

    if (caller == f)
        return qn_error_set(err, QN_ERR_INVALID, "function '%.80s' calls itself, expected no recursion", c->top->functions[f].label);
    return qn_error_set(err, QN_ERR_INVALID, "function '%.60s' calls itself through '%.60s', expected no recursion",
                        c->top->functions[f].label, c->top->functions[caller].label);
}

/* Depth first from the model's graph; a function is done when all that it calls is, and then its cost is whole. */
static qn_status visit(census *c, qn_error *err)
{
    int32_t root = c->top->n_functions, depth = 0;

    c->stack[depth++] = root;
    c->state[root] = OPEN;
    while (depth > 0) {
        int32_t f = c->stack[depth - 1], g;

        if (c->next[f] < c->first[f + 1]) {
            g = c->callees[c->next[f]++];
            if (c->state[g] == OPEN) return recursive(c, g, depth, err);
            if (c->state[g] == NEW) {
                c->state[g] = OPEN;
                c->stack[depth++] = g;
            }
            continue;
        }
        for (int32_t i = c->first[f]; i < c->first[f + 1]; i++) {
            c->cost[f].nodes = plus(c->cost[f].nodes, c->cost[c->callees[i]].nodes);
            c->cost[f].bytes = plus(c->cost[f].bytes, c->cost[c->callees[i]].bytes);
        }
        c->state[f] = DONE;
        depth--;
    }
    return QN_OK;
}

static qn_status judge(const census *c, qn_error *err)
{
    uint64_t most = c->top->max_nodes > 0 ? (uint64_t)c->top->max_nodes : MAX_NODES;
    int32_t root = c->top->n_functions, worst = 0;

    if (c->cost[root].nodes <= most && c->cost[root].bytes <= MAX_BYTES) return QN_OK;
    for (int32_t f = 1; f < root; f++)
        if (c->cost[f].nodes > c->cost[worst].nodes) worst = f;
    if (c->cost[root].nodes > most)
        return qn_error_set(
            err, QN_ERR_LIMIT,
            "with its functions in place the model has %s%" PRIu64 " nodes, at most %" PRIu64 " (limit n_nodes); the largest is '%.60s'",
            c->cost[root].nodes == UINT64_MAX ? "more than " : "", c->cost[root].nodes, most, c->top->functions[worst].label);
    return qn_error_set(err, QN_ERR_LIMIT, "with its functions in place the model needs more than %" PRIu64 " MiB; the largest is '%.60s'",
                        MAX_BYTES >> 20, c->top->functions[worst].label);
}

static qn_status count_calls(const qn_graph *top, qn_error *err)
{
    size_t n = (size_t)top->n_functions + 1;
    census c = { .top = top };
    cost unused = { 0 };
    qn_status st = QN_OK;

    for (int32_t f = 0; f <= top->n_functions; f++) count_graph(&c, body_of(&c, f), &unused);
    c.cost = calloc(n, sizeof *c.cost);
    c.first = calloc(n + 1, sizeof *c.first);
    c.callees = calloc((size_t)c.n_callees + 1, sizeof *c.callees);
    c.state = calloc(n, sizeof *c.state);
    c.stack = calloc(n, sizeof *c.stack);
    c.next = calloc(n, sizeof *c.next);
    if (!c.cost || !c.first || !c.callees || !c.state || !c.stack || !c.next) {
        st = qn_error_set(err, QN_ERR_NOMEM, "calls of %" PRId32 " functions", top->n_functions);
        goto done;
    }
    c.n_callees = 0;
    for (int32_t f = 0; f <= top->n_functions; f++) {
        c.first[f] = c.next[f] = c.n_callees;
        count_graph(&c, body_of(&c, f), &c.cost[f]);
    }
    c.first[n] = c.n_callees;
    st = visit(&c, err);
    if (st == QN_OK) st = judge(&c, err);
done:
    free(c.cost);
    free(c.first);
    free(c.callees);
    free(c.state);
    free(c.stack);
    free(c.next);
    return st;
}

/* -- one call ------------------------------------------------------------------------------------------------------------- */

typedef struct call {
    qn_graph *g;
    const qn_graph *body;
    const qn_function *fn;
    qn_node node;     /* the call: a copy, since the list of nodes moves */
    qn_value_id *map; /* [body->n_values] -> values of g */
    bool *mapped;     /* [body->n_values] map says something, if only QN_NONE for an input that is left out */
} call;

/* "outer/inner", each cut to what fits, at a character. */
static void join(const char *outer, const char *inner, char out[NAME_MAX])
{
    const char *part[2] = { outer, inner };
    size_t at = 0;

    for (int i = 0; i < 2; i++) {
        size_t n = strlen(part[i]);

        if (n > NAME_MAX / 2 - 8) {
            n = NAME_MAX / 2 - 8;
            while (n > 0 && ((unsigned char)part[i][n] & 0xc0) == 0x80) n--;
        }
        memcpy(out + at, part[i], n);
        at += n;
        if (i == 0) out[at++] = '/';
    }
    out[at] = 0;
}

static qn_status fresh(const call *c, qn_value_id inner, qn_value_id *out, qn_error *err)
{
    char name[NAME_MAX];

    join(c->node.name, c->body->values[inner].name, name);
    if (qn_map_get(&c->g->by_name, name) >= 0) return qn_graph_add_temp(c->g, name, out, err);
    return qn_graph_add_value(c->g, name, out, err);
}

static const qn_attr *value_of(const call *c, const char *ref)
{
    const qn_attr *a = qn_node_attr(&c->node, ref);

    for (int32_t i = 0; i < c->fn->n_defaults && !a; i++)
        if (strcmp(c->fn->defaults[i].name, ref) == 0) a = &c->fn->defaults[i];
    return a;
}

/* Attribute `from` of the body, or what it refers to, as attribute `to` of a node of g; *there is false if nothing says what it is. */
static qn_status bind_attr(const call *c, qn_graph *g, const qn_attr *from, qn_attr *to, bool *there, qn_error *err)
{
    const qn_attr *a = from;
    const char *name;
    qn_status st;

    *there = true;
    if (!from->ref) return qn_graph_copy_attr(g, from, to, err);
    a = value_of(c, from->ref);
    *there = a != NULL;
    if (!a) return QN_OK;
    if (a->type == QN_ATTR_GRAPH || a->type == QN_ATTR_GRAPHS)
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "attribute '%.60s' hands a graph to function '%.60s', which is unsupported", from->ref,
                            c->fn->label);
    if (from->type && from->type != a->type)
        return qn_error_set(err, QN_ERR_INVALID, "attribute '%.60s' has another type than function '%.60s' wants", from->ref, c->fn->label);
    name = qn_arena_strdup(&g->arena, from->name);
    if (!name) return qn_error_set(err, QN_ERR_NOMEM, "attribute");
    st = qn_graph_copy_attr(g, a, to, err);
    if (st == QN_OK) to->name = name;
    return st;
}

/* Bind the references in the nodes of a graph that was copied out of the body. Recursion follows subgraphs. */
static qn_status bind_graph(const call *c, qn_graph *sub, qn_error *err)
{
    qn_status st = QN_OK;

    for (int32_t i = 0; i < sub->n_nodes && st == QN_OK; i++) {
        qn_node *n = &sub->nodes[i];
        int32_t kept = 0;

        for (int32_t k = 0; k < n->n_attrs && st == QN_OK; k++) {
            qn_attr from = n->attrs[k], to = { 0 };
            bool there = true;

            if (from.ref) {
                st = bind_attr(c, sub, &from, &to, &there, err);
                from = to;
            }
            if (st == QN_OK && from.type == QN_ATTR_GRAPH && from.g) st = bind_graph(c, from.g, err);
            for (int64_t j = 0; from.type == QN_ATTR_GRAPHS && j < from.n && st == QN_OK; j++) st = bind_graph(c, from.graphs[j], err);
            n->attrs[k].type = 0; /* moved down, or nothing */
            if (there) n->attrs[kept++] = from;
        }
        if (st == QN_OK) n->n_attrs = kept;
    }
    return st;
}

/* Values that a graph captured and that the call left out: nobody in it may need them, nodes read them as left out. */
static qn_status lose_value(const call *c, qn_graph *sub, qn_value_id v, qn_error *err);

static qn_status lose_captures(const call *c, qn_graph *sub, qn_value_id outer, qn_error *err)
{
    qn_status st = QN_OK;
    int32_t kept = 0;

    for (int32_t i = 0; i < sub->n_captures && st == QN_OK; i++) {
        if (sub->captures[i].outer == outer)
            st = lose_value(c, sub, sub->captures[i].inner, err);
        else
            sub->captures[kept++] = sub->captures[i];
    }
    if (st == QN_OK) sub->n_captures = kept;
    return st;
}

static qn_status lose_value(const call *c, qn_graph *sub, qn_value_id v, qn_error *err)
{
    qn_status st = QN_OK;

    if (sub->values[v].is_output)
        return qn_error_set(err, QN_ERR_INVALID, "input '%.60s' of function '%.60s' is left out, but a graph in it gives it back",
                            sub->values[v].name, c->fn->label);
    for (int32_t i = 0; i < sub->n_nodes && st == QN_OK; i++) {
        qn_node *n = &sub->nodes[i];

        for (int32_t k = 0; k < n->n_in; k++)
            if (n->in[k] == v) n->in[k] = QN_NONE;
        for (int32_t k = 0; k < n->n_attrs && st == QN_OK; k++) {
            const qn_attr *a = &n->attrs[k];

            if (a->type == QN_ATTR_GRAPH && a->g) st = lose_captures(c, a->g, v, err);
            for (int64_t j = 0; a->type == QN_ATTR_GRAPHS && j < a->n && st == QN_OK; j++) st = lose_captures(c, a->graphs[j], v, err);
        }
    }
    sub->values[v].dead = true;
    return st;
}

/* A graph of the body, copied into g: its captures are values of g from now on. */
static qn_status settle_graph(const call *c, qn_graph *sub, qn_error *err)
{
    qn_status st = QN_OK;
    int32_t kept = 0;

    for (int32_t i = 0; i < sub->n_captures && st == QN_OK; i++) {
        struct qn_capture cap = sub->captures[i];
        qn_value_id outer = c->map[cap.outer];

        if (outer == QN_NONE)
            st = lose_value(c, sub, cap.inner, err);
        else
            sub->captures[kept++] = (struct qn_capture){ .inner = cap.inner, .outer = outer };
    }
    if (st != QN_OK) return st;
    sub->n_captures = kept;
    return bind_graph(c, sub, err);
}

static qn_status copy_attrs(const call *c, const qn_node *from, qn_node_id id, qn_error *err)
{
    qn_node *to = &c->g->nodes[id];
    qn_status st = QN_OK;
    int32_t kept = 0;

    for (int32_t k = 0; k < from->n_attrs && st == QN_OK; k++) {
        qn_attr *a = &to->attrs[kept];
        bool there = true;

        st = bind_attr(c, c->g, &from->attrs[k], a, &there, err);
        if (st == QN_OK && a->type == QN_ATTR_GRAPH && a->g) st = settle_graph(c, a->g, err);
        for (int64_t j = 0; a->type == QN_ATTR_GRAPHS && j < a->n && st == QN_OK; j++) st = settle_graph(c, a->graphs[j], err);
        kept += there;
    }
    if (st == QN_OK) to->n_attrs = kept; /* on failure all are released, the ones not filled in are nothing */
    return st;
}

static qn_status copy_node(const call *c, const qn_node *from, qn_error *err)
{
    char name[NAME_MAX];
    qn_node_id id;
    qn_node *to;
    qn_status st;

    join(c->node.name, from->name, name);
    st = qn_graph_add_node(c->g, from->domain, from->op_type, name, from->n_in, from->n_out, from->n_attrs, &id, err);
    if (st != QN_OK) return st;
    to = &c->g->nodes[id];
    to->opset = from->opset;
    to->function = from->function;
    for (int32_t i = 0; i < from->n_in; i++) to->in[i] = from->in[i] == QN_NONE ? QN_NONE : c->map[from->in[i]];
    for (int32_t i = 0; i < from->n_out; i++) {
        if (from->out[i] == QN_NONE) continue;
        to->out[i] = c->map[from->out[i]];
        c->g->values[to->out[i]].producer = id;
    }
    return copy_attrs(c, from, id, err);
}

/* An output of the call that is an input of it, or another output once more. */
static qn_status emit_identity(const call *c, qn_value_id inner, qn_value_id out, qn_error *err)
{
    qn_value_id in = c->map[inner];
    char name[NAME_MAX];
    qn_node_id id;
    qn_status st;

    if (in == QN_NONE)
        return qn_error_set(err, QN_ERR_INVALID, "input '%.60s' of function '%.60s' is left out, but the function gives it back",
                            c->body->values[inner].name, c->fn->label);
    join(c->node.name, c->body->values[inner].name, name);
    st = qn_graph_add_node(c->g, "", "Identity", name, 1, 1, 0, &id, err);
    if (st != QN_OK) return st;
    c->g->nodes[id].opset = 13;
    c->g->nodes[id].in[0] = in;
    c->g->nodes[id].out[0] = out;
    c->g->values[out].producer = id;
    return QN_OK;
}

static qn_status map_values(call *c, qn_error *err)
{
    const qn_graph *body = c->body;
    qn_status st = QN_OK;

    for (int32_t i = 0; i < body->n_inputs; i++) {
        c->map[body->inputs[i]] = qn_node_in(&c->node, i);
        c->mapped[body->inputs[i]] = true;
    }
    for (int32_t i = 0; i < c->node.n_out && st == QN_OK; i++) {
        if (c->node.out[i] == QN_NONE) continue;
        c->g->values[c->node.out[i]].producer = QN_NONE;
        if (c->mapped[body->outputs[i]]) continue; /* an Identity gives it, see inline_call() */
        c->map[body->outputs[i]] = c->node.out[i];
        c->mapped[body->outputs[i]] = true;
    }
    for (qn_value_id v = 0; v < body->n_values && st == QN_OK; v++) {
        if (c->mapped[v] || body->values[v].dead) continue;
        st = fresh(c, v, &c->map[v], err);
        c->mapped[v] = true;
    }
    return st;
}

static qn_status check_arity(const call *c, qn_error *err)
{
    if (c->node.n_in > c->body->n_inputs || c->node.n_out > c->body->n_outputs)
        return qn_error_set(err, QN_ERR_INVALID,
                            "function '%.60s' is called with %" PRId32 " inputs and %" PRId32 " outputs, it has %" PRId32 " and %" PRId32,
                            c->fn->label, c->node.n_in, c->node.n_out, c->body->n_inputs, c->body->n_outputs);
    return QN_OK;
}

static qn_status build(call *c, qn_error *err)
{
    qn_status st = map_values(c, err);

    for (int32_t i = 0; i < c->body->n_nodes && st == QN_OK; i++)
        if (!c->body->nodes[i].dead) st = copy_node(c, &c->body->nodes[i], err);
    for (int32_t i = 0; i < c->node.n_out && st == QN_OK; i++) {
        qn_value_id out = c->node.out[i];

        if (out != QN_NONE && c->map[c->body->outputs[i]] != out) st = emit_identity(c, c->body->outputs[i], out, err);
    }
    return st;
}

static qn_status inline_call(qn_graph *g, qn_node_id id, const qn_graph *import, qn_error *err)
{
    const qn_function *fn = &import->functions[g->nodes[id].function];
    call c = { .g = g, .body = fn->body, .fn = fn, .node = g->nodes[id] };
    size_t n = (size_t)fn->body->n_values + 1;
    qn_status st = check_arity(&c, err);

    c.map = malloc(n * sizeof *c.map);
    c.mapped = calloc(n, sizeof *c.mapped);
    if (st == QN_OK && (!c.map || !c.mapped)) st = qn_error_set(err, QN_ERR_NOMEM, "call of a function");
    if (st == QN_OK) {
        for (size_t i = 0; i < n; i++) c.map[i] = QN_NONE;
        st = build(&c, err);
    }
    if (st == QN_OK) g->nodes[id].dead = true; /* its attributes go with the graph: they are released there */
    if (st != QN_OK) qn_error_prefix(err, "node '%.60s'", c.node.name);
    free(c.map);
    free(c.mapped);
    return st;
}

/* Recursion follows subgraphs: at most QN_GRAPH_MAX_DEPTH. */
static qn_status inline_graph(qn_graph *g, const qn_graph *import, qn_error *err)
{
    qn_status st = QN_OK;

    for (qn_node_id id = 0; id < g->n_nodes && st == QN_OK; id++) { /* n_nodes grows */
        if (g->nodes[id].dead) continue;
        if (g->nodes[id].function != QN_NONE) {
            st = inline_call(g, id, import, err);
            continue;
        }
        for (int32_t k = 0; k < g->nodes[id].n_attrs && st == QN_OK; k++) {
            const qn_attr *a = &g->nodes[id].attrs[k];

            if (a->type == QN_ATTR_GRAPH && a->g) st = inline_graph(a->g, import, err);
            for (int64_t j = 0; a->type == QN_ATTR_GRAPHS && j < a->n && st == QN_OK; j++) st = inline_graph(a->graphs[j], import, err);
        }
    }
    return st;
}

qn_status qn_pass_functions(qn_graph *g, const qn_graph *import, qn_error *err)
{
    qn_status st;

    if (import->n_functions == 0) return QN_OK;
    st = count_calls(import, err);
    return st == QN_OK ? inline_graph(g, import, err) : st;
}
