/* .npy files: every dtype there and back, NumPy's own variants, and headers that lie. */
#include "core/tensor/strings.h"
#include "quern/tensor.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_BYTES = 1 << 20 };

static char path[64];

static int make_path(void **state)
{
    int fd;

    (void)state;
    snprintf(path, sizeof path, "/tmp/quern_npy_XXXXXX");
    fd = mkstemp(path);
    if (fd < 0) return -1;
    close(fd);
    return 0;
}

static int remove_path(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static void write_file(const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* A file with this version, this header text and this data. */
static void write_npy(int version, const char *header, const void *data, size_t n)
{
    unsigned char file[2048];
    const size_t len = strlen(header), n_len = version == 1 ? 2 : 4;

    assert_true(8 + n_len + len + n <= sizeof file);
    memcpy(file, "\x93NUMPY\0\0", 8);
    file[6] = (unsigned char)version;
    for (size_t i = 0; i < n_len; i++) file[8 + i] = (unsigned char)(len >> (8 * i));
    memcpy(file + 8 + n_len, header, len);
    if (n) memcpy(file + 8 + n_len + len, data, n);
    write_file(file, 8 + n_len + len + n);
}

/* -- there and back -------------------------------------------------------------------------------------------------------- */

static void every_dtype_and_rank_comes_back(void **state)
{
    (void)state;
    for (int d = 1; d < QN_DTYPE_COUNT; d++) {
        for (int32_t rank = 0; rank <= QN_MAX_RANK; rank++) {
            const int64_t dims[QN_MAX_RANK] = { 3, 2, 1, 2, 1, 1, 2, 1 };
            qn_tensor t, got;

            if (d == QN_STRING) continue;
            assert_int_equal(qn_tensor_alloc((qn_dtype)d, rank, dims, &t, NULL), QN_OK);
            for (size_t i = 0; i < t.bytes; i++) ((unsigned char *)t.data)[i] = (unsigned char)(d == QN_BOOL ? i & 1 : i * 37 + 1);
            assert_int_equal(qn_npy_write(path, &t, NULL), QN_OK);
            assert_int_equal(qn_npy_read(path, MAX_BYTES, &got, NULL), QN_OK);
            assert_int_equal(got.dtype, d == QN_BF16 ? QN_U16 : d == QN_I4 ? QN_I8 : d == QN_U4 ? QN_U8 : d); /* NumPy has none of these */
            assert_int_equal(got.rank, rank);
            assert_memory_equal(got.dims, t.dims, sizeof t.dims);
            assert_int_equal(got.bytes, t.bytes);
            assert_memory_equal(got.data, t.data, t.bytes);
            qn_tensor_free(&t);
            qn_tensor_free(&got);
        }
    }
}

static void the_data_begins_at_a_multiple_of_64(void **state)
{
    const int64_t dims[QN_MAX_RANK] = { 1, 1, 1, 1, 1, 1, 1, 0 };
    struct stat sb;
    qn_tensor t;

    (void)state;
    for (int32_t rank = 0; rank <= QN_MAX_RANK; rank++) {
        assert_int_equal(qn_tensor_alloc(QN_U8, rank, dims, &t, NULL), QN_OK);
        assert_int_equal(qn_npy_write(path, &t, NULL), QN_OK);
        assert_int_equal(stat(path, &sb), 0);
        assert_int_equal((size_t)sb.st_size % 64, t.bytes);
        qn_tensor_free(&t);
    }
}

static void the_largest_dimensions_fit_the_header(void **state)
{
    qn_tensor t = { .dtype = QN_U8, .rank = QN_MAX_RANK, .dims = { 0, 1, 1LL << 62, 1, 1, 1, 1, 1 } }, got;

    (void)state;
    assert_int_equal(qn_npy_write(path, &t, NULL), QN_OK);
    assert_int_equal(qn_npy_read(path, MAX_BYTES, &got, NULL), QN_OK);
    assert_memory_equal(got.dims, t.dims, sizeof t.dims);
}

static void strings_come_back(void **state)
{
    enum { N = 3000 }; /* more than one write of 64 KiB */
    const int64_t dims[] = { N };
    qn_tensor t, got;
    uint64_t *off;
    size_t len = 0;

    (void)state;
    for (int i = 0; i < N; i++) len += (size_t)i % 50;
    assert_int_equal(qn_strings_alloc(1, dims, len, &t, NULL), QN_OK);
    off = qn_strings_offsets(&t);
    for (int i = 0; i < N; i++) off[i + 1] = off[i] + (uint64_t)(i % 50);
    for (size_t i = 0; i < len; i++) qn_strings_blob(&t)[i] = (char)('a' + i % 26);
    assert_int_equal(qn_npy_write(path, &t, NULL), QN_OK);
    assert_int_equal(qn_npy_read(path, MAX_BYTES, &got, NULL), QN_OK);
    assert_int_equal(got.dtype, QN_STRING);
    assert_int_equal(got.bytes, t.bytes);
    assert_memory_equal(got.data, t.data, t.bytes);
    assert_int_equal(qn_strings_check(&got, NULL), QN_OK);
    qn_tensor_free(&t);
    qn_tensor_free(&got);
}

static void an_existing_longer_file_is_replaced(void **state)
{
    char old[4096] = { 1 };
    const int32_t x = 5;
    const qn_tensor t = { .dtype = QN_I32, .data = (void *)(uintptr_t)&x, .bytes = 4 };
    qn_tensor got;

    (void)state;
    write_file(old, sizeof old);
    assert_int_equal(qn_npy_write(path, &t, NULL), QN_OK);
    assert_int_equal(qn_npy_read(path, MAX_BYTES, &got, NULL), QN_OK);
    assert_int_equal(*(int32_t *)got.data, 5);
    qn_tensor_free(&got);
}

/* -- what NumPy writes ----------------------------------------------------------------------------------------------------- */

static void all_versions_spacings_and_key_orders_are_read(void **state)
{
    static const char *const headers[] = {
        "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }                     \n",
        "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3)}",
        "{\"shape\":(2,3,),\"fortran_order\":False,\"descr\":\"<i2\"}\n",
        "  { 'shape' : ( 2 , 3 ) , 'descr' : '<i2' , 'fortran_order' : False , }  ",
    };
    const int16_t x[6] = { 1, 2, 3, 4, 5, 6 };
    qn_tensor t;

    (void)state;
    for (int version = 1; version <= 3; version++) {
        for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
            write_npy(version, headers[i], x, sizeof x);
            assert_int_equal(qn_npy_read(path, MAX_BYTES, &t, NULL), QN_OK);
            assert_int_equal(t.dtype, QN_I16);
            assert_int_equal(t.rank, 2);
            assert_int_equal(t.dims[0], 2);
            assert_int_equal(t.dims[1], 3);
            assert_memory_equal(t.data, x, sizeof x);
            qn_tensor_free(&t);
        }
    }
}

static void fortran_order_is_turned(void **state)
{
    const int32_t file[12] = { 0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11 }; /* [2,3,2], first dimension fastest */
    qn_tensor t;

    (void)state;
    write_npy(1, "{'descr': '<i4', 'fortran_order': True, 'shape': (2, 3, 2), }\n", file, sizeof file);
    assert_int_equal(qn_npy_read(path, MAX_BYTES, &t, NULL), QN_OK);
    for (int i = 0; i < 12; i++) assert_int_equal(((int32_t *)t.data)[i], i);
    qn_tensor_free(&t);
    write_npy(1, "{'descr': '<i4', 'fortran_order': True, 'shape': (0, 3), }\n", NULL, 0);
    assert_int_equal(qn_npy_read(path, MAX_BYTES, &t, NULL), QN_OK);
    assert_int_equal(t.bytes, 0);
    qn_tensor_free(&t);
    write_npy(1, "{'descr': '|S2', 'fortran_order': True, 'shape': (2, 2), }\n", "a\0b\0c\0d\0", 8);
    assert_int_equal(qn_npy_read(path, MAX_BYTES, &t, NULL), QN_OK);
    assert_memory_equal(qn_strings_blob(&t), "acbd", 4);
    qn_tensor_free(&t);
}

static void unicode_becomes_utf8(void **state)
{
    /* "é€", "", "😀\0x" (a NUL inside stays) */
    const uint32_t text[9] = { 0xe9, 0x20ac, 0, 0, 0, 0, 0x1f600, 0, 'x' };
    qn_tensor t;
    size_t len;

    (void)state;
    write_npy(1, "{'descr': '<U3', 'fortran_order': False, 'shape': (3,), }\n", text, sizeof text);
    assert_int_equal(qn_npy_read(path, MAX_BYTES, &t, NULL), QN_OK);
    assert_memory_equal(qn_strings_get(&t, 0, &len), "\xc3\xa9\xe2\x82\xac", 5);
    assert_int_equal(len, 5);
    qn_strings_get(&t, 1, &len);
    assert_int_equal(len, 0);
    assert_memory_equal(qn_strings_get(&t, 2, &len), "\xf0\x9f\x98\x80\0x", 6);
    assert_int_equal(len, 6);
    qn_tensor_free(&t);
}

static void numbers_that_are_no_character_are_refused(void **state)
{
    static const uint32_t bad[] = { 0xd800, 0xdfff, 0x110000, 0xffffffff };
    qn_tensor t;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        write_npy(1, "{'descr': '<U1', 'fortran_order': False, 'shape': (), }\n", &bad[i], 4);
        assert_int_equal(qn_npy_read(path, MAX_BYTES, &t, NULL), QN_ERR_FORMAT);
        assert_null(t.data);
    }
}

