/* core/plan/inspect.c - what a model costs, and which kernel runs what. */
#include "core/plan/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- steps ---------------------------------------------------------------------------------------------------------------- */

/* A copy of text that lives as long as the model, each text once; NULL when memory is out. Under strings_mu. */
static const char *keep_text(qn_model *m, const char *text)
{
    int32_t at = qn_map_get(&m->text_index, text);
    const char **grown;
    char *copy;

    if (at >= 0) return m->texts[at];
    if ((m->n_texts & (m->n_texts - 1)) == 0) { /* full at powers of two */
        grown = realloc(m->texts, (size_t)(m->n_texts ? 2 * m->n_texts : 1) * sizeof(const char *));
        if (!grown) return NULL;
        m->texts = grown;
    }
    copy = qn_arena_strdup(&m->strings, text);
    if (!copy || !qn_map_put(&m->text_index, copy, m->n_texts)) return NULL;
    m->texts[m->n_texts++] = copy;
    return copy;
}

static qn_status report_steps(qn_model *m, const qn_plan *p, qn_step_info *steps, qn_error *err)
{
    qn_status st = QN_OK;

    pthread_mutex_lock(&m->strings_mu);
    for (int32_t i = 0; i < p->n_steps; i++) {
        const qn_plan_step *s = &p->steps[i];

        steps[i] = (qn_step_info){
            .node = s->node->name, .op = keep_text(m, s->op), .n_params = s->n_params, .weight_bytes = s->weight_bytes, .macs = s->macs
        };
        steps[i].kernel = keep_text(m, s->dynamic ? "chosen at run time" : s->kernel);
        steps[i].why = keep_text(m, s->dynamic ? "a shape depends on data" : s->why);
        if (!steps[i].op || !steps[i].kernel || !steps[i].why) {
            st = qn_error_set(err, QN_ERR_NOMEM, "model: %" PRId32 " steps", p->n_steps);
            break;
        }
    }
    pthread_mutex_unlock(&m->strings_mu);
    return st;
}

/* The plan for the model's declared shapes with free dimensions set to free_dim; one reference. */
static qn_status default_plan(qn_model *m, int64_t free_dim, qn_plan **out, qn_error *err)
{
    qn_tensor *shapes = calloc((size_t)m->n_inputs + 1, sizeof *shapes);
    qn_status st = QN_OK;

    *out = NULL;
    if (!shapes) return qn_error_set(err, QN_ERR_NOMEM, "model: %" PRId32 " inputs", m->n_inputs);
    if (free_dim < 0)
        st = qn_error_set(err, QN_ERR_INVALID, "free dimensions set to %" PRId64 ", expected 0 or more", free_dim);
    else if (!qn_model_default_shapes(m, free_dim, shapes))
        st = qn_error_set(err, QN_ERR_SHAPE, "an input has no declared rank: the model can be planned only for a request");
    if (st == QN_OK) st = qn_model_plan(m, shapes, m->rows_independent ? free_dim : -1, 1, out, err);
    free(shapes);
    return st;
}

qn_status qn_model_steps(qn_model *m, int64_t free_dim, qn_step_info **steps, int32_t *n, qn_error *err)
{
    qn_plan *p = NULL;
    qn_status st = default_plan(m, free_dim, &p, err);

    *steps = NULL;
    *n = 0;
    if (st != QN_OK) return st;
    *steps = calloc((size_t)p->n_steps + 1, sizeof **steps);
    if (!*steps) st = qn_error_set(err, QN_ERR_NOMEM, "model: %" PRId32 " steps", p->n_steps);
    if (st == QN_OK) st = report_steps(m, p, *steps, err);
    if (st == QN_OK) *n = p->n_steps;
    if (st != QN_OK) {
        free(*steps);
        *steps = NULL;
    }
    qn_plan_unref(p);
    return st;
}

qn_status qn_model_certify(qn_model *m, int64_t free_dim, qn_certificate *out, qn_error *err)
{
    qn_plan *p = NULL;
    qn_status st = default_plan(m, free_dim, &p, err);

    *out = (qn_certificate){ 0 };
    if (st != QN_OK) return st;
    out->macs = p->macs;
    out->arena_bytes = p->arena_bytes;
    for (int32_t i = 0; i < p->n_steps; i++) out->n_dynamic += p->steps[i].dynamic;
    qn_plan_unref(p);
    return QN_OK;
}

/* -- ops ------------------------------------------------------------------------------------------------------------------ */

static int more_nodes_first(const void *a, const void *b)
{
    const qn_op_count *x = a, *y = b;

    if (x->n_nodes != y->n_nodes) return x->n_nodes < y->n_nodes ? 1 : -1;
    return strcmp(x->op, y->op);
}

