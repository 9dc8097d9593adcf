/* dtypes, shapes, tensors and string tensors. */
#include "core/tensor/shape.h"
#include "core/tensor/strings.h"
#include "quern/tensor.h"
#include "tests/unit/base/huge_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void every_dtype_has_names_that_lead_back(void **state)
{
    (void)state;
    for (int i = 1; i < QN_DTYPE_COUNT; i++) {
        const qn_dtype d = (qn_dtype)i;

        assert_true(strlen(qn_dtype_name(d)) > 0);
        if (d == QN_I4 || d == QN_U4)
            assert_string_equal(qn_dtype_oip_name(d), ""); /* the protocol does not know them */
        else
            assert_int_equal(qn_dtype_from_oip_name(qn_dtype_oip_name(d)), d);
        assert_int_equal(qn_dtype_size(d) == 0, d == QN_STRING);
    }
    assert_string_equal(qn_dtype_name(QN_F32), "f32");
    assert_string_equal(qn_dtype_oip_name(QN_STRING), "BYTES");
    assert_string_equal(qn_dtype_oip_name(QN_DTYPE_NONE), "");
    assert_int_equal(qn_dtype_from_oip_name(""), QN_DTYPE_NONE);
    assert_int_equal(qn_dtype_from_oip_name("fp32"), QN_DTYPE_NONE);
    assert_int_equal(qn_dtype_size((qn_dtype)99), 0); /* a number from outside */
    assert_string_equal(qn_dtype_name((qn_dtype)-1), "none");
}

