/* core/ops/cast.c - Cast, CastLike, Identity: the same values in another dtype, or in the same one.
 * Spec   ONNX Cast 1 on (attribute `to`, before 6 the name of a data type), CastLike 15 on (the dtype of its second input), Identity 1 on. `saturate` concerns 8-bit
 *        floats, which Quern does not have.
 * Value  between reals: rounded once, to nearest even; beyond the range: infinity.
 *        real to integer: cut towards zero, saturated to the range, NaN becomes 0 (ONNX leaves both open; C leaves them undefined).
 *        To 4 bits it is rounded, halves away from zero, as ONNX Runtime does it, and saturated as in ONNX's own test data.
 *        integer to integer: the low bits.  to bool: not zero (NaN is true).  integer to real: rounded to nearest even.
 *        real to string: the shortest text that reads back to the same bits ("0.1", "1e+30"), "NaN", "INF", "-INF"; integers in
 *        decimal, bools "0" and "1".  string to number: decimal text, "INF", "+INF", "-INF", "NaN" in any case; integers must be whole and
 *        in range. Text that is none of these fails with QN_ERR_RANGE and names the element.
 * Grad   Cast between reals: dx = cast(dy).  Identity: dx = dy. */
#include "core/graph/grad.h"
#include "core/ops/elem.h"

#include "core/base/half.h"
#include "core/tensor/strings.h"
#include "quern/number.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* -- one number ----------------------------------------------------------------------------------------------------------- */

/* f64 -> f32 that is then rounded again to fewer bits: rounding to odd keeps "not exact" in the last bit, so the second
 * rounding comes out as if it were the only one. */
