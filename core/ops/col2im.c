/* core/ops/col2im.c - Col2Im: columns of overlapping blocks added up to an image.
 * Spec   ONNX Col2Im 18 on: input [n, c * prod(block), l], image_shape [k], block_shape [k] -> [n, c, image..]; dilations, pads,
 *        strides as in a convolution whose output has l places. Every numeric dtype. */
#include "core/ops/move.h"

#include "core/base/checked.h"
#include "core/kernels/move/reduce.h"

#include <inttypes.h>
#include <string.h>

enum { MAX_AXES = QN_MAX_RANK - 2 };

typedef struct blocks {
    int32_t k;
    int64_t image[MAX_AXES], block[MAX_AXES], places[MAX_AXES], dilation[MAX_AXES], stride[MAX_AXES], pad[MAX_AXES];
    int64_t per_block, l; /* products of block and places */
} blocks;

/* Element i of a list attribute of `want` numbers in lo..2^31-1, or fallback where it is left out. */
static qn_status list_at(const qn_node *node, const char *attr, int32_t want, int32_t i, int64_t lo, int64_t fallback, int64_t *v,
                         qn_error *err)
{
    int64_t n;
    const int64_t *list = qn_node_ints(node, attr, &n);

    *v = list ? 0 : fallback;
    if (!list) return QN_OK;
    if (n != want) return qn_error_set(err, QN_ERR_INVALID, "%s has %" PRId64 " numbers, expected %" PRId32, attr, n, want);
    *v = list[i];
    if (*v < lo || *v > INT32_MAX)
        return qn_error_set(err, QN_ERR_INVALID, "%s[%" PRId32 "] is %" PRId64 ", expected %" PRId64 " or more", attr, i, *v, lo);
    return QN_OK;
}

static qn_status resolve(const qn_node *node, const qn_move_list *image, const qn_move_list *block, blocks *b, qn_error *err)
{
    qn_status st;

    *b = (blocks){ .k = image->n, .per_block = 1, .l = 1 };
    if (image->n < 1 || image->n > MAX_AXES || block->n != image->n)
        return qn_error_set(err, QN_ERR_SHAPE, "image_shape has %" PRId32 " numbers, block_shape %" PRId32 ", expected 1..%d", image->n,
                            block->n, MAX_AXES);
    for (int32_t i = 0; i < b->k; i++) {
        int64_t end, room;

        b->image[i] = image->v[i];
        b->block[i] = block->v[i];
        if (b->image[i] < 0 || b->block[i] < 1 || b->image[i] > INT32_MAX || b->block[i] > INT32_MAX)
            return qn_error_set(err, QN_ERR_SHAPE, "axis %" PRId32 ": image %" PRId64 ", block %" PRId64, i, b->image[i], b->block[i]);
        if ((st = list_at(node, "dilations", b->k, i, 1, 1, &b->dilation[i], err)) != QN_OK ||
            (st = list_at(node, "strides", b->k, i, 1, 1, &b->stride[i], err)) != QN_OK ||
            (st = list_at(node, "pads", 2 * b->k, i, 0, 0, &b->pad[i], err)) != QN_OK ||
            (st = list_at(node, "pads", 2 * b->k, b->k + i, 0, 0, &end, err)) != QN_OK)
            return st;
        room = b->image[i] + b->pad[i] + end - b->dilation[i] * (b->block[i] - 1) - 1; /* all below 2^31: their products fit */
        if (room < 0)
            return qn_error_set(err, QN_ERR_SHAPE, "axis %" PRId32 ": a block of %" PRId64 " does not fit into %" PRId64, i, b->block[i],
                                b->image[i]);
        b->places[i] = room / b->stride[i] + 1;
        if (!qn_i64_mul(b->per_block, b->block[i], &b->per_block) || !qn_i64_mul(b->l, b->places[i], &b->l))
            return qn_error_set(err, QN_ERR_LIMIT, "blocks and places overflow");
    }
    return QN_OK;
}

