/* Models that somebody broke on purpose: each is refused or read, in bounded time and memory, and never crashes. Run under the sanitizers. */
#include "pb_build.h"

#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

/* A model with one of everything, in one of every form. */
static pb rich_model(void)
{
    static const int64_t dims[] = { -1, 3 }, three = 3, zero = 0;
    pb g = { 0 }, n, a, t, s = { 0 }, sub = { 0 }, type = { 0 }, seq = { 0 }, elem = { 0 }, tensor = { 0 }, v = { 0 };

    n = onnx_node("Add", "x,w", "a");
    pb_str(&n, 3, "add");
    a = onnx_attr("ints", 7);
    pb_ints_packed(&a, 8, (int64_t[]){ 1, 300, -1 }, 3);
    pb_msg(&n, 5, a);
    a = onnx_attr("floats", 6);
    pb_float(&a, 7, 1);
    pb_msg(&n, 5, a);
    a = onnx_attr("s", 3);
    pb_str(&a, 4, "text");
    pb_msg(&n, 5, a);
    a = onnx_attr("strings", 8);
    pb_str(&a, 9, "one");
    pb_msg(&n, 5, a);
    a = onnx_attr("t", 4);
    pb_msg(&a, 5, onnx_ones("inside", 2));
    pb_msg(&n, 5, a);
    pb_msg(&g, 1, n);
    n = onnx_node("If", "c", "y");
    a = onnx_attr("then_branch", 5);
    pb_msg(&sub, 1, onnx_node("Mul", "a,d", "m"));
    pb_msg(&sub, 12, onnx_value("m", ONNX_FLOAT, dims, 2));
    pb_msg(&a, 6, sub);
    pb_msg(&n, 5, a);
    pb_msg(&g, 1, n);
    pb_str(&g, 2, "rich");
    pb_msg(&g, 5, onnx_ones("w", 3));
    t = onnx_tensor("d", ONNX_INT64, &three, 1);
    pb_ints_packed(&t, 7, (int64_t[]){ 5, -5, 500 }, 3);
    pb_msg(&g, 5, t);
    t = onnx_tensor("str", ONNX_STRING, &three, 1);
    for (int i = 0; i < 3; i++) pb_str(&t, 6, "ab");
    pb_msg(&g, 5, t);
    pb_msg(&g, 5, onnx_tensor("empty", ONNX_FLOAT, &zero, 1));
    t = onnx_tensor(NULL, ONNX_INT64, &three, 1);
    pb_ints_packed(&t, 7, (int64_t[]){ 0, 4, 5 }, 3);
    pb_msg(&s, 1, onnx_ones("sparse", 3));
    pb_msg(&s, 2, t);
    pb_ints_packed(&s, 3, (int64_t[]){ 2, 3 }, 2);
    pb_msg(&g, 15, s);
    pb_msg(&g, 11, onnx_value("x", ONNX_FLOAT, dims, 2));
    pb_msg(&g, 11, onnx_value("c", ONNX_BOOL, NULL, 0));
    pb_int(&tensor, 1, ONNX_FLOAT);
    pb_msg(&elem, 1, tensor);
    pb_msg(&seq, 1, elem);
    pb_msg(&type, 4, seq);
    pb_str(&v, 1, "list");
    pb_msg(&v, 2, type);
    pb_msg(&g, 13, v);
    pb_msg(&g, 12, onnx_value("y", ONNX_FLOAT, dims, 2));
    return onnx_model(g);
}

static bool imports(const pb *m)
{
    static const qn_limits limits = { .file_bytes = 1 << 24, .weight_bytes = 1 << 24 };
    qn_graph *g;
    qn_error err;
    qn_status st = onnx_import_at(m, &limits, -1, &g, NULL, &err);

    assert_int_not_equal(st, QN_ERR_INTERNAL);
    if (!st) qn_graph_destroy(g);
    return !st;
}

static void the_rich_model_itself_imports(void **state)
{
    pb m = rich_model();
    qn_graph *g;
    qn_error err;

    (void)state;
    if (onnx_import(m, &g, &err)) fail_msg("%s", err.message);
    assert_int_equal(qn_graph_sort(g, &err), QN_OK);
    if (qn_graph_verify(g, &err)) fail_msg("%s", err.message);
    qn_graph_destroy(g);
}

