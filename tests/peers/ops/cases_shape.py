"""Operators that move, repeat, cut and join: the values stay, the shape changes."""
import numpy as np

from values import FLOATS, INTS, TYPES, Values, cycle, i64


def reshape(S):
    v, opsets, types = Values("Reshape"), cycle([5, 13, 14, 19, 21]), cycle(TYPES)
    for x, shape in [
        ((2, 3, 4), [6, 4]), ((2, 3, 4), [-1]), ((2, 3, 4), [0, -1]), ((2, 3, 4), [0, 0, 2, 2]), ((2, 3, 4), [4, -1, 2]), ((2, 3, 4), [1, 2, 1, 3, 4, 1]),
        ((1,), []), ((), [1, 1]), ((), [-1]), ((0, 3), [0, 3]), ((0, 3), [3, 0]), ((2, 0, 4), [0, 0, -1, 4]), ((0, 3, 4), [-1, 12]), ((1, 24), [2, -1, 3]), ((5, 7), [7, 5]),
        ((2, 3, 4, 5), [0, 0, 20]), ((2, 3, 4, 5), [0, -1, 5]), ((3, 1, 2), [3, 2]), ((2, 6), [0, 3, 2]), ((64, 3), [8, 8, -1]),
    ]:  # fmt: skip
        S.case("Reshape", opset=next(opsets), inputs=[v.any(x, next(types)), np.array(shape, np.int64)], consts=[1])
        S.case("Reshape", opset=next(opsets), inputs=[v.any(x), np.array(shape, np.int64)], consts=[])
        S.case("Reshape", opset=1, attrs={"shape": shape}, inputs=[v.any(x)])
    for x, shape in [((0, 3), [3, 0]), ((2, 0), [0, 5]), ((0, 3, 4), [4, 0, 7]), ((2, 3), [3, 2]), ((2, 3), [-1, 2])]:
        S.case("Reshape", opset=14, attrs={"allowzero": 1}, inputs=[v.any(x), np.array(shape, np.int64)], consts=[1])
        S.case("Reshape", opset=21, attrs={"allowzero": 1}, inputs=[v.any(x), np.array(shape, np.int64)], consts=[])


def flatten(S):
    v, opsets, types = Values("Flatten"), cycle([9, 11, 13, 21]), cycle(TYPES)
    for x in [(2, 3, 4), (5,), (2, 3), (1, 1, 1, 1), (2, 0, 3), (0, 2), (2, 3, 4, 5), (2, 1, 3, 1, 2, 1)]:
        for axis in range(len(x) + 1):
            S.case("Flatten", opset=next(opsets), attrs={"axis": axis}, inputs=[v.any(x, next(types))])
            S.case("Flatten", opset=1, attrs={"axis": axis}, inputs=[v.any(x)])
        for axis in range(-len(x), 0):
            S.case("Flatten", opset=[11, 13, 21][axis % 3], attrs={"axis": axis}, inputs=[v.any(x)])
        S.case("Flatten", opset=next(opsets), inputs=[v.any(x)])
    S.case("Flatten", opset=13, attrs={"axis": 0}, inputs=[v.any(())])


def squeeze(S):
    v, types = Values("Squeeze"), cycle(TYPES)
    for x, axes in [
        ((1, 3, 1, 4), [0]), ((1, 3, 1, 4), [2]), ((1, 3, 1, 4), [0, 2]), ((1, 3, 1, 4), None), ((1, 1, 1), [0, 1, 2]), ((1,), [0]), ((1,), None), ((2, 3), None),
        ((0, 1), [1]), ((1, 0, 1), None), ((2, 1, 3, 1, 1), [3, 4]), ((2, 1, 3, 1, 1), [4, 1]),
    ]:  # fmt: skip
        for opset in (1, 11):
            S.case("Squeeze", opset=opset, attrs={"axes": axes} if axes else {}, inputs=[v.any(x, next(types))])
        S.case("Squeeze", opset=13, inputs=[v.any(x, next(types))] + ([i64(*axes)] if axes else []), consts=[1])
        S.case("Squeeze", opset=21, inputs=[v.any(x)] + ([i64(*axes)] if axes else []), consts=[])
        if axes:
            negative = [a - len(x) for a in axes]
            S.case("Squeeze", opset=11, attrs={"axes": negative}, inputs=[v.any(x)])
            S.case("Squeeze", opset=13, inputs=[v.any(x), i64(*negative)], consts=[1])


