/* core/ops/elem.c - see elem.h. */
#include "core/ops/elem.h"

#include "core/base/half.h"
#include "core/tensor/broadcast.h"

#include <assert.h>
#include <string.h>

/* -- inference ------------------------------------------------------------------------------------------------------------ */

void qn_elem_like(const qn_infer *c, int32_t in, int32_t i, qn_dtype dtype)
{
    qn_type *t = &c->out[i];

    *t = c->in[in];
    t->kind = QN_KIND_TENSOR;
    t->dtype = dtype;
    t->layout = QN_LAYOUT_PLAIN;
    t->quant = (qn_quant){ QN_NONE, QN_NONE, -1, 0 };
}

/* Before opset 7 the second input is laid along the first from `axis` on (default: its last dimensions meet the first's last).
 * The place of its first dimension in the first input, or -1 where today's rule holds. */
static int32_t legacy_place(const qn_node *node, int32_t a_rank, int32_t b_rank)
{
    int64_t axis;

    if (node->opset >= 7 || a_rank < 0 || b_rank < 0 || qn_node_int(node, "broadcast", 0) == 0 || !qn_node_attr(node, "axis")) return -1;
    axis = qn_node_int(node, "axis", -1);
    if (axis < 0) axis += a_rank;
    if (axis < 0 || axis + b_rank > a_rank) return -1; /* the shapes then do not broadcast, and the message shows them */
    return (int32_t)axis;
}

static void legacy_type(const qn_infer *c, const qn_type *a, qn_type *b)
{
    const int32_t place = legacy_place(c->node, a->rank, b->rank);
    const qn_type old = *b;

    if (place < 0) return;
    b->rank = a->rank;
    for (int32_t d = 0; d < a->rank; d++) b->dims[d] = d >= place && d < place + old.rank ? old.dims[d - place] : qn_dims_const(c->dims, 1);
}

static void legacy_tensor(const qn_node *node, const qn_tensor *a, qn_tensor *b)
{
    const int32_t place = legacy_place(node, a->rank, b->rank);
    const qn_tensor old = *b;

    if (place < 0) return;
    b->rank = a->rank;
    for (int32_t d = 0; d < a->rank; d++) b->dims[d] = d >= place && d < place + old.rank ? old.dims[d - place] : 1;
}

qn_status qn_elem_infer(qn_infer *c, int32_t n, uint32_t set, qn_dtype out, qn_error *err)
{
    qn_dtype dtype = QN_DTYPE_NONE;
    qn_status st = qn_move_need(c, n, err);

    for (int32_t i = 0; i < n && st == QN_OK; i++) {
        const qn_dtype d = c->in[i].dtype;
        qn_type b = c->in[i];

        if ((st = qn_move_need_dtype(c, i, set, err)) != QN_OK) break;
        if (d != QN_DTYPE_NONE && dtype != QN_DTYPE_NONE && d != dtype)
            return qn_error_set(err, QN_ERR_DTYPE, "input %d is %s, the inputs before it are %s", (int)i, qn_dtype_name(d),
                                qn_dtype_name(dtype));
        if (d != QN_DTYPE_NONE) dtype = d;
        if (i == 0) {
            qn_elem_like(c, 0, 0, QN_DTYPE_NONE);
            continue;
        }
        if (n == 2) legacy_type(c, &c->in[0], &b);
        st = qn_infer_broadcast(c, &c->out[0], &b, &c->out[0], err);
    }
    c->out[0].dtype = out == QN_DTYPE_NONE ? dtype : out;
    return st;
}

