/* core/graph/passes/passes.c - which passes run, in which order. */
#include "core/graph/passes/passes.h"

#include "core/graph/passes/rewrite.h"

static qn_pass_fn *const canonical[] = { qn_pass_normalise, qn_pass_gradient, qn_pass_identity,
                                         qn_pass_layernorm, qn_pass_gelu,     qn_pass_attention };

/* Integers first: folding and fusing would hide the patterns that decide what ONNX Runtime computes in integers. */
static qn_pass_fn *const lowered[] = { qn_pass_dq_transpose, qn_pass_fold_keep_dq, qn_pass_clip_quant, qn_pass_qdq_move,
                                       qn_pass_qlinear,      qn_pass_fold,         qn_pass_batchnorm,  qn_pass_epilogue };

static qn_status run_steps(qn_pass *p, qn_pass_fn *const *s, size_t n, qn_error *err)
{
    qn_status st = qn_op_index_init(&p->ops, p->g->ops, err);

    for (size_t i = 0; i < n && st == QN_OK; i++) st = qn_pass_run(p, s[i], err);
    qn_op_index_release(&p->ops);
    return st;
}

qn_status qn_pass_canonical_sub(const qn_pass *outer, qn_graph *sub, qn_error *err)
{
    qn_pass p = { .g = sub, .store = outer->store, .cpu = outer->cpu, .bits = outer->bits };

    sub->store = outer->store;
    return run_steps(&p, canonical, sizeof canonical / sizeof canonical[0], err);
}

/* All lowered passes on g, then on the graphs inside it. */
static qn_status lower_graph(const qn_pass *like, qn_graph *g, qn_error *err)
{
    qn_pass p = { .g = g, .store = like->store, .cpu = like->cpu, .bits = like->bits };
    qn_status st;

    g->store = like->store;
    st = run_steps(&p, lowered, sizeof lowered / sizeof lowered[0], err);
    for (int32_t i = 0; i < g->n_order && st == QN_OK; i++) {
        const qn_node *n = &g->nodes[g->order[i]];
        qn_graph *sub;

        qn_pass_sink_constants(g, n);
        for (int32_t k = 0; (sub = qn_node_subgraph(n, k)) && st == QN_OK; k++) st = lower_graph(like, sub, err);
    }
    return st == QN_OK ? qn_pass_open_captures(g, err) : st;
}

qn_status qn_graph_canonicalise(const qn_graph *import, qn_store *store, qn_graph **out, qn_error *err)
{
    qn_pass p = { .store = store, .cpu = 0, .bits = QN_BITS_EXACT };
    qn_status st = qn_graph_clone(import, QN_STAGE_CANONICAL, &p.g, err);

    *out = NULL;
    if (st != QN_OK) return st;
    p.g->store = store;
    st = qn_pass_functions(p.g, import, err);
    if (st == QN_OK) st = qn_pass_bind_gradients(p.g, err);
    if (st == QN_OK) st = qn_graph_sort(p.g, err);
    if (st == QN_OK) st = run_steps(&p, canonical, sizeof canonical / sizeof canonical[0], err);
    if (st == QN_OK) st = qn_graph_verify(p.g, err);
    if (st == QN_OK)
        *out = p.g;
    else
        qn_graph_destroy(p.g);
    return st;
}

qn_status qn_graph_lower(const qn_graph *canonical_graph, qn_store *store, unsigned cpu, qn_bits bits, bool all_values, qn_graph **out,
                         qn_error *err)
{
    qn_pass p = { .store = store, .cpu = cpu, .bits = bits };
    qn_status st = qn_graph_clone(canonical_graph, QN_STAGE_LOWERED, &p.g, err);

    (void)all_values; /* values that are gone after lowering have no bits to report; the ones that stay keep their names */
    *out = NULL;
    if (st != QN_OK) return st;
    p.g->store = store;
    st = qn_graph_infer(p.g, err);
    if (st == QN_OK) st = lower_graph(&p, p.g, err);
    if (st == QN_OK) st = qn_graph_infer(p.g, err); /* of what the passes made */
    if (st == QN_OK) st = qn_graph_verify(p.g, err);
    if (st == QN_OK)
        *out = p.g;
    else
        qn_graph_destroy(p.g);
    return st;
}
