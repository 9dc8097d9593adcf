/* core/plan/sub.c - frames for the subgraphs of a step, made when they first run. */
#include "core/plan/frame.h"

#include "core/graph/infer.h"

#include <stdlib.h>

void qn_dynamic_drop_children(qn_dynamic *d)
{
    for (int32_t i = 0; i < d->n_children; i++)
        for (int turn = 0; turn < 2; turn++) qn_frame_destroy(d->children[i].turn[turn]);
    free(d->children);
    d->children = NULL;
    d->n_children = 0;
}

/* Inputs of the node behind its own: where the captures of `sub` begin. */
static int32_t captures_at(const qn_node *n, const qn_graph *sub)
{
    int32_t at = n->n_in;
    bool from_here = false;
    const qn_graph *g;

    for (int32_t i = 0; (g = qn_node_subgraph(n, i)); i++) {
        from_here |= g == sub;
        if (from_here) at -= g->n_captures;
    }
    return at;
}

static qn_status child_of(qn_frame *f, const qn_graph *sub, qn_child **out, qn_error *err)
{
    qn_dynamic *d = &f->dynamics[f->step];
    qn_child *grown;

    for (int32_t i = 0; i < d->n_children; i++) {
        *out = &d->children[i];
        if (d->children[i].graph == sub) return QN_OK;
    }
    grown = realloc(d->children, (size_t)(d->n_children + 1) * sizeof *grown); /* a node has a handful of graphs */
    if (!grown) return qn_error_set(err, QN_ERR_NOMEM, "a subgraph");
    d->children = grown;
    grown[d->n_children] = (qn_child){ .graph = sub };
    *out = &grown[d->n_children++];
    return QN_OK;
}

static qn_status create_frame(qn_frame *f, const qn_graph *sub, qn_frame **out, qn_error *err)
{
    int32_t n = sub->n_inputs + sub->n_captures;
    qn_value_id *ids = calloc((size_t)n + 1, sizeof *ids);

    if (!ids) return qn_error_set(err, QN_ERR_NOMEM, "a subgraph of %d inputs", n);
    for (int32_t i = 0; i < sub->n_inputs; i++) ids[i] = sub->inputs[i];
    for (int32_t i = 0; i < sub->n_captures; i++) ids[sub->n_inputs + i] = sub->captures[i].inner;
    return qn_frame_create(f->session, sub, n, NULL, ids, out, err);
}

qn_status qn_run_sub(qn_run *r, const qn_graph *sub, int32_t turn, const qn_tensor *in, const qn_items *const *items, qn_error *err)
{
    qn_frame *f = r->frame;
    int32_t n = sub->n_inputs + sub->n_captures, from;
    qn_child *child = NULL;
    qn_tensor *all;
    const qn_items **lists;
    qn_status st;

    if (!f) return qn_error_set(err, QN_ERR_UNSUPPORTED, "a subgraph without a session is unsupported");
    st = child_of(f, sub, &child, err);
    if (st == QN_OK && !child->turn[turn]) st = create_frame(f, sub, &child->turn[turn], err);
    if (st != QN_OK) return st;
    all = calloc((size_t)n + 1, sizeof *all);
    lists = calloc((size_t)n + 1, sizeof(qn_items *));
    if (!all || !lists) {
        st = qn_error_set(err, QN_ERR_NOMEM, "a subgraph of %d inputs", n);
        goto done;
    }
    from = captures_at(r->node, sub);
    for (int32_t i = 0; i < n; i++) {
        all[i] = i < sub->n_inputs ? in[i] : r->in[from + i - sub->n_inputs];
        lists[i] = i >= sub->n_inputs ? qn_run_items(r, from + i - sub->n_inputs) : items ? items[i] : NULL;
    }
    f->session->serial++;
    st = qn_frame_run_sub(child->turn[turn], all, lists, err);
done:
    free(all);
    free(lists);
    return st;
}

void qn_run_sub_output(const qn_run *r, const qn_graph *sub, int32_t turn, int32_t i, qn_tensor *t, const qn_items **items)
{
    const qn_dynamic *d = &r->frame->dynamics[r->frame->step];

    *t = (qn_tensor){ .dtype = QN_DTYPE_NONE };
    *items = NULL;
    for (int32_t k = 0; k < d->n_children; k++)
        if (d->children[k].graph == sub) qn_frame_output(d->children[k].turn[turn], i, t, items);
}
