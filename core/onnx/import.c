/* core/onnx/import.c - see import.h. ModelProto is read first, all but its graph: opsets come after the graph in most files, and nodes need
 * them. Then graphs, outermost first, until none waits. */
#include "core/onnx/import.h"

#include "core/base/checked.h"
#include "core/onnx/read.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_IR_VERSION 99 /* beyond it, whatever it is, it is no IR version of ONNX */

/* -- the reader ----------------------------------------------------------------------------------------------------------- */

static qn_limits with_defaults(const qn_limits *given)
{
    qn_limits l = given ? *given : (qn_limits){ 0 };

    if (!l.file_bytes) l.file_bytes = (uint64_t)8 << 30;
    if (!l.weight_bytes) l.weight_bytes = (uint64_t)8 << 30;
    if (l.n_nodes <= 0) l.n_nodes = 100000;
    if (l.depth <= 0) l.depth = 32;
    return l;
}

qn_status qn_onnx_reader_init(qn_onnx_reader *r, qn_source *src, uint64_t size, const qn_limits *limits, int dir_fd, qn_error *err)
{
    *r = (qn_onnx_reader){ .src = src, .size = size, .dir_fd = dir_fd, .err = err };
    r->limits = with_defaults(limits);
    qn_arena_init(&r->keep, 0);
    qn_arena_init(&r->tmp, 0);
    qn_map_init(&r->functions);
    r->bounce = malloc(QN_ONNX_INLINE_BYTES);
    if (!r->bounce) return qn_error_set(err, QN_ERR_NOMEM, "read buffer");
    return qn_proto_init(&r->proto, src, size, r->limits.depth, err);
}

void qn_onnx_reader_release(qn_onnx_reader *r)
{
    for (int32_t i = 0; i < r->n_external; i++) r->external[i].src->unref(r->external[i].src);
    for (int32_t i = 0; i < r->n_scopes; i++) free(r->scopes[i].names);
    free(r->scopes);
    free(r->bounce);
    qn_map_release(&r->functions);
    qn_arena_release(&r->tmp);
    qn_arena_release(&r->keep);
    qn_proto_release(&r->proto);
}

qn_status qn_onnx_spend(qn_onnx_reader *r, uint64_t n, uint64_t bytes_each)
{
    uint64_t bytes;

    if (__builtin_mul_overflow(n, bytes_each, &bytes) || bytes > QN_ONNX_STRUCT_BYTES - r->struct_bytes)
        return qn_error_set(r->err, QN_ERR_LIMIT, "nodes, names and attributes of the model need more than %" PRIu64 " MiB",
                            QN_ONNX_STRUCT_BYTES >> 20);
    r->struct_bytes += bytes;
    return QN_OK;
}

qn_status qn_onnx_spend_weight(qn_onnx_reader *r, uint64_t bytes, const char *name)
{
    char shown[QN_ONNX_SHORT];

    if (bytes > r->limits.weight_bytes - r->weight_bytes)
        return qn_error_set(r->err, QN_ERR_LIMIT,
                            "weights need more than %" PRIu64 " bytes (limit weight_bytes) with '%s', %" PRIu64 " bytes",
                            r->limits.weight_bytes, qn_onnx_short(name, shown), bytes);
    r->weight_bytes += bytes;
    r->n_weights++;
    return QN_OK;
}

static qn_status add_scope(qn_onnx_reader *r, const qn_onnx_scope *as, qn_graph *outer, qn_graph **out)
{
    qn_status st;

    *out = NULL;
    if (as->level > r->limits.depth)
        return qn_error_set(r->err, QN_ERR_LIMIT, "graphs are nested more than %" PRId32 " deep (limit depth)", r->limits.depth);
    st = qn_onnx_spend(r, 1, sizeof(qn_graph) + sizeof(qn_onnx_scope) + 8192); /* a graph begins with blocks of its own */
    if (st) return st;
    if (r->n_scopes == r->cap_scopes) { /* what was spent bounds their number far below INT32_MAX */
        int32_t cap = r->cap_scopes ? r->cap_scopes * 2 : 8;
        qn_onnx_scope *grown = realloc(r->scopes, (size_t)cap * sizeof *grown);

        if (!grown) return qn_error_set(r->err, QN_ERR_NOMEM, "list of graphs");
        r->scopes = grown;
        r->cap_scopes = cap;
    }
    st = qn_graph_create(r->ops, outer, "", out, r->err);
    if (st) return st;
    (*out)->stage = QN_STAGE_IMPORT;
    r->scopes[r->n_scopes] = *as;
    r->scopes[r->n_scopes++].g = *out;
    return QN_OK;
}

