/* server/codec/decoder.c - the body as a stream: JSON to the format's token function, then raw tensors. */
#include "server/codec/decoder.h"

#include "quern/checked.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int32_t qn_decoder_input_index(const qn_decoder *d, const char *name, size_t n)
{
    for (int32_t i = 0; i < d->n_inputs; i++) {
        const char *have = qn_model_input(d->model, i)->name;

        if (strlen(have) == n && memcmp(have, name, n) == 0) return i;
    }
    return -1;
}

qn_status qn_decoder_check_shape(const qn_port *port, int32_t rank, const int64_t *dims, qn_error *err)
{
    char got[96], want[96];
    bool fits = port->rank < 0 || port->rank == rank;

    for (int32_t i = 0; i < rank && fits && port->rank >= 0; i++) fits = port->dims[i] < 0 || port->dims[i] == dims[i];
    if (fits) return QN_OK;
    return qn_error_set(err, QN_ERR_SHAPE, "input %.48s has shape %s, expected %s", port->name, qn_shape_print(rank, dims, got, sizeof got),
                        qn_shape_print(port->rank, port->dims, want, sizeof want));
}

/* -- life -------------------------------------------------------------------------------------------------------------------------- */

qn_status qn_decoder_create(qn_body_kind kind, const qn_model *model, int64_t header_bytes, const qn_codec_limits *limits, qn_decoder **out,
                            qn_error *err)
{
    qn_decoder *d = calloc(1, sizeof *d);

    *out = NULL;
    if (!d) return qn_error_set(err, QN_ERR_NOMEM, "a request");
    d->model = model;
    d->format = kind == QN_BODY_V2_JSON ? &qn_format_v2 : &qn_format_tfs;
    d->examples = kind == QN_BODY_TFS_CLASSIFY || kind == QN_BODY_TFS_REGRESS;
    d->method = kind == QN_BODY_TFS_CLASSIFY  ? "tensorflow/serving/classify"
                : kind == QN_BODY_TFS_REGRESS ? "tensorflow/serving/regress"
                                              : "tensorflow/serving/predict";
    d->limits = *limits;
    d->header_bytes = header_bytes;
    d->budget = limits->tensor_bytes;
    d->n_inputs = qn_model_n_inputs(model);
    d->n_outputs = qn_model_n_outputs(model);
    d->raw = header_bytes == 0;
    qn_json_init(&d->json, d->format->token, d, kind != QN_BODY_V2_JSON, limits->depth, (size_t)limits->text_bytes);
    d->json.list = d->format->list;
    qn_buf_init(&d->spool, (size_t)limits->text_bytes);
    d->given = calloc((size_t)d->n_inputs + 1, sizeof *d->given);
    d->tensors = calloc((size_t)d->n_inputs + 1, sizeof *d->tensors);
    d->wanted = calloc((size_t)d->n_outputs + 1, sizeof *d->wanted);
    d->binary_order = calloc((size_t)d->n_inputs + 1, sizeof *d->binary_order);
    d->tfs_mark = calloc((size_t)d->n_inputs + 1, sizeof *d->tfs_mark);
    if (d->examples) d->context = calloc((size_t)d->n_inputs + 1, sizeof *d->context);
    if (!d->given || !d->tensors || !d->wanted || !d->binary_order || !d->tfs_mark || (d->examples && !d->context)) {
        qn_decoder_destroy(d);
        return qn_error_set(err, QN_ERR_NOMEM, "a request of %d inputs", d->n_inputs);
    }
    for (int32_t i = 0; i < d->n_inputs; i++) d->given[i].binary_bytes = -1;
    *out = d;
    return QN_OK;
}

void qn_decoder_destroy(qn_decoder *d)
{
    if (!d) return;
    for (int32_t i = 0; d->given && i < d->n_inputs; i++) qn_sink_release(&d->given[i].sink);
    for (int32_t i = 0; d->context && i < d->n_inputs; i++) qn_sink_release(&d->context[i].sink);
    if (d->cur_sink) qn_sink_release(&d->cur.sink);
    qn_json_release(&d->json);
    qn_buf_release(&d->spool);
    free(d->given);
    free(d->tensors);
    free(d->wanted);
    free(d->binary_order);
    free(d->tfs_mark);
    free(d->context);
    free(d);
}

