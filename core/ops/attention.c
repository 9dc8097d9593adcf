/* core/ops/attention.c - quern.Attention: softmax(scale(Q K') + mask) V, what passes/attention.c makes of the nodes that exporters write.
 * Inputs Q, K, V of one rank >= 3, seen through a permutation each (q_perm, k_perm, v_perm, as Transpose has them) as [batch.., m, d],
 *        [batch.., n, d], [batch.., n, e]; then, each may be left out, an f32 mask that is added and a bool condition. Sizes that differ are
 *        broadcast as MatMul, Add and Where do it: all batches with each other, masks with [batch.., m, n].
 * Attrs  scale, divide: S = S * scale, or S / scale; neither attribute given: S as it is. fill, keep: where the condition is not `keep`, S
 *        becomes `fill`, before the mask is added. out_perm: the output is [batch.., m, e] transposed by it.
 * Value  f32. The same roundings in the same order as the nodes it stands for, with the kernels they would have run on: the same bits.
 * Memory S is never whole: a tile of its rows, ROWS at most, is made, scaled, masked, normalised and multiplied while it is in the cache. K
 *        and V are packed once for each of the batch, into scratch. */
#include "core/base/checked.h"
#include "core/graph/cost.h"
#include "core/kernels/eltwise/eltwise.h"
#include "core/kernels/gemm/gemm.h"
#include "core/kernels/softmax/softmax.h"
#include "core/ops/axes.h"
#include "core/ops/elem.h"
#include "core/ops/linear.h"
#include "core/tensor/shape.h"

#include <inttypes.h>
#include <string.h>

enum { Q, K, V, MASK, CONDITION };
enum { ROWS = 56, TILE_ELEMS = 64 * 1024 }; /* rows: a multiple of what gemm kernels hold; elements: S of one thread */

/* -- shapes --------------------------------------------------------------------------------------------------------------- */

/* Attribute `name` as a permutation of `rank` axes; left out: as they are. */
static qn_status permutation(const qn_node *n, const char *name, int32_t rank, int32_t *perm, qn_error *err)
{
    int64_t len;
    const int64_t *p = qn_node_ints(n, name, &len);
    uint32_t seen = 0;

    for (int32_t i = 0; i < rank; i++) perm[i] = i;
    if (!p) return QN_OK;
    if (len != rank) return qn_error_set(err, QN_ERR_INVALID, "%s has %" PRId64 " axes, rank %d", name, len, (int)rank);
    for (int32_t i = 0; i < rank; i++) {
        if (p[i] < 0 || p[i] >= rank || seen & 1u << p[i]) return qn_error_set(err, QN_ERR_INVALID, "%s is no permutation", name);
        seen |= 1u << p[i];
        perm[i] = (int32_t)p[i];
    }
    return QN_OK;
}

static const char *const perm_names[] = { "q_perm", "k_perm", "v_perm" };

/* Sizes of S into *s, from those of Q and K' and the masks; of every size in between only what the rank says is used. */
static qn_status scores_infer(const qn_infer *c, const qn_dim (*dims)[QN_MAX_RANK], int32_t rank, qn_type *s, qn_error *err)
{
    qn_type other;
    qn_status st;

    *s = c->in[Q];
    memcpy(s->dims, dims[Q], sizeof s->dims);
    s->dims[rank - 1] = dims[K][rank - 2];
    other = *s;
    for (int32_t d = 0; d < rank - 2; d++) other.dims[d] = dims[K][d];
    st = qn_infer_broadcast(c, s, &other, s, err);
    for (int32_t i = MASK; i <= CONDITION && st == QN_OK; i++) {
        if (!qn_infer_has(c, i)) continue;
        if (c->in[i].rank < 0 || c->in[i].rank > rank)
            return qn_error_set(err, QN_ERR_SHAPE, "input %d has rank %d, the scores %d", (int)i, (int)c->in[i].rank, (int)rank);
        other = c->in[i];
        other.dtype = QN_F32;
        st = qn_infer_broadcast(c, s, &other, s, err);
    }
    return st;
}