qn_status qn_onnx_add_scope(qn_onnx_reader *r, int32_t outer, const qn_onnx_span *span, qn_graph **out)
{
    qn_onnx_scope as = { .outer = outer, .function = QN_NONE, .level = outer < 0 ? 0 : r->scopes[outer].level + 1, .span = *span };

    return add_scope(r, &as, outer < 0 ? NULL : r->scopes[outer].g, out);
}

/* Its graph is nested in the model's, whose dims it shares; its scope is not, so no name is looked for there. */
qn_status qn_onnx_add_body(qn_onnx_reader *r, int32_t function, const qn_onnx_span *span, qn_graph **out)
{
    qn_onnx_scope as = { .outer = -1, .function = function, .level = 1, .span = *span };

    return add_scope(r, &as, r->scopes[0].g, out);
}

/* -- ModelProto ----------------------------------------------------------------------------------------------------------- */

/* Fields of ModelProto. */
enum {
    IR_VERSION = 1,
    PRODUCER_NAME = 2,
    PRODUCER_VERSION = 3,
    MODEL_VERSION = 5,
    GRAPH = 7,
    OPSET_IMPORT = 8,
    METADATA_PROPS = 14,
    FUNCTIONS = 25
};

typedef struct model_scan {
    uint64_t ir_version, model_version;
    const char *producer_name, *producer_version;
    qn_onnx_span graph;
    struct qn_opset opsets[QN_ONNX_MAX_OPSETS];
    int32_t n_opsets;
    struct qn_meta *metadata; /* in keep, grown by doubling */
    int32_t n_metadata;
} model_scan;

qn_status qn_onnx_read_opset(qn_onnx_reader *r, struct qn_opset *list, int32_t *n)
{
    qn_proto *p = &r->proto;
    const char *domain = "";
    char shown[QN_ONNX_SHORT];
    uint64_t version = 0;
    qn_status st = QN_OK;

    if (!qn_proto_enter(p)) return p->status;
    while (!st && qn_proto_next(p)) {
        if (p->field == 1)
            st = qn_onnx_name(r, &r->keep, "domain of an opset", &domain);
        else if (p->field == 2 && qn_proto_expect(p, QN_WIRE_VARINT))
            version = p->value;
    }
    if (!st) st = p->status;
    if (st) return st;
    qn_proto_leave(p);
    if (strcmp(domain, "ai.onnx") == 0) domain = "";
    qn_onnx_short(*domain ? domain : "ai.onnx", shown);
    if (version < 1 || version > INT32_MAX)
        return qn_error_set(r->err, QN_ERR_FORMAT, "opset %" PRId64 " of %s, expected a positive version", (int64_t)version, shown);
    for (int32_t i = 0; i < *n; i++) {
        if (strcmp(list[i].domain, domain) != 0) continue;
        if (list[i].version == (int64_t)version) return QN_OK;
        return qn_error_set(r->err, QN_ERR_FORMAT, "opset %" PRId64 " and opset %" PRId64 " of %s are both imported", list[i].version,
                            (int64_t)version, shown);
    }
    if (*n == QN_ONNX_MAX_OPSETS) return qn_error_set(r->err, QN_ERR_LIMIT, "more than %d opsets", QN_ONNX_MAX_OPSETS);
    list[(*n)++] = (struct qn_opset){ .domain = domain, .version = (int64_t)version };
    return QN_OK;
}

