"""lib.py - what the case files share: a Suite that writes each case as a folder of ONNX's backend tests.

    def cases(S):                                   # in cases_FAMILY.py
        for n in range(20):
            S.case("Softmax", opset=13, attrs={"axis": -1}, inputs=[v.f(2, 3, 4)])
        S.case("Clip", opset=11, inputs=[x, None, high])              # None: an optional input left out
        S.case("Reshape", opset=13, inputs=[x, shape], consts=[1])      # input 1 is an initializer
        S.case("SequenceAt", opset=11, inputs=[[a, b, c], position])    # a list is a sequence; Sequence([], np.float32) an empty one
        S.case("Abs", opset=13, inputs=[Typed(x, BFLOAT16)], out_types=[BFLOAT16])
        S.case("Gelu", domain="com.microsoft", inputs=[x])            # version 1 of that domain, beside ai.onnx 17
        S.model("Loop", "sum of squares", model, {"x": x})            # any model; counted for that op at the model's opset

Values of attributes: int, float, str, lists of them, a numpy array or Typed (a tensor), an onnx GraphProto (a subgraph). Every third case of an op
runs with symbolic dims at its inputs, unless dims= says "static" or "symbolic". values.py has reproducible arrays.

tol: how outputs are compared. None: NEAR below by the output's dtype. A name out of NAMED, or (rtol, share) or (rtol, share, steps) for all.
"""
import os

import numpy as np
from onnx import GraphProto, ModelProto, SequenceProto, TensorProto, helper, mapping, numpy_helper, shape_inference

FLOAT, UINT8, INT8, UINT16, INT16, INT32, INT64, STRING, BOOL = 1, 2, 3, 4, 5, 6, 7, 8, 9
FLOAT16, DOUBLE, UINT32, UINT64, BFLOAT16, UINT4, INT4 = 10, 11, 12, 13, 16, 21, 22
MS = "com.microsoft"

# dtype: rtol, share, atol, steps.  |got - want| <= rtol |want| + share * (the largest finite |want| of the tensor) + atol; integers of 8 and 16
# bits may be `steps` apart. NaN equals NaN, an infinity itself.
NEAR = {
    "f32": (1e-5, 1e-6, 1e-37, 0),
    "f64": (1e-12, 1e-13, 1e-300, 0),
    "f16": (2e-3, 0, 1.2e-7, 0),  # two units in the last place of 11 bits, two subnormal steps
    "bf16": (1.6e-2, 0, 1e-37, 0),  # two of 8 bits
}
NAMED = {
    "exact": (0, 0, 0),
    "step": (1e-5, 1e-6, 1),  # quantized: ties may fall to either side (docs/bits.md)
    "sum": (1e-4, 1e-5, 0),  # long sums, in another order
    "sum16": (2e-3, 1e-3, 0),  # sums of f16: the peer rounds on the way or not
    "half": (2e-3, 2e-3, 0),
}


