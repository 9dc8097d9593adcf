/* core/ops/unique.c - Unique: each different element (or slice of `axis`) once.
 * Spec   ONNX Unique 11 on: Y, indices of first occurrences, inverse_indices (X = Y[inverse]), counts. sorted = 1 (default): ascending;
 *        0: in the order they first occur. Slices compare element by element in row-major order. All NaN are one value.
 * A merge sort of places: stable, so the first place of a run of equal ones is the first occurrence. */
#include "core/ops/move.h"

#include "core/base/checked.h"
#include "core/kernels/move/key.h"
#include "core/tensor/strings.h"

#include <inttypes.h>
#include <string.h>

typedef struct slices {
    const qn_tensor *x;
    int32_t axis; /* -1: elements of the flattened tensor */
    int64_t outer, n, inner;
} slices;

static qn_status unique_infer(qn_infer *c, qn_error *err)
{
    const bool flat = !qn_node_attr(c->node, "axis");
    int32_t axis = 0;
    qn_status st = qn_move_need(c, 1, err);

    if (st != QN_OK) return st;
    qn_move_like(c, 0, &c->out[0]);
    for (int32_t i = 1; i < c->node->n_out; i++)
        if ((st = qn_move_type(&c->out[i], QN_I64, 1, err)) != QN_OK) return st;
    if (flat) {
        c->out[0].rank = 1;
        return QN_OK;
    }
    if (c->in[0].rank < 0) return QN_OK;
    if ((st = qn_move_axis(qn_node_int(c->node, "axis", 0), c->in[0].rank, &axis, err)) != QN_OK) return st;
    for (int32_t a = 0; a < c->in[0].rank; a++) c->out[0].dims[a] = a == axis ? QN_DIM_UNKNOWN : c->in[0].dims[a];
    if (c->node->n_out > 2) c->out[2].dims[0] = c->in[0].dims[axis];
    return QN_OK;
}

static qn_status view(const qn_run *r, slices *s, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    qn_status st;

    *s = (slices){ x, -1, 1, qn_tensor_count(x), 1 };
    if (!qn_node_attr(r->node, "axis")) return QN_OK;
    if ((st = qn_move_axis(qn_node_int(r->node, "axis", 0), x->rank, &s->axis, err)) != QN_OK) return st;
    s->outer = qn_move_span(x->dims, 0, s->axis);
    s->n = x->dims[s->axis];
    s->inner = qn_move_span(x->dims, s->axis + 1, x->rank);
    return QN_OK;
}

static int compare_elements(const qn_tensor *x, int64_t a, int64_t b)
{
    uint64_t ka, kb;

    if (x->dtype == QN_STRING) {
        size_t la, lb;
        const char *sa = qn_strings_get(x, a, &la), *sb = qn_strings_get(x, b, &lb);
        int c = la && lb ? memcmp(sa, sb, la < lb ? la : lb) : 0;

        return c ? c : (la > lb) - (la < lb);
    }
    ka = qn_move_key(x->dtype, x->data, a);
    kb = qn_move_key(x->dtype, x->data, b);
    return (ka > kb) - (ka < kb);
}

static int compare(const slices *s, int64_t a, int64_t b)
{
    for (int64_t o = 0; o < s->outer; o++) {
        for (int64_t i = 0; i < s->inner; i++) {
            int c = compare_elements(s->x, (o * s->n + a) * s->inner + i, (o * s->n + b) * s->inner + i);

            if (c) return c;
        }
    }
    return 0;
}

/* places[n] in ascending order of their slices; tmp[n]. Bottom up, so there is no depth. */
static void sort(const slices *s, int64_t *places, int64_t *tmp)
{
    int64_t *from = places, *to = tmp;

    for (int64_t i = 0; i < s->n; i++) places[i] = i;
    for (int64_t width = 1; width < s->n; width *= 2) {
        for (int64_t lo = 0; lo < s->n; lo += 2 * width) {
            int64_t mid = lo + width < s->n ? lo + width : s->n, hi = lo + 2 * width < s->n ? lo + 2 * width : s->n;

            for (int64_t a = lo, b = mid, k = lo; k < hi; k++)
                to[k] = a < mid && (b >= hi || compare(s, from[a], from[b]) <= 0) ? from[a++] : from[b++];
        }
        int64_t *swap = from;

        from = to;
        to = swap;
    }
    if (from != places) memcpy(places, from, (size_t)s->n * sizeof *places);
}

/* What the sort found: for group g its first place and count, for each place its group. All [n]. */
typedef struct groups {
    int64_t n, *first, *count, *of;
} groups;

static void group(const slices *s, const int64_t *places, groups *g)
{
    g->n = 0;
    for (int64_t i = 0; i < s->n; i++) {
        if (i == 0 || compare(s, places[i - 1], places[i]) != 0) {
            g->first[g->n] = places[i];
            g->count[g->n++] = 0;
        }
        g->count[g->n - 1]++;
        g->of[places[i]] = g->n - 1;
    }
}

