/* TensorProto and SparseTensorProto in every form a file may store them in, and every way they can lie. */
#include "pb_build.h"

#include "core/onnx/testdata.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* Dense bytes of the initializer `name`, in a buffer the caller frees. */
static void *dense(qn_graph *g, const char *name, qn_tensor *t)
{
    qn_value *v = onnx_find(g, name);
    qn_error err = { 0 };
    qn_store *store;
    qn_tensor loaded;
    void *copy;

    assert_non_null(v->weight);
    assert_int_equal(qn_store_create(&store, &err), QN_OK);
    assert_int_equal(qn_weight_dense(v->weight, store, &loaded, &err), QN_OK);
    *t = loaded;
    copy = malloc(loaded.bytes ? loaded.bytes : 1);
    assert_non_null(copy);
    if (loaded.bytes) memcpy(copy, loaded.data, loaded.bytes);
    t->data = copy;
    qn_store_unref(store);
    return copy;
}

/* Import tensor (taken over) as initializer "w" and compare its bytes. */
static void holds(pb tensor, qn_dtype dtype, const void *want, size_t bytes)
{
    qn_graph *g;
    qn_error err;
    qn_tensor t;
    void *got;

    if (onnx_import(onnx_model(onnx_graph_of(tensor, "w")), &g, &err)) fail_msg("%s", err.message);
    got = dense(g, "w", &t);
    assert_int_equal(t.dtype, dtype);
    assert_int_equal(t.bytes, bytes);
    assert_memory_equal(got, want, bytes);
    assert_int_equal(onnx_find(g, "w")->type.dtype, dtype);
    assert_int_equal(onnx_find(g, "w")->type.rank, t.rank);
    free(got);
    qn_graph_destroy(g);
}

static void refuses(pb tensor, qn_status want, const char *text) { onnx_refuses(onnx_model(onnx_graph_of(tensor, "w")), want, text); }

static const int64_t dims3[] = { 3 };

static pb with_ints(int type, uint32_t field, const int64_t *v, size_t n, bool packed)
{
    pb t = onnx_tensor("w", type, dims3, 1);

    if (packed) {
        pb_ints_packed(&t, field, v, n);
    } else {
        for (size_t i = 0; i < n; i++) pb_int(&t, field, v[i]);
    }
    return t;
}

static void raw_data_of_every_dtype_is_kept_as_it_is(void **state)
{
    static const struct {
        int onnx;
        qn_dtype dtype;
        size_t size;
    } cases[] = { { ONNX_FLOAT, QN_F32, 4 },    { ONNX_UINT8, QN_U8, 1 },   { ONNX_INT8, QN_I8, 1 },    { ONNX_UINT16, QN_U16, 2 },
                  { ONNX_INT16, QN_I16, 2 },    { ONNX_INT32, QN_I32, 4 },  { ONNX_INT64, QN_I64, 8 },  { ONNX_BOOL, QN_BOOL, 1 },
                  { ONNX_FLOAT16, QN_F16, 2 },  { ONNX_DOUBLE, QN_F64, 8 }, { ONNX_UINT32, QN_U32, 4 }, { ONNX_UINT64, QN_U64, 8 },
                  { ONNX_BFLOAT16, QN_BF16, 2 } };
    unsigned char bytes[25];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int wrong = -1; wrong <= 1; wrong++) {
            size_t n = 3 * cases[i].size;
            pb t = onnx_tensor("w", cases[i].onnx, dims3, 1);

            for (size_t k = 0; k < sizeof bytes; k++) bytes[k] = cases[i].dtype == QN_BOOL ? k & 1 : (unsigned char)(k * 37 + 200);
            pb_bytes(&t, 9, bytes, (size_t)((int)n + wrong));
            if (wrong)
                refuses(t, QN_ERR_FORMAT, "raw_data has");
            else
                holds(t, cases[i].dtype, bytes, n);
        }
    }
}

