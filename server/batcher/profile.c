/* server/batcher/profile.c - step times of live runs, added up by node. */
#include "server/batcher/profile.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_ROWS 100000 /* nodes of one model; what is beyond is left out */

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void qn_profile_init(qn_profile *p)
{
    memset(p, 0, sizeof *p);
    pthread_mutex_init(&p->mu, NULL);
}

void qn_profile_rows_free(qn_profile_row *rows, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        free(rows[i].node);
        free(rows[i].op);
        free(rows[i].kernel);
    }
    free(rows);
}

void qn_profile_release(qn_profile *p)
{
    qn_profile_rows_free(p->rows, p->n);
    pthread_mutex_destroy(&p->mu);
}

void qn_profile_start(qn_profile *p, int64_t runs)
{
    pthread_mutex_lock(&p->mu);
    qn_profile_rows_free(p->rows, p->n);
    p->rows = NULL;
    p->n = p->cap = 0;
    p->n_runs = p->n_rows = 0;
    p->ns = 0;
    p->asked = runs;
    atomic_store(&p->wanted, runs);
    pthread_mutex_unlock(&p->mu);
}

bool qn_profile_take(qn_profile *p, qn_profile_watch *w)
{
    if (atomic_load_explicit(&p->wanted, memory_order_relaxed) <= 0) return false;
    if (atomic_fetch_sub(&p->wanted, 1) <= 0) {
        atomic_fetch_add(&p->wanted, 1);
        return false;
    }
    w->n = 0;
    w->failed = false;
    w->began = now_ns();
    return true;
}

void qn_profile_step(qn_profile_watch *w, int32_t step, bool finished)
{
    if (!finished) {
        w->step_began = now_ns();
        return;
    }
    if (step >= w->cap) {
        int32_t cap = step < 128 ? 256 : 2 * step;
        uint64_t *grown = realloc(w->ns, (size_t)cap * sizeof *grown);

        if (!grown) {
            w->failed = true;
            return;
        }
        w->ns = grown;
        w->cap = cap;
    }
    for (; w->n <= step; w->n++) w->ns[w->n] = 0;
    w->ns[step] += now_ns() - w->step_began;
}

void qn_profile_watch_release(qn_profile_watch *w) { free(w->ns); }

static bool is_row(const qn_profile_row *r, const qn_step_info *s)
{
    return strcmp(r->node, s->node) == 0 && strcmp(r->op, s->op) == 0 && strcmp(r->kernel, s->kernel) == 0;
}

/* The row of a step; most often where it was the last time. NULL: there is no room. */
static qn_profile_row *row_of(qn_profile *p, int32_t guess, const qn_step_info *s)
{
    qn_profile_row *r;

    if (guess < p->n && is_row(&p->rows[guess], s)) return &p->rows[guess];
    for (int32_t i = 0; i < p->n; i++)
        if (is_row(&p->rows[i], s)) return &p->rows[i];
    if (p->n == MAX_ROWS) return NULL;
    if (p->n == p->cap) {
        int32_t cap = p->cap ? 2 * p->cap : 64;
        qn_profile_row *grown = realloc(p->rows, (size_t)cap * sizeof *grown);

        if (!grown) return NULL;
        p->rows = grown;
        p->cap = cap;
    }
    r = &p->rows[p->n];
    *r = (qn_profile_row){ .node = strdup(s->node), .op = strdup(s->op), .kernel = strdup(s->kernel) };
    if (!r->node || !r->op || !r->kernel) {
        free(r->node);
        free(r->op);
        free(r->kernel);
        return NULL;
    }
    p->n++;
    return r;
}

void qn_profile_add(qn_profile *p, qn_profile_watch *w, const qn_session *session, int64_t rows, bool good)
{
    const uint64_t took = now_ns() - w->began;

    if (!good || w->failed) {
        atomic_fetch_add(&p->wanted, 1); /* another one instead */
        return;
    }
    pthread_mutex_lock(&p->mu);
    for (int32_t i = 0; i < w->n; i++) {
        qn_step_info s = { .node = "", .op = "", .kernel = "" };
        qn_profile_row *r;

        qn_session_step(session, i, &s);
        r = row_of(p, i, &s);
        if (!r) continue;
        r->ns += w->ns[i];
        r->n++;
    }
    p->n_runs++;
    p->n_rows += rows;
    p->ns += took;
    pthread_mutex_unlock(&p->mu);
}

static int slowest_first(const void *a, const void *b)
{
    const qn_profile_row *x = a, *y = b;

    return x->ns < y->ns ? 1 : x->ns > y->ns ? -1 : strcmp(x->node, y->node);
}

qn_status qn_profile_read(qn_profile *p, qn_profile_sum *out, qn_error *err)
{
    bool ok;

    pthread_mutex_lock(&p->mu);
    *out = (qn_profile_sum){ .asked = p->asked, .n_runs = p->n_runs, .n_rows = p->n_rows, .ns = p->ns };
    out->rows = calloc((size_t)p->n + 1, sizeof *out->rows);
    ok = out->rows != NULL;
    for (int32_t i = 0; ok && i < p->n; i++) {
        qn_profile_row *r = &out->rows[out->n++];

        *r = (qn_profile_row){ strdup(p->rows[i].node), strdup(p->rows[i].op), strdup(p->rows[i].kernel), p->rows[i].ns, p->rows[i].n };
        ok = r->node && r->op && r->kernel;
    }
    pthread_mutex_unlock(&p->mu);
    if (!ok) {
        qn_profile_rows_free(out->rows, out->n);
        out->rows = NULL;
        out->n = 0;
        return qn_error_set(err, QN_ERR_NOMEM, "rows of a profile");
    }
    qsort(out->rows, (size_t)out->n, sizeof *out->rows, slowest_first);
    return QN_OK;
}
