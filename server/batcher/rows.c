/* server/batcher/rows.c - gather and scatter: dimension 0 is the row, so rows are contiguous bytes. */
#include "server/batcher/rows.h"

#include "server/batcher/padding.h"

#include "quern/checked.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool qn_rows_same_bucket(const qn_call *a, const qn_call *b)
{
    const qn_padding *p = qn_version_padding(a->version);
    int32_t n_in = qn_model_n_inputs(qn_version_model(a->version));
    bool fill = false;

    if (a->version != b->version) return false;
    if (p) {
        const int64_t x = qn_padding_length(p, a->inputs), y = qn_padding_length(p, b->inputs);

        fill = x >= 0 && y >= 0 && qn_padding_same_bucket(p, x, y);
    }
    for (int32_t i = 0; i < n_in; i++) {
        const qn_tensor *x = &a->inputs[i], *y = &b->inputs[i];

        if (x->dtype != y->dtype || x->rank != y->rank) return false;
        if (x->dtype == QN_STRING) return false; /* offsets do not concatenate; strings run alone */
        if (x->dtype != QN_DTYPE_NONE && x->rank < 1) return false;
        for (int32_t d = 1; d < x->rank; d++) {
            if (x->dims[d] != y->dims[d] && !(d == 1 && fill && p->inputs[i])) return false;
        }
    }
    return true;
}

size_t qn_rows_input_bytes(const qn_call *c)
{
    int32_t n_in = qn_model_n_inputs(qn_version_model(c->version));
    size_t total = 0;

    for (int32_t i = 0; i < n_in; i++) total += c->inputs[i].bytes; /* each was bounded when it was decoded */
    return total;
}

/* The longest of the calls where lengths may differ; -1 where they may not. */
static int64_t run_length(const qn_call *first, int32_t n_calls)
{
    const qn_padding *p = qn_version_padding(first->version);
    const qn_call *c = first;
    int64_t length = -1;

    for (int32_t k = 0; k < n_calls && p; k++, c = c->next) {
        const int64_t l = qn_padding_length(p, c->inputs);

        if (l < 0) return -1; /* such a call joins only its like: nothing is filled up */
        if (l > length) length = l;
    }
    return length;
}

/* The rows of one input, each filled up from its own length to `length` elements of dimension 1. Returns what follows. */
static char *copy_filled(char *dst, const qn_tensor *t, int64_t length, const unsigned char fill[8])
{
    const size_t rows = (size_t)t->dims[0], own = rows ? t->bytes / rows : 0, size = qn_dtype_size(t->dtype);
    const size_t step = t->dims[1] ? own / (size_t)t->dims[1] : 0; /* bytes of one place along dimension 1 */

    for (size_t r = 0; r < rows; r++) {
        const size_t more = step * (size_t)(length - t->dims[1]);

        if (own) memcpy(dst, (const char *)t->data + r * own, own);
        dst += own;
        for (size_t at = 0; at < more; at += size) memcpy(dst + at, fill, size);
        dst += more;
    }
    return dst;
}

qn_status qn_rows_gather(const qn_call *first, int32_t n_calls, int64_t rows, int32_t n_in, void **buffer, size_t *buffer_bytes,
                         qn_tensor *inputs, qn_error *err)
{
    const qn_padding *p = qn_version_padding(first->version);
    const int64_t length = n_calls > 1 ? run_length(first, n_calls) : -1;
    size_t need = 0, at = 0;

    for (int32_t i = 0; i < n_in; i++) inputs[i] = first->inputs[i];
    if (n_calls == 1) return QN_OK;
    for (int32_t i = 0; i < n_in; i++) {
        size_t bytes = 0, aligned;

        if (inputs[i].dtype == QN_DTYPE_NONE) continue;
        inputs[i].dims[0] = rows;
        if (length >= 0 && p->inputs[i]) inputs[i].dims[1] = length;
        if (qn_shape_bytes(inputs[i].dtype, inputs[i].rank, inputs[i].dims, &bytes, err) != QN_OK) return QN_ERR_LIMIT;
        inputs[i].bytes = bytes;
        if (!qn_size_align(bytes, 64, &aligned) || !qn_size_add(need, aligned, &need))
            return qn_error_set(err, QN_ERR_LIMIT, "a batch of %" PRId64 " rows does not fit memory", rows);
    }
    if (need > *buffer_bytes) {
        void *grown = aligned_alloc(64, need);

        if (!grown) return qn_error_set(err, QN_ERR_NOMEM, "%zu bytes for a batch of %" PRId64 " rows", need, rows);
        free(*buffer);
        *buffer = grown;
        *buffer_bytes = need;
    }
    for (int32_t i = 0; i < n_in; i++) {
        const qn_call *c = first;
        char *dst = (char *)*buffer + at;

        if (inputs[i].dtype == QN_DTYPE_NONE) continue;
        inputs[i].data = dst;
        for (int32_t k = 0; k < n_calls; k++, c = c->next) {
            if (length >= 0 && p->inputs[i] && c->inputs[i].dims[1] != length) {
                dst = copy_filled(dst, &c->inputs[i], length, p->fill[i]);
                continue;
            }
            if (c->inputs[i].bytes) memcpy(dst, c->inputs[i].data, c->inputs[i].bytes);
            dst += c->inputs[i].bytes;
        }
        at += (inputs[i].bytes + 63) & ~(size_t)63; /* the same sum as above, which was checked */
    }
    return QN_OK;
}

