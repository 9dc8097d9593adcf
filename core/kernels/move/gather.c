/* core/kernels/move/gather.c - rows picked by index. */
#include "core/kernels/move/move.h"

#include <string.h>

#define GRAIN_BYTES 131072 /* bytes a tile should move at least */

typedef struct gather {
    const char *src;
    char *dst;
    int64_t axis, n, rows, per_tile;
    size_t block;
    qn_move_index index;
} gather;

/* A block of a known size is one move; the general memcpy is a call. */
#define PICK(size) memcpy(g->dst + row * (size), g->src + from * (size), size)

static void run_tile(void *ctx, int64_t tile, int member)
{
    const gather *g = ctx;
    int64_t first = tile * g->per_tile, last = first + g->per_tile;

    (void)member;
    if (last > g->rows) last = g->rows;
    for (int64_t row = first; row < last; row++) {
        int64_t k = qn_move_at(g->index, row % g->n), from = row / g->n * g->axis + (k < 0 ? k + g->axis : k);

        switch (g->block) {
        case 1: PICK(1); break;
        case 2: PICK(2); break;
        case 4: PICK(4); break;
        case 8: PICK(8); break;
        default: memcpy(g->dst + (size_t)row * g->block, g->src + (size_t)from * g->block, g->block); break;
        }
    }
}

void qn_move_gather(const void *src, void *dst, int64_t outer, int64_t axis, size_t block, qn_move_index index, int64_t n, qn_team *team)
{
    gather g = { .src = src, .dst = dst, .axis = axis, .n = n, .rows = outer * n, .block = block, .index = index };

    if (g.rows == 0 || block == 0) return;
    g.per_tile = block >= GRAIN_BYTES ? 1 : (int64_t)(GRAIN_BYTES / block);
    if (g.rows <= g.per_tile) {
        g.per_tile = g.rows;
        run_tile(&g, 0, 0);
        return;
    }
    qn_team_run(team, (g.rows + g.per_tile - 1) / g.per_tile, run_tile, &g);
}
