/* core/ops/move.c - see move.h. */
#include "core/ops/move.h"

#include "core/base/checked.h"
#include "core/base/half.h"
#include "core/tensor/shape.h"
#include "core/tensor/strings.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Elements of one string output: offsets are 8 bytes each, and while it is made an ordinal stands beside every one. */
#define MAX_STRINGS ((int64_t)1 << 26)

/* -- inference ------------------------------------------------------------------------------------------------------------ */

qn_status qn_move_need(const qn_infer *c, int32_t required, qn_error *err)
{
    for (int32_t i = 0; i < required; i++) {
        if (!qn_infer_has(c, i)) return qn_error_set(err, QN_ERR_INVALID, "input %" PRId32 " is left out, expected a tensor", i);
    }
    for (int32_t i = 0; i < c->node->n_in; i++) {
        if (c->node->in[i] != QN_NONE && c->in[i].kind != QN_KIND_TENSOR)
            return qn_error_set(err, QN_ERR_DTYPE, "input %" PRId32 " is a sequence or optional, expected a tensor", i);
    }
    return QN_OK;
}

qn_status qn_move_need_dtype(const qn_infer *c, int32_t i, uint32_t set, qn_error *err)
{
    if (!qn_infer_has(c, i) || c->in[i].dtype == QN_DTYPE_NONE || (set >> c->in[i].dtype & 1)) return QN_OK;
    return qn_error_set(err, QN_ERR_DTYPE, "input %" PRId32 " is %s, which this op does not take there", i, qn_dtype_name(c->in[i].dtype));
}

qn_status qn_move_need_rank(const qn_infer *c, int32_t i, int32_t lo, int32_t hi, qn_error *err)
{
    if (!qn_infer_has(c, i) || c->in[i].rank < 0 || (c->in[i].rank >= lo && c->in[i].rank <= hi)) return QN_OK;
    return qn_error_set(err, QN_ERR_SHAPE, "input %" PRId32 " has rank %" PRId32 ", expected %" PRId32 "..%" PRId32, i, c->in[i].rank, lo,
                        hi);
}

qn_status qn_move_type(qn_type *t, qn_dtype dtype, int64_t rank, qn_error *err)
{
    if (rank > QN_MAX_RANK) return qn_error_set(err, QN_ERR_LIMIT, "output of rank %" PRId64 ", at most %d", rank, QN_MAX_RANK);
    memset(t, 0, sizeof *t);
    t->kind = QN_KIND_TENSOR;
    t->dtype = dtype;
    t->rank = (int32_t)rank;
    t->quant = (qn_quant){ QN_NONE, QN_NONE, -1, 0 };
    for (int32_t a = 0; a < QN_MAX_RANK; a++) t->dims[a] = QN_DIM_UNKNOWN;
    return QN_OK;
}

void qn_move_like(const qn_infer *c, int32_t i, qn_type *t)
{
    *t = c->in[i];
    t->layout = QN_LAYOUT_PLAIN;
    if (t->quant.axis >= 0) t->quant = (qn_quant){ QN_NONE, QN_NONE, -1, 0 };
    for (int32_t a = 0; a < QN_MAX_RANK; a++) t->dims[a] = QN_DIM_UNKNOWN;
}

qn_dtype qn_move_onnx_dtype(int64_t number)
{
    static const qn_dtype of[] = { QN_DTYPE_NONE, QN_F32,        QN_U8,         QN_I8,         QN_U16,  QN_I16,
                                   QN_I32,        QN_I64,        QN_STRING,     QN_BOOL,       QN_F16,  QN_F64,
                                   QN_U32,        QN_U64,        QN_DTYPE_NONE, QN_DTYPE_NONE, QN_BF16, QN_DTYPE_NONE,
                                   QN_DTYPE_NONE, QN_DTYPE_NONE, QN_DTYPE_NONE, QN_U4,         QN_I4 };

    return number < 0 || number >= (int64_t)(sizeof of / sizeof of[0]) ? QN_DTYPE_NONE : of[number];
}

const qn_dim *qn_move_known(qn_infer *c, int32_t i, int32_t *n)
{
    const qn_dim *e;

    *n = -1;
    if (!qn_infer_has(c, i) || c->in[i].rank < 0 || c->in[i].rank > 1) return NULL;
    e = qn_infer_ints(c, i, n);
    return *n < 0 ? NULL : e;
}

