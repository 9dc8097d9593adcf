/* tests/unit/kernels/test_quant.c - quantization: rounding, saturation, NaN, every row against the scalar twin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/kernels/quant/quant.h"

#include <math.h>
#include <string.h>

#define N 261

static const struct {
    qn_quant_type type;
    size_t size;
    bool is_signed;
    double lo, hi;
} types[] = {
    { QN_QUANT_U8, 1, false, 0, 255 },
    { QN_QUANT_S8, 1, true, -128, 127 },
    { QN_QUANT_U16, 2, false, 0, 65535 },
    { QN_QUANT_S16, 2, true, -32768, 32767 },
};

static int32_t element(const void *q, int i, size_t size, bool is_signed)
{
    if (size == 1) return is_signed ? ((const int8_t *)q)[i] : ((const uint8_t *)q)[i];
    return is_signed ? ((const int16_t *)q)[i] : ((const uint16_t *)q)[i];
}

static void fill(float *x, float *scale, int32_t *zero, int n, int32_t z)
{
    const float special[] = { INFINITY, -INFINITY, 1e30f, -1e30f, 0.0f, NAN, 0.5f, 1.5f, 2.5f, -0.5f };

    for (int i = 0; i < n; i++) {
        x[i] = i % 4 == 3 ? special[i / 4 % 10] : (float)(i * 37 % 401 - 200) * 0.25f;
        scale[i] = 0.25f + (float)(i % 5) * 0.3f;
        zero[i] = z;
    }
}

static double want_q(float x, float scale, int32_t zero, double lo, double hi)
{
    const double q = nearbyint((double)(x / scale)) + zero;

    return isnan(x) || q < lo ? lo : q > hi ? hi : q;
}

static void quantize_divides_rounds_to_even_and_saturates_on_every_row(void **state)
{
    float x[N], scale[N];
    int32_t zero[N], rows;
    uint16_t q[N + 1];
    const qn_quant_kernel *const *k = qn_quant_kernels(&rows);
    const unsigned cpu = qn_cpu_detect();

    (void)state;
    for (int32_t row = 0; row < rows; row++) {
        if (k[row]->needs & ~cpu) continue;
        for (int t = 0; t < QN_QUANT_COUNT; t++) {
            for (int step = 0; step < 2; step++) {
                for (int with_zero = 0; with_zero < 2; with_zero++) {
                    fill(x, scale, zero, N, with_zero ? 3 : 0);
                    q[N] = 0x1234;
                    k[row]->quantize[types[t].type](x, q, N, scale, with_zero ? zero : NULL, step);
                    for (int i = 0; i < N; i++)
                        assert_int_equal(element(q, i, types[t].size, types[t].is_signed),
                                         (int32_t)want_q(x[i], scale[step ? i : 0], zero[0], types[t].lo, types[t].hi));
                    assert_int_equal(q[N], 0x1234);
                }
            }
        }
    }
}

static void dequantize_is_an_exact_difference_and_one_product(void **state)
{
    uint16_t q[N];
    float x[N], scale[N], unused[N];
    int32_t zero[N], s32[N], rows;
    const qn_quant_kernel *const *k = qn_quant_kernels(&rows);
    const unsigned cpu = qn_cpu_detect();

    (void)state;
    for (int i = 0; i < N; i++) {
        q[i] = (uint16_t)((uint32_t)i * 2654435761u >> 16);
        s32[i] = (i - 100) * 7919;
    }
    fill(unused, scale, zero, N, 5);
    for (int32_t row = 0; row < rows; row++) {
        if (k[row]->needs & ~cpu) continue;
        for (int t = 0; t < QN_QUANT_COUNT; t++) {
            for (int step = 0; step < 2; step++) {
                k[row]->dequantize[types[t].type](q, x, N, scale, zero, step);
                for (int i = 0; i < N; i++)
                    assert_true(x[i] == (float)(element(q, i, types[t].size, types[t].is_signed) - 5) * scale[step ? i : 0]);
                k[row]->dequantize[types[t].type](q, x, N, scale, NULL, step);
                for (int i = 0; i < N; i++)
                    assert_true(x[i] == (float)element(q, i, types[t].size, types[t].is_signed) * scale[step ? i : 0]);
            }
        }
        k[row]->dequantize_s32(s32, x, N, scale, NULL, 1);
        for (int i = 0; i < N; i++) assert_true(x[i] == (float)s32[i] * scale[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantize_divides_rounds_to_even_and_saturates_on_every_row),
        cmocka_unit_test(dequantize_is_an_exact_difference_and_one_product),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
