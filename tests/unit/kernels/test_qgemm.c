/* tests/unit/kernels/test_qgemm.c - 8-bit products are exact, and requantized by one definition, on every instruction set. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/kernels/qgemm/qgemm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint32_t mix(uint64_t i)
{
    i = (i + 1) * 0x9e3779b97f4a7c15u;
    i = (i ^ (i >> 29)) * 0xbf58476d1ce4e5b9u;
    return (uint32_t)(i >> 32);
}

static uint8_t *bytes_array(int64_t n, uint64_t seed)
{
    uint8_t *x = malloc((size_t)n + 1);

    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) x[i] = (uint8_t)mix((uint64_t)i + seed * 7919u);
    return x;
}

static int32_t value(uint8_t byte, bool is_signed) { return is_signed ? (int8_t)byte : byte; }

/* The definition: 64-bit sums, the C library's rounding. */
static void define(const qn_qgemm_args *g, const uint8_t *b, int64_t i, int64_t j, uint8_t *out)
{
    int64_t sum = g->bias ? g->bias[j] : 0;
    const int32_t zb = g->b_zero ? g->b_zero[j] : 0;
    float v, real;
    int32_t q;

    for (int64_t p = 0; p < g->k; p++)
        sum += (int64_t)(value(g->a[i * g->lda + p], g->a_signed) - g->a_zero) * (value(b[p * g->n + j], g->b_signed) - zb);
    if (g->out == QN_QOUT_S32) {
        q = (int32_t)sum;
        memcpy(out, &q, 4);
        return;
    }
    real = (float)(int32_t)sum * g->multiplier[j];
    if (g->out == QN_QOUT_F32) {
        memcpy(out, &real, 4);
        return;
    }
    v = rintf(fmaxf(fminf(real, 1e6f), -1e6f));
    q = (int32_t)v + g->c_zero;
    q = q < g->c_lo ? g->c_lo : q > g->c_hi ? g->c_hi : q;
    *out = (uint8_t)q;
}

static void check(qn_qgemm_args g, const uint8_t *b)
{
    const size_t size = g.out == QN_QOUT_S32 || g.out == QN_QOUT_F32 ? 4 : 1, total = (size_t)(g.m * g.ldc) * size;
    uint8_t *want = malloc(total), *got = malloc(total);
    size_t bytes;
    void *packed;
    qn_team *team;
    int32_t n;
    const qn_qgemm_kernel *kernels = qn_qgemm_kernels(&n);

    assert_true(qn_qgemm_packed_bytes(g.k, g.n, &bytes));
    packed = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    assert_true(packed && want && got);
    qn_qgemm_pack(packed, g.k, g.n, b, g.b_signed, g.n, 1);
    g.b = packed;
    memset(want, 0x77, total);
    for (int64_t i = 0; i < g.m; i++) {
        for (int64_t j = 0; j < g.n; j++) define(&g, b, i, j, want + (size_t)(i * g.ldc + j) * size);
    }
    assert_int_equal(qn_team_create(2, &team, NULL), QN_OK);
    for (int32_t r = 0; r < n; r++) {
        for (int t = 0; t < 2; t++) {
            if (kernels[r].needs & ~qn_cpu_detect()) continue;
            memset(got, 0x77, total);
            g.c = got;
            kernels[r].run(&g, t ? team : NULL);
            if (memcmp(got, want, total) != 0)
                fail_msg("%s differs at m %d n %d k %d out %d", kernels[r].name, (int)g.m, (int)g.n, (int)g.k, (int)g.out);
        }
    }
    qn_team_destroy(team);
    free(packed);
    free(want);
    free(got);
}

static void every_kernel_is_exact_for_every_sign_zero_point_and_output(void **state)
{
    static const int64_t ms[] = { 1, 2, 4, 6, 13, 30, 101 }, ns[] = { 1, 16, 33, 130 }, ks[] = { 0, 1, 4, 7, 64, 131 };
    uint64_t round = 0;

    (void)state;
    for (size_t x = 0; x < sizeof ms / sizeof ms[0]; x++) {
        for (size_t y = 0; y < sizeof ns / sizeof ns[0]; y++) {
            for (size_t z = 0; z < sizeof ks / sizeof ks[0]; z++) {
                for (int how = 0; how < 4; how++, round++) {
                    const int64_t m = ms[x], n = ns[y], k = ks[z];
                    uint8_t *a = bytes_array(m * (k + 1), round), *b = bytes_array(k * n, round + 1);
                    int32_t *zero = malloc((size_t)n * sizeof *zero), *bias = malloc((size_t)n * sizeof *bias);
                    float *mult = malloc((size_t)n * sizeof *mult);
                    qn_qgemm_args g = { .m = m, .n = n, .k = k, .a = a, .lda = k + 1, .ldc = n + 3, .out = (qn_qout)(round / 3 % 4) };

                    assert_true(zero && bias && mult);
                    g.a_signed = how & 1;
                    g.b_signed = how & 2;
                    g.a_zero = value((uint8_t)mix(round), g.a_signed);
                    for (int64_t j = 0; j < n; j++) {
                        zero[j] = value((uint8_t)mix((uint64_t)j + round), g.b_signed);
                        bias[j] = (int32_t)mix((uint64_t)j) >> 12;
                        mult[j] = (float)(mix((uint64_t)j + 5) >> 8) * 0x1p-38f;
                    }
                    if (round % 3) g.b_zero = zero;
                    if (round % 2) g.bias = bias;
                    g.multiplier = mult;
                    g.c_zero = g.out == QN_QOUT_S8 ? -3 : 120;
                    g.c_lo = g.out == QN_QOUT_S8 ? -128 : 0;
                    g.c_hi = g.c_lo + 255;
                    if (round % 5 == 0) g.c_lo = g.c_zero; /* a fused Relu */
                    check(g, b);
                    free(a);
                    free(b);
                    free(zero);
                    free(bias);
                    free(mult);
                }
            }
        }
    }
}

