#!/usr/bin/python3
"""mutants.py BUILD_DIR [COUNT] [SEED_WORD or DIR]: small models of every kind, changed at random; COUNT in all (default 400).

Half of the changes are to the bytes of the file, half to what they say: sizes, dtypes, attributes, names, edges, ops, opsets, numbers.
Each mutant is loaded, planned and run by BUILD_DIR/quern_try_models. It may be refused with a message, or run; it may not end in a signal, take
more than 2 s of CPU, or more memory than its limits say. The seeds themselves must run; a DIR of other folders with a
model.onnx may be given in their place. Everything is a function of the seed's name and a number, so a failure is met again.
"""
import os
import random
import re
import subprocess
import sys
import tempfile
import zlib

import onnx
from onnx import TensorProto, helper

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(os.path.join(HERE, "..", ".."))
BUILD = os.path.abspath(sys.argv[1])
COUNT = int(sys.argv[2]) if len(sys.argv) > 2 else 400
WORD = sys.argv[3] if len(sys.argv) > 3 else ""
SANITIZED = "san" in os.path.basename(BUILD)
CPU_MS, MIB = (20000, 3072) if SANITIZED else (2000, 512)
DATA = "/usr/share/libonnx-testdata/data"
SEEDS = [f"{ROOT}/tests/fixtures/{name}/model.onnx" for name in ("mlp_int8", "lenet_int8", "resnet_int8", "transformer")]
SEEDS += [f"{ROOT}/tests/fuzz/corpus/fuzz_onnx/{name}.onnx" for name in ("lists",)]
SEEDS += [f"{DATA}/{name}/model.onnx" for name in (
    "node/test_if_seq", "node/test_if_opt", "node/test_loop13_seq", "node/test_scan9_sum", "node/test_lstm_with_peepholes", "node/test_gru_seq_length",
    "node/test_resize_tf_crop_and_resize", "node/test_nonmaxsuppression_two_classes", "node/test_adam_multiple", "node/test_tfidfvectorizer_tf_uniandbigrams_skip5",
    "node/test_sequence_map_add_2_sequences", "simple/test_gradient_of_add_and_mul", "pytorch-converted/test_Conv2d_groups")]
MADE = ["made_function", "made_sparse"]  # by made(), below
SEEDS += MADE
NUMBERS = [0, 1, -1, 2, 3, -2, 7, 8, 9, 31, 64, 255, 256, 1000, 65535, 65536, 1 << 20, (1 << 31) - 1, 1 << 31, -(1 << 31), 1 << 32, 1 << 40, 1 << 62, (1 << 63) - 1,
           -(1 << 63)]
REALS = [0.0, -0.0, 1.0, -1.0, 1e-45, 1e-8, 0.5, 1e9, 3e38, -3e38, float("nan"), float("inf"), -float("inf")]


def ops():
    with open(f"{ROOT}/docs/operators.md") as f:
        rows = re.findall(r"^\| (\w+) \| ([\w.]+) \| ", f.read(), re.M)
    return [(name, "" if domain == "ai.onnx" else domain) for name, domain in rows]


OPS = ops()

# -- the bytes -----------------------------------------------------------------------------------------------------------------


def spot(r, data, longest=16):
    a = r.randrange(len(data) + 1)
    return a, min(len(data), a + r.randint(1, longest))


def flip(r, data):
    for _ in range(r.choice([1, 1, 1, 2, 8])):
        data[r.randrange(len(data))] ^= 1 << r.randrange(8)


def overwrite(r, data):
    data[r.randrange(len(data))] = r.choice([0, 1, 0x7f, 0x80, 0xff, r.randrange(256)])


def truncate(r, data):
    del data[r.randrange(len(data)):]


def remove(r, data):
    a, b = spot(r, data)
    del data[a:b]


def repeat(r, data):
    a, b = spot(r, data, 200)
    data[b:b] = bytes(data[a:b]) * r.choice([1, 2, 20])


