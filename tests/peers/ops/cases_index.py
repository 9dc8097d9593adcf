"""Operators that look up, scatter, sort, select and find."""
import numpy as np

from values import FLOATS, INTS, TYPES, Values, cycle, i64

PLACES = [np.int64, np.int32]


def gather(S):
    v, opsets, types, places = Values("Gather"), cycle([1, 11, 13, 21]), cycle(TYPES), cycle(PLACES)
    for x, ix, axis in [
        ((5,), (), 0), ((5,), (3,), 0), ((5,), (2, 3), 0), ((5, 4), (), 0), ((5, 4), (3,), 0), ((5, 4), (3,), 1), ((5, 4), (), 1), ((5, 4), (2, 2), 1), ((3, 4, 5), (2,), 1), ((3, 4, 5), (2, 1), 2),
        ((3, 4, 5), (0,), 1), ((0, 4), (2,), 1), ((2, 3, 4, 5), (3,), 2), ((2, 3, 1, 5), (1,), 2), ((1000, 8), (17,), 0), ((3, 4, 5), (1, 1, 1), 0),
    ]:  # fmt: skip
        S.case("Gather", opset=next(opsets), attrs={"axis": axis}, inputs=[v.any(x, next(types)), v.i(ix, 0, x[axis] - 1, next(places))], consts=[])
        S.case("Gather", opset=next(opsets), attrs={"axis": axis} if axis else {}, inputs=[v.any(x), v.i(ix, 0, x[axis] - 1)], consts=[1])
        S.case("Gather", opset=[11, 13, 21][axis], attrs={"axis": axis - len(x)}, inputs=[v.any(x), v.i(ix, -x[axis], x[axis] - 1, next(places))], consts=[1] if axis else [0])


def gather_elements(S):
    v, opsets, types, places = Values("GatherElements"), cycle([11, 13, 21]), cycle(TYPES), cycle(PLACES)
    for x, ix, axis in [
        ((5,), (3,), 0), ((5,), (9,), 0), ((3, 4), (3, 4), 0), ((3, 4), (3, 4), 1), ((3, 4), (2, 4), 0), ((3, 4), (3, 7), 1), ((3, 4), (2, 3), 0), ((3, 4, 5), (3, 4, 2), 2), ((3, 4, 5), (3, 9, 5), 1), ((3, 4, 5), (1, 2, 3), 0),
        ((3, 4), (0, 4), 0), ((2, 3, 1, 4), (2, 3, 1, 9), 3), ((2, 3, 2, 2, 2), (2, 5, 2, 2, 2), 1),
    ]:  # fmt: skip
        S.case("GatherElements", opset=next(opsets), attrs={"axis": axis}, inputs=[v.any(x, next(types)), v.i(ix, -x[axis], x[axis] - 1, next(places))], consts=[])
        S.case("GatherElements", opset=next(opsets), attrs={"axis": axis - len(x)}, inputs=[v.any(x), v.i(ix, -x[axis], x[axis] - 1)], consts=[1])
    S.case("GatherElements", opset=13, inputs=[v.any((4, 2)), v.i((4, 2), 0, 3)], consts=[])


def gather_nd(S):
    v, opsets, types = Values("GatherND"), cycle([12, 13, 21]), cycle(TYPES)
    for x, ix, batch in [
        ((5,), (3, 1), 0), ((5, 4), (2,), 0), ((5, 4), (1,), 0), ((5, 4), (3, 2), 0), ((5, 4), (3, 1), 0), ((3, 4, 5), (2, 3, 2), 0), ((3, 4, 5), (2, 3), 0), ((3, 4, 5), (2, 1, 1), 0), ((3, 4, 5), (3, 1), 1), ((3, 4, 5), (3, 2), 1),
        ((3, 4, 5), (3, 6, 1), 1), ((3, 4, 5), (3, 4, 1), 2), ((3, 4, 5), (3, 4, 2, 1), 2), ((2, 3, 4, 5), (2, 2, 2), 1), ((3, 4), (0, 2), 0), ((2, 1, 3), (2, 1, 5, 1), 2),
    ]:  # fmt: skip
        n = ix[-1]
        top = np.array(x[batch : batch + n])
        places = v.rng.integers(-top, top, ix).astype(np.int64)
        if batch == 0:
            S.case("GatherND", opset=11, inputs=[v.any(x, next(types)), places], consts=[1])
        S.case("GatherND", opset=next(opsets), attrs={"batch_dims": batch}, inputs=[v.any(x, next(types)), places], consts=[])
        S.case("GatherND", opset=next(opsets), attrs={"batch_dims": batch} if batch else {}, inputs=[v.any(x), places], consts=[1])


