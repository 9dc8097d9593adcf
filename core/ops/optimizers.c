/* core/ops/optimizers.c - Adam, Adagrad, Momentum of ai.onnx.preview.training: one update of any number of tensors.
 * Spec   ai.onnx.preview.training 1. Inputs: R (learning rate), T (updates so far), then n tensors X, their n gradients G, and for each
 *        kind of history n tensors more (Adam V, H; Adagrad H; Momentum V). Outputs: the n new X, then the n new of each history.
 * Value  with g = norm_coefficient X + G, element by element, in double, rounded once:
 *        Adam      V' = alpha V + (1 - alpha) g,  H' = beta H + (1 - beta) g^2,  r = T > 0 ? R sqrt(1 - beta^T) / (1 - alpha^T) : R,
 *                  X' = (1 - norm_coefficient_post) (X - r V' / (sqrt(H') + epsilon))
 *        Adagrad   H' = H + g^2,  X' = X - R / (1 + T decay_factor) g / (sqrt(H') + epsilon)
 *        Momentum  V' = alpha V + (T > 0 ? beta : 1) g,  X' = X - R V'  or, nesterov, X - R (g + alpha V')
 * Source Kingma, Ba 2014, arXiv:1412.6980; Duchi, Hazan, Singer 2011; Nesterov 1983.
 * Grad   none. */
#include "core/ops/elem.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef struct update update;
/* h: g, the histories; on return the new histories. Returns the new x. */
typedef double update_fn(const update *u, double x, double g, double *h);

struct update {
    update_fn *fn;
    double rate, alpha, beta, epsilon, norm, keep;
    bool nesterov;
    int32_t histories; /* 1 or 2 */
    const qn_tensor *x, *g, *h[2];
    const qn_tensor *y, *new_h[2]; /* dtype NONE where left out */
};

static double adam(const update *u, double x, double g, double *h)
{
    h[0] = u->alpha * h[0] + (1 - u->alpha) * g;
    h[1] = u->beta * h[1] + (1 - u->beta) * g * g;
    return u->keep * (x - u->rate * h[0] / (sqrt(h[1]) + u->epsilon));
}

static double adagrad(const update *u, double x, double g, double *h)
{
    h[0] += g * g;
    return x - u->rate * g / (sqrt(h[0]) + u->epsilon);
}

static double momentum(const update *u, double x, double g, double *h)
{
    h[0] = u->alpha * h[0] + u->beta * g;
    return x - u->rate * (u->nesterov ? g + u->alpha * h[0] : h[0]);
}

/* -- the tensors ---------------------------------------------------------------------------------------------------------- */

/* Inputs to a tensor: itself, its gradient, its histories. */
static int32_t kinds(const qn_node *node) { return strcmp(node->op_type, "Adam") == 0 ? 4 : 3; }

static qn_status count_tensors(const qn_node *node, int32_t *n, qn_error *err)
{
    const int32_t k = kinds(node);

    *n = (node->n_in - 2) / k;
    if ((node->n_in - 2) % k != 0 || *n < 1 || node->n_out > *n * (k - 1))
        return qn_error_set(err, QN_ERR_INVALID,
                            "%" PRId32 " inputs and %" PRId32 " outputs, expected 2 + %" PRId32 " n and at most %" PRId32 " n", node->n_in,
                            node->n_out, k, k - 1);
    return QN_OK;
}

/* Output o is a new value of this input: no gradient has one. */
static int32_t input_of(int32_t o, int32_t n) { return o < n ? 2 + o : 2 + n + o; }

