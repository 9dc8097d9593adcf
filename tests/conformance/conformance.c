/* tests/conformance/conformance.c - run the folders of ONNX's backend tests.
 *
 *   quern_conformance DIR... [--filter GLOB] [--isa NAME] [-v]
 *
 * A test is a sub-folder with model.onnx and test_data_set_*: input_N.pb, output_N.pb. Each data set is run three times: twice with one
 * session and once with a team of two, and all three must agree to the bit. Outputs are compared as ONNX's own runner does: dtype and shape
 * exact, floats within 1e-7 + 1e-3 * |expected|, everything else exact. A test's file "tolerance" may say otherwise: a line a dtype, its name,
 * rtol, share, atol and steps; then |got - expected| <= rtol |expected| + share * (the largest |expected| of the tensor) + atol, and integers of
 * up to 16 bits may be that many steps apart. Prints "pass NAME", "drawn NAME", "FAIL NAME: why" or "skip NAME: why", and a summary; exits with 1 if a test failed, 2 on wrong usage. Only what Quern says is unsupported and what skips.def lists is skipped; any
 * other error is a failure. Tests that skips.def lists as drawn (random numbers) are compared in dtype and shape, and counted apart. */
#include "core/base/half.h"
#include "core/onnx/testdata.h"
#include "core/tensor/strings.h"
#include "quern/model.h"

#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* How near the outputs of one dtype must be. */
typedef struct nearness {
    double rtol, share, atol;
    int64_t steps;
} nearness;

typedef struct options {
    const char *filter;
    unsigned cpu;
    bool verbose;
} options;

typedef struct counts {
    int pass, drawn, fail, skip;
} counts;

/* What an input or output is: a tensor (n = 1), a sequence, or an optional. */
typedef struct value {
    qn_port_kind kind;
    bool present; /* false: an input that is left out, or an empty optional */
    qn_tensor *elems;
    int64_t n;
} value;

/* One test while it runs. */
typedef struct test {
    qn_model *model;
    qn_session *solo, *team_session;
    qn_team *team;
    value *given, *first;        /* [n_inputs], [n_outputs] owned: what the files say, and what the first run gave */
    qn_tensor *inputs, *outputs; /* [n_inputs], [n_outputs] borrowed */
    int32_t n_inputs, n_outputs;
    nearness near[QN_DTYPE_COUNT];
    bool drawn;    /* the values are random */
    char why[400]; /* set: it failed */
} test;

/* -- comparing ------------------------------------------------------------------------------------------------------------ */

static double float_at(const qn_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case QN_F32: return (double)((const float *)t->data)[i];
    case QN_F64: return ((const double *)t->data)[i];
    case QN_F16: return (double)qn_f16_to_f32(((const uint16_t *)t->data)[i]);
    default: return (double)qn_bf16_to_f32(((const uint16_t *)t->data)[i]);
    }
}

static bool is_float(qn_dtype t) { return t == QN_F32 || t == QN_F64 || t == QN_F16 || t == QN_BF16; }

static bool close_enough(double got, double want, double rtol, double atol)
{
    if (isnan(want) || isnan(got)) return isnan(want) && isnan(got);
    if (isinf(want) || isinf(got)) return want == got;
    return fabs(got - want) <= atol + rtol * fabs(want);
}

static double largest(const qn_tensor *t)
{
    double max = 0;

    for (int64_t i = 0; i < qn_tensor_count(t); i++) {
        double v = fabs(float_at(t, i));

        if (isfinite(v) && v > max) max = v;
    }
    return max;
}

static bool fail_values(const char *name, const qn_tensor *got, const qn_tensor *want, const nearness *near, char *why, size_t cap)
{
    int64_t n = qn_tensor_count(want), bad = 0, first = -1;
    double atol = near->atol + (near->share > 0 ? near->share * largest(want) : 0);

    for (int64_t i = 0; i < n; i++) {
        if (close_enough(float_at(got, i), float_at(want, i), near->rtol, atol)) continue;
        if (first < 0) first = i;
        bad++;
    }
    if (bad == 0) return false;
    snprintf(why, cap, "output %s: %" PRId64 " of %" PRId64 " elements differ, the first at %" PRId64 ": %.9g, expected %.9g", name, bad, n,
             first, float_at(got, first), float_at(want, first));
    return true;
}

