/* server/codec/answer.c - known_answer.json: a request and the reply that must come out.
 * Both sides are compared as the JSON of the protocol, so that every datatype that can be asked for can be checked. */
#include "server/codec/codec.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX  (16u * 1024u * 1024u) /* as a tree about twenty times that */
#define MAX_DEPTH 16

/* The whole file; *text NULL when there is none. */
static qn_status read_file(int dir_fd, const char *name, char **text, size_t *n, qn_error *err)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    struct stat sb;
    qn_status st = QN_OK;

    *text = NULL;
    *n = 0;
    if (fd < 0) return errno == ENOENT ? QN_OK : qn_error_set(err, QN_ERR_IO, "cannot open: %s", strerror(errno));
    if (fstat(fd, &sb) != 0 || !S_ISREG(sb.st_mode)) {
        st = qn_error_set(err, QN_ERR_IO, "not a regular file");
        goto done;
    }
    if (sb.st_size > (off_t)FILE_MAX) {
        st = qn_error_set(err, QN_ERR_LIMIT, "%" PRId64 " bytes, at most %u", (int64_t)sb.st_size, FILE_MAX);
        goto done;
    }
    *text = malloc((size_t)sb.st_size + 1);
    if (!*text) {
        st = qn_error_set(err, QN_ERR_NOMEM, "%" PRId64 " bytes", (int64_t)sb.st_size);
        goto done;
    }
    while (*n < (size_t)sb.st_size) {
        ssize_t r = read(fd, *text + *n, (size_t)sb.st_size - *n);

        if (r < 0 && errno == EINTR) continue;
        if (r < 0) st = qn_error_set(err, QN_ERR_IO, "cannot read: %s", strerror(errno));
        if (r <= 0) break;
        *n += (size_t)r;
    }
done:
    if (st != QN_OK) {
        free(*text);
        *text = NULL;
    }
    close(fd);
    return st;
}

/* jansson frees its trees recursively: the depth is looked at before there is one. */
static bool too_deep(const char *s, size_t n)
{
    int depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < n; i++) {
        if (in_string) {
            if (s[i] == '\\')
                i++;
            else
                in_string = s[i] != '"';
        } else if (s[i] == '"') {
            in_string = true;
        } else if (s[i] == '[' || s[i] == '{') {
            if (++depth > MAX_DEPTH) return true;
        } else if (s[i] == ']' || s[i] == '}') {
            depth--;
        }
    }
    return false;
}

static qn_status parse(const char *text, size_t n, json_t **doc, qn_error *err)
{
    static const char *const known[] = { "inputs", "outputs", "tolerance", "id", "model_name", "model_version", "parameters" };
    json_error_t why;
    const char *key;
    json_t *value;

    *doc = NULL;
    if (too_deep(text, n)) return qn_error_set(err, QN_ERR_FORMAT, "nested deeper than %d", MAX_DEPTH);
    *doc = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why);
    if (!*doc) return qn_error_set(err, QN_ERR_FORMAT, "not JSON at byte %d: %.100s", why.position, why.text);
    if (!json_is_object(*doc)) return qn_error_set(err, QN_ERR_FORMAT, "an object with inputs and outputs expected");
    json_object_foreach(*doc, key, value)
    {
        size_t i = 0;

        while (i < sizeof known / sizeof known[0] && strcmp(known[i], key) != 0) i++;
        if (i == sizeof known / sizeof known[0])
            return qn_error_set(err, QN_ERR_FORMAT, "%.40s: unknown; inputs, outputs and tolerance expected", key);
    }
    if (!json_is_array(json_object_get(*doc, "inputs")) || json_array_size(json_object_get(*doc, "outputs")) == 0)
        return qn_error_set(err, QN_ERR_FORMAT, "inputs and outputs must be lists, outputs not an empty one");
    return QN_OK;
}

/* -- comparing ------------------------------------------------------------------------------------------------------------------ */

typedef struct comparison {
    const char *output;
    bool given; /* relative and absolute are the file's */
    double relative, absolute, largest;
    int32_t n;
} comparison;

