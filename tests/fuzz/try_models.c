/* tests/fuzz/try_models.c - each model file named on standard input is loaded, planned and run once, in a process of its own.
 *
 *   ls DIR/x.onnx | quern_try_models
 *
 * One line a file: NAME, what became of it, CPU milliseconds, peak KiB, the message; tabs between.
 *   refused   an error at load or when it ran: the message
 *   ran       it gave outputs
 *   stopped   it ran longer than RUN_MS and ended when it was told to
 *   died      by the signal in the message, or it had not ended after KILL_S seconds of CPU
 * Inputs are made up from the ports: free dimensions are 2, numbers count from 0. */
#include "quern/model.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RUN_MS 1000
#define KILL_S 30

/* Exit statuses of the child; 0 and 1 are what sanitizers and aborted libraries end with. */
enum { REFUSED = 10, RAN, STOPPED };

/* Arenas well below the bound that the caller checks, so that what exceeds it was not counted. */
static const qn_limits limits = {
    .file_bytes = 64 << 20, .weight_bytes = 64 << 20, .arena_bytes = 128 << 20, .loop_steps = 20000, .run_macs = 1 << 30
}; /* one step, which nothing stops, ends well within the time */

static double cpu_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static bool out_of_time(void *user)
{
    (void)user;
    return cpu_ms() > RUN_MS;
}

static void fill(qn_tensor *t)
{
    for (size_t i = 0; i < t->bytes; i++) ((unsigned char *)t->data)[i] = 0;
    for (int64_t i = 0, n = qn_tensor_count(t); i < n; i++) {
        switch (t->dtype) {
        case QN_F32: ((float *)t->data)[i] = (float)(i % 7); break;
        case QN_F64: ((double *)t->data)[i] = (double)(i % 7); break;
        case QN_I32:
        case QN_U32: ((uint32_t *)t->data)[i] = (uint32_t)(i % 3); break;
        case QN_I64:
        case QN_U64: ((uint64_t *)t->data)[i] = (uint64_t)(i % 3); break;
        case QN_I8:
        case QN_U8: ((uint8_t *)t->data)[i] = (uint8_t)(i % 7); break;
        case QN_BOOL: ((uint8_t *)t->data)[i] = i % 2 == 0; break;
        default: break; /* zeros, and strings of no bytes */
        }
    }
}

/* Memory is left to the end of the process. */
static qn_status make_input(const qn_port *p, qn_tensor *t, qn_error *err)
{
    int64_t count;
    qn_status st;

    *t = (qn_tensor){ .dtype = p->dtype, .rank = p->rank < 0 ? 1 : p->rank };
    for (int32_t d = 0; d < t->rank; d++) t->dims[d] = p->rank < 0 || p->dims[d] < 0 ? 2 : p->dims[d];
    st = qn_shape_count(t->rank, t->dims, &count, err);
    if (st == QN_OK && count > (8 << 20))
        st = qn_error_set(err, QN_ERR_LIMIT, "input '%.60s' has %lld elements", p->name, (long long)count);
    if (st != QN_OK) return st;
    t->bytes = t->dtype == QN_STRING ? ((size_t)count + 1) * sizeof(uint64_t) : (size_t)count * qn_dtype_size(t->dtype);
    t->data = malloc(t->bytes + 1);
    if (!t->data) return qn_error_set(err, QN_ERR_NOMEM, "input");
    if (t->dtype == QN_STRING)
        memset(t->data, 0, t->bytes);
    else
        fill(t);
    return QN_OK;
}

static qn_status try_model(const char *path, bool *stopped, qn_error *err)
{
    const qn_model_options options = { .cpu = qn_cpu_detect(), .limits = limits };
    const qn_run_hooks hooks = { .cancelled = out_of_time };
    qn_model *m = NULL;
    qn_session *s = NULL;
    qn_tensor *in, *out;
    qn_status st = qn_model_load(AT_FDCWD, path, &options, &m, err);

    if (st == QN_OK) st = qn_session_create(m, NULL, &s, err);
    if (st != QN_OK) return st;
    in = calloc((size_t)qn_model_n_inputs(m) + 1, sizeof *in);
    out = calloc((size_t)qn_model_n_outputs(m) + 1, sizeof *out);
    if (!in || !out) return qn_error_set(err, QN_ERR_NOMEM, "tensors");
    for (int32_t i = 0; i < qn_model_n_inputs(m) && st == QN_OK; i++) {
        const qn_port *p = qn_model_input(m, i);
        qn_tensor one[2];

        if (p->optional) continue;
        if (p->kind == QN_PORT_TENSOR) {
            st = make_input(p, &in[i], err);
            continue;
        }
        st = make_input(p, &one[0], err);
        one[1] = one[0];
        if (st == QN_OK) st = qn_session_set_items(s, i, true, one, p->kind == QN_PORT_OPTIONAL ? 1 : 2, err);
    }
    if (st == QN_OK) st = qn_session_run(s, in, out, &hooks, err);
    *stopped = st == QN_ERR_CANCELLED;
    qn_session_destroy(s);
    qn_model_unref(m);
    return st;
}

static void child(const char *path, int fd)
{
    const struct rlimit cpu = { KILL_S, KILL_S }, core = { 0, 0 };
    qn_error err = { 0 };
    bool stopped = false;
    qn_status st;

    setrlimit(RLIMIT_CPU, &cpu);
    setrlimit(RLIMIT_CORE, &core);
    st = try_model(path, &stopped, &err);
    if (st != QN_OK && !err.message[0]) abort(); /* an error without a word */
    if (st != QN_OK && write(fd, err.message, strlen(err.message)) < 0) abort();
    _exit(stopped ? STOPPED : st == QN_OK ? RAN : REFUSED);
}

static void report(const char *path, int status, const struct rusage *used, const char *message)
{
    static const char *const words[] = { "refused", "ran", "stopped" };
    const double ms =
        (double)(used->ru_utime.tv_sec + used->ru_stime.tv_sec) * 1e3 + (double)(used->ru_utime.tv_usec + used->ru_stime.tv_usec) / 1e3;
    const bool ended = WIFEXITED(status) && WEXITSTATUS(status) >= REFUSED && WEXITSTATUS(status) <= STOPPED;

    printf("%s\t%s\t%.0f\t%ld\t", path, ended ? words[WEXITSTATUS(status) - REFUSED] : "died", ms, used->ru_maxrss);
    if (ended)
        printf("%s\n", message);
    else if (WIFSIGNALED(status))
        printf("signal %d\n", WTERMSIG(status));
    else
        printf("exit status %d\n", WEXITSTATUS(status));
}

int main(void)
{
    char path[4096];

    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(path, sizeof path, stdin)) {
        char message[sizeof(qn_error) + 1] = "";
        int fds[2], status = 0;
        struct rusage used = { 0 };
        pid_t pid;
        size_t got = 0;
        ssize_t n;

        path[strcspn(path, "\n")] = '\0';
        if (pipe(fds) != 0) return 1;
        fflush(stdout);
        pid = fork();
        if (pid < 0) return 1;
        if (pid == 0) {
            close(fds[0]);
            child(path, fds[1]);
        }
        close(fds[1]);
        while (got < sizeof message - 1 && (n = read(fds[0], message + got, sizeof message - 1 - got)) > 0) got += (size_t)n;
        close(fds[0]);
        message[got] = '\0';
        for (char *p = message; *p; p++)
            if (*p == '\t' || *p == '\n') *p = ' ';
        if (wait4(pid, &status, 0, &used) != pid) return 1;
        report(path, status, &used, message);
    }
    return 0;
}
