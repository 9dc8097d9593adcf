/* core/graph/rows.c - the proof behind rows.h, and the rows functions most ops share.
 *
 * Every value gets one of
 *   axis >= 0   it carries the batch there, as one of the sizes the axis was folded from: dims[axis] = outer * N * m, and index
 *               (o * N + r) * m + i belongs to row r. Mostly outer = m = 1; a Reshape may fold other axes before or behind the batch.
 *               An op that keeps the indices of an axis apart keeps rows apart, whatever the index means.
 *   NONE        the same whatever the batch is
 *   SIZE        not data of a row, but it mentions N: what Shape gives. It may steer shapes, never become data.
 * and anything else ends the proof.
 *
 * SIZE values are those whose elements inference knows as expressions of N. They are harmless where their only effect is a shape
 * that inference knows too (Reshape, Expand, ConstantOfShape); anywhere else (a mean that divides by N) they end the proof. */
#include "core/graph/rows.h"

#include <stdlib.h>
#include <string.h>

#define ROWS_SIZE (-3)

/* -- ready-made rows functions -------------------------------------------------------------------------------------------- */

static bool is_one(const qn_infer *c, qn_dim d)
{
    int64_t v;

    return qn_dims_value(c->dims, d, &v) && v == 1;
}

void qn_rows_elementwise(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int32_t rank = c->out[0].rank, axis = QN_ROWS_NONE;

    if (rank < 0) return;
    for (int32_t i = 0; i < c->node->n_in; i++) {
        int32_t a = in_axis[i];

        if (!qn_infer_has(c, i) || a < 0) continue;
        a += rank - c->in[i].rank; /* broadcasting lines up the last axes */
        if (axis >= 0 && axis != a) return;
        axis = a;
    }
    for (int32_t i = 0; i < c->node->n_in; i++) { /* what has no rows must not have an extent along them either */
        int32_t a = axis - (rank - c->in[i].rank);

        if (!qn_infer_has(c, i) || in_axis[i] >= 0) continue;
        if (c->in[i].rank < 0 || (a >= 0 && !is_one(c, c->in[i].dims[a]))) return;
    }
    for (int32_t i = 0; i < c->node->n_out; i++) out_axis[i] = axis;
}

static bool only_first_has_rows(const qn_infer *c, const int32_t *in_axis)
{
    for (int32_t i = 1; i < c->node->n_in; i++)
        if (qn_infer_has(c, i) && in_axis[i] != QN_ROWS_NONE) return false;
    return c->node->n_in > 0 && in_axis[0] >= 0;
}

void qn_rows_leading(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    if (!only_first_has_rows(c, in_axis) || in_axis[0] != 0) return;
    for (int32_t i = 0; i < c->node->n_out; i++) out_axis[i] = 0;
}

void qn_rows_along_axis(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int32_t axis;

    if (!only_first_has_rows(c, in_axis)) return;
    if (qn_infer_axis(c, qn_node_int(c->node, "axis", -1), c->in[0].rank, &axis, NULL) != QN_OK || in_axis[0] >= axis) return;
    for (int32_t i = 0; i < c->node->n_out; i++) out_axis[i] = in_axis[0];
}

/* -- the proof ------------------------------------------------------------------------------------------------------------ */

typedef struct proof {
    const qn_graph *g;
    qn_dim sym;    /* N */
    int32_t *axis; /* [n_values] */
    qn_dim *outer; /* [n_values] where axis >= 0 */
    qn_dim one;
    qn_type *types;     /* [cap] in, then out of the node at hand */
    int32_t *io;        /* [cap] axes of in, then of out */
    const void **nulls; /* [cap] knowns of in, then room for what rows functions do not use */
    int32_t cap;
} proof;

static bool known_depends(const proof *p, const qn_known *k)
{
    for (int32_t i = 0; i < k->n; i++)
        if (qn_dims_depends(p->g->dims, k->elems[i], p->sym)) return true;
    return false;
}

