/* server/registry/version.c - loading one version, its sessions, its two counts. */
#include "server/registry/version.h"

#include "server/batcher/batcher.h"
#include "server/batcher/padding.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void qn_version_labels_release(qn_version_label *labels, int32_t n)
{
    for (int32_t i = 0; i < n; i++) free(labels[i].name);
    free(labels);
}

void qn_version_policy_release(qn_version_policy *p)
{
    free(p->numbers);
    qn_version_labels_release(p->labels, p->n_labels);
    *p = (qn_version_policy){ 0 };
}

void qn_model_settings_release(qn_model_settings *s)
{
    for (int32_t i = 0; i < s->n_labels; i++) free(s->labels[i]);
    free(s->labels);
    s->labels = NULL;
    s->n_labels = 0;
    qn_version_policy_release(&s->versions);
    for (int32_t i = 0; i < s->n_paddings; i++) free(s->paddings[i].name);
    free(s->paddings);
    s->paddings = NULL;
    s->n_paddings = 0;
}

/* Every input and output is a tensor of a datatype that the protocols can name: 4-bit integers have none. */
static qn_status ports_have_names(const qn_model *model, qn_error *err)
{
    const int32_t n_in = qn_model_n_inputs(model), n = n_in + qn_model_n_outputs(model);

    for (int32_t i = 0; i < n; i++) {
        const qn_port *p = i < n_in ? qn_model_input(model, i) : qn_model_output(model, i - n_in);

        if (p->kind != QN_PORT_TENSOR)
            return qn_error_set(err, QN_ERR_UNSUPPORTED, "%s %.64s is a sequence or an optional, which no protocol carries",
                                i < n_in ? "input" : "output", p->name);
        if (p->dtype == QN_I4 || p->dtype == QN_U4)
            return qn_error_set(err, QN_ERR_UNSUPPORTED, "%s %.64s is %s, which no protocol carries: add a Cast to 8 bits",
                                i < n_in ? "input" : "output", p->name, qn_dtype_name(p->dtype));
    }
    return QN_OK;
}

/* Free dimensions of an input as 1: the smallest request there is. */
static qn_status zero_input(const qn_port *port, qn_tensor *out, qn_error *err)
{
    int64_t dims[QN_MAX_RANK];

    if (port->optional) return QN_OK; /* left out */
    for (int32_t d = 0; d < port->rank; d++) dims[d] = port->dims[d] < 0 ? 1 : port->dims[d];
    return qn_tensor_alloc(port->dtype, port->rank, dims, out, err);
}

/* True if only the batch is free, so that a run over zeros must succeed. */
static bool only_batch_is_free(const qn_model *model)
{
    for (int32_t i = 0; i < qn_model_n_inputs(model); i++) {
        const qn_port *p = qn_model_input(model, i);

        if (p->rank < 0 || p->dtype == QN_STRING) return false;
        for (int32_t d = 1; d < p->rank; d++) {
            if (p->dims[d] < 0) return false;
        }
    }
    return true;
}

/* One run over zeros before anybody is served: plans, packs and touches the memory. What fails here would fail every request, unless a
 * guessed size or a value of zero (an index, a divisor) is to blame: then the version is served without having been warmed. */
static qn_status version_warm(qn_version *v, qn_error *err)
{
    int32_t n_in = qn_model_n_inputs(v->model), n_out = qn_model_n_outputs(v->model);
    qn_tensor *in = NULL, *out = NULL;
    qn_session *session = NULL;
    qn_status st = QN_OK;

    if (!only_batch_is_free(v->model)) return QN_OK;
    in = calloc((size_t)n_in + 1, sizeof *in);
    out = calloc((size_t)n_out + 1, sizeof *out);
    if (!in || !out) {
        st = qn_error_set(err, QN_ERR_NOMEM, "warming model %s", v->name);
        goto done;
    }
    for (int32_t i = 0; i < n_in && st == QN_OK; i++) st = zero_input(qn_model_input(v->model, i), &in[i], err);
    if (st == QN_OK) st = qn_session_create(v->model, NULL, &session, err);
    if (st == QN_OK) st = qn_session_run(session, in, out, NULL, err);
    if (st == QN_ERR_RANGE || st == QN_ERR_SHAPE) st = QN_OK;
done:
    qn_session_destroy(session);
    for (int32_t i = 0; in && i < n_in; i++) qn_tensor_free(&in[i]);
    free(in);
    free(out);
    return st;
}

