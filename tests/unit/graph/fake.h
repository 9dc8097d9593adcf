/* tests/unit/graph/fake.h - a few op rows and a short way to write a graph, so that these tests need no core/ops.
 * Rows compute f32 and i64 where folding needs it; the others only infer. */
#ifndef QUERN_TESTS_GRAPH_FAKE_H
#define QUERN_TESTS_GRAPH_FAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/graph/infer.h"
#include "core/graph/op.h"
#include "core/graph/passes/passes.h"
#include "core/graph/rows.h"
#include "core/graph/weight.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- rows ----------------------------------------------------------------------------------------------------------------- */

static inline qn_status same_infer(qn_infer *c, qn_error *err)
{
    (void)err;
    c->out[0] = c->in[0];
    if (c->in_known[0]) {
        c->out_known[0] = qn_infer_known(c, c->in_known[0]->rank ? c->in_known[0]->n : -1);
        for (int32_t i = 0; i < c->in_known[0]->n; i++) c->out_known[0]->elems[i] = c->in_known[0]->elems[i];
    }
    return QN_OK;
}

static inline qn_status binary_infer(qn_infer *c, qn_error *err)
{
    if (c->in[0].dtype != c->in[1].dtype) return qn_error_set(err, QN_ERR_DTYPE, "dtypes differ");
    c->out[0].dtype = c->in[0].dtype;
    return qn_infer_broadcast(c, &c->in[0], &c->in[1], &c->out[0], err);
}

static inline qn_status shape_infer(qn_infer *c, qn_error *err)
{
    (void)err;
    c->out[0].dtype = QN_I64;
    c->out[0].rank = 1;
    c->out[0].dims[0] = c->in[0].rank < 0 ? QN_DIM_UNKNOWN : qn_dims_const(c->dims, c->in[0].rank);
    if (c->in[0].rank < 0) return QN_OK;
    c->out_known[0] = qn_infer_known(c, c->in[0].rank);
    for (int32_t i = 0; i < c->in[0].rank; i++) c->out_known[0]->elems[i] = c->in[0].dims[i];
    return QN_OK;
}

static inline qn_status reshape_infer(qn_infer *c, qn_error *err)
{
    int32_t n, wild = -1;
    const qn_dim *d = qn_infer_ints(c, 1, &n);
    qn_dim in = qn_dims_const(c->dims, 1), out = in;
    int64_t v;

    c->out[0].dtype = c->in[0].dtype;
    if (!d) return QN_OK;
    if (n > QN_MAX_RANK) return qn_error_set(err, QN_ERR_SHAPE, "rank %d", n);
    for (int32_t i = 0; i < c->in[0].rank; i++) in = qn_dims_mul(c->dims, in, c->in[0].dims[i]);
    for (int32_t i = 0; i < n; i++) {
        c->out[0].dims[i] = d[i];
        if (qn_dims_value(c->dims, d[i], &v) && v == 0) c->out[0].dims[i] = c->in[0].dims[i];
        if (qn_dims_value(c->dims, d[i], &v) && v == -1)
            wild = i;
        else
            out = qn_dims_mul(c->dims, out, c->out[0].dims[i]);
    }
    if (wild >= 0) c->out[0].dims[wild] = qn_dims_floordiv(c->dims, in, out);
    c->out[0].rank = n;
    return QN_OK;
}

static inline qn_status flatten_infer(qn_infer *c, qn_error *err)
{
    int64_t axis = qn_node_int(c->node, "axis", 1);
    qn_dim one = qn_dims_const(c->dims, 1);

    (void)err;
    c->out[0].dtype = c->in[0].dtype;
    c->out[0].rank = 2;
    c->out[0].dims[0] = c->out[0].dims[1] = one;
    for (int32_t i = 0; i < c->in[0].rank; i++)
        c->out[0].dims[i >= axis] = qn_dims_mul(c->dims, c->out[0].dims[i >= axis], c->in[0].dims[i]);
    return QN_OK;
}

/* Reduces the last axis, whatever it is told; enough for patterns. */
static inline qn_status reduce_infer(qn_infer *c, qn_error *err)
{
    (void)err;
    c->out[0] = c->in[0];
    if (c->in[0].rank > 0) c->out[0].dims[c->in[0].rank - 1] = qn_dims_const(c->dims, 1);
    return QN_OK;
}