void qn_elem_set_known(qn_infer *c, int32_t n_in, const qn_elem_known *k)
{
    int32_t na = 1, nb = 1, n;
    const qn_dim *a, *b;
    qn_known *known;

    if (c->out[0].rank < 0 || c->out[0].rank > 1) return;
    if (c->out[0].dtype != QN_I64 && c->out[0].dtype != QN_I32 && c->out[0].dtype != QN_BOOL) return;
    a = b = qn_move_known(c, 0, &na);
    if (!a) return;
    if (n_in == 2) b = qn_move_known(c, 1, &nb);
    if (!b) return;
    n = na == 1 ? nb : na;
    if (n_in == 1) n = nb = na;
    if ((na != 1 && na != n) || (nb != 1 && nb != n)) return;
    known = qn_infer_known(c, c->out[0].rank == 0 ? -1 : n);
    if (!known || (known->rank == 0 && n != 1)) return;
    for (int32_t i = 0; i < n; i++) {
        const qn_dim da = a[na == 1 ? 0 : i], db = b[nb == 1 ? 0 : i];
        int64_t va, vb, v;

        if (qn_move_number(c, da, &va) && qn_move_number(c, db, &vb)) {
            if (!k->number(va, vb, &v) || (c->out[0].dtype == QN_I32 && v != (int32_t)v)) continue;
            known->elems[i] = qn_dims_const(c->dims, v);
        } else if (k->symbol && da != QN_DIM_UNKNOWN && db != QN_DIM_UNKNOWN) {
            known->elems[i] = k->symbol(c->dims, da, db);
        }
    }
    c->out_known[0] = known;
}

/* -- numbers -------------------------------------------------------------------------------------------------------------- */

qn_elem_class qn_elem_class_of(qn_dtype dtype)
{
    switch (dtype) {
    case QN_F64: return QN_ELEM_F64;
    case QN_I4:
    case QN_I8:
    case QN_I16:
    case QN_I32:
    case QN_I64: return QN_ELEM_I64;
    case QN_U4:
    case QN_U8:
    case QN_U16:
    case QN_U32:
    case QN_U64:
    case QN_BOOL: return QN_ELEM_U64;
    default: return QN_ELEM_F32;
    }
}

#define LOAD(T, R, expr)                                                                                                                   \
    do {                                                                                                                                   \
        const T *p = src;                                                                                                                  \
        R *to = (R *)(void *)buf->u64;                                                                                                     \
                                                                                                                                           \
        for (int64_t i = 0; i < n; i++) {                                                                                                  \
            const T e = p[i * step];                                                                                                       \
                                                                                                                                           \
            to[i] = (R)(expr);                                                                                                             \
        }                                                                                                                                  \
    } while (0)

const void *qn_elem_load(qn_dtype dtype, const void *src, int64_t step, int64_t n, qn_elem_buf *buf)
{
    assert(n <= QN_ELEM_CHUNK);
    switch (dtype) {
    case QN_F32:
        if (step == 1) return src;
        LOAD(float, float, e);
        break;
    case QN_F64:
        if (step == 1) return src;
        LOAD(double, double, e);
        break;
    case QN_I64:
    case QN_U64:
        if (step == 1) return src;
        LOAD(uint64_t, uint64_t, e);
        break;
    case QN_F16:
        if (step == 1) {
            qn_f16_to_f32_row(src, buf->f32, n);
            break;
        }
        LOAD(uint16_t, float, qn_f16_to_f32(e));
        break;
    case QN_BF16: LOAD(uint16_t, float, qn_bf16_to_f32(e)); break;
    case QN_I4:
    case QN_I8: LOAD(int8_t, int64_t, e); break;
    case QN_I16: LOAD(int16_t, int64_t, e); break;
    case QN_I32: LOAD(int32_t, int64_t, e); break;
    case QN_U4:
    case QN_U8: LOAD(uint8_t, uint64_t, e); break;
    case QN_BOOL: LOAD(uint8_t, uint64_t, e != 0); break;
    case QN_U16: LOAD(uint16_t, uint64_t, e); break;
    case QN_U32: LOAD(uint32_t, uint64_t, e); break;
    default: assert(dtype == QN_F32); /* strings never come here */
    }
    return buf;
}

