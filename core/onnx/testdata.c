/* core/onnx/testdata.c - see testdata.h */
#include "core/onnx/testdata.h"

#include "core/onnx/read.h"

#include <stdlib.h>
#include <string.h>

#define MAX_BYTES ((uint64_t)1 << 30)

static qn_status keep_name(qn_onnx_reader *r, const char *name, char **out)
{
    if (!out) return QN_OK;
    free(*out);
    *out = strdup(name);
    return *out ? QN_OK : qn_error_set(r->err, QN_ERR_NOMEM, "name of a value");
}

static qn_status read_span(qn_onnx_reader *r, const qn_onnx_span *span, qn_tensor *out, char **tensor_name)
{
    qn_onnx_tensor t;
    qn_tensor view = { 0 };
    void *data = NULL;
    qn_status st = qn_onnx_scan_tensor(r, span, &t);

    if (!st) st = keep_name(r, t.name, tensor_name);
    if (st) return st;
    data = malloc(t.bytes ? t.bytes : 1);
    if (!data) return qn_error_set(r->err, QN_ERR_NOMEM, "tensor of %zu bytes", t.bytes);
    st = qn_onnx_tensor_fill(r, &t, data);
    view.dtype = t.dtype;
    view.rank = t.rank;
    view.data = data;
    view.bytes = t.bytes;
    memcpy(view.dims, t.dims, sizeof view.dims);
    if (!st) st = qn_tensor_copy(&view, out, r->err); /* into memory that qn_tensor_free() knows */
    free(data);
    return st;
}

/* SequenceProto, the open message: field 3 holds its tensors. */
static qn_status read_sequence(qn_onnx_reader *r, qn_meter *m, qn_items *out, char **name)
{
    qn_proto *p = &r->proto;
    qn_status st = QN_OK;

    out->present = true;
    while (!st && qn_proto_next(p)) {
        const qn_onnx_span span = { p->begin, p->end, true };
        const char *text;
        qn_tensor t = { 0 };
        qn_box *box = NULL;

        if (p->field == 1) {
            st = qn_onnx_name(r, &r->tmp, "name", &text);
            if (!st) st = keep_name(r, text, name);
        } else if (p->field == 3) {
            if (!qn_proto_expect(p, QN_WIRE_BYTES)) return p->status;
            st = read_span(r, &span, &t, NULL);
            if (!st) st = qn_box_copy(m, &t, &box, r->err);
            if (!st) st = qn_items_insert(out, out->n, box, r->err);
            qn_tensor_free(&t);
        } else if (p->field > 3) {
            st = qn_error_set(r->err, QN_ERR_UNSUPPORTED, "a sequence of something else than tensors");
        }
    }
    return st ? st : p->status;
}

/* OptionalProto, the open message: a tensor in field 3, or a sequence in field 5, or nothing. */
static qn_status read_optional(qn_onnx_reader *r, qn_meter *m, qn_items *out, char **name)
{
    qn_proto *p = &r->proto;
    qn_status st = QN_OK;

    while (!st && qn_proto_next(p)) {
        const qn_onnx_span span = { p->begin, p->end, true };
        const char *text;
        qn_tensor t = { 0 };
        qn_box *box = NULL;

        if ((p->field == 3 || p->field == 5) && out->present)
            return qn_error_set(r->err, QN_ERR_FORMAT, "an optional that holds two values");
        if (p->field == 1) {
            st = qn_onnx_name(r, &r->tmp, "name", &text);
            if (!st) st = keep_name(r, text, name);
        } else if (p->field == 3) {
            if (!qn_proto_expect(p, QN_WIRE_BYTES)) return p->status;
            st = read_span(r, &span, &t, NULL);
            if (!st) st = qn_box_copy(m, &t, &box, r->err);
            if (!st) st = qn_items_insert(out, out->n, box, r->err);
            qn_tensor_free(&t);
            out->present = true;
        } else if (p->field == 5) {
            if (!qn_proto_enter(p)) return p->status;
            st = read_sequence(r, m, out, NULL);
            if (!st) qn_proto_leave(p);
        } else if (p->field > 3) {
            st = qn_error_set(r->err, QN_ERR_UNSUPPORTED, "an optional of something else than a tensor or a sequence");
        }
    }
    return st ? st : p->status;
}

/* What is read, and where it goes. */
typedef struct wanted {
    qn_kind kind;
    qn_tensor *tensor;
    qn_meter *meter;
    qn_items *items;
} wanted;

static qn_status read_file(int dir_fd, const char *name, const wanted *w, char **value_name, qn_error *err)
{
    const qn_limits limits = { .file_bytes = MAX_BYTES, .weight_bytes = MAX_BYTES };
    qn_source *src = NULL;
    qn_onnx_reader r;
    qn_file_info info;
    qn_status st;

    if (value_name) *value_name = NULL;
    st = qn_file_open(dir_fd, name, QN_FILE_ZSTD, MAX_BYTES, &src, &info, err);
    if (st) return st;
    st = qn_onnx_reader_init(&r, src, info.bytes, &limits, -1, err);
    if (!st && w->kind == QN_KIND_TENSOR)
        st = read_span(&r, &(qn_onnx_span){ 0, r.size, true }, w->tensor, value_name);
    else if (!st)
        st = (w->kind == QN_KIND_SEQUENCE ? read_sequence : read_optional)(&r, w->meter, w->items, value_name);
    if (st && value_name) {
        free(*value_name);
        *value_name = NULL;
    }
    qn_onnx_reader_release(&r);
    src->unref(src);
    return st;
}

qn_status qn_onnx_read_tensor(int dir_fd, const char *name, qn_tensor *out, char **tensor_name, qn_error *err)
{
    *out = (qn_tensor){ 0 };
    return read_file(dir_fd, name, &(wanted){ .kind = QN_KIND_TENSOR, .tensor = out }, tensor_name, err);
}

qn_status qn_onnx_read_items(int dir_fd, const char *name, qn_kind kind, qn_meter *m, qn_items *out, char **value_name, qn_error *err)
{
    qn_items_clear(out);
    return read_file(dir_fd, name, &(wanted){ .kind = kind, .meter = m, .items = out }, value_name, err);
}