class Typed:
    """A numpy array as an ONNX type that numpy does not have: BFLOAT16 from floats (rounded), INT4 and UINT4 from integers."""

    def __init__(self, array, kind):
        self.array, self.kind, self.shape = np.asarray(array), kind, np.asarray(array).shape
        if kind == BFLOAT16:
            flat = np.ascontiguousarray(array, np.float32).ravel()
            bits = flat.view(np.uint32).astype(np.uint64)
            rounded = np.where(np.isnan(flat), 0x7FC0, (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)
            self.raw = rounded.astype("<u2").tobytes()
        elif kind in (INT4, UINT4):
            flat = np.asarray(array).astype(np.int64).ravel() & 15
            flat = np.append(flat, [0] * (flat.size % 2)).astype(np.int64)
            self.raw = (flat[0::2] | (flat[1::2] << 4)).astype(np.uint8).tobytes()
        else:
            raise ValueError(f"ONNX type {kind} is one of numpy's")


class Sequence:
    """Of tensors of one dtype; needed only for an empty one."""

    def __init__(self, items, dtype):
        self.items, self.dtype = items, dtype


def kind_of(a):
    if isinstance(a, Typed):
        return a.kind
    return STRING if a.dtype.kind in "OUS" else mapping.NP_TYPE_TO_TENSOR_TYPE[a.dtype]


def to_proto(a, name):
    if isinstance(a, Typed):
        t = TensorProto(name=name, data_type=a.kind, dims=a.shape)
        t.raw_data = a.raw
        return t
    if kind_of(a) == STRING:
        return helper.make_tensor(name, STRING, a.shape, [s if isinstance(s, bytes) else str(s).encode() for s in a.ravel()])
    return numpy_helper.from_array(np.array(a, order="C", copy=False), name)


def attribute(v):
    if isinstance(v, (np.ndarray, Typed)):
        return to_proto(v, "value")
    if isinstance(v, np.generic):
        return v.item()
    return [attribute(e) for e in v] if isinstance(v, (list, tuple)) else v


def make_node(op, inputs, outputs, domain="", attrs=None):
    """An empty list becomes an empty list of ints, which onnx's helper cannot know."""
    attrs = {k: attribute(v) for k, v in (attrs or {}).items()}
    node = helper.make_node(op, inputs, outputs, name="node", domain=domain, **{k: v for k, v in attrs.items() if v != []})
    for k, v in attrs.items():
        if isinstance(v, list) and v == []:
            node.attribute.add(name=k, type=7)
    return node


def array_of(a):
    """What a case may give for a tensor: an array or anything numpy makes one of."""
    return a if isinstance(a, (Typed, Sequence)) or a is None else [array_of(e) for e in a] if isinstance(a, list) else np.asarray(a)


def is_list(a):
    return isinstance(a, (list, Sequence))


def items_of(a):
    return a if isinstance(a, list) else a.items


def item_kind(a):
    return kind_of(a[0]) if isinstance(a, list) else mapping.NP_TYPE_TO_TENSOR_TYPE[np.dtype(a.dtype)] if a.dtype is not object else STRING


def value_info(name, a, symbolic):
    if is_list(a):
        return helper.make_tensor_sequence_value_info(name, item_kind(a), None)
    return helper.make_tensor_value_info(name, kind_of(a), [f"d_{name}_{k}" for k in range(len(a.shape))] if symbolic else a.shape)


def ir_for(opset):
    return 8 if opset <= 18 else 9 if opset <= 20 else 10


def text(v):
    """One word of a case's description."""
    if isinstance(v, list) and v and not isinstance(v[0], (int, float, str)):
        return "[" + " ".join(text(e) for e in v) + "]"
    if isinstance(v, Typed):
        return {BFLOAT16: "bfloat16", INT4: "int4", UINT4: "uint4"}[v.kind] + str(list(v.shape)).replace(" ", "")
    if isinstance(v, np.ndarray):
        return ("string" if v.dtype.kind in "OUS" else v.dtype.name) + str(list(v.shape)).replace(" ", "")
    if isinstance(v, (GraphProto, TensorProto)):
        return type(v).__name__
    return "-" if v is None else str(v).replace(" ", "")


class Case:
    """One model. version: of its op's domain. attrs and inputs as given, for the predicates of reasons.py."""

    def __init__(self, name, folder, op, domain, version, attrs, inputs, note):
        self.name, self.folder, self.op, self.domain, self.version, self.attrs, self.inputs = name, folder, op, domain, version, attrs, inputs
        words = [f"{k}={text(v)}" for k, v in attrs.items()] + [text(a) for a in inputs]
        self.text = " ".join([name, *([note] if note else []), *words])


class Suite:
    def __init__(self, folder, cases, op=None):
        self.folder, self.cases, self.only_op, self.count = folder, cases, op, {}

    def case(self, op, *, opset=None, inputs=(), attrs=None, domain="", consts=(), n_out=1, tol=None, ir=None, dims=None, out_types=None, note="", version=1):
        """One node. consts: which inputs are initializers. n_out: how many outputs, or a list of bools in which False leaves one out.
        out_types: only where a BFLOAT16, INT4 or UINT4 comes out. ir: the file's IR version. version: of the domain, if it is not ai.onnx."""
        if self.only_op not in (None, op):
            return
        inputs, attrs, opset = [array_of(a) for a in inputs], dict(attrs or {}), opset or (17 if domain else 13)
        consts = [i for i in consts if i < len(inputs) and inputs[i] is not None]
        symbolic = dims == "symbolic" or (dims is None and self.count.get((domain, op), 0) % 3 == 2)
        want = [True] * n_out if isinstance(n_out, int) else list(n_out)
        names = ["" if a is None else f"x{i}" for i, a in enumerate(inputs)]
        while names and not names[-1]:
            names.pop()
        node = make_node(op, names, [f"y{i}" if w else "" for i, w in enumerate(want)], domain, attrs)
        given = {i: a for i, a in enumerate(inputs) if a is not None and i not in consts}
        types = out_types or [None] * len(want)
        graph = helper.make_graph(
            [node],
            "case",
            [value_info(f"x{i}", a, symbolic) for i, a in given.items()],
            [helper.make_tensor_value_info(f"y{i}", t, None) if t else helper.make_empty_tensor_value_info(f"y{i}") for i, (w, t) in enumerate(zip(want, types)) if w],
            [to_proto(inputs[i], f"x{i}") for i in consts],
        )
        opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, version)] if domain else [])
        model = helper.make_model(graph, ir_version=ir or ir_for(opset), opset_imports=opsets)
        self.write(op, domain, version if domain else opset, model, {f"x{i}": a for i, a in given.items()}, tol, note, attrs, inputs)

    def model(self, op, name, model, inputs, *, domain="", tol=None):
        """Any model, with its inputs by name: for subgraphs, optionals inside, chains."""
        if self.only_op not in (None, op):
            return
        version = next(o.version for o in model.opset_import if o.domain in (domain, "" if domain else "ai.onnx"))
        inputs = {k: array_of(a) for k, a in inputs.items()}
        self.write(op, domain, version, model, inputs, tol, name, {}, list(inputs.values()))

    def write(self, op, domain, version, model, inputs, tol, note, attrs, given):
        n = self.count[(domain, op)] = self.count.get((domain, op), 0) + 1
        name = f"{domain + '.' if domain else ''}{op}-{version}-{n:03d}"
        folder = f"{self.folder}/{name}"
        os.makedirs(folder + "/test_data_set_0")
        model_bytes = model.SerializeToString()
        put(folder + "/model.onnx", model_bytes)
        peer, outputs, ranks = for_peer(model)
        if peer:
            put(folder + "/peer.onnx", peer.SerializeToString())
        feeds = []
        for i, (key, a) in enumerate(inputs.items()):
            path = f"{folder}/test_data_set_0/input_{i}.pb"
            if not is_list(a):
                put(path, to_proto(a, key).SerializeToString())
                feeds.append(path)
                continue
            items = [to_proto(e, f"{key}_{k}") for k, e in enumerate(items_of(a))]
            put(path, SequenceProto(name=key, elem_type=1, tensor_values=items).SerializeToString())
            for k, e in enumerate(items):
                feeds.append(f"{folder}/peer_{i}_{k}.pb")
                put(feeds[-1], e.SerializeToString())
            if items and peer:
                unpack(peer, key, len(items))
        if peer:
            put(folder + "/peer.onnx", peer.SerializeToString())
        near = NEAR if tol is None else {k: tolerance(tol, v) for k, v in NEAR.items()}
        if tol is not None:
            near.update({k: tolerance(tol, (0, 0, 0, 0)) for k in ("u8", "i8", "u16", "i16")})
        put(folder + "/tolerance", "".join(f"{k} {r:g} {s:g} {a:g} {st}\n" for k, (r, s, a, st) in near.items()).encode())
        case = Case(name, folder, op, domain, version, attrs, given, note)
        case.job = {"folder": folder, "model": folder + ("/peer.onnx" if peer else "/model.onnx"), "feeds": feeds, "outputs": outputs, "lists": ranks}
        self.cases[name] = case


