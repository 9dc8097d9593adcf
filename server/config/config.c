/* server/config/config.c - the daemon's configuration and a model's settings, read through their tables. */
#include "server/config/config.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

const qn_setting qn_config_settings[] = {
#define QN_ROW(key, field, type, initial, min, max, choices, what)                                                                         \
    { key, QN_SETTING_##type, offsetof(qn_config, field), initial, min, max, choices, what },
#include "server/config/settings.def"
#undef QN_ROW
};
const size_t qn_config_n_settings = COUNT(qn_config_settings);

/* A model's quern.yaml as written: integers before they are narrowed, and labels not yet handed over. */
typedef struct model_file {
    int64_t max_batch_rows, max_queue_delay_us, max_queued, bits, batching, priority;
    int64_t version_policy, latest_versions, warm_up, at_memory_cap;
    int64_t padding_multiple;
    qn_text_list labels, versions, version_labels, padding;
} model_file;

static const qn_setting model_rows[] = {
#define QN_ROW(key, field, type, initial, min, max, choices, what)                                                                         \
    { key, QN_SETTING_##type, offsetof(model_file, field), initial, min, max, choices, what },
#include "server/config/model_settings.def"
#undef QN_ROW
};

void qn_config_init(qn_config *config)
{
    memset(config, 0, sizeof *config);
    for (size_t i = 0; i < qn_config_n_settings; i++)
        (void)qn_setting_parse(&qn_config_settings[i], qn_config_settings[i].initial, config, NULL); /* a test parses every default */
}

qn_status qn_config_parse(const char *shown, const char *text, size_t n, qn_config *config, qn_error *err)
{
    qn_config_init(config);
    return qn_settings_read(shown, text, n, qn_config_settings, qn_config_n_settings, config, err);
}

/* Messages name the file, not where on the machine it is. */
static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash && slash[1] ? slash + 1 : path;
}

qn_status qn_config_read(const char *path, qn_config *config, qn_error *err)
{
    char *text = NULL;
    size_t n = 0;
    qn_status st = qn_settings_slurp(AT_FDCWD, path, 1, &text, &n, err);

    if (st == QN_OK)
        st = qn_config_parse(base_name(path), text, n, config, err);
    else
        qn_error_prefix(err, "%s", base_name(path));
    free(text);
    return st;
}

void qn_config_print(const qn_config *config, qn_buf *out)
{
    for (size_t i = 0; i < qn_config_n_settings; i++) {
        qn_buf_printf(out, "%s: ", qn_config_settings[i].key);
        qn_setting_print(&qn_config_settings[i], config, out);
        qn_buf_puts(out, "\n");
    }
}

const char *qn_config_isa(const qn_config *config)
{
    static const char *const names[] = { "auto", "scalar", "avx2", "avx512", "vnni" };

    return names[config->isa];
}

void qn_config_model_defaults(const qn_config *config, qn_model_settings *out)
{
    *out = (qn_model_settings){
        .max_batch_rows = (int32_t)config->max_batch_rows,
        .max_queue_delay_us = config->max_queue_delay_us,
        .max_queued = (int32_t)config->max_queued,
        .bits = config->bits ? QN_BITS_FAST : QN_BITS_EXACT,
        .batching = -1,
        .priority = 1,
    };
}

/* "3" -> 3: the number of a version. */
static qn_status version_number(const char *key, const char *text, int64_t *out, qn_error *err)
{
    const qn_setting row = { .key = key, .type = QN_SETTING_INT, .min = 1, .max = 999999999999999999 };

    return qn_setting_parse(&row, text, out, err);
}

/* Lists of text -> numbers and labels. On failure *p holds what the caller releases. */
static qn_status read_policy(const model_file *m, qn_version_policy *p, qn_error *err)
{
    qn_status st = QN_OK;

    *p = (qn_version_policy){ .rule = (qn_version_rule)m->version_policy, .n_latest = (int32_t)m->latest_versions };
    if (m->versions.n > 0) p->numbers = calloc((size_t)m->versions.n, sizeof *p->numbers);
    if (m->version_labels.n > 0) p->labels = calloc((size_t)m->version_labels.n, sizeof *p->labels);
    if ((m->versions.n > 0 && !p->numbers) || (m->version_labels.n > 0 && !p->labels)) return qn_error_set(err, QN_ERR_NOMEM, "versions");
    for (int32_t i = 0; i < m->versions.n && st == QN_OK; i++)
        st = version_number("versions", m->versions.items[i], &p->numbers[p->n_numbers++], err);
    for (int32_t i = 0; i < m->version_labels.n && st == QN_OK; i++) {
        qn_version_label *l = &p->labels[p->n_labels++];
        const char *equals = strchr(m->version_labels.items[i], '=');

        l->name = strndup(m->version_labels.items[i], (size_t)(equals - m->version_labels.items[i]));
        if (!l->name) return qn_error_set(err, QN_ERR_NOMEM, "version_labels");
        if (!qn_model_name_valid(l->name))
            return qn_error_set(err, QN_ERR_INVALID, "version_labels: '%.40s' is no name for a version", l->name);
        st = version_number("version_labels", equals + 1, &l->version, err);
    }
    if (st == QN_OK && p->rule == QN_VERSIONS_SPECIFIC && p->n_numbers == 0)
        st = qn_error_set(err, QN_ERR_INVALID, "version_policy is specific, but versions names none");
    if (st == QN_OK && p->rule != QN_VERSIONS_SPECIFIC && p->n_numbers > 0)
        st = qn_error_set(err, QN_ERR_INVALID, "versions are listed, but version_policy is not specific");
    return st;
}

/* "input_ids=0" -> a name and a number. On failure *out holds what the caller frees. */
static qn_status read_padding(const model_file *m, qn_model_settings *out, qn_error *err)
{
    out->paddings = m->padding.n > 0 ? calloc((size_t)m->padding.n, sizeof *out->paddings) : NULL;
    out->n_paddings = 0;
    out->padding_multiple = m->padding_multiple;
    if (m->padding.n > 0 && !out->paddings) return qn_error_set(err, QN_ERR_NOMEM, "padding");
    for (int32_t i = 0; i < m->padding.n; i++) {
        qn_padded_input *p = &out->paddings[out->n_paddings++];
        const char *equals = strchr(m->padding.items[i], '=');
        char *end = NULL;

        p->name = strndup(m->padding.items[i], (size_t)(equals - m->padding.items[i]));
        if (!p->name) return qn_error_set(err, QN_ERR_NOMEM, "padding");
        p->value = strtod(equals + 1, &end);
        if (end == equals + 1 || *end || !strchr("+-.0123456789", equals[1]))
            return qn_error_set(err, QN_ERR_INVALID, "padding.%.64s: '%.40s' is not a number", p->name, equals + 1);
    }
    return QN_OK;
}

static void labels_free(char **items, int32_t n)
{
    for (int32_t i = 0; i < n; i++) free(items[i]);
    free(items);
}

qn_status qn_config_parse_model(const char *shown, const char *text, size_t n, qn_model_settings *settings, qn_error *err)
{
    model_file m = {
        .max_batch_rows = settings->max_batch_rows,
        .max_queue_delay_us = settings->max_queue_delay_us,
        .max_queued = settings->max_queued,
        .bits = settings->bits == QN_BITS_FAST,
        .batching = settings->batching < 0 ? 0 : settings->batching + 1,
        .priority = settings->priority,
        .latest_versions = 1,
        .padding_multiple = 16,
    };
    qn_model_settings padded = { 0 };
    qn_version_policy policy = { 0 };
    qn_status st = qn_settings_read(shown, text, n, model_rows, COUNT(model_rows), &m, err);

    if (st == QN_OK && (st = read_policy(&m, &policy, err)) != QN_OK) qn_error_prefix(err, "%s", shown);
    if (st == QN_OK && (st = read_padding(&m, &padded, err)) != QN_OK) qn_error_prefix(err, "%s", shown);
    labels_free(m.padding.items, m.padding.n);
    labels_free(m.versions.items, m.versions.n);
    labels_free(m.version_labels.items, m.version_labels.n);
    if (st != QN_OK) {
        labels_free(m.labels.items, m.labels.n);
        qn_version_policy_release(&policy);
        qn_model_settings_release(&padded);
        return st;
    }
    settings->max_batch_rows = (int32_t)m.max_batch_rows;
    settings->max_queue_delay_us = m.max_queue_delay_us;
    settings->max_queued = (int32_t)m.max_queued;
    settings->bits = m.bits ? QN_BITS_FAST : QN_BITS_EXACT;
    settings->batching = (int)m.batching - 1; /* auto -1, never 0, always 1 */
    settings->priority = (int)m.priority;
    settings->no_warm_up = m.warm_up == 1;
    settings->unload_first = m.at_memory_cap == 1;
    qn_version_policy_release(&settings->versions);
    settings->versions = policy;
    for (int32_t i = 0; i < settings->n_paddings; i++) free(settings->paddings[i].name);
    free(settings->paddings);
    settings->paddings = padded.paddings;
    settings->n_paddings = padded.n_paddings;
    settings->padding_multiple = padded.padding_multiple;
    if (m.labels.n > 0) {
        labels_free(settings->labels, settings->n_labels);
        settings->labels = m.labels.items;
        settings->n_labels = m.labels.n;
    }
    return QN_OK;
}

qn_status qn_config_read_model(int dir_fd, qn_model_settings *settings, qn_error *err)
{
    char *text = NULL;
    size_t n = 0;
    qn_status st = qn_settings_slurp(dir_fd, "quern.yaml", 0, &text, &n, err);

    if (st == QN_ERR_NOT_FOUND) {
        if (err) *err = (qn_error){ .status = QN_OK };
        return QN_OK;
    }
    if (st == QN_OK)
        st = qn_config_parse_model("quern.yaml", text, n, settings, err);
    else
        qn_error_prefix(err, "quern.yaml");
    free(text);
    return st;
}
