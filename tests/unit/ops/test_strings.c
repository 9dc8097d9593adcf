/* StringNormalizer, TfIdfVectorizer, StringConcat, StringSplit; expected values of ONNX Runtime 1.30 where the text of ONNX leaves a choice. */
#include "tests/unit/ops/op_harness.h"

#include "core/base/casemap.h"
#include "core/ops/ops.h"

#include <stdio.h>

/* -- helpers -------------------------------------------------------------------------------------------------------------- */

/* The last input gets another shape with as many elements. */
static void reshape(op_test *t, int rank, const int64_t *dims)
{
    const int i = t->n_in - 1;

    t->in[i].rank = t->in_type[i].rank = rank;
    for (int a = 0; a < rank; a++) {
        t->in[i].dims[a] = dims[a];
        t->in_type[i].dims[a] = qn_dims_const(t->graph.dims, dims[a]);
    }
}
#define RESHAPE(t, ...) reshape(t, (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / 8), (const int64_t[]){ __VA_ARGS__ })

static void assert_dims(const qn_tensor *t, int rank, const int64_t *dims)
{
    assert_int_equal(t->rank, rank);
    for (int a = 0; a < rank; a++) assert_int_equal(t->dims[a], dims[a]);
}
#define ASSERT_DIMS(t, ...) assert_dims(t, (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / 8), (const int64_t[]){ __VA_ARGS__ })

static void assert_strings(const qn_tensor *t, int n, const char *const *want)
{
    assert_int_equal(t->dtype, QN_STRING);
    assert_int_equal(qn_tensor_count(t), n);
    for (int i = 0; i < n; i++)
        if (!op_string_is(t, i, want[i])) fail_msg("element %d is not \"%s\"", i, want[i]);
}
#define ASSERT_STRINGS(t, ...)                                                                                                             \
    assert_strings(t, (int)(sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *)), (const char *[]){ __VA_ARGS__ })

static void assert_refused(op_test *t, qn_status want, const char *text)
{
    qn_error err = { 0 };

    assert_int_equal(op_run(t, 1, &err), want);
    if (!strstr(err.message, text)) fail_msg("\"%s\" does not say \"%s\"", err.message, text);
    op_end(t);
}

/* -- letters -------------------------------------------------------------------------------------------------------------- */

static void assert_case(const char *from, bool upper, const char *want)
{
    char got[64];
    const size_t n = qn_casemap(from, strlen(from), upper, got);

    assert_int_equal(n, qn_casemap(from, strlen(from), upper, NULL));
    assert_int_equal(n, strlen(want));
    assert_memory_equal(got, want, n);
}

static void letters_of_any_script_change_case(void **state)
{
    (void)state;
    assert_case("Hello, 123 [\\]^_`{|}~", true, "HELLO, 123 [\\]^_`{|}~");
    assert_case("ÀÖ×ØÞ ŸŽ", false, "àö×øþ ÿž");
    assert_case("straße ŉ ÿ", true, "STRAßE ŉ Ÿ"); /* what has no single upper case stays */
    assert_case("ΩΣ ДЖ Ա Ⴀ", false, "ωσ дж ա ⴀ");
    assert_case("σς", true, "ΣΣ");
    assert_case("ſ", true, "S");  /* two bytes become one */
    assert_case("Ⱥ", false, "ⱥ"); /* two become three */
    assert_case("İ", false, "i");
    assert_case("ǆ ǅ Ǆ", true, "Ǆ Ǆ Ǆ");
    assert_case("𐐀𞤀", false, "𐐨𞤢");
    assert_case("中文 😀", true, "中文 😀");
}

static void bytes_that_are_no_utf8_stay(void **state)
{
    static const char *const odd[] = {
        "\xff", "\x80", "\xc3", "\xc0\xa1", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\xf5\x80\x80\x80"
    };
    char text[16], want[16];

    (void)state;
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        snprintf(text, sizeof text, "a%sb", odd[i]);
        snprintf(want, sizeof want, "A%sB", odd[i]);
        assert_case(text, true, want);
    }
    for (uint32_t c = 0; c < 0x110000; c++) { /* upper case of lower case of upper case is upper case */
        const uint32_t u = qn_casemap_point(c, true);

        assert_int_equal(qn_casemap_point(u, true), u);
    }
}

