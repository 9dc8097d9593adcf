"""Reductions over axes, places of the largest and smallest, running sums."""
import numpy as np

from values import FLOATS, INTS, Values, cycle, i64

# shape, axes (None: all)
AXES = [((2, 3, 4), None), ((2, 3, 4), [0]), ((2, 3, 4), [1]), ((2, 3, 4), [-1]), ((2, 3, 4), [0, 2]), ((2, 3, 4), [-2, -3]), ((5,), [0]), ((), None), ((67,), None), ((3, 130), [1]), ((130, 3), [0]),
        ((2, 3, 5, 7), [1, 2]), ((2, 3, 5, 7), [2, 3]), ((1, 1, 1), [1]), ((2, 3, 2, 3, 2), [0, 2, 4]), ((0, 3), [1]), ((4, 0), [0, 1]), ((1000,), [0])]  # fmt: skip
NOTHING = {"ReduceMax", "ReduceMin", "ReduceMean"}  # over no elements these have no value that ONNX names for every type
LOWEST_ONES = {"ReduceLogSum": 0.1, "ReduceProd": 0.5}


def reduction(S, op, as_input, dtypes):
    """as_input: the opset from which axes are an input."""
    v, old, new = Values(op), cycle([1, 11, 13 if as_input > 13 else 12]), cycle([as_input, max(as_input, 18), 21])
    lo = LOWEST_ONES.get(op, -2)
    tol = "sum" if op not in ("ReduceMax", "ReduceMin") else "exact"
    for n, (shape, axes) in enumerate(AXES):
        if 0 in shape and op in NOTHING and (axes is None or any(shape[a] == 0 for a in axes)):
            continue
        keep = {} if n % 3 == 0 else {"keepdims": n % 2}
        positive = axes is None or min(axes) >= 0
        S.case(op, opset=next(old) if positive else 11, attrs={**keep, **({"axes": axes} if axes else {})}, inputs=[v.f(*shape, lo=lo, hi=2)], tol=tol)
        S.case(op, opset=next(new), attrs=keep, inputs=[v.f(*shape, lo=lo, hi=2), *([i64(*axes)] if axes else [])], consts=[1] if n % 4 else [], tol=tol)
    for dtype in dtypes:
        x = v.f(3, 17, 5, lo=lo, hi=2, dtype=dtype) if np.dtype(dtype).kind == "f" else v.i((3, 3, 5), 1, 3, dtype) if dtype is not np.bool_ else v.any((3, 3, 5), dtype)
        S.case(op, opset=as_input if as_input == 13 else 20, inputs=[x, i64(1)], consts=[1], tol="sum16" if dtype == np.float16 else tol)
    for noop, axes in ((1, []), (0, []), (1, None), (0, None)):
        S.case(op, opset=as_input, attrs={"noop_with_empty_axes": noop}, inputs=[v.f(2, 3, lo=lo, hi=2), *([i64()] if axes is not None else [])], consts=[1], tol=tol)
    if op in ("ReduceSum", "ReduceProd", "ReduceLogSumExp", "ReduceLogSum", "ReduceL1", "ReduceL2", "ReduceSumSquare"):
        S.case(op, opset=as_input if as_input == 13 else 18, inputs=[v.f(3, 0, 2), i64(1)], consts=[1])
    special = v.rng.permutation(np.array([[1, 2, np.inf], [np.inf, 4, 5], [-1, 0, -0.0], [0.5, 2, 1e-30]], np.float32))
    S.case(op, opset=max(as_input, 18), inputs=[np.abs(special), i64(1)], consts=[1], tol=tol)


def places(S):
    for op in ("ArgMax", "ArgMin"):
        v, opsets = Values(op), cycle([12, 13, 21])
        for n, (shape, axis) in enumerate([((2, 3, 4), None), ((2, 3, 4), 0), ((2, 3, 4), 1), ((2, 3, 4), -1), ((5,), 0), ((67,), -1), ((3, 130), 1), ((130, 3), 0), ((2, 1, 4), 1), ((0, 3), 1), ((2, 3, 2, 3, 2), -3)]):
            for last in (None, 0, 1):
                attrs = {**({} if axis is None else {"axis": axis}), **({} if n % 3 == 0 else {"keepdims": n % 2}), **({} if last is None else {"select_last_index": last})}
                x = v.f(*shape) if n % 2 else v.i(shape, 0, 2, np.float32)  # with ties
                S.case(op, opset=next(opsets), attrs=attrs, inputs=[x])
            if axis is None or axis >= 0:
                S.case(op, opset=1, attrs={} if axis is None else {"axis": axis}, inputs=[v.f(*shape)])
        for dtype in FLOATS + INTS:
            S.case(op, opset=13, attrs={"axis": 1}, inputs=[v.any((5, 13), dtype)])


def cumsum(S):
    v, opsets = Values("CumSum"), cycle([11, 14, 21])
    for n, (shape, axis) in enumerate([((5,), 0), ((2, 3, 4), 0), ((2, 3, 4), 1), ((2, 3, 4), -1), ((2, 3, 4), -3), ((67,), 0), ((3, 130), 1), ((130, 3), 0), ((1, 1), 0), ((0, 3), 1), ((3, 0), 1)]):
        for exclusive in (0, 1):
            for reverse in (0, 1):
                attrs = {k: 1 for k, on in (("exclusive", exclusive), ("reverse", reverse)) if on}
                S.case("CumSum", opset=next(opsets), attrs=attrs, inputs=[v.f(*shape), np.array(axis, np.int64 if n % 2 else np.int32)], consts=[1] if n % 3 else [], tol="sum")
    for dtype in (np.float64, np.int32, np.int64):
        S.case("CumSum", opset=14, inputs=[v.any((3, 17), dtype), np.int64(1)], attrs={"reverse": 1})


def cases(S):
    for op in ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"):
        extra = [np.int32, np.int64, np.float64, np.float16] + ([np.int8, np.uint8, np.bool_] if op in ("ReduceMax", "ReduceMin") else [])
        reduction(S, op, 13 if op == "ReduceSum" else 18, extra)
    places(S)
    cumsum(S)
