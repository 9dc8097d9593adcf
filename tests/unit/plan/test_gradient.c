/* tests/unit/plan/test_gradient.c - ai.onnx.preview.training.Gradient in loaded models, in f64, against central differences.
 * Every row with a grad slot must have a case: the table is walked. */
#include "tests/unit/plan/model_file.h"

#include "core/ops/ops.h"
#include "quern/cpu.h"

#include <math.h>
#include <stdio.h>

#define TRAINING  "ai.onnx.preview.training"
#define MAX_ELEMS 64
#define MAX_X     3

static double next_number(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) / 9007199254740992.0;
}

static void attr_strings(mf *m, const char *name, const char *list)
{
    pb a = onnx_attr(name, 8);

    while (*list) {
        size_t len = strcspn(list, ",");

        pb_bytes(&a, 9, list, len);
        list += len + (list[len] == ',');
    }
    pb_msg(&m->node, 5, a);
}

static void attr_string(mf *m, const char *name, const char *value)
{
    pb a = onnx_attr(name, 3);

    pb_str(&a, 4, value);
    pb_msg(&m->node, 5, a);
}

static void gradient(mf *m, const char *in, const char *out, const char *xs, const char *zs, const char *y)
{
    m->domain = TRAINING;
    mf_node(m, "Gradient", in, out);
    pb_str(&m->node, 7, TRAINING);
    attr_strings(m, "xs", xs);
    if (zs) attr_strings(m, "zs", zs);
    attr_string(m, "y", y);
}

/* -- every row ------------------------------------------------------------------------------------------------------------ */

typedef struct shape {
    size_t rank;
    int64_t dims[3];
} shape;

typedef struct gradient_case {
    const char *op;
    int n_x;
    shape x[MAX_X];
    double lo, hi;
    void (*more)(mf *m); /* attributes and further inputs of the node; NULL: none */
    const char *extra;   /* names of further inputs */
} gradient_case;

static void axis_0(mf *m) { mf_attr_int(m, "axis", 0); }
static void alpha(mf *m) { mf_attr_float(m, "alpha", 0.3f); }
static void to_double(mf *m) { mf_attr_int(m, "to", ONNX_DOUBLE); }
static void perm(mf *m) { mf_attr_ints(m, "perm", 3, (int64_t[]){ 1, 2, 0 }); }
static void first_axis_away(mf *m)
{
    mf_attr_ints(m, "axes", 1, (int64_t[]){ 0 });
    mf_attr_int(m, "keepdims", 0);
}
static void axes_kept(mf *m) { mf_attr_ints(m, "axes", 2, (int64_t[]){ -1, 0 }); }
static void all_away(mf *m) { mf_attr_int(m, "keepdims", 0); }
static void turned(mf *m)
{
    mf_attr_float(m, "alpha", 0.7f);
    mf_attr_float(m, "beta", 1.3f);
    mf_attr_int(m, "transA", 1);
}
static void turned_both(mf *m)
{
    turned(m);
    mf_attr_int(m, "transB", 1);
}
static void turned_b(mf *m) { mf_attr_int(m, "transB", 1); }

