/* core/graph/dims.c - the table behind dims.h.
 *
 * Every expression is one entry in a normal form, so that equal expressions meet at one id:
 *   CONST  v
 *   SYM    a name
 *   SUM    c0 + c[0]*t[0] + c[1]*t[1] + ...   c != 0, t sorted by id, each t a SYM, PROD, FDIV, MIN or MAX
 *   PROD   f[0] * f[1] * ...                  at least two, sorted by id, each f as t above but no PROD
 *   FDIV   floor(a / b)    MIN  min(a, b)    MAX  max(a, b)
 * A lone term with coefficient 1 is the term itself. Children are always older than their parent: id(child) < id(parent).
 * Depth, terms, factors and entries are capped: an expression beyond the first three is QN_DIM_UNKNOWN, a full table is an error. */
#include "core/graph/dims.h"

#include "core/base/arena.h"
#include "core/base/checked.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH   64
#define MAX_TERMS   32
#define MAX_FACTORS 16
#define MAX_ENTRIES (1 << 20)
#define MAX_NAME    256

typedef enum kind { CONST, SYM, SUM, PROD, FDIV, MIN, MAX } kind;

typedef struct term {
    int64_t c; /* coefficient; unused in PROD */
    qn_dim t;
} term;

typedef struct entry {
    kind kind;
    int32_t depth;
    bool nonneg;
    uint32_t first, n; /* SUM, PROD: terms[first .. first + n) */
    qn_dim a, b;       /* FDIV, MIN, MAX */
    int64_t c0;        /* CONST: the value; SUM: the constant part */
    const char *name;  /* SYM */
    uint64_t syms;     /* symbols that occur: bit i for the i-th of the table; bit 63 for the 64th and all later ones */
    uint64_t hash;
} entry;

#define SHARED_BIT (UINT64_C(1) << 63)

struct qn_dims {
    entry *e; /* [n] */
    int32_t n, cap;
    term *terms; /* [n_terms], for all SUM and PROD entries */
    uint32_t n_terms, cap_terms;
    int32_t *slots; /* [n_slots] id + 1, 0: empty; n_slots a power of two */
    uint32_t n_slots;
    uint64_t seed;
    int32_t n_syms;
    qn_arena names;
    int32_t quiet;  /* > 0: an attempt is being made whose failure means only "cannot tell" */
    qn_error first; /* the first error; QN_OK: none */
};

/* A sum being built on the stack. */
typedef struct sum {
    int64_t c0;
    int32_t n;
    term t[MAX_TERMS];
} sum;

/* -- the table ------------------------------------------------------------------------------------------------------------ */

static qn_dim fail(qn_dims *t, qn_status status, const char *what)
{
    if (!t->quiet && t->first.status == QN_OK) qn_error_set(&t->first, status, "%s", what);
    return QN_DIM_UNKNOWN;
}

static qn_dim overflow(qn_dims *t) { return fail(t, QN_ERR_RANGE, "a dimension does not fit in 64 bits"); }

static qn_dim no_memory(qn_dims *t) { return fail(t, QN_ERR_NOMEM, "table of dimensions"); }

qn_status qn_dims_create(qn_dims **out, qn_error *err)
{
    qn_dims *t = calloc(1, sizeof *t);

    *out = t;
    if (!t) return qn_error_set(err, QN_ERR_NOMEM, "table of dimensions");
    /* The address is enough of a secret: a file cannot choose numbers that collide without knowing it. */
    t->seed = (uint64_t)(uintptr_t)t * 0x9E3779B97F4A7C15u;
    qn_arena_init(&t->names, 0);
    return QN_OK;
}

void qn_dims_destroy(qn_dims *t)
{
    if (!t) return;
    free(t->e);
    free(t->terms);
    free(t->slots);
    qn_arena_release(&t->names);
    free(t);
}

