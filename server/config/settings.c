/* server/config/settings.c - typed values of one setting, to and from text. */
#include "server/config/settings.h"

#include "quern/checked.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Digits only: no sign, no spaces, no octal, no exponent. Returns what follows, or NULL if there is no number or it overflows. */
static const char *digits(const char *text, int64_t *out)
{
    int64_t v = 0;
    const char *p = text;

    while (*p >= '0' && *p <= '9') {
        if (!qn_i64_mul(v, 10, &v) || !qn_i64_add(v, *p - '0', &v)) return NULL;
        p++;
    }
    *out = v;
    return p == text ? NULL : p;
}

/* What may follow a number: name[u] stands for step to the power of u. */
typedef struct units {
    int64_t step;
    int n;
    const char *name[5];
    const char *like; /* for messages */
} units;

static const units *units_of(qn_setting_type type)
{
    static const units none = { 1, 1, { "" }, "" };
    static const units bytes = { 1024, 4, { "", "KiB", "MiB", "GiB" }, " of bytes like 1048576, 64MiB or 1GiB" };
    static const units counts = { 1000, 5, { "", "K", "M", "G", "T" }, " like 500000, 20G or 100T" };

    return type == QN_SETTING_BYTES ? &bytes : type == QN_SETTING_COUNT ? &counts : &none;
}

static qn_status parse_int(const qn_setting *row, const char *text, int64_t *out, qn_error *err)
{
    const units *known = units_of(row->type);
    int64_t v = 0, factor = 1;
    const char *rest = digits(text, &v);
    int u = 0;

    while (rest && u < known->n && strcmp(rest, known->name[u]) != 0) u++;
    for (int i = 0; i < u && rest; i++)
        if (!qn_i64_mul(factor, known->step, &factor)) rest = NULL;
    if (!rest || u == known->n || !qn_i64_mul(v, factor, &v))
        return qn_error_set(err, QN_ERR_INVALID, "%s: '%.40s' is not a number%s", row->key, text, known->like);
    if (v < row->min || v > row->max)
        return qn_error_set(err, QN_ERR_RANGE, "%s: %" PRId64 " is outside %" PRId64 "..%" PRId64, row->key, v, row->min, row->max);
    *out = v;
    return QN_OK;
}

static qn_status parse_text(const qn_setting *row, const char *text, char *out, qn_error *err)
{
    size_t n = strlen(text);

    if (n < (size_t)row->min || n > (size_t)row->max || n >= QN_SETTING_TEXT_MAX)
        return qn_error_set(err, QN_ERR_RANGE, "%s: %zu bytes of text, expected %" PRId64 "..%" PRId64, row->key, n, row->min, row->max);
    memcpy(out, text, n + 1);
    return QN_OK;
}

static qn_status parse_choice(const qn_setting *row, const char *text, int64_t *out, qn_error *err)
{
    size_t n = strlen(text);
    int64_t i = 0;

    for (const char *c = row->choices; c; i++) {
        const char *end = strchr(c, '|');
        size_t len = end ? (size_t)(end - c) : strlen(c);

        if (len == n && memcmp(c, text, n) == 0) {
            *out = i;
            return QN_OK;
        }
        c = end ? end + 1 : NULL;
    }
    return qn_error_set(err, QN_ERR_INVALID, "%s: '%.40s' is not one of %s", row->key, text, row->choices);
}

static qn_status append_item(const qn_setting *row, const char *text, qn_text_list *list, qn_error *err)
{
    size_t n = strlen(text);
    char **grown, *copy;

    if (n < 1 || n >= QN_SETTING_TEXT_MAX)
        return qn_error_set(err, QN_ERR_RANGE, "%s: an entry of %zu bytes, expected 1..%d", row->key, n, QN_SETTING_TEXT_MAX - 1);
    if (list->n >= row->max) return qn_error_set(err, QN_ERR_LIMIT, "%s: more than %" PRId64 " entries", row->key, row->max);
    if ((list->n & (list->n - 1)) == 0) { /* full at every power of two */
        grown = realloc(list->items, (list->n ? 2 * (size_t)list->n : 1) * sizeof *grown);
        if (!grown) return qn_error_set(err, QN_ERR_NOMEM, "%s", row->key);
        list->items = grown;
    }
    copy = strdup(text);
    if (!copy) return qn_error_set(err, QN_ERR_NOMEM, "%s", row->key);
    list->items[list->n++] = copy;
    return QN_OK;
}

