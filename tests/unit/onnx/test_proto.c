/* The protobuf reader: what it accepts, and what it refuses without reading past it. */
#include "core/onnx/proto.h"

#include "pb_build.h"

static qn_proto p;
static qn_source *src;
static qn_error err;

static void open_bytes(pb *m, int32_t depth)
{
    err = (qn_error){ 0 };
    assert_int_equal(qn_file_from_memory(m->data, m->len, &src, &err), QN_OK);
    assert_int_equal(qn_proto_init(&p, src, m->len, depth, &err), QN_OK);
}

static void close_bytes(pb *m)
{
    qn_proto_release(&p);
    src->unref(src);
    pb_free(m);
}

static void every_wire_type_is_read_back(void **state)
{
    pb m = { 0 };
    char text[8] = { 0 };

    (void)state;
    pb_int(&m, 1, -1);
    pb_float(&m, 2, 1.5f);
    pb_double(&m, 3, -2.5);
    pb_str(&m, 536870911, "last");
    open_bytes(&m, 4);
    assert_true(qn_proto_next(&p) && p.field == 1 && p.wire == QN_WIRE_VARINT && p.value == UINT64_MAX);
    assert_true(qn_proto_next(&p) && p.field == 2 && p.wire == QN_WIRE_FIXED32 && p.value == 0x3fc00000);
    assert_true(qn_proto_next(&p) && p.field == 3 && p.wire == QN_WIRE_FIXED64 && p.value == 0xc004000000000000);
    assert_true(qn_proto_next(&p) && p.field == 536870911 && p.end - p.begin == 4);
    assert_true(qn_proto_copy(&p, text, 4));
    assert_string_equal(text, "last");
    assert_false(qn_proto_next(&p));
    assert_int_equal(p.status, QN_OK);
    close_bytes(&m);
}

static void a_varint_longer_than_ten_bytes_is_refused(void **state)
{
    static const struct {
        unsigned char bytes[12];
        size_t n;
        bool good;
        uint64_t value;
    } cases[] = {
        { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01 }, 10, true, UINT64_MAX },
        { { 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00 }, 10, true, 0 },
        { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02 }, 10, false, 0 },
        { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f }, 10, false, 0 },
        { { 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01 }, 11, false, 0 },
        { { 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x81, 0x00 }, 11, false, 0 },
        { { 0x80 }, 1, false, 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (unsigned wire = 0; wire <= 2; wire += 2) { /* as a number, and as a length */
            pb m = { 0 };

            pb_tag(&m, 1, wire);
            pb_raw(&m, cases[i].bytes, cases[i].n);
            open_bytes(&m, 4);
            if (cases[i].good && wire == 0) {
                assert_true(qn_proto_next(&p));
                assert_true(p.value == cases[i].value);
            } else if (!cases[i].good) {
                assert_false(qn_proto_next(&p));
                assert_int_equal(p.status, QN_ERR_FORMAT);
                assert_int_equal(err.status, QN_ERR_FORMAT);
            }
            close_bytes(&m);
        }
    }
}

static void a_length_beyond_its_message_is_refused_however_large(void **state)
{
    static const uint64_t lengths[] = { 3,           127,       128,        0x7fffffff,     0x80000000, 0xffffffff,
                                        0x100000000, INT64_MAX, 1ull << 63, UINT64_MAX - 1, UINT64_MAX };

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        pb inner = { 0 }, m = { 0 };

        pb_tag(&inner, 1, 2);
        pb_number(&inner, lengths[i]);
        pb_raw(&inner, "xx", 2);
        pb_msg(&m, 1, inner);
        pb_str(&m, 2,
               "these bytes belong to the parent, and are no excuse .............................................................."
               "..............................................................................................................");
        open_bytes(&m, 4);
        assert_true(qn_proto_next(&p) && qn_proto_enter(&p));
        assert_false(qn_proto_next(&p));
        assert_int_equal(p.status, QN_ERR_FORMAT);
        assert_false(qn_proto_next(&p)); /* the error sticks */
        close_bytes(&m);
    }
}

