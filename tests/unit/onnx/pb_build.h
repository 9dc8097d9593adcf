/* tests/unit/onnx/pb_build.h - protobuf bytes written by hand, so that a test can also write what no serializer would.
 * pb_* append one field; a message is built in a pb of its own and appended with pb_msg(), which takes it over. Out of memory ends the test. */
#ifndef QUERN_TEST_PB_BUILD_H
#define QUERN_TEST_PB_BUILD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/graph/graph.h"
#include "core/graph/weight.h"
#include "core/onnx/import.h"

typedef struct pb {
    unsigned char *data;
    size_t len, cap;
} pb;

static inline void pb_raw(pb *m, const void *data, size_t n)
{
    if (m->len + n > m->cap) {
        m->cap = (m->len + n) * 2 + 64;
        m->data = realloc(m->data, m->cap);
        if (!m->data) abort();
    }
    if (n) memcpy(m->data + m->len, data, n);
    m->len += n;
}

static inline void pb_number(pb *m, uint64_t v)
{
    do {
        unsigned char b = (unsigned char)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));

        pb_raw(m, &b, 1);
        v >>= 7;
    } while (v);
}

static inline void pb_tag(pb *m, uint32_t field, unsigned wire) { pb_number(m, (uint64_t)field << 3 | wire); }

static inline void pb_int(pb *m, uint32_t field, int64_t v)
{
    pb_tag(m, field, 0);
    pb_number(m, (uint64_t)v);
}

static inline void pb_float(pb *m, uint32_t field, float v)
{
    pb_tag(m, field, 5);
    pb_raw(m, &v, sizeof v);
}

static inline void pb_double(pb *m, uint32_t field, double v)
{
    pb_tag(m, field, 1);
    pb_raw(m, &v, sizeof v);
}

static inline void pb_bytes(pb *m, uint32_t field, const void *data, size_t n)
{
    pb_tag(m, field, 2);
    pb_number(m, n);
    pb_raw(m, data, n);
}

static inline void pb_str(pb *m, uint32_t field, const char *s) { pb_bytes(m, field, s, strlen(s)); }

static inline void pb_free(pb *m)
{
    free(m->data);
    *m = (pb){ 0 };
}

static inline void pb_msg(pb *m, uint32_t field, pb inner)
{
    pb_bytes(m, field, inner.data, inner.len);
    pb_free(&inner);
}

static inline void pb_ints_packed(pb *m, uint32_t field, const int64_t *v, size_t n)
{
    pb list = { 0 };

    for (size_t i = 0; i < n; i++) pb_number(&list, (uint64_t)v[i]);
    pb_msg(m, field, list);
}

/* -- ONNX ----------------------------------------------------------------------------------------------------------------- */

enum {
    ONNX_FLOAT = 1,
    ONNX_UINT8,
    ONNX_INT8,
    ONNX_UINT16,
    ONNX_INT16,
    ONNX_INT32,
    ONNX_INT64,
    ONNX_STRING,
    ONNX_BOOL,
    ONNX_FLOAT16,
    ONNX_DOUBLE,
    ONNX_UINT32,
    ONNX_UINT64,
    ONNX_COMPLEX64,
    ONNX_COMPLEX128,
    ONNX_BFLOAT16,
    ONNX_UINT4 = 21,
    ONNX_INT4
};

/* TensorProto with dims, data_type and name; the caller adds data. */
static inline pb onnx_tensor(const char *name, int data_type, const int64_t *dims, size_t rank)
{
    pb t = { 0 };

    for (size_t i = 0; i < rank; i++) pb_int(&t, 1, dims[i]);
    pb_int(&t, 2, data_type);
    if (name) pb_str(&t, 8, name);
    return t;
}

/* f32 [n] of value 1, raw. */
static inline pb onnx_ones(const char *name, int64_t n)
{
    pb t = onnx_tensor(name, ONNX_FLOAT, &n, 1), raw = { 0 };
    const float one = 1;

    for (int64_t i = 0; i < n; i++) pb_raw(&raw, &one, sizeof one);
    pb_msg(&t, 9, raw);
    return t;
}

