/* server/codec/tfs.c - the JSON of a TensorFlow Serving predict request, token by token.
 * Source: TensorFlow Serving api_rest.md. Row format {"instances": [row, ..]}, a row being a value or {"input": value, ..};
 * column format {"inputs": value} or {"inputs": {"input": value, ..}}. Shapes come from the nesting, dtypes from the model.
 * {"b64": ".."} stands for a string.
 * Classify and regress: {"context": {feature: value}, "examples": [{feature: value, ..}, ..]}, a feature being an input of the model and its
 * value a scalar or a list, flat as in a tf.Example: it takes the shape of the model's input. */
#include "server/codec/decoder.h"

#include "quern/checked.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { /* tfs_where */
       T_START,
       T_TOP,
       T_SIGNATURE,
       T_SKIP,
       T_ROWS_BEGIN,   /* '[' of instances */
       T_ROW,          /* a row, or ']' */
       T_ROW_FIELD,    /* inside {"input": ..} of a row */
       T_COLUMNS,      /* the value of "inputs" */
       T_COLUMN_FIELD, /* inside {"input": ..} of "inputs" or of "context" */
       T_CONTEXT,      /* '{' of context */
       T_VALUE,        /* inside the value of one input */
       T_B64_KEY,
       T_B64_VALUE,
       T_B64_END,
       T_DONE,
};

static bool is(const char *text, size_t n, const char *word) { return strlen(word) == n && memcmp(text, word, n) == 0; }

/* Is this value one row of several? */
static bool in_row(const qn_decoder *d) { return d->row_format && !d->in_context; }

/* The input whose value is being read. */
static qn_given *now_given(qn_decoder *d) { return d->in_context ? &d->context[d->tfs_input] : &d->given[d->tfs_input]; }

/* Where to go when the value of one input is complete; skip_depth is 1 inside an object of named inputs. */
static int after_value(const qn_decoder *d)
{
    if (in_row(d)) return d->skip_depth ? T_ROW_FIELD : T_ROW;
    return d->skip_depth ? T_COLUMN_FIELD : T_TOP;
}

static qn_given *given_of(qn_decoder *d, int32_t i)
{
    qn_given *g = d->in_context ? &d->context[i] : &d->given[i];

    if (!g->given) {
        qn_sink_init(&g->sink, qn_model_input(d->model, i)->dtype, &d->budget);
        g->given = true;
    }
    return g;
}

/* The value of input i begins with this token. In row format every row is one element of an array that is opened at the first row. */
static qn_status value_begin(qn_decoder *d, int32_t i, qn_error *err)
{
    qn_given *g = given_of(d, i);
    qn_status st = QN_OK;

    d->tfs_input = i;
    if (in_row(d) && g->sink.depth == 0) st = qn_sink_token(&g->sink, QN_JSON_ARRAY_BEGIN, "", 0, err);
    if (in_row(d) && ++d->tfs_mark[i] != d->tfs_rows)
        return qn_error_set(err, QN_ERR_INVALID, "%s %" PRId64 ": input %.64s is given twice, or an earlier one lacks it",
                            d->examples ? "example" : "instance", d->tfs_rows - 1, qn_model_input(d->model, i)->name);
    d->tfs_base = g->sink.depth;
    d->tfs_where = T_VALUE;
    return st;
}

static qn_status value_token(qn_decoder *d, qn_json_token token, const char *text, size_t n, qn_error *err)
{
    qn_sink *s = &now_given(d)->sink;
    qn_status st;

    if (token == QN_JSON_OBJECT_BEGIN) {
        if (s->dtype != QN_STRING)
            return qn_error_set(err, QN_ERR_INVALID, "input %.64s: an object where a %s is expected",
                                qn_model_input(d->model, d->tfs_input)->name, qn_dtype_oip_name(s->dtype));
        d->tfs_where = T_B64_KEY;
        return QN_OK;
    }
    st = qn_sink_token(s, token, text, n, err);
    if (st != QN_OK) {
        qn_error_prefix(err, "input %.64s", qn_model_input(d->model, d->tfs_input)->name);
        return st;
    }
    if (s->depth == d->tfs_base) d->tfs_where = after_value(d);
    return QN_OK;
}

