/* core/onnx/testdata.c - see testdata.h */
#include "core/onnx/testdata.h"

#include "core/onnx/read.h"

#include <stdlib.h>
#include <string.h>

#define MAX_BYTES ((uint64_t)1 << 30)

static qn_status read_whole(qn_onnx_reader *r, qn_tensor *out, char **tensor_name)
{
    qn_onnx_span span = { 0, r->size, true };
    qn_onnx_tensor t;
    qn_tensor view = { 0 };
    void *data = NULL;
    qn_status st = qn_onnx_scan_tensor(r, &span, &t);

    if (st) return st;
    if (tensor_name) {
        *tensor_name = strdup(t.name);
        if (!*tensor_name) return qn_error_set(r->err, QN_ERR_NOMEM, "tensor name");
    }
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

qn_status qn_onnx_read_tensor(int dir_fd, const char *name, qn_kind kind, qn_tensor *out, char **tensor_name, qn_error *err)
{
    static const char *const kinds[] = { "tensor", "sequence", "optional", "map" };
    const qn_limits limits = { .file_bytes = MAX_BYTES, .weight_bytes = MAX_BYTES };
    qn_source *src = NULL;
    qn_onnx_reader r;
    qn_file_info info;
    qn_status st;

    *out = (qn_tensor){ 0 };
    if (tensor_name) *tensor_name = NULL;
    if (kind != QN_KIND_TENSOR) return qn_error_set(err, QN_ERR_UNSUPPORTED, "%s: a file that holds a value of kind %s", name, kinds[kind]);
    st = qn_file_open(dir_fd, name, QN_FILE_ZSTD, MAX_BYTES, &src, &info, err);
    if (st) return st;
    st = qn_onnx_reader_init(&r, src, info.bytes, &limits, -1, err);
    if (!st) st = read_whole(&r, out, tensor_name);
    if (st && tensor_name) {
        free(*tensor_name);
        *tensor_name = NULL;
    }
    qn_onnx_reader_release(&r);
    src->unref(src);
    return st;
}