static bool same_strings(const qn_tensor *a, const qn_tensor *b)
{
    for (int64_t i = 0; i < qn_tensor_count(a); i++) {
        size_t na, nb;
        const char *sa = qn_strings_get(a, i, &na), *sb = qn_strings_get(b, i, &nb);

        if (na != nb || memcmp(sa, sb, na) != 0) return false;
    }
    return true;
}

/* Element i of an integer, bool or 4-bit tensor, an unsigned one of 64 bits by its bits. */
static int64_t integer_at(const qn_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case QN_U8:
    case QN_U4:
    case QN_BOOL: return ((const uint8_t *)t->data)[i];
    case QN_I8:
    case QN_I4: return ((const int8_t *)t->data)[i];
    case QN_U16: return ((const uint16_t *)t->data)[i];
    case QN_I16: return ((const int16_t *)t->data)[i];
    case QN_U32: return ((const uint32_t *)t->data)[i];
    case QN_I32: return ((const int32_t *)t->data)[i];
    default: return ((const int64_t *)t->data)[i];
    }
}

static bool fail_exact(const char *name, const qn_tensor *got, const qn_tensor *want, const nearness *near, char *why, size_t cap)
{
    const int64_t n = qn_tensor_count(want), steps = qn_dtype_size(want->dtype) <= 2 ? near->steps : 0;
    int64_t bad = 0, first = -1;

    if (want->dtype == QN_STRING) {
        if (same_strings(got, want)) return false;
        snprintf(why, cap, "output %s: strings differ", name);
        return true;
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t a = integer_at(got, i), b = integer_at(want, i);

        if (a == b || (steps > 0 && llabs(a - b) <= steps)) continue;
        if (first < 0) first = i;
        bad++;
    }
    if (bad == 0) return false;
    snprintf(why, cap, "output %s: %" PRId64 " of %" PRId64 " elements differ, the first at %" PRId64 ": %" PRId64 ", expected %" PRId64,
             name, bad, n, first, integer_at(got, first), integer_at(want, first));
    return true;
}

/* True, with why filled in, if got is not what is wanted; of a drawn test only dtype and shape are. */
static bool fail_output(test *t, const char *name, const qn_tensor *got, const qn_tensor *want)
{
    const size_t cap = sizeof t->why;
    char a[128], b[128], *why = t->why;
    bool same = got->rank == want->rank;

    if (got->dtype != want->dtype) {
        snprintf(why, cap, "output %s is %s, expected %s", name, qn_dtype_name(got->dtype), qn_dtype_name(want->dtype));
        return true;
    }
    for (int32_t d = 0; same && d < got->rank; d++) same = got->dims[d] == want->dims[d];
    if (!same) {
        snprintf(why, cap, "output %s has shape %s, expected %s", name, qn_shape_print(got->rank, got->dims, a, sizeof a),
                 qn_shape_print(want->rank, want->dims, b, sizeof b));
        return true;
    }
    if (t->drawn) return false;
    return is_float(want->dtype) ? fail_values(name, got, want, &t->near[want->dtype], why, cap)
                                 : fail_exact(name, got, want, &t->near[want->dtype], why, cap);
}

/* -- one data set --------------------------------------------------------------------------------------------------------- */

static void release_values(value *v, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < v[i].n; k++) qn_tensor_free(&v[i].elems[k]);
        free(v[i].elems);
        v[i] = (value){ 0 };
    }
}

static int32_t input_named(const qn_model *m, const char *name)
{
    for (int32_t i = 0; name && i < qn_model_n_inputs(m); i++)
        if (strcmp(qn_model_input(m, i)->name, name) == 0) return i;
    return -1;
}

/* The test data was made through NumPy, which has no bfloat16: its bits are written as uint16. */
static void as_bf16(value *v)
{
    for (int64_t k = 0; k < v->n; k++)
        if (v->elems[k].dtype == QN_U16) v->elems[k].dtype = QN_BF16;
}