#define STORE(T, R, expr)                                                                                                                  \
    do {                                                                                                                                   \
        const R *p = src;                                                                                                                  \
        T *to = dst;                                                                                                                       \
                                                                                                                                           \
        for (int64_t i = 0; i < n; i++) {                                                                                                  \
            const R e = p[i];                                                                                                              \
                                                                                                                                           \
            to[i] = (T)(expr);                                                                                                             \
        }                                                                                                                                  \
    } while (0)

void qn_elem_store(qn_dtype dtype, void *dst, int64_t n, const void *src)
{
    switch (dtype) {
    case QN_F32:
    case QN_F64:
    case QN_I64:
    case QN_U64:
        if (dst != src) memmove(dst, src, (size_t)n * qn_dtype_size(dtype));
        break;
    case QN_F16: qn_f32_to_f16_row(src, dst, n); break;
    case QN_BF16: STORE(uint16_t, float, qn_f32_to_bf16(e)); break;
    case QN_I8:
    case QN_U8: STORE(uint8_t, uint64_t, e); break;
    case QN_U4: STORE(uint8_t, uint64_t, e & 15); break;
    case QN_I4: STORE(int8_t, uint64_t, (int64_t)((e & 15) ^ 8) - 8); break; /* the sign of bit 3 in the bits above it */
    case QN_BOOL: STORE(uint8_t, uint64_t, e != 0); break;
    case QN_I16:
    case QN_U16: STORE(uint16_t, uint64_t, e); break;
    case QN_I32:
    case QN_U32: STORE(uint32_t, uint64_t, e); break;
    default: assert(dtype == QN_F32); /* strings never come here */
    }
}

void qn_elem_to_f32(qn_dtype dtype, const void *src, float *dst, int64_t n)
{
    const uint16_t *h = src;

    if (dtype == QN_F32) {
        if (n > 0 && dst != src) memmove(dst, src, (size_t)n * sizeof *dst);
    } else if (dtype == QN_F16) {
        qn_f16_to_f32_row(h, dst, n);
    } else {
        for (int64_t i = 0; i < n; i++) dst[i] = qn_bf16_to_f32(h[i]);
    }
}

void qn_elem_from_f32(qn_dtype dtype, void *dst, const float *src, int64_t n)
{
    if (n > 0) qn_elem_store(dtype, dst, n, src);
}

/* -- the walk ------------------------------------------------------------------------------------------------------------- */

#define GRAIN 32768 /* elements of a tile: enough work to be worth handing out, small enough to share */

typedef struct range_job {
    qn_elem_range_fn *fn;
    void *ctx;
    int64_t n, grain;
} range_job;

static void range_tile(void *ctx, int64_t tile, int member)
{
    const range_job *j = ctx;
    const int64_t lo = tile * j->grain;

    j->fn(j->ctx, lo, j->n - lo < j->grain ? j->n : lo + j->grain, member);
}

void qn_elem_ranges(qn_team *team, int64_t n, int64_t grain, qn_elem_range_fn *fn, void *ctx)
{
    range_job j = { fn, ctx, n, grain < 1 ? 1 : grain };

    if (n <= 0) return;
    if (n <= j.grain)
        fn(ctx, 0, n, 0);
    else
        qn_team_run(team, n / j.grain + (n % j.grain != 0), range_tile, &j);
}

typedef struct walk {
    int32_t n; /* inputs; the output is tensor n of the odometer */
    size_t size[QN_ELEM_MAX_IN + 1];
    const char *x[QN_ELEM_MAX_IN];
    char *y;
    qn_odometer o;
    int64_t piece, n_pieces; /* of an inner loop */
    qn_elem_span_fn *fn;
    void *ctx;
} walk;

