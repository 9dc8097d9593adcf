/* core/ops/einsum.c - Einsum: sums of products, operands two at a time from the left.
 * Spec   ONNX Einsum 12 on; f32, f64, f16, bf16 and 32- and 64-bit integers. The equation is read by subscripts.c.
 * How    A label is an axis of the whole problem. Two operands meet as a batch of matrix products: labels of both that live on are the
 *        batch, labels of both that end here are k, the others are m and n. Labels of one operand that end here are summed first. A label
 *        twice in one operand is its diagonal, an axis of 1 against n is repeated; both are only strides.
 * Value  one fma chain over k in the order of the labels (see gemm.h); f16 and bf16 compute in f32 and round once at the end. */
#include "core/graph/cost.h"
#include "core/ops/move.h"

#include "core/base/checked.h"
#include "core/base/half.h"
#include "core/ops/linear.h"
#include "core/ops/subscripts.h"

#include <inttypes.h>
#include <string.h>

#define EINSUM_TYPES                                                                                                                       \
    (1u << QN_F32 | 1u << QN_F64 | 1u << QN_F16 | 1u << QN_BF16 | 1u << QN_I32 | 1u << QN_I64 | 1u << QN_U32 | 1u << QN_U64)

static const char *equation_of(const qn_node *node) { return qn_node_str(node, "equation", ""); }

/* -- inference ------------------------------------------------------------------------------------------------------------ */

static qn_status einsum_infer(qn_infer *c, qn_error *err)
{
    const int32_t n = c->node->n_in;
    int32_t ranks[QN_EINSUM_TERMS];
    qn_dim dim[QN_EINSUM_LABELS];
    qn_subscripts s;
    qn_status st = qn_move_need(c, n, err);

    if (st != QN_OK) return st;
    if (n > QN_EINSUM_TERMS)
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "%" PRId32 " operands are unsupported, at most %d", n, QN_EINSUM_TERMS);
    c->out[0].dtype = c->in[0].dtype;
    for (int32_t i = 0; i < n; i++) {
        if ((st = qn_move_need_dtype(c, i, EINSUM_TYPES, err)) != QN_OK) return st;
        if (c->in[i].dtype != c->in[0].dtype)
            return qn_error_set(err, QN_ERR_DTYPE, "operand %" PRId32 " is %s, operand 0 is %s", i, qn_dtype_name(c->in[i].dtype),
                                qn_dtype_name(c->in[0].dtype));
        if (c->in[i].rank < 0) return QN_OK;
        ranks[i] = c->in[i].rank;
    }
    if ((st = qn_subscripts_parse(equation_of(c->node), n, ranks, &s, err)) != QN_OK) return st;
    for (int32_t l = 0; l < QN_EINSUM_LABELS; l++) dim[l] = qn_dims_const(c->dims, 1);
    for (int32_t t = 0; t < n; t++)
        for (int32_t a = 0; a < s.rank[t]; a++)
            if (!qn_move_join(c, dim[s.label[t][a]], c->in[t].dims[a], false, &dim[s.label[t][a]]))
                return qn_error_set(err, QN_ERR_SHAPE, "axis %" PRId32 " of operand %" PRId32 " differs from another axis of its label", a,
                                    t);
    if ((st = qn_move_type(&c->out[0], c->in[0].dtype, s.out_rank, err)) != QN_OK) return st;
    for (int32_t a = 0; a < s.out_rank; a++) c->out[0].dims[a] = dim[s.out[a]];
    return QN_OK;
}

/* The rows have a label of their own: on every operand that carries them, nowhere else, and in the output. */
static void einsum_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int32_t ranks[QN_EINSUM_TERMS];
    int label = -1;
    qn_subscripts s;

    for (int32_t i = 0; i < c->node->n_in && i < QN_EINSUM_TERMS; i++) {
        ranks[i] = c->in[i].rank;
        if (ranks[i] < 0) return;
    }
    if (qn_subscripts_parse(equation_of(c->node), c->node->n_in, ranks, &s, NULL) != QN_OK) return;
    for (int32_t t = 0; t < s.n_terms; t++) {
        if (in_axis[t] < 0) continue;
        if (label >= 0 && s.label[t][in_axis[t]] != label) return;
        label = s.label[t][in_axis[t]];
    }
    for (int32_t t = 0; t < s.n_terms; t++)
        for (int32_t a = 0; a < s.rank[t]; a++)
            if (s.label[t][a] == label && a != in_axis[t]) return;
    for (int32_t a = 0; a < s.out_rank; a++)
        if (s.out[a] == label) out_axis[0] = a;
}

