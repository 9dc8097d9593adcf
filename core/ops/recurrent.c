/* core/ops/recurrent.c - RNN, LSTM, GRU: cells run along time.
 * Spec   ONNX 7 on (layout: 14 on). X [seq, batch, in] (layout 1: [batch, seq, in]), W [dirs, g h, in], R [dirs, g h, h], B [dirs, 2 g h],
 *        sequence_lens [batch], initial_h [dirs, batch, h]; LSTM adds initial_c and peepholes P [dirs, 3 h]. f32.
 * Value  RNN   H = f(x W' + H R' + b)
 *        LSTM  gates i o f c:  C = f(f) C + f(i) g(c),  H = f(o) h(C);  peepholes add P C to i and f, and P times the new C to o
 *        GRU   gates z r h:  H = (1 - z) g(x Wh' + (r H) Rh' + b) + z H;  linear_before_reset: g(x Wh' + r (H Rh' + Rb) + Wb)
 * Beyond the length of a sequence Y is 0 and H and C stay; backwards means from its own last step. A row meets only itself and the weights.
 * How    x W' of all steps is one product, H R' one a step. W and R are packed on each run: about the price of one step. */
#include "core/ops/move.h"

#include "core/base/checked.h"
#include "core/graph/cost.h"
#include "core/kernels/eltwise/eltwise.h"
#include "core/kernels/gemm/gemm.h"
#include "core/kernels/vmath/vmath.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <strings.h>

typedef enum kind { RNN, LSTM, GRU } kind;

typedef struct act {
    int how; /* index into act_names */
    float alpha, beta;
} act;

/* Inputs and outputs by place. */
enum { IN_X, IN_W, IN_R, IN_B, IN_LENS, IN_H, IN_C, IN_P };
enum { OUT_Y, OUT_H, OUT_C };

typedef struct cell {
    kind kind;
    int32_t gates, dirs, n_acts; /* n_acts: functions of one direction */
    bool reverse_only, batch_first, input_forget, reset_after;
    int64_t seq, batch, in, h;
    float clip; /* infinity: none */
    act acts[2][3];
} cell;

static const char *const act_names[] = { "Relu",       "Tanh",        "Sigmoid", "Affine",   "LeakyRelu", "ThresholdedRelu",
                                         "ScaledTanh", "HardSigmoid", "Elu",     "Softsign", "Softplus" };
enum {
    ACT_RELU,
    ACT_TANH,
    ACT_SIGMOID,
    ACT_AFFINE,
    ACT_LEAKY,
    ACT_THRESHOLD,
    ACT_SCALED_TANH,
    ACT_HARD_SIGMOID,
    ACT_ELU,
    ACT_SOFTSIGN,
    ACT_SOFTPLUS,
    ACT_COUNT
};
static const struct {
    int n; /* how many of the two it has */
    float alpha, beta;
} act_defaults[ACT_COUNT] = {
    [ACT_AFFINE] = { 2, 1, 0 },      [ACT_LEAKY] = { 1, 0.01f, 0 },          [ACT_THRESHOLD] = { 1, 1, 0 },
    [ACT_SCALED_TANH] = { 2, 1, 1 }, [ACT_HARD_SIGMOID] = { 2, 0.2f, 0.5f }, [ACT_ELU] = { 1, 1, 0 },
};

static kind kind_of(const qn_node *node) { return node->op_type[0] == 'R' ? RNN : node->op_type[0] == 'L' ? LSTM : GRU; }

/* -- attributes ----------------------------------------------------------------------------------------------------------- */

/* What is left of activation_alpha and activation_beta: "consumed in the order of activation functions", by those that have one. */
typedef struct factors {
    const float *alpha, *beta;
    int64_t n_alpha, n_beta;
} factors;

