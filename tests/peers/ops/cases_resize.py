"""Resize and its kin: images looked up between their pixels."""
import itertools

import numpy as np

from values import Values, cycle, i64

MODES = ["nearest", "linear", "cubic"]
COORDINATES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize", "half_pixel_symmetric"]
NEAREST = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


def f32(*v):
    return np.array(v, np.float32)


def upsample(S):
    v = Values("Upsample")
    for mode in ("nearest", "linear"):
        for x, scales in [((1, 1, 2, 2), (1, 1, 2, 2)), ((1, 2, 3, 4), (1, 1, 2, 3)), ((1, 2, 3, 4), (1, 1, 1.5, 2.5)), ((2, 1, 5, 3), (1, 1, 1, 2)), ((1, 1, 1, 1), (1, 1, 3, 2)), ((3, 5), (2, 1.4)), ((0, 1, 2, 2), (1, 1, 2, 2))]:
            attrs = {"mode": mode}
            S.case("Upsample", opset=7, attrs={**attrs, "scales": list(scales)}, inputs=[v.f(*x)])
            S.case("Upsample", opset=9, attrs=attrs, inputs=[v.f(*x), f32(*scales)], consts=[1])
            S.case("Upsample", opset=9, attrs=attrs, inputs=[v.f(*x), f32(*scales)], consts=[])
    for dtype in (np.int32, np.uint8, np.int8):
        S.case("Upsample", opset=9, inputs=[v.any((1, 2, 3, 4), dtype), f32(1, 1, 2, 2)], consts=[1])
        S.case("Upsample", opset=7, attrs={"scales": [1.0, 1.0, 2.0, 2.0]}, inputs=[v.any((1, 2, 3, 4), dtype)])
    S.case("Upsample", opset=9, inputs=[v.f(5), f32(2.6)], consts=[1])
    S.case("Upsample", opset=9, inputs=[v.f(1, 2, 3, 2, 2), f32(1, 1, 2, 1, 3)], consts=[1])


def resize_10(S):
    v = Values("Resize 10")
    for mode in ("nearest", "linear"):
        for x, scales in [((1, 1, 2, 2), (1, 1, 2, 2)), ((1, 2, 3, 4), (1, 1, 2, 3)), ((1, 2, 3, 4), (1, 1, 1.5, 2.5)), ((1, 1, 9, 8), (1, 1, 0.5, 0.25)), ((1, 1, 9, 8), (1, 1, 0.6, 1.7)), ((1, 1, 4, 4), (1, 1, 1, 1)), ((7, 3), (0.7, 2))]:
            S.case("Resize", opset=10, attrs={"mode": mode}, inputs=[v.f(*x), f32(*scales)], consts=[1])
            S.case("Resize", opset=10, attrs={"mode": mode}, inputs=[v.f(*x), f32(*scales)], consts=[])
    for dtype in (np.int32, np.uint8, np.int8):
        S.case("Resize", opset=10, inputs=[v.any((1, 2, 3, 4), dtype), f32(1, 1, 2, 2)], consts=[1])


def resize_11(S):
    v = Values("Resize")
    opsets = cycle([11, 13, 18, 19, 21])
    sizes = cycle([((1, 1, 4, 5), (1, 1, 9, 7)), ((2, 3, 7, 6), (2, 3, 3, 4)), ((1, 2, 5, 8), (1, 2, 10, 3)), ((1, 1, 3, 3), (1, 1, 3, 8)), ((1, 1, 1, 4), (1, 1, 3, 1))])
    scales = cycle([((1, 1, 4, 5), (1, 1, 2, 2)), ((2, 3, 7, 6), (1, 1, 0.6, 0.5)), ((1, 2, 5, 8), (1, 1, 1.3, 0.7)), ((1, 1, 4, 3), (1, 1, 2.5, 3)), ((1, 1, 9, 9), (1, 1, 0.3, 0.3))])
    for mode, coordinate in itertools.product(MODES, COORDINATES):
        for nearest in NEAREST if mode == "nearest" else [None]:
            attrs = {"mode": mode, "coordinate_transformation_mode": coordinate, **({"nearest_mode": nearest} if nearest else {})}
            roi = f32(0, 0, 0.2, 0.1, 1, 1, 0.9, 0.75) if coordinate == "tf_crop_and_resize" else None
            for n in range(3):
                opset = next(opsets) if coordinate != "half_pixel_symmetric" else [19, 21][n % 2]
                extra = {"extrapolation_value": -3.5} if coordinate == "tf_crop_and_resize" and n else {}
                x, to = next(sizes)
                S.case("Resize", opset=opset, attrs={**attrs, **extra}, inputs=[v.f(*x), empty(roi, opset), empty(None, opset), i64(*to)], consts=[1, 2, 3])
                x, to = next(scales)
                S.case("Resize", opset=opset, attrs={**attrs, **extra}, inputs=[v.f(*x), empty(roi, opset), f32(*to)], consts=[1, 2] if n else [])
    S.case("Resize", opset=13, attrs={"mode": "linear"}, inputs=[v.f(1, 1, 4, 5), None, None, i64(1, 1, 9, 7)], consts=[])


