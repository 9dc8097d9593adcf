/* The strided copy against one element at a time, over odd shapes, strides and sizes; gather, fill, keys, tables, filters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/kernels/move/key.h"
#include "core/kernels/move/move.h"
#include "core/kernels/move/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint32_t next(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* dst through the definition in move.h. */
static void slow_copy(const qn_move *m, size_t elem, const char *src, char *dst)
{
    int64_t n = 1;

    for (int a = 0; a < m->rank; a++) n *= m->dims[a];
    for (int64_t i = 0; i < n; i++) {
        int64_t rest = i, from = 0, to = 0;

        for (int a = m->rank - 1; a >= 0; a--) {
            from += rest % m->dims[a] * m->src[a];
            to += rest % m->dims[a] * m->dst[a];
            rest /= m->dims[a];
        }
        memcpy(dst + to * (int64_t)elem, src + from * (int64_t)elem, elem);
    }
}

/* A random permutation of a random shape, some axes backwards, some repeated, the output dense or with gaps. */
static void random_move(uint32_t *seed, qn_move *m, int64_t *n_src, int64_t *first, int64_t *n_dst)
{
    int64_t step = 1, room = 1;
    int order[6];

    m->rank = (int)(next(seed) % 6);
    *first = 0;
    for (int a = 0; a < m->rank; a++) {
        order[a] = a;
        m->dims[a] = 1 + (int64_t)(next(seed) % (m->rank > 3 ? 5 : 40));
    }
    for (int a = m->rank - 1; a > 0; a--) {
        int k = (int)(next(seed) % (unsigned)(a + 1)), swap = order[a];

        order[a] = order[k];
        order[k] = swap;
    }
    for (int i = m->rank - 1; i >= 0; i--) {
        int a = order[i];

        m->src[a] = step;
        if (next(seed) % 6 == 0) {
            m->src[a] = 0;
            continue;
        }
        step *= m->dims[a];
        if (next(seed) % 6 == 0) {
            *first += (m->dims[a] - 1) * m->src[a];
            m->src[a] = -m->src[a];
        }
    }
    for (int a = m->rank - 1; a >= 0; a--) {
        m->dst[a] = room;
        room = room * m->dims[a] + (next(seed) % 4 == 0 ? 3 : 0);
    }
    *n_src = step;
    *n_dst = room;
}

static void the_copy_agrees_with_its_definition(void **state)
{
    static const size_t sizes[] = { 1, 2, 4, 8 };
    uint32_t seed = 1;
    qn_team *team = NULL;

    (void)state;
    assert_int_equal(qn_team_create(3, &team, NULL), QN_OK);
    for (int round = 0; round < 400; round++) {
        size_t elem = sizes[round % 4];
        qn_move m = { 0 };
        int64_t n_src, first, n_dst;
        char *src, *want, *got;

        random_move(&seed, &m, &n_src, &first, &n_dst);
        src = malloc((size_t)n_src * elem);
        want = calloc((size_t)n_dst, elem);
        got = calloc((size_t)n_dst, elem);
        assert_true(src && want && got);
        for (size_t i = 0; i < (size_t)n_src * elem; i++) src[i] = (char)next(&seed);
        slow_copy(&m, elem, src + (size_t)first * elem, want);
        qn_move_copy(&m, elem, src + (size_t)first * elem, got, round & 1 ? team : NULL);
        assert_memory_equal(got, want, (size_t)n_dst * elem);
        free(src);
        free(want);
        free(got);
    }
    qn_team_destroy(team);
}

