/* core/onnx/attr.c - AttributeProto: scanned once for its type and counts, then once more for its values.
 * A graph that is the value of an attribute is not read here: it waits in the reader's list, so nesting costs no stack. */
#include "core/onnx/read.h"

#include <inttypes.h>
#include <string.h>

/* Fields of AttributeProto. */
enum {
    NAME = 1,
    F = 2,
    I = 3,
    S = 4,
    T = 5,
    G = 6,
    FLOATS = 7,
    INTS = 8,
    STRINGS = 9,
    TENSORS = 10,
    GRAPHS = 11,
    TP = 14,
    TYPE_PROTOS = 15,
    TYPE = 20,
    REF_ATTR_NAME = 21,
    SPARSE_TENSOR = 22,
    SPARSE_TENSORS = 23,
};

/* Values of AttributeProto.type that qn_attr_type does not have. */
enum { TYPE_SPARSE_TENSOR = 11, TYPE_SPARSE_TENSORS = 12, TYPE_TYPE_PROTOS = 14 };

/* type -> the field that holds its value, and what to call it */
static const struct {
    uint32_t field;
    const char *name;
} types[] = {
    { 0, "undefined" },
    { F, "float" },
    { I, "int" },
    { S, "string" },
    { T, "tensor" },
    { G, "graph" },
    { FLOATS, "floats" },
    { INTS, "ints" },
    { STRINGS, "strings" },
    { TENSORS, "tensors" },
    { GRAPHS, "graphs" },
    { SPARSE_TENSOR, "sparse tensor" },
    { SPARSE_TENSORS, "sparse tensors" },
    { TP, "type" },
    { TYPE_PROTOS, "types" },
};
enum { N_TYPES = sizeof types / sizeof *types };

typedef struct scan {
    const char *name, *ref;
    uint64_t type;
    unsigned given; /* bit per index of types[]: its field is there */
    float f;
    int64_t i;
    qn_onnx_span s, one; /* s; t, g, tp or sparse_tensor */
    uint64_t n[N_TYPES]; /* elements of the lists */
} scan;

/* Elements of the packed list that is the current field, or 1. */
static uint64_t count_elements(qn_proto *p, uint64_t width)
{
    uint64_t n = 0, v;

    if (p->wire != QN_WIRE_BYTES) return 1;
    if (width) {
        if ((p->end - p->begin) % width)
            qn_proto_fail(p, QN_ERR_FORMAT, "packed list of %" PRIu64 " bytes, expected a multiple of %" PRIu64, p->end - p->begin, width);
        return (p->end - p->begin) / width;
    }
    if (!qn_proto_enter(p)) return 0;
    while (!qn_proto_at_end(p)) n += qn_proto_varint(p, &v);
    if (!p->status) qn_proto_leave(p);
    return n;
}

static qn_status scan_value(qn_onnx_reader *r, scan *s, unsigned type)
{
    qn_proto *p = &r->proto;
    uint32_t word;

    s->given |= 1u << type;
    switch (p->field) {
    case F:
        if (!qn_proto_expect(p, QN_WIRE_FIXED32)) break;
        word = (uint32_t)p->value;
        memcpy(&s->f, &word, sizeof word);
        break;
    case I:
        if (qn_proto_expect(p, QN_WIRE_VARINT)) s->i = (int64_t)p->value;
        break;
    case S:
        if (qn_proto_expect(p, QN_WIRE_BYTES)) s->s = (qn_onnx_span){ p->begin, p->end, true };
        break;
    case T:
    case G:
    case SPARSE_TENSOR:
    case TP: return qn_onnx_span_take(r, &s->one, "value of an attribute");
    case FLOATS: s->n[type] += count_elements(p, 4); break;
    case INTS: s->n[type] += count_elements(p, 0); break;
    default: s->n[type]++; break;
    }
    return p->status;
}