/* A JSON number, or one of the strings that stand for what JSON has no number for. */
static bool number_of(const json_t *v, double *out)
{
    const char *s = json_string_value(v);

    if (json_is_number(v)) {
        *out = json_number_value(v);
        return true;
    }
    if (!s) return false;
    if (strcmp(s, "NaN") != 0 && strcmp(s, "Infinity") != 0 && strcmp(s, "-Infinity") != 0) return false;
    *out = s[0] == 'N' ? (double)NAN : s[0] == '-' ? -(double)INFINITY : (double)INFINITY;
    return true;
}

/* The data of a tensor, flat or nested, as a flat list of borrowed elements. */
static bool flatten(json_t *data, json_t *flat, int depth)
{
    size_t i;
    json_t *v;

    if (!json_is_array(data)) return depth > 0 && json_array_append(flat, data) == 0;
    if (depth == MAX_DEPTH) return false;
    json_array_foreach(data, i, v)
    {
        if (!flatten(v, flat, depth + 1)) return false;
    }
    return true;
}

static bool close_enough(const comparison *c, const json_t *want, const json_t *got)
{
    double a, b;

    if (!number_of(want, &a) || !number_of(got, &b)) return json_equal((json_t *)want, (json_t *)got) == 1;
    if (isnan(a) || isnan(b)) return isnan(a) && isnan(b);
    if (isinf(a) || isinf(b)) return isinf(a) && isinf(b) && (a > 0) == (b > 0);
    return fabs(a - b) <= c->relative * fabs(a) + (c->given ? c->absolute : 1e-4 * c->largest);
}

static void show(const json_t *v, char out[40])
{
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));

    snprintf(out, 40, "%s", text ? text : "?");
    free(text);
}

static qn_status compare_data(comparison *c, json_t *want, json_t *got, qn_error *err)
{
    size_t i;
    json_t *v;
    double x;

    if (json_array_size(want) != json_array_size(got))
        return qn_error_set(err, QN_ERR_CONFLICT, "output %.40s has %zu elements, %zu expected", c->output, json_array_size(got),
                            json_array_size(want));
    c->largest = 0;
    json_array_foreach(want, i, v)
    {
        if (number_of(v, &x) && isfinite(x) && fabs(x) > c->largest) c->largest = fabs(x);
    }
    json_array_foreach(want, i, v)
    {
        char a[40], b[40];

        if (close_enough(c, v, json_array_get(got, i))) continue;
        show(json_array_get(got, i), a);
        show(v, b);
        return qn_error_set(err, QN_ERR_CONFLICT, "output %.40s element %zu is %s, %s expected", c->output, i, a, b);
    }
    c->n += (int32_t)json_array_size(want);
    return QN_OK;
}

static json_t *by_name(const json_t *outputs, const char *name)
{
    size_t i;
    json_t *v;

    json_array_foreach((json_t *)outputs, i, v)
    {
        const char *s = json_string_value(json_object_get(v, "name"));

        if (s && strcmp(s, name) == 0) return v;
    }
    return NULL;
}

static qn_status compare_output(comparison *c, const json_t *want, const json_t *reply, qn_error *err)
{
    const char *name = json_string_value(json_object_get(want, "name"));
    json_t *got = name ? by_name(json_object_get(reply, "outputs"), name) : NULL, *flat[2] = { json_array(), json_array() };
    qn_status st = QN_OK;

    c->output = name ? name : "";
    if (!got)
        st = qn_error_set(err, QN_ERR_FORMAT, "outputs: '%.40s' is no output of the model", name ? name : "an entry without a name");
    else if (!json_equal(json_object_get(want, "shape"), json_object_get(got, "shape")))
        st = qn_error_set(err, QN_ERR_CONFLICT, "output %.40s has another shape than expected", name);
    else if (!flat[0] || !flat[1] || !flatten(json_object_get(want, "data"), flat[0], 0) ||
             !flatten(json_object_get(got, "data"), flat[1], 0))
        st = qn_error_set(err, QN_ERR_FORMAT, "output %.40s: data must be a list", name);
    else
        st = compare_data(c, flat[0], flat[1], err);
    json_decref(flat[0]);
    json_decref(flat[1]);
    return st;
}