/* -- files that lie -------------------------------------------------------------------------------------------------------- */

#define D "'descr': '<f4', "
#define O "'fortran_order': False, "
#define S "'shape': (2,), "

static void malformed_headers_are_refused(void **state)
{
    static const struct {
        const char *header;
        qn_status st;
    } rows[] = {
        { "", QN_ERR_FORMAT },
        { "{", QN_ERR_FORMAT },
        { "{}", QN_ERR_FORMAT },
        { "[]", QN_ERR_FORMAT },
        { "{" D O "}", QN_ERR_FORMAT },
        { "{" D S "}", QN_ERR_FORMAT },
        { "{" O S "}", QN_ERR_FORMAT },
        { "{" D O S, QN_ERR_FORMAT },
        { "{" D O S "} x", QN_ERR_FORMAT },
        { "{" D D O S "}", QN_ERR_FORMAT },
        { "{" D O S "'extra': 1}", QN_ERR_FORMAT },
        { "{" D O "'shape': (2)}", QN_ERR_FORMAT },
        { "{" D O "'shape': 2}", QN_ERR_FORMAT },
        { "{" D O "'shape': (2 1)}", QN_ERR_FORMAT },
        { "{" D O "'shape': (,)}", QN_ERR_FORMAT },
        { "{" D O "'shape': (2,,)}", QN_ERR_FORMAT },
        { "{" D O "'shape': (-2,)}", QN_ERR_FORMAT },
        { "{" D O "'shape': (+2,)}", QN_ERR_FORMAT },
        { "{" D O "'shape': (0x2,)}", QN_ERR_FORMAT },
        { "{" D O "'shape': (2.0,)}", QN_ERR_FORMAT },
        { "{" D O "'shape': (2,", QN_ERR_FORMAT },
        { "{" D O "'shape': (9223372036854775808,)}", QN_ERR_FORMAT },
        { "{" D O "'shape': (99999999999999999999999999,)}", QN_ERR_FORMAT },
        { "{" D O "'shape': (9223372036854775807,)}", QN_ERR_LIMIT },
        { "{" D O "'shape': (4294967296,4294967296,)}", QN_ERR_LIMIT },
        { "{" D O "'shape': (9223372036854775807,9223372036854775807,0)}", QN_ERR_LIMIT },
        { "{" D O "'shape': (1,1,1,1,1,1,1,1,2)}", QN_ERR_LIMIT },
        { "{" D O "'shape': (1000000,)}", QN_ERR_LIMIT }, /* beyond max_bytes */
        { "{" D O "'shape': (3,)}", QN_ERR_FORMAT },      /* data too short */
        { "{" D O "'shape': (1,)}", QN_ERR_FORMAT },      /* data too long */
        { "{" D O "'shape': ()}", QN_ERR_FORMAT },
        { "{" D S "'fortran_order': 0}", QN_ERR_FORMAT },
        { "{" D S "'fortran_order': Truely}", QN_ERR_FORMAT },
        { "{" D S "'fortran_order': 'False'}", QN_ERR_FORMAT },
        { "{" O S "'descr': '<f4}", QN_ERR_FORMAT },
        { "{" O S "'descr': '<f4\"}", QN_ERR_FORMAT },
        { "{" O S "'descr': f4}", QN_ERR_FORMAT },
        { "{" O S "'descr': ''}", QN_ERR_FORMAT },
        { "{" O S "'descr': '<'}", QN_ERR_FORMAT },
        { "{" O S "'descr': '<f'}", QN_ERR_FORMAT },
        { "{" O S "'descr': 'f4'}", QN_ERR_FORMAT },
        { "{" O S "'descr': '<f4 x'}", QN_ERR_FORMAT },
        { "{" O S "'descr': '\\x3cf4'}", QN_ERR_FORMAT },
        { "{" O S "'descr': '>f4'}", QN_ERR_UNSUPPORTED },
        { "{" O S "'descr': '<f3'}", QN_ERR_UNSUPPORTED },
        { "{" O S "'descr': '<f0'}", QN_ERR_UNSUPPORTED },
        { "{" O S "'descr': '<f16'}", QN_ERR_UNSUPPORTED },
        { "{" O S "'descr': '<c8'}", QN_ERR_UNSUPPORTED },
        { "{" O S "'descr': '|O'}", QN_ERR_FORMAT },
        { "{" O S "'descr': '|O8'}", QN_ERR_UNSUPPORTED },
        { "{" O S "'descr': '<M8[ns]'}", QN_ERR_FORMAT },
        { "{" O S "'descr': '|V4'}", QN_ERR_UNSUPPORTED },
        { "{" O S "'descr': '>U1'}", QN_ERR_UNSUPPORTED },
        { "{" O S "'descr': [('x', '<f4')]}", QN_ERR_UNSUPPORTED },
        { "{" O S "'descr': '<U9223372036854775807'}", QN_ERR_LIMIT },
        { "{" O S "'descr': '|S9223372036854775807'}", QN_ERR_LIMIT },
        { "{" O "'descr': '|S0', 'shape': (4611686018427387904,)}", QN_ERR_LIMIT }, /* no bytes, but offsets */
        { "{" O "'descr': '|S0', 'shape': (1000000,)}", QN_ERR_LIMIT },
    };
    const float data[2] = { 1, 2 };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        qn_error err = { 0 };
        qn_tensor t;
        qn_status st;

        write_npy(1, rows[i].header, data, sizeof data);
        st = qn_npy_read(path, MAX_BYTES, &t, &err);
        if (st != rows[i].st) fail_msg("header %s: status %d (%s), expected %d", rows[i].header, st, err.message, rows[i].st);
        assert_null(t.data);
        assert_true(strlen(err.message) > 10);
    }
}

