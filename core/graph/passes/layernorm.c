/* core/graph/passes/layernorm.c - the nine nodes in which exporters write LayerNormalization become one.
 *
 *   mean = ReduceMean(x)   d = Sub(x, mean)   var = ReduceMean(Pow(d, 2) or Mul(d, d))
 *   y = Div(d, Sqrt(Add(var, eps))) * gamma [+ beta]
 *
 * over the last k axes, gamma and beta constants of just those dimensions. Some exporters write d twice. */
#include "core/graph/passes/rewrite.h"

#include <string.h>

typedef struct found {
    qn_value_id x, gamma, beta, out;
    int32_t k; /* axes normalised over, the last ones */
    float epsilon;
} found;

/* v = ReduceMean(of) over the last *k axes, keepdims; *k 0: any. */
static bool mean_of_last(const qn_pass *p, qn_value_id v, qn_value_id *of, int32_t *k)
{
    qn_node_id id = qn_pass_producer(p, v, "ReduceMean");
    const qn_node *n;
    const int64_t *attr;
    int64_t axes[QN_MAX_RANK], len;
    int32_t count = 0, rank;
    unsigned seen = 0;

    if (id == QN_NONE) return false;
    n = &p->g->nodes[id];
    *of = qn_node_in(n, 0);
    rank = qn_pass_type(p, *of)->rank;
    attr = qn_node_ints(n, "axes", &len);
    if (attr && len <= QN_MAX_RANK) {
        count = (int32_t)len;
        memcpy(axes, attr, (size_t)len * sizeof *axes);
    } else if (!qn_pass_ints(p, qn_node_in(n, 1), axes, QN_MAX_RANK, &count)) {
        return false;
    }
    if (qn_node_int(n, "keepdims", 1) != 1 || count < 1 || rank < count || (*k && *k != count)) return false;
    for (int32_t i = 0; i < count; i++) {
        int64_t a = axes[i] < 0 ? axes[i] + rank : axes[i];

        if (a < rank - count || a >= rank) return false;
        seen |= 1u << a;
    }
    *k = count;
    return (int32_t)__builtin_popcount(seen) == count;
}

/* v = Sub(x, ReduceMean(x)) */
static bool centred(const qn_pass *p, qn_value_id v, qn_value_id *x, int32_t *k)
{
    qn_node_id id = qn_pass_producer(p, v, "Sub");
    qn_value_id of;

    if (id == QN_NONE) return false;
    *x = p->g->nodes[id].in[0];
    return mean_of_last(p, p->g->nodes[id].in[1], &of, k) && of == *x;
}

/* v = d^2 where d is x centred */
static bool squared(const qn_pass *p, qn_value_id v, qn_value_id x, int32_t *k)
{
    qn_node_id pow_id = qn_pass_producer(p, v, "Pow"), mul_id = qn_pass_producer(p, v, "Mul");
    qn_value_id x2, d;
    float two;

    if (pow_id != QN_NONE) {
        d = p->g->nodes[pow_id].in[0];
        if (!qn_pass_scalar(p, p->g->nodes[pow_id].in[1], &two) || two != 2.0f) return false;
    } else if (mul_id != QN_NONE && p->g->nodes[mul_id].in[0] == p->g->nodes[mul_id].in[1]) {
        d = p->g->nodes[mul_id].in[0];
    } else {
        return false;
    }
    return centred(p, d, &x2, k) && x2 == x;
}

/* v = Sqrt(ReduceMean(d^2) + eps) */
static bool deviation(const qn_pass *p, qn_value_id v, found *f)
{
    qn_node_id id = qn_pass_producer(p, v, "Sqrt");
    qn_value_id var, sq;

    if (id == QN_NONE) return false;
    id = qn_pass_producer(p, p->g->nodes[id].in[0], "Add");
    if (id == QN_NONE) return false;
    var = p->g->nodes[id].in[0];
    if (!qn_pass_scalar(p, p->g->nodes[id].in[1], &f->epsilon)) {
        var = p->g->nodes[id].in[1];
        if (!qn_pass_scalar(p, p->g->nodes[id].in[0], &f->epsilon)) return false;
    }
    return mean_of_last(p, var, &sq, &f->k) && squared(p, sq, f->x, &f->k);
}

/* A constant with exactly the last k dimensions of x. */
static bool fits_last(const qn_pass *p, qn_value_id w, const found *f)
{
    int32_t rank = qn_pass_type(p, f->x)->rank;

    if (!qn_pass_weight(p, w) || qn_pass_type(p, w)->rank != f->k) return false;
    for (int32_t d = 0; d < f->k; d++)
        if (qn_pass_dim(p, w, d) < 0 || qn_pass_dim(p, w, d) != qn_pass_dim(p, f->x, rank - f->k + d)) return false;
    return true;
}

/* The only reader of v, if it is `op` with a fitting constant on the other side. */
static bool then(qn_pass *p, qn_value_id v, const char *op, const found *f, qn_value_id *w, qn_value_id *out)
{
    qn_node_id id = qn_uses_only(&p->uses, p->g, v);
    const qn_node *n;

    if (id == QN_NONE || !qn_pass_is(&p->g->nodes[id], op)) return false;
    n = &p->g->nodes[id];
    *w = n->in[0] == v ? n->in[1] : n->in[0];
    *out = n->out[0];
    return fits_last(p, *w, f);
}

static bool match(qn_pass *p, const qn_node *div, found *f)
{
    qn_value_id w, out;

    *f = (found){ .x = QN_NONE, .beta = QN_NONE };
    if (!qn_pass_is(div, "Div") || !centred(p, div->in[0], &f->x, &f->k) || !deviation(p, div->in[1], f)) return false;
    if (qn_pass_type(p, f->x)->dtype != QN_F32 || !then(p, div->out[0], "Mul", f, &f->gamma, &f->out)) return false;
    if (then(p, f->out, "Add", f, &w, &out)) {
        f->beta = w;
        f->out = out;
    }
    return true;
}

qn_status qn_pass_layernorm(qn_pass *p, qn_error *err)
{
    qn_status st = QN_OK;

    for (int32_t i = 0; i < p->g->n_order && st == QN_OK; i++) {
        found f;
        bool done;
        qn_attr attrs[2] = { { .name = "axis", .type = QN_ATTR_INT }, { .name = "epsilon", .type = QN_ATTR_FLOAT } };
        qn_value_id in[3];
        qn_patch patch = { .domain = "", .op_type = "LayerNormalization", .opset = 17, .in = in, .attrs = attrs, .n_attrs = 2 };

        if (!match(p, &p->g->nodes[p->g->order[i]], &f)) continue;
        attrs[0].i = -f.k;
        attrs[1].f = f.epsilon;
        in[0] = f.x;
        in[1] = f.gamma;
        in[2] = f.beta;
        patch.n_in = f.beta == QN_NONE ? 2 : 3;
        patch.out = f.out;
        st = qn_pass_patch(p, &patch, &done, err);
    }
    return st;
}
