/* Whose turn it is, and what a run is expected to take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/batcher/cost.h"
#include "server/batcher/fair.h"

/* -- fair ----------------------------------------------------------------------------------------------------------------- */

/* Work done by each of n lanes, whose runs take run_us[], until `total` is done. All stay ready. */
static void serve(qn_fair *f, qn_lane *lanes, const double *run_us, double *done, int n, double total)
{
    for (double all = 0; all < total;) {
        qn_lane *l = qn_fair_next(f, NULL, NULL);
        ptrdiff_t i = l - lanes;

        assert_in_range(i, 0, n - 1);
        qn_lane_charge(l, run_us[i]);
        done[i] += run_us[i];
        all += run_us[i];
    }
}

static void lanes_share_time_and_not_turns(void **state)
{
    const double run_us[3] = { 1000, 100, 7 };
    double done[3] = { 0 };
    qn_fair f = { 0 };
    qn_lane lanes[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        qn_lane_init(&lanes[i], NULL, QN_PRIORITY_NORMAL);
        qn_fair_add(&f, &lanes[i]);
    }
    serve(&f, lanes, run_us, done, 3, 300000);
    for (int i = 0; i < 3; i++) assert_true(done[i] >= 99000 && done[i] <= 101000); /* a run of the largest either way */
}

static void a_class_gets_four_times_the_next_and_none_starves(void **state)
{
    const double run_us[3] = { 50, 50, 50 };
    double done[3] = { 0 };
    qn_fair f = { 0 };
    qn_lane lanes[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        qn_lane_init(&lanes[i], NULL, (qn_priority)i);
        qn_fair_add(&f, &lanes[i]);
    }
    assert_true(qn_fair_share(&f, &lanes[0]) == 16.0 / 21);
    serve(&f, lanes, run_us, done, 3, 2100000);
    assert_true(done[0] > 1598000 && done[0] < 1602000);
    assert_true(done[1] > 398000 && done[1] < 402000);
    assert_true(done[2] > 98000 && done[2] < 102000);
}

static void a_lane_that_was_idle_has_no_credit(void **state)
{
    const double run_us[2] = { 10, 10 };
    double done[2] = { 0 };
    qn_fair f = { 0 };
    qn_lane lanes[2];

    (void)state;
    for (int i = 0; i < 2; i++) qn_lane_init(&lanes[i], NULL, QN_PRIORITY_NORMAL);
    qn_fair_add(&f, &lanes[0]);
    serve(&f, lanes, run_us, done, 2, 1000);
    assert_true(qn_fair_share(&f, &lanes[1]) == 0.5); /* what it would get */
    qn_fair_add(&f, &lanes[1]);
    qn_fair_add(&f, &lanes[1]); /* again: nothing */
    done[0] = done[1] = 0;
    serve(&f, lanes, run_us, done, 2, 1000);
    assert_true(done[1] >= 490 && done[1] <= 510);
    qn_fair_remove(&f, &lanes[1]);
    qn_fair_remove(&f, &lanes[1]);
    assert_ptr_equal(qn_fair_next(&f, NULL, NULL), &lanes[0]);
    assert_true(qn_fair_share(&f, &lanes[0]) == 1);
    qn_fair_remove(&f, &lanes[0]);
    assert_null(qn_fair_next(&f, NULL, NULL));
}

static bool is_not(void *user, qn_lane *lane) { return lane != user; }

static void a_lane_that_is_held_is_passed_over(void **state)
{
    qn_fair f = { 0 };
    qn_lane lanes[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        qn_lane_init(&lanes[i], NULL, QN_PRIORITY_NORMAL);
        qn_fair_add(&f, &lanes[i]);
    }
    qn_lane_charge(&lanes[1], 500);
    assert_ptr_equal(qn_fair_next(&f, NULL, NULL), &lanes[0]);
    assert_ptr_equal(qn_fair_next(&f, is_not, &lanes[0]), &lanes[1]);
}

/* -- cost ----------------------------------------------------------------------------------------------------------------- */

static void what_runs_took_is_what_they_will_take(void **state)
{
    qn_cost c = { 0 };

    (void)state;
    assert_true(qn_cost_run(&c, 1000) == 0 && qn_cost_work(&c, 1000) == 0);
    for (int i = 0; i < 100; i++) {
        qn_cost_learn(&c, 1024, 50);
        qn_cost_learn(&c, 8192, 100);
    }
    assert_true(qn_cost_run(&c, 1024) == 50 && qn_cost_run(&c, 2047) == 50);
    assert_true(qn_cost_run(&c, 8192) == 100);
    assert_true(qn_cost_run(&c, 2048) == 100);  /* unknown: as its smaller neighbour, doubled */
    assert_true(qn_cost_run(&c, 32768) == 400); /* beyond what was seen: in proportion */
    assert_true(qn_cost_run(&c, 1) == 50);      /* below: no more than that */
    assert_true(qn_cost_work(&c, 1 << 20) > 1e4 && qn_cost_work(&c, 1 << 20) < 6e4);
    assert_int_equal(c.n_runs, 200);
}

static void one_stumble_does_not_count_for_all(void **state)
{
    qn_cost c = { 0 };

    (void)state;
    for (int i = 0; i < 20; i++) qn_cost_learn(&c, 64, 10);
    qn_cost_learn(&c, 64, 1000000); /* a page fault, a machine that slept */
    assert_true(qn_cost_run(&c, 64) < 20);
    for (int i = 0; i < 100; i++) qn_cost_learn(&c, 64, 1000); /* but a change is learnt */
    assert_true(qn_cost_run(&c, 64) > 990);
    qn_cost_learn(&c, 0, 0); /* no bytes, no time */
    assert_true(qn_cost_run(&c, 0) > 0);
    qn_cost_learn(&c, SIZE_MAX, UINT32_MAX);
    assert_true(qn_cost_run(&c, SIZE_MAX) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lanes_share_time_and_not_turns),        cmocka_unit_test(a_class_gets_four_times_the_next_and_none_starves),
        cmocka_unit_test(a_lane_that_was_idle_has_no_credit),    cmocka_unit_test(a_lane_that_is_held_is_passed_over),
        cmocka_unit_test(what_runs_took_is_what_they_will_take), cmocka_unit_test(one_stumble_does_not_count_for_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