static qn_status update_infer(qn_infer *c, qn_error *err)
{
    const uint32_t reals = 1u << QN_F32 | 1u << QN_F64;
    int32_t n;
    qn_status st = count_tensors(c->node, &n, err);

    if (st == QN_OK) st = qn_move_need(c, c->node->n_in, err);
    if (st == QN_OK) st = qn_move_need_dtype(c, 0, reals, err);
    if (st == QN_OK) st = qn_move_need_dtype(c, 1, 1u << QN_I64, err);
    for (int32_t i = 2; i < c->node->n_in && st == QN_OK; i++) {
        const qn_type *x = &c->in[2 + (i - 2) % n], *t = &c->in[i];

        st = qn_move_need_dtype(c, i, reals, err);
        if (st != QN_OK) break;
        if (x->dtype != QN_DTYPE_NONE && t->dtype != QN_DTYPE_NONE && x->dtype != t->dtype)
            return qn_error_set(err, QN_ERR_DTYPE, "input %" PRId32 " is %s, its tensor %s", i, qn_dtype_name(t->dtype),
                                qn_dtype_name(x->dtype));
        if (x->rank >= 0 && t->rank >= 0 && x->rank != t->rank)
            return qn_error_set(err, QN_ERR_SHAPE, "input %" PRId32 " has rank %" PRId32 ", its tensor %" PRId32, i, t->rank, x->rank);
    }
    if (st != QN_OK) return st;
    for (int32_t o = 0; o < c->node->n_out; o++) qn_elem_like(c, input_of(o, n), o, c->in[input_of(o, n)].dtype);
    return QN_OK;
}

static void update_range(void *ctx, int64_t lo, int64_t hi, int member)
{
    const update *u = ctx;
    double h[2] = { 0 };

    (void)member;
    for (int64_t i = lo; i < hi; i++) {
        const double x = qn_move_real(u->x, i), g = u->norm * x + qn_move_real(u->g, i);
        double y;

        for (int32_t k = 0; k < u->histories; k++) h[k] = qn_move_real(u->h[k], i);
        y = u->fn(u, x, g, h);
        for (int32_t k = -1; k < u->histories; k++) {
            const qn_tensor *t = k < 0 ? u->y : u->new_h[k];
            const double v = k < 0 ? y : h[k];

            if (!t) continue;
            if (t->dtype == QN_F64)
                ((double *)t->data)[i] = v;
            else
                ((float *)t->data)[i] = (float)v;
        }
    }
}

/* Output o in place, or NULL if nobody wants it. */
static qn_status output(qn_run *r, int32_t o, int32_t n, const qn_tensor **out, qn_error *err)
{
    const qn_tensor *like = &r->in[input_of(o, n)];

    *out = NULL;
    if (!qn_move_wants(r, o)) return QN_OK;
    *out = &r->out[o];
    return qn_move_output(r, o, like->dtype, like->rank, like->dims, err);
}

static qn_status update_all(qn_run *r, update *u, qn_error *err)
{
    int32_t n;
    qn_status st = count_tensors(r->node, &n, err);

    if (st != QN_OK) return st;
    u->histories = kinds(r->node) - 2;
    u->norm = (double)qn_node_float(r->node, "norm_coefficient", 0.0f);
    for (int32_t i = 0; i < n; i++) {
        const int64_t count = qn_tensor_count(&r->in[2 + i]);

        u->x = &r->in[2 + i];
        u->g = &r->in[2 + n + i];
        for (int32_t k = 0; k < u->histories; k++) u->h[k] = &r->in[2 + (2 + k) * n + i];
        for (int32_t k = 1; k < kinds(r->node); k++)
            if (qn_tensor_count(&r->in[2 + k * n + i]) != count)
                return qn_error_set(err, QN_ERR_SHAPE, "input %" PRId32 " has %" PRId64 " elements, its tensor %" PRId64, 2 + k * n + i,
                                    qn_tensor_count(&r->in[2 + k * n + i]), count);
        if ((st = output(r, i, n, &u->y, err)) != QN_OK) return st;
        for (int32_t k = 0; k < u->histories; k++)
            if ((st = output(r, (1 + k) * n + i, n, &u->new_h[k], err)) != QN_OK) return st;
        qn_elem_ranges(r->team, count, 8192, update_range, u);
    }
    return QN_OK;
}

/* -- the three ------------------------------------------------------------------------------------------------------------ */