static const gradient_case cases[] = {
    { "Add", 2, { { 2, { 2, 3 } }, { 1, { 3 } } }, -2, 2, NULL, NULL },
    { "Sub", 2, { { 1, { 3 } }, { 2, { 2, 1 } } }, -2, 2, NULL, NULL },
    { "Mul", 2, { { 3, { 2, 1, 3 } }, { 2, { 4, 3 } } }, -2, 2, NULL, NULL },
    { "Div", 2, { { 2, { 2, 3 } }, { 0, { 0 } } }, 0.5, 2, NULL, NULL },
    { "Div", 2, { { 1, { 3 } }, { 2, { 2, 3 } } }, 0.5, 2, NULL, NULL },
    { "Pow", 2, { { 2, { 2, 3 } }, { 1, { 3 } } }, 0.5, 2, NULL, NULL },
    { "Sum", 3, { { 2, { 2, 3 } }, { 1, { 3 } }, { 2, { 2, 1 } } }, -2, 2, NULL, NULL },
    { "Mean", 3, { { 2, { 2, 3 } }, { 1, { 3 } }, { 2, { 2, 1 } } }, -2, 2, NULL, NULL },
    { "Abs", 1, { { 1, { 5 } } }, 0.1, 2, NULL, NULL },
    { "Abs", 1, { { 1, { 5 } } }, -2, -0.1, NULL, NULL },
    { "Neg", 1, { { 1, { 5 } } }, -2, 2, NULL, NULL },
    { "Sqrt", 1, { { 1, { 5 } } }, 0.5, 2, NULL, NULL },
    { "Reciprocal", 1, { { 1, { 5 } } }, 0.5, 2, NULL, NULL },
    { "Exp", 1, { { 1, { 5 } } }, -2, 2, NULL, NULL },
    { "Log", 1, { { 1, { 5 } } }, 0.5, 2, NULL, NULL },
    { "Erf", 1, { { 1, { 5 } } }, -2, 2, NULL, NULL },
    { "Sin", 1, { { 1, { 5 } } }, -2, 2, NULL, NULL },
    { "Cos", 1, { { 1, { 5 } } }, -2, 2, NULL, NULL },
    { "Tan", 1, { { 1, { 5 } } }, -1, 1, NULL, NULL },
    { "Asin", 1, { { 1, { 5 } } }, -0.9, 0.9, NULL, NULL },
    { "Acos", 1, { { 1, { 5 } } }, -0.9, 0.9, NULL, NULL },
    { "Atan", 1, { { 1, { 5 } } }, -2, 2, NULL, NULL },
    { "Sinh", 1, { { 1, { 5 } } }, -2, 2, NULL, NULL },
    { "Cosh", 1, { { 1, { 5 } } }, -2, 2, NULL, NULL },
    { "Asinh", 1, { { 1, { 5 } } }, -2, 2, NULL, NULL },
    { "Acosh", 1, { { 1, { 5 } } }, 1.2, 3, NULL, NULL },
    { "Atanh", 1, { { 1, { 5 } } }, -0.9, 0.9, NULL, NULL },
    { "Relu", 1, { { 1, { 5 } } }, 0.1, 2, NULL, NULL },
    { "Relu", 1, { { 1, { 5 } } }, -2, -0.1, NULL, NULL },
    { "LeakyRelu", 1, { { 1, { 5 } } }, -2, -0.1, alpha, NULL },
    { "LeakyRelu", 1, { { 1, { 5 } } }, 0.1, 2, alpha, NULL },
    { "Elu", 1, { { 1, { 5 } } }, -2, -0.1, alpha, NULL },
    { "Elu", 1, { { 1, { 5 } } }, 0.1, 2, alpha, NULL },
    { "Sigmoid", 1, { { 1, { 5 } } }, -2, 2, NULL, NULL },
    { "Tanh", 1, { { 1, { 5 } } }, -2, 2, NULL, NULL },
    { "Softplus", 1, { { 1, { 5 } } }, -2, 2, NULL, NULL },
    { "Softsign", 1, { { 1, { 5 } } }, -2, 2, NULL, NULL },
    { "Softmax", 1, { { 2, { 3, 4 } } }, -2, 2, NULL, NULL },
    { "Softmax", 1, { { 2, { 3, 4 } } }, -2, 2, axis_0, NULL },
    { "LogSoftmax", 1, { { 2, { 3, 4 } } }, -2, 2, NULL, NULL },
    { "Identity", 1, { { 2, { 3, 4 } } }, -2, 2, NULL, NULL },
    { "Cast", 1, { { 2, { 3, 4 } } }, -2, 2, to_double, NULL },
    { "Reshape", 1, { { 2, { 3, 4 } } }, -2, 2, NULL, "shape" },
    { "Flatten", 1, { { 3, { 2, 2, 3 } } }, -2, 2, NULL, NULL },
    { "Squeeze", 1, { { 3, { 2, 1, 3 } } }, -2, 2, NULL, "one" },
    { "Unsqueeze", 1, { { 2, { 2, 3 } } }, -2, 2, NULL, "one" },
    { "Transpose", 1, { { 3, { 2, 3, 4 } } }, -2, 2, perm, NULL },
    { "Transpose", 1, { { 2, { 2, 3 } } }, -2, 2, NULL, NULL },
    { "Expand", 1, { { 2, { 3, 1 } } }, -2, 2, NULL, "shape" },
    { "Where", 2, { { 2, { 2, 3 } }, { 1, { 3 } } }, -2, 2, NULL, NULL },
    { "MatMul", 2, { { 2, { 2, 3 } }, { 2, { 3, 4 } } }, -2, 2, NULL, NULL },
    { "MatMul", 2, { { 3, { 2, 2, 3 } }, { 2, { 3, 4 } } }, -2, 2, NULL, NULL },
    { "MatMul", 2, { { 2, { 2, 3 } }, { 3, { 2, 3, 4 } } }, -2, 2, NULL, NULL },
    { "MatMul", 2, { { 1, { 3 } }, { 3, { 2, 3, 4 } } }, -2, 2, NULL, NULL },
    { "MatMul", 2, { { 3, { 2, 2, 3 } }, { 1, { 3 } } }, -2, 2, NULL, NULL },
    { "MatMul", 2, { { 1, { 3 } }, { 1, { 3 } } }, -2, 2, NULL, NULL },
    { "Gemm", 3, { { 2, { 2, 3 } }, { 2, { 3, 4 } }, { 1, { 4 } } }, -2, 2, NULL, NULL },
    { "Gemm", 3, { { 2, { 3, 2 } }, { 2, { 3, 4 } }, { 2, { 2, 1 } } }, -2, 2, turned, NULL },
    { "Gemm", 3, { { 2, { 3, 2 } }, { 2, { 4, 3 } }, { 0, { 0 } } }, -2, 2, turned_both, NULL },
    { "Gemm", 2, { { 2, { 2, 3 } }, { 2, { 4, 3 } } }, -2, 2, turned_b, NULL },
    { "ReduceSum", 1, { { 3, { 2, 3, 4 } } }, -2, 2, all_away, NULL },
    { "ReduceSum", 1, { { 3, { 2, 3, 4 } } }, -2, 2, all_away, "one" },
    { "ReduceSum", 1, { { 3, { 2, 3, 4 } } }, -2, 2, NULL, "one" },
    { "ReduceMean", 1, { { 3, { 2, 3, 4 } } }, -2, 2, first_axis_away, NULL },
    { "ReduceMean", 1, { { 3, { 2, 3, 4 } } }, -2, 2, axes_kept, NULL },
    { "ReduceSumSquare", 1, { { 3, { 2, 3, 4 } } }, -2, 2, first_axis_away, NULL },
    { "ReduceL1", 1, { { 3, { 2, 3, 4 } } }, 0.1, 2, first_axis_away, NULL },
    { "ReduceL2", 1, { { 3, { 2, 3, 4 } } }, -2, 2, axes_kept, NULL },
    { "ReduceLogSum", 1, { { 3, { 2, 3, 4 } } }, 0.5, 2, first_axis_away, NULL },
    { "ReduceLogSumExp", 1, { { 3, { 2, 3, 4 } } }, -2, 2, axes_kept, NULL },
};

