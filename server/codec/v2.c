/* server/codec/v2.c - the JSON of an Open Inference Protocol v2 request, token by token.
 * Source: inference_rest.md of the protocol; binary_data_size, binary_data and binary_data_output are Triton's extension.
 * Fields may come in any order. Unknown fields and parameters are passed over, as the protocol asks; a known field of the wrong type, or
 * given twice, is an error. */
#include "server/codec/decoder.h"

#include "quern/number.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool is(const char *text, size_t n, const char *word) { return strlen(word) == n && memcmp(text, word, n) == 0; }
static bool key_is(const qn_decoder *d, const char *word) { return strcmp(d->key, word) == 0; }

static void keep_key(qn_decoder *d, const char *text, size_t n)
{
    if (n >= sizeof d->key) n = 0; /* no known key is that long */
    memcpy(d->key, text, n);
    d->key[n] = 0;
}

static qn_status wrong_type(const char *field, const char *expected, qn_error *err)
{
    return qn_error_set(err, QN_ERR_INVALID, "%s must be %s", field, expected);
}

static qn_status twice(const char *field, qn_error *err) { return qn_error_set(err, QN_ERR_INVALID, "%s is given twice", field); }

/* Pass over one value of any kind, then go on at `after`. */
static void skip_from(qn_decoder *d, qn_v2_where after)
{
    d->where = V2_SKIP;
    d->after_skip = after;
    d->skip_depth = 0;
}

static void skip_token(qn_decoder *d, qn_json_token token)
{
    if (token == QN_JSON_OBJECT_BEGIN || token == QN_JSON_ARRAY_BEGIN) d->skip_depth++;
    if (token == QN_JSON_OBJECT_END || token == QN_JSON_ARRAY_END) d->skip_depth--;
    if (token != QN_JSON_KEY && d->skip_depth == 0) d->where = d->after_skip;
}

/* -- top level ----------------------------------------------------------------------------------------------------------------------- */

static qn_status top_key(qn_decoder *d, const char *text, size_t n, qn_error *err)
{
    if (is(text, n, "id")) {
        if (d->has_id) return twice("id", err);
        d->where = V2_ID;
    } else if (is(text, n, "parameters")) {
        if (d->parameters_seen) return twice("parameters", err);
        d->parameters_seen = true;
        d->where = V2_PARAMETERS;
    } else if (is(text, n, "inputs")) {
        if (d->inputs_seen) return twice("inputs", err);
        d->inputs_seen = true;
        d->where = V2_INPUTS;
    } else if (is(text, n, "outputs")) {
        if (d->wanted_seen) return twice("outputs", err);
        d->wanted_seen = true;
        d->where = V2_OUTPUTS;
    } else {
        skip_from(d, V2_TOP);
    }
    return QN_OK;
}

static qn_status id_token(qn_decoder *d, qn_json_token token, const char *text, size_t n, qn_error *err)
{
    if (token != QN_JSON_STRING) return wrong_type("id", "a string", err);
    if (n > QN_CODEC_ID_BYTES || memchr(text, 0, n))
        return qn_error_set(err, QN_ERR_INVALID, "id has %zu bytes or holds NUL, expected at most %d", n, QN_CODEC_ID_BYTES);
    memcpy(d->id, text, n);
    d->id[n] = 0;
    d->has_id = true;
    d->where = V2_TOP;
    return QN_OK;
}

