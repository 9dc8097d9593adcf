"""Models that ask for too much, or for what makes no sense: each is refused, at load or when it runs, with a message that names the node, in
two seconds, in bounded memory. The classes are graphs, attributes, indexes, weights and resources (bytes and multiply-adds); sizes come once from an initializer, where they
are known at load, and once as an input of the run."""
import json
import os
import resource
import subprocess
import tempfile
import time

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from harness import QUERN, Daemon, main

MIN, MAX = -(1 << 63), (1 << 63) - 1
SANITIZED = "asan" in QUERN or "tsan" in QUERN
SECONDS, MIB = (20, 2048) if SANITIZED else (2, 256)
X = np.ones((3, 4), np.float32)
IMAGE = np.ones((1, 1, 5, 5), np.float32)
work_folder = tempfile.TemporaryDirectory(prefix="quern-refusals-")
node = helper.make_node
cases = []


class Input:
    def __init__(self, value, shape=None):
        self.value, self.shape = value, list(value.shape) if shape is None else shape


def case(group, what, nodes, constants=(), names_node=True, **inputs):
    cases.append((group, what, nodes, list(constants), names_node, inputs))


def ints(name, value):
    return numpy_helper.from_array(np.array(value, np.int64), name)


def floats(name, value):
    return numpy_helper.from_array(np.array(value, np.float32), name)


def known_and_given(group, what, nodes, values, constants=(), **inputs):
    """The values of `values` as initializers, then as inputs of the run."""
    arrays = {k: np.array(v, np.int64) if not isinstance(v, np.ndarray) else v for k, v in values.items()}
    case(group, what + ", known", nodes, [*constants, *(numpy_helper.from_array(v, k) for k, v in arrays.items())], **inputs)
    case(group, what + ", given", nodes, constants, **inputs, **{k: Input(v) for k, v in arrays.items()})


def shapes():
    def of(op, what, sizes, inputs=("x", "s")):
        given = {} if op == "ConstantOfShape" else {"x": Input(X)}
        known_and_given("resources", f"{op} {what}", [node(op, inputs, ["y"])], {"s": sizes}, **given)

    of("ConstantOfShape", "of 4 TiB", [1 << 20, 1 << 20], ["s"])
    of("ConstantOfShape", "below 0", [-1, 4], ["s"])
    of("ConstantOfShape", "whose product wraps", [4611686018427387906, 4], ["s"])
    of("Expand", "to 48 GiB", [1 << 30, 3, 4])
    of("Expand", "to INT64_MIN", [MIN, 4])
    of("Tile", "2^40 times", [1 << 20, 1 << 20])
    of("Tile", "INT64_MIN times", [MIN, 1])
    of("Pad", "by 2^40", [0, 0, 1 << 40, 1 << 40])
    of("Pad", "by INT64_MIN", [MIN, 0, 0, 0])
    of("Reshape", "with two -1", [-1, -1])
    of("Reshape", "to another count", [5, 5])
    of("Reshape", "to -2", [-2, 3])
    for what, (start, limit, delta) in {"of 2^50": (0, 1 << 50, 1), "by 0": (0, 5, 0), "over all integers": (MIN, MAX, 1)}.items():
        known_and_given("resources", "Range " + what, [node("Range", ["a", "b", "d"], ["y"])], {"a": start, "b": limit, "d": delta})
    for depth in (1 << 50, -1, MIN):
        known_and_given("resources", f"OneHot of depth {depth}", [node("OneHot", ["i", "d", "v"], ["y"])], {"d": depth},
                        [floats("v", [0, 1]), ints("i", [0, 1])])
    for scale in (1e9, -1.0, 0.0, float("nan"), float("inf")):
        known_and_given("resources", f"Resize by {scale}", [node("Resize", ["x", "", "s"], ["y"])],
                        {"s": np.array([1, 1, scale, scale], np.float32)}, x=Input(IMAGE))
    case("resources", "Resize to 2^60", [node("Resize", ["x", "", "", "s"], ["y"])], [ints("s", [1, 1, 1 << 30, 1 << 30])], x=Input(IMAGE))
    chain = [node("Concat", [f"c{i}" if i else "x"] * 2, [f"c{i + 1}" if i < 59 else "y"], axis=0) for i in range(60)]
    case("resources", "Concat that doubles 60 times", chain, x=Input(X))
    case("resources", "MatMul of a column and a row", [node("MatMul", ["a", "b"], ["y"])],
         a=Input(np.ones((1 << 17, 1), np.float32), ["n", 1]), b=Input(np.ones((1, 1 << 17), np.float32), [1, "m"]))