enum { N_CASES = sizeof cases / sizeof cases[0] };

static size_t count_of(const shape *s)
{
    size_t n = 1;

    for (size_t d = 0; d < s->rank; d++) n *= (size_t)s->dims[d];
    return n;
}

/* z = sum(q^2 + q) of q = op(x0, x1, ..); outputs z, dz/dx0, dz/dx1, ... */
static qn_model *model_of(const gradient_case *c)
{
    static const char *const names[] = { "x0", "x0,x1", "x0,x1,x2" }, *const grads[] = { "d0", "d0,d1", "d0,d1,d2" };
    mf m = { 0 };
    char in[64];

    for (int i = 0; i < c->n_x; i++) mf_in(&m, (const char *[]){ "x0", "x1", "x2" }[i], ONNX_DOUBLE, c->x[i].rank, c->x[i].dims);
    mf_i64(&m, "one", 1, (int64_t[]){ 1 });
    mf_i64(&m, "shape", 2, strcmp(c->op, "Expand") == 0 ? (int64_t[]){ 1, 4 } : (int64_t[]){ 2, 6 });
    mf_raw_weight(&m, "mask", ONNX_BOOL, 2, (int64_t[]){ 2, 3 }, "\1\0\0\1\1\0", 6);
    snprintf(in, sizeof in, "%s%s%s%s", strcmp(c->op, "Where") == 0 ? "mask," : "", names[c->n_x - 1], c->extra ? "," : "",
             c->extra ? c->extra : "");
    gradient(&m, names[c->n_x - 1], grads[c->n_x - 1], names[c->n_x - 1], NULL, "z"); /* before what it names: order is no matter */
    mf_node(&m, c->op, in, "q");
    if (c->more) c->more(&m);
    mf_node(&m, "Mul", "q,q", "qq");
    mf_node(&m, "Add", "qq,q", "r");
    mf_node(&m, "ReduceSum", "r", "z");
    mf_attr_int(&m, "keepdims", 0);
    mf_out(&m, "z");
    for (int i = 0; i < c->n_x; i++) mf_out(&m, (const char *[]){ "d0", "d1", "d2" }[i]);
    return mf_load(&m, NULL);
}

