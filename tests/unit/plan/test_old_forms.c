/* tests/unit/plan/test_old_forms.c - forms of old opsets that no newer node says in one attribute, in whole models. */
#include "tests/unit/plan/model_file.h"

#define ROWS 7
#define COLS 3

/* Resize 10 to the nearest: 0.7 of the rows, rounded up; twice the columns, rounded down. */
static void shrunk_and_enlarged(bool constant)
{
    const float scales[2] = { 0.7f, 2 };
    const int from_row[4] = { 0, 2, 3, 5 }; /* 0, 1.43, 2.86, 4.29 */
    float x[ROWS][COLS], want[4][2 * COLS], given[2] = { 0.7f, 2 };
    mf m = { .opset = 10 };
    qn_model *model;
    qn_session *s;
    qn_tensor in[2] = { { .dtype = QN_F32, .rank = 2, .dims = { ROWS, COLS }, .data = x, .bytes = sizeof x }, F32(given, 2) }, out;

    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < COLS; k++) x[i][k] = (float)(10 * i + k);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 2 * COLS; k++) want[i][k] = x[from_row[i]][k / 2];
    mf_in(&m, "x", ONNX_FLOAT, 2, (int64_t[]){ ROWS, COLS });
    if (constant)
        mf_f32(&m, "scales", 1, (int64_t[]){ 2 }, scales);
    else
        mf_in(&m, "scales", ONNX_FLOAT, 1, (int64_t[]){ 2 });
    mf_node(&m, "Resize", "x,scales", "y");
    mf_out(&m, "y");
    model = mf_load(&m, NULL);
    s = session_ok(model);
    run_ok(s, in, &out);
    assert_int_equal(out.dims[0], 4);
    assert_int_equal(out.dims[1], 2 * COLS);
    assert_memory_equal(out.data, want, sizeof want);
    qn_session_destroy(s);
    qn_model_unref(model);
}

static void resize_10_rounds_each_axis_its_own_way(void **state)
{
    (void)state;
    shrunk_and_enlarged(true);
    shrunk_and_enlarged(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resize_10_rounds_each_axis_its_own_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
