/* server/config/settings.h - one row a setting: its name, type, range, default and what it is.
 * The tables drive the reader, --check-config and the test that config/quern.yaml names every key with its default.
 * Threads: constant tables; parsing touches the caller's struct only. */
#ifndef QUERN_SERVER_SETTINGS_H
#define QUERN_SERVER_SETTINGS_H

#include "quern/buf.h"
#include "quern/error.h"

#include <stddef.h>
#include <stdint.h>

typedef enum qn_setting_type {
    QN_SETTING_INT,    /* int64_t, decimal */
    QN_SETTING_BYTES,  /* int64_t, decimal, optionally followed by KiB, MiB, GiB */
    QN_SETTING_COUNT,  /* int64_t, decimal, optionally followed by K, M, G, T: thousands, millions, .. */
    QN_SETTING_TEXT,   /* char[QN_SETTING_TEXT_MAX], min..max bytes */
    QN_SETTING_CHOICE, /* int64_t: index into `choices` */
    QN_SETTING_LIST,   /* qn_text_list, min..max entries of 1..QN_SETTING_TEXT_MAX-1 bytes */
    QN_SETTING_MAP, /* qn_text_list, at most max entries, each "name=value"; a name is a row of its own in the file and stands there once */
} qn_setting_type;

#define QN_SETTING_TEXT_MAX 1024

typedef struct qn_text_list {
    char **items; /* [n], owned */
    int32_t n;
} qn_text_list;

typedef struct qn_setting {
    const char *key; /* "server.listen" */
    qn_setting_type type;
    size_t offset;       /* of the field in the struct the table is for */
    const char *initial; /* the default, written as in the file */
    int64_t min, max;
    const char *choices; /* "exact|fast" for QN_SETTING_CHOICE */
    const char *what;    /* for people */
} qn_setting;

/* Parse text into the field of `base` that the row names; LIST and MAP append one entry.
 * Fails with QN_ERR_INVALID (not of the type), QN_ERR_RANGE, QN_ERR_NOMEM; the message names the key, what was found and what is allowed. */
qn_status qn_setting_parse(const qn_setting *row, const char *text, void *base, qn_error *err);

/* The value as it would be written in the file. */
void qn_setting_print(const qn_setting *row, const void *base, qn_buf *out);

/* Read a whole YAML text over the struct `base`. `shown` names the file in messages: "quern.yaml:12: server.listen: ...".
 * Unknown keys, duplicate keys, anchors, aliases, tags, several documents and nesting beyond 8 are errors.
 * On failure some fields may have been set already. */
qn_status qn_settings_read(const char *shown, const char *text, size_t n, const qn_setting *rows, size_t n_rows, void *base, qn_error *err);

/* Largest YAML file that is read. */
#define QN_SETTINGS_FILE_MAX (256u * 1024u)

/* A regular file `name` below dir_fd (AT_FDCWD allowed), at most QN_SETTINGS_FILE_MAX bytes. Links are followed when follow is set.
 * The caller frees *text. Fails with QN_ERR_NOT_FOUND, QN_ERR_IO, QN_ERR_LIMIT, QN_ERR_NOMEM. */
qn_status qn_settings_slurp(int dir_fd, const char *name, int follow, char **text, size_t *n, qn_error *err);

#endif