qn_status qn_dims_clone(const qn_dims *t, qn_dims **out, qn_error *err)
{
    qn_status st = qn_dims_create(out, err);
    qn_dims *c = *out;

    if (st != QN_OK) return st;
    c->seed = t->seed; /* the slots below were placed with it */
    c->n_syms = t->n_syms;
    if (t->n) {
        c->e = malloc((size_t)t->n * sizeof *c->e);
        c->slots = malloc(t->n_slots * sizeof *c->slots);
        if (!c->e || !c->slots) goto no_mem;
        memcpy(c->e, t->e, (size_t)t->n * sizeof *c->e);
        memcpy(c->slots, t->slots, t->n_slots * sizeof *c->slots);
        c->n = c->cap = t->n;
        c->n_slots = t->n_slots;
    }
    if (t->n_terms) {
        c->terms = malloc(t->n_terms * sizeof *c->terms);
        if (!c->terms) goto no_mem;
        memcpy(c->terms, t->terms, t->n_terms * sizeof *c->terms);
        c->n_terms = c->cap_terms = t->n_terms;
    }
    for (int32_t i = 0; i < c->n; i++) {
        if (c->e[i].kind != SYM) continue;
        c->e[i].name = qn_arena_strdup(&c->names, t->e[i].name);
        if (!c->e[i].name) goto no_mem;
    }
    return QN_OK;
no_mem:
    qn_dims_destroy(c);
    *out = NULL;
    return qn_error_set(err, QN_ERR_NOMEM, "copy of a table of dimensions");
}

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0xBF58476D1CE4E5B9u;
    h ^= h >> 29;
    h *= 0x94D049BB133111EBu;
    return h ^ (h >> 32);
}

static uint64_t hash_of(const qn_dims *t, const entry *e, const term *terms)
{
    uint64_t h = mix(t->seed, (uint64_t)e->kind);

    h = mix(h, (uint64_t)e->c0);
    h = mix(h, (uint64_t)(uint32_t)e->a << 32 | (uint32_t)e->b);
    for (uint32_t i = 0; i < e->n; i++) h = mix(mix(h, (uint64_t)terms[i].c), (uint32_t)terms[i].t);
    if (e->name)
        for (const char *p = e->name; *p; p++) h = mix(h, (unsigned char)*p);
    return h;
}

static bool same(const qn_dims *t, const entry *x, const entry *y, const term *y_terms)
{
    if (x->hash != y->hash || x->kind != y->kind || x->c0 != y->c0 || x->a != y->a || x->b != y->b || x->n != y->n) return false;
    for (uint32_t i = 0; i < x->n; i++)
        if (t->terms[x->first + i].c != y_terms[i].c || t->terms[x->first + i].t != y_terms[i].t) return false;
    return x->kind != SYM || strcmp(x->name, y->name) == 0;
}

static bool grow_slots(qn_dims *t)
{
    uint32_t n = t->n_slots ? t->n_slots * 2 : 64;
    int32_t *slots = calloc(n, sizeof *slots);

    if (!slots) return false;
    for (int32_t i = 0; i < t->n; i++) {
        uint32_t s = (uint32_t)t->e[i].hash & (n - 1);

        while (slots[s]) s = (s + 1) & (n - 1);
        slots[s] = i + 1;
    }
    free(t->slots);
    t->slots = slots;
    t->n_slots = n;
    return true;
}

static bool grow(qn_dims *t, uint32_t more_terms)
{
    if (t->n == t->cap) {
        int32_t cap = t->cap ? t->cap * 2 : 32;
        entry *e = realloc(t->e, (size_t)cap * sizeof *e);

        if (!e) return false;
        t->e = e;
        t->cap = cap;
    }
    if (t->cap_terms - t->n_terms < more_terms) {
        uint32_t cap = t->cap_terms * 2 + MAX_TERMS; /* at most 32 terms an entry and 2^20 entries: no overflow */
        term *terms = realloc(t->terms, cap * sizeof *terms);

        if (!terms) return false;
        t->terms = terms;
        t->cap_terms = cap;
    }
    return (uint32_t)t->n * 2 < t->n_slots || grow_slots(t);
}

