/* server/config/config.h - what an operator may set: config/quern.yaml, and a model's own quern.yaml.
 *
 * Every key is a row of settings.def or model_settings.def. A key that is left out has its default; an unknown key, a value of the wrong
 * type or outside its range is an error that names file, line and key, and nothing starts.
 * Threads: plain data once read. */
#ifndef QUERN_SERVER_CONFIG_H
#define QUERN_SERVER_CONFIG_H

#include "server/config/settings.h"
#include "server/registry/registry.h"

typedef struct qn_config {
    char listen[QN_SETTING_TEXT_MAX]; /* "127.0.0.1:8000", "[::1]:0" */
    int64_t http_threads;             /* 0: half of the CPUs */
    int64_t max_connections, max_connections_per_address;
    int64_t header_timeout_ms, body_timeout_ms, body_min_bytes_per_s, idle_timeout_ms, write_timeout_ms, request_timeout_ms;
    int64_t max_body_bytes, max_inflight_bytes;
    int64_t drain_timeout_ms, drain_idle_ms;
    char models_dir[QN_SETTING_TEXT_MAX];
    int64_t poll_ms, memory_bytes;
    int64_t workers, team_threads; /* 0: by the number of CPUs */
    int64_t isa;                   /* 0: auto, else the index of "auto|scalar|avx2|avx512|vnni" */
    int64_t file_bytes, weight_bytes, arena_bytes, run_macs, loop_steps;
    int64_t max_batch_rows, max_queue_delay_us, max_queued, bits; /* models.defaults */
    char keys_file[QN_SETTING_TEXT_MAX], tls_certificate_file[QN_SETTING_TEXT_MAX], tls_key_file[QN_SETTING_TEXT_MAX];
    char health_listen[QN_SETTING_TEXT_MAX];
    int64_t log_level, log_format, log_requests;
} qn_config;

/* The rows of settings.def. */
extern const qn_setting qn_config_settings[];
extern const size_t qn_config_n_settings;

/* Every key at its default. */
void qn_config_init(qn_config *config);

/* Defaults, then the text. `shown` names the file in messages. */
qn_status qn_config_parse(const char *shown, const char *text, size_t n, qn_config *config, qn_error *err);

/* Defaults, then the file at `path`. Fails with QN_ERR_NOT_FOUND, QN_ERR_IO, QN_ERR_LIMIT, QN_ERR_FORMAT, QN_ERR_INVALID, QN_ERR_RANGE. */
qn_status qn_config_read(const char *path, qn_config *config, qn_error *err);

/* One line a key, "server.listen: 127.0.0.1:8000", for --check-config. */
void qn_config_print(const qn_config *config, qn_buf *out);

/* The name of the isa choice ("auto", "scalar", ...). */
const char *qn_config_isa(const qn_config *config);

/* models.defaults as the registry wants them. */
void qn_config_model_defaults(const qn_config *config, qn_model_settings *out);

/* A model's quern.yaml over *settings: the reader the registry is given (qn_settings_reader). Labels in *settings are replaced, and then
 * owned by the caller. On failure *settings is unchanged. */
qn_status qn_config_read_model(int dir_fd, qn_model_settings *settings, qn_error *err);

/* The same from a text in memory. */
qn_status qn_config_parse_model(const char *shown, const char *text, size_t n, qn_model_settings *settings, qn_error *err);

#endif
