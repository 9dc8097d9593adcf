/* The tensor codec: exact numbers, every order of fields, every cut of the body, and one clear error for each bad body. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/codec/codec.h"
#include "tests/unit/server/fake_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const qn_codec_limits limits = { .body_bytes = 1 << 20, .tensor_bytes = 1 << 20, .text_bytes = 1 << 16, .depth = 64 };

static qn_model one_input(qn_dtype dtype)
{
    return (qn_model){ .inputs = { { .name = "x", .dtype = dtype, .rank = 2, .dims = { -1, 2 } } },
                       .outputs = { { .name = "y", .dtype = dtype, .rank = 2, .dims = { -1, 2 } } },
                       .n_inputs = 1,
                       .n_outputs = 1,
                       .rows = true };
}

static qn_model two_inputs(void)
{
    return (qn_model){ .inputs = { { .name = "age", .dtype = QN_I64, .rank = 1, .dims = { -1 } },
                                   { .name = "word", .dtype = QN_STRING, .rank = 1, .dims = { -1 } } },
                       .outputs = { { .name = "score", .dtype = QN_F32, .rank = 1, .dims = { -1 } },
                                    { .name = "label_bytes", .dtype = QN_STRING, .rank = 1, .dims = { -1 } } },
                       .n_inputs = 2,
                       .n_outputs = 2,
                       .rows = true };
}

/* Decode `body` in pieces of `step` bytes. */
static qn_status decode(qn_body_kind kind, const qn_model *m, int64_t header, const void *body, size_t n, size_t step, qn_decoder **d,
                        qn_decoded *out, qn_error *err)
{
    qn_status st = qn_decoder_create(kind, m, header, &limits, d, err);

    for (size_t at = 0; at < n && st == QN_OK; at += step) {
        size_t part = n - at < step ? n - at : step;
        char *copy = malloc(part); /* exact size, so that a sanitizer sees one byte too many */

        memcpy(copy, (const char *)body + at, part);
        st = qn_decoder_feed(*d, copy, part, err);
        free(copy);
    }
    return st == QN_OK ? qn_decoder_finish(*d, out, err) : st;
}

static void refused(qn_body_kind kind, const qn_model *m, const char *body, qn_status status, const char *words)
{
    for (size_t step = 1; step < 200; step += 61) {
        qn_decoder *d = NULL;
        qn_decoded out;
        qn_error err = { 0 };
        qn_status st = decode(kind, m, -1, body, strlen(body), step, &d, &out, &err);

        if (st != status || !strstr(err.message, words))
            fail_msg("%s: status %d (expected %d), \"%s\" (expected \"%s\")", body, st, status, err.message, words);
        qn_decoder_destroy(d);
    }
}

static void floats_arrive_exactly_at_every_cut(void **state)
{
    const char *bodies[] = {
        "{\"inputs\":[{\"name\":\"x\",\"shape\":[2,2],\"datatype\":\"FP32\",\"data\":[[0.1,-2.5e-3],[16777217,1e-45]]}],\"id\":\"r-17\"}",
        "{\"id\":\"r-17\",\"inputs\":[{\"data\":[0.1,-0.0025,16777217,1e-45],\"datatype\":\"FP32\",\"shape\":[2,2],\"name\":\"x\"}]}",
        " { \"other\": {\"a\":[1,{\"b\":null}]}, \"id\" : \"r\\u002d17\" , "
        "\"inputs\":[{\"parameters\":{},\"name\":\"x\",\"data\":[0.1,-0.0025,16777217.0,1e-45],"
        "\"shape\":[2,2],\"datatype\":\"FP32\"}] } \n",
    };
    const float want[] = { 0.1f, -0.0025f, 16777216.0f, 1e-45f };
    qn_model m = one_input(QN_F32);

    (void)state;
    for (size_t b = 0; b < 3; b++) {
        for (size_t step = 1; step <= strlen(bodies[b]); step++) {
            qn_decoder *d = NULL;
            qn_decoded out;
            qn_error err = { 0 };

            if (decode(QN_BODY_V2_JSON, &m, -1, bodies[b], strlen(bodies[b]), step, &d, &out, &err) != QN_OK)
                fail_msg("step %zu: %s", step, err.message);
            assert_memory_equal(out.inputs[0].data, want, sizeof want);
            assert_int_equal(out.rows, 2);
            assert_string_equal(out.id, "r-17");
            qn_decoder_destroy(d);
        }
    }
}

