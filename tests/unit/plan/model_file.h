/* tests/unit/plan/model_file.h - a small ONNX model described call by call, written to a file of its own and loaded.
 *
 *   mf m = { 0 };
 *   mf_in(&m, "x", ONNX_FLOAT, 2, (int64_t[]){ -1, 4 });      (-1 is the dimension "N")
 *   mf_f32(&m, "w", 1, (int64_t[]){ 4 }, w);
 *   mf_node(&m, "Add", "x,w", "y");
 *   mf_out(&m, "y");
 *   model = mf_load(&m, NULL);                                 (asserts)
 *
 * A body is another mf; mf_body() after mf_node() makes it an attribute of that node:
 *
 *   mf body = { 0 };
 *   mf_arg(&body, "i");  mf_arg(&body, "go");  mf_arg(&body, "a");
 *   mf_node(&body, "Identity", "go", "on");  mf_node(&body, "Add", "a,x", "b");      (x is captured)
 *   mf_out(&body, "on");  mf_out(&body, "b");
 *   mf_node(&m, "Loop", "n,,x", "y");  mf_body(&m, "body", &body); */
#ifndef QUERN_TESTS_MODEL_FILE_H
#define QUERN_TESTS_MODEL_FILE_H

#include "quern/model.h"
#include "tests/unit/onnx/pb_build.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

typedef struct mf {
    pb inputs, outputs, weights, nodes; /* fields of a GraphProto, in the order they are written */
    pb node;                            /* the last one, attributes may follow */
    pb functions;                       /* fields of the ModelProto */
    bool is_function;                   /* nodes are of a FunctionProto: see mf_function() */
    int ir_version;                     /* 0: 8 */
    int opset;                          /* 0: 17 */
    const char *domain;                 /* a second one, of opset 1, or NULL */
} mf;

static inline void mf_flush(mf *m)
{
    if (m->node.len) pb_msg(&m->nodes, m->is_function ? 7 : 1, m->node);
    m->node = (pb){ 0 };
}

static inline void mf_in(mf *m, const char *name, int type, size_t rank, const int64_t *dims)
{
    pb_msg(&m->inputs, 11, onnx_value(name, type, dims, rank));
}

static inline void mf_out(mf *m, const char *name)
{
    pb v = { 0 };

    pb_str(&v, 1, name);
    pb_msg(&m->outputs, 12, v);
}

static inline void mf_raw_weight(mf *m, const char *name, int type, size_t rank, const int64_t *dims, const void *data, size_t bytes)
{
    pb t = onnx_tensor(name, type, dims, rank);

    pb_bytes(&t, 9, data, bytes);
    pb_msg(&m->weights, 5, t);
}

static inline void mf_f32(mf *m, const char *name, size_t rank, const int64_t *dims, const float *data)
{
    size_t n = 1;

    for (size_t d = 0; d < rank; d++) n *= (size_t)dims[d];
    mf_raw_weight(m, name, ONNX_FLOAT, rank, dims, data, n * sizeof *data);
}

static inline void mf_i64(mf *m, const char *name, int64_t n, const int64_t *data)
{
    mf_raw_weight(m, name, ONNX_INT64, 1, &n, data, (size_t)n * sizeof *data);
}

static inline void mf_node(mf *m, const char *op, const char *in, const char *out)
{
    mf_flush(m);
    m->node = onnx_node(op, in, out);
}

static inline void mf_attr_int(mf *m, const char *name, int64_t v)
{
    pb a = onnx_attr(name, 2);

    pb_int(&a, 3, v);
    pb_msg(&m->node, 5, a);
}

static inline void mf_attr_ints(mf *m, const char *name, size_t n, const int64_t *v)
{
    pb a = onnx_attr(name, 7);

    for (size_t i = 0; i < n; i++) pb_int(&a, 8, v[i]);
    pb_msg(&m->node, 5, a);
}

static inline void mf_attr_float(mf *m, const char *name, float v)
{
    pb a = onnx_attr(name, 1);

    pb_float(&a, 2, v);
    pb_msg(&m->node, 5, a);
}

/* An input of a body: its type is what the node around it gives. */
static inline void mf_arg(mf *m, const char *name)
{
    pb v = { 0 };

    pb_str(&v, 1, name);
    pb_msg(&m->inputs, 11, v);
}

