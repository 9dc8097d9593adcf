/* core/kernels/move/copy.c - the strided copy.
 * First the axes are simplified: length 1 goes away, and neighbours that are contiguous in both src and dst become one. What is
 * left runs in one of three ways:
 *   RUN      the last axis is contiguous in both: memcpy
 *   PAIR     the last axis is contiguous in dst, another in src: a transpose, in blocks that stay in L1
 *   STRIDED  anything else: one element at a time */
#include "core/kernels/move/move.h"

#include <string.h>

#define GRAIN 32768 /* elements a tile should have at least: 10 us of copying, well above the price of taking a tile */
#define BLOCK 32    /* 32 x 32 elements of 8 bytes are 8 KiB a side: both sides fit in L1 */

typedef enum way { WAY_RUN, WAY_PAIR, WAY_STRIDED } way;

typedef struct copy {
    qn_move m; /* simplified, without the inner axes */
    way how;
    size_t elem;
    const char *src;
    char *dst;
    int64_t n, src_step, dst_step; /* the last axis */
    int64_t pair, pair_dst;        /* PAIR: length and dst step of the axis that is contiguous in src */
    int64_t units, per_tile;       /* outer positions (times chunks of the pair), and how many a tile takes */
    int64_t chunks;                /* PAIR: pieces of BLOCK the pair axis is cut into */
} copy;

static void simplify(const qn_move *m, qn_move *s)
{
    s->rank = 0;
    for (int32_t a = 0; a < m->rank; a++) {
        int32_t l = s->rank - 1;

        if (m->dims[a] == 1) continue;
        if (l >= 0 && s->src[l] == m->src[a] * m->dims[a] && s->dst[l] == m->dst[a] * m->dims[a]) {
            s->dims[l] *= m->dims[a];
            s->src[l] = m->src[a];
            s->dst[l] = m->dst[a];
            continue;
        }
        s->dims[s->rank] = m->dims[a];
        s->src[s->rank] = m->src[a];
        s->dst[s->rank] = m->dst[a];
        s->rank++;
    }
}

static void drop_axis(qn_move *m, int32_t axis)
{
    m->rank--;
    for (int32_t a = axis; a < m->rank; a++) {
        m->dims[a] = m->dims[a + 1];
        m->src[a] = m->src[a + 1];
        m->dst[a] = m->dst[a + 1];
    }
}

#define STRIDED(type)                                                                                                                      \
    do {                                                                                                                                   \
        const type *s = (const type *)src;                                                                                                 \
        type *d = (type *)dst;                                                                                                             \
        for (int64_t i = 0; i < c->n; i++) d[i * c->dst_step] = s[i * c->src_step];                                                        \
    } while (0)

static void run_strided(const copy *c, const char *src, char *dst)
{
    switch (c->elem) {
    case 1: STRIDED(uint8_t); break;
    case 2: STRIDED(uint16_t); break;
    case 4: STRIDED(uint32_t); break;
    default: STRIDED(uint64_t); break;
    }
}

#define PAIR(type)                                                                                                                         \
    do {                                                                                                                                   \
        const type *s = (const type *)src;                                                                                                 \
        type *d = (type *)dst;                                                                                                             \
        for (int64_t k0 = 0; k0 < c->n; k0 += BLOCK) {                                                                                     \
            int64_t k1 = k0 + BLOCK < c->n ? k0 + BLOCK : c->n;                                                                            \
            for (int64_t i = i0; i < i1; i++)                                                                                              \
                for (int64_t k = k0; k < k1; k++) d[i * c->pair_dst + k] = s[i + k * c->src_step];                                         \
        }                                                                                                                                  \
    } while (0)

static void run_pair(const copy *c, const char *src, char *dst, int64_t i0, int64_t i1)
{
    switch (c->elem) {
    case 1: PAIR(uint8_t); break;
    case 2: PAIR(uint16_t); break;
    case 4: PAIR(uint32_t); break;
    default: PAIR(uint64_t); break;
    }
}

