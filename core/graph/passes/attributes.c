/* core/graph/passes/attributes.c - an attribute of the wrong type is refused: an op that asks for a float and finds a string would take its
 * default, and the model would run with other numbers than it was written for. Names that no op reads are let through. */
#include "core/graph/passes/rewrite.h"

#include <stdio.h>
#include <string.h>

#define IS(type) (1u << QN_ATTR_##type)

static const struct expected {
    const char *name;
    unsigned types; /* bit qn_attr_type */
} table[] = {
#define QN_ATTRIBUTE(name, types) { name, types },
#include "core/graph/attributes.def"
#undef QN_ATTRIBUTE
};

static const char *const type_names[] = {
    [QN_ATTR_FLOAT] = "a float",   [QN_ATTR_INT] = "an integer", [QN_ATTR_STRING] = "a string", [QN_ATTR_TENSOR] = "a tensor",
    [QN_ATTR_GRAPH] = "a graph",   [QN_ATTR_FLOATS] = "floats",  [QN_ATTR_INTS] = "integers",   [QN_ATTR_STRINGS] = "strings",
    [QN_ATTR_TENSORS] = "tensors", [QN_ATTR_GRAPHS] = "graphs",  [QN_ATTR_TYPE] = "a type",
};

static const char *type_name(unsigned t)
{
    return t < sizeof type_names / sizeof type_names[0] && type_names[t] ? type_names[t] : "of no known type";
}

static const struct expected *find(const char *name)
{
    size_t lo = 0, hi = sizeof table / sizeof table[0];

    while (lo < hi) {
        const size_t mid = (lo + hi) / 2;
        const int c = strcmp(name, table[mid].name);

        if (c == 0) return &table[mid];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

qn_status qn_pass_check_attributes(const qn_node *n, qn_error *err)
{
    for (int32_t i = 0; i < n->n_attrs; i++) {
        const struct expected *e = n->attrs[i].name ? find(n->attrs[i].name) : NULL;
        char want[64];
        size_t at = 0;

        if (!e || e->types & 1u << n->attrs[i].type) continue;
        for (unsigned t = 0; t < 32 && at < sizeof want; t++)
            if (e->types & 1u << t) at += (size_t)snprintf(want + at, sizeof want - at, "%s%s", at ? " or " : "", type_name(t));
        return qn_error_set(err, QN_ERR_INVALID, "node %.60s (%.40s): attribute '%.40s' is %s, expected %s", n->name, n->op_type, e->name,
                            type_name(n->attrs[i].type), want);
    }
    return QN_OK;
}
