"""Small QDQ graphs, one quantized operator each, in the forms exporters write. patterns() yields (name, model, inputs).

x and, where there are two, z are quantized, dequantized, go through the operator, and are quantized again; every parameter is
random from the name of the case. Zero points are odd and even, scales unrelated or equal (then sums fall on ties).
"""
import zlib

import numpy as np
from onnx import TensorProto, helper, numpy_helper

KINDS = {"u8": (np.uint8, 0, 255), "s8": (np.int8, -128, 127)}


class Pattern:
    def __init__(self, name):
        self.name, self.rng = name, np.random.default_rng(zlib.crc32(name.encode()))
        self.nodes, self.inits, self.graph_inputs, self.feeds, self.n = [], [], [], {}, 0

    def const(self, array):
        self.n += 1
        self.inits.append(numpy_helper.from_array(np.asarray(array), f"c{self.n}"))
        return f"c{self.n}"

    def node(self, op, inputs, output=None, **attributes):
        self.n += 1
        output = output or f"v{self.n}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"n{self.n}", **attributes))
        return output

    def quantized_input(self, name, shape, kind, scale, zero):
        """The float input covers the range of (scale, zero); returns its DQ."""
        dtype, lo, hi = KINDS[kind]
        q = self.rng.integers(lo, hi + 1, shape)
        self.feeds[name] = ((q - zero) * np.float32(scale)).astype(np.float32)
        self.graph_inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))
        args = [self.const(np.float32(scale)), self.const(dtype(zero))]
        return self.node("DequantizeLinear", [self.node("QuantizeLinear", [name, *args], name + "_q"), *args])

    def weights(self, shape, kind, axis=None, zero=0):
        """DQ of a constant, per tensor (axis None) or per channel; (name, scales)."""
        dtype, lo, hi = KINDS[kind]
        n = 1 if axis is None else shape[axis]
        scale = self.rng.uniform(0.01, 0.03, n).astype(np.float32)
        w = self.rng.integers(lo, hi + 1, shape).astype(dtype)
        zero = np.full(n, zero, dtype)
        if axis is None:
            return self.node("DequantizeLinear", [self.const(w), self.const(scale[0]), self.const(zero[0])]), scale
        return self.node("DequantizeLinear", [self.const(w), self.const(scale), self.const(zero)], axis=axis), scale

    def bias(self, n, form, x_scale, w_scale):
        b = self.rng.normal(0, 1, n)
        if form == "float":
            return [self.const(b.astype(np.float32))]
        if form == "s32":
            scale = (np.float32(x_scale) * w_scale).astype(np.float32)
            q = np.round(b / scale).astype(np.int32)
            if len(scale) == 1:
                return [self.node("DequantizeLinear", [self.const(q), self.const(scale[0])])]
            return [self.node("DequantizeLinear", [self.const(q), self.const(scale), self.const(np.zeros(n, np.int32))], axis=0)]
        return []

    def finish(self, value, kind, scale, zero):
        dtype = KINDS[kind][0]
        args = [self.const(np.float32(scale)), self.const(dtype(zero))]
        return self.finish_float(self.node("DequantizeLinear", [self.node("QuantizeLinear", [value, *args], "y_q"), *args]))

    def finish_float(self, value):
        for node in self.nodes:
            node.output[:] = ["y" if o == value else o for o in node.output]
        graph = helper.make_graph(self.nodes, "pattern", self.graph_inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], self.inits)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        model.ir_version = 7
        return self.name, model, self.feeds