/* A scalar of the request's parameters. */
static qn_status parameter_value(qn_decoder *d, qn_json_token token, const char *text, size_t n, qn_error *err)
{
    if (token == QN_JSON_ARRAY_BEGIN || token == QN_JSON_OBJECT_BEGIN)
        return wrong_type("a parameter", "a string, a number or a bool", err);
    if (key_is(d, "timeout") && (token != QN_JSON_NUMBER || !qn_number_to_u64(text, n, &d->timeout_us)))
        return wrong_type("parameter timeout", "a whole number of microseconds", err);
    if (key_is(d, "priority")) {
        uint64_t level;

        if (token != QN_JSON_NUMBER || !qn_number_to_u64(text, n, &level) || level > 3)
            return wrong_type("parameter priority", "0 (the model's own), 1 (high), 2 (normal) or 3 (low)", err);
        d->priority = (int)level;
    }
    if (key_is(d, "binary_data_output")) {
        if (token != QN_JSON_TRUE && token != QN_JSON_FALSE) return wrong_type("parameter binary_data_output", "true or false", err);
        d->binary_output = token == QN_JSON_TRUE;
    }
    return QN_OK;
}

/* -- inputs --------------------------------------------------------------------------------------------------------------------------- */

static void input_begin(qn_decoder *d)
{
    memset(&d->cur, 0, sizeof d->cur);
    d->cur.rank = -1;
    d->cur.binary_bytes = -1;
    d->in_has_name = d->in_has_dtype = d->in_has_data = d->cur_sink = false;
    d->spool.len = 0;
    d->where = V2_INPUT_FIELD;
}

static void sink_begin(qn_decoder *d, qn_dtype dtype)
{
    qn_sink_init(&d->cur.sink, dtype, &d->budget);
    d->cur_sink = true;
}

/* "data" begins: straight into typed memory if the dtype is known by now, else as text until it is. */
static void data_begin(qn_decoder *d)
{
    int32_t i = d->in_has_name ? qn_decoder_input_index(d, d->in_name, strlen(d->in_name)) : d->n_inputs == 1 ? 0 : -1;

    d->in_has_data = true;
    if (i >= 0) {
        sink_begin(d, qn_model_input(d->model, i)->dtype);
        d->where = V2_DATA;
    } else {
        d->spool_comma = false;
        d->skip_depth = 0;
        d->where = V2_SPOOL;
    }
}

static qn_status input_key(qn_decoder *d, const char *text, size_t n, qn_error *err)
{
    keep_key(d, text, n);
    if (is(text, n, "shape")) {
        if (d->cur.rank >= 0) return twice("shape", err);
        d->where = V2_SHAPE;
    } else if (is(text, n, "data")) {
        if (d->in_has_data) return twice("data", err);
        data_begin(d);
    } else if (is(text, n, "parameters")) {
        d->where = V2_INPUT_PARAMETERS;
    } else if (!is(text, n, "name") && !is(text, n, "datatype")) {
        skip_from(d, V2_INPUT_FIELD);
    }
    return QN_OK;
}

static qn_status input_scalar(qn_decoder *d, qn_json_token token, const char *text, size_t n, qn_error *err)
{
    if (token != QN_JSON_STRING) return wrong_type(key_is(d, "name") ? "name of an input" : "datatype", "a string", err);
    if (key_is(d, "name")) {
        if (d->in_has_name) return twice("name of an input", err);
        if (n >= sizeof d->in_name || memchr(text, 0, n))
            return qn_error_set(err, QN_ERR_INVALID, "name of an input has %zu bytes or holds NUL", n);
        memcpy(d->in_name, text, n);
        d->in_name[n] = 0;
        d->in_has_name = true;
    } else {
        char name[16] = "";

        if (d->in_has_dtype) return twice("datatype", err);
        if (n < sizeof name) memcpy(name, text, n);
        d->in_dtype = qn_dtype_from_oip_name(name);
        if (d->in_dtype == QN_DTYPE_NONE) return qn_error_set(err, QN_ERR_DTYPE, "unknown datatype \"%.*s\"", (int)(n < 32 ? n : 32), text);
        d->in_has_dtype = true;
    }
    return QN_OK;
}

