/* tests/unit/kernels/test_reduce.c - sixteen lanes and one tree, on every row of the table, for rows and for columns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/kernels/reduce/reduce.h"

#include <math.h>
#include <string.h>

#define N 531

static void fill(float *x, int n)
{
    uint32_t s = 12345;

    for (int i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        x[i] = ((float)(s >> 8) * 0x1p-23f - 1.0f) * (i % 7 ? 1.0f : 1000.0f);
    }
}

/* The order as the header states it, spelled out. */
static float by_definition(qn_reduce kind, const float *x, int n, int stride)
{
    float a[16];

    for (int l = 0; l < 16; l++)
        a[l] = kind == QN_REDUCE_PROD ? 1.0f : kind == QN_REDUCE_MAX ? -INFINITY : kind == QN_REDUCE_MIN ? INFINITY : 0.0f;
    for (int i = 0; i < n; i++) {
        const float v = x[i * stride];

        switch (kind) {
        case QN_REDUCE_SUM: a[i % 16] = a[i % 16] + v; break;
        case QN_REDUCE_SUM_SQ: a[i % 16] = a[i % 16] + v * v; break;
        case QN_REDUCE_SUM_ABS: a[i % 16] = a[i % 16] + fabsf(v); break;
        case QN_REDUCE_PROD: a[i % 16] = a[i % 16] * v; break;
        case QN_REDUCE_MAX: a[i % 16] = v > a[i % 16] ? v : a[i % 16]; break;
        default: a[i % 16] = v < a[i % 16] ? v : a[i % 16]; break;
        }
    }
    for (int w = 8; w; w /= 2)
        for (int l = 0; l < w; l++) {
            if (kind == QN_REDUCE_PROD)
                a[l] = a[l] * a[l + w];
            else if (kind == QN_REDUCE_MAX)
                a[l] = a[l + w] > a[l] ? a[l + w] : a[l];
            else if (kind == QN_REDUCE_MIN)
                a[l] = a[l + w] < a[l] ? a[l + w] : a[l];
            else
                a[l] = a[l] + a[l + w];
        }
    return a[0];
}

static float feed(const qn_reduce_kernel *k, qn_reduce kind, const float *x, int n, int piece)
{
    float acc[16];

    for (int l = 0; l < 16; l++) acc[l] = qn_reduce_start(kind);
    for (int done = 0; done < n; done += piece) k->feed[kind](acc, x + done, n - done < piece ? n - done : piece);
    return qn_reduce_finish(kind, acc);
}

static void rows_follow_the_stated_order_on_every_instruction_set(void **state)
{
    static float x[N];
    int32_t rows;
    const qn_reduce_kernel *const *k = qn_reduce_kernels(&rows);
    const unsigned cpu = qn_cpu_detect();

    (void)state;
    fill(x, N);
    for (int32_t row = 0; row < rows; row++) {
        if (k[row]->needs & ~cpu) continue;
        for (int kind = 0; kind < QN_REDUCE_COUNT; kind++) {
            for (int n = 0; n <= N; n += n < 50 ? 1 : 37) {
                const float want = by_definition((qn_reduce)kind, x, n, 1);
                const float whole = feed(k[row], (qn_reduce)kind, x, n, N + 1), pieces = feed(k[row], (qn_reduce)kind, x, n, 48);

                assert_memory_equal(&whole, &want, sizeof want);
                assert_memory_equal(&pieces, &want, sizeof want);
            }
        }
    }
}

static void columns_give_the_bits_of_rows(void **state)
{
    static float x[37 * QN_REDUCE_COLS];
    int32_t rows;
    const qn_reduce_kernel *const *k = qn_reduce_kernels(&rows);
    const unsigned cpu = qn_cpu_detect();
    const int widths[] = { 1, 3, 16, 33, QN_REDUCE_COLS };

    (void)state;
    fill(x, 37 * QN_REDUCE_COLS);
    for (int32_t row = 0; row < rows; row++) {
        if (k[row]->needs & ~cpu) continue;
        for (int kind = 0; kind < QN_REDUCE_COUNT; kind++) {
            for (size_t w = 0; w < sizeof widths / sizeof widths[0]; w++) {
                float acc[16 * QN_REDUCE_COLS], out[QN_REDUCE_COLS];

                for (int i = 0; i < 16 * widths[w]; i++) acc[i] = qn_reduce_start((qn_reduce)kind);
                for (int i = 0; i < 37; i++) k[row]->cols[kind](acc, i % 16, x + i * QN_REDUCE_COLS, widths[w]);
                qn_reduce_finish_cols((qn_reduce)kind, acc, widths[w], out);
                for (int c = 0; c < widths[w]; c++) {
                    const float want = by_definition((qn_reduce)kind, x + c, 37, QN_REDUCE_COLS);

                    assert_memory_equal(&out[c], &want, sizeof want);
                }
            }
        }
    }
}

static void a_nan_anywhere_makes_the_result_nan(void **state)
{
    static float x[N];
    int32_t rows;
    const qn_reduce_kernel *const *k = qn_reduce_kernels(&rows);
    const unsigned cpu = qn_cpu_detect();

    (void)state;
    for (int32_t row = 0; row < rows; row++) {
        if (k[row]->needs & ~cpu) continue;
        for (int at = 0; at < 70; at++) {
            fill(x, N);
            x[at] = NAN;
            for (int kind = 0; kind < QN_REDUCE_COUNT; kind++) assert_true(isnan(feed(k[row], (qn_reduce)kind, x, 70, N)));
        }
    }
}

static void long_sums_stay_accurate(void **state)
{
    static float x[100003];
    double want = 0;
    float got;

    (void)state;
    fill(x, 100003);
    for (int i = 0; i < 100003; i++) want += (double)x[i] * (double)x[i];
    got = feed(qn_reduce_pick(qn_cpu_detect()), QN_REDUCE_SUM_SQ, x, 100003, 100003);
    assert_true(fabs((double)got - want) < 1e-4 * want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_follow_the_stated_order_on_every_instruction_set),
        cmocka_unit_test(columns_give_the_bits_of_rows),
        cmocka_unit_test(a_nan_anywhere_makes_the_result_nan),
        cmocka_unit_test(long_sums_stay_accurate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
