/* core/plan/model.c - load: file -> import -> canonical -> lowered, each verified before the next, and one plan to see that it can run. */
#include "core/plan/model.h"

#include "core/graph/passes/passes.h"
#include "core/graph/rows.h"
#include "core/ops/ops.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* -- loading -------------------------------------------------------------------------------------------------------------- */

static qn_limits limits_or_defaults(const qn_limits *l)
{
    qn_limits out = *l;

    if (!out.file_bytes) out.file_bytes = (uint64_t)8 << 30;
    if (!out.weight_bytes) out.weight_bytes = (uint64_t)8 << 30;
    if (!out.arena_bytes) out.arena_bytes = (uint64_t)4 << 30;
    if (!out.plan_bytes) out.plan_bytes = (uint64_t)64 << 20;
    if (!out.n_nodes) out.n_nodes = 100000;
    if (!out.depth) out.depth = 32;
    if (!out.loop_steps) out.loop_steps = 5000000;
    if (!out.run_macs) out.run_macs = (uint64_t)100 * 1000 * 1000 * 1000 * 1000;
    return out;
}

static qn_status make_stages(qn_model *m, int dir_fd, const char *name, qn_error *err)
{
    qn_status st = qn_onnx_load(dir_fd, name, &qn_ops, &m->limits, &m->import, &m->info, err);

    if (st == QN_OK) st = qn_graph_sort(m->import, err);
    if (st == QN_OK) st = qn_graph_verify(m->import, err);
    if (st == QN_OK) st = qn_graph_canonicalise(m->import, m->store, &m->canonical, err);
    if (st == QN_OK) st = qn_graph_verify(m->canonical, err);
    if (st == QN_OK) m->rows_independent = qn_graph_rows_independent(m->canonical);
    if (st == QN_OK) st = qn_graph_lower(m->canonical, m->store, m->cpu, m->bits, m->all_values, &m->lowered, err);
    if (st == QN_OK) st = qn_graph_verify(m->lowered, err);
    /* Folding makes sizes known that were computed, so some models can be proved only here. Before any other thread sees the graph: the
     * proof adds expressions to its dims. */
    if (st == QN_OK && !m->rows_independent) m->rows_independent = qn_graph_rows_independent(m->lowered);
    return st;
}

/* A model that cannot be planned is refused now, not at its first request - unless the reason may be the guess at its free dimensions. */
static qn_status try_plan(qn_model *m, qn_error *err)
{
    qn_tensor *shapes = calloc((size_t)m->n_inputs + 1, sizeof *shapes);
    qn_plan *plan = NULL;
    bool guessed = false;
    qn_status st = QN_OK;
    int64_t rows = -1;

    if (!shapes) return qn_error_set(err, QN_ERR_NOMEM, "model: %" PRId32 " inputs", m->n_inputs);
    if (!qn_model_default_shapes(m, 1, shapes)) goto done;
    for (int32_t i = 0; i < m->n_inputs; i++)
        for (int32_t d = 0; d < m->inputs[i].rank; d++) guessed |= m->inputs[i].dims[d] < 0;
    if (m->rows_independent) rows = 1;
    st = qn_model_plan(m, shapes, rows, 1, &plan, err);
    if (guessed && (st == QN_ERR_SHAPE || st == QN_ERR_RANGE || st == QN_ERR_INVALID)) st = QN_OK;
    if (st == QN_OK && err) *err = (qn_error){ .status = QN_OK };
done:
    qn_plan_unref(plan);
    free(shapes);
    return st;
}