void qn_move_set_known(qn_infer *c, int32_t n, const qn_dim *elems)
{
    qn_known *k;

    if (n > QN_KNOWN_MAX) return;
    k = qn_infer_known(c, n);
    if (!k) return; /* memory is out: the next allocation will say so */
    for (int32_t i = 0; i < k->n; i++) k->elems[i] = elems[i];
    c->out_known[0] = k;
}

bool qn_move_known_at(const qn_infer *c, int32_t i, int32_t k, int64_t *v)
{
    const qn_known *known = qn_infer_has(c, i) ? c->in_known[i] : NULL;

    return known && k < known->n && qn_move_number(c, known->elems[k], v);
}

bool qn_move_join(const qn_infer *c, qn_dim a, qn_dim b, bool exact, qn_dim *out)
{
    int64_t va = 0, vb = 0;
    bool ka = qn_move_number(c, a, &va), kb = qn_move_number(c, b, &vb);

    *out = QN_DIM_UNKNOWN;
    if (exact && qn_dims_differ(c->dims, a, b)) return false;
    if (ka && kb) {
        *out = !exact && va == 1 ? b : a;
        return va == vb || (!exact && (va == 1 || vb == 1));
    }
    if (exact) { /* they agree at run time, so the better known one speaks for both */
        *out = ka || b == QN_DIM_UNKNOWN ? a : kb || a == QN_DIM_UNKNOWN ? b : a;
        return true;
    }
    if (a == b)
        *out = a;
    else if (ka)
        *out = va == 1 ? b : a; /* a number above 1 (or 0) wins over whatever may stand beside it: that can only be 1 or the same */
    else if (kb)
        *out = vb == 1 ? a : b;
    return true;
}

/* -- lists ---------------------------------------------------------------------------------------------------------------- */

static qn_status list_from_attr(const qn_node *node, const char *attr, qn_move_list *out, qn_error *err)
{
    const qn_attr *a = attr ? qn_node_attr(node, attr) : NULL;

    out->how = QN_MOVE_ABSENT;
    out->n = 0;
    if (!a) return QN_OK;
    if (a->type == QN_ATTR_INT) {
        out->v[0] = a->i;
        out->n = 1;
    } else if (a->type != QN_ATTR_INTS && a->n != 0) {
        return qn_error_set(err, QN_ERR_INVALID, "attribute %s is not a list of integers", attr);
    } else if (a->n > QN_MOVE_LIST_MAX) {
        return qn_error_set(err, QN_ERR_LIMIT, "attribute %s has %" PRId64 " numbers, at most %d", attr, a->n, QN_MOVE_LIST_MAX);
    } else {
        out->n = (int32_t)a->n;
        for (int32_t i = 0; i < out->n; i++) out->v[i] = a->ints[i];
    }
    out->how = QN_MOVE_NUMBERS;
    return QN_OK;
}

qn_status qn_move_list_infer(qn_infer *c, const char *attr, int32_t i, qn_move_list *out, qn_error *err)
{
    qn_status st = list_from_attr(c->node, attr, out, err);
    int64_t n;
    int32_t got;

    if (st != QN_OK || out->how != QN_MOVE_ABSENT || i < 0 || !qn_infer_has(c, i)) return st;
    if ((st = qn_move_need_dtype(c, i, QN_MOVE_INDEX, err)) != QN_OK) return st;
    if ((st = qn_move_need_rank(c, i, 0, 1, err)) != QN_OK) return st;
    out->how = QN_MOVE_UNKNOWN;
    out->n = -1;
    if (c->in[i].rank == 0) out->n = 1;
    if (c->in[i].rank == 1 && qn_move_number(c, c->in[i].dims[0], &n)) {
        if (n > QN_MOVE_LIST_MAX)
            return qn_error_set(err, QN_ERR_LIMIT, "input %" PRId32 " has %" PRId64 " numbers, at most %d", i, n, QN_MOVE_LIST_MAX);
        out->n = (int32_t)n;
    }
    if (out->n == 0) {
        out->how = QN_MOVE_NUMBERS;
    } else if (qn_infer_numbers(c, i, out->v, QN_MOVE_LIST_MAX, &got)) {
        out->how = QN_MOVE_NUMBERS;
        out->n = got;
    }
    return QN_OK;
}