static qn_status read_act(const char *name, factors *f, act *a, qn_error *err)
{
    for (int i = 0; i < ACT_COUNT; i++) {
        if (strcasecmp(name, act_names[i]) != 0) continue;
        *a = (act){ i, act_defaults[i].alpha, act_defaults[i].beta };
        if (act_defaults[i].n >= 1 && f->n_alpha-- > 0) a->alpha = *f->alpha++;
        if (act_defaults[i].n >= 2 && f->n_beta-- > 0) a->beta = *f->beta++;
        return QN_OK;
    }
    return qn_error_set(err, QN_ERR_UNSUPPORTED, "activation \"%.32s\" is unsupported", name);
}

static qn_status read_acts(const qn_node *node, cell *c, qn_error *err)
{
    static const char *const defaults[][3] = { { "Tanh" }, { "Sigmoid", "Tanh", "Tanh" }, { "Sigmoid", "Tanh" } };
    const qn_attr *names = qn_node_attr(node, "activations");
    factors f = { 0 };
    qn_status st = QN_OK;

    f.alpha = qn_node_floats(node, "activation_alpha", &f.n_alpha);
    f.beta = qn_node_floats(node, "activation_beta", &f.n_beta);

    c->n_acts = c->kind == RNN ? 1 : c->kind == LSTM ? 3 : 2;
    if (names && (names->type != QN_ATTR_STRINGS || names->n != (int64_t)c->dirs * c->n_acts))
        return qn_error_set(err, QN_ERR_INVALID, "activations has %" PRId64 " names, expected %" PRId32, names->n, c->dirs * c->n_acts);
    for (int32_t i = 0; st == QN_OK && i < c->dirs * c->n_acts; i++)
        st = read_act(names ? names->strings[i] : defaults[c->kind][i % c->n_acts], &f, &c->acts[i / c->n_acts][i % c->n_acts], err);
    return st;
}

static qn_status read_attrs(const qn_node *node, cell *c, qn_error *err)
{
    const char *direction = qn_node_str(node, "direction", "forward");

    *c = (cell){ .kind = kind_of(node), .dirs = 1 };
    c->gates = c->kind == RNN ? 1 : c->kind == LSTM ? 4 : 3;
    if (strcmp(direction, "bidirectional") == 0)
        c->dirs = 2;
    else if (strcmp(direction, "reverse") == 0)
        c->reverse_only = true;
    else if (strcmp(direction, "forward") != 0)
        return qn_error_set(err, QN_ERR_INVALID, "direction is \"%.32s\", expected forward, reverse or bidirectional", direction);
    c->batch_first = qn_node_int(node, "layout", 0) != 0;
    c->input_forget = qn_node_int(node, "input_forget", 0) != 0;
    c->reset_after = qn_node_int(node, "linear_before_reset", 0) != 0;
    c->clip = qn_node_float(node, "clip", INFINITY);
    if (!(c->clip > 0)) return qn_error_set(err, QN_ERR_INVALID, "clip is %g, expected above 0", (double)c->clip);
    return read_acts(node, c, err);
}

/* -- inference ------------------------------------------------------------------------------------------------------------ */

