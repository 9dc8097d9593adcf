/* tests/unit/kernels/test_pool.c - pools against their definition, bit by bit, for every element type. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/half.h"
#include "core/kernels/pool/pool.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum type { F32, F64, F16, I8, U8, N_TYPES } type;

static const size_t sizes[N_TYPES] = { 4, 8, 2, 1, 1 };

static int64_t volume(const int64_t v[3]) { return v[0] * v[1] * v[2]; }

/* in, kernel, stride, dilation, pad, pad_end, ceil */
#define NONE                                                                                                                               \
    {                                                                                                                                      \
        1, 1, 1, 1, 0, 0, 0                                                                                                                \
    }
static const int64_t cases[][3][7] = {
    { NONE, { 9, 3, 2, 1, 1, 1, 0 }, { 11, 3, 2, 1, 1, 1, 0 } },
    { NONE, { 8, 2, 2, 1, 0, 0, 0 }, { 7, 2, 2, 1, 0, 0, 1 } },
    { NONE, { 10, 3, 1, 2, 2, 3, 0 }, { 6, 2, 1, 4, 1, 0, 0 } },
    { NONE, NONE, { 600, 5, 1, 1, 2, 2, 0 } },
    { { 4, 2, 2, 1, 0, 1, 0 }, { 5, 3, 1, 1, 1, 1, 0 }, { 6, 2, 3, 1, 1, 0, 1 } },
    { NONE, { 7, 7, 1, 1, 0, 0, 0 }, { 5, 5, 1, 1, 0, 0, 0 } }, /* global */
    { NONE, { 5, 3, 3, 1, 2, 2, 1 }, { 5, 4, 3, 1, 3, 3, 1 } },
};
enum { N_CASES = sizeof cases / sizeof cases[0] };

static qn_pool_shape shape_of(int i, int64_t planes)
{
    qn_pool_shape s = { .planes = planes };

    for (int d = 0; d < 3; d++) {
        const int64_t *g = cases[i][d], room = g[0] + g[4] + g[5] - (g[1] - 1) * g[3] - 1;

        s.in[d] = g[0];
        s.kernel[d] = g[1];
        s.stride[d] = g[2];
        s.dilation[d] = g[3];
        s.pad[d] = g[4];
        s.pad_end[d] = g[5];
        s.out[d] = room / g[2] + 1 + (g[6] && room % g[2]);
        if (g[6] && (s.out[d] - 1) * g[2] >= g[0] + g[4]) s.out[d]--;
    }
    return s;
}

static double get(type t, const void *x, int64_t i)
{
    switch (t) {
    case F32: return (double)((const float *)x)[i];
    case F64: return ((const double *)x)[i];
    case F16: return (double)qn_f16_to_f32(((const uint16_t *)x)[i]);
    case I8: return ((const int8_t *)x)[i];
    default: return ((const uint8_t *)x)[i];
    }
}

static void set(type t, void *x, int64_t i, double v)
{
    switch (t) {
    case F32: ((float *)x)[i] = (float)v; break;
    case F64: ((double *)x)[i] = v; break;
    case F16: ((uint16_t *)x)[i] = qn_f32_to_f16((float)v); break;
    case I8: ((int8_t *)x)[i] = (int8_t)v; break;
    default: ((uint8_t *)x)[i] = (uint8_t)v; break;
    }
}

static void *input(type t, int64_t n)
{
    char *x = malloc((size_t)n * sizes[t] + 1);
    uint64_t r = 12345;

    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) {
        r = r * 6364136223846793005u + 1442695040888963407u;
        set(t, x, i, t == U8 ? (double)(r >> 57) : t == I8 ? (double)(r >> 57) - 64 : (double)(r >> 40) * 0x1p-22 - 2);
    }
    return x;
}

/* Walk a window: calls back for each tap with its place in the plane, or -1 for padding that counts. */
typedef struct window {
    int64_t taps[512];
    int64_t n, n_counted;
} window;