static void a_large_transpose_is_cut_into_tiles(void **state)
{
    enum { ROWS = 517, COLS = 333 };
    uint16_t *x = malloc(sizeof *x * ROWS * COLS), *y = calloc(ROWS * COLS, sizeof *y);
    qn_move m = { .rank = 2, .dims = { COLS, ROWS }, .src = { 1, COLS }, .dst = { ROWS, 1 } };
    qn_team *team = NULL;

    (void)state;
    assert_true(x && y);
    for (int i = 0; i < ROWS * COLS; i++) x[i] = (uint16_t)(i * 7);
    assert_int_equal(qn_team_create(2, &team, NULL), QN_OK);
    qn_move_copy(&m, sizeof *x, x, y, team);
    qn_team_destroy(team);
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLS; j++) assert_int_equal(y[j * ROWS + i], x[i * COLS + j]);
    free(x);
    free(y);
}

static void nothing_moves_when_an_axis_is_empty(void **state)
{
    qn_move m = { .rank = 2, .dims = { 3, 0 }, .src = { 0, 1 }, .dst = { 0, 1 } };

    (void)state;
    qn_move_copy(&m, 4, NULL, NULL, NULL);
    qn_move_fill(NULL, 0, 4, NULL);
    qn_move_gather(NULL, NULL, 0, 1, 4, (qn_move_index){ NULL, true }, 0, NULL);
}

static void fill_repeats_an_element_of_any_size(void **state)
{
    static const size_t sizes[] = { 1, 2, 4, 8 };
    const uint64_t value = 0x0123456789abcdef;

    (void)state;
    for (int s = 0; s < 4; s++) {
        char y[8 * 5 + 1];

        memset(y, 0x55, sizeof y);
        qn_move_fill(y, 5, sizes[s], &value);
        for (size_t i = 0; i < 5; i++) assert_memory_equal(y + i * sizes[s], &value, sizes[s]);
        assert_int_equal(y[5 * sizes[s]], 0x55);
    }
}

static void gather_takes_blocks_of_any_size(void **state)
{
    static const size_t sizes[] = { 1, 2, 3, 4, 8, 12 };
    static const int32_t narrow[] = { 2, -1, 0 };
    static const int64_t wide[] = { 2, -1, 0 };
    char x[2 * 3 * 12], y[2 * 3 * 12];

    (void)state;
    for (size_t i = 0; i < sizeof x; i++) x[i] = (char)i;
    for (int s = 0; s < 12; s++) {
        size_t b = sizes[s / 2];

        qn_move_gather(x, y, 2, 3, b, s & 1 ? (qn_move_index){ wide, true } : (qn_move_index){ narrow, false }, 3, NULL);
        for (size_t o = 0; o < 2; o++) {
            assert_memory_equal(y + (o * 3 + 0) * b, x + (o * 3 + 2) * b, b);
            assert_memory_equal(y + (o * 3 + 1) * b, x + (o * 3 + 2) * b, b);
            assert_memory_equal(y + (o * 3 + 2) * b, x + (o * 3 + 0) * b, b);
        }
    }
}

static void keys_have_the_order_of_their_numbers(void **state)
{
    static const float f[] = { -INFINITY, -3e38f, -1, -1e-45f, 0, 1e-45f, 1, 3e38f, INFINITY, NAN };
    static const int64_t i64[] = { INT64_MIN, -1, 0, 1, INT64_MAX };
    static const int8_t i8[] = { -128, -1, 0, 1, 127 };
    static const uint16_t h[] = { 0xfc00, 0xbc00, 0x8001, 0x0000, 0x0001, 0x3c00, 0x7c00, 0x7e00 };
    const float zeros[] = { 0.0f, -0.0f }, nans[] = { NAN, -NAN };

    (void)state;
    for (int i = 1; i < 10; i++) assert_true(qn_move_key(QN_F32, f, i - 1) < qn_move_key(QN_F32, f, i));
    for (int i = 1; i < 5; i++) assert_true(qn_move_key(QN_I64, i64, i - 1) < qn_move_key(QN_I64, i64, i));
    for (int i = 1; i < 5; i++) assert_true(qn_move_key(QN_I8, i8, i - 1) < qn_move_key(QN_I8, i8, i));
    for (int i = 1; i < 8; i++) assert_true(qn_move_key(QN_F16, h, i - 1) < qn_move_key(QN_F16, h, i));
    assert_true(qn_move_key(QN_F32, zeros, 0) == qn_move_key(QN_F32, zeros, 1));
    assert_true(qn_move_key(QN_F32, nans, 0) == qn_move_key(QN_F32, nans, 1));
}