def work():
    """A few bytes of model and of memory that would take hours: known at load where sizes are, else before the step runs."""
    def of(what, nodes, sizes, constants=()):
        known_and_given("resources", what, [node("ConstantOfShape", [k], ["big_" + k]) for k in sizes] + nodes, sizes, constants)

    image, kernel = [1, 1, 4096, 4096], [1, 1, 3001, 3001]  # 2^24 places of 9 million each
    of("Conv of 3001 x 3001", [node("Conv", ["big_x", "big_w"], ["y"], pads=[1500] * 4)], {"x": image, "w": kernel})
    of("ConvTranspose of 3001 x 3001", [node("ConvTranspose", ["big_x", "big_w"], ["y"], pads=[1500] * 4)], {"x": image, "w": kernel})
    of("MaxPool of 3001 x 3001", [node("MaxPool", ["big_x"], ["y"], kernel_shape=[3001, 3001], pads=[1500] * 4)], {"x": image})
    of("NonMaxSuppression of 2^22 boxes", [node("NonMaxSuppression", ["big_b", "big_s", "n"], ["y"])], {"b": [1, 1 << 22, 4], "s": [1, 8, 1 << 22]},
       [ints("n", 1 << 22)])
    of("LSTM of 2^23 steps", [node("LSTM", ["big_x", "big_w", "big_r"], ["", "y"], hidden_size=2048)],
       {"x": [1 << 23, 1, 1], "w": [1, 8192, 1], "r": [1, 8192, 2048]})
    case("resources", "RoiAlign over regions far larger than the image", [node("RoiAlign", ["x", "r", "b"], ["y"], output_height=7, output_width=7)],
         [ints("b", [0] * 2000)], x=Input(np.ones((1, 64, 1, 1), np.float32)), r=Input(np.tile(np.array([0, 0, 7000, 7000], np.float32), (2000, 1))))
    body = helper.make_graph([node("Identity", ["go"], ["on"]), node("Conv", ["v", "big_w"], ["u"], pads=[1500] * 4)], "body",
                             [onnx.ValueInfoProto(name=k) for k in ("i", "go", "v")], [onnx.ValueInfoProto(name=k) for k in ("on", "u")])
    of("a Loop over a Conv of 3001 x 3001", [node("Loop", ["n", "", "big_x"], ["y"], body=body)], {"x": image, "w": kernel}, [ints("n", MAX)])


