"""Convolutions and pools: windows that slide over one, two and three spatial dimensions."""
import numpy as np

from values import FLOATS, Values, cycle, i64


def conv(S):
    v, opsets = Values("Conv"), cycle([1, 11, 21, 7, 13])
    for x, w, attrs in [
        ((2, 3, 17), (4, 3, 5), {}),
        ((1, 3, 17), (4, 3, 5), {"pads": [2, 1], "strides": [3]}),
        ((2, 4, 19), (6, 2, 3), {"group": 2, "dilations": [4]}),
        ((1, 1, 1), (1, 1, 1), {}),
        ((3, 5, 31), (7, 5, 4), {"auto_pad": "SAME_LOWER", "strides": [2]}),
        ((2, 3, 9, 11), (5, 3, 3, 3), {}),
        ((2, 3, 9, 11), (5, 3, 3, 3), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
        ((1, 3, 10, 7), (4, 3, 5, 2), {"pads": [0, 1, 3, 0], "strides": [2, 3]}),
        ((1, 16, 7, 5), (33, 16, 1, 1), {}),
        ((1, 16, 7, 5), (9, 16, 1, 1), {"strides": [2, 2]}),
        ((2, 16, 5, 5), (9, 16, 1, 1), {"pads": [1, 0, 2, 1]}),
        ((1, 4, 13, 12), (6, 4, 3, 3), {"dilations": [2, 3], "pads": [2, 3, 2, 3]}),
        ((1, 8, 9, 9), (8, 1, 3, 3), {"group": 8, "pads": [1, 1, 1, 1]}),
        ((1, 5, 9, 8), (15, 1, 3, 3), {"group": 5, "strides": [2, 1]}),
        ((2, 6, 8, 7), (9, 2, 3, 3), {"group": 3, "auto_pad": "SAME_UPPER"}),
        ((1, 3, 11, 10), (5, 3, 4, 4), {"auto_pad": "SAME_UPPER", "strides": [3, 2]}),
        ((1, 3, 11, 10), (5, 3, 4, 4), {"auto_pad": "SAME_LOWER", "strides": [3, 2]}),
        ((1, 3, 11, 10), (5, 3, 4, 4), {"auto_pad": "VALID", "strides": [3, 2]}),
        ((1, 3, 11, 10), (5, 3, 3, 2), {"auto_pad": "NOTSET", "pads": [1, 0, 1, 1]}),
        ((1, 2, 3, 3), (2, 2, 7, 7), {"pads": [3, 3, 3, 3]}),
        ((1, 64, 14, 14), (64, 64, 3, 3), {"pads": [1, 1, 1, 1]}),
        ((1, 3, 32, 33), (19, 3, 7, 7), {"pads": [3, 3, 3, 3], "strides": [2, 2]}),
        ((1, 32, 17, 16), (32, 1, 5, 5), {"group": 32, "pads": [2, 2, 2, 2], "strides": [2, 2]}),
        ((0, 3, 9, 11), (5, 3, 3, 3), {}),
        ((1, 2, 5, 6, 7), (3, 2, 3, 3, 3), {}),
        ((2, 2, 5, 6, 7), (4, 1, 2, 3, 1), {"group": 2, "pads": [1, 0, 1, 0, 2, 0], "strides": [1, 2, 2]}),
        ((1, 3, 6, 5, 4), (2, 3, 2, 2, 2), {"dilations": [2, 1, 3]}),
        ((1, 3, 6, 5, 4), (2, 3, 3, 2, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2, 1]}),
    ]:  # fmt: skip
        k = 1 / np.sqrt(np.prod(w[1:]))
        for bias in (None, v.f(w[0])):
            S.case("Conv", opset=next(opsets), attrs=attrs, inputs=[v.f(*x), v.f(*w, lo=-k, hi=k), bias], consts=[1, 2])
    for weights in ((), (1,), (2,)):
        S.case("Conv", opset=11, attrs={"pads": [1, 1, 1, 1]}, inputs=[v.f(2, 3, 6, 5), v.f(4, 3, 3, 3), v.f(4)], consts=weights)


