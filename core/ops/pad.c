/* core/ops/pad.c - Pad: more (or fewer) elements at the ends of axes.
 * Spec   ONNX Pad 2 (attributes pads, value), 11 on (inputs pads, constant_value), 18 on (input axes), 19 on (mode wrap).
 *        A pad below 0 removes elements; the other modes then work on what is left.
 * Modes  constant; reflect (without repeating the border, period 2 (n - 1)); edge; wrap (period n). */
#include "core/ops/move.h"

#include "core/base/checked.h"
#include "core/base/half.h"
#include "core/kernels/move/table.h"
#include "core/tensor/shape.h"

#include <inttypes.h>
#include <string.h>

typedef enum mode { MODE_CONSTANT, MODE_REFLECT, MODE_EDGE, MODE_WRAP } mode;

typedef struct pads {
    int64_t begin[QN_MAX_RANK], end[QN_MAX_RANK];
} pads;

static qn_status read_mode(const qn_node *node, mode *out, qn_error *err)
{
    static const char *const names[] = { "constant", "reflect", "edge", "wrap" };
    const char *s = qn_node_str(node, "mode", "constant");

    for (int i = 0; i < 4; i++) {
        *out = (mode)i;
        if (strcmp(s, names[i]) == 0) return QN_OK;
    }
    return qn_error_set(err, QN_ERR_INVALID, "mode is \"%.32s\", expected constant, reflect, edge or wrap", s);
}

/* The two lists as one pair of numbers an axis. */
static qn_status spread(const qn_move_list *list, qn_move_list *axes, int32_t rank, pads *p, qn_error *err)
{
    int32_t n = axes->how == QN_MOVE_ABSENT ? rank : axes->n;
    qn_status st;

    *p = (pads){ 0 };
    if (list->n != 2 * n) return qn_error_set(err, QN_ERR_SHAPE, "pads has %" PRId32 " numbers, expected %" PRId32, list->n, 2 * n);
    if (axes->how != QN_MOVE_ABSENT && (st = qn_move_axes(axes, rank, err)) != QN_OK) return st;
    for (int32_t i = 0; i < n; i++) {
        int64_t a = axes->how == QN_MOVE_ABSENT ? i : axes->v[i];

        p->begin[a] = list->v[i];
        p->end[a] = list->v[n + i];
    }
    return QN_OK;
}

static qn_status padded(int64_t d, int32_t axis, const pads *p, int64_t *out, qn_error *err)
{
    int64_t v;

    if (!qn_i64_add(d, p->begin[axis], &v) || !qn_i64_add(v, p->end[axis], &v) || v < 0 || p->begin[axis] < -d || p->end[axis] < -d)
        return qn_error_set(err, QN_ERR_SHAPE, "axis %" PRId32 " of size %" PRId64 " padded by %" PRId64 " and %" PRId64, axis, d,
                            p->begin[axis], p->end[axis]);
    *out = v;
    return QN_OK;
}

/* -- inference ------------------------------------------------------------------------------------------------------------ */

/* Pads that are expressions, without axes: d + begin + end. */
static void symbolic_dims(qn_infer *c)
{
    int32_t n, rank = c->in[0].rank;
    const qn_dim *e = qn_move_known(c, 1, &n);

    if (!e || n != 2 * rank || qn_infer_has(c, 3)) return;
    for (int32_t a = 0; a < rank; a++) c->out[0].dims[a] = qn_dims_add(c->dims, qn_dims_add(c->dims, c->in[0].dims[a], e[a]), e[rank + a]);
}

static qn_status pad_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0];
    qn_move_list list, axes;
    mode how;
    pads p;
    qn_status st;

    if ((st = qn_move_need(c, c->node->opset >= 11 ? 2 : 1, err)) != QN_OK || (st = read_mode(c->node, &how, err)) != QN_OK) return st;
    if ((st = qn_move_list_infer(c, "pads", 1, &list, err)) != QN_OK || (st = qn_move_list_infer(c, NULL, 3, &axes, err)) != QN_OK)
        return st;
    if (list.how == QN_MOVE_ABSENT) return qn_error_set(err, QN_ERR_INVALID, "pads are left out");
    if (qn_infer_has(c, 2) && c->in[2].dtype != QN_DTYPE_NONE && x->dtype != QN_DTYPE_NONE && c->in[2].dtype != x->dtype)
        return qn_error_set(err, QN_ERR_DTYPE, "data is %s, the constant is %s", qn_dtype_name(x->dtype), qn_dtype_name(c->in[2].dtype));
    qn_move_like(c, 0, &c->out[0]);
    if (x->rank < 0) return QN_OK;
    if (list.how != QN_MOVE_NUMBERS || axes.how == QN_MOVE_UNKNOWN) {
        symbolic_dims(c);
        return QN_OK;
    }
    if ((st = spread(&list, &axes, x->rank, &p, err)) != QN_OK) return st;
    for (int32_t a = 0; a < x->rank; a++) {
        int64_t v;

        if (qn_move_number(c, x->dims[a], &v)) {
            if ((st = padded(v, a, &p, &v, err)) != QN_OK) return st;
            c->out[0].dims[a] = qn_dims_const(c->dims, v);
        } else {
            c->out[0].dims[a] = qn_dims_add(c->dims, qn_dims_add(c->dims, x->dims[a], qn_dims_const(c->dims, p.begin[a])),
                                            qn_dims_const(c->dims, p.end[a]));
        }
    }
    return QN_OK;
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