static double z_of(qn_session *s, const qn_tensor *in)
{
    qn_tensor out[1 + MAX_X];

    run_ok(s, in, out);
    return *(const double *)out[0].data;
}

static void check_case(const gradient_case *c, int number)
{
    qn_model *m = model_of(c);
    qn_session *s = session_ok(m);
    double x[MAX_X][MAX_ELEMS], dx[MAX_X][MAX_ELEMS];
    uint64_t state = (uint64_t)number + 1;
    qn_tensor in[MAX_X], out[1 + MAX_X];

    for (int i = 0; i < c->n_x; i++) {
        for (size_t k = 0; k < count_of(&c->x[i]); k++) x[i][k] = c->lo + (c->hi - c->lo) * next_number(&state);
        in[i] = tensor_of(QN_F64, (int32_t)c->x[i].rank, c->x[i].dims, x[i]);
    }
    run_ok(s, in, out);
    for (int i = 0; i < c->n_x; i++) {
        assert_int_equal(out[1 + i].rank, c->x[i].rank);
        assert_int_equal(out[1 + i].bytes, count_of(&c->x[i]) * sizeof(double));
        memcpy(dx[i], out[1 + i].data, out[1 + i].bytes);
    }
    for (int i = 0; i < c->n_x; i++) {
        for (size_t k = 0; k < count_of(&c->x[i]); k++) {
            const double at = x[i][k], h = 1e-5;
            double up, down, slope;

            x[i][k] = at + h;
            up = z_of(s, in);
            x[i][k] = at - h;
            down = z_of(s, in);
            x[i][k] = at;
            slope = (up - down) / (2 * h);
            if (!(fabs(slope - dx[i][k]) <= 1e-6 * (1 + fabs(slope))))
                fail_msg("case %d (%s), input %d, element %zu: %.12g, by differences %.12g", number, c->op, i, k, dx[i][k], slope);
        }
    }
    qn_session_destroy(s);
    qn_model_unref(m);
}

static void every_rule_gives_the_slope(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) check_case(&cases[i], i);
}

static void every_row_with_a_gradient_has_a_case(void **state)
{
    (void)state;
    for (int32_t i = 0; i < qn_ops.n; i++) {
        bool met = !qn_ops.rows[i]->grad;

        for (int k = 0; k < N_CASES && !met; k++) met = strcmp(cases[k].op, qn_ops.rows[i]->name) == 0;
        if (!met) fail_msg("the gradient of %s has no case", qn_ops.rows[i]->name);
    }
}

