"""Functions of one element: roots, exponentials, trigonometry, rounding, signs, activations, Cast."""
import numpy as np

from lib import BFLOAT16, BOOL, DOUBLE, FLOAT, FLOAT16, INT8, INT16, INT32, INT64, STRING, UINT8, UINT16, UINT32, UINT64, Typed
from values import FLOATS, INTS, TYPES, Values, cycle
from cases_elementwise import edges

SHAPES = [(), (1,), (7,), (64,), (65,), (130,), (0,), (2, 3), (3, 0, 2), (2, 3, 4), (1, 1, 1, 1), (5, 1, 3), (2, 2, 2, 2, 2), (1000,), (33, 31), (63,), (129, 2), (4, 4, 4), (17, 1, 1), (255,), (3, 5, 7, 2)]


def one(S, op, opsets, lo, hi, dtypes=FLOATS, attrs=({},), tol=None, edge=True):
    """Over every shape, dtype and set of attributes; lo and hi are where it is defined and not flat."""
    v, opsets, attrs_of = Values(op), cycle(opsets), cycle(attrs)
    for shape in SHAPES:
        S.case(op, opset=next(opsets), inputs=[v.f(*shape, lo=lo, hi=hi)], attrs=next(attrs_of), tol=tol)
    for dtype in dtypes:
        for a in attrs:
            x = v.f(4, 37, lo=lo, hi=hi, dtype=dtype) if np.dtype(dtype).kind == "f" else v.any((4, 37), dtype)
            S.case(op, opset=21, inputs=[x], attrs=a, tol="half" if dtype == np.float16 else tol)
    if edge:
        for dtype in [d for d in dtypes if np.dtype(d).kind == "f" and d != np.float16]:
            for a in attrs:
                S.case(op, opset=21, inputs=[edges(dtype)], attrs=a, tol=tol)
    if np.float32 in dtypes and op not in NO_BF16:
        S.case(op, opset=21, inputs=[Typed(v.f(3, 7, lo=lo, hi=hi), BFLOAT16)], attrs=attrs[0], out_types=[BFLOAT16])


NO_BF16 = {"Mish"}
ATTRS = {
    "Celu": [{}, {"alpha": 0.5}, {"alpha": 3.0}],
    "Elu": [{}, {"alpha": 0.5}, {"alpha": 3.0}],
    "Gelu": [{}, {"approximate": "tanh"}, {"approximate": "none"}],
    "HardSigmoid": [{}, {"alpha": 0.5, "beta": 0.25}, {"beta": 0.9}],
    "LeakyRelu": [{}, {"alpha": 0.5}, {"alpha": -0.25}],
    "Selu": [{}, {"alpha": 2.0, "gamma": 3.0}, {"gamma": 0.5}],
    "Shrink": [{}, {"lambd": 1.5, "bias": 1.5}, {"lambd": 0.25}],
    "ThresholdedRelu": [{}, {"alpha": 0.25}, {"alpha": 2.0}],
}


def numbers(S):
    one(S, "Abs", [6, 13, 1], -3, 3, FLOATS + INTS, tol="exact")
    one(S, "Neg", [6, 13, 1], -3, 3, FLOATS + [np.int8, np.int32, np.int64, np.int16], tol="exact")
    one(S, "Sign", [9, 13], -3, 3, FLOATS + INTS, tol="exact")
    one(S, "Ceil", [6, 13], -9, 9, tol="exact")
    one(S, "Floor", [6, 13], -9, 9, tol="exact")
    one(S, "Round", [11, 22], -9, 9, tol="exact")
    S.case("Round", opset=11, inputs=[np.arange(-20, 20).astype(np.float32) / 2], tol="exact")
    one(S, "Reciprocal", [6, 13], 0.1, 9)
    one(S, "Sqrt", [6, 13], 0, 9)
    one(S, "Exp", [6, 13], -9, 9)
    one(S, "Log", [6, 13], 0.01, 99)
    one(S, "Erf", [9, 13], -4, 4)


def trigonometry(S):
    # The far edges are left out where an argument of 3e38 has no figure that a float can tell from another
    for op, since, lo, hi in [("Sin", 7, -20, 20), ("Cos", 7, -20, 20), ("Tan", 7, -1.5, 1.5)]:
        one(S, op, [since, 22], lo, hi, edge=False)
        S.case(op, opset=since, inputs=[np.array([0, -0.0, np.nan, np.inf, -np.inf, 100, -1000, 12345], np.float32)], tol=(1e-5, 1e-6))
    for op, since, lo, hi in [("Asin", 7, -1, 1), ("Acos", 7, -1, 1), ("Atan", 7, -20, 20), ("Sinh", 9, -9, 9), ("Cosh", 9, -9, 9), ("Asinh", 9, -20, 20), ("Acosh", 9, 1, 30),
                              ("Atanh", 9, -0.99, 0.99)]:  # fmt: skip
        one(S, op, [since, 22], lo, hi)