static void every_truncation_is_an_error(void **state)
{
    const float x[3] = { 1, 2, 3 };
    const qn_tensor t = { .dtype = QN_F32, .rank = 1, .dims = { 3 }, .data = (void *)(uintptr_t)x, .bytes = sizeof x };
    struct stat sb;
    qn_tensor got;

    (void)state;
    assert_int_equal(qn_npy_write(path, &t, NULL), QN_OK);
    assert_int_equal(stat(path, &sb), 0);
    for (off_t n = sb.st_size - 1; n >= 0; n--) {
        assert_int_equal(truncate(path, n), 0);
        assert_int_equal(qn_npy_read(path, MAX_BYTES, &got, NULL), QN_ERR_FORMAT);
    }
}

static void every_flipped_byte_ends_well(void **state)
{
    const float x[3] = { 1, 2, 3 };
    const qn_tensor t = { .dtype = QN_F32, .rank = 1, .dims = { 3 }, .data = (void *)(uintptr_t)x, .bytes = sizeof x };
    unsigned char file[256];
    size_t n;
    FILE *f;

    (void)state;
    assert_int_equal(qn_npy_write(path, &t, NULL), QN_OK);
    f = fopen(path, "rb");
    assert_non_null(f);
    n = fread(file, 1, sizeof file, f);
    fclose(f);
    for (size_t i = 0; i < n - sizeof x; i++) {
        static const unsigned char flips[] = { 0x01, 0x02, 0x10, 0x80, 0xff };

        for (size_t k = 0; k < sizeof flips; k++) {
            qn_tensor got;

            file[i] ^= flips[k];
            write_file(file, n);
            file[i] ^= flips[k];
            if (qn_npy_read(path, MAX_BYTES, &got, NULL) == QN_OK) assert_int_equal(got.bytes, sizeof x);
            qn_tensor_free(&got);
        }
    }
}