/* -- binary tensors ------------------------------------------------------------------------------------------------------------------ */

/* The whole body is one tensor: its shape follows from its size, one free dimension at most. */
static qn_status raw_prepare(qn_decoder *d, qn_error *err)
{
    const qn_port *p = d->n_inputs == 1 ? qn_model_input(d->model, 0) : NULL;

    if (!p || p->rank < 0 || p->dtype == QN_STRING)
        return qn_error_set(err, QN_ERR_INVALID,
                            "Inference-Header-Content-Length: 0 needs a model with one input of known rank and fixed-size dtype");
    d->given[0].given = true;
    d->given[0].rank = -1;
    d->given[0].binary_bytes = 0;
    qn_sink_init(&d->given[0].sink, p->dtype, &d->budget);
    d->binary_output = true;
    d->json_done = true;
    return QN_OK;
}

static qn_status raw_finish(qn_decoder *d, qn_error *err)
{
    const qn_port *p = qn_model_input(d->model, 0);
    qn_given *g = &d->given[0];
    int64_t known = 1, elems = (int64_t)(g->sink.len / qn_dtype_size(p->dtype));
    int32_t free_dim = -1;

    for (int32_t i = 0; i < p->rank; i++) {
        if (p->dims[i] >= 0) {
            if (!qn_i64_mul(known, p->dims[i], &known)) return qn_error_set(err, QN_ERR_SHAPE, "the model's shape overflows");
        } else if (free_dim >= 0) {
            return qn_error_set(err, QN_ERR_SHAPE, "a raw body fits a model with one free dimension only; input %.48s has more", p->name);
        } else {
            free_dim = i;
        }
        g->dims[i] = p->dims[i];
    }
    if (free_dim >= 0) g->dims[free_dim] = known > 0 ? elems / known : 0;
    if (g->sink.len % qn_dtype_size(p->dtype) || (known > 0 && elems % known) || (free_dim < 0 && elems != known))
        return qn_error_set(err, QN_ERR_SHAPE, "a raw body of %zu bytes does not fill rows of %" PRId64 " %s elements", g->sink.len, known,
                            qn_dtype_oip_name(p->dtype));
    g->rank = p->rank;
    g->sink.count = elems;
    return QN_OK;
}

/* The JSON part is complete: say how many bytes each binary input still needs. */
static qn_status binary_prepare(qn_decoder *d, qn_error *err)
{
    qn_status st = qn_json_finish(&d->json, err);

    if (st != QN_OK) return st;
    d->json_done = true;
    for (int32_t k = 0; k < d->n_binary; k++) {
        const qn_port *p = qn_model_input(d->model, d->binary_order[k]);
        qn_given *g = &d->given[d->binary_order[k]];
        size_t bytes = 0;

        if (p->dtype == QN_STRING) {
            if ((uint64_t)g->binary_bytes > d->budget)
                return qn_error_set(err, QN_ERR_LIMIT, "binary data of %" PRId64 " bytes", g->binary_bytes);
            continue;
        }
        st = qn_shape_bytes(p->dtype, g->rank, g->dims, &bytes, err);
        if (st != QN_OK) return st;
        if (g->binary_bytes < 0 || (uint64_t)g->binary_bytes != bytes)
            return qn_error_set(err, QN_ERR_SHAPE, "binary_data_size of input %.48s is %" PRId64 ", its shape and datatype take %zu",
                                p->name, g->binary_bytes, bytes);
    }
    d->binary_need = d->n_binary ? (size_t)d->given[d->binary_order[0]].binary_bytes : 0;
    return QN_OK;
}

static qn_status binary_feed(qn_decoder *d, const char *data, size_t n, qn_error *err)
{
    while (n > 0 || (d->at_binary < d->n_binary && d->binary_need == 0)) {
        qn_sink *s;
        size_t take;
        qn_status st;

        if (d->at_binary >= d->n_binary)
            return qn_error_set(err, QN_ERR_INVALID, "bytes behind the last binary tensor: the body is longer than its parts say");
        if (d->binary_need == 0) {
            if (++d->at_binary < d->n_binary) d->binary_need = (size_t)d->given[d->binary_order[d->at_binary]].binary_bytes;
            continue;
        }
        s = &d->given[d->binary_order[d->at_binary]].sink;
        take = n < d->binary_need ? n : d->binary_need;
        st = qn_sink_reserve(s, s->len == 0 ? d->binary_need : take, err);
        if (st != QN_OK) return st;
        memcpy(s->data + s->len, data, take);
        s->len += take;
        d->binary_need -= take;
        data += take;
        n -= take;
    }
    return QN_OK;
}