static void walk(const qn_pool_shape *s, const int64_t at[3], window *w)
{
    int64_t k[3];

    w->n = w->n_counted = 0;
    for (k[0] = 0; k[0] < s->kernel[0]; k[0]++) {
        for (k[1] = 0; k[1] < s->kernel[1]; k[1]++) {
            for (k[2] = 0; k[2] < s->kernel[2]; k[2]++) {
                int64_t i[3];
                bool inside = true, counted = true;

                for (int d = 0; d < 3; d++) {
                    i[d] = at[d] * s->stride[d] - s->pad[d] + k[d] * s->dilation[d];
                    inside = inside && i[d] >= 0 && i[d] < s->in[d];
                    counted = counted && i[d] < s->in[d] + s->pad_end[d];
                }
                w->n_counted += counted;
                if (inside) w->taps[w->n++] = (i[0] * s->in[1] + i[1]) * s->in[2] + i[2];
            }
        }
    }
}

static void max_run(type t, const qn_pool_max_args *a, qn_team *team)
{
    switch (t) {
    case F32: qn_pool_max_f32(a, team); break;
    case F64: qn_pool_max_f64(a, team); break;
    case F16: qn_pool_max_f16(a, team); break;
    case I8: qn_pool_max_i8(a, team); break;
    default: qn_pool_max_u8(a, team); break;
    }
}

static void check_max(type t, int which, int64_t planes)
{
    const qn_pool_shape s = shape_of(which, planes);
    const int64_t n_in = volume(s.in), n_out = volume(s.out);
    void *x = input(t, planes * n_in), *y = malloc((size_t)(planes * n_out) * sizes[t] + 1);
    int64_t *indices = malloc((size_t)(planes * n_out) * sizeof *indices + 1), at[3];
    window w;
    qn_team *team;

    assert_true(y && indices);
    assert_int_equal(qn_team_create(2, &team, NULL), QN_OK);
    for (int how = 0; how < 4; how++) { /* no indices, indices, column-major, with a team */
        const qn_pool_max_args a = { .s = s, .x = x, .y = y, .indices = how == 0 ? NULL : indices, .column_major = how == 2 };

        memset(y, 0x55, (size_t)(planes * n_out) * sizes[t]);
        max_run(t, &a, how == 3 ? team : NULL);
        for (int64_t i = 0; i < planes * n_out; i++) {
            const int64_t plane = i / n_out * n_in;
            int64_t best;

            at[2] = i % s.out[2];
            at[1] = i / s.out[2] % s.out[1];
            at[0] = i / s.out[2] / s.out[1] % s.out[0];
            walk(&s, at, &w);
            assert_true(w.n > 0);
            best = w.taps[0];
            for (int64_t j = 1; j < w.n; j++) {
                if (get(t, x, plane + w.taps[j]) > get(t, x, plane + best)) best = w.taps[j];
            }
            assert_true(get(t, y, i) == get(t, x, plane + best));
            if (how == 2) {
                const int64_t row = best / s.in[2];

                assert_int_equal(indices[i], plane + row / s.in[1] + s.in[0] * (row % s.in[1] + s.in[1] * (best % s.in[2])));
            } else if (how) {
                assert_int_equal(indices[i], plane + best);
            }
        }
    }
    qn_team_destroy(team);
    free(x);
    free(y);
    free(indices);
}

static void the_maximum_and_its_place_are_found_in_every_type(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        for (int t = 0; t < N_TYPES; t++) check_max((type)t, i, i == 5 ? 19 : 3);
    }
}

static void nan_wins_and_a_window_of_minus_infinity_gives_it(void **state)
{
    float x[6] = { 1, NAN, 5, -INFINITY, -INFINITY, -INFINITY }, y[2];
    int64_t where[2];
    const qn_pool_shape s = {
        .planes = 1, .in = { 1, 1, 6 }, .out = { 1, 1, 2 }, .kernel = { 1, 1, 3 }, .stride = { 1, 1, 3 }, .dilation = { 1, 1, 1 }
    };

    (void)state;
    for (int how = 0; how < 2; how++) {
        qn_pool_max_f32(&(qn_pool_max_args){ .s = s, .x = x, .y = y, .indices = how ? where : NULL }, NULL);
        assert_true(isnan(y[0]) && y[1] == -INFINITY);
    }
    assert_int_equal(where[0], 1);
    assert_int_equal(where[1], 3);
}