/* Pieces [lo, hi), n_pieces to each inner loop. */
static void walk_pieces(void *ctx, int64_t lo, int64_t hi, int member)
{
    const walk *w = ctx;
    qn_odometer o = w->o;

    (void)member;
    qn_odometer_seek(&o, lo / w->n_pieces);
    for (int64_t k = lo; k < hi; k++) {
        const int64_t from = k % w->n_pieces * w->piece;
        const int64_t n = o.n_inner - from < w->piece ? o.n_inner - from : w->piece;
        const void *x[QN_ELEM_MAX_IN];

        for (int32_t i = 0; i < w->n; i++) x[i] = w->x[i] + (o.at[i] + from * o.step[i]) * (int64_t)w->size[i];
        w->fn(w->ctx, x, o.step, w->y + (o.at[w->n] + from) * (int64_t)w->size[w->n], n);
        if ((k + 1) % w->n_pieces == 0) qn_odometer_next(&o);
    }
}

void qn_elem_walk(qn_team *team, int32_t n, const qn_tensor *const *in, const qn_tensor *out, qn_elem_span_fn *fn, void *ctx)
{
    walk w = { .n = n, .y = out->data, .fn = fn, .ctx = ctx };
    int64_t strides[QN_ELEM_MAX_IN + 1][QN_MAX_RANK];

    assert(n >= 1 && n <= QN_ELEM_MAX_IN);
    for (int32_t i = 0; i < n; i++) {
        w.x[i] = in[i]->data;
        w.size[i] = qn_dtype_size(in[i]->dtype);
        qn_broadcast_strides(in[i]->rank, in[i]->dims, out->rank, out->dims, strides[i]);
    }
    w.size[n] = qn_dtype_size(out->dtype);
    qn_broadcast_strides(out->rank, out->dims, out->rank, out->dims, strides[n]);
    qn_odometer_init(&w.o, n + 1, out->rank, out->dims, strides);
    if (w.o.n_outer == 0) return;
    w.piece = w.o.n_inner < GRAIN ? w.o.n_inner : GRAIN;
    w.n_pieces = (w.o.n_inner + w.piece - 1) / w.piece;
    qn_elem_ranges(team, w.o.n_outer * w.n_pieces, GRAIN / w.piece, walk_pieces, &w);
}

/* -- one op --------------------------------------------------------------------------------------------------------------- */

typedef struct span {
    const qn_elem_op *op;
    qn_elem_env env;
    qn_dtype in, out; /* dtype of every input, of the output */
    qn_elem_class cls;
    qn_unary_fn *unary; /* the f32 kernel: one of these, or none */
    qn_binary_fn *binary;
    qn_vmath_fn *vmath;
} span;

/* f32 in one go, no chunks. */
static bool span_direct(span *s, const void *const *x, const int64_t *step, void *y, int64_t n)
{
    if (s->in != QN_F32 || s->op->to_bool) return false;
    if (s->binary)
        s->binary(x[0], step[0], x[1], step[1], y, n);
    else if (s->unary && step[0] == 1)
        s->unary(x[0], y, n, s->env.a, s->env.b);
    else if (s->vmath && step[0] == 1)
        s->vmath(x[0], y, n, s->env.a, s->env.b);
    else
        return false;
    return true;
}

static void span_chunk(span *s, const void *const *x, void *y, int64_t n)
{
    if (s->cls != QN_ELEM_F32)
        s->op->fn[s->cls](&s->env, x, y, n);
    else if (s->binary)
        s->binary(x[0], 1, x[1], 1, y, n);
    else if (s->unary)
        s->unary(x[0], y, n, s->env.a, s->env.b);
    else if (s->vmath)
        s->vmath(x[0], y, n, s->env.a, s->env.b);
    else
        s->op->fn[QN_ELEM_F32](&s->env, x, y, n);
}