static int32_t depth_of(const qn_dims *t, const entry *e, const term *terms)
{
    int32_t d = 0;

    for (uint32_t i = 0; i < e->n; i++)
        if (t->e[terms[i].t].depth > d) d = t->e[terms[i].t].depth;
    if (e->kind >= FDIV) {
        if (t->e[e->a].depth > d) d = t->e[e->a].depth;
        if (t->e[e->b].depth > d) d = t->e[e->b].depth;
    }
    return d + 1;
}

static uint64_t syms_of(const qn_dims *t, const entry *e, const term *terms)
{
    uint64_t m = 0;

    if (e->kind == SYM) return t->n_syms < 63 ? UINT64_C(1) << t->n_syms : SHARED_BIT;
    for (uint32_t i = 0; i < e->n; i++) m |= t->e[terms[i].t].syms;
    return e->kind >= FDIV ? m | t->e[e->a].syms | t->e[e->b].syms : m;
}

static bool nonneg_of(const qn_dims *t, const entry *e, const term *terms)
{
    int64_t v;

    switch (e->kind) {
    case CONST: return e->c0 >= 0;
    case SYM: return true;
    case SUM:
        for (uint32_t i = 0; i < e->n; i++)
            if (terms[i].c < 0 || !t->e[terms[i].t].nonneg) return false;
        return e->c0 >= 0;
    case PROD:
        for (uint32_t i = 0; i < e->n; i++)
            if (!t->e[terms[i].t].nonneg) return false;
        return true;
    case FDIV: return t->e[e->a].nonneg && (t->e[e->b].nonneg || (qn_dims_value(t, e->b, &v) && v > 0));
    case MIN: return t->e[e->a].nonneg && t->e[e->b].nonneg;
    case MAX: return t->e[e->a].nonneg || t->e[e->b].nonneg;
    }
    return false;
}

/* The id of e, whose SUM and PROD terms are in `terms`; made if it is new. */
static qn_dim intern(qn_dims *t, entry *e, const term *terms)
{
    uint32_t s;

    e->hash = hash_of(t, e, terms);
    if (t->n_slots) {
        for (s = (uint32_t)e->hash & (t->n_slots - 1); t->slots[s]; s = (s + 1) & (t->n_slots - 1))
            if (same(t, &t->e[t->slots[s] - 1], e, terms)) return t->slots[s] - 1;
    }
    e->depth = depth_of(t, e, terms);
    if (e->depth > MAX_DEPTH) return QN_DIM_UNKNOWN;
    if (t->n >= MAX_ENTRIES) return fail(t, QN_ERR_LIMIT, "more than 1048576 different dimension expressions");
    if (!grow(t, e->n)) return no_memory(t);
    e->nonneg = nonneg_of(t, e, terms);
    e->syms = syms_of(t, e, terms);
    if (e->kind == SYM) {
        e->name = qn_arena_strdup(&t->names, e->name);
        if (!e->name) return no_memory(t);
        t->n_syms++;
    }
    e->first = t->n_terms;
    if (e->n) memcpy(t->terms + t->n_terms, terms, e->n * sizeof *terms);
    t->n_terms += e->n;
    for (s = (uint32_t)e->hash & (t->n_slots - 1); t->slots[s]; s = (s + 1) & (t->n_slots - 1)) {}
    t->slots[s] = t->n + 1;
    t->e[t->n] = *e;
    return t->n++;
}

qn_dim qn_dims_const(qn_dims *t, int64_t v)
{
    entry e = { .kind = CONST, .c0 = v };

    return intern(t, &e, NULL);
}

qn_dim qn_dims_symbol(qn_dims *t, const char *name)
{
    char cut[MAX_NAME];
    entry e = { .kind = SYM, .name = name };

    if (strlen(name) >= sizeof cut) { /* a longer name could only come from a file made to be long */
        memcpy(cut, name, sizeof cut - 1);
        cut[sizeof cut - 1] = '\0';
        e.name = cut;
    }
    return intern(t, &e, NULL);
}

/* -- sums ----------------------------------------------------------------------------------------------------------------- */