static void a_model_cut_at_any_byte_is_refused(void **state)
{
    pb m = rich_model();

    (void)state;
    for (size_t n = 0; n < m.len; n++) {
        pb cut = { 0 };

        pb_raw(&cut, m.data, n);
        if (imports(&cut)) fail_msg("%zu of %zu bytes were taken for a model", n, m.len);
        pb_free(&cut);
    }
    pb_free(&m);
}

static void a_model_with_any_bit_flipped_or_byte_replaced_does_not_crash(void **state)
{
    static const unsigned char bytes[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };
    pb m = rich_model();
    size_t taken = 0;

    (void)state;
    for (size_t i = 0; i < m.len; i++) {
        unsigned char was = m.data[i];

        for (int bit = 0; bit < 8; bit++) {
            m.data[i] = (unsigned char)(was ^ 1 << bit);
            taken += imports(&m);
        }
        for (size_t k = 0; k < sizeof bytes; k++) {
            m.data[i] = bytes[k];
            taken += imports(&m);
        }
        m.data[i] = was;
    }
    assert_true(taken > 0); /* a letter of a name, a float: the loop does reach models that pass */
    pb_free(&m);
}

static void two_bytes_inserted_or_removed_anywhere_do_not_crash(void **state)
{
    pb m = rich_model();

    (void)state;
    for (size_t i = 0; i + 2 < m.len; i++) {
        pb other = { 0 };

        pb_raw(&other, m.data, i);
        pb_raw(&other, "\x12\xff", 2);
        pb_raw(&other, m.data + i, m.len - i);
        imports(&other);
        other.len = 0;
        pb_raw(&other, m.data, i);
        pb_raw(&other, m.data + i + 2, m.len - i - 2);
        imports(&other);
        pb_free(&other);
    }
    pb_free(&m);
}

static long peak_kib(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss;
}

/* Many copies of a small message as field `field` of the graph: two bytes of file must not become kilobytes of memory without end. */
static void many_small_messages_stay_within_memory(void **state)
{
    static const struct {
        uint32_t field;
        const char *bytes;
        size_t n;
    } cases[] = {
        { 1, "", 0 },                 /* empty nodes */
        { 1, "\x22\x01N", 3 },        /* nodes with an op alone */
        { 5, "\x08\x00\x10\x01", 4 }, /* empty initializers without a name */
        { 11, "", 0 },                /* inputs without a name */
        { 12, "\x0a\x01x", 3 },       /* the same output again and again */
        { 13, "\x0a\x01x", 3 },       /* value_info */
        { 15, "", 0 },                /* sparse */
    };

    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        long before = peak_kib();
        clock_t start = clock();
        pb g = { 0 }, m;

        for (int i = 0; i < 500000; i++) pb_bytes(&g, cases[c].field, cases[c].bytes, cases[c].n);
        pb_msg(&g, 11, onnx_value("x", ONNX_FLOAT, NULL, 0));
        m = onnx_model(g);
        imports(&m);
        pb_free(&m);
        assert_true(peak_kib() - before < 400 << 10);
        assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 20); /* linear, with room for the sanitizers */
    }
}

static void many_nested_graphs_and_inputs_stay_within_memory(void **state)
{
    pb g = { 0 }, n = onnx_node("Op", NULL, "y"), a = onnx_attr("graphs", 10), m;
    long before = peak_kib();

    (void)state;
    for (int i = 0; i < 1000000; i++) pb_bytes(&a, 11, "", 0);
    pb_msg(&n, 5, a);
    pb_msg(&g, 1, n);
    m = onnx_model(g);
    assert_false(imports(&m));
    pb_free(&m);

    g = (pb){ 0 };
    n = onnx_node("Op", NULL, "y");
    for (int i = 0; i < 3000000; i++) pb_bytes(&n, 1, "", 0); /* inputs left out: four bytes each */
    pb_msg(&g, 1, n);
    m = onnx_model(g);
    imports(&m);
    pb_free(&m);
#ifndef __SANITIZE_THREAD__ /* its shadow memory is counted too */
    assert_true(peak_kib() - before < 600 << 10);
#else
    (void)before;
#endif
}