def attributes():
    w = floats("w", np.ones((2, 1, 3, 3)))
    windows = [("strides", [0, 1]), ("strides", [-1, 1]), ("strides", [MIN, 1]), ("strides", [1]), ("dilations", [0, 1]), ("dilations", [-1, 1]),
               ("dilations", [1 << 62, 1]), ("pads", [-9, 0, 0, 0]), ("pads", [1 << 62] * 4), ("kernel_shape", [0, 0])]
    for name, value in windows:
        case("attributes", f"Conv {name} {value}", [node("Conv", ["x", "w"], ["y"], **{name: value})], [w], x=Input(IMAGE))
        case("attributes", f"MaxPool {name} {value}", [node("MaxPool", ["x"], ["y"], **{"kernel_shape": [2, 2], name: value})], x=Input(IMAGE))
    for group in (0, -1, 1 << 62):
        case("attributes", f"Conv group {group}", [node("Conv", ["x", "w"], ["y"], group=group)], [w], x=Input(IMAGE))
    for op, name, values in (("Softmax", "axis", (9, MIN)), ("Concat", "axis", (5,)), ("Flatten", "axis", (9,)), ("Split", "axis", (MIN,)),
                             ("ArgMax", "axis", (MIN,)), ("Cast", "to", (99, 0, -1)),
                             ("Transpose", "perm", ([0, 0], [0, 7], [MIN, 0], [0]))):
        for value in values:
            case("attributes", f"{op} {name} {value}", [node(op, ["x"], ["y"], **{name: value})], x=Input(X))
    case("attributes", "LayerNormalization axis 7", [node("LayerNormalization", ["x", "s"], ["y"], axis=7)], [floats("s", np.ones(4))], x=Input(X))
    for op, axes in (("CumSum", MIN), ("Unsqueeze", [MIN]), ("Squeeze", [0])):
        known_and_given("attributes", f"{op} along {axes}", [node(op, ["x", "a"], ["y"])], {"a": axes}, x=Input(X))


def indexes():
    for at in (3, -4, MIN, MAX):
        for op, shape, updates in (("Gather", [1], None), ("GatherElements", [1, 1], None), ("GatherND", [1, 1], None),
                                   ("ScatterElements", [1, 1], [1, 1]), ("ScatterND", [1, 1], [1, 4])):
            nodes = [node(op, ["x", "i"] + (["u"] if updates else []), ["y"])]
            known_and_given("indexes", f"{op} at {at}", nodes, {"i": np.full(shape, at, np.int64)},
                            [floats("u", np.ones(updates))] if updates else [], x=Input(X))
    known_and_given("indexes", "Slice by 0", [node("Slice", ["x", "a", "b", "c", "d"], ["y"])], {"a": [0], "b": [3], "c": [0], "d": [0]}, x=Input(X))
    known_and_given("indexes", "Slice along INT64_MIN", [node("Slice", ["x", "a", "b", "c"], ["y"])], {"a": [0], "b": [3], "c": [MIN]}, x=Input(X))


def graphs():
    for what, nodes in {"a cycle": [node("Add", ["x", "b"], ["a"]), node("Neg", ["a"], ["b"]), node("Neg", ["b"], ["y"])],
                        "a node that reads itself": [node("Add", ["x", "y"], ["y"])],
                        "a value nobody makes": [node("Add", ["x", "gone"], ["y"])],
                        "a value made twice": [node("Neg", ["x"], ["y"]), node("Abs", ["x"], ["y"])]}.items():
        case("graphs", what, nodes, x=Input(X))
    pair = [node("SequenceConstruct", ["x", "x"], ["s"])]
    body = helper.make_graph([node("Add", ["a", "b"], ["c"])], "body", [onnx.ValueInfoProto(name="a"), onnx.ValueInfoProto(name="b")], [onnx.ValueInfoProto(name="c")])
    case("graphs", "SequenceMap without its second input", [*pair, node("SequenceMap", ["s", ""], ["t"], body=body), node("SequenceLength", ["t"], ["y"])], x=Input(X))
    for what, inner in {"a cycle": [node("Add", ["x", "q"], ["p"]), node("Neg", ["p"], ["q"])], "a value nobody makes": [node("Add", ["x", "gone"], ["q"])],
                        "a value made twice": [node("Neg", ["x"], ["q"]), node("Abs", ["x"], ["q"])],
                        "a name of the graph around it": [node("Neg", ["x"], ["x"]), node("Neg", ["x"], ["q"])]}.items():
        branch = helper.make_graph(inner, "branch", [], [onnx.ValueInfoProto(name="q")])
        case("graphs", what + " in a branch", [node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)], x=Input(X), c=Input(np.array(True)))
    loop = helper.make_graph([node("Identity", ["go"], ["on"]), node("Neg", ["v"], ["w"])], "body", [onnx.ValueInfoProto(name=k) for k in ("i", "go", "v")],
                             [onnx.ValueInfoProto(name=k) for k in ("on", "w")])
    known_and_given("graphs", "a Loop without an end", [node("Loop", ["n", "", "x"], ["y"], body=loop)], {"n": MAX}, x=Input(X))
    nested = [node("Neg", ["x"], ["y0"])]
    for i in range(40):
        inner = helper.make_graph(nested, "branch", [], [onnx.ValueInfoProto(name=f"y{i}")])
        nested = [node("If", ["c"], [f"y{i + 1}" if i < 39 else "y"], then_branch=inner, else_branch=inner)] if i < 6 else [
            node("If", ["c"], [f"y{i + 1}" if i < 39 else "y"], then_branch=inner, else_branch=helper.make_graph([node("Neg", ["x"], ["z"])], "b", [], [onnx.ValueInfoProto(name="z")]))]
    case("graphs", "40 branches in branches", nested, names_node=False, x=Input(X), c=Input(np.array(True)))


