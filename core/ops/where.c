/* core/ops/where.c - Where: elements of x where the condition holds, of y elsewhere; all three broadcast.
 * Spec   ONNX Where 9 on; every dtype, strings too.
 * Grad   dx = where(c, dy, 0), dy' = where(c, 0, dy), each summed over the axes along which it was stretched. */
#include "core/graph/grad.h"
#include "core/ops/elem.h"
#include "core/tensor/broadcast.h"
#include "core/tensor/strings.h"

#include <inttypes.h>
#include <string.h>

static void pass_known(qn_infer *c)
{
    int32_t n[3], most = 1;
    const qn_dim *e[3];
    qn_known *known;

    if (c->out[0].rank < 0 || c->out[0].rank > 1) return;
    for (int32_t i = 0; i < 3; i++) {
        if (!(e[i] = qn_move_known(c, i, &n[i]))) return;
        if (n[i] != 1) most = n[i];
    }
    for (int32_t i = 0; i < 3; i++)
        if (n[i] != 1 && n[i] != most) return;
    known = qn_infer_known(c, c->out[0].rank == 0 ? -1 : most);
    if (!known || (known->rank == 0 && most != 1)) return;
    for (int32_t i = 0; i < most; i++) {
        const qn_dim x = e[1][n[1] == 1 ? 0 : i], y = e[2][n[2] == 1 ? 0 : i];
        int64_t take;

        if (qn_move_number(c, e[0][n[0] == 1 ? 0 : i], &take))
            known->elems[i] = take ? x : y;
        else if (x == y)
            known->elems[i] = x;
    }
    c->out_known[0] = known;
}

static qn_status where_infer(qn_infer *c, qn_error *err)
{
    qn_dtype x, y;
    qn_type xy;
    qn_status st = qn_move_need(c, 3, err);

    if (st == QN_OK) st = qn_move_need_dtype(c, 0, QN_SET_BOOL, err);
    if (st != QN_OK) return st;
    x = c->in[1].dtype;
    y = c->in[2].dtype;
    if (x != QN_DTYPE_NONE && y != QN_DTYPE_NONE && x != y)
        return qn_error_set(err, QN_ERR_DTYPE, "x is %s and y is %s, expected one dtype", qn_dtype_name(x), qn_dtype_name(y));
    qn_elem_like(c, 1, 0, x != QN_DTYPE_NONE ? x : y);
    xy = c->out[0];
    if ((st = qn_infer_broadcast(c, &xy, &c->in[2], &xy, err)) != QN_OK) return st;
    if ((st = qn_infer_broadcast(c, &c->in[0], &xy, &c->out[0], err)) != QN_OK) return st;
    pass_known(c);
    return QN_OK;
}

#define PICK(T)                                                                                                                            \
    do {                                                                                                                                   \
        const T *a = x[1], *b = x[2];                                                                                                      \
        T *out = y;                                                                                                                        \
                                                                                                                                           \
        for (int64_t i = 0; i < n; i++) out[i] = c[i * step[0]] ? a[i * step[1]] : b[i * step[2]];                                         \
    } while (0)

static void where_span(void *ctx, const void *const *x, const int64_t *step, void *y, int64_t n)
{
    const uint8_t *c = x[0];

    switch (*(const size_t *)ctx) {
    case 1: PICK(uint8_t); break;
    case 2: PICK(uint16_t); break;
    case 4: PICK(uint32_t); break;
    default: PICK(uint64_t); break;
    }
}

/* -- strings -------------------------------------------------------------------------------------------------------------- */

/* One pass over the three inputs: with y NULL it counts bytes, else it copies them. */
static size_t string_pass(const qn_run *r, int32_t rank, const int64_t *dims, uint64_t *offsets, char *blob)
{
    int64_t strides[3][QN_MAX_RANK], k = 0;
    qn_odometer o;
    size_t bytes = 0;

    for (int32_t i = 0; i < 3; i++) qn_broadcast_strides(r->in[i].rank, r->in[i].dims, rank, dims, strides[i]);
    qn_odometer_init(&o, 3, rank, dims, strides);
    for (bool more = o.n_outer > 0; more; more = qn_odometer_next(&o)) {
        for (int64_t i = 0; i < o.n_inner; i++) {
            const int32_t from = ((const uint8_t *)r->in[0].data)[o.at[0] + i * o.step[0]] ? 1 : 2;
            size_t len;
            const char *s = qn_strings_get(&r->in[from], o.at[from] + i * o.step[from], &len);

            if (blob) {
                memcpy(blob + bytes, s, len);
                offsets[++k] = bytes + len;
            }
            bytes += len;
        }
    }
    return bytes;
}

static qn_status where_strings(qn_run *r, int32_t rank, const int64_t *dims, qn_error *err)
{
    int64_t n;
    size_t bytes, blob = string_pass(r, rank, dims, NULL, NULL);
    qn_status st = qn_shape_count(rank, dims, &n, err);

    if (st != QN_OK) return st;
    if (!qn_strings_bytes(n, blob, &bytes)) return qn_error_set(err, QN_ERR_LIMIT, "%" PRId64 " strings of %zu bytes", n, blob);
    if ((st = qn_run_output(r, 0, QN_STRING, rank, dims, bytes, err)) != QN_OK) return st;
    qn_strings_offsets(&r->out[0])[0] = 0;
    string_pass(r, rank, dims, qn_strings_offsets(&r->out[0]), qn_strings_blob(&r->out[0]));
    return QN_OK;
}

static qn_status where_run(qn_run *r, qn_error *err)
{
    const qn_tensor *in[3] = { &r->in[0], &r->in[1], &r->in[2] };
    int64_t dims[QN_MAX_RANK] = { 0 };
    int32_t rank = 0;
    size_t size = qn_dtype_size(r->in[1].dtype);
    qn_status st = qn_broadcast_tensors(in, 3, &rank, dims, err);

    if (st != QN_OK) return st;
    if (r->in[1].dtype == QN_STRING) return where_strings(r, rank, dims, err);
    if ((st = qn_move_output(r, 0, r->in[1].dtype, rank, dims, err)) != QN_OK) return st;
    qn_elem_walk(r->team, 3, in, &r->out[0], where_span, &size);
    return QN_OK;
}

static void where_grad(qn_builder *b)
{
    const qn_value_id c = qn_grad_in(b, 0), dy = qn_grad_of(b, 0), zero = qn_grad_number(b, 0, dy);

    if (qn_grad_wanted(b, 1)) qn_grad_give(b, 1, qn_grad_op3(b, "Where", c, dy, zero));
    if (qn_grad_wanted(b, 2)) qn_grad_give(b, 2, qn_grad_op3(b, "Where", c, zero, dy));
}

const qn_op qn_op_where = {
    .name = "Where",
    .domain = "",
    .since = 9,
    .min_in = 3,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_INPLACE,
    .infer = where_infer,
    .rows = qn_rows_elementwise,
    .run = where_run,
    .grad = where_grad,
};