/* A sequence or an optional in a file. */
static qn_status read_list(int set, const char *path, value *out, char **name, qn_error *err)
{
    const qn_kind kind = out->kind == QN_PORT_SEQUENCE ? QN_KIND_SEQUENCE : QN_KIND_OPTIONAL;
    qn_meter m = { .limit_bytes = (uint64_t)1 << 30 };
    qn_items list = { 0 };
    qn_status st = qn_onnx_read_items(set, path, kind, &m, &list, name, err);

    if (st == QN_OK) out->elems = calloc((size_t)list.n + 1, sizeof *out->elems);
    if (st == QN_OK && !out->elems) st = qn_error_set(err, QN_ERR_NOMEM, "a list of %" PRId64, list.n);
    while (st == QN_OK && out->n < list.n) {
        st = qn_tensor_copy(&list.box[out->n]->tensor, &out->elems[out->n], err);
        out->n += st == QN_OK;
    }
    out->present = list.present;
    qn_items_release(&list);
    return st;
}

/* The value in a file, of the kind the model says. The caller releases *out and frees *name, also after a failure. */
static qn_status read_value(int set, const char *path, qn_port_kind kind, value *out, char **name, qn_error *err)
{
    qn_status st;

    *out = (value){ .kind = kind, .present = true };
    *name = NULL;
    if (kind != QN_PORT_TENSOR) return read_list(set, path, out, name, err);
    out->elems = calloc(1, sizeof *out->elems);
    if (!out->elems) return qn_error_set(err, QN_ERR_NOMEM, "tensor");
    st = qn_onnx_read_tensor(set, path, out->elems, name, err);
    out->n = st == QN_OK;
    return st;
}

/* input_N.pb goes to the input it names, or to the N-th. */
static qn_status read_inputs(test *t, int set, qn_error *err)
{
    for (int32_t i = 0; i < t->n_inputs; i++) {
        char path[64], *name;
        const qn_port_kind kind = qn_model_input(t->model, i)->kind;
        value v;
        int32_t at;
        qn_status st;

        snprintf(path, sizeof path, "input_%" PRId32 ".pb", i);
        if (faccessat(set, path, F_OK, 0) != 0) continue;
        st = read_value(set, path, kind, &v, &name, err);
        at = input_named(t->model, name);
        free(name);
        if (at < 0 || t->given[at].elems || t->given[at].present || qn_model_input(t->model, at)->kind != kind) at = i;
        if (st == QN_OK && (t->given[at].elems || t->given[at].present)) st = qn_error_set(err, QN_ERR_INVALID, "its input is given twice");
        if (st != QN_OK) {
            release_values(&v, 1);
            qn_error_prefix(err, "%s", path);
            return st;
        }
        t->given[at] = v;
        if (qn_model_input(t->model, at)->dtype == QN_BF16) as_bf16(&t->given[at]);
    }
    return QN_OK;
}

/* Element k of output i after a run of s. */
static const qn_tensor *got_elem(const test *t, const qn_session *s, int32_t i, int64_t k)
{
    return t->first[i].kind == QN_PORT_TENSOR ? &t->outputs[i] : qn_session_item(s, i, k);
}

static qn_status got_count(const test *t, const qn_session *s, int32_t i, bool *present, int64_t *n, qn_error *err)
{
    *present = true;
    *n = 1;
    return t->first[i].kind == QN_PORT_TENSOR ? QN_OK : qn_session_items(s, i, present, n, err);
}

/* Copies of the outputs. */
static qn_status keep_outputs(test *t, const qn_session *s, qn_error *err)
{
    for (int32_t i = 0; i < t->n_outputs; i++) {
        value *v = &t->first[i];
        int64_t n;
        qn_status st;

        v->kind = qn_model_output(t->model, i)->kind;
        if ((st = got_count(t, s, i, &v->present, &n, err)) != QN_OK) return st;
        v->elems = calloc((size_t)n + 1, sizeof *v->elems);
        if (!v->elems) return qn_error_set(err, QN_ERR_NOMEM, "outputs");
        while (v->n < n && st == QN_OK) {
            st = qn_tensor_copy(got_elem(t, s, i, v->n), &v->elems[v->n], err);
            v->n += st == QN_OK;
        }
        if (st != QN_OK) return st;
    }
    return QN_OK;
}

static void compare_values(test *t, const char *name, const value *got, const value *want)
{
    if (got->present != want->present) {
        snprintf(t->why, sizeof t->why, "output %s %s", name, want->present ? "is empty, expected a value" : "has a value, expected none");
        return;
    }
    if (got->n != want->n) {
        snprintf(t->why, sizeof t->why, "output %s has %" PRId64 " elements, expected %" PRId64, name, got->n, want->n);
        return;
    }
    for (int64_t k = 0; k < want->n && !t->why[0]; k++) {
        char which[128];

        if (want->kind == QN_PORT_TENSOR)
            snprintf(which, sizeof which, "%s", name);
        else
            snprintf(which, sizeof which, "%s[%" PRId64 "]", name, k);
        fail_output(t, which, &got->elems[k], &want->elems[k]);
    }
}