def tolerance(tol, default):
    given = NAMED[tol] if isinstance(tol, str) else tol
    return (given[0], given[1], 0 if tol == "exact" else default[2], int(given[2]) if len(given) > 2 else 0)


def put(path, data):
    with open(path, "wb") as f:
        f.write(data)


# -- the model as ONNX Runtime's binding for node can run it: it takes no BFLOAT16, INT4 and UINT4 tensors and no sequences

CARRIED = {BFLOAT16: FLOAT, INT4: INT8, UINT4: UINT8}
MAY_LIST = {"SequenceConstruct", "SequenceEmpty", "SequenceInsert", "SequenceErase", "SplitToSequence", "SequenceMap", "Identity", "If", "Loop", "Optional",
            "OptionalGetElement"}  # fmt: skip
MOST_ITEMS = 8  # of a sequence that comes out


def sequence_outputs(model):
    """{output: element type} of the outputs that are sequences."""
    found = {o.name: o.type.sequence_type.elem_type.tensor_type.elem_type for o in model.graph.output if o.type.HasField("sequence_type")}
    if not any(n.op_type in MAY_LIST for n in model.graph.node):
        return found
    known = ModelProto()
    known.CopyFrom(model)
    for o in known.opset_import:
        if o.domain in ("", "ai.onnx"):
            o.version = min(o.version, 17)  # the newest that Debian's onnx knows; nothing about sequences changed since
    try:
        known = shape_inference.infer_shapes(known)
    except Exception:  # a model that is wrong: both runtimes are to say so
        return found
    for o in known.graph.output:
        if o.type.HasField("sequence_type"):
            found[o.name] = o.type.sequence_type.elem_type.tensor_type.elem_type
    return found