def empty(roi, opset):
    """At opset 11 roi and scales cannot be left out; they are empty instead."""
    return roi if roi is not None else np.zeros(0, np.float32) if opset == 11 else None


def tf2d_case(S, v, attrs, x, to, opset):
    S.case("Resize", opset=opset, attrs=attrs, inputs=[x, None, f32(*to)], consts=[2])


def resize_cubic(S):
    v = Values("Resize cubic")
    for a, outside, coordinate in itertools.product((-0.5, -0.75, -1.0), (0, 1), ("half_pixel", "align_corners", "asymmetric")):
        attrs = {"mode": "cubic", "cubic_coeff_a": a, "exclude_outside": outside, "coordinate_transformation_mode": coordinate}
        tf2d_case(S, v, attrs, v.f(1, 1, 6, 5), (1, 1, 2, 1.5), 13)
        tf2d_case(S, v, attrs, v.f(1, 2, 7, 8), (1, 1, 0.6, 0.8), 18)


def resize_antialias(S):
    v = Values("Resize antialias")
    for mode, coordinate in itertools.product(("linear", "cubic"), ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel")):
        for x, to in [((1, 1, 9, 8), (1, 1, 0.5, 0.4)), ((1, 2, 12, 7), (1, 1, 0.3, 1.6)), ((1, 1, 5, 6), (1, 1, 2, 1.5))]:
            S.case("Resize", opset=18, attrs={"mode": mode, "coordinate_transformation_mode": coordinate, "antialias": 1}, inputs=[v.f(*x), None, f32(*to)], consts=[2])
            S.case("Resize", opset=19, attrs={"mode": mode, "coordinate_transformation_mode": coordinate, "antialias": 1, "exclude_outside": 1}, inputs=[v.f(*x), None, f32(*to)], consts=[2])
    for mode in ("linear", "cubic"):
        S.case("Resize", opset=18, attrs={"mode": mode, "antialias": 1}, inputs=[v.f(1, 2, 11, 13), None, None, i64(1, 2, 4, 5)], consts=[3])


def resize_axes(S):
    v = Values("Resize axes")
    for axes in ([2, 3], [3, 2], [-1], [-2, -1], [3]):
        for mode in MODES:
            n = len(axes)
            S.case("Resize", opset=18, attrs={"mode": mode, "axes": axes}, inputs=[v.f(1, 2, 5, 6), None, v.f(n, lo=0.5, hi=2.5)], consts=[2])
            S.case("Resize", opset=19, attrs={"mode": mode, "axes": axes}, inputs=[v.f(1, 2, 5, 6), None, None, v.i((n,), 2, 9)], consts=[3])
    for policy in ("stretch", "not_larger", "not_smaller"):
        for to in ((7, 9), (3, 4), (10, 3), (5, 20)):
            for mode in ("nearest", "linear", "cubic"):
                S.case("Resize", opset=18, attrs={"mode": mode, "axes": [2, 3], "keep_aspect_ratio_policy": policy}, inputs=[v.f(1, 1, 6, 5), None, None, i64(*to)], consts=[3])
    roi = f32(0.1, 0.2, 0.8, 0.9)
    for mode in MODES:
        S.case("Resize", opset=18, attrs={"mode": mode, "axes": [2, 3], "coordinate_transformation_mode": "tf_crop_and_resize"}, inputs=[v.f(1, 1, 6, 5), roi, None, i64(4, 7)], consts=[1, 3])


def resize_types(S):
    v, opsets = Values("Resize types"), cycle([11, 13, 19])
    for mode in ("nearest", "linear", "cubic"):
        for dtype in (np.uint8, np.int8, np.int32, np.float16, np.float64):
            x = v.any((1, 2, 5, 6), dtype)
            for opset in (13, 19):
                S.case("Resize", opset=opset, attrs={"mode": mode}, inputs=[x, None, f32(1, 1, 2, 1.6)], consts=[2])
    for mode in ("nearest", "linear"):
        S.case("Resize", opset=next(opsets), attrs={"mode": mode}, inputs=[v.f(7), f32(), f32(1.7)], consts=[1, 2])
        S.case("Resize", opset=next(opsets), attrs={"mode": mode}, inputs=[v.f(7, 4), f32(), f32(1.7, 0.6)], consts=[1, 2])
        S.case("Resize", opset=next(opsets), attrs={"mode": mode}, inputs=[v.f(1, 1, 3, 4, 5), f32(), f32(1, 1, 2, 1.5, 0.6)], consts=[1, 2])
        S.case("Resize", opset=next(opsets), attrs={"mode": mode}, inputs=[v.f(3, 4, 5), f32(), f32(1, 2, 1.5)], consts=[1, 2])
        S.case("Resize", opset=next(opsets), attrs={"mode": mode}, inputs=[v.f(0, 1, 4, 5), f32(), f32(1, 1, 2, 2)], consts=[1, 2])
        S.case("Resize", opset=next(opsets), attrs={"mode": mode}, inputs=[v.f(1, 4, 5, 3), f32(), f32(1, 2, 1.5, 1)], consts=[1, 2])
    S.case("Resize", opset=13, inputs=[v.any((2, 2, 3, 4), np.float32), None, f32(2, 1.5, 1, 1)], consts=[2])


def grid_sample(S):
    v = Values("GridSample")
    for mode in ("bilinear", "nearest", "bicubic"):
        late = {"bilinear": "linear", "nearest": "nearest", "bicubic": "cubic"}[mode]
        for padding in ("zeros", "border", "reflection"):
            for corners in (0, 1):
                attrs = {"padding_mode": padding, "align_corners": corners}
                grid = v.f(2, 3, 5, 2, lo=-1.4, hi=1.4)
                S.case("GridSample", opset=16, attrs={**attrs, "mode": mode}, inputs=[v.f(2, 3, 6, 5), grid], consts=[])
                S.case("GridSample", opset=20, attrs={**attrs, "mode": late}, inputs=[v.f(2, 3, 4, 7), grid], consts=[1])
                S.case("GridSample", opset=20, attrs={**attrs, "mode": late}, inputs=[v.f(2, 1, 1, 3), grid], consts=[])
                if late != "cubic":
                    S.case("GridSample", opset=20, attrs={**attrs, "mode": late}, inputs=[v.f(2, 2, 3, 4, 5), v.f(2, 2, 3, 2, 3, lo=-1.3, hi=1.3)], consts=[])
                S.case("GridSample", opset=16, attrs={**attrs, "mode": mode}, inputs=[v.f(1, 1, 5, 4, dtype=np.float64), v.f(1, 4, 3, 2, lo=-3, hi=3, dtype=np.float64)], consts=[])
    S.case("GridSample", opset=16, inputs=[v.f(1, 1, 5, 4), v.f(1, 4, 3, 2)], consts=[])
    S.case("GridSample", opset=20, inputs=[v.f(1, 1, 5, 4), v.f(1, 4, 3, 2)], consts=[])
    S.case("GridSample", opset=16, inputs=[v.f(0, 1, 5, 4), v.f(0, 4, 3, 2)], consts=[])


def col2im(S):
    v = Values("Col2Im")
    for image, block, attrs in [
        ((5, 5), (1, 5), {}), ((5, 5), (2, 2), {}), ((6, 7), (3, 2), {}), ((6, 7), (3, 2), {"strides": [2, 3]}), ((6, 7), (3, 2), {"pads": [1, 0, 1, 1]}), ((6, 6), (2, 2), {"dilations": [2, 3]}), ((7, 8), (3, 3), {"dilations": [2, 1], "strides": [1, 2], "pads": [1, 1, 0, 2]}),
        ((9,), (3,), {}), ((9,), (3,), {"strides": [2], "pads": [1, 2], "dilations": [2]}), ((4, 4, 4), (2, 2, 2), {}), ((4, 5, 3), (2, 3, 1), {"strides": [2, 1, 1], "pads": [0, 1, 0, 0, 0, 1]}), ((1, 1), (1, 1), {}),
    ]:  # fmt: skip
        k = len(image)
        pads, strides, dilations = attrs.get("pads", [0] * 2 * k), attrs.get("strides", [1] * k), attrs.get("dilations", [1] * k)
        places = int(np.prod([(image[d] + pads[d] + pads[k + d] - dilations[d] * (block[d] - 1) - 1) // strides[d] + 1 for d in range(k)]))
        for n, c in ((1, 1), (2, 3)):
            S.case("Col2Im", opset=18, attrs=attrs, inputs=[v.f(n, c * int(np.prod(block)), places), i64(*image), i64(*block)], consts=[1, 2])
            S.case("Col2Im", opset=21, attrs=attrs, inputs=[v.f(n, c * int(np.prod(block)), places), i64(*image), i64(*block)], consts=[])


def cases(S):
    for family in (upsample, resize_10, resize_11, resize_cubic, resize_antialias, resize_axes, resize_types, grid_sample, col2im):
        family(S)
