/* tests/unit/kernels/test_gemm.c - the f32 matrix product: one chain per element, whatever runs it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/kernels/gemm/gemm.h"
#include "core/kernels/gemm/tile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Values whose sums round differently in every order. */
static float noise(uint64_t i)
{
    i = (i + 1) * 0x9e3779b97f4a7c15u;
    i = (i ^ (i >> 31)) * 0xbf58476d1ce4e5b9u;
    return (float)((int32_t)(i >> 40) - (1 << 23)) * 0x1p-22f;
}

static float *noise_array(size_t n, uint64_t seed)
{
    float *x = malloc((n ? n : 1) * sizeof *x);

    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = noise(i + seed * 1000003u);
    return x;
}

static float *pack(const float *b, int64_t k, int64_t n)
{
    size_t bytes;
    float *packed;

    assert_true(qn_gemm_packed_bytes(k, n, &bytes));
    packed = aligned_alloc(64, bytes + 64);
    assert_non_null(packed);
    memset(packed, 0, bytes + 64);
    qn_gemm_pack(packed, k, n, 0, k, b, n, 1);
    return packed;
}

/* The definition. */
static float element(const qn_gemm_args *g, const float *b, int64_t i, int64_t j)
{
    float sum = 0;

    for (int64_t p = 0; p < g->k; p++) sum = fmaf(g->a[i * g->lda + p], b[p * g->n + j], sum);
    if (g->bias_m) sum += g->bias_m[i];
    if (g->bias_n) sum += g->bias_n[j];
    return qn_act_apply(sum, g->act, g->lo, g->hi);
}

/* Every row of the table that this CPU has, alone and with a team, against the definition, bit by bit. */
static void check(qn_gemm_args g, const float *b)
{
    const unsigned cpu = qn_cpu_detect();
    const size_t count = (size_t)(g.m * g.ldc);
    float *packed = pack(b, g.k, g.n), *want = malloc(count * sizeof(float)), *got = malloc(count * sizeof(float));
    qn_team *team;
    int32_t n;
    const qn_gemm_kernel *kernels = qn_gemm_kernels(&n);

    assert_int_equal(qn_team_create(2, &team, NULL), QN_OK);
    g.b = packed;
    memset(want, 0x5a, count * sizeof(float));
    for (int64_t i = 0; i < g.m; i++) {
        for (int64_t j = 0; j < g.n; j++) want[i * g.ldc + j] = element(&g, b, i, j);
    }
    for (int32_t r = 0; r < n; r++) {
        for (int with_team = 0; with_team < 2; with_team++) {
            if (kernels[r].needs & ~cpu) continue;
            memset(got, 0x5a, count * sizeof(float)); /* what lies between the rows must stay */
            g.c = got;
            kernels[r].run(&g, with_team ? team : NULL);
            if (memcmp(got, want, count * sizeof(float)) != 0)
                fail_msg("%s differs at m %d n %d k %d", kernels[r].name, (int)g.m, (int)g.n, (int)g.k);
        }
    }
    qn_team_destroy(team);
    free(packed);
    free(want);
    free(got);
}

static void every_kernel_gives_the_bits_of_the_definition(void **state)
{
    static const int64_t ms[] = { 1, 2, 3, 4, 5, 7, 12, 13, 25, 97 }, ns[] = { 1, 15, 16, 17, 33, 64, 130, 161 },
                         ks[] = { 0, 1, 2, 17, 400 };

    (void)state;
    for (size_t x = 0; x < sizeof ms / sizeof ms[0]; x++) {
        for (size_t y = 0; y < sizeof ns / sizeof ns[0]; y++) {
            for (size_t z = 0; z < sizeof ks / sizeof ks[0]; z++) {
                const int64_t m = ms[x], n = ns[y], k = ks[z];
                float *a = noise_array((size_t)(m * (k + 3)), 1), *b = noise_array((size_t)(k * n), 2),
                      *bias = noise_array((size_t)(m + n), 3);
                qn_gemm_args g = { .m = m, .n = n, .k = k, .a = a, .lda = k + 3, .ldc = n + 2, .lo = -0.5f, .hi = 1.5f };

                g.act = (qn_act)((x + y + z) % 3);
                if ((x + z) % 2) g.bias_n = bias;
                if (y % 2) g.bias_m = bias + n;
                check(g, b);
                free(a);
                free(b);
                free(bias);
            }
        }
    }
}

/* -- a row does not know its neighbours ----------------------------------------------------------------------------------- */

/* Runs m rows of a at once and reports how many rows differ from the ones run alone by the scalar twin. */
static int rows_that_differ(qn_gemm_fn *run, const float *a, const float *packed, const float *alone, int64_t m, int64_t n, int64_t k,
                            qn_team *team)
{
    float *c = malloc((size_t)(m * n) * sizeof(float));
    const qn_gemm_args g = { .m = m, .n = n, .k = k, .a = a, .lda = k, .b = packed, .c = c, .ldc = n };
    int differ = 0;

    assert_non_null(c);
    run(&g, team);
    for (int64_t i = 0; i < m; i++) differ += memcmp(c + i * n, alone + i * n, (size_t)n * sizeof(float)) != 0;
    free(c);
    return differ;
}

