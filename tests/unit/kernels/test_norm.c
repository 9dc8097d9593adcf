/* tests/unit/kernels/test_norm.c - statistics and affine maps: against double, every row against the scalar twin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/kernels/norm/norm.h"

#include <math.h>
#include <string.h>

#define N 401

static void fill(float *x, int n, uint32_t s, float scale, float shift)
{
    for (int i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        x[i] = ((float)(s >> 8) * 0x1p-23f - 1.0f) * scale + shift;
    }
}

static void statistics_agree_with_double_and_between_rows(void **state)
{
    static float x[N];
    int32_t rows;
    const qn_norm_kernel *const *k = qn_norm_kernels(&rows);
    const unsigned cpu = qn_cpu_detect();

    (void)state;
    for (int n = 1; n <= N; n += n < 40 ? 1 : 31) {
        double mean = 0, var = 0;
        float m0, v0;

        fill(x, n, 7, 2.0f, 100.0f); /* far from zero: one-pass formulas cancel here */
        for (int i = 0; i < n; i++) mean += (double)x[i] / n;
        for (int i = 0; i < n; i++) var += ((double)x[i] - mean) * ((double)x[i] - mean) / n;
        k[rows - 1]->stats(x, n, &m0, &v0);
        assert_true(fabs((double)m0 - mean) < 1e-4);
        assert_true(fabs((double)v0 - var) < 1e-5 * (1 + var));
        for (int32_t row = 0; row < rows; row++) {
            float m, v;

            if (k[row]->needs & ~cpu) continue;
            k[row]->stats(x, n, &m, &v);
            assert_memory_equal(&m, &m0, sizeof m);
            assert_memory_equal(&v, &v0, sizeof v);
        }
    }
}

static void maps_give_the_same_bits_on_every_row(void **state)
{
    static float x[N], a[N], b[N], want[5][N], got[N];
    int32_t rows;
    const qn_norm_kernel *const *k = qn_norm_kernels(&rows);
    const unsigned cpu = qn_cpu_detect();

    (void)state;
    fill(x, N, 1, 3.0f, 0.5f);
    fill(a, N, 2, 1.0f, 1.0f);
    fill(b, N, 3, 1.0f, 0.0f);
    for (int32_t row = rows - 1; row >= 0; row--) { /* the twin first */
        if (k[row]->needs & ~cpu) continue;
        for (int f = 0; f < 4; f++) {
            float *y = row == rows - 1 ? want[f] : got;

            if (f == 0) k[row]->shift(x, y, N, 0.3f, 1.7f, -0.2f);
            if (f == 1) k[row]->shift_each(x, y, N, a, b, x);
            if (f == 2) k[row]->affine(x, y, N, 0.3f, 1.7f, a, b);
            if (f == 3) k[row]->affine(x, y, N, 0.3f, 1.7f, a, NULL);
            if (row < rows - 1) assert_memory_equal(got, want[f], sizeof got);
        }
    }
    for (int i = 0; i < N; i++) {
        assert_true(fabs((double)want[0][i] - (((double)x[i] - 0.3) * 1.7 - 0.2)) < 2e-6);
        assert_true(fabs((double)want[2][i] - (((double)x[i] - 0.3) * 1.7 * (double)a[i] + (double)b[i])) < 4e-6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statistics_agree_with_double_and_between_rows),
        cmocka_unit_test(maps_give_the_same_bits_on_every_row),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