static void lists_of_numbers_are_read_packed_and_unpacked(void **state)
{
    static const int64_t v[] = { 1, 0, 1 }, s[] = { -128, 0, 127 }, big[] = { INT64_MIN, -1, INT64_MAX };
    static const int64_t u16[] = { 0, 15360, 65535 }, i16[] = { -32768, 1, 32767 }, i32[] = { INT32_MIN, -1, INT32_MAX },
                         u8[] = { 0, 1, 255 };
    static const int64_t u32[] = { 0, 1, UINT32_MAX };

    (void)state;
    for (int packed = 0; packed < 2; packed++) {
        holds(with_ints(ONNX_BOOL, 5, v, 3, packed), QN_BOOL, (uint8_t[]){ 1, 0, 1 }, 3);
        holds(with_ints(ONNX_INT8, 5, s, 3, packed), QN_I8, (int8_t[]){ -128, 0, 127 }, 3);
        holds(with_ints(ONNX_UINT8, 5, u8, 3, packed), QN_U8, (uint8_t[]){ 0, 1, 255 }, 3);
        holds(with_ints(ONNX_INT16, 5, i16, 3, packed), QN_I16, (int16_t[]){ -32768, 1, 32767 }, 6);
        holds(with_ints(ONNX_UINT16, 5, u16, 3, packed), QN_U16, (uint16_t[]){ 0, 15360, 65535 }, 6);
        holds(with_ints(ONNX_FLOAT16, 5, u16, 3, packed), QN_F16, (uint16_t[]){ 0, 15360, 65535 }, 6);
        holds(with_ints(ONNX_BFLOAT16, 5, u16, 3, packed), QN_BF16, (uint16_t[]){ 0, 15360, 65535 }, 6);
        holds(with_ints(ONNX_INT32, 5, i32, 3, packed), QN_I32, (int32_t[]){ INT32_MIN, -1, INT32_MAX }, 12);
        holds(with_ints(ONNX_INT64, 7, big, 3, packed), QN_I64, big, 24);
        holds(with_ints(ONNX_UINT64, 11, big, 3, packed), QN_U64, big, 24);
        holds(with_ints(ONNX_UINT32, 11, u32, 3, packed), QN_U32, (uint32_t[]){ 0, 1, UINT32_MAX }, 12);
    }
    /* a negative int32 in five bytes, as some writers do it */
    holds(with_ints(ONNX_INT32, 5, (int64_t[]){ UINT32_MAX, 0x80000000, 5 }, 3, true), QN_I32, (int32_t[]){ -1, INT32_MIN, 5 }, 12);
}

static void two_4_bit_integers_share_a_byte_low_half_first(void **state)
{
    static const uint8_t raw[] = { 0x81, 0xF7 };
    static const int64_t list[] = { 0x81, 0xF7 }, signed_list[] = { -127, -9 };

    (void)state;
    for (int form = 0; form < 4; form++) {
        pb u, s;

        for (int i = 0; i < 2; i++) {
            pb *t = i ? &s : &u;

            *t = onnx_tensor("w", i ? ONNX_INT4 : ONNX_UINT4, dims3, 1);
            if (form == 0) pb_bytes(t, 9, raw, 2);
            if (form == 1) pb_ints_packed(t, 5, list, 2);
            if (form == 2) pb_ints_packed(t, 5, signed_list, 2); /* the same bytes, as a writer of int8 has them */
            for (int k = 0; k < 2 && form == 3; k++) pb_int(t, 5, list[k]);
        }
        holds(u, QN_U4, (uint8_t[]){ 1, 8, 7 }, 3); /* the high half of the last byte is nobody's */
        holds(s, QN_I4, (int8_t[]){ 1, -8, 7 }, 3);
    }
}

static void a_count_of_4_bit_integers_that_does_not_fit_is_refused(void **state)
{
    static const int64_t one[] = { 1 }, three[] = { 1, 2, 3 }, wide[] = { 1, 256 };
    pb t;

    (void)state;
    for (size_t n = 0; n < 5; n++) {
        if (n == 2) continue;
        t = onnx_tensor("w", ONNX_INT4, dims3, 1);
        pb_bytes(&t, 9, "\1\2\3\4", n);
        refuses(t, QN_ERR_FORMAT, "expected 2 from dims");
    }
    refuses(with_ints(ONNX_INT4, 5, one, 1, true), QN_ERR_FORMAT, "pairs");
    refuses(with_ints(ONNX_INT4, 5, three, 3, true), QN_ERR_FORMAT, "more elements than the 3 of dims");
    refuses(with_ints(ONNX_UINT4, 5, three, 3, false), QN_ERR_FORMAT, "more elements than the 3 of dims");
    refuses(with_ints(ONNX_UINT4, 5, wide, 2, true), QN_ERR_FORMAT, "outside u4");
    refuses(with_ints(ONNX_UINT4, 7, one, 1, true), QN_ERR_FORMAT, "field");
}

