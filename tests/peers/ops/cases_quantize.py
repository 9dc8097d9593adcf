"""QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear: per tensor, per axis, in blocks."""
import numpy as np

from lib import INT4, INT8, INT16, UINT4, UINT8, UINT16, Typed
from values import Values, cycle

RANGE = {np.uint8: (0, 255), np.int8: (-128, 127), np.uint16: (0, 65535), np.int16: (-32768, 32767), np.int32: (-(2**30), 2**30)}
AXES = [((2, 3, 4), 1), ((2, 3, 4), 0), ((2, 3, 4), 2), ((2, 3, 4), -2), ((67, 2), 0), ((3, 130), 1), ((5,), 0), ((2, 3, 5, 7), 1)]
BLOCKS = [((4, 6), 1, 2), ((4, 6), 0, 4), ((3, 32), 1, 16), ((2, 6, 5), 1, 3), ((2, 6, 5), -2, 2), ((64, 3), 0, 32)]


def quantize(S):
    v, opsets = Values("QuantizeLinear"), cycle([10, 13, 19])
    S.case("QuantizeLinear", opset=10, inputs=[v.f(3, 4, lo=-9, hi=300), np.float32(1.5)])
    for shape in [(), (7,), (3, 130), (0, 3), (2, 3, 4)]:
        for dtype in (np.uint8, np.int8):
            S.case("QuantizeLinear", opset=next(opsets), inputs=[v.f(*shape, lo=-9, hi=9), np.float32(v.f(lo=0.02, hi=0.09)), v.i((), *RANGE[dtype], dtype)], consts=[1, 2], tol="exact")
    ties = np.arange(-40, 40).astype(np.float32) / 2
    for dtype in (np.uint8, np.int8):
        S.case("QuantizeLinear", opset=13, inputs=[ties, np.float32(1), dtype(3)], tol="exact")
        S.case("QuantizeLinear", opset=13, inputs=[np.array([1e9, -1e9, np.inf, -np.inf, 3e38, 0, -0.0], np.float32), np.float32(0.5), dtype(5)], tol="exact")
    for shape, axis in AXES:
        for dtype in (np.uint8, np.int8):
            n = shape[axis]
            S.case("QuantizeLinear", opset=(13, 19, 21)[n % 3], attrs={"axis": axis}, inputs=[v.f(*shape, lo=-9, hi=9), v.f(n, lo=0.02, hi=0.09), v.i((n,), *RANGE[dtype], dtype)], consts=[1, 2], tol="exact")
    for shape, axis, block in BLOCKS:
        few = list(shape)
        few[axis] //= block
        for dtype in (np.uint8, np.int8, np.uint16, np.int16):
            S.case("QuantizeLinear", opset=21, attrs={"axis": axis, "block_size": block}, inputs=[v.f(*shape, lo=-9, hi=9), v.f(*few, lo=0.02, hi=0.09), v.i(few, *RANGE[dtype], dtype)], tol="exact")
        for kind, lo, hi in ((INT4, -8, 7), (UINT4, 0, 15)):
            S.case("QuantizeLinear", opset=21, attrs={"axis": axis, "block_size": block}, inputs=[v.f(*shape, lo=-3, hi=3), v.f(*few, lo=0.2, hi=0.5), Typed(v.i(few, lo, hi), kind)], consts=[1, 2], out_types=[kind], tol="exact")
    for kind in (INT8, UINT8, INT16, UINT16, INT4, UINT4):
        S.case("QuantizeLinear", opset=21, attrs={"output_dtype": kind}, inputs=[v.f(3, 5, lo=-9, hi=9), np.float32(0.5)], out_types=[kind] if kind in (INT4, UINT4) else None, tol="exact")
    S.case("QuantizeLinear", opset=19, inputs=[v.f(3, 5, lo=-9, hi=9, dtype=np.float16), np.float16(0.25), np.uint8(100)], tol="exact")
    S.case("QuantizeLinear", opset=13, inputs=[v.i((3, 5), -999, 999, np.int32), np.float32(8), np.uint8(100)], tol="exact")


def dequantize(S):
    v, opsets = Values("DequantizeLinear"), cycle([10, 13, 19])
    for shape in [(), (7,), (3, 130), (0, 3), (2, 3, 4)]:
        for dtype in (np.uint8, np.int8, np.int32):
            zero = [] if dtype is np.int32 else [v.i((), *RANGE[dtype], dtype)]
            S.case("DequantizeLinear", opset=next(opsets), inputs=[v.i(shape, *RANGE[dtype], dtype), v.f(lo=0.02, hi=0.09), *zero], consts=[1, 2], tol="exact")
            S.case("DequantizeLinear", opset=next(opsets), inputs=[v.i(shape, *RANGE[dtype], dtype), v.f(lo=0.02, hi=0.09)], tol="exact")
    for shape, axis in AXES:
        for dtype in (np.uint8, np.int8):
            n = shape[axis]
            S.case("DequantizeLinear", opset=(13, 19, 21)[n % 3], attrs={"axis": axis}, inputs=[v.i(shape, *RANGE[dtype], dtype), v.f(n, lo=0.02, hi=0.09), v.i((n,), *RANGE[dtype], dtype)], consts=[1, 2], tol="exact")
    for shape, axis, block in BLOCKS:
        few = list(shape)
        few[axis] //= block
        for dtype in (np.uint8, np.int8, np.uint16, np.int16):
            S.case("DequantizeLinear", opset=21, attrs={"axis": axis, "block_size": block}, inputs=[v.i(shape, *RANGE[dtype], dtype), v.f(*few, lo=0.02, hi=0.09), v.i(few, *RANGE[dtype], dtype)], tol="exact")
        for kind, lo, hi in ((INT4, -8, 7), (UINT4, 0, 15)):
            S.case("DequantizeLinear", opset=21, attrs={"axis": axis, "block_size": block}, inputs=[Typed(v.i(shape, lo, hi), kind), v.f(*few, lo=0.2, hi=0.5), Typed(v.i(few, lo, hi), kind)], consts=[1, 2], tol="exact")
    S.case("DequantizeLinear", opset=19, inputs=[v.i((3, 5), 0, 255, np.uint8), np.float16(0.25), np.uint8(100)], tol="exact")


def dynamic(S):
    v, opsets = Values("DynamicQuantizeLinear"), cycle([11, 13, 21])
    for n, shape in enumerate([(), (1,), (7,), (67,), (3, 130), (2, 3, 4), (1, 1), (2, 3, 5, 7), (1000,)]):
        for lo, hi in ((-3, 5), (1, 2), (-2, -1)):
            S.case("DynamicQuantizeLinear", opset=next(opsets), inputs=[v.f(*shape, lo=lo, hi=hi)], n_out=3, tol="exact")
    S.case("DynamicQuantizeLinear", opset=11, inputs=[np.zeros((3, 4), np.float32)], n_out=3, tol="exact")


def cases(S):
    quantize(S)
    dequantize(S)
    dynamic(S)
