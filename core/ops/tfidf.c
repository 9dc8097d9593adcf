/* core/ops/tfidf.c - TfIdfVectorizer: how often each n-gram of a pool occurs in a row.
 * Spec   ONNX 9 on. Input [C] or [N, C] of i32, i64 or string; output f32 [M] or [N, M], M = max(ngram_indexes) + 1. The pool holds
 *        the items of all 1-grams, then of all 2-grams, ...; ngram_counts[i] is where those of i + 1 items begin. n-gram g of the pool counts
 *        in column ngram_indexes[g] if it has min_gram_length .. max_gram_length items; its items stand skip places apart,
 *        skip = 1 .. max_skip_count + 1 (a single item counts once).
 * Value  TF: the count.  IDF: weights[g] if it occurs (1 without weights).  TFIDF: the count times weights[g]. n-grams that share a column
 *        add up; IDF takes the weight of the one met last. As in ONNX Runtime. */
#include "core/base/checked.h"
#include "core/base/hash.h"
#include "core/graph/cost.h"
#include "core/ops/move.h"
#include "core/ops/words.h"
#include "core/tensor/strings.h"

#include <inttypes.h>
#include <string.h>

#define MAX_STEPS ((int64_t)1 << 34) /* places looked at in one run: minutes */

typedef enum mode { TF, IDF, TFIDF } mode;

/* The pool as a tree: an edge leads from a node by an item to a node. */
typedef struct edge {
    int64_t item;
    int32_t from, to; /* to 0: the slot is free (nothing leads to the root) */
} edge;

typedef struct pool {
    const int64_t *ints; /* [n], or: */
    const char **strings;
    int64_t n;
    const int64_t *counts, *indexes;
    int64_t n_counts, n_indexes;
    const float *weights; /* [n_indexes] or NULL */
    int64_t min, max, skips, columns;
    mode mode;
} pool;

typedef struct state {
    pool pool;
    qn_words words;
    edge *edges;   /* [cap] */
    int32_t *gram; /* [n_nodes] the n-gram that ends at a node, or -1 */
    size_t cap;
    uint64_t seed;
    int32_t n_nodes;
} state;

/* -- attributes ----------------------------------------------------------------------------------------------------------- */

static qn_status read_mode(const qn_node *node, mode *out, qn_error *err)
{
    static const char *const names[] = { "TF", "IDF", "TFIDF" };
    const char *s = qn_node_str(node, "mode", "");

    for (int i = 0; i < 3; i++) {
        if (strcmp(s, names[i]) != 0) continue;
        *out = (mode)i;
        return QN_OK;
    }
    return qn_error_set(err, QN_ERR_INVALID, "mode is \"%.40s\", expected TF, IDF or TFIDF", s);
}

/* Items of n-grams of size items: [*from, *to) of the pool. */
static void section(const pool *p, int64_t size, int64_t *from, int64_t *to)
{
    *from = p->counts[size - 1];
    *to = size < p->n_counts ? p->counts[size] : p->n;
}

static qn_status check_sections(const pool *p, qn_error *err)
{
    int64_t grams = 0, from, to;

    for (int64_t i = 0; i < p->n_counts; i++) {
        section(p, i + 1, &from, &to);
        if (from < 0 || to < from || to > p->n)
            return qn_error_set(err, QN_ERR_INVALID,
                                "ngram_counts[%" PRId64 "] is %" PRId64 " and the next %" PRId64 ", the pool has %" PRId64 " items", i,
                                from, to, p->n);
        if ((to - from) % (i + 1) != 0)
            return qn_error_set(err, QN_ERR_INVALID, "%" PRId64 " items of the pool do not make n-grams of %" PRId64, to - from, i + 1);
        grams += (to - from) / (i + 1);
    }
    if (grams == p->n_indexes) return QN_OK;
    return qn_error_set(err, QN_ERR_INVALID, "ngram_indexes has %" PRId64 " elements for %" PRId64 " n-grams", p->n_indexes, grams);
}

