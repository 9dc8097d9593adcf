/* core/ops/optional.c - Optional, OptionalHasElement, OptionalGetElement.
 * Spec   ONNX 15 on. Optional makes one of its input, a tensor or a sequence, or an empty one of its attribute `type`. From 18 on the other
 *        two also take a tensor or sequence, which is there, and OptionalHasElement takes no input at all, which is not. Quern takes them
 *        at 15 too: in a Loop that starts with an empty optional and goes on with a sequence (ONNX's test_loop16_seq_none) they meet
 *        both. OptionalGetElement of an empty optional is QN_ERR_INVALID. */
#include "core/ops/items.h"

#include <inttypes.h>

/* -- Optional ------------------------------------------------------------------------------------------------------------- */

static qn_status optional_infer(qn_infer *c, qn_error *err)
{
    const qn_attr *a = qn_node_attr(c->node, "type");
    const qn_type *held = qn_infer_has(c, 0) ? &c->in[0] : NULL;

    if (!held && a && a->type == QN_ATTR_TYPE) held = a->ty;
    if (!held) return qn_error_set(err, QN_ERR_INVALID, "neither an input nor the attribute type is given");
    if (held->kind != QN_KIND_TENSOR && held->kind != QN_KIND_SEQUENCE)
        return qn_error_set(err, QN_ERR_DTYPE, "an optional that holds an optional or map, expected a tensor or sequence");
    qn_items_type(&c->out[0], QN_KIND_OPTIONAL, held->kind, held);
    return QN_OK;
}

static qn_status optional_run(qn_run *r, qn_error *err)
{
    const qn_items *x = qn_run_items(r, 0);
    qn_items *y = qn_run_new_items(r, 0);
    qn_status st = QN_OK;

    if (qn_move_has(r, 0)) {
        st = qn_items_put(r, y, 0, &r->in[0], err);
        y->present = st == QN_OK;
    } else if (x) {
        st = qn_items_share(y, x, err);
        y->present = st == QN_OK;
    }
    return st;
}

const qn_op qn_op_optional = {
    .name = "Optional",
    .since = 15,
    .min_in = 0,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = optional_infer,
    .run = optional_run,
};

/* -- OptionalHasElement --------------------------------------------------------------------------------------------------- */

static qn_status has_infer(qn_infer *c, qn_error *err)
{
    if (qn_infer_has(c, 0) && c->in[0].kind == QN_KIND_MAP)
        return qn_error_set(err, QN_ERR_DTYPE, "input 0 is a map, expected an optional, sequence or tensor");
    return qn_move_type(&c->out[0], QN_BOOL, 0, err);
}

static qn_status has_run(qn_run *r, qn_error *err)
{
    const qn_items *x = qn_move_has(r, 0) ? NULL : qn_run_items(r, 0);
    const qn_status st = qn_move_output(r, 0, QN_BOOL, 0, NULL, err);

    if (st == QN_OK) *(uint8_t *)r->out[0].data = qn_move_has(r, 0) || (x && x->present);
    return st;
}

const qn_op qn_op_optional_has_element = {
    .name = "OptionalHasElement",
    .since = 15,
    .min_in = 0,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = has_infer,
    .run = has_run,
};

/* -- OptionalGetElement --------------------------------------------------------------------------------------------------- */

static qn_status get_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0];

    if (!qn_infer_has(c, 0)) return qn_error_set(err, QN_ERR_INVALID, "input 0 is left out, expected an optional");
    if (x->kind == QN_KIND_MAP) return qn_error_set(err, QN_ERR_DTYPE, "input 0 is a map, expected an optional, sequence or tensor");
    if (x->kind == QN_KIND_SEQUENCE || (x->kind == QN_KIND_OPTIONAL && x->of == QN_KIND_SEQUENCE)) {
        qn_items_type(&c->out[0], QN_KIND_SEQUENCE, QN_KIND_TENSOR, x);
        return QN_OK;
    }
    if (x->dtype == QN_DTYPE_NONE) return qn_error_set(err, QN_ERR_DTYPE, "the dtype of what the optional holds is not known");
    qn_items_element(&c->out[0], x);
    return QN_OK;
}

static qn_status get_run(qn_run *r, qn_error *err)
{
    const qn_items *x;

    if (qn_move_has(r, 0)) return qn_items_give(r, 0, &r->in[0], err);
    x = qn_run_items(r, 0);
    if (!x || !x->present) return qn_error_set(err, QN_ERR_INVALID, "the optional is empty, expected an element");
    if (r->out[0].dtype == QN_DTYPE_NONE) { /* a sequence */
        qn_items *y = qn_run_new_items(r, 0);

        return qn_items_share(y, x, err);
    }
    if (x->n != 1) return qn_error_set(err, QN_ERR_DTYPE, "the optional holds a sequence of %" PRId64 " elements, expected a tensor", x->n);
    return qn_items_give(r, 0, &x->box[0]->tensor, err);
}

const qn_op qn_op_optional_get_element = {
    .name = "OptionalGetElement",
    .since = 15,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = get_infer,
    .run = get_run,
};