static void a_large_4_bit_weight_is_spread_as_it_is_read(void **state)
{
    enum { N = 3 * 65536 + 1 };
    const int64_t dims[] = { N };
    uint8_t *raw = malloc(N / 2 + 1);
    int8_t *want = malloc(N);
    pb t = onnx_tensor("w", ONNX_INT4, dims, 1);
    int8_t part[9];
    qn_graph *g;
    qn_error err;

    (void)state;
    assert_non_null(raw);
    assert_non_null(want);
    for (int i = 0; i <= N / 2; i++) raw[i] = (uint8_t)(i * 37 + i / 256);
    for (int i = 0; i < N; i++) {
        const int v = raw[i / 2] >> i % 2 * 4 & 15;

        want[i] = (int8_t)(v < 8 ? v : v - 16);
    }
    pb_bytes(&t, 9, raw, N / 2 + 1);
    if (onnx_import(onnx_model(onnx_graph_of(t, "w")), &g, &err)) fail_msg("%s", err.message);
    for (int64_t at = 0; at < N - 9; at += at < 20 ? 1 : 4099) { /* odd and even beginnings */
        assert_int_equal(qn_weight_read(onnx_find(g, "w")->weight, at, 9, part, &err), QN_OK);
        assert_memory_equal(part, want + at, 9);
    }
    qn_graph_destroy(g);
    t = onnx_tensor("w", ONNX_INT4, dims, 1);
    pb_bytes(&t, 9, raw, N / 2 + 1);
    holds(t, QN_I4, want, N);
    free(raw);
    free(want);
}

static void lists_of_floats_are_read_in_one_chunk_in_many_and_unpacked(void **state)
{
    static const float f[] = { 1.5f, -2, 3 };
    static const double d[] = { 1.5, -2, 3 };

    (void)state;
    for (int form = 0; form < 3; form++) {
        pb tf = onnx_tensor("w", ONNX_FLOAT, dims3, 1), td = onnx_tensor("w", ONNX_DOUBLE, dims3, 1);

        if (form == 0) {
            pb_bytes(&tf, 4, f, sizeof f);
            pb_bytes(&td, 10, d, sizeof d);
        } else if (form == 1) {
            pb_bytes(&tf, 4, f, 4);
            pb_float(&tf, 4, f[1]);
            pb_bytes(&tf, 4, f + 2, 4);
            pb_bytes(&td, 10, d, 16);
            pb_double(&td, 10, d[2]);
        } else {
            for (int i = 0; i < 3; i++) pb_float(&tf, 4, f[i]);
            for (int i = 0; i < 3; i++) pb_double(&td, 10, d[i]);
        }
        holds(tf, QN_F32, f, sizeof f);
        holds(td, QN_F64, d, sizeof d);
    }
}

static void strings_keep_their_bytes_and_lengths(void **state)
{
    pb t = onnx_tensor("w", ONNX_STRING, dims3, 1), none;
    static const struct {
        uint64_t off[4];
        char blob[5];
    } want = { { 0, 3, 3, 5 }, { 'a', 0, 'b', (char)0xff, 'd' } };
    const uint64_t zero = 0;

    (void)state;
    pb_bytes(&t, 6, "a\0b", 3);
    pb_bytes(&t, 6, "", 0);
    pb_bytes(&t, 6,
             "\xff"
             "d",
             2);
    holds(t, QN_STRING, &want, 37);
    none = onnx_tensor("w", ONNX_STRING, (int64_t[]){ 0 }, 1);
    holds(none, QN_STRING, &zero, 8);
    t = onnx_tensor("w", ONNX_STRING, dims3, 1);
    pb_bytes(&t, 6, "x", 1);
    refuses(t, QN_ERR_FORMAT, "1 elements in the file, expected 3");
    t = onnx_tensor("w", ONNX_STRING, dims3, 1);
    pb_bytes(&t, 9, "xyz", 3);
    refuses(t, QN_ERR_FORMAT, "string_data");
}

static void scalars_and_empty_tensors_are_read(void **state)
{
    const float f = 2;
    pb t = onnx_tensor("w", ONNX_FLOAT, NULL, 0);

    (void)state;
    pb_float(&t, 4, f);
    holds(t, QN_F32, &f, 4);
    t = onnx_tensor("w", ONNX_FLOAT, (int64_t[]){ 3, 0, 5 }, 3);
    holds(t, QN_F32, "", 0);
    t = onnx_tensor("w", ONNX_FLOAT, (int64_t[]){ 0 }, 1);
    pb_bytes(&t, 9, "", 0);
    holds(t, QN_F32, "", 0);
    t = onnx_tensor("w", ONNX_FLOAT, (int64_t[]){ 0 }, 1);
    pb_bytes(&t, 4, "", 0);
    holds(t, QN_F32, "", 0);
}