static qn_status read_pads(const qn_run *r, pads *p, qn_error *err)
{
    qn_move_list list, axes;
    qn_status st;

    if ((st = qn_move_list_run(r, "pads", 1, &list, err)) != QN_OK || (st = qn_move_list_run(r, NULL, 3, &axes, err)) != QN_OK) return st;
    return spread(&list, &axes, r->in[0].rank, p, err);
}

static qn_status pad_dims(const qn_run *r, int32_t o, int32_t *rank, int64_t *dims, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    pads p;
    qn_status st = read_pads(r, &p, err);

    (void)o;
    *rank = x->rank;
    for (int32_t a = 0; a < x->rank && st == QN_OK; a++) st = padded(x->dims[a], a, &p, &dims[a], err);
    return st;
}

/* The element to fill with; opsets below 11 give it as a float. */
static qn_status constant(const qn_run *r, uint64_t *value, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    float f = qn_node_float(r->node, "value", 0.0f);
    double d = (double)f;
    uint16_t h;

    *value = 0;
    if (r->node->opset >= 11) {
        if (!qn_move_has(r, 2)) return QN_OK;
        if (qn_tensor_count(&r->in[2]) != 1)
            return qn_error_set(err, QN_ERR_SHAPE, "the constant has %" PRId64 " elements, expected 1", qn_tensor_count(&r->in[2]));
        memcpy(value, r->in[2].data, qn_dtype_size(x->dtype));
        return QN_OK;
    }
    if (x->dtype == QN_F32) {
        memcpy(value, &f, sizeof f);
    } else if (x->dtype == QN_F64) {
        memcpy(value, &d, sizeof d);
    } else if (x->dtype == QN_F16 || x->dtype == QN_BF16) {
        h = x->dtype == QN_F16 ? qn_f32_to_f16(f) : qn_f32_to_bf16(f);
        memcpy(value, &h, sizeof h);
    } else if (f != 0.0f) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "attribute value %g for %s is unsupported", d, qn_dtype_name(x->dtype));
    }
    return QN_OK;
}

/* What is left of the input, as a move into the output; false if nothing is. */
static bool kept_block(const qn_tensor *x, const qn_tensor *y, const pads *p, qn_move *m, int64_t *from, int64_t *to)
{
    int64_t xs[QN_MAX_RANK], ys[QN_MAX_RANK];

    qn_shape_strides(x->rank, x->dims, xs);
    qn_shape_strides(y->rank, y->dims, ys);
    m->rank = x->rank;
    *from = *to = 0;
    for (int32_t a = 0; a < x->rank; a++) {
        int64_t cut_begin = p->begin[a] < 0 ? -p->begin[a] : 0, cut_end = p->end[a] < 0 ? -p->end[a] : 0;

        m->dims[a] = x->dims[a] - cut_begin - cut_end;
        if (m->dims[a] <= 0) return false;
        m->src[a] = xs[a];
        m->dst[a] = ys[a];
        *from += cut_begin * xs[a];
        *to += (p->begin[a] > 0 ? p->begin[a] : 0) * ys[a];
    }
    return true;
}

/* Place i of a padded axis, counted from the first kept element, as a place in [0, n). */
static int64_t source_place(mode how, int64_t i, int64_t n)
{
    int64_t period;

    if (how == MODE_EDGE) return i < 0 ? 0 : i >= n ? n - 1 : i;
    if (how == MODE_REFLECT && n == 1) return 0;
    period = how == MODE_WRAP ? n : 2 * (n - 1);
    i %= period;
    if (i < 0) i += period;
    return how == MODE_REFLECT && i >= n ? period - i : i;
}

static size_t table_bytes(const qn_tensor *y)
{
    int64_t n = 0;

    if (qn_tensor_count(y) == 0) return 0;
    for (int32_t a = 0; a < y->rank; a++) n += y->dims[a]; /* no more than the element count and QN_MAX_RANK: it fits */
    return (size_t)n * sizeof(int64_t);
}