static qn_status recurrent_infer(qn_infer *c, qn_error *err)
{
    static const int8_t ranks[] = { 3, 3, 3, 2, 1, 3, 3, 2 };
    cell k;
    const qn_type *x = &c->in[IN_X];
    qn_dim seq = QN_DIM_UNKNOWN, batch = QN_DIM_UNKNOWN, h = QN_DIM_UNKNOWN, dirs;
    int64_t hidden = qn_node_int(c->node, "hidden_size", 0);
    qn_status st;

    if ((st = qn_move_need(c, 3, err)) != QN_OK || (st = read_attrs(c->node, &k, err)) != QN_OK) return st;
    for (int32_t i = 0; i < c->node->n_in; i++) {
        if ((st = qn_move_need_rank(c, i, ranks[i], ranks[i], err)) != QN_OK ||
            (st = qn_move_need_dtype(c, i, i == IN_LENS ? 1u << QN_I32 : 1u << QN_F32, err)) != QN_OK)
            return st;
    }
    if (x->rank == 3) {
        seq = x->dims[k.batch_first ? 1 : 0];
        batch = x->dims[k.batch_first ? 0 : 1];
    }
    if (hidden > 0) h = qn_dims_const(c->dims, hidden);
    if (c->in[IN_R].rank == 3 && !qn_move_join(c, h, c->in[IN_R].dims[2], true, &h))
        return qn_error_set(err, QN_ERR_SHAPE, "R does not fit hidden_size %" PRId64, hidden);
    dirs = qn_dims_const(c->dims, k.dirs);
    for (int32_t o = 0; o < c->node->n_out; o++) {
        const qn_dim first[] = { seq, dirs, batch, h }, y_batch[] = { batch, seq, dirs, h }, state[] = { dirs, batch, h },
                     s_batch[] = { batch, dirs, h };

        if (c->node->out[o] == QN_NONE) continue;
        if ((st = qn_move_type(&c->out[o], QN_F32, o == OUT_Y ? 4 : 3, err)) != QN_OK) return st;
        memcpy(c->out[o].dims,
               o == OUT_Y      ? (k.batch_first ? y_batch : first)
               : k.batch_first ? s_batch
                               : state,
               (size_t)c->out[o].rank * sizeof *first);
    }
    return QN_OK;
}

static void recurrent_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    const bool first = qn_node_int(c->node, "layout", 0) != 0;
    const int32_t axis = first ? 0 : 1;

    for (int32_t i = 0; i < c->node->n_in; i++) {
        const bool per_row = i == IN_X || i >= IN_LENS;
        const int32_t want = !per_row || i == IN_P ? QN_ROWS_NONE : i == IN_LENS ? 0 : axis;

        if (c->node->in[i] != QN_NONE && in_axis[i] != want) return;
    }
    for (int32_t o = 0; o < c->node->n_out; o++) out_axis[o] = o == OUT_Y ? (first ? 0 : 2) : axis;
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

static qn_status check_shape(const qn_run *r, int32_t i, int32_t rank, const int64_t *dims, qn_error *err)
{
    char have[96], want[96];

    if (!qn_move_has(r, i) || (r->in[i].rank == rank && memcmp(r->in[i].dims, dims, (size_t)rank * sizeof *dims) == 0)) return QN_OK;
    return qn_error_set(err, QN_ERR_SHAPE, "input %" PRId32 " is %s, expected %s", i,
                        qn_shape_print(r->in[i].rank, r->in[i].dims, have, sizeof have), qn_shape_print(rank, dims, want, sizeof want));
}