static float round_to_odd(double d)
{
    float f = (float)d;
    uint32_t bits;

    if ((double)f == d || f != f) return f;
    memcpy(&bits, &f, sizeof bits);
    if (fabs((double)f) > fabs(d)) bits--; /* towards zero; infinity becomes the largest number */
    bits |= 1;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static int64_t cut(double d, int64_t lo, int64_t hi)
{
    if (d != d) return 0;
    if (d <= (double)lo) return lo;
    if (d >= (double)hi) return hi; /* (double)INT64_MAX is 2^63, which saturates too */
    return (int64_t)d;
}

static uint64_t cut_u64(double d)
{
    if (!(d > 0)) return 0;
    return d >= 0x1p64 ? UINT64_MAX : (uint64_t)d;
}

/* A real as an element of an integer or bool dtype, in the bits of its class. */
static uint64_t real_to_int(qn_dtype to, double d)
{
    switch (to) {
    case QN_I4: return (uint64_t)cut(round(d), -8, 7);
    case QN_U4: return (uint64_t)cut(round(d), 0, 15);
    case QN_I8: return (uint64_t)cut(d, INT8_MIN, INT8_MAX);
    case QN_I16: return (uint64_t)cut(d, INT16_MIN, INT16_MAX);
    case QN_I32: return (uint64_t)cut(d, INT32_MIN, INT32_MAX);
    case QN_I64: return (uint64_t)cut(d, INT64_MIN, INT64_MAX);
    case QN_U8: return (uint64_t)cut(d, 0, UINT8_MAX);
    case QN_U16: return (uint64_t)cut(d, 0, UINT16_MAX);
    case QN_U32: return (uint64_t)cut(d, 0, UINT32_MAX);
    case QN_BOOL: return d != 0;
    default: return cut_u64(d);
    }
}

static void store_real(qn_dtype to, void *dst, int64_t i, double d)
{
    switch (to) {
    case QN_F32: ((float *)dst)[i] = (float)d; break;
    case QN_F64: ((double *)dst)[i] = d; break;
    case QN_F16: ((uint16_t *)dst)[i] = qn_f64_to_f16(d); break;
    default: ((uint16_t *)dst)[i] = qn_f32_to_bf16(round_to_odd(d)); break;
    }
}

/* -- a chunk -------------------------------------------------------------------------------------------------------------- */

#define EACH(T, stmt)                                                                                                                      \
    do {                                                                                                                                   \
        const T *p = x;                                                                                                                    \
                                                                                                                                           \
        for (int64_t i = 0; i < n; i++) {                                                                                                  \
            const T v = p[i];                                                                                                              \
                                                                                                                                           \
            stmt;                                                                                                                          \
        }                                                                                                                                  \
    } while (0)

static void to_f32(qn_elem_class from, const void *x, float *y, int64_t n)
{
    switch (from) {
    case QN_ELEM_F32: EACH(float, y[i] = v); break;
    case QN_ELEM_F64: EACH(double, y[i] = (float)v); break;
    case QN_ELEM_I64: EACH(int64_t, y[i] = (float)v); break;
    default: EACH(uint64_t, y[i] = (float)v); break;
    }
}

/* x of class `from` into n elements of dtype `to`. */
static void cast_chunk(qn_elem_class from, qn_dtype to, const void *x, void *dst, int64_t n)
{
    const bool real = (QN_SET_FLOAT >> to & 1) != 0;
    qn_elem_buf buf;

    if (to == QN_F32) {
        to_f32(from, x, dst, n);
    } else if (real && from == QN_ELEM_F32 && to != QN_F64) {
        qn_elem_store(to, dst, n, x);
    } else if (real) {
        switch (from) {
        case QN_ELEM_F32: EACH(float, store_real(to, dst, i, (double)v)); break;
        case QN_ELEM_F64: EACH(double, store_real(to, dst, i, v)); break;
        case QN_ELEM_I64: EACH(int64_t, store_real(to, dst, i, (double)v)); break;
        default: EACH(uint64_t, store_real(to, dst, i, (double)v)); break;
        }
    } else if (from == QN_ELEM_F32) {
        EACH(float, buf.u64[i] = real_to_int(to, (double)v));
        qn_elem_store(to, dst, n, &buf);
    } else if (from == QN_ELEM_F64) {
        EACH(double, buf.u64[i] = real_to_int(to, v));
        qn_elem_store(to, dst, n, &buf);
    } else {
        qn_elem_store(to, dst, n, x);
    }
}

typedef struct cast {
    qn_dtype from, to;
} cast;

static void cast_span(void *ctx, const void *const *x, const int64_t *step, void *y, int64_t n)
{
    const cast *c = ctx;
    const int64_t from_size = (int64_t)qn_dtype_size(c->from), to_size = (int64_t)qn_dtype_size(c->to);
    qn_elem_buf buf;

    for (int64_t done = 0; done < n; done += QN_ELEM_CHUNK) {
        const int64_t k = n - done < QN_ELEM_CHUNK ? n - done : QN_ELEM_CHUNK;

        cast_chunk(qn_elem_class_of(c->from), c->to,
                   qn_elem_load(c->from, (const char *)x[0] + done * step[0] * from_size, step[0], k, &buf), (char *)y + done * to_size, k);
    }
}

/* -- strings -------------------------------------------------------------------------------------------------------------- */

static size_t real_text(double d, bool single, char *out)
{
    if (d != d || isinf(d)) {
        const char *word = d != d ? "NaN" : d > 0 ? "INF" : "-INF";

        memcpy(out, word, strlen(word));
        return strlen(word);
    }
    return single ? qn_number_from_f32((float)d, out) : qn_number_from_f64(d, out);
}

/* Element i as text; its length. */
static size_t number_text(const qn_tensor *t, int64_t i, char out[QN_NUMBER_CHARS])
{
    if (QN_SET_FLOAT >> t->dtype & 1) return real_text(qn_move_real(t, i), t->dtype != QN_F64, out);
    if (t->dtype == QN_U64) return qn_number_from_u64(((const uint64_t *)t->data)[i], out);
    return qn_number_from_i64(t->dtype == QN_BOOL ? qn_move_int(t, i) != 0 : qn_move_int(t, i), out);
}

static qn_status cast_to_strings(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    const int64_t n = qn_tensor_count(x);
    char text[QN_NUMBER_CHARS];
    size_t blob = 0, bytes;
    uint64_t *offsets;
    qn_status st;

    for (int64_t i = 0; i < n; i++) blob += number_text(x, i, text); /* at most QN_NUMBER_CHARS for each element that exists: no overflow */
    if (!qn_strings_bytes(n, blob, &bytes)) return qn_error_set(err, QN_ERR_LIMIT, "%" PRId64 " strings", n);
    if ((st = qn_run_output(r, 0, QN_STRING, x->rank, x->dims, bytes, err)) != QN_OK) return st;
    offsets = qn_strings_offsets(&r->out[0]);
    offsets[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        const size_t len = number_text(x, i, text);

        memcpy(qn_strings_blob(&r->out[0]) + offsets[i], text, len);
        offsets[i + 1] = offsets[i] + len;
    }
    return QN_OK;
}

/* Digits, sign, point and exponent, or one of the words: what strtod takes beyond that (hexadecimal, "nan(...)", blanks) is no number here. */
static bool is_decimal(const char *s)
{
    const char *p = s + (*s == '+' || *s == '-');

    if (!strcasecmp(p, "inf") || !strcasecmp(p, "infinity") || !strcasecmp(s, "nan")) return true;
    return *s != '\0' && s[strspn(s, "0123456789+-.eE")] == '\0';
}

static bool parse(const char *s, qn_dtype to, void *dst, int64_t i)
{
    char *end = NULL;
    uint64_t bits;

    if (!is_decimal(s)) return false;
    errno = 0;
    if (to == QN_F32) {
        ((float *)dst)[i] = strtof(s, &end);
        return *end == '\0';
    }
    if (QN_SET_FLOAT >> to & 1) {
        store_real(to, dst, i, strtod(s, &end));
        return *end == '\0';
    }
    if (to == QN_U64) {
        bits = strtoull(s, &end, 10);
        if (*s == '-') return false;
    } else {
        const int64_t v = strtoll(s, &end, 10);

        if (real_to_int(to, (double)v) != (uint64_t)v && to != QN_I64) return false;
        bits = (uint64_t)v;
    }
    if (errno == ERANGE || *end != '\0' || end == s) return false;
    qn_elem_store(to, (char *)dst + i * (int64_t)qn_dtype_size(to), 1, &bits);
    return true;
}

static qn_status cast_strings(qn_run *r, qn_dtype to, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    const int64_t n = qn_tensor_count(x);

    for (int64_t i = 0; i < n; i++) {
        char s[128]; /* no number needs more */
        size_t len;
        const char *text = qn_strings_get(x, i, &len);

        memcpy(s, text, len < sizeof s ? len : sizeof s - 1);
        s[len < sizeof s ? len : sizeof s - 1] = '\0';
        if (len >= sizeof s || memchr(s, '\0', len) || !parse(s, to, r->out[0].data, i))
            return qn_error_set(err, QN_ERR_RANGE, "element %" PRId64 " is \"%.40s\", expected a number for %s", i, s, qn_dtype_name(to));
    }
    return QN_OK;
}

static qn_status copy_strings(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    qn_status st = qn_run_output(r, 0, QN_STRING, x->rank, x->dims, x->bytes, err);

    if (st == QN_OK && x->bytes) memcpy(r->out[0].data, x->data, x->bytes);
    return st;
}

/* -- rows ----------------------------------------------------------------------------------------------------------------- */

static bool number_same(int64_t a, int64_t b, int64_t *out)
{
    (void)b;
    *out = a;
    return true;
}

static bool number_bool(int64_t a, int64_t b, int64_t *out)
{
    (void)b;
    *out = a != 0;
    return true;
}

static qn_dim symbol_same(qn_dims *t, qn_dim a, qn_dim b)
{
    (void)t;
    (void)b;
    return a;
}

static qn_status cast_infer_to(qn_infer *c, qn_dtype to, qn_error *err)
{
    const qn_elem_known same = { number_same, symbol_same }, truth = { number_bool, NULL };

    qn_elem_like(c, 0, 0, to);
    if (to == QN_BOOL && c->in[0].dtype == QN_STRING) return qn_error_set(err, QN_ERR_UNSUPPORTED, "cast from string to bool");
    qn_elem_set_known(c, 1, to == QN_BOOL ? &truth : &same);
    return QN_OK;
}

static qn_status cast_run_to(qn_run *r, qn_dtype to, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    cast c = { x->dtype, to };
    qn_status st;

    if (to == QN_STRING) return x->dtype == QN_STRING ? copy_strings(r, err) : cast_to_strings(r, err);
    if ((st = qn_move_output(r, 0, to, x->rank, x->dims, err)) != QN_OK) return st;
    if (x->dtype == QN_STRING) return cast_strings(r, to, err);
    if (x->dtype == to) return qn_move_same_bytes(r, err);
    qn_elem_walk(r->team, 1, &x, &r->out[0], cast_span, &c);
    return QN_OK;
}

/* `to` as a number of TensorProto.DataType; 0 for a name there is not. */
static int64_t target(const qn_node *node)
{
    static const char *const names[] = { "UNDEFINED", "FLOAT",  "UINT8", "INT8",    "UINT16", "INT16",  "INT32",
                                         "INT64",     "STRING", "BOOL",  "FLOAT16", "DOUBLE", "UINT32", "UINT64" };
    const char *name = node->opset < 6 ? qn_node_str(node, "to", NULL) : NULL;

    if (!name) return qn_node_int(node, "to", 0);
    for (size_t i = 1; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0) return (int64_t)i;
    return 0;
}

static qn_status cast_infer(qn_infer *c, qn_error *err)
{
    const int64_t number = target(c->node);
    const qn_dtype to = qn_move_onnx_dtype(number);
    const qn_status st = qn_move_need(c, 1, err);

    if (st != QN_OK) return st;
    if (to == QN_DTYPE_NONE) return qn_error_set(err, QN_ERR_UNSUPPORTED, "cast to ONNX data type %" PRId64, number);
    return cast_infer_to(c, to, err);
}

static qn_status cast_run(qn_run *r, qn_error *err) { return cast_run_to(r, qn_move_onnx_dtype(target(r->node)), err); }

static qn_status cast_like_infer(qn_infer *c, qn_error *err)
{
    const qn_status st = qn_move_need(c, 2, err);

    return st == QN_OK ? cast_infer_to(c, c->in[1].dtype, err) : st;
}

static qn_status cast_like_run(qn_run *r, qn_error *err) { return cast_run_to(r, r->in[1].dtype, err); }

/* The rows of input 0 pass through; the second input gives only its dtype. */
static void cast_like_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    (void)c;
    out_axis[0] = in_axis[0];
}

