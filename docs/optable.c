/* docs/optable.c - prints docs/operators.md from the table of ops: the page cannot say what the table does not.
 *     ./run build && build/quern_optable > docs/operators.md        tests/house.sh compares the two */
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

int main(void)
{
    const qn_op **rows = malloc((size_t)qn_ops.n * sizeof *rows);

    if (!rows) return 1;
    memcpy(rows, qn_ops.rows, (size_t)qn_ops.n * sizeof *rows);
    qsort(rows, (size_t)qn_ops.n, sizeof *rows, by_name);
    printf("# Operators\n\n"
           "Every op that runs, generated from core/ops/table.def by `build/quern_optable`. A model with any other op is refused at load, "
           "by name.\n"
           "\"Batch\" says whether requests may share a run through this op when its shapes prove the rows independent.\n"
           "Domain `quern` holds what lowering makes of several nodes; files never contain it.\n\n"
           "| op | domain | opsets | inputs | outputs | batch | packs weights |\n| --- | --- | --- | --- | --- | --- | --- |\n");
    for (int32_t i = 0; i < qn_ops.n; i++) {
        const qn_op *op = rows[i];

        printf("| %s | %s | %" PRId64, op->name, op->domain && op->domain[0] ? op->domain : "ai.onnx", op->since);
        if (op->until && op->until != op->since)
            printf("..%" PRId64, op->until);
        else if (!op->until)
            printf("+");
        printf(" | ");
        print_arity(op->min_in, op->max_in, op->flags & QN_OP_VARIADIC);
        printf(" | ");
        print_arity(op->min_out, op->max_out, false);
        printf(" | %s | %s |\n", op->rows ? "yes" : "", op->lower ? "yes" : "");
    }
    printf("\n%" PRId32 " rows.\n", qn_ops.n);
    free(rows);
    return 0;
}