static inline qn_status matmul_infer(qn_infer *c, qn_error *err)
{
    bool trans = qn_node_int(c->node, "transB", 0) != 0;

    if (c->in[0].rank < 2 || c->in[1].rank < 2) return qn_error_set(err, QN_ERR_SHAPE, "ranks");
    if (c->in[0].rank > 2 && strcmp(c->node->op_type, "MatMul") != 0) return qn_error_set(err, QN_ERR_SHAPE, "A is no matrix");
    c->out[0] = c->in[0];
    c->out[0].dims[c->in[0].rank - 1] = c->in[1].dims[trans ? 0 : c->in[1].rank - 1];
    return QN_OK;
}

static inline qn_status conv_infer(qn_infer *c, qn_error *err)
{
    if (c->in[0].dtype != QN_F32 || c->in[1].dtype != QN_F32) return qn_error_set(err, QN_ERR_DTYPE, "Conv takes f32");
    if (c->in[0].rank != 4 || c->in[1].rank != 4) return qn_error_set(err, QN_ERR_SHAPE, "ranks");
    c->out[0] = c->in[0];
    c->out[0].dims[1] = c->in[1].dims[0];
    return QN_OK;
}

/* (x, scale, zero) -> integers of zero's dtype */
static inline qn_status quantize_infer(qn_infer *c, qn_error *err)
{
    (void)err;
    c->out[0] = c->in[0];
    c->out[0].dtype = qn_infer_has(c, 2) ? c->in[2].dtype : QN_U8;
    return QN_OK;
}

static inline qn_status dequantize_infer(qn_infer *c, qn_error *err)
{
    (void)err;
    c->out[0] = c->in[0];
    c->out[0].dtype = QN_F32;
    return QN_OK;
}

/* (x, sx, zx, w, sw, zw, [sy, zy | c, sy, zy]) */
static inline qn_status qproduct_infer(qn_infer *c, qn_error *err)
{
    bool conv = strcmp(c->node->op_type, "QLinearConv") == 0, gemm = strcmp(c->node->op_type, "QGemm") == 0;
    int32_t zy = gemm ? 8 : 7;

    if (gemm && c->in[0].rank != 2) return qn_error_set(err, QN_ERR_SHAPE, "A is no matrix");
    c->out[0] = c->in[0];
    c->out[0].dtype = qn_infer_has(c, zy) ? c->in[zy].dtype : QN_F32;
    if (conv)
        c->out[0].dims[1] = c->in[3].dims[0];
    else
        c->out[0].dims[c->in[0].rank - 1] = c->in[3].dims[gemm && qn_node_int(c->node, "transB", 0) ? 0 : 1];
    return QN_OK;
}

/* Exchanges the first two axes. */
static inline qn_status swap_infer(qn_infer *c, qn_error *err)
{
    (void)err;
    c->out[0] = c->in[0];
    c->out[0].dims[0] = c->in[0].dims[1];
    c->out[0].dims[1] = c->in[0].dims[0];
    return QN_OK;
}

static inline void swap_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    (void)c;
    out_axis[0] = in_axis[0] < 2 ? 1 - in_axis[0] : in_axis[0];
}

static inline qn_status qtofloat_infer(qn_infer *c, qn_error *err)
{
    (void)err;
    c->out[0] = c->in[0];
    c->out[0].dtype = QN_F32;
    c->out[0].dims[c->in[0].rank - 1] = c->in[1].dims[c->in[1].rank - 1];
    return QN_OK;
}

static inline qn_status expand_infer(qn_infer *c, qn_error *err)
{
    int32_t n;
    const qn_dim *d = qn_infer_ints(c, 1, &n);

    (void)err;
    c->out[0].dtype = c->in[0].dtype;
    if (!d) return QN_OK;
    c->out[0].rank = n;
    for (int32_t i = 0; i < n; i++) c->out[0].dims[i] = d[i];
    return QN_OK;
}

/* Enough of Slice and Concat for shape arithmetic: the first in[2] of in[0]; two known vectors. */
static inline qn_status slice_infer(qn_infer *c, qn_error *err)
{
    int64_t end;
    int32_t n;

    (void)err;
    c->out[0] = c->in[0];
    if (!c->in_known[0] || !qn_infer_numbers(c, 2, &end, 1, &n)) return QN_OK;
    c->out[0].dims[0] = qn_dims_const(c->dims, end);
    c->out_known[0] = qn_infer_known(c, (int32_t)end);
    for (int32_t i = 0; i < end; i++) c->out_known[0]->elems[i] = c->in_known[0]->elems[i];
    return QN_OK;
}

