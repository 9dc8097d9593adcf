/* quern/team.h - a few threads that share the tiles of one big op.
 * The work is cut into tiles by shape alone, never by the number of threads; a member takes the next tile from an atomic
 * counter. So the team's size changes who computes a tile, never what is computed (DESIGN: bits).
 * Threads: a team belongs to one caller at a time; qn_team_run() returns when every tile is done. */
#ifndef QUERN_TEAM_H
#define QUERN_TEAM_H

#include "quern/error.h"

#include <stdint.h>

typedef struct qn_team qn_team;

/** One tile. `member` is 0..size-1 and names the thread, for per-thread scratch. */
typedef void qn_tile_fn(void *ctx, int64_t tile, int member);

/** n_threads 1..256, the caller included: n_threads - 1 threads are started (512 KiB stacks, all signals blocked, FTZ/DAZ on).
 *  Fails with QN_ERR_INVALID, QN_ERR_NOMEM, QN_ERR_IO (thread could not start). */
qn_status qn_team_create(int n_threads, qn_team **out, qn_error *err);

/** Join the threads and free; NULL is allowed. */
void qn_team_destroy(qn_team *team);

/** Threads in the team, the caller included; 1 for NULL. */
int qn_team_size(const qn_team *team);

/** Run fn for tiles 0..n_tiles-1, each exactly once. team NULL: the caller runs them all in order. Every tile, the
 *  caller's too, runs with FTZ/DAZ and round to nearest; the caller's own mode is back afterwards. fn may not run the same team. */
void qn_team_run(qn_team *team, int64_t n_tiles, qn_tile_fn *fn, void *ctx);

#endif
