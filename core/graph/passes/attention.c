/* core/graph/passes/attention.c - attention as exporters write it becomes quern.Attention (core/ops/attention.c).
 *
 *   S = MatMul(Q, K')   [S = S * c or S / c]   [S = Where(condition, S, c) or Where(condition, c, S)]   [S = S + mask]
 *   O = MatMul(Softmax(S), V)
 *
 * Transposes of Q, K', V and O, which split and join heads, become permutations that the op reads and writes through. Only f32; every value
 * between must have one reader; operands that were just dequantized are left to the integer kernels. */
#include "core/graph/passes/rewrite.h"

#include <string.h>

typedef struct found {
    qn_value_id q, k, v, mask, condition, out;
    qn_value_id scores;           /* Q K' */
    int64_t perm[4][QN_MAX_RANK]; /* q, k, v, out */
    int32_t rank;
    bool scaled, divide, filled, keep;
    float scale, fill;
} found;

enum { OF_Q, OF_K, OF_V, OF_OUT };

static qn_node_id only(qn_pass *p, qn_value_id v, const char *op)
{
    qn_node_id id = qn_uses_only(&p->uses, p->g, v);

    return id != QN_NONE && qn_pass_is(&p->g->nodes[id], op) ? id : QN_NONE;
}

/* The node that gives v, if it is `op` and v has no other reader. */
static qn_node_id alone(qn_pass *p, qn_value_id v, const char *op)
{
    return qn_uses_only(&p->uses, p->g, v) == QN_NONE ? QN_NONE : qn_pass_producer(p, v, op);
}

static bool read_perm(const qn_pass *p, qn_node_id id, int32_t rank, int64_t *perm)
{
    int64_t len;
    const int64_t *attr = qn_node_ints(&p->g->nodes[id], "perm", &len);
    uint32_t seen = 0;

    if (attr && len != rank) return false;
    for (int32_t i = 0; i < rank; i++) {
        perm[i] = attr ? attr[i] : rank - 1 - i;
        if (perm[i] < 0 || perm[i] >= rank || seen & 1u << perm[i]) return false;
        seen |= 1u << perm[i];
    }
    return true;
}

/* Of the same known rank: what differs in size is broadcast by the op as it was by the nodes. */
static bool same_rank(const qn_pass *p, qn_value_id v, int32_t rank) { return qn_pass_type(p, v)->rank == rank; }

/* v = Transpose(.. Transpose(*from)); perm: axis i of v is axis perm[i] of *from. */
static void through_transposes(const qn_pass *p, qn_value_id v, int32_t rank, qn_value_id *from, int64_t *perm)
{
    for (int32_t i = 0; i < rank; i++) perm[i] = i;
    for (*from = v;;) {
        qn_node_id id = qn_pass_producer(p, *from, "Transpose");
        int64_t step[QN_MAX_RANK];

        if (id == QN_NONE || qn_node_in(&p->g->nodes[id], 0) == QN_NONE || !read_perm(p, id, rank, step)) return;
        for (int32_t i = 0; i < rank; i++) perm[i] = step[perm[i]];
        *from = p->g->nodes[id].in[0];
    }
}

/* S = T * c or T / c */
static void scale(qn_pass *p, qn_value_id *s, found *f)
{
    qn_node_id mul = alone(p, *s, "Mul"), div = alone(p, *s, "Div");

    if (div != QN_NONE && qn_pass_scalar(p, p->g->nodes[div].in[1], &f->scale) && qn_pass_type(p, p->g->nodes[div].in[1])->rank == 0) {
        f->scaled = f->divide = true;
        *s = p->g->nodes[div].in[0];
        return;
    }
    for (int32_t i = 0; i < 2 && mul != QN_NONE; i++) {
        if (!qn_pass_scalar(p, p->g->nodes[mul].in[i], &f->scale) || qn_pass_type(p, p->g->nodes[mul].in[i])->rank > 1) continue;
        f->scaled = true;
        *s = p->g->nodes[mul].in[1 - i];
        return;
    }
}

/* S = Where(condition, T, c) or Where(condition, c, T) */
static void where(qn_pass *p, qn_value_id *s, found *f)
{
    qn_node_id id = alone(p, *s, "Where");
    const qn_node *n;

    for (int32_t i = 1; i < 3 && id != QN_NONE; i++) {
        n = &p->g->nodes[id];
        if (!qn_pass_scalar(p, n->in[3 - i], &f->fill) || qn_pass_type(p, n->in[3 - i])->rank > 1) continue;
        f->filled = true;
        f->keep = i == 1;
        f->condition = n->in[0];
        *s = n->in[i];
        return;
    }
}