static void sum_of(const qn_dims *t, qn_dim d, sum *s)
{
    const entry *e = &t->e[d];

    s->c0 = 0;
    s->n = 0;
    if (e->kind == CONST) {
        s->c0 = e->c0;
    } else if (e->kind == SUM) {
        s->c0 = e->c0;
        s->n = (int32_t)e->n;
        memcpy(s->t, t->terms + e->first, e->n * sizeof *s->t);
    } else {
        s->n = 1;
        s->t[0] = (term){ 1, d };
    }
}

static qn_dim intern_sum(qn_dims *t, const sum *s)
{
    entry e = { .kind = SUM, .c0 = s->c0, .n = (uint32_t)s->n };

    if (s->n == 0) return qn_dims_const(t, s->c0);
    if (s->n == 1 && s->c0 == 0 && s->t[0].c == 1) return s->t[0].t;
    return intern(t, &e, s->t);
}

typedef enum fit { FIT_OK, FIT_OVERFLOW, FIT_TOO_BIG } fit;

static qn_dim misfit(qn_dims *t, fit f) { return f == FIT_OVERFLOW ? overflow(t) : QN_DIM_UNKNOWN; }

/* s += c * x, keeping the terms sorted. */
static fit sum_add_term(sum *s, int64_t c, qn_dim x)
{
    int32_t i = 0;

    while (i < s->n && s->t[i].t < x) i++;
    if (i < s->n && s->t[i].t == x) {
        if (!qn_i64_add(s->t[i].c, c, &s->t[i].c)) return FIT_OVERFLOW;
        if (s->t[i].c == 0) {
            s->n--;
            memmove(s->t + i, s->t + i + 1, (size_t)(s->n - i) * sizeof *s->t);
        }
        return FIT_OK;
    }
    if (s->n == MAX_TERMS) return FIT_TOO_BIG;
    memmove(s->t + i + 1, s->t + i, (size_t)(s->n - i) * sizeof *s->t);
    s->t[i] = (term){ c, x };
    s->n++;
    return FIT_OK;
}

/* s += k * b */
static fit sum_add_scaled(sum *s, int64_t k, const sum *b)
{
    int64_t v;
    fit f = FIT_OK;

    if (!qn_i64_mul(b->c0, k, &v) || !qn_i64_add(s->c0, v, &s->c0)) return FIT_OVERFLOW;
    for (int32_t i = 0; i < b->n && f == FIT_OK; i++) f = qn_i64_mul(b->t[i].c, k, &v) ? sum_add_term(s, v, b->t[i].t) : FIT_OVERFLOW;
    return f;
}

/* a + k * b */
static qn_dim add_scaled(qn_dims *t, qn_dim a, int64_t k, qn_dim b)
{
    sum x, y;
    fit f;

    if (a < 0 || b < 0) return QN_DIM_UNKNOWN;
    sum_of(t, a, &x);
    sum_of(t, b, &y);
    f = sum_add_scaled(&x, k, &y);
    return f == FIT_OK ? intern_sum(t, &x) : misfit(t, f);
}

qn_dim qn_dims_add(qn_dims *t, qn_dim a, qn_dim b) { return add_scaled(t, a, 1, b); }

qn_dim qn_dims_sub(qn_dims *t, qn_dim a, qn_dim b) { return add_scaled(t, a, -1, b); }

/* -- products ------------------------------------------------------------------------------------------------------------- */

/* The factors of an atom, sorted. */
static int32_t factors_of(const qn_dims *t, qn_dim d, qn_dim f[MAX_FACTORS])
{
    const entry *e = &t->e[d];

    if (e->kind != PROD) {
        f[0] = d;
        return 1;
    }
    for (uint32_t i = 0; i < e->n; i++) f[i] = t->terms[e->first + i].t;
    return (int32_t)e->n;
}

static qn_dim intern_prod(qn_dims *t, const qn_dim *f, int32_t n)
{
    term terms[MAX_FACTORS];
    entry e = { .kind = PROD, .n = (uint32_t)n };

    if (n == 0) return qn_dims_const(t, 1);
    if (n == 1) return f[0];
    for (int32_t i = 0; i < n; i++) terms[i] = (term){ 1, f[i] };
    return intern(t, &e, terms);
}