static void cast_grad(qn_builder *b) { qn_grad_give(b, 0, qn_grad_cast(b, qn_grad_of(b, 0), qn_grad_type(b, qn_grad_in(b, 0))->dtype)); }

const qn_op qn_op_cast = {
    .name = "Cast",
    .domain = "",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_INPLACE,
    .infer = cast_infer,
    .rows = qn_rows_elementwise,
    .run = cast_run,
    .grad = cast_grad,
};
const qn_op qn_op_cast_like = {
    .name = "CastLike",
    .domain = "",
    .since = 15,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_INPLACE,
    .infer = cast_like_infer,
    .rows = cast_like_rows,
    .run = cast_like_run,
};

/* Of any kind: a sequence or optional passes as it is. */
static qn_status identity_infer(qn_infer *c, qn_error *err)
{
    const qn_elem_known same = { number_same, symbol_same };

    if (!qn_infer_has(c, 0)) return qn_error_set(err, QN_ERR_INVALID, "input 0 is left out, expected a value");
    c->out[0] = c->in[0];
    if (c->in[0].kind == QN_KIND_TENSOR) qn_elem_set_known(c, 1, &same);
    return QN_OK;
}

static qn_status identity_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    const qn_items *items = x->dtype == QN_DTYPE_NONE ? qn_run_items(r, 0) : NULL;
    qn_status st;

    if (items) {
        qn_items *y = qn_run_new_items(r, 0);

        return qn_items_share(y, items, err);
    }
    if (x->dtype == QN_STRING) return copy_strings(r, err);
    st = qn_move_output(r, 0, x->dtype, x->rank, x->dims, err);
    return st == QN_OK ? qn_move_same_bytes(r, err) : st;
}

static void identity_grad(qn_builder *b) { qn_grad_give(b, 0, qn_grad_of(b, 0)); }

const qn_op qn_op_identity = {
    .name = "Identity",
    .domain = "",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_INPLACE | QN_OP_VIEW,
    .infer = identity_infer,
    .rows = qn_rows_elementwise,
    .run = identity_run,
    .grad = identity_grad,
};