static qn_status shape_token(qn_decoder *d, qn_json_token token, const char *text, size_t n, qn_error *err)
{
    int64_t v;

    if (token == QN_JSON_ARRAY_BEGIN && d->cur.rank < 0) {
        d->cur.rank = 0;
        return QN_OK;
    }
    if (token == QN_JSON_ARRAY_END) {
        d->where = V2_INPUT_FIELD;
        return QN_OK;
    }
    if (token != QN_JSON_NUMBER || d->cur.rank < 0 || !qn_number_to_i64(text, n, &v))
        return wrong_type("shape", "an array of whole numbers", err);
    if (v < 0) return qn_error_set(err, QN_ERR_SHAPE, "shape has the dimension %" PRId64 ", expected 0 or more", v);
    if (d->cur.rank == QN_MAX_RANK) return qn_error_set(err, QN_ERR_SHAPE, "shape has more than %d dimensions", QN_MAX_RANK);
    d->cur.dims[d->cur.rank++] = v;
    return QN_OK;
}

static qn_status data_token(qn_decoder *d, qn_json_token token, const char *text, size_t n, qn_error *err)
{
    qn_status st;

    if (d->cur.sink.depth == 0 && token != QN_JSON_ARRAY_BEGIN) return wrong_type("data", "an array", err);
    st = qn_sink_token(&d->cur.sink, token, text, n, err);
    if (d->cur.sink.depth == 0) d->where = V2_INPUT_FIELD;
    return st;
}

/* Keep a token of "data" as text. */
static qn_status spool_token(qn_decoder *d, qn_json_token token, const char *text, size_t n, qn_error *err)
{
    qn_buf *b = &d->spool;
    bool ok = true;

    if (d->skip_depth == 0 && token != QN_JSON_ARRAY_BEGIN) return wrong_type("data", "an array", err);
    if (token == QN_JSON_OBJECT_BEGIN) return wrong_type("an element of data", "a number, a bool or a string", err);
    if (token != QN_JSON_ARRAY_END && d->spool_comma) ok = qn_buf_append(b, ",", 1);
    switch (token) {
    case QN_JSON_ARRAY_BEGIN: ok = ok && qn_buf_append(b, "[", 1); break;
    case QN_JSON_ARRAY_END: ok = ok && qn_buf_append(b, "]", 1); break;
    case QN_JSON_STRING: ok = ok && qn_json_put_string(b, text, n); break;
    default: ok = ok && qn_buf_append(b, text, n); break;
    }
    d->spool_comma = token != QN_JSON_ARRAY_BEGIN;
    d->skip_depth += (token == QN_JSON_ARRAY_BEGIN) - (token == QN_JSON_ARRAY_END);
    if (!ok)
        return qn_error_set(err, QN_ERR_LIMIT, "\"data\" before \"name\" is limited to %" PRIu64 " bytes: put \"name\" first",
                            d->limits.text_bytes);
    if (d->skip_depth == 0) d->where = V2_INPUT_FIELD;
    return QN_OK;
}

static qn_status replay_token(void *user, qn_json_token token, const char *text, size_t n, qn_error *err)
{
    return qn_sink_token(user, token, text, n, err);
}

static qn_status spool_replay(qn_decoder *d, qn_error *err)
{
    qn_json j;
    qn_status st;

    qn_json_init(&j, replay_token, &d->cur.sink, false, d->limits.depth, (size_t)d->limits.text_bytes);
    st = qn_json_feed(&j, d->spool.data, d->spool.len, err);
    if (st == QN_OK) st = qn_json_finish(&j, err);
    qn_json_release(&j);
    return st;
}

/* The nesting must be flat or spell the shape. */
static qn_status nesting_fits(const qn_decoder *d, const char *name, qn_error *err)
{
    int64_t dims[QN_MAX_RANK];
    int32_t rank;
    char got[96], want[96];
    bool same;

    qn_sink_shape(&d->cur.sink, &rank, dims);
    if (rank <= 1) return QN_OK;
    same = rank == d->cur.rank;
    for (int32_t i = 0; i < rank && same; i++) same = dims[i] == d->cur.dims[i];
    if (same || (rank < QN_MAX_RANK && d->cur.sink.count == 0)) return QN_OK;
    return qn_error_set(err, QN_ERR_SHAPE, "data of input %.48s is nested as %s, its shape says %s", name,
                        rank <= QN_MAX_RANK ? qn_shape_print(rank, dims, got, sizeof got) : "more than 8 levels",
                        qn_shape_print(d->cur.rank, d->cur.dims, want, sizeof want));
}