def different(v, x, ix, axis):
    """Indices of which no two name the same place."""
    out = np.empty(ix, np.int64)
    for at in np.ndindex(*[1 if d == axis else n for d, n in enumerate(ix)]):
        at = tuple(slice(None) if d == axis else k for d, k in enumerate(at))
        out[at] = v.order(x[axis])[: ix[axis]]
    return np.where(v.rng.random(ix) < 0.3, out - x[axis], out)


SCATTERS = [
    ((5,), (3,), 0), ((5,), (5,), 0), ((3, 4), (3, 4), 0), ((3, 4), (3, 4), 1), ((3, 4), (2, 4), 0), ((3, 4), (1, 3), 1), ((3, 4), (3, 0), 1), ((3, 4, 5), (3, 4, 2), 2), ((3, 4, 5), (2, 3, 4), 1), ((3, 4, 5), (1, 2, 3), 0), ((2, 3, 2, 4), (2, 2, 1, 3), 3),
]  # fmt: skip


def scatter_elements(S):
    v, types, places = Values("ScatterElements"), cycle(TYPES), cycle(PLACES)
    for x, ix, axis in SCATTERS:
        at = different(v, x, ix, axis)
        for opset in (9, 10):
            dtype = next(types)
            S.case("Scatter", opset=opset, attrs={"axis": axis}, inputs=[v.any(x, dtype), np.where(at < 0, at + x[axis], at).astype(next(places)), v.any(ix, dtype)], consts=[])
        S.case("Scatter", opset=10, attrs={"axis": axis} if axis else {}, inputs=[v.any(x), np.where(at < 0, at + x[axis], at), v.any(ix)], consts=[1, 2])
        for opset in (11, 13):
            dtype = next(types)
            S.case("ScatterElements", opset=opset, attrs={"axis": axis}, inputs=[v.any(x, dtype), at.astype(next(places)), v.any(ix, dtype)], consts=[])
        S.case("ScatterElements", opset=13, attrs={"axis": axis - len(x)}, inputs=[v.any(x), at, v.any(ix)], consts=[1])
        many = v.i(ix, -x[axis], x[axis] - 1)
        for reduction, opset in (("none", 16), ("add", 16), ("mul", 16), ("add", 18), ("mul", 18), ("max", 18), ("min", 18), ("max", 21), ("min", 21)):
            dtype = next(cycle([np.float32])) if opset == 16 else next(types)
            if dtype is np.bool_:
                dtype = np.float32
            S.case("ScatterElements", opset=opset, attrs={"axis": axis, "reduction": reduction}, inputs=[v.any(x, dtype), at if reduction == "none" else many, v.any(ix, dtype)], consts=[])


def scatter_nd(S):
    v, types = Values("ScatterND"), cycle(TYPES)
    for x, ix in [((5,), (3, 1)), ((5, 4), (2,)), ((5, 4), (1,)), ((5, 4), (3, 2)), ((5, 4), (3, 1)), ((3, 4, 5), (2, 3, 2)), ((3, 4, 5), (2, 3)), ((3, 4, 5), (2, 1, 1)), ((3, 4), (0, 2)), ((2, 3, 2, 4), (3, 3)), ((2, 3, 2, 4), (2, 2, 2))]:
        n = ix[-1]
        top = np.array(x[:n])
        flat = v.order(int(np.prod(top)))[: int(np.prod(ix[:-1]))]
        at = np.stack(np.unravel_index(flat, top), -1).reshape(ix).astype(np.int64)
        at = np.where(v.rng.random(ix) < 0.3, at - top, at)
        updates = (*ix[:-1], *x[n:])
        for opset in (11, 13):
            dtype = next(types)
            S.case("ScatterND", opset=opset, inputs=[v.any(x, dtype), at, v.any(updates, dtype)], consts=[])
        S.case("ScatterND", opset=13, inputs=[v.any(x), at, v.any(updates)], consts=[1])
        many = v.rng.integers(-top, top, ix).astype(np.int64)
        for reduction, opset in (("none", 16), ("add", 16), ("mul", 16), ("add", 18), ("mul", 18), ("max", 18), ("min", 18), ("max", 21), ("min", 21)):
            dtype = next(types) if opset == 18 else np.float32
            if dtype is np.bool_:
                dtype = np.float32
            S.case("ScatterND", opset=opset, attrs={"reduction": reduction}, inputs=[v.any(x, dtype), at if reduction == "none" else many, v.any(updates, dtype)], consts=[])