def wrong_attributes():
    """A type that the op does not read would be its default in silence."""
    for op, inputs, attribute, values in (("LeakyRelu", ["x"], "alpha", ["0.1", 1, [0.5]]), ("Softmax", ["x"], "axis", [1.0, "1", [1]]),
                                          ("Transpose", ["x"], "perm", [1, "10", [1.0, 0.0]]), ("Cast", ["x"], "to", [1.0, [1]]), ("Gelu", ["x"], "approximate", [1]),
                                          ("Concat", ["x", "x"], "axis", [[0], 0.0]), ("ReduceMean", ["x"], "keepdims", [0.0, "no"])):
        for value in values:
            case("attributes", f"{op} with {attribute} = {value!r}", [node(op, inputs, ["y"], **{attribute: value})], x=Input(X))


def weights():
    for what, fields in {"16 GiB of nothing": dict(dims=[65536, 65536]), "dims that wrap": dict(dims=[4611686018427387906, 4]),
                         "a negative dim": dict(dims=[-3]), "15 bytes for 4 floats": dict(dims=[4], raw_data=b"\0" * 15)}.items():
        case("weights", what, [node("Add", ["x", "w"], ["y"])], [TensorProto(name="w", data_type=TensorProto.FLOAT, **fields)], False, x=Input(X))


def sparse_tensors():
    """Each lie as an initializer and as the value of a Constant; the first two are none, and say where the values go."""
    def of(indices, shape=None, dims=(2, 4), values=(1, 2, 3)):
        index = helper.make_tensor("", TensorProto.INT64, [len(indices)] if shape is None else shape, indices)
        return onnx.SparseTensorProto(values=floats("w", list(values)), indices=index, dims=list(dims))

    yield "nothing", of([1, 5, 7]), [1, 5, 7]
    yield "nothing", of([0, 0, 0, 3, 1, 2], [3, 2]), [0, 3, 6]
    for what, indices in {"behind the end": [1, 5, 8], "below 0": [-1, 5, 6], "INT64_MIN": [MIN, 1, 2], "INT64_MAX": [1, 2, MAX]}.items():
        yield what, of(indices), "outside its dims"
    for what, indices in {"a column behind the end": [0, 0, 0, 4, 1, 0], "a row behind the end": [0, 0, 1, 0, 2, 0], "a row of INT64_MAX": [MAX, 0, 0, 0, 0, 1]}.items():
        yield what, of(indices, [3, 2]), "outside its dims"
    yield "unsorted", of([5, 1, 6]), "not ascending"
    yield "a duplicate", of([1, 1, 6]), "not ascending"
    yield "unsorted pairs", of([1, 0, 0, 0, 1, 1], [3, 2]), "not ascending"
    yield "a duplicate pair", of([0, 1, 0, 1, 1, 1], [3, 2]), "not ascending"
    yield "indices of rank 3", of([1, 5, 7], [3, 1, 1]), "indices of a sparse tensor have shape"
    yield "indices of rank 0", of([1], []), "indices of a sparse tensor have shape"
    yield "triples for two dims", of([0] * 9, [3, 3]), "indices of a sparse tensor have shape"
    yield "fewer indices than values", of([1, 5]), "indices of a sparse tensor have shape"
    yield "dims that wrap", of([0, 1, 2], dims=(1 << 40, 1 << 40)), "sparse tensor 'w'"
    yield "dims that wrap to 0", of([0, 1, 2], dims=(1 << 32, 1 << 32)), "sparse tensor 'w'"
    yield "dims of 4 TiB", of([0, 1, 2], dims=(1 << 40,)), "weight_bytes"
    yield "a dimension below 0", of([0, 1, 2], dims=(2, -4)), "expected 0 or more"
    yield "no dims", of([0, 1, 2], dims=()), "without dims"
    yield "an empty dimension", of([0, 1, 2], dims=(0, 4)), "outside its dims"
    yield "nine dims", of([0, 1, 2], dims=(1,) * 9), "dimensions"


