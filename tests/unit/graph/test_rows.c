/* tests/unit/graph/test_rows.c - which graphs may share a batch between requests. */
#include "tests/unit/graph/fake.h"

/* Canonicalise g, ask, and destroy both. */
static bool independent(qn_graph *g)
{
    qn_graph *c;
    bool yes;

    assert_int_equal(qn_graph_canonicalise(g, NULL, &c, NULL), QN_OK);
    yes = qn_graph_rows_independent(c);
    qn_graph_destroy(c);
    qn_graph_destroy(g);
    return yes;
}

static void a_layered_net_is_independent(void **state)
{
    qn_graph *g = new_graph();
    const int64_t w[] = { 4, 8 }, b[] = { 8 };

    (void)state;
    input(g, "x", QN_F32, "N,4");
    floats(g, "w", 2, w, 0);
    floats(g, "b", 1, b, 0);
    op(g, 13, "MatMul", "x,w", "m", 0);
    op(g, 13, "Add", "m,b", "a", 0);
    op(g, 13, "Relu", "a", "r", 0);
    op(g, 13, "Softmax", "r", "y", 0);
    output(g, "y");
    assert_true(independent(g));
}

static void a_fixed_batch_is_not_proved(void **state)
{
    qn_graph *g = new_graph();

    (void)state;
    input(g, "x", QN_F32, "1,4");
    op(g, 13, "Relu", "x", "y", 0);
    output(g, "y");
    assert_false(independent(g));
}

static void two_batch_symbols_are_not_proved(void **state)
{
    qn_graph *g = new_graph();

    (void)state;
    input(g, "x", QN_F32, "N,4");
    input(g, "z", QN_F32, "M,4");
    op(g, 13, "Relu", "x", "y", 0);
    op(g, 13, "Relu", "z", "u", 0);
    output(g, "y");
    output(g, "u");
    assert_false(independent(g));
}

static void softmax_over_the_batch_mixes_rows(void **state)
{
    qn_graph *g = new_graph();
    qn_node_id id;

    (void)state;
    input(g, "x", QN_F32, "N,4");
    id = op(g, 13, "Softmax", "x", "y", 1);
    attr_int(g, id, 0, "axis", 0);
    output(g, "y");
    assert_false(independent(g));
}

static void rows_against_a_constant_of_that_length_mix(void **state)
{
    qn_graph *g = new_graph();
    const int64_t w[] = { 5, 1 };

    (void)state;
    input(g, "x", QN_F32, "N,4");
    floats(g, "w", 2, w, 0);
    op(g, 13, "Add", "x,w", "y", 0);
    output(g, "y");
    assert_false(independent(g));
}

static void broadcasting_rows_against_columns_mixes(void **state)
{
    qn_graph *g = new_graph();

    (void)state;
    input(g, "x", QN_F32, "N");
    input(g, "z", QN_F32, "N,1");
    op(g, 13, "Add", "x,z", "y", 0);
    output(g, "y");
    assert_false(independent(g));
}

static void reshape_by_its_own_shape_is_independent(void **state)
{
    qn_graph *g = new_graph();
    const int64_t fold[] = { -1, 4 };

    (void)state;
    input(g, "x", QN_F32, "N,6,4");
    ints(g, "fold", 2, fold);
    op(g, 13, "Reshape", "x,fold", "windows", 0); /* [6N, 4] */
    op(g, 13, "Relu", "windows", "r", 0);
    op(g, 13, "Shape", "x", "s", 0);
    op(g, 13, "Reshape", "r,s", "y", 0);
    output(g, "y");
    assert_true(independent(g));
}

static void heads_folded_behind_the_batch_stay_apart(void **state)
{
    qn_graph *g = new_graph();
    const int64_t heads[] = { 0, -1, 4 }, half[] = { 0, -1, 2 };

    (void)state;
    input(g, "x", QN_F32, "N,12");
    input(g, "z", QN_F32, "N,7,12");
    ints(g, "heads", 3, heads);
    ints(g, "half", 3, half);
    op(g, 13, "Reshape", "z,heads", "h", 0);     /* [N,21,4] */
    op(g, 13, "Transpose", "h", "t", 0);         /* [21,N,4] */
    op(g, 13, "Reshape", "t,half", "folded", 0); /* [21,2*N,2]: two halves of each row, side by side */
    op(g, 13, "Relu", "folded", "r", 0);
    op(g, 13, "Reshape", "r,heads", "apart", 0); /* [21,N,4] */
    op(g, 13, "Transpose", "apart", "y", 0);
    output(g, "y");
    op(g, 13, "Relu", "x", "u", 0);
    output(g, "u");
    assert_true(independent(g));
}

