#!/usr/bin/python3
"""ms_quant.py QUERN: quantization by tensor, axis and block, and com.microsoft's quantized operators, each in models of one node.

Both runtimes get the same model; ONNX Runtime without optimisations, so that it runs the operator named. `steps` is by how many quantized
steps a value may differ (docs/bits.md says which and why), `rtol` how far a real may be, relative to the largest.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import zlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "e2e"), HERE]
sys.dont_write_bytecode = True

from harness import QUERN, main  # noqa: E402

MS = "com.microsoft"
UINT4, INT4 = 21, 22
RANGE = {"u8": (0, 255), "s8": (-128, 127), "u16": (0, 65535), "s16": (-32768, 32767), "u4": (0, 15), "s4": (-8, 7)}
NUMPY = {"u8": np.uint8, "s8": np.int8, "u16": np.uint16, "s16": np.int16, "f32": np.float32, "f16": np.float16, "s32": np.int32, "s64": np.int64}
ONNX = {"u8": 2, "s8": 3, "u16": 4, "s16": 5, "s32": 6, "s64": 7, "u4": UINT4, "s4": INT4, "f32": 1, "f16": 10}
work = tempfile.mkdtemp(prefix="quern-quant-")


class Model:
    def __init__(self, name, opset=21, steps=0, rtol=0.0):
        self.name, self.opset, self.steps, self.rtol = name, opset, steps, rtol
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))
        self.nodes, self.inits, self.inputs, self.feeds, self.outputs, self.n = [], [], [], {}, [], 0

    def integers(self, kind, shape):
        lo, hi = RANGE[kind]
        return self.rng.integers(lo, hi + 1, shape)

    def const(self, kind, values):
        self.n += 1
        values = np.asarray(values)
        t = TensorProto(name=f"c{self.n}", data_type=ONNX[kind], dims=values.shape)
        if kind in ("u4", "s4"):
            flat = np.append(values.ravel().astype(np.int64) & 15, [0] * (values.size % 2)).astype(np.uint8)
            t.raw_data = (flat[0::2] | flat[1::2] << 4).astype(np.uint8).tobytes()
        else:
            t.raw_data = values.astype(NUMPY[kind]).tobytes()
        self.inits.append(t)
        return t.name

    def input(self, kind, values):
        name = f"x{len(self.inputs)}"
        self.feeds[name] = np.asarray(values).astype(NUMPY[kind])
        self.inputs.append(helper.make_tensor_value_info(name, ONNX[kind], list(np.shape(values))))
        return name

    def node(self, op, inputs, domain="", output=None, **attributes):
        self.n += 1
        output = output or f"v{self.n}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"n{self.n}", domain=domain, **attributes))
        return output

    def output(self, value, kind):
        self.nodes[-1].output[:] = ["y"]
        self.outputs.append(helper.make_tensor_value_info("y", ONNX[kind], None))
        return self

    def save(self):
        self.folder = tempfile.mkdtemp(dir=work)
        graph = helper.make_graph(self.nodes, "model", self.inputs, self.outputs, self.inits)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset), helper.make_opsetid(MS, 1)])
        model.ir_version = 10
        onnx.save(model, self.folder + "/model.onnx")
        os.mkdir(self.folder + "/in")
        for key, a in self.feeds.items():
            np.save(f"{self.folder}/in/{key}.npy", a)


def agree(models):
    for m in models:
        m.save()
    args = [f"{m.folder}/{f}" for m in models for f in ("model.onnx", "in", "peer")]
    p = subprocess.run(["node", HERE + "/ort.js", "disabled", *args], capture_output=True, text=True)
    assert p.returncode == 0, p.stderr[-2000:]
    bad, near = [], 0
    for m in models:
        feeds = [a for k in m.feeds for a in ("--input", f"{k}={m.folder}/in/{k}.npy")]
        p = subprocess.run([QUERN, "run", m.folder + "/model.onnx", *feeds, "--output-dir", m.folder + "/quern"], capture_output=True, text=True)
        if p.returncode != 0:
            bad.append(f"{m.name}: {p.stderr.strip()}")
            continue
        got, want = np.load(m.folder + "/quern/y.npy"), np.load(m.folder + "/peer/y.npy")
        if got.shape != want.shape or (got.dtype != want.dtype and want.dtype != np.uint16):
            bad.append(f"{m.name}: {got.dtype}{got.shape}, not {want.dtype}{want.shape}")
            continue
        if got.dtype.kind in "iu":
            d = np.abs(got.astype(np.int64) - want.astype(np.int64))
            near += int((d != 0).sum())
            if d.size and d.max() > m.steps:
                bad.append(f"{m.name}: {int((d > m.steps).sum())} of {d.size} differ, by up to {d.max()} steps")
            continue
        got, want = (a.view(np.float16) if a.dtype == np.uint16 else a for a in (got, want))
        d = np.abs(got.astype(np.float64) - want)
        if not np.allclose(got.astype(np.float64), want, rtol=0, atol=m.rtol * max(np.abs(want.astype(np.float64)).max(initial=0), 1e-30)):
            bad.append(f"{m.name}: {d.max()} away, of {np.abs(want).max()}")
    print(f"# {len(models)} models, {near} values within their steps but not equal")
    for line in bad:
        print("#", line)
    assert not bad, f"{len(bad)} of {len(models)} differ: {bad[0]}"


def zero_of(kind, rng):
    lo, hi = RANGE[kind]
    return int(rng.integers(lo // 2, hi // 2 + 1))


def quantization(domain, op, kind, real, shape, form, axis, block=0, explicit=True, opset=21):
    """One Q or DQ with scales per tensor, axis or block."""
    m = Model(f"{op} {domain} {kind} {real} {form} {shape} axis {axis} block {block} explicit {explicit} opset {opset}", opset)
    p = {"tensor": (), "axis": (shape[axis],) if shape else (), "block": shape}[form]
    if form == "block":
        p = list(shape)
        p[axis] = -(-shape[axis] // block)
    scale = m.rng.uniform(0.01, 0.2, p).astype(NUMPY[real])
    params = [m.const(real, scale)]
    attributes = {}
    if form != "tensor":
        attributes["axis"] = axis
    if block:
        attributes["block_size"] = block
    if op == "QuantizeLinear":
        x = m.input(real, m.rng.normal(0, 3 if kind[1:] != "4" else 0.8, shape))
        if explicit:
            zero = np.full(p, zero_of(kind, m.rng)) if form == "tensor" else m.integers(kind, p)
            params.append(m.const(kind, zero))
        elif kind != "u8":
            attributes["output_dtype"] = ONNX[kind]
        y = m.node(op, [x, *params], domain, **attributes)
        if kind in ("u4", "s4"):
            wide = {"u4": "u8", "s4": "s8"}[kind]
            return m.output(m.node("Cast", [y], to=ONNX[wide]), wide)
        return m.output(y, kind)
    q = m.integers(kind, shape) if kind != "s32" else m.rng.integers(-100000, 100000, shape)
    x = m.const(kind, q) if kind in ("u4", "s4") else m.input(kind, q)
    if explicit and kind != "s32":
        params.append(m.const(kind, m.integers(kind, p)))
    return m.output(m.node(op, [x, *params], domain, **attributes), real)


def quantization_by_tensor_and_axis_equals_to_the_bit():
    models = []
    for op in ("QuantizeLinear", "DequantizeLinear"):
        for kind in RANGE:
            for form, shape, axis in (("tensor", (3, 5, 7), 0), ("axis", (3, 5, 7), 1), ("axis", (4, 33), 1), ("axis", (6, 5), -2), ("tensor", (), 0)):
                models += [quantization("", op, kind, "f32", shape, form, axis, explicit=e) for e in (True, False)]
        models += [quantization("", "DequantizeLinear", "s32", "f32", (3, 5, 7), f, 1) for f in ("tensor", "axis")]
        for kind in ("u8", "s8"):
            models += [quantization("", op, kind, "f32", (3, 5), f, 1, opset=o) for f, o in (("tensor", 10), ("tensor", 13), ("axis", 13), ("axis", 19))]
            models += [quantization("", op, kind, "f16", (3, 5), f, 1, opset=o) for f in ("tensor", "axis") for o in (19, 21)]
    agree(models)


def quantization_by_block_equals_to_the_bit():
    models = []
    for op in ("QuantizeLinear", "DequantizeLinear"):
        for kind in RANGE:
            for shape, axis, block in (((4, 32), 1, 16), ((5, 35), 1, 16), ((32, 6), 0, 16), ((2, 9, 5), 1, 4), ((3, 4, 10), -1, 3), ((7, 3), 0, 32)):
                models += [quantization("", op, kind, "f32", shape, "block", axis, block, explicit=e) for e in (True, False)]
    agree(models)


def microsoft_quantization_equals_to_the_bit():
    models = []
    for op in ("QuantizeLinear", "DequantizeLinear"):
        for kind in RANGE:
            models += [quantization(MS, op, kind, "f32", shape, form, axis) for form, shape, axis in (("tensor", (3, 5, 7), 0), ("axis", (3, 5, 7), 1))]
    agree(models)


def casts_to_and_from_4_bits():
    models = []
    for kind in ("u4", "s4"):
        for to in ("f32", "s8", "u8", "s32", "s64"):
            m = Model(f"Cast {kind} to {to}")
            models.append(m.output(m.node("Cast", [m.const(kind, m.integers(kind, (3, 5)))], to=ONNX[to]), to))
        for of in ("f32", "s8", "u8", "s32"):
            m = Model(f"Cast {of} to {kind}")
            lo, hi = RANGE[kind]
            x = m.input(of, np.arange(4 * lo, 4 * hi + 1) / 4 if of == "f32" else m.rng.integers(0 if of[0] == "u" else -128, 127, 64))
            wide = {"u4": "u8", "s4": "s8"}[kind]
            models.append(m.output(m.node("Cast", [m.node("Cast", [x], to=ONNX[kind])], to=ONNX[wide]), wide))
    agree(models)


def parameters(m, kind, scale, zero=None):
    zero = int(m.integers(kind, ())) if zero is None else zero
    return [m.const("f32", np.float32(scale)), m.const(kind, zero)]


def binary(op):
    models = []
    shapes = [((3, 5), (3, 5)), ((2, 3, 40), (40,)), ((4, 1, 33), (4, 7, 1)), ((5, 6), ()), ((), (7,)), ((1, 64), (9, 64)), ((300,), (300,))]
    for kind in ("u8", "s8"):
        for a, b in shapes:
            for i in range(3):
                m = Model(f"{op} {kind} {a} {b} {i}", steps=1)
                sa, sb = m.rng.uniform(0.01, 0.1, 2)
                sc = (sa + sb) * 0.7 if op == "QLinearAdd" else sa * sb * 60
                inputs = [m.input(kind, m.integers(kind, a)), *parameters(m, kind, sa), m.input(kind, m.integers(kind, b)), *parameters(m, kind, sb)]
                models.append(m.output(m.node(op, inputs + parameters(m, kind, sc), MS), kind))
    return models


def QLinearAdd_is_within_a_step():
    agree(binary("QLinearAdd"))


def QLinearMul_is_within_a_step():
    agree(binary("QLinearMul"))


def unary(op, steps, shapes=((256,), (3, 5, 7), (1,)), y_scale=None, y_zero=None, **attributes):
    models = []
    for kind in ("u8", "s8"):
        for shape in shapes:
            for i in range(4):
                m = Model(f"{op} {kind} {shape} {i} {attributes}", steps=steps)
                sx = m.rng.uniform(0.01, 0.1)
                x = m.input(kind, m.integers(kind, shape) if shape != (256,) else np.arange(256) + RANGE[kind][0])
                zero = None if y_zero is None else y_zero + RANGE[kind][0]
                models.append(m.output(m.node(op, [x, *parameters(m, kind, sx), *parameters(m, kind, y_scale or sx * 1.3, zero)], MS, **attributes), kind))
    return models


def QLinearSigmoid_is_within_a_step():
    agree(unary("QLinearSigmoid", 1, y_scale=1 / 256, y_zero=0))


def QLinearLeakyRelu_equals_to_the_bit():
    agree(unary("QLinearLeakyRelu", 0) + unary("QLinearLeakyRelu", 0, alpha=0.3))


def QLinearSoftmax_is_within_a_step():
    models = []
    for opset in (11, 13):
        for axis in (-1, 0, 1):
            models += unary("QLinearSoftmax", 1, ((4, 6), (2, 9, 5)), y_scale=1 / 128, y_zero=0, axis=axis, opset=opset)
    agree(models)


def QLinearConcat_equals_to_the_bit():
    models = []
    for kind in ("u8", "s8"):
        for n in (1, 2, 3):
            for axis in (0, 1, -1):
                for same in (False, True):
                    m = Model(f"QLinearConcat {kind} {n} axis {axis} same {same}")
                    inputs = parameters(m, kind, 0.05, 3)
                    for i in range(n):
                        shape = [2, 3, 5]
                        shape[axis] += i
                        inputs += [m.input(kind, m.integers(kind, shape)), *(parameters(m, kind, 0.05, 3) if same else parameters(m, kind, 0.03 + 0.04 * i))]
                    models.append(m.output(m.node("QLinearConcat", inputs, MS, axis=axis), kind))
    agree(models)


def pools(op, steps, forms):
    models = []
    for kind in ("u8", "s8"):
        for last in (0, 1):
            for shape, attributes in forms:
                for i in range(2):
                    m = Model(f"{op} {kind} {shape} channels_last {last} {attributes} {i}", steps=steps)
                    if last:
                        shape = (shape[0], *shape[2:], shape[1])
                    x = m.input(kind, m.integers(kind, shape))
                    y = m.node(op, [x, *parameters(m, kind, 0.05), *parameters(m, kind, 0.031, 0)], MS, channels_last=last, **attributes)
                    models.append(m.output(y, kind))
                    if last:
                        shape = (shape[0], shape[-1], *shape[1:-1])
    return models


def QLinearAveragePool_is_within_a_step():
    forms = [((1, 3, 8, 8), {"kernel_shape": [2, 2], "strides": [2, 2]}), ((2, 5, 9, 7), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
             ((2, 5, 9, 7), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}), ((1, 4, 20), {"kernel_shape": [5], "strides": [3]}),
             ((1, 2, 6, 5, 7), {"kernel_shape": [2, 3, 2]})]  # fmt: skip
    agree(pools("QLinearAveragePool", 1, forms))


def QLinearGlobalAveragePool_equals_to_the_bit():
    agree(pools("QLinearGlobalAveragePool", 0, [((1, 3, 7, 7), {}), ((3, 17, 5, 4), {}), ((2, 8, 1, 1), {}), ((2, 5, 13, 11), {})]))


def QLinearConv_with_channels_last_equals_to_the_bit():
    models = []
    for kind, w_kind in (("u8", "s8"), ("u8", "u8"), ("s8", "s8")):
        for shape, w, attributes in (((2, 5, 9, 11), (7, 5, 3, 3), {}), ((1, 8, 10, 7), (16, 4, 3, 3), {"pads": [1, 1, 1, 1], "group": 2}),
                                     ((2, 6, 6, 6), (6, 1, 3, 3), {"group": 6, "strides": [2, 2]}), ((3, 33, 5, 6), (20, 33, 1, 1), {})):  # fmt: skip
            for last in (0, 1):
                m = Model(f"QLinearConv {kind} {w_kind} {shape} {w} {attributes} last {last}")
                x = m.integers(kind, shape)
                inputs = [m.input(kind, np.moveaxis(x, 1, -1) if last else x), *parameters(m, kind, 0.02), m.const(w_kind, m.integers(w_kind, w))]
                inputs += [m.const("f32", m.rng.uniform(0.01, 0.03, w[0])), m.const(w_kind, np.zeros(w[0]))]
                inputs += [*parameters(m, kind, 0.02 * 0.02 * 5000), m.const("s32", m.rng.integers(-3000, 3000, w[0]))]
                models.append(m.output(m.node("QLinearConv", inputs, MS, channels_last=last, **attributes), kind))
    agree(models)


def MatMulIntegerToFloat_equals_to_the_bit():
    models = []
    for a_kind, b_kind in (("u8", "s8"), ("u8", "u8"), ("s8", "s8")):
        for a, b in (((5, 37), (37, 19)), ((2, 3, 37), (37, 21)), ((1, 64), (64, 48)), ((2, 4, 8), (2, 8, 6))):
            for columns in (False, True):
                for bias in (False, True):
                    if columns and len(b) > 2:
                        continue
                    m = Model(f"MatMulIntegerToFloat {a_kind} {b_kind} {a} {b} columns {columns} bias {bias}")
                    p = (b[-1],) if columns else ()
                    inputs = [m.input(a_kind, m.integers(a_kind, a)), m.const(b_kind, m.integers(b_kind, b)), m.const("f32", np.float32(0.02))]
                    inputs += [m.const("f32", m.rng.uniform(0.01, 0.1, p)), m.const(a_kind, m.integers(a_kind, ())), m.const(b_kind, m.integers(b_kind, p))]
                    inputs += [m.const("f32", m.rng.normal(0, 1, b[-1]))] if bias else []
                    models.append(m.output(m.node("MatMulIntegerToFloat", inputs, MS), "f32"))
    agree(models)


def DynamicQuantizeMatMul_equals_to_the_bit():
    models = []
    for b_kind in ("s8", "u8"):
        for a, b in (((5, 37), (37, 19)), ((2, 3, 37), (37, 21)), ((1, 64), (64, 48))):
            for columns in (False, True):
                for bias in (False, True):
                    m = Model(f"DynamicQuantizeMatMul {b_kind} {a} {b} columns {columns} bias {bias}")
                    p = (b[-1],) if columns else ()
                    inputs = [m.input("f32", m.rng.normal(0, 2, a)), m.const(b_kind, m.integers(b_kind, b)), m.const("f32", m.rng.uniform(0.01, 0.1, p))]
                    inputs += [m.const(b_kind, m.integers(b_kind, p))] + ([m.const("f32", m.rng.normal(0, 1, b[-1]))] if bias else [])
                    models.append(m.output(m.node("DynamicQuantizeMatMul", inputs, MS), "f32"))
    agree(models)


def MatMulNBits_agrees_in_every_format():
    models = []
    for bits in (2, 4, 8):
        for k, n, block in ((32, 8, 16), (70, 19, 32), (128, 33, 64), (20, 5, 16)):
            for zeros in ("none", "packed", "real"):
                if bits == 8 and zeros == "real":
                    continue  # ONNX Runtime 1.30 fails at run time
                m = Model(f"MatMulNBits bits {bits} K {k} N {n} block {block} zeros {zeros}", rtol=1e-5)
                blocks = -(-k // block)
                inputs = [m.input("f32", m.rng.normal(0, 1, (2, 3, k))), m.const("u8", m.rng.integers(0, 256, (n, blocks, block * bits // 8)))]
                inputs.append(m.const("f32", m.rng.uniform(0.01, 0.1, n * blocks)))
                if zeros == "packed":
                    inputs.append(m.const("u8", m.rng.integers(0, 256, n * (-(-blocks * bits // 8)))))
                if zeros == "real":
                    inputs.append(m.const("f32", m.rng.uniform(0, (1 << bits) - 1, n * blocks)))
                models.append(m.output(m.node("MatMulNBits", inputs, MS, K=k, N=n, bits=bits, block_size=block, accuracy_level=0), "f32"))
    agree(models)


try:
    main([f for name, f in list(globals().items()) if getattr(f, "__module__", "") == "__main__" and ("equals_to" in name or "is_within" in name or "casts" in name or "agrees_in" in name)])
finally:
    shutil.rmtree(work)
