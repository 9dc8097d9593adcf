/* tests/unit/ops/op_harness.h - run one op row on tensors, without a model and without a planner.
 *
 *   op_test t;
 *   op_begin(&t, &qn_op_softmax_13, 13);
 *   op_attr_int(&t, "axis", 1);
 *   op_in_f32(&t, x, 2, 3, 4);                       (an input; dims follow the rank)
 *   assert_int_equal(op_run(&t, 1, NULL), QN_OK);    (infer, lower, run; one output)
 *   op_out_f32(&t, 0)[5] ...                         (t.out[0] is the tensor)
 *   op_end(&t);
 *
 * op_run() runs the row several times - every instruction set, a team of three threads, in place where the row says it may - and
 * fails the test if any of them gives other bits, writes past an output, or reads an input it had packed (skip_in).
 * The plan's two services (qn_lower_blob, qn_run_output) are defined here: include this file in one .c of an executable only. */
#ifndef QUERN_TESTS_OP_HARNESS_H
#define QUERN_TESTS_OP_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/graph/op.h"
#include "quern/tensor.h"

#include <stdlib.h>
#include <string.h>

#define OP_MAX_IO    12
#define OP_MAX_ITEMS 4 /* only the first few operands may be sequences */
#define OP_MAX_ATTRS 16
#define OP_MAX_BLOBS 16
#define OP_GUARD     64 /* bytes after each output that must stay as they are */

typedef struct op_test {
    const qn_op *op;
    qn_graph graph; /* only dims, arena and values are filled */
    qn_node node;
    qn_attr attrs[OP_MAX_ATTRS];
    qn_value values[2 * OP_MAX_IO];
    qn_value_id in_ids[OP_MAX_IO], out_ids[OP_MAX_IO];
    int32_t n_in, n_out;
    qn_tensor in[OP_MAX_IO];    /* owned copies */
    bool is_const[OP_MAX_IO];   /* a weight: lower sees its bytes */
    bool bound;                 /* infer sees the bytes of every input, as when a plan is made for bound inputs; default true */
    qn_type in_type[OP_MAX_IO]; /* a test may overwrite these before op_infer(), e.g. with symbols */
    qn_known *in_known[OP_MAX_IO];
    qn_type out_type[OP_MAX_IO]; /* what infer said */
    qn_known *out_known[OP_MAX_IO];
    qn_tensor out[OP_MAX_IO]; /* owned, what the last run gave */
    unsigned cpu;             /* best instruction set to try; default: this machine's */
    uint64_t serial;          /* of the run, for random ops */
    const char *kernel;       /* the choice on `cpu` */
    qn_store *store;
    void *blobs[OP_MAX_BLOBS];
    int32_t n_blobs;
    bool run_made[OP_MAX_IO]; /* output i came from qn_run_output() */
    bool out_none[OP_MAX_IO]; /* set by a test: output i is left out */
    qn_items items_in[OP_MAX_ITEMS], items_out[OP_MAX_ITEMS];
    bool items_given[OP_MAX_ITEMS]; /* set by a test: input i is items_in[i] */
    qn_meter meter;                 /* of every box */
} op_test;

/* -- what a plan offers --------------------------------------------------------------------------------------------------- */

qn_status qn_lower_blob(qn_lower *lo, qn_weight *w, const char *form, size_t bytes, qn_pack_fn *pack, void *ctx, const void **data,
                        qn_error *err)
{
    op_test *t = (op_test *)lo->plan;
    qn_blob blob = { NULL, bytes };
    qn_status st;

    (void)form;
    *data = NULL;
    assert_true(t->n_blobs < OP_MAX_BLOBS);
    blob.data = aligned_alloc(64, (bytes + 127) & ~(size_t)63);
    assert_non_null(blob.data);
    memset(blob.data, 0, bytes);
    t->blobs[t->n_blobs++] = blob.data;
    st = pack(w, ctx, &blob, err);
    if (st == QN_OK) *data = blob.data;
    return st;
}