/* -- what Gradient may be asked ------------------------------------------------------------------------------------------- */

static double one_number(mf *m, const char *out, int n_in, const double *given)
{
    qn_model *model;
    qn_session *s;
    qn_tensor in[3], y;
    double value;

    mf_out(m, out);
    model = mf_load(m, NULL);
    s = session_ok(model);
    for (int i = 0; i < n_in; i++) in[i] = tensor_of(QN_F64, 0, (int64_t[]){ 0 }, &given[i]);
    run_ok(s, in, &y);
    assert_int_equal(y.dtype, QN_F64);
    assert_int_equal(y.rank, 0);
    value = *(const double *)y.data;
    qn_session_destroy(s);
    qn_model_unref(model);
    return value;
}

static void scalars(mf *m, int n)
{
    for (int i = 0; i < n; i++) mf_in(m, (const char *[]){ "a", "b", "c" }[i], ONNX_DOUBLE, 0, NULL);
}

/* y = a^3, dy = 3 a^2, d2y = 6 a */
static void the_gradient_of_a_gradient_is_the_second_derivative(void **state)
{
    mf m = { 0 };

    (void)state;
    scalars(&m, 1);
    mf_node(&m, "Mul", "a,a", "aa");
    mf_node(&m, "Mul", "aa,a", "y");
    gradient(&m, "a", "dy", "a", NULL, "y");
    gradient(&m, "a", "d2y", "a", NULL, "dy");
    assert_true(one_number(&m, "d2y", 1, (double[]){ 5 }) == 30);
}

/* y = a^2 b; at a = c instead: dy/da = 2 c b */
static void other_values_may_be_given_than_those_that_are_named(void **state)
{
    mf m = { 0 };

    (void)state;
    scalars(&m, 3);
    mf_node(&m, "Mul", "a,a", "aa");
    mf_node(&m, "Mul", "aa,b", "y");
    gradient(&m, "c", "dy", "a", NULL, "y");
    assert_true(one_number(&m, "dy", 3, (double[]){ 2, 3, 7 }) == 42);
}

/* the same with b named in zs and given as c */
static void zs_are_put_in_place_and_not_differentiated(void **state)
{
    mf m = { 0 };

    (void)state;
    scalars(&m, 3);
    mf_node(&m, "Mul", "a,a", "aa");
    mf_node(&m, "Mul", "aa,b", "y");
    gradient(&m, "a,c", "dy", "a", "b", "y");
    assert_true(one_number(&m, "dy", 3, (double[]){ 2, 3, 7 }) == 28);
}

/* an inner value as x: what made it does not matter. y = u^2, u = 3 a, dy/du = 2 u */
static void a_value_in_between_may_be_an_x(void **state)
{
    mf m = { 0 };

    (void)state;
    scalars(&m, 1);
    mf_node(&m, "Add", "a,a", "u");
    mf_node(&m, "Mul", "u,u", "y");
    gradient(&m, "u", "dy", "u", NULL, "y");
    assert_true(one_number(&m, "dy", 1, (double[]){ 3 }) == 12);
}

static void what_y_does_not_depend_on_has_gradient_zero(void **state)
{
    mf m = { 0 };

    (void)state;
    scalars(&m, 2);
    mf_node(&m, "Mul", "a,a", "y");
    gradient(&m, "b", "dy", "b", NULL, "y");
    assert_true(one_number(&m, "dy", 2, (double[]){ 3, 4 }) == 0);
}