static qn_status b64_token(qn_decoder *d, qn_json_token token, const char *text, size_t n, qn_error *err)
{
    qn_sink *s = &now_given(d)->sink;
    qn_status st;

    if (d->tfs_where == T_B64_KEY && token == QN_JSON_KEY && is(text, n, "b64")) {
        d->tfs_where = T_B64_VALUE;
    } else if (d->tfs_where == T_B64_VALUE && token == QN_JSON_STRING) {
        st = qn_sink_base64(s, text, n, err);
        if (st != QN_OK) return st;
        d->tfs_where = T_B64_END;
    } else if (d->tfs_where == T_B64_END && token == QN_JSON_OBJECT_END) {
        d->tfs_where = s->depth == d->tfs_base ? after_value(d) : T_VALUE;
    } else {
        return qn_error_set(err, QN_ERR_INVALID, "an object in place of a string must be {\"b64\": \"...\"}");
    }
    return QN_OK;
}

static qn_status field_key(qn_decoder *d, const char *text, size_t n, qn_error *err)
{
    int32_t i = qn_decoder_input_index(d, text, n);

    if (i < 0) return qn_error_set(err, QN_ERR_INVALID, "the model has no input %.*s", (int)(n < 64 ? n : 64), text);
    if (d->in_context ? d->context[i].given : !d->row_format && d->given[i].given)
        return qn_error_set(err, QN_ERR_INVALID, "input %.*s is given twice", (int)(n < 64 ? n : 64), text);
    return value_begin(d, i, err);
}

/* The only input, for a value without a name. */
static qn_status unnamed(qn_decoder *d, qn_error *err)
{
    if (d->n_inputs == 1) return value_begin(d, 0, err);
    return qn_error_set(err, QN_ERR_INVALID, "the model has %d inputs, so every value needs a name: {\"%.48s\": ...}", d->n_inputs,
                        d->n_inputs ? qn_model_input(d->model, 0)->name : "");
}

/* "context" or "examples": false if the key is neither. */
static bool examples_key(qn_decoder *d, const char *text, size_t n, qn_status *st, qn_error *err)
{
    const bool context = is(text, n, "context");

    if (!context && !is(text, n, "examples")) return false;
    if (context ? d->context_seen : d->tfs_seen)
        *st = qn_error_set(err, QN_ERR_INVALID, "%s is given twice", context ? "context" : "examples");
    if (context)
        d->context_seen = true;
    else
        d->tfs_seen = d->row_format = true;
    d->skip_depth = 0;
    d->tfs_where = context ? T_CONTEXT : T_ROWS_BEGIN;
    return true;
}

static qn_status top_token(qn_decoder *d, qn_json_token token, const char *text, size_t n, qn_error *err)
{
    qn_status st = QN_OK;

    if (token == QN_JSON_OBJECT_END) {
        d->tfs_where = T_DONE;
        return QN_OK;
    }
    if (d->examples && examples_key(d, text, n, &st, err)) return st;
    if (!d->examples && (is(text, n, "instances") || is(text, n, "inputs"))) {
        if (d->tfs_seen) return qn_error_set(err, QN_ERR_INVALID, "exactly one of \"instances\" and \"inputs\" is expected, once");
        d->tfs_seen = true;
        d->row_format = is(text, n, "instances");
        d->tfs_where = d->row_format ? T_ROWS_BEGIN : T_COLUMNS;
        d->skip_depth = 0;
    } else if (is(text, n, "signature_name")) {
        d->tfs_where = T_SIGNATURE;
    } else {
        d->tfs_where = T_SKIP;
        d->skip_depth = 0;
    }
    return QN_OK;
}

static qn_status row_token(qn_decoder *d, qn_json_token token, const char *text, size_t n, qn_error *err)
{
    qn_status st;

    if (token == QN_JSON_ARRAY_END) { /* of "instances": close the array that holds the rows of each input */
        for (int32_t i = 0; i < d->n_inputs; i++) {
            if (!d->given[i].given) continue;
            st = qn_sink_token(&d->given[i].sink, QN_JSON_ARRAY_END, "", 0, err);
            if (st != QN_OK) return st;
        }
        d->tfs_where = T_TOP;
        return QN_OK;
    }
    d->tfs_rows++;
    /* {"b64": ..} for a model with one string input is a value, not a row of named inputs; its key tells, one token later */
    if (token == QN_JSON_OBJECT_BEGIN) {
        d->skip_depth = 1;
        d->tfs_where = T_ROW_FIELD;
        return QN_OK;
    }
    if (d->examples) return qn_error_set(err, QN_ERR_INVALID, "example %" PRId64 ": an object of features expected", d->tfs_rows - 1);
    d->skip_depth = 0;
    st = unnamed(d, err);
    return st == QN_OK ? value_token(d, token, text, n, err) : st;
}