/* Product of two atoms; UNKNOWN if it has too many factors. */
static qn_dim mul_atoms(qn_dims *t, qn_dim a, qn_dim b)
{
    qn_dim x[MAX_FACTORS], y[MAX_FACTORS], m[MAX_FACTORS];
    int32_t nx = factors_of(t, a, x), ny = factors_of(t, b, y), i = 0, j = 0, n = 0;

    if (nx + ny > MAX_FACTORS) return QN_DIM_UNKNOWN;
    while (i < nx || j < ny) m[n++] = (j == ny || (i < nx && x[i] <= y[j])) ? x[i++] : y[j++];
    return intern_prod(t, m, n);
}

qn_dim qn_dims_mul(qn_dims *t, qn_dim a, qn_dim b)
{
    sum x, y, r = { 0 };
    int64_t c;
    fit f;

    if (a < 0 || b < 0) return QN_DIM_UNKNOWN;
    sum_of(t, a, &x);
    sum_of(t, b, &y);
    if (x.n * y.n > MAX_TERMS) return QN_DIM_UNKNOWN;
    f = sum_add_scaled(&r, x.c0, &y);
    for (int32_t i = 0; i < x.n && f == FIT_OK; i++) {
        if (!qn_i64_mul(x.t[i].c, y.c0, &c)) return overflow(t);
        f = c ? sum_add_term(&r, c, x.t[i].t) : FIT_OK;
        for (int32_t j = 0; j < y.n && f == FIT_OK; j++) {
            qn_dim p = mul_atoms(t, x.t[i].t, y.t[j].t);

            if (p < 0) return QN_DIM_UNKNOWN;
            if (!qn_i64_mul(x.t[i].c, y.t[j].c, &c)) return overflow(t);
            f = sum_add_term(&r, c, p);
        }
    }
    if (f != FIT_OK) return misfit(t, f);
    for (int32_t i = r.n - 1; i >= 0; i--) /* a factor 0 leaves terms with coefficient 0 */
        if (r.t[i].c == 0) {
            r.n--;
            memmove(r.t + i, r.t + i + 1, (size_t)(r.n - i) * sizeof *r.t);
        }
    return intern_sum(t, &r);
}

/* -- division ------------------------------------------------------------------------------------------------------------- */

static int64_t floor_div(int64_t a, int64_t b) /* b > 0 */
{
    int64_t q = a / b;

    return q - (a % b < 0);
}

static int64_t floor_mod(int64_t a, int64_t b) /* b > 0; a - floor_div(a, b) * b, which may not fit on the way */
{
    int64_t m = a % b;

    return m < 0 ? m + b : m;
}

static int64_t gcd(int64_t a, int64_t b) /* a, b >= 0, not both 0 */
{
    while (b) {
        int64_t r = a % b;

        a = b;
        b = r;
    }
    return a;
}

static qn_dim opaque(qn_dims *t, kind k, qn_dim a, qn_dim b)
{
    entry e = { .kind = k, .a = a, .b = b };

    return a < 0 || b < 0 ? QN_DIM_UNKNOWN : intern(t, &e, NULL);
}

/* floor(s / b) for b > 1 where no coefficient of s is a multiple of b. */
static qn_dim div_rest(qn_dims *t, sum *s, int64_t b)
{
    int64_t g = b, v;

    for (int32_t i = 0; i < s->n; i++) {
        int64_t m = s->t[i].c % b; /* |m| < b: no overflow where the coefficient is INT64_MIN */

        g = gcd(g, m < 0 ? -m : m);
    }
    for (int32_t i = 0; i < s->n; i++) s->t[i].c /= g; /* floor((g*r + c) / (g*b)) = floor((r + floor(c / g)) / b) */
    s->c0 = floor_div(s->c0, g);
    b /= g;
    if (b == 1) return intern_sum(t, s);
    if (s->n == 1 && s->t[0].c == 1 && t->e[s->t[0].t].kind == FDIV && qn_dims_value(t, t->e[s->t[0].t].b, &v) && v > 0) {
        int64_t k, bb;
        sum k_sum = { 0 }, inner;

        /* floor((floor(x / v) + k) / b) = floor((x + k*v) / (v*b)): a chain of strided convolutions stays one division */
        if (qn_i64_mul(s->c0, v, &k) && qn_i64_mul(v, b, &bb)) {
            sum_of(t, t->e[s->t[0].t].a, &inner);
            k_sum.c0 = k;
            if (sum_add_scaled(&inner, 1, &k_sum) == FIT_OK) return qn_dims_floordiv(t, intern_sum(t, &inner), qn_dims_const(t, bb));
        }
    }
    return opaque(t, FDIV, intern_sum(t, s), qn_dims_const(t, b));
}

