/* tests/unit/kernels/test_eltwise.c - element-wise f32 arithmetic: values, NaN, every row against the scalar twin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/kernels/eltwise/eltwise.h"

#include <math.h>
#include <string.h>

#define N 131

static const float special[] = { 0.0f, -0.0f, 1.0f, -1.0f, 0.5f, -2.5f, 3.0f, INFINITY, -INFINITY, 1e-40f, 1e30f, -1e30f, NAN };
#define N_SPECIAL ((int)(sizeof special / sizeof special[0]))

static void fill(float *x, int n, int turn)
{
    for (int i = 0; i < n; i++) x[i] = i % 3 ? special[(i / 3 + turn) % N_SPECIAL] : (float)(i * 7 % 23) * 0.37f - 4.0f;
}

static void every_unary_row_gives_the_same_bits(void **state)
{
    float x[N], want[N], got[N];
    int32_t rows;
    const qn_eltwise_kernel *const *k = qn_eltwise_kernels(&rows);
    const unsigned cpu = qn_cpu_detect();

    (void)state;
    fill(x, N, 0);
    for (int f = 0; f < QN_UNARY_COUNT; f++) {
        k[rows - 1]->unary[f](x, want, N, 0.5f, 1.5f);
        for (int32_t row = 0; row < rows; row++) {
            if (k[row]->needs & ~cpu) continue;
            for (int n = 0; n <= N; n += n < 40 ? 1 : 13) {
                memcpy(got, x, sizeof got);
                k[row]->unary[f](got, got, n, 0.5f, 1.5f);
                assert_memory_equal(got, want, (size_t)n * sizeof(float));
                assert_memory_equal(got + n, x + n, (size_t)(N - n) * sizeof(float));
            }
        }
    }
}

static void every_binary_row_gives_the_same_bits(void **state)
{
    float a[N], b[N], want[N], got[N + 1];
    int32_t rows;
    const qn_eltwise_kernel *const *k = qn_eltwise_kernels(&rows);
    const unsigned cpu = qn_cpu_detect();

    (void)state;
    for (int turn = 0; turn < N_SPECIAL; turn++) {
        fill(a, N, 0);
        fill(b, N, turn);
        for (int f = 0; f < QN_BINARY_COUNT; f++) {
            for (int steps = 0; steps < 4; steps++) {
                k[rows - 1]->binary[f](a, steps & 1, b, steps >> 1, want, N);
                for (int32_t row = 0; row < rows; row++) {
                    if (k[row]->needs & ~cpu) continue;
                    got[N] = 42.0f;
                    k[row]->binary[f](a, steps & 1, b, steps >> 1, got, N);
                    assert_memory_equal(got, want, sizeof want);
                    assert_true(got[N] == 42.0f);
                }
            }
        }
    }
}

static float u(qn_unary f, float x, float a, float b)
{
    float y;

    qn_eltwise_pick(0)->unary[f](&x, &y, 1, a, b);
    return y;
}

static float v(qn_binary f, float x, float z)
{
    float y;

    qn_eltwise_pick(0)->binary[f](&x, 1, &z, 1, &y, 1);
    return y;
}

static void unary_functions_do_what_their_names_say(void **state)
{
    (void)state;
    assert_true(u(QN_UNARY_ABS, -2.0f, 0, 0) == 2.0f);
    assert_true(u(QN_UNARY_NEG, 2.0f, 0, 0) == -2.0f);
    assert_true(u(QN_UNARY_SIGN, -3.0f, 0, 0) == -1.0f && u(QN_UNARY_SIGN, 0.0f, 0, 0) == 0.0f);
    assert_true(u(QN_UNARY_ROUND, 2.5f, 0, 0) == 2.0f && u(QN_UNARY_ROUND, -1.5f, 0, 0) == -2.0f);
    assert_true(u(QN_UNARY_LEAKY, -2.0f, 0.25f, 0) == -0.5f);
    assert_true(u(QN_UNARY_CLIP, 9.0f, -1.0f, 1.0f) == 1.0f && u(QN_UNARY_CLIP, 0.0f, 2.0f, 1.0f) == 1.0f);
    assert_true(u(QN_UNARY_HARDSIGMOID, 10.0f, 0.2f, 0.5f) == 1.0f && u(QN_UNARY_HARDSIGMOID, 0.0f, 0.2f, 0.5f) == 0.5f);
    assert_true(u(QN_UNARY_HARDSWISH, 4.0f, 0, 0) == 4.0f && u(QN_UNARY_HARDSWISH, -4.0f, 0, 0) == 0.0f);
    assert_true(u(QN_UNARY_SOFTSIGN, -1.0f, 0, 0) == -0.5f);
    assert_true(u(QN_UNARY_THRESHOLD, 1.0f, 1.0f, 0) == 0.0f && u(QN_UNARY_THRESHOLD, 1.5f, 1.0f, 0) == 1.5f);
    assert_true(u(QN_UNARY_SHRINK, 2.0f, 1.0f, 0.5f) == 1.5f && u(QN_UNARY_SHRINK, -2.0f, 1.0f, 0.5f) == -1.5f);
    assert_true(u(QN_UNARY_AFFINE, 2.0f, 3.0f, 1.0f) == 7.0f);
}

static void nan_passes_through_clamps_and_extremes(void **state)
{
    const qn_unary clamps[] = { QN_UNARY_RELU, QN_UNARY_CLIP, QN_UNARY_SIGN, QN_UNARY_HARDSIGMOID };
    const qn_binary pairs[] = { QN_BINARY_MAX, QN_BINARY_MIN, QN_BINARY_ADD };

    (void)state;
    for (size_t i = 0; i < sizeof clamps / sizeof clamps[0]; i++) assert_true(isnan(u(clamps[i], NAN, 0.0f, 1.0f)));
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        assert_true(isnan(v(pairs[i], NAN, 1.0f)));
        assert_true(isnan(v(pairs[i], 1.0f, NAN)));
    }
    /* "Otherwise, y = 0" */
    assert_true(u(QN_UNARY_SHRINK, NAN, 0.5f, 1.0f) == 0.0f && u(QN_UNARY_THRESHOLD, NAN, 1.0f, 0.0f) == 0.0f);
    assert_true(v(QN_BINARY_MAX, -1.0f, 2.0f) == 2.0f && v(QN_BINARY_MIN, -1.0f, 2.0f) == -1.0f);
    assert_true(v(QN_BINARY_PRELU, -2.0f, 0.5f) == -1.0f && v(QN_BINARY_PRELU, 2.0f, 0.5f) == 2.0f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_unary_row_gives_the_same_bits),
        cmocka_unit_test(every_binary_row_gives_the_same_bits),
        cmocka_unit_test(unary_functions_do_what_their_names_say),
        cmocka_unit_test(nan_passes_through_clamps_and_extremes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