static void numbers_outside_their_dtype_are_refused(void **state)
{
    static const struct {
        int type;
        uint32_t field;
        int64_t v;
    } cases[] = { { ONNX_INT8, 5, 128 },          { ONNX_INT8, 5, -129 },
                  { ONNX_UINT8, 5, 256 },         { ONNX_UINT8, 5, -1 },
                  { ONNX_INT16, 5, 32768 },       { ONNX_UINT16, 5, 65536 },
                  { ONNX_FLOAT16, 5, -1 },        { ONNX_BOOL, 5, 2 },
                  { ONNX_INT32, 5, 1ll << 32 },   { ONNX_INT32, 5, -(1ll << 31) - 1 },
                  { ONNX_UINT32, 11, 1ll << 32 }, { ONNX_BOOL, 5, -1 } };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t v[3] = { 0, cases[i].v, 0 };

        refuses(with_ints(cases[i].type, cases[i].field, v, 3, i & 1), QN_ERR_FORMAT, "element 1 is");
    }
    {
        pb t = onnx_tensor("w", ONNX_BOOL, dims3, 1);

        pb_bytes(&t, 9, "\0\1\2", 3);
        refuses(t, QN_ERR_FORMAT, "neither 0 nor 1");
    }
}

static void a_list_of_the_wrong_length_or_in_the_wrong_field_is_refused(void **state)
{
    static const int64_t v[4] = { 0, 0, 0, 0 };
    static const uint32_t fields[] = { 4, 5, 6, 7, 10, 11 };
    static const int types[] = { ONNX_FLOAT, ONNX_INT32, ONNX_STRING, ONNX_INT64, ONNX_DOUBLE, ONNX_UINT64 };

    (void)state;
    for (int packed = 0; packed < 2; packed++) {
        refuses(with_ints(ONNX_INT64, 7, v, 2, packed), QN_ERR_FORMAT, "expected 3");
        refuses(with_ints(ONNX_INT64, 7, v, 4, packed), QN_ERR_FORMAT, "3");
        refuses(with_ints(ONNX_INT32, 5, v, 0, packed), QN_ERR_FORMAT, "expected 12");
    }
    for (size_t i = 0; i < 6; i++) {
        for (size_t k = 0; k < 6; k++) {
            pb t = onnx_tensor("w", types[i], (int64_t[]){ 1 }, 1);

            if (i == k) {
                pb_free(&t);
                continue;
            }
            pb_bytes(&t, fields[k], "\0\0\0\0\0\0\0\0", fields[k] == 4 ? 4 : fields[k] == 10 ? 8 : 1);
            refuses(t, QN_ERR_FORMAT, "data in field");
        }
    }
    {
        pb t = onnx_tensor("w", ONNX_FLOAT, (int64_t[]){ 1 }, 1);

        pb_bytes(&t, 4, "\0\0\0", 3);
        refuses(t, QN_ERR_FORMAT, "multiple of 4");
        t = onnx_tensor("w", ONNX_FLOAT, (int64_t[]){ 1 }, 1);
        pb_float(&t, 4, 1);
        pb_bytes(&t, 9, "\0\0\0\0", 4);
        refuses(t, QN_ERR_FORMAT, "both");
        t = onnx_tensor("w", ONNX_FLOAT, (int64_t[]){ 1 }, 1);
        pb_int(&t, 4, 1); /* a float as a varint */
        refuses(t, QN_ERR_FORMAT, "wire type 0");
        t = onnx_tensor("w", ONNX_FLOAT, (int64_t[]){ 1 }, 1);
        pb_bytes(&t, 9, "\0\0\0\0", 4);
        pb_bytes(&t, 9, "\0\0\0\0", 4);
        refuses(t, QN_ERR_FORMAT, "twice");
    }
}