qn_status qn_move_list_run(const qn_run *r, const char *attr, int32_t i, qn_move_list *out, qn_error *err)
{
    qn_status st = list_from_attr(r->node, attr, out, err);
    const qn_tensor *t;
    int64_t n;

    if (st != QN_OK || out->how != QN_MOVE_ABSENT || i < 0 || !qn_move_has(r, i)) return st;
    t = &r->in[i];
    if (t->dtype != QN_I64 && t->dtype != QN_I32)
        return qn_error_set(err, QN_ERR_DTYPE, "input %" PRId32 " is %s, expected i64", i, qn_dtype_name(t->dtype));
    if (t->rank > 1) return qn_error_set(err, QN_ERR_SHAPE, "input %" PRId32 " has rank %" PRId32 ", expected 0..1", i, t->rank);
    n = qn_tensor_count(t);
    if (n > QN_MOVE_LIST_MAX)
        return qn_error_set(err, QN_ERR_LIMIT, "input %" PRId32 " has %" PRId64 " numbers, at most %d", i, n, QN_MOVE_LIST_MAX);
    out->how = QN_MOVE_NUMBERS;
    out->n = (int32_t)n;
    for (int64_t k = 0; k < n; k++) out->v[k] = qn_move_int(t, k);
    return QN_OK;
}

qn_status qn_move_axis(int64_t axis, int32_t rank, int32_t *out, qn_error *err)
{
    if (axis < -rank || axis >= rank) return qn_error_set(err, QN_ERR_SHAPE, "axis %" PRId64 ", rank %" PRId32, axis, rank);
    *out = (int32_t)(axis < 0 ? axis + rank : axis);
    return QN_OK;
}

qn_status qn_move_axes(qn_move_list *list, int32_t rank, qn_error *err)
{
    uint32_t seen = 0;
    qn_status st;

    for (int32_t i = 0; i < list->n; i++) {
        int32_t axis = 0;

        if ((st = qn_move_axis(list->v[i], rank, &axis, err)) != QN_OK) return st;
        if (seen >> axis & 1) return qn_error_set(err, QN_ERR_SHAPE, "axis %" PRId32 " is given twice", axis);
        seen |= 1u << axis;
        list->v[i] = axis;
    }
    return QN_OK;
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

int64_t qn_move_int(const qn_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case QN_I64: return ((const int64_t *)t->data)[i];
    case QN_I32: return ((const int32_t *)t->data)[i];
    case QN_I16: return ((const int16_t *)t->data)[i];
    case QN_I4:
    case QN_I8: return ((const int8_t *)t->data)[i];
    case QN_U4:
    case QN_U8:
    case QN_BOOL: return ((const uint8_t *)t->data)[i];
    case QN_U16: return ((const uint16_t *)t->data)[i];
    case QN_U32: return ((const uint32_t *)t->data)[i];
    case QN_U64: {
        uint64_t v = ((const uint64_t *)t->data)[i];

        return v > INT64_MAX ? INT64_MAX : (int64_t)v; /* as a size or an index it is out of range either way */
    }
    default: return 0;
    }
}

double qn_move_real(const qn_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case QN_F32: return (double)((const float *)t->data)[i];
    case QN_F64: return ((const double *)t->data)[i];
    case QN_F16: return (double)qn_f16_to_f32(((const uint16_t *)t->data)[i]);
    case QN_BF16: return (double)qn_bf16_to_f32(((const uint16_t *)t->data)[i]);
    default: return (double)qn_move_int(t, i);
    }
}

qn_status qn_move_check_indices(const qn_tensor *t, int32_t axis, int64_t size, qn_error *err)
{
    const int64_t n = qn_tensor_count(t);
    qn_move_index x = qn_move_indices(t);

    for (int64_t i = 0; i < n; i++) {
        int64_t k = qn_move_at(x, i);

        if (k < -size || k >= size)
            return qn_error_set(err, QN_ERR_RANGE,
                                "index %" PRId64 " (element %" PRId64 " of the indices), axis %" PRId32 " has size %" PRId64, k, i, axis,
                                size);
    }
    return QN_OK;
}

qn_status qn_move_output(qn_run *r, int32_t i, qn_dtype dtype, int32_t rank, const int64_t *dims, qn_error *err)
{
    qn_tensor *o = &r->out[i];
    char want[96], have[96];
    bool same;

    if (!qn_move_wants(r, i)) return QN_OK;
    same = o->dtype == dtype && o->rank == rank && (rank == 0 || memcmp(o->dims, dims, (size_t)rank * sizeof *dims) == 0);
    if (same && (o->data || qn_tensor_count(o) == 0)) return QN_OK;
    if (!o->data) return qn_run_output(r, i, dtype, rank, dims, 0, err);
    return qn_error_set(err, QN_ERR_SHAPE, "output %" PRId32 " is %s, the plan expected %s", i,
                        qn_shape_print(rank, dims, want, sizeof want), qn_shape_print(o->rank, o->dims, have, sizeof have));
}