static void span_run(void *ctx, const void *const *x, const int64_t *step, void *y, int64_t n)
{
    span *s = ctx;
    const bool same = s->op->to_bool || qn_dtype_size(s->out) == (s->cls == QN_ELEM_F32 ? 4 : 8); /* no store to convert */
    const int64_t out_size = (int64_t)qn_dtype_size(s->out), in_size = (int64_t)qn_dtype_size(s->in);
    qn_elem_buf buf[3];

    if (span_direct(s, x, step, y, n)) return;
    for (int64_t done = 0; done < n; done += QN_ELEM_CHUNK) {
        const int64_t k = n - done < QN_ELEM_CHUNK ? n - done : QN_ELEM_CHUNK;
        const void *in[2] = { NULL, NULL };
        char *to = (char *)y + done * out_size;

        for (int32_t i = 0; i < s->op->n_in; i++)
            in[i] = qn_elem_load(s->in, (const char *)x[i] + done * step[i] * in_size, step[i], k, &buf[i]);
        span_chunk(s, in, same ? (void *)to : (void *)&buf[2], k);
        if (!same) qn_elem_store(s->out, to, k, &buf[2]);
    }
}

qn_status qn_elem_apply(qn_run *r, const qn_elem_op *op, const qn_tensor *x, const qn_tensor *y, const qn_tensor *out, float a, float b,
                        qn_error *err)
{
    const qn_tensor *in[2] = { x, y };
    span s = { .op = op, .in = x->dtype, .out = out->dtype, .cls = qn_elem_class_of(x->dtype) };

    s.env.a = a;
    s.env.b = b;
    if (op->fast == QN_ELEM_UNARY) s.unary = qn_eltwise_pick(r->cpu)->unary[op->kernel];
    if (op->fast == QN_ELEM_BINARY) s.binary = qn_eltwise_pick(r->cpu)->binary[op->kernel];
    if (op->fast == QN_ELEM_VMATH) s.vmath = qn_vmath_pick(r->cpu)->run[op->kernel];
    qn_elem_walk(r->team, op->n_in, in, out, span_run, &s);
    if (atomic_load_explicit(&s.env.failed, memory_order_relaxed)) return qn_error_set(err, QN_ERR_RANGE, "%s", op->failure);
    return QN_OK;
}

/* Shapes, and output 0 in place; x and y are the inputs as they meet. */
static qn_status place(qn_run *r, const qn_elem_op *op, qn_tensor *x, qn_tensor *y, qn_error *err)
{
    const qn_tensor *in[2] = { x, y };
    int64_t dims[QN_MAX_RANK] = { 0 };
    int32_t rank = 0;
    qn_status st;

    *x = r->in[0];
    *y = r->in[op->n_in - 1];
    if (op->n_in == 2) legacy_tensor(r->node, x, y);
    if ((st = qn_broadcast_tensors(in, op->n_in, &rank, dims, err)) != QN_OK) return st;
    return qn_move_output(r, 0, op->to_bool ? QN_BOOL : x->dtype, rank, dims, err);
}

qn_status qn_elem_run(qn_run *r, const qn_elem_op *op, float a, float b, qn_error *err)
{
    qn_tensor x, y;
    qn_status st = place(r, op, &x, &y, err);

    return st == QN_OK ? qn_elem_apply(r, op, &x, &y, &r->out[0], a, b, err) : st;
}

qn_status qn_elem_run_with(qn_run *r, const qn_elem_op *op, qn_elem_span_fn *fn, void *ctx, qn_error *err)
{
    qn_tensor x, y;
    const qn_tensor *in[2] = { &x, &y };
    qn_status st = place(r, op, &x, &y, err);

    if (st == QN_OK) qn_elem_walk(r->team, op->n_in, in, &r->out[0], fn, ctx);
    return st;
}

qn_status qn_elem_lower(qn_lower *lo, qn_error *err)
{
    (void)err;
    if (lo->node->n_in > 0 && lo->in[0].dtype == QN_F32) lo->kernel = qn_eltwise_pick(lo->cpu)->name;
    return QN_OK;
}