static qn_status read_metadata(qn_onnx_reader *r, model_scan *m)
{
    int32_t n = m->n_metadata;
    struct qn_meta entry, *grown;
    qn_status st = qn_onnx_entry(r, &r->keep, "metadata_props", &entry.key, &entry.value);

    if (st) return st;
    if ((n & (n - 1)) == 0) { /* full at every power of two */
        size_t cap = n ? (size_t)n * 2 : 1;

        st = qn_onnx_spend(r, cap, sizeof *grown);
        if (st) return st;
        grown = qn_arena_array(&r->keep, cap, sizeof *grown);
        if (!grown) return qn_error_set(r->err, QN_ERR_NOMEM, "metadata");
        if (n) memcpy(grown, m->metadata, (size_t)n * sizeof *grown);
        m->metadata = grown;
    }
    m->metadata[m->n_metadata++] = entry;
    return QN_OK;
}

static qn_status scan_model(qn_onnx_reader *r, model_scan *m)
{
    qn_proto *p = &r->proto;
    qn_status st = QN_OK;

    while (!st && qn_proto_next(p)) {
        switch (p->field) {
        case IR_VERSION:
            if (qn_proto_expect(p, QN_WIRE_VARINT)) m->ir_version = p->value;
            break;
        case MODEL_VERSION:
            if (qn_proto_expect(p, QN_WIRE_VARINT)) m->model_version = p->value;
            break;
        case PRODUCER_NAME: st = qn_onnx_name(r, &r->keep, "producer_name", &m->producer_name); break;
        case PRODUCER_VERSION: st = qn_onnx_name(r, &r->keep, "producer_version", &m->producer_version); break;
        case GRAPH: st = qn_onnx_span_take(r, &m->graph, "the graph of the model"); break;
        case OPSET_IMPORT: st = qn_onnx_read_opset(r, m->opsets, &m->n_opsets); break;
        case METADATA_PROPS: st = read_metadata(r, m); break;
        case FUNCTIONS: st = qn_onnx_note_function(r); break;
        default: break;
        }
    }
    return st ? st : p->status;
}

static qn_status judge_model(qn_onnx_reader *r, model_scan *m)
{
    if (m->ir_version < 1 || m->ir_version > MAX_IR_VERSION)
        return qn_error_set(r->err, QN_ERR_FORMAT, "not an ONNX model: ir_version is %" PRId64 ", expected 1..%d", (int64_t)m->ir_version,
                            MAX_IR_VERSION);
    if (!m->graph.given) return qn_error_set(r->err, QN_ERR_FORMAT, "the model has no graph");
    if (m->n_opsets == 0) {
        if (m->ir_version >= 3)
            return qn_error_set(r->err, QN_ERR_FORMAT, "the model imports no opset, which ir_version %" PRId64 " requires",
                                (int64_t)m->ir_version);
        m->opsets[m->n_opsets++] = (struct qn_opset){ .domain = "", .version = 1 };
    }
    return QN_OK;
}

qn_status qn_onnx_keep_opsets(qn_onnx_reader *r, qn_graph *g, const struct qn_opset *list, int32_t n)
{
    g->opsets = qn_arena_array(&g->arena, (size_t)n, sizeof *g->opsets);
    if (!g->opsets) return qn_error_set(r->err, QN_ERR_NOMEM, "opsets");
    for (int32_t i = 0; i < n; i++) {
        const char *domain = qn_arena_strdup(&g->arena, list[i].domain);

        if (!domain) return qn_error_set(r->err, QN_ERR_NOMEM, "opsets");
        g->opsets[g->n_opsets++] = (struct qn_opset){ .domain = domain, .version = list[i].version };
    }
    return QN_OK;
}