static qn_status field_token(qn_decoder *d, qn_json_token token, const char *text, size_t n, qn_error *err)
{
    if (token == QN_JSON_OBJECT_END) {
        d->skip_depth = 0;
        d->tfs_where = in_row(d) ? T_ROW : T_TOP;
        d->in_context = false;
        return QN_OK;
    }
    if (!d->examples && is(text, n, "b64") && d->n_inputs == 1 && qn_model_input(d->model, 0)->dtype == QN_STRING &&
        qn_decoder_input_index(d, "b64", 3) < 0) {
        qn_status st;

        d->skip_depth = 0;
        st = value_begin(d, 0, err);
        d->tfs_where = T_B64_VALUE;
        return st;
    }
    return field_key(d, text, n, err);
}

static qn_status tfs_token(void *user, qn_json_token token, const char *text, size_t n, qn_error *err)
{
    qn_decoder *d = user;
    qn_status st;

    switch (d->tfs_where) {
    case T_VALUE: return value_token(d, token, text, n, err); /* first: nearly every token is an element */
    case T_START:
        if (token != QN_JSON_OBJECT_BEGIN) return qn_error_set(err, QN_ERR_INVALID, "the body must be a JSON object");
        d->tfs_where = T_TOP;
        return QN_OK;
    case T_TOP: return top_token(d, token, text, n, err);
    case T_SIGNATURE:
        if (token != QN_JSON_STRING || !(is(text, n, "serving_default") || is(text, n, d->method)))
            return qn_error_set(err, QN_ERR_INVALID, "signature_name must be \"serving_default\", the only one a model here has, or \"%s\"",
                                d->method);
        d->tfs_where = T_TOP;
        return QN_OK;
    case T_SKIP:
        d->skip_depth +=
            (token == QN_JSON_OBJECT_BEGIN || token == QN_JSON_ARRAY_BEGIN) - (token == QN_JSON_OBJECT_END || token == QN_JSON_ARRAY_END);
        if (token != QN_JSON_KEY && d->skip_depth == 0) d->tfs_where = T_TOP;
        return QN_OK;
    case T_ROWS_BEGIN:
        if (token != QN_JSON_ARRAY_BEGIN)
            return qn_error_set(err, QN_ERR_INVALID, "%s must be an array", d->examples ? "examples" : "instances");
        d->tfs_where = T_ROW;
        return QN_OK;
    case T_ROW: return row_token(d, token, text, n, err);
    case T_CONTEXT:
        if (token != QN_JSON_OBJECT_BEGIN) return qn_error_set(err, QN_ERR_INVALID, "context must be an object of features");
        d->in_context = true;
        d->skip_depth = 1;
        d->tfs_where = T_COLUMN_FIELD;
        return QN_OK;
    case T_COLUMNS:
        if (token == QN_JSON_OBJECT_BEGIN) {
            d->skip_depth = 1;
            d->tfs_where = T_COLUMN_FIELD;
            return QN_OK;
        }
        d->skip_depth = 0;
        st = unnamed(d, err);
        return st == QN_OK ? value_token(d, token, text, n, err) : st;
    case T_ROW_FIELD:
    case T_COLUMN_FIELD: return field_token(d, token, text, n, err);
    default: return b64_token(d, token, text, n, err);
    }
}

/* A feature of the context, once for every example. */
static qn_status spread(qn_decoder *d, qn_given *c, qn_given *g, qn_error *err)
{
    const size_t bytes = c->sink.len;
    const int64_t count = c->sink.count;
    qn_status st = QN_OK;

    g->given = true;
    g->sink = c->sink;
    c->given = false;
    c->sink = (qn_sink){ .dtype = g->sink.dtype };
    for (int64_t r = 1; r < d->tfs_rows && st == QN_OK && bytes > 0 && g->sink.dtype != QN_STRING; r++) {
        st = qn_sink_reserve(&g->sink, bytes, err);
        if (st != QN_OK) return st;
        memcpy(g->sink.data + g->sink.len, g->sink.data, bytes);
        g->sink.len += bytes;
    }
    for (int64_t i = 0; i < count * (d->tfs_rows - 1) && st == QN_OK && g->sink.dtype == QN_STRING; i++) {
        const uint64_t from = i % count ? g->sink.ends[i % count - 1] : 0, n = g->sink.ends[i % count] - from;
        char *text = malloc((size_t)n + 1); /* the sink may move while it grows */

        if (!text) return qn_error_set(err, QN_ERR_NOMEM, "a feature of the context");
        if (n > 0) memcpy(text, g->sink.data + from, (size_t)n);
        st = qn_sink_string(&g->sink, text, (size_t)n, err);
        free(text);
    }
    if (g->sink.dtype != QN_STRING) g->sink.count = count * d->tfs_rows;
    return st;
}