static void versions_and_lengths_that_lie_are_refused(void **state)
{
    unsigned char file[64] = "\x93NUMPY\x02";
    qn_tensor t;

    (void)state;
    memset(file + 8, 0xff, 4); /* a header of 4 GiB */
    write_file(file, sizeof file);
    assert_int_equal(qn_npy_read(path, MAX_BYTES, &t, NULL), QN_ERR_LIMIT);
    memcpy(file + 8, "\x00\x10\x00\x00", 4); /* of 4096 bytes in a file of 64 */
    write_file(file, sizeof file);
    assert_int_equal(qn_npy_read(path, MAX_BYTES, &t, NULL), QN_ERR_FORMAT);
    file[6] = 4;
    write_file(file, sizeof file);
    assert_int_equal(qn_npy_read(path, MAX_BYTES, &t, NULL), QN_ERR_UNSUPPORTED);
    file[6] = 0;
    write_file(file, sizeof file);
    assert_int_equal(qn_npy_read(path, MAX_BYTES, &t, NULL), QN_ERR_UNSUPPORTED);
    memcpy(file, "PK\x03\x04", 4);
    write_file(file, sizeof file);
    assert_int_equal(qn_npy_read(path, MAX_BYTES, &t, NULL), QN_ERR_FORMAT);
}

