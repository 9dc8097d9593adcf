/* server/config/yaml.c - YAML text -> settings, by libyaml's events and without a tree.
 * Traps    libyaml 0.2.5 has no nesting limit and takes quadratic time in the depth of flow collections: the text is at most 256 KiB and
 *          the reader stops at the first event beyond depth 8. Anchors and aliases (the billion laughs), tags and further documents have
 *          no use here and are refused. libyaml hands out duplicate keys without a word: every key is remembered with its line.
 * Values   settings are read from the scalar's text; `yes`, 0x10, ~ and the like have no meaning of their own. */
#include "server/config/settings.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define MAX_DEPTH 8
#define MAX_PATH  128

typedef struct frame {
    bool sequence;
    size_t path_len; /* of the path that this collection is the value of */
    size_t key_len;  /* mapping: length with the key whose value comes next; 0: a key comes next */
} frame;

typedef struct reader {
    const char *shown;
    const qn_setting *rows;
    size_t n_rows;
    void *base;
    size_t *seen; /* [n_rows][1 + MAX_DEPTH] line of the first time, 0: not yet: the key, then the sections around it by depth */
    frame stack[MAX_DEPTH];
    int depth;
    char path[MAX_PATH];
    size_t line;
    int n_documents;
} reader;

static qn_status fail(reader *r, qn_status st, qn_error *err, const char *what)
{
    return qn_error_set(err, st, "%s:%zu: %s%s%s", r->shown, r->line, r->path, r->path[0] ? ": " : "", what);
}

static const qn_setting *find(const reader *r, size_t *index)
{
    for (size_t i = 0; i < r->n_rows; i++) {
        if (strcmp(r->rows[i].key, r->path) == 0) {
            *index = i;
            return &r->rows[i];
        }
    }
    return NULL;
}

/* Number of the section r->path among the distinct sections of the table, or -1 if no key starts with it. */
static int section_index(const reader *r)
{
    size_t n = strlen(r->path);

    for (size_t i = 0; i < r->n_rows; i++) {
        if (n > 0 && strncmp(r->rows[i].key, r->path, n) == 0 && r->rows[i].key[n] == '.') return (int)i;
    }
    return -1;
}

/* depth 0: the key of that row; else the section around it at that depth. */
static qn_status once(reader *r, size_t row, int depth, qn_error *err)
{
    size_t *line = &r->seen[row * (1 + MAX_DEPTH) + (size_t)depth];
    char text[64];

    if (*line) {
        snprintf(text, sizeof text, "given twice, first in line %zu", *line);
        return fail(r, QN_ERR_INVALID, err, text);
    }
    *line = r->line;
    return QN_OK;
}

/* The row of the mapping that a frame stands for, if its keys are the operator's own. */
static const qn_setting *map_row(const reader *r, const frame *f)
{
    for (size_t i = 0; i < r->n_rows && f->path_len > 0; i++) {
        const char *key = r->rows[i].key;

        if (r->rows[i].type == QN_SETTING_MAP && strlen(key) == f->path_len && memcmp(key, r->path, f->path_len) == 0) return &r->rows[i];
    }
    return NULL;
}

static qn_status on_key(reader *r, frame *f, const char *key, size_t len, qn_error *err)
{
    size_t dot = f->path_len > 0 ? 1 : 0, unused;
    int section;

    if (strlen(key) != len || f->path_len + dot + len >= MAX_PATH) return fail(r, QN_ERR_INVALID, err, "a key that no setting has");
    if (dot) r->path[f->path_len] = '.';
    memcpy(r->path + f->path_len + dot, key, len + 1);
    f->key_len = f->path_len + dot + len;
    if (map_row(r, f)) return len > 0 && !memchr(key, '=', len) ? QN_OK : fail(r, QN_ERR_INVALID, err, "a name without '=' expected");
    if (memchr(key, '.', len)) return fail(r, QN_ERR_INVALID, err, "unknown key (sections are nested, not dotted)");
    section = section_index(r);
    if (!find(r, &unused) && section < 0) return fail(r, QN_ERR_INVALID, err, "unknown key");
    return section < 0 ? QN_OK : once(r, (size_t)section, r->depth, err);
}

