/* core/ops/matmul_nbits.c - com.microsoft MatMulNBits: a product by a matrix of 2-, 4- or 8-bit integers with a scale for each block.
 * Spec   ONNX Runtime contrib ops 1: A [.., K] (f32, f16, bf16), B u8 [N, blocks, block_size * bits / 8], scales of A's dtype [N * blocks],
 *        zero_points? (u8, packed like B, each row of N begins a byte; or of A's dtype, one number each), g_idx? s32 [K] (the block of each
 *        place), bias? [N] -> [.., N]. Attributes K, N, bits, block_size (a power of 2 from 16 on). The first element is in the low bits.
 * Value  w[k][n] = (q - zero_point) * scale in f32 (zero_point 2^(bits - 1) where left out), then MatMul's chain, then bias: f16 and bf16 are
 *        computed in f32 and rounded once. accuracy_level allows a runtime less; here it changes nothing.
 * How    constants are decoded once, into the packed form of MatMul; otherwise on each run, into scratch. */
#include "core/base/checked.h"
#include "core/graph/cost.h"
#include "core/ops/elem.h"
#include "core/ops/linear.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IN_A, IN_B, IN_SCALES, IN_ZEROS, IN_GROUPS, IN_BIAS };

#define REALS (1u << QN_F32 | 1u << QN_F16 | 1u << QN_BF16)

typedef struct format {
    int64_t k, n, block, blocks; /* blocks of one column */
    int64_t bits;
    int64_t column_bytes, zero_bytes; /* of B, and of packed zero points, for one column */
} format;

typedef struct state {
    const qn_gemm_kernel *kernel;
    const float *packed; /* NULL: decoded on each run */
    format f;
    size_t packed_at, column_at, bias_at, a_at, c_at; /* in scratch */
} state;

static qn_status read_format(const qn_node *node, format *f, qn_error *err)
{
    f->k = qn_node_int(node, "K", 0);
    f->n = qn_node_int(node, "N", 0);
    f->bits = qn_node_int(node, "bits", 4);
    f->block = qn_node_int(node, "block_size", 0);
    if (f->k < 1 || f->n < 1 || f->k > INT32_MAX || f->n > INT32_MAX)
        return qn_error_set(err, QN_ERR_INVALID, "K is %" PRId64 ", N is %" PRId64 ", expected 1 or more", f->k, f->n);
    if (f->bits != 2 && f->bits != 4 && f->bits != 8)
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "bits is %" PRId64 ", expected 2, 4 or 8", f->bits);
    if (f->block < 16 || f->block > INT32_MAX || (f->block & (f->block - 1)))
        return qn_error_set(err, QN_ERR_INVALID, "block_size is %" PRId64 ", expected a power of 2, 16 or more", f->block);
    f->blocks = (f->k + f->block - 1) / f->block;
    f->column_bytes = f->blocks * (f->block / 8 * f->bits); /* below 2^35 */
    f->zero_bytes = (f->blocks * f->bits + 7) / 8;
    return QN_OK;
}

/* -- inference ------------------------------------------------------------------------------------------------------------ */

/* Input i, where its shape is known, has `count` elements. */
static qn_status count_infer(const qn_infer *c, int32_t i, int64_t count, qn_error *err)
{
    int64_t have = 1, d;

    if (!qn_infer_has(c, i) || c->in[i].rank < 0) return QN_OK;
    for (int32_t a = 0; a < c->in[i].rank; a++) {
        if (!qn_move_number(c, c->in[i].dims[a], &d)) return QN_OK;
        if (!qn_i64_mul(have, d, &have)) return qn_error_set(err, QN_ERR_LIMIT, "input %d is too large", (int)i);
    }
    if (have == count) return QN_OK;
    return qn_error_set(err, QN_ERR_SHAPE, "input %d has %" PRId64 " elements, expected %" PRId64, (int)i, have, count);
}

static int64_t n_zeros(const format *f, qn_dtype dtype) { return f->n * (dtype == QN_U8 ? f->zero_bytes : f->blocks); }