def unsqueeze(S):
    v, types = Values("Unsqueeze"), cycle(TYPES)
    for x, axes in [((3, 4), [0]), ((3, 4), [1]), ((3, 4), [2]), ((3, 4), [0, 3]), ((3, 4), [1, 2, 4]), ((), [0]), ((), [0, 1]), ((0, 2), [1]), ((5,), [2, 0]), ((2, 3, 4), [5, 1, 0])]:
        for opset in (1, 11):
            S.case("Unsqueeze", opset=opset, attrs={"axes": axes}, inputs=[v.any(x, next(types))])
        S.case("Unsqueeze", opset=13, inputs=[v.any(x, next(types)), i64(*axes)], consts=[1])
        S.case("Unsqueeze", opset=21, inputs=[v.any(x), i64(*axes)], consts=[])
        negative = [a - len(x) - len(axes) for a in axes]
        S.case("Unsqueeze", opset=11, attrs={"axes": negative}, inputs=[v.any(x)])
        S.case("Unsqueeze", opset=13, inputs=[v.any(x), i64(*negative)], consts=[1])


def transpose(S):
    v, opsets, types = Values("Transpose"), cycle([1, 13, 21]), cycle(TYPES)
    for x, perm in [
        ((3, 4), None), ((2, 3, 4), None), ((5,), None), ((), None), ((2, 3, 4), [0, 1, 2]), ((2, 3, 4), [0, 2, 1]), ((2, 3, 4), [1, 0, 2]), ((2, 3, 4), [2, 0, 1]), ((2, 3, 4), [1, 2, 0]),
        ((2, 3, 4, 5), [0, 2, 3, 1]), ((2, 3, 4, 5), [0, 3, 1, 2]), ((2, 3, 4, 5), [3, 1, 0, 2]), ((2, 3, 4, 5), [0, 2, 1, 3]), ((1, 3, 1, 5), [3, 2, 1, 0]), ((0, 3, 2), [2, 0, 1]),
        ((2, 1, 3, 2, 2), [4, 2, 0, 1, 3]), ((2, 1, 3, 2, 2), None), ((2, 2, 3, 2, 1, 2), [5, 0, 3, 1, 4, 2]), ((33, 65), [1, 0]), ((3, 64, 17), [0, 2, 1]), ((1, 7), [1, 0]),
    ]:  # fmt: skip
        for _ in range(2):
            S.case("Transpose", opset=next(opsets), attrs={"perm": perm} if perm is not None else {}, inputs=[v.any(x, next(types))])


def concat(S):
    v, opsets, types = Values("Concat"), cycle([4, 11, 13, 21]), cycle(TYPES)
    for shapes, axis in [
        ([(3,)], 0), ([(3,), (4,)], 0), ([(2, 3), (2, 3)], 0), ([(2, 3), (2, 4)], 1), ([(2, 3), (1, 3), (4, 3)], 0), ([(2, 3, 4)] * 4, 2), ([(2, 1, 4), (2, 5, 4)], 1),
        ([(2, 0, 4), (2, 5, 4)], 1), ([(0,), (0,)], 0), ([(2, 3, 1, 2)] * 3, 3), ([(2, 3, 1, 2)] * 3, 0), ([(1, 2, 3, 4, 5), (1, 2, 7, 4, 5)], 2), ([(1, 1)] * 9, 1), ([(0, 3), (0, 2)], 1),
    ]:  # fmt: skip
        for consts in ([], [0]):
            dtype = next(types)
            S.case("Concat", opset=next(opsets), attrs={"axis": axis}, inputs=[v.any(s, dtype) for s in shapes], consts=consts if len(shapes) > 1 else [])
        S.case("Concat", opset=[11, 13][axis % 2], attrs={"axis": axis - len(shapes[0])}, inputs=[v.any(s) for s in shapes])
    S.case("Concat", opset=1, inputs=[v.any((2, 3)), v.any((2, 4))])
    S.case("Concat", opset=1, attrs={"axis": 0}, inputs=[v.any((2, 3)), v.any((4, 3))])


