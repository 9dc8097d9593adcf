/* core/plan/ports.c - inputs and outputs as the file declares them, and requests checked against them.
 * An input that is also an initializer has a default. Up to IR version 3 every initializer had to be an input: there it is a constant
 * and no port. From version 4 on it is an optional port; kernels are packed for its default, so another value is refused. */
#include "core/plan/model.h"

#include <inttypes.h>
#include <string.h>

static void fill_port(qn_port *p, const char *name, const qn_type *t, const qn_dims *dims)
{
    p->name = name;
    p->dtype = t->dtype;
    p->rank = t->rank;
    for (int32_t d = 0; d < t->rank; d++) {
        if (t->dims[d] == QN_DIM_UNKNOWN || !qn_dims_value(dims, t->dims[d], &p->dims[d])) p->dims[d] = -1;
        p->symbols[d] = t->dims[d] == QN_DIM_UNKNOWN ? NULL : qn_dims_symbol_name(dims, t->dims[d]);
    }
}

static void fill_const_port(qn_port *p, const char *name, const qn_weight *w)
{
    qn_tensor shape;

    qn_weight_shape(w, &shape);
    p->name = name;
    p->dtype = shape.dtype;
    p->rank = shape.rank;
    memcpy(p->dims, shape.dims, sizeof p->dims);
    p->optional = true;
}

static qn_status port_kind(qn_model *m, const qn_value *v, const char *what, qn_port *p, qn_error *err)
{
    m->has_items |= v->type.kind != QN_KIND_TENSOR;
    p->kind = v->type.kind == QN_KIND_SEQUENCE   ? QN_PORT_SEQUENCE
              : v->type.kind == QN_KIND_OPTIONAL ? (v->type.of == QN_KIND_SEQUENCE ? QN_PORT_OPTIONAL_SEQUENCE : QN_PORT_OPTIONAL)
                                                 : QN_PORT_TENSOR;
    if (v->type.kind != QN_KIND_MAP) return QN_OK;
    return qn_error_set(err, QN_ERR_UNSUPPORTED, "%s %.80s is unsupported: a map", what, v->name);
}

static qn_status make_inputs(qn_model *m, qn_error *err)
{
    const qn_graph *g = m->import;

    for (int32_t i = 0; i < g->n_inputs; i++) {
        const qn_value *v = &g->values[g->inputs[i]];
        int32_t at = m->n_inputs;
        qn_value_id id;
        qn_status st;

        if (v->weight && m->info.ir_version < 4) continue;
        if (v->weight)
            fill_const_port(&m->inputs[at], v->name, v->weight);
        else
            fill_port(&m->inputs[at], v->name, &v->type, g->dims);
        st = port_kind(m, v, "input", &m->inputs[at], err);
        if (st != QN_OK) return st;
        id = qn_map_get(&m->lowered->by_name, v->name);
        m->input_values[at] = id >= 0 && !m->lowered->values[id].dead && m->lowered->values[id].is_input ? id : QN_NONE;
        m->input_default[at] = v->weight;
        m->n_inputs++;
    }
    return QN_OK;
}

/* Where each symbol of the inputs comes first. */
static qn_status find_symbols(qn_model *m, qn_error *err)
{
    qn_map first;
    qn_status st = QN_OK;

    qn_map_init(&first);
    for (int32_t i = 0; i < m->n_inputs && st == QN_OK; i++) {
        for (int32_t d = 0; d < QN_MAX_RANK && st == QN_OK; d++) {
            int32_t *home = &m->symbol_home[i * QN_MAX_RANK + d];
            const char *symbol = m->inputs[i].symbols[d];

            *home = symbol ? qn_map_get(&first, symbol) : -1;
            if (!symbol || *home >= 0) continue;
            *home = i * QN_MAX_RANK + d;
            if (!qn_map_put(&first, symbol, *home)) st = qn_error_set(err, QN_ERR_NOMEM, "model: symbols of the inputs");
        }
    }
    qn_map_release(&first);
    return st;
}