static inline qn_status concat_infer(qn_infer *c, qn_error *err)
{
    int32_t na, nb;
    const qn_dim *a = qn_infer_ints(c, 0, &na), *b = qn_infer_ints(c, 1, &nb);

    (void)err;
    c->out[0] = c->in[0];
    c->out[0].dims[0] = qn_dims_add(c->dims, c->in[0].dims[0], c->in[1].dims[0]);
    if (!a || !b) return QN_OK;
    c->out_known[0] = qn_infer_known(c, na + nb);
    for (int32_t i = 0; i < na + nb; i++) c->out_known[0]->elems[i] = i < na ? a[i] : b[i - na];
    return QN_OK;
}

static inline qn_status cast_infer(qn_infer *c, qn_error *err)
{
    const int64_t to = qn_node_int(c->node, "to", 1); /* in ONNX's numbering */

    (void)err;
    c->out[0] = c->in[0];
    c->out[0].dtype = to == 1 ? QN_F32 : to == 10 ? QN_F16 : to == 16 ? QN_BF16 : QN_I64;
    return QN_OK;
}

/* What BatchNormalization, LayerNormalization and Softmax have in common. */
static inline qn_status first_infer(qn_infer *c, qn_error *err)
{
    (void)err;
    c->out[0] = c->in[0];
    return QN_OK;
}

/* Trailing axes only. */
static inline qn_status unsqueeze_infer(qn_infer *c, qn_error *err)
{
    int32_t n;

    c->out[0] = c->in[0];
    if (!qn_infer_ints(c, 1, &n) || c->in[0].rank + n > QN_MAX_RANK) return qn_error_set(err, QN_ERR_SHAPE, "axes");
    for (int32_t i = 0; i < n; i++) c->out[0].dims[c->out[0].rank++] = qn_dims_const(c->dims, 1);
    return QN_OK;
}

static inline qn_status unknown_infer(qn_infer *c, qn_error *err)
{
    (void)err;
    c->out[0].dtype = QN_I64;
    c->out[0].rank = 1;
    c->out[0].dims[0] = QN_DIM_UNKNOWN;
    return QN_OK;
}

static inline qn_status add_run(qn_run *r, qn_error *err)
{
    int64_t n = qn_tensor_count(&r->out[0]), na = qn_tensor_count(&r->in[0]), nb = qn_tensor_count(&r->in[1]);

    (void)err;
    for (int64_t i = 0; i < n; i++) {
        if (r->out[0].dtype == QN_F32)
            ((float *)r->out[0].data)[i] = ((float *)r->in[0].data)[i % na] + ((float *)r->in[1].data)[i % nb];
        else
            ((int64_t *)r->out[0].data)[i] = ((int64_t *)r->in[0].data)[i % na] + ((int64_t *)r->in[1].data)[i % nb];
    }
    return QN_OK;
}

static inline qn_status copy_run(qn_run *r, qn_error *err)
{
    (void)err;
    memcpy(r->out[0].data, r->in[0].data, r->out[0].bytes);
    return QN_OK;
}

#define FAKE(id, dom, op_name, from, lo, hi, infer_fn, ...)                                                                                \
    static const qn_op fake_##id = { .domain = dom,                                                                                        \
                                     .name = op_name,                                                                                      \
                                     .since = from,                                                                                        \
                                     .min_in = lo,                                                                                         \
                                     .max_in = hi,                                                                                         \
                                     .min_out = 1,                                                                                         \
                                     .max_out = 2,                                                                                         \
                                     .infer = infer_fn,                                                                                    \
                                     __VA_ARGS__ };

