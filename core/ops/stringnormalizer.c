/* core/ops/stringnormalizer.c - StringNormalizer: leave out stop words, change case.
 * Spec   ONNX 10 on. Input [C] or [1, C], the strings that are left as [K] or [1, K]; where none is left, one empty string.
 *        is_case_sensitive = 0 compares in the case that case_change_action asks for (lower case when it is NONE).
 *        `locale` is not asked: letters change by Unicode's simple mappings, the same on every machine. Bytes that are no UTF-8 stay. */
#include "core/base/casemap.h"
#include "core/ops/move.h"
#include "core/ops/words.h"
#include "core/tensor/strings.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef enum change { KEEP, LOWER, UPPER } change;

typedef struct state {
    qn_words stop; /* in the case they are compared in */
    change action, compare;
} state;

static qn_status read_action(const qn_node *node, change *out, qn_error *err)
{
    const char *s = qn_node_str(node, "case_change_action", "NONE");

    *out = KEEP;
    if (strcmp(s, "LOWER") == 0) *out = LOWER;
    if (strcmp(s, "UPPER") == 0) *out = UPPER;
    if (*out != KEEP || strcmp(s, "NONE") == 0) return QN_OK;
    return qn_error_set(err, QN_ERR_INVALID, "case_change_action is \"%.40s\", expected LOWER, UPPER or NONE", s);
}

/* n bytes of text as they are compared or written; out NULL: only counted. */
static size_t apply(change how, const char *s, size_t n, char *out)
{
    if (how != KEEP) return qn_casemap(s, n, how == UPPER, out);
    if (out && n) memcpy(out, s, n);
    return n;
}

/* -- inference ------------------------------------------------------------------------------------------------------------ */

static qn_status normalizer_infer(qn_infer *c, qn_error *err)
{
    const qn_attr *stop = qn_node_attr(c->node, "stopwords");
    change action;
    int64_t n;
    qn_status st;

    if ((st = qn_move_need(c, 1, err)) != QN_OK || (st = qn_move_need_dtype(c, 0, 1u << QN_STRING, err)) != QN_OK) return st;
    if ((st = qn_move_need_rank(c, 0, 1, 2, err)) != QN_OK || (st = read_action(c->node, &action, err)) != QN_OK) return st;
    if (stop && stop->type != QN_ATTR_STRINGS) return qn_error_set(err, QN_ERR_INVALID, "attribute stopwords is no list of strings");
    qn_move_like(c, 0, &c->out[0]);
    if (c->in[0].rank < 1) return QN_OK;
    if (c->in[0].rank == 2) {
        if (qn_move_number(c, c->in[0].dims[0], &n) && n != 1)
            return qn_error_set(err, QN_ERR_SHAPE, "input has %" PRId64 " rows, expected shape [C] or [1,C]", n);
        c->out[0].dims[0] = qn_dims_const(c->dims, 1);
    }
    if ((!stop || stop->n == 0) && qn_move_number(c, c->in[0].dims[c->in[0].rank - 1], &n) && n > 0)
        c->out[0].dims[c->in[0].rank - 1] = c->in[0].dims[c->in[0].rank - 1];
    return QN_OK;
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

static qn_status normalizer_lower(qn_lower *lo, qn_error *err)
{
    const qn_attr *stop = qn_node_attr(lo->node, "stopwords");
    const int64_t n = stop ? stop->n : 0;
    state *s = qn_arena_alloc(lo->arena, sizeof *s);
    qn_status st;

    if (n > INT32_MAX / 4) return qn_error_set(err, QN_ERR_LIMIT, "%" PRId64 " stop words", n);
    if (!s || !qn_words_init(&s->stop, lo->arena, (int32_t)n)) return qn_error_set(err, QN_ERR_NOMEM, "stop words");
    if ((st = read_action(lo->node, &s->action, err)) != QN_OK) return st;
    s->compare = qn_node_int(lo->node, "is_case_sensitive", 0) != 0 ? KEEP : s->action == UPPER ? UPPER : LOWER;
    for (int64_t i = 0; i < n; i++) {
        const size_t len = strlen(stop->strings[i]), k = apply(s->compare, stop->strings[i], len, NULL);
        char *text = qn_arena_alloc(lo->arena, k);

        if (!text) return qn_error_set(err, QN_ERR_NOMEM, "stop words");
        (void)apply(s->compare, stop->strings[i], len, text);
        (void)qn_words_add(&s->stop, text, k);
    }
    lo->state = s;
    return QN_OK;
}

/* Room for the longest string in the case it is compared in. */
static qn_status compare_room(const state *s, const qn_tensor *x, char **room, qn_error *err)
{
    const int64_t n = qn_tensor_count(x);
    size_t most = 1, len;

    for (int64_t i = 0; i < n; i++) {
        const char *text = qn_strings_get(x, i, &len);
        const size_t k = apply(s->compare, text, len, NULL);

        if (k > most) most = k;
    }
    *room = malloc(most);
    return *room ? QN_OK : qn_error_set(err, QN_ERR_NOMEM, "a string of %zu bytes", most);
}

static bool is_stop(const state *s, const char *text, size_t len, char *room)
{
    return s->stop.n > 0 && qn_words_find(&s->stop, room, apply(s->compare, text, len, room)) >= 0;
}

static qn_status normalizer_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    const state *s = r->state;
    const int64_t n = qn_tensor_count(x);
    int64_t left = 0, dims[2] = { 1, 1 };
    size_t text = 0, len, bytes;
    uint64_t *off;
    char *room = NULL, *blob;
    qn_status st;

    if (x->rank < 1 || x->rank > 2 || (x->rank == 2 && x->dims[0] != 1))
        return qn_error_set(err, QN_ERR_SHAPE, "input of rank %" PRId32 ", expected shape [C] or [1,C]", x->rank);
    if ((st = compare_room(s, x, &room, err)) != QN_OK) return st;
    for (int64_t i = 0; i < n; i++) {
        const char *from = qn_strings_get(x, i, &len);

        if (is_stop(s, from, len, room)) continue;
        left++;
        text += apply(s->action, from, len, NULL); /* at most three times what is in memory */
    }
    dims[x->rank - 1] = left > 0 ? left : 1;
    if (!qn_strings_bytes(dims[x->rank - 1], text, &bytes)) st = qn_error_set(err, QN_ERR_LIMIT, "strings of the output");
    if (st == QN_OK) st = qn_run_output(r, 0, QN_STRING, x->rank, dims, bytes, err);
    if (st != QN_OK) goto done;
    off = qn_strings_offsets(&r->out[0]);
    blob = qn_strings_blob(&r->out[0]);
    off[0] = off[1] = 0;
    for (int64_t i = 0, k = 0; i < n; i++) {
        const char *from = qn_strings_get(x, i, &len);

        if (is_stop(s, from, len, room)) continue;
        off[k + 1] = off[k] + apply(s->action, from, len, blob + off[k]);
        k++;
    }
done:
    free(room);
    return st;
}

const qn_op qn_op_string_normalizer = {
    .name = "StringNormalizer",
    .since = 10,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = normalizer_infer,
    .lower = normalizer_lower,
    .run = normalizer_run,
};