static inline void op_alloc_out(op_test *t, int32_t i, qn_dtype dtype, int32_t rank, const int64_t *dims, size_t bytes)
{
    qn_tensor *o = &t->out[i];

    free(o->data);
    *o = (qn_tensor){ .dtype = dtype, .rank = rank, .bytes = bytes };
    for (int32_t d = 0; d < rank; d++) o->dims[d] = dims[d];
    o->data = aligned_alloc(64, (bytes + OP_GUARD + 63) & ~(size_t)63);
    assert_non_null(o->data);
    memset(o->data, 0xA5, bytes + OP_GUARD);
}

qn_status qn_run_output(qn_run *r, int32_t i, qn_dtype dtype, int32_t rank, const int64_t *dims, size_t bytes, qn_error *err)
{
    op_test *t = (op_test *)(void *)r->frame;
    size_t n = bytes;
    qn_status st = QN_OK;

    if (dtype != QN_STRING) st = qn_shape_bytes(dtype, rank, dims, &n, err);
    if (st != QN_OK) return st;
    if (n > (size_t)1 << 28) return qn_error_set(err, QN_ERR_LIMIT, "output %d of %zu bytes", (int)i, n);
    op_alloc_out(t, i, dtype, rank, dims, n);
    t->run_made[i] = true;
    r->out[i] = t->out[i];
    return QN_OK;
}

/* Sequences and optionals: a test fills t->items_in before op_run() and reads t->items_out after it. */
const qn_items *qn_run_items(const qn_run *r, int32_t i)
{
    op_test *t = (op_test *)(void *)r->frame;

    return i < OP_MAX_ITEMS && t->items_given[i] ? &t->items_in[i] : NULL;
}

qn_items *qn_run_new_items(qn_run *r, int32_t i)
{
    op_test *t = (op_test *)(void *)r->frame;

    qn_items_clear(&t->items_out[i]);
    return &t->items_out[i];
}

qn_meter *qn_run_meter(qn_run *r) { return &((op_test *)(void *)r->frame)->meter; }

/* -- describing a case ---------------------------------------------------------------------------------------------------- */

static inline void op_begin(op_test *t, const qn_op *op, int64_t opset)
{
    memset(t, 0, sizeof *t);
    t->op = op;
    t->bound = true;
    t->meter.limit_bytes = (uint64_t)1 << 30;
    t->cpu = qn_cpu_detect();
    t->graph.stage = QN_STAGE_LOWERED;
    t->graph.name = "test";
    qn_arena_init(&t->graph.arena, 0);
    qn_map_init(&t->graph.by_name);
    assert_int_equal(qn_dims_create(&t->graph.dims, NULL), QN_OK);
    t->graph.values = t->values;
    t->graph.cap_values = 2 * OP_MAX_IO;
    t->graph.nodes = &t->node;
    t->graph.n_nodes = t->graph.cap_nodes = 1;
    t->node = (qn_node){ .name = "node", .domain = op->domain, .op_type = op->name, .op = op, .opset = opset };
    t->node.attrs = t->attrs;
    t->node.in = t->in_ids;
    t->node.out = t->out_ids;
}

static inline qn_attr *op_attr(op_test *t, const char *name, qn_attr_type type, int64_t n)
{
    qn_attr *a = &t->attrs[t->node.n_attrs];

    assert_true(t->node.n_attrs < OP_MAX_ATTRS);
    t->node.n_attrs++;
    *a = (qn_attr){ .name = name, .type = type, .n = n };
    return a;
}

static inline void op_attr_int(op_test *t, const char *name, int64_t v) { op_attr(t, name, QN_ATTR_INT, 1)->i = v; }
static inline void op_attr_float(op_test *t, const char *name, float v) { op_attr(t, name, QN_ATTR_FLOAT, 1)->f = v; }

static inline void op_attr_str(op_test *t, const char *name, const char *v) { op_attr(t, name, QN_ATTR_STRING, (int64_t)strlen(v))->s = v; }

/* Lists are borrowed until op_end(). */
static inline void op_attr_ints(op_test *t, const char *name, const int64_t *v, int64_t n) { op_attr(t, name, QN_ATTR_INTS, n)->ints = v; }
static inline void op_attr_floats(op_test *t, const char *name, const float *v, int64_t n)
{
    op_attr(t, name, QN_ATTR_FLOATS, n)->floats = v;
}
static inline void op_attr_strings(op_test *t, const char *name, const char **v, int64_t n)
{
    op_attr(t, name, QN_ATTR_STRINGS, n)->strings = v;
}

