/* core/ops/strings.c - StringConcat, StringSplit.
 * Spec   ONNX 20 on. StringConcat: broadcasts. StringSplit: pieces between occurrences of `delimiter`, found from the left, in a new last axis
 *        as long as the most pieces of any element and filled up with empty strings; and how many each element has. Without a
 *        delimiter (or with an empty one) elements are cut at runs of whitespace, and whitespace around the pieces goes, after the last cut
 *        that `maxsplit` allows too. An empty string has no pieces, also with a delimiter, as in ONNX Runtime (the text leaves it open).
 *        Whitespace is that of ASCII (ONNX Runtime takes the space alone, against the text). A maxsplit below 0 is no limit. */
#include "core/tensor/strings.h"
#include "core/base/checked.h"
#include "core/ops/move.h"
#include "core/tensor/broadcast.h"

#include <inttypes.h>
#include <string.h>

#define MAX_STRINGS ((int64_t)1 << 26) /* of one output: its offsets alone are half a gigabyte */

static qn_status check_count(int32_t rank, const int64_t *dims, int64_t *n, qn_error *err)
{
    const qn_status st = qn_shape_count(rank, dims, n, err);

    if (st == QN_OK && *n > MAX_STRINGS) return qn_error_set(err, QN_ERR_LIMIT, "%" PRId64 " strings, at most %" PRId64, *n, MAX_STRINGS);
    return st;
}

/* -- StringConcat --------------------------------------------------------------------------------------------------------- */

static qn_status concat_infer(qn_infer *c, qn_error *err)
{
    qn_status st = qn_move_need(c, 2, err);

    for (int32_t i = 0; i < 2 && st == QN_OK; i++) st = qn_move_need_dtype(c, i, 1u << QN_STRING, err);
    if (st == QN_OK) st = qn_move_type(&c->out[0], QN_STRING, -1, err);
    if (st != QN_OK || c->in[0].rank < 0 || c->in[1].rank < 0) return st;
    st = qn_infer_broadcast(c, &c->in[0], &c->in[1], &c->out[0], err);
    c->out[0].dtype = QN_STRING;
    return st;
}

/* Append string i of x to y as part of its element k; counts only while y has no data. */
static void append(const qn_tensor *x, int64_t i, const qn_tensor *y, uint64_t *at)
{
    size_t len;
    const char *s = qn_strings_get(x, i, &len);

    if (y && len) memcpy(qn_strings_blob(y) + *at, s, len);
    *at += len;
}

/* Walks the pairs in the order of the output; y NULL: *text becomes the bytes they give together. False if those overflow. */
static bool concat_walk(const qn_run *r, int32_t rank, const int64_t *dims, const qn_tensor *y, uint64_t *text)
{
    const qn_tensor *a = &r->in[0], *b = &r->in[1];
    int64_t strides[2][QN_MAX_RANK], k = 0;
    qn_odometer o;

    *text = 0;
    qn_broadcast_strides(a->rank, a->dims, rank, dims, strides[0]);
    qn_broadcast_strides(b->rank, b->dims, rank, dims, strides[1]);
    qn_odometer_init(&o, 2, rank, dims, strides);
    if (y) qn_strings_offsets(y)[0] = 0;
    for (bool more = o.n_outer > 0; more; more = qn_odometer_next(&o)) {
        for (int64_t i = 0; i < o.n_inner; i++) {
            append(a, o.at[0] + i * o.step[0], y, text);
            append(b, o.at[1] + i * o.step[1], y, text);
            if (*text > SIZE_MAX / 4) return false;
            if (y) qn_strings_offsets(y)[++k] = *text;
        }
    }
    return true;
}

static qn_status concat_run(qn_run *r, qn_error *err)
{
    const qn_tensor *a = &r->in[0], *b = &r->in[1];
    int64_t dims[QN_MAX_RANK], n;
    int32_t rank;
    uint64_t text;
    size_t bytes;
    qn_status st = qn_broadcast_shape(a->rank, a->dims, b->rank, b->dims, &rank, dims, err);

    if (st != QN_OK || (st = check_count(rank, dims, &n, err)) != QN_OK) return st;
    if (!concat_walk(r, rank, dims, NULL, &text) || !qn_strings_bytes(n, (size_t)text, &bytes))
        return qn_error_set(err, QN_ERR_LIMIT, "strings of the output");
    if ((st = qn_run_output(r, 0, QN_STRING, rank, dims, bytes, err)) != QN_OK) return st;
    (void)concat_walk(r, rank, dims, &r->out[0], &text);
    return QN_OK;
}

const qn_op qn_op_string_concat = {
    .name = "StringConcat",
    .since = 20,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .infer = concat_infer,
    .rows = qn_rows_elementwise,
    .run = concat_run,
};

/* -- StringSplit ---------------------------------------------------------------------------------------------------------- */

