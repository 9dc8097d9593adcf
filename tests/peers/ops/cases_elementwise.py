"""Arithmetic, comparisons, logic and choices: one element out of one of each input, under broadcasting."""
import numpy as np

from lib import BFLOAT16, Typed
from values import FLOATS, INTS, TYPES, Values, cycle

# Both ways of broadcasting, ranks that differ, rank 0, nothing at all, and rows that are no multiple of a vector
PAIRS = [((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (4,)), ((4,), (2, 3, 4)), ((2, 1, 4), (3, 1)), ((), (5,)), ((5,), ()), ((), ()), ((1,), (1, 1)), ((0, 3), (1, 3)), ((3, 0), ()),
         ((67,), (67,)), ((3, 130), (3, 1)), ((2, 3, 4, 5), (3, 4, 1)), ((1, 3, 1, 1), (2, 3, 5, 7)), ((129,), (1,))]  # fmt: skip
# No subnormals: Quern reads and writes them as zero (docs/bits.md).
EDGES = np.array([0, -0.0, 1, -1, 0.5, -0.5, 1.5, 2.5, -2.5, 1e-30, 3e38, -3e38, 1e-7, 88.0, -104.0, np.inf, -np.inf, np.nan], np.float32)


def edges(dtype=np.float32):
    with np.errstate(over="ignore", under="ignore"):
        return EDGES.astype(dtype)


def grid(dtype=np.float32):
    """Every edge against every other."""
    e = edges(dtype)
    return e[:, None], e[None, :]


def arithmetic(S, op, opsets, dtypes, values):
    opsets = cycle(opsets)
    for a, b in PAIRS:
        S.case(op, opset=next(opsets), inputs=values(op, a, b, np.float32))
    for dtype in dtypes:
        S.case(op, opset=14, inputs=values(op, (3, 17), (17,), dtype))
    for dtype in FLOATS:
        S.case(op, opset=14, inputs=grid(dtype))
    S.case(op, opset=14, inputs=values(op, (2, 9), (2, 9), np.float32), consts=[1])
    S.case(op, opset=14, inputs=values(op, (2, 9), (), np.float32), consts=[0])


def two(op, a, b, dtype):
    v = Values(f"{op} {a} {b} {dtype}")
    return [v.any(a, dtype), v.any(b, dtype)]


def divisors(op, a, b, dtype):
    """Not 0, and no smallest integer over -1: neither has a value."""
    x, y = two(op, a, b, dtype)
    if np.dtype(dtype).kind == "f":
        return [x, y]
    return [np.maximum(x, -100) if np.dtype(dtype).kind == "i" else x, np.where(y == 0, np.array(3, dtype), y)]


def powers(op, a, b, dtype):
    v = Values(f"{op} {a} {b} {dtype}")
    if np.dtype(dtype).kind == "f":
        return [v.f(*a, lo=0.1, hi=3, dtype=dtype), v.f(*b, lo=-3, hi=3, dtype=dtype)]
    return [v.i(a, 0, 5, dtype), v.i(b, 0, 3, dtype)]


def pow_of_two_types(S):
    v = Values("Pow types")
    for base in (np.float32, np.float64, np.int32, np.int64):
        for exponent in (np.float32, np.float64, np.int32, np.int64):
            S.case("Pow", opset=15, inputs=[v.i((3, 7), 1, 4, base), v.i((7,), 0, 3, exponent)])
    for e in (0.0, 1.0, 2.0, 3.0, 0.5, -1.0, -0.5):
        S.case("Pow", opset=13, inputs=[v.f(70, lo=0, hi=9), np.float32(e)], consts=[1])


def old_broadcast(S):
    """Opset 1 to 6: `axis` says where the second operand stands, and only it is broadcast."""
    v = Values("axis")
    for op in ("Add", "Sub", "Mul", "Div", "Pow"):
        S.case(op, opset=6, inputs=[v.f(2, 3, 4, lo=1, hi=2), v.f(3, lo=1, hi=2)], attrs={"broadcast": 1, "axis": 1})
        S.case(op, opset=1, inputs=[v.f(2, 3, 4, lo=1, hi=2), v.f(4, lo=1, hi=2)], attrs={"broadcast": 1})


def modulo(S):
    for dtype in INTS:
        a, b = divisors("Mod", (5, 13), (13,), dtype)
        S.case("Mod", opset=13, inputs=[a, b])
        S.case("Mod", opset=10, inputs=[a, b], attrs={"fmod": 1})
    for n, dtype in enumerate(FLOATS * 2):
        a, b = two("Mod", ((5, 13), (0, 2))[n // 3], ((13,), (2,))[n // 3], dtype)
        S.case("Mod", opset=13, inputs=[a, b], attrs={"fmod": 1})
    S.case("Mod", opset=13, inputs=[np.array([-7, 7, -7, 7], np.int32), np.array([3, -3, -3, 3], np.int32)])
    S.case("Mod", opset=13, inputs=[np.array([-7, 7, -7, 7.5], np.float32), np.array([3, -3, -3, 3], np.float32)], attrs={"fmod": 1})


def compare(S):
    for op, opsets, dtypes in [
        ("Equal", [7, 11, 13, 19], FLOATS[:2] + [np.int32, np.int64, np.bool_, np.uint8, np.int8, np.float16]),
        ("Greater", [7, 9, 13], FLOATS + INTS),
        ("Less", [7, 9, 13], FLOATS + INTS),
        ("GreaterOrEqual", [12, 16], FLOATS + INTS),
        ("LessOrEqual", [12, 16], FLOATS + INTS),
    ]:
        arithmetic(S, op, opsets, dtypes, two)
        for dtype in dtypes:
            v = Values(op + str(dtype))
            S.case(op, opset=16, inputs=[v.i((6, 11), 0, 2, dtype), v.i((6, 11), 0, 2, dtype)])
    words = np.array(["a", "", "ä", "b", "a", "long words of more than 16 bytes", "a"], object)
    S.case("Equal", opset=19, inputs=[words, np.array("a", object)])
    S.case("Equal", opset=19, inputs=[words, words[::-1].copy()])


def logic(S):
    for op in ("And", "Or", "Xor"):
        opsets = cycle([7, 13])
        for a, b in PAIRS + [((3, 5), (3, 5)), ((200,), (200,)), ((2, 2, 2), (2, 1)), ((7, 1), (1, 7)), ((0,), (0,))]:
            S.case(op, opset=next(opsets), inputs=two(op, a, b, np.bool_))
    for n, shape in enumerate([(), (1,), (7,), (0,), (2, 3), (64,), (65,), (2, 3, 4), (3, 0, 2), (1, 1, 1, 1)] * 2):
        S.case("Not", opset=1, inputs=[Values(f"Not{n}").any(shape, np.bool_)])


def bits(S):
    for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        for dtype in INTS:
            S.case(op, opset=18, inputs=two(op, (3, 17), (17,), dtype))
        for n, (a, b) in enumerate(PAIRS):
            S.case(op, opset=18, inputs=two(op, a, b, INTS[n % 8]))
    for n, dtype in enumerate(INTS * 3):
        S.case("BitwiseNot", opset=18, inputs=[Values(f"BitwiseNot{n}").any(((5, 13), (), (0, 4))[n // 8], dtype)])
    for dtype in (np.uint8, np.uint16, np.uint32, np.uint64):
        v = Values("BitShift" + str(dtype))
        for direction in ("LEFT", "RIGHT"):
            for a, b in [((5, 13), (13,)), ((), (3,)), ((0,), (1,)), ((7,), (7,))]:
                S.case("BitShift", opset=11, inputs=[v.any(a, dtype), v.i(b, 0, 7, dtype)], attrs={"direction": direction})


def several(S):
    """Sum, Mean, Max, Min: any number of inputs."""
    for op in ("Sum", "Mean", "Max", "Min"):
        opsets = cycle([8, 13])
        for n, shapes in enumerate([((2, 3),), ((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 3), (3,), ()), ((4, 1), (1, 5), (5,)), ((0, 3), (3,)), ((), ()), ((67,),) * 5, ((3, 5, 7), (5, 1), (7,)), ((1,), (130,)),
                                    ((2, 2), (2, 1), (1, 2), (1, 1))]):  # fmt: skip
            v = Values(f"{op}{n}")
            S.case(op, opset=next(opsets), inputs=[v.any(s) for s in shapes])
        for n, opset in enumerate((1, 6, 6)):
            v = Values(f"{op} {n}")
            S.case(op, opset=opset, inputs=[v.any((3, 7)) for _ in range(1 + n)])
        for dtype in [np.float64, np.float16] + (INTS if op in ("Max", "Min") else []):
            v = Values(f"{op} {dtype}")
            S.case(op, opset=13, inputs=[v.any((2, 19), dtype), v.any((19,), dtype), v.any((2, 1), dtype)], tol="half" if dtype == np.float16 else None)
        for n in range(8):  # NaN and infinities
            v = Values(f"{op} edges {n}")
            S.case(op, opset=13, inputs=[v.rng.permutation(EDGES), v.rng.permutation(EDGES)] if n else [EDGES, EDGES])


def where(S):
    v = Values("Where")
    for n, (c, a, b) in enumerate([((3, 4), (3, 4), (3, 4)), ((3, 1), (4,), (3, 4)), ((4,), (2, 3, 4), ()), ((), (3,), (3,)), ((2, 1, 4), (3, 1), (1,)), ((0,), (1,), (0,)), ((), (), ()), ((65,), (65,), ()), ((5, 1, 1), (1, 6, 1), (1, 1, 7)), ((130,), (1,), (130,)), ((2, 2), (2,), (2, 1)), ((1, 3, 1), (2, 1, 4), (3, 4)), ((33, 31), (33, 31), (31,))]):
        S.case("Where", opset=(9, 16)[n % 2], inputs=[v.any(c, np.bool_), v.any(a), v.any(b)])
    for dtype in TYPES:
        S.case("Where", opset=16, inputs=[v.any((3, 17), np.bool_), v.any((17,), dtype), v.any((3, 1), dtype)])
    S.case("Where", opset=16, inputs=[v.any((3, 4), np.bool_), np.array(list("abcd"), object), np.array("else, of more than 16 bytes", object)])
    S.case("Where", opset=16, inputs=[v.any((18,), np.bool_), EDGES, np.float32(-0.0)], tol="exact")


def clip(S):
    v = Values("Clip")
    for opset in (6, 7, 10):
        for n, (shape, attrs) in enumerate([((3, 7), {}), ((3, 7), {"min": -0.5}), ((3, 7), {"max": 0.5}), ((130,), {"min": -0.5, "max": 0.5}), ((), {"min": 0.0}), ((0, 3), {"max": 0.0}), ((2, 3, 4), {"min": 1.0, "max": 1.0})]):
            S.case("Clip", opset=opset, inputs=[v.any(shape)], attrs=attrs)
    for dtype in FLOATS + [np.int8, np.uint8, np.int32, np.int64, np.uint32, np.uint64]:
        x, lo, hi = v.any((5, 13), dtype), np.array(1, dtype), np.array(60, dtype)
        for inputs in ([x], [x, lo], [x, None, hi], [x, lo, hi]):
            S.case("Clip", opset=13, inputs=inputs, consts=[1, 2] if len(inputs) == 3 else [])
    S.case("Clip", opset=11, inputs=[EDGES, np.float32(-1), np.float32(1)])
    S.case("Clip", opset=12, inputs=[v.any((3, 4)), np.float32(1), np.float32(-1)])


def cases(S):
    arithmetic(S, "Add", [7, 13, 14], FLOATS + INTS, two)
    arithmetic(S, "Sub", [7, 13, 14], FLOATS + INTS, two)
    arithmetic(S, "Mul", [7, 13, 14], FLOATS + INTS, two)
    arithmetic(S, "Div", [7, 13, 14], FLOATS + INTS, divisors)
    arithmetic(S, "Pow", [7, 12, 13, 15], FLOATS[:2], powers)
    pow_of_two_types(S)
    old_broadcast(S)
    modulo(S)
    compare(S)
    logic(S)
    bits(S)
    several(S)
    where(S)
    clip(S)
    v = Values("bf16")
    for op in ("Add", "Sub", "Mul", "Div"):
        S.case(op, opset=14, inputs=[Typed(v.f(3, 9), BFLOAT16), Typed(v.f(9, lo=1, hi=2), BFLOAT16)], out_types=[BFLOAT16])