static qn_status attention_infer(qn_infer *c, qn_error *err)
{
    qn_dim dims[3][QN_MAX_RANK] = { 0 }, out[QN_MAX_RANK];
    int32_t perm[QN_MAX_RANK], rank = c->in[Q].rank;
    qn_type s, v;
    qn_status st = qn_linear_need(c, 3, err);

    for (int32_t i = 0; i < 3 && st == QN_OK; i++) {
        st = qn_linear_dtype(c, i, 1u << QN_F32, err);
        if (st == QN_OK && (c->in[i].rank != rank || rank < 3))
            st = qn_error_set(err, QN_ERR_SHAPE, "input %d has rank %d, Q %d: expected the same, 3 or more", (int)i, (int)c->in[i].rank,
                              (int)rank);
        if (st == QN_OK) st = permutation(c->node, perm_names[i], rank, perm, err);
        for (int32_t d = 0; d < rank && st == QN_OK; d++) dims[i][d] = c->in[i].dims[perm[d]];
    }
    if (st == QN_OK && qn_infer_has(c, MASK)) st = qn_linear_dtype(c, MASK, 1u << QN_F32, err);
    if (st == QN_OK && qn_infer_has(c, CONDITION)) st = qn_linear_dtype(c, CONDITION, 1u << QN_BOOL, err);
    if (st != QN_OK) return st;
    if (qn_linear_differ(c, dims[Q][rank - 1], dims[K][rank - 1])) return qn_error_set(err, QN_ERR_SHAPE, "the depths of Q and K differ");
    st = scores_infer(c, (const qn_dim(*)[QN_MAX_RANK])dims, rank, &s, err);
    if (st != QN_OK) return st;
    if (qn_linear_differ(c, s.dims[rank - 1], dims[V][rank - 2])) return qn_error_set(err, QN_ERR_SHAPE, "the rows of K and V differ");
    v = s;
    memcpy(v.dims, dims[V], sizeof v.dims);
    v.dims[rank - 2] = s.dims[rank - 2];
    s.dims[rank - 1] = dims[V][rank - 1];
    st = qn_infer_broadcast(c, &s, &v, &s, err);
    if (st == QN_OK) st = permutation(c->node, "out_perm", rank, perm, err);
    if (st != QN_OK) return st;
    for (int32_t d = 0; d < rank; d++) out[d] = s.dims[perm[d]];
    qn_linear_output(c, QN_F32, rank, out);
    return QN_OK;
}

/* Every operand carries the batch in the same batch axis, a mask too or not at all. */
static void attention_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    const int32_t rank = c->in[Q].rank;
    int32_t perm[QN_MAX_RANK], axis = -1;

    for (int32_t i = 0; i < 3; i++) {
        if (permutation(c->node, perm_names[i], rank, perm, NULL) != QN_OK) return;
        for (int32_t d = 0; d < rank - 2; d++) {
            if (perm[d] != in_axis[i]) continue;
            if (i > 0 && axis != d) return;
            axis = d;
            goto next;
        }
        return;
    next:;
    }
    for (int32_t i = MASK; i <= CONDITION; i++) {
        if (!qn_infer_has(c, i) || in_axis[i] == QN_ROWS_NONE) continue;
        if (in_axis[i] < 0 || in_axis[i] + rank - c->in[i].rank != axis) return;
    }
    for (int32_t i = MASK; i <= CONDITION; i++) { /* one that does not carry it must be the same for all */
        int64_t v;

        if (!qn_infer_has(c, i) || in_axis[i] != QN_ROWS_NONE || c->in[i].rank <= rank - 1 - axis) continue;
        if (!qn_dims_value(c->dims, c->in[i].dims[axis - (rank - c->in[i].rank)], &v) || v != 1) return;
    }
    if (permutation(c->node, "out_perm", rank, perm, NULL) != QN_OK) return;
    for (int32_t d = 0; d < rank; d++)
        if (perm[d] == axis) out_axis[0] = d;
}

/* -- sizes of a run ------------------------------------------------------------------------------------------------------- */

typedef struct operand {
    const char *data;
    int64_t step[QN_MAX_RANK]; /* of the batch axes, in elements; 0 where broadcast */
    int64_t row, col;          /* of the last two axes */
} operand;

typedef struct sizes {
    int64_t m, n, d, e, batch, rows; /* rows: of a tile */
    int32_t n_batch;
    int64_t dims[QN_MAX_RANK]; /* [n_batch] */
    operand in[5], out;
    size_t k_bytes, v_bytes, tile_bytes; /* packed, of one of the batch; of a thread */
} sizes;

/* Where a size is 1 the step is 0, so that it serves however many are asked for. */
static void strides_of(const qn_tensor *t, const int32_t *perm, int32_t rank, operand *o, int64_t *dims)
{
    const int32_t lead = rank - t->rank;
    int64_t strides[QN_MAX_RANK];

    qn_shape_strides(t->rank, t->dims, strides);
    o->data = t->data;
    for (int32_t i = 0; i < rank; i++) {
        const int32_t from = i < lead ? -1 : perm ? perm[i - lead] : i - lead;
        const int64_t step = from < 0 || t->dims[from] == 1 ? 0 : strides[from];

        dims[i] = from < 0 ? 1 : t->dims[from];
        if (i < rank - 2)
            o->step[i] = step;
        else if (i == rank - 2)
            o->row = step;
        else
            o->col = step;
    }
}