static void counts_are_checked_up_to_two_to_62(void **state)
{
    static const struct {
        int32_t rank;
        int64_t dims[4];
        qn_status st;
        int64_t count;
    } rows[] = {
        { 0, { 0 }, QN_OK, 1 },
        { 1, { 0 }, QN_OK, 0 },
        { 4, { 1, 3, 224, 224 }, QN_OK, 150528 },
        { 2, { 1LL << 31, 1LL << 31 }, QN_OK, 1LL << 62 },
        { 2, { 1LL << 31, (1LL << 31) + 1 }, QN_ERR_LIMIT, -7 },
        { 2, { INT64_MAX, 2 }, QN_ERR_LIMIT, -7 },
        { 3, { INT64_MAX, INT64_MAX, 0 }, QN_ERR_LIMIT, -7 }, /* its strides would not fit */
        { 3, { 0, 5, 7 }, QN_OK, 0 },
        { 2, { 3, -1 }, QN_ERR_SHAPE, -7 },
        { 1, { INT64_MIN }, QN_ERR_SHAPE, -7 },
        { -1, { 0 }, QN_ERR_SHAPE, -7 },
        { QN_MAX_RANK + 1, { 0 }, QN_ERR_SHAPE, -7 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t count = -7;

        assert_int_equal(qn_shape_count(rows[i].rank, rows[i].dims, &count, NULL), rows[i].st);
        assert_int_equal(count, rows[i].count);
    }
}

static void bytes_are_checked_too(void **state)
{
    const int64_t small[] = { 3, 5 }, large[] = { 1LL << 61 }, edge[] = { 1LL << 62 };
    size_t bytes = 7;

    (void)state;
    assert_int_equal(qn_shape_bytes(QN_F64, 2, small, &bytes, NULL), QN_OK);
    assert_int_equal(bytes, 120);
    assert_int_equal(qn_shape_bytes(QN_F64, 1, large, &bytes, NULL), QN_ERR_LIMIT);
    assert_int_equal(qn_shape_bytes(QN_F32, 1, large, &bytes, NULL), QN_ERR_LIMIT); /* 2^63 is beyond PTRDIFF_MAX */
    assert_int_equal(qn_shape_bytes(QN_U8, 1, edge, &bytes, NULL), QN_OK);
    assert_int_equal(qn_shape_bytes(QN_STRING, 2, small, &bytes, NULL), QN_ERR_DTYPE);
    assert_int_equal(qn_shape_bytes(QN_DTYPE_NONE, 2, small, &bytes, NULL), QN_ERR_DTYPE);
}

static void shapes_print_and_are_cut_to_fit(void **state)
{
    const int64_t dims[] = { 1, -1, 224 };
    char buf[16], tiny[5];

    (void)state;
    assert_string_equal(qn_shape_print(3, dims, buf, sizeof buf), "[1,?,224]");
    assert_string_equal(qn_shape_print(0, dims, buf, sizeof buf), "[]");
    assert_string_equal(qn_shape_print(-1, dims, buf, sizeof buf), "[...]");
    assert_string_equal(qn_shape_print(3, dims, tiny, sizeof tiny), "[1,?");
    assert_string_equal(qn_shape_print(3, dims, tiny, 1), "");
    buf[0] = 'x';
    qn_shape_print(3, dims, buf, 0);
    assert_int_equal(buf[0], 'x');
}

static void strides_are_row_major(void **state)
{
    const int64_t dims[] = { 2, 3, 0, 5 };
    int64_t s[4];

    (void)state;
    qn_shape_strides(4, dims, s);
    assert_int_equal(s[3], 1);
    assert_int_equal(s[2], 5);
    assert_int_equal(s[1], 5); /* 0 counts as 1 */
    assert_int_equal(s[0], 15);
}

static void allocated_tensors_are_aligned_and_zeroed(void **state)
{
    const int64_t dims[] = { 3, 7 }, none[] = { 4, 0 }, huge[] = { 1LL << 58 };
    qn_tensor t;

    (void)state;
    assert_int_equal(qn_tensor_alloc(QN_F32, 2, dims, &t, NULL), QN_OK);
    assert_int_equal(t.bytes, 84);
    assert_int_equal(qn_tensor_count(&t), 21);
    assert_int_equal((uintptr_t)t.data % 64, 0);
    for (int i = 0; i < 21; i++) assert_true(((float *)t.data)[i] == 0.0f);
    qn_tensor_free(&t);
    assert_null(t.data);
    qn_tensor_free(&t);
    qn_tensor_free(NULL);
    assert_int_equal(qn_tensor_alloc(QN_I64, 2, none, &t, NULL), QN_OK);
    assert_null(t.data);
    assert_int_equal(t.bytes, 0);
    assert_int_equal(t.dims[0], 4);
    assert_int_equal(qn_tensor_alloc(QN_F64, 1, huge, &t, NULL), QN_ERR_NOMEM);
    assert_int_equal(t.dtype, QN_DTYPE_NONE);
    assert_int_equal(qn_tensor_alloc(QN_F64, 0, NULL, &t, NULL), QN_OK);
    assert_int_equal(t.bytes, 8);
    qn_tensor_free(&t);
}

static void make_strings(qn_tensor *t)
{
    const int64_t dims[] = { 3 };
    uint64_t *off;

    assert_int_equal(qn_strings_alloc(1, dims, 7, t, NULL), QN_OK);
    off = qn_strings_offsets(t);
    off[1] = 2;
    off[2] = 2;
    off[3] = 7;
    memcpy(qn_strings_blob(t), "hi\0yes!", 7);
}

static void copies_are_deep_also_for_strings(void **state)
{
    const int64_t dims[] = { 2, 2 };
    qn_tensor a, b;
    size_t len;

    (void)state;
    assert_int_equal(qn_tensor_alloc(QN_I16, 2, dims, &a, NULL), QN_OK);
    ((int16_t *)a.data)[3] = 9;
    assert_int_equal(qn_tensor_copy(&a, &b, NULL), QN_OK);
    ((int16_t *)a.data)[3] = 1;
    assert_int_equal(((int16_t *)b.data)[3], 9);
    assert_int_equal(b.dims[1], 2);
    qn_tensor_free(&b);
    a.bytes = 7;
    assert_int_equal(qn_tensor_copy(&a, &b, NULL), QN_ERR_INVALID);
    assert_null(b.data);
    qn_tensor_free(&a);

    make_strings(&a);
    assert_int_equal(qn_tensor_copy(&a, &b, NULL), QN_OK);
    qn_tensor_free(&a);
    assert_memory_equal(qn_strings_get(&b, 0, &len), "hi", 2);
    assert_int_equal(len, 2);
    qn_strings_get(&b, 1, &len);
    assert_int_equal(len, 0);
    assert_memory_equal(qn_strings_get(&b, 2, &len), "\0yes!", 5);
    assert_int_equal(len, 5);
    qn_tensor_free(&b);
}

static void string_tensors_are_checked_offset_by_offset(void **state)
{
    qn_tensor t, bad;
    uint64_t *off;

    (void)state;
    make_strings(&t);
    off = qn_strings_offsets(&t);
    assert_int_equal(qn_strings_check(&t, NULL), QN_OK);
    off[0] = 1;
    assert_int_equal(qn_strings_check(&t, NULL), QN_ERR_FORMAT);
    off[0] = 0;
    off[1] = 3; /* falls to 2 */
    assert_int_equal(qn_strings_check(&t, NULL), QN_ERR_FORMAT);
    off[1] = 2;
    off[3] = 8;
    assert_int_equal(qn_strings_check(&t, NULL), QN_ERR_FORMAT);
    off[3] = UINT64_MAX;
    assert_int_equal(qn_strings_check(&t, NULL), QN_ERR_FORMAT);
    off[3] = 6;
    assert_int_equal(qn_strings_check(&t, NULL), QN_ERR_FORMAT);
    off[3] = 7;
    bad = t;
    bad.bytes = 31; /* one byte short of its offsets */
    assert_int_equal(qn_strings_check(&bad, NULL), QN_ERR_FORMAT);
    bad = t;
    bad.dims[0] = 1LL << 62;
    assert_int_equal(qn_strings_check(&bad, NULL), QN_ERR_FORMAT);
    bad = t;
    bad.dtype = QN_U8;
    assert_int_equal(qn_strings_check(&bad, NULL), QN_ERR_DTYPE);
    bad = (qn_tensor){ .dtype = QN_STRING, .rank = 1 };
    assert_int_equal(qn_strings_check(&bad, NULL), QN_OK); /* no elements, no storage */
    qn_tensor_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_dtype_has_names_that_lead_back),
        cmocka_unit_test(counts_are_checked_up_to_two_to_62),
        cmocka_unit_test(bytes_are_checked_too),
        cmocka_unit_test(shapes_print_and_are_cut_to_fit),
        cmocka_unit_test(strides_are_row_major),
        cmocka_unit_test(allocated_tensors_are_aligned_and_zeroed),
        cmocka_unit_test(copies_are_deep_also_for_strings),
        cmocka_unit_test(string_tensors_are_checked_offset_by_offset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
