/* server/registry/pins.c - pins.json, read and written. */
#include "server/registry/pins.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_NAME "pins.json"
#define NEW_NAME  ".pins.json.new"
#define FILE_MAX  65536

void qn_pins_release(qn_pins *p)
{
    qn_version_labels_release(p->labels, p->n_labels);
    *p = (qn_pins){ 0 };
}

void qn_pins_push(qn_pins *p, int64_t version)
{
    if (version == 0 || (p->n_before > 0 && p->before[p->n_before - 1] == version)) return;
    if (p->n_before == QN_PINS_BEFORE) memmove(p->before, p->before + 1, (size_t)(--p->n_before) * sizeof p->before[0]);
    p->before[p->n_before++] = version;
}

qn_status qn_pins_label(qn_pins *p, const char *label, int64_t version, qn_error *err)
{
    qn_version_label *grown;
    int32_t at = 0;

    while (at < p->n_labels && strcmp(p->labels[at].name, label) != 0) at++;
    if (at < p->n_labels && version == 0) {
        free(p->labels[at].name);
        memmove(&p->labels[at], &p->labels[at + 1], (size_t)(--p->n_labels - at) * sizeof *p->labels);
    } else if (at < p->n_labels) {
        p->labels[at].version = version;
    } else if (version != 0) {
        if (p->n_labels == QN_PINS_LABELS) return qn_error_set(err, QN_ERR_LIMIT, "more than %d labels", QN_PINS_LABELS);
        grown = realloc(p->labels, (size_t)(p->n_labels + 1) * sizeof *grown);
        if (!grown) return qn_error_set(err, QN_ERR_NOMEM, "label %s", label);
        p->labels = grown;
        grown[at] = (qn_version_label){ .name = strdup(label), .version = version };
        if (!grown[at].name) return qn_error_set(err, QN_ERR_NOMEM, "label %s", label);
        p->n_labels++;
    }
    return QN_OK;
}

/* "3" or 3 -> 3. */
static bool version_of(const json_t *v, int64_t *out)
{
    const char *s = json_string_value(v);
    char *end = NULL;

    if (json_is_integer(v)) {
        *out = json_integer_value(v);
    } else {
        if (!s || s[0] < '1' || s[0] > '9' || strlen(s) > 18) return false;
        *out = strtoll(s, &end, 10);
        if (*end) return false;
    }
    return *out > 0;
}

static qn_status take(const json_t *doc, qn_pins *out, qn_error *err)
{
    const char *key;
    json_t *value, *one;
    qn_status st = QN_OK;
    int64_t v = 0;
    size_t i;

    json_object_foreach((json_t *)doc, key, value)
    {
        if (strcmp(key, "served") == 0) {
            if (!version_of(value, &out->served)) return qn_error_set(err, QN_ERR_FORMAT, "served: the number of a version expected");
        } else if (strcmp(key, "before") == 0 && json_is_array(value)) {
            json_array_foreach(value, i, one)
            {
                if (!version_of(one, &v)) return qn_error_set(err, QN_ERR_FORMAT, "before: numbers of versions expected");
                qn_pins_push(out, v);
            }
        } else if (strcmp(key, "labels") == 0 && json_is_object(value)) {
            json_t *label;
            const char *name;

            json_object_foreach(value, name, label)
            {
                if (st != QN_OK) continue;
                if (!qn_model_name_valid(name) || !version_of(label, &v))
                    st = qn_error_set(err, QN_ERR_FORMAT, "labels: names, each with the number of a version, expected");
                else
                    st = qn_pins_label(out, name, v, err);
            }
            if (st != QN_OK) return st;
        } else {
            return qn_error_set(err, QN_ERR_FORMAT, "%.40s: served, before (a list) or labels (an object) expected", key);
        }
    }
    return QN_OK;
}

static qn_status read_all(int fd, char *buf, size_t cap, size_t *n, qn_error *err)
{
    *n = 0;
    while (*n < cap) {
        ssize_t r = read(fd, buf + *n, cap - *n);

        if (r < 0 && errno == EINTR) continue;
        if (r < 0) return qn_error_set(err, QN_ERR_IO, "cannot read: %s", strerror(errno));
        if (r == 0) return QN_OK;
        *n += (size_t)r;
    }
    return qn_error_set(err, QN_ERR_LIMIT, "more than %zu bytes", cap - 1);
}