static bool fully_known(const qn_known *k)
{
    for (int32_t i = 0; k && i < k->n; i++)
        if (k->elems[i] == QN_DIM_UNKNOWN) return false;
    return k != NULL;
}

static bool dims_depend(const proof *p, const qn_type *t)
{
    for (int32_t d = 0; d < t->rank; d++)
        if (t->dims[d] == QN_DIM_UNKNOWN || qn_dims_depends(p->g->dims, t->dims[d], p->sym)) return true;
    return t->rank < 0;
}

/* d = m * N */
static bool is_batch(const proof *p, qn_dim d) { return qn_dims_is_multiple(p->g->dims, d, p->sym); }

/* The symbol all inputs start with; false if there is none. */
static bool find_symbol(proof *p)
{
    const qn_graph *g = p->g;

    p->sym = QN_DIM_UNKNOWN;
    for (int32_t i = 0; i < g->n_inputs; i++) {
        const qn_value *v = &g->values[g->inputs[i]];

        if (v->weight) continue;
        if (v->type.kind != QN_KIND_TENSOR || v->type.rank < 1 || !qn_dims_symbol_name(g->dims, v->type.dims[0])) return false;
        if (p->sym != QN_DIM_UNKNOWN && p->sym != v->type.dims[0]) return false;
        p->sym = v->type.dims[0];
        for (int32_t d = 1; d < v->type.rank; d++)
            if (v->type.dims[d] == p->sym) return false;
        p->axis[g->inputs[i]] = 0;
    }
    return p->sym != QN_DIM_UNKNOWN;
}

static bool named(const qn_node *n, const char *op) { return n->domain[0] == '\0' && strcmp(n->op_type, op) == 0; }

/* The input through which N may steer a shape; -1: none. */
static int32_t shape_input(const qn_node *n)
{
    if (named(n, "Reshape") || named(n, "Expand")) return 1;
    return named(n, "ConstantOfShape") ? 0 : -1;
}

/* A value made for N rows out of nothing that has rows: every row is the same if all elements are (ConstantOfShape) or if it
 * repeats an axis of 1 (Expand). Anything else (Range) tells rows by their place. */
static int32_t repeated_axis(const proof *p, const qn_node *n)
{
    const qn_type *out = &p->g->values[n->out[0]].type;
    int32_t axis = QN_ROWS_MIXED;

    if (shape_input(n) < 0 || named(n, "Reshape")) return QN_ROWS_MIXED;
    for (int32_t d = 0; d < out->rank; d++) {
        if (out->dims[d] == QN_DIM_UNKNOWN) return QN_ROWS_MIXED;
        if (!qn_dims_depends(p->g->dims, out->dims[d], p->sym)) continue;
        if (axis >= 0 || !is_batch(p, out->dims[d])) return QN_ROWS_MIXED;
        axis = d;
    }
    if (axis >= 0 && named(n, "Expand")) {
        const qn_type *in = &p->g->values[n->in[0]].type;
        int32_t a = axis - (out->rank - in->rank);
        int64_t v;

        if (in->rank < 0 || (a >= 0 && !(qn_dims_value(p->g->dims, in->dims[a], &v) && v == 1))) return QN_ROWS_MIXED;
    }
    return axis;
}

static bool make_room(proof *p, int32_t n)
{
    void *t, *a, *z;

    if (n <= p->cap) return true;
    t = realloc(p->types, (size_t)n * sizeof *p->types);
    if (t) p->types = t;
    a = realloc(p->io, (size_t)n * sizeof *p->io);
    if (a) p->io = a;
    z = realloc(p->nulls, (size_t)n * sizeof *p->nulls);
    if (z) p->nulls = z;
    if (!t || !a || !z) return false;
    p->cap = n;
    return true;
}