def insert(r, data):
    a, _ = spot(r, data)
    data[a:a] = r.choice([bytes(r.randrange(256) for _ in range(r.randint(1, 9))), b"\xff" * 9 + b"\x01", b"\x80" * 10 + b"\x01", b"\xff\xff\xff\xff\x0f"])


def exchange(r, data):
    (a, b), (c, d) = sorted([spot(r, data, 60), spot(r, data, 60)])
    if b <= c:
        data[a:d] = data[c:d] + data[b:c] + data[a:b]


BYTES = [flip, flip, overwrite, truncate, remove, repeat, insert, exchange]

# -- what they say -------------------------------------------------------------------------------------------------------------


def graphs(model):
    """Every graph, and functions as things with nodes, outermost first."""
    todo = [model.graph, *model.functions]
    while todo:
        g = todo.pop(0)
        yield g
        for n in g.node:
            todo += [a.g for a in n.attribute if a.type == onnx.AttributeProto.GRAPH]


def tensors(model):
    for g in graphs(model):
        yield from getattr(g, "initializer", ())
        for s in getattr(g, "sparse_initializer", ()):
            yield s.values
            yield s.indices
        for n in g.node:
            for a in n.attribute:
                if a.type == onnx.AttributeProto.TENSOR:
                    yield a.t


def attributes(model):
    return [a for g in graphs(model) for n in g.node for a in n.attribute]


def nodes(model):
    return [n for g in graphs(model) for n in g.node]


def ports(model):
    return [v for g in graphs(model) if isinstance(g, onnx.GraphProto) for v in [*g.input, *g.output, *g.value_info]]


def names(model):
    return sorted({x for n in nodes(model) for x in [*n.input, *n.output]} | {t.name for t in tensors(model)} | {v.name for v in ports(model)}) or ["x"]


def pick(r, things):
    things = list(things)
    return r.choice(things) if things else None


def tensor_size(r, m):
    t = pick(r, tensors(m))
    if t is None:
        return
    if t.dims and r.random() < 0.7:
        t.dims[r.randrange(len(t.dims))] = r.choice(NUMBERS)
    elif r.random() < 0.5:
        t.dims.append(r.choice(NUMBERS))
    else:
        del t.dims[:]


def tensor_type(r, m):
    t = pick(r, tensors(m))
    if t is not None:
        t.data_type = r.choice([*range(0, 24), -1, 1000])


def tensor_bytes(r, m):
    t = pick(r, tensors(m))
    if t is None or not t.raw_data:
        return
    raw = bytearray(t.raw_data)
    r.choice([flip, truncate, repeat, insert, overwrite])(r, raw)
    t.raw_data = bytes(raw)


