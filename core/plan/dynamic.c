/* core/plan/dynamic.c - steps whose sizes are known only when they run: inferred with the tensors at hand, lowered, given slabs. */
#include "core/plan/frame.h"

#include "core/base/checked.h"
#include "core/graph/cost.h"
#include "core/graph/infer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define KEEP_BYTES ((size_t)1 << 20) /* a slab this small is kept whatever is asked of it */

/* -- slabs ---------------------------------------------------------------------------------------------------------------- */

static void drop_slab(qn_frame *f, int32_t id)
{
    qn_meter_give(&f->session->meter, f->slabs[id].cap);
    free(f->slabs[id].data);
    f->slabs[id] = (qn_slab){ 0 };
}

void qn_frame_drop_slabs(qn_frame *f)
{
    for (int32_t id = 0; f->slabs && id < f->graph->n_values; id++) drop_slab(f, id);
    free(f->slabs);
    f->slabs = NULL;
    qn_meter_give(&f->session->meter, f->scratch_cap);
    free(f->scratch);
    f->scratch = NULL;
    f->scratch_cap = 0;
}

static bool fits(const qn_frame *f, size_t more)
{
    const qn_meter *m = &f->session->meter;

    return more <= m->limit_bytes && m->bytes <= m->limit_bytes - more;
}

/* Give back the slabs that hold nothing any more, or nothing yet, at this step. */
static void drop_idle_slabs(qn_frame *f)
{
    for (int32_t id = 0; id < f->plan->n_values; id++) {
        const qn_plan_value *v = &f->plan->values[id];

        if (f->slabs[id].data && (v->last < f->step || v->first > f->step)) drop_slab(f, id);
    }
}

qn_status qn_frame_slab(qn_frame *f, qn_value_id id, size_t bytes, void **out, qn_error *err)
{
    qn_slab *slab;
    size_t cap;

    *out = NULL;
    if (!f->slabs) f->slabs = calloc((size_t)f->graph->n_values, sizeof *f->slabs);
    if (!f->slabs) return qn_error_set(err, QN_ERR_NOMEM, "session: slabs");
    slab = &f->slabs[id];
    if (slab->data && slab->cap >= bytes && (slab->cap <= KEEP_BYTES || slab->cap / 4 <= bytes)) {
        *out = slab->data;
        return QN_OK;
    }
    drop_slab(f, id);
    if (!qn_size_align(bytes ? bytes : 1, QN_PLAN_ALIGN, &cap) || cap > f->session->model->limits.arena_bytes) goto limit;
    if (!fits(f, cap)) drop_idle_slabs(f);
    if (!fits(f, cap)) goto limit;
    slab->data = aligned_alloc(QN_PLAN_ALIGN, cap);
    if (!slab->data) return qn_error_set(err, QN_ERR_NOMEM, "value %.80s: %zu bytes", f->graph->values[id].name, bytes);
    slab->cap = cap;
    (void)qn_meter_take(&f->session->meter, cap, NULL); /* it fits: just seen */
    *out = slab->data;
    return QN_OK;
limit:
    return qn_error_set(err, QN_ERR_LIMIT, "value %.60s: %zu bytes more in a session of at most %" PRIu64 " (%" PRIu64 " used)",
                        f->graph->values[id].name, bytes, f->session->model->limits.arena_bytes, f->session->meter.bytes);
}

static qn_status ensure_scratch(qn_frame *f, size_t bytes, qn_error *err)
{
    size_t cap;

    if (bytes <= f->scratch_cap) return QN_OK;
    qn_meter_give(&f->session->meter, f->scratch_cap);
    free(f->scratch);
    f->scratch = NULL;
    f->scratch_cap = 0;
    if (!qn_size_align(bytes, QN_PLAN_ALIGN, &cap) || !fits(f, cap))
        return qn_error_set(err, QN_ERR_LIMIT, "%zu bytes of scratch in a session of at most %" PRIu64, bytes,
                            f->session->model->limits.arena_bytes);
    f->scratch = aligned_alloc(QN_PLAN_ALIGN, cap);
    if (!f->scratch) return qn_error_set(err, QN_ERR_NOMEM, "%zu bytes of scratch", bytes);
    f->scratch_cap = cap;
    (void)qn_meter_take(&f->session->meter, cap, NULL);
    return QN_OK;
}

/* -- what ops call -------------------------------------------------------------------------------------------------------- */