/* -- operands ------------------------------------------------------------------------------------------------------------- */

/* A tensor under way: axes by label, any strides. */
typedef struct operand {
    const void *data;
    int32_t n;
    uint8_t label[QN_MOVE_MAX_RANK];
    int64_t dim[QN_MOVE_MAX_RANK], stride[QN_MOVE_MAX_RANK];
} operand;

typedef struct einsum {
    const qn_run *run;
    qn_subscripts s;
    qn_dtype dtype; /* of the arithmetic: f32 for f16 and bf16 */
    size_t elem;
    int64_t dim[QN_EINSUM_LABELS];
    uint64_t later[QN_EINSUM_TERMS]; /* labels (bits) of the output and of operands after t */
    uint64_t work;                   /* multiply-adds met so far */
    qn_move_pieces p;
} einsum;

static bool counting(const einsum *e) { return e->p.mem == NULL; }

static uint64_t bit(uint8_t label) { return (uint64_t)1 << label; }

static qn_status read_dims(einsum *e, qn_error *err)
{
    uint64_t out = 0;

    for (int l = 0; l < QN_EINSUM_LABELS; l++) e->dim[l] = 1;
    for (int32_t t = 0; t < e->s.n_terms; t++) {
        for (int32_t a = 0; a < e->s.rank[t]; a++) {
            int64_t *d = &e->dim[e->s.label[t][a]], v = e->run->in[t].dims[a];

            if (*d != v && *d != 1 && v != 1)
                return qn_error_set(err, QN_ERR_SHAPE,
                                    "axis %" PRId32 " of operand %" PRId32 " has size %" PRId64 ", another axis of its label %" PRId64, a,
                                    t, v, *d);
            if (v != 1) *d = v;
        }
    }
    for (int32_t a = 0; a < e->s.out_rank; a++) out |= bit(e->s.out[a]);
    for (int32_t t = e->s.n_terms - 1; t >= 0; t--) {
        e->later[t] = out;
        for (int32_t a = 0; a < e->s.rank[t]; a++) out |= bit(e->s.label[t][a]);
    }
    return QN_OK;
}

/* Operand t: one axis for each label; repeated ones fall together, those of 1 where the label is longer go away. */
static void load(einsum *e, int32_t t, operand *o)
{
    const qn_tensor *x = &e->run->in[t];
    int64_t stride = 1, n = qn_tensor_count(x);

    *o = (operand){ .data = x->data };
    if (x->dtype != e->dtype) {
        float *wide = qn_move_piece(&e->p, n, sizeof *wide);

        for (int64_t i = 0; !counting(e) && i < n; i++) wide[i] = (float)qn_move_real(x, i);
        o->data = wide;
    }
    for (int32_t a = x->rank - 1; a >= 0; a--) {
        uint8_t l = e->s.label[t][a];
        int32_t k = 0;

        while (k < o->n && o->label[k] != l) k++;
        if (x->dims[a] == e->dim[l]) {
            if (k == o->n) {
                o->label[k] = l;
                o->dim[k] = e->dim[l];
                o->stride[k] = 0;
                o->n++;
            }
            o->stride[k] += stride;
        }
        if (!qn_i64_mul(stride, x->dims[a], &stride)) stride = 0; /* beside an empty axis only */
    }
    for (int32_t i = 0, j = o->n - 1; i < j; i++, j--) { /* outermost first again: copies then stream */
        operand r = *o;

        o->label[i] = r.label[j], o->dim[i] = r.dim[j], o->stride[i] = r.stride[j];
        o->label[j] = r.label[i], o->dim[j] = r.dim[i], o->stride[j] = r.stride[i];
    }
}

static uint64_t labels_of(const operand *o)
{
    uint64_t set = 0;

    for (int32_t i = 0; i < o->n; i++) set |= bit(o->label[i]);
    return set;
}

/* Append the axes of o whose labels are in `set` to `to`, in the order they have in `order` (o itself where that is NULL).
 * Returns their product; an overflow is a failed piece. */