/* An entry of a map, handed on as "name=value". */
static qn_status on_pair(reader *r, const frame *f, const qn_setting *row, const char *value, qn_error *err)
{
    char pair[MAX_PATH + QN_SETTING_TEXT_MAX];
    qn_status st;

    if (strlen(value) >= QN_SETTING_TEXT_MAX) return fail(r, QN_ERR_RANGE, err, "more text than a value may have");
    snprintf(pair, sizeof pair, "%s=%s", r->path + f->path_len + 1, value);
    st = qn_setting_parse(row, pair, r->base, err);
    if (st != QN_OK) qn_error_prefix(err, "%s:%zu", r->shown, r->line);
    return st;
}

static qn_status on_value(reader *r, const yaml_event_t *e, bool in_list, qn_error *err)
{
    const char *text = (const char *)e->data.scalar.value;
    size_t index = 0;
    const qn_setting *row = find(r, &index);
    qn_status st;

    if (strlen(text) != e->data.scalar.length) return fail(r, QN_ERR_INVALID, err, "a NUL byte in the value");
    if (!in_list && map_row(r, &r->stack[r->depth - 1]))
        return on_pair(r, &r->stack[r->depth - 1], map_row(r, &r->stack[r->depth - 1]), text, err);
    if (row && row->type == QN_SETTING_MAP) return fail(r, QN_ERR_INVALID, err, "names with a value each expected, found one value");
    if (!row) {
        /* "server:" with nothing, or only comments, below it */
        if (e->data.scalar.length == 0 && e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) return QN_OK;
        return fail(r, QN_ERR_INVALID, err, "is a section, found a value");
    }
    if (in_list != (row->type == QN_SETTING_LIST))
        return fail(r, QN_ERR_INVALID, err, in_list ? "one value expected, found a list" : "a list expected, found one value");
    if (!in_list && (st = once(r, index, 0, err)) != QN_OK) return st;
    st = qn_setting_parse(row, text, r->base, err);
    if (st != QN_OK) qn_error_prefix(err, "%s:%zu", r->shown, r->line);
    return st;
}

/* The value of the innermost key is complete: the next scalar of that mapping is a key again. */
static void value_done(reader *r)
{
    if (r->depth > 0 && !r->stack[r->depth - 1].sequence) {
        frame *f = &r->stack[r->depth - 1];

        f->key_len = 0;
        r->path[f->path_len] = '\0';
    }
}

static qn_status on_scalar(reader *r, const yaml_event_t *e, qn_error *err)
{
    frame *f = r->depth > 0 ? &r->stack[r->depth - 1] : NULL;
    qn_status st;

    if (e->data.scalar.anchor) return fail(r, QN_ERR_INVALID, err, "anchors are not allowed");
    if (e->data.scalar.tag) return fail(r, QN_ERR_INVALID, err, "tags are not allowed");
    if (!f) {
        if (e->data.scalar.length == 0) return QN_OK; /* an empty document */
        return fail(r, QN_ERR_INVALID, err, "the file must be a mapping of keys");
    }
    if (!f->sequence && f->key_len == 0) return on_key(r, f, (const char *)e->data.scalar.value, e->data.scalar.length, err);
    st = on_value(r, e, f->sequence, err);
    if (st == QN_OK) value_done(r);
    return st;
}

