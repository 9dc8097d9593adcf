#include "quern/cpu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#if defined(__x86_64__)
static void detection_agrees_with_the_compilers(void **state)
{
    const unsigned cpu = qn_cpu_detect();
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl");

    (void)state;
    assert_int_equal((cpu & QN_CPU_AVX2) != 0, __builtin_cpu_supports("avx2") != 0);
    assert_int_equal((cpu & QN_CPU_FMA) != 0, __builtin_cpu_supports("fma") != 0);
    assert_int_equal((cpu & QN_CPU_AVX512) != 0, avx512);
    assert_int_equal((cpu & QN_CPU_AVX512_VNNI) != 0, avx512 && __builtin_cpu_supports("avx512vnni"));
}
#endif

static void each_name_includes_the_ones_before(void **state)
{
    static const char *const names[] = { "scalar", "avx2", "avx512", "vnni" };
    const unsigned have = qn_cpu_detect();
    unsigned before = 0, cpu = 99;
    bool more = true;
    qn_error err;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        const qn_status st = qn_cpu_from_name(names[i], &cpu, &err);

        if (st) {
            assert_int_equal(st, QN_ERR_UNSUPPORTED);
            assert_non_null(strstr(err.message, names[i]));
            more = false;
            continue;
        }
        assert_true(more); /* no larger set without the smaller one */
        assert_int_equal(before & ~cpu, 0);
        assert_int_equal(cpu & ~have, 0);
        assert_string_equal(qn_cpu_name(cpu), names[i]);
        before = cpu;
    }
    assert_string_equal(qn_cpu_name(have), qn_cpu_name(before));
}

static void an_unknown_name_lists_the_known_ones(void **state)
{
    unsigned cpu = 99;
    qn_error err;

    (void)state;
    assert_int_equal(qn_cpu_from_name("AVX2", &cpu, &err), QN_ERR_INVALID);
    assert_int_equal(cpu, 99);
    assert_non_null(strstr(err.message, "\"AVX2\""));
    assert_non_null(strstr(err.message, "scalar, avx2, avx512 or vnni"));
}

static void the_name_of_a_set_is_the_largest_it_covers(void **state)
{
    (void)state;
    assert_string_equal(qn_cpu_name(0), "scalar");
    assert_string_equal(qn_cpu_name(QN_CPU_AVX2), "scalar"); /* without FMA */
    assert_string_equal(qn_cpu_name(QN_CPU_AVX2 | QN_CPU_FMA | QN_CPU_F16C), "avx2");
    assert_string_equal(qn_cpu_name(QN_CPU_AVX512 | QN_CPU_AVX512_VNNI), "scalar");
    assert_string_equal(qn_cpu_name(~0u), "vnni");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#if defined(__x86_64__)
        cmocka_unit_test(detection_agrees_with_the_compilers),
#endif
        cmocka_unit_test(each_name_includes_the_ones_before),
        cmocka_unit_test(an_unknown_name_lists_the_known_ones),
        cmocka_unit_test(the_name_of_a_set_is_the_largest_it_covers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