def split(S):
    v, types = Values("Split"), cycle(TYPES)
    for x, axis, lengths in [
        ((6,), 0, [2, 4]), ((6, 2), 0, [1, 2, 3]), ((2, 6), 1, [3, 3]), ((2, 6, 3), 1, [1, 0, 5]), ((2, 3, 4), 2, [4]), ((2, 3, 4), 2, [1, 1, 1, 1]), ((0, 4), 1, [1, 3]), ((0, 4), 0, [0, 0]),
        ((1, 7, 2, 3), 1, [3, 2, 2]), ((5, 1, 2, 2, 3), 0, [4, 1]),
    ]:  # fmt: skip
        n = len(lengths)
        S.case("Split", opset=2, attrs={"axis": axis, "split": lengths}, inputs=[v.any(x)], n_out=n)
        S.case("Split", opset=11, attrs={"axis": axis - len(x), "split": lengths}, inputs=[v.any(x)], n_out=n)
        S.case("Split", opset=13, attrs={"axis": axis}, inputs=[v.any(x, next(types)), i64(*lengths)], n_out=n, consts=[1])
        S.case("Split", opset=18, attrs={"axis": axis - len(x)}, inputs=[v.any(x, next(types)), i64(*lengths)], n_out=n, consts=[1])
        S.case("Split", opset=21, attrs={"axis": axis}, inputs=[v.any(x), i64(*lengths)], n_out=n, consts=[])
    for x, axis, n in [((6,), 0, 3), ((6, 2), 0, 2), ((2, 6), 1, 6), ((2, 3, 8), -1, 4), ((0, 3), 0, 2), ((4, 0), 0, 1)]:
        for opset in (2, 11, 13):
            S.case("Split", opset=opset, attrs={"axis": axis} if axis >= 0 or opset > 2 else {"axis": axis + len(x)}, inputs=[v.any(x, next(types))], n_out=n)
        S.case("Split", opset=18, attrs={"axis": axis, "num_outputs": n}, inputs=[v.any(x, next(types))], n_out=n)
    for x, axis, n in [((7,), 0, 2), ((7, 2), 0, 3), ((2, 10), 1, 4), ((2, 3, 8), -1, 3), ((5,), 0, 5), ((5,), 0, 1)]:
        S.case("Split", opset=18, attrs={"axis": axis, "num_outputs": n}, inputs=[v.any(x, next(types))], n_out=n)
        S.case("Split", opset=21, attrs={"axis": axis, "num_outputs": n}, inputs=[v.any(x)], n_out=n)
    S.case("Split", opset=2, inputs=[v.any((4, 3))], n_out=2)
    S.case("Split", opset=13, inputs=[v.any((4, 3))], n_out=4)
    S.case("Split", opset=18, attrs={"num_outputs": 3}, inputs=[v.any((4, 3))], n_out=3)


BIG = np.iinfo(np.int64).max