static int64_t append(einsum *e, operand *to, const operand *o, const operand *order, uint64_t set)
{
    int64_t product = 1;

    for (int32_t i = 0; i < order->n; i++) {
        int32_t k = 0;

        if (!(set & bit(order->label[i]))) continue;
        while (k < o->n && o->label[k] != order->label[i]) k++;
        if (k == o->n) continue;
        if (to->n == QN_MOVE_MAX_RANK || !qn_i64_mul(product, o->dim[k], &product)) {
            e->p.failed = true;
            return 0;
        }
        to->label[to->n] = o->label[k];
        to->dim[to->n] = o->dim[k];
        to->stride[to->n++] = o->stride[k];
    }
    return product;
}

static bool is_dense(const operand *o)
{
    int64_t stride = 1;

    for (int32_t i = o->n - 1; i >= 0; i--) {
        if (o->dim[i] != 1 && o->stride[i] != stride) return false;
        if (!qn_i64_mul(stride, o->dim[i], &stride)) return false;
    }
    return true;
}

/* Make o dense in the order of its axes: into dst, or (NULL) a piece if it is not so already. */
static void densify(einsum *e, operand *o, void *dst)
{
    qn_move m = { .rank = o->n };
    int64_t count = 1;

    if (!dst && is_dense(o)) return;
    for (int32_t i = o->n - 1; i >= 0; i--) {
        m.dims[i] = o->dim[i];
        m.src[i] = o->stride[i];
        m.dst[i] = o->stride[i] = count;
        if (!qn_i64_mul(count, o->dim[i], &count)) {
            e->p.failed = true;
            return;
        }
    }
    if (!dst) dst = qn_move_piece(&e->p, count, e->elem);
    if (!counting(e)) qn_move_copy(&m, e->elem, o->data, dst, e->run->team);
    o->data = dst;
}

/* -- arithmetic ----------------------------------------------------------------------------------------------------------- */

#define SUM(type, wide)                                                                                                                    \
    for (int64_t i = 0; i < rows; i++) {                                                                                                   \
        wide sum = 0;                                                                                                                      \
        for (int64_t k = 0; k < n; k++) sum += (wide)((const type *)x)[i * n + k];                                                         \
        ((type *)y)[i] = (type)sum;                                                                                                        \
    }

/* y[rows] = sums of x[rows, n]. */
static void sum_rows(qn_dtype dtype, const void *x, void *y, int64_t rows, int64_t n)
{
    switch (dtype) {
    case QN_F32: SUM(float, float) break;
    case QN_F64: SUM(double, double) break;
    case QN_I32:
    case QN_U32: SUM(uint32_t, uint32_t) break; /* wraps */
    default: SUM(uint64_t, uint64_t) break;
    }
}

/* Sum the axes of o that are not in `keep`; o is then dense. */
static void sum_away(einsum *e, operand *o, uint64_t keep)
{
    operand order = *o, kept = { .data = o->data };
    int64_t rows = append(e, &kept, &order, &order, keep), n = append(e, &kept, &order, &order, ~keep);
    int32_t n_kept = 0;
    void *y;

    e->work = qn_cost_add(e->work, qn_cost_mul((uint64_t)rows, (uint64_t)n));
    densify(e, &kept, NULL);
    y = qn_move_piece(&e->p, rows, e->elem);
    if (!counting(e)) sum_rows(e->dtype, kept.data, y, rows, n);
    for (int32_t i = 0; i < kept.n; i++) n_kept += (keep & bit(kept.label[i])) != 0;
    kept.n = n_kept;
    kept.data = y;
    for (int32_t i = n_kept - 1, first = 1; i >= 0; i--, first = 0) kept.stride[i] = first ? 1 : kept.stride[i + 1] * kept.dim[i + 1];
    *o = kept;
}