def conv_transpose(S):
    v, opsets = Values("ConvTranspose"), cycle([1, 11, 21, 7, 13])
    for x, w, attrs in [
        ((2, 3, 7), (3, 4, 5), {}),
        ((1, 4, 7), (4, 3, 3), {"strides": [3], "group": 2, "output_padding": [1]}),
        ((1, 3, 1), (3, 2, 4), {"pads": [1, 2]}),
        ((1, 3, 8), (3, 2, 4), {"strides": [2], "dilations": [3], "pads": [3, 1]}),
        ((2, 3, 5, 4), (3, 6, 3, 3), {}),
        ((2, 3, 5, 4), (3, 6, 3, 2), {"kernel_shape": [3, 2], "strides": [2, 3]}),
        ((1, 3, 5, 4), (3, 6, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
        ((1, 3, 5, 4), (3, 6, 4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ((1, 3, 5, 4), (3, 6, 4, 3), {"strides": [3, 2], "pads": [0, 1, 2, 0]}),
        ((1, 3, 5, 4), (3, 2, 3, 3), {"dilations": [2, 3]}),
        ((1, 3, 5, 4), (3, 2, 3, 3), {"dilations": [2, 2], "strides": [2, 3], "pads": [2, 1, 0, 1]}),
        ((1, 6, 4, 4), (6, 1, 3, 3), {"group": 6, "strides": [2, 2]}),
        ((2, 6, 4, 3), (6, 3, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
        ((1, 3, 5, 4), (3, 2, 3, 3), {"auto_pad": "VALID", "strides": [2, 2]}),
        ((1, 3, 5, 4), (3, 2, 4, 4), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ((1, 3, 5, 4), (3, 2, 4, 4), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
        ((1, 3, 5, 4), (3, 2, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ((1, 3, 5, 4), (3, 2, 3, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
        ((1, 3, 5, 4), (3, 2, 3, 3), {"strides": [3, 2], "output_shape": [14, 8]}),
        ((1, 3, 5, 4), (3, 2, 3, 3), {"strides": [3, 2], "output_shape": [16, 9], "output_padding": [1, 0]}),
        ((1, 3, 3, 3), (3, 2, 3, 3), {"strides": [3, 2], "output_shape": [10, 8]}),
        ((1, 3, 1, 1), (3, 8, 4, 4), {}),
        ((1, 32, 4, 4), (32, 16, 4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ((1, 16, 7, 5), (16, 9, 1, 1), {}),
        ((0, 3, 5, 4), (3, 2, 3, 3), {}),
        ((1, 2, 3, 4, 5), (2, 3, 3, 2, 3), {}),
        ((1, 2, 3, 4, 2), (2, 3, 3, 3, 3), {"strides": [2, 1, 2], "pads": [1, 0, 1, 0, 1, 1], "output_padding": [1, 0, 1]}),
    ]:  # fmt: skip
        for bias in (None, v.f(w[1] * attrs.get("group", 1))):
            S.case("ConvTranspose", opset=next(opsets), attrs=attrs, inputs=[v.f(*x), v.f(*w), bias], consts=[1, 2])
    S.case("ConvTranspose", opset=11, attrs={}, inputs=[v.f(1, 3, 5, 4), v.f(3, 2, 3, 3), v.f(2)], consts=())


INTEGER_CONVS = [
    ((2, 3, 17), (4, 3, 5), {}),
    ((1, 4, 17), (4, 2, 5), {"pads": [2, 1], "strides": [3], "group": 2}),
    ((2, 3, 9, 11), (5, 3, 3, 3), {}),
    ((1, 3, 10, 7), (4, 3, 5, 2), {"pads": [0, 1, 3, 0], "strides": [2, 3]}),
    ((1, 16, 7, 5), (33, 16, 1, 1), {}),
    ((1, 4, 13, 12), (6, 4, 3, 3), {"dilations": [2, 3], "pads": [2, 3, 2, 3]}),
    ((1, 8, 9, 9), (8, 1, 3, 3), {"group": 8, "pads": [1, 1, 1, 1]}),
    ((2, 6, 8, 7), (9, 2, 3, 3), {"group": 3, "auto_pad": "SAME_UPPER"}),
    ((1, 3, 11, 10), (5, 3, 4, 4), {"auto_pad": "SAME_LOWER", "strides": [3, 2]}),
    ((1, 3, 11, 10), (5, 3, 4, 4), {"auto_pad": "VALID", "strides": [3, 2]}),
    ((1, 2, 5, 6, 7), (3, 2, 3, 3, 3), {"pads": [1, 1, 1, 1, 1, 1]}),
    ((0, 3, 9, 11), (5, 3, 3, 3), {}),
]
RANGE = {np.uint8: (0, 255), np.int8: (-128, 127)}


def conv_integer(S):
    v, opsets = Values("ConvInteger"), cycle([10, 13, 21])
    for x, w, attrs in INTEGER_CONVS:
        for xt, wt in ((np.uint8, np.uint8), (np.uint8, np.int8)):
            xs, ws = v.i(x, *RANGE[xt], xt), v.i(w, *RANGE[wt], wt)
            for zeros in ([], [v.i((), *RANGE[xt], xt)], [v.i((), *RANGE[xt], xt), v.i((), -9, 9) .astype(wt) if wt is np.int8 else v.i((), 0, 255, wt)]):
                S.case("ConvInteger", opset=next(opsets), attrs=attrs, inputs=[xs, ws, *zeros], consts=[1, 2, 3])
        S.case("ConvInteger", opset=next(opsets), attrs=attrs, inputs=[v.i(x, -128, 127, np.int8), v.i(w, -128, 127, np.int8)], consts=[1])
        S.case("ConvInteger", opset=next(opsets), attrs=attrs, inputs=[v.i(x, 0, 255, np.uint8), v.i(w, -128, 127, np.int8), np.uint8(7)], consts=[])
        per = v.i((w[0],), -5, 5, np.int8)
        S.case("ConvInteger", opset=next(opsets), attrs=attrs, inputs=[v.i(x, 0, 255, np.uint8), v.i(w, -128, 127, np.int8), np.uint8(7), per], consts=[1, 2, 3])


def qlinear_conv(S):
    v, opsets = Values("QLinearConv"), cycle([10, 13, 21])
    for x, w, attrs in INTEGER_CONVS:
        k = int(np.prod(w[1:]))
        for xt, wt, per in ((np.uint8, np.uint8, False), (np.uint8, np.int8, True), (np.int8, np.int8, False), (np.int8, np.int8, True), (np.uint8, np.int8, False)):
            scale, zero = v.f(w[0], lo=0.002, hi=0.01), np.zeros(w[0], wt)
            if not per:
                scale, zero = np.float32(0.007), np.array(131 if wt is np.uint8 else 0, wt)
            y_scale = np.float32(0.02 * 0.007 * 74 * 74 * np.sqrt(k) / 60)
            inputs = [v.i(x, *RANGE[xt], xt), np.float32(0.02), xt(v.i((), *RANGE[xt])), v.i(w, *RANGE[wt], wt), scale, zero, y_scale, xt(v.i((), *RANGE[xt]))]
            bias = [v.i((w[0],), -5000, 5000, np.int32)] if v.rng.random() < 0.6 else []
            S.case("QLinearConv", opset=next(opsets), attrs=attrs, inputs=inputs + bias, consts=list(range(1, 9)), tol="exact")


WINDOWS = [  # x, attributes that every pool has
    ((2, 3, 17), {"kernel_shape": [4]}),
    ((1, 3, 17), {"kernel_shape": [5], "strides": [3], "pads": [2, 1]}),
    ((2, 3, 9, 11), {"kernel_shape": [3, 3]}),
    ((2, 3, 9, 11), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ((2, 3, 9, 11), {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [1, 0, 2, 1]}),
    ((1, 2, 10, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((1, 2, 10, 7), {"kernel_shape": [4, 3], "strides": [3, 2], "auto_pad": "SAME_UPPER"}),
    ((1, 2, 10, 7), {"kernel_shape": [4, 3], "strides": [3, 2], "auto_pad": "SAME_LOWER"}),
    ((1, 2, 10, 7), {"kernel_shape": [4, 3], "strides": [3, 2], "auto_pad": "VALID"}),
    ((1, 2, 1, 1), {"kernel_shape": [1, 1]}),
    ((1, 1, 10, 7), {"kernel_shape": [10, 7]}),
    ((1, 33, 8, 9), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ((1, 2, 6, 5, 7), {"kernel_shape": [2, 3, 2]}),
    ((2, 2, 6, 5, 7), {"kernel_shape": [3, 3, 3], "strides": [2, 1, 3], "pads": [1, 0, 2, 0, 1, 1]}),
    ((0, 3, 9, 11), {"kernel_shape": [3, 3]}),
]
CEIL = [
    ((1, 2, 17), {"kernel_shape": [4], "strides": [3], "ceil_mode": 1}),
    ((1, 2, 10, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ((1, 2, 10, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1}),
    ((1, 2, 10, 7), {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [1, 0, 1, 1], "ceil_mode": 1}),
    ((1, 2, 6, 5, 7), {"kernel_shape": [2, 3, 2], "strides": [3, 2, 3], "ceil_mode": 1}),
]
DILATED = [
    ((1, 2, 17), {"kernel_shape": [4], "dilations": [3]}),
    ((1, 2, 10, 11), {"kernel_shape": [3, 3], "dilations": [2, 3]}),
    ((1, 2, 10, 11), {"kernel_shape": [3, 2], "dilations": [2, 3], "strides": [2, 1], "pads": [1, 1, 2, 0]}),
    ((1, 2, 10, 11), {"kernel_shape": [3, 2], "dilations": [2, 2], "strides": [2, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1}),
    ((1, 2, 7, 6, 8), {"kernel_shape": [2, 3, 2], "dilations": [2, 2, 3]}),
]


def max_pool(S):
    v, opsets = Values("MaxPool"), cycle([8, 10, 11, 12, 21])
    for x, attrs in WINDOWS:
        S.case("MaxPool", opset=next(opsets), attrs=attrs, inputs=[v.f(*x)])
        S.case("MaxPool", opset=1, attrs=attrs, inputs=[v.f(*x)])
        for order in (0, 1):
            S.case("MaxPool", opset=next(opsets), attrs={**attrs, "storage_order": order}, inputs=[v.f(*x)], n_out=2)
    for x, attrs in CEIL + DILATED:
        S.case("MaxPool", opset=10, attrs=attrs, inputs=[v.f(*x)])
        S.case("MaxPool", opset=21, attrs={**attrs, "storage_order": int(v.i((), 0, 1))}, inputs=[v.f(*x)], n_out=2)
    for dtype in (np.int8, np.uint8, np.float64, np.float16):
        for x, attrs in (WINDOWS[4], WINDOWS[1], CEIL[2], DILATED[2], WINDOWS[13]):
            S.case("MaxPool", opset=12, attrs=attrs, inputs=[v.any(x, dtype)])
            S.case("MaxPool", opset=12, attrs=attrs, inputs=[v.any(x, dtype)], n_out=2)
    ties = v.i((1, 2, 8, 9), 0, 2, np.float32)
    S.case("MaxPool", opset=12, attrs={"kernel_shape": [3, 3]}, inputs=[ties], n_out=2)
    S.case("MaxPool", opset=12, attrs={"kernel_shape": [3, 3], "storage_order": 1}, inputs=[ties], n_out=2)
    S.case("MaxPool", opset=12, attrs={"kernel_shape": [3, 3], "pads": [2, 2, 2, 2]}, inputs=[v.f(1, 2, 5, 5, lo=-9, hi=-8)])


def average_pool(S):
    v, opsets = Values("AveragePool"), cycle([7, 10, 11, 19, 21])
    for x, attrs in WINDOWS:
        S.case("AveragePool", opset=1, attrs=attrs, inputs=[v.f(*x)])
        for include in (0, 1):
            S.case("AveragePool", opset=next(opsets), attrs={**attrs, "count_include_pad": include}, inputs=[v.f(*x)])
    for x, attrs in CEIL:
        for opset in (10, 11, 19):
            for include in (0, 1):
                S.case("AveragePool", opset=opset, attrs={**attrs, "count_include_pad": include}, inputs=[v.f(*x)])
    for x, attrs in DILATED:
        for include in (0, 1):
            S.case("AveragePool", opset=19, attrs={**attrs, "count_include_pad": include}, inputs=[v.f(*x)])
    for dtype in (np.float16, np.float64):
        S.case("AveragePool", opset=11, attrs={"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, inputs=[v.f(1, 3, 7, 6, dtype=dtype)])


def lp_pool(S):
    v, opsets = Values("LpPool"), cycle([2, 11, 18, 21])
    for x, attrs in WINDOWS:
        for p in (None, 1, 3):
            S.case("LpPool", opset=next(opsets), attrs={**attrs, **({"p": p} if p else {})}, inputs=[v.f(*x)])
    for x, attrs in WINDOWS[:6]:
        S.case("LpPool", opset=1, attrs={**attrs, "p": 1.5}, inputs=[v.f(*x, lo=0.1)])
    for x, attrs in CEIL + DILATED:
        S.case("LpPool", opset=18, attrs={**attrs, "p": int(v.i((), 1, 4))}, inputs=[v.f(*x)])


def global_pools(S):
    for op, opsets in (("GlobalMaxPool", (1, 7, 13, 21)), ("GlobalAveragePool", (1, 7, 13, 21)), ("GlobalLpPool", (2, 7, 13, 21))):
        v = Values(op)
        for n, shape in enumerate([(2, 3, 7), (1, 1, 1), (2, 3, 5, 6), (1, 65, 7, 7), (3, 2, 1, 9), (2, 2, 3, 4, 5), (1, 3, 2, 3, 2, 3), (0, 3, 4, 4), (1, 3, 32, 33), (2, 0, 4, 4)]):
            for dtype in (np.float32, FLOATS[n % 3]) if op != "GlobalLpPool" else (np.float32,):
                S.case(op, opset=opsets[n % 4], inputs=[v.f(*shape, dtype=dtype)])
            for opset in opsets[:2]:
                S.case(op, opset=opset, inputs=[v.f(*shape, lo=-5, hi=-1)])
            if op == "GlobalLpPool":
                for p in (1, 3, 4):
                    S.case(op, opset=opsets[n % 4], attrs={"p": p}, inputs=[v.f(*shape)])


def max_unpool(S):
    v, opsets = Values("MaxUnpool"), cycle([9, 11, 13, 21])
    for x, attrs, sizes in [
        ((1, 1, 5), {"kernel_shape": [2], "strides": [2]}, (1, 1, 13)),
        ((2, 3, 5), {"kernel_shape": [3], "strides": [2], "pads": [1, 0]}, (2, 3, 12)),
        ((1, 1, 2, 2), {"kernel_shape": [2, 2], "strides": [2, 2]}, (1, 1, 5, 5)),
        ((2, 3, 4, 3), {"kernel_shape": [2, 2], "strides": [2, 2]}, (2, 3, 9, 7)),
        ((2, 3, 4, 3), {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [1, 0, 0, 1]}, (2, 3, 11, 10)),
        ((1, 2, 4, 3), {"kernel_shape": [2, 2]}, (1, 2, 8, 6)),
        ((1, 2, 1, 1), {"kernel_shape": [3, 3]}, (1, 2, 3, 3)),
        ((1, 2, 2, 3, 2), {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]}, (1, 2, 5, 7, 4)),
    ]:
        n = len(x) - 2
        pads, strides = attrs.get("pads", [0] * 2 * n), attrs.get("strides", [1] * n)
        size = [(x[2 + d] - 1) * strides[d] + attrs["kernel_shape"][d] - pads[d] - pads[n + d] for d in range(n)]
        total = int(x[0] * x[1] * np.prod(size))
        for _ in range(2):
            places = np.sort(v.order(total)[: int(np.prod(x))]).reshape(x).astype(np.int64)
            S.case("MaxUnpool", opset=next(opsets), attrs=attrs, inputs=[v.f(*x), places])
        S.case("MaxUnpool", opset=next(opsets), attrs=attrs, inputs=[v.f(*x), places, i64(*sizes)], consts=[2])
        S.case("MaxUnpool", opset=next(opsets), attrs=attrs, inputs=[v.f(*x), places, i64(*x[:2], *size)], consts=[])


def roi_align(S):
    v = Values("RoiAlign")
    x = v.f(2, 3, 12, 10)
    rois = np.array([[0, 0, 9, 9], [1.5, 2.25, 7.75, 6.5], [3, 3, 3.2, 3.3], [-2, -3, 14, 15], [5, 1, 8, 11]], np.float32)
    batch = i64(0, 1, 0, 1, 1)
    for mode in ("avg", "max"):
        for h, w in ((1, 1), (3, 2), (5, 5)):
            for ratio in (0, 1, 2):
                for scale in (1.0, 0.5):
                    attrs = {"mode": mode, "output_height": h, "output_width": w, "sampling_ratio": ratio, "spatial_scale": scale}
                    S.case("RoiAlign", opset=10, attrs=attrs, inputs=[x, rois, batch])
                    S.case("RoiAlign", opset=16, attrs=attrs, inputs=[x, rois, batch])
                    S.case("RoiAlign", opset=16, attrs={**attrs, "coordinate_transformation_mode": "output_half_pixel"}, inputs=[x, rois, batch])
    S.case("RoiAlign", opset=10, inputs=[x, rois, batch])
    S.case("RoiAlign", opset=16, inputs=[x, rois[:0], batch[:0]])
    S.case("RoiAlign", opset=21, attrs={"output_height": 2, "output_width": 3}, inputs=[x.astype(np.float64), rois.astype(np.float64), batch])
    S.case("RoiAlign", opset=21, attrs={"output_height": 2, "output_width": 3}, inputs=[x.astype(np.float16), rois.astype(np.float16), batch])


def cases(S):
    for family in (conv, conv_transpose, conv_integer, qlinear_conv, max_pool, average_pool, lp_pool, global_pools, max_unpool, roi_align):
        family(S)