def slice_(S):
    v, opsets, types = Values("Slice"), cycle([10, 11, 13, 21]), cycle(TYPES)
    for x, starts, ends, axes in [
        ((10,), [2], [7], None), ((10,), [-7], [-2], None), ((10,), [0], [BIG], None), ((10,), [-100], [100], None), ((10,), [5], [5], None), ((10,), [7], [2], None),
        ((4, 5), [1, 0], [3, 4], None), ((4, 5), [1], [-1], [1]), ((4, 5), [0, 1], [2, 3], [1, 0]), ((4, 5, 6), [1, 2], [3, 5], [0, 2]), ((4, 5, 6), [-3], [BIG], [1]),
        ((0, 3), [0], [2], [1]), ((2, 3, 4, 5), [0, 0, 1, 2], [2, 1, 3, 4], [0, 1, 2, 3]),
    ]:  # fmt: skip
        S.case("Slice", opset=1, attrs={"starts": starts, "ends": ends, **({"axes": axes} if axes else {})}, inputs=[v.any(x, next(types))])
        extra = [i64(*axes)] if axes else []
        S.case("Slice", opset=next(opsets), inputs=[v.any(x, next(types)), i64(*starts), i64(*ends), *extra], consts=[1, 2, 3])
        S.case("Slice", opset=next(opsets), inputs=[v.any(x), i64(*starts), i64(*ends), *extra], consts=[])
        if axes:
            negative = np.array(axes, np.int32) - len(x)
            S.case("Slice", opset=13, inputs=[v.any(x), np.array(starts, np.int32), np.array(np.minimum(ends, 2**31 - 1), np.int32), negative], consts=[1, 2, 3])
    for x, starts, ends, axes, steps in [
        ((10,), [0], [10], [0], [3]), ((10,), [9], [0], [0], [-1]), ((10,), [-1], [-BIG], [0], [-1]), ((10,), [BIG], [-BIG - 1], [0], [-2]), ((10,), [8], [-20], [0], [-3]), ((10,), [20], [3], [0], [-1]),
        ((10,), [2], [9], [0], [20]), ((10,), [3], [8], [0], [-1]), ((4, 5), [3, 0], [0, 5], [0, 1], [-2, 2]), ((4, 5), [0, -1], [4, -6], [0, 1], [2, -1]), ((4, 5, 6), [5, 0], [-7, 4], [2, 0], [-1, 3]),
        ((4, 5, 6), [0], [BIG], [-1], [2]), ((2, 3, 4, 5), [1, 3], [5, -BIG], [3, 2], [1, -1]), ((3, 0), [2], [-4], [0], [-1]), ((7, 2), [6], [0], [0], [-2]), ((1, 9), [-2], [1], [1], [-1]),
    ]:  # fmt: skip
        S.case("Slice", opset=next(opsets), inputs=[v.any(x, next(types)), i64(*starts), i64(*ends), i64(*axes), i64(*steps)], consts=[1, 2, 3, 4])
        S.case("Slice", opset=next(opsets), inputs=[v.any(x), i64(*starts), i64(*ends), i64(*axes), i64(*steps)], consts=[])
    S.case("Slice", opset=13, inputs=[v.any((6, 7)), i64(5, 6), i64(-9, -9), None, i64(-1, -2)], consts=[1, 2, 4])