def one_hot(S):
    v, opsets = Values("OneHot"), cycle([9, 11, 13, 21])
    for ix, depth in [((3,), 5), ((), 4), ((2, 3), 4), ((2, 3, 2), 3), ((0, 3), 4), ((4,), 1), ((7,), 20)]:
        for axis in [None, *range(-len(ix) - 1, len(ix) + 1)]:
            attrs = {} if axis is None else {"axis": axis}
            for it, dt, vt in ((np.int64, np.int64, np.float32),):
                S.case("OneHot", opset=next(opsets), attrs=attrs, inputs=[v.i(ix, -depth - 2, depth + 1, it), np.array(depth, dt), v.any((2,), vt)], consts=[1])
    for it, dt, vt in ((np.int32, np.int32, np.int32), (np.float32, np.float32, np.float32), (np.int64, np.int32, np.float32), (np.int32, np.float32, np.int32), (np.int64, np.float32, np.int64), (np.int64, np.int64, np.int32), (np.float32, np.int64, np.int64)):
        S.case("OneHot", opset=11, inputs=[v.i((2, 3), 0, 5, it), np.array(4, dt), v.any((2,), vt)], consts=[1])
        S.case("OneHot", opset=13, attrs={"axis": 1}, inputs=[v.i((2, 3), -4, 3, it), np.array([4], dt), v.any((2,), vt)], consts=[])


def eye_like(S):
    v, opsets = Values("EyeLike"), cycle([9, 13, 21])
    codes = {1: np.float32, 11: np.float64, 6: np.int32, 7: np.int64, 13: np.uint64}
    for x in [(3, 3), (2, 5), (5, 2), (1, 1), (4, 7)]:
        for k in (0, 1, -1, 3, -9):
            S.case("EyeLike", opset=next(opsets), attrs={"k": k} if k else {}, inputs=[v.any(x, codes[[1, 11, 6, 7, 13][k % 5]])])
        for code in codes:
            S.case("EyeLike", opset=next(opsets), attrs={"dtype": code, "k": int(v.i((), -2, 2))}, inputs=[v.any(x, np.float32)])


def non_zero(S):
    v, opsets = Values("NonZero"), cycle([9, 13, 21])
    for x in [(7,), (), (3, 4), (2, 3, 4), (0, 3), (1, 1), (2, 3, 2, 3)]:
        for dtype in (np.bool_, np.float32, np.int32, np.int64, np.uint8):
            S.case("NonZero", opset=next(opsets), inputs=[v.i(x, 0, 1, dtype)], consts=[])
    for fill in (0, 1):
        S.case("NonZero", opset=13, inputs=[np.full((3, 4), fill, np.float32)], consts=[])
    S.case("NonZero", opset=13, inputs=[np.array([[np.nan, -0.0], [np.inf, 1e-30]], np.float32)], consts=[])


