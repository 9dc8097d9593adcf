/* server/batcher/rows.c - gather and scatter: dimension 0 is the row, so rows are contiguous bytes. */
#include "server/batcher/rows.h"

#include "quern/checked.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool qn_rows_same_bucket(const qn_call *a, const qn_call *b)
{
    int32_t n_in = qn_model_n_inputs(qn_version_model(a->version));

    if (a->version != b->version) return false;
    for (int32_t i = 0; i < n_in; i++) {
        const qn_tensor *x = &a->inputs[i], *y = &b->inputs[i];

        if (x->dtype != y->dtype || x->rank != y->rank) return false;
        if (x->dtype == QN_STRING) return false; /* offsets do not concatenate; strings run alone */
        if (x->dtype != QN_DTYPE_NONE && x->rank < 1) return false;
        for (int32_t d = 1; d < x->rank; d++) {
            if (x->dims[d] != y->dims[d]) return false;
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

qn_status qn_rows_gather(const qn_call *first, int32_t n_calls, int64_t rows, int32_t n_in, void **buffer, size_t *buffer_bytes,
                         qn_tensor *inputs, qn_error *err)
{
    size_t need = 0, at = 0;

    for (int32_t i = 0; i < n_in; i++) inputs[i] = first->inputs[i];
    if (n_calls == 1) return QN_OK;
    for (int32_t i = 0; i < n_in; i++) {
        size_t bytes = 0, aligned;

        if (inputs[i].dtype == QN_DTYPE_NONE) continue;
        inputs[i].dims[0] = rows;
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
            if (c->inputs[i].bytes) memcpy(dst, c->inputs[i].data, c->inputs[i].bytes);
            dst += c->inputs[i].bytes;
        }
        at += (inputs[i].bytes + 63) & ~(size_t)63; /* the same sum as above, which was checked */
    }
    return QN_OK;
}

/* One call's rows [row, row + c->rows) of every output. */
static qn_status scatter_call(qn_call *c, int64_t row, bool alone, const qn_tensor *outputs, int32_t n_out, qn_error *err)
{
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
        st = qn_tensor_copy(&part, &c->outputs[i], err);
        if (st != QN_OK) return st;
    }
    return QN_OK;
}

qn_status qn_rows_scatter(qn_call *first, int32_t n_calls, int64_t rows, const qn_tensor *outputs, int32_t n_out, qn_error *err)
{
    qn_status st = QN_OK;
    int64_t row = 0;
    qn_call *c = first;

    for (int32_t i = 0; i < n_out && n_calls > 1; i++) {
        if (outputs[i].rank < 1 || outputs[i].dims[0] != rows || outputs[i].dtype == QN_STRING)
            return qn_error_set(err, QN_ERR_SHAPE, "output %d does not have the %" PRId64 " rows of the batch as dimension 0", i, rows);
    }
    for (int32_t k = 0; k < n_calls && st == QN_OK; k++, c = c->next) {
        st = scatter_call(c, row, n_calls == 1, outputs, n_out, err);
        row += c->rows;
    }
    if (st == QN_OK) return QN_OK;
    c = first;
    for (int32_t k = 0; k < n_calls; k++, c = c->next) qn_call_release(c);
    return st;
}