static qn_status resolve(const qn_run *r, cell *c, qn_error *err)
{
    const qn_tensor *x = &r->in[IN_X];
    int64_t gh;
    qn_status st = read_attrs(r->node, c, err);

    if (st != QN_OK) return st;
    if (x->rank != 3 || r->in[IN_R].rank != 3)
        return qn_error_set(err, QN_ERR_SHAPE, "X has rank %" PRId32 ", R %" PRId32 ", expected 3", x->rank, r->in[IN_R].rank);
    c->seq = x->dims[c->batch_first ? 1 : 0];
    c->batch = x->dims[c->batch_first ? 0 : 1];
    c->in = x->dims[2];
    c->h = r->in[IN_R].dims[2];
    if (!qn_i64_mul(c->gates, c->h, &gh) || !qn_i64_mul(2, gh, &(int64_t){ 0 }))
        return qn_error_set(err, QN_ERR_LIMIT, "hidden size %" PRId64, c->h);
    if (qn_node_int(r->node, "hidden_size", c->h) != c->h)
        return qn_error_set(err, QN_ERR_SHAPE, "R is for hidden size %" PRId64 ", the attribute says another", c->h);
    if ((st = check_shape(r, IN_W, 3, (const int64_t[]){ c->dirs, gh, c->in }, err)) != QN_OK ||
        (st = check_shape(r, IN_R, 3, (const int64_t[]){ c->dirs, gh, c->h }, err)) != QN_OK ||
        (st = check_shape(r, IN_B, 2, (const int64_t[]){ c->dirs, 2 * gh }, err)) != QN_OK ||
        (st = check_shape(r, IN_LENS, 1, &c->batch, err)) != QN_OK ||
        (st = check_shape(r, IN_P, 2, (const int64_t[]){ c->dirs, 3 * c->h }, err)) != QN_OK)
        return st;
    for (int32_t i = IN_H; i <= IN_C; i++)
        if ((st = check_shape(r, i, 3,
                              c->batch_first ? (const int64_t[]){ c->batch, c->dirs, c->h } : (const int64_t[]){ c->dirs, c->batch, c->h },
                              err)) != QN_OK)
            return st;
    for (int64_t b = 0; qn_move_has(r, IN_LENS) && b < c->batch && r->in[IN_LENS].data; b++) {
        int64_t n = qn_move_int(&r->in[IN_LENS], b);

        if (n < 0 || n > c->seq)
            return qn_error_set(err, QN_ERR_RANGE, "sequence_lens[%" PRId64 "] is %" PRId64 ", the sequence has %" PRId64 " steps", b, n,
                                c->seq);
    }
    return QN_OK;
}

/* One direction at work. */
typedef struct lane {
    const cell *c;
    const qn_run *run;
    const qn_gemm_kernel *gemm;
    const qn_vmath_kernel *vmath;
    const qn_eltwise_kernel *eltwise;
    int32_t dir;
    float *w, *r, *r_h;              /* packed: in x (g h), h x (g h) (GRU before reset: h x 2h), GRU: h x h */
    float *xw;                       /* [seq * batch, g h] in the order of X */
    float *rec;                      /* [batch, g h] */
    float *h, *cell, *reset, *rec_h; /* [batch, h] each */
    float *tmp;                      /* [2 h] */
} lane;

static int64_t gh(const cell *c) { return c->gates * c->h; }
/* Columns of the product H R' that every step needs at once. */
static int64_t rec_columns(const cell *c) { return c->kind == GRU && !c->reset_after ? 2 * c->h : gh(c); }

static void lane_memory(const cell *c, qn_move_pieces *p, lane *l)
{
    size_t w = 0, r = 0, rh = 0;
    int64_t rows, state, wide;

    if (!qn_gemm_packed_bytes(c->in, gh(c), &w) || !qn_gemm_packed_bytes(c->h, rec_columns(c), &r) ||
        !qn_gemm_packed_bytes(c->h, c->h, &rh))
        p->failed = true;
    if (!qn_i64_mul(c->seq, c->batch, &rows) || !qn_i64_mul(rows, gh(c), &rows) || !qn_i64_mul(c->batch, c->h, &state) ||
        !qn_i64_mul(c->batch, gh(c), &wide)) {
        p->failed = true;
        return;
    }
    l->w = qn_move_piece(p, (int64_t)w, 1);
    l->r = qn_move_piece(p, (int64_t)r, 1);
    l->r_h = c->kind == GRU && !c->reset_after ? qn_move_piece(p, (int64_t)rh, 1) : NULL;
    l->xw = qn_move_piece(p, rows, sizeof(float));
    l->rec = qn_move_piece(p, wide, sizeof(float));
    l->h = qn_move_piece(p, state, sizeof(float));
    l->cell = qn_move_piece(p, state, sizeof(float));
    l->reset = qn_move_piece(p, state, sizeof(float));
    l->rec_h = qn_move_piece(p, state, sizeof(float));
    l->tmp = qn_move_piece(p, 2 * c->h, sizeof(float));
}