def pad(S):
    v, opsets, types = Values("Pad"), cycle([11, 13, 18, 19, 21]), cycle(FLOATS + [np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64, np.bool_])
    shapes = [
        ((5,), [2, 3]), ((3, 4), [1, 0, 2, 3]), ((3, 4), [0, 2, 0, 1]), ((3, 4), [2, 3, 2, 3]), ((2, 3, 4), [1, 0, 2, 0, 1, 3]), ((1, 2, 5, 4), [0, 0, 1, 2, 0, 0, 3, 1]), ((1, 2, 4, 3, 3), [0, 0, 1, 0, 2, 0, 0, 2, 1, 1]),
        ((6, 5), [-1, 0, -2, 1]), ((6, 5), [-2, 2, 1, -1]), ((4, 5), [0, 0, 0, 0]),
    ]  # fmt: skip
    for x, pads in shapes:
        for mode in ("constant", "reflect", "edge"):
            extra = {"value": 1.5} if mode == "constant" else {}
            S.case("Pad", opset=2, attrs={"mode": mode, "pads": pads, **extra}, inputs=[v.any(x)])
            S.case("Pad", opset=next(opsets), attrs={"mode": mode}, inputs=[v.any(x, next(types)), i64(*pads)], consts=[1])
        S.case("Pad", opset=19, attrs={"mode": "wrap"}, inputs=[v.any(x), i64(*pads)], consts=[1])
        dtype = next(types)
        S.case("Pad", opset=next(opsets), inputs=[v.any(x, dtype), i64(*pads), np.array(3, dtype)], consts=[1, 2])
        S.case("Pad", opset=next(opsets), inputs=[v.any(x), i64(*pads), np.float32(-2.5)], consts=[])
        S.case("Pad", opset=next(opsets), inputs=[v.any(x), i64(*pads)], consts=[])
    for axes in ([0], [1, 3], [-1], [3, 2], [-2, -1], [0, 1, 2, 3]):
        for mode in ("constant", "reflect", "edge", "wrap"):
            S.case("Pad", opset=19 if mode == "wrap" else 18, attrs={"mode": mode}, inputs=[v.any((2, 3, 4, 5)), v.i((2 * len(axes),), 0, 1), None, i64(*axes)], consts=[1, 3])
        S.case("Pad", opset=21, inputs=[v.any((2, 3, 4, 5)), v.i((2 * len(axes),), 0, 4), np.float32(7), i64(*axes)], consts=[1, 2, 3])
        S.case("Pad", opset=21, inputs=[v.any((2, 3, 4, 5)), v.i((2 * len(axes),), -1, 2), np.float32(7), np.array(axes, np.int32)], consts=[])
    S.case("Pad", opset=13, inputs=[v.any((0, 3)), i64(1, 0, 2, 1)], consts=[1])
    S.case("Pad", opset=13, inputs=[v.any(()), np.zeros(0, np.int64)], consts=[1])
    S.case("Pad", opset=13, attrs={"mode": "edge"}, inputs=[v.any((2, 2)), i64(5, 4, 3, 6)], consts=[1])


def tile(S):
    v, opsets, types = Values("Tile"), cycle([6, 13, 21]), cycle([np.float32, np.float64] + [t for t in INTS if np.dtype(t).itemsize != 2] + [np.bool_])
    for x, repeats in [
        ((3,), [2]), ((3,), [1]), ((3,), [0]), ((2, 3), [2, 2]), ((2, 3), [1, 4]), ((2, 3), [3, 1]), ((1, 1), [5, 7]), ((2, 3, 4), [1, 2, 1]), ((2, 3, 4), [2, 1, 3]), ((2, 3, 4), [1, 1, 1]), ((2, 3, 4), [1, 0, 2]),
        ((0, 3), [2, 2]), ((1, 2, 1, 3), [2, 2, 3, 2]), ((2, 1, 2, 1, 2), [1, 3, 1, 2, 2]), ((), []),
    ]:  # fmt: skip
        S.case("Tile", opset=next(opsets), inputs=[v.any(x, next(types)), i64(*repeats)], consts=[1])
        S.case("Tile", opset=next(opsets), inputs=[v.any(x, next(types)), i64(*repeats)], consts=[])


def expand(S):
    v, opsets, types = Values("Expand"), cycle([8, 13, 21]), cycle([t for t in TYPES if t not in (np.int16, np.uint16)])
    for x, shape in [
        ((3,), [3]), ((1,), [5]), ((3, 1), [3, 4]), ((3, 1), [2, 1, 6]), ((1, 4), [3, 1]), ((3, 4), [1]), ((3, 4), [1, 1]), ((), [2, 3]), ((), []), ((2, 1, 3), [2, 5, 1]), ((1, 3), [0, 3]), ((0, 1), [0, 4]), ((0, 1), [1, 4]),
        ((1, 1, 1), [2, 3, 4]), ((2, 3, 4), [5, 1, 1, 1, 4]), ((2, 1, 3, 1), [1, 4, 1, 5]), ((33,), [7, 33]), ((17, 1), [17, 19]),
    ]:  # fmt: skip
        S.case("Expand", opset=next(opsets), inputs=[v.any(x, next(types)), np.array(shape, np.int64)], consts=[1])
        S.case("Expand", opset=next(opsets), inputs=[v.any(x, next(types)), np.array(shape, np.int64)], consts=[])


