#include "core/base/fpu.h"
#include "quern/team.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_TILES = 1000, MAX_SIZE = 8 };

typedef struct tally {
    int size;
    int plain[MAX_TILES];        /* not atomic: a tile that two threads run is a race the thread sanitizer sees */
    int by_member[MAX_SIZE][16]; /* a cache line each */
    atomic_bool bad_member;
} tally;

static void count_tile(void *ctx, int64_t tile, int member)
{
    tally *t = ctx;

    t->plain[tile]++;
    if (member < 0 || member >= t->size) {
        atomic_store(&t->bad_member, true);
    } else {
        t->by_member[member][0]++;
    }
}

static void every_tile_runs_exactly_once(void **state)
{
    static const int64_t counts[] = { 0, 1, 2, 3, 7, 64, MAX_TILES };

    (void)state;
    for (int size = 1; size <= 4; size++) {
        qn_team *team;

        assert_int_equal(qn_team_create(size, &team, NULL), QN_OK);
        assert_int_equal(qn_team_size(team), size);
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            tally t = { .size = size };
            int sum = 0;

            qn_team_run(team, counts[c], count_tile, &t);
            for (int64_t i = 0; i < MAX_TILES; i++) assert_int_equal(t.plain[i], i < counts[c]);
            for (int i = 0; i < size; i++) sum += t.by_member[i][0];
            assert_int_equal(sum, counts[c]);
            assert_false(atomic_load(&t.bad_member));
        }
        qn_team_destroy(team);
    }
}

/* The job lives on the stack of a loop that reuses it at once: a member that is late for one run must not touch the next. */
static void runs_follow_each_other_without_pause(void **state)
{
    qn_team *team;

    (void)state;
    assert_int_equal(qn_team_create(3, &team, NULL), QN_OK);
    for (int run = 0; run < 5000; run++) {
        tally t = { .size = 3 };
        const int64_t n = 2 + run % 5;

        qn_team_run(team, n, count_tile, &t);
        for (int64_t i = 0; i < n; i++) assert_int_equal(t.plain[i], 1);
        assert_int_equal(t.plain[n], 0);
    }
    qn_team_destroy(team);
}

static void a_parked_team_wakes_again(void **state)
{
    qn_team *team;

    (void)state;
    assert_int_equal(qn_team_create(4, &team, NULL), QN_OK);
    for (int run = 0; run < 20; run++) {
        tally t = { .size = 4 };

        usleep(2000); /* far beyond the spin */
        qn_team_run(team, 100, count_tile, &t);
        for (int i = 0; i < 100; i++) assert_int_equal(t.plain[i], 1);
    }
    usleep(2000);
    qn_team_destroy(team); /* while parked */
}

static void slow_tile(void *ctx, int64_t tile, int member)
{
    (void)member;
    usleep(tile == 1 ? 20000 : 1000);
    atomic_fetch_add((atomic_int *)ctx, 1);
}

static void the_caller_waits_for_a_slow_member(void **state)
{
    qn_team *team;
    atomic_int done = 0;

    (void)state;
    assert_int_equal(qn_team_create(2, &team, NULL), QN_OK);
    for (int run = 1; run <= 5; run++) {
        qn_team_run(team, 3, slow_tile, &done);
        assert_int_equal(atomic_load(&done), 3 * run);
    }
    qn_team_destroy(team);
}

static void teams_start_and_stop_many_times(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        qn_team *team;
        tally t = { .size = 4 };

        assert_int_equal(qn_team_create(1 + i % 4, &team, NULL), QN_OK);
        if (i & 1) qn_team_run(team, 8, count_tile, &t);
        qn_team_destroy(team);
    }
    qn_team_destroy(NULL);
}

static void in_order(void *ctx, int64_t tile, int member)
{
    int64_t *next = ctx;

    assert_int_equal(member, 0);
    assert_int_equal(tile, (*next)++);
}

static void without_a_team_the_caller_runs_all_in_order(void **state)
{
    int64_t next = 0;

    (void)state;
    assert_int_equal(qn_team_size(NULL), 1);
    qn_team_run(NULL, 50, in_order, &next);
    assert_int_equal(next, 50);
}

static void a_team_of_0_or_257_is_refused(void **state)
{
    qn_team *team = NULL;
    qn_error err;

    (void)state;
    assert_int_equal(qn_team_create(0, &team, &err), QN_ERR_INVALID);
    assert_null(team);
    assert_int_equal(qn_team_create(257, &team, &err), QN_ERR_INVALID);
    assert_string_equal(err.message, "team of 257 threads, expected 1..256");
}

#if defined(__x86_64__)
typedef struct modes {
    unsigned mxcsr[2];
    bool signals_open[2];
    atomic_int arrived;
} modes;

/* Two tiles that wait for each other, so that each of two threads runs one. */
static void note_mode(void *ctx, int64_t tile, int member)
{
    modes *m = ctx;
    sigset_t set;

    (void)tile;
    m->mxcsr[member] = _mm_getcsr() & 0xffc0u; /* without the sticky flags */
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    m->signals_open[member] = !sigismember(&set, SIGTERM);
    atomic_fetch_add(&m->arrived, 1);
    while (atomic_load(&m->arrived) < 2) usleep(100);
}

static void every_member_flushes_subnormals_and_blocks_signals(void **state)
{
    const unsigned before = _mm_getcsr();
    qn_team *team;
    modes m = { 0 };

    (void)state;
    assert_int_equal(qn_team_create(2, &team, NULL), QN_OK);
    qn_team_run(team, 2, note_mode, &m);
    assert_int_equal(m.mxcsr[0], QN_FPU_MODE);
    assert_int_equal(m.mxcsr[1], QN_FPU_MODE);
    assert_true(m.signals_open[0]); /* the caller's own */
    assert_false(m.signals_open[1]);
    assert_int_equal(_mm_getcsr(), before);
    qn_team_destroy(team);
    atomic_store(&m.arrived, 1); /* one tile does not wait */
    m.mxcsr[0] = 0;
    qn_team_run(NULL, 1, note_mode, &m);
    assert_int_equal(m.mxcsr[0], QN_FPU_MODE);
    assert_int_equal(_mm_getcsr(), before);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tile_runs_exactly_once),
        cmocka_unit_test(runs_follow_each_other_without_pause),
        cmocka_unit_test(a_parked_team_wakes_again),
        cmocka_unit_test(the_caller_waits_for_a_slow_member),
        cmocka_unit_test(teams_start_and_stop_many_times),
        cmocka_unit_test(without_a_team_the_caller_runs_all_in_order),
        cmocka_unit_test(a_team_of_0_or_257_is_refused),
#if defined(__x86_64__)
        cmocka_unit_test(every_member_flushes_subnormals_and_blocks_signals),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