static void dims_that_overflow_or_are_negative_are_refused(void **state)
{
    static const int64_t cases[][8] = {
        { 65536, 65536, 65536, 65536, 0 },
        { 65536, 65536, 65536, 65536, 1 },
        { 4611686018427387906, 4 },
        { 4611686018427387906 },
        { 4611686018427387904, 4 },
        { 4294967296, 4294967296 },
        { INT64_MAX, 2 },
        { INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX },
        { 2305843009213693952 },
        { INT64_MAX },
        { 65536, 65536 },
    };
    static const size_t ranks[] = { 5, 5, 2, 1, 2, 2, 2, 8, 1, 1, 2 };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int form = 0; form < 4; form++) {
            pb t = onnx_tensor("w", form == 3 ? ONNX_STRING : ONNX_FLOAT, cases[i], ranks[i]);
            qn_graph *g;
            qn_error err;

            if (form == 0) pb_bytes(&t, 9, "\0\0\0\0\0\0\0", 8);
            if (form == 1) pb_bytes(&t, 4, "\0\0\0\0\0\0\0", 8);
            if (form == 2) pb_bytes(&t, 9, "", 0);
            if (form == 3) pb_bytes(&t, 6, "x", 1);
            assert_int_not_equal(onnx_import(onnx_model(onnx_graph_of(t, "w")), &g, &err), QN_OK);
            assert_true(err.status == QN_ERR_FORMAT || err.status == QN_ERR_LIMIT);
        }
    }
    {
        static const int64_t negative[] = { -1, INT64_MIN, -4 };

        for (size_t i = 0; i < 3; i++) {
            pb t = onnx_tensor("w", ONNX_FLOAT, &negative[i], 1);

            pb_bytes(&t, 9, "", 0);
            refuses(t, QN_ERR_FORMAT, "expected 0 or more");
            t = onnx_tensor("w", ONNX_FLOAT, (int64_t[]){ negative[i], negative[i] }, 2);
            pb_bytes(&t, 9, "\0\0\0\0", 4);
            refuses(t, QN_ERR_FORMAT, "expected 0 or more");
        }
        refuses(onnx_tensor("w", ONNX_FLOAT, (int64_t[]){ 1, 1, 1, 1, 1, 1, 1, 1, 1 }, 9), QN_ERR_UNSUPPORTED, "8 dimensions");
    }
}

static void dtypes_quern_does_not_have_are_named(void **state)
{
    (void)state;
    for (int type = 0; type < 40; type++) {
        bool known = (type >= 1 && type <= 13) || type == ONNX_BFLOAT16 || type == ONNX_UINT4 || type == ONNX_INT4;
        pb t = onnx_tensor("w", type, (int64_t[]){ 0 }, 1);

        if (known) {
            pb_free(&t);
            continue;
        }
        if (type == 0)
            refuses(t, QN_ERR_FORMAT, "data type");
        else if (type <= 26)
            refuses(t, QN_ERR_UNSUPPORTED, "'w'");
        else
            refuses(t, QN_ERR_FORMAT, "none of ONNX");
    }
}

static void a_tensor_in_segments_is_unsupported(void **state)
{
    pb t = onnx_ones("w", 1);

    (void)state;
    pb_bytes(&t, 3, "", 0);
    refuses(t, QN_ERR_UNSUPPORTED, "segments");
}

static void fields_may_come_in_any_order(void **state)
{
    const float f[] = { 1, 2, 3 };
    pb t = { 0 };

    (void)state;
    pb_bytes(&t, 9, f, sizeof f);
    pb_str(&t, 8, "w");
    pb_int(&t, 2, ONNX_FLOAT);
    pb_ints_packed(&t, 1, (int64_t[]){ 3 }, 1);
    pb_str(&t, 12, "doc");
    pb_str(&t, 99, "unknown");
    holds(t, QN_F32, f, sizeof f);
}

/* A weight has one digest, whatever form it was stored in and on which side of the inline limit it lies. */
static void the_digest_is_that_of_the_dense_bytes(void **state)
{
    (void)state;
    for (int64_t n = 16384 - 1; n <= 16384 + 1; n++) {
        float *f = malloc((size_t)n * sizeof *f);
        qn_tensor whole = { .dtype = QN_F32, .rank = 1, .dims = { n }, .data = f, .bytes = (size_t)n * sizeof *f };
        qn_weight *direct;
        qn_error err;

        assert_non_null(f);
        for (int64_t i = 0; i < n; i++) f[i] = (float)i;
        assert_int_equal(qn_weight_from_tensor(&whole, &direct, &err), QN_OK);
        for (int form = 0; form < 3; form++) {
            pb t = onnx_tensor("w", ONNX_FLOAT, &n, 1);
            qn_graph *g;
            qn_tensor got;

            if (form == 0) pb_bytes(&t, 9, f, whole.bytes);
            if (form == 1) pb_bytes(&t, 4, f, whole.bytes);
            if (form == 2) {
                for (int64_t i = 0; i < n; i++) pb_float(&t, 4, f[i]);
            }
            assert_int_equal(onnx_import(onnx_model(onnx_graph_of(t, "w")), &g, &err), QN_OK);
            assert_memory_equal(qn_weight_digest(onnx_find(g, "w")->weight), qn_weight_digest(direct), sizeof(qn_digest));
            free(dense(g, "w", &got));
            assert_int_equal(got.bytes, whole.bytes);
            qn_graph_destroy(g);
        }
        qn_weight_unref(direct);
        free(f);
    }
}

/* -- sparse --------------------------------------------------------------------------------------------------------------- */