static void every_integer_dtype_is_exact_at_its_edges(void **state)
{
    static const struct {
        qn_dtype dtype;
        const char *lo, *hi, *below, *above;
    } cases[] = {
        { QN_I8, "-128", "127", "-129", "128" },
        { QN_U8, "0", "255", "-1", "256" },
        { QN_I16, "-32768", "32767", "-32769", "32768" },
        { QN_U16, "0", "65535", "-1", "65536" },
        { QN_I32, "-2147483648", "2147483647", "-2147483649", "2147483648" },
        { QN_U32, "0", "4294967295", "-1", "4294967296" },
        { QN_I64, "-9223372036854775808", "9223372036854775807", "-9223372036854775809", "9223372036854775808" },
        { QN_U64, "0", "18446744073709551615", "-1", "18446744073709551616" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qn_model m = one_input(cases[i].dtype);
        qn_decoder *d = NULL;
        qn_decoded in;
        qn_buf reply;
        int64_t header;
        char body[300];

        snprintf(body, sizeof body, "{\"inputs\":[{\"name\":\"x\",\"shape\":[1,2],\"datatype\":\"%s\",\"data\":[%s,%s]}]}",
                 qn_dtype_oip_name(cases[i].dtype), cases[i].lo, cases[i].hi);
        assert_int_equal(decode(QN_BODY_V2_JSON, &m, -1, body, strlen(body), 7, &d, &in, NULL), QN_OK);
        qn_buf_init(&reply, 0);
        assert_int_equal(qn_encode_v2("m", 1, &in, &m, in.inputs, NULL, 0, &reply, &header, NULL), QN_OK);
        snprintf(body, sizeof body, "\"data\":[%s,%s]", cases[i].lo, cases[i].hi);
        assert_non_null(strstr(qn_buf_cstr(&reply), body));
        qn_buf_release(&reply);
        qn_decoder_destroy(d);
        for (int k = 0; k < 4; k++) {
            const char *bad[] = { cases[i].below, cases[i].above, "1.5", "1e2" };

            snprintf(body, sizeof body, "{\"inputs\":[{\"name\":\"x\",\"shape\":[1,2],\"datatype\":\"%s\",\"data\":[0,%s]}]}",
                     qn_dtype_oip_name(cases[i].dtype), bad[k]);
            refused(QN_BODY_V2_JSON, &m, body, QN_ERR_RANGE, "element 1");
        }
    }
}

static void bad_v2_bodies_get_one_clear_error(void **state)
{
#define X(shape, data) "{\"inputs\":[{\"name\":\"x\",\"shape\":" shape ",\"datatype\":\"FP32\",\"data\":" data "}]}"
    qn_model m = one_input(QN_F32);
    char deep[300] = "";

    (void)state;
    for (int i = 0; i < 200; i++) deep[i] = '[';
    refused(QN_BODY_V2_JSON, &m, "", QN_ERR_FORMAT, "ends too early");
    refused(QN_BODY_V2_JSON, &m, "{\"inputs\":[{\"name\":\"x\"", QN_ERR_FORMAT, "ends too early");
    refused(QN_BODY_V2_JSON, &m, deep, QN_ERR_INVALID, "object");
    refused(QN_BODY_V2_JSON, &m, "[]", QN_ERR_INVALID, "object");
    refused(QN_BODY_V2_JSON, &m, "{}", QN_ERR_INVALID, "no inputs");
    refused(QN_BODY_V2_JSON, &m, "{\"inputs\":[]}", QN_ERR_INVALID, "input x is missing");
    refused(QN_BODY_V2_JSON, &m, "{\"inputs\":[],\"inputs\":[]}", QN_ERR_INVALID, "twice");
    refused(QN_BODY_V2_JSON, &m, X("[1,2]", "[1,NaN]"), QN_ERR_FORMAT, "NaN");
    refused(QN_BODY_V2_JSON, &m, X("[1,2]", "[1,1e999]"), QN_ERR_RANGE, "1e999");
    refused(QN_BODY_V2_JSON, &m, X("[1,2]", "[1,1e39]"), QN_ERR_RANGE, "1e39");
    refused(QN_BODY_V2_JSON, &m, X("[1,2]", "[1,\"2\"]"), QN_ERR_DTYPE, "a string");
    refused(QN_BODY_V2_JSON, &m, X("[1,2]", "[1,true]"), QN_ERR_DTYPE, "expected FP32");
    refused(QN_BODY_V2_JSON, &m, X("[1,2]", "[1,null]"), QN_ERR_DTYPE, "null");
    refused(QN_BODY_V2_JSON, &m, X("[1,2]", "[1,01]"), QN_ERR_FORMAT, "malformed number");
    refused(QN_BODY_V2_JSON, &m, X("[1,2]", "[1]"), QN_ERR_SHAPE, "1 elements");
    refused(QN_BODY_V2_JSON, &m, X("[1,2]", "[1,2,3]"), QN_ERR_SHAPE, "3 elements");
    refused(QN_BODY_V2_JSON, &m, X("[1,2]", "[[1],[2]]"), QN_ERR_SHAPE, "nested as [2,1]");
    refused(QN_BODY_V2_JSON, &m, X("[2,2]", "[[1,2],[3]]"), QN_ERR_SHAPE, "ragged");
    refused(QN_BODY_V2_JSON, &m, X("[2,2]", "[[1,2],3,4]"), QN_ERR_SHAPE, "ragged");
    refused(QN_BODY_V2_JSON, &m, X("[1,3]", "[1,2,3]"), QN_ERR_SHAPE, "expected [?,2]");
    refused(QN_BODY_V2_JSON, &m, X("[2]", "[1,2]"), QN_ERR_SHAPE, "expected [?,2]");
    refused(QN_BODY_V2_JSON, &m, X("[-1,2]", "[1,2]"), QN_ERR_SHAPE, "-1");
    refused(QN_BODY_V2_JSON, &m, X("[4611686018427387904,2]", "[1,2]"), QN_ERR_SHAPE, "2^62");
    refused(QN_BODY_V2_JSON, &m, X("[1,1,1,1,1,1,1,1,2]", "[1,2]"), QN_ERR_SHAPE, "more than 8");
    refused(QN_BODY_V2_JSON, &m, X("[1,2.0]", "[1,2]"), QN_ERR_INVALID, "whole numbers");
    refused(QN_BODY_V2_JSON, &m, X("[1,2]", "[1,2]") "x", QN_ERR_FORMAT, "behind the document");
    refused(QN_BODY_V2_JSON, &m, X("[1,2]", "[1,2]") "{}", QN_ERR_FORMAT, "behind the document");
    refused(QN_BODY_V2_JSON, &m, "\xef\xbb\xbf{}", QN_ERR_FORMAT, "byte 0");
    refused(QN_BODY_V2_JSON, &m, "{\"id\":\"\xc0\x80\"}", QN_ERR_FORMAT, "UTF-8");
    refused(QN_BODY_V2_JSON, &m, "{\"id\":\"\\ud800\"}", QN_ERR_FORMAT, "surrogate");
    refused(QN_BODY_V2_JSON, &m, "{\"id\":7}", QN_ERR_INVALID, "id must be a string");
    refused(QN_BODY_V2_JSON, &m, "{\"parameters\":{\"timeout\":-5}}", QN_ERR_INVALID, "timeout");
    refused(QN_BODY_V2_JSON, &m, "{\"inputs\":[{\"name\":\"z\",\"shape\":[1,2],\"datatype\":\"FP32\",\"data\":[1,2]}]}", QN_ERR_INVALID,
            "no input z");
    refused(QN_BODY_V2_JSON, &m, "{\"inputs\":[{\"name\":\"x\",\"shape\":[1,2],\"datatype\":\"INT32\",\"data\":[1,2]}]}", QN_ERR_DTYPE,
            "INT32");
    refused(QN_BODY_V2_JSON, &m, "{\"inputs\":[{\"name\":\"x\",\"shape\":[1,2],\"datatype\":\"FLOAT\",\"data\":[1,2]}]}", QN_ERR_DTYPE,
            "FLOAT");
    refused(QN_BODY_V2_JSON, &m,
            "{\"inputs\":[{\"name\":\"x\",\"shape\":[1,2],\"datatype\":\"FP32\",\"parameters\":{\"binary_data_size\":8}}]}", QN_ERR_INVALID,
            "Inference-Header-Content-Length");
    refused(QN_BODY_V2_JSON, &m, "{\"outputs\":[{\"name\":\"q\"}]}", QN_ERR_INVALID, "no output q");
    refused(QN_BODY_V2_JSON, &m, "{\"outputs\":[{\"name\":\"y\"},{\"name\":\"y\"}]}", QN_ERR_INVALID, "twice");
#undef X
}

static void nesting_beyond_the_limit_is_refused(void **state)
{
    qn_model m = one_input(QN_F32);
    char body[400];
    size_t n = (size_t)snprintf(body, sizeof body, "{\"inputs\":[{\"name\":\"x\",\"data\":");

    (void)state;
    memset(body + n, '[', 300);
    body[n + 300] = 0;
    refused(QN_BODY_V2_JSON, &m, body, QN_ERR_FORMAT, "nested deeper than 64");
}

static void limits_hold_for_body_tensor_and_text(void **state)
{
    qn_model m = one_input(QN_F32);
    qn_codec_limits small = { .body_bytes = 100, .tensor_bytes = 64, .text_bytes = 32, .depth = 64 };
    char body[400];
    qn_decoder *d = NULL;
    qn_error err = { 0 };

    (void)state;
    memset(body, ' ', sizeof body);
    assert_int_equal(qn_decoder_create(QN_BODY_V2_JSON, &m, -1, &small, &d, &err), QN_OK);
    assert_int_equal(qn_decoder_feed(d, body, 100, &err), QN_OK);
    assert_int_equal(qn_decoder_feed(d, body, 1, &err), QN_ERR_LIMIT);
    qn_decoder_destroy(d);
    small.body_bytes = 4000;
    assert_int_equal(qn_decoder_create(QN_BODY_V2_JSON, &m, -1, &small, &d, &err), QN_OK);
    snprintf(body, sizeof body, "{\"inputs\":[{\"name\":\"x\",\"data\":[1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8]");
    assert_int_equal(qn_decoder_feed(d, body, strlen(body), &err), QN_ERR_LIMIT);
    qn_decoder_destroy(d);
    assert_int_equal(qn_decoder_create(QN_BODY_V2_JSON, &m, -1, &small, &d, &err), QN_OK);
    snprintf(body, sizeof body, "{\"id\":\"0123456789012345678901234567890123456789\"}");
    assert_int_equal(qn_decoder_feed(d, body, strlen(body), &err), QN_ERR_LIMIT);
    qn_decoder_destroy(d);
}

static void binary_tensors_follow_the_json(void **state)
{
    const char *json =
        "{\"inputs\":[{\"name\":\"age\",\"shape\":[2],\"datatype\":\"INT64\",\"parameters\":{\"binary_data_size\":16}},{\"name\":\"word\","
        "\"shape\":[2],\"datatype\":\"BYTES\",\"parameters\":{\"binary_data_size\":11}}],\"outputs\":[{\"name\":\"score\"}],\"parameters\":"
        "{"
        "\"binary_data_output\":true,\"timeout\":20000}}";
    const char raw[] = "\x01\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x03\0\0\0abc\0\0\0\0";
    qn_model m = two_inputs();
    char body[600];
    size_t n = strlen(json);

    (void)state;
    memcpy(body, json, n);
    memcpy(body + n, raw, 27);
    for (size_t step = 1; step < n + 28; step += 5) {
        qn_decoder *d = NULL;
        qn_decoded out;
        qn_error err = { 0 };

        if (decode(QN_BODY_V2_JSON, &m, (int64_t)n, body, n + 27, step, &d, &out, &err) != QN_OK) fail_msg("%s", err.message);
        assert_int_equal(((const int64_t *)out.inputs[0].data)[1], -1);
        assert_int_equal(((const uint64_t *)out.inputs[1].data)[2], 3);
        assert_memory_equal((const char *)out.inputs[1].data + 24, "abc", 3);
        assert_int_equal(out.timeout_us, 20000);
        assert_int_equal(out.n_wanted, 1);
        assert_true(out.wanted[0].binary);
        qn_decoder_destroy(d);
    }
    for (size_t cut = n - 3; cut < n + 27; cut++) { /* every shorter body, and one byte more */
        qn_decoder *d = NULL;
        qn_decoded out;

        assert_int_not_equal(decode(QN_BODY_V2_JSON, &m, (int64_t)n, body, cut, 1000, &d, &out, NULL), QN_OK);
        qn_decoder_destroy(d);
    }
    qn_decoder *d = NULL;
    qn_decoded out;
    assert_int_not_equal(decode(QN_BODY_V2_JSON, &m, (int64_t)n, body, n + 28, 1000, &d, &out, NULL), QN_OK);
    qn_decoder_destroy(d);
}

static void a_raw_body_is_one_tensor(void **state)
{
    qn_model m = one_input(QN_F32);
    float rows[6] = { 1, 2, 3, 4, 5, 6 };
    qn_decoder *d = NULL;
    qn_decoded out;

    (void)state;
    assert_int_equal(decode(QN_BODY_V2_JSON, &m, 0, rows, sizeof rows, 5, &d, &out, NULL), QN_OK);
    assert_int_equal(out.rows, 3);
    assert_memory_equal(out.inputs[0].data, rows, sizeof rows);
    assert_true(out.wanted[0].binary);
    qn_decoder_destroy(d);
    assert_int_equal(decode(QN_BODY_V2_JSON, &m, 0, rows, 12, 5, &d, &out, NULL), QN_ERR_SHAPE);
    qn_decoder_destroy(d);
}

static void tensorflow_rows_and_columns(void **state)
{
    const char *same[] = {
        "{\"instances\":[{\"age\":31,\"word\":\"a\"},{\"word\":{\"b64\":\"YmM=\"},\"age\":40}]}",
        "{\"signature_name\":\"serving_default\",\"inputs\":{\"age\":[31,40],\"word\":[\"a\",{\"b64\":\"YmM\"}]}}",
    };
    qn_model m = two_inputs(), f = one_input(QN_F32);

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        for (size_t step = 1; step < 120; step++) {
            qn_decoder *d = NULL;
            qn_decoded out;
            qn_error err = { 0 };

            if (decode(QN_BODY_TFS_JSON, &m, -1, same[i], strlen(same[i]), step, &d, &out, &err) != QN_OK) fail_msg("%s", err.message);
            assert_int_equal(((const int64_t *)out.inputs[0].data)[1], 40);
            assert_memory_equal((const char *)out.inputs[1].data + 24, "abc", 3);
            assert_int_equal(out.rows, 2);
            assert_int_equal(out.row_format, i == 0);
            qn_decoder_destroy(d);
        }
    }
    refused(QN_BODY_TFS_JSON, &f, "{\"instances\":[[1,2]],\"inputs\":[[1,2]]}", QN_ERR_INVALID, "exactly one");
    refused(QN_BODY_TFS_JSON, &f, "{}", QN_ERR_INVALID, "exactly one");
    refused(QN_BODY_TFS_JSON, &f, "{\"instances\":[[1,2],[3]]}", QN_ERR_SHAPE, "ragged");
    refused(QN_BODY_TFS_JSON, &f, "{\"instances\":[]}", QN_ERR_SHAPE, "empty");
    refused(QN_BODY_TFS_JSON, &f, "{\"instances\":[[[1,2]]]}", QN_ERR_SHAPE, "expected [?,2]");
    refused(QN_BODY_TFS_JSON, &f, "{\"instances\":[{\"z\":[1,2]}]}", QN_ERR_INVALID, "no input z");
    refused(QN_BODY_TFS_JSON, &f, "{\"signature_name\":\"other\",\"instances\":[[1,2]]}", QN_ERR_INVALID, "serving_default");
    refused(QN_BODY_TFS_JSON, &m, "{\"instances\":[{\"age\":31,\"word\":\"a\"},{\"age\":40}]}", QN_ERR_INVALID, "missing in some");
    refused(QN_BODY_TFS_JSON, &m, "{\"instances\":[31]}", QN_ERR_INVALID, "needs a name");
    refused(QN_BODY_TFS_JSON, &m, "{\"inputs\":{\"age\":[1],\"word\":[{\"b64\":\"?\"}]}}", QN_ERR_FORMAT, "base64");
}

