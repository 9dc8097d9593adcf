/* tests/unit/kernels/test_softmax.c - softmax of rows: against double, at the limits, every row against the scalar twin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/kernels/softmax/softmax.h"

#include <math.h>
#include <string.h>

#define N    300
#define ROWS 3

static void fill(float *x, int n, float scale)
{
    uint32_t s = 99;

    for (int i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        x[i] = ((float)(s >> 8) * 0x1p-23f - 1.0f) * scale;
    }
}

static void every_row_gives_the_same_bits_as_the_twin_and_the_values_of_double(void **state)
{
    static float x[ROWS * N], want[ROWS * N], got[ROWS * N];
    int32_t rows;
    const qn_softmax_kernel *const *k = qn_softmax_kernels(&rows);
    const unsigned cpu = qn_cpu_detect();

    (void)state;
    for (int n = 1; n <= N; n += n < 40 ? 1 : 29) {
        fill(x, ROWS * n, 30.0f);
        for (int form = 0; form < 2; form++) {
            k[rows - 1]->run(x, want, ROWS, n, form);
            for (int32_t row = 0; row < rows; row++) {
                if (k[row]->needs & ~cpu) continue;
                memcpy(got, x, sizeof(float) * (size_t)(ROWS * n)); /* in place */
                k[row]->run(got, got, ROWS, n, form);
                assert_memory_equal(got, want, sizeof(float) * (size_t)(ROWS * n));
            }
            for (int r = 0; r < ROWS; r++) {
                double m = -INFINITY, sum = 0;

                for (int i = 0; i < n; i++) m = fmax(m, (double)x[r * n + i]);
                for (int i = 0; i < n; i++) sum += exp((double)x[r * n + i] - m);
                for (int i = 0; i < n; i++) {
                    const double logp = (double)x[r * n + i] - m - log(sum), w = form ? logp : exp(logp);

                    /* x - m is rounded before exp sees it */
                    const double slack = 5e-7 + 0x1p-23 * fabs((double)x[r * n + i] - m);

                    assert_true(fabs((double)got[r * n + i] - w) <= slack * (form ? 1.0 : fabs(w)) + 1e-42);
                }
            }
        }
    }
}

static void large_logits_do_not_overflow(void **state)
{
    const float x[] = { 1000, 1001, 1002 }, want[] = { 0.090030573f, 0.24472848f, 0.66524094f };
    float y[3];

    (void)state;
    qn_softmax_pick(qn_cpu_detect())->run(x, y, 1, 3, false);
    for (int i = 0; i < 3; i++) assert_true(fabsf(y[i] - want[i]) < 1e-6f);
}

static void masked_places_get_zero_and_a_fully_masked_row_is_nan(void **state)
{
    const float x[] = { 1.0f, -INFINITY, 1.0f, -INFINITY }, none[] = { -INFINITY, -INFINITY };
    float y[4];

    (void)state;
    qn_softmax_pick(qn_cpu_detect())->run(x, y, 1, 4, false);
    assert_true(y[0] == 0.5f && y[1] == 0.0f && y[2] == 0.5f && y[3] == 0.0f);
    qn_softmax_pick(qn_cpu_detect())->run(none, y, 1, 2, false);
    assert_true(isnan(y[0]) && isnan(y[1]));
}

static void one_nan_makes_the_row_nan(void **state)
{
    float x[40], y[40];

    (void)state;
    for (int at = 0; at < 40; at++) {
        fill(x, 40, 3.0f);
        x[at] = NAN;
        for (int form = 0; form < 2; form++) {
            qn_softmax_pick(qn_cpu_detect())->run(x, y, 1, 40, form);
            for (int i = 0; i < 40; i++) assert_true(isnan(y[i]));
        }
        assert_true(isnan(qn_softmax_pick(qn_cpu_detect())->logsumexp(x, 40)));
        x[(at + 7) % 40] = INFINITY;
        assert_true(isnan(qn_softmax_pick(qn_cpu_detect())->logsumexp(x, 40)));
    }
}

static void logsumexp_agrees_with_its_limits(void **state)
{
    const float x[] = { 1000.0f, 1000.0f }, low[] = { -INFINITY, -INFINITY }, high[] = { INFINITY, 1.0f };
    static float long_x[N];
    const qn_softmax_kernel *k = qn_softmax_pick(qn_cpu_detect());
    float a, b;

    (void)state;
    assert_true(fabsf(k->logsumexp(x, 2) - (1000.0f + 0.69314718f)) < 1e-4f);
    assert_true(k->logsumexp(low, 2) == -INFINITY);
    assert_true(k->logsumexp(high, 2) == INFINITY);
    fill(long_x, N, 5.0f);
    a = k->logsumexp(long_x, N);
    b = qn_softmax_pick(0)->logsumexp(long_x, N);
    assert_memory_equal(&a, &b, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_gives_the_same_bits_as_the_twin_and_the_values_of_double),
        cmocka_unit_test(large_logits_do_not_overflow),
        cmocka_unit_test(masked_places_get_zero_and_a_fully_masked_row_is_nan),
        cmocka_unit_test(one_nan_makes_the_row_nan),
        cmocka_unit_test(logsumexp_agrees_with_its_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
