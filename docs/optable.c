/* docs/optable.c - prints docs/operators.md from the table of ops: the page cannot say what the table does not.
 * Which dtypes an op takes is asked of its infer function: input lists are tried until each dtype was accepted somewhere or none is left.
 *     ./run build && build/quern_optable > docs/operators.md        tests/house.sh compares the two */
#include "core/graph/infer.h"
#include "core/ops/ops.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b)
{
    const qn_op *x = *(const qn_op *const *)a, *y = *(const qn_op *const *)b;
    const char *dx = x->domain ? x->domain : "", *dy = y->domain ? y->domain : "";
    int c = strcmp(dx, dy);

    if (c == 0) c = strcmp(x->name, y->name);
    return c ? c : x->since < y->since ? -1 : 1;
}

static void print_arity(int32_t lo, int32_t hi, bool variadic)
{
    if (variadic)
        printf("%" PRId32 "..", lo);
    else if (lo == hi)
        printf("%" PRId32, lo);
    else
        printf("%" PRId32 "..%" PRId32, lo, hi);
}

/* -- dtypes --------------------------------------------------------------------------------------------------------------- */

/* What an input may be tried as, the likeliest first: the first PARTNERS stand beside the one that is asked about. */
typedef struct candidate {
    qn_kind kind, of;
    qn_dtype dtype;
    const char *name;
} candidate;

static const candidate candidates[] = {
    { QN_KIND_TENSOR, 0, QN_F32, "f32" },   { QN_KIND_TENSOR, 0, QN_I64, "i64" },        { QN_KIND_TENSOR, 0, QN_U8, "u8" },
    { QN_KIND_TENSOR, 0, QN_BOOL, "bool" }, { QN_KIND_TENSOR, 0, QN_I32, "i32" },        { QN_KIND_TENSOR, 0, QN_STRING, "string" },
    { QN_KIND_TENSOR, 0, QN_F64, "f64" },   { QN_KIND_TENSOR, 0, QN_F16, "f16" },        { QN_KIND_TENSOR, 0, QN_BF16, "bf16" },
    { QN_KIND_TENSOR, 0, QN_I8, "i8" },     { QN_KIND_TENSOR, 0, QN_I16, "i16" },        { QN_KIND_TENSOR, 0, QN_U16, "u16" },
    { QN_KIND_TENSOR, 0, QN_U32, "u32" },   { QN_KIND_TENSOR, 0, QN_U64, "u64" },        { QN_KIND_TENSOR, 0, QN_I4, "i4" },
    { QN_KIND_TENSOR, 0, QN_U4, "u4" },     { QN_KIND_SEQUENCE, 0, QN_F32, "sequence" }, { QN_KIND_OPTIONAL, 0, QN_F32, "optional" },
};

enum { N_CANDIDATES = sizeof candidates / sizeof candidates[0], PARTNERS = 6, MAX_PROBED = 9 };

