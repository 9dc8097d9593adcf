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
        uint32_t    field;
        const char *bytes;
        size_t      n;
    } cases[] = {
        { 1, "", 0 },                       /* empty nodes */
        { 1, "\x22\x01N", 3 },              /* nodes with an op alone */
        { 5, "\x08\x00\x10\x01", 4 },       /* empty initializers without a name */
        { 11, "", 0 },                      /* inputs without a name */
        { 12, "\x0a\x01x", 3 },             /* the same output again and again */
        { 13, "\x0a\x01x", 3 },             /* value_info */
        { 15, "", 0 },                      /* sparse */
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
    assert_true(peak_kib() - before < 600 << 10);
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
    qn_source            base;
    const unsigned char *was, *is;
    size_t               n;
    int                  reads, turn;
} shifty;

static qn_status shifty_read(qn_source *src, uint64_t offset, void *dst, size_t n, qn_error *err)
{
    shifty *s = (shifty *)src;

    if (offset > s->n || n > s->n - offset) return qn_error_set(err, QN_ERR_FORMAT, "beyond the end of the file");
    memcpy(dst, (s->reads++ < s->turn ? s->was : s->is) + offset, n);
    return QN_OK;
}

static void shifty_ref(qn_source *src) { (void)src; }

/* Every list is longer than the reader's window, so that its second look at it is a second read. */
static pb long_model(void)
{
    const int64_t count = 20000;
    pb g = { 0 }, n = onnx_node("Op", "x", "y"), a, t, list = { 0 };

    for (int i = 0; i < 30000; i++) pb_str(&n, 1, i % 2 ? "x" : "");
    a = onnx_attr("strings", 8);
    for (int i = 0; i < 25000; i++) pb_str(&a, 9, i % 3 ? "ab" : "");
    pb_msg(&n, 5, a);
    a = onnx_attr("ints", 7);
    for (int i = 0; i < 70000; i++) pb_number(&list, 5);
    pb_msg(&a, 8, list);
    pb_msg(&n, 5, a);
    a = onnx_attr("floats", 6);
    for (int i = 0; i < 20000; i++) pb_float(&a, 7, 1);
    pb_msg(&n, 5, a);
    a = onnx_attr("graphs", 10);
    for (int i = 0; i < 9000; i++) pb_bytes(&a, 11, "\x12\x06sixsix", 8);
    pb_msg(&n, 5, a);
    pb_msg(&g, 1, n);
    t = onnx_tensor("s", ONNX_STRING, &count, 1);
    for (int i = 0; i < count; i++) pb_str(&t, 6, i % 3 ? "ab" : "");
    pb_msg(&g, 5, t);
    t = onnx_tensor("i", ONNX_INT64, &count, 1);
    for (int i = 0; i < count; i++) pb_int(&t, 7, 1000000);
    pb_msg(&g, 5, t);
    pb_msg(&g, 11, onnx_value("x", ONNX_FLOAT, NULL, 0));
    pb_msg(&g, 12, onnx_value("y", ONNX_FLOAT, NULL, 0));
    return onnx_model(g);
}

static void a_file_that_changes_between_two_looks_does_not_crash(void **state)
{
    static const unsigned char bytes[] = { 0x00, 0x02, 0x0a, 0x2a, 0x32, 0x38, 0x3a, 0x4a, 0x5a, 0x7f, 0x80 };
    pb m = long_model(), changed = { 0 };
    uint32_t x = 1;
    int reads, refused = 0;

    (void)state;
    pb_raw(&changed, m.data, m.len);
    {
        shifty s = { { shifty_read, shifty_ref, shifty_ref }, m.data, m.data, m.len, 0, 0 };
        qn_graph *g;
        qn_error err;

        if (qn_onnx_import(&s.base, m.len, NULL, NULL, -1, &g, NULL, &err)) fail_msg("%s", err.message);
        qn_graph_destroy(g);
        reads = s.reads;
    }
    for (int round = 0; round < 150; round++) {
        shifty s = { { shifty_read, shifty_ref, shifty_ref }, m.data, changed.data, m.len, 0, round % reads };
        qn_graph *g;
        qn_error err = { 0 };
        qn_status st;

        memcpy(changed.data, m.data, m.len);
        for (int i = 0; i < 1 + round % 40; i++) {
            size_t at;

            x = x * 1664525 + 1013904223;
            at = (size_t)((uint64_t)(x >> 4) * m.len >> 28);
            changed.data[at] = bytes[(x >> 8) % sizeof bytes];
        }
        if (round % 3 == 0) /* lengths of two neighbours trade places: counts and sums move against each other */
            for (size_t i = 1000; i + 4 < m.len; i += 997) changed.data[i] = m.data[i + 1];
        st = qn_onnx_import(&s.base, m.len, NULL, NULL, -1, &g, NULL, &err);
        refused += st != QN_OK;
        qn_graph_destroy(g);
    }
    assert_true(refused > 0);
    pb_free(&m);
    pb_free(&changed);
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