static qn_status col2im_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0];
    qn_type *out = &c->out[0];
    qn_move_list image, block;
    blocks b;
    int64_t v;
    qn_status st;

    if ((st = qn_move_need(c, 3, err)) != QN_OK || (st = qn_move_need_rank(c, 0, 3, 3, err)) != QN_OK ||
        (st = qn_move_need_dtype(c, 0, ~(1u << QN_STRING | 1u << QN_I4 | 1u << QN_U4), err)) != QN_OK)
        return st;
    if ((st = qn_move_list_infer(c, NULL, 1, &image, err)) != QN_OK || (st = qn_move_list_infer(c, NULL, 2, &block, err)) != QN_OK)
        return st;
    if ((st = qn_move_type(out, x->dtype, image.n < 0 ? -1 : (int64_t)image.n + 2, err)) != QN_OK || out->rank < 0) return st;
    if (x->rank == 3) out->dims[0] = x->dims[0];
    if (image.how == QN_MOVE_NUMBERS)
        for (int32_t i = 0; i < image.n; i++) out->dims[2 + i] = qn_dims_const(c->dims, image.v[i]);
    if (image.how != QN_MOVE_NUMBERS || block.how != QN_MOVE_NUMBERS) return QN_OK;
    if ((st = resolve(c->node, &image, &block, &b, err)) != QN_OK || x->rank != 3) return st;
    if (qn_move_number(c, x->dims[1], &v) && v % b.per_block != 0)
        return qn_error_set(err, QN_ERR_SHAPE, "axis 1 has size %" PRId64 ", expected a multiple of %" PRId64, v, b.per_block);
    out->dims[1] = qn_dims_floordiv(c->dims, x->dims[1], qn_dims_const(c->dims, b.per_block));
    return QN_OK;
}

/* Add one column of places for one offset inside the block: src [l] into the plane. */
static void add_offset(const blocks *b, qn_dtype dtype, int64_t offset, const char *src, char *plane)
{
    const size_t elem = qn_dtype_size(dtype);
    int64_t off[MAX_AXES], at[MAX_AXES] = { 0 };

    for (int32_t i = b->k - 1; i >= 0; i--) {
        off[i] = offset % b->block[i] * b->dilation[i] - b->pad[i];
        offset /= b->block[i];
    }
    for (int64_t p = 0; p < b->l; p++, src += elem) {
        int64_t to = 0;
        bool in = true;

        for (int32_t i = 0; i < b->k; i++) {
            int64_t v = at[i] * b->stride[i] + off[i];

            in = in && v >= 0 && v < b->image[i];
            to = to * b->image[i] + (in ? v : 0);
        }
        if (in) qn_move_reduce(QN_SCATTER_ADD, dtype, plane + (size_t)to * elem, src, 1);
        for (int32_t i = b->k - 1; i >= 0; i--) {
            if (++at[i] < b->places[i]) break;
            at[i] = 0;
        }
    }
}

static qn_status col2im_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    const size_t elem = qn_dtype_size(x->dtype);
    qn_move_list image, block;
    blocks b;
    int64_t dims[QN_MAX_RANK] = { 0 }, plane;
    qn_status st;

    if ((st = qn_move_list_run(r, NULL, 1, &image, err)) != QN_OK || (st = qn_move_list_run(r, NULL, 2, &block, err)) != QN_OK) return st;
    if ((st = resolve(r->node, &image, &block, &b, err)) != QN_OK) return st;
    if (x->rank != 3 || x->dims[1] % b.per_block != 0 || x->dims[2] != b.l)
        return qn_error_set(err, QN_ERR_SHAPE,
                            "input has size %" PRId64 " and %" PRId64 ", expected a multiple of %" PRId64 " and %" PRId64, x->dims[1],
                            x->dims[2], b.per_block, b.l);
    dims[0] = x->dims[0];
    dims[1] = x->dims[1] / b.per_block;
    memcpy(dims + 2, b.image, (size_t)b.k * sizeof *dims);
    if ((st = qn_move_output(r, 0, x->dtype, b.k + 2, dims, err)) != QN_OK || qn_tensor_count(&r->out[0]) == 0) return st;
    plane = qn_move_span(dims, 2, b.k + 2);
    memset(r->out[0].data, 0, r->out[0].bytes);
    for (int64_t i = 0; i < dims[0] * x->dims[1]; i++)
        add_offset(&b, x->dtype, i % b.per_block, (const char *)x->data + (size_t)(i * b.l) * elem,
                   (char *)r->out[0].data + (size_t)(i / b.per_block * plane) * elem);
    return QN_OK;
}

const qn_op qn_op_col2im = {
    .name = "Col2Im",
    .since = 18,
    .min_in = 3,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .infer = col2im_infer,
    .rows = qn_rows_leading,
    .run = col2im_run,
    .kernels = "move",
};