static qn_status read_scalars(const qn_run *r, double *rate, int64_t *t, qn_error *err)
{
    for (int32_t i = 0; i < 2; i++)
        if (qn_tensor_count(&r->in[i]) != 1)
            return qn_error_set(err, QN_ERR_SHAPE, "%s has %" PRId64 " elements, expected 1", i ? "T" : "R", qn_tensor_count(&r->in[i]));
    *rate = qn_move_real(&r->in[0], 0);
    *t = qn_move_int(&r->in[1], 0);
    return QN_OK;
}

/* x^n by squaring, n >= 0 */
static double power(double x, int64_t n)
{
    double y = 1;

    for (; n > 0; n >>= 1, x *= x)
        if (n & 1) y *= x;
    return y;
}

static double attr(const qn_run *r, const char *name, float fallback) { return (double)qn_node_float(r->node, name, fallback); }

static qn_status adam_run(qn_run *r, qn_error *err)
{
    update u = { .fn = adam,
                 .alpha = attr(r, "alpha", 0.9f),
                 .beta = attr(r, "beta", 0.999f),
                 .epsilon = attr(r, "epsilon", 0.0f),
                 .keep = 1 - attr(r, "norm_coefficient_post", 0.0f) };
    int64_t t;
    qn_status st = read_scalars(r, &u.rate, &t, err);

    if (st != QN_OK) return st;
    if (t > 0) u.rate = u.rate * sqrt(1 - power(u.beta, t)) / (1 - power(u.alpha, t));
    return update_all(r, &u, err);
}

static qn_status adagrad_run(qn_run *r, qn_error *err)
{
    update u = { .fn = adagrad, .epsilon = attr(r, "epsilon", 0.0f) };
    int64_t t;
    qn_status st = read_scalars(r, &u.rate, &t, err);

    if (st != QN_OK) return st;
    u.rate = u.rate / (1 + (double)t * attr(r, "decay_factor", 0.0f));
    return update_all(r, &u, err);
}

static qn_status momentum_infer(qn_infer *c, qn_error *err)
{
    static const char *const required[] = { "alpha", "beta", "mode", "norm_coefficient" };
    const char *mode = qn_node_str(c->node, "mode", "");

    for (int i = 0; i < 4; i++)
        if (!qn_node_attr(c->node, required[i])) return qn_error_set(err, QN_ERR_INVALID, "attribute %s is missing", required[i]);
    if (strcmp(mode, "standard") != 0 && strcmp(mode, "nesterov") != 0)
        return qn_error_set(err, QN_ERR_INVALID, "mode is \"%.32s\", expected standard or nesterov", mode);
    return update_infer(c, err);
}

static qn_status momentum_run(qn_run *r, qn_error *err)
{
    update u = { .fn = momentum, .alpha = attr(r, "alpha", 0.0f), .nesterov = strcmp(qn_node_str(r->node, "mode", ""), "nesterov") == 0 };
    int64_t t;
    qn_status st = read_scalars(r, &u.rate, &t, err);

    if (st != QN_OK) return st;
    u.beta = t > 0 ? attr(r, "beta", 0.0f) : 1;
    return update_all(r, &u, err);
}

#define TRAINING "ai.onnx.preview.training"

const qn_op qn_op_adam = {
    .name = "Adam",
    .domain = TRAINING,
    .since = 1,
    .min_in = 6,
    .max_in = 6,
    .min_out = 1,
    .max_out = 3,
    .flags = QN_OP_VARIADIC,
    .infer = update_infer,
    .run = adam_run,
};
const qn_op qn_op_adagrad = {
    .name = "Adagrad",
    .domain = TRAINING,
    .since = 1,
    .min_in = 5,
    .max_in = 5,
    .min_out = 1,
    .max_out = 2,
    .flags = QN_OP_VARIADIC,
    .infer = update_infer,
    .run = adagrad_run,
};
const qn_op qn_op_momentum = {
    .name = "Momentum",
    .domain = TRAINING,
    .since = 1,
    .min_in = 5,
    .max_in = 5,
    .min_out = 1,
    .max_out = 2,
    .flags = QN_OP_VARIADIC,
    .infer = momentum_infer,
    .run = momentum_run,
};