/* floor(a / b) for b > 1: what divides leaves the division. */
static qn_dim div_const(qn_dims *t, qn_dim a, int64_t b)
{
    sum x, whole = { 0 }, rest = { 0 };
    qn_dim r;

    sum_of(t, a, &x);
    whole.c0 = floor_div(x.c0, b);
    rest.c0 = floor_mod(x.c0, b);
    for (int32_t i = 0; i < x.n; i++) {
        if (x.t[i].c % b == 0)
            whole.t[whole.n++] = (term){ x.t[i].c / b, x.t[i].t };
        else
            rest.t[rest.n++] = x.t[i];
    }
    if (rest.n == 0) return intern_sum(t, &whole);
    r = div_rest(t, &rest, b);
    return qn_dims_add(t, intern_sum(t, &whole), r);
}

/* a / b where b = c * (product of atoms) and every term of a has those atoms: true and *out = a / (the atoms). */
static bool cancel(qn_dims *t, const sum *a, qn_dim b_atom, qn_dim *out)
{
    qn_dim fb[MAX_FACTORS], fa[MAX_FACTORS];
    int32_t nb = factors_of(t, b_atom, fb), na;
    sum r = { 0 };

    if (a->c0 != 0) return false;
    for (int32_t i = 0; i < a->n; i++) {
        int32_t k = 0, n = 0;
        qn_dim p;

        na = factors_of(t, a->t[i].t, fa);
        for (int32_t j = 0; j < na; j++) {
            if (k < nb && fa[j] == fb[k])
                k++;
            else
                fa[n++] = fa[j];
        }
        if (k < nb) return false;
        p = intern_prod(t, fa, n);
        if (p < 0) return false;
        if (n == 0) {
            if (!qn_i64_add(r.c0, a->t[i].c, &r.c0)) return false;
        } else if (sum_add_term(&r, a->t[i].c, p) != FIT_OK) {
            return false;
        }
    }
    *out = intern_sum(t, &r);
    return *out >= 0;
}

qn_dim qn_dims_floordiv(qn_dims *t, qn_dim a, qn_dim b)
{
    sum x, y;
    int64_t v;
    qn_dim q;

    if (qn_dims_value(t, b, &v) && v == 0) return fail(t, QN_ERR_RANGE, "a dimension is divided by zero");
    if (a < 0 || b < 0) return QN_DIM_UNKNOWN;
    if (a == b) return qn_dims_const(t, 1);
    sum_of(t, a, &x);
    if (qn_dims_value(t, b, &v)) {
        if (v > 0) return v == 1 ? a : div_const(t, a, v);
        if (v == INT64_MIN) return overflow(t);
        q = qn_dims_sub(t, qn_dims_const(t, 0), a);
        return q < 0 ? QN_DIM_UNKNOWN : v == -1 ? q : div_const(t, q, -v);
    }
    if (x.n == 0 && x.c0 == 0) return a;
    sum_of(t, b, &y);
    if (y.n == 1 && y.c0 == 0 && y.t[0].c > 0 && cancel(t, &x, y.t[0].t, &q)) return qn_dims_floordiv(t, q, qn_dims_const(t, y.t[0].c));
    return opaque(t, FDIV, a, b);
}

