/* core/base/team.c - threads behind a door.
 *
 * `epoch` is odd while the door is open (a run is on) and even while it is shut.
 *   caller  write the job; epoch++ (open); take tiles; epoch++ (shut); wait until nobody is inside
 *   member  see an odd epoch; inside++; look again: still odd -> take tiles; inside--; wait for another odd epoch
 * A member that comes late finds the door shut and leaves the job alone, so a run never waits for a thread that has not
 * started on a tile. Both sides write first and look second, in one total order (seq_cst): either the member sees the door
 * shut, or the caller sees the member inside. The job is only written while the door is shut and nobody is inside it.
 *
 * Whoever waits spins, then sleeps in a futex, on `epoch` (members) or `inside` (caller). There is no clock here, so a spin
 * is counted: a pause takes 40 to 140 cycles, 1000 of them 15 to 50 us. */
#include "quern/team.h"

#include "core/base/fpu.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_THREADS = 256, STACK_BYTES = 512 * 1024, SPINS = 1000, CACHE_LINE = 64 };

typedef struct member {
    qn_team *team;
    pthread_t thread;
    int index; /* 1..size-1; the caller is 0 */
} member;

struct qn_team {
    /* Each on a cache line of its own: the tile counter is hot while others spin on the rest. */
    alignas(CACHE_LINE) _Atomic int64_t next_tile;
    alignas(CACHE_LINE) _Atomic uint32_t epoch;
    alignas(CACHE_LINE) _Atomic uint32_t inside; /* members past inside++ */
    _Atomic uint32_t n_asleep;                   /* members that are in, or about to enter, futex_wait(epoch) */
    _Atomic uint32_t caller_asleep;
    atomic_bool stop;
    /* The job. */
    alignas(CACHE_LINE) int64_t n_tiles;
    qn_tile_fn *fn;
    void *ctx;
    /* Fixed after create. */
    int size;
    int n_started;
    member *members; /* [size - 1] */
};

/* Sleep while *word == seen; may wake for no reason. */
static void futex_wait(_Atomic uint32_t *word, uint32_t seen) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0); }

static void futex_wake(_Atomic uint32_t *word, int n) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0); }

static void spin_once(void)
{
#if defined(__x86_64__)
    _mm_pause();
#endif
}

static void take_tiles(qn_team *t, int index)
{
    int64_t tile;

    while ((tile = atomic_fetch_add_explicit(&t->next_tile, 1, memory_order_relaxed)) < t->n_tiles) t->fn(t->ctx, tile, index);
}

/* Wait until the door is open for a run other than `done`; false when the team ends. */
static bool wait_for_run(qn_team *t, uint32_t done)
{
    int spins = 0;

    for (;;) {
        uint32_t now = atomic_load(&t->epoch);

        if (atomic_load(&t->stop)) return false;
        if ((now & 1) && now != done) return true;
        if (++spins < SPINS) {
            spin_once();
            continue;
        }
        atomic_fetch_add(&t->n_asleep, 1);
        futex_wait(&t->epoch, now); /* returns at once if the epoch moved after `now` was read */
        atomic_fetch_sub(&t->n_asleep, 1);
        spins = 0;
    }
}

static void *member_main(void *arg)
{
    member *m = arg;
    qn_team *t = m->team;
    uint32_t done = 0;

    (void)qn_fpu_enter();
    while (wait_for_run(t, done)) {
        uint32_t now;

        atomic_fetch_add(&t->inside, 1);
        now = atomic_load(&t->epoch);
        if (now & 1) {
            take_tiles(t, m->index);
            done = now;
        }
        if (atomic_fetch_sub(&t->inside, 1) == 1 && atomic_load(&t->caller_asleep)) futex_wake(&t->inside, 1);
    }
    return NULL;
}

static void wait_until_empty(qn_team *t)
{
    int spins = 0;
    uint32_t now;

    while ((now = atomic_load(&t->inside)) != 0) {
        if (++spins < SPINS) {
            spin_once();
            continue;
        }
        atomic_store(&t->caller_asleep, 1);
        futex_wait(&t->inside, now);
        atomic_store(&t->caller_asleep, 0);
    }
}