static void groups_and_unknown_wire_types_are_refused(void **state)
{
    (void)state;
    for (unsigned wire = 0; wire < 8; wire++) {
        pb m = { 0 };

        pb_tag(&m, 9, wire);
        pb_raw(&m, "\0\0\0\0\0\0\0\0\0", 9);
        open_bytes(&m, 4);
        assert_int_equal(qn_proto_next(&p), wire < 3 || wire == 5);
        assert_int_equal(p.status, wire < 3 || wire == 5 ? QN_OK : QN_ERR_FORMAT);
        close_bytes(&m);
    }
}

static void field_zero_and_tags_beyond_32_bits_are_refused(void **state)
{
    static const uint64_t tags[] = { 0, 2, 1ull << 32, UINT64_MAX };

    (void)state;
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        pb m = { 0 };

        pb_number(&m, tags[i]);
        pb_number(&m, 0);
        open_bytes(&m, 4);
        assert_false(qn_proto_next(&p));
        assert_int_equal(p.status, QN_ERR_FORMAT);
        close_bytes(&m);
    }
}

static void depth_is_bounded(void **state)
{
    pb m = { 0 };
    int entered = 0;

    (void)state;
    for (int i = 0; i < 100; i++) {
        pb outer = { 0 };

        pb_msg(&outer, 1, m);
        m = outer;
    }
    open_bytes(&m, 33);
    while (qn_proto_next(&p) && qn_proto_enter(&p)) entered++;
    assert_int_equal(entered, 32);
    assert_int_equal(p.status, QN_ERR_LIMIT);
    close_bytes(&m);
}

static void leaving_goes_on_after_the_message_even_if_it_was_not_read(void **state)
{
    pb inner = { 0 }, m = { 0 };

    (void)state;
    pb_int(&inner, 1, 1);
    pb_int(&inner, 2, 2);
    pb_msg(&m, 1, inner);
    pb_int(&m, 3, 3);
    open_bytes(&m, 4);
    assert_true(qn_proto_next(&p) && qn_proto_enter(&p) && qn_proto_next(&p));
    qn_proto_leave(&p);
    assert_true(qn_proto_next(&p) && p.field == 3 && p.value == 3);
    assert_true(qn_proto_open(&p, 2, 6)); /* back into the message, without losing the place */
    assert_true(qn_proto_next(&p) && p.field == 1);
    qn_proto_leave(&p);
    assert_false(qn_proto_next(&p));
    assert_int_equal(p.status, QN_OK);
    close_bytes(&m);
}

static void fields_across_the_window_are_whole(void **state)
{
    const size_t big = QN_PROTO_WINDOW - 3;
    unsigned char *zeros = calloc(1, big);
    pb m = { 0 };

    (void)state;
    assert_non_null(zeros);
    pb_bytes(&m, 1, zeros, big);
    for (int i = 0; i < 40000; i++) pb_int(&m, 2, i * 1000003ll); /* some number lies across every edge */
    open_bytes(&m, 4);
    assert_true(qn_proto_next(&p) && p.end - p.begin == big);
    for (int i = 0; i < 40000; i++) {
        assert_true(qn_proto_next(&p));
        assert_true(p.value == (uint64_t)i * 1000003);
    }
    assert_false(qn_proto_next(&p));
    assert_int_equal(p.status, QN_OK);
    free(zeros);
    close_bytes(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_wire_type_is_read_back),
        cmocka_unit_test(a_varint_longer_than_ten_bytes_is_refused),
        cmocka_unit_test(a_length_beyond_its_message_is_refused_however_large),
        cmocka_unit_test(groups_and_unknown_wire_types_are_refused),
        cmocka_unit_test(field_zero_and_tags_beyond_32_bits_are_refused),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(leaving_goes_on_after_the_message_even_if_it_was_not_read),
        cmocka_unit_test(fields_across_the_window_are_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