qn_status qn_run_output(qn_run *r, int32_t i, qn_dtype dtype, int32_t rank, const int64_t *dims, size_t bytes, qn_error *err)
{
    qn_frame *f = r->frame;
    qn_tensor t = { .dtype = dtype, .rank = rank };
    qn_value_id id = i >= 0 && i < r->node->n_out ? r->node->out[i] : QN_NONE;
    int64_t count;
    qn_status st;

    if (!f) return qn_error_set(err, QN_ERR_UNSUPPORTED, "an output of unknown size without a session is unsupported");
    if (id == QN_NONE) return qn_error_set(err, QN_ERR_INTERNAL, "output %" PRId32 " is left out", i);
    t.bytes = bytes;
    st = dtype == QN_STRING ? qn_shape_count(rank, dims, &count, err) : qn_shape_bytes(dtype, rank, dims, &t.bytes, err);
    if (st != QN_OK) return st;
    for (int32_t d = 0; d < rank; d++) t.dims[d] = dims[d];
    if (f->plan->values[id].home == QN_HOME_ARENA) { /* the plan knew it after all */
        if (r->out[i].dtype == dtype && r->out[i].rank == rank && memcmp(r->out[i].dims, t.dims, (size_t)rank * sizeof t.dims[0]) == 0)
            return QN_OK;
        return qn_error_set(err, QN_ERR_INTERNAL, "output %" PRId32 " is not of the inferred shape", i);
    }
    st = qn_frame_slab(f, id, t.bytes, &t.data, err);
    if (st == QN_OK) r->out[i] = t;
    return st;
}

/* Lists are made when the frame is bound: a plan with values of other kinds has them. */
const qn_items *qn_run_items(const qn_run *r, int32_t i)
{
    qn_value_id id = i >= 0 && i < r->node->n_in ? r->node->in[i] : QN_NONE;

    return id == QN_NONE || !r->frame->items_given ? NULL : r->frame->items_given[id];
}

qn_items *qn_run_new_items(qn_run *r, int32_t i)
{
    qn_value_id id = r->node->out[i];

    qn_items_clear(&r->frame->items[id]);
    r->frame->items_given[id] = &r->frame->items[id];
    return &r->frame->items[id];
}

qn_meter *qn_run_meter(qn_run *r) { return &r->frame->session->meter; }

/* -- one step ------------------------------------------------------------------------------------------------------------- */

static void release_lowered(qn_dynamic *d)
{
    qn_blob_list_release(&d->holder.blobs);
    qn_arena_release(&d->arena);
    free(d->shapes);
    *d = (qn_dynamic){ .children = d->children, .n_children = d->n_children };
}

static void release_dynamic(qn_dynamic *d)
{
    release_lowered(d);
    qn_dynamic_drop_children(d);
    *d = (qn_dynamic){ 0 };
}

void qn_frame_drop_dynamics(qn_frame *f)
{
    for (int32_t i = 0; i < f->n_dynamics; i++) release_dynamic(&f->dynamics[i]);
    free(f->dynamics);
    f->dynamics = NULL;
    f->n_dynamics = 0;
}

static bool is_small(const qn_tensor *t)
{
    int64_t count = qn_tensor_count(t);
    bool integer = t->dtype == QN_I64 || t->dtype == QN_I32 || t->dtype == QN_BOOL;

    return count <= (integer ? QN_PLAN_CONST_INTS : QN_PLAN_CONST_ANY) && (t->data || count == 0);
}

/* Types of the outputs from the tensors at hand. tmp and dims last until the shapes were read. */
static qn_status infer_now(qn_frame *f, const qn_run *r, qn_dims *dims, qn_arena *tmp, qn_type *out, qn_error *err)
{
    const qn_node *n = r->node;
    size_t n_in = (size_t)n->n_in, n_out = (size_t)n->n_out;
    qn_type *in = qn_arena_array(tmp, n_in, sizeof *in);
    const qn_known **in_known = qn_arena_array(tmp, n_in, sizeof(qn_known *));
    const qn_tensor **in_const = qn_arena_array(tmp, n_in, sizeof(qn_tensor *));
    qn_known **out_known = qn_arena_array(tmp, n_out, sizeof(qn_known *));

    if (!in || !in_known || !in_const || !out_known) return qn_error_set(err, QN_ERR_NOMEM, "types");
    for (int32_t i = 0; i < n->n_in; i++) {
        in[i] = (qn_type){ .rank = -1, .quant = { .scale = QN_NONE, .zero_point = QN_NONE, .axis = -1 } };
        if (n->in[i] == QN_NONE) continue;
        if (f->plan->values[n->in[i]].kind != QN_KIND_TENSOR) {
            const qn_type *said = &f->graph->values[n->in[i]].type;

            in[i].kind = said->kind;
            in[i].of = said->of;
            in[i].dtype = said->dtype;
            continue;
        }
        in[i].dtype = r->in[i].dtype;
        in[i].rank = r->in[i].rank;
        for (int32_t d = 0; d < r->in[i].rank; d++) in[i].dims[d] = qn_dims_const(dims, r->in[i].dims[d]);
        if (is_small(&r->in[i])) in_const[i] = &r->in[i];
    }
    for (int32_t i = 0; i < n->n_out; i++)
        out[i] = (qn_type){ .rank = -1, .quant = { .scale = QN_NONE, .zero_point = QN_NONE, .axis = -1 } };
    return qn_infer_node((qn_graph *)(uintptr_t)f->plan->graph, n, dims, tmp, in, in_known, in_const, out, out_known, err);
}