/* -- StringNormalizer ----------------------------------------------------------------------------------------------------- */

static void begin_normalizer(op_test *t, const char *action, int sensitive, const char **stop, int n_stop)
{
    op_begin(t, &qn_op_string_normalizer, 10);
    op_attr_str(t, "case_change_action", action);
    op_attr_int(t, "is_case_sensitive", sensitive);
    if (stop) op_attr_strings(t, "stopwords", stop, n_stop);
}

static void stop_words_go_and_case_changes(void **state)
{
    const char *stop[] = { "monday", "Été" };
    const char *const words[] = { "Monday", "tuesday", "ÉTÉ", "monday", "été", "été2" };
    op_test t;

    (void)state;
    begin_normalizer(&t, "UPPER", 1, stop, 2);
    op_in_strings(&t, words, 6);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_STRINGS(&t.out[0], "MONDAY", "TUESDAY", "ÉTÉ", "ÉTÉ", "ÉTÉ2");
    op_end(&t);
    begin_normalizer(&t, "NONE", 0, stop, 2);
    op_in_strings(&t, words, 6);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_STRINGS(&t.out[0], "tuesday", "été2");
    op_end(&t);
    begin_normalizer(&t, "LOWER", 0, NULL, 0);
    op_in_strings(&t, words, 6);
    RESHAPE(&t, 1, 6);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 1, 6);
    ASSERT_STRINGS(&t.out[0], "monday", "tuesday", "été", "monday", "été", "été2");
    op_end(&t);
}

static void where_nothing_is_left_there_is_one_empty_string(void **state)
{
    const char *stop[] = { "a" };
    const char *const words[] = { "a", "A" };
    op_test t;

    (void)state;
    for (int rank = 1; rank <= 2; rank++) {
        begin_normalizer(&t, "UPPER", 0, stop, 1);
        op_in_strings(&t, words, 2);
        if (rank == 2) RESHAPE(&t, 1, 2);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        if (rank == 1) ASSERT_DIMS(&t.out[0], 1);
        if (rank == 2) ASSERT_DIMS(&t.out[0], 1, 1);
        ASSERT_STRINGS(&t.out[0], "");
        op_end(&t);
    }
    begin_normalizer(&t, "NONE", 1, NULL, 0);
    op_in_strings(&t, words, 0);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_STRINGS(&t.out[0], "");
    op_end(&t);
}

static void a_normalizer_refuses_what_it_cannot_do(void **state)
{
    const char *const words[] = { "a", "b" };
    op_test t;

    (void)state;
    begin_normalizer(&t, "TITLE", 0, NULL, 0);
    op_in_strings(&t, words, 2);
    assert_refused(&t, QN_ERR_INVALID, "TITLE");
    begin_normalizer(&t, "UPPER", 0, NULL, 0);
    op_in_strings(&t, words, 2);
    RESHAPE(&t, 2, 1);
    assert_refused(&t, QN_ERR_SHAPE, "2 rows");
    begin_normalizer(&t, "UPPER", 0, NULL, 0);
    op_in_f32(&t, (const float[]){ 1 }, 1, 1);
    assert_refused(&t, QN_ERR_DTYPE, "f32");
}

/* -- TfIdfVectorizer ------------------------------------------------------------------------------------------------------ */

typedef struct tfidf {
    const char *mode;
    int64_t min, max, skips;
    const int64_t *counts, *indexes, *pool;
    int64_t n_counts, n_indexes, n_pool;
    const float *weights;
} tfidf;