static qn_status read_pool(const qn_node *node, pool *p, qn_error *err)
{
    const qn_attr *strings = qn_node_attr(node, "pool_strings");
    int64_t n_weights, n_ints;
    qn_status st;

    *p = (pool){ .min = qn_node_int(node, "min_gram_length", 0),
                 .max = qn_node_int(node, "max_gram_length", 0),
                 .skips = qn_node_int(node, "max_skip_count", 0) };
    p->counts = qn_node_ints(node, "ngram_counts", &p->n_counts);
    p->indexes = qn_node_ints(node, "ngram_indexes", &p->n_indexes);
    p->ints = qn_node_ints(node, "pool_int64s", &n_ints);
    p->weights = qn_node_floats(node, "weights", &n_weights);
    if (strings && strings->type == QN_ATTR_STRINGS) p->strings = strings->strings;
    p->n = p->strings ? strings->n : n_ints;
    if ((st = read_mode(node, &p->mode, err)) != QN_OK) return st;
    if (p->min < 1 || p->max < p->min || p->max > p->n_counts || p->skips < 0)
        return qn_error_set(err, QN_ERR_INVALID,
                            "n-grams of %" PRId64 " to %" PRId64 " items, %" PRId64 " skipped, %" PRId64 " ngram_counts", p->min, p->max,
                            p->skips, p->n_counts);
    if (!p->ints == !p->strings) return qn_error_set(err, QN_ERR_INVALID, "expected one of pool_int64s and pool_strings");
    if (p->n > INT32_MAX / 4 || p->n_indexes == 0)
        return qn_error_set(err, QN_ERR_INVALID, "a pool of %" PRId64 " items, %" PRId64 " ngram_indexes", p->n, p->n_indexes);
    if (p->weights && n_weights != p->n_indexes)
        return qn_error_set(err, QN_ERR_INVALID, "%" PRId64 " weights for %" PRId64 " n-grams", n_weights, p->n_indexes);
    for (int64_t i = 0; i < p->n_indexes; i++) {
        if (p->indexes[i] < 0 || p->indexes[i] > INT32_MAX)
            return qn_error_set(err, QN_ERR_INVALID, "ngram_indexes[%" PRId64 "] is %" PRId64, i, p->indexes[i]);
        if (p->indexes[i] >= p->columns) p->columns = p->indexes[i] + 1;
    }
    return check_sections(p, err);
}

/* -- the tree ------------------------------------------------------------------------------------------------------------- */

static edge *find_edge(const state *s, int32_t from, int64_t item)
{
    const int64_t key[2] = { from, item };
    size_t i = (size_t)qn_hash_bytes(s->seed, key, sizeof key) & (s->cap - 1);

    while (s->edges[i].to != 0 && (s->edges[i].from != from || s->edges[i].item != item)) i = (i + 1) & (s->cap - 1);
    return &s->edges[i];
}

/* Item i of the pool as a number: itself, or that of a word. */
static int64_t pool_item(state *s, int64_t i)
{
    const pool *p = &s->pool;

    return p->ints ? p->ints[i] : qn_words_add(&s->words, p->strings[i], strlen(p->strings[i]));
}

static qn_status build(state *s, qn_error *err)
{
    int64_t from, to;
    int32_t gram = 0;

    s->n_nodes = 1;
    s->gram[0] = -1;
    for (int64_t size = 1; size <= s->pool.n_counts; size++) {
        section(&s->pool, size, &from, &to);
        if (size < s->pool.min || size > s->pool.max) {
            gram += (int32_t)((to - from) / size);
            continue;
        }
        for (; from < to; gram++) {
            int32_t node = 0;

            for (int64_t k = 0; k < size; k++, from++) {
                const int64_t item = pool_item(s, from);
                edge *e = find_edge(s, node, item);

                if (e->to == 0) {
                    *e = (edge){ .item = item, .from = node, .to = s->n_nodes };
                    s->gram[s->n_nodes++] = -1;
                }
                node = e->to;
            }
            if (s->gram[node] >= 0)
                return qn_error_set(err, QN_ERR_INVALID, "n-grams %" PRId32 " and %" PRId32 " of the pool are the same", s->gram[node],
                                    gram);
            s->gram[node] = gram;
        }
    }
    return QN_OK;
}

static qn_status tfidf_lower(qn_lower *lo, qn_error *err)
{
    state *s = qn_arena_alloc(lo->arena, sizeof *s);
    qn_status st;

    if (!s) return qn_error_set(err, QN_ERR_NOMEM, "pool of n-grams");
    if ((st = read_pool(lo->node, &s->pool, err)) != QN_OK) return st;
    s->seed = qn_hash_seed();
    s->cap = 2;
    while (s->cap < 2 * (size_t)s->pool.n) s->cap *= 2;
    s->edges = qn_arena_array(lo->arena, s->cap, sizeof *s->edges);
    s->gram = qn_arena_array(lo->arena, (size_t)s->pool.n + 1, sizeof *s->gram);
    if (!s->edges || !s->gram || !qn_words_init(&s->words, lo->arena, s->pool.strings ? (int32_t)s->pool.n : 0))
        return qn_error_set(err, QN_ERR_NOMEM, "pool of n-grams");
    lo->state = s;
    return build(s, err);
}

/* -- inference ------------------------------------------------------------------------------------------------------------ */

static qn_status tfidf_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0];
    pool p;
    qn_status st;

    if ((st = qn_move_need(c, 1, err)) != QN_OK || (st = read_pool(c->node, &p, err)) != QN_OK) return st;
    if ((st = qn_move_need_dtype(c, 0, p.strings ? 1u << QN_STRING : QN_MOVE_INDEX, err)) != QN_OK) return st;
    if ((st = qn_move_need_rank(c, 0, 0, 2, err)) != QN_OK) return st;
    if ((st = qn_move_type(&c->out[0], QN_F32, x->rank < 0 ? -1 : x->rank == 2 ? 2 : 1, err)) != QN_OK || x->rank < 0) return st;
    if (x->rank == 2) c->out[0].dims[0] = x->dims[0];
    c->out[0].dims[c->out[0].rank - 1] = qn_dims_const(c->dims, p.columns);
    return QN_OK;
}