def name(nodes):
    for i, n in enumerate(nodes):
        n.name = f"node_{i}_{n.op_type}"
        for a in n.attribute:
            name(a.g.node)


def write(folder, nodes, constants, inputs):
    name(nodes)
    values = [helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.value.dtype) if hasattr(helper, "np_dtype_to_tensor_dtype")
                                            else onnx.mapping.NP_TYPE_TO_TENSOR_TYPE[v.value.dtype], v.shape) for k, v in inputs.items()]
    graph = helper.make_graph(nodes, "g", values, [onnx.ValueInfoProto(name="y")], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, folder + "/m.onnx")
    args = [QUERN, "run", folder + "/m.onnx", "--output-dir", folder]
    for k, v in inputs.items():
        np.save(f"{folder}/{k}.npy", v.value)
        args += ["--input", f"{k}={folder}/{k}.npy"]
    return args


def limit_cpu():
    resource.setrlimit(resource.RLIMIT_CPU, (2 * SECONDS, 2 * SECONDS))  # a hang ends


def refuse(what, nodes, constants, names_node, inputs):
    with tempfile.TemporaryDirectory(dir=work_folder.name) as folder:
        args = write(folder, nodes, constants, inputs)
        began = time.monotonic()
        with open(folder + "/said", "w+") as said:
            child = subprocess.Popen(args, stdout=said, stderr=said, preexec_fn=limit_cpu)
            _, status, used = os.wait4(child.pid, 0)  # of this child alone
            child.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            text = said.read()
        took = time.monotonic() - began
    assert child.returncode > 0, f"{what}: exit status {child.returncode}: {text[-300:]}"
    assert "AddressSanitizer" not in text and "runtime error" not in text, f"{what}: {text[:2000]}"
    assert "out of memory" not in text, f"{what}: {text}"
    assert not names_node or "node_" in text, f"{what}: no node is named: {text}"
    assert took < SECONDS, f"{what}: {took:.1f} s"
    assert used.ru_maxrss < MIB << 10, f"{what}: {used.ru_maxrss >> 10} MiB"


def refuse_group(group):
    mine = [c for c in cases if c[0] == group]
    assert mine
    for _, what, nodes, constants, names_node, inputs in mine:
        refuse(what, nodes, constants, names_node, inputs)


def external(**entries):
    """f32 [4] in a file beside the model."""
    t = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for k, v in entries.items():
        t.external_data.add(key=k, value=v)
    return t