static inline void op_attr_tensor(op_test *t, const char *name, const qn_tensor *v)
{
    assert_int_equal(qn_weight_from_tensor(v, &op_attr(t, name, QN_ATTR_TENSOR, 1)->t, NULL), QN_OK);
}

/* An input, copied. */
static inline void op_in(op_test *t, const qn_tensor *x)
{
    int32_t i = t->n_in++;
    qn_type *ty = &t->in_type[i];

    assert_true(i < OP_MAX_IO);
    t->in_ids[i] = i;
    t->node.n_in = t->n_in;
    if (x->bytes)
        assert_int_equal(qn_tensor_copy(x, &t->in[i], NULL), QN_OK);
    else
        t->in[i] = (qn_tensor){ .dtype = x->dtype };
    t->in[i].rank = x->rank;
    memcpy(t->in[i].dims, x->dims, sizeof x->dims);
    *ty = (qn_type){ .kind = QN_KIND_TENSOR, .dtype = x->dtype, .rank = x->rank, .quant = { QN_NONE, QN_NONE, -1, 0 } };
    for (int32_t d = 0; d < x->rank; d++) ty->dims[d] = qn_dims_const(t->graph.dims, x->dims[d]);
    t->values[i] = (qn_value){ .name = "in", .type = *ty, .producer = QN_NONE, .is_input = true };
    if (t->graph.n_values < t->n_in) t->graph.n_values = t->n_in;
}

static inline void op_in_const(op_test *t, const qn_tensor *x)
{
    op_in(t, x);
    t->is_const[t->n_in - 1] = true;
    assert_int_equal(qn_weight_from_tensor(&t->in[t->n_in - 1], &t->values[t->n_in - 1].weight, NULL), QN_OK);
}

/* A sequence or an optional as an input: the caller fills the items that are returned, and may overwrite t->in_type. Of `dtype`, shapes unknown. */
static inline qn_items *op_in_items(op_test *t, qn_kind kind, qn_kind of, qn_dtype dtype)
{
    int32_t i = t->n_in++;

    assert_true(i < OP_MAX_ITEMS);
    t->in_ids[i] = i;
    t->node.n_in = t->n_in;
    t->in_type[i] = (qn_type){ .kind = kind, .of = of, .dtype = dtype, .rank = -1, .quant = { QN_NONE, QN_NONE, -1, 0 } };
    t->values[i] = (qn_value){ .name = "in", .type = t->in_type[i], .producer = QN_NONE, .is_input = true };
    t->items_given[i] = true;
    t->items_in[i].present = kind == QN_KIND_SEQUENCE;
    return &t->items_in[i];
}

/* A copy of x at the end of items, which becomes present. */
static inline void op_push(op_test *t, qn_items *items, const qn_tensor *x)
{
    qn_box *box;

    assert_int_equal(qn_box_copy(&t->meter, x, &box, NULL), QN_OK);
    assert_int_equal(qn_items_insert(items, items->n, box, NULL), QN_OK);
    items->present = true;
}

/* An optional input that is left out. */
static inline void op_in_none(op_test *t)
{
    int32_t i = t->n_in++;

    assert_true(i < OP_MAX_IO);
    t->in_ids[i] = QN_NONE;
    t->node.n_in = t->n_in;
    t->in_type[i] = (qn_type){ .kind = QN_KIND_TENSOR, .rank = -1, .quant = { QN_NONE, QN_NONE, -1, 0 } };
}

/* A tensor view of data with the dims given as int after the rank. */
static inline qn_tensor op_view_v(qn_dtype dtype, const void *data, int rank, va_list ap)
{
    qn_tensor x = { .dtype = dtype, .rank = rank };

    for (int d = 0; d < rank; d++) x.dims[d] = va_arg(ap, int);
    memcpy(&x.data, &data, sizeof data);
    assert_int_equal(qn_shape_bytes(dtype, rank, x.dims, &x.bytes, NULL), QN_OK);
    return x;
}

static inline qn_tensor op_view(qn_dtype dtype, const void *data, int rank, ...)
{
    qn_tensor x;
    va_list ap;

    va_start(ap, rank);
    x = op_view_v(dtype, data, rank, ap);
    va_end(ap);
    return x;
}

