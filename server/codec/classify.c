/* server/codec/classify.c - top k with labels. */
#include "server/codec/classify.h"

#include "quern/buf.h"
#include "quern/half.h"
#include "quern/number.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double score_at(const qn_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case QN_F32: return (double)((const float *)t->data)[i];
    case QN_F64: return ((const double *)t->data)[i];
    case QN_F16: return (double)qn_f16_to_f32(((const uint16_t *)t->data)[i]);
    case QN_BF16: return (double)qn_bf16_to_f32(((const uint16_t *)t->data)[i]);
    case QN_I8: return ((const int8_t *)t->data)[i];
    case QN_I16: return ((const int16_t *)t->data)[i];
    case QN_I32: return ((const int32_t *)t->data)[i];
    case QN_U8: return ((const uint8_t *)t->data)[i];
    case QN_U16: return ((const uint16_t *)t->data)[i];
    case QN_U32: return ((const uint32_t *)t->data)[i];
    case QN_U64: return (double)((const uint64_t *)t->data)[i];
    default: return (double)((const int64_t *)t->data)[i];
    }
}

typedef struct scored {
    double score;
    int64_t index;
} scored;

static int best_first(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    const bool nx = isnan(x->score) != 0, ny = isnan(y->score) != 0;

    if (nx != ny) return nx ? 1 : -1;
    if (!nx && x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static bool put_class(qn_buf *b, const scored *s, bool is_f64, const char *const *labels, int32_t n_labels)
{
    char text[QN_NUMBER_CHARS + 1];

    if (isfinite(s->score))
        text[is_f64 ? qn_number_from_f64(s->score, text) : qn_number_from_f32((float)s->score, text)] = '\0';
    else
        memcpy(text, isnan(s->score) ? "nan" : s->score > 0 ? "inf" : "-inf", isnan(s->score) || s->score > 0 ? 4 : 5);
    if (!qn_buf_printf(b, "%s:%" PRId64, text, s->index)) return false;
    return s->index >= n_labels || (qn_buf_append(b, ":", 1) && qn_buf_puts(b, labels[s->index]));
}

qn_status qn_classify(const qn_tensor *scores, int64_t k, const char *const *labels, int32_t n_labels, qn_tensor *out, qn_error *err)
{
    const int64_t count = qn_tensor_count(scores), rows = scores->rank < 2 ? 1 : scores->dims[0], n = rows > 0 ? count / rows : 0;
    scored *row = NULL;
    uint64_t *offsets = NULL;
    char *data = NULL;
    bool ok;
    qn_buf blob;

    memset(out, 0, sizeof *out);
    if (scores->dtype == QN_STRING || scores->dtype == QN_BOOL)
        return qn_error_set(err, QN_ERR_DTYPE, "classification of %s, expected scores that are numbers", qn_dtype_oip_name(scores->dtype));
    if (k > n) k = n;
    qn_buf_init(&blob, 0);
    row = malloc(((size_t)n + 1) * sizeof *row);
    offsets = calloc((size_t)(rows * k) + 1, sizeof *offsets); /* no more than there are scores */
    ok = row && offsets;
    for (int64_t r = 0; r < rows && ok; r++) {
        for (int64_t i = 0; i < n; i++) row[i] = (scored){ score_at(scores, r * n + i), i };
        qsort(row, (size_t)n, sizeof *row, best_first);
        for (int64_t i = 0; i < k && ok; i++) {
            ok = put_class(&blob, &row[i], scores->dtype == QN_F64, labels, n_labels);
            offsets[r * k + i + 1] = blob.len;
        }
    }
    if (ok) data = malloc(((size_t)(rows * k) + 1) * sizeof *offsets + blob.len);
    if (data) {
        const size_t head = ((size_t)(rows * k) + 1) * sizeof *offsets;

        memcpy(data, offsets, head);
        if (blob.len) memcpy(data + head, blob.data, blob.len);
        *out = (qn_tensor){ .dtype = QN_STRING, .rank = scores->rank < 2 ? 1 : 2, .data = data, .bytes = head + blob.len };
        out->dims[0] = scores->rank < 2 ? k : rows;
        out->dims[1] = scores->rank < 2 ? 0 : k;
    }
    free(row);
    free(offsets);
    qn_buf_release(&blob);
    return data ? QN_OK : qn_error_set(err, QN_ERR_NOMEM, "classes of %" PRId64 " rows", rows);
}