/* text is "name=value": another value under the same name is an error. */
static qn_status append_pair(const qn_setting *row, const char *text, qn_text_list *list, qn_error *err)
{
    size_t n = strcspn(text, "=");

    for (int32_t i = 0; i < list->n; i++) {
        if (strncmp(list->items[i], text, n + 1) == 0)
            return qn_error_set(err, QN_ERR_INVALID, "%s.%.*s: given twice", row->key, n < 64 ? (int)n : 64, text);
    }
    return append_item(row, text, list, err);
}

qn_status qn_setting_parse(const qn_setting *row, const char *text, void *base, qn_error *err)
{
    void *field = (char *)base + row->offset;

    switch (row->type) {
    case QN_SETTING_INT:
    case QN_SETTING_COUNT:
    case QN_SETTING_BYTES: return parse_int(row, text, field, err);
    case QN_SETTING_TEXT: return parse_text(row, text, field, err);
    case QN_SETTING_CHOICE: return parse_choice(row, text, field, err);
    case QN_SETTING_LIST: return append_item(row, text, field, err);
    case QN_SETTING_MAP: return append_pair(row, text, field, err);
    }
    return qn_error_set(err, QN_ERR_INTERNAL, "%s: no such type", row->key);
}

static void print_choice(const qn_setting *row, int64_t index, qn_buf *out)
{
    const char *c = row->choices;

    for (int64_t i = 0; i < index && strchr(c, '|'); i++) c = strchr(c, '|') + 1;
    qn_buf_append(out, c, strcspn(c, "|"));
}

void qn_setting_print(const qn_setting *row, const void *base, qn_buf *out)
{
    const void *field = (const char *)base + row->offset;

    switch (row->type) {
    case QN_SETTING_INT:
    case QN_SETTING_COUNT:
    case QN_SETTING_BYTES: {
        const units *known = units_of(row->type);
        int64_t v = *(const int64_t *)field;
        int u = 0;

        for (; u < known->n - 1 && v != 0 && v % known->step == 0; u++) v /= known->step;
        qn_buf_printf(out, "%" PRId64 "%s", v, known->name[u]);
        break;
    }
    case QN_SETTING_TEXT: qn_buf_puts(out, field); break;
    case QN_SETTING_CHOICE: print_choice(row, *(const int64_t *)field, out); break;
    case QN_SETTING_MAP:
    case QN_SETTING_LIST: {
        const qn_text_list *list = field;

        for (int32_t i = 0; i < list->n; i++) qn_buf_printf(out, "%s%s", i ? ", " : "", list->items[i]);
        break;
    }
    }
}

qn_status qn_settings_slurp(int dir_fd, const char *name, int follow, char **text, size_t *n, qn_error *err)
{
    qn_status st = QN_OK;
    struct stat sb;
    char *buf = NULL;
    size_t have = 0;
    /* O_NONBLOCK: a FIFO put in the file's place must not stop us */
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (follow ? 0 : O_NOFOLLOW));

    *text = NULL;
    *n = 0;
    if (fd < 0) {
        st = qn_error_set(err, errno == ENOENT ? QN_ERR_NOT_FOUND : QN_ERR_IO, "cannot open: %s", strerror(errno));
        goto done;
    }
    if (fstat(fd, &sb) != 0 || !S_ISREG(sb.st_mode)) {
        st = qn_error_set(err, QN_ERR_IO, "not a regular file");
        goto done;
    }
    buf = malloc(QN_SETTINGS_FILE_MAX + 1);
    if (!buf) {
        st = qn_error_set(err, QN_ERR_NOMEM, "room for a configuration file");
        goto done;
    }
    while (have <= QN_SETTINGS_FILE_MAX) { /* one byte more than allowed tells a file that is too large */
        ssize_t r = read(fd, buf + have, QN_SETTINGS_FILE_MAX + 1 - have);

        if (r < 0 && errno == EINTR) continue;
        if (r < 0) {
            st = qn_error_set(err, QN_ERR_IO, "cannot read: %s", strerror(errno));
            goto done;
        }
        if (r == 0) break;
        have += (size_t)r;
    }
    if (have > QN_SETTINGS_FILE_MAX) {
        st = qn_error_set(err, QN_ERR_LIMIT, "larger than %u bytes", QN_SETTINGS_FILE_MAX);
        goto done;
    }
    *text = buf;
    *n = have;
    buf = NULL;
done:
    free(buf);
    if (fd >= 0) close(fd);
    return st;
}