/* Attributes that some op cannot do without. */
static const struct {
    const char *op; /* NULL: all */
    qn_attr attr;
} needed[] = {
    { NULL, { .name = "to", .type = QN_ATTR_INT, .i = 1 } },
    { NULL, { .name = "kernel_shape", .type = QN_ATTR_INTS, .n = 2, .ints = (int64_t[]){ 1, 1 } } },
    { NULL, { .name = "pooled_shape", .type = QN_ATTR_INTS, .n = 2, .ints = (int64_t[]){ 1, 1 } } },
    { NULL, { .name = "blocksize", .type = QN_ATTR_INT, .i = 1 } },
    { NULL, { .name = "hidden_size", .type = QN_ATTR_INT, .i = 1 } },
    { NULL, { .name = "size", .type = QN_ATTR_INT, .i = 1 } },
    { NULL, { .name = "equation", .type = QN_ATTR_STRING, .n = 6, .s = "...->..." } },
    { NULL, { .name = "K", .type = QN_ATTR_INT, .i = 16 } },
    { NULL, { .name = "N", .type = QN_ATTR_INT, .i = 1 } },
    { NULL, { .name = "bits", .type = QN_ATTR_INT, .i = 4 } },
    { NULL, { .name = "block_size", .type = QN_ATTR_INT, .i = 16 } },
    { "BitShift", { .name = "direction", .type = QN_ATTR_STRING, .n = 4, .s = "LEFT" } },
    { "Momentum", { .name = "mode", .type = QN_ATTR_STRING, .n = 8, .s = "standard" } },
    { "Momentum", { .name = "alpha", .type = QN_ATTR_FLOAT, .f = 1 } },
    { "Momentum", { .name = "beta", .type = QN_ATTR_FLOAT, .f = 1 } },
    { "Momentum", { .name = "norm_coefficient", .type = QN_ATTR_FLOAT, .f = 0 } },
    { "TfIdfVectorizer", { .name = "mode", .type = QN_ATTR_STRING, .n = 2, .s = "TF" } },
    { "TfIdfVectorizer", { .name = "min_gram_length", .type = QN_ATTR_INT, .i = 1 } },
    { "TfIdfVectorizer", { .name = "max_gram_length", .type = QN_ATTR_INT, .i = 1 } },
    { "TfIdfVectorizer", { .name = "max_skip_count", .type = QN_ATTR_INT, .i = 0 } },
    { "TfIdfVectorizer", { .name = "ngram_counts", .type = QN_ATTR_INTS, .n = 1, .ints = (int64_t[]){ 0 } } },
    { "TfIdfVectorizer", { .name = "ngram_indexes", .type = QN_ATTR_INTS, .n = 1, .ints = (int64_t[]){ 0 } } },
    { "TfIdfVectorizer", { .name = "pool_int64s", .type = QN_ATTR_INTS, .n = 1, .ints = (int64_t[]){ 1 } } },
};

enum { N_NEEDED = sizeof needed / sizeof needed[0] };

/* Inputs of unknown shape, or ones of rank `rank` with one element each; integers are 1 then. */
static bool accepts(qn_graph *g, qn_node *n, const qn_op *op, qn_type *in, int32_t n_in, int32_t rank)
{
    qn_attr attrs[N_NEEDED];
    int32_t n_attrs = 0;
    qn_dim one = qn_dims_const(g->dims, 1);
    qn_known numbers = { .rank = 1, .n = 1, .elems = &one };
    const qn_known *known[MAX_PROBED] = { NULL };
    const qn_tensor *consts[MAX_PROBED] = { NULL };
    qn_value_id ids[MAX_PROBED], outs[8] = { 0 };
    qn_type out[8];
    qn_known *out_known[8];

    for (int32_t i = 0; i < n_in; i++) {
        ids[i] = 0;
        in[i].rank = rank > 1 && i > 0 && in[i].dtype == QN_I64 ? 1 : rank;
        for (int32_t d = 0; d < in[i].rank; d++) in[i].dims[d] = one;
        if (in[i].rank == 1 && in[i].kind == QN_KIND_TENSOR && in[i].dtype == QN_I64) known[i] = &numbers;
    }
    for (size_t i = 0; i < N_NEEDED; i++)
        if (!needed[i].op || strcmp(needed[i].op, op->name) == 0) attrs[n_attrs++] = needed[i].attr;
    *n = (qn_node){ .name = "n", .domain = op->domain ? op->domain : "", .op_type = op->name, .op = op, .function = QN_NONE };
    n->opset = op->until ? op->until : op->since > 21 ? op->since : *n->domain ? 1 : 21;
    n->n_in = n_in;
    n->in = ids;
    n->n_out = op->min_out > 0 ? op->min_out : 1;
    n->out = outs;
    n->attrs = attrs;
    n->n_attrs = n_attrs;
    return qn_infer_node(g, n, g->dims, &g->arena, in, known, consts, out, out_known, NULL) == QN_OK;
}

/* Input `at` is the candidate `which`: is there a way to choose the others? */
static bool accepted_at(qn_graph *g, const qn_op *op, int32_t n_in, int32_t at, int which, int32_t rank)
{
    const int n_partners = n_in > 4 ? 4 : PARTNERS; /* 0: the same as input `at`, then candidates from the first on */
    int choice[MAX_PROBED] = { 0 };
    qn_type in[MAX_PROBED];
    qn_node n;

    for (;;) {
        int32_t i = 0;

        for (int32_t k = 0; k < n_in; k++) {
            const candidate *c = &candidates[k == at || choice[k] == 0 ? which : choice[k] - 1];

            in[k] = (qn_type){ .kind = c->kind, .of = c->of, .dtype = c->dtype, .quant = { QN_NONE, QN_NONE, -1, 0 } };
        }
        if (accepts(g, &n, op, in, n_in, rank)) return true;
        for (; i < n_in; i++) {
            if (i == at) continue;
            if (++choice[i] < n_partners) break;
            choice[i] = 0;
        }
        if (i == n_in) return false;
    }
}