FAKE(identity, "", "Identity", 1, 1, 1, same_infer, .rows = qn_rows_elementwise)
FAKE(relu, "", "Relu", 1, 1, 1, first_infer, .rows = qn_rows_elementwise)
FAKE(erf, "", "Erf", 9, 1, 1, first_infer, .rows = qn_rows_elementwise)
FAKE(sqrt, "", "Sqrt", 6, 1, 1, first_infer, .rows = qn_rows_elementwise)
FAKE(clip, "", "Clip", 11, 1, 3, first_infer, .rows = qn_rows_elementwise)
FAKE(dropout, "", "Dropout", 12, 1, 3, first_infer, .rows = qn_rows_elementwise)
FAKE(add, "", "Add", 7, 2, 2, binary_infer, .rows = qn_rows_elementwise, .run = add_run)
FAKE(sub, "", "Sub", 7, 2, 2, binary_infer, .rows = qn_rows_elementwise)
FAKE(mul, "", "Mul", 7, 2, 2, binary_infer, .rows = qn_rows_elementwise)
FAKE(div, "", "Div", 7, 2, 2, binary_infer, .rows = qn_rows_elementwise)
FAKE(pow, "", "Pow", 7, 2, 2, binary_infer, .rows = qn_rows_elementwise)
FAKE(shape, "", "Shape", 1, 1, 1, shape_infer, .rows = NULL)
FAKE(reshape, "", "Reshape", 5, 2, 2, reshape_infer, .flags = QN_OP_VIEW)
FAKE(flatten, "", "Flatten", 1, 1, 1, flatten_infer, .flags = QN_OP_VIEW)
FAKE(unsqueeze, "", "Unsqueeze", 13, 2, 2, unsqueeze_infer, .rows = NULL)
FAKE(reduce_mean, "", "ReduceMean", 18, 1, 2, reduce_infer, .rows = NULL)
FAKE(reduce_sum, "", "ReduceSum", 13, 1, 2, reduce_infer, .rows = NULL)
FAKE(softmax, "", "Softmax", 13, 1, 1, first_infer, .rows = qn_rows_along_axis)
FAKE(layernorm, "", "LayerNormalization", 17, 2, 3, first_infer, .rows = qn_rows_along_axis)
FAKE(gelu, "", "Gelu", 20, 1, 1, first_infer, .rows = qn_rows_elementwise)
FAKE(batchnorm, "", "BatchNormalization", 14, 5, 5, first_infer, .rows = qn_rows_leading)
FAKE(matmul, "", "MatMul", 1, 2, 2, matmul_infer, .rows = qn_rows_leading)
FAKE(gemm, "", "Gemm", 7, 2, 3, matmul_infer, .rows = qn_rows_leading)
FAKE(conv, "", "Conv", 1, 2, 3, conv_infer, .rows = qn_rows_leading)
FAKE(expand, "", "Expand", 8, 2, 2, expand_infer, .rows = NULL)
FAKE(slice, "", "Slice", 13, 3, 5, slice_infer, .rows = NULL)
FAKE(concat, "", "Concat", 13, 2, 2, concat_infer, .rows = NULL)
FAKE(transpose, "", "Transpose", 13, 1, 1, swap_infer, .rows = swap_rows)
FAKE(cast, "", "Cast", 6, 1, 1, cast_infer, .rows = qn_rows_elementwise, .run = copy_run)
FAKE(nonzero, "", "NonZero", 9, 1, 1, unknown_infer, .rows = NULL)
FAKE(random, "", "RandomNormalLike", 1, 1, 1, first_infer, .flags = QN_OP_RANDOM, .run = copy_run)
FAKE(quantize, "", "QuantizeLinear", 10, 2, 3, quantize_infer, .rows = qn_rows_leading)
FAKE(dequantize, "", "DequantizeLinear", 10, 2, 3, dequantize_infer, .rows = qn_rows_leading)
FAKE(maxpool, "", "MaxPool", 1, 1, 1, first_infer, .rows = qn_rows_leading)
FAKE(qlinearconv, "", "QLinearConv", 10, 8, 9, qproduct_infer, .rows = qn_rows_leading)
FAKE(qlinearmatmul, "", "QLinearMatMul", 10, 8, 8, qproduct_infer, .rows = qn_rows_leading)
FAKE(qgemm, "com.microsoft", "QGemm", 1, 6, 9, qproduct_infer, .rows = qn_rows_leading)
FAKE(qtofloat, "com.microsoft", "MatMulIntegerToFloat", 1, 4, 7, qtofloat_infer, .rows = qn_rows_leading)
FAKE(fusedconv, "quern", "FusedConv", 1, 2, 4, conv_infer, .rows = qn_rows_leading)
FAKE(fusedgemm, "quern", "FusedGemm", 1, 2, 3, matmul_infer, .rows = qn_rows_leading)

static const qn_op *const fake_rows[] = { &fake_identity,    &fake_relu,        &fake_erf,           &fake_sqrt,      &fake_clip,
                                          &fake_dropout,     &fake_add,         &fake_sub,           &fake_mul,       &fake_div,
                                          &fake_pow,         &fake_shape,       &fake_reshape,       &fake_flatten,   &fake_unsqueeze,
                                          &fake_reduce_mean, &fake_reduce_sum,  &fake_softmax,       &fake_layernorm, &fake_gelu,
                                          &fake_batchnorm,   &fake_matmul,      &fake_gemm,          &fake_conv,      &fake_expand,
                                          &fake_cast,        &fake_nonzero,     &fake_random,        &fake_quantize,  &fake_dequantize,
                                          &fake_maxpool,     &fake_qlinearconv, &fake_qlinearmatmul, &fake_qgemm,     &fake_qtofloat,
                                          &fake_fusedconv,   &fake_fusedgemm,   &fake_slice,         &fake_concat,    &fake_transpose };