/* The pieces of one string, one after another. */
typedef struct pieces {
    const char *s;
    size_t left;
    const char *delimiter;
    size_t delimiter_len; /* 0: whitespace */
    int64_t cuts;         /* still allowed; below 0: any number */
    bool done;
} pieces;

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static pieces begin(const qn_node *node, const qn_tensor *x, int64_t i)
{
    const qn_attr *d = qn_node_attr(node, "delimiter");
    pieces p = { .cuts = qn_node_int(node, "maxsplit", -1) };

    if (d && d->type == QN_ATTR_STRING) {
        p.delimiter = d->s;
        p.delimiter_len = (size_t)d->n;
    }
    p.s = qn_strings_get(x, i, &p.left);
    p.done = p.left == 0;
    return p;
}

static void skip(pieces *p, size_t n)
{
    p->s += n;
    p->left -= n;
}

static bool next_word(pieces *p, const char **piece, size_t *len)
{
    while (p->left > 0 && is_space(*p->s)) skip(p, 1);
    if (p->left == 0) return false;
    *piece = p->s;
    *len = 0;
    if (p->cuts == 0) {
        *len = p->left;
        while (is_space(p->s[*len - 1])) --*len;
        skip(p, p->left);
        return true;
    }
    while (*len < p->left && !is_space(p->s[*len])) ++*len;
    skip(p, *len);
    p->cuts -= p->cuts > 0;
    return true;
}

static bool next(pieces *p, const char **piece, size_t *len)
{
    const char *at;

    if (p->delimiter_len == 0) return next_word(p, piece, len);
    if (p->done) return false;
    *piece = p->s;
    at = p->cuts != 0 && p->left > 0 ? memmem(p->s, p->left, p->delimiter, p->delimiter_len) : NULL;
    *len = at ? (size_t)(at - p->s) : p->left;
    if (at) skip(p, *len + p->delimiter_len);
    p->done = !at;
    p->cuts -= p->cuts > 0;
    return true;
}

static qn_status split_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0];
    const qn_attr *d = qn_node_attr(c->node, "delimiter");
    qn_status st;

    if ((st = qn_move_need(c, 1, err)) != QN_OK || (st = qn_move_need_dtype(c, 0, 1u << QN_STRING, err)) != QN_OK) return st;
    if (d && d->type != QN_ATTR_STRING) return qn_error_set(err, QN_ERR_INVALID, "attribute delimiter is no string");
    if ((st = qn_move_type(&c->out[0], QN_STRING, x->rank < 0 ? -1 : x->rank + 1, err)) != QN_OK) return st;
    for (int32_t a = 0; a < x->rank; a++) c->out[0].dims[a] = x->dims[a];
    if (c->node->n_out < 2) return QN_OK;
    if ((st = qn_move_type(&c->out[1], QN_I64, x->rank, err)) != QN_OK) return st;
    for (int32_t a = 0; a < x->rank; a++) c->out[1].dims[a] = x->dims[a];
    return QN_OK;
}

/* Every piece of every element into y, whose last axis has `most` places. */
static void split_write(const qn_run *r, int64_t n, int64_t most, qn_tensor *y)
{
    uint64_t *off = qn_strings_offsets(y), at = 0;
    char *blob = qn_strings_blob(y);
    int64_t k = 0;

    off[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        pieces p = begin(r->node, &r->in[0], i);
        const char *piece;
        size_t len;

        while (next(&p, &piece, &len)) {
            if (len) memcpy(blob + at, piece, len);
            off[++k] = at += len;
        }
        while (k < (i + 1) * most) off[++k] = at;
    }
}

static qn_status split_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    const int64_t n = qn_tensor_count(x);
    int64_t dims[QN_MAX_RANK], most = 0, count, *counts = NULL;
    size_t text = 0, bytes;
    qn_status st = QN_OK;

    if (x->rank == QN_MAX_RANK) return qn_error_set(err, QN_ERR_LIMIT, "output of rank %d, at most %d", QN_MAX_RANK + 1, QN_MAX_RANK);
    if (qn_move_wants(r, 1)) {
        if ((st = qn_move_output(r, 1, QN_I64, x->rank, x->dims, err)) != QN_OK) return st;
        counts = r->out[1].data;
    }
    for (int64_t i = 0; i < n; i++) {
        pieces p = begin(r->node, x, i);
        const char *piece;
        int64_t k = 0;
        size_t len;

        for (; next(&p, &piece, &len); k++) text += len; /* pieces do not overlap: at most the bytes of x */
        if (counts) counts[i] = k;
        if (k > most) most = k;
    }
    if (!qn_move_wants(r, 0)) return QN_OK;
    for (int32_t a = 0; a < x->rank; a++) dims[a] = x->dims[a];
    dims[x->rank] = most;
    if ((st = check_count(x->rank + 1, dims, &count, err)) != QN_OK) return st;
    if (!qn_strings_bytes(count, text, &bytes)) return qn_error_set(err, QN_ERR_LIMIT, "strings of the output");
    if ((st = qn_run_output(r, 0, QN_STRING, x->rank + 1, dims, bytes, err)) == QN_OK) split_write(r, n, most, &r->out[0]);
    return st;
}

const qn_op qn_op_string_split = {
    .name = "StringSplit",
    .since = 20,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 2,
    .infer = split_infer,
    .run = split_run,
};