def tensor_numbers(r, m):
    """The same size, other numbers: indexes, shapes and scales out of range."""
    t = pick(r, tensors(m))
    if t is None:
        return
    if t.data_type == TensorProto.INT64 and len(t.raw_data) >= 8:
        raw = bytearray(t.raw_data)
        at = 8 * r.randrange(len(raw) // 8)
        raw[at:at + 8] = (r.choice(NUMBERS) & (1 << 64) - 1).to_bytes(8, "little")
        t.raw_data = bytes(raw)
    elif t.data_type == TensorProto.FLOAT and len(t.raw_data) >= 4:
        import struct
        raw = bytearray(t.raw_data)
        at = 4 * r.randrange(len(raw) // 4)
        raw[at:at + 4] = struct.pack("<f", r.choice(REALS))
        t.raw_data = bytes(raw)
    elif t.int64_data:
        t.int64_data[r.randrange(len(t.int64_data))] = r.choice(NUMBERS)
    elif t.float_data:
        t.float_data[r.randrange(len(t.float_data))] = r.choice(REALS)


def tensor_external(r, m):
    t = pick(r, tensors(m))
    if t is None:
        return
    t.data_location = TensorProto.EXTERNAL
    for key in r.sample(["location", "offset", "length", "checksum"], r.randint(0, 4)):
        t.external_data.add(key=key, value=str(r.choice([*NUMBERS, "/etc/passwd", "../x", "x", "/dev/zero", ""])))


def attribute_value(r, m):
    a = pick(r, attributes(m))
    if a is None:
        return
    kind = onnx.AttributeProto
    if a.type == kind.INT:
        a.i = r.choice(NUMBERS)
    elif a.type == kind.FLOAT:
        a.f = r.choice(REALS)
    elif a.type == kind.INTS and a.ints:
        if r.random() < 0.3:
            a.ints.append(r.choice(NUMBERS))
        elif r.random() < 0.3:
            a.ints.pop()
        else:
            a.ints[r.randrange(len(a.ints))] = r.choice(NUMBERS)
    elif a.type == kind.FLOATS and a.floats:
        a.floats[r.randrange(len(a.floats))] = r.choice(REALS)
    elif a.type == kind.STRING:
        a.s = r.choice([b"", b"x", b"SAME_UPPER", b"linear", b"nearest", b"reverse", b"forward", b"\xff\xfe", b"A" * 3000])
    elif a.type == kind.STRINGS and a.strings:
        a.strings[r.randrange(len(a.strings))] = r.choice([b"", b"Tanh", b"x", b"\xff"])


def attribute_type(r, m):
    a = pick(r, attributes(m))
    if a is not None:
        a.type = r.choice([*range(0, 15), 99])


def attribute_name(r, m):
    a = pick(r, attributes(m))
    if a is not None:
        a.name = r.choice(["axis", "axes", "pads", "strides", "dilations", "kernel_shape", "group", "perm", "to", "body", "alpha", "shape", "keepdims", "", a.name])


def attribute_more(r, m):
    n = pick(r, nodes(m))
    if n is None:
        return
    name = r.choice(["axis", "axes", "pads", "strides", "dilations", "kernel_shape", "group", "perm", "to", "alpha", "keepdims", "ceil_mode", "auto_pad", "hidden_size",
                     "blocksize", "size", "mode", "k", "sparse_value", "value"])
    value = r.choice([r.choice(NUMBERS), r.choice(REALS), [r.choice(NUMBERS) for _ in range(r.randint(1, 4))], "SAME_LOWER",
                      helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0])])
    n.attribute.append(helper.make_attribute(name, value))


def attribute_gone(r, m):
    n = pick(r, [n for n in nodes(m) if n.attribute])
    if n is not None:
        del n.attribute[r.randrange(len(n.attribute))]


def node_op(r, m):
    n = pick(r, nodes(m))
    if n is None:
        return
    n.op_type, n.domain = r.choice(OPS)
    if n.domain and not any(o.domain == n.domain for o in m.opset_import):
        m.opset_import.add(domain=n.domain, version=1)


def node_input(r, m):
    n = pick(r, nodes(m))
    if n is None:
        return
    what = r.randrange(4)
    if what == 0 or not n.input:
        n.input.append(r.choice(names(m)))
    elif what == 1:
        n.input.pop()
    elif what == 2:
        n.input[r.randrange(len(n.input))] = r.choice(names(m))
    else:
        n.input[r.randrange(len(n.input))] = r.choice(["", "nowhere"])


def node_output(r, m):
    n = pick(r, nodes(m))
    if n is None:
        return
    what = r.randrange(4)
    if what == 0 or not n.output:
        n.output.append(r.choice(["more", *names(m)]))
    elif what == 1:
        n.output.pop()
    else:
        n.output[r.randrange(len(n.output))] = r.choice(["", "other", *names(m)])


def node_gone(r, m):
    g = pick(r, [g for g in graphs(m) if g.node])
    if g is not None:
        del g.node[r.randrange(len(g.node))]


def node_twice(r, m):
    g = pick(r, [g for g in graphs(m) if g.node])
    if g is not None:
        g.node.append(r.choice(g.node))


