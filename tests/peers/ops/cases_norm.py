"""Normalizations and softmaxes."""
import numpy as np

from values import FLOATS, Values, cycle

SHAPES = [((2, 3, 4), None), ((2, 3, 4), 0), ((2, 3, 4), 1), ((2, 3, 4), 2), ((2, 3, 4), -1), ((5,), 0), ((3, 130), 1), ((130, 3), 0), ((67,), -1), ((2, 3, 5, 7), 1), ((2, 3, 5, 7), -2), ((1, 1), 1), ((0, 3), 1), ((3, 1, 4), 1)]


def softmaxes(S):
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        v = Values(op)
        for shape, axis in SHAPES:
            attrs = {} if axis is None else {"axis": axis}
            S.case(op, opset=13, attrs=attrs, inputs=[v.f(*shape, lo=-9, hi=9)])
            S.case(op, opset=21, attrs=attrs, inputs=[v.f(*shape, lo=-90, hi=90)])
            S.case(op, opset=11, attrs=attrs, inputs=[v.f(*shape, lo=-9, hi=9)])  # one matrix: what is before the axis, and the rest
            if axis is None or axis >= 0:
                S.case(op, opset=1, attrs=attrs, inputs=[v.f(*shape, lo=-9, hi=9)])
        for dtype in (np.float64, np.float16):
            S.case(op, opset=13, inputs=[v.f(5, 37, lo=-9, hi=9, dtype=dtype)])
        S.case(op, opset=13, inputs=[np.array([[0, 0, 0], [1, 2, 2], [-np.inf, 0, 1], [88, 300, -300]], np.float32)])


def batch_norm(S):
    v = Values("BatchNormalization")

    def stats(c, dtype=np.float32):
        return [v.f(c, lo=0.5, hi=2, dtype=dtype), v.f(c, dtype=dtype), v.f(c, dtype=dtype), v.f(c, lo=0.2, hi=3, dtype=dtype)]

    for n, shape in enumerate([(2, 3), (2, 3, 4), (2, 3, 4, 5), (1, 33, 7, 7), (2, 3, 2, 3, 4), (4, 1, 3), (0, 3, 4), (5, 130), (1, 1, 1, 1)]):
        for k, opset in enumerate((7, 9, 14, 15, 21)):
            attrs = {"epsilon": 1e-3} if k % 2 else {}
            S.case("BatchNormalization", opset=opset, attrs=attrs, inputs=[v.f(*shape), *stats(shape[1])], consts=[1, 2, 3, 4] if n % 2 else [])
    for dtype in (np.float64, np.float16):
        S.case("BatchNormalization", opset=14, inputs=[v.f(2, 3, 5, dtype=dtype), *stats(3, dtype)])
    S.case("BatchNormalization", opset=7, attrs={"momentum": 0.5}, inputs=[v.f(2, 3, 5), *stats(3)])
    for opset in (14, 15):
        for momentum in (0.9, 0.25):
            S.case("BatchNormalization", opset=opset, attrs={"training_mode": 1, "momentum": momentum}, inputs=[v.f(4, 3, 5), *stats(3)], n_out=3, tol="sum")


def layer_norm(S):
    v, opsets = Values("LayerNormalization"), cycle([17, 18, 21])
    for n, (shape, axis) in enumerate([((2, 3, 4), None), ((2, 3, 4), 0), ((2, 3, 4), 1), ((2, 3, 4), 2), ((2, 3, 4), -2), ((3, 130), 1), ((2, 5, 67), -1), ((1, 1), 1), ((2, 3, 4, 5), 2), ((0, 3), 1)]):
        inner = shape[-1 if axis is None else axis :]
        attrs = {**({} if axis is None else {"axis": axis}), **({"epsilon": 1e-2} if n % 2 else {})}
        S.case("LayerNormalization", opset=next(opsets), attrs=attrs, inputs=[v.f(*shape, lo=-3), v.f(*inner), v.f(*inner)], consts=[1, 2])
        S.case("LayerNormalization", opset=next(opsets), attrs=attrs, inputs=[v.f(*shape, lo=-3), v.f(*inner)])
        S.case("LayerNormalization", opset=next(opsets), attrs=attrs, inputs=[v.f(*shape, lo=-3), v.f(*inner), v.f(*inner)], n_out=3)
    for dtype in (np.float64, np.float16):
        S.case("LayerNormalization", opset=17, inputs=[v.f(3, 33, dtype=dtype), v.f(33, dtype=dtype), v.f(33, dtype=dtype)], tol="half" if dtype == np.float16 else "sum")
    S.case("LayerNormalization", opset=17, attrs={"axis": 1}, inputs=[v.f(3, 4, 5), v.f(5), v.f(4, 1)])  # scale and bias broadcast