static qn_status pad_by_table(qn_run *r, mode how, const pads *p, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *y = &r->out[0];
    int64_t strides[QN_MAX_RANK], *t;
    qn_move_tables tables = { .rank = y->rank };
    qn_move_work work;
    qn_status st = qn_move_work_begin(r, table_bytes(y), &work, err);

    if (st != QN_OK) return st;
    t = work.mem;
    qn_shape_strides(x->rank, x->dims, strides);
    for (int32_t a = 0; a < y->rank && st == QN_OK; a++) {
        int64_t cut = p->begin[a] < 0 ? -p->begin[a] : 0, n = x->dims[a] - cut - (p->end[a] < 0 ? -p->end[a] : 0);

        tables.dims[a] = y->dims[a];
        tables.from[a] = t;
        if (n <= 0) st = qn_error_set(err, QN_ERR_SHAPE, "axis %" PRId32 " is empty: there is nothing to pad with", a);
        for (int64_t i = 0; i < y->dims[a] && st == QN_OK; i++)
            *t++ = (cut + source_place(how, i - (p->begin[a] > 0 ? p->begin[a] : 0), n)) * strides[a];
    }
    if (st == QN_OK) qn_move_by_table(&tables, qn_dtype_size(x->dtype), x->data, y->data, r->team);
    qn_move_work_end(&work);
    return st;
}

static qn_status pad_fill(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *y = &r->out[0];
    const size_t elem = qn_dtype_size(x->dtype);
    uint64_t value;
    mode how;
    pads p;
    qn_move m;
    int64_t from, to;
    qn_status st;

    if ((st = read_pads(r, &p, err)) != QN_OK || (st = read_mode(r->node, &how, err)) != QN_OK) return st;
    if (qn_tensor_count(y) == 0) return QN_OK;
    if (how != MODE_CONSTANT && y->rank > 0) return pad_by_table(r, how, &p, err);
    if ((st = constant(r, &value, err)) != QN_OK) return st;
    if (!kept_block(x, y, &p, &m, &from, &to)) {
        qn_move_fill(y->data, qn_tensor_count(y), elem, &value);
        return QN_OK;
    }
    if (qn_tensor_count(x) < qn_tensor_count(y) || qn_move_span(m.dims, 0, m.rank) < qn_tensor_count(y))
        qn_move_fill(y->data, qn_tensor_count(y), elem, &value);
    qn_move_copy(&m, elem, (const char *)x->data + (size_t)from * elem, (char *)y->data + (size_t)to * elem, r->team);
    return QN_OK;
}

static qn_status pad_run(qn_run *r, qn_error *err) { return qn_move_run(r, 0, pad_dims, pad_fill, err); }

static qn_status pad_lower(qn_lower *lo, qn_error *err)
{
    mode how;
    qn_status st = read_mode(lo->node, &how, err);

    if (st != QN_OK || how == MODE_CONSTANT || lo->out[0].rank < 0) return st;
    return qn_move_lower_work(lo, table_bytes(&lo->out[0]), err);
}

/* The pads of one axis as far as they are known numbers. */
static bool pads_of_axis(const qn_infer *c, int32_t axis, int64_t *begin, int64_t *end)
{
    int32_t rank = c->in[0].rank, at = axis, n = rank;
    int64_t len, v;
    const int64_t *attr = qn_node_ints(c->node, "pads", &len);

    if (attr) {
        if (len != 2 * rank) return false;
        *begin = attr[axis];
        *end = attr[rank + axis];
        return true;
    }
    if (qn_infer_has(c, 3)) {
        if (c->in[3].rank != 1 || !qn_move_number(c, c->in[3].dims[0], &v) || v > rank) return false;
        n = (int32_t)v;
        for (at = 0; at < n; at++) {
            if (!qn_move_known_at(c, 3, at, &v)) return false;
            if ((v < 0 ? v + rank : v) == axis) break;
        }
        *begin = *end = 0;
        if (at == n) return true;
    }
    return qn_move_known_at(c, 1, at, begin) && qn_move_known_at(c, 1, n + at, end);
}

static void pad_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int64_t begin, end;

    if (!qn_move_rows_only(c, in_axis, 0) || c->in[0].rank < 0) return;
    if (pads_of_axis(c, in_axis[0], &begin, &end) && begin == 0 && end == 0) out_axis[0] = in_axis[0];
}

const qn_op qn_op_pad = {
    .name = "Pad",
    .since = 2,
    .min_in = 1,
    .max_in = 4,
    .min_out = 1,
    .max_out = 1,
    .infer = pad_infer,
    .rows = pad_rows,
    .lower = pad_lower,
    .run = pad_run,
    .kernels = "move",
};
