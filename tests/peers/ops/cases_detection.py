"""Grids and regions of images: AffineGrid, MaxRoiPool, DeformConv."""
import numpy as np

from values import Values, i64


def affine_grid(S):
    v = Values("AffineGrid")
    for n, size in enumerate([(1, 1, 2, 3), (2, 3, 4, 5), (3, 1, 7, 7), (1, 2, 1, 5), (2, 1, 33, 17), (1, 1, 2, 3, 4), (2, 2, 3, 5, 4), (1, 3, 5, 1, 2)]):
        d = len(size) - 2
        for align in (None, 0, 1):
            if align == 1 and 1 in size[2:]:
                continue  # the peer divides by zero
            for consts in ([], [1]):
                S.case("AffineGrid", opset=20, attrs={} if align is None else {"align_corners": align}, inputs=[v.f(size[0], d, d + 1), i64(*size)], consts=consts, tol="sum")


def max_roi_pool(S):
    v = Values("MaxRoiPool")
    rois = np.array([[0, 0, 0, 9, 9], [1, 1, 2, 7, 6], [0, 3, 3, 3, 3], [1, 5, 1, 8, 11], [0, 0, 0, 0, 0]], np.float32)
    for shape in [(2, 3, 12, 10), (2, 1, 7, 9)]:
        for pooled in ([1, 1], [2, 3], [5, 4]):
            for scale in (None, 0.5, 0.25, 1.0):
                S.case("MaxRoiPool", opset=17, attrs={"pooled_shape": pooled, **({"spatial_scale": scale} if scale else {})}, inputs=[v.f(*shape), rois])


def deform_conv(S):
    v = Values("DeformConv")
    for n, (x, w, attrs) in enumerate([
        ((1, 1, 5, 5), (1, 1, 3, 3), {}), ((2, 3, 7, 6), (4, 3, 3, 3), {"pads": [1, 1, 1, 1]}), ((1, 4, 8, 9), (2, 4, 2, 3), {"strides": [2, 1]}), ((1, 2, 9, 9), (3, 2, 3, 3), {"dilations": [2, 2], "pads": [2, 2, 2, 2]}),
        ((2, 4, 6, 6), (4, 2, 3, 3), {"group": 2}), ((1, 6, 6, 7), (3, 6, 2, 2), {"offset_group": 3}), ((1, 4, 5, 5), (2, 4, 1, 1), {"offset_group": 2}), ((1, 8, 7, 7), (8, 2, 3, 3), {"group": 4, "offset_group": 2, "pads": [1, 0, 1, 0]}),
    ]):  # fmt: skip
        kh, kw = w[2:]
        pads, strides, dil = attrs.get("pads", [0] * 4), attrs.get("strides", [1, 1]), attrs.get("dilations", [1, 1])
        oh, ow = [(x[2 + d] + pads[d] + pads[2 + d] - dil[d] * (w[2 + d] - 1) - 1) // strides[d] + 1 for d in range(2)]
        og = attrs.get("offset_group", 1)
        for bias in (False, True):
            for mask in (False, True):
                for opset in (19, 22)[: 1 + (n == 0)]:
                    inputs = [v.f(*x), v.f(*w), v.f(x[0], og * kh * kw * 2, oh, ow, lo=-1.5, hi=1.5), v.f(w[0]) if bias else None, v.f(x[0], og * kh * kw, oh, ow, lo=0, hi=1) if mask else None]
                    S.case("DeformConv", opset=opset, attrs={**attrs, "kernel_shape": [kh, kw]} if n % 2 else attrs, inputs=inputs, consts=[1, 3], tol="sum")


def cases(S):
    affine_grid(S)
    max_roi_pool(S)
    deform_conv(S)