static const qn_op_table fake_ops = { fake_rows, (int32_t)(sizeof fake_rows / sizeof fake_rows[0]) };

/* -- writing a graph ------------------------------------------------------------------------------------------------------ */

static inline qn_graph *new_graph(void)
{
    qn_graph *g;

    assert_int_equal(qn_graph_create(&fake_ops, NULL, "test", &g, NULL), QN_OK);
    return g;
}

/* The value of that name, made if there is none. "" is QN_NONE. */
static inline qn_value_id val(qn_graph *g, const char *name)
{
    qn_value_id v;

    if (!*name) return QN_NONE;
    v = qn_map_get(&g->by_name, name);
    if (v < 0) assert_int_equal(qn_graph_add_value(g, name, &v, NULL), QN_OK);
    return v;
}

/* dims: "N,3,?,224" or "" for a scalar */
static inline void set_type(qn_graph *g, qn_value_id v, qn_dtype dtype, const char *dims)
{
    qn_type *t = &g->values[v].type;
    char buf[128], *save = NULL;

    t->dtype = dtype;
    t->rank = 0;
    snprintf(buf, sizeof buf, "%s", dims);
    for (char *d = strtok_r(buf, ",", &save); d; d = strtok_r(NULL, ",", &save)) {
        if (*d == '?')
            t->dims[t->rank++] = QN_DIM_UNKNOWN;
        else
            t->dims[t->rank++] = *d >= '0' && *d <= '9' ? qn_dims_const(g->dims, atoll(d)) : qn_dims_symbol(g->dims, d);
    }
}

static inline qn_value_id append(qn_graph *g, qn_value_id **list, int32_t *n, qn_value_id v)
{
    qn_value_id *l = qn_arena_array(&g->arena, (size_t)*n + 1, sizeof *l);

    if (*n) memcpy(l, *list, (size_t)*n * sizeof *l);
    l[*n] = v;
    *list = l;
    (*n)++;
    return v;
}

static inline qn_value_id input(qn_graph *g, const char *name, qn_dtype dtype, const char *dims)
{
    qn_value_id v = val(g, name);

    set_type(g, v, dtype, dims);
    g->values[v].is_input = true;
    return append(g, &g->inputs, &g->n_inputs, v);
}

static inline qn_value_id output(qn_graph *g, const char *name)
{
    qn_value_id v = val(g, name);

    g->values[v].is_output = true;
    return append(g, &g->outputs, &g->n_outputs, v);
}

/* "Add" or "com.microsoft:QGemm"; names separated by commas, an empty name is left out. Attributes are added after it. */
static inline qn_node_id op(qn_graph *g, int64_t opset, const char *type, const char *ins, const char *outs, int32_t n_attrs)
{
    qn_value_id in[12], out[4];
    int32_t n_in = 0, n_out = 0;
    char domain[32] = "", name[64];
    const char *colon = strchr(type, ':');
    qn_node_id id;

    if (colon) snprintf(domain, sizeof domain, "%.*s", (int)(colon - type), type);
    for (const char *p = ins; *ins; p++) {
        size_t n = strcspn(p, ",");

        snprintf(name, sizeof name, "%.*s", (int)n, p);
        in[n_in++] = val(g, name);
        p += n;
        if (!*p) break;
    }
    for (const char *p = outs; *outs; p++) {
        size_t n = strcspn(p, ",");

        snprintf(name, sizeof name, "%.*s", (int)n, p);
        out[n_out++] = val(g, name);
        p += n;
        if (!*p) break;
    }
    assert_int_equal(qn_graph_add_node(g, domain, colon ? colon + 1 : type, outs, n_in, n_out, n_attrs, &id, NULL), QN_OK);
    g->nodes[id].opset = opset;
    for (int32_t i = 0; i < n_in; i++) g->nodes[id].in[i] = in[i];
    for (int32_t i = 0; i < n_out; i++) {
        g->nodes[id].out[i] = out[i];
        if (out[i] != QN_NONE) g->values[out[i]].producer = id;
    }
    for (int32_t i = 0; i < n_attrs; i++) g->nodes[id].attrs[i] = (qn_attr){ .name = "unset", .type = QN_ATTR_INT };
    return id;
}