/* counts has room for one entry a node; seen maps a kept text to its entry. Under strings_mu. */
static qn_status count_ops(qn_model *m, qn_op_count *counts, qn_map *seen, int32_t *n, qn_error *err)
{
    const qn_graph *g = m->import;
    char buf[256];

    for (int32_t i = 0; i < g->n_nodes; i++) {
        const qn_node *node = &g->nodes[i];
        const char *op;
        int32_t at;

        if (node->dead) continue;
        snprintf(buf, sizeof buf, "%s%s%s", node->domain, node->domain[0] ? "." : "", node->op_type);
        op = keep_text(m, buf);
        at = op ? qn_map_get(seen, op) : -1;
        if (at < 0) {
            at = (*n)++;
            counts[at] = (qn_op_count){ .op = op };
            if (!op || !qn_map_put(seen, op, at)) return qn_error_set(err, QN_ERR_NOMEM, "model: names of ops");
        }
        counts[at].n_nodes++;
    }
    return QN_OK;
}

qn_status qn_model_op_counts(qn_model *m, qn_op_count **counts, int32_t *n, qn_error *err)
{
    qn_map seen;
    qn_status st;

    *n = 0;
    *counts = calloc((size_t)m->import->n_nodes + 1, sizeof **counts);
    if (!*counts) return qn_error_set(err, QN_ERR_NOMEM, "model: %" PRId32 " nodes", m->import->n_nodes);
    qn_map_init(&seen);
    pthread_mutex_lock(&m->strings_mu);
    st = count_ops(m, *counts, &seen, n, err);
    pthread_mutex_unlock(&m->strings_mu);
    qn_map_release(&seen);
    if (st != QN_OK) {
        free(*counts);
        *counts = NULL;
        *n = 0;
        return st;
    }
    qsort(*counts, (size_t)*n, sizeof **counts, more_nodes_first);
    return QN_OK;
}

/* -- bytes ---------------------------------------------------------------------------------------------------------------- */

static int by_address(const void *a, const void *b)
{
    const uintptr_t x = (uintptr_t) * (const void *const *)a, y = (uintptr_t) * (const void *const *)b;

    return (x > y) - (x < y);
}

/* Packed blobs of all cached plans, each once. */
static uint64_t packed_bytes(qn_model *m)
{
    const qn_blob **all = NULL;
    size_t n = 0;
    uint64_t bytes = 0;

    pthread_mutex_lock(&m->cache.mu);
    for (const qn_plan *p = m->cache.newest; p; p = p->older) n += (size_t)p->blobs.n;
    all = n ? malloc(n * sizeof(const qn_blob *)) : NULL;
    n = 0;
    for (const qn_plan *p = m->cache.newest; p && all; p = p->older)
        for (int32_t i = 0; i < p->blobs.n; i++) all[n++] = p->blobs.blobs[i];
    if (n) qsort(all, n, sizeof *all, by_address);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || all[i] != all[i - 1]) bytes += all[i]->bytes;
    pthread_mutex_unlock(&m->cache.mu);
    free(all);
    return bytes;
}

/* Constants of the lowered graph whose dense bytes are in memory. Two values of one weight are rare: passes share values instead. */
static uint64_t dense_bytes(const qn_graph *g)
{
    uint64_t bytes = 0;

    for (int32_t id = 0; id < g->n_values; id++) {
        qn_tensor t;

        if (g->values[id].dead || !g->values[id].weight) continue;
        qn_weight_shape(g->values[id].weight, &t);
        if (t.data) bytes += t.bytes;
    }
    return bytes;
}

uint64_t qn_model_weight_bytes(const qn_model *m) { return packed_bytes((qn_model *)(uintptr_t)m) + dense_bytes(m->lowered); }

static int64_t live_nodes(const qn_graph *g)
{
    int64_t n = 0;

    for (int32_t i = 0; i < g->n_nodes; i++) n += !g->nodes[i].dead;
    return n;
}

void qn_model_get_stats(const qn_model *m, qn_model_stats *out)
{
    *out = (qn_model_stats){ .n_params = m->info.n_params,
                             .n_nodes_import = m->info.n_nodes,
                             .n_nodes_canonical = live_nodes(m->canonical),
                             .n_nodes_lowered = live_nodes(m->lowered),
                             .opset = m->info.opset,
                             .file_bytes = m->info.file.stored_bytes,
                             .import_bytes = m->info.weight_bytes,
                             .held_bytes = qn_model_weight_bytes(m) };
}
