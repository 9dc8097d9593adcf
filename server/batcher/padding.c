/* server/batcher/padding.c - the declaration, checked against the model. */
#include "server/batcher/padding.h"

#include "quern/half.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void qn_padding_destroy(qn_padding *p)
{
    if (!p) return;
    free(p->inputs);
    free(p->fill);
    free(p->outputs);
    free(p);
}

/* One element of value v. False: the datatype has no such value. */
static bool encode(qn_dtype dtype, double v, unsigned char out[8])
{
    static const struct {
        qn_dtype dtype;
        double min, max;
    } integers[] = {
        { QN_I8, -128, 127 },        { QN_I16, -32768, 32767 }, { QN_I32, -2147483648.0, 2147483647.0 },
        { QN_I64, -0x1p53, 0x1p53 }, { QN_U8, 0, 255 },         { QN_U16, 0, 65535 },
        { QN_U32, 0, 4294967295.0 }, { QN_U64, 0, 0x1p53 },     { QN_BOOL, 0, 1 },
    };
    const float f = (float)v;
    const uint16_t h = dtype == QN_BF16 ? qn_f32_to_bf16(f) : qn_f32_to_f16(f);

    memset(out, 0, 8);
    if (dtype == QN_F32) memcpy(out, &f, sizeof f);
    if (dtype == QN_F64) memcpy(out, &v, sizeof v);
    if (dtype == QN_F16 || dtype == QN_BF16) memcpy(out, &h, sizeof h);
    if (dtype == QN_F32 || dtype == QN_F64 || dtype == QN_F16 || dtype == QN_BF16) return isfinite(v) != 0;
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++) {
        int64_t n;

        if (integers[i].dtype != dtype) continue;
        if (!(v >= integers[i].min && v <= integers[i].max) || floor(v) != v) return false;
        n = (int64_t)v; /* little-endian two's complement: its first bytes are the narrower types */
        memcpy(out, &n, sizeof n);
        return true;
    }
    return false;
}

static qn_status take_input(qn_padding *p, const qn_model *model, const char *name, double value, qn_error *err)
{
    for (int32_t i = 0; i < p->n_in; i++) {
        const qn_port *port = qn_model_input(model, i);

        if (strcmp(port->name, name) != 0) continue;
        if (port->rank < 2 || port->dims[1] >= 0 || port->dtype == QN_STRING)
            return qn_error_set(err, QN_ERR_INVALID, "padding: input %.64s has no free dimension 1 that could be filled up", name);
        if (!encode(port->dtype, value, p->fill[i]))
            return qn_error_set(err, QN_ERR_RANGE, "padding: %g is no value for input %.64s, which is %s", value, name,
                                qn_dtype_oip_name(port->dtype));
        p->inputs[i] = true;
        return QN_OK;
    }
    return qn_error_set(err, QN_ERR_INVALID, "padding: the model has no input %.64s", name);
}

static qn_status look_at_outputs(qn_padding *p, const qn_model *model, qn_error *err)
{
    for (int32_t i = 0; i < p->n_out; i++) {
        const qn_port *port = qn_model_output(model, i);

        if (port->rank < 0) return qn_error_set(err, QN_ERR_INVALID, "padding: output %.64s has no known rank", port->name);
        for (int32_t d = 2; d < port->rank; d++) {
            if (port->dims[d] < 0)
                return qn_error_set(err, QN_ERR_INVALID, "padding: output %.64s has a free dimension %d: only dimension 1 can be cut back",
                                    port->name, d);
        }
        p->outputs[i] = port->rank > 1 && port->dims[1] < 0;
    }
    return QN_OK;
}

qn_status qn_padding_create(const qn_model *model, const qn_model_settings *settings, qn_padding **out, qn_error *err)
{
    qn_padding *p;
    qn_status st = QN_OK;

    *out = NULL;
    if (settings->n_paddings == 0) return QN_OK;
    p = calloc(1, sizeof *p);
    if (!p) return qn_error_set(err, QN_ERR_NOMEM, "padding");
    p->multiple = settings->padding_multiple;
    p->n_in = qn_model_n_inputs(model);
    p->n_out = qn_model_n_outputs(model);
    p->inputs = calloc((size_t)p->n_in + 1, sizeof *p->inputs);
    p->fill = calloc((size_t)p->n_in + 1, sizeof *p->fill);
    p->outputs = calloc((size_t)p->n_out + 1, sizeof *p->outputs);
    if (!p->inputs || !p->fill || !p->outputs) st = qn_error_set(err, QN_ERR_NOMEM, "padding");
    for (int32_t i = 0; i < settings->n_paddings && st == QN_OK; i++)
        st = take_input(p, model, settings->paddings[i].name, settings->paddings[i].value, err);
    if (st == QN_OK) st = look_at_outputs(p, model, err);
    if (st == QN_OK)
        *out = p;
    else
        qn_padding_destroy(p);
    return st;
}

int64_t qn_padding_length(const qn_padding *p, const qn_tensor *inputs)
{
    int64_t length = -1;

    for (int32_t i = 0; i < p->n_in; i++) {
        if (!p->inputs[i]) continue;
        if (inputs[i].dtype == QN_DTYPE_NONE || inputs[i].rank < 2 || (length >= 0 && inputs[i].dims[1] != length)) return -1;
        length = inputs[i].dims[1];
    }
    return length;
}

bool qn_padding_same_bucket(const qn_padding *p, int64_t a, int64_t b)
{
    return a == b || (a > 0 && b > 0 && (a - 1) / p->multiple == (b - 1) / p->multiple);
}