/* ValueInfoProto of a tensor; a dim of -1 is dim_param "N", one of -2 says nothing. */
static inline pb onnx_value(const char *name, int data_type, const int64_t *dims, size_t rank)
{
    pb v = { 0 }, type = { 0 }, tensor = { 0 }, shape = { 0 };

    for (size_t i = 0; i < rank; i++) {
        pb dim = { 0 };

        if (dims[i] == -1)
            pb_str(&dim, 2, "N");
        else if (dims[i] != -2)
            pb_int(&dim, 1, dims[i]);
        pb_msg(&shape, 1, dim);
    }
    pb_int(&tensor, 1, data_type);
    pb_msg(&tensor, 2, shape);
    pb_msg(&type, 1, tensor);
    pb_str(&v, 1, name);
    pb_msg(&v, 2, type);
    return v;
}

/* The names of an "a,b" list, each as one field; NULL is an empty list. */
static inline void onnx_names(pb *p, uint32_t field, const char *list)
{
    while (list && *list) {
        size_t len = strcspn(list, ",");

        pb_bytes(p, field, list, len);
        list += len + (list[len] == ',');
    }
}

/* NodeProto; in and out are "a,b" lists. The caller adds attributes (field 5). */
static inline pb onnx_node(const char *op, const char *in, const char *out)
{
    pb n = { 0 };

    onnx_names(&n, 1, in);
    onnx_names(&n, 2, out);
    pb_str(&n, 4, op);
    return n;
}

static inline pb onnx_attr(const char *name, int type)
{
    pb a = { 0 };

    pb_str(&a, 1, name);
    if (type) pb_int(&a, 20, type);
    return a;
}

/* ModelProto around a GraphProto, which it takes over; the graph comes last, so that every cut is an error. */
static inline pb onnx_model(pb graph)
{
    pb m = { 0 }, opset = { 0 };

    pb_int(&m, 1, 8);
    pb_str(&m, 2, "test");
    pb_int(&opset, 2, 17);
    pb_msg(&m, 8, opset);
    pb_msg(&m, 7, graph);
    return m;
}

/* Import, with nothing left over on failure. dir_fd -1: no folder. */
static inline qn_status onnx_import_at(const pb *m, const qn_limits *limits, int dir_fd, qn_graph **g, qn_onnx_info *info, qn_error *err)
{
    qn_source *src;
    qn_status st;

    *err = (qn_error){ 0 };
    assert_int_equal(qn_file_from_memory(m->data, m->len, &src, err), QN_OK);
    st = qn_onnx_import(src, m->len, NULL, limits, dir_fd, g, info, err);
    src->unref(src);
    if (st) {
        assert_null(*g);
        assert_int_equal(err->status, st);
        assert_true(err->message[0] != 0);
    }
    return st;
}

static inline qn_status onnx_import(pb m, qn_graph **g, qn_error *err)
{
    qn_status st = onnx_import_at(&m, NULL, -1, g, NULL, err);

    pb_free(&m);
    return st;
}

/* Import fails with `want`, and the message says `text`. */
static inline void onnx_refuses(pb m, qn_status want, const char *text)
{
    qn_graph *g;
    qn_error err;
    qn_status st = onnx_import(m, &g, &err);

    if (st != want || !strstr(err.message, text)) print_error("got %d '%s', expected %d '%s'\n", st, err.message, want, text);
    if (!st) qn_graph_destroy(g);
    assert_int_equal(st, want);
    assert_non_null(strstr(err.message, text));
}

static inline qn_value *onnx_find(qn_graph *g, const char *name)
{
    qn_value_id v = qn_map_get(&g->by_name, name);

    assert_true(v >= 0);
    return &g->values[v];
}

/* Graph with one initializer that is also the output. */
static inline pb onnx_graph_of(pb tensor, const char *name)
{
    pb g = { 0 }, out = { 0 };

    pb_msg(&g, 5, tensor);
    pb_str(&out, 1, name);
    pb_msg(&g, 12, out);
    return g;
}

#endif