/* A copy of part (rows of a run of longer calls) with `length` places of dimension 1. */
static qn_status copy_cut(const qn_tensor *part, int64_t length, qn_tensor *out, qn_error *err)
{
    const size_t rows = (size_t)part->dims[0], from = rows ? part->bytes / rows : 0;
    int64_t dims[QN_MAX_RANK];
    qn_status st;

    memcpy(dims, part->dims, sizeof dims);
    dims[1] = length;
    st = qn_tensor_alloc(part->dtype, part->rank, dims, out, err);
    for (size_t r = 0; r < rows && st == QN_OK && out->bytes > 0; r++)
        memcpy((char *)out->data + r * (out->bytes / rows), (const char *)part->data + r * from, out->bytes / rows);
    return st;
}

/* One call's rows [row, row + c->rows) of every output; length: of the run, if its calls may differ in theirs, else -1. */
static qn_status scatter_call(qn_call *c, int64_t row, bool alone, int64_t length, const qn_tensor *outputs, int32_t n_out, qn_error *err)
{
    const qn_padding *p = qn_version_padding(c->version);
    const int64_t own = length >= 0 ? qn_padding_length(p, c->inputs) : -1;

    c->outputs = calloc((size_t)n_out, sizeof *c->outputs);
    if (!c->outputs) return qn_error_set(err, QN_ERR_NOMEM, "%d outputs", n_out);
    c->n_outputs = n_out;
    for (int32_t i = 0; i < n_out; i++) {
        qn_tensor part = outputs[i];
        qn_status st;

        if (!alone) {
            size_t row_bytes = part.dims[0] > 0 ? part.bytes / (size_t)part.dims[0] : 0;

            part.dims[0] = c->rows;
            part.bytes = row_bytes * (size_t)c->rows;
            part.data = (char *)part.data + row_bytes * (size_t)row;
        }
        if (own >= 0 && own < length && p->outputs[i])
            st = copy_cut(&part, own, &c->outputs[i], err);
        else
            st = qn_tensor_copy(&part, &c->outputs[i], err);
        if (st != QN_OK) return st;
    }
    return QN_OK;
}

qn_status qn_rows_scatter(qn_call *first, int32_t n_calls, int64_t rows, const qn_tensor *outputs, int32_t n_out, qn_error *err)
{
    qn_status st = QN_OK;
    int64_t row = 0, length = n_calls > 1 ? run_length(first, n_calls) : -1;
    const qn_padding *p = qn_version_padding(first->version);
    qn_call *c = first;

    for (int32_t i = 0; i < n_out && n_calls > 1; i++) {
        if (length >= 0 && p->outputs[i] && outputs[i].dims[1] != length)
            return qn_error_set(err, QN_ERR_SHAPE, "output %d does not have the length %" PRId64 " of the padded inputs as dimension 1", i,
                                length);
        if (outputs[i].rank < 1 || outputs[i].dims[0] != rows || outputs[i].dtype == QN_STRING)
            return qn_error_set(err, QN_ERR_SHAPE, "output %d does not have the %" PRId64 " rows of the batch as dimension 0", i, rows);
    }
    for (int32_t k = 0; k < n_calls && st == QN_OK; k++, c = c->next) {
        st = scatter_call(c, row, n_calls == 1, length, outputs, n_out, err);
        row += c->rows;
    }
    if (st == QN_OK) return QN_OK;
    c = first;
    for (int32_t k = 0; k < n_calls; k++, c = c->next) qn_call_release(c);
    return st;
}