static qn_status input_end(qn_decoder *d, qn_error *err)
{
    const qn_port *p;
    int32_t i;
    qn_status st = QN_OK;

    if (!d->in_has_name) return qn_error_set(err, QN_ERR_INVALID, "an input has no name");
    i = qn_decoder_input_index(d, d->in_name, strlen(d->in_name));
    if (i < 0) return qn_error_set(err, QN_ERR_INVALID, "the model has no input %.64s", d->in_name);
    p = qn_model_input(d->model, i);
    if (d->given[i].given) return qn_error_set(err, QN_ERR_INVALID, "input %.64s is given twice", p->name);
    if (!d->in_has_dtype) return qn_error_set(err, QN_ERR_INVALID, "input %.64s has no datatype", p->name);
    if (d->cur.rank < 0) return qn_error_set(err, QN_ERR_INVALID, "input %.64s has no shape", p->name);
    if (d->in_dtype != p->dtype)
        return qn_error_set(err, QN_ERR_DTYPE, "input %.64s has datatype %s, expected %s", p->name, qn_dtype_oip_name(d->in_dtype),
                            qn_dtype_oip_name(p->dtype));
    if (d->in_has_data == (d->cur.binary_bytes >= 0))
        return qn_error_set(err, QN_ERR_INVALID,
                            d->in_has_data ? "input %.64s has both data and binary_data_size" : "input %.64s has no data", p->name);
    if (d->cur.binary_bytes >= 0 && d->header_bytes < 0)
        return qn_error_set(err, QN_ERR_INVALID, "input %.64s has binary_data_size, but the request no Inference-Header-Content-Length",
                            p->name);
    st = qn_decoder_check_shape(p, d->cur.rank, d->cur.dims, err);
    if (st != QN_OK) return st;
    if (!d->cur_sink) {
        sink_begin(d, p->dtype);
        if (d->in_has_data) st = spool_replay(d, err);
    }
    if (st == QN_OK && d->in_has_data) st = nesting_fits(d, p->name, err);
    if (st != QN_OK) {
        qn_error_prefix(err, "input %.48s", p->name);
        return st;
    }
    if (d->cur.binary_bytes >= 0) d->binary_order[d->n_binary++] = i;
    d->cur.given = true;
    d->given[i] = d->cur;
    d->cur_sink = false;
    d->where = V2_INPUT;
    return QN_OK;
}

/* -- outputs --------------------------------------------------------------------------------------------------------------------------- */

static qn_status output_scalar(qn_decoder *d, qn_json_token token, const char *text, size_t n, qn_error *err)
{
    if (token != QN_JSON_STRING) return wrong_type("name of an output", "a string", err);
    for (int32_t i = 0; i < d->n_outputs; i++) {
        if (is(text, n, qn_model_output(d->model, i)->name)) d->out_index = i;
    }
    if (d->out_index < 0) return qn_error_set(err, QN_ERR_INVALID, "the model has no output %.*s", (int)(n < 64 ? n : 64), text);
    return QN_OK;
}

static qn_status output_parameter(qn_decoder *d, qn_json_token token, const char *text, size_t n, qn_error *err)
{
    if (token == QN_JSON_ARRAY_BEGIN || token == QN_JSON_OBJECT_BEGIN)
        return wrong_type("a parameter", "a string, a number or a bool", err);
    if (key_is(d, "classification") && (token != QN_JSON_NUMBER || !qn_number_to_i64(text, n, &d->out_classes) || d->out_classes < 1))
        return wrong_type("parameter classification", "a whole number of classes, 1 or more", err);
    if (key_is(d, "binary_data")) {
        if (token != QN_JSON_TRUE && token != QN_JSON_FALSE) return wrong_type("parameter binary_data", "true or false", err);
        d->out_binary = token == QN_JSON_TRUE;
    }
    return QN_OK;
}