def convs():
    cases = [
        # name, x shape, w shape, attributes
        ("3x3", (2, 5, 9, 11), (7, 5, 3, 3), {}),
        ("3x3 pad", (1, 8, 10, 7), (16, 8, 3, 3), {"pads": [1, 1, 1, 1]}),
        ("3x3 stride 2, uneven pads", (2, 3, 12, 12), (17, 3, 3, 3), {"pads": [0, 1, 2, 1], "strides": [2, 2]}),
        ("1x1", (3, 33, 5, 6), (20, 33, 1, 1), {}),
        ("5x5 dilated", (1, 4, 14, 13), (6, 4, 5, 5), {"dilations": [2, 2], "pads": [2, 2, 2, 2]}),
        ("grouped", (2, 8, 7, 7), (12, 4, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
        ("depthwise", (1, 19, 8, 8), (19, 1, 3, 3), {"group": 19, "pads": [1, 1, 1, 1]}),
        ("same upper", (1, 3, 11, 10), (5, 3, 4, 4), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ("1-d", (2, 6, 31), (9, 6, 5), {"pads": [2, 2]}),
    ]
    kinds = [("u8", 131, "s8", 0, 0, "s32"), ("u8", 0, "s8", 0, None, "float"), ("s8", -7, "s8", 0, 0, "none"), ("u8", 120, "u8", 121, None, "s32")]
    for name, x_shape, w_shape, attributes in cases:
        for x_kind, x_zero, w_kind, w_zero, axis, bias in kinds:
            p = Pattern(f"Conv {name}, {x_kind} x {w_kind} per {'tensor' if axis is None else 'channel'}, bias {bias}")
            x = p.quantized_input("x", x_shape, x_kind, 0.017, x_zero)
            w, w_scale = p.weights(w_shape, w_kind, axis, w_zero)
            k = int(np.prod(w_shape[1:]))
            y = p.node("Conv", [x, w, *p.bias(w_shape[0], bias, 0.017, w_scale)], **attributes)
            zero = {"u8": 0, "s8": -128}[x_kind] if bias == "float" else 3
            if bias == "float":
                y = p.node("Relu", [y])
            yield p.finish(y, x_kind, 0.03 * np.sqrt(k) * 0.7, zero)


    p = Pattern("Conv 1x1 with sums beyond 2^24")  # where s32 -> f32 rounds
    x = p.quantized_input("x", (1, 2048, 3, 5), "u8", 0.017, 0)
    w, w_scale = p.weights((24, 2048, 1, 1), "u8")
    yield p.finish(p.node("Conv", [x, w, *p.bias(24, "s32", 0.017, w_scale)]), "u8", 0.017 * w_scale[0] * 2048 * 127.5, 0)
    p = Pattern("Conv then Clip to 0..6")
    x = p.quantized_input("x", (1, 5, 9, 9), "u8", 0.02, 128)
    w, w_scale = p.weights((11, 5, 3, 3), "s8", 0)
    y = p.node("Conv", [x, w, *p.bias(11, "s32", 0.02, w_scale)])
    yield p.finish(p.node("Clip", [y, p.const(np.float32(0)), p.const(np.float32(6))]), "u8", 6 / 255, 0)


def gemms():
    for bias in ("s32", "none"):
        p = Pattern(f"Gemm to float, bias {bias}")
        x = p.quantized_input("x", (5, 37), "u8", 0.021, 121)
        w, w_scale = p.weights((19, 37), "s8", 0)
        yield p.finish_float(p.node("Gemm", [x, w, *p.bias(19, bias, 0.021, w_scale)], transB=1))
    p = Pattern("Gemm then Relu")
    x = p.quantized_input("x", (5, 37), "u8", 0.021, 121)
    w, w_scale = p.weights((19, 37), "s8", 0)
    y = p.node("Gemm", [x, w, *p.bias(19, "s32", 0.021, w_scale)], transB=1)
    yield p.finish(p.node("Relu", [y]), "u8", 0.05, 0)
    for trans_b, axis, w_kind, w_zero, bias, x_kind, x_zero in [
        (0, 1, "s8", 0, "s32", "u8", 127), (1, 0, "s8", 0, "s32", "u8", 0), (1, None, "s8", 0, "float", "u8", 90),
        (0, None, "u8", 133, "s32", "u8", 128), (0, 1, "s8", 0, "none", "s8", 5), (1, 0, "s8", 0, "float", "s8", -128),
    ]:  # fmt: skip
        p = Pattern(f"Gemm transB {trans_b}, {x_kind} x {w_kind} per {'tensor' if axis is None else 'channel'}, bias {bias}")
        x = p.quantized_input("x", (5, 37), x_kind, 0.021, x_zero)
        w, w_scale = p.weights((19, 37) if trans_b else (37, 19), w_kind, axis, w_zero)
        y = p.node("Gemm", [x, w, *p.bias(19, bias, 0.021, w_scale)], transB=trans_b)
        yield p.finish(y, x_kind, 0.13, 77)


def matmuls():
    p = Pattern("MatMul to float")
    x = p.quantized_input("x", (2, 3, 37), "u8", 0.021, 121)
    yield p.finish_float(p.node("MatMul", [x, p.weights((37, 21), "s8", 1)[0]]))
    for x_shape, axis, w_kind, w_zero in [((5, 37), 1, "s8", 0), ((2, 3, 37), None, "s8", 0), ((7, 37), None, "u8", 140), ((1, 37), 1, "s8", 0)]:
        p = Pattern(f"MatMul {len(x_shape)}-d, {x_shape[0]} x {w_kind} per {'tensor' if axis is None else 'channel'}")
        x = p.quantized_input("x", x_shape, "u8", 0.021, 121)
        w, _ = p.weights((37, 21), w_kind, axis, w_zero)
        yield p.finish(p.node("MatMul", [x, w]), "u8", 0.13, 128)
    p = Pattern("MatMul of two activations")
    x, z = p.quantized_input("x", (2, 3, 5, 16), "u8", 0.021, 121), p.quantized_input("z", (2, 3, 16, 7), "u8", 0.015, 130)
    yield p.finish(p.node("MatMul", [x, z]), "u8", 0.1, 128)
    p = Pattern("MatMul then Add of a float bias")
    x = p.quantized_input("x", (5, 37), "u8", 0.021, 121)
    w, _ = p.weights((37, 21), "s8", 1)
    y = p.node("Add", [p.node("MatMul", [x, w]), p.const(p.rng.normal(0, 1, 21).astype(np.float32))])
    yield p.finish(y, "u8", 0.13, 128)


def element_wise():
    for op in ("Add", "Mul"):
        for form, (xs, xz), (zs, zz), (ys, yz) in [
            ("unrelated scales", (0.017, 120), (0.023, 131), (0.041, 127)),
            ("equal scales", (0.5, 0), (0.5, 0), (1.0, 0)),
            ("ties and an odd zero point", (0.5, 101), (0.5, 33), (1.0, 57)),
        ]:
            p = Pattern(f"{op}, {form}")
            x, z = p.quantized_input("x", (3, 5, 7, 9), "u8", xs, xz), p.quantized_input("z", (3, 5, 7, 9), "u8", zs, zz)
            yield p.finish(p.node(op, [x, z]), "u8", ys if op == "Add" else ys * 3, yz)
    for relu_zero in (0, 9):
        p = Pattern(f"Add then Relu, zero point {relu_zero}")
        x, z = p.quantized_input("x", (3, 500), "u8", 0.03, 120), p.quantized_input("z", (3, 500), "u8", 0.02, 131)
        yield p.finish(p.node("Relu", [p.node("Add", [x, z])]), "u8", 0.04, relu_zero)
    for op, attributes, (scale, zero) in [
        ("Sigmoid", {}, (1 / 256, 0)), ("LeakyRelu", {"alpha": 0.1}, (0.02, 121)), ("Tanh", {}, (0.008, 121)), ("Softmax", {"axis": 1}, (1 / 256, 0)),
    ]:  # fmt: skip
        p = Pattern(op)
        x = p.quantized_input("x", (3, 400), "u8", 0.03, 120)
        yield p.finish(p.node(op, [x], **attributes), "u8", scale, zero)


def pools():
    for op, attributes in [
        ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
        ("GlobalAveragePool", {}),
        ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("ReduceMean", {"axes": [2, 3], "keepdims": 1}),
    ]:
        for form, xs, xz, ys, yz in [("other scale", 0.017, 120, 0.011, 121), ("same parameters", 0.017, 0, 0.017, 0), ("same, odd zero point", 0.017, 57, 0.017, 57)]:
            p = Pattern(f"{op} {attributes.get('kernel_shape', '')}{' padding counts' if 'count_include_pad' in attributes else ''}, {form}")
            x = p.quantized_input("x", (2, 9, 8, 8), "u8", xs, xz)
            yield p.finish(p.node(op, [x], **attributes), "u8", ys, yz)


def moves():
    p = Pattern("Concat of three scales")
    x, z = p.quantized_input("x", (2, 5, 7), "u8", 0.017, 120), p.quantized_input("z", (2, 3, 7), "u8", 0.023, 131)
    yield p.finish(p.node("Concat", [x, z], axis=1), "u8", 0.02, 127)
    for op, attributes in [("Transpose", {"perm": [0, 2, 1]}), ("Flatten", {"axis": 1}), ("Relu", {})]:
        for form, (ys, yz) in [("same parameters", (0.017, 121)), ("other parameters", (0.011, 33))]:
            p = Pattern(f"{op}, {form}")
            x = p.quantized_input("x", (3, 8, 21), "u8", 0.017, 121)
            yield p.finish(p.node(op, [x], **attributes), "u8", ys, yz)


def patterns():
    for family in (convs, gemms, matmuls, element_wise, pools, moves):
        yield from family()