/* Output i is placed here: it is a tensor that the plan did not place. */
static bool is_open(const qn_frame *f, const qn_run *r, int32_t i)
{
    const qn_plan_value *v = r->node->out[i] == QN_NONE ? NULL : &f->plan->values[r->node->out[i]];

    return v && v->home != QN_HOME_ARENA && v->kind == QN_KIND_TENSOR; /* the op fills a list */
}

/* Dims of an output as inferred, -1 where they are not known. */
static qn_status shape_output(const qn_frame *f, qn_run *r, int32_t i, const qn_type *t, const qn_dims *dims, qn_error *err)
{
    qn_tensor *out = &r->out[i];

    if (!is_open(f, r, i)) return QN_OK;
    if (t->kind != QN_KIND_TENSOR) return qn_error_set(err, QN_ERR_INTERNAL, "output %" PRId32 " was to be a tensor", i);
    *out = (qn_tensor){ .dtype = t->dtype, .rank = t->rank };
    for (int32_t d = 0; d < t->rank; d++)
        if (t->dims[d] == QN_DIM_UNKNOWN || !qn_dims_value(dims, t->dims[d], &out->dims[d])) out->dims[d] = -1;
    return QN_OK;
}

/* Memory for an output whose shape is whole; for others the op calls qn_run_output(). */
static qn_status place_output(qn_frame *f, qn_run *r, int32_t i, qn_error *err)
{
    qn_tensor *out = &r->out[i];
    qn_status st;

    if (!is_open(f, r, i) || out->rank < 0 || out->dtype == QN_DTYPE_NONE || out->dtype == QN_STRING) return QN_OK;
    for (int32_t d = 0; d < out->rank; d++)
        if (out->dims[d] < 0) return QN_OK;
    st = qn_shape_bytes(out->dtype, out->rank, out->dims, &out->bytes, err);
    return st == QN_OK ? qn_frame_slab(f, r->node->out[i], out->bytes, &out->data, err) : st;
}

static qn_status shape_outputs(qn_frame *f, qn_run *r, qn_error *err)
{
    qn_arena tmp;
    qn_dims *dims = NULL;
    qn_type *out;
    qn_status st = qn_dims_create(&dims, err);

    qn_arena_init(&tmp, 0);
    out = qn_arena_array(&tmp, (size_t)r->node->n_out, sizeof *out);
    if (st == QN_OK && !out) st = qn_error_set(err, QN_ERR_NOMEM, "types");
    if (st == QN_OK) st = infer_now(f, r, dims, &tmp, out, err);
    if (st == QN_OK) st = qn_dims_status(dims, err);
    for (int32_t i = 0; i < r->node->n_out && st == QN_OK; i++) st = shape_output(f, r, i, &out[i], dims, err);
    if (st == QN_OK) st = qn_macs_spend(&f->session->macs, qn_cost_of(r->node, r->in, r->out), f->session->model->limits.run_macs, err);
    for (int32_t i = 0; i < r->node->n_out && st == QN_OK; i++) st = place_output(f, r, i, err);
    qn_dims_destroy(dims);
    qn_arena_release(&tmp);
    return st;
}

static bool same_shape(const qn_tensor *a, const qn_tensor *b)
{
    if (a->dtype != b->dtype || a->rank != b->rank) return false;
    for (int32_t d = 0; d < a->rank; d++)
        if (a->dims[d] != b->dims[d]) return false;
    return true;
}