/* What the file leaves out about an output, inference may know. */
static qn_status make_outputs(qn_model *m, qn_error *err)
{
    for (int32_t i = 0; i < m->import->n_outputs; i++) {
        const qn_value *v = &m->import->values[m->import->outputs[i]], *c = &m->canonical->values[m->canonical->outputs[i]];
        qn_port *p = &m->outputs[i];
        qn_port inferred = { .name = v->name };
        qn_status st;

        fill_port(p, v->name, &v->type, m->import->dims);
        if (c->weight)
            fill_const_port(&inferred, v->name, c->weight);
        else
            fill_port(&inferred, v->name, &c->type, m->canonical->dims);
        inferred.optional = false;
        if (p->dtype == QN_DTYPE_NONE) p->dtype = inferred.dtype;
        if (p->rank < 0) {
            *p = inferred;
        } else if (p->rank == inferred.rank) {
            for (int32_t d = 0; d < p->rank; d++) {
                if (p->dims[d] < 0 && !p->symbols[d]) {
                    p->dims[d] = inferred.dims[d];
                    p->symbols[d] = inferred.symbols[d];
                }
            }
        }
        st = port_kind(m, v->type.dtype == QN_DTYPE_NONE && c->type.kind != v->type.kind ? c : v, "output", p, err);
        if (st != QN_OK) return st;
        m->n_outputs++;
    }
    return QN_OK;
}

/* Values of the file that the lowered graph still computes. */
static qn_status make_kept(qn_model *m, qn_error *err)
{
    const qn_graph *g = m->lowered;

    if (!m->all_values) return QN_OK;
    m->kept = qn_arena_array(&m->arena, (size_t)g->n_values, sizeof *m->kept);
    if (!m->kept) return qn_error_set(err, QN_ERR_NOMEM, "model: %" PRId32 " values", g->n_values);
    for (int32_t id = 0; id < g->n_values; id++) {
        if (g->values[id].dead || g->values[id].producer == QN_NONE) continue;
        if (qn_map_get(&m->import->by_name, g->values[id].name) >= 0) m->kept[m->n_kept++] = id;
    }
    return QN_OK;
}

/* A batch needs a free first dimension on both sides of the model. */
static bool has_batch(const qn_model *m)
{
    int32_t n = 0;

    for (int32_t i = 0; i < m->n_inputs; i++) {
        if (m->inputs[i].optional) continue;
        if (m->inputs[i].kind != QN_PORT_TENSOR || m->inputs[i].rank < 1 || m->inputs[i].dims[0] >= 0) return false;
        n++;
    }
    return n > 0;
}

qn_status qn_model_make_ports(qn_model *m, qn_error *err)
{
    qn_status st;

    m->inputs = qn_arena_array(&m->arena, (size_t)m->import->n_inputs, sizeof *m->inputs);
    m->outputs = qn_arena_array(&m->arena, (size_t)m->import->n_outputs, sizeof *m->outputs);
    m->input_values = qn_arena_array(&m->arena, (size_t)m->import->n_inputs, sizeof *m->input_values);
    m->symbol_home = qn_arena_array(&m->arena, (size_t)m->import->n_inputs, QN_MAX_RANK * sizeof *m->symbol_home);
    m->input_default = qn_arena_array(&m->arena, (size_t)m->import->n_inputs, sizeof(qn_weight *));
    if (!m->inputs || !m->outputs || !m->input_values || !m->symbol_home || !m->input_default)
        return qn_error_set(err, QN_ERR_NOMEM, "model: %" PRId32 " inputs, %" PRId32 " outputs", m->import->n_inputs, m->import->n_outputs);
    if (m->import->n_inputs > INT32_MAX / QN_MAX_RANK)
        return qn_error_set(err, QN_ERR_LIMIT, "model: %" PRId32 " inputs", m->import->n_inputs);
    st = make_inputs(m, err);
    if (st == QN_OK) st = find_symbols(m, err);
    if (st == QN_OK) st = make_outputs(m, err);
    if (st == QN_OK) st = make_kept(m, err);
    m->rows_independent = m->rows_independent && has_batch(m);
    return st;
}

bool qn_model_default_shapes(const qn_model *m, int64_t free_dim, qn_tensor *shapes)
{
    for (int32_t i = 0; i < m->n_inputs; i++) {
        const qn_port *p = &m->inputs[i];

        if (p->kind != QN_PORT_TENSOR) continue;
        if (p->rank < 0) return false;
        shapes[i] = (qn_tensor){ .dtype = p->dtype, .rank = p->rank };
        for (int32_t d = 0; d < p->rank; d++) shapes[i].dims[d] = p->dims[d] >= 0 ? p->dims[d] : free_dim;
    }
    return true;
}

/* -- requests ------------------------------------------------------------------------------------------------------------- */

