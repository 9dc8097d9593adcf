/* server/registry/version.h - one version of a model as the registry holds it; private to this room.
 * Two counts: refs keeps the contents (model, queue, sessions), shells keeps only this struct, so that the index can still say DRAINING or
 * GONE about a version whose last request is somebody else's. */
#ifndef QUERN_SERVER_REGISTRY_VERSION_H
#define QUERN_SERVER_REGISTRY_VERSION_H

#include "server/registry/registry.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

struct qn_version {
    atomic_int refs, shells;
    atomic_int state; /* qn_version_state */
    char *name;       /* of the model, owned */
    int64_t number;
    qn_model *model;
    qn_model_settings settings; /* labels owned */
    struct qn_queue *queue;
    struct qn_padding *padding;  /* or NULL */
    pthread_mutex_t sessions_mu; /* guards the free list; innermost */
    qn_session **sessions;       /* [n_sessions] not in use, room for max_sessions */
    int32_t n_sessions, max_sessions;
};

/* What a loader needs to know of the options. */
typedef struct qn_version_source {
    int settings_fd;  /* the model's folder, for quern.yaml */
    int file_fd;      /* what `file` and `answer` are beneath: the model's folder, or a staged one */
    const char *name; /* of the model */
    int64_t number;
    const char *file;   /* "3/model.onnx.zst" */
    const char *answer; /* "3/known_answer.json"; it need not exist */
    const qn_registry_options *options;
} qn_version_source;

/* FOUND -> LOADING -> (the caller publishes). Reads, plans and warms the version: everything that can fail, fails here.
 * *out has one ref and one shell. */
qn_status qn_version_load(const qn_version_source *src, qn_version **out, qn_error *err);

void qn_version_shell_unref(qn_version *v);

#endif