#define OP_IN_(suffix, ctype, dt)                                                                                                          \
    static inline void op_in_##suffix(op_test *t, const ctype *v, int rank, ...)                                                           \
    {                                                                                                                                      \
        qn_tensor x;                                                                                                                       \
        va_list ap;                                                                                                                        \
                                                                                                                                           \
        va_start(ap, rank);                                                                                                                \
        x = op_view_v(dt, v, rank, ap);                                                                                                    \
        va_end(ap);                                                                                                                        \
        op_in(t, &x);                                                                                                                      \
    }                                                                                                                                      \
    static inline ctype *op_out_##suffix(op_test *t, int32_t i)                                                                            \
    {                                                                                                                                      \
        assert_int_equal(t->out[i].dtype, dt);                                                                                             \
        return t->out[i].data;                                                                                                             \
    }
OP_IN_(f32, float, QN_F32)
OP_IN_(f64, double, QN_F64)
OP_IN_(f16, uint16_t, QN_F16)
OP_IN_(i8, int8_t, QN_I8)
OP_IN_(i16, int16_t, QN_I16)
OP_IN_(i32, int32_t, QN_I32)
OP_IN_(i64, int64_t, QN_I64)
OP_IN_(u8, uint8_t, QN_U8)
OP_IN_(u16, uint16_t, QN_U16)
OP_IN_(u32, uint32_t, QN_U32)
OP_IN_(u64, uint64_t, QN_U64)
OP_IN_(bool, uint8_t, QN_BOOL)
#undef OP_IN_

/* Strings as an input of shape [n]. */
static inline void op_in_strings(op_test *t, const char *const *s, int n)
{
    qn_tensor x = { .dtype = QN_STRING, .rank = 1, .dims = { n } };
    uint64_t off = 0, *offsets;

    for (int i = 0; i < n; i++) off += strlen(s[i]);
    x.bytes = (size_t)(n + 1) * 8 + off;
    x.data = offsets = malloc(x.bytes);
    assert_non_null(offsets);
    off = 0;
    for (int i = 0; i < n; i++) {
        offsets[i] = off;
        memcpy((char *)x.data + (size_t)(n + 1) * 8 + off, s[i], strlen(s[i]));
        off += strlen(s[i]);
    }
    offsets[n] = off;
    op_in(t, &x);
    free(x.data);
}

/* True if element i of the string tensor is s. */
static inline bool op_string_is(const qn_tensor *x, int64_t i, const char *s)
{
    const uint64_t *off = x->data;
    const char *blob = (const char *)x->data + 8 * (size_t)(qn_tensor_count(x) + 1);

    return off[i + 1] - off[i] == strlen(s) && memcmp(blob + off[i], s, strlen(s)) == 0;
}

/* -- running a case ------------------------------------------------------------------------------------------------------- */

/* Infer alone: t->out_type and t->out_known. */
static inline qn_status op_infer(op_test *t, int32_t n_out, qn_error *err)
{
    const qn_known *known[OP_MAX_IO];
    const qn_tensor *consts[OP_MAX_IO];
    qn_infer c = { .graph = &t->graph, .node = &t->node, .dims = t->graph.dims, .arena = &t->graph.arena };
    qn_status st;

    assert_true(n_out <= OP_MAX_IO);
    t->n_out = t->node.n_out = n_out;
    t->graph.n_values = t->n_in + n_out;
    for (int32_t i = 0; i < t->n_in; i++) {
        known[i] = t->in_known[i];
        consts[i] = (t->is_const[i] || t->bound) && t->in_ids[i] != QN_NONE && qn_tensor_count(&t->in[i]) <= 65536 ? &t->in[i] : NULL;
    }
    for (int32_t i = 0; i < n_out; i++) {
        t->out_ids[i] = t->out_none[i] ? QN_NONE : t->n_in + i;
        t->out_type[i] = (qn_type){ .kind = QN_KIND_TENSOR, .rank = -1, .quant = { QN_NONE, QN_NONE, -1, 0 } };
        t->out_known[i] = NULL;
        t->values[t->n_in + i] = (qn_value){ .name = "out", .type = t->out_type[i] };
    }
    c.in = t->in_type;
    c.in_known = known;
    c.in_const = consts;
    c.out = t->out_type;
    c.out_known = t->out_known;
    st = t->op->infer(&c, err);
    return st == QN_OK ? qn_dims_status(t->graph.dims, err) : st;
}