def node_nested(r, m):
    """A graph inside itself, some times."""
    outer = pick(r, [n for n in nodes(m) if any(a.type == onnx.AttributeProto.GRAPH for a in n.attribute)])
    if outer is None:
        return
    for _ in range(r.choice([1, 2, 5])):
        inner = onnx.NodeProto()
        inner.CopyFrom(outer)
        if len(inner.SerializeToString()) > 200000:
            return
        pick(r, [a for a in outer.attribute if a.type == onnx.AttributeProto.GRAPH]).g.node.append(inner)


def port_size(r, m):
    v = pick(r, [v for v in ports(m) if v.type.tensor_type.shape.dim])
    if v is None:
        return
    dims = v.type.tensor_type.shape.dim
    d = dims[r.randrange(len(dims))]
    if r.random() < 0.3:
        d.dim_param = r.choice(["", "N", "M"])
    elif r.random() < 0.3:
        dims.add(dim_value=r.choice(NUMBERS))
    else:
        d.dim_value = r.choice(NUMBERS)


def port_type(r, m):
    v = pick(r, ports(m))
    if v is None:
        return
    what = r.randrange(4)
    if what == 0:
        v.type.sequence_type.elem_type.tensor_type.elem_type = r.randint(0, 17)
    elif what == 1:
        v.type.optional_type.elem_type.tensor_type.elem_type = r.randint(0, 17)
    elif what == 2:
        v.ClearField("type")
    else:
        v.type.tensor_type.elem_type = r.choice([*range(0, 24), -1])


def port_name(r, m):
    v = pick(r, ports(m))
    if v is not None:
        v.name = r.choice(["", "other", *names(m)])


def port_gone(r, m):
    g = pick(r, [g for g in graphs(m) if isinstance(g, onnx.GraphProto)])
    side = g.input if r.random() < 0.5 else g.output
    if side:
        del side[r.randrange(len(side))]


def opset(r, m):
    o = pick(r, m.opset_import)
    if o is not None:
        o.version = r.choice([0, -1, 1 << 40, *range(1, 24)])


def tensor_shared(r, m):
    t = pick(r, tensors(m))
    if t is not None:
        t.name = r.choice(names(m))


MEANING = [tensor_size, tensor_type, tensor_bytes, tensor_numbers, tensor_numbers, tensor_external, tensor_shared, attribute_value, attribute_value, attribute_value,
           attribute_type, attribute_name, attribute_more, attribute_gone, node_op, node_op, node_op, node_input, node_input, node_output, node_gone, node_twice,
           node_nested, port_size, port_size, port_type, port_name, port_gone, opset]

# -- seeds that no one ships -----------------------------------------------------------------------------------------------


def made(name):
    node, x, y = helper.make_node, helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4]), helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    opsets, functions, sparse = [helper.make_opsetid("", 17), helper.make_opsetid("pkg", 1)], [], []
    if name == "made_function":
        branch = [helper.make_graph([node(op, ["a"], [op])], op, [], [onnx.ValueInfoProto(name=op)]) for op in ("Relu", "Neg")]
        functions = [
            helper.make_function("pkg", "Either", ["a", "c"], ["b"], [node("If", ["c"], ["b"], then_branch=branch[0], else_branch=branch[1])], [helper.make_opsetid("", 17)]),
            helper.make_function("pkg", "Twice", ["a", "c"], ["b"], [node("Either", ["a", "c"], ["t"], domain="pkg"), node("Either", ["t", "c"], ["b"], domain="pkg")],
                                 opsets)]
        body = [node("Constant", [], ["yes"], value=helper.make_tensor("t", TensorProto.BOOL, [], [True])), node("Twice", ["x", "yes"], ["y"], domain="pkg")]
    else:
        values, index = helper.make_tensor("w", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0]), helper.make_tensor("i", TensorProto.INT64, [3], [0, 5, 11])
        sparse = [helper.make_sparse_tensor(values, index, [4, 3])]
        body = [node("MatMul", ["x", "w"], ["t"]), node("Unique", ["t"], ["u", "", "k", ""], sorted=1), node("Shape", ["u"], ["s"]), node("ConstantOfShape", ["s"], ["z"]),
                node("Add", ["u", "z"], ["y"])]
    graph = helper.make_graph(body, "g", [x], [y])
    graph.sparse_initializer.extend(sparse)
    model = helper.make_model(graph, opset_imports=opsets, functions=functions)
    model.ir_version = 8
    return model.SerializeToString()