static qn_status on_open(reader *r, bool sequence, qn_error *err)
{
    const frame *f = r->depth > 0 ? &r->stack[r->depth - 1] : NULL;
    size_t index = 0;
    const qn_setting *row = find(r, &index);

    if (r->depth == MAX_DEPTH) return fail(r, QN_ERR_LIMIT, err, "nested deeper than 8");
    if (!f && sequence) return fail(r, QN_ERR_INVALID, err, "the file must be a mapping of keys, found a list");
    if (f && !f->sequence && f->key_len == 0) return fail(r, QN_ERR_INVALID, err, "a key must be plain text");
    if (f && f->sequence) return fail(r, QN_ERR_INVALID, err, "a list of plain values expected");
    if (f && sequence && (!row || row->type != QN_SETTING_LIST)) return fail(r, QN_ERR_INVALID, err, "no list expected here");
    if (f && map_row(r, f)) return fail(r, QN_ERR_INVALID, err, "a plain value expected");
    if (f && !sequence && row && row->type == QN_SETTING_MAP) {
        qn_status st = once(r, index, 0, err);

        if (st != QN_OK) return st;
    } else if (f && !sequence && row)
        return fail(r, QN_ERR_INVALID, err, "a value expected, found a section");
    if (f && sequence) {
        qn_status st = once(r, index, 0, err);

        if (st != QN_OK) return st;
    }
    r->stack[r->depth++] = (frame){ .sequence = sequence, .path_len = f ? f->key_len : 0 };
    return QN_OK;
}

static qn_status on_event(reader *r, const yaml_event_t *e, qn_error *err)
{
    r->line = e->start_mark.line + 1;
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (++r->n_documents > 1) return fail(r, QN_ERR_INVALID, err, "a second document");
        return QN_OK;
    case YAML_ALIAS_EVENT: return fail(r, QN_ERR_INVALID, err, "aliases are not allowed");
    case YAML_SCALAR_EVENT: return on_scalar(r, e, err);
    case YAML_MAPPING_START_EVENT:
        if (e->data.mapping_start.anchor) return fail(r, QN_ERR_INVALID, err, "anchors are not allowed");
        if (e->data.mapping_start.tag) return fail(r, QN_ERR_INVALID, err, "tags are not allowed");
        return on_open(r, false, err);
    case YAML_SEQUENCE_START_EVENT:
        if (e->data.sequence_start.anchor) return fail(r, QN_ERR_INVALID, err, "anchors are not allowed");
        if (e->data.sequence_start.tag) return fail(r, QN_ERR_INVALID, err, "tags are not allowed");
        return on_open(r, true, err);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        r->depth--;
        value_done(r);
        return QN_OK;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT: return QN_OK;
    }
    return QN_OK;
}

qn_status qn_settings_read(const char *shown, const char *text, size_t n, const qn_setting *rows, size_t n_rows, void *base, qn_error *err)
{
    qn_status st = QN_OK;
    reader r = { .shown = shown, .rows = rows, .n_rows = n_rows, .base = base };
    yaml_parser_t parser;
    bool have_parser = false, ended = false;

    if (n > QN_SETTINGS_FILE_MAX) return qn_error_set(err, QN_ERR_LIMIT, "%s: %zu bytes, at most %u", shown, n, QN_SETTINGS_FILE_MAX);
    r.seen = calloc(n_rows, (1 + MAX_DEPTH) * sizeof *r.seen);
    have_parser = yaml_parser_initialize(&parser) != 0;
    if (!r.seen || !have_parser) {
        st = qn_error_set(err, QN_ERR_NOMEM, "%s: YAML reader", shown);
        goto done;
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, n);
    while (st == QN_OK && !ended) {
        yaml_event_t e;

        if (!yaml_parser_parse(&parser, &e)) {
            st = qn_error_set(err, parser.error == YAML_MEMORY_ERROR ? QN_ERR_NOMEM : QN_ERR_FORMAT, "%s:%zu: %s", shown,
                              parser.problem_mark.line + 1, parser.problem ? parser.problem : "not YAML");
            break;
        }
        ended = e.type == YAML_STREAM_END_EVENT;
        st = on_event(&r, &e, err);
        yaml_event_delete(&e);
    }
done:
    if (have_parser) yaml_parser_delete(&parser);
    free(r.seen);
    return st;
}
