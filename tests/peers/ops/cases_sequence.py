"""Sequences and optionals."""
import numpy as np
from onnx import helper

from lib import FLOAT, INT64, STRING, Sequence, ir_for, kind_of
from values import Values, i64

WORDS = np.array(["a", "", "ä", "long words of more than 16 bytes"], object)


def lists(v):
    """Of equal and of different shapes, of every kind of element, of one and of none."""
    yield [v.f(2, 3), v.f(2, 3), v.f(2, 3)]
    yield [v.f(2), v.f(3, 1), v.f(), v.f(0, 4)]
    yield [v.any((2, 2), np.int64), v.any((2, 2), np.int64)]
    yield [v.f(4)]
    yield [v.any((3,), np.float64), v.any((3,), np.float64)]
    yield [v.any((3,), np.bool_), v.any((1,), np.bool_)]
    yield [v.any((3,), np.uint8), v.any((3,), np.uint8), v.any((2,), np.uint8), v.any((3,), np.uint8), v.any((3,), np.uint8)]
    yield [v.any((2,), np.int32), v.any((3,), np.int32)]
    yield [WORDS, WORDS[:2]]


def positions(n, last):
    return [np.array(p, np.int64 if k % 2 else np.int32) for k, p in enumerate(sorted({0, n // 2, last, -1, -n}))]


def elements(S):
    for n, xs in enumerate(lists(Values("sequences"))):
        v, k = Values(f"sequences {n}"), len(xs)
        S.case("SequenceLength", opset=11, inputs=[xs])
        S.case("SequenceLength", opset=21, inputs=[xs[:1]])
        S.case("SequenceLength", opset=13, inputs=[xs + xs[::-1]])
        S.case("SequenceConstruct", opset=11, inputs=xs)
        S.case("SequenceConstruct", opset=17, inputs=xs[::-1], consts=[0])
        S.case("SequenceConstruct", opset=21, inputs=xs[:1] * 3)
        for p in positions(k, k - 1):
            S.case("SequenceAt", opset=11 + n % 3, inputs=[xs, p], consts=[1] if n % 2 else [])
            S.case("SequenceErase", opset=11 + n % 3, inputs=[xs, p], consts=[1] if n % 2 else [])
        S.case("SequenceErase", opset=11, inputs=[xs])
        for p in positions(k, k):
            S.case("SequenceInsert", opset=11 + n % 3, inputs=[xs, xs[0], p], consts=[2] if n % 2 else [])
        S.case("SequenceInsert", opset=11, inputs=[xs, xs[-1]])
        S.case("SequenceInsert", opset=11, inputs=[Sequence([], xs[0].dtype), xs[0]])
        S.case("SequenceLength", opset=11, inputs=[Sequence([], xs[0].dtype)])
    for bad in (3, -4, 100):
        S.case("SequenceAt", opset=11, inputs=[[Values("at").f(2)] * 3, np.int64(bad)])


def chain(nodes, inputs, outputs, opset=17):
    values = [helper.make_tensor_value_info(k, kind_of(a), a.shape) for k, a in inputs.items()]
    graph = helper.make_graph(nodes, "case", values, [helper.make_empty_tensor_value_info(o) for o in outputs])
    return helper.make_model(graph, ir_version=ir_for(opset), opset_imports=[helper.make_opsetid("", opset)])


def empty(S):
    """An empty sequence is seen by what is done with it."""
    v, n = Values("SequenceEmpty"), helper.make_node
    for k, (dtype, kind) in enumerate([(np.float32, FLOAT), (np.int64, INT64), (np.float64, 11), (np.bool_, 9), (np.int32, 6), (np.uint8, 2), (object, STRING), (np.float16, 10)]):
        x = WORDS if dtype is object else v.any((2, 3), dtype)
        attrs = {} if dtype is np.float32 and k % 2 == 0 else {"dtype": kind}
        for opset in (11, 17):
            make = n("SequenceEmpty", [], ["s"], **attrs)
            S.model("SequenceEmpty", f"length of none, {kind}", chain([make, n("SequenceLength", ["s"], ["y"]), n("Identity", ["x"], ["z"])], {"x": x}, ["y", "z"], opset), {"x": x})
            S.model("SequenceEmpty", f"one put in, {kind}", chain([make, n("SequenceInsert", ["s", "x"], ["t"]), n("SequenceInsert", ["t", "x"], ["y"])], {"x": x}, ["y"], opset), {"x": x})


def split(S):
    v = Values("SplitToSequence")
    for n, (shape, axis, parts) in enumerate([((6, 2), 0, None), ((6, 2), 0, 2), ((6, 2), 0, 4), ((6, 2), 1, [1, 1]), ((6, 2), -2, [1, 2, 3]), ((2, 5, 3), 1, [0, 5]), ((2, 5, 3), 1, 3), ((2, 5, 3), -1, None), ((4,), 0, [4]), ((7,), 0, 7), ((2, 5, 3), 2, [2, 1]), ((3, 4), 1, 1)]):
        more = [] if parts is None else [i64(*parts) if isinstance(parts, list) else np.int64(parts)]
        attrs = {"axis": axis} if axis or n % 2 else {}
        S.case("SplitToSequence", opset=11, attrs=attrs, inputs=[v.f(*shape), *more], consts=[1])
        S.case("SplitToSequence", opset=17, attrs=attrs, inputs=[v.i(shape, -9, 9), *[m.astype(np.int32) for m in more]], consts=[1])
        if parts is None:
            S.case("SplitToSequence", opset=11, attrs={**attrs, "keepdims": 0}, inputs=[v.f(*shape)])
            S.case("SplitToSequence", opset=11, attrs={**attrs, "keepdims": 1}, inputs=[v.f(*shape)])
    for wrong in ([3, 4], [-1, 7], [7]):
        S.case("SplitToSequence", opset=11, inputs=[v.f(6, 2), i64(*wrong)], consts=[1])


def concat(S):
    v = Values("ConcatFromSequence")
    for n, (shapes, axis) in enumerate([([(2, 3), (4, 3)], 0), ([(2, 3), (2, 1), (2, 2)], 1), ([(2, 3), (2, 1)], -1), ([(2,), (0,), (3,)], 0), ([(2, 3, 4)], 1), ([(2, 3, 4), (2, 5, 4)], -2)]):
        for dtype in (np.float32, np.int64):
            S.case("ConcatFromSequence", opset=11 + n % 3, attrs={"axis": axis}, inputs=[[v.any(s, dtype) for s in shapes]])
    for axis in (0, 1, 2, -1, -3):
        for dtype in (np.float32, np.int64):
            S.case("ConcatFromSequence", opset=11, attrs={"axis": axis, "new_axis": 1}, inputs=[[v.any((2, 3), dtype) for _ in range(3)]])
    for shapes in ([(2, 3), (2, 4)], [(2, 3), (2, 3, 1)]):
        S.case("ConcatFromSequence", opset=11, attrs={"axis": 0}, inputs=[[v.f(*s) for s in shapes]])


def mapped(S):
    """Bodies of one and two inputs, with captures, over sequences and tensors."""
    v, n = Values("SequenceMap"), helper.make_node
    for k in range(22):
        kind = (np.float32, np.int64)[k % 2]
        xs = [v.any((3,) if k % 3 else (2 + i,), kind) for i in range(1 + k % 4)]
        other = v.any((1,), kind)

        def info(name):
            return helper.make_tensor_value_info(name, kind_of(other), None)

        ops = ["Add", "Mul", "Sub", "Max"]
        if k < 8:  # the second input is a tensor: the same for all
            body = helper.make_graph([n(ops[k % 4], ["a", "b"], ["c"])], "body", [info("a"), info("b")], [info("c")])
            nodes = [n("SequenceMap", ["xs", "o"], ["y"], body=body)]
        elif k < 15:  # captured
            body = helper.make_graph([n(ops[k % 4], ["a", "o"], ["c"])], "body", [info("a")], [info("c")])
            nodes = [n("SequenceMap", ["xs"], ["y"], body=body)]
        else:  # two sequences
            body = helper.make_graph([n(ops[k % 4], ["a", "b"], ["c"])], "body", [info("a"), info("b")], [info("c")])
            nodes = [n("SequenceMap", ["xs", "xs"], ["y"], body=body)]
        lister = n("SequenceConstruct", [f"x{i}" for i in range(len(xs))], ["xs"])
        given = {**{f"x{i}": x for i, x in enumerate(xs)}, "o": other}
        keep = n("Identity", ["o"], ["kept"])
        S.model("SequenceMap", f"{ops[k % 4]} over {len(xs)}", chain([lister, *nodes, keep], given, ["y", "kept"]), given)


def optionals(S):
    v, n = Values("Optional"), helper.make_node
    for k in range(24):
        kind = (np.float32, np.int64, np.float64, np.bool_, np.int32, np.uint8)[k % 6]
        x = v.any(((2, 3), (), (0, 2), (5,))[k % 4], kind)
        opset = (15, 17, 18, 21)[k % 4]
        if k % 2:
            nodes = [n("Optional", ["x"], ["o"]), n("OptionalGetElement", ["o"], ["y"]), n("OptionalHasElement", ["o"], ["z"])]
        else:
            nodes = [n("SequenceConstruct", ["x", "x"], ["s"]), n("Optional", ["s"], ["o"]), n("OptionalGetElement", ["o"], ["t"]), n("SequenceAt", ["t", "one"], ["y"]), n("OptionalHasElement", ["o"], ["z"])]
            nodes.insert(0, n("Constant", [], ["one"], value=helper.make_tensor("one", INT64, [], [1])))
        for op in ("Optional", "OptionalGetElement", "OptionalHasElement"):
            S.model(op, f"{kind.__name__} k={k}", chain(nodes, {"x": x}, ["y", "z"], opset), {"x": x})
    for k, kind in enumerate((FLOAT, INT64, STRING)):
        of = helper.make_tensor_type_proto(kind, [2])
        nodes = [n("Optional", [], ["o"], type=of), n("OptionalHasElement", ["o"], ["z"]), n("Identity", ["x"], ["y"])]
        S.model("OptionalHasElement", f"nothing of {kind}", chain(nodes, {"x": v.f(2)}, ["z", "y"]), {"x": v.f(2)})
    S.case("OptionalGetElement", opset=18, inputs=[v.f(2, 3)])
    S.case("OptionalHasElement", opset=18, inputs=[v.f(2, 3)])
    S.case("OptionalHasElement", opset=18)


def cases(S):
    for family in (elements, empty, split, concat, mapped, optionals):
        family(S)