static void a_bool_of_2_is_refused(void **state)
{
    qn_tensor t;
    qn_error err;

    (void)state;
    write_npy(1, "{'descr': '|b1', 'fortran_order': False, 'shape': (3,), }\n", "\0\1\2", 3);
    assert_int_equal(qn_npy_read(path, MAX_BYTES, &t, &err), QN_ERR_FORMAT);
    assert_string_equal(err.message, "npy bool 2 is 2, expected 0 or 1");
    assert_null(t.data);
}

static void the_limit_counts_bytes_held(void **state)
{
    const float x[2] = { 1, 2 };
    qn_tensor t;

    (void)state;
    write_npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", x, sizeof x);
    assert_int_equal(qn_npy_read(path, 8, &t, NULL), QN_OK);
    qn_tensor_free(&t);
    assert_int_equal(qn_npy_read(path, 7, &t, NULL), QN_ERR_LIMIT);
    write_npy(1, "{'descr': '|S4', 'fortran_order': False, 'shape': (2,), }\n", "abcdefgh", 8);
    assert_int_equal(qn_npy_read(path, 32, &t, NULL), QN_OK); /* 3 offsets and 8 bytes of text */
    qn_tensor_free(&t);
    assert_int_equal(qn_npy_read(path, 31, &t, NULL), QN_ERR_LIMIT);
}

static void only_regular_files_are_opened(void **state)
{
    const float x = 1;
    const qn_tensor t = { .dtype = QN_F32, .data = (void *)(uintptr_t)&x, .bytes = 4 };
    qn_tensor got;

    (void)state;
    assert_int_equal(qn_npy_read("/tmp", MAX_BYTES, &got, NULL), QN_ERR_IO);
    assert_int_equal(qn_npy_read("/dev/zero", MAX_BYTES, &got, NULL), QN_ERR_IO);
    assert_int_equal(qn_npy_read("/tmp/quern_no_such_file.npy", MAX_BYTES, &got, NULL), QN_ERR_NOT_FOUND);
    assert_int_equal(qn_npy_write("/tmp/quern_no_such_dir/x.npy", &t, NULL), QN_ERR_NOT_FOUND);
    assert_int_equal(qn_npy_write("/dev/null", &t, NULL), QN_ERR_IO);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(qn_npy_read(path, MAX_BYTES, &got, NULL), QN_ERR_IO); /* and does not wait for a writer */
    assert_int_equal(qn_npy_write(path, &t, NULL), QN_ERR_IO);
}

static void a_tensor_that_lies_is_not_written(void **state)
{
    const float x = 1;
    qn_tensor t = { .dtype = QN_F32, .rank = 1, .dims = { 100 }, .data = (void *)(uintptr_t)&x, .bytes = 4 };

    (void)state;
    assert_int_equal(qn_npy_write(path, &t, NULL), QN_ERR_INVALID);
    t.dtype = QN_DTYPE_NONE;
    assert_int_equal(qn_npy_write(path, &t, NULL), QN_ERR_DTYPE);
}

#define NPY_TEST(f) cmocka_unit_test_setup_teardown(f, make_path, remove_path)

int main(void)
{
    const struct CMUnitTest tests[] = {
        NPY_TEST(every_dtype_and_rank_comes_back),
        NPY_TEST(the_data_begins_at_a_multiple_of_64),
        NPY_TEST(the_largest_dimensions_fit_the_header),
        NPY_TEST(strings_come_back),
        NPY_TEST(an_existing_longer_file_is_replaced),
        NPY_TEST(all_versions_spacings_and_key_orders_are_read),
        NPY_TEST(fortran_order_is_turned),
        NPY_TEST(unicode_becomes_utf8),
        NPY_TEST(numbers_that_are_no_character_are_refused),
        NPY_TEST(malformed_headers_are_refused),
        NPY_TEST(every_truncation_is_an_error),
        NPY_TEST(every_flipped_byte_ends_well),
        NPY_TEST(versions_and_lengths_that_lie_are_refused),
        NPY_TEST(a_bool_of_2_is_refused),
        NPY_TEST(the_limit_counts_bytes_held),
        NPY_TEST(only_regular_files_are_opened),
        NPY_TEST(a_tensor_that_lies_is_not_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