/* Types to tensors without data; rank -1 where a size is not known. */
static inline void op_shape_of(op_test *t, const qn_type *ty, qn_tensor *out)
{
    *out = (qn_tensor){ .dtype = ty->dtype, .rank = ty->rank };
    if (ty->kind != QN_KIND_TENSOR) { /* no tensor at all */
        *out = (qn_tensor){ .dtype = QN_DTYPE_NONE, .rank = -1 };
        return;
    }
    for (int32_t d = 0; d < ty->rank; d++) {
        if (!qn_dims_value(t->graph.dims, ty->dims[d], &out->dims[d])) {
            out->rank = -1;
            return;
        }
    }
}

/* Lower for `cpu` and run once into fresh outputs; alias: output 0 lies on a copy of input 0. */
static inline qn_status op_run_once(op_test *t, unsigned cpu, qn_team *team, bool alias, qn_error *err)
{
    qn_tensor in[OP_MAX_IO], out[OP_MAX_IO];
    qn_weight *weights[OP_MAX_IO] = { NULL };
    qn_lower lo = { .arena = &t->graph.arena, .store = t->store, .cpu = cpu, .team_size = qn_team_size(team), .node = &t->node };
    qn_run r = { .node = &t->node, .team = team, .cpu = cpu, .serial = t->serial };
    char *scratch = NULL;
    qn_status st = QN_OK;

    for (int32_t i = 0; i < t->n_in; i++) {
        in[i] = t->in[i];
        if (!t->is_const[i]) in[i].data = NULL;
        if (t->is_const[i]) weights[i] = t->values[i].weight;
    }
    for (int32_t i = 0; i < t->n_out; i++) {
        op_shape_of(t, &t->out_type[i], &out[i]);
        if (t->out_none[i]) out[i].dtype = QN_DTYPE_NONE;
        t->run_made[i] = false;
    }
    lo.in = in;
    lo.out = out;
    lo.weight = weights;
    lo.plan = (qn_plan *)t;
    lo.kernel = "plain";
    lo.why = "";
    if (t->op->lower) st = t->op->lower(&lo, err);
    if (st != QN_OK) return st;
    if (cpu == t->cpu) t->kernel = lo.kernel;
    for (int32_t i = 0; i < t->n_in; i++) {
        in[i] = t->in[i];
        if (lo.skip_in >> i & 1) in[i].data = NULL; /* the plan would not have it */
    }
    for (int32_t i = 0; i < t->n_out; i++) {
        size_t bytes;

        if (t->out_none[i] || out[i].rank < 0 || out[i].dtype == QN_STRING || out[i].dtype == QN_DTYPE_NONE) continue;
        assert_int_equal(qn_shape_bytes(out[i].dtype, out[i].rank, out[i].dims, &bytes, NULL), QN_OK);
        op_alloc_out(t, i, out[i].dtype, out[i].rank, out[i].dims, bytes);
        out[i] = t->out[i];
    }
    if (alias) {
        assert_int_equal(out[0].bytes, in[0].bytes);
        if (in[0].bytes) memcpy(out[0].data, in[0].data, in[0].bytes);
        in[0].data = out[0].data;
    }
    scratch = aligned_alloc(64, (lo.scratch_bytes + OP_GUARD + 63) & ~(size_t)63);
    assert_non_null(scratch);
    memset(scratch, 0xA5, lo.scratch_bytes + OP_GUARD);
    r.in = in;
    r.out = out;
    r.state = lo.state;
    r.scratch = scratch;
    r.frame = (struct qn_frame *)(void *)t;
    st = t->op->run(&r, err);
    for (int i = 0; i < OP_GUARD; i++) assert_int_equal((uint8_t)scratch[lo.scratch_bytes + (size_t)i], 0xA5);
    free(scratch);
    for (int32_t i = 0; i < t->n_out; i++) {
        if (!t->out[i].data) continue;
        for (int b = 0; b < OP_GUARD; b++) assert_int_equal(((uint8_t *)t->out[i].data)[t->out[i].bytes + (size_t)b], 0xA5);
    }
    return st;
}