/* packed = transpose of w [n, k]. */
static void pack(float *packed, const float *w, int64_t n, int64_t k)
{
    size_t bytes = 0;

    if (!packed || k == 0 || n == 0) return;
    (void)qn_gemm_packed_bytes(k, n, &bytes);
    memset(packed, 0, bytes);
    qn_gemm_pack(packed, k, n, 0, k, w, 1, k);
}

static void multiply(const lane *l, const float *a, int64_t m, int64_t k, const float *packed, int64_t n, float *y)
{
    qn_gemm_args g = { .m = m, .n = n, .k = k, .a = a, .lda = k, .b = packed, .c = y, .ldc = n };

    if (m == 0 || n == 0) return;
    if (k == 0)
        memset(y, 0, (size_t)(m * n) * sizeof *y);
    else
        l->gemm->run(&g, l->run->team);
}

/* `clip`: not for h(C) of an LSTM, as ONNX Runtime has it: the clip bounds what comes from products. */
static void activate(const lane *l, int32_t which, bool clip, float *x)
{
    const act *a = &l->c->acts[l->dir][which];
    const int64_t n = l->c->h;
    qn_unary_fn *const *u = l->eltwise->unary;
    qn_vmath_fn *const *v = l->vmath->run;

    if (clip && l->c->clip < INFINITY) u[QN_UNARY_CLIP](x, x, n, -l->c->clip, l->c->clip);
    switch (a->how) {
    case ACT_RELU: u[QN_UNARY_RELU](x, x, n, 0, 0); break;
    case ACT_TANH: v[QN_VMATH_TANH](x, x, n, 0, 0); break;
    case ACT_SIGMOID: v[QN_VMATH_SIGMOID](x, x, n, 0, 0); break;
    case ACT_AFFINE: u[QN_UNARY_AFFINE](x, x, n, a->alpha, a->beta); break;
    case ACT_LEAKY: u[QN_UNARY_LEAKY](x, x, n, a->alpha, 0); break;
    case ACT_THRESHOLD: u[QN_UNARY_THRESHOLD](x, x, n, a->alpha, 0); break;
    case ACT_SCALED_TANH:
        u[QN_UNARY_AFFINE](x, x, n, a->beta, 0);
        v[QN_VMATH_TANH](x, x, n, 0, 0);
        u[QN_UNARY_AFFINE](x, x, n, a->alpha, 0);
        break;
    case ACT_HARD_SIGMOID: u[QN_UNARY_HARDSIGMOID](x, x, n, a->alpha, a->beta); break;
    case ACT_ELU: v[QN_VMATH_ELU](x, x, n, a->alpha, 0); break;
    case ACT_SOFTSIGN: u[QN_UNARY_SOFTSIGN](x, x, n, 0, 0); break;
    default: v[QN_VMATH_SOFTPLUS](x, x, n, 0, 0); break;
    }
}

/* x[j] += y[j] (+ bias[j]); y and bias may be NULL. */
static void add(float *x, const float *y, const float *bias, int64_t n)
{
    for (int64_t j = 0; y && j < n; j++) x[j] += y[j];
    for (int64_t j = 0; bias && j < n; j++) x[j] += bias[j];
}

static const float *bias_of(const lane *l, bool recurrent)
{
    if (!qn_move_has(l->run, IN_B)) return NULL;
    return (const float *)l->run->in[IN_B].data + l->dir * 2 * gh(l->c) + (recurrent ? gh(l->c) : 0);
}

/* One step of row b; g: the row of x W', to become the gates. */
static void step_rnn(lane *l, int64_t b, float *g)
{
    const int64_t h = l->c->h;
    const float *wb = bias_of(l, false), *rb = bias_of(l, true);

    add(g, l->rec + b * h, wb, h);
    add(g, rb, NULL, h);
    activate(l, 0, true, g);
    memcpy(l->h + b * h, g, (size_t)h * sizeof *g);
}

