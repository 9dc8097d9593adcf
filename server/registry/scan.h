/* server/registry/scan.h - what is in the folder of models; private to this room. Reads names and stamps, never contents. */
#ifndef QUERN_SERVER_REGISTRY_SCAN_H
#define QUERN_SERVER_REGISTRY_SCAN_H

#include "server/registry/registry.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define QN_SCAN_MAX_MODELS   10000
#define QN_SCAN_MAX_VERSIONS 10000
#define QN_SCAN_MAX_NUMBER   INT64_C(999999999999999999)

/* Enough of stat(2) to see that a file is not the one that was loaded. */
typedef struct qn_file_stamp {
    dev_t dev;
    ino_t ino;
    int64_t size, mtime_ns, ctime_ns;
} qn_file_stamp;

typedef struct qn_scan_version {
    int64_t number;
    char file[40];       /* "12/model.onnx" or "12/model.onnx.zst" */
    char answer[48];     /* "12/known_answer.json", which need not exist */
    qn_file_stamp stamp; /* of that file, joined with known_answer.json and the model's quern.yaml: any one changed means load again */
} qn_scan_version;

/* Names of folders beneath root_fd that are valid model names, sorted; others are passed over. Free with qn_scan_free_names(). */
qn_status qn_scan_models(int root_fd, char ***names, int32_t *n, qn_error *err);
void qn_scan_free_names(char **names, int32_t n);

/* Versions in the model's folder, highest first; *versions is freed with free(). A folder that is not a positive integer, or has no model
 * file, is passed over: it may still be on its way. */
qn_status qn_scan_versions(int model_fd, qn_scan_version **versions, int32_t *n, qn_error *err);

#endif