/* The op's own answer, for a node some input of which has rows. */
static void ask_op(proof *p, const qn_node *n, int32_t *out_axis)
{
    const qn_graph *g = p->g;
    qn_infer c = { .graph = (qn_graph *)(uintptr_t)g, .node = n, .dims = g->dims, .in = p->types, .out = p->types + n->n_in };

    for (int32_t i = 0; i < n->n_out; i++) out_axis[i] = QN_ROWS_MIXED;
    if (!n->op->rows) return;
    /* A rows function only reads; the casts are because infer functions share the struct. Constants stay visible as knowns. */
    memset(p->nulls, 0, (size_t)(2 * n->n_in + n->n_out) * sizeof *p->nulls);
    for (int32_t i = 0; i < n->n_in; i++) p->nulls[i] = n->in[i] == QN_NONE ? NULL : g->values[n->in[i]].known;
    c.in_known = (const qn_known *const *)(const void *)p->nulls;
    c.in_const = (const qn_tensor *const *)(const void *)(p->nulls + n->n_in + n->n_out);
    c.out_known = (qn_known **)(void *)(p->nulls + n->n_in);
    n->op->rows(&c, p->io, out_axis);
}

/* Product of the first n dimensions; UNKNOWN if it is not known, or 0. */
static qn_dim product(const proof *p, const qn_dim *dims, int32_t n)
{
    qn_dim d = p->one;
    int64_t v;

    for (int32_t i = 0; i < n; i++) d = qn_dims_mul(p->g->dims, d, dims[i]);
    return qn_dims_value(p->g->dims, d, &v) && v == 0 ? QN_DIM_UNKNOWN : d;
}

/* a / b if that is exact, else UNKNOWN. */
static qn_dim quotient(const proof *p, qn_dim a, qn_dim b)
{
    qn_dim q = qn_dims_floordiv(p->g->dims, a, b);

    return q >= 0 && qn_dims_mul(p->g->dims, q, b) == a ? q : QN_DIM_UNKNOWN;
}

/* The same bytes in the same order: `before` elements of the shape lie before the batch, in the input as in the output. */
static int32_t view_axis(const proof *p, const qn_type *in, int32_t axis, qn_dim in_outer, const qn_type *out, qn_dim *out_outer)
{
    qn_dim before = qn_dims_mul(p->g->dims, product(p, in->dims, axis), in_outer), d;

    for (int32_t b = 0; b < out->rank; b++) {
        if (!qn_dims_depends(p->g->dims, out->dims[b], p->sym)) continue;
        d = product(p, out->dims, b);
        *out_outer = before < 0 || d < 0 ? QN_DIM_UNKNOWN : quotient(p, before, d);
        return *out_outer < 0 ? QN_ROWS_MIXED : b;
    }
    return QN_ROWS_MIXED;
}

/* What all inputs with rows agree on, or UNKNOWN. */
static qn_dim common_outer(const proof *p, const qn_node *n)
{
    qn_dim outer = QN_DIM_UNKNOWN;

    for (int32_t i = 0; i < n->n_in; i++) {
        if (p->io[i] < 0) continue;
        if (outer != QN_DIM_UNKNOWN && outer != p->outer[n->in[i]]) return QN_DIM_UNKNOWN;
        outer = p->outer[n->in[i]];
    }
    return outer;
}

/* Output i with rows at `axis`: does its size say so too? */
static bool carries(const proof *p, const qn_type *t, int32_t axis, qn_dim outer)
{
    return axis < t->rank && t->dims[axis] >= 0 && outer >= 0 && is_batch(p, quotient(p, t->dims[axis], outer));
}

static bool give(proof *p, const qn_node *n, const int32_t *out, qn_dim outer)
{
    for (int32_t i = 0; i < n->n_out; i++) {
        if (n->out[i] == QN_NONE) continue;
        if (out[i] < QN_ROWS_NONE || (out[i] >= 0 && !carries(p, &p->types[n->n_in + i], out[i], outer))) return false;
        p->axis[n->out[i]] = out[i];
        p->outer[n->out[i]] = outer;
    }
    return true;
}