static void begin_tfidf(op_test *t, const tfidf *a)
{
    op_begin(t, &qn_op_tfidf_vectorizer, 9);
    op_attr_str(t, "mode", a->mode);
    op_attr_int(t, "min_gram_length", a->min);
    op_attr_int(t, "max_gram_length", a->max);
    op_attr_int(t, "max_skip_count", a->skips);
    op_attr_ints(t, "ngram_counts", a->counts, a->n_counts);
    op_attr_ints(t, "ngram_indexes", a->indexes, a->n_indexes);
    if (a->pool) op_attr_ints(t, "pool_int64s", a->pool, a->n_pool);
    if (a->weights) op_attr_floats(t, "weights", a->weights, a->n_indexes);
}

static const int64_t counts3[] = { 0, 3, 5 }, indexes5[] = { 0, 1, 2, 3, 4 }, pool8[] = { 1, 2, 3, 1, 2, 1, 2, 3 };
static const tfidf skipping = { "TF", 1, 3, 2, counts3, indexes5, pool8, 3, 5, 8, NULL };

static void n_grams_are_counted_over_skips(void **state)
{
    const int64_t x[] = { 1, 2, 3, 1, 2, 3 };
    const int32_t narrow[] = { 1, 9, 2, 9, 3, 9 };
    op_test t;

    (void)state;
    begin_tfidf(&t, &skipping);
    op_in_i64(&t, x, 1, 6);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 5);
    assert_memory_equal(t.out[0].data, ((const float[]){ 2, 2, 2, 2, 2 }), 20);
    op_end(&t);
    begin_tfidf(&t, &skipping);
    op_in_i64(&t, x, 2, 2, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 2, 5);
    for (int i = 0; i < 10; i++) assert_float_equal(op_out_f32(&t, 0)[i], 1, 0);
    op_end(&t);
    begin_tfidf(&t, &skipping);
    op_in_i32(&t, narrow, 1, 6); /* one apart: "1 _ 2 _ 3" */
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(t.out[0].data, ((const float[]){ 1, 1, 1, 1, 1 }), 20);
    op_end(&t);
    begin_tfidf(&t, &skipping);
    op_in_i64(&t, x, 0);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(t.out[0].data, ((const float[]){ 1, 0, 0, 0, 0 }), 20);
    op_end(&t);
    begin_tfidf(&t, &skipping);
    op_in_i64(&t, NULL, 2, 2, 0);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 2, 5);
    op_end(&t);
}

static void weights_belong_to_the_n_grams_of_the_pool(void **state)
{
    static const int64_t zero = 0, permuted[] = { 2, 0, 1 }, shared[] = { 2, 0, 2 }, pool[] = { 5, 6, 7 };
    static const float weights[] = { 10, 100, 1000 };
    const int64_t x[] = { 5, 6, 7, 7 };
    tfidf a = { "TFIDF", 1, 1, 0, &zero, permuted, pool, 1, 3, 3, weights };
    op_test t;

    (void)state;
    begin_tfidf(&t, &a);
    op_in_i64(&t, x, 1, 4);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(t.out[0].data, ((const float[]){ 100, 2000, 10 }), 12);
    op_end(&t);
    a.mode = "IDF";
    a.indexes = shared;
    begin_tfidf(&t, &a);
    op_in_i64(&t, x, 1, 4);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(t.out[0].data, ((const float[]){ 100, 0, 1000 }), 12);
    op_end(&t);
    a.mode = "TF";
    begin_tfidf(&t, &a);
    op_in_i64(&t, x, 1, 4);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(t.out[0].data, ((const float[]){ 1, 0, 3 }), 12);
    op_end(&t);
}

static void words_are_counted_too(void **state)
{
    static const int64_t counts[] = { 0, 2 }, indexes[] = { 0, 1, 2, 3 };
    const char *pool[] = { "a", "bb", "a", "bb", "bb", "" };
    const char *const words[] = { "a", "bb", "", "zz", "a", "bb" };
    const tfidf a = { "TF", 1, 2, 0, counts, indexes, NULL, 2, 4, 0, NULL };
    op_test t;

    (void)state;
    begin_tfidf(&t, &a);
    op_attr_strings(&t, "pool_strings", pool, 6);
    op_in_strings(&t, words, 6);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(t.out[0].data, ((const float[]){ 2, 2, 2, 1 }), 16);
    op_end(&t);
    begin_tfidf(&t, &a);
    op_attr_strings(&t, "pool_strings", pool, 6);
    op_in_i64(&t, (const int64_t[]){ 1 }, 1, 1);
    assert_refused(&t, QN_ERR_DTYPE, "i64");
}