def places(t):
    """The models in which t stands where a TensorProto can: name, nodes, what else the graph and the model get."""
    index = ints("", [0, 1, 2, 3])
    other = TensorProto()
    other.CopyFrom(t)
    other.data_type, other.dims[:] = TensorProto.INT64, [2]
    constant = node("Constant", [], ["w"], value=t)
    add = node("Add", ["x", "w"], ["y"])

    def sparse(values, indices):
        return onnx.SparseTensorProto(values=values, indices=indices, dims=[4])

    def branch(nodes, constants=()):
        out = [onnx.ValueInfoProto(name="b")]
        return node("If", ["c"], ["y"], then_branch=helper.make_graph(nodes, "t", [], out, list(constants)),
                    else_branch=helper.make_graph([node("Identity", ["x"], ["b"])], "e", [], out))

    inside = node("Add", ["x", "w"], ["b"])
    yield "an initializer", [add], [t], [], []
    yield "Constant.value", [constant, add], [], [], []
    yield "an attribute of another op", [node("ConstantOfShape", ["s"], ["y"], value=t)], [ints("s", [2])], [], []
    yield "values of a sparse initializer", [add], [], [sparse(t, index)], []
    yield "indices of a sparse initializer", [add], [], [sparse(floats("w", [1, 2]), other)], []
    yield "Constant.sparse_value", [node("Constant", [], ["w"], sparse_value=sparse(t, index)), add], [], [], []
    yield "an initializer of a branch", [branch([inside], [t])], [ints("c", 1)], [], []
    yield "a Constant of a branch", [branch([constant, inside])], [ints("c", 1)], [], []
    yield "a Constant of a function", [node("F", ["x"], ["y"], domain="pkg")], [], [], [
        helper.make_function("pkg", "F", ["x"], ["y"], [constant, add], [helper.make_opsetid("", 17)])]


def external_data_stays_beneath_the_folder_wherever_a_tensor_stands():
    folder = tempfile.mkdtemp(dir=work_folder.name)
    inner = folder + "/models"
    os.makedirs(inner + "/sub")
    for path in (folder + "/outside", inner + "/good", inner + "/sub/good", inner + "/first"):
        with open(path, "wb") as f:
            f.write(np.ones(4, np.float32).tobytes())
    os.symlink("good", inner + "/link")
    os.symlink("sub", inner + "/linked")
    os.link(inner + "/first", inner + "/second")
    os.mkfifo(inner + "/fifo")
    bad = [dict(location=name) for name in (
        "../outside", "sub/../../outside", "sub/../good", folder + "/outside", "/etc/passwd", "/proc/self/environ", "/dev/zero", "link", "linked/good",
        "first", "second", "fifo", "sub", ".", "..", "", "none", "good/x", "a" * 5000)]
    bad += [dict(location="good", **more) for more in (
        dict(offset="-1"), dict(offset="1"), dict(offset="16"), dict(offset=str(1 << 63)), dict(offset=str(1 << 64)), dict(offset="0x0"), dict(offset=" 0"),
        dict(length="-16"), dict(length="15"), dict(length="32"), dict(length=str(1 << 64)), dict(offset=str((1 << 64) - 16), length="16"),
        dict(basepath="/"), dict(Location="good"))]
    bad.append(dict(length="16"))
    count = 0
    for entries in (dict(location="good"), dict(location="sub/good", offset="0", length="16"), *bad):
        for place, nodes, constants, sparse, functions in places(external(**entries)):
            graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])], [onnx.ValueInfoProto(name="y")],
                                      constants)
            graph.sparse_initializer.extend(sparse)
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("pkg", 1)], functions=functions)
            model.ir_version = 8
            with open(inner + "/m.onnx", "wb") as f:
                f.write(model.SerializeToString())
            done = subprocess.run([QUERN, "inspect", inner + "/m.onnx"], capture_output=True, text=True, timeout=SECONDS)
            if entries not in bad:
                if place in ("an initializer", "Constant.value", "values of a sparse initializer", "Constant.sparse_value", "a Constant of a function"):
                    assert done.returncode == 0, f"{place}: {done.stderr}"
                continue
            assert done.returncode > 0 and "external_data" in done.stderr, f"{place}, {entries}: {done.returncode} {done.stderr[-300:]}"
            count += 1
    assert count == 9 * 34