static void peep(const lane *l, int64_t gate, const float *state, float *g)
{
    const int64_t h = l->c->h;
    const float *p;

    if (!qn_move_has(l->run, IN_P)) return;
    p = (const float *)l->run->in[IN_P].data + (l->dir * 3 + gate) * h;
    for (int64_t j = 0; j < h; j++) g[j] += p[j] * state[j];
}

static void step_lstm(lane *l, int64_t b, float *g)
{
    const int64_t h = l->c->h;
    float *i = g, *o = g + h, *f = g + 2 * h, *n = g + 3 * h, *state = l->cell + b * h, *y = l->h + b * h;

    add(g, l->rec + b * 4 * h, bias_of(l, false), 4 * h);
    add(g, bias_of(l, true), NULL, 4 * h);
    peep(l, 0, state, i);
    peep(l, 2, state, f);
    activate(l, 0, true, i);
    if (l->c->input_forget)
        for (int64_t j = 0; j < h; j++) f[j] = 1 - i[j];
    else
        activate(l, 0, true, f);
    activate(l, 1, true, n);
    for (int64_t j = 0; j < h; j++) state[j] = f[j] * state[j] + i[j] * n[j];
    peep(l, 1, state, o);
    activate(l, 0, true, o);
    memcpy(l->tmp, state, (size_t)h * sizeof *state);
    activate(l, 2, false, l->tmp);
    for (int64_t j = 0; j < h; j++) y[j] = o[j] * l->tmp[j];
}

/* The first half of a GRU step: z and r of row b, and r * H where that is multiplied by R. */
static void step_gru_gates(lane *l, int64_t b, float *g)
{
    const int64_t h = l->c->h, columns = rec_columns(l->c);
    const float *wb = bias_of(l, false), *rb = bias_of(l, true);

    add(g, l->rec + b * columns, wb, 2 * h);
    add(g, rb, NULL, 2 * h);
    activate(l, 0, true, g);
    activate(l, 0, true, g + h);
    for (int64_t j = 0; j < h; j++) l->reset[b * h + j] = g[h + j] * l->h[b * h + j];
}

static void step_gru_state(lane *l, int64_t b, float *g)
{
    const int64_t h = l->c->h;
    const float *wb = bias_of(l, false), *rb = bias_of(l, true), *z = g, *r = g + h;
    float *n = g + 2 * h, *y = l->h + b * h;

    if (l->c->reset_after) {
        memcpy(l->tmp, l->rec + b * 3 * h + 2 * h, (size_t)h * sizeof *n);
        add(l->tmp, rb ? rb + 2 * h : NULL, NULL, h);
        for (int64_t j = 0; j < h; j++) n[j] += r[j] * l->tmp[j];
        add(n, wb ? wb + 2 * h : NULL, NULL, h);
    } else {
        add(n, l->rec_h + b * h, wb ? wb + 2 * h : NULL, h);
        add(n, rb ? rb + 2 * h : NULL, NULL, h);
    }
    activate(l, 1, true, n);
    for (int64_t j = 0; j < h; j++) y[j] = (1 - z[j]) * n[j] + z[j] * y[j];
}

static int64_t length_of(const lane *l, int64_t b)
{
    return qn_move_has(l->run, IN_LENS) ? qn_move_int(&l->run->in[IN_LENS], b) : l->c->seq;
}

/* The time that row b is at in step s, or -1 when its sequence is over. */
static int64_t time_of(const lane *l, int64_t b, int64_t s)
{
    const int64_t n = length_of(l, b);

    if (s >= n) return -1;
    return l->c->reverse_only || l->dir == 1 ? n - 1 - s : s;
}

static float *gates_at(const lane *l, int64_t b, int64_t t)
{
    return l->xw + (l->c->batch_first ? b * l->c->seq + t : t * l->c->batch + b) * gh(l->c);
}