static pb sparse(const float *v, int64_t n, const int64_t *index, const int64_t *index_dims, size_t index_rank, const int64_t *dims,
                 size_t rank)
{
    pb s = { 0 }, values = onnx_tensor("w", ONNX_FLOAT, &n, 1), indices = onnx_tensor(NULL, ONNX_INT64, index_dims, index_rank);
    size_t n_index = 1;

    for (size_t i = 0; i < index_rank; i++) n_index *= (size_t)index_dims[i];
    pb_bytes(&values, 9, v, (size_t)n * sizeof *v);
    pb_ints_packed(&indices, 7, index, n_index);
    pb_msg(&s, 1, values);
    pb_msg(&s, 2, indices);
    for (size_t i = 0; i < rank; i++) pb_int(&s, 3, dims[i]);
    return s;
}

static pb sparse_model(pb s)
{
    pb g = { 0 }, out = { 0 };

    pb_msg(&g, 15, s);
    pb_str(&out, 1, "w");
    pb_msg(&g, 12, out);
    return onnx_model(g);
}

static void sparse_initializers_are_dense_when_read(void **state)
{
    static const float v[] = { 1, 2, 3 }, want[] = { 0, 1, 0, 0, 0, 2, 3, 0 };
    static const int64_t linear[] = { 1, 5, 6 }, pairs[] = { 0, 1, 1, 1, 1, 2 }, dims[] = { 2, 4 };
    pb models[2];

    (void)state;
    models[0] = sparse_model(sparse(v, 3, linear, (int64_t[]){ 3 }, 1, dims, 2));
    models[1] = sparse_model(sparse(v, 3, pairs, (int64_t[]){ 3, 2 }, 2, dims, 2));
    for (int i = 0; i < 2; i++) {
        qn_graph *g;
        qn_error err;
        qn_tensor t;
        float *got;

        if (onnx_import(models[i], &g, &err)) fail_msg("%s", err.message);
        got = dense(g, "w", &t);
        assert_int_equal(t.rank, 2);
        assert_memory_equal(got, want, sizeof want);
        free(got);
        qn_graph_destroy(g);
    }
}

static void a_large_sparse_weight_is_made_as_it_is_read(void **state)
{
    static const float v[] = { 1, 2, 3, 4 };
    static const int64_t index[] = { 0, 99999, 100000, 16777215 }, dims[] = { 4096, 4096 };
    qn_graph *g;
    qn_error err;
    qn_weight *w;
    float got[3];

    (void)state;
    assert_int_equal(onnx_import(sparse_model(sparse(v, 4, index, (int64_t[]){ 4 }, 1, dims, 2)), &g, &err), QN_OK);
    w = onnx_find(g, "w")->weight;
    assert_int_equal(qn_weight_read(w, 99998, 3, got, &err), QN_OK);
    assert_true(got[0] == 0 && got[1] == 2 && got[2] == 3);
    assert_int_equal(qn_weight_read(w, 16777213, 3, got, &err), QN_OK);
    assert_true(got[0] == 0 && got[1] == 0 && got[2] == 4);
    assert_int_equal(qn_weight_read(w, 0, 2, got, &err), QN_OK);
    assert_true(got[0] == 1 && got[1] == 0);
    qn_graph_destroy(g);
}