static qn_status output_end(qn_decoder *d, qn_error *err)
{
    if (d->out_index < 0) return qn_error_set(err, QN_ERR_INVALID, "a requested output has no name");
    for (int32_t i = 0; i < d->n_wanted; i++) {
        if (d->wanted[i].index == d->out_index)
            return qn_error_set(err, QN_ERR_INVALID, "output %.64s is requested twice", qn_model_output(d->model, d->out_index)->name);
    }
    d->wanted[d->n_wanted++] = (qn_wanted_output){ .index = d->out_index, .binary = d->out_binary > 0, .classes = d->out_classes };
    /* binary_data_output may still follow: remember who said nothing by a negative index until the end */
    if (d->out_binary < 0) d->wanted[d->n_wanted - 1].index = -1 - d->out_index;
    d->any_wanted = true;
    d->where = V2_OUTPUT;
    return QN_OK;
}

static bool already_wanted(const qn_decoder *d, int32_t index)
{
    for (int32_t i = 0; i < d->n_wanted; i++) {
        if (d->wanted[i].index == -1 - index) return true;
    }
    return false;
}

/* -- the machine ------------------------------------------------------------------------------------------------------------------------ */

static qn_status inputs_tokens(qn_decoder *d, qn_json_token token, const char *text, size_t n, qn_error *err)
{
    switch (d->where) {
    case V2_INPUTS:
        if (token != QN_JSON_ARRAY_BEGIN) return wrong_type("inputs", "an array", err);
        d->where = V2_INPUT;
        return QN_OK;
    case V2_INPUT:
        if (token == QN_JSON_ARRAY_END) {
            d->where = V2_TOP;
            return QN_OK;
        }
        if (token != QN_JSON_OBJECT_BEGIN) return wrong_type("an input", "an object", err);
        input_begin(d);
        return QN_OK;
    case V2_INPUT_FIELD:
        if (token == QN_JSON_KEY) return input_key(d, text, n, err);
        if (token == QN_JSON_OBJECT_END) return input_end(d, err);
        return input_scalar(d, token, text, n, err);
    case V2_INPUT_PARAMETERS:
        if (token != QN_JSON_OBJECT_BEGIN) return wrong_type("parameters of an input", "an object", err);
        d->where = V2_INPUT_PARAMETER;
        return QN_OK;
    default: /* V2_INPUT_PARAMETER */
        if (token == QN_JSON_OBJECT_END) {
            d->where = V2_INPUT_FIELD;
        } else if (token == QN_JSON_KEY) {
            keep_key(d, text, n);
        } else if (token == QN_JSON_ARRAY_BEGIN || token == QN_JSON_OBJECT_BEGIN) {
            return wrong_type("a parameter", "a string, a number or a bool", err);
        } else if (key_is(d, "binary_data_size") &&
                   (token != QN_JSON_NUMBER || !qn_number_to_i64(text, n, &d->cur.binary_bytes) || d->cur.binary_bytes < 0)) {
            return wrong_type("binary_data_size", "a whole number of bytes", err);
        }
        return QN_OK;
    }
}