static void not_finite_numbers_keep_their_place(void **state)
{
    const char *body = "{\"instances\":[[NaN,1.5],[Infinity,-Infinity]]}";
    qn_model m = one_input(QN_F32);
    qn_decoder *d = NULL;
    qn_decoded in;
    qn_buf b;
    int64_t header;

    (void)state;
    assert_int_equal(decode(QN_BODY_TFS_JSON, &m, -1, body, strlen(body), 3, &d, &in, NULL), QN_OK);
    qn_buf_init(&b, 0);
    assert_int_equal(qn_encode_tfs(&in, &m, in.inputs, &b, NULL), QN_OK);
    assert_string_equal(qn_buf_cstr(&b), "{\"predictions\":[[NaN,1.5],[Infinity,-Infinity]]}");
    qn_buf_release(&b);
    qn_buf_init(&b, 0);
    in.id = "a\"\n";
    assert_int_equal(qn_encode_v2("m", 3, &in, &m, in.inputs, NULL, 0, &b, &header, NULL), QN_OK);
    assert_string_equal(qn_buf_cstr(&b), "{\"model_name\":\"m\",\"model_version\":\"3\",\"id\":\"a\\\"\\u000a\",\"outputs\":[{\"name\":"
                                         "\"y\",\"datatype\":\"FP32\",\"shape\":[2,2],"
                                         "\"data\":[\"NaN\",1.5,\"Infinity\",\"-Infinity\"]}]}");
    qn_buf_release(&b);
    qn_decoder_destroy(d);
}