def for_peer(model):
    """(model or None if it can run as it is, {output: type that comes out there}, {output: how many items are looked for}). Types that the
    binding lacks pass the border as FLOAT or INT8 with Casts behind it; sequences as their elements."""
    outputs = {o.name: o.type.tensor_type.elem_type for o in model.graph.output}
    lists = sequence_outputs(model)
    cast_in = [v for v in model.graph.input if v.type.tensor_type.elem_type in CARRIED]
    cast_out = [v for v in model.graph.output if v.type.tensor_type.elem_type in CARRIED]
    list_in = [v for v in model.graph.input if v.type.HasField("sequence_type")]
    if not cast_in and not cast_out and not list_in and not lists:
        return None, outputs, {}
    peer = ModelProto()
    peer.CopyFrom(model)
    carry(peer, cast_in, cast_out)
    for v in list_in:
        kept = [i for i in peer.graph.input if i.name != v.name]
        del peer.graph.input[:]
        peer.graph.input.extend(kept)
        peer.graph.node.insert(0, helper.make_node("SequenceEmpty", [], [v.name], dtype=v.type.sequence_type.elem_type.tensor_type.elem_type))
    for name, kind in lists.items():
        unroll(peer, name, kind)
    return peer, outputs, {n: MOST_ITEMS for n in lists}


def carry(peer, cast_in, cast_out):
    renamed = {v.name for v in cast_in} | {v.name for v in cast_out}
    for node in peer.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name in renamed:
                    names[i] = name + "_inside"
    for v in cast_in:
        peer.graph.node.insert(0, helper.make_node("Cast", [v.name], [v.name + "_inside"], to=v.type.tensor_type.elem_type))
    for v in cast_out:
        peer.graph.node.append(helper.make_node("Cast", [v.name + "_inside"], [v.name], to=CARRIED[v.type.tensor_type.elem_type]))
    for v in list(peer.graph.input) + list(peer.graph.output):
        if v.name in renamed:
            v.type.tensor_type.elem_type = CARRIED[v.type.tensor_type.elem_type]


def unpack(peer, name, n):
    """The sequence that comes in is made of n tensors."""
    at = next(i for i, node in enumerate(peer.graph.node) if list(node.output) == [name])
    kind = peer.graph.node[at].attribute[0].i
    parts = [f"{name}_{k}" for k in range(n)]
    peer.graph.node[at].CopyFrom(helper.make_node("SequenceConstruct", parts, [name]))
    for part in parts:
        peer.graph.input.append(helper.make_tensor_value_info(part, kind, None))


def unroll(peer, name, kind):
    """The sequence that comes out gives its length NAME_n and elements NAME_0...; those beyond it are empty."""
    kept = [o for o in peer.graph.output if o.name != name]
    del peer.graph.output[:]
    peer.graph.output.extend(kept)
    add = peer.graph.node.append
    add(helper.make_node("SequenceLength", [name], [name + "_n"]))
    peer.graph.output.append(helper.make_tensor_value_info(name + "_n", INT64, []))
    nothing = helper.make_tensor("nothing", kind, [0], [])
    for k in range(MOST_ITEMS):
        item, at, has = f"{name}_{k}", f"{name}_at{k}", f"{name}_has{k}"
        add(helper.make_node("Constant", [], [at], value=helper.make_tensor("at", INT64, [], [k])))
        add(helper.make_node("Less", [at, name + "_n"], [has]))
        some = helper.make_graph([helper.make_node("SequenceAt", [name, at], ["some"])], "some", [], [helper.make_tensor_value_info("some", kind, None)])
        none = helper.make_graph([helper.make_node("Constant", [], ["none"], value=nothing)], "none", [], [helper.make_tensor_value_info("none", kind, None)])
        add(helper.make_node("If", [has], [item], then_branch=some, else_branch=none))
        peer.graph.output.append(helper.make_tensor_value_info(item, kind, None))