/* BYTES: each element is a u32 length and its bytes. */
static qn_status strings_from_binary(qn_given *g, int64_t count, uint64_t *budget, const char *name, qn_error *err)
{
    qn_sink out;
    size_t at = 0;
    qn_status st = QN_OK;

    qn_sink_init(&out, QN_STRING, budget);
    while (at < g->sink.len && st == QN_OK) {
        uint32_t n;

        if (g->sink.len - at < sizeof n) break;
        memcpy(&n, g->sink.data + at, sizeof n);
        at += sizeof n;
        if (n > g->sink.len - at) {
            at = 0;
            break;
        }
        st = qn_sink_string(&out, g->sink.data + at, n, err);
        at += n;
    }
    if (st == QN_OK && (at != g->sink.len || out.count != count))
        st = qn_error_set(err, QN_ERR_SHAPE, "binary data of input %.48s does not hold exactly %" PRId64 " length-prefixed strings", name,
                          count);
    if (st != QN_OK) {
        qn_sink_release(&out);
        return st;
    }
    qn_sink_release(&g->sink);
    g->sink = out;
    return QN_OK;
}

static qn_status bools_are_bools(const qn_sink *s, const char *name, qn_error *err)
{
    for (size_t i = 0; i < s->len; i++) {
        if ((unsigned char)s->data[i] > 1)
            return qn_error_set(err, QN_ERR_RANGE, "BOOL element %zu of input %.48s is byte %u, expected 0 or 1", i, name,
                                (unsigned char)s->data[i]);
    }
    return QN_OK;
}

/* -- feeding -------------------------------------------------------------------------------------------------------------------------- */

static qn_status feed(qn_decoder *d, const char *data, size_t n, qn_error *err)
{
    qn_status st = QN_OK;

    if (n > d->limits.body_bytes || d->fed > d->limits.body_bytes - n)
        return qn_error_set(err, QN_ERR_LIMIT, "the body is larger than the limit of %" PRIu64 " bytes", d->limits.body_bytes);
    if (d->raw) {
        qn_sink *s = &d->given[0].sink;

        if (!d->json_done) st = raw_prepare(d, err);
        if (st == QN_OK) st = qn_sink_reserve(s, n, err);
        if (st != QN_OK) return st;
        memcpy(s->data + s->len, data, n);
        s->len += n;
        d->fed += n;
        return QN_OK;
    }
    if (!d->json_done) {
        size_t part = n;

        if (d->header_bytes >= 0 && (uint64_t)d->header_bytes - d->fed < part) part = (size_t)((uint64_t)d->header_bytes - d->fed);
        st = qn_json_feed(&d->json, data, part, err);
        d->fed += part;
        data += part;
        n -= part;
        if (st == QN_OK && d->header_bytes >= 0 && d->fed == (uint64_t)d->header_bytes) st = binary_prepare(d, err);
    }
    if (st == QN_OK && n > 0) {
        d->fed += n;
        st = binary_feed(d, data, n, err);
    }
    return st;
}

qn_status qn_decoder_feed(qn_decoder *d, const void *data, size_t n, qn_error *err)
{
    qn_status st;

    if (d->failed) return qn_error_set(err, QN_ERR_INVALID, "the body was refused before");
    if (n == 0) return QN_OK;
    st = feed(d, data, n, err);
    if (st != QN_OK) d->failed = true;
    return st;
}

/* -- finishing ------------------------------------------------------------------------------------------------------------------------- */