# -- the run -------------------------------------------------------------------------------------------------------------------


def mutant(seed, number):
    r = random.Random(zlib.crc32(f"{seed[len(ROOT):] if seed.startswith(ROOT) else seed} {number}".encode()))
    if seed in MADE:
        data = bytearray(made(seed))
    else:
        with open(seed, "rb") as f:
            data = bytearray(f.read())
    if number == 0:  # the seed itself
        return bytes(data)
    if number % 2:
        for _ in range(r.choice([1, 1, 2, 4])):
            if data:
                r.choice(BYTES)(r, data)
        return bytes(data)
    model = onnx.load_from_string(bytes(data))
    for _ in range(r.choice([1, 1, 2, 3])):
        try:
            r.choice(MEANING)(r, model)
        except (ValueError, TypeError):  # the library cannot write it: the other half of the mutants can
            pass
    return model.SerializeToString()


def judge(line):
    """(file, what is wrong or None, what became of it)"""
    path, fate, ms, kib, message = (line.rstrip("\n").split("\t") + [""])[:5]
    if fate == "died":
        return path, message, fate
    if int(ms) > CPU_MS:
        return path, f"{fate} after {ms} ms of CPU: {message}", fate
    if int(kib) > MIB << 10:
        return path, f"{fate} with {int(kib) >> 10} MiB: {message}", fate
    return path, None, fate


def run(seed, numbers):
    with tempfile.TemporaryDirectory(prefix="quern-mutants-") as folder:
        for n in numbers:
            with open(f"{folder}/{n}.onnx", "wb") as f:
                f.write(mutant(seed, n))
        done = subprocess.run([BUILD + "/quern_try_models"], input="".join(f"{folder}/{n}.onnx\n" for n in numbers), capture_output=True, text=True, errors="replace")
    results = [judge(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and len(results) == len(numbers), f"{len(results)} of {len(numbers)} results, exit status {done.returncode}: {done.stderr[-2000:]}"
    wrong = [f"mutant {os.path.basename(path)[:-5]}: {what}" for path, what, _ in results if what]
    if not os.path.isdir(WORD) and results[0][2] != "ran":
        wrong.append(f"the seed itself was {done.stdout.splitlines()[0]}")
    return wrong, {fate: sum(f == fate for _, _, f in results) for fate in ("refused", "ran", "stopped")}, done.stderr


def main():
    seeds = [s for s in SEEDS if WORD in s]
    if os.path.isdir(WORD):
        seeds = sorted(os.path.join(WORD, d, "model.onnx") for d in os.listdir(WORD) if os.path.exists(os.path.join(WORD, d, "model.onnx")))
    failed, total = 0, {}
    for seed in seeds:
        name = seed if seed in MADE else os.path.basename(os.path.dirname(seed)) if seed.endswith("model.onnx") else os.path.basename(seed)[:-5]
        wrong, fates, errors = run(seed, range(1 - -COUNT // len(seeds)))
        for fate, n in fates.items():
            total[fate] = total.get(fate, 0) + n
        if wrong:
            failed += 1
            print(f"not ok mutants of {name}: {len(wrong)} wrong, the first is {wrong[0]}")
            for w in wrong[1:10]:
                print("# " + w)
            print("# " + errors[-3000:].replace("\n", "\n# "))
        else:
            print(f"ok mutants of {name}: {fates}")
    print(f"# {total}")
    sys.exit(failed > 0)


main()
