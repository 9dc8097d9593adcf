/* core/graph/dims.h - dimensions as ids into a table of checked expressions.
 *
 * A dimension that an export leaves free is a symbol ("N", "seq"); shape arithmetic makes expressions of symbols.
 * Equal expressions have equal ids (they are interned after simplification), so "the same dimension" is one integer compare.
 * Every constant operation is checked: on overflow, or when memory is out, the table remembers the first error (qn_dims_status)
 * and the result is QN_DIM_UNKNOWN; callers check once per node. Threads: one at a time. */
#ifndef QUERN_GRAPH_DIMS_H
#define QUERN_GRAPH_DIMS_H

#include "quern/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef int32_t qn_dim;     /* an id, or: */
#define QN_DIM_UNKNOWN (-1) /* nothing is known: a data-dependent size */

typedef struct qn_dims qn_dims;

qn_status qn_dims_create(qn_dims **out, qn_error *err);
void qn_dims_destroy(qn_dims *t);
/* A table in which every id means the same: to go on computing beside a graph that others read. The remembered error is not copied. */
qn_status qn_dims_clone(const qn_dims *t, qn_dims **out, qn_error *err);

qn_dim qn_dims_const(qn_dims *t, int64_t v);
qn_dim qn_dims_symbol(qn_dims *t, const char *name); /* the same name is the same symbol; the name is copied */

/* Arithmetic; UNKNOWN in, UNKNOWN out. Division by a constant 0 is an error; floor and ceil round as their names say. */
qn_dim qn_dims_add(qn_dims *t, qn_dim a, qn_dim b);
qn_dim qn_dims_sub(qn_dims *t, qn_dim a, qn_dim b);
qn_dim qn_dims_mul(qn_dims *t, qn_dim a, qn_dim b);
qn_dim qn_dims_floordiv(qn_dims *t, qn_dim a, qn_dim b);
qn_dim qn_dims_ceildiv(qn_dims *t, qn_dim a, qn_dim b);
qn_dim qn_dims_min(qn_dims *t, qn_dim a, qn_dim b);
qn_dim qn_dims_max(qn_dims *t, qn_dim a, qn_dim b);

/* True if d is a constant; then *v is it. */
bool qn_dims_value(const qn_dims *t, qn_dim d, int64_t *v);
/* The name if d is a bare symbol, else NULL. */
const char *qn_dims_symbol_name(const qn_dims *t, qn_dim d);
/* True if d = min(of, k) for a constant k >= 1: a table of k places, cut to the length of what it is added to. */
bool qn_dims_is_capped(const qn_dims *t, qn_dim d, qn_dim of);
/* True if d is never negative, symbols being sizes (>= 0); false also where it cannot be told. */
bool qn_dims_nonneg(const qn_dims *t, qn_dim d);
/* True if a and b differ whatever the symbols are: two different constants, 2*N and 2*N + 1, N and -1. */
bool qn_dims_differ(qn_dims *t, qn_dim a, qn_dim b);
/* d = *c0 + *c1 * sym for every value of sym (sym is a bare symbol); false if it is not, or if another symbol occurs. */
bool qn_dims_affine(const qn_dims *t, qn_dim d, qn_dim sym, int64_t *c0, int64_t *c1);
/* True if d = m * sym for some m >= 0 in which sym does not occur: a batch, with other sizes folded behind it. */
bool qn_dims_is_multiple(const qn_dims *t, qn_dim d, qn_dim sym);
/* True if sym occurs in d. */
bool qn_dims_depends(const qn_dims *t, qn_dim d, qn_dim sym);
/* "2*N+1", "?": into buf, always terminated. */
const char *qn_dims_print(const qn_dims *t, qn_dim d, char *buf, size_t cap);

/* The first error met so far (QN_OK if none), its text in err; qn_dims_clear() forgets it. */
qn_status qn_dims_status(const qn_dims *t, qn_error *err);
void qn_dims_clear(qn_dims *t);

#endif