def shape_size(S):
    v, types = Values("Shape"), cycle(TYPES)
    shapes = [(2, 3, 4), (5,), (), (0, 3), (1, 1, 1, 1), (2, 0, 7), (2, 3, 4, 5, 6)]
    for x in shapes:
        for opset in (1, 13, 15, 19, 21):
            S.case("Shape", opset=opset, inputs=[v.any(x, next(types))])
        for opset in (1, 13, 19, 21):
            S.case("Size", opset=opset, inputs=[v.any(x, next(types))])
    for x in shapes[:2] + shapes[4:]:
        for attrs in ({"start": 1}, {"end": 1}, {"start": -2}, {"end": -1}, {"start": 1, "end": 3}, {"start": -9, "end": 9}, {"start": 2, "end": 1}, {"start": 7}):
            S.case("Shape", opset=[15, 19, 21][len(x) % 3], attrs=attrs, inputs=[v.any(x)])


def constant_of_shape(S):
    v, opsets = Values("ConstantOfShape"), cycle([9, 20, 21])
    for shape in ([3], [2, 3], [], [0], [2, 0, 3], [1, 1, 1, 2], [7, 5, 3]):
        for dtype in (None, *TYPES[:3], np.int64, TYPES[3 + sum(shape) % 9]):
            attrs = {} if dtype is None else {"value": v.any((1,), dtype)}
            S.case("ConstantOfShape", opset=next(opsets), attrs=attrs, inputs=[np.array(shape, np.int64)], consts=[0])
            S.case("ConstantOfShape", opset=next(opsets), attrs=attrs, inputs=[np.array(shape, np.int64)], consts=[])


def range_(S):
    opsets = cycle([11, 13, 21])
    for a, b, d in [(0, 5, 1), (3, 17, 4), (10, 0, -3), (0, 0, 1), (5, 2, 1), (2, 5, -1), (-7, 8, 2), (0, 1000, 7), (-5, -20, -4), (1, 2, 1)]:
        for dtype in (np.float32, np.float64, np.int16, np.int32, np.int64):
            S.case("Range", opset=next(opsets), inputs=[np.array(z, dtype) for z in (a, b, d)], consts=[0, 1, 2] if d % 2 else [])
    for a, b, d in [(0, 1, 0.1), (0.5, 7.3, 0.7), (1, -1, -0.25), (0, 10, 3.3), (-1, 1, 2.5)]:
        for dtype in (np.float32, np.float64):
            S.case("Range", opset=next(opsets), inputs=[np.array(z, dtype) for z in (a, b, d)], consts=[])


def depth_space(S):
    v, types = Values("DepthToSpace"), cycle([np.float32, np.float64])
    for x, b in [((1, 4, 2, 3), 2), ((2, 8, 3, 2), 2), ((1, 9, 2, 2), 3), ((1, 18, 1, 3), 3), ((3, 5, 2, 2), 1), ((0, 4, 2, 2), 2), ((1, 16, 2, 1), 4), ((1, 4, 5, 7), 2)]:
        for opset in (1, 11, 13):
            S.case("DepthToSpace", opset=opset, attrs={"blocksize": b}, inputs=[v.any(x, next(types))])
        for mode in ("DCR", "CRD"):
            S.case("DepthToSpace", opset=11, attrs={"blocksize": b, "mode": mode}, inputs=[v.any(x)])
            S.case("DepthToSpace", opset=21, attrs={"blocksize": b, "mode": mode}, inputs=[v.any(x, next(types))])
    S.case("DepthToSpace", opset=13, attrs={"blocksize": 2, "mode": "CRD"}, inputs=[v.any((1, 4, 3, 2), np.uint8)])
    S.case("DepthToSpace", opset=13, attrs={"blocksize": 2}, inputs=[v.any((1, 4, 3, 2), np.uint8)])
    for x, b in [((1, 1, 4, 6), 2), ((2, 3, 6, 4), 2), ((1, 1, 6, 3), 3), ((3, 5, 2, 2), 1), ((0, 4, 2, 2), 2), ((1, 2, 4, 8), 4), ((1, 3, 10, 14), 2)]:
        for opset in (1, 11, 13, 21):
            S.case("SpaceToDepth", opset=opset, attrs={"blocksize": b}, inputs=[v.any(x, next(types))])


