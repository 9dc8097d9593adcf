/* core/graph/node.c - reading a node's attributes. Nodes have a handful of them: a linear search is the fastest. */
#include "core/graph/graph.h"

#include <string.h>

const qn_attr *qn_node_attr(const qn_node *n, const char *name)
{
    for (int32_t i = 0; i < n->n_attrs; i++)
        if (n->attrs[i].name && strcmp(n->attrs[i].name, name) == 0) return &n->attrs[i];
    return NULL;
}

static const qn_attr *typed(const qn_node *n, const char *name, qn_attr_type type)
{
    const qn_attr *a = qn_node_attr(n, name);

    return a && a->type == type ? a : NULL;
}

int64_t qn_node_int(const qn_node *n, const char *name, int64_t fallback)
{
    const qn_attr *a = typed(n, name, QN_ATTR_INT);

    return a ? a->i : fallback;
}

float qn_node_float(const qn_node *n, const char *name, float fallback)
{
    const qn_attr *a = typed(n, name, QN_ATTR_FLOAT);

    return a ? a->f : fallback;
}

const char *qn_node_str(const qn_node *n, const char *name, const char *fallback)
{
    const qn_attr *a = typed(n, name, QN_ATTR_STRING);

    return a ? a->s : fallback;
}

const int64_t *qn_node_ints(const qn_node *n, const char *name, int64_t *len)
{
    const qn_attr *a = typed(n, name, QN_ATTR_INTS);

    *len = a ? a->n : 0;
    return a ? a->ints : NULL;
}

const float *qn_node_floats(const qn_node *n, const char *name, int64_t *len)
{
    const qn_attr *a = typed(n, name, QN_ATTR_FLOATS);

    *len = a ? a->n : 0;
    return a ? a->floats : NULL;
}