/* Of the input that takes the most of them: it is the one the op is about. */
static void print_dtypes(qn_graph *g, const qn_op *op)
{
    bool best[N_CANDIDATES] = { false };
    int32_t most = op->max_in > op->min_in + 2 ? op->min_in + 2
                   : op->max_in > op->min_in   ? op->max_in
                                               : op->min_in; /* rows of all opsets ask for what used to be an attribute */
    static const int32_t ranks[] = { -1, 1, 2, 4 };
    int n_best = 0;

    if (op->flags & QN_OP_CONTROL || op->max_in == 0) {
        printf(op->max_in == 0 ? "as attribute dtype says" : "any");
        return;
    }
    if (most > MAX_PROBED) most = op->min_in;
    for (int32_t n_in = op->min_in > 0 ? op->min_in : 1; n_in <= most && n_best == 0; n_in++) {
        for (size_t r = 0; r < sizeof ranks / sizeof ranks[0] && n_best == 0; r++) {
            for (int32_t at = 0; at < n_in; at++) {
                bool set[N_CANDIDATES];
                int n_set = 0;

                for (int k = 0; k < N_CANDIDATES; k++) n_set += set[k] = accepted_at(g, op, n_in, at, k, ranks[r]);
                if (n_set <= n_best) continue;
                memcpy(best, set, sizeof best);
                n_best = n_set;
            }
        }
    }
    if (n_best == N_CANDIDATES) {
        printf("any");
        return;
    }
    for (int k = 0, printed = 0; k < N_CANDIDATES; k++)
        if (best[k]) printf("%s%s", printed++ ? " " : "", candidates[k].name);
}

static void print_row(qn_graph *g, const qn_op *op)
{
    printf("| %s | %s | %" PRId64, op->name, op->domain && op->domain[0] ? op->domain : "ai.onnx", op->since);
    if (op->until && op->until != op->since)
        printf("..%" PRId64, op->until);
    else if (!op->until)
        printf("+");
    printf(" | ");
    print_arity(op->min_in, op->max_in, op->flags & QN_OP_VARIADIC);
    printf(" | ");
    print_arity(op->min_out, op->max_out, false);
    printf(" | ");
    print_dtypes(g, op);
    printf(" | %s | %s | %s |\n", op->rows ? "yes" : "", op->grad ? "yes" : "", op->kernels ? op->kernels : "");
}

int main(void)
{
    const qn_op **rows = malloc((size_t)qn_ops.n * sizeof *rows);
    qn_graph *g = NULL;

    if (!rows || qn_graph_create(&qn_ops, NULL, "table", &g, NULL) != QN_OK) return 1;
    memcpy(rows, qn_ops.rows, (size_t)qn_ops.n * sizeof *rows);
    qsort(rows, (size_t)qn_ops.n, sizeof *rows, by_name);
    printf(
        "# Operators\n\n"
        "Every op that runs, generated from core/ops/table.def by `build/quern_optable`. A model with any other op is refused at load, "
        "by name.\n\n"
        "- **dtypes** of the input that takes the most of them. f16 and bf16 work in every op that takes f32: where they are not listed, "
        "values are cast before and after.\n"
        "- **batch** requests may share a run through this op when its shapes prove the rows independent.\n"
        "- **gradient** `ai.onnx.preview.training.Gradient` goes through it.\n"
        "- **kernels** the family in core/kernels with fast paths; none: a plain loop.\n\n"
        "Domain `quern` holds what lowering makes of several nodes; files never contain it.\n\n"
        "| op | domain | opsets | inputs | outputs | dtypes | batch | gradient | kernels |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for (int32_t i = 0; i < qn_ops.n; i++) print_row(g, rows[i]);
    printf("\n%" PRId32 " rows.\n", qn_ops.n);
    qn_graph_destroy(g);
    free(rows);
    return 0;
}
