/* server/cli/options.h - options of the commands, and a model opened as they say. */
#ifndef QUERN_SERVER_CLI_OPTIONS_H
#define QUERN_SERVER_CLI_OPTIONS_H

#include "quern/model.h"

enum { QN_EXIT_OK = 0, QN_EXIT_ERROR = 1, QN_EXIT_USAGE = 2, QN_EXIT_UNSUPPORTED = 3 };

/* Which options a command knows. */
#define QN_CLI_INPUT      0x01u  /* --input NAME=FILE.npy, any number of times */
#define QN_CLI_OUTPUT_DIR 0x02u  /* --output-dir DIR */
#define QN_CLI_THREADS    0x04u  /* --threads N */
#define QN_CLI_ISA        0x08u  /* --isa NAME */
#define QN_CLI_ALL_VALUES 0x10u  /* --all-values */
#define QN_CLI_JSON       0x20u  /* --json */
#define QN_CLI_SHAPE      0x40u  /* --shape NAME=1x3x224x224, any number of times */
#define QN_CLI_BATCH      0x80u  /* --batch N */
#define QN_CLI_SECONDS    0x100u /* --seconds S */
#define QN_CLI_PROFILE    0x200u /* --profile */

typedef struct qn_cli_options {
    const char *command;
    const char *model;
    const char **pairs; /* [n_pairs] values of --input or --shape, as given; owned */
    int n_pairs;
    const char *output_dir;
    int threads;  /* default 1 */
    unsigned cpu; /* default: what this machine has */
    bool all_values, json, profile;
    int64_t batch;  /* default 1 */
    double seconds; /* default 3 */
} qn_cli_options;

/* Read argv[1..]. False: wrong usage, which was said on stderr; *out may be released either way. */
bool qn_cli_parse(int argc, char **argv, unsigned known, const char *usage, qn_cli_options *out);
void qn_cli_release(qn_cli_options *o);

/* The model, or NULL with *exit_code set and the reason on stderr. */
qn_model *qn_cli_model(const qn_cli_options *o, int *exit_code);

/* Say err on stderr as "quern COMMAND: WHAT: status: message"; returns the exit code for it. */
int qn_cli_fail(const qn_cli_options *o, const char *what, const qn_error *err);

/* "NAME=REST": the input called NAME and where REST starts; -1: no input is called so. Names may hold '='. */
int32_t qn_cli_input_pair(const qn_model *m, const char *pair, const char **rest);

#endif