static void compare_with_files(test *t, int set)
{
    for (int32_t i = 0; i < t->n_outputs && !t->why[0]; i++) {
        const qn_port *port = qn_model_output(t->model, i);
        char path[64], *name;
        value want;
        qn_error err = { 0 };

        snprintf(path, sizeof path, "output_%" PRId32 ".pb", i);
        if (faccessat(set, path, F_OK, 0) != 0) continue;
        if (read_value(set, path, port->kind, &want, &name, &err) != QN_OK) {
            snprintf(t->why, sizeof t->why, "%s: %s", path, err.message);
        } else {
            if (t->first[i].n > 0 && t->first[i].elems[0].dtype == QN_BF16) as_bf16(&want);
            compare_values(t, port->name, &t->first[i], &want);
        }
        free(name);
        release_values(&want, 1);
    }
}

static bool same_bits(const qn_tensor *a, const qn_tensor *b, bool drawn)
{
    return a->dtype == b->dtype && a->rank == b->rank && a->bytes == b->bytes &&
           memcmp(a->dims, b->dims, sizeof a->dims[0] * (size_t)a->rank) == 0 &&
           (drawn || a->bytes == 0 || memcmp(a->data, b->data, a->bytes) == 0);
}

static qn_status compare_bits(test *t, const qn_session *s, const char *what, qn_error *err)
{
    for (int32_t i = 0; i < t->n_outputs && !t->why[0]; i++) {
        const value *v = &t->first[i];
        bool present, same;
        int64_t n;
        qn_status st = got_count(t, s, i, &present, &n, err);

        if (st != QN_OK) return st;
        same = present == v->present && n == v->n;
        for (int64_t k = 0; same && k < n; k++) same = same_bits(&v->elems[k], got_elem(t, s, i, k), t->drawn);
        if (!same) snprintf(t->why, sizeof t->why, "output %s: other bits %s", qn_model_output(t->model, i)->name, what);
    }
    return QN_OK;
}

static qn_status run_once(test *t, qn_session *s, qn_error *err)
{
    qn_status st = QN_OK;

    for (int32_t i = 0; i < t->n_inputs && st == QN_OK; i++) {
        const value *v = &t->given[i];

        t->inputs[i] = (qn_tensor){ .dtype = QN_DTYPE_NONE };
        if (qn_model_input(t->model, i)->kind != QN_PORT_TENSOR)
            st = qn_session_set_items(s, i, v->present, v->elems, v->n, err);
        else if (v->n > 0)
            t->inputs[i] = v->elems[0];
    }
    return st == QN_OK ? qn_session_run(s, t->inputs, t->outputs, NULL, err) : st;
}

static qn_status run_thrice(test *t, int set, qn_error *err)
{
    qn_status st = run_once(t, t->solo, err);

    if (st == QN_OK) st = keep_outputs(t, t->solo, err);
    if (st == QN_OK) compare_with_files(t, set);
    if (st == QN_OK) st = run_once(t, t->solo, err);
    if (st == QN_OK) st = compare_bits(t, t->solo, "in a second run", err);
    if (st == QN_OK) st = run_once(t, t->team_session, err);
    if (st == QN_OK) st = compare_bits(t, t->team_session, "with a team of two", err);
    return st;
}

static qn_status run_set(test *t, int dir, const char *name, qn_error *err)
{
    int set = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    qn_status st;

    if (set < 0) return qn_error_set(err, QN_ERR_IO, "%s cannot be opened", name);
    st = read_inputs(t, set, err);
    if (st == QN_OK) st = run_thrice(t, set, err);
    release_values(t->given, t->n_inputs);
    release_values(t->first, t->n_outputs);
    close(set);
    return st;
}

/* -- one test ------------------------------------------------------------------------------------------------------------- */

