/* Whose turn it is, and what a run is expected to take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

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
        qn_cost_learn(&c, 1024, 50, true);
        qn_cost_learn(&c, 8192, 100, true);
    }
    assert_true(qn_cost_run(&c, 1024) == 50);
    assert_true(qn_cost_run(&c, 8192) == 100);
    assert_true(qn_cost_run(&c, 4608) == 75);   /* between the two */
    assert_true(qn_cost_run(&c, 32768) == 400); /* beyond what was seen: in proportion */
    assert_true(qn_cost_run(&c, 1) == 50);      /* below: no more than that */
    assert_true(qn_cost_work(&c, 1 << 20) > 1e4 && qn_cost_work(&c, 1 << 20) < 6e4);
    assert_int_equal(c.n_runs, 200);
}

static void one_stumble_does_not_count_for_all(void **state)
{
    qn_cost c = { 0 };

    (void)state;
    for (int i = 0; i < 20; i++) qn_cost_learn(&c, 64, 10, true);
    qn_cost_learn(&c, 64, 1000000, true); /* a page fault, a machine that slept */
    assert_true(qn_cost_run(&c, 64) < 20);
    for (int i = 0; i < 100; i++) qn_cost_learn(&c, 64, 1000, true); /* but a change is learnt */
    assert_true(qn_cost_run(&c, 64) > 990);
    qn_cost_learn(&c, 0, 0, true); /* no bytes, no time */
    assert_true(qn_cost_run(&c, 0) > 0);
    qn_cost_learn(&c, SIZE_MAX, UINT32_MAX, true);
    assert_true(qn_cost_run(&c, SIZE_MAX) > 0);
}

static void a_run_that_was_stopped_says_only_that_a_whole_one_takes_no_less(void **state)
{
    qn_cost c = { 0 };

    (void)state;
    for (int i = 0; i < 20; i++) qn_cost_learn(&c, 4096, 1000, true);
    for (int i = 0; i < 20; i++) qn_cost_learn(&c, 4096, 10, false);
    assert_true(qn_cost_run(&c, 4096) == 1000);
    for (int i = 0; i < 100; i++) qn_cost_learn(&c, 4096, 3000, false);
    assert_true(qn_cost_run(&c, 4096) > 2900);
}

static void an_answer_is_predicted_with_the_runs_before_it_and_its_own(void **state)
{
    qn_cost c = { 0 };

    (void)state;
    for (int i = 0; i < 200; i++)
        for (size_t rows = 1; rows <= 8; rows *= 2) qn_cost_learn(&c, 1000 * rows, 1000 * rows, true); /* a row of 1000 bytes takes 1 ms */
    assert_true(qn_cost_answer(&c, 0, 0, 1000, 8000, 2) == 1000);
    assert_true(qn_cost_answer(&c, 700, 3000, 1000, 8000, 2) == 4700); /* all waiting rows and itself are one run of one worker */
    assert_true(qn_cost_answer(&c, 0, 19000, 1000, 8000, 1) == 20000); /* more than one run: all of it passes the only worker */
    assert_true(qn_cost_answer(&c, 0, 19000, 1000, 8000, 2) == 14000); /* two share what is before its own run, and not that one */
    assert_true(qn_cost_answer(&c, 0, 4000, 1000, 0, 1) == 5000);      /* never joined */
    assert_true(qn_cost_answer(&c, 0, UINT64_MAX, 1000, 8000, 1) > 1e15);
}

static void nearly_all_answers_come_within_the_learnt_margin(void **state)
{
    qn_cost c = { 0 };
    int late = 0;

    (void)state;
    assert_true(qn_cost_late(&c, 1000) == 1000);
    for (int i = 0; i < 20000; i++) { /* 1.00 .. 1.99 times what was predicted, in a scattered order */
        const double took = 1000.0 + 10.0 * (i * 37 % 100);

        late += i >= 10000 && took > qn_cost_late(&c, 1000);
        qn_cost_answered(&c, 1000, took);
    }
    assert_true(late > 100 && late < 300); /* of 10000: about 2 % */
    for (int i = 0; i < 10000; i++) qn_cost_answered(&c, 1000, 900);
    assert_true(qn_cost_late(&c, 1000) == 1000); /* never less than the prediction */
    for (int i = 0; i < 1000; i++) qn_cost_answered(&c, 1000, (double)INFINITY);
    assert_true(qn_cost_late(&c, 1000) <= 4000);
}

static void one_call_in_a_while_tries_a_prediction_that_turns_everybody_away(void **state)
{
    qn_cost c = { 0 };
    int tried = 0;

    (void)state;
    for (int i = 0; i < 170; i++) tried += !qn_cost_doubt(&c);
    assert_int_equal(tried, 10);
    for (int i = 0; i < 170; i++) {
        if (i % 10 == 0) qn_cost_learn(&c, 64, 10, true); /* runs go on: the prediction is tried by those who are let in */
        assert_true(qn_cost_doubt(&c));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lanes_share_time_and_not_turns),
        cmocka_unit_test(a_class_gets_four_times_the_next_and_none_starves),
        cmocka_unit_test(a_lane_that_was_idle_has_no_credit),
        cmocka_unit_test(a_lane_that_is_held_is_passed_over),
        cmocka_unit_test(what_runs_took_is_what_they_will_take),
        cmocka_unit_test(one_stumble_does_not_count_for_all),
        cmocka_unit_test(a_run_that_was_stopped_says_only_that_a_whole_one_takes_no_less),
        cmocka_unit_test(an_answer_is_predicted_with_the_runs_before_it_and_its_own),
        cmocka_unit_test(nearly_all_answers_come_within_the_learnt_margin),
        cmocka_unit_test(one_call_in_a_while_tries_a_prediction_that_turns_everybody_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