static qn_status outputs_tokens(qn_decoder *d, qn_json_token token, const char *text, size_t n, qn_error *err)
{
    switch (d->where) {
    case V2_OUTPUTS:
        if (token != QN_JSON_ARRAY_BEGIN) return wrong_type("outputs", "an array", err);
        d->where = V2_OUTPUT;
        return QN_OK;
    case V2_OUTPUT:
        if (token == QN_JSON_ARRAY_END) {
            d->where = V2_TOP;
            return QN_OK;
        }
        if (token != QN_JSON_OBJECT_BEGIN) return wrong_type("a requested output", "an object", err);
        d->out_index = -1;
        d->out_binary = -1;
        d->out_classes = 0;
        d->where = V2_OUTPUT_FIELD;
        return QN_OK;
    case V2_OUTPUT_FIELD:
        if (token == QN_JSON_OBJECT_END) {
            if (d->out_index >= 0 && already_wanted(d, d->out_index))
                return qn_error_set(err, QN_ERR_INVALID, "output %.64s is requested twice", qn_model_output(d->model, d->out_index)->name);
            return output_end(d, err);
        }
        if (token != QN_JSON_KEY) return output_scalar(d, token, text, n, err);
        if (is(text, n, "parameters"))
            d->where = V2_OUTPUT_PARAMETERS;
        else if (!is(text, n, "name"))
            skip_from(d, V2_OUTPUT_FIELD);
        return QN_OK;
    case V2_OUTPUT_PARAMETERS:
        if (token != QN_JSON_OBJECT_BEGIN) return wrong_type("parameters of an output", "an object", err);
        d->where = V2_OUTPUT_PARAMETER;
        return QN_OK;
    default: /* V2_OUTPUT_PARAMETER */
        if (token == QN_JSON_OBJECT_END) {
            d->where = V2_OUTPUT_FIELD;
            return QN_OK;
        }
        if (token != QN_JSON_KEY) return output_parameter(d, token, text, n, err);
        keep_key(d, text, n);
        return QN_OK;
    }
}

static qn_status v2_token(void *user, qn_json_token token, const char *text, size_t n, qn_error *err)
{
    qn_decoder *d = user;

    switch (d->where) {
    case V2_DATA: return data_token(d, token, text, n, err); /* first: nearly every token is an element */
    case V2_SPOOL: return spool_token(d, token, text, n, err);
    case V2_SHAPE: return shape_token(d, token, text, n, err);
    case V2_START:
        if (token != QN_JSON_OBJECT_BEGIN) return wrong_type("the body", "a JSON object", err);
        d->where = V2_TOP;
        return QN_OK;
    case V2_TOP:
        if (token == QN_JSON_KEY) return top_key(d, text, n, err);
        d->where = V2_DONE; /* the reader lets only '}' through here */
        return QN_OK;
    case V2_ID: return id_token(d, token, text, n, err);
    case V2_PARAMETERS:
        if (token != QN_JSON_OBJECT_BEGIN) return wrong_type("parameters", "an object", err);
        d->where = V2_PARAMETER;
        return QN_OK;
    case V2_PARAMETER:
        if (token == QN_JSON_OBJECT_END)
            d->where = V2_TOP;
        else if (token == QN_JSON_KEY)
            keep_key(d, text, n);
        else
            return parameter_value(d, token, text, n, err);
        return QN_OK;
    case V2_SKIP: skip_token(d, token); return QN_OK;
    case V2_OUTPUTS:
    case V2_OUTPUT:
    case V2_OUTPUT_FIELD:
    case V2_OUTPUT_PARAMETERS:
    case V2_OUTPUT_PARAMETER: return outputs_tokens(d, token, text, n, err);
    default: return inputs_tokens(d, token, text, n, err);
    }
}

static qn_status v2_finish(qn_decoder *d, qn_error *err)
{
    if (!d->inputs_seen && d->n_inputs > 0) return qn_error_set(err, QN_ERR_INVALID, "the request has no inputs");
    for (int32_t i = 0; i < d->n_wanted; i++) {
        if (d->wanted[i].index >= 0) continue;
        d->wanted[i].index = -1 - d->wanted[i].index;
        d->wanted[i].binary = d->binary_output;
    }
    return QN_OK;
}

static size_t v2_list(void *user, const char *text, size_t n)
{
    qn_decoder *d = user;

    return d->where == V2_DATA ? qn_sink_list(&d->cur.sink, text, n) : 0;
}

const qn_format qn_format_v2 = { .token = v2_token, .list = v2_list, .finish = v2_finish };