qn_status qn_pins_read(int model_fd, qn_pins *out, qn_error *err)
{
    int fd = openat(model_fd, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    char *text = NULL;
    json_t *doc = NULL;
    json_error_t why;
    struct stat sb;
    size_t n = 0;
    qn_status st = QN_OK;

    *out = (qn_pins){ 0 };
    if (fd < 0 && errno == ENOENT) return QN_OK;
    if (fd < 0 || fstat(fd, &sb) != 0 || !S_ISREG(sb.st_mode)) {
        st = qn_error_set(err, QN_ERR_IO, "cannot open: %s", fd < 0 ? strerror(errno) : "not a regular file");
        goto done;
    }
    text = malloc(FILE_MAX + 1);
    if (!text) {
        st = qn_error_set(err, QN_ERR_NOMEM, "room for a file");
        goto done;
    }
    st = read_all(fd, text, FILE_MAX + 1, &n, err);
    if (st != QN_OK) goto done;
    doc = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(doc))
        st = qn_error_set(err, QN_ERR_FORMAT, "%s", doc ? "a JSON object expected" : why.text);
    else
        st = take(doc, out, err);
done:
    if (st != QN_OK) {
        qn_error_prefix(err, FILE_NAME);
        qn_pins_release(out);
    }
    json_decref(doc);
    free(text);
    if (fd >= 0) close(fd);
    return st;
}

static json_t *version_text(int64_t v) { return json_sprintf("%" PRId64, v); }

/* jansson's writer leaves pieces out when memory runs out, without a word: what would be durable is read back first. */
static bool says(const char *text, json_t *doc)
{
    json_error_t why;
    json_t *back = json_loads(text, JSON_REJECT_DUPLICATES, &why);
    bool same = back && json_equal(back, doc) == 1;

    json_decref(back);
    return same;
}

static char *as_text(const qn_pins *p)
{
    json_t *doc = json_object(), *before = json_array(), *labels = json_object();
    bool ok = doc && before && labels;
    char *text;

    if (ok && p->served) ok = json_object_set_new(doc, "served", version_text(p->served)) == 0;
    for (int32_t i = 0; ok && i < p->n_before; i++) ok = json_array_append_new(before, version_text(p->before[i])) == 0;
    for (int32_t i = 0; ok && i < p->n_labels; i++)
        ok = json_object_set_new(labels, p->labels[i].name, version_text(p->labels[i].version)) == 0;
    ok = ok && json_object_set(doc, "before", before) == 0 && json_object_set(doc, "labels", labels) == 0;
    text = ok ? json_dumps(doc, JSON_INDENT(1)) : NULL;
    if (text && !says(text, doc)) {
        free(text);
        text = NULL;
    }
    json_decref(doc);
    json_decref(before);
    json_decref(labels);
    return text;
}

static bool write_all(int fd, const char *s, size_t n)
{
    while (n > 0) {
        ssize_t w = write(fd, s, n);

        if (w < 0 && errno == EINTR) continue;
        if (w < 0) return false;
        s += w;
        n -= (size_t)w;
    }
    return true;
}

qn_status qn_pins_write(int model_fd, const qn_pins *pins, qn_error *err)
{
    char *text = as_text(pins);
    int fd = -1;
    qn_status st = QN_OK;
    bool made = false;

    if (!text) return qn_error_set(err, QN_ERR_NOMEM, FILE_NAME);
    (void)unlinkat(model_fd, NEW_NAME, 0); /* an earlier life ended here */
    fd = openat(model_fd, NEW_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    made = fd >= 0;
    if (fd < 0 || !write_all(fd, text, strlen(text)) || !write_all(fd, "\n", 1) || fsync(fd) != 0 ||
        renameat(model_fd, NEW_NAME, model_fd, FILE_NAME) != 0 || fsync(model_fd) != 0) {
        st = qn_error_set(err, QN_ERR_IO, FILE_NAME " cannot be written: %s", strerror(errno));
        if (made) (void)unlinkat(model_fd, NEW_NAME, 0);
    }
    if (fd >= 0) close(fd);
    free(text);
    return st;
}