static void a_batch_folded_behind_another_axis_is_found_again(void **state)
{
    qn_graph *g = new_graph();
    const int64_t flat[] = { -1, 4 }, apart[] = { 7, -1, 4 }, wrong[] = { -1, 7, 4 };

    (void)state;
    for (int k = 0; k < 3; k++) {
        if (k) g = new_graph();
        input(g, "x", QN_F32, "N,7,4");
        ints(g, "flat", 2, flat);
        ints(g, "apart", 3, k == 1 ? wrong : apart);
        op(g, 13, "Transpose", "x", "t", 0);        /* [7,N,4] */
        op(g, 13, "Reshape", "t,flat", "all", 0);   /* [7*N,4], rows change fastest */
        op(g, 13, "Reshape", "x,flat", "other", 0); /* [7*N,4], rows change slowest */
        op(g, 13, k == 2 ? "Add" : "Relu", k == 2 ? "all,other" : "all", "r", 0);
        op(g, 13, "Reshape", "r,apart", k == 1 ? "y" : "u", 0);
        if (k != 1) op(g, 13, "Transpose", "u", "y", 0);
        output(g, "y");
        assert_int_equal(independent(g), k == 0);
    }
}

static void reshape_that_moves_the_batch_is_not_proved(void **state)
{
    qn_graph *g = new_graph();
    const int64_t turn[] = { 6, -1 };

    (void)state;
    input(g, "x", QN_F32, "N,6");
    ints(g, "turn", 2, turn);
    op(g, 13, "Reshape", "x,turn", "y", 0);
    output(g, "y");
    assert_false(independent(g));
}

static void the_number_of_rows_as_data_is_not_proved(void **state)
{
    qn_graph *g = new_graph();
    qn_node_id id;

    (void)state;
    input(g, "x", QN_F32, "N");
    op(g, 13, "Shape", "x", "s", 0);
    id = op(g, 13, "Cast", "s", "n", 1);
    attr_int(g, id, 0, "to", 1);
    op(g, 13, "Div", "x,n", "y", 0); /* x / N: an answer would depend on the batch it is in */
    output(g, "y");
    assert_false(independent(g));
}

static void a_class_token_is_repeated_for_every_row(void **state)
{
    qn_graph *g = new_graph();
    const int64_t t[] = { 1, 4 };

    (void)state;
    input(g, "x", QN_F32, "N,4");
    floats(g, "token", 2, t, 0);
    op(g, 13, "Shape", "x", "s", 0);
    op(g, 13, "Expand", "token,s", "rows", 0);
    op(g, 13, "Add", "rows,x", "y", 0);
    output(g, "y");
    assert_true(independent(g));
}

static void an_output_without_rows_is_not_independent(void **state)
{
    qn_graph *g = new_graph();
    const int64_t t[] = { 2, 4 };

    (void)state;
    input(g, "x", QN_F32, "N,4");
    floats(g, "w", 2, t, 0);
    op(g, 13, "Relu", "x", "y", 0);
    op(g, 13, "Relu", "w", "u", 0);
    output(g, "y");
    output(g, "u");
    assert_false(independent(g));
}

static void an_op_without_rows_ends_the_proof(void **state)
{
    qn_graph *g = new_graph();

    (void)state;
    input(g, "x", QN_F32, "N,4");
    op(g, 18, "ReduceMean", "x", "m", 0);
    op(g, 13, "Add", "m,x", "y", 0);
    output(g, "y");
    assert_false(independent(g));
}

static void random_rows_depend_on_their_place(void **state)
{
    qn_graph *g = new_graph();

    (void)state;
    input(g, "x", QN_F32, "N,4");
    op(g, 13, "RandomNormalLike", "x", "y", 0);
    output(g, "y");
    assert_false(independent(g));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_layered_net_is_independent),
        cmocka_unit_test(a_fixed_batch_is_not_proved),
        cmocka_unit_test(two_batch_symbols_are_not_proved),
        cmocka_unit_test(softmax_over_the_batch_mixes_rows),
        cmocka_unit_test(rows_against_a_constant_of_that_length_mix),
        cmocka_unit_test(broadcasting_rows_against_columns_mixes),
        cmocka_unit_test(reshape_by_its_own_shape_is_independent),
        cmocka_unit_test(heads_folded_behind_the_batch_stay_apart),
        cmocka_unit_test(a_batch_folded_behind_another_axis_is_found_again),
        cmocka_unit_test(reshape_that_moves_the_batch_is_not_proved),
        cmocka_unit_test(the_number_of_rows_as_data_is_not_proved),
        cmocka_unit_test(a_class_token_is_repeated_for_every_row),
        cmocka_unit_test(an_output_without_rows_is_not_independent),
        cmocka_unit_test(an_op_without_rows_ends_the_proof),
        cmocka_unit_test(random_rows_depend_on_their_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