/* Axes of the outputs of n; false ends the proof. */
static bool follow(proof *p, const qn_node *n)
{
    const qn_graph *g = p->g;
    int32_t *out = NULL;
    bool has_rows = false, all_known = true;

    if (!make_room(p, 2 * n->n_in + n->n_out)) return false;
    out = p->io + n->n_in;
    for (int32_t i = 0; i < n->n_out; i++) {
        p->types[n->n_in + i] = n->out[i] == QN_NONE ? (qn_type){ 0 } : g->values[n->out[i]].type;
        if (n->out[i] != QN_NONE && !fully_known(g->values[n->out[i]].known)) all_known = false;
    }
    for (int32_t i = 0; i < n->n_out && all_known; i++) /* whatever it read: its elements are expressions, and we can look at them */
        if (n->out[i] != QN_NONE) p->axis[n->out[i]] = known_depends(p, g->values[n->out[i]].known) ? ROWS_SIZE : QN_ROWS_NONE;
    if (all_known) return true;
    if (!n->op || (n->op->flags & QN_OP_RANDOM)) return false;
    for (int32_t i = 0; i < n->n_in; i++) {
        p->types[i] = n->in[i] == QN_NONE ? (qn_type){ .rank = -1 } : g->values[n->in[i]].type;
        p->io[i] = n->in[i] == QN_NONE ? QN_ROWS_NONE : p->axis[n->in[i]];
        if (p->io[i] == ROWS_SIZE) {
            if (i != shape_input(n)) return false;
            p->io[i] = QN_ROWS_NONE;
        }
        if (p->io[i] >= 0) has_rows = true;
    }
    if (has_rows && (n->op->flags & QN_OP_VIEW) && p->io[0] >= 0 && n->n_out == 1) {
        qn_dim outer;

        out[0] = view_axis(p, &p->types[0], p->io[0], p->outer[n->in[0]], &p->types[n->n_in], &outer);
        if (out[0] >= 0) return give(p, n, out, outer);
    }
    if (has_rows) {
        ask_op(p, n, out);
        return give(p, n, out, common_outer(p, n));
    }
    for (int32_t i = 0; i < n->n_out; i++) out[i] = QN_ROWS_NONE;
    if (n->out[0] != QN_NONE && dims_depend(p, &p->types[n->n_in])) out[0] = repeated_axis(p, n);
    for (int32_t i = 1; i < n->n_out; i++)
        if (n->out[i] != QN_NONE && dims_depend(p, &p->types[n->n_in + i])) return false;
    return give(p, n, out, p->one);
}

bool qn_graph_rows_independent(const qn_graph *g)
{
    proof p = { .g = g };
    bool proved;

    p.axis = malloc(((size_t)g->n_values + 1) * sizeof *p.axis);
    p.outer = malloc(((size_t)g->n_values + 1) * sizeof *p.outer);
    p.one = qn_dims_const(g->dims, 1);
    proved = p.axis && p.outer && p.one >= 0;
    for (int32_t i = 0; i < g->n_values && proved; i++) {
        p.axis[i] = QN_ROWS_NONE;
        p.outer[i] = p.one;
    }
    proved = proved && find_symbol(&p);
    for (int32_t i = 0; i < g->n_order && proved; i++) proved = follow(&p, &g->nodes[g->order[i]]);
    for (int32_t i = 0; i < g->n_outputs && proved; i++) {
        const qn_value *v = &g->values[g->outputs[i]];

        proved = p.axis[g->outputs[i]] == 0 && p.outer[g->outputs[i]] == p.one && v->type.rank > 0 && v->type.dims[0] == p.sym;
    }
    qn_dims_clear(g->dims); /* a product that did not fit proved nothing, and is nobody else's error */
    free(p.axis);
    free(p.outer);
    free(p.types);
    free(p.io);
    free(p.nulls);
    return proved;
}
