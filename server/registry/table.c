/* server/registry/table.c - the table of models and their slots: find, add, take out. */
#include "server/registry/table.h"

#include <stdlib.h>
#include <string.h>

/* Index of name, or where it would stand as -1 - index. */
static int32_t model_find(const qn_registry *r, const char *name)
{
    int32_t lo = 0, hi = r->n_models;

    while (lo < hi) {
        int32_t mid = lo + (hi - lo) / 2;
        int c = strcmp(r->models[mid].name, name);

        if (c == 0) return mid;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return -1 - lo;
}

qn_known_model *qn_table_find(const qn_registry *r, const char *name)
{
    int32_t at = model_find(r, name);

    return at < 0 ? NULL : &r->models[at];
}

qn_known_model *qn_table_add(qn_registry *r, const char *name)
{
    int32_t at = model_find(r, name);

    if (at >= 0) return &r->models[at];
    at = -1 - at;
    if (r->n_models == r->cap_models) {
        int32_t cap = r->cap_models ? 2 * r->cap_models : 8;
        qn_known_model *grown = realloc(r->models, (size_t)cap * sizeof *grown);

        if (!grown) return NULL;
        r->models = grown;
        r->cap_models = cap;
    }
    char *copy = strdup(name);
    if (!copy) return NULL;
    memmove(&r->models[at + 1], &r->models[at], (size_t)(r->n_models - at) * sizeof *r->models);
    r->n_models++;
    r->models[at] = (qn_known_model){ .name = copy };
    return &r->models[at];
}

qn_slot *qn_slot_find(const qn_known_model *m, int64_t number)
{
    for (int32_t i = 0; i < m->n; i++) {
        if (m->slots[i].number == number) return &m->slots[i];
    }
    return NULL;
}

qn_slot *qn_slot_add(qn_known_model *m, int64_t number)
{
    qn_slot *e = qn_slot_find(m, number);
    int32_t at = 0;

    if (e) return e;
    if (m->n == m->cap) {
        int32_t cap = m->cap ? 2 * m->cap : 4;
        qn_slot *grown = realloc(m->slots, (size_t)cap * sizeof *grown);

        if (!grown) return NULL;
        m->slots = grown;
        m->cap = cap;
    }
    while (at < m->n && m->slots[at].number < number) at++;
    memmove(&m->slots[at + 1], &m->slots[at], (size_t)(m->n - at) * sizeof *m->slots);
    m->n++;
    m->slots[at] = (qn_slot){ .number = number, .state = QN_VERSION_FOUND };
    return &m->slots[at];
}

void qn_slot_remove(qn_known_model *m, qn_slot *s)
{
    int32_t at = (int32_t)(s - m->slots);

    memmove(s, s + 1, (size_t)(m->n - at - 1) * sizeof *s);
    m->n--;
}

qn_slot *qn_slot_served(const qn_known_model *m)
{
    if (m->pin) {
        qn_slot *s = qn_slot_find(m, m->pin);

        return s && s->state == QN_VERSION_READY ? s : NULL;
    }
    for (int32_t i = m->n - 1; i >= 0; i--) {
        if (m->slots[i].state == QN_VERSION_READY && m->slots[i].chosen) return &m->slots[i];
    }
    return NULL;
}

int64_t qn_label_version(const qn_version_label *labels, int32_t n, const char *name)
{
    for (int32_t i = 0; i < n; i++) {
        if (strcmp(labels[i].name, name) == 0) return labels[i].version;
    }
    return 0;
}

void qn_table_remove(qn_registry *r, qn_known_model *m)
{
    qn_known_model gone;
    int32_t at = (int32_t)(m - r->models);

    pthread_mutex_lock(&r->mu);
    gone = *m;
    memmove(m, m + 1, (size_t)(r->n_models - at - 1) * sizeof gone);
    r->n_models--;
    pthread_mutex_unlock(&r->mu);
    for (int32_t i = 0; i < gone.n; i++) qn_version_shell_unref(gone.slots[i].shell);
    qn_version_labels_release(gone.labels, gone.n_labels);
    free(gone.slots);
    free(gone.name);
}
