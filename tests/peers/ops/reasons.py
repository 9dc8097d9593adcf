"""reasons.py - why a row of Quern's table has fewer than 20 cases, and where ONNX Runtime departs from ONNX."""

import numpy as np

DRAWN = "draws at random: quern_conformance checks shape, dtype and statistics, tests/unit/ops/test_random.c the stream of each seed"
TRAINING = "ONNX Runtime's inference library has no such op"
QUANTIZED = "tests/peers/test_ms_quant.sh runs its cases against ONNX Runtime"

# "Op", (domain, "Op") or (domain, "*")
REASONS = {
    ("quern", "*"): "made by lowering, never in a file: its unit tests and every model that is lowered to it",
    ("com.microsoft", "*"): QUANTIZED,
    ("ai.onnx.preview.training", "*"): f"{TRAINING}: ONNX's backend tests, and tests/unit/plan/test_gradient.c",
    "Bernoulli": DRAWN,
    "Multinomial": DRAWN,
    "RandomNormal": DRAWN,
    "RandomNormalLike": DRAWN,
    "RandomUniform": DRAWN,
    "RandomUniformLike": DRAWN,
    "StringNormalizer": "ONNX Runtime knows no locale but C and en_US where it was built without others, and changes case only with one",
}

WITHOUT_DEFAULT = {"Affine", "ScaledTanh", "ThresholdedRelu"}


def whole(case):
    """Every length that scales ask for is a whole number."""
    x, scales = case.inputs[0], case.inputs[2]
    axes = case.attrs.get("axes", range(len(x.shape)))
    return all(float(np.float32(x.shape[a]) * np.float32(s)).is_integer() for a, s in zip(axes, scales))


def by_scales(case):
    return len(case.inputs) > 2 and case.inputs[2] is not None and case.inputs[2].size > 0


# (op or domain.op, as a glob; a predicate of the Case, or a glob for its description as a run prints it; why, with what ONNX says)
DIFFERENCES = [
    ("Resize", lambda c: c.attrs.get("coordinate_transformation_mode") == "align_corners" and by_scales(c) and not whole(c),
     "ONNX divides by length_original * scale - 1 (its reference, and test_resize_downsample_scales_*_align_corners); ONNX Runtime by the rounded length"),
    ("Resize", lambda c: c.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize" and c.inputs[0].shape[2] == 3,
     "start_x * (length_original - 1) + ...: ONNX Runtime does not crop an axis whose length stays"),
    ("Resize", "*mode=nearest coordinate_transformation_mode=half_pixel_symmetric nearest_mode=round_prefer_floor float32[[]2,3,7,6[]]*",
     "0.5 but for what 0.6 is in float: rounding decides for either neighbour"),
    ("Col2Im", "*strides=[[]2[]] pads=[[]1,2[]] dilations=[[]2[]] float32[[]2,9,4[]]*", "ONNX Runtime adds what lies in front of the padded line to its middle"),
    ("MaxUnpool", lambda c: len(c.inputs) > 2,
     "test_maxunpool_export_with_output_shape: indices speak of the shape that kernel, strides and pads infer; ONNX Runtime takes them for places of output_shape"),
    ("[LGR][SRN][TUN]*", lambda c: WITHOUT_DEFAULT & set(c.attrs.get("activations", ())) and "activation_alpha" not in c.attrs,
     "\"Default values are the same as of corresponding ONNX operators\", 1 for these; ONNX Runtime takes 0"),
    ("Shrink", "*float64*", "ONNX Runtime computes in float, 1e-7 off where y is x"),
    ("Gelu", "*approximate=tanh float64*", "ONNX Runtime's is 6e-9 from the formula in double"),
    ("Mish", lambda c: bool(np.isinf(np.asarray(c.inputs[0], np.float32)).any()) if isinstance(c.inputs[0], np.ndarray) else False,
     "x tanh(softplus(x)) goes to -0 at minus infinity; ONNX Runtime says NaN"),
    ("Cast", "*to=8 float32[[]8[]]*", "ONNX's test_cast_FLOAT_to_STRING has the shortest digits that read back as the same float; ONNX Runtime prints eight"),
    ("Dropout", "*ratio=0.9*", "without training nothing is dropped, and the mask of Dropout-10 says which were not"),
    ("STFT", lambda c: c.inputs[0].shape[-1] == 2 and c.inputs[2] is not None, "ONNX Runtime reads a real window as a complex one, past its end"),
    ("MatMulInteger", lambda c: c.inputs[0].shape[-1] == 0, "sums of nothing are 0; ONNX Runtime leaves memory as it was"),
    ("QLinearMatMul", lambda c: c.inputs[0].shape[-1] == 0, "sums of nothing are 0; ONNX Runtime leaves memory as it was"),
]  # fmt: skip