/* Strings: inputs become tensors of ordinals, 1 for the first string of the first input. */
typedef struct strings {
    const qn_run *real;
    qn_run shadow;
    qn_tensor *in, *out; /* [n_in], [n_out]; data owned where the real tensor is a string */
} strings;

static qn_status strings_begin(strings *s, const qn_run *r, qn_move_dims_fn *dims, qn_error *err)
{
    const qn_node *node = r->node;
    int64_t next = 1;
    qn_status st;

    *s = (strings){ .real = r, .shadow = *r };
    s->shadow.in = s->in = calloc((size_t)node->n_in + 1, sizeof *s->in);
    s->shadow.out = s->out = calloc((size_t)node->n_out + 1, sizeof *s->out);
    if (!s->in || !s->out) return qn_error_set(err, QN_ERR_NOMEM, "ordinals of strings");
    for (int32_t i = 0; i < node->n_in; i++) {
        int64_t n = qn_tensor_count(&r->in[i]);

        s->in[i] = r->in[i];
        if (r->in[i].dtype != QN_STRING) continue;
        s->in[i].data = NULL;
        if ((st = qn_tensor_alloc(QN_I64, r->in[i].rank, r->in[i].dims, &s->in[i], err)) != QN_OK) return st;
        for (int64_t k = 0; k < n; k++) ((int64_t *)s->in[i].data)[k] = next++;
    }
    for (int32_t i = 0; i < node->n_out; i++) {
        int64_t shape[QN_MAX_RANK] = { 0 }, n;
        int32_t rank = 0;

        if (node->out[i] == QN_NONE) continue;
        if ((st = dims(r, i, &rank, shape, err)) != QN_OK) return st;
        if ((st = qn_shape_count(rank, shape, &n, err)) != QN_OK) return st;
        if (n > MAX_STRINGS) return qn_error_set(err, QN_ERR_LIMIT, "%" PRId64 " strings, at most %" PRId64, n, MAX_STRINGS);
        if ((st = qn_tensor_alloc(QN_I64, rank, shape, &s->out[i], err)) != QN_OK) return st;
    }
    return QN_OK;
}

/* The string an ordinal stands for: its bytes and length. */
static const char *string_at(const strings *s, int64_t ordinal, size_t *len)
{
    int64_t k = ordinal - 1;

    *len = 0;
    for (int32_t i = 0; ordinal > 0 && i < s->real->node->n_in; i++) {
        const qn_tensor *t = &s->real->in[i];
        int64_t n;

        if (t->dtype != QN_STRING) continue;
        n = qn_tensor_count(t);
        if (k < n) return qn_strings_get(t, k, len);
        k -= n;
    }
    return "";
}

static qn_status strings_write(const strings *s, qn_run *r, int32_t i, qn_error *err)
{
    const qn_tensor *t = &s->out[i];
    const int64_t *ordinal = t->data;
    int64_t n = qn_tensor_count(t);
    size_t text = 0, len, bytes;
    uint64_t *off;
    qn_status st;

    for (int64_t k = 0; k < n; k++) {
        (void)string_at(s, ordinal[k], &len);
        if (!qn_size_add(text, len, &text)) return qn_error_set(err, QN_ERR_LIMIT, "strings of output %" PRId32, i);
    }
    if (!qn_strings_bytes(n, text, &bytes)) return qn_error_set(err, QN_ERR_LIMIT, "strings of output %" PRId32, i);
    if ((st = qn_run_output(r, i, QN_STRING, t->rank, t->dims, bytes, err)) != QN_OK) return st;
    off = qn_strings_offsets(&r->out[i]);
    off[0] = 0;
    for (int64_t k = 0; k < n; k++) {
        const char *from = string_at(s, ordinal[k], &len);

        if (len) memcpy(qn_strings_blob(&r->out[i]) + off[k], from, len);
        off[k + 1] = off[k] + len;
    }
    return QN_OK;
}