static qn_status infer(qn_infer *c, qn_error *err)
{
    const qn_dtype a = c->in[IN_A].dtype;
    format f;
    qn_dim dims[QN_MAX_RANK];
    int64_t k;
    qn_status st = qn_linear_need(c, 3, err);

    if (st == QN_OK) st = read_format(c->node, &f, err);
    if (st == QN_OK) st = qn_linear_dtype(c, IN_A, REALS, err);
    if (st == QN_OK) st = qn_linear_dtype(c, IN_B, 1u << QN_U8, err);
    if (st == QN_OK) st = qn_linear_dtype(c, IN_SCALES, 1u << a, err);
    if (st == QN_OK && qn_infer_has(c, IN_ZEROS)) st = qn_linear_dtype(c, IN_ZEROS, 1u << QN_U8 | 1u << a, err);
    if (st == QN_OK && qn_infer_has(c, IN_GROUPS)) st = qn_linear_dtype(c, IN_GROUPS, 1u << QN_I32, err);
    if (st == QN_OK && qn_infer_has(c, IN_BIAS)) st = qn_linear_dtype(c, IN_BIAS, 1u << a, err);
    if (st == QN_OK) st = count_infer(c, IN_B, f.n * f.column_bytes, err);
    if (st == QN_OK) st = count_infer(c, IN_SCALES, f.n * f.blocks, err);
    if (st == QN_OK && qn_infer_has(c, IN_ZEROS)) st = count_infer(c, IN_ZEROS, n_zeros(&f, c->in[IN_ZEROS].dtype), err);
    if (st == QN_OK) st = count_infer(c, IN_BIAS, f.n, err);
    if (st != QN_OK) return st;
    c->out[0].dtype = a;
    if (c->in[IN_A].rank < 0) return QN_OK;
    if (c->in[IN_A].rank < 1) return qn_error_set(err, QN_ERR_SHAPE, "A is a scalar, expected [.., K]");
    memcpy(dims, c->in[IN_A].dims, sizeof dims);
    if (qn_move_number(c, dims[c->in[IN_A].rank - 1], &k) && k != f.k)
        return qn_error_set(err, QN_ERR_SHAPE, "the last dimension of A is %" PRId64 ", K is %" PRId64, k, f.k);
    dims[c->in[IN_A].rank - 1] = qn_dims_const(c->dims, f.n);
    qn_linear_output(c, a, c->in[IN_A].rank, dims);
    return QN_OK;
}

static void rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    if (qn_move_rows_only(c, in_axis, 0) && c->in[0].rank >= 0 && in_axis[0] < c->in[0].rank - 1) out_axis[0] = in_axis[0];
}

/* -- decoding ------------------------------------------------------------------------------------------------------------- */

/* One column of B and what belongs to it. */
typedef struct column {
    const uint8_t *b;
    const float *scale;
    const uint8_t *packed_zero; /* or */
    const float *real_zero;     /* or neither */
    const int32_t *group;       /* [k], or NULL */
} column;

static float bits_at(const uint8_t *p, int64_t i, int64_t bits)
{
    const int64_t per = 8 / bits;

    return (float)(p[i / per] >> (i % per * bits) & ((1 << bits) - 1));
}

static void decode(const format *f, const column *c, float *w)
{
    for (int64_t i = 0; i < f->k; i++) {
        const int64_t g = c->group ? c->group[i] : i / f->block;
        const float zero = c->packed_zero ? bits_at(c->packed_zero, g, f->bits)
                           : c->real_zero ? c->real_zero[g]
                                          : (float)(1 << (f->bits - 1));

        w[i] = (bits_at(c->b, i, f->bits) - zero) * c->scale[g];
    }
}

/* g_idx is in a file like any index. */
static qn_status check_groups(const format *f, const int32_t *g, int64_t n, qn_error *err)
{
    if (n < f->k) return qn_error_set(err, QN_ERR_SHAPE, "g_idx has %" PRId64 " elements, expected K = %" PRId64, n, f->k);
    for (int64_t i = 0; i < f->k; i++) {
        if (g[i] < 0 || g[i] >= f->blocks)
            return qn_error_set(err, QN_ERR_RANGE, "g_idx %" PRId64 " is %" PRId32 ", expected 0..%" PRId64, i, g[i], f->blocks - 1);
    }
    return QN_OK;
}