def reverse_sequence(S):
    v, opsets, types = Values("ReverseSequence"), cycle([10, 13, 21]), cycle([np.float32, np.float64, np.int8, np.uint8, np.int32, np.int64, np.uint32, np.uint64, np.int16, np.uint16, np.bool_])
    for x in [(4, 3), (5, 2), (1, 1), (6, 4, 3), (3, 5, 2), (2, 2, 3, 4)]:
        for time in (0, 1):
            for _ in range(2):
                lens = v.i((x[1 - time],), 1, x[time])
                S.case("ReverseSequence", opset=next(opsets), attrs={"time_axis": time, "batch_axis": 1 - time}, inputs=[v.any(x, next(types)), lens], consts=[])
        S.case("ReverseSequence", opset=next(opsets), inputs=[v.any(x), np.full(x[1], x[0], np.int64)], consts=[1])


def center_crop_pad(S):
    v, types = Values("CenterCropPad"), cycle([t for t in TYPES if t is not np.float16])
    for x, shape, axes in [
        ((7,), [4], None), ((7,), [3], None), ((4,), [7], None), ((3,), [7], None), ((5, 6), [3, 9], None), ((5, 6), [8, 3], None), ((5, 6), [5, 6], None), ((10, 7, 3), [9, 10], [0, 1]), ((10, 7, 3), [9, 10], [1, 0]), ((3, 20, 10), [10, 9], [-2, -1]),
        ((3, 20, 10), [25], [1]), ((2, 3, 4, 5), [5, 2], [-1, 1]), ((2, 3, 4, 5), [1, 1, 1, 1], None), ((20, 8, 3), [10, 9, 4], None), ((1, 1), [3, 4], None), ((2, 3, 4, 5), [7], [-3]),
    ]:  # fmt: skip
        attrs = {"axes": axes} if axes else {}
        S.case("CenterCropPad", opset=18, attrs=attrs, inputs=[v.any(x, next(types)), i64(*shape)], consts=[1])
        S.case("CenterCropPad", opset=19, attrs=attrs, inputs=[v.any(x), i64(*shape)], consts=[])


def dropout(S):
    v = Values("Dropout")
    for x in [(3,), (2, 3), (0, 4), (2, 3, 4), (), (1, 2, 3, 4, 5)]:
        for opset in (1, 6, 7, 10):
            attrs = {"ratio": 0.3} if v.rng.random() < 0.5 else {}
            attrs = {**attrs, "is_test": 1} if opset < 7 else attrs
            S.case("Dropout", opset=opset, attrs=attrs, inputs=[v.any(x)])
        S.case("Dropout", opset=10, inputs=[v.any(x, np.float64)])
        S.case("Dropout", opset=10, attrs={"ratio": 0.9}, inputs=[v.any(x)], n_out=2)
        S.case("Dropout", opset=7, inputs=[v.any(x)], n_out=1)
        for opset in (12, 13, 21):
            S.case("Dropout", opset=opset, inputs=[v.any(x)], n_out=2)
            S.case("Dropout", opset=opset, attrs={"seed": 3}, inputs=[v.any(x), np.float32(0.7)], consts=[1])
            S.case("Dropout", opset=opset, inputs=[v.any(x, np.float64), np.float32(0.7), np.bool_(False)], consts=[1, 2], n_out=2)
            S.case("Dropout", opset=opset, inputs=[v.any(x), None, np.bool_(False)], consts=[])


def identity(S):
    v, types = Values("Identity"), cycle(TYPES)
    for opset in (1, 13, 14, 16, 19, 21):
        for x in [(2, 3), (), (0, 4), (7,), (2, 1, 3, 1)]:
            S.case("Identity", opset=opset, inputs=[v.any(x, next(types))])


def cases(S):
    for family in (reshape, flatten, squeeze, unsqueeze, transpose, concat, split, slice_, pad, tile, expand, shape_size, constant_of_shape, range_, depth_space, reverse_sequence, center_crop_pad, dropout, identity):
        family(S)