/* Is v what the pattern makes scores of: MatMul, scaled and filled at will? */
static bool scores(qn_pass *p, qn_value_id v, found *f)
{
    qn_node_id id;
    qn_value_id s = v, kt;
    int64_t perm[QN_MAX_RANK], last;

    f->scaled = f->divide = f->filled = false;
    f->condition = QN_NONE;
    where(p, &s, f);
    scale(p, &s, f);
    id = alone(p, s, "MatMul");
    if (id == QN_NONE) return false;
    f->rank = qn_pass_type(p, s)->rank;
    if (f->rank < 3 || qn_pass_type(p, s)->dtype != QN_F32 || !same_rank(p, v, f->rank)) return false;
    kt = p->g->nodes[id].in[1];
    if (!same_rank(p, p->g->nodes[id].in[0], f->rank) || !same_rank(p, kt, f->rank)) return false;
    through_transposes(p, p->g->nodes[id].in[0], f->rank, &f->q, f->perm[OF_Q]);
    through_transposes(p, kt, f->rank, &f->k, perm); /* K' is [.., depth, rows] */
    memcpy(f->perm[OF_K], perm, sizeof perm);
    last = f->perm[OF_K][f->rank - 1];
    f->perm[OF_K][f->rank - 1] = f->perm[OF_K][f->rank - 2];
    f->perm[OF_K][f->rank - 2] = last;
    return true;
}

/* A mask may be added on either side; the scores are the operand that looks like them. */
static bool masked_scores(qn_pass *p, qn_value_id v, found *f)
{
    qn_node_id id = alone(p, v, "Add");

    f->mask = QN_NONE;
    if (scores(p, v, f)) return true;
    for (int32_t i = 0; i < 2 && id != QN_NONE; i++) {
        const qn_value_id mask = p->g->nodes[id].in[1 - i];

        if (!scores(p, p->g->nodes[id].in[i], f) || !same_rank(p, v, f->rank) || qn_pass_type(p, mask)->rank < 0) continue;
        f->mask = mask;
        return true;
    }
    return false;
}

static bool dequantized(const qn_pass *p, qn_value_id v) { return qn_pass_producer(p, v, "DequantizeLinear") != QN_NONE; }

static bool match(qn_pass *p, qn_node_id softmax, found *f)
{
    const qn_node *n = &p->g->nodes[softmax];
    const int32_t rank = qn_pass_is(n, "Softmax") ? qn_pass_type(p, n->in[0])->rank : -1;
    const int64_t axis = qn_node_int(n, "axis", -1);
    qn_node_id product, turn;

    if (rank < 3 || n->opset < 13 || (axis != -1 && axis != rank - 1)) return false;
    if (qn_pass_type(p, n->in[0])->dtype != QN_F32 || !masked_scores(p, n->in[0], f) || f->rank != rank) return false;
    product = only(p, n->out[0], "MatMul");
    if (product == QN_NONE || p->g->nodes[product].in[0] != n->out[0]) return false;
    if (!same_rank(p, p->g->nodes[product].in[1], rank)) return false;
    through_transposes(p, p->g->nodes[product].in[1], rank, &f->v, f->perm[OF_V]);
    f->out = p->g->nodes[product].out[0];
    for (int32_t i = 0; i < rank; i++) f->perm[OF_OUT][i] = i;
    turn = only(p, f->out, "Transpose");
    if (turn != QN_NONE && read_perm(p, turn, rank, f->perm[OF_OUT])) f->out = p->g->nodes[turn].out[0];
    return !dequantized(p, f->q) && !dequantized(p, f->k) && !dequantized(p, f->v);
}

static void add_perm(qn_attr *attrs, int32_t *n, const char *name, found *f, int32_t which)
{
    bool moved = false;

    for (int32_t i = 0; i < f->rank; i++) moved |= f->perm[which][i] != i;
    if (moved) attrs[(*n)++] = (qn_attr){ .name = name, .type = QN_ATTR_INTS, .n = f->rank, .ints = f->perm[which] };
}

static qn_status put(qn_pass *p, found *f, bool *done, qn_error *err)
{
    const qn_value_id in[] = { f->q, f->k, f->v, f->mask, f->condition };
    qn_attr attrs[8];
    qn_patch patch = { .domain = "quern", .op_type = "Attention", .opset = 1, .in = in, .attrs = attrs, .out = f->out };

    patch.n_in = f->condition != QN_NONE ? 5 : f->mask != QN_NONE ? 4 : 3;
    add_perm(attrs, &patch.n_attrs, "q_perm", f, OF_Q);
    add_perm(attrs, &patch.n_attrs, "k_perm", f, OF_K);
    add_perm(attrs, &patch.n_attrs, "v_perm", f, OF_V);
    add_perm(attrs, &patch.n_attrs, "out_perm", f, OF_OUT);
    if (f->scaled) attrs[patch.n_attrs++] = (qn_attr){ .name = f->divide ? "divide" : "scale", .type = QN_ATTR_FLOAT, .f = f->scale };
    if (f->filled) {
        attrs[patch.n_attrs++] = (qn_attr){ .name = "fill", .type = QN_ATTR_FLOAT, .f = f->fill };
        attrs[patch.n_attrs++] = (qn_attr){ .name = "keep", .type = QN_ATTR_INT, .i = f->keep };
    }
    return qn_pass_patch(p, &patch, done, err);
}

qn_status qn_pass_attention(qn_pass *p, qn_error *err)
{
    const int32_t n_order = p->g->n_order;
    qn_status st = QN_OK;

    for (int32_t i = 0; i < n_order && st == QN_OK; i++) {
        found f;
        bool done;

        if (match(p, p->g->order[i], &f)) st = put(p, &f, &done, err);
    }
    return st;
}