static qn_status open_test(test *t, int dir, const options *o, qn_error *err)
{
    qn_model_options mo = { .cpu = o->cpu };
    qn_status st = qn_model_load(dir, "model.onnx", &mo, &t->model, err);

    if (st == QN_OK) st = qn_team_create(2, &t->team, err);
    if (st == QN_OK) st = qn_session_create(t->model, NULL, &t->solo, err);
    if (st == QN_OK) st = qn_session_create(t->model, t->team, &t->team_session, err);
    if (st != QN_OK) return st;
    t->n_inputs = qn_model_n_inputs(t->model);
    t->n_outputs = qn_model_n_outputs(t->model);
    t->given = calloc((size_t)t->n_inputs + 1, sizeof *t->given);
    t->inputs = calloc((size_t)t->n_inputs + 1, sizeof *t->inputs);
    t->outputs = calloc((size_t)t->n_outputs + 1, sizeof *t->outputs);
    t->first = calloc((size_t)t->n_outputs + 1, sizeof *t->first);
    return t->given && t->inputs && t->outputs && t->first ? QN_OK : qn_error_set(err, QN_ERR_NOMEM, "test");
}

static void close_test(test *t)
{
    qn_session_destroy(t->solo);
    qn_session_destroy(t->team_session);
    qn_team_destroy(t->team);
    qn_model_unref(t->model);
    free(t->given);
    free(t->inputs);
    free(t->outputs);
    free(t->first);
}

static int is_set(const struct dirent *e) { return strncmp(e->d_name, "test_data_set_", 14) == 0; }

/* Why a test is not run at all, or NULL. */
static const char *known_bad(const char *name)
{
    static const char *const skips[][2] = {
#define QN_SKIP(test, why) { test, why },
#define QN_DRAWN(test)
#include "tests/conformance/skips.def"
#undef QN_SKIP
#undef QN_DRAWN
    };

    for (size_t i = 0; i < sizeof skips / sizeof skips[0]; i++)
        if (strcmp(skips[i][0], name) == 0) return skips[i][1];
    return NULL;
}

static bool is_drawn(const char *name)
{
    static const char *const drawn[] = {
#define QN_SKIP(test, why)
#define QN_DRAWN(test) test,
#include "tests/conformance/skips.def"
#undef QN_SKIP
#undef QN_DRAWN
    };

    for (size_t i = 0; i < sizeof drawn / sizeof drawn[0]; i++)
        if (strcmp(drawn[i], name) == 0) return true;
    return false;
}

static qn_status read_line(char *line, nearness *near, qn_error *err)
{
    char *at = line + strcspn(line, " ");
    double v[4];
    int dtype = QN_F32;

    if (*at) *at++ = 0;
    while (dtype < QN_DTYPE_COUNT && strcmp(qn_dtype_name((qn_dtype)dtype), line) != 0) dtype++;
    if (dtype == QN_DTYPE_COUNT) return qn_error_set(err, QN_ERR_INVALID, "tolerance: \"%s\" is not a dtype", line);
    for (int i = 0; i < 4; i++) {
        char *end;

        v[i] = strtod(at, &end);
        if (end == at || !(v[i] >= 0 && v[i] <= 255))
            return qn_error_set(err, QN_ERR_INVALID, "tolerance: %s is not followed by four numbers of 0 to 255", line);
        at = end;
    }
    near[dtype] = (nearness){ .rtol = v[0], .share = v[1], .atol = v[2], .steps = (int64_t)v[3] };
    return QN_OK;
}

/* ONNX's own rules, or what the test's file "tolerance" says. */
static qn_status read_tolerance(int dir, nearness near[QN_DTYPE_COUNT], qn_error *err)
{
    int fd = openat(dir, "tolerance", O_RDONLY | O_CLOEXEC);
    char text[1024], *line = text;
    qn_status st = QN_OK;
    ssize_t n;

    for (int i = 0; i < QN_DTYPE_COUNT; i++) near[i] = (nearness){ .rtol = 1e-3, .atol = 1e-7 };
    if (fd < 0) return QN_OK;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n < 0 ? 0 : n] = 0;
    while (st == QN_OK && *line) {
        char *end = line + strcspn(line, "\n"), *next = *end ? end + 1 : end;

        *end = 0;
        st = read_line(line, near, err);
        line = next;
    }
    return st;
}