def compress(S):
    v, opsets, types = Values("Compress"), cycle([9, 11, 13, 21]), cycle(TYPES)
    for x in [(7,), (3, 4), (2, 3, 4), (0, 3), (1, 5, 2, 2)]:
        for axis in range(len(x)):
            for n in (x[axis], max(x[axis] - 1, 1)):
                if x[axis]:
                    S.case("Compress", opset=next(opsets), attrs={"axis": axis}, inputs=[v.any(x, next(types)), v.rng.random(n) < 0.6], consts=[])
            if x[axis]:
                S.case("Compress", opset=11, attrs={"axis": axis - len(x)}, inputs=[v.any(x), v.rng.random(x[axis]) < 0.6], consts=[1])
        total = int(np.prod(x))
        for n in {total, total // 2} - {0}:
            S.case("Compress", opset=next(opsets), inputs=[v.any(x, next(types)), v.rng.random(n) < 0.6], consts=[])
    S.case("Compress", opset=11, attrs={"axis": 1}, inputs=[v.any((3, 4)), np.zeros(4, bool)], consts=[])


def topk(S):
    v = Values("TopK")
    late = cycle([11, 13, 21])
    types = cycle([np.float32, np.int64, np.float64, np.int32])
    for x, axis, k in [((7,), 0, 3), ((7,), 0, 7), ((7,), 0, 0), ((1,), 0, 1), ((3, 8), 1, 2), ((3, 8), 0, 2), ((2, 3, 9), 2, 4), ((2, 5, 3), 1, 5), ((6, 2, 2), 0, 3), ((2, 300), 1, 17), ((1, 1000), 1, 1000), ((0, 5), 1, 2), ((2, 3, 4, 5), 2, 2)]:
        data = v.any(x)
        S.case("TopK", opset=1, attrs={"k": k, "axis": axis} if k else {"k": 1, "axis": axis}, inputs=[data], n_out=2)
        S.case("TopK", opset=10, attrs={"axis": axis}, inputs=[v.any(x, np.float32), i64(k)], n_out=2, consts=[1])
        S.case("TopK", opset=10, attrs={"axis": axis - len(x)} if axis == len(x) - 1 else {"axis": axis}, inputs=[v.any(x, np.float64), i64(k)], n_out=2, consts=[])
        for largest in (0, 1):
            S.case("TopK", opset=next(late), attrs={"axis": axis, "largest": largest}, inputs=[v.any(x, next(types)), i64(k)], n_out=2, consts=[1])
            S.case("TopK", opset=next(late), attrs={"axis": axis - len(x), "largest": largest, "sorted": 1}, inputs=[v.any(x, next(types)), i64(k)], n_out=2, consts=[])
        ties = v.i(x, 0, 2, next(types))
        S.case("TopK", opset=next(late), attrs={"axis": axis, "largest": k % 2}, inputs=[ties, i64(k)], n_out=2, consts=[1])
    S.case("TopK", opset=11, inputs=[v.any((3, 5)), i64(2)], n_out=2, consts=[1])


def unique(S):
    v, opsets = Values("Unique"), cycle([11, 13, 21])
    types = cycle([np.float32, np.float64, np.int64, np.int8])
    for x, axis in [((9,), None), ((9,), 0), ((9,), -1), ((1,), None), ((3, 4), None), ((6, 2), 0), ((2, 6), 1), ((2, 6), -1), ((4, 2, 2), 0), ((2, 5, 1), 1), ((2, 2, 2), None), ((0,), None)]:
        for order in (None, 0, 1):
            attrs = {**({} if axis is None else {"axis": axis}), **({} if order is None else {"sorted": order})}
            S.case("Unique", opset=next(opsets), attrs=attrs, inputs=[v.i(x, 0, 2, next(types))], n_out=4, consts=[])
        S.case("Unique", opset=next(opsets), attrs=attrs, inputs=[v.i(x, -1, 1, next(types))], n_out=1, consts=[])


def trilu(S):
    v, opsets = Values("Trilu"), cycle([14, 21])
    types = cycle([np.float32, np.float64, np.int64, np.int32, np.bool_, np.uint8, np.float16])
    for x in [(3, 3), (2, 5), (5, 2), (2, 3, 4), (1, 1), (2, 2, 3, 3), (0, 4), (33, 17)]:
        for upper in (None, 0, 1):
            attrs = {} if upper is None else {"upper": upper}
            S.case("Trilu", opset=next(opsets), attrs=attrs, inputs=[v.any(x, next(types))], consts=[])
            for k in (1, -1, 2, -9, 9):
                S.case("Trilu", opset=next(opsets), attrs=attrs, inputs=[v.any(x, [np.float32, np.float64, np.int64][k % 3]), np.array(k, np.int64)], consts=[1] if k != 2 else [])


def non_max_suppression(S):
    v, opsets = Values("NonMaxSuppression"), cycle([10, 11, 13, 21])
    for batch, classes, n in [(1, 1, 6), (1, 2, 9), (2, 1, 12), (2, 3, 20), (1, 1, 1), (1, 1, 50)]:
        for centre in (0, 1):
            a, b = v.f(batch, n, 2, lo=0, hi=6), v.f(batch, n, 2, lo=0.5, hi=4)
            boxes = np.concatenate([a, b if centre else a + b], -1)
            if not centre and n > 3:
                boxes[:, 1] = boxes[:, 1, [2, 3, 0, 1]]  # corners in the other order
            scores = v.f(batch, classes, n, lo=0, hi=1)
            attrs = {"center_point_box": 1} if centre else {}
            for most, iou, least in [(3, 0.5, 0.0), (100, 0.3, 0.25), (1, 0.9, None), (5, None, None), (0, 0.5, 0.1), (4, 0.0, 0.5), (7, 1.0, 0.9)]:
                extra = [i64(most)] + [None if t is None else np.array([t], np.float32) for t in (iou, least)]
                while extra[-1] is None:
                    extra.pop()
                S.case("NonMaxSuppression", opset=next(opsets), attrs=attrs, inputs=[boxes, scores, *extra], consts=[2, 3, 4] if most % 2 else [])
    S.case("NonMaxSuppression", opset=11, inputs=[boxes, scores], consts=[])
    S.case("NonMaxSuppression", opset=11, inputs=[boxes[:, :0], scores[:, :, :0], i64(3)], consts=[2])


def cases(S):
    for family in (gather, gather_elements, gather_nd, scatter_elements, scatter_nd, one_hot, eye_like, non_zero, compress, topk, unique, trilu, non_max_suppression):
        family(S)