/* numpy's rule for one axis. */
static qn_status stretch(int64_t *have, int64_t other, const char *what, int32_t axis, qn_error *err)
{
    if (*have != other && *have != 1 && other != 1)
        return qn_error_set(err, QN_ERR_SHAPE, "%s: axis %d is %" PRId64 " and %" PRId64, what, (int)axis, *have, other);
    if (*have == 1) *have = other;
    return QN_OK;
}

static qn_status memory(sizes *z, qn_error *err)
{
    size_t n, tile, ends;

    z->rows = z->n > 0 ? TILE_ELEMS / z->n / 14 * 14 : ROWS;
    z->rows = z->rows < 14 ? 14 : z->rows > ROWS ? ROWS : z->rows;
    /* more rows than m at most, so that what a plan asks for suffices for every smaller run */
    if (!qn_gemm_packed_bytes(z->d, z->n, &z->k_bytes) || !qn_gemm_packed_bytes(z->n, z->e, &z->v_bytes) || !qn_i64_to_size(z->n, &n) ||
        !qn_size_mul(n, 14, &tile) || !qn_i64_to_size(z->e, &n) || !qn_i64_to_size(z->d, &ends) || !qn_size_add(n, ends, &ends) ||
        !qn_size_mul(ends, ROWS, &ends) || !qn_size_add(tile > TILE_ELEMS ? tile : TILE_ELEMS, ends, &tile) ||
        !qn_size_mul(tile, sizeof(float), &tile) || !qn_size_align(tile, 64, &z->tile_bytes))
        return qn_error_set(err, QN_ERR_LIMIT, "%" PRId64 " keys of depth %" PRId64 " do not fit in memory", z->n, z->d);
    return QN_OK;
}

static qn_status sizes_of(const qn_node *node, const qn_tensor *in, sizes *z, qn_error *err)
{
    int64_t dims[5][QN_MAX_RANK];
    int32_t perm[QN_MAX_RANK], rank = in[Q].rank;
    const bool given[5] = { true, true, true, node->n_in > MASK && node->in[MASK] != QN_NONE,
                            node->n_in > CONDITION && node->in[CONDITION] != QN_NONE };
    qn_status st = QN_OK;

    *z = (sizes){ .n_batch = rank - 2, .batch = 1 };
    for (int32_t i = 0; i < 5 && st == QN_OK; i++) {
        if (!given[i]) continue;
        if (i < MASK ? in[i].rank != rank || rank < 3 : in[i].rank > rank)
            return qn_error_set(err, QN_ERR_SHAPE, "input %d has rank %d, Q %d", (int)i, (int)in[i].rank, (int)rank);
        if (i < MASK) st = permutation(node, perm_names[i], rank, perm, err);
        if (st == QN_OK) strides_of(&in[i], i < MASK ? perm : NULL, rank, &z->in[i], dims[i]);
    }
    if (st != QN_OK) return st;
    z->m = dims[Q][rank - 2];
    z->d = dims[Q][rank - 1];
    z->n = dims[K][rank - 2];
    z->e = dims[V][rank - 1];
    if (dims[K][rank - 1] != z->d)
        return qn_error_set(err, QN_ERR_SHAPE, "the depth of Q is %" PRId64 ", of K %" PRId64, z->d, dims[K][rank - 1]);
    for (int32_t d = 0; d < z->n_batch; d++) z->dims[d] = 1;
    for (int32_t i = 0; i < 5; i++) {
        if (!given[i]) continue;
        for (int32_t d = 0; d < z->n_batch && st == QN_OK; d++) st = stretch(&z->dims[d], dims[i][d], "batch", d, err);
        if (st == QN_OK && i >= MASK) st = stretch(&z->m, dims[i][rank - 2], "scores and mask", rank - 2, err);
        if (st == QN_OK && i >= MASK) st = stretch(&z->n, dims[i][rank - 1], "scores and mask", rank - 1, err);
    }
    if (st != QN_OK) return st;
    if (dims[V][rank - 2] != z->n)
        return qn_error_set(err, QN_ERR_SHAPE, "%" PRId64 " keys and %" PRId64 " values", z->n, dims[V][rank - 2]);
    if (z->d == 1) z->in[Q].col = 1; /* no step: any does, and 1 is the fast one */
    for (int32_t d = 0; d < z->n_batch; d++)
        if (!qn_i64_mul(z->batch, z->dims[d], &z->batch)) return qn_error_set(err, QN_ERR_LIMIT, "the batch does not fit");
    return memory(z, err);
}