static void run_test(int root, const char *folder, const char *name, const options *o, counts *c)
{
    test t = { .drawn = is_drawn(name) };
    struct dirent **sets = NULL;
    qn_error err = { 0 };
    int dir = openat(root, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), n = dir < 0 ? -1 : scandirat(dir, ".", &sets, is_set, alphasort);
    qn_status st = n < 0 ? qn_error_set(&err, QN_ERR_IO, "folder cannot be read") : read_tolerance(dir, t.near, &err);

    if (st == QN_OK) st = open_test(&t, dir, o, &err);
    for (int i = 0; i < n; i++) {
        if (st == QN_OK && !t.why[0]) st = run_set(&t, dir, sets[i]->d_name, &err);
        free(sets[i]);
    }
    free(sets);
    if (st == QN_ERR_UNSUPPORTED) {
        printf("skip %s: %s\n", name, err.message);
        c->skip++;
    } else if (st != QN_OK || t.why[0]) {
        printf("FAIL %s: %s%s%s\n", name, st != QN_OK ? qn_status_text(st) : t.why, st != QN_OK ? ": " : "",
               st != QN_OK ? err.message : "");
        c->fail++;
    } else if (t.drawn) {
        printf("drawn %s\n", name);
        c->drawn++;
    } else {
        printf("pass %s%s\n", name, o->verbose && qn_model_rows_independent(t.model) ? " (rows independent)" : "");
        c->pass++;
    }
    close_test(&t);
    if (dir >= 0) close(dir);
}

/* -- folders -------------------------------------------------------------------------------------------------------------- */

static int is_visible(const struct dirent *e) { return e->d_name[0] != '.'; }

static bool run_folder(const char *path, const options *o, counts *total)
{
    struct dirent **tests = NULL;
    counts c = { 0 };
    char model[300];
    int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), n;

    if (root < 0) {
        fprintf(stderr, "quern_conformance: %s cannot be opened\n", path);
        return false;
    }
    if (faccessat(root, "model.onnx", F_OK, 0) == 0) run_test(root, ".", path, o, &c);
    n = scandirat(root, ".", &tests, is_visible, alphasort);
    for (int i = 0; i < n; i++) {
        const char *bad = known_bad(tests[i]->d_name);

        snprintf(model, sizeof model, "%s/model.onnx", tests[i]->d_name);
        if (fnmatch(o->filter, tests[i]->d_name, 0) != 0 || faccessat(root, model, F_OK, 0) != 0) {
            free(tests[i]);
            continue;
        }
        if (bad) {
            printf("skip %s: %s\n", tests[i]->d_name, bad);
            c.skip++;
        } else {
            run_test(root, tests[i]->d_name, tests[i]->d_name, o, &c);
        }
        free(tests[i]);
        fflush(stdout);
    }
    free(tests);
    close(root);
    printf("%s: %d pass, %d drawn, %d fail, %d skip\n", path, c.pass, c.drawn, c.fail, c.skip);
    total->pass += c.pass;
    total->drawn += c.drawn;
    total->fail += c.fail;
    total->skip += c.skip;
    return true;
}

int main(int argc, char **argv)
{
    static const char usage[] = "usage: quern_conformance DIR... [--filter GLOB] [--isa scalar|avx2|avx512|vnni] [-v]\n";
    options o = { .filter = "*", .cpu = qn_cpu_detect() };
    counts total = { 0 };
    qn_error err;
    int n_dirs = 0;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--filter") == 0 && i + 1 < argc) {
            o.filter = argv[++i];
        } else if (strcmp(argv[i], "--isa") == 0 && i + 1 < argc) {
            if (qn_cpu_from_name(argv[++i], &o.cpu, &err) != QN_OK) {
                fprintf(stderr, "quern_conformance: %s\n", err.message);
                return 2;
            }
        } else if (strcmp(argv[i], "-v") == 0) {
            o.verbose = true;
        } else if (argv[i][0] == '-') {
            fprintf(stderr, "quern_conformance: '%s' is not an option\n%s", argv[i], usage);
            return 2;
        } else {
            argv[1 + n_dirs++] = argv[i]; /* folders to the front; never ahead of i */
        }
    }
    if (n_dirs == 0) {
        fputs(usage, stderr);
        return 2;
    }
    for (int i = 0; i < n_dirs; i++)
        if (!run_folder(argv[1 + i], &o, &total)) return 2;
    printf("%d pass, %d drawn, %d fail, %d skip\n", total.pass, total.drawn, total.fail, total.skip);
    return total.fail > 0;
}