def sparse_tensors_that_lie_are_refused():
    lies = 0
    for what, sparse, said in sparse_tensors():
        for as_constant in (False, True):
            nodes = [node("Mul", ["x", "w"], ["y"])]
            graph = helper.make_graph([node("Constant", [], ["w"], sparse_value=sparse)] * as_constant + nodes, "g",
                                      [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])], [onnx.ValueInfoProto(name="y")])
            if not as_constant:
                graph.sparse_initializer.append(sparse)
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
            model.ir_version = 8
            path = work_folder.name + "/sparse.onnx"
            with open(path, "wb") as f:
                f.write(model.SerializeToString())
            done = subprocess.run([QUERN, "inspect", path], capture_output=True, text=True, timeout=SECONDS, preexec_fn=limit_cpu)
            if isinstance(said, str):
                assert done.returncode > 0 and said in done.stderr and done.stderr.count("\n") == 1, f"{what}: {done.returncode} {done.stderr[-300:]}"
                lies += 1
            else:
                folder = work_folder.name
                np.save(folder + "/x.npy", np.ones((2, 4), np.float32))
                subprocess.run([QUERN, "run", path, "--input", f"x={folder}/x.npy", "--output-dir", folder], check=True, timeout=SECONDS)
                assert np.array_equal(np.load(folder + "/y.npy").ravel()[said], [1, 2, 3]) and np.load(folder + "/y.npy").sum() == 6
    assert lies == 2 * 22, lies


def external_data_beyond_4_GiB_is_read():
    """Offsets of more than 32 bits, in a file that is mostly a hole; and a length that ends behind it."""
    with tempfile.TemporaryDirectory(dir=work_folder.name) as folder:
        numbers = np.arange(1 << 16, dtype=np.float32)
        places = [0, (1 << 31) - 4096, (1 << 32) - 4096, (1 << 32) + 4096, 5 << 30]
        with open(folder + "/weights", "wb") as f:
            for k, at in enumerate(places):
                f.seek(at)
                f.write((numbers + k).tobytes())
            end = f.tell()

        def tensor(k, at):
            t = TensorProto(name=f"w{k}", data_type=TensorProto.FLOAT, dims=[1 << 16], data_location=TensorProto.EXTERNAL)
            for key, value in (("location", "weights"), ("offset", str(at)), ("length", str(4 << 16))):
                t.external_data.add(key=key, value=value)
            return t

        def run(at):
            nodes = [node("Sum", ["x"] + [f"w{k}" for k in range(len(at))], ["y"])]
            args = write(folder, nodes, [tensor(k, a) for k, a in enumerate(at)], {"x": Input(np.zeros(1 << 16, np.float32))})
            return subprocess.run(args, capture_output=True, text=True, timeout=600)

        done = run(places)
        # the third one is overlaid by the fourth from its 2048th number on
        want = sum(np.concatenate([numbers[:2048] + 2, numbers[:-2048] + 3]) if k == 2 else numbers + k for k in range(len(places)))
        assert done.returncode == 0, done.stderr
        assert np.array_equal(np.load(folder + "/y.npy"), want)
        done = run([end - (4 << 16) + 4])
        assert done.returncode > 0 and "beyond the end of 'weights'" in done.stderr, done.stderr
        with open(folder + "/weights", "r+b") as f:
            f.truncate(9 << 30)
        done = run([0])
        assert done.returncode > 0 and "limit file_bytes" in done.stderr, done.stderr