/* The answers that stand beside the file must come out, whatever else is switched off. Their run warms the version, too. */
static qn_status check_answer(qn_version *v, const qn_version_source *src, int32_t *checked, qn_error *err)
{
    qn_session *session = NULL;
    qn_status st;

    if (!src->options->check_answer) return QN_OK;
    st = qn_session_create(v->model, NULL, &session, err);
    if (st == QN_OK) st = src->options->check_answer(src->file_fd, src->answer, v->model, session, checked, err);
    qn_session_destroy(session);
    return st;
}

static void version_free_contents(qn_version *v)
{
    for (int32_t i = 0; i < v->n_sessions; i++) qn_session_destroy(v->sessions[i]);
    free(v->sessions);
    v->sessions = NULL;
    v->n_sessions = 0;
    qn_model_unref(v->model);
    v->model = NULL;
    qn_queue_destroy(v->queue);
    v->queue = NULL;
    qn_padding_destroy(v->padding);
    v->padding = NULL;
    qn_model_settings_release(&v->settings);
}

void qn_version_shell_unref(qn_version *v)
{
    if (!v || atomic_fetch_sub_explicit(&v->shells, 1, memory_order_acq_rel) != 1) return;
    pthread_mutex_destroy(&v->sessions_mu);
    free(v->name);
    free(v);
}

qn_version *qn_version_ref(qn_version *v)
{
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

void qn_version_unref(qn_version *v)
{
    if (!v || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1) return;
    version_free_contents(v);
    atomic_store(&v->state, QN_VERSION_GONE);
    qn_version_shell_unref(v);
}

qn_status qn_version_load(const qn_version_source *src, qn_version **out, qn_error *err)
{
    const qn_registry_options *o = src->options;
    qn_model_options mo = { .cpu = o->cpu, .limits = o->limits, .store = o->store };
    qn_status st = QN_OK;
    int32_t checked = 0;
    qn_version *v = calloc(1, sizeof *v);

    *out = NULL;
    if (!v) return qn_error_set(err, QN_ERR_NOMEM, "version %" PRId64 " of model %s", src->number, src->name);
    pthread_mutex_init(&v->sessions_mu, NULL);
    atomic_store(&v->refs, 1);
    atomic_store(&v->shells, 1);
    atomic_store(&v->state, QN_VERSION_LOADING);
    v->number = src->number;
    v->max_sessions = o->n_workers;
    v->settings = o->defaults;
    v->name = strdup(src->name);
    v->sessions = calloc((size_t)v->max_sessions, sizeof *v->sessions);
    if (!v->name || !v->sessions) {
        st = qn_error_set(err, QN_ERR_NOMEM, "version %" PRId64 " of model %s", src->number, src->name);
        goto done;
    }
    if (o->read_settings) st = o->read_settings(src->settings_fd, &v->settings, err);
    if (st != QN_OK) goto done;
    mo.bits = v->settings.bits;
    st = qn_queue_create(&v->queue, err);
    if (st == QN_OK) st = qn_model_load(src->file_fd, src->file, &mo, &v->model, err);
    if (st == QN_OK) st = ports_have_names(v->model, err);
    if (st == QN_OK) st = qn_padding_create(v->model, &v->settings, &v->padding, err);
    if (st == QN_OK) st = check_answer(v, src, &checked, err);
    if (st == QN_OK && checked == 0 && !v->settings.no_warm_up) st = version_warm(v, err);
    if (st != QN_OK) goto done;
    *out = v;
    v = NULL;
done:
    if (v) {
        atomic_store(&v->state, QN_VERSION_FAILED);
        qn_version_unref(v);
    }
    return st;
}

qn_model *qn_version_model(const qn_version *v) { return v->model; }
const char *qn_version_name(const qn_version *v) { return v->name; }
int64_t qn_version_number(const qn_version *v) { return v->number; }
const qn_model_settings *qn_version_settings(const qn_version *v) { return &v->settings; }
struct qn_queue *qn_version_queue(const qn_version *v) { return v->queue; }
const struct qn_padding *qn_version_padding(const qn_version *v) { return v->padding; }

qn_status qn_version_acquire_session(qn_version *v, qn_team *team, qn_session **out, qn_error *err)
{
    qn_session *s = NULL;

    pthread_mutex_lock(&v->sessions_mu);
    if (v->n_sessions > 0) s = v->sessions[--v->n_sessions];
    pthread_mutex_unlock(&v->sessions_mu);
    if (!s) return qn_session_create(v->model, team, out, err);
    qn_session_set_team(s, team);
    *out = s;
    return QN_OK;
}

void qn_version_release_session(qn_version *v, qn_session *session)
{
    pthread_mutex_lock(&v->sessions_mu);
    if (v->n_sessions < v->max_sessions) {
        v->sessions[v->n_sessions++] = session;
        session = NULL;
    }
    pthread_mutex_unlock(&v->sessions_mu);
    qn_session_destroy(session);
}