qn_dim qn_dims_ceildiv(qn_dims *t, qn_dim a, qn_dim b)
{
    int64_t v;
    qn_dim zero;

    if (qn_dims_value(t, b, &v) && v > 0) return qn_dims_floordiv(t, qn_dims_add(t, a, qn_dims_const(t, v - 1)), b);
    zero = qn_dims_const(t, 0); /* ceil(a / b) = -floor(-a / b) */
    return qn_dims_sub(t, zero, qn_dims_floordiv(t, qn_dims_sub(t, zero, a), b));
}

/* -- min, max, questions -------------------------------------------------------------------------------------------------- */

bool qn_dims_nonneg(const qn_dims *t, qn_dim d) { return d >= 0 && t->e[d].nonneg; }

/* a - b without remembering an overflow. */
static qn_dim difference(qn_dims *t, qn_dim a, qn_dim b)
{
    qn_dim d;

    t->quiet++;
    d = qn_dims_sub(t, a, b);
    t->quiet--;
    return d;
}

static qn_dim min_or_max(qn_dims *t, kind k, qn_dim a, qn_dim b)
{
    if (a < 0 || b < 0) return QN_DIM_UNKNOWN;
    if (a == b) return a;
    if (t->e[a].kind == CONST && t->e[b].kind == CONST) return (t->e[a].c0 < t->e[b].c0) == (k == MIN) ? a : b;
    /* An end beyond every size, as in Slice: no dimension passes 2^62. */
    if (k == MIN && t->e[b].kind == CONST && t->e[b].c0 >= INT64_C(1) << 62) return a;
    if (k == MIN && t->e[a].kind == CONST && t->e[a].c0 >= INT64_C(1) << 62) return b;
    if (qn_dims_nonneg(t, difference(t, a, b))) return k == MIN ? b : a;
    if (qn_dims_nonneg(t, difference(t, b, a))) return k == MIN ? a : b;
    return a < b ? opaque(t, k, a, b) : opaque(t, k, b, a);
}

qn_dim qn_dims_min(qn_dims *t, qn_dim a, qn_dim b) { return min_or_max(t, MIN, a, b); }

qn_dim qn_dims_max(qn_dims *t, qn_dim a, qn_dim b) { return min_or_max(t, MAX, a, b); }

bool qn_dims_is_capped(const qn_dims *t, qn_dim d, qn_dim of)
{
    const entry *e = d >= 0 && d < t->n ? &t->e[d] : NULL;
    int64_t k;

    if (!e || e->kind != MIN || (e->a != of && e->b != of)) return false;
    return qn_dims_value(t, e->a == of ? e->b : e->a, &k) && k >= 1;
}

bool qn_dims_differ(qn_dims *t, qn_dim a, qn_dim b)
{
    qn_dim d;
    int64_t v;

    if (a < 0 || b < 0 || a == b) return false;
    d = difference(t, a, b);
    if (qn_dims_value(t, d, &v)) return v != 0;
    /* a >= b + 1 or b >= a + 1: a size is no -1, and N is no N*M + N + 1 */
    return qn_dims_nonneg(t, difference(t, d, qn_dims_const(t, 1))) || qn_dims_nonneg(t, difference(t, qn_dims_const(t, -1), d));
}

bool qn_dims_value(const qn_dims *t, qn_dim d, int64_t *v)
{
    if (d < 0 || d >= t->n || t->e[d].kind != CONST) return false;
    *v = t->e[d].c0;
    return true;
}

const char *qn_dims_symbol_name(const qn_dims *t, qn_dim d) { return d >= 0 && d < t->n && t->e[d].kind == SYM ? t->e[d].name : NULL; }

bool qn_dims_affine(const qn_dims *t, qn_dim d, qn_dim sym, int64_t *c0, int64_t *c1)
{
    sum s;

    if (d < 0 || sym < 0 || t->e[sym].kind != SYM) return false;
    sum_of(t, d, &s);
    if (s.n > 1 || (s.n == 1 && s.t[0].t != sym)) return false;
    *c0 = s.c0;
    *c1 = s.n ? s.t[0].c : 0;
    return true;
}