static void run_open(qn_team *t, int64_t n_tiles, qn_tile_fn *fn, void *ctx)
{
    uint32_t n_asleep;

    assert((atomic_load(&t->epoch) & 1) == 0); /* one caller at a time, and no run inside a tile */
    t->n_tiles = n_tiles;
    t->fn = fn;
    t->ctx = ctx;
    atomic_store_explicit(&t->next_tile, 0, memory_order_relaxed);
    atomic_fetch_add(&t->epoch, 1);
    n_asleep = atomic_load(&t->n_asleep);
    if (n_asleep) futex_wake(&t->epoch, (int)(n_tiles - 1 < n_asleep ? n_tiles - 1 : n_asleep));
    take_tiles(t, 0);
    atomic_fetch_add(&t->epoch, 1);
    wait_until_empty(t);
}

void qn_team_run(qn_team *team, int64_t n_tiles, qn_tile_fn *fn, void *ctx)
{
    unsigned mode = qn_fpu_enter(); /* the caller computes what a member would */

    if (team && team->size > 1 && n_tiles > 1) {
        run_open(team, n_tiles, fn, ctx);
    } else {
        for (int64_t i = 0; i < n_tiles; i++) fn(ctx, i, 0);
    }
    qn_fpu_leave(mode);
}

/* Start the members with all signals blocked: signals are for the threads that wait for them. */
static int start_members(qn_team *t)
{
    pthread_attr_t attr;
    sigset_t all, before;
    int rc;

    rc = pthread_attr_init(&attr);
    if (rc) return rc;
    rc = pthread_attr_setstacksize(&attr, STACK_BYTES);
    if (rc) goto done;
    sigfillset(&all);
    rc = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (rc) goto done;
    while (!rc && t->n_started < t->size - 1) {
        member *m = &t->members[t->n_started];

        *m = (member){ .team = t, .index = t->n_started + 1 };
        rc = pthread_create(&m->thread, &attr, member_main, m);
        if (!rc) t->n_started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
done:
    pthread_attr_destroy(&attr);
    return rc;
}

qn_status qn_team_create(int n_threads, qn_team **out, qn_error *err)
{
    qn_status st = QN_OK;
    qn_team *t = NULL;
    int rc;

    *out = NULL;
    if (n_threads < 1 || n_threads > MAX_THREADS)
        return qn_error_set(err, QN_ERR_INVALID, "team of %d threads, expected 1..%d", n_threads, MAX_THREADS);
    t = aligned_alloc(CACHE_LINE, sizeof *t); /* its size is a multiple of its alignment */
    if (!t) {
        st = qn_error_set(err, QN_ERR_NOMEM, "team of %d threads", n_threads);
        goto done;
    }
    memset(t, 0, sizeof *t);
    t->size = n_threads;
    t->members = calloc((size_t)n_threads, sizeof *t->members);
    if (!t->members) {
        st = qn_error_set(err, QN_ERR_NOMEM, "team of %d threads", n_threads);
        goto done;
    }
    rc = start_members(t);
    if (rc) {
        st = qn_error_set(err, rc == ENOMEM ? QN_ERR_NOMEM : QN_ERR_IO, "thread %d of %d did not start: errno %d", t->n_started + 2,
                          n_threads, rc);
        goto done;
    }
    *out = t;
    t = NULL;
done:
    qn_team_destroy(t);
    return st;
}

void qn_team_destroy(qn_team *team)
{
    if (!team) return;
    atomic_store(&team->stop, true);
    atomic_fetch_add(&team->epoch, 2); /* still shut, but another value: nobody may fall asleep on the old one */
    futex_wake(&team->epoch, MAX_THREADS);
    for (int i = 0; i < team->n_started; i++) pthread_join(team->members[i].thread, NULL);
    free(team->members);
    free(team);
}

int qn_team_size(const qn_team *team) { return team ? team->size : 1; }