/* Move what belongs to the model into the graph's own memory. */
static qn_status keep_model(qn_onnx_reader *r, const model_scan *m, qn_graph *g, const char **producer)
{
    qn_error *err = r->err;
    size_t cap = strlen(m->producer_name) + strlen(m->producer_version) + 2;
    char *who = qn_arena_alloc(&g->arena, cap);

    g->max_nodes = r->limits.n_nodes;
    g->metadata = qn_arena_array(&g->arena, (size_t)m->n_metadata, sizeof *g->metadata);
    if (!who || !g->metadata) return qn_error_set(err, QN_ERR_NOMEM, "metadata");
    snprintf(who, cap, "%s%s%s", m->producer_name, *m->producer_version ? " " : "", m->producer_version);
    *producer = who;
    for (int32_t i = 0; i < m->n_metadata; i++) {
        struct qn_meta entry = { qn_arena_strdup(&g->arena, m->metadata[i].key), qn_arena_strdup(&g->arena, m->metadata[i].value) };

        if (!entry.key || !entry.value) return qn_error_set(err, QN_ERR_NOMEM, "metadata");
        g->metadata[g->n_metadata++] = entry;
    }
    return qn_onnx_keep_opsets(r, g, m->opsets, m->n_opsets);
}

static void fill_info(const qn_onnx_reader *r, const model_scan *m, const qn_graph *g, const char *producer, qn_onnx_info *info)
{
    *info = (qn_onnx_info){ .ir_version = (int64_t)m->ir_version,
                            .model_version = (int64_t)m->model_version,
                            .producer = producer,
                            .n_nodes = r->n_nodes,
                            .n_weights = r->n_weights,
                            .n_params = r->n_params,
                            .weight_bytes = r->weight_bytes };
    for (int32_t i = 0; i < g->n_opsets; i++) {
        if (!*g->opsets[i].domain) info->opset = g->opsets[i].version;
    }
}

qn_status qn_onnx_import(qn_source *src, uint64_t size, const qn_op_table *ops, const qn_limits *limits, int dir_fd, qn_graph **out,
                         qn_onnx_info *info, qn_error *err)
{
    model_scan m = { .producer_name = "", .producer_version = "" };
    const char *producer = "";
    qn_graph *g = NULL;
    qn_onnx_reader r;
    qn_status st;

    *out = NULL;
    if (info) *info = (qn_onnx_info){ .producer = "" };
    st = qn_onnx_reader_init(&r, src, size, limits, dir_fd, err);
    if (st) goto done;
    r.ops = ops;
    if (size > r.limits.file_bytes) {
        st = qn_error_set(err, QN_ERR_LIMIT, "model of %" PRIu64 " bytes, at most %" PRIu64 " allowed (limit file_bytes)", size,
                          r.limits.file_bytes);
        goto done;
    }
    st = scan_model(&r, &m);
    if (!st) st = judge_model(&r, &m);
    if (!st) st = qn_onnx_add_scope(&r, -1, &m.graph, &g);
    if (!st) st = keep_model(&r, &m, g, &producer);
    while (!st && r.next_scope < r.n_scopes) {
        int32_t next = r.next_scope++;

        st = r.scopes[next].function == QN_NONE ? qn_onnx_read_graph(&r, next) : qn_onnx_read_function(&r, next);
    }
    if (st) goto done;
    if (info) fill_info(&r, &m, g, producer, info);
    *out = g;
    g = NULL;
done:
    qn_graph_destroy(g);
    qn_onnx_reader_release(&r);
    return st;
}

qn_status qn_onnx_load(int dir_fd, const char *name, const qn_op_table *ops, const qn_limits *limits, qn_graph **out, qn_onnx_info *info,
                       qn_error *err)
{
    qn_limits l = with_defaults(limits);
    qn_source *src = NULL;
    qn_file_info file;
    int folder = -1;
    qn_status st;

    *out = NULL;
    st = qn_file_open(dir_fd, name, QN_FILE_ZSTD | QN_FILE_DIGEST, l.file_bytes, &src, &file, err);
    if (!st) st = qn_file_open_folder(dir_fd, name, 0, &folder, err);
    if (!st) st = qn_onnx_import(src, file.bytes, ops, &l, folder, out, info, err);
    if (!st && info) {
        info->file = file;
        info->source = src;
        src->ref(src);
    }
    if (folder >= 0) close(folder);
    if (src) src->unref(src);
    return st;
}