/* All packed K, all packed V, a tile a thread. */
static bool scratch_bytes(const sizes *z, int team, size_t *bytes)
{
    size_t packed, tiles, batch;

    return qn_i64_to_size(z->batch, &batch) && qn_size_add(z->k_bytes, z->v_bytes, &packed) && qn_size_mul(packed, batch, &packed) &&
           qn_size_mul(z->tile_bytes, (size_t)team, &tiles) && qn_size_add(packed, tiles, bytes);
}

static qn_status attention_lower(qn_lower *lo, qn_error *err)
{
    sizes z;
    qn_status st = qn_linear_known(lo, err);

    if (st == QN_OK) st = sizes_of(lo->node, lo->in, &z, err);
    if (st != QN_OK) return st;
    lo->kernel = qn_gemm_pick(lo->cpu)->name;
    lo->why = qn_linear_why_f32(lo->cpu);
    if (!scratch_bytes(&z, lo->team_size, &lo->scratch_bytes))
        return qn_error_set(err, QN_ERR_LIMIT, "packed keys and values do not fit in memory");
    return QN_OK;
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

typedef struct job {
    const sizes *z;
    const qn_gemm_kernel *gemm;
    const qn_softmax_kernel *softmax;
    const qn_eltwise_kernel *eltwise;
    bool scaled, divide, keep;
    float scale, fill;
    int64_t blocks; /* tiles of one of the batch */
    char *packed_k, *packed_v, *tiles;
} job;

static int64_t offset(const sizes *z, const operand *o, int64_t b)
{
    int64_t at = 0;

    for (int32_t d = z->n_batch - 1; d >= 0; d--) {
        at += b % z->dims[d] * o->step[d];
        b /= z->dims[d];
    }
    return at;
}

static const float *floats_at(const sizes *z, const operand *o, int64_t b)
{
    return (const float *)(const void *)o->data + offset(z, o, b);
}

static void pack(float *packed, int64_t k, int64_t n, const float *b, int64_t row_stride, int64_t col_stride)
{
    if (n % 16) memset(packed + n / 16 * 16 * k, 0, (size_t)(16 * k) * sizeof *packed); /* columns past n */
    qn_gemm_pack(packed, k, n, 0, k, b, row_stride, col_stride);
}

static void pack_one(void *ctx, int64_t b, int member)
{
    const job *j = ctx;
    const sizes *z = j->z;
    const operand *k = &z->in[K], *v = &z->in[V];

    (void)member;
    pack((float *)(void *)(j->packed_k + (size_t)b * z->k_bytes), z->d, z->n, floats_at(z, k, b), k->col, k->row);
    pack((float *)(void *)(j->packed_v + (size_t)b * z->v_bytes), z->n, z->e, floats_at(z, v, b), v->row, v->col);
}

/* s[rows, n] = scale(Q K'), masked. */
static void mask_rows(const job *j, int64_t b, int64_t from, int64_t rows, float *s)
{
    const sizes *z = j->z;
    const operand *mask = &z->in[MASK], *cond = &z->in[CONDITION];

    for (int64_t i = 0; i < rows; i++) {
        float *row = s + i * z->n;

        if (cond->data) {
            const uint8_t *c = (const uint8_t *)cond->data + offset(z, cond, b) + (from + i) * cond->row;

            for (int64_t k = 0; k < z->n; k++)
                if ((c[k * cond->col] != 0) != j->keep) row[k] = j->fill;
        }
        if (mask->data) j->eltwise->binary[QN_BINARY_ADD](row, 1, floats_at(z, mask, b) + (from + i) * mask->row, mask->col, row, z->n);
    }
}

static void one_tile(void *ctx, int64_t tile, int member)
{
    const job *j = ctx;
    const sizes *z = j->z;
    const int64_t b = tile / j->blocks, from = tile % j->blocks * z->rows, rows = z->m - from < z->rows ? z->m - from : z->rows;
    const operand *q = &z->in[Q], *o = &z->out;
    const float *a = floats_at(z, q, b) + from * q->row;
    float *s = (float *)(void *)(j->tiles + (size_t)member * z->tile_bytes), *dense = s + rows * z->n, *gathered = dense + rows * z->e;
    float *y = (float *)(uintptr_t)floats_at(z, o, b) + from * o->row;
    qn_gemm_args g = { .m = rows, .n = z->n, .k = z->d, .a = a, .lda = q->row, .c = s, .ldc = z->n };

    if (q->col != 1) {
        for (int64_t i = 0; i < rows; i++)
            for (int64_t p = 0; p < z->d; p++) gathered[i * z->d + p] = a[i * q->row + p * q->col];
        g.a = gathered;
        g.lda = z->d;
    }
    g.b = (const float *)(const void *)(j->packed_k + (size_t)b * z->k_bytes);
    j->gemm->run(&g, NULL);
    if (j->scaled) j->eltwise->binary[j->divide ? QN_BINARY_DIV : QN_BINARY_MUL](s, 1, &j->scale, 0, s, rows * z->n);
    if (z->in[MASK].data || z->in[CONDITION].data) mask_rows(j, b, from, rows, s);
    if (z->n > 0) j->softmax->run(s, s, rows, z->n, false);
    g = (qn_gemm_args){
        .m = rows, .n = z->e, .k = z->n, .a = s, .lda = z->n, .c = o->col == 1 ? y : dense, .ldc = o->col == 1 ? o->row : z->e
    };
    g.b = (const float *)(const void *)(j->packed_v + (size_t)b * z->v_bytes);
    j->gemm->run(&g, NULL);
    for (int64_t i = 0; i < rows && o->col != 1; i++)
        for (int64_t p = 0; p < z->e; p++) y[i * o->row + p * o->col] = dense[i * z->e + p];
}

/* Strides of the output seen as [batch.., m, e]. */
static qn_status output_of(qn_run *r, sizes *z, qn_error *err)
{
    const qn_tensor *t = &r->out[0];
    int32_t perm[QN_MAX_RANK], back[QN_MAX_RANK];
    int64_t dims[QN_MAX_RANK];
    qn_status st = permutation(r->node, "out_perm", t->rank, perm, err);

    if (st != QN_OK) return st;
    for (int32_t i = 0; i < t->rank; i++) back[perm[i]] = i;
    strides_of(t, back, t->rank, &z->out, dims);
    if (z->e == 1) z->out.col = 1;
    return QN_OK;
}

static qn_status attention_run(qn_run *r, qn_error *err)
{
    const qn_attr *divide = qn_node_attr(r->node, "divide"), *scale = qn_node_attr(r->node, "scale");
    sizes z;
    job j = { .z = &z, .gemm = qn_gemm_pick(r->cpu), .softmax = qn_softmax_pick(r->cpu), .eltwise = qn_eltwise_pick(r->cpu) };
    qn_status st = sizes_of(r->node, r->in, &z, err);

    if (st == QN_OK) st = output_of(r, &z, err);
    if (st != QN_OK || qn_tensor_count(&r->out[0]) == 0) return st;
    j.scaled = scale || divide;
    j.divide = divide != NULL;
    j.scale = divide ? divide->f : scale ? scale->f : 1.0f;
    j.fill = qn_node_float(r->node, "fill", 0);
    j.keep = qn_node_int(r->node, "keep", 1) != 0;
    j.blocks = (z.m + z.rows - 1) / z.rows;
    j.packed_k = r->scratch;
    j.packed_v = j.packed_k + (size_t)z.batch * z.k_bytes;
    j.tiles = j.packed_v + (size_t)z.batch * z.v_bytes;
    qn_team_run(r->team, z.batch, pack_one, &j);
    qn_team_run(r->team, z.batch * j.blocks, one_tile, &j);
    return QN_OK;
}

/* Scores of m rows and n columns: d to make each, e to use it, and one to normalise it. */
static uint64_t attention_cost(const qn_node *n, const qn_tensor *in, const qn_tensor *out)
{
    uint64_t scores, depth;
    sizes z;

    (void)out;
    if (sizes_of(n, in, &z, NULL) != QN_OK) return 0; /* the run will say why */
    scores = qn_cost_mul((uint64_t)z.batch, qn_cost_mul((uint64_t)z.m, (uint64_t)z.n));
    depth = qn_cost_add(qn_cost_add((uint64_t)z.d, (uint64_t)z.e), 1);
    return qn_cost_mul(scores, depth);
}

const qn_op qn_op_attention = {
    .domain = "quern",
    .name = "Attention",
    .since = 1,
    .min_in = 3,
    .max_in = 5,
    .min_out = 1,
    .max_out = 1,
    .infer = attention_infer,
    .rows = attention_rows,
    .lower = attention_lower,
    .run = attention_run,
    .cost = attention_cost,
    .kernels = "gemm, softmax",
};