/* Move the outputs of the last run away, to compare. */
static inline void op_take(op_test *t, qn_tensor *saved)
{
    memcpy(saved, t->out, sizeof t->out);
    memset(t->out, 0, sizeof t->out);
}

static inline void op_free_outs(qn_tensor *outs)
{
    for (int i = 0; i < OP_MAX_IO; i++) free(outs[i].data);
    memset(outs, 0, OP_MAX_IO * sizeof *outs);
}

static inline void op_assert_same(op_test *t, const qn_tensor *want)
{
    for (int32_t i = 0; i < t->n_out; i++) {
        assert_int_equal(t->out[i].dtype, want[i].dtype);
        assert_int_equal(t->out[i].rank, want[i].rank);
        assert_memory_equal(t->out[i].dims, want[i].dims, sizeof want[i].dims);
        assert_int_equal(t->out[i].bytes, want[i].bytes);
        if (want[i].bytes) assert_memory_equal(t->out[i].data, want[i].data, want[i].bytes);
    }
}

static inline bool op_may_alias(const op_test *t)
{
    return !t->out_none[0] && (t->op->flags & QN_OP_INPLACE) && t->n_in > 0 && t->n_out > 0 && t->in_ids[0] != QN_NONE &&
           t->out[0].dtype == t->in[0].dtype && t->out[0].rank == t->in[0].rank && t->in[0].dtype != QN_STRING && !t->run_made[0] &&
           !t->is_const[0] && memcmp(t->out[0].dims, t->in[0].dims, sizeof t->in[0].dims) == 0;
}

/* Infer, lower, run; then again in every other way, which must give the same bits. t->out are the outputs. */
static inline qn_status op_run(op_test *t, int32_t n_out, qn_error *err)
{
    const unsigned avx2 = QN_CPU_AVX2 | QN_CPU_FMA | QN_CPU_F16C;
    qn_tensor want[OP_MAX_IO];
    qn_team *team = NULL;
    qn_status st = op_infer(t, n_out, err);

    if (st != QN_OK) return st;
    for (int32_t i = 0; i < t->n_in; i++) t->values[i].type = t->in_type[i];
    for (int32_t i = 0; i < n_out; i++) t->values[t->n_in + i].type = t->out_type[i];
    st = op_run_once(t, t->cpu, NULL, false, err);
    if (st != QN_OK) return st;
    op_take(t, want);
    assert_int_equal(op_run_once(t, 0, NULL, false, err), QN_OK);
    op_assert_same(t, want);
    if (t->cpu & QN_CPU_AVX512) {
        assert_int_equal(op_run_once(t, t->cpu & avx2, NULL, false, err), QN_OK);
        op_assert_same(t, want);
    }
    if (op_may_alias(t)) {
        assert_int_equal(op_run_once(t, t->cpu, NULL, true, err), QN_OK);
        op_assert_same(t, want);
    }
    assert_int_equal(qn_team_create(3, &team, err), QN_OK);
    st = op_run_once(t, t->cpu, team, false, err);
    qn_team_destroy(team);
    assert_int_equal(st, QN_OK);
    op_assert_same(t, want);
    op_free_outs(want);
    return QN_OK;
}

/* Free everything; a failed case too. */
static inline void op_end(op_test *t)
{
    for (int i = 0; i < OP_MAX_ITEMS; i++) {
        qn_items_release(&t->items_in[i]);
        qn_items_release(&t->items_out[i]);
    }
    assert_int_equal(t->meter.bytes, 0); /* no box is lost */
    for (int i = 0; i < OP_MAX_IO; i++) {
        qn_tensor_free(&t->in[i]);
        if (t->values[i].weight) qn_weight_unref(t->values[i].weight);
    }
    for (int32_t i = 0; i < t->node.n_attrs; i++)
        if (t->attrs[i].type == QN_ATTR_TENSOR) qn_weight_unref(t->attrs[i].t);
    for (int32_t i = 0; i < t->n_blobs; i++) free(t->blobs[i]);
    op_free_outs(t->out);
    qn_map_release(&t->graph.by_name);
    qn_dims_destroy(t->graph.dims);
    qn_arena_release(&t->graph.arena);
}

#endif