static inline void attr_int(qn_graph *g, qn_node_id id, int32_t k, const char *name, int64_t v)
{
    g->nodes[id].attrs[k] = (qn_attr){ .name = name, .type = QN_ATTR_INT, .i = v };
}

static inline void attr_float(qn_graph *g, qn_node_id id, int32_t k, const char *name, float f)
{
    g->nodes[id].attrs[k] = (qn_attr){ .name = name, .type = QN_ATTR_FLOAT, .f = f };
}

/* v is borrowed until the graph is cloned */
static inline void attr_ints(qn_graph *g, qn_node_id id, int32_t k, const char *name, int64_t n, const int64_t *v)
{
    g->nodes[id].attrs[k] = (qn_attr){ .name = name, .type = QN_ATTR_INTS, .n = n, .ints = v };
}

static inline void weight(qn_graph *g, const char *name, qn_dtype dtype, int32_t rank, const int64_t *dims, const void *data)
{
    qn_tensor t = { .dtype = dtype, .rank = rank, .data = (void *)(uintptr_t)data };
    qn_value_id v = val(g, name);
    int64_t n = 1;

    for (int32_t d = 0; d < rank; d++) {
        t.dims[d] = dims[d];
        n *= dims[d];
    }
    t.bytes = (size_t)n * qn_dtype_size(dtype);
    assert_int_equal(qn_weight_from_tensor(&t, &g->values[v].weight, NULL), QN_OK);
}

static inline void scalar(qn_graph *g, const char *name, float f) { weight(g, name, QN_F32, 0, NULL, &f); }

static inline void ints(qn_graph *g, const char *name, int64_t n, const int64_t *v) { weight(g, name, QN_I64, 1, &n, v); }

/* f32 [dims] filled with `fill`, fill + 1, ... */
static inline void floats(qn_graph *g, const char *name, int32_t rank, const int64_t *dims, float fill)
{
    int64_t n = 1;
    float *f;

    for (int32_t d = 0; d < rank; d++) n *= dims[d];
    f = malloc((size_t)n * sizeof *f);
    assert_non_null(f);
    for (int64_t i = 0; i < n; i++) f[i] = fill + (float)i;
    weight(g, name, QN_F32, rank, dims, f);
    free(f);
}

/* -- looking at one ------------------------------------------------------------------------------------------------------- */

/* The live ops in order: "Conv Relu quern:FusedConv". */
static inline const char *ops_of(const qn_graph *g, char *buf, size_t cap)
{
    size_t n = 0;

    buf[0] = '\0';
    for (int32_t i = 0; i < g->n_order; i++) {
        const qn_node *node = &g->nodes[g->order[i]];

        n += (size_t)snprintf(buf + n, cap - n, "%s%s%s%s", i ? " " : "", node->domain, *node->domain ? ":" : "", node->op_type);
    }
    return buf;
}

#define assert_ops(g, want)                                                                                                                \
    do {                                                                                                                                   \
        char ops_buf[512];                                                                                                                 \
        assert_string_equal(ops_of(g, ops_buf, sizeof ops_buf), want);                                                                     \
    } while (0)

static inline const qn_node *producer(const qn_graph *g, const char *name)
{
    qn_value_id v = qn_map_get(&g->by_name, name);

    assert_true(v >= 0 && g->values[v].producer != QN_NONE);
    return &g->nodes[g->values[v].producer];
}

/* "[N,2*N+1]" */
static inline const char *dims_of(const qn_graph *g, const char *name, char *buf, size_t cap)
{
    const qn_type *t = &g->values[qn_map_get(&g->by_name, name)].type;
    size_t n = 1;
    char d[64];

    snprintf(buf, cap, "[");
    for (int32_t i = 0; i < t->rank; i++)
        n += (size_t)snprintf(buf + n, cap - n, "%s%s", i ? "," : "", qn_dims_print(g->dims, t->dims[i], d, sizeof d));
    snprintf(buf + n, cap - n, "]");
    return buf;
}

#define assert_dims(g, name, want)                                                                                                         \
    do {                                                                                                                                   \
        char dims_buf[256];                                                                                                                \
        assert_string_equal(dims_of(g, name, dims_buf, sizeof dims_buf), want);                                                            \
    } while (0)

#endif