static qn_status model_create(const qn_model_options *options, qn_model **out, qn_error *err)
{
    qn_model *m = calloc(1, sizeof *m);
    qn_status st = QN_OK;

    *out = NULL;
    if (!m) return qn_error_set(err, QN_ERR_NOMEM, "model");
    atomic_init(&m->refs, 1);
    atomic_init(&m->batch_free, true);
    m->cpu = options->cpu;
    m->bits = options->bits;
    m->all_values = options->all_values;
    m->limits = limits_or_defaults(&options->limits);
    qn_arena_init(&m->arena, 0);
    qn_arena_init(&m->strings, 0);
    qn_map_init(&m->text_index);
    pthread_mutex_init(&m->strings_mu, NULL);
    qn_plan_cache_init(&m->cache, m->limits.plan_bytes);
    if (options->store)
        m->store = qn_store_ref(options->store);
    else
        st = qn_store_create(&m->store, err);
    if (st != QN_OK) {
        qn_model_unref(m);
        return st;
    }
    *out = m;
    return QN_OK;
}

qn_status qn_model_load(int dir_fd, const char *name, const qn_model_options *options, qn_model **out, qn_error *err)
{
    qn_model *m = NULL;
    qn_status st = model_create(options, &m, err);

    *out = NULL;
    if (st == QN_OK) st = make_stages(m, dir_fd, name, err);
    if (st == QN_OK) {
        qn_digest_hex(&m->info.file.digest, m->digest);
        st = qn_model_make_ports(m, err);
    }
    if (st == QN_OK) st = try_plan(m, err);
    if (st == QN_OK) {
        *out = m;
        m = NULL;
    }
    qn_model_unref(m);
    return st;
}

qn_model *qn_model_ref(qn_model *m)
{
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void qn_model_unref(qn_model *m)
{
    if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1) return;
    qn_plan_cache_release(&m->cache); /* first: plans point into the graph and hold blobs of the store */
    qn_graph_destroy(m->lowered);
    qn_graph_destroy(m->canonical);
    qn_graph_destroy(m->import);
    if (m->info.source) m->info.source->unref(m->info.source);
    qn_store_unref(m->store);
    qn_map_release(&m->text_index);
    free(m->texts);
    qn_arena_release(&m->strings);
    pthread_mutex_destroy(&m->strings_mu);
    qn_arena_release(&m->arena);
    free(m);
}

/* -- plans ---------------------------------------------------------------------------------------------------------------- */

static bool is_const_port(const qn_model *m, int32_t i) { return m->inputs[i].optional; }

/* Words of the key: see qn_plan_key. */
static int32_t write_key(const qn_model *m, const qn_tensor *shapes, int64_t capacity, int team_size, int64_t *words)
{
    int32_t n = 0;

    words[n++] = 0; /* the main graph */
    words[n++] = team_size;
    words[n++] = capacity > 0 ? capacity : -1;
    for (int32_t i = 0; i < m->n_inputs; i++) {
        if (is_const_port(m, i)) continue;
        words[n++] = shapes[i].rank;
        for (int32_t d = 0; d < shapes[i].rank; d++) words[n++] = d == 0 && capacity > 0 ? -1 : shapes[i].dims[d];
    }
    return n;
}

static int64_t capacity_for(int64_t rows)
{
    int64_t c = 1;

    while (c < rows && c <= INT64_MAX / 2) c *= 2;
    return c < rows ? rows : c;
}

/* From the cache, or made and put there; *out NULL and QN_OK if rows must be a number. */
static qn_status find_or_make(qn_model *m, const qn_tensor *shapes, int64_t capacity, int team_size, int64_t *words, qn_plan **out,
                              qn_error *err)
{
    qn_plan_request rq = { .graph = m->lowered,
                           .store = m->store,
                           .cpu = m->cpu,
                           .bits = m->bits,
                           .all_values = m->all_values,
                           .arena_limit = m->limits.arena_bytes,
                           .macs_limit = m->limits.run_macs,
                           .team_size = team_size,
                           .capacity = capacity,
                           .n_inputs = m->n_inputs,
                           .inputs = m->input_values,
                           .shapes = shapes };
    bool batch_free;
    qn_status st;

    rq.key.n = write_key(m, shapes, capacity, team_size, words);
    rq.key.words = words;
    *out = qn_plan_cache_find(&m->cache, &rq.key);
    if (*out) return QN_OK;
    st = qn_plan_make(&rq, out, &batch_free, err);
    if (st == QN_OK && *out) *out = qn_plan_cache_add(&m->cache, *out);
    return st;
}