/* Features are flat: the elements of an example take the shape of the model's input, of which one dimension beside the rows may be free. */
static void shape_of_feature(const qn_decoder *d, const qn_port *p, qn_given *g)
{
    int64_t each = d->tfs_rows ? g->sink.count / d->tfs_rows : 0, known = 1;
    int32_t open = -1, n_open = 0;

    if (p->rank < 1 || g->sink.count % d->tfs_rows) return; /* as it was nested: the check of shapes says what is wrong */
    for (int32_t i = 1; i < p->rank; i++) {
        if (p->dims[i] < 0) {
            open = i;
            n_open++;
        } else if (!qn_i64_mul(known, p->dims[i], &known)) {
            return;
        }
    }
    if (n_open > 1 || (n_open == 1 ? known == 0 || each % known != 0 : each != known)) return;
    g->rank = p->rank;
    g->dims[0] = d->tfs_rows;
    for (int32_t i = 1; i < p->rank; i++) g->dims[i] = i == open ? each / known : p->dims[i];
}

static qn_status examples_finish(qn_decoder *d, qn_error *err)
{
    if (!d->tfs_seen || d->tfs_rows == 0) return qn_error_set(err, QN_ERR_INVALID, "examples: at least one expected");
    for (int32_t i = 0; i < d->n_inputs; i++) {
        const qn_port *p = qn_model_input(d->model, i);
        qn_given *g = &d->given[i], *c = &d->context[i];
        const bool shared = c->given;
        qn_status st = QN_OK;

        if (g->given && shared) return qn_error_set(err, QN_ERR_INVALID, "feature %.64s is in the context and in an example", p->name);
        if (g->given && d->tfs_mark[i] != d->tfs_rows)
            return qn_error_set(err, QN_ERR_INVALID, "feature %.64s is missing in some examples", p->name);
        if (!g->given && !shared) continue;
        if ((shared ? c : g)->sink.leaf_depth > QN_MAX_RANK - 1)
            return qn_error_set(err, QN_ERR_SHAPE, "feature %.64s is nested deeper than %d levels", p->name, QN_MAX_RANK - 1);
        if (shared) {
            qn_sink_shape(&c->sink, &g->rank, g->dims);
            memmove(g->dims + 1, g->dims, (size_t)g->rank++ * sizeof g->dims[0]);
            g->dims[0] = d->tfs_rows;
            st = spread(d, c, g, err);
        } else {
            qn_sink_shape(&g->sink, &g->rank, g->dims);
        }
        if (st != QN_OK) return st;
        shape_of_feature(d, p, g);
    }
    return QN_OK;
}

static qn_status tfs_finish(qn_decoder *d, qn_error *err)
{
    if (d->examples) return examples_finish(d, err);
    if (!d->tfs_seen) return qn_error_set(err, QN_ERR_INVALID, "exactly one of \"instances\" and \"inputs\" is expected");
    for (int32_t i = 0; i < d->n_inputs; i++) {
        const qn_port *p = qn_model_input(d->model, i);
        qn_given *g = &d->given[i];

        if (!g->given && d->row_format && d->tfs_rows == 0 && !p->optional)
            return qn_error_set(err, QN_ERR_SHAPE, "instances is empty, expected at least one");
        if (!g->given) continue;
        if (d->row_format && d->tfs_mark[i] != d->tfs_rows)
            return qn_error_set(err, QN_ERR_INVALID, "input %.64s is missing in some instances", p->name);
        if (g->sink.leaf_depth > QN_MAX_RANK)
            return qn_error_set(err, QN_ERR_SHAPE, "input %.64s is nested deeper than %d levels", p->name, QN_MAX_RANK);
        qn_sink_shape(&g->sink, &g->rank, g->dims);
    }
    return QN_OK;
}

static size_t tfs_list(void *user, const char *text, size_t n)
{
    qn_decoder *d = user;
    qn_sink *s = &now_given(d)->sink;

    return d->tfs_where == T_VALUE && s->depth > d->tfs_base ? qn_sink_list(s, text, n) : 0;
}

const qn_format qn_format_tfs = { .token = tfs_token, .list = tfs_list, .finish = tfs_finish };