static qn_status scan_attr(qn_onnx_reader *r, const qn_onnx_span *span, scan *s)
{
    qn_proto *p = &r->proto;
    qn_status st = QN_OK;

    if (!qn_proto_open(p, span->begin, span->end)) return p->status;
    while (!st && qn_proto_next(p)) {
        if (p->field == NAME) {
            st = qn_onnx_name(r, &r->tmp, "attribute name", &s->name);
        } else if (p->field == REF_ATTR_NAME) {
            st = qn_onnx_name(r, &r->tmp, "ref_attr_name", &s->ref);
        } else if (p->field == TYPE) {
            if (qn_proto_expect(p, QN_WIRE_VARINT)) s->type = p->value;
        } else {
            for (unsigned t = 1; t < N_TYPES && !st; t++) {
                if (types[t].field == p->field) {
                    st = scan_value(r, s, t);
                    break;
                }
            }
        }
    }
    if (!st) st = p->status;
    if (!st) qn_proto_leave(p);
    return st;
}

static bool in_function(const qn_onnx_reader *r, int32_t scope)
{
    while (r->scopes[scope].outer >= 0) scope = r->scopes[scope].outer;
    return r->scopes[scope].function != QN_NONE;
}

/* The value comes from the call of the function around it. */
static qn_status judge_ref(qn_onnx_reader *r, int32_t scope, const scan *s)
{
    if (!in_function(r, scope)) return qn_error_set(r->err, QN_ERR_INVALID, "reference to an attribute of a function outside of one");
    if (s->given) return qn_error_set(r->err, QN_ERR_FORMAT, "a reference to an attribute that has a value too");
    if (s->type >= N_TYPES) return qn_error_set(r->err, QN_ERR_FORMAT, "attribute type %" PRId64 " is none of ONNX", (int64_t)s->type);
    if (s->type == QN_ATTR_GRAPH || s->type == QN_ATTR_GRAPHS || s->type == TYPE_SPARSE_TENSORS || s->type == TYPE_TYPE_PROTOS)
        return qn_error_set(r->err, QN_ERR_UNSUPPORTED, "reference to an attribute of type %s", types[s->type].name);
    return QN_OK;
}

/* Which type it is: said, or (IR version 1) the one field that is there. */
static qn_status judge(qn_onnx_reader *r, scan *s)
{
    if (!s->name || !*s->name) return qn_error_set(r->err, QN_ERR_FORMAT, "attribute without a name");
    if (s->type == 0) {
        if (s->given == 0 || (s->given & (s->given - 1))) return qn_error_set(r->err, QN_ERR_FORMAT, "attribute without a type");
        s->type = (uint64_t)__builtin_ctz(s->given);
    }
    if (s->type >= N_TYPES) return qn_error_set(r->err, QN_ERR_FORMAT, "attribute type %" PRId64 " is none of ONNX", (int64_t)s->type);
    if (s->given & ~(1u << s->type)) {
        unsigned other = (unsigned)__builtin_ctz(s->given & ~(1u << s->type));

        return qn_error_set(r->err, QN_ERR_FORMAT, "type is %s, but it holds %s", types[s->type].name, types[other].name);
    }
    if (s->type > QN_ATTR_GRAPHS && s->type != TYPE_SPARSE_TENSOR && s->type != QN_ATTR_TYPE)
        return qn_error_set(r->err, QN_ERR_UNSUPPORTED, "attribute of type %s", types[s->type].name);
    return QN_OK;
}

/* -- values --------------------------------------------------------------------------------------------------------------- */

static qn_status one_tensor(qn_onnx_reader *r, const qn_onnx_span *span, qn_weight **out)
{
    qn_onnx_tensor t;
    qn_status st = qn_onnx_spend(r, 1, 256);

    if (!st) st = qn_onnx_scan_tensor(r, span, &t);
    return st ? st : qn_onnx_tensor_weight(r, &t, out);
}