qn_status qn_model_plan(qn_model *m, const qn_tensor *shapes, int64_t rows, int team_size, qn_plan **out, qn_error *err)
{
    int64_t *words = calloc(3 + (size_t)m->n_inputs * (QN_MAX_RANK + 1), sizeof *words);
    bool free_rows = rows >= 0 && atomic_load_explicit(&m->batch_free, memory_order_relaxed);
    qn_status st = QN_OK;

    *out = NULL;
    if (!words) return qn_error_set(err, QN_ERR_NOMEM, "plan key of %" PRId32 " inputs", m->n_inputs);
    if (free_rows) {
        int64_t capacity = capacity_for(rows);

        st = find_or_make(m, shapes, capacity, team_size, words, out, err);
        /* rounding up may be what breaks the limit */
        if (st == QN_ERR_LIMIT && rows > 0 && capacity != rows) st = find_or_make(m, shapes, rows, team_size, words, out, err);
    }
    if (st == QN_OK && !*out) {
        st = find_or_make(m, shapes, 0, team_size, words, out, err);
        if (st == QN_OK && free_rows) atomic_store_explicit(&m->batch_free, false, memory_order_relaxed);
    }
    free(words);
    /* What the plan needs is packed by now: the decompressed file need not be held beside it. */
    if (m->info.source->trim) m->info.source->trim(m->info.source);
    return st;
}

qn_status qn_model_plan_sub(qn_model *m, const qn_graph *g, int32_t n, const qn_value_id *ids, const qn_tensor *shapes, int team_size,
                            qn_plan **out, qn_error *err)
{
    int64_t *words = calloc(3 + (size_t)n * (QN_MAX_RANK + 1), sizeof *words);
    qn_plan_request rq = { .graph = g,
                           .store = m->store,
                           .cpu = m->cpu,
                           .bits = m->bits,
                           .arena_limit = m->limits.arena_bytes,
                           .macs_limit = m->limits.run_macs,
                           .team_size = team_size,
                           .n_inputs = n,
                           .inputs = ids,
                           .shapes = shapes };
    bool batch_free;
    qn_status st = QN_OK;

    *out = NULL;
    if (!words) return qn_error_set(err, QN_ERR_NOMEM, "plan key of %" PRId32 " inputs", n);
    words[rq.key.n++] = (int64_t)(intptr_t)g; /* graphs live as long as the model */
    words[rq.key.n++] = team_size;
    for (int32_t i = 0; i < n; i++) {
        words[rq.key.n++] = shapes[i].rank * QN_DTYPE_COUNT + (int64_t)shapes[i].dtype;
        for (int32_t d = 0; d < shapes[i].rank; d++) words[rq.key.n++] = shapes[i].dims[d];
    }
    rq.key.words = words;
    *out = qn_plan_cache_find(&m->cache, &rq.key);
    if (!*out) {
        st = qn_plan_make(&rq, out, &batch_free, err);
        if (st == QN_OK) *out = qn_plan_cache_add(&m->cache, *out);
    }
    free(words);
    return st;
}

/* -- asking --------------------------------------------------------------------------------------------------------------- */

int32_t qn_model_n_inputs(const qn_model *m) { return m->n_inputs; }
int32_t qn_model_n_outputs(const qn_model *m) { return m->n_outputs; }
const qn_port *qn_model_input(const qn_model *m, int32_t i) { return i >= 0 && i < m->n_inputs ? &m->inputs[i] : NULL; }
const qn_port *qn_model_output(const qn_model *m, int32_t i) { return i >= 0 && i < m->n_outputs ? &m->outputs[i] : NULL; }
bool qn_model_rows_independent(const qn_model *m) { return m->rows_independent; }
const char *qn_model_digest(const qn_model *m) { return m->digest; }

const char *qn_model_metadata(const qn_model *m, const char *key)
{
    for (int32_t i = 0; i < m->import->n_metadata; i++)
        if (strcmp(m->import->metadata[i].key, key) == 0) return m->import->metadata[i].value;
    return NULL;
}