/* -- lowering ------------------------------------------------------------------------------------------------------------- */

/* Room for one column as it is read from weights. */
typedef struct reader {
    const format *f;
    qn_weight *const *w; /* [6] */
    uint8_t *b, *packed_zero;
    float *scale, *real_zero, *line;
    uint16_t *half;
    int32_t *group;
} reader;

/* Numbers [at, at + n) of a real weight as f32. */
static qn_status read_reals(const reader *r, qn_weight *w, int64_t at, int64_t n, float *out, qn_error *err)
{
    qn_tensor t;
    qn_status st;

    qn_weight_shape(w, &t);
    if (t.dtype == QN_F32) return qn_weight_read(w, at, n, out, err);
    if ((st = qn_weight_read(w, at, n, r->half, err)) == QN_OK) qn_elem_to_f32(t.dtype, r->half, out, n);
    return st;
}

static qn_status read_column(const reader *r, int64_t j, qn_error *err)
{
    const format *f = r->f;
    column c = { .b = r->b, .scale = r->scale, .group = r->w[IN_GROUPS] ? r->group : NULL };
    qn_status st = qn_weight_read(r->w[IN_B], j * f->column_bytes, f->column_bytes, r->b, err);

    if (st == QN_OK) st = read_reals(r, r->w[IN_SCALES], j * f->blocks, f->blocks, r->scale, err);
    if (st == QN_OK && r->w[IN_ZEROS]) {
        qn_tensor t;

        qn_weight_shape(r->w[IN_ZEROS], &t);
        if (t.dtype == QN_U8) {
            c.packed_zero = r->packed_zero;
            st = qn_weight_read(r->w[IN_ZEROS], j * f->zero_bytes, f->zero_bytes, r->packed_zero, err);
        } else {
            c.real_zero = r->real_zero;
            st = read_reals(r, r->w[IN_ZEROS], j * f->blocks, f->blocks, r->real_zero, err);
        }
    }
    if (st == QN_OK) decode(f, &c, r->line);
    return st;
}

static qn_status read_groups(const reader *r, qn_error *err)
{
    qn_tensor t;
    qn_status st;

    if (!r->w[IN_GROUPS]) return QN_OK;
    qn_weight_shape(r->w[IN_GROUPS], &t);
    if (qn_tensor_count(&t) < r->f->k) return check_groups(r->f, NULL, qn_tensor_count(&t), err);
    st = qn_weight_read(r->w[IN_GROUPS], 0, r->f->k, r->group, err);
    return st == QN_OK ? check_groups(r->f, r->group, r->f->k, err) : st;
}

static qn_status pack(qn_weight *w, void *ctx, qn_blob *blob, qn_error *err)
{
    reader *r = ctx;
    const format *f = r->f;
    const size_t blocks = (size_t)f->blocks;
    qn_status st = QN_OK;

    (void)w;
    r->b = malloc((size_t)f->column_bytes);
    r->packed_zero = malloc((size_t)f->zero_bytes);
    r->scale = malloc(blocks * sizeof(float));
    r->real_zero = malloc(blocks * sizeof(float));
    r->half = malloc(blocks * sizeof(uint16_t));
    r->line = malloc((size_t)f->k * sizeof(float));
    r->group = malloc((size_t)f->k * sizeof(int32_t));
    if (!r->b || !r->packed_zero || !r->scale || !r->real_zero || !r->half || !r->line || !r->group)
        st = qn_error_set(err, QN_ERR_NOMEM, "buffers to unpack a column of %" PRId64, f->k);
    if (st == QN_OK) st = read_groups(r, err);
    for (int64_t j = 0; j < f->n && st == QN_OK; j++) {
        st = read_column(r, j, err);
        if (st == QN_OK) qn_gemm_pack_cols(blob->data, f->k, f->n, j, 1, r->line, 1, f->k);
    }
    free(r->b);
    free(r->packed_zero);
    free(r->scale);
    free(r->real_zero);
    free(r->half);
    free(r->line);
    free(r->group);
    return st;
}

