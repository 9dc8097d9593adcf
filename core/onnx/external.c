/* core/onnx/external.c - external_data: weights in files beside the model.
 * The one way to such a file is qn_file_open() beneath the model's folder. Keys are a closed list, and numbers are plain decimal: a
 * reader that guesses at either reads what the file's author wants it to. */
#include "core/onnx/read.h"

#include <inttypes.h>
#include <string.h>

static bool parse_u64(const char *s, uint64_t *out)
{
    uint64_t v = 0;

    if (!*s) return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9') return false;
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) || __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v)) return false;
    }
    *out = v;
    return true;
}

qn_status qn_onnx_location_entry(qn_onnx_reader *r, qn_onnx_location *where)
{
    const char *key, *value;
    char shown[QN_ONNX_SHORT];
    qn_status st = qn_onnx_entry(r, &r->tmp, "external_data", &key, &value);
    bool twice = false, number = true;

    if (st) return st;
    if (strcmp(key, "location") == 0) {
        twice = where->location != NULL;
        where->location = value;
    } else if (strcmp(key, "offset") == 0) {
        twice = where->has_offset;
        where->has_offset = true;
        number = parse_u64(value, &where->offset);
    } else if (strcmp(key, "length") == 0) {
        twice = where->has_length;
        where->has_length = true;
        number = parse_u64(value, &where->length);
    } else if (strcmp(key, "checksum") == 0) {
        twice = where->has_checksum; /* SHA-1 of a whole file, written by nobody we know of: allowed, not looked at */
        where->has_checksum = true;
    } else {
        return qn_error_set(r->err, QN_ERR_FORMAT, "external_data has the key '%s', expected location, offset, length or checksum",
                            qn_onnx_short(key, shown));
    }
    if (twice) return qn_error_set(r->err, QN_ERR_FORMAT, "external_data has the key '%s' twice", key);
    if (!number)
        return qn_error_set(r->err, QN_ERR_FORMAT, "external_data: %s is '%s', expected a decimal number", key,
                            qn_onnx_short(value, shown));
    return QN_OK;
}

static qn_status open_file(qn_onnx_reader *r, const char *location, qn_onnx_external **out)
{
    qn_onnx_external *e;
    qn_file_info info;
    qn_status st;

    for (int32_t i = 0; i < r->n_external; i++) {
        *out = &r->external[i];
        if (strcmp(r->external[i].location, location) == 0) return QN_OK;
    }
    if (r->dir_fd == -1) return qn_error_set(r->err, QN_ERR_UNSUPPORTED, "external_data, but the model has no folder");
    if (r->n_external == QN_ONNX_MAX_EXTERNAL)
        return qn_error_set(r->err, QN_ERR_LIMIT, "more than %d files of external data", QN_ONNX_MAX_EXTERNAL);
    if (!r->external) {
        r->external = qn_arena_array(&r->keep, QN_ONNX_MAX_EXTERNAL, sizeof *r->external);
        if (!r->external) return qn_error_set(r->err, QN_ERR_NOMEM, "list of external files");
    }
    e = &r->external[r->n_external];
    e->location = qn_arena_strdup(&r->keep, location);
    if (!e->location) return qn_error_set(r->err, QN_ERR_NOMEM, "name of an external file");
    st = qn_file_open(r->dir_fd, location, QN_FILE_BENEATH, r->limits.file_bytes, &e->src, &info, r->err);
    if (st) {
        qn_error_prefix(r->err, "external_data");
        return st;
    }
    e->bytes = info.bytes;
    r->n_external++;
    *out = e;
    return QN_OK;
}

qn_status qn_onnx_external_open(qn_onnx_reader *r, const qn_onnx_location *where, uint64_t bytes, qn_source **src, uint64_t *offset)
{
    char shown[QN_ONNX_SHORT];
    qn_onnx_external *e = NULL;
    qn_status st;

    if (!where->location || !*where->location) return qn_error_set(r->err, QN_ERR_FORMAT, "external_data has no location");
    if (where->has_length && where->length != bytes)
        return qn_error_set(r->err, QN_ERR_FORMAT, "external_data: length is %" PRIu64 ", expected %" PRIu64 " from dims and dtype",
                            where->length, bytes);
    st = open_file(r, where->location, &e);
    if (st) return st;
    if (where->offset > e->bytes || bytes > e->bytes - where->offset)
        return qn_error_set(r->err, QN_ERR_FORMAT,
                            "external_data: bytes %" PRIu64 " + %" PRIu64 " lie beyond the end of '%s', %" PRIu64 " bytes", where->offset,
                            bytes, qn_onnx_short(where->location, shown), e->bytes);
    *src = e->src;
    *offset = where->offset;
    return QN_OK;
}
