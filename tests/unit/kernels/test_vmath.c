/* tests/unit/kernels/test_vmath.c - the f32 functions against libm in double, and every instruction set against the scalar twin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/kernels/vmath/vmath.h"

#include <math.h>
#include <string.h>

#define N 4099 /* odd, so that every loop has a tail */

/* Every 2^20 / `stride`-th bit pattern from `first` on: all exponents, both signs, NaN and infinity among them. */
static void fill_bits(float *x, int64_t n, uint32_t first, uint32_t stride)
{
    for (int64_t i = 0; i < n; i++) {
        const uint32_t b = first + (uint32_t)i * stride;

        memcpy(&x[i], &b, sizeof b);
    }
}

static double units(float got, double want)
{
    const double ulp = fabs(want) < 0x1p-126 ? 0x1p-149 : ldexp(1.0, ilogb(want) - 23);

    return fabs((double)got - want) / ulp;
}

static double ref_sigmoid(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }
static double ref_softplus(double x) { return fmax(x, 0) + log1p(exp(-fabs(x))); }
static double ref_gelu(double x) { return 0.5 * x * erfc(-x * 0.70710678118654752440); }
static double ref_gelu_tanh(double x) { return 0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x))); }
static double ref_mish(double x) { return x * tanh(ref_softplus(x)); }
static double ref_silu(double x) { return x * ref_sigmoid(x); }
static double ref_elu(double x) { return x < 0 ? 1.5 * expm1(x) : x; }
static double ref_selu(double x) { return 1.25 * (x > 0 ? x : 1.5 * expm1(x)); }
static double ref_celu(double x) { return x < 0 ? 1.5 * expm1(x / 1.5) : x; }
static double ref_exp_sub(double x) { return exp((double)((float)x - 1.5f)); }

/* What each function may be off by: in units of the last place, or absolutely, whichever is more. */
static const struct {
    qn_vmath fn;
    const char *name;
    double (*ref)(double);
    double ulp, absolute;
} functions[] = {
    { QN_VMATH_EXP, "exp", exp, 1.5, 0 },
    { QN_VMATH_LOG, "log", log, 1.5, 0 },
    { QN_VMATH_ERF, "erf", erf, 2, 0 },
    { QN_VMATH_TANH, "tanh", tanh, 2, 0 },
    { QN_VMATH_SIGMOID, "sigmoid", ref_sigmoid, 2.5, 0 },
    { QN_VMATH_SOFTPLUS, "softplus", ref_softplus, 2.5, 0 },
    { QN_VMATH_GELU, "gelu", ref_gelu, 3, 2e-7 },
    { QN_VMATH_GELU_TANH, "gelu_tanh", ref_gelu_tanh, 3, 2e-7 },
    { QN_VMATH_MISH, "mish", ref_mish, 6, 2e-43 },
    { QN_VMATH_SILU, "silu", ref_silu, 4.5, 2e-43 },
    { QN_VMATH_ELU, "elu", ref_elu, 3, 0 },
    { QN_VMATH_SELU, "selu", ref_selu, 4, 0 },
    { QN_VMATH_CELU, "celu", ref_celu, 4, 0 },
    { QN_VMATH_EXP_SUB, "exp_sub", ref_exp_sub, 1.5, 0 },
};

static void check(const char *name, double (*ref)(double), double ulp, double absolute, const float *x, const float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const double want = ref((double)x[i]);

        if (isnan(want)) {
            if (!isnan(y[i]) && !isinf(x[i])) fail_msg("%s(%a) = %a, expected NaN", name, (double)x[i], (double)y[i]);
            continue;
        }
        if (isinf((float)want) || isinf(y[i])) { /* an overflow may come one unit early or late */
            if (fabs(want) < 0x1.fffffcp127 || isnan(y[i])) fail_msg("%s(%a) = %a, expected %a", name, (double)x[i], (double)y[i], want);
            continue;
        }
        if (units(y[i], want) > ulp && fabs((double)y[i] - want) > absolute)
            fail_msg("%s(%a) = %a, expected %a: off by %.2f units", name, (double)x[i], (double)y[i], want, units(y[i], want));
    }
}

static void functions_agree_with_libm_over_the_whole_range(void **state)
{
    static float x[N], y[N];
    const qn_vmath_kernel *k = qn_vmath_pick(qn_cpu_detect());

    (void)state;
    for (uint32_t block = 0; block < 256; block++) {
        fill_bits(x, N, block << 24, 4093);
        for (size_t f = 0; f < sizeof functions / sizeof functions[0]; f++) {
            k->run[functions[f].fn](x, y, N, 1.5f, 1.25f);
            check(functions[f].name, functions[f].ref, functions[f].ulp, functions[f].absolute, x, y, N);
        }
    }
}