def activations(S):
    one(S, "Tanh", [6, 13], -6, 6)
    one(S, "Sigmoid", [6, 13], -20, 20)
    one(S, "Relu", [6, 13, 14, 1], -3, 3, FLOATS + [np.int8, np.int32, np.int64], tol="exact")
    one(S, "Softplus", [1, 22], -20, 20)
    one(S, "Softsign", [1, 22], -20, 20)
    one(S, "HardSwish", [14, 22], -5, 5)
    one(S, "Mish", [18, 22], -20, 20, tol="sum")
    for op, opsets in [("Celu", [12]), ("Elu", [6, 1, 22]), ("Gelu", [20]), ("HardSigmoid", [6, 1, 22]), ("LeakyRelu", [6, 1, 16]), ("Selu", [6, 1, 22]), ("ThresholdedRelu", [10, 22])]:
        one(S, op, opsets, -4, 4, attrs=ATTRS[op], dtypes=[np.float32] if op == "Celu" else FLOATS)
    one(S, "Shrink", [9], -4, 4, FLOATS + INTS, attrs=ATTRS["Shrink"])


def prelu(S):
    v, opsets = Values("PRelu"), cycle([7, 9, 16])
    for x, slope in [((3, 4), (3, 4)), ((3, 4), (4,)), ((2, 3, 5, 7), (3, 1, 1)), ((2, 3, 5, 7), (1,)), ((5,), ()), ((0, 3), (3,)), ((130,), (1,)), ((2, 8, 4, 4), (8, 1, 1)), ((1, 1), (1, 1)), ((2, 3, 4), (3, 1)), ((2, 3, 4), (2, 1, 1))]:
        S.case("PRelu", opset=next(opsets), inputs=[v.any(x), v.any(slope)], consts=[1])
    for dtype in FLOATS + [np.int32, np.int64, np.uint32, np.uint64]:
        S.case("PRelu", opset=16, inputs=[v.any((3, 11), dtype), v.any((11,), dtype)])
    S.case("PRelu", opset=6, inputs=[v.any((2, 3, 4)), v.any((3,))])
    S.case("PRelu", opset=1, inputs=[v.any((2, 3, 4, 5)), v.any((1,))])
    for _ in range(5):
        S.case("PRelu", opset=16, inputs=[v.rng.permutation(edges()), v.any((1,))])


def tests(S):
    v = Values("IsInf")
    for n, a in enumerate([{}, {"detect_negative": 0}, {"detect_positive": 0}, {"detect_negative": 0, "detect_positive": 0}] * 3):
        for dtype in (np.float32, np.float64):
            x = edges(dtype) if n < 4 else v.rng.choice(edges(dtype), ((2, 9), (0, 3), (130,), ())[n % 4])
            S.case("IsInf", opset=(10, 20)[n % 2], inputs=[np.asarray(x)], attrs=a)
    for n in range(24):
        S.case("IsNaN", opset=(9, 13, 20)[n % 3], inputs=[np.asarray(v.rng.choice(edges(FLOATS[n % 3]), ((18,), (), (0, 2), (3, 5, 7), (129,))[n % 5]))])


def cast(S):
    v = Values("Cast")
    to = {np.float32: FLOAT, np.float64: DOUBLE, np.float16: FLOAT16, np.bool_: BOOL, np.int8: INT8, np.uint8: UINT8, np.int16: INT16, np.uint16: UINT16, np.int32: INT32, np.uint32: UINT32, np.int64: INT64, np.uint64: UINT64}
    opsets = cycle([6, 9, 13, 19, 21])
    for a in TYPES:
        for b in TYPES:
            x = v.f(3, 17, lo=0, hi=100).astype(a)  # inside every type: what is outside has no meaning from floats
            S.case("Cast", opset=next(opsets), inputs=[x], attrs={"to": to[b]})
            S.case("CastLike", opset=(15, 19)[to[b] % 2], inputs=[x, v.any((2,), b)])
    for a in INTS:
        for b in INTS + [np.float32, np.bool_]:  # integers wrap
            S.case("Cast", opset=13, inputs=[v.any((3, 17), a)], attrs={"to": to[b]})
    for b in (FLOAT, DOUBLE, FLOAT16, BOOL):
        for dtype in FLOATS:
            S.case("Cast", opset=13, inputs=[edges(dtype)], attrs={"to": b}, tol="exact")
    words = np.array(["1", "-2.5", "3", "1e3", "+7", "NaN", "INF", "-inf", "0.1"], object)
    for b in (FLOAT, DOUBLE):
        S.case("Cast", opset=13, inputs=[words], attrs={"to": b})
    for b in (INT8, INT32, INT64, UINT64, UINT8):
        S.case("Cast", opset=13, inputs=[np.array(["1", "42", "100", "007"], object)], attrs={"to": b})
    S.case("Cast", opset=13, inputs=[np.array([0.1, -2.5, 1e10, 1e-5, 3, np.nan, np.inf, -np.inf], np.float32)], attrs={"to": STRING})
    for a in (np.int8, np.uint8, np.int32, np.int64, np.uint64):
        S.case("Cast", opset=13, inputs=[v.any((2, 5), a)], attrs={"to": STRING})
    S.case("Cast", opset=13, inputs=[Typed(v.f(3, 7), BFLOAT16)], attrs={"to": FLOAT})
    S.case("Cast", opset=13, inputs=[v.f(3, 7)], attrs={"to": BFLOAT16}, out_types=[BFLOAT16], tol="exact")


def cases(S):
    numbers(S)
    trigonometry(S)
    activations(S)
    prelu(S)
    tests(S)
    cast(S)