/* Number the groups by first occurrence instead: walk the places, the first of a group opens the next one. old[], tmp[]: [n]. */
static void order_by_place(const slices *s, groups *g, int64_t *number, int64_t *tmp)
{
    int64_t next = 0;

    memcpy(tmp, g->count, (size_t)g->n * sizeof *tmp);
    for (int64_t i = 0; i < g->n; i++) number[i] = -1;
    for (int64_t p = 0; p < s->n; p++) {
        int64_t old = g->of[p];

        if (number[old] < 0) {
            number[old] = next;
            g->first[next] = p;
            g->count[next++] = tmp[old];
        }
        g->of[p] = number[old];
    }
}

static qn_status write_strings(qn_run *r, const slices *s, const groups *g, int32_t rank, const int64_t *dims, qn_error *err)
{
    const int64_t total = s->outer * g->n * s->inner;
    size_t text = 0, len, bytes;
    uint64_t *off;
    qn_status st;

#define SOURCE(e) (((e) / s->inner / g->n * s->n + g->first[(e) / s->inner % g->n]) * s->inner + (e) % s->inner)
    for (int64_t e = 0; e < total; e++) {
        (void)qn_strings_get(s->x, SOURCE(e), &len);
        text += len; /* at most what the input holds */
    }
    if (!qn_strings_bytes(total, text, &bytes)) return qn_error_set(err, QN_ERR_LIMIT, "strings of output 0");
    if ((st = qn_run_output(r, 0, QN_STRING, rank, dims, bytes, err)) != QN_OK) return st;
    off = qn_strings_offsets(&r->out[0]);
    off[0] = 0;
    for (int64_t e = 0; e < total; e++) {
        const char *from = qn_strings_get(s->x, SOURCE(e), &len);

        if (len) memcpy(qn_strings_blob(&r->out[0]) + off[e], from, len);
        off[e + 1] = off[e] + len;
    }
#undef SOURCE
    return QN_OK;
}

static qn_status write_values(qn_run *r, const slices *s, const groups *g, qn_error *err)
{
    const qn_tensor *x = s->x;
    int64_t dims[QN_MAX_RANK] = { 0 };
    int32_t rank = s->axis < 0 ? 1 : x->rank;
    qn_status st;

    if (!qn_move_wants(r, 0)) return QN_OK;
    if (s->axis >= 0) memcpy(dims, x->dims, sizeof dims);
    dims[s->axis < 0 ? 0 : s->axis] = g->n;
    if (x->dtype == QN_STRING) return write_strings(r, s, g, rank, dims, err);
    if ((st = qn_move_output(r, 0, x->dtype, rank, dims, err)) != QN_OK) return st;
    qn_move_gather(x->data, r->out[0].data, s->outer, s->n, (size_t)s->inner * qn_dtype_size(x->dtype), (qn_move_index){ g->first, true },
                   g->n, r->team);
    return QN_OK;
}

static qn_status write_list(qn_run *r, int32_t i, const int64_t *v, int64_t n, qn_error *err)
{
    qn_status st;

    if (!qn_move_wants(r, i)) return QN_OK;
    if ((st = qn_move_output(r, i, QN_I64, 1, &n, err)) != QN_OK) return st;
    if (n) memcpy(r->out[i].data, v, (size_t)n * sizeof *v);
    return QN_OK;
}

static qn_status unique_run(qn_run *r, qn_error *err)
{
    slices s;
    groups g;
    qn_move_work work;
    size_t bytes;
    int64_t *places, *tmp;
    qn_status st = view(r, &s, err);

    if (st != QN_OK) return st;
    if (!qn_size_mul((size_t)s.n, 5 * sizeof(int64_t), &bytes)) return qn_error_set(err, QN_ERR_LIMIT, "%" PRId64 " elements to sort", s.n);
    if ((st = qn_move_work_begin(r, bytes, &work, err)) != QN_OK) return st;
    places = work.mem;
    tmp = places + s.n;
    g = (groups){ 0, tmp + s.n, tmp + 2 * s.n, tmp + 3 * s.n };
    sort(&s, places, tmp);
    group(&s, places, &g);
    if (qn_node_int(r->node, "sorted", 1) == 0) order_by_place(&s, &g, places, tmp);
    st = write_values(r, &s, &g, err);
    if (st == QN_OK) st = write_list(r, 1, g.first, g.n, err);
    if (st == QN_OK) st = write_list(r, 2, g.of, s.n, err);
    if (st == QN_OK) st = write_list(r, 3, g.count, g.n, err);
    qn_move_work_end(&work);
    return st;
}

const qn_op qn_op_unique = {
    .name = "Unique",
    .since = 11,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 4,
    .infer = unique_infer,
    .run = unique_run,
    .kernels = "move",
};