/* The packed form depends on all the constants: their digests are in its name. */
static qn_status lower_packed(qn_lower *lo, state *s, size_t bytes, qn_error *err)
{
    qn_weight *w[6] = { NULL };
    reader r = { .f = &s->f, .w = w };
    const void *packed = NULL;
    char form[320], hex[65];
    int at;
    qn_status st;

    at = snprintf(form, sizeof form, "nbits%" PRId64 "_b%" PRId64 "_k%" PRId64 "_n%" PRId64, s->f.bits, s->f.block, s->f.k, s->f.n);
    for (int32_t i = IN_B; i <= IN_GROUPS && i < lo->node->n_in; i++) {
        w[i] = lo->weight[i];
        if (!w[i]) continue;
        lo->skip_in |= (uint64_t)1 << i;
        qn_digest_hex(qn_weight_digest(w[i]), hex);
        if (i > IN_B) at += snprintf(form + at, sizeof form - (size_t)at, "_%d%s", (int)i, hex);
    }
    st = qn_lower_blob(lo, lo->weight[IN_B], form, bytes, pack, &r, &packed, err);
    s->packed = packed;
    return st;
}

static bool all_constant(const qn_lower *lo)
{
    for (int32_t i = IN_B; i <= IN_GROUPS && i < lo->node->n_in; i++)
        if (lo->node->in[i] != QN_NONE && !lo->weight[i]) return false;
    return true;
}

static bool more_scratch(size_t *total, int64_t n, size_t each, size_t *at)
{
    size_t bytes;

    return qn_i64_to_size(n, &bytes) && qn_size_mul(bytes, each, &bytes) && qn_size_align(*total, 64, at) && qn_size_add(*at, bytes, total);
}

