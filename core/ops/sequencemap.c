/* core/ops/sequencemap.c - SequenceMap: a body over the elements of one or more sequences.
 * Spec   ONNX SequenceMap 17. body(element of input 0, then of every further sequence the element at the same place, a tensor as it is)
 *        -> one element of each output sequence. All sequences have the length of the first. */
#include "core/graph/cost.h"
#include "core/ops/move.h"

#include <inttypes.h>
#include <stdlib.h>

static qn_status body_of(const qn_node *n, qn_graph **body, qn_error *err)
{
    const qn_attr *a = qn_node_attr(n, "body");

    *body = a && a->type == QN_ATTR_GRAPH ? a->g : NULL;
    if (!*body) return qn_error_set(err, QN_ERR_INVALID, "attribute body is missing, expected a graph");
    if ((*body)->n_inputs < 1 || (*body)->n_inputs > n->n_in || (*body)->n_outputs != n->n_out)
        return qn_error_set(err, QN_ERR_INVALID,
                            "the body has %" PRId32 " inputs and %" PRId32 " outputs, the node %" PRId32 " and %" PRId32, (*body)->n_inputs,
                            (*body)->n_outputs, n->n_in, n->n_out);
    return QN_OK;
}

static qn_status enter(const qn_infer *c, qn_graph *sub, bool exact, qn_error *err)
{
    (void)exact; /* nothing is carried */
    if (c->in[0].kind != QN_KIND_SEQUENCE) return qn_error_set(err, QN_ERR_DTYPE, "input 0 is no sequence");
    if (sub->n_inputs > c->node->n_in)
        return qn_error_set(err, QN_ERR_INVALID, "the body has %" PRId32 " inputs, the node %" PRId32, sub->n_inputs, c->node->n_in);
    for (int32_t i = 0; i < sub->n_inputs; i++) {
        qn_type *t = &sub->values[sub->inputs[i]].type;

        if (!qn_infer_has(c, i)) return qn_error_set(err, QN_ERR_INVALID, "input %" PRId32 " is left out, but required", i);
        *t = c->in[i];
        t->kind = QN_KIND_TENSOR;
        if (c->in[i].kind != QN_KIND_SEQUENCE && c->in[i].kind != QN_KIND_TENSOR)
            return qn_error_set(err, QN_ERR_DTYPE, "input %" PRId32 " is neither a sequence nor a tensor", i);
    }
    return QN_OK;
}

static qn_status infer(qn_infer *c, qn_error *err)
{
    qn_graph *body;
    int64_t v;
    qn_status st = body_of(c->node, &body, err);

    for (int32_t i = 0; st == QN_OK && i < c->node->n_out; i++) {
        c->out[i] = body->values[body->outputs[i]].type;
        if (c->out[i].kind != QN_KIND_TENSOR) return qn_error_set(err, QN_ERR_DTYPE, "output %" PRId32 " of the body is no tensor", i);
        c->out[i].kind = QN_KIND_SEQUENCE;
        for (int32_t d = 0; c->dims != c->graph->dims && d < c->out[i].rank; d++)
            c->out[i].dims[d] = qn_dims_value(c->graph->dims, c->out[i].dims[d], &v) ? qn_dims_const(c->dims, v) : QN_DIM_UNKNOWN;
    }
    return st;
}

/* Element k of every sequence; tensors stay. */
static qn_status take(const qn_run *r, int32_t n, int64_t k, int64_t len, qn_tensor *in, qn_error *err)
{
    for (int32_t i = 0; i < n; i++) {
        const qn_items *s = qn_run_items(r, i);

        if (s && s->n != len)
            return qn_error_set(err, QN_ERR_SHAPE, "sequence %" PRId32 " has %" PRId64 " elements, the first %" PRId64, i, s->n, len);
        in[i] = s ? s->box[k]->tensor : r->in[i];
    }
    return QN_OK;
}

static qn_status run(qn_run *r, qn_error *err)
{
    qn_graph *body;
    const qn_items *first = qn_run_items(r, 0);
    qn_tensor *in = NULL;
    qn_items **out = NULL;
    qn_status st = body_of(r->node, &body, err);

    if (st != QN_OK) return st;
    if (!first) return qn_error_set(err, QN_ERR_INVALID, "input 0 is missing");
    in = calloc((size_t)body->n_inputs, sizeof *in);
    out = calloc((size_t)r->node->n_out + 1, sizeof(qn_items *));
    if (!in || !out) st = qn_error_set(err, QN_ERR_NOMEM, "a body of %" PRId32 " inputs", body->n_inputs);
    for (int32_t o = 0; o < r->node->n_out && st == QN_OK; o++) {
        if (r->node->out[o] == QN_NONE) continue;
        out[o] = qn_run_new_items(r, o);
        out[o]->present = true;
    }
    for (int64_t k = 0; k < first->n && st == QN_OK; k++) {
        st = take(r, body->n_inputs, k, first->n, in, err);
        if (st == QN_OK) st = qn_run_sub(r, body, 0, in, NULL, err);
        for (int32_t o = 0; o < r->node->n_out && st == QN_OK; o++) {
            qn_tensor t;
            const qn_items *none;
            qn_box *box = NULL;

            if (!out[o]) continue;
            qn_run_sub_output(r, body, 0, o, &t, &none);
            st = qn_box_copy(qn_run_meter(r), &t, &box, err);
            if (st == QN_OK) st = qn_items_insert(out[o], out[o]->n, box, err);
        }
    }
    free(in);
    free(out);
    return st;
}

const qn_op qn_op_sequence_map = {
    .name = "SequenceMap",
    .since = 17,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_CONTROL | QN_OP_VARIADIC,
    .infer = infer,
    .enter = enter,
    .run = run,
    .cost = qn_cost_none,
};