def group_norm(S):
    v, tol = Values("GroupNormalization"), (1e-3, 1e-4)  # the peer's loses up to five digits against the same in double where values lie close
    for n, (shape, groups) in enumerate([((2, 4, 5), 2), ((1, 6, 3, 3), 3), ((2, 6, 3, 3), 1), ((2, 6, 3, 3), 6), ((3, 8, 2, 3, 2), 4), ((1, 32, 7, 7), 8), ((2, 4), 2), ((2, 4, 1), 4), ((0, 4, 3), 2), ((5, 64, 3), 16), ((1, 2, 130), 2), ((2, 12, 4, 5), 3)]):
        attrs = {"num_groups": groups, **({"epsilon": 1e-3} if n % 2 else {})}
        S.case("GroupNormalization", opset=18, attrs=attrs, inputs=[v.f(*shape), v.f(groups), v.f(groups)], tol=tol)
        S.case("GroupNormalization", opset=21, attrs=attrs, inputs=[v.f(*shape), v.f(shape[1]), v.f(shape[1])], consts=[1, 2], tol=tol)
        S.case("GroupNormalization", opset=21, attrs=attrs, inputs=[v.f(*shape, lo=3, hi=4), v.f(shape[1]), v.f(shape[1])], tol=tol)


def others(S):
    v, opsets = Values("norms"), cycle([6, 22])
    for n, shape in enumerate([(2, 3, 4), (2, 3, 4, 5), (1, 33, 7, 7), (2, 3, 2, 3, 4), (4, 1, 3), (1, 2, 130), (2, 3, 1)]):
        for k in range(3):
            S.case("InstanceNormalization", opset=next(opsets), attrs={"epsilon": 1e-2} if k else {}, inputs=[v.f(*shape, lo=-3 + 3 * k, hi=1 + 3 * k), v.f(shape[1]), v.f(shape[1])], consts=[1, 2] if k else [], tol="sum")
    opsets = cycle([1, 13])
    for shape in [(2, 3, 4, 5), (1, 9, 3, 3), (2, 1, 2, 2), (1, 33, 4, 5), (0, 3, 2, 2)]:
        for attrs in ({"size": 3}, {"size": 5, "alpha": 0.02, "beta": 0.5, "bias": 2.0}, {"size": 1, "alpha": 0.5}, {"size": 3, "beta": 1.0}, {"size": 7, "alpha": 0.1, "bias": 0.5}):
            S.case("LRN", opset=next(opsets), attrs=attrs, inputs=[v.f(*shape, lo=-3, hi=3)])
    opsets = cycle([1, 22])
    for n, (shape, axis) in enumerate([((2, 3, 4), None), ((2, 3, 4), 0), ((2, 3, 4), 1), ((2, 3, 4), -2), ((5,), 0), ((3, 130), 1), ((130, 3), 0), ((1, 1), 1), ((0, 3), 1), ((67,), -1), ((2, 3, 2, 3), 2)]):
        for p in (None, 1, 2):
            S.case("LpNormalization", opset=next(opsets), attrs={**({} if axis is None else {"axis": axis}), **({"p": p} if p else {})}, inputs=[v.f(*shape)])
    S.case("LpNormalization", opset=1, inputs=[v.f(3, 5, dtype=np.float64)])
    S.case("LpNormalization", opset=1, inputs=[np.array([[0, 0], [3, 4]], np.float32)])
    opsets = cycle([9, 13])
    for n, shape in enumerate([(2, 3, 4, 5), (1, 33, 7, 7), (2, 1, 3, 3), (3, 2, 4, 1), (2, 3, 1, 2)]):
        for axes in (None, [0, 2, 3], [2, 3], [1, 2, 3], [3]):
            if axes == [3] and shape[3] < 3:
                continue  # of one value: 0 over a deviation of 0
            S.case("MeanVarianceNormalization", opset=next(opsets), attrs={"axes": axes} if axes else {}, inputs=[v.f(*shape, lo=-2, hi=5)], tol="sum")


def cases(S):
    for family in (softmaxes, batch_norm, layer_norm, group_norm, others):
        family(S)