static float *y_at(const lane *l, int64_t b, int64_t t)
{
    const cell *c = l->c;
    float *y = l->run->out[OUT_Y].data;

    return y + (c->batch_first ? (b * c->seq + t) * c->dirs + l->dir : (t * c->dirs + l->dir) * c->batch + b) * c->h;
}

/* Where row b of this direction lies in a state tensor (initial_h, Y_h, ...). */
static int64_t state_at(const lane *l, int64_t b)
{
    return (l->c->batch_first ? b * l->c->dirs + l->dir : l->dir * l->c->batch + b) * l->c->h;
}

static void load_state(const lane *l, int32_t i, float *state)
{
    const size_t row = (size_t)l->c->h * sizeof *state;

    for (int64_t b = 0; b < l->c->batch; b++) {
        if (qn_move_has(l->run, i))
            memcpy(state + b * l->c->h, (const float *)l->run->in[i].data + state_at(l, b), row);
        else
            memset(state + b * l->c->h, 0, row);
    }
}

static void run_step(lane *l, int64_t s)
{
    const cell *c = l->c;

    multiply(l, l->h, c->batch, c->h, l->r, rec_columns(c), l->rec);
    for (int64_t b = 0; b < c->batch; b++) {
        int64_t t = time_of(l, b, s);

        if (c->kind == GRU) memset(l->reset + b * c->h, 0, (size_t)c->h * sizeof(float));
        if (t < 0) continue;
        if (c->kind == RNN) step_rnn(l, b, gates_at(l, b, t));
        if (c->kind == LSTM) step_lstm(l, b, gates_at(l, b, t));
        if (c->kind == GRU) step_gru_gates(l, b, gates_at(l, b, t));
    }
    if (l->r_h) multiply(l, l->reset, c->batch, c->h, l->r_h, c->h, l->rec_h);
    for (int64_t b = 0; b < c->batch; b++) {
        int64_t t = time_of(l, b, s);

        if (t >= 0 && c->kind == GRU) step_gru_state(l, b, gates_at(l, b, t));
        if (t >= 0 && qn_move_wants(l->run, OUT_Y)) memcpy(y_at(l, b, t), l->h + b * c->h, (size_t)c->h * sizeof(float));
    }
}

static void run_lane(lane *l)
{
    const cell *c = l->c;
    const float *w = (const float *)l->run->in[IN_W].data + l->dir * gh(c) * c->in,
                *r = (const float *)l->run->in[IN_R].data + l->dir * gh(c) * c->h;

    pack(l->w, w, gh(c), c->in);
    pack(l->r, r, rec_columns(c), c->h);
    if (l->r_h) pack(l->r_h, r + 2 * c->h * c->h, c->h, c->h);
    load_state(l, IN_H, l->h);
    load_state(l, IN_C, l->cell);
    multiply(l, l->run->in[IN_X].data, c->seq * c->batch, c->in, l->w, gh(c), l->xw);
    for (int64_t s = 0; s < c->seq; s++) run_step(l, s);
    for (int64_t b = 0; b < c->batch; b++) {
        const size_t row = (size_t)c->h * sizeof(float);

        for (int64_t t = length_of(l, b); t < c->seq && qn_move_wants(l->run, OUT_Y); t++) memset(y_at(l, b, t), 0, row);
        if (qn_move_wants(l->run, OUT_H)) memcpy((float *)l->run->out[OUT_H].data + state_at(l, b), l->h + b * c->h, row);
        if (qn_move_wants(l->run, OUT_C)) memcpy((float *)l->run->out[OUT_C].data + state_at(l, b), l->cell + b * c->h, row);
    }
}

static qn_status place_outputs(qn_run *r, const cell *c, qn_error *err)
{
    const int64_t y[2][4] = { { c->seq, c->dirs, c->batch, c->h }, { c->batch, c->seq, c->dirs, c->h } };
    const int64_t state[2][3] = { { c->dirs, c->batch, c->h }, { c->batch, c->dirs, c->h } };
    qn_status st = qn_move_output(r, OUT_Y, QN_F32, 4, y[c->batch_first], err);

    if (st == QN_OK) st = qn_move_output(r, OUT_H, QN_F32, 3, state[c->batch_first], err);
    return st == QN_OK ? qn_move_output(r, OUT_C, QN_F32, 3, state[c->batch_first], err) : st;
}