static void a_list_that_only_claims_to_be_long_costs_nothing(void **state)
{
    const int64_t dims[] = { 1 << 20, 255 };
    long before = peak_kib();

    (void)state;
    for (int type = 1; type <= 16; type++) { /* 255 Mi elements by dims, none in the file */
        pb g = { 0 }, t = onnx_tensor("w", type, dims, 2), m;

        pb_msg(&g, 5, t);
        m = onnx_model(g);
        assert_false(imports(&m));
        pb_free(&m);
    }
    assert_true(peak_kib() - before < 64 << 10);
}

/* -- a file that changes under the reader ------------------------------------------------------------------------------------ */

/* Two versions of one file; from read number `turn` on it is the second. */
typedef struct shifty {
    qn_source base;
    const unsigned char *was, *is;
    size_t n;
    int reads, turn;
} shifty;

static qn_status shifty_read(qn_source *src, uint64_t offset, void *dst, size_t n, qn_error *err)
{
    shifty *s = (shifty *)src;

    if (offset > s->n || n > s->n - offset) return qn_error_set(err, QN_ERR_FORMAT, "beyond the end of the file");
    memcpy(dst, (s->reads++ < s->turn ? s->was : s->is) + offset, n);
    return QN_OK;
}

static void shifty_ref(qn_source *src) { (void)src; }

enum { LONG = 20000 };

/* The same bytes, read as a list of elements like these: */
typedef enum version { FIRST, MORE, LARGER } version;

/* LONG elements of two bytes "ab" each (MORE: twice as many empty ones; LARGER: half as many of six bytes). */
static void twin_strings(pb *m, uint32_t field, version v)
{
    for (int i = 0; i < LONG; i++) {
        if (v == MORE) {
            pb_bytes(m, field, "", 0);
            pb_bytes(m, field, "", 0);
        } else if (v == LARGER) {
            if (i % 2) pb_bytes(m, field, "sixsix", 6);
        } else {
            pb_bytes(m, field, field == 11 ? "\x12\0" : "ab", 2);
        }
    }
}

/* Packed numbers in four bytes each (MORE: four times as many). */
static void twin_numbers(pb *m, uint32_t field, version v)
{
    pb list = { 0 };

    for (int i = 0; i < LONG; i++) pb_raw(&list, v == MORE ? "\5\5\5\5" : "\x85\x80\x80\0", 4);
    pb_msg(m, field, list);
}

/* Two models of the same length. Every list is longer than the reader's window, so that its second look at it is a second read of the file. */
static pb twin(version v, int only)
{
    const int64_t count = LONG;
    pb g = { 0 }, n = onnx_node("Op", NULL, "y"), a, t;

    if (only == 0) twin_strings(&n, 1, v);
    if (only == 1) {
        a = onnx_attr("strings", 8);
        twin_strings(&a, 9, v);
        pb_msg(&n, 5, a);
    }
    if (only == 2) {
        a = onnx_attr("ints", 7);
        twin_numbers(&a, 8, v);
        pb_msg(&n, 5, a);
    }
    if (only == 3) {
        a = onnx_attr("graphs", 10);
        twin_strings(&a, 11, v);
        pb_msg(&n, 5, a);
    }
    if (only == 4) { /* few attributes, and a second window before the node ends */
        char *doc = calloc(1, 70000);

        assert_non_null(doc);
        for (int i = 0; i < 40; i++) { /* an int that takes 14 bytes, or two that take 7 */
            unsigned char name = (unsigned char)(i + 1), other = (unsigned char)(i + 60);
            unsigned char one[] = { 0x2a, 0x0c, 0x0a, 0x01, name, 0xa0, 0x01, 0x02, 0x18, 0x80, 0x80, 0x80, 0x80, 0x00 };
            unsigned char two[] = { 0x2a, 0x05, 0x0a, 0x01, name, 0x18, 0x00, 0x2a, 0x05, 0x0a, 0x01, other, 0x18, 0x00 };

            pb_raw(&n, v == MORE ? two : one, sizeof one);
        }
        pb_bytes(&n, 6, doc, 70000);
        pb_str(&n, 1, "x");
        free(doc);
    }
    if (only < 5) pb_msg(&g, 1, n);
    t = onnx_tensor("ab", only == 6 ? ONNX_INT64 : ONNX_STRING, &count, 1);
    if (only == 6)
        twin_numbers(&t, 7, v);
    else
        twin_strings(&t, 6, v);
    pb_msg(&g, 5, t);
    if (only >= 5) pb_free(&n);
    pb_msg(&g, 11, onnx_value("x", ONNX_FLOAT, NULL, 0));
    pb_msg(&g, 12, onnx_value("ab", ONNX_FLOAT, NULL, 0));
    return onnx_model(g);
}