static float term_f32(float v, double p) { return p == 0 ? v : p == 1 ? fabsf(v) : p == 2 ? v * v : (float)pow(fabs((double)v), p); }

static float finish_f32(float sum, double p, int64_t count)
{
    return p == 0 ? sum / (float)count : p == 1 ? sum : p == 2 ? sqrtf(sum) : (float)pow((double)sum, 1 / p);
}

static void check_sum(int which, double p, bool include_pad)
{
    const int64_t planes = which == 5 ? 19 : 3;
    const qn_pool_shape s = shape_of(which, planes);
    const int64_t n_in = volume(s.in), n_out = volume(s.out);
    float *x = input(F32, planes * n_in), *y = malloc((size_t)(planes * n_out) * sizeof *y);
    window w;
    qn_team *team;

    assert_non_null(y);
    assert_int_equal(qn_team_create(2, &team, NULL), QN_OK);
    for (int with_team = 0; with_team < 2; with_team++) {
        qn_pool_sum_f32(&(qn_pool_sum_args){ .s = s, .x = x, .y = y, .p = p, .include_pad = include_pad }, with_team ? team : NULL);
        for (int64_t i = 0; i < planes * n_out; i++) {
            const int64_t at[3] = { i / s.out[2] / s.out[1] % s.out[0], i / s.out[2] % s.out[1], i % s.out[2] };
            float sum = 0, want;

            walk(&s, at, &w);
            for (int64_t j = 0; j < w.n; j++) sum += term_f32(x[i / n_out * n_in + w.taps[j]], p);
            want = finish_f32(sum, p, include_pad ? w.n_counted : w.n);
            assert_memory_equal(&y[i], &want, sizeof want);
        }
    }
    qn_team_destroy(team);
    free(x);
    free(y);
}

static void averages_and_norms_sum_in_ascending_order(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        check_sum(i, 0, false);
        check_sum(i, 0, true);
        for (int p = 1; p <= 3; p++) check_sum(i, p, false);
    }
}

static void f64_and_f16_agree_with_f32_where_all_is_exact(void **state)
{
    const qn_pool_shape s = shape_of(1, 2);
    float x[2 * 56], y[2 * 4 * 4];
    double x64[2 * 56], y64[2 * 4 * 4];
    uint16_t x16[2 * 56], y16[2 * 4 * 4];

    (void)state;
    for (int i = 0; i < 2 * 56; i++) {
        x[i] = (float)(i * 7 % 64 - 32);
        x64[i] = (double)x[i];
        x16[i] = qn_f32_to_f16(x[i]);
    }
    qn_pool_sum_f32(&(qn_pool_sum_args){ .s = s, .x = x, .y = y }, NULL);
    qn_pool_sum_f64(&(qn_pool_sum_args){ .s = s, .x = x64, .y = y64 }, NULL);
    qn_pool_sum_f16(&(qn_pool_sum_args){ .s = s, .x = x16, .y = y16 }, NULL);
    assert_int_equal(volume(s.out), 16);
    for (int i = 0; i < 32; i++) {
        assert_true((double)y[i] == y64[i]);
        assert_true(y[i] == qn_f16_to_f32(y16[i]));
    }
}

static void a_global_pool_is_recognised_only_as_such(void **state)
{
    qn_pool_shape s = shape_of(5, 1);

    (void)state;
    assert_true(qn_pool_is_global(&s));
    s.pad_end[2] = 1;
    assert_false(qn_pool_is_global(&s));
    s = shape_of(0, 1);
    assert_false(qn_pool_is_global(&s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_maximum_and_its_place_are_found_in_every_type),
        cmocka_unit_test(nan_wins_and_a_window_of_minus_infinity_gives_it),
        cmocka_unit_test(averages_and_norms_sum_in_ascending_order),
        cmocka_unit_test(f64_and_f16_agree_with_f32_where_all_is_exact),
        cmocka_unit_test(a_global_pool_is_recognised_only_as_such),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
