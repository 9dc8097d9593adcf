/* core/kernels/move/table.c - see table.h. */
#include "core/kernels/move/table.h"

#include <string.h>

#define GRAIN 16384 /* output elements a tile should have at least */

/* -- by table ------------------------------------------------------------------------------------------------------------- */

typedef struct lookup {
    const qn_move_tables *t;
    size_t elem;
    const char *src;
    char *dst;
    int64_t rows, per_tile;
} lookup;

#define ROW(type)                                                                                                                          \
    for (int64_t i = 0; i < n; i++) ((type *)dst)[i] = ((const type *)src)[last[i]]

static void copy_row(const lookup *l, const char *src, char *dst)
{
    const int64_t *last = l->t->from[l->t->rank - 1], n = l->t->dims[l->t->rank - 1];

    switch (l->elem) {
    case 1: ROW(uint8_t); break;
    case 2: ROW(uint16_t); break;
    case 4: ROW(uint32_t); break;
    default: ROW(uint64_t); break;
    }
}

static void lookup_tile(void *ctx, int64_t tile, int member)
{
    const lookup *l = ctx;
    const qn_move_tables *t = l->t;
    const size_t row_bytes = (size_t)t->dims[t->rank - 1] * l->elem;
    int64_t at[QN_MAX_RANK] = { 0 }, first = tile * l->per_tile, last = first + l->per_tile, rest = first, previous = -1;

    (void)member;
    if (last > l->rows) last = l->rows;
    for (int32_t a = t->rank - 2; a >= 0; a--) {
        at[a] = rest % t->dims[a];
        rest /= t->dims[a];
    }
    for (int64_t row = first; row < last; row++) {
        char *dst = l->dst + (size_t)row * row_bytes;
        int64_t from = 0;

        for (int32_t a = 0; a < t->rank - 1; a++) from += t->from[a][at[a]];
        if (from == previous)
            memcpy(dst, dst - row_bytes, row_bytes); /* enlarging repeats rows */
        else
            copy_row(l, l->src + (size_t)from * l->elem, dst);
        previous = from;
        for (int32_t a = t->rank - 2; a >= 0; a--) {
            if (++at[a] < t->dims[a]) break;
            at[a] = 0;
        }
    }
}

void qn_move_by_table(const qn_move_tables *t, size_t elem, const void *src, void *dst, qn_team *team)
{
    lookup l = { .t = t, .elem = elem, .src = src, .dst = dst, .rows = 1 };
    int64_t n = t->dims[t->rank - 1];

    for (int32_t a = 0; a < t->rank - 1; a++) l.rows *= t->dims[a];
    if (l.rows == 0 || n == 0) return;
    l.per_tile = n >= GRAIN ? 1 : GRAIN / n;
    qn_team_run(l.rows > l.per_tile ? team : NULL, (l.rows + l.per_tile - 1) / l.per_tile, lookup_tile, &l);
}

/* -- filters -------------------------------------------------------------------------------------------------------------- */

typedef struct filter {
    const qn_move_filter *f;
    const void *src;
    void *dst;
    int64_t inner, rows, per_tile; /* a row is one place of one outer position: inner elements */
} filter;

#define FILTER(name, type)                                                                                                                 \
    static void name##_tile(void *ctx, int64_t tile, int member)                                                                           \
    {                                                                                                                                      \
        const filter *w = ctx;                                                                                                             \
        const qn_move_filter *f = w->f;                                                                                                    \
        const int64_t inner = w->inner, taps = f->taps;                                                                                    \
        int64_t last = (tile + 1) * w->per_tile < w->rows ? (tile + 1) * w->per_tile : w->rows;                                            \
                                                                                                                                           \
        (void)member;                                                                                                                      \
        for (int64_t row = tile * w->per_tile; row < last; row++) {                                                                        \
            int64_t j = row % f->n_out;                                                                                                    \
            const int64_t *index = f->index + j * taps;                                                                                    \
            const double *weight = f->weight + j * taps;                                                                                   \
            const type *s = (const type *)w->src + row / f->n_out * f->n_in * inner;                                                       \
            type *d = (type *)w->dst + row * inner;                                                                                        \
                                                                                                                                           \
            if (inner == 1) {                                                                                                              \
                type sum = s[index[0]] * (type)weight[0];                                                                                  \
                                                                                                                                           \
                for (int64_t t = 1; t < taps; t++) sum += s[index[t]] * (type)weight[t];                                                   \
                *d = sum;                                                                                                                  \
                continue;                                                                                                                  \
            }                                                                                                                              \
            for (int64_t i = 0; i < inner; i++) d[i] = s[index[0] * inner + i] * (type)weight[0];                                          \
            for (int64_t t = 1; t < taps; t++)                                                                                             \
                for (int64_t i = 0; i < inner; i++) d[i] += s[index[t] * inner + i] * (type)weight[t];                                     \
        }                                                                                                                                  \
    }                                                                                                                                      \
    void qn_move_##name(const qn_move_filter *f, const type *src, type *dst, int64_t outer, int64_t inner, qn_team *team)                  \
    {                                                                                                                                      \
        filter w = { .f = f, .src = src, .dst = dst, .inner = inner, .rows = outer * f->n_out };                                           \
                                                                                                                                           \
        if (w.rows == 0 || inner == 0) return;                                                                                             \
        w.per_tile = inner >= GRAIN ? 1 : GRAIN / inner;                                                                                   \
        qn_team_run(w.rows > w.per_tile ? team : NULL, (w.rows + w.per_tile - 1) / w.per_tile, name##_tile, &w);                           \
    }
FILTER(filter_f32, float)
FILTER(filter_f64, double)