/* c[batch, m, n] = a[batch, m, k] * b[batch, k, n], all dense. packed: room for one packed b (f32). */
static void multiply(const einsum *e, int64_t batch, int64_t m, int64_t n, int64_t k, const void *a, const void *b, void *c, float *packed)
{
    const qn_gemm_kernel *kernel = qn_gemm_pick(e->run->cpu);
    size_t bytes = 0;

    if (k == 0) {
        memset(c, 0, (size_t)(batch * m * n) * e->elem);
        return;
    }
    if (e->dtype == QN_F32) (void)qn_gemm_packed_bytes(k, n, &bytes);
    for (int64_t i = 0; i < batch; i++) {
        const char *ai = (const char *)a + (size_t)(i * m * k) * e->elem, *bi = (const char *)b + (size_t)(i * k * n) * e->elem;
        char *ci = (char *)c + (size_t)(i * m * n) * e->elem;

        if (e->dtype == QN_F32) {
            qn_gemm_args g = {
                .m = m, .n = n, .k = k, .a = (const float *)(const void *)ai, .lda = k, .b = packed, .c = (float *)(void *)ci, .ldc = n
            };

            memset(packed, 0, bytes);
            qn_gemm_pack(packed, k, n, 0, k, (const float *)(const void *)bi, n, 1);
            kernel->run(&g, e->run->team);
        } else {
            qn_naive g = { e->dtype, m, n, k, ai, bi, k, 1, n, 1, ci };

            qn_naive_run(&g, e->run->team);
        }
    }
}

/* o = o times x, keeping the labels in `keep`. dst: where the result goes if it comes out in the order of `want`, else NULL. */
static void contract(einsum *e, operand *o, operand *x, uint64_t keep, const operand *want, void *dst)
{
    uint64_t la = labels_of(o), lb = labels_of(x), both = la & lb;
    operand a = { 0 }, b = { 0 }, c = { 0 };
    int64_t batch, m, n, k, count = 0;
    size_t bytes = 0;
    float *packed = NULL;
    void *y;

    if (la & ~lb & ~keep) sum_away(e, o, keep | lb);
    if (lb & ~la & ~keep) sum_away(e, x, keep | la);
    a.data = o->data;
    b.data = x->data;
    batch = append(e, &a, o, o, both & keep);
    m = append(e, &a, o, o, la & ~both & keep);
    k = append(e, &a, o, o, both & ~keep);
    (void)append(e, &b, x, o, both & keep);
    (void)append(e, &b, x, o, both & ~keep);
    n = append(e, &b, x, x, lb & ~both & keep);
    (void)append(e, &c, o, o, both & keep);
    (void)append(e, &c, o, o, la & ~both & keep);
    (void)append(e, &c, x, x, lb & ~both & keep);
    if (!qn_i64_mul(m, n, &count) || !qn_i64_mul(batch, count, &count)) e->p.failed = true;
    if (e->dtype == QN_F32 && !qn_gemm_packed_bytes(k, n, &bytes)) e->p.failed = true;
    if (e->p.failed) return;
    e->work = qn_cost_add(e->work, qn_cost_mul((uint64_t)count, (uint64_t)k));
    densify(e, &a, NULL);
    densify(e, &b, NULL);
    packed = bytes ? qn_move_piece(&e->p, (int64_t)bytes, 1) : NULL;
    if (!dst || c.n != want->n || memcmp(c.label, want->label, (size_t)c.n) != 0)
        y = qn_move_piece(&e->p, count, e->elem);
    else
        y = dst;
    if (!counting(e) && count > 0) multiply(e, batch, m, n, k, a.data, b.data, y, packed);
    for (int32_t i = c.n - 1, first = 1; i >= 0; i--, first = 0) c.stride[i] = first ? 1 : c.stride[i + 1] * c.dim[i + 1];
    c.data = y;
    *o = c;
}

/* The output's axes in order, and then the elements: one walk that counts, one that computes. */
static void evaluate(einsum *e, void *dst)
{
    operand want = { 0 }, o, x, out = { 0 };
    int64_t count = 1;
    bool narrow = e->dtype != e->run->in[0].dtype;
    void *y = dst;

    e->p.at = 0;
    for (int32_t a = 0; a < e->s.out_rank; a++) {
        want.label[want.n] = e->s.out[a];
        want.dim[want.n] = e->dim[e->s.out[a]];
        if (!qn_i64_mul(count, want.dim[want.n++], &count)) e->p.failed = true;
    }
    if (narrow) y = qn_move_piece(&e->p, count, e->elem);
    load(e, 0, &o);
    for (int32_t t = 1; t < e->s.n_terms && !e->p.failed; t++) {
        load(e, t, &x);
        contract(e, &o, &x, e->later[t], &want, t == e->s.n_terms - 1 && !counting(e) ? y : NULL);
    }
    if (e->p.failed) return;
    if (labels_of(&o) & ~e->later[e->s.n_terms - 1]) sum_away(e, &o, e->later[e->s.n_terms - 1]);
    out.data = o.data;
    (void)append(e, &out, &o, &want, ~(uint64_t)0);
    if (counting(e)) return;
    if (out.data != y) densify(e, &out, y);
    for (int64_t i = 0; narrow && i < count; i++) {
        float v = ((const float *)y)[i];

        ((uint16_t *)dst)[i] = e->run->in[0].dtype == QN_F16 ? qn_f32_to_f16(v) : qn_f32_to_bf16(v);
    }
}