static void columns_come_back_nested(void **state)
{
    qn_model m = one_input(QN_F32);
    const char *body = "{\"inputs\":[[1,2],[3,4.25]]}", *none = "{\"inputs\":[]}";
    qn_decoder *d = NULL;
    qn_decoded in;
    qn_buf b;

    (void)state;
    assert_int_equal(decode(QN_BODY_TFS_JSON, &m, -1, body, strlen(body), 3, &d, &in, NULL), QN_OK);
    qn_buf_init(&b, 0);
    assert_int_equal(qn_encode_tfs(&in, &m, in.inputs, &b, NULL), QN_OK);
    assert_string_equal(qn_buf_cstr(&b), "{\"outputs\":[[1,2],[3,4.25]]}");
    qn_buf_release(&b);
    qn_decoder_destroy(d);
    refused(QN_BODY_TFS_JSON, &m, none, QN_ERR_SHAPE, "expected [?,2]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floats_arrive_exactly_at_every_cut),
        cmocka_unit_test(every_integer_dtype_is_exact_at_its_edges),
        cmocka_unit_test(bad_v2_bodies_get_one_clear_error),
        cmocka_unit_test(nesting_beyond_the_limit_is_refused),
        cmocka_unit_test(limits_hold_for_body_tensor_and_text),
        cmocka_unit_test(binary_tensors_follow_the_json),
        cmocka_unit_test(a_raw_body_is_one_tensor),
        cmocka_unit_test(tensorflow_rows_and_columns),
        cmocka_unit_test(not_finite_numbers_keep_their_place),
        cmocka_unit_test(columns_come_back_nested),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