def too_much_work_is_a_4xx_that_says_how_much():
    """At load, where the shapes are fixed, and at a request, where they come with it; smaller requests go on."""
    weights = floats("w", np.ones((64, 8)))

    def publish(models, name, rows):
        os.makedirs(f"{models}/{name}/1")
        graph = helper.make_graph([node("MatMul", ["x", "w"], ["y"], name="product")], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, 64])],
                                  [onnx.ValueInfoProto(name="y")], [weights])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        onnx.save(model, f"{models}/{name}/1/model.onnx")

    def infer(d, rows):
        data = np.ones((rows, 64)).ravel().tolist()
        status, _, body = d.post("/v2/models/free/infer", {"inputs": [{"name": "x", "shape": [rows, 64], "datatype": "FP32", "data": data}]})
        return status, json.loads(body)

    models = tempfile.mkdtemp(dir=work_folder.name)
    publish(models, "free", "n")
    with Daemon(models, "models:\n  limits:\n    run_macs: 5K\n") as d:
        assert infer(d, 9)[0] == 200  # 9 * 64 * 8 = 4608
        status, said = infer(d, 10)
        assert status == 413, (status, said)
        assert "node product (MatMul): 5120 multiply-adds make it 5120 in a run of at most 5000 (limit run_macs)" in said["error"], said
        assert infer(d, 9)[0] == 200
        publish(models, "fixed", 10)
        status, _, body = d.post("/v2/repository/models/fixed/load")
        assert status == 400 and "node product (MatMul): 5120 multiply-adds" in json.loads(body)["error"], (status, body)
        assert infer(d, 9)[0] == 200


def a_loop_without_an_end_meets_deadline_and_limits_over_http():
    """n comes with the request: a few iterations run, 2^63 - 1 end with 504 at the deadline or 413 at a limit, and the worker runs on."""
    body = helper.make_graph([node("Identity", ["go"], ["on"]), node("Neg", ["v"], ["w"])], "body", [onnx.ValueInfoProto(name=k) for k in ("i", "go", "v")],
                             [onnx.ValueInfoProto(name=k) for k in ("on", "w")])
    graph = helper.make_graph([node("Loop", ["n", "", "x"], ["y"], body=body, name="around")], "g", [helper.make_tensor_value_info("n", TensorProto.INT64, []),
                              helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])], [onnx.ValueInfoProto(name="y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    models = tempfile.mkdtemp(dir=work_folder.name)
    os.makedirs(models + "/loop/1")
    onnx.save(model, models + "/loop/1/model.onnx")

    def infer(d, n, ms=60000):
        status, _, body = d.post("/v2/models/loop/infer", {"inputs": [{"name": "n", "shape": [], "datatype": "INT64", "data": [n]},
                                                                      {"name": "x", "shape": [4], "datatype": "FP32", "data": [1, 2, 3, 4]}]},
                                 {"X-Request-Timeout-Ms": str(ms)})
        return status, json.loads(body)

    for limits, ms, want, words in (("loop_steps: 1000000M", 300, 504, "deadline"), ("loop_steps: 1K", 60000, 413, "loop_steps"),
                                    ("run_macs: 100K", 60000, 413, "run_macs")):
        with Daemon(models, f"models:\n  workers: 1\n  limits:\n    {limits}\n") as d:
            for _ in range(2):
                status, said = infer(d, 3)
                assert status == 200 and said["outputs"][0]["data"] == [-1, -2, -3, -4], said
                began = time.monotonic()
                status, said = infer(d, MAX, ms)
                assert status == want and words in said["error"], (limits, status, said)
                assert time.monotonic() - began < 10 * SECONDS, limits


def bombs_are_refused():
    refuse_group("resources")


def attributes_that_make_no_sense_are_refused():
    refuse_group("attributes")


def indexes_out_of_range_are_refused():
    refuse_group("indexes")


def graphs_with_cycles_and_missing_values_are_refused():
    refuse_group("graphs")


def weights_whose_size_lies_are_refused():
    refuse_group("weights")


shapes()
attributes()
wrong_attributes()
indexes()
graphs()
weights()
work()
main([external_data_stays_beneath_the_folder_wherever_a_tensor_stands, external_data_beyond_4_GiB_is_read, sparse_tensors_that_lie_are_refused,
      too_much_work_is_a_4xx_that_says_how_much, a_loop_without_an_end_meets_deadline_and_limits_over_http, bombs_are_refused, attributes_that_make_no_sense_are_refused, indexes_out_of_range_are_refused,
      graphs_with_cycles_and_missing_values_are_refused, weights_whose_size_lies_are_refused])
