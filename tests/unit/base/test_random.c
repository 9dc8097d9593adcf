/* The counter-based generator: published vectors, and the shape of what it draws. */
#include "core/base/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void blocks_are_those_the_authors_published(void **state)
{
    /* known answers of philox4x32, 10 rounds, from the authors' distribution (Random123) */
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } cases[] = {
        { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u } },
        { { 0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu },
          { 0xffffffffu, 0xffffffffu },
          { 0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu } },
        { { 0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u },
          { 0xa4093822u, 0x299f31d0u },
          { 0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u } },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t got[4];

        qn_random_block(cases[i].key, cases[i].counter, got);
        assert_memory_equal(got, cases[i].want, sizeof got);
    }
}

static void seed_name_and_step_each_change_every_element(void **state)
{
    const qn_random a = qn_random_init(1, "x", 0), b = qn_random_init(2, "x", 0), c = qn_random_init(1, "y", 0),
                    d = qn_random_init(1, "x", (uint64_t)1 << 32), again = qn_random_init(1, "x", 0);

    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        const uint64_t v = qn_random_bits(&a, i);

        assert_true(v == qn_random_bits(&again, i));
        assert_true(v != qn_random_bits(&b, i) && v != qn_random_bits(&c, i) && v != qn_random_bits(&d, i));
        assert_true(v != qn_random_bits(&a, i + 1));
    }
}

static void fewer_bits_are_the_same_number_cut(void **state)
{
    const qn_random r = qn_random_init(7, "x", 3);

    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        const double full = qn_random_uniform(&r, i, 53), half = qn_random_uniform(&r, i, 11);

        assert_true(full >= 0 && full < 1);
        assert_true(half == floor(full * 2048) / 2048);
    }
}

static void normal_pairs_are_box_and_mullers(void **state)
{
    const qn_random r = qn_random_init(11, "x", 0);

    (void)state;
    for (uint64_t i = 0; i < 20000; i += 2) {
        const double u = 1 - qn_random_uniform(&r, i, 53), v = qn_random_uniform(&r, i + 1, 53), m = sqrt(-2 * log(u)),
                     angle = 2 * 3.14159265358979323846 * v;

        assert_true(fabs(qn_random_normal(&r, i) - m * cos(angle)) <= 1e-14 * (1 + m));
        assert_true(fabs(qn_random_normal(&r, i + 1) - m * sin(angle)) <= 1e-14 * (1 + m));
    }
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

enum { N = 100000 };

/* Largest distance between the sorted sample and the distribution, times sqrt(N): above 1.95 in one case of a thousand. */
static double kolmogorov(double *x, bool normal)
{
    double worst = 0;

    qsort(x, N, sizeof *x, by_value);
    for (int i = 0; i < N; i++) {
        const double f = normal ? 0.5 * erfc(-x[i] / sqrt(2)) : x[i], above = fabs((i + 1.0) / N - f), below = fabs(f - i / (double)N);

        if (above > worst) worst = above;
        if (below > worst) worst = below;
    }
    return worst * sqrt(N);
}

static void draws_follow_their_distributions(void **state)
{
    double *x = malloc(N * sizeof *x);

    (void)state;
    assert_non_null(x);
    for (uint64_t seed = 0; seed < 5; seed++) {
        const qn_random r = qn_random_init(seed, "values", 9);

        for (uint64_t i = 0; i < N; i++) x[i] = qn_random_uniform(&r, i, 53);
        assert_true(kolmogorov(x, false) < 1.95);
        for (uint64_t i = 0; i < N; i++) x[i] = qn_random_normal(&r, i);
        assert_true(kolmogorov(x, true) < 1.95);
    }
    free(x);
}

static void neighbours_are_not_correlated(void **state)
{
    const qn_random r = qn_random_init(5, "values", 0), next = qn_random_init(5, "values", 1);
    double lag1 = 0, lag2 = 0, steps = 0;

    (void)state;
    for (uint64_t i = 0; i < N; i++) {
        const double v = qn_random_normal(&r, i);

        lag1 += v * qn_random_normal(&r, i + 1);
        lag2 += v * qn_random_normal(&r, i + 2);
        steps += v * qn_random_normal(&next, i);
    }
    assert_true(fabs(lag1) < 4 * sqrt(N)); /* sums of N products of variance 1 */
    assert_true(fabs(lag2) < 4 * sqrt(N));
    assert_true(fabs(steps) < 4 * sqrt(N));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_those_the_authors_published), cmocka_unit_test(seed_name_and_step_each_change_every_element),
        cmocka_unit_test(fewer_bits_are_the_same_number_cut),     cmocka_unit_test(normal_pairs_are_box_and_mullers),
        cmocka_unit_test(draws_follow_their_distributions),       cmocka_unit_test(neighbours_are_not_correlated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