static void sparse_tensors_that_lie_are_refused(void **state)
{
    static const float v[] = { 1, 2, 3 };
    static const int64_t dims[] = { 2, 4 }, three[] = { 3 }, pairs[] = { 3, 2 };
    static const struct {
        int64_t index[6];
        bool by_pair;
        const char *text;
    } cases[] = {
        { { 1, 5, 8 }, false, "outside" },
        { { -1, 5, 6 }, false, "outside" },
        { { 1, 1, 6 }, false, "ascending" },
        { { 5, 1, 6 }, false, "ascending" },
        { { 0, 0, 0, 4, 1, 0 }, true, "outside" },
        { { 0, 0, 2, 0, 2, 1 }, true, "outside" },
        { { 0, 0, 0, 0, 1, 0 }, true, "ascending" },
        { { 0, 1, 0, -1, 1, 0 }, true, "outside" },
        { { INT64_MIN, 0, 0, 0, 0, 0 }, true, "outside" },
        { { INT64_MAX, 1, 2 }, false, "outside" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        onnx_refuses(sparse_model(sparse(v, 3, cases[i].index, cases[i].by_pair ? pairs : three, cases[i].by_pair ? 2 : 1, dims, 2)),
                     QN_ERR_FORMAT, cases[i].text);
    onnx_refuses(sparse_model(sparse(v, 3, cases[0].index, (int64_t[]){ 2 }, 1, dims, 2)), QN_ERR_FORMAT, "shape [2]");
    onnx_refuses(sparse_model(sparse(v, 3, cases[4].index, (int64_t[]){ 2, 3 }, 2, dims, 2)), QN_ERR_FORMAT, "shape [2,3]");
    onnx_refuses(sparse_model(sparse(v, 3, (int64_t[]){ 0, 1, 2 }, three, 1, NULL, 0)), QN_ERR_FORMAT, "without dims");
    onnx_refuses(sparse_model(sparse(v, 3, (int64_t[]){ 0, 1, 2 }, three, 1, (int64_t[]){ 1ll << 40, 1ll << 40 }, 2)), QN_ERR_LIMIT, "w");
    onnx_refuses(sparse_model(sparse(v, 3, (int64_t[]){ 0, 1, 2 }, three, 1, (int64_t[]){ 1ll << 40 }, 1)), QN_ERR_LIMIT, "weight_bytes");
    onnx_refuses(sparse_model(sparse(v, 3, (int64_t[]){ 0, 1, 2 }, three, 1, (int64_t[]){ -8 }, 1)), QN_ERR_FORMAT, "expected 0 or more");
    onnx_refuses(sparse_model(sparse(v, 3, (int64_t[]){ 0, 1, 2 }, three, 1, (int64_t[]){ 0 }, 1)), QN_ERR_FORMAT, "outside");
}

static void weights_together_stay_within_their_limit(void **state)
{
    pb g = { 0 }, m;
    qn_limits limits = { .weight_bytes = 79 };
    qn_onnx_info info;
    qn_graph *graph;
    qn_error err;

    (void)state;
    pb_msg(&g, 5, onnx_ones("a", 10));
    pb_msg(&g, 5, onnx_ones("b", 10));
    m = onnx_model(g);
    assert_int_equal(onnx_import_at(&m, &limits, -1, &graph, NULL, &err), QN_ERR_LIMIT);
    assert_non_null(strstr(err.message, "'b'"));
    limits.weight_bytes = 80;
    assert_int_equal(onnx_import_at(&m, &limits, -1, &graph, &info, &err), QN_OK);
    assert_true(info.weight_bytes == 80 && info.n_params == 20 && info.n_weights == 2);
    qn_graph_destroy(graph);
    pb_free(&m);
}

/* -- tensors in files ----------------------------------------------------------------------------------------------------- */

/* A folder with one file of these bytes, which are freed. */
static int folder_with(char *root, pb m)
{
    int dir, fd;

    assert_non_null(mkdtemp(root));
    dir = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    fd = openat(dir, "input_0.pb", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, m.data, m.len), (ssize_t)m.len);
    close(fd);
    pb_free(&m);
    return dir;
}

static void remove_folder(const char *root, int dir)
{
    unlinkat(dir, "input_0.pb", 0);
    close(dir);
    rmdir(root);
}

static void a_tensor_file_is_read(void **state)
{
    char root[] = "/tmp/quern-test-tensor-XXXXXX", *name;
    const int dir = folder_with(root, onnx_ones("x", 3));
    qn_tensor got;
    qn_error err;

    (void)state;
    assert_int_equal(qn_onnx_read_tensor(dir, "input_0.pb", &got, &name, &err), QN_OK);
    assert_string_equal(name, "x");
    assert_true(got.dtype == QN_F32 && got.rank == 1 && got.dims[0] == 3 && ((float *)got.data)[2] == 1);
    free(name);
    qn_tensor_free(&got);
    assert_int_equal(qn_onnx_read_tensor(dir, "input_1.pb", &got, &name, &err), QN_ERR_NOT_FOUND);
    assert_null(name);
    remove_folder(root, dir);
}

/* A SequenceProto of n tensors, of 1, 2, ... elements. */
static pb sequence_of(const char *name, int n)
{
    pb s = { 0 };

    if (name) pb_str(&s, 1, name);
    pb_int(&s, 2, 1);
    for (int i = 0; i < n; i++) pb_msg(&s, 3, onnx_ones("", i + 1));
    return s;
}

/* named: what the file calls the value, NULL where it does not, or where it is refused. */
static qn_status read_items(pb m, qn_kind kind, const char *named, qn_items *got)
{
    static qn_meter meter = { .limit_bytes = 1 << 20 }; /* outlives the boxes */
    char root[] = "/tmp/quern-test-items-XXXXXX";
    const int dir = folder_with(root, m);
    qn_error err;
    char *name;
    qn_status st = qn_onnx_read_items(dir, "input_0.pb", kind, &meter, got, &name, &err);

    if (named)
        assert_string_equal(name, named);
    else
        assert_null(name);
    free(name);
    remove_folder(root, dir);
    return st;
}

static void sequences_and_optionals_are_read_from_files(void **state)
{
    qn_items got = { 0 };
    pb o = { 0 };

    (void)state;
    assert_int_equal(read_items(sequence_of("s", 11), QN_KIND_SEQUENCE, "s", &got), QN_OK);
    assert_true(got.present && got.n == 11 && got.box[10]->tensor.dims[0] == 11);
    qn_items_release(&got);
    assert_int_equal(read_items((pb){ 0 }, QN_KIND_SEQUENCE, NULL, &got), QN_OK);
    assert_true(got.present && got.n == 0);
    qn_items_release(&got);

    assert_int_equal(read_items((pb){ 0 }, QN_KIND_OPTIONAL, NULL, &got), QN_OK);
    assert_false(got.present);
    qn_items_release(&got);
    pb_str(&o, 1, "o");
    pb_int(&o, 2, 1);
    pb_msg(&o, 3, onnx_ones("", 5));
    assert_int_equal(read_items(o, QN_KIND_OPTIONAL, "o", &got), QN_OK);
    assert_true(got.present && got.n == 1 && got.box[0]->tensor.dims[0] == 5);
    qn_items_release(&got);
    o = (pb){ 0 };
    pb_msg(&o, 5, sequence_of(NULL, 0));
    assert_int_equal(read_items(o, QN_KIND_OPTIONAL, NULL, &got), QN_OK);
    assert_true(got.present && got.n == 0);
    qn_items_release(&got);
}

static void files_of_anything_else_are_refused(void **state)
{
    qn_items got = { 0 };
    pb o = { 0 };

    (void)state;
    pb_msg(&o, 5, sequence_of(NULL, 1));
    assert_int_equal(read_items(o, QN_KIND_SEQUENCE, NULL, &got), QN_ERR_UNSUPPORTED); /* a sequence of sequences */
    qn_items_release(&got);
    o = (pb){ 0 };
    pb_msg(&o, 5, sequence_of(NULL, 1));
    pb_msg(&o, 3, onnx_ones("", 1));
    assert_int_equal(read_items(o, QN_KIND_OPTIONAL, NULL, &got), QN_ERR_FORMAT);
    qn_items_release(&got);
    o = sequence_of("s", 2);
    pb_str(&o, 3, "no tensor");
    assert_int_equal(read_items(o, QN_KIND_SEQUENCE, NULL, &got), QN_ERR_FORMAT);
    qn_items_release(&got);
    o = sequence_of("s", 2);
    o.len -= 3; /* cut off */
    assert_int_equal(read_items(o, QN_KIND_SEQUENCE, NULL, &got), QN_ERR_FORMAT);
    qn_items_release(&got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw_data_of_every_dtype_is_kept_as_it_is),
        cmocka_unit_test(lists_of_numbers_are_read_packed_and_unpacked),
        cmocka_unit_test(lists_of_floats_are_read_in_one_chunk_in_many_and_unpacked),
        cmocka_unit_test(strings_keep_their_bytes_and_lengths),
        cmocka_unit_test(scalars_and_empty_tensors_are_read),
        cmocka_unit_test(numbers_outside_their_dtype_are_refused),
        cmocka_unit_test(a_list_of_the_wrong_length_or_in_the_wrong_field_is_refused),
        cmocka_unit_test(dims_that_overflow_or_are_negative_are_refused),
        cmocka_unit_test(two_4_bit_integers_share_a_byte_low_half_first),
        cmocka_unit_test(a_count_of_4_bit_integers_that_does_not_fit_is_refused),
        cmocka_unit_test(a_large_4_bit_weight_is_spread_as_it_is_read),
        cmocka_unit_test(dtypes_quern_does_not_have_are_named),
        cmocka_unit_test(a_tensor_in_segments_is_unsupported),
        cmocka_unit_test(fields_may_come_in_any_order),
        cmocka_unit_test(the_digest_is_that_of_the_dense_bytes),
        cmocka_unit_test(sparse_initializers_are_dense_when_read),
        cmocka_unit_test(a_large_sparse_weight_is_made_as_it_is_read),
        cmocka_unit_test(sparse_tensors_that_lie_are_refused),
        cmocka_unit_test(weights_together_stay_within_their_limit),
        cmocka_unit_test(a_tensor_file_is_read),
        cmocka_unit_test(sequences_and_optionals_are_read_from_files),
        cmocka_unit_test(files_of_anything_else_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
