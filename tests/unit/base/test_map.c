#include "core/base/hash.h"
#include "core/base/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void many_keys_are_found_and_others_are_not(void **state)
{
    enum { N = 20000, LEN = 16 };
    char(*keys)[LEN] = calloc(2 * N, LEN);
    qn_map m;

    (void)state;
    assert_non_null(keys);
    qn_map_init(&m);
    for (int i = 0; i < 2 * N; i++) snprintf(keys[i], LEN, "value_%d", i);
    for (int i = 0; i < N; i++) assert_true(qn_map_put(&m, keys[i], i));
    assert_int_equal(m.n, N);
    for (int i = 0; i < 2 * N; i++) assert_int_equal(qn_map_get(&m, keys[i]), i < N ? i : -1);
    for (int i = 0; i < N; i += 3) assert_true(qn_map_put(&m, keys[i], 7 * i));
    assert_int_equal(m.n, N);
    for (int i = 0; i < N; i++) assert_int_equal(qn_map_get(&m, keys[i]), i % 3 ? i : 7 * i);
    qn_map_release(&m);
    free(keys);
}

static void an_empty_map_has_nothing(void **state)
{
    qn_map m;

    (void)state;
    qn_map_init(&m);
    assert_int_equal(qn_map_get(&m, ""), -1);
    assert_true(qn_map_put(&m, "", 5)); /* the empty name is a name */
    assert_int_equal(qn_map_get(&m, ""), 5);
    qn_map_release(&m);
    assert_int_equal(qn_map_get(&m, ""), -1);
    assert_true(qn_map_put(&m, "x", 1)); /* usable again */
    qn_map_release(&m);
}

static void equal_text_at_another_address_is_the_same_key(void **state)
{
    char a[] = "same", b[] = "same";
    qn_map m;

    (void)state;
    qn_map_init(&m);
    assert_true(qn_map_put(&m, a, 1));
    assert_true(qn_map_put(&m, b, 2));
    assert_int_equal(m.n, 1);
    assert_int_equal(qn_map_get(&m, a), 2);
    qn_map_release(&m);
}

static void two_maps_hash_differently(void **state)
{
    qn_map a, b;

    (void)state;
    qn_map_init(&a);
    qn_map_init(&b);
    assert_int_not_equal(a.seed, b.seed); /* fails by chance once in 2^64 */
    assert_int_not_equal(qn_hash_bytes(1, "name", 4), qn_hash_bytes(2, "name", 4));
}

static void every_length_and_every_bit_counts(void **state)
{
    unsigned char data[24] = { 0 };

    (void)state;
    for (size_t n = 0; n < sizeof data; n++) {
        const uint64_t h = qn_hash_bytes(42, data, n);

        assert_int_not_equal(h, qn_hash_bytes(42, data, n + 1)); /* one more zero byte */
        for (size_t bit = 0; bit < 8 * n; bit++) {
            data[bit / 8] ^= (unsigned char)(1u << bit % 8);
            assert_int_not_equal(h, qn_hash_bytes(42, data, n));
            data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_keys_are_found_and_others_are_not),
        cmocka_unit_test(an_empty_map_has_nothing),
        cmocka_unit_test(equal_text_at_another_address_is_the_same_key),
        cmocka_unit_test(two_maps_hash_differently),
        cmocka_unit_test(every_length_and_every_bit_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