static qn_status input_finish(qn_decoder *d, int32_t i, qn_error *err)
{
    const qn_port *p = qn_model_input(d->model, i);
    qn_given *g = &d->given[i];
    int64_t count;
    qn_status st;

    if (!g->given) {
        if (p->optional) return QN_OK;
        return qn_error_set(err, QN_ERR_INVALID, "input %.64s is missing", p->name);
    }
    st = qn_decoder_check_shape(p, g->rank, g->dims, err);
    /* a product beyond 2^62 is no size that a larger limit would allow: a wrong shape, not a large body */
    if (st == QN_OK && qn_shape_count(g->rank, g->dims, &count, err) != QN_OK) {
        if (err) err->status = QN_ERR_SHAPE;
        st = QN_ERR_SHAPE;
    }
    if (st == QN_OK && g->binary_bytes >= 0 && p->dtype == QN_STRING) st = strings_from_binary(g, count, &d->budget, p->name, err);
    if (st == QN_OK && g->binary_bytes >= 0 && p->dtype == QN_BOOL) st = bools_are_bools(&g->sink, p->name, err);
    if (st != QN_OK) return st;
    if (g->binary_bytes >= 0 && p->dtype != QN_STRING) g->sink.count = count; /* sizes were compared before the bytes came */
    if (g->sink.count != count) {
        char shape[96];

        return qn_error_set(err, QN_ERR_SHAPE, "input %.48s has %" PRId64 " elements, its shape %s takes %" PRId64, p->name, g->sink.count,
                            qn_shape_print(g->rank, g->dims, shape, sizeof shape), count);
    }
    return qn_sink_tensor(&g->sink, g->rank, g->dims, &d->tensors[i], err);
}

/* Dimension 0 of every input, if they have one in common. */
static qn_status common_rows(const qn_decoder *d, int64_t *rows, qn_error *err)
{
    int64_t first = -1;

    *rows = 1;
    for (int32_t i = 0; i < d->n_inputs; i++) {
        const qn_tensor *t = &d->tensors[i];

        if (t->dtype == QN_DTYPE_NONE) continue;
        if (t->rank < 1) return QN_OK;
        if (first < 0) first = t->dims[0];
        if (t->dims[0] == first) continue;
        if (!qn_model_rows_independent(d->model)) return QN_OK;
        return qn_error_set(err, QN_ERR_SHAPE, "input %.48s has %" PRId64 " rows, another input has %" PRId64,
                            qn_model_input(d->model, i)->name, t->dims[0], first);
    }
    if (first >= 0) *rows = first;
    return QN_OK;
}

static qn_status finish(qn_decoder *d, qn_decoded *out, qn_error *err)
{
    qn_status st = QN_OK;

    if (d->raw) {
        if (!d->json_done) st = raw_prepare(d, err);
        if (st == QN_OK) st = raw_finish(d, err);
    } else {
        if (!d->json_done) {
            if (d->header_bytes >= 0)
                return qn_error_set(err, QN_ERR_INVALID,
                                    "Inference-Header-Content-Length is %" PRId64 ", but the body has only %" PRIu64 " bytes",
                                    d->header_bytes, d->fed);
            st = binary_prepare(d, err);
        }
        if (st == QN_OK) st = binary_feed(d, NULL, 0, err);
        if (st == QN_OK && d->at_binary < d->n_binary)
            st = qn_error_set(err, QN_ERR_INVALID, "%zu bytes of binary data are missing at the end of the body", d->binary_need);
        if (st == QN_OK) st = d->format->finish(d, err);
    }
    for (int32_t i = 0; i < d->n_inputs && st == QN_OK; i++) st = input_finish(d, i, err);
    if (st != QN_OK) return st;
    if (!d->any_wanted) {
        for (int32_t i = 0; i < d->n_outputs; i++) d->wanted[i] = (qn_wanted_output){ .index = i, .binary = d->binary_output };
        d->n_wanted = d->n_outputs;
    }
    *out = (qn_decoded){ .inputs = d->tensors,
                         .wanted = d->wanted,
                         .n_wanted = d->n_wanted,
                         .id = d->has_id ? d->id : NULL,
                         .timeout_us = d->timeout_us,
                         .priority = d->priority,
                         .row_format = d->row_format };
    return common_rows(d, &out->rows, err);
}

qn_status qn_decoder_finish(qn_decoder *d, qn_decoded *out, qn_error *err)
{
    qn_status st;

    if (d->failed) return qn_error_set(err, QN_ERR_INVALID, "the body was refused before");
    st = finish(d, out, err);
    if (st != QN_OK) d->failed = true;
    return st;
}