static qn_status lower(qn_lower *lo, qn_error *err)
{
    state *s = qn_arena_alloc(lo->arena, sizeof *s);
    const bool half = lo->in[IN_A].dtype != QN_F32;
    size_t bytes;
    bool fits;
    qn_status st = qn_linear_known(lo, err);

    if (!s) return qn_error_set(err, QN_ERR_NOMEM, "state of a product");
    if (st == QN_OK) st = read_format(lo->node, &s->f, err);
    if (st != QN_OK) return st;
    lo->state = s;
    s->kernel = qn_gemm_pick(lo->cpu);
    lo->kernel = s->kernel->name;
    lo->why = qn_linear_why_f32(lo->cpu);
    fits = qn_gemm_packed_bytes(s->f.k, s->f.n, &bytes);
    if (fits && all_constant(lo)) {
        if ((st = lower_packed(lo, s, bytes, err)) != QN_OK) return st;
    } else if (fits) {
        if (!*lo->why) lo->why = "B or its scales are computed: unpacked on each run";
        fits = more_scratch(&lo->scratch_bytes, (int64_t)bytes, 1, &s->packed_at) &&
               more_scratch(&lo->scratch_bytes, s->f.k + 2 * s->f.blocks, 4, &s->column_at);
    }
    fits = fits && more_scratch(&lo->scratch_bytes, s->f.n, 4, &s->bias_at);
    if (half)
        fits = fits && more_scratch(&lo->scratch_bytes, qn_tensor_count(&lo->in[IN_A]), 4, &s->a_at) &&
               more_scratch(&lo->scratch_bytes, qn_tensor_count(&lo->out[0]), 4, &s->c_at);
    return fits ? QN_OK : qn_error_set(err, QN_ERR_LIMIT, "a matrix of [%" PRId64 ",%" PRId64 "] does not fit in memory", s->f.k, s->f.n);
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

static const qn_tensor *given(const qn_run *r, int32_t i) { return qn_move_has(r, i) ? &r->in[i] : NULL; }

static qn_status check_counts(const qn_run *r, const format *f, bool unpacked, qn_error *err)
{
    const qn_tensor *zeros = given(r, IN_ZEROS), *bias = given(r, IN_BIAS), *groups = given(r, IN_GROUPS);
    const qn_tensor *a = &r->in[IN_A];

    if (qn_tensor_count(&r->in[IN_B]) != f->n * f->column_bytes || qn_tensor_count(&r->in[IN_SCALES]) != f->n * f->blocks ||
        (zeros && qn_tensor_count(zeros) != n_zeros(f, zeros->dtype)) || (bias && qn_tensor_count(bias) != f->n))
        return qn_error_set(err, QN_ERR_SHAPE, "B, scales, zero_points or bias do not have the elements that K, N, bits, block_size need");
    if (a->dims[a->rank - 1] != f->k)
        return qn_error_set(err, QN_ERR_SHAPE, "the last dimension of A is %" PRId64 ", K is %" PRId64, a->dims[a->rank - 1], f->k);
    return groups && unpacked ? check_groups(f, groups->data, qn_tensor_count(groups), err) : QN_OK;
}

/* B into scratch. */
static const float *decode_all(const qn_run *r, const state *s)
{
    const format *f = &s->f;
    const qn_tensor *zeros = given(r, IN_ZEROS), *groups = given(r, IN_GROUPS);
    float *packed = (float *)(void *)((char *)r->scratch + s->packed_at), *line = (float *)(void *)((char *)r->scratch + s->column_at);
    float *scale = line + f->k, *zero = scale + f->blocks;
    const size_t size = qn_dtype_size(r->in[IN_SCALES].dtype);
    size_t bytes = 0;

    qn_gemm_packed_bytes(f->k, f->n, &bytes);
    memset(packed, 0, bytes);
    for (int64_t j = 0; j < f->n; j++) {
        column c = { .b = (const uint8_t *)r->in[IN_B].data + j * f->column_bytes, .scale = scale, .group = groups ? groups->data : NULL };

        qn_elem_to_f32(r->in[IN_SCALES].dtype, (const char *)r->in[IN_SCALES].data + (size_t)(j * f->blocks) * size, scale, f->blocks);
        if (zeros && zeros->dtype == QN_U8) {
            c.packed_zero = (const uint8_t *)zeros->data + j * f->zero_bytes;
        } else if (zeros) {
            qn_elem_to_f32(zeros->dtype, (const char *)zeros->data + (size_t)(j * f->blocks) * size, zero, f->blocks);
            c.real_zero = zero;
        }
        decode(f, &c, line);
        qn_gemm_pack_cols(packed, f->k, f->n, j, 1, line, 1, f->k);
    }
    return packed;
}

static qn_status run(qn_run *r, qn_error *err)
{
    const state *s = r->state;
    const qn_tensor *a = &r->in[IN_A], *bias = given(r, IN_BIAS);
    const qn_dtype dtype = a->dtype;
    const int64_t count = qn_tensor_count(&r->out[0]);
    float *bias_f32 = (float *)(void *)((char *)r->scratch + s->bias_at), *a_f32 = (float *)(void *)((char *)r->scratch + s->a_at);
    qn_gemm_args g = { .n = s->f.n, .k = s->f.k, .lda = s->f.k, .ldc = s->f.n, .a = a->data, .b = s->packed, .c = r->out[0].data };
    qn_status st = check_counts(r, &s->f, !s->packed, err);

    if (st != QN_OK || count == 0) return st;
    g.m = count / s->f.n;
    if (!g.b) g.b = decode_all(r, s);
    if (bias) {
        qn_elem_to_f32(dtype, bias->data, bias_f32, s->f.n);
        g.bias_n = bias_f32;
    }
    if (dtype == QN_F32) {
        s->kernel->run(&g, r->team);
        return QN_OK;
    }
    qn_elem_to_f32(dtype, a->data, a_f32, g.m * g.k);
    g.a = a_f32;
    g.c = (float *)(void *)((char *)r->scratch + s->c_at);
    s->kernel->run(&g, r->team);
    qn_elem_from_f32(dtype, r->out[0].data, g.c, count);
    return QN_OK;
}

const qn_op qn_op_ms_matmul_nbits = {
    .domain = "com.microsoft",
    .name = "MatMulNBits",
    .since = 1,
    .min_in = 3,
    .max_in = 6,
    .min_out = 1,
    .max_out = 1,
    .infer = infer,
    .rows = rows,
    .lower = lower,
    .run = run,
    .cost = qn_cost_product,
    .kernels = "gemm",
};