static void a_row_has_the_same_bits_alone_and_in_any_batch_on_any_isa_and_team(void **state)
{
    enum { N = 33, MAX_M = 64 };
    static const int64_t ks[] = { 1, 7, 64, 512, 784, 3072 };
    const unsigned cpu = qn_cpu_detect();
    int32_t n_kernels;
    const qn_gemm_kernel *kernels = qn_gemm_kernels(&n_kernels), *twin = &kernels[n_kernels - 1];
    qn_team *team;

    (void)state;
    assert_int_equal(qn_team_create(2, &team, NULL), QN_OK);
    for (size_t z = 0; z < sizeof ks / sizeof ks[0]; z++) {
        const int64_t k = ks[z];
        float *a = noise_array((size_t)(MAX_M * k), 4), *b = noise_array((size_t)(k * N), 5), *packed = pack(b, k, N);
        float *alone = malloc(MAX_M * N * sizeof(float));

        assert_non_null(alone);
        for (int64_t i = 0; i < MAX_M; i++) {
            const qn_gemm_args g = { .m = 1, .n = N, .k = k, .a = a + i * k, .lda = k, .b = packed, .c = alone + i * N, .ldc = N };

            twin->run(&g, NULL);
        }
        for (int32_t r = 0; r < n_kernels; r++) {
            if (kernels[r].needs & ~cpu) continue;
            for (int64_t m = 1; m <= MAX_M; m += k > 1000 ? 3 : 1) {
                for (int t = 0; t < 2; t++)
                    assert_int_equal(rows_that_differ(kernels[r].run, a, packed, alone, m, N, k, t ? team : NULL), 0);
            }
        }
        free(a);
        free(b);
        free(packed);
        free(alone);
    }
    qn_team_destroy(team);
}

/* Two kernels with the right answer and the wrong order: what the comparison above exists to find. */
static void k_descending(const qn_gemm_args *g, qn_team *team)
{
    (void)team;
    for (int64_t i = 0; i < g->m; i++) {
        for (int64_t j = 0; j < g->n; j++) {
            float sum = 0;

            for (int64_t p = g->k - 1; p >= 0; p--) sum = fmaf(g->a[i * g->lda + p], g->b[j / 16 * 16 * g->k + 16 * p + j % 16], sum);
            g->c[i * g->ldc + j] = sum;
        }
    }
}

static void k_split_in_two(const qn_gemm_args *g, qn_team *team)
{
    (void)team;
    for (int64_t i = 0; i < g->m; i++) {
        for (int64_t j = 0; j < g->n; j++) {
            float half[2] = { 0, 0 };

            for (int64_t p = 0; p < g->k; p++) {
                const float b = g->b[j / 16 * 16 * g->k + 16 * p + j % 16];

                half[p >= g->k / 2] = fmaf(g->a[i * g->lda + p], b, half[p >= g->k / 2]);
            }
            g->c[i * g->ldc + j] = half[0] + half[1];
        }
    }
}

static void the_comparison_finds_a_kernel_that_sums_in_another_order(void **state)
{
    enum { M = 8, N = 33, K = 512 };
    float *a = noise_array(M * K, 6), *b = noise_array(K * N, 7), *packed = pack(b, K, N), *alone = malloc(M * N * sizeof(float));
    const qn_gemm_args g = { .m = M, .n = N, .k = K, .a = a, .lda = K, .b = packed, .c = alone, .ldc = N };

    (void)state;
    assert_non_null(alone);
    qn_gemm_pick(0)->run(&g, NULL);
    assert_int_equal(rows_that_differ(qn_gemm_pick(qn_cpu_detect())->run, a, packed, alone, M, N, K, NULL), 0);
    assert_int_equal(rows_that_differ(k_descending, a, packed, alone, M, N, K, NULL), M);
    assert_int_equal(rows_that_differ(k_split_in_two, a, packed, alone, M, N, K, NULL), M);
    free(a);
    free(b);
    free(packed);
    free(alone);
}

/* -- special values ------------------------------------------------------------------------------------------------------- */

static void relu_passes_nan_and_minus_zero_on_every_isa(void **state)
{
    const float a[6] = { NAN, -1e-30f, -1, INFINITY, -INFINITY, 1 };
    const float tiny = 1e-30f; /* the product of -1e-30 and 1e-30 is subnormal: flushed to -0 */
    int32_t n;
    const qn_gemm_kernel *kernels = qn_gemm_kernels(&n);
    float *packed = pack(&tiny, 1, 1);

    (void)state;
    for (int32_t r = 0; r < n; r++) {
        float c[6];
        const qn_gemm_args g = { .m = 6, .n = 1, .k = 1, .a = a, .lda = 1, .b = packed, .c = c, .ldc = 1, .act = QN_ACT_RELU };

        if (kernels[r].needs & ~qn_cpu_detect()) continue;
        kernels[r].run(&g, NULL);
        assert_true(isnan(c[0]));
        assert_true(c[1] == 0 && signbit(c[1]));
        assert_true(c[2] == 0 && !signbit(c[2]));
        assert_true(c[3] == INFINITY);
        assert_true(c[4] == 0 && !signbit(c[4]));
        assert_true(c[5] == tiny);
    }
    free(packed);
}