static qn_status recurrent_run(qn_run *r, qn_error *err)
{
    cell c;
    lane l = { .c = &c, .run = r, .gemm = qn_gemm_pick(r->cpu), .vmath = qn_vmath_pick(r->cpu), .eltwise = qn_eltwise_pick(r->cpu) };
    qn_move_pieces p = { NULL, 0, false };
    qn_move_work work;
    qn_status st;

    if ((st = resolve(r, &c, err)) != QN_OK || (st = place_outputs(r, &c, err)) != QN_OK) return st;
    if (c.batch == 0 || c.h == 0) return QN_OK;
    lane_memory(&c, &p, &l);
    if (p.failed)
        return qn_error_set(err, QN_ERR_LIMIT, "%" PRId64 " steps of %" PRId64 " rows with hidden size %" PRId64, c.seq, c.batch, c.h);
    if ((st = qn_move_work_begin(r, p.at + 1, &work, err)) != QN_OK) return st;
    p = (qn_move_pieces){ work.mem, 0, false };
    lane_memory(&c, &p, &l);
    for (l.dir = 0; l.dir < c.dirs; l.dir++) run_lane(&l);
    qn_move_work_end(&work);
    return QN_OK;
}

static qn_status recurrent_lower(qn_lower *lo, qn_error *err)
{
    qn_run run = { .node = lo->node, .in = lo->in };
    qn_move_pieces p = { NULL, 0, false };
    cell c;
    lane l = { 0 };

    for (int32_t i = 0; i < lo->node->n_in; i++)
        if (lo->node->in[i] != QN_NONE && lo->in[i].rank < 0) return QN_OK;
    if (resolve(&run, &c, NULL) != QN_OK) return QN_OK; /* the run will say it */
    lane_memory(&c, &p, &l);
    lo->kernel = qn_gemm_pick(lo->cpu)->name;
    return p.failed ? QN_OK : qn_move_lower_work(lo, p.at + 1, err);
}

/* Every gate of every step meets the input and the state before it. */
static uint64_t recurrent_cost(const qn_node *n, const qn_tensor *in, const qn_tensor *out)
{
    uint64_t gate_places = 1, inner = qn_cost_add(qn_cost_dim(&in[IN_W], 2), qn_cost_dim(&in[IN_R], 2));

    (void)n;
    (void)out;
    for (int32_t d = 0; d < 2; d++)
        gate_places = qn_cost_mul(gate_places, qn_cost_mul(qn_cost_dim(&in[IN_X], d), qn_cost_dim(&in[IN_W], d)));
    return qn_cost_mul(gate_places, inner);
}

#define RECURRENT(id, op_name, n_in, n_out)                                                                                                \
    const qn_op qn_op_##id = {                                                                                                             \
        .name = op_name,                                                                                                                   \
        .since = 7,                                                                                                                        \
        .min_in = 3,                                                                                                                       \
        .max_in = n_in,                                                                                                                    \
        .min_out = 0,                                                                                                                      \
        .max_out = n_out,                                                                                                                  \
        .infer = recurrent_infer,                                                                                                          \
        .rows = recurrent_rows,                                                                                                            \
        .lower = recurrent_lower,                                                                                                          \
        .run = recurrent_run,                                                                                                              \
        .cost = recurrent_cost,                                                                                                            \
        .kernels = "gemm",                                                                                                                 \
    }
RECURRENT(rnn, "RNN", 6, 2);
RECURRENT(lstm, "LSTM", 8, 3);
RECURRENT(gru, "GRU", 6, 2);