static void the_largest_sums_do_not_saturate(void **state)
{
    enum { K = 33000 };
    uint8_t *a = malloc(K), *b = malloc(K);
    int32_t zero = 127;
    qn_qgemm_args g = { .m = 1, .n = 1, .k = K, .a = a, .lda = K, .b_signed = true, .b_zero = &zero, .ldc = 1, .out = QN_QOUT_S32 };

    (void)state;
    assert_true(a && b);
    memset(a, 0xff, K);
    memset(b, 0x80, K); /* 255 * (-128 - 127) * 33000 = -2145825000 */
    check(g, b);
    g.b_signed = false;
    zero = 255;
    memset(b, 0, K);
    check(g, b);
    free(a);
    free(b);
}

static void ties_round_to_even_and_ends_saturate(void **state)
{
    const uint8_t a[8] = { 1, 3, 5, 7, 255, 255, 128, 0 };
    const int8_t one = 1, minus = -1;
    const float half = 0.5f, huge = 1e30f, nan = NAN;
    const uint8_t want_half[8] = { 0, 2, 2, 4, 128, 128, 64, 0 };
    int32_t n;
    size_t bytes;
    const qn_qgemm_kernel *kernels = qn_qgemm_kernels(&n);

    (void)state;
    assert_true(qn_qgemm_packed_bytes(1, 1, &bytes));
    for (int32_t r = 0; r < n; r++) {
        _Alignas(64) uint8_t packed[256];
        uint8_t c[8];
        qn_qgemm_args g = { .m = 8,
                            .n = 1,
                            .k = 1,
                            .a = a,
                            .lda = 1,
                            .b = packed,
                            .b_signed = true,
                            .out = QN_QOUT_U8,
                            .c = c,
                            .ldc = 1,
                            .multiplier = &half,
                            .c_hi = 255 };

        if (kernels[r].needs & ~qn_cpu_detect()) continue;
        assert_true(bytes <= sizeof packed);
        qn_qgemm_pack(packed, 1, 1, (const uint8_t *)&one, true, 1, 1);
        kernels[r].run(&g, NULL);
        assert_memory_equal(c, want_half, 8);
        g.multiplier = &huge;
        g.c_zero = 7;
        kernels[r].run(&g, NULL);
        assert_int_equal(c[0], 255);
        assert_int_equal(c[7], 7);
        g.multiplier = &nan;
        kernels[r].run(&g, NULL);
        assert_int_equal(c[0], 0); /* a broken scale gives the lowest value, never undefined behaviour */
        qn_qgemm_pack(packed, 1, 1, (const uint8_t *)&minus, true, 1, 1);
        g.multiplier = &huge;
        kernels[r].run(&g, NULL);
        assert_int_equal(c[0], 0);
    }
}

static void a_transposed_b_packs_to_the_same_bytes(void **state)
{
    enum { K = 13, N = 21 };
    uint8_t *b = bytes_array(K * N, 1), bt[N * K], *p1, *p2;
    size_t bytes;

    (void)state;
    for (int p = 0; p < K; p++) {
        for (int j = 0; j < N; j++) bt[j * K + p] = b[p * N + j];
    }
    assert_true(qn_qgemm_packed_bytes(K, N, &bytes));
    assert_int_equal(bytes, 2 * 16 * 16 + 2 * 16 * 4);
    p1 = calloc(1, bytes);
    p2 = calloc(1, bytes);
    assert_true(p1 && p2);
    qn_qgemm_pack(p1, K, N, b, false, N, 1);
    qn_qgemm_pack(p2, K, N, bt, false, 1, K);
    assert_memory_equal(p1, p2, bytes);
    assert_false(qn_qgemm_packed_bytes(INT64_MAX / 2, INT64_MAX / 2, &bytes));
    free(b);
    free(p1);
    free(p2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_is_exact_for_every_sign_zero_point_and_output),
        cmocka_unit_test(the_largest_sums_do_not_saturate),
        cmocka_unit_test(ties_round_to_even_and_ends_saturate),
        cmocka_unit_test(a_transposed_b_packs_to_the_same_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