/* Lower again, unless the shapes are those of last time. */
static qn_status lower_now(qn_frame *f, qn_dynamic *d, const qn_run *r, qn_error *err)
{
    const qn_node *n = r->node;
    int32_t n_io = n->n_in + n->n_out;
    qn_dynamic made = { .kernel = "plain", .why = "" };
    qn_weight **weights;
    qn_lower lo;
    bool same = d->lowered;
    qn_status st = QN_OK;

    for (int32_t i = 0; i < n_io && same; i++) same = same_shape(&d->shapes[i], i < n->n_in ? &r->in[i] : &r->out[i - n->n_in]);
    if (same) return QN_OK;
    qn_arena_init(&made.arena, (size_t)f->session->model->limits.arena_bytes);
    made.holder.blobs.store = f->session->model->store;
    made.shapes = calloc((size_t)n_io + 1, sizeof *made.shapes);
    weights = calloc((size_t)n->n_in + 1, sizeof(qn_weight *));
    if (!made.shapes || !weights) {
        st = qn_error_set(err, QN_ERR_NOMEM, "%" PRId32 " operands", n_io);
        goto done;
    }
    for (int32_t i = 0; i < n_io; i++) {
        made.shapes[i] = i < n->n_in ? r->in[i] : r->out[i - n->n_in];
        if (i < n->n_in && n->in[i] != QN_NONE) weights[i] = f->plan->graph->values[n->in[i]].weight;
        if (i >= n->n_in || !weights[i]) made.shapes[i].data = NULL;
        if (i >= n->n_in && !r->out[i - n->n_in].data) made.shapes[i].rank = -1;
    }
    lo = (qn_lower){ .arena = &made.arena,
                     .store = f->session->model->store,
                     .cpu = f->plan->cpu,
                     .bits = f->session->model->bits,
                     .team_size = f->plan->team_size,
                     .node = n,
                     .in = made.shapes,
                     .out = made.shapes + n->n_in,
                     .weight = weights,
                     .plan = &made.holder,
                     .kernel = "plain",
                     .why = "" };
    if (n->op->lower) st = n->op->lower(&lo, err);
    if (st != QN_OK) goto done;
    for (int32_t i = 0; i < n->n_out; i++) made.shapes[n->n_in + i] = r->out[i]; /* what to compare with next time */
    made.lowered = true;
    made.state = lo.state;
    made.scratch_bytes = lo.scratch_bytes;
    made.kernel = lo.kernel ? lo.kernel : "plain";
    made.why = lo.why ? lo.why : "";
    made.skip_in = lo.skip_in;
    made.children = d->children;
    made.n_children = d->n_children;
    d->children = NULL;
    d->n_children = 0;
    release_dynamic(d); /* after the new blobs were taken, so that shared ones are not packed twice */
    *d = made;
    made = (qn_dynamic){ 0 };
done:
    free(weights);
    release_dynamic(&made);
    return st;
}

/* Constants that run reads and the plan did not hold dense. */
static qn_status read_consts(qn_frame *f, const qn_dynamic *d, const qn_plan_step *step, qn_error *err)
{
    const qn_node *n = step->node;

    for (int32_t i = 0; i < n->n_in; i++) {
        qn_tensor *t = &f->operands[step->operands + i];
        qn_status st;

        if (n->in[i] == QN_NONE || !f->plan->graph->values[n->in[i]].weight || t->data || t->bytes == 0) continue;
        if (i < 64 && (d->skip_in >> i & 1)) continue;
        st = qn_weight_dense(f->plan->graph->values[n->in[i]].weight, f->session->model->store, t, err);
        if (st != QN_OK) return st;
        f->values[n->in[i]].data = t->data;
    }
    return QN_OK;
}

qn_status qn_frame_run_dynamic(qn_frame *f, int32_t i, qn_run *r, qn_error *err)
{
    const qn_plan_step *step = &f->plan->steps[i];
    qn_dynamic *d = &f->dynamics[i];
    qn_status st = shape_outputs(f, r, err);

    if (st == QN_OK) st = lower_now(f, d, r, err);
    if (st == QN_OK) st = read_consts(f, d, step, err);
    if (st == QN_OK) st = ensure_scratch(f, d->scratch_bytes, err);
    if (st != QN_OK) return st;
    r->state = d->state;
    r->scratch = d->scratch_bytes ? f->scratch : NULL;
    st = r->node->op->run(r, err);
    for (int32_t o = 0; o < r->node->n_out && st == QN_OK; o++) {
        qn_value_id id = r->node->out[o];

        if (id == QN_NONE || f->plan->values[id].kind != QN_KIND_TENSOR) continue;
        if (!r->out[o].data) return qn_error_set(err, QN_ERR_INTERNAL, "output %" PRId32 " got no shape", o);
        f->values[id] = r->out[o];
    }
    return st;
}