static void strings_end(strings *s)
{
    for (int32_t i = 0; s->in && i < s->real->node->n_in; i++)
        if (s->real->in[i].dtype == QN_STRING) qn_tensor_free(&s->in[i]);
    for (int32_t i = 0; s->out && i < s->real->node->n_out; i++) qn_tensor_free(&s->out[i]);
    free(s->in);
    free(s->out);
}

static qn_status run_strings(qn_run *r, qn_move_dims_fn *dims, qn_move_fill_fn *fill, qn_error *err)
{
    strings s;
    qn_status st = strings_begin(&s, r, dims, err);

    if (st == QN_OK) st = fill(&s.shadow, err);
    for (int32_t i = 0; st == QN_OK && i < r->node->n_out; i++)
        if (r->node->out[i] != QN_NONE) st = strings_write(&s, r, i, err);
    strings_end(&s);
    return st;
}

qn_status qn_move_run(qn_run *r, int32_t data, qn_move_dims_fn *dims, qn_move_fill_fn *fill, qn_error *err)
{
    qn_status st;

    if (r->in[data].dtype == QN_STRING) return run_strings(r, dims, fill, err);
    for (int32_t i = 0; i < r->node->n_out; i++) {
        int64_t shape[QN_MAX_RANK] = { 0 };
        int32_t rank = 0;

        if (!qn_move_wants(r, i)) continue;
        if ((st = dims(r, i, &rank, shape, err)) != QN_OK) return st;
        if ((st = qn_move_output(r, i, r->in[data].dtype, rank, shape, err)) != QN_OK) return st;
    }
    return fill(r, err);
}

qn_status qn_move_lower_work(qn_lower *lo, size_t bytes, qn_error *err)
{
    size_t *have = qn_arena_alloc(lo->arena, sizeof *have);

    if (!have) return qn_error_set(err, QN_ERR_NOMEM, "step state");
    *have = lo->scratch_bytes = bytes;
    lo->state = have;
    return QN_OK;
}

qn_status qn_move_work_begin(const qn_run *r, size_t bytes, qn_move_work *w, qn_error *err)
{
    const size_t *have = r->state;
    size_t room;

    *w = (qn_move_work){ r->scratch, NULL };
    if (have && *have >= bytes) return QN_OK;
    if (qn_size_align(bytes ? bytes : 1, 64, &room))
        w->mem = w->heap = aligned_alloc(64, room); /* as a plan's scratch is */
    else
        w->mem = NULL;
    return w->mem ? QN_OK : qn_error_set(err, QN_ERR_NOMEM, "%zu bytes of work memory", bytes);
}

void qn_move_work_end(qn_move_work *w)
{
    free(w->heap);
    *w = (qn_move_work){ NULL, NULL };
}

void *qn_move_piece(qn_move_pieces *p, int64_t n, size_t size)
{
    size_t bytes;
    void *out = p->mem ? p->mem + p->at : NULL;

    if (!qn_size_mul((size_t)n, size, &bytes) || !qn_size_align(bytes, 64, &bytes) || !qn_size_add(p->at, bytes, &p->at)) p->failed = true;
    return out;
}

int64_t qn_move_span(const int64_t *dims, int32_t from, int32_t to)
{
    int64_t n = 1;

    for (int32_t a = from; a < to; a++)
        if (!qn_i64_mul(n, dims[a], &n)) n = 0; /* only beside an axis of length 0: the whole count was checked */
    return n;
}

void qn_move_dense(qn_move *m, int32_t rank, const int64_t *dims)
{
    m->rank = rank;
    for (int32_t a = 0; a < rank; a++) m->dims[a] = dims[a];
    qn_shape_strides(rank, dims, m->src);
    qn_shape_strides(rank, dims, m->dst);
}

qn_status qn_move_same_bytes(qn_run *r, qn_error *err)
{
    (void)err;
    /* The plan may have placed the output on the input; then nothing is left to do. */
    if (r->in[0].bytes && r->out[0].data != r->in[0].data) memcpy(r->out[0].data, r->in[0].data, r->in[0].bytes);
    return QN_OK;
}

/* -- rows ----------------------------------------------------------------------------------------------------------------- */

bool qn_move_rows_only(const qn_infer *c, const int32_t *in_axis, int32_t i)
{
    if (i >= c->node->n_in || in_axis[i] < 0) return false;
    for (int32_t k = 0; k < c->node->n_in; k++)
        if (k != i && c->node->in[k] != QN_NONE && in_axis[k] != QN_ROWS_NONE) return false;
    return true;
}