static void a_pool_that_lies_is_refused(void **state)
{
    static const int64_t beyond[] = { 0, 3, 9 }, falling[] = { 0, 5, 3 }, odd[] = { 0, 2, 5 }, twice[] = { 1, 2, 1, 1, 2, 1, 2, 3 };
    static const int64_t negative[] = { 0, 1, -2, 3, 4 };
    const tfidf cases[] = {
        { "TF", 1, 3, 2, beyond, indexes5, pool8, 3, 5, 8, NULL },  { "TF", 1, 3, 2, falling, indexes5, pool8, 3, 5, 8, NULL },
        { "TF", 1, 3, 2, odd, indexes5, pool8, 3, 5, 8, NULL },     { "TF", 1, 3, 2, counts3, indexes5, twice, 3, 5, 8, NULL },
        { "TF", 1, 3, 2, counts3, negative, pool8, 3, 5, 8, NULL }, { "TF", 1, 3, 2, counts3, indexes5, pool8, 3, 4, 8, NULL },
        { "TF", 1, 4, 2, counts3, indexes5, pool8, 3, 5, 8, NULL }, { "TF", 0, 3, 2, counts3, indexes5, pool8, 3, 5, 8, NULL },
        { "TF", 3, 1, 2, counts3, indexes5, pool8, 3, 5, 8, NULL }, { "TF", 1, 3, -1, counts3, indexes5, pool8, 3, 5, 8, NULL },
        { "XX", 1, 3, 2, counts3, indexes5, pool8, 3, 5, 8, NULL }, { "TF", 1, 3, 2, counts3, indexes5, NULL, 3, 5, 0, NULL }
    };
    op_test t;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin_tfidf(&t, &cases[i]);
        op_in_i64(&t, pool8, 1, 8);
        assert_refused(&t, QN_ERR_INVALID, "");
    }
}

static void a_skip_count_beyond_the_row_ends(void **state)
{
    tfidf a = skipping;
    op_test t;

    (void)state;
    a.skips = INT64_MAX;
    begin_tfidf(&t, &a);
    op_in_i64(&t, (const int64_t[]){ 1, 9, 9, 2, 9, 9, 3 }, 1, 7);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(t.out[0].data, ((const float[]){ 1, 1, 1, 1, 1 }), 20);
    op_end(&t);
}

/* -- StringConcat --------------------------------------------------------------------------------------------------------- */

static void strings_are_joined_with_broadcasting(void **state)
{
    const char *const a[] = { "x", "yy", "" }, *const b[] = { "1", "22" };
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_string_concat, 20);
    op_in_strings(&t, a, 3);
    op_in_strings(&t, b, 2);
    RESHAPE(&t, 2, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 2, 3);
    ASSERT_STRINGS(&t.out[0], "x1", "yy1", "1", "x22", "yy22", "22");
    op_end(&t);
    op_begin(&t, &qn_op_string_concat, 20);
    op_in_strings(&t, a, 0);
    op_in_strings(&t, b, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 0);
    op_end(&t);
    op_begin(&t, &qn_op_string_concat, 20);
    op_in_strings(&t, a, 3);
    op_in_strings(&t, b, 2);
    assert_refused(&t, QN_ERR_SHAPE, "");
    op_begin(&t, &qn_op_string_concat, 20);
    op_in_strings(&t, a, 3);
    op_in_i64(&t, pool8, 1, 3);
    assert_refused(&t, QN_ERR_DTYPE, "i64");
}

/* -- StringSplit ---------------------------------------------------------------------------------------------------------- */