static qn_status check_default(const qn_model *m, int32_t i, const qn_tensor *t, qn_error *err)
{
    qn_tensor want;
    qn_status st = qn_weight_dense(m->input_default[i], m->store, &want, err);

    if (st != QN_OK) return st;
    if (want.bytes == t->bytes && (t->bytes == 0 || memcmp(want.data, t->data, t->bytes) == 0)) return QN_OK;
    return qn_error_set(err, QN_ERR_UNSUPPORTED, "input %.80s has a default that is a constant of this model: another value is unsupported",
                        m->inputs[i].name);
}

static qn_status check_input(const qn_model *m, int32_t i, const qn_tensor *t, qn_error *err)
{
    const qn_port *p = &m->inputs[i];
    char got[128], want[128];

    if (t->dtype == QN_DTYPE_NONE) {
        if (p->optional || p->kind != QN_PORT_TENSOR) return QN_OK;
        return qn_error_set(err, QN_ERR_INVALID, "input %.80s is missing", p->name);
    }
    if (p->kind != QN_PORT_TENSOR) return qn_error_set(err, QN_ERR_DTYPE, "input %.80s is a tensor, expected a list", p->name);
    if (p->dtype != QN_DTYPE_NONE && t->dtype != p->dtype)
        return qn_error_set(err, QN_ERR_DTYPE, "input %.80s is %s, expected %s", p->name, qn_dtype_name(t->dtype), qn_dtype_name(p->dtype));
    if (t->rank < 0 || t->rank > QN_MAX_RANK) return qn_error_set(err, QN_ERR_SHAPE, "input %.80s has rank %" PRId32, p->name, t->rank);
    if (p->rank >= 0) {
        bool fits = t->rank == p->rank;

        for (int32_t d = 0; fits && d < p->rank; d++) fits = p->dims[d] < 0 || p->dims[d] == t->dims[d];
        if (!fits)
            return qn_error_set(err, QN_ERR_SHAPE, "input %.60s has shape %s, expected %s", p->name,
                                qn_shape_print(t->rank, t->dims, got, sizeof got), qn_shape_print(p->rank, p->dims, want, sizeof want));
    }
    if (t->dtype != QN_STRING) {
        size_t bytes;
        qn_status st = qn_shape_bytes(t->dtype, t->rank, t->dims, &bytes, err);

        if (st != QN_OK) {
            qn_error_prefix(err, "input %.80s", p->name);
            return st;
        }
        if (bytes != t->bytes || (bytes && !t->data))
            return qn_error_set(err, QN_ERR_SHAPE, "input %.60s has %zu bytes, its shape %s needs %zu", p->name, t->data ? t->bytes : 0,
                                qn_shape_print(t->rank, t->dims, got, sizeof got), bytes);
    }
    return p->optional ? check_default(m, i, t, err) : QN_OK;
}

/* The same name means the same number: passes relied on it. */
static qn_status check_symbols(const qn_model *m, const qn_tensor *inputs, int32_t i, qn_error *err)
{
    const qn_port *p = &m->inputs[i];

    for (int32_t d = 0; d < p->rank; d++) {
        int32_t home = m->symbol_home[i * QN_MAX_RANK + d], j = home / QN_MAX_RANK;

        if (home < 0 || inputs[i].dims[d] == inputs[j].dims[home % QN_MAX_RANK]) continue;
        return qn_error_set(err, QN_ERR_SHAPE, "dimension %.40s is %" PRId64 " in input %.40s and %" PRId64 " in input %.40s",
                            p->symbols[d], inputs[j].dims[home % QN_MAX_RANK], m->inputs[j].name, inputs[i].dims[d], p->name);
    }
    return QN_OK;
}

qn_status qn_model_check_inputs(const qn_model *m, const qn_tensor *inputs, int64_t *rows, qn_error *err)
{
    int32_t first = -1;

    *rows = -1;
    for (int32_t i = 0; i < m->n_inputs; i++) {
        qn_status st = check_input(m, i, &inputs[i], err);

        if (st == QN_OK) st = check_symbols(m, inputs, i, err);
        if (st != QN_OK) return st;
        if (!m->rows_independent || m->inputs[i].optional) continue;
        if (first < 0) {
            first = i;
            *rows = inputs[i].dims[0];
        } else if (inputs[i].dims[0] != *rows) {
            return qn_error_set(err, QN_ERR_SHAPE, "input %.60s has %" PRId64 " rows, input %.60s has %" PRId64, m->inputs[first].name,
                                *rows, m->inputs[i].name, inputs[i].dims[0]);
        }
    }
    return QN_OK;
}