bool qn_dims_depends(const qn_dims *t, qn_dim d, qn_dim sym)
{
    bool *seen;
    bool found;
    qn_dim lo = sym;

    if (d < 0 || sym < 0 || d < sym) return false; /* parents are younger */
    if (d == sym) return true;
    if (!(t->e[d].syms & t->e[sym].syms)) return false;
    if (t->e[sym].syms != SHARED_BIT) return true;
    seen = calloc((size_t)(d - lo) + 1, sizeof *seen);
    if (!seen) return true; /* every caller asks in order to allow something when the answer is no */
    seen[d - lo] = true;
    for (qn_dim i = d; i > lo; i--) { /* parents first: one pass marks all that is reachable */
        const entry *e = &t->e[i];

        if (!seen[i - lo]) continue;
        for (uint32_t k = 0; k < e->n; k++)
            if (t->terms[e->first + k].t >= lo) seen[t->terms[e->first + k].t - lo] = true;
        if (e->kind >= FDIV) {
            if (e->a >= lo) seen[e->a - lo] = true;
            if (e->b >= lo) seen[e->b - lo] = true;
        }
    }
    found = seen[0];
    free(seen);
    return found;
}

bool qn_dims_is_multiple(const qn_dims *t, qn_dim d, qn_dim sym)
{
    sum s;
    qn_dim f[MAX_FACTORS];

    if (d < 0 || sym < 0) return false;
    sum_of(t, d, &s);
    for (int32_t i = 0; i < s.n; i++) {
        int32_t n = factors_of(t, s.t[i].t, f), found = 0;

        for (int32_t k = 0; k < n; k++) {
            if (f[k] == sym)
                found++;
            else if (!t->e[f[k]].nonneg || qn_dims_depends(t, f[k], sym))
                return false;
        }
        if (found != 1 || s.t[i].c < 0) return false;
    }
    return s.n > 0 && s.c0 == 0;
}

qn_status qn_dims_status(const qn_dims *t, qn_error *err)
{
    if (t->first.status != QN_OK && err) *err = t->first;
    return t->first.status;
}

void qn_dims_clear(qn_dims *t) { t->first = (qn_error){ 0 }; }

/* -- printing ------------------------------------------------------------------------------------------------------------- */

typedef struct printer {
    char *p;
    size_t left; /* terminator included */
} printer;

__attribute__((format(printf, 2, 3))) static void put(printer *o, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(o->p, o->left, fmt, ap);
    va_end(ap);
    if (n < 0) return;
    if ((size_t)n >= o->left) n = (int)(o->left - 1);
    o->p += n;
    o->left -= (size_t)n;
}

/* Recursion: no deeper than MAX_DEPTH, and it stops when the buffer is full. */
static void print(const qn_dims *t, qn_dim d, printer *o)
{
    const entry *e = &t->e[d];

    if (o->left <= 1) return;
    switch (e->kind) {
    case CONST: put(o, "%" PRId64, e->c0); break;
    case SYM: put(o, "%s", e->name); break;
    case SUM:
        for (uint32_t i = 0; i < e->n; i++) {
            const term *k = &t->terms[e->first + i];

            if (k->c == -1)
                put(o, "-");
            else
                put(o, "%s", i && k->c > 0 ? "+" : "");
            if (k->c != 1 && k->c != -1) put(o, "%" PRId64 "*", k->c);
            print(t, k->t, o);
        }
        if (e->c0) put(o, "%+" PRId64, e->c0);
        break;
    case PROD:
        for (uint32_t i = 0; i < e->n; i++) {
            if (i) put(o, "*");
            print(t, t->terms[e->first + i].t, o);
        }
        break;
    case FDIV:
    case MIN:
    case MAX:
        put(o, "%s(", e->kind == FDIV ? "floor" : e->kind == MIN ? "min" : "max");
        print(t, e->a, o);
        put(o, e->kind == FDIV ? ")/(" : ",");
        print(t, e->b, o);
        put(o, ")");
        break;
    }
}

const char *qn_dims_print(const qn_dims *t, qn_dim d, char *buf, size_t cap)
{
    printer o = { buf, cap };

    if (cap == 0) return buf;
    buf[0] = '\0';
    if (d < 0 || d >= t->n)
        put(&o, "?");
    else
        print(t, d, &o);
    return buf;
}
