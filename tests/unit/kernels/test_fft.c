/* The transforms against sums in long double. */
#include "core/kernels/fft/fft.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static double *room(size_t n)
{
    double *p = malloc((n + 1) * sizeof *p);

    assert_non_null(p);
    return p;
}

/* Largest error over the bound that fft.h promises. */
static double worst_error(int64_t n, int inverse)
{
    const long double turn = 2 * 3.141592653589793238462643383279502884L;
    double *table = room(qn_fft_table_doubles(n)), *work = room(qn_fft_work_doubles(n)), *x = room((size_t)(2 * n)),
           *y = room((size_t)(2 * n)), worst = 0, total = 0;
    qn_fft f;

    for (int64_t k = 0; k < 2 * n; k++) x[k] = (double)((k * 2654435761 + n) % 1009) / 504.5 - 1;
    for (int64_t k = 0; k < n; k++) total += hypot(x[2 * k], x[2 * k + 1]);
    memcpy(y, x, (size_t)(2 * n) * sizeof *y);
    qn_fft_init(&f, n, table);
    qn_fft_run(&f, inverse, y, work);
    for (int64_t k = 0; k < n; k++) {
        long double re = 0, im = 0;

        for (int64_t j = 0; j < n; j++) {
            const long double a = turn * (long double)(j * k % n) / (long double)n, c = cosl(a), s = inverse ? sinl(a) : -sinl(a);

            re += x[2 * j] * c - x[2 * j + 1] * s;
            im += x[2 * j] * s + x[2 * j + 1] * c;
        }
        worst = fmax(worst, (double)hypotl(y[2 * k] - re, y[2 * k + 1] - im));
    }
    free(table);
    free(work);
    free(x);
    free(y);
    return worst / (1e-15 * (8 + log2((double)f.m)) * total);
}

static void every_length_stays_within_the_bound(void **state)
{
    static const int64_t lengths[] = { 97, 127, 128, 200, 255, 256, 257, 400, 511, 997, 1000, 1024, 1999 };

    (void)state;
    for (int64_t n = 1; n <= 66; n++) {
        assert_true(worst_error(n, 0) <= 1);
        assert_true(worst_error(n, 1) <= 1);
    }
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) assert_true(worst_error(lengths[i], (int)i & 1) <= 1);
}

static void a_long_transform_of_a_wave_is_one_line(void **state)
{
    static const int64_t lengths[] = { 65536, 65535, 100003 };

    (void)state;
    for (int i = 0; i < 3; i++) {
        const int64_t n = lengths[i], bin = 12345;
        double *table = room(qn_fft_table_doubles(n)), *work = room(qn_fft_work_doubles(n)), *x = room((size_t)(2 * n));
        qn_fft f;

        for (int64_t k = 0; k < n; k++) {
            const double a = 2 * 3.14159265358979323846 * (double)(k * bin % n) / (double)n;

            x[2 * k] = cos(a);
            x[2 * k + 1] = sin(a);
        }
        qn_fft_init(&f, n, table);
        qn_fft_run(&f, 0, x, work);
        for (int64_t k = 0; k < n; k++) assert_true(hypot(x[2 * k] - (k == bin ? (double)n : 0), x[2 * k + 1]) < 1e-9);
        free(table);
        free(work);
        free(x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length_stays_within_the_bound),
        cmocka_unit_test(a_long_transform_of_a_wave_is_one_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