static void assert_split(const char *text, const char *delimiter, int64_t maxsplit, int n, const char *const *want)
{
    op_test t;

    op_begin(&t, &qn_op_string_split, 20);
    if (delimiter) op_attr_str(&t, "delimiter", delimiter);
    if (maxsplit >= 0) op_attr_int(&t, "maxsplit", maxsplit);
    op_in_strings(&t, &text, 1);
    assert_int_equal(op_run(&t, 2, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 1, n);
    assert_strings(&t.out[0], n, want);
    ASSERT_DIMS(&t.out[1], 1);
    assert_int_equal(op_out_i64(&t, 1)[0], n);
    op_end(&t);
}
#define ASSERT_SPLIT(text, delimiter, maxsplit, ...)                                                                                       \
    assert_split(text, delimiter, maxsplit, (int)(sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *)),                               \
                 (const char *[]){ __VA_ARGS__ })

static void a_delimiter_cuts_from_the_left(void **state)
{
    (void)state;
    ASSERT_SPLIT("a-b-c", "-", -1, "a", "b", "c");
    ASSERT_SPLIT("-a--b-", "-", -1, "", "a", "", "b", "");
    ASSERT_SPLIT("-a--b-", "-", 1, "", "a--b-");
    ASSERT_SPLIT("a-b-c", "-", 0, "a-b-c");
    ASSERT_SPLIT("---", "--", -1, "", "-");
    ASSERT_SPLIT("a--b--c", "--", 1, "a", "b--c");
    ASSERT_SPLIT("  a ", " ", 2, "", "", "a ");
    ASSERT_SPLIT("  a b", " ", -1, "", "", "a", "b");
    assert_split("", "-", -1, 0, NULL);
}

static void without_a_delimiter_runs_of_whitespace_cut(void **state)
{
    (void)state;
    ASSERT_SPLIT("  a  b   c ", NULL, -1, "a", "b", "c");
    ASSERT_SPLIT("  a  b   c ", "", -1, "a", "b", "c");
    ASSERT_SPLIT("  a  b   c ", "", 1, "a", "b   c");
    ASSERT_SPLIT("  a  b   c ", "", 0, "a  b   c");
    ASSERT_SPLIT("  a  b   c ", "", 2, "a", "b", "c");
    ASSERT_SPLIT("a\tb\nc", "", -1, "a", "b", "c");
    assert_split(" ", "", -1, 0, NULL);
    assert_split("", "", 0, 0, NULL);
}

static void pieces_are_filled_up_to_the_longest(void **state)
{
    const char *const words[] = { "", "a-b", "c", "" };
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_string_split, 20);
    op_attr_str(&t, "delimiter", "-");
    op_in_strings(&t, words, 4);
    RESHAPE(&t, 2, 2);
    assert_int_equal(op_run(&t, 2, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 2, 2, 2);
    ASSERT_STRINGS(&t.out[0], "", "", "a", "b", "c", "", "", "");
    assert_memory_equal(t.out[1].data, ((const int64_t[]){ 0, 2, 1, 0 }), 32);
    op_end(&t);
    op_begin(&t, &qn_op_string_split, 20);
    op_in_strings(&t, words, 0);
    RESHAPE(&t, 2, 0);
    t.out_none[1] = true;
    assert_int_equal(op_run(&t, 2, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 2, 0, 0);
    op_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_of_any_script_change_case),
        cmocka_unit_test(bytes_that_are_no_utf8_stay),
        cmocka_unit_test(stop_words_go_and_case_changes),
        cmocka_unit_test(where_nothing_is_left_there_is_one_empty_string),
        cmocka_unit_test(a_normalizer_refuses_what_it_cannot_do),
        cmocka_unit_test(n_grams_are_counted_over_skips),
        cmocka_unit_test(weights_belong_to_the_n_grams_of_the_pool),
        cmocka_unit_test(words_are_counted_too),
        cmocka_unit_test(a_pool_that_lies_is_refused),
        cmocka_unit_test(a_skip_count_beyond_the_row_ends),
        cmocka_unit_test(strings_are_joined_with_broadcasting),
        cmocka_unit_test(a_delimiter_cuts_from_the_left),
        cmocka_unit_test(without_a_delimiter_runs_of_whitespace_cut),
        cmocka_unit_test(pieces_are_filled_up_to_the_longest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