static void run_tile(void *ctx, int64_t tile, int member)
{
    const copy *c = ctx;
    int64_t first = tile * c->per_tile, last = first + c->per_tile, at[QN_MOVE_MAX_RANK];
    int64_t chunk = first % c->chunks, rest = first / c->chunks, so = 0, to = 0;

    (void)member;
    if (last > c->units) last = c->units;
    for (int32_t a = c->m.rank - 1; a >= 0; a--) {
        at[a] = rest % c->m.dims[a];
        rest /= c->m.dims[a];
        so += at[a] * c->m.src[a];
        to += at[a] * c->m.dst[a];
    }
    for (int64_t u = first; u < last; u++) {
        const char *src = c->src + so * (int64_t)c->elem;
        char *dst = c->dst + to * (int64_t)c->elem;

        if (c->how == WAY_RUN) {
            memcpy(dst, src, (size_t)c->n * c->elem);
        } else if (c->how == WAY_STRIDED) {
            run_strided(c, src, dst);
        } else {
            int64_t i0 = chunk * BLOCK, i1 = i0 + BLOCK < c->pair ? i0 + BLOCK : c->pair;

            run_pair(c, src, dst, i0, i1);
            if (++chunk < c->chunks) continue;
            chunk = 0;
        }
        for (int32_t a = c->m.rank - 1; a >= 0; a--) { /* one further, like a counter */
            so += c->m.src[a];
            to += c->m.dst[a];
            if (++at[a] < c->m.dims[a]) break;
            so -= c->m.src[a] * c->m.dims[a];
            to -= c->m.dst[a] * c->m.dims[a];
            at[a] = 0;
        }
    }
}

void qn_move_copy(const qn_move *m, size_t elem, const void *src, void *dst, qn_team *team)
{
    copy c = { .elem = elem, .src = src, .dst = dst, .how = WAY_STRIDED, .n = 1, .src_step = 1, .dst_step = 1, .chunks = 1 };
    int64_t inner;

    for (int32_t a = 0; a < m->rank; a++)
        if (m->dims[a] == 0) return;
    simplify(m, &c.m);
    if (c.m.rank > 0) {
        int32_t l = --c.m.rank;

        c.n = c.m.dims[l];
        c.src_step = c.m.src[l];
        c.dst_step = c.m.dst[l];
    }
    inner = c.n;
    if (c.dst_step == 1 && c.src_step == 1) {
        c.how = WAY_RUN;
    } else if (c.dst_step == 1) {
        int32_t p = c.m.rank - 1;

        while (p >= 0 && c.m.src[p] != 1) p--;
        if (p >= 0) {
            c.how = WAY_PAIR;
            c.pair = c.m.dims[p];
            c.pair_dst = c.m.dst[p];
            c.chunks = (c.pair + BLOCK - 1) / BLOCK;
            inner = c.n * (c.pair < BLOCK ? c.pair : BLOCK);
            drop_axis(&c.m, p);
        }
    }
    c.units = c.chunks;
    for (int32_t a = 0; a < c.m.rank; a++) c.units *= c.m.dims[a];
    c.per_tile = inner >= GRAIN ? 1 : GRAIN / inner;
    if (c.units <= c.per_tile) {
        c.per_tile = c.units;
        run_tile(&c, 0, 0);
        return;
    }
    qn_team_run(team, (c.units + c.per_tile - 1) / c.per_tile, run_tile, &c);
}

void qn_move_fill(void *dst, int64_t n, size_t elem, const void *value)
{
    qn_move m = { .rank = 1, .dims = { n }, .src = { 0 }, .dst = { 1 } };

    if (n == 0) return;
    if (elem == 1) {
        memset(dst, *(const uint8_t *)value, (size_t)n);
        return;
    }
    qn_move_copy(&m, elem, value, dst, NULL);
}