static qn_status einsum_start(const qn_run *r, einsum *e, qn_error *err)
{
    int32_t ranks[QN_EINSUM_TERMS];
    qn_status st;

    *e = (einsum){ .run = r };
    if (r->node->n_in > QN_EINSUM_TERMS)
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "%" PRId32 " operands are unsupported", r->node->n_in);
    for (int32_t t = 0; t < r->node->n_in; t++) ranks[t] = r->in[t].rank;
    e->dtype = r->in[0].dtype == QN_F16 || r->in[0].dtype == QN_BF16 ? QN_F32 : r->in[0].dtype;
    e->elem = qn_dtype_size(e->dtype);
    if ((st = qn_subscripts_parse(equation_of(r->node), r->node->n_in, ranks, &e->s, err)) != QN_OK) return st;
    return read_dims(e, err);
}

static qn_status count_work(einsum *e, qn_error *err)
{
    evaluate(e, NULL);
    return e->p.failed ? qn_error_set(err, QN_ERR_LIMIT, "an intermediate result is too large") : QN_OK;
}

static qn_status einsum_run(qn_run *r, qn_error *err)
{
    einsum e;
    int64_t dims[QN_MAX_RANK] = { 0 };
    qn_move_work work;
    qn_status st = einsum_start(r, &e, err);

    if (st != QN_OK) return st;
    for (int32_t a = 0; a < e.s.out_rank; a++) dims[a] = e.dim[e.s.out[a]];
    if ((st = qn_move_output(r, 0, r->in[0].dtype, e.s.out_rank, dims, err)) != QN_OK) return st;
    if (qn_tensor_count(&r->out[0]) == 0) return QN_OK;
    if ((st = count_work(&e, err)) != QN_OK || (st = qn_move_work_begin(r, e.p.at + 1, &work, err)) != QN_OK) return st;
    e.p.mem = work.mem;
    evaluate(&e, r->out[0].data);
    qn_move_work_end(&work);
    return QN_OK;
}

static qn_status einsum_lower(qn_lower *lo, qn_error *err)
{
    qn_run run = { .node = lo->node, .in = lo->in, .cpu = lo->cpu };
    einsum e;

    for (int32_t t = 0; t < lo->node->n_in; t++)
        if (lo->in[t].rank < 0) return QN_OK;
    if (einsum_start(&run, &e, NULL) != QN_OK || count_work(&e, NULL) != QN_OK) return QN_OK; /* the run will say it */
    if (e.dtype == QN_F32) lo->kernel = qn_gemm_pick(lo->cpu)->name;
    return qn_move_lower_work(lo, e.p.at + 1, err);
}

/* What the contractions take, one after the other, and the elements of operands and output. */
static uint64_t einsum_cost(const qn_node *n, const qn_tensor *in, const qn_tensor *out)
{
    qn_run run = { .node = n, .in = in };
    uint64_t moved = qn_cost_elements(&out[0]);
    einsum e;

    for (int32_t t = 0; t < n->n_in; t++) {
        const uint64_t elems = qn_cost_elements(&in[t]);

        if (in[t].rank < 0) return 0;
        if (elems > INT64_MAX) return QN_COST_MAX; /* no tensor: the walk below counts in int64 */
        moved = qn_cost_add(moved, elems);
    }
    if (einsum_start(&run, &e, NULL) != QN_OK) return 0; /* the run will say why */
    return count_work(&e, NULL) == QN_OK ? qn_cost_add(moved, e.work) : QN_COST_MAX;
}

const qn_op qn_op_einsum = {
    .name = "Einsum",
    .since = 12,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_VARIADIC,
    .infer = einsum_infer,
    .rows = einsum_rows,
    .lower = einsum_lower,
    .run = einsum_run,
    .cost = einsum_cost,
    .kernels = "gemm",
};