/* x [N, 4] + bias [4]: the gradient of the bias is summed over N without knowing it */
static void a_free_batch_is_summed(void **state)
{
    mf m = { 0 };
    qn_model *model;
    qn_session *s;
    const double x[12] = { 0 }, bias[4] = { 1, 2, 3, 4 };
    qn_tensor in[2], y;

    (void)state;
    mf_in(&m, "x", ONNX_DOUBLE, 2, (int64_t[]){ -1, 4 });
    mf_in(&m, "bias", ONNX_DOUBLE, 1, (int64_t[]){ 4 });
    mf_node(&m, "Add", "x,bias", "q");
    mf_node(&m, "ReduceSumSquare", "q", "z");
    gradient(&m, "bias", "db", "bias", NULL, "z");
    mf_out(&m, "db");
    model = mf_load(&m, NULL);
    s = session_ok(model);
    in[0] = tensor_of(QN_F64, 2, (int64_t[]){ 3, 4 }, x);
    in[1] = tensor_of(QN_F64, 1, (int64_t[]){ 4 }, bias);
    run_ok(s, in, &y);
    assert_int_equal(y.rank, 1);
    for (int i = 0; i < 4; i++) assert_true(((const double *)y.data)[i] == 6 * bias[i]);
    qn_session_destroy(s);
    qn_model_unref(model);
}

static void refused(mf *m, qn_status want, const char *words)
{
    qn_model *model = NULL;
    qn_error err = { 0 };

    mf_out(m, "dy");
    assert_int_equal(mf_try(m, NULL, &model, &err), want);
    if (!strstr(err.message, words)) fail_msg("'%s' does not say '%s'", err.message, words);
}

static void what_cannot_be_differentiated_is_named(void **state)
{
    mf m = { 0 };

    (void)state;
    scalars(&m, 1);
    mf_node(&m, "Ceil", "a", "y");
    gradient(&m, "a", "dy", "a", NULL, "y");
    refused(&m, QN_ERR_UNSUPPORTED, "Ceil");
    m = (mf){ 0 };
    scalars(&m, 1);
    gradient(&m, "a", "dy", "a", NULL, "nowhere");
    refused(&m, QN_ERR_INVALID, "'nowhere'");
    m = (mf){ 0 };
    scalars(&m, 1);
    mf_node(&m, "Exp", "a", "y");
    gradient(&m, "a", "dy", "b", NULL, "y");
    refused(&m, QN_ERR_INVALID, "'b'");
    m = (mf){ 0 };
    scalars(&m, 1);
    mf_node(&m, "Exp", "a", "y");
    gradient(&m, "a,a", "dy", "a", NULL, "y");
    refused(&m, QN_ERR_INVALID, "2 inputs for 1 names");
    m = (mf){ 0 };
    scalars(&m, 1);
    mf_node(&m, "Mul", "a,dy", "y"); /* y needs its own gradient */
    gradient(&m, "a", "dy", "a", NULL, "y");
    refused(&m, QN_ERR_INVALID, "cycle");
}

/* Every order is some times the one before: forty of them must end in an error, not in all the memory there is. */
static void orders_without_end_are_refused(void **state)
{
    mf m = { 0 };
    char from[16] = "y", to[16];

    (void)state;
    scalars(&m, 1);
    mf_node(&m, "Sigmoid", "a", "y");
    for (int i = 0; i < 40; i++) {
        snprintf(to, sizeof to, i == 39 ? "dy" : "d%d", i);
        gradient(&m, "a", to, "a", NULL, from);
        memcpy(from, to, sizeof from);
    }
    refused(&m, QN_ERR_LIMIT, "nodes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule_gives_the_slope),
        cmocka_unit_test(every_row_with_a_gradient_has_a_case),
        cmocka_unit_test(the_gradient_of_a_gradient_is_the_second_derivative),
        cmocka_unit_test(other_values_may_be_given_than_those_that_are_named),
        cmocka_unit_test(zs_are_put_in_place_and_not_differentiated),
        cmocka_unit_test(a_value_in_between_may_be_an_x),
        cmocka_unit_test(what_y_does_not_depend_on_has_gradient_zero),
        cmocka_unit_test(a_free_batch_is_summed),
        cmocka_unit_test(what_cannot_be_differentiated_is_named),
        cmocka_unit_test(orders_without_end_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