static void a_file_that_changes_between_two_looks_does_not_crash(void **state)
{
    (void)state;
    for (int only = 0; only < 14; only++) {
        pb was = twin(FIRST, only / 2), is = twin(only % 2 ? LARGER : MORE, only / 2);
        int reads = 1, seen = 0;

        assert_int_equal(was.len, is.len);
        for (int turn = -1; turn <= reads; turn++) {
            shifty s = {
                { .read = shifty_read, .ref = shifty_ref, .unref = shifty_ref }, was.data, turn < 0 ? was.data : is.data, was.len, 0, turn
            };
            qn_graph *g;
            qn_error err = { 0 };
            qn_status st = qn_onnx_import(&s.base, was.len, NULL, NULL, -1, &g, NULL, &err);

            if (turn < 0 && st) fail_msg("list %d: %s", only, err.message);
            if (turn < 0) reads = s.reads;
            seen += strstr(err.message, "while it was read") || strstr(err.message, "while they were read") ||
                    strstr(err.message, "more elements");
            qn_graph_destroy(g);
        }
        if (!seen && only % 2 == 0) fail_msg("list %d: no turn of the file met the second look", only);
        pb_free(&was);
        pb_free(&is);
    }
}

static void a_smaller_depth_is_kept_to(void **state)
{
    pb g = { 0 }, m;
    qn_limits limits = { .depth = 6 };
    qn_graph *graph;
    qn_error err;

    (void)state;
    for (int k = 0; k < 8; k++) {
        pb outer = { 0 }, n = onnx_node("If", NULL, "t"), a = onnx_attr("then_branch", 5);

        pb_msg(&a, 6, g);
        pb_msg(&n, 5, a);
        pb_msg(&outer, 1, n);
        g = outer;
    }
    m = onnx_model(g);
    assert_int_equal(onnx_import_at(&m, &limits, -1, &graph, NULL, &err), QN_ERR_LIMIT);
    limits.depth = 8;
    assert_int_equal(onnx_import_at(&m, &limits, -1, &graph, NULL, &err), QN_OK);
    qn_graph_destroy(graph);
    limits.depth = 1; /* not even a graph fits */
    assert_int_equal(onnx_import_at(&m, &limits, -1, &graph, NULL, &err), QN_ERR_LIMIT);
    limits.depth = 8;
    limits.file_bytes = m.len - 1;
    assert_int_equal(onnx_import_at(&m, &limits, -1, &graph, NULL, &err), QN_ERR_LIMIT);
    pb_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rich_model_itself_imports),
        cmocka_unit_test(a_model_cut_at_any_byte_is_refused),
        cmocka_unit_test(a_model_with_any_bit_flipped_or_byte_replaced_does_not_crash),
        cmocka_unit_test(two_bytes_inserted_or_removed_anywhere_do_not_crash),
        cmocka_unit_test(many_small_messages_stay_within_memory),
        cmocka_unit_test(many_nested_graphs_and_inputs_stay_within_memory),
        cmocka_unit_test(a_list_that_only_claims_to_be_long_costs_nothing),
        cmocka_unit_test(a_file_that_changes_between_two_looks_does_not_crash),
        cmocka_unit_test(a_smaller_depth_is_kept_to),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