static qn_status one_type(qn_onnx_reader *r, qn_graph *g, const qn_onnx_span *span, const qn_type **out)
{
    qn_type *t;
    qn_status st = qn_onnx_spend(r, 1, sizeof *t);

    if (st) return st;
    t = qn_arena_alloc(&g->arena, sizeof *t);
    if (!t) return qn_error_set(r->err, QN_ERR_NOMEM, "type");
    *out = t;
    return qn_onnx_read_type(r, g->dims, span, NULL, t);
}

static qn_status one_string(qn_onnx_reader *r, qn_arena *a, const qn_onnx_span *span, const char **out, int64_t *n)
{
    qn_proto *p = &r->proto;
    qn_status st;
    size_t len;

    /* look at the field again: strings are rare, so the reader is simply put back on it */
    p->wire = QN_WIRE_BYTES;
    p->begin = span->begin;
    p->end = span->end;
    st = qn_onnx_bytes(r, a, out, &len);
    if (!st) *n = (int64_t)len;
    return st;
}

/* Next element of a list; *i counts, and never passes a->n: the file may have changed since the scan. */
static qn_status list_element(qn_onnx_reader *r, int32_t scope, qn_attr *a, int64_t *i)
{
    qn_proto *p = &r->proto;
    qn_arena *arena = &r->scopes[scope].g->arena;
    qn_onnx_span span = { p->begin, p->end, true };
    int64_t len;
    qn_status st;

    if (!qn_proto_expect(p, QN_WIRE_BYTES)) return p->status;
    if (*i == a->n) return qn_error_set(r->err, QN_ERR_FORMAT, "the list changed while it was read");
    switch (a->type) {
    case QN_ATTR_STRINGS:
        st = one_string(r, arena, &span, &a->strings[*i], &len);
        if (!st && strlen(a->strings[*i]) != (size_t)len)
            st = qn_error_set(r->err, QN_ERR_UNSUPPORTED, "string %" PRId64 " holds a NUL", *i);
        break;
    case QN_ATTR_TENSORS: st = one_tensor(r, &span, &a->tensors[*i]); break;
    default: st = qn_onnx_add_scope(r, scope, &span, &a->graphs[*i]); break;
    }
    ++*i;
    return st;
}

static qn_status number(qn_onnx_reader *r, qn_attr *a, int64_t *i, uint64_t v)
{
    uint32_t word = (uint32_t)v;

    if (*i == a->n) return qn_error_set(r->err, QN_ERR_FORMAT, "the list changed while it was read");
    if (a->type == QN_ATTR_INTS)
        ((int64_t *)a->ints)[*i] = (int64_t)v;
    else
        memcpy((float *)a->floats + *i, &word, sizeof word);
    ++*i;
    return QN_OK;
}

/* Elements in the current field of a list of numbers. */
static qn_status list_numbers(qn_onnx_reader *r, qn_attr *a, int64_t *i)
{
    qn_proto *p = &r->proto;
    qn_status st = QN_OK;
    uint64_t v = 0;
    uint32_t word = 0;

    if (p->wire != QN_WIRE_BYTES) {
        if (!qn_proto_expect(p, a->type == QN_ATTR_INTS ? QN_WIRE_VARINT : QN_WIRE_FIXED32)) return p->status;
        return number(r, a, i, p->value);
    }
    if (!qn_proto_enter(p)) return p->status;
    while (!st && !qn_proto_at_end(p)) {
        bool ok = a->type == QN_ATTR_INTS ? qn_proto_varint(p, &v) : qn_proto_fixed32(p, &word);

        st = ok ? number(r, a, i, a->type == QN_ATTR_INTS ? v : word) : p->status;
    }
    if (!st) st = p->status;
    if (!st) qn_proto_leave(p);
    return st;
}