static void tfidf_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    if (c->in[0].rank == 2 && in_axis[0] == 0) out_axis[0] = 0;
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

static int64_t input_item(const state *s, const qn_tensor *x, int64_t i)
{
    size_t len;
    const char *text;

    if (x->dtype != QN_STRING) return qn_move_int(x, i);
    text = qn_strings_get(x, i, &len);
    return qn_words_find(&s->words, text, len); /* -1: no word of the pool, and no edge has that item */
}

static void count(const pool *p, int32_t gram, float *row)
{
    float *y = &row[p->indexes[gram]];
    const float w = p->weights && p->mode != TF ? p->weights[gram] : 1.0f;

    *y = p->mode == IDF ? w : *y + w;
}

/* The n-grams that begin at place i of a row of items, `skip` apart. */
static void count_from(const state *s, const int64_t *items, int64_t i, int64_t n, int64_t skip, int64_t least, float *row)
{
    int32_t node = 0;

    for (int64_t size = 1; size <= s->pool.max; size++) {
        node = find_edge(s, node, items[i])->to;
        if (node == 0) return;
        if (size >= least && s->gram[node] >= 0) count(&s->pool, s->gram[node], row);
        if (skip >= n - i) return;
        i += skip;
    }
}

static void count_row(const state *s, const int64_t *items, int64_t n, float *row)
{
    int64_t least = s->pool.min;

    for (int64_t skip = 1; skip - 1 <= s->pool.skips; skip++) {
        if (least > 1 && skip > (n - 1) / (least - 1)) break; /* nothing that long fits any more */
        for (int64_t i = 0; i < n; i++) count_from(s, items, i, n, skip, least, row);
        if (least == 1 && ++least > s->pool.max) break; /* single items once only */
    }
}

static qn_status tfidf_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    const state *s = r->state;
    const int64_t rows = x->rank == 2 ? x->dims[0] : 1, n = x->rank == 0 ? 1 : x->dims[x->rank == 2 ? x->rank - 1 : 0];
    const int64_t skips = s->pool.skips < n ? s->pool.skips + 1 : n;
    int64_t dims[2] = { rows, s->pool.columns }, steps;
    size_t bytes;
    qn_move_work w;
    qn_status st;

    if (x->rank > 2) return qn_error_set(err, QN_ERR_SHAPE, "input of rank %" PRId32 ", expected [C] or [N,C]", x->rank);
    if (!qn_i64_mul(n, skips, &steps) || !qn_i64_mul(steps, rows > 0 ? rows : 1, &steps) || steps > MAX_STEPS)
        return qn_error_set(err, QN_ERR_LIMIT, "%" PRId64 " rows of %" PRId64 " items, %" PRId64 " skipped: too much work", rows, n,
                            skips - 1);
    if ((st = qn_move_output(r, 0, QN_F32, x->rank == 2 ? 2 : 1, x->rank == 2 ? dims : dims + 1, err)) != QN_OK) return st;
    if (!qn_size_mul((size_t)n, sizeof(int64_t), &bytes)) return qn_error_set(err, QN_ERR_LIMIT, "%" PRId64 " items", n);
    if (r->out[0].bytes) memset(r->out[0].data, 0, r->out[0].bytes);
    if (r->out[0].bytes == 0) return QN_OK;
    if ((st = qn_move_work_begin(&(qn_run){ 0 }, bytes, &w, err)) != QN_OK) return st;
    for (int64_t row = 0; row < rows; row++) {
        int64_t *items = w.mem;

        for (int64_t i = 0; i < n; i++) items[i] = input_item(s, x, row * n + i);
        count_row(s, items, n, (float *)r->out[0].data + row * s->pool.columns);
    }
    qn_move_work_end(&w);
    return QN_OK;
}

/* From every item, n-grams of every length at every distance that fits the row. */
static uint64_t tfidf_cost(const qn_node *n, const qn_tensor *in, const qn_tensor *out)
{
    const int64_t skips = qn_node_int(n, "max_skip_count", 0), grams = qn_node_int(n, "max_gram_length", 1);
    const uint64_t row = qn_cost_dim(&in[0], -1), far = skips > 0 ? qn_cost_add((uint64_t)skips, 1) : 1;
    uint64_t looks = qn_cost_mul(qn_cost_elements(&in[0]), far < row ? far : row);

    looks = qn_cost_mul(looks, grams > 0 ? (uint64_t)grams : 1);
    return qn_cost_add(looks, qn_cost_elements(&out[0]));
}

const qn_op qn_op_tfidf_vectorizer = {
    .name = "TfIdfVectorizer",
    .since = 9,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = tfidf_infer,
    .rows = tfidf_rows,
    .lower = tfidf_lower,
    .run = tfidf_run,
    .cost = tfidf_cost,
};