/* Where the polynomials switch and most calls fall. */
static void functions_agree_with_libm_near_zero(void **state)
{
    static float x[N], y[N];
    const qn_vmath_kernel *k = qn_vmath_pick(qn_cpu_detect());

    (void)state;
    for (int block = -20; block < 20; block++) {
        for (int i = 0; i < N; i++) x[i] = ((float)block + (float)i / N) * 0.37f;
        for (size_t f = 0; f < sizeof functions / sizeof functions[0]; f++) {
            k->run[functions[f].fn](x, y, N, 1.5f, 1.25f);
            check(functions[f].name, functions[f].ref, functions[f].ulp, functions[f].absolute, x, y, N);
        }
    }
}

static void every_row_gives_the_same_bits(void **state)
{
    static float x[N], want[N], got[N];
    int32_t n;
    const qn_vmath_kernel *const *k = qn_vmath_kernels(&n);
    const unsigned cpu = qn_cpu_detect();

    (void)state;
    for (uint32_t block = 0; block < 64; block++) {
        fill_bits(x, N, block << 26, 16381);
        for (int f = 0; f < QN_VMATH_COUNT; f++) {
            k[n - 1]->run[f](x, want, N, 0.75f, 1.25f);
            for (int32_t row = 0; row < n - 1; row++) {
                if (k[row]->needs & ~cpu) continue;
                k[row]->run[f](x, got, N, 0.75f, 1.25f);
                for (int i = 0; i < N; i++)
                    if (memcmp(&got[i], &want[i], sizeof got[i]) != 0)
                        fail_msg("%s, function %d of %a: %a, the scalar twin says %a", k[row]->name, f, (double)x[i], (double)got[i],
                                 (double)want[i]);
            }
        }
    }
}

static void an_element_does_not_depend_on_its_neighbours(void **state)
{
    float x[67], want[67], got[67];
    int32_t n;
    const qn_vmath_kernel *const *k = qn_vmath_kernels(&n);
    const unsigned cpu = qn_cpu_detect();

    (void)state;
    for (int i = 0; i < 67; i++) x[i] = (float)i * 0.21f - 7.0f;
    for (int32_t row = 0; row < n; row++) {
        if (k[row]->needs & ~cpu) continue;
        for (int f = 0; f < QN_VMATH_COUNT; f++) {
            k[row]->run[f](x, want, 67, 0.75f, 1.25f);
            for (int len = 0; len <= 67; len++) {
                memcpy(got, x, sizeof got); /* in place, too */
                k[row]->run[f](got, got, len, 0.75f, 1.25f);
                assert_memory_equal(got, want, (size_t)len * sizeof(float));
                assert_memory_equal(got + len, x + len, (size_t)(67 - len) * sizeof(float));
            }
        }
    }
}

static float one(qn_vmath f, float x)
{
    float y;

    qn_vmath_pick(0)->run[f](&x, &y, 1, 1.0f, 1.0f);
    return y;
}

static void limits_are_exact(void **state)
{
    (void)state;
    assert_true(one(QN_VMATH_EXP, -INFINITY) == 0.0f);
    assert_true(one(QN_VMATH_EXP, INFINITY) == INFINITY);
    assert_true(one(QN_VMATH_EXP, 0.0f) == 1.0f);
    assert_true(one(QN_VMATH_EXP, 88.72283f) < INFINITY);
    assert_true(one(QN_VMATH_EXP, 88.72284f) == INFINITY);
    assert_true(one(QN_VMATH_EXP, -103.0f) > 0.0f); /* a subnormal */
    assert_true(one(QN_VMATH_EXP, -104.0f) == 0.0f);
    assert_true(isnan(one(QN_VMATH_EXP, NAN)));
    assert_true(one(QN_VMATH_LOG, 0.0f) == -INFINITY);
    assert_true(one(QN_VMATH_LOG, 1.0f) == 0.0f);
    assert_true(isnan(one(QN_VMATH_LOG, -1.0f)));
    assert_true(one(QN_VMATH_LOG, INFINITY) == INFINITY);
    assert_true(one(QN_VMATH_TANH, 20.0f) == 1.0f);
    assert_true(one(QN_VMATH_TANH, -INFINITY) == -1.0f);
    assert_true(one(QN_VMATH_ERF, INFINITY) == 1.0f);
    assert_true(one(QN_VMATH_ERF, -5.0f) == -1.0f);
    assert_true(signbit(one(QN_VMATH_ERF, -0.0f)));
    assert_true(one(QN_VMATH_SIGMOID, -INFINITY) == 0.0f);
    assert_true(one(QN_VMATH_SIGMOID, INFINITY) == 1.0f);
    assert_true(one(QN_VMATH_SOFTPLUS, 1000.0f) == 1000.0f);
    assert_true(one(QN_VMATH_MISH, -INFINITY) == 0.0f);
    assert_true(one(QN_VMATH_SILU, -INFINITY) == 0.0f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_agree_with_libm_over_the_whole_range),
        cmocka_unit_test(functions_agree_with_libm_near_zero),
        cmocka_unit_test(every_row_gives_the_same_bits),
        cmocka_unit_test(an_element_does_not_depend_on_its_neighbours),
        cmocka_unit_test(limits_are_exact),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