/* The GraphProto of all that was said, which is forgotten. */
static inline pb mf_graph(mf *m, const char *name)
{
    pb graph = { 0 };

    mf_flush(m);
    pb_str(&graph, 2, name);
    pb_raw(&graph, m->nodes.data, m->nodes.len);
    pb_raw(&graph, m->weights.data, m->weights.len);
    pb_raw(&graph, m->inputs.data, m->inputs.len);
    pb_raw(&graph, m->outputs.data, m->outputs.len);
    pb_free(&m->inputs);
    pb_free(&m->outputs);
    pb_free(&m->weights);
    pb_free(&m->nodes);
    return graph;
}

/* A graph attribute of the last node; the body is forgotten. */
static inline void mf_body(mf *m, const char *name, mf *body)
{
    pb a = onnx_attr(name, 5);

    pb_msg(&a, 6, mf_graph(body, name));
    pb_msg(&m->node, 5, a);
}

/* A model-local function of domain m->domain, which is forgotten; `in` and `out` as in mf_node(). A node that calls it: mf_call(). */
static inline void mf_function(mf *m, const char *name, const char *in, const char *out, mf *fn)
{
    pb f = { 0 }, opset = { 0 };

    assert_true(fn->is_function);
    mf_flush(fn);
    pb_str(&f, 1, name);
    onnx_names(&f, 4, in);
    onnx_names(&f, 5, out);
    pb_raw(&f, fn->nodes.data, fn->nodes.len);
    pb_int(&opset, 2, fn->opset ? fn->opset : 17);
    pb_msg(&f, 9, opset);
    pb_str(&f, 10, m->domain);
    pb_msg(&m->functions, 25, f);
    pb_free(&fn->nodes);
}

static inline void mf_call(mf *m, const char *domain, const char *name, const char *in, const char *out)
{
    mf_node(m, name, in, out);
    pb_str(&m->node, 7, domain);
}

static inline pb mf_bytes(mf *m)
{
    pb graph = mf_graph(m, "test"), model = { 0 }, opset = { 0 };

    pb_int(&model, 1, m->ir_version ? m->ir_version : 8);
    pb_int(&opset, 2, m->opset ? m->opset : 17);
    pb_msg(&model, 8, opset);
    if (m->domain) {
        opset = (pb){ 0 };
        pb_str(&opset, 1, m->domain);
        pb_int(&opset, 2, 1);
        pb_msg(&model, 8, opset);
    }
    pb_msg(&model, 7, graph);
    pb_raw(&model, m->functions.data, m->functions.len);
    pb_free(&m->functions);
    return model;
}

/* Write the model to a file that is gone again when this returns. */
static inline qn_status mf_try(mf *m, const qn_model_options *options, qn_model **out, qn_error *err)
{
    qn_model_options o = { .cpu = qn_cpu_detect() };
    char path[] = "/tmp/quern-plan-XXXXXX";
    pb bytes = mf_bytes(m);
    int fd = mkstemp(path);
    qn_status st;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes.data, bytes.len), (ssize_t)bytes.len);
    close(fd);
    pb_free(&bytes);
    st = qn_model_load(AT_FDCWD, path, options ? options : &o, out, err);
    unlink(path);
    return st;
}

static inline qn_model *mf_load(mf *m, const qn_model_options *options)
{
    qn_model *model = NULL;
    qn_error err = { 0 };

    if (mf_try(m, options, &model, &err) != QN_OK) fail_msg("load: %s", err.message);
    return model;
}

static inline qn_tensor tensor_of(qn_dtype dtype, int32_t rank, const int64_t *dims, const void *data)
{
    qn_tensor t = { .dtype = dtype, .rank = rank, .data = (void *)(uintptr_t)data };

    for (int32_t d = 0; d < rank; d++) t.dims[d] = dims[d];
    assert_int_equal(qn_shape_bytes(dtype, rank, t.dims, &t.bytes, NULL), QN_OK);
    return t;
}

#define F32(data, ...) tensor_of(QN_F32, (int32_t)(sizeof((int64_t[]){ __VA_ARGS__ }) / 8), (int64_t[]){ __VA_ARGS__ }, data)
#define I64(data, ...) tensor_of(QN_I64, (int32_t)(sizeof((int64_t[]){ __VA_ARGS__ }) / 8), (int64_t[]){ __VA_ARGS__ }, data)

static inline void run_ok(qn_session *s, const qn_tensor *in, qn_tensor *out)
{
    qn_error err = { 0 };

    if (qn_session_run(s, in, out, NULL, &err) != QN_OK) fail_msg("run: %s", err.message);
}

static inline qn_session *session_ok(qn_model *m)
{
    qn_session *s = NULL;
    qn_error err = { 0 };

    if (qn_session_create(m, NULL, &s, &err) != QN_OK) fail_msg("session: %s", err.message);
    return s;
}

#endif
