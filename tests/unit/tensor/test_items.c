/* Sequences share boxes, and every box is paid for once. */
#include "core/tensor/items.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static qn_box *number(qn_meter *m, float v)
{
    qn_box *b = NULL;

    assert_int_equal(qn_box_copy(m, &(qn_tensor){ .dtype = QN_F32, .data = &v, .bytes = sizeof v }, &b, NULL), QN_OK);
    return b;
}

static float at(const qn_items *x, int64_t i) { return *(const float *)x->box[i]->tensor.data; }

static void a_grown_copy_shares_the_elements_it_had(void **state)
{
    qn_meter m = { .limit_bytes = 1 << 20 };
    qn_items a = { 0 }, b = { 0 };
    uint64_t two;

    (void)state;
    assert_int_equal(qn_items_insert(&a, 0, number(&m, 1), NULL), QN_OK);
    assert_int_equal(qn_items_insert(&a, 0, number(&m, 2), NULL), QN_OK);
    a.present = true;
    two = m.bytes;
    assert_int_equal(qn_items_share(&b, &a, NULL), QN_OK);
    assert_int_equal(m.bytes, two);
    assert_int_equal(qn_items_insert(&b, 1, number(&m, 3), NULL), QN_OK);
    assert_int_equal(a.n, 2);
    assert_int_equal(b.n, 3);
    assert_true(b.present && at(&b, 0) == 2 && at(&b, 1) == 3 && at(&b, 2) == 1);
    qn_items_release(&a);
    assert_true(at(&b, 2) == 1);
    qn_items_release(&b);
    assert_int_equal(m.bytes, 0);
}

static void a_box_beyond_the_meter_is_refused_and_costs_nothing(void **state)
{
    qn_meter m = { .limit_bytes = 4096 };
    qn_box *b = NULL;
    qn_error err;

    (void)state;
    assert_int_equal(qn_box_alloc(&m, QN_F32, 1, (const int64_t[]){ 2000 }, &b, &err), QN_ERR_LIMIT);
    assert_null(b);
    assert_int_equal(m.bytes, 0);
    assert_int_equal(qn_box_alloc(&m, QN_F32, 1, (const int64_t[]){ 900 }, &b, &err), QN_OK);
    assert_true(m.bytes > 3600);
    qn_box_unref(b);
    assert_int_equal(m.bytes, 0);
}

static void empty_elements_are_not_free(void **state)
{
    qn_meter m = { .limit_bytes = 10000 };
    qn_items x = { 0 };
    qn_box *b = NULL;
    qn_status st;

    (void)state;
    while ((st = qn_box_alloc(&m, QN_F32, 1, (const int64_t[]){ 0 }, &b, NULL)) == QN_OK) {
        assert_int_equal(qn_items_insert(&x, x.n, b, NULL), QN_OK);
        assert_true(x.n < 1000);
    }
    assert_int_equal(st, QN_ERR_LIMIT);
    qn_items_release(&x);
    assert_int_equal(m.bytes, 0);
}

static void strings_are_elements_too(void **state)
{
    uint64_t text[3] = { 0, 2 };
    qn_meter m = { .limit_bytes = 1 << 20 };
    qn_box *b = NULL;

    (void)state;
    memcpy(&text[2], "hi", 2);
    assert_int_equal(qn_box_copy(&m, &(qn_tensor){ .dtype = QN_STRING, .data = text, .bytes = 18 }, &b, NULL), QN_OK);
    assert_memory_equal(b->tensor.data, text, 18);
    qn_box_unref(b);
    assert_int_equal(m.bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_grown_copy_shares_the_elements_it_had),
        cmocka_unit_test(a_box_beyond_the_meter_is_refused_and_costs_nothing),
        cmocka_unit_test(empty_elements_are_not_free),
        cmocka_unit_test(strings_are_elements_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
