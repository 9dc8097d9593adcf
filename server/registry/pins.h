/* server/registry/pins.h - <model>/pins.json: what promote and rollback decided; private to this room.
 *
 *   {"served": "3", "before": ["1", "2"], "labels": {"canary": "5"}}
 *   served   the version that is served until the next promote or rollback; left out: the policy decides
 *   before   what was served earlier, the latest last; rollback takes from its end
 *   labels   moved by promote; they win over version_labels in quern.yaml
 * Written to a file beside it, fsynced, renamed, and the folder fsynced: after a crash either the old or the new stands there. */
#ifndef QUERN_SERVER_REGISTRY_PINS_H
#define QUERN_SERVER_REGISTRY_PINS_H

#include "server/registry/registry.h"

#define QN_PINS_BEFORE 32
#define QN_PINS_LABELS 100

typedef struct qn_pins {
    int64_t served; /* 0: none */
    int64_t before[QN_PINS_BEFORE];
    int32_t n_before;
    qn_version_label *labels; /* [n_labels] owned */
    int32_t n_labels;
} qn_pins;

/* A missing file is an empty *out. Fails with QN_ERR_FORMAT, QN_ERR_LIMIT, QN_ERR_IO, QN_ERR_NOMEM; *out is empty then. */
qn_status qn_pins_read(int model_fd, qn_pins *out, qn_error *err);
qn_status qn_pins_write(int model_fd, const qn_pins *pins, qn_error *err);
void qn_pins_release(qn_pins *pins);

/* Remember a version that stops being served; the oldest is forgotten when there is no room. */
void qn_pins_push(qn_pins *pins, int64_t version);
/* version 0 takes the label away. Fails with QN_ERR_LIMIT, QN_ERR_NOMEM. */
qn_status qn_pins_label(qn_pins *pins, const char *label, int64_t version, qn_error *err);

#endif