static qn_status read_list(qn_onnx_reader *r, int32_t scope, const qn_onnx_span *span, const scan *s, qn_attr *a)
{
    qn_proto *p = &r->proto;
    size_t width = a->type == QN_ATTR_FLOATS ? sizeof(float) : sizeof(void *); /* ints and pointers have the same */
    uint64_t count = s->n[a->type];
    qn_status st = qn_onnx_spend(r, count, width);
    int64_t n = (int64_t)count, i = 0;
    void *array;

    if (st) return st;
    array = qn_arena_array(&r->scopes[scope].g->arena, (size_t)count, width);
    if (!array) return qn_error_set(r->err, QN_ERR_NOMEM, "list of %" PRIu64, count);
    a->ints = array; /* the union: any list */
    a->n = n;        /* entries not read yet are NULL, which destroy accepts */
    if (!qn_proto_open(p, span->begin, span->end)) return p->status;
    while (!st && qn_proto_next(p)) {
        if (p->field != types[a->type].field) continue;
        if (a->type == QN_ATTR_FLOATS || a->type == QN_ATTR_INTS)
            st = list_numbers(r, a, &i);
        else
            st = list_element(r, scope, a, &i);
    }
    if (!st) st = p->status;
    if (st) return st;
    qn_proto_leave(p);
    return i == n ? QN_OK : qn_error_set(r->err, QN_ERR_FORMAT, "the list changed while it was read");
}

static qn_status read_value(qn_onnx_reader *r, int32_t scope, const qn_onnx_span *span, const scan *s, qn_attr *a)
{
    qn_arena *arena = &r->scopes[scope].g->arena;
    const char *unused;
    bool needs_one = s->type == QN_ATTR_TENSOR || s->type == QN_ATTR_GRAPH || s->type == TYPE_SPARSE_TENSOR || s->type == QN_ATTR_TYPE;

    if (needs_one && !s->one.given) return qn_error_set(r->err, QN_ERR_FORMAT, "type is %s, but it holds none", types[s->type].name);
    switch (s->type) {
    case QN_ATTR_FLOAT: a->f = s->f; break;
    case QN_ATTR_INT: a->i = s->i; break;
    case QN_ATTR_STRING:
        a->s = "";
        if (s->s.given) return one_string(r, arena, &s->s, &a->s, &a->n);
        break;
    case QN_ATTR_TENSOR: return one_tensor(r, &s->one, &a->t);
    case QN_ATTR_TYPE: return one_type(r, r->scopes[scope].g, &s->one, &a->ty);
    case QN_ATTR_GRAPH: return qn_onnx_add_scope(r, scope, &s->one, &a->g);
    case TYPE_SPARSE_TENSOR: return qn_onnx_sparse_weight(r, &s->one, &unused, &a->t);
    default: return read_list(r, scope, span, s, a);
    }
    return QN_OK;
}

qn_status qn_onnx_read_attr(qn_onnx_reader *r, int32_t scope, const qn_onnx_span *span, qn_attr *out)
{
    scan s = { 0 };
    char shown[QN_ONNX_SHORT];
    qn_status st = scan_attr(r, span, &s);

    if (!st && s.name && *s.name && s.ref && *s.ref)
        st = judge_ref(r, scope, &s);
    else if (!st)
        st = judge(r, &s);
    if (!st) {
        out->name = qn_arena_strdup(&r->scopes[scope].g->arena, s.name);
        if (!out->name) st = qn_error_set(r->err, QN_ERR_NOMEM, "attribute name");
    }
    if (!st) { /* a sparse tensor is a tensor from here on */
        out->type = s.type == TYPE_SPARSE_TENSOR ? QN_ATTR_TENSOR : (qn_attr_type)s.type;
        if (s.ref && *s.ref)
            out->ref = qn_arena_strdup(&r->scopes[scope].g->arena, s.ref);
        else
            st = read_value(r, scope, span, &s, out);
        if (s.ref && *s.ref && !out->ref) st = qn_error_set(r->err, QN_ERR_NOMEM, "attribute name");
    }
    if (st && s.name && *s.name) qn_error_prefix(r->err, "attribute '%s'", qn_onnx_short(s.name, shown));
    return st;
}
