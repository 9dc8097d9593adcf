/* core/graph/rows.h - may requests share a batch? */
#ifndef QUERN_GRAPH_ROWS_H
#define QUERN_GRAPH_ROWS_H

#include "core/graph/op.h"

/* True if it is proved of a canonical graph (inferred, in order) that row r of every output depends on row r of every input alone,
 * and on nothing that changes with the number of rows. Rows are dimension 0 of every input that is no initializer, and that
 * dimension is one bare symbol, the same for all, found nowhere else in an input; every output's dimension 0 is that symbol.
 * False means "not proved", also when memory runs out. A lowered graph may be asked too: folding makes more sizes known.
 * Adds expressions to g->dims: to be called before other threads read the graph. */
bool qn_graph_rows_independent(const qn_graph *g);

#endif
