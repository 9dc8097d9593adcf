/* core/ops/subscripts.c - see subscripts.h. */
#include "core/ops/subscripts.h"

#include <inttypes.h>
#include <string.h>

/* One term as written: letters, and where the ellipsis stands among them. */
typedef struct term {
    int32_t n;
    uint8_t letter[QN_MAX_RANK];
    int32_t dots; /* letters before the ellipsis; -1: there is none */
} term;

static bool letter_of(char c, uint8_t *label)
{
    if (c >= 'A' && c <= 'Z')
        *label = (uint8_t)(c - 'A'); /* capitals first, as in the order of the implicit output */
    else if (c >= 'a' && c <= 'z')
        *label = (uint8_t)(26 + c - 'a');
    else
        return false;
    return true;
}

/* Read a term from *at to its end; *at then stands on ',' or '-' or the terminator. */
static qn_status read_term(const char *equation, size_t *at, term *t, qn_error *err)
{
    *t = (term){ .dots = -1 };
    for (;; ++*at) {
        char c = equation[*at];
        uint8_t label;

        if (c == ' ') continue;
        if (c == '\0' || c == ',' || c == '-') return QN_OK;
        if (c == '.') {
            if (equation[*at + 1] != '.' || equation[*at + 2] != '.')
                return qn_error_set(err, QN_ERR_INVALID, "equation, byte %zu: a single '.', expected \"...\"", *at);
            if (t->dots >= 0) return qn_error_set(err, QN_ERR_INVALID, "equation, byte %zu: a second \"...\" in one term", *at);
            t->dots = t->n;
            *at += 2;
        } else if (!letter_of(c, &label)) {
            return qn_error_set(err, QN_ERR_INVALID, "equation, byte %zu: '%c', expected a letter, \"...\", ',' or \"->\"", *at, c);
        } else if (t->n == QN_MAX_RANK) {
            return qn_error_set(err, QN_ERR_UNSUPPORTED, "equation, byte %zu: a term of more than %d letters is unsupported", *at,
                                QN_MAX_RANK);
        } else {
            t->letter[t->n++] = label;
        }
    }
}

/* The labels of a term whose ellipsis stands for `dots` axes. false if they are more than QN_MAX_RANK. */
static bool spell(const term *t, int32_t dots, int32_t ellipsis, uint8_t *label, int32_t *rank)
{
    int32_t n = 0;

    if (t->n + dots > QN_MAX_RANK) return false;
    for (int32_t i = 0; i <= t->n; i++) {
        for (int32_t k = 0; i == t->dots && k < dots; k++) label[n++] = (uint8_t)(QN_EINSUM_ELLIPSIS + ellipsis - dots + k);
        if (i < t->n) label[n++] = t->letter[i];
    }
    *rank = n;
    return true;
}

static qn_status implicit_output(qn_subscripts *s, term *out, qn_error *err)
{
    int count[QN_EINSUM_ELLIPSIS] = { 0 };

    *out = (term){ .dots = 0 };
    for (int32_t t = 0; t < s->n_terms; t++)
        for (int32_t i = 0; i < s->rank[t]; i++)
            if (s->label[t][i] < QN_EINSUM_ELLIPSIS) count[s->label[t][i]]++;
    for (uint8_t l = 0; l < QN_EINSUM_ELLIPSIS; l++) {
        if (count[l] != 1) continue;
        if (out->n == QN_MAX_RANK) return qn_error_set(err, QN_ERR_UNSUPPORTED, "an output of rank above %d is unsupported", QN_MAX_RANK);
        out->letter[out->n++] = l;
    }
    return QN_OK;
}

static qn_status check_output(const qn_subscripts *s, qn_error *err)
{
    bool have[QN_EINSUM_LABELS] = { false }, seen[QN_EINSUM_LABELS] = { false };

    for (int32_t t = 0; t < s->n_terms; t++)
        for (int32_t i = 0; i < s->rank[t]; i++) have[s->label[t][i]] = true;
    for (int32_t i = 0; i < s->out_rank; i++) {
        uint8_t l = s->out[i];
        char name = l < 26 ? (char)('A' + l) : (char)('a' + l - 26);

        if (!have[l]) return qn_error_set(err, QN_ERR_INVALID, "equation: the output has '%c', no operand does", name);
        if (seen[l]) return qn_error_set(err, QN_ERR_INVALID, "equation: the output has '%c' twice", name);
        seen[l] = true;
    }
    return QN_OK;
}

/* The operands: their terms, and how many axes the longest ellipsis has. */
static qn_status read_operands(const char *equation, size_t *at, const int32_t *ranks, term *terms, qn_subscripts *s, qn_error *err)
{
    qn_status st;

    for (int32_t t = 0; t < s->n_terms; t++) {
        if (t > 0 && equation[(*at)++] != ',')
            return qn_error_set(err, QN_ERR_INVALID, "equation has %" PRId32 " terms for %" PRId32 " operands", t, s->n_terms);
        if ((st = read_term(equation, at, &terms[t], err)) != QN_OK) return st;
        if (terms[t].dots < 0 ? terms[t].n != ranks[t] : terms[t].n > ranks[t])
            return qn_error_set(err, QN_ERR_SHAPE, "equation: term %" PRId32 " has %" PRId32 " letters, its operand rank %" PRId32, t,
                                terms[t].n, ranks[t]);
        if (terms[t].dots >= 0 && ranks[t] - terms[t].n > s->ellipsis) s->ellipsis = ranks[t] - terms[t].n;
    }
    if (equation[*at] == ',') return qn_error_set(err, QN_ERR_INVALID, "equation has more terms than the %" PRId32 " operands", s->n_terms);
    return QN_OK;
}

qn_status qn_subscripts_parse(const char *equation, int32_t n_terms, const int32_t *ranks, qn_subscripts *s, qn_error *err)
{
    term terms[QN_EINSUM_TERMS], out;
    size_t at = 0;
    qn_status st;

    memset(s, 0, sizeof *s);
    if (n_terms < 1 || n_terms > QN_EINSUM_TERMS)
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "%" PRId32 " operands are unsupported, at most %d", n_terms, QN_EINSUM_TERMS);
    s->n_terms = n_terms;
    if ((st = read_operands(equation, &at, ranks, terms, s, err)) != QN_OK) return st;
    for (int32_t t = 0; t < n_terms; t++)
        if (!spell(&terms[t], ranks[t] - terms[t].n, s->ellipsis, s->label[t], &s->rank[t]))
            return qn_error_set(err, QN_ERR_SHAPE, "operand %" PRId32 " has rank %" PRId32 ", at most %d", t, ranks[t], QN_MAX_RANK);
    if (equation[at] == '-') {
        if (equation[at + 1] != '>') return qn_error_set(err, QN_ERR_INVALID, "equation, byte %zu: '-', expected \"->\"", at);
        at += 2;
        if ((st = read_term(equation, &at, &out, err)) != QN_OK) return st;
        if (equation[at] != '\0') return qn_error_set(err, QN_ERR_INVALID, "equation, byte %zu: '%c' after the output", at, equation[at]);
        if (s->ellipsis > 0 && out.dots < 0)
            return qn_error_set(err, QN_ERR_INVALID, "equation: an operand has \"...\", the output has not");
    } else if ((st = implicit_output(s, &out, err)) != QN_OK) {
        return st;
    }
    if (!spell(&out, out.dots < 0 ? 0 : s->ellipsis, s->ellipsis, s->out, &s->out_rank))
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "an output of rank above %d is unsupported", QN_MAX_RANK);
    return check_output(s, err);
}