static void the_top_k_agree_with_a_stable_sort(void **state)
{
    uint32_t seed = 7;

    (void)state;
    for (int round = 0; round < 200; round++) {
        int32_t x[40];
        int64_t n = 1 + (int64_t)(next(&seed) % 40), k = (int64_t)(next(&seed) % (uint32_t)(n + 1));
        qn_move_entry got[40];
        bool used[40] = { false }, largest = round & 1;

        for (int i = 0; i < n; i++) x[i] = (int32_t)(next(&seed) % 9) - 4;
        qn_move_top(QN_I32, x, n, 1, largest, k, got);
        for (int64_t j = 0; j < k; j++) {
            int64_t best = -1;

            for (int64_t i = 0; i < n; i++)
                if (!used[i] && (best < 0 || (largest ? x[i] > x[best] : x[i] < x[best]))) best = i;
            used[best] = true;
            assert_int_equal(got[j].place, best);
        }
    }
}

static void tables_repeat_rows(void **state)
{
    const int16_t x[] = { 1, 2, 3, 4 };
    int16_t y[12];
    const int64_t rows[] = { 0, 0, 2 }, cols[] = { 1, 0, 0, 1 };
    qn_move_tables t = { .rank = 2, .dims = { 3, 4 }, .from = { rows, cols } };

    (void)state;
    qn_move_by_table(&t, 2, x, y, NULL);
    assert_memory_equal(y, ((const int16_t[]){ 2, 1, 1, 2, 2, 1, 1, 2, 4, 3, 3, 4 }), sizeof y);
}

static void a_filter_gives_the_same_bits_with_a_team(void **state)
{
    enum { OUTER = 3, IN = 50, OUT = 70, INNER = 33, TAPS = 3 };
    static float x[OUTER * IN * INNER], one[OUTER * OUT * INNER], many[OUTER * OUT * INNER];
    int64_t index[OUT * TAPS];
    double weight[OUT * TAPS];
    uint32_t seed = 3;
    qn_move_filter f = { IN, OUT, TAPS, index, weight };
    qn_team *team = NULL;

    (void)state;
    for (int i = 0; i < OUTER * IN * INNER; i++) x[i] = (float)next(&seed) / 1e6f;
    for (int i = 0; i < OUT * TAPS; i++) index[i] = next(&seed) % IN, weight[i] = 1.0 / (1 + next(&seed) % 7);
    qn_move_filter_f32(&f, x, one, OUTER, INNER, NULL);
    assert_int_equal(qn_team_create(3, &team, NULL), QN_OK);
    qn_move_filter_f32(&f, x, many, OUTER, INNER, team);
    qn_team_destroy(team);
    assert_memory_equal(one, many, sizeof one);
    for (int j = 0; j < OUT; j++) {
        float sum = 0;

        for (int k = 0; k < TAPS; k++) sum += x[index[j * TAPS + k] * INNER + 5] * (float)weight[j * TAPS + k];
        assert_float_equal(one[j * INNER + 5], sum, 1e-5f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_copy_agrees_with_its_definition),      cmocka_unit_test(a_large_transpose_is_cut_into_tiles),
        cmocka_unit_test(nothing_moves_when_an_axis_is_empty),      cmocka_unit_test(fill_repeats_an_element_of_any_size),
        cmocka_unit_test(gather_takes_blocks_of_any_size),          cmocka_unit_test(keys_have_the_order_of_their_numbers),
        cmocka_unit_test(the_top_k_agree_with_a_stable_sort),       cmocka_unit_test(tables_repeat_rows),
        cmocka_unit_test(a_filter_gives_the_same_bits_with_a_team),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