static qn_status take_tolerance(const json_t *doc, comparison *c, qn_error *err)
{
    const json_t *t = json_object_get(doc, "tolerance"), *r = json_object_get(t, "relative"), *a = json_object_get(t, "absolute");

    c->relative = 1e-3;
    if (!t) return QN_OK;
    if (!json_is_object(t) || (r && !json_is_number(r)) || (a && !json_is_number(a)) || json_number_value(r) < 0 ||
        json_number_value(a) < 0)
        return qn_error_set(err, QN_ERR_FORMAT, "tolerance: relative and absolute, numbers not below 0, expected");
    c->given = true;
    c->relative = json_number_value(r);
    c->absolute = json_number_value(a);
    return QN_OK;
}

static qn_status compare(const json_t *doc, const json_t *reply, int32_t *n_checked, qn_error *err)
{
    comparison c = { 0 };
    qn_status st = take_tolerance(doc, &c, err);
    size_t i;
    json_t *v;

    json_array_foreach(json_object_get(doc, "outputs"), i, v)
    {
        if (st == QN_OK) st = compare_output(&c, v, reply, err);
    }
    *n_checked = c.n > 0 ? c.n : 1;
    return st;
}

/* -- running -------------------------------------------------------------------------------------------------------------------- */

/* The reply to {"inputs": ..} as a tree. */
static qn_status ask(const json_t *inputs, const qn_model *model, qn_session *session, json_t **reply, qn_error *err)
{
    const qn_codec_limits limits = { .body_bytes = 4ull * FILE_MAX, .tensor_bytes = 4ull * FILE_MAX, .text_bytes = FILE_MAX, .depth = 64 };
    const int32_t n_out = qn_model_n_outputs(model);
    qn_tensor *out = calloc((size_t)n_out + 1, sizeof *out);
    json_t *request = json_pack("{sO}", "inputs", inputs);
    char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
    qn_decoder *d = NULL;
    qn_decoded decoded;
    json_error_t why;
    int64_t header = -1;
    qn_buf buf;
    qn_status st = out && text ? QN_OK : qn_error_set(err, QN_ERR_NOMEM, "a request");

    *reply = NULL;
    qn_buf_init(&buf, 0);
    if (st == QN_OK) st = qn_decoder_create(QN_BODY_V2_JSON, model, -1, &limits, &d, err);
    if (st == QN_OK) st = qn_decoder_feed(d, text, strlen(text), err);
    if (st == QN_OK) st = qn_decoder_finish(d, &decoded, err);
    if (st == QN_OK) st = qn_session_run(session, decoded.inputs, out, NULL, err);
    if (st == QN_OK) st = qn_encode_v2("", 1, &decoded, model, out, NULL, 0, &buf, &header, err);
    if (st == QN_OK && !(*reply = json_loadb(buf.data, buf.len, 0, &why))) st = qn_error_set(err, QN_ERR_NOMEM, "a reply");
    qn_buf_release(&buf);
    qn_decoder_destroy(d);
    free(text);
    json_decref(request);
    free(out);
    return st;
}

qn_status qn_known_answer_check(int dir_fd, const char *name, const qn_model *model, qn_session *session, int32_t *n_checked, qn_error *err)
{
    json_t *doc = NULL, *reply = NULL;
    char *text = NULL;
    size_t n = 0;
    qn_status st = read_file(dir_fd, name, &text, &n, err);

    *n_checked = 0;
    if (st == QN_OK && !text) return QN_OK;
    if (st == QN_OK) st = parse(text, n, &doc, err);
    if (st == QN_OK) st = ask(json_object_get(doc, "inputs"), model, session, &reply, err);
    if (st == QN_OK) st = compare(doc, reply, n_checked, err);
    if (st != QN_OK) qn_error_prefix(err, "known_answer.json");
    json_decref(reply);
    json_decref(doc);
    free(text);
    return st;
}