static void a_tile_on_every_isa_takes_offsets_masks_and_residuals_alike(void **state)
{
    enum { K = 19, LD = 150 };
    qn_tile_run_fn *const runs[] = { qn_tile_f32__scalar_soft, qn_tile_f32__scalar, qn_tile_f32__avx2, qn_tile_f32__avx512 };
    const unsigned needs[] = { 0, 0, QN_CPU_AVX2 | QN_CPU_FMA, QN_CPU_AVX512 };
    float *a = noise_array(12 * K, 8), *b = noise_array(K * LD, 9), *res = noise_array(12 * LD, 10), want[12 * LD], got[12 * LD];
    int32_t off[K];

    (void)state;
    for (int p = 0; p < K; p++) off[p] = (p * 7 % K) * LD;
    for (int rows = 1; rows <= 12; rows++) {
        for (int cols = 1; cols <= 140; cols += cols < 36 ? 1 : 13) {
            for (int table = 0; table < 2; table++) {
                /* without a table the last column of b is the last that may be read: put it at the end of the allocation */
                const qn_tile t = { .k = K,
                                    .rows = rows,
                                    .cols = cols,
                                    .a = a,
                                    .lda = K,
                                    .b = table ? b : b + LD - cols,
                                    .b_row = LD,
                                    .b_panel = 16,
                                    .off = table ? off : NULL,
                                    .b_whole = table,
                                    .finish = true,
                                    .ldc = LD,
                                    .residual = res,
                                    .act = QN_ACT_RELU };

                if (table && cols > LD - 16) continue;
                for (size_t r = 0; r < sizeof runs / sizeof runs[0]; r++) {
                    qn_tile u = t;

                    if (needs[r] & ~qn_cpu_detect()) continue;
                    memset(got, 0, sizeof got);
                    u.c = got;
                    runs[r](&u);
                    if (r == 0) memcpy(want, got, sizeof got);
                    assert_memory_equal(got, want, sizeof got);
                }
            }
        }
    }
    free(a);
    free(b);
    free(res);
}

/* -- packing -------------------------------------------------------------------------------------------------------------- */

static void packing_by_rows_by_columns_and_transposed_is_the_same(void **state)
{
    enum { K = 21, N = 37 };
    float *b = noise_array(K * N, 11), *bt = malloc(K * N * sizeof(float)), *want = pack(b, K, N);
    size_t bytes;

    (void)state;
    assert_non_null(bt);
    for (int p = 0; p < K; p++) {
        for (int j = 0; j < N; j++) bt[j * K + p] = b[p * N + j];
    }
    assert_true(qn_gemm_packed_bytes(K, N, &bytes));
    assert_int_equal(bytes, 48 * K * 4);
    for (int way = 0; way < 3; way++) {
        float *got = calloc(1, bytes);

        assert_non_null(got);
        if (way == 0) {
            for (int p = 0; p < K; p += 4) qn_gemm_pack(got, K, N, p, K - p < 4 ? K - p : 4, b + p * N, N, 1);
        } else if (way == 1) {
            for (int j = 0; j < N; j += 5) qn_gemm_pack_cols(got, K, N, j, N - j < 5 ? N - j : 5, bt + j * K, 1, K);
        } else {
            qn_gemm_pack(got, K, N, 0, K, bt, 1, K);
        }
        assert_memory_equal(got, want, bytes);
        free(got);
    }
    free(b);
    free(bt);
    free(want);
}

static void a_size_that_does_not_fit_is_refused(void **state)
{
    size_t bytes = 7;

    (void)state;
    assert_false(qn_gemm_packed_bytes(INT64_MAX / 2, INT64_MAX / 2, &bytes));
    assert_false(qn_gemm_packed_bytes(-1, 4, &bytes));
    assert_int_equal(bytes, 7);
}

static void the_table_ends_with_a_row_for_every_cpu(void **state)
{
    int32_t n;
    const qn_gemm_kernel *kernels = qn_gemm_kernels(&n);

    (void)state;
    assert_int_equal(kernels[n - 1].needs, 0);
    assert_ptr_equal(qn_gemm_pick(0), &kernels[n - 1]);
    for (int32_t i = 0; i < n; i++) assert_int_equal(kernels[i].order, QN_ORDER_FMA_CHAIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_gives_the_bits_of_the_definition),
        cmocka_unit_test(a_row_has_the_same_bits_alone_and_in_any_batch_on_any_isa_and_team),
        cmocka_unit_test(the_comparison_finds_a_kernel_that_sums_in_another_order),
        cmocka_unit_test(relu_passes_nan_and_minus_zero_on_every_isa),
        cmocka_unit_test(a_tile_on_every_isa_takes_offsets_masks_and_residuals_alike),
        cmocka_unit_test(packing_by_rows_by_columns_and_transposed_is_the_same),
        cmocka_unit_test(a_size_that_does_not_fit_is_refused),
        cmocka_unit_test(the_table_ends_with_a_row_for_every_cpu),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
