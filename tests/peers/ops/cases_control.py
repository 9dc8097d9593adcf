"""If, Loop and Scan: bodies that capture, carry, gather and nest."""
import numpy as np
from onnx import helper, numpy_helper

from lib import BOOL, FLOAT, INT64, ir_for, kind_of
from values import Values

N = helper.make_node


def info(name, kind=FLOAT, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name, a):
    return N("Constant", [], [name], value=numpy_helper.from_array(np.asarray(a), name))


def model(nodes, given, outputs, opset, initializers=()):
    values = [info(k, kind_of(a), a.shape) for k, a in given.items()]
    graph = helper.make_graph(nodes, "case", values, [helper.make_empty_tensor_value_info(o) for o in outputs], [numpy_helper.from_array(a, k) for k, a in initializers])
    return helper.make_model(graph, ir_version=ir_for(opset), opset_imports=[helper.make_opsetid("", opset)])


def conditions(S):
    v = Values("If")
    for n, opset in enumerate((1, 7, 11, 13, 16, 19, 21)):
        for truth in (True, False):
            x, y = v.f(2, 3), v.f(2, 3) if n % 2 else v.f(3, 1)  # branches may differ in shape
            then = helper.make_graph([N("Neg", ["x"], ["t"])], "then", [], [info("t")])
            other = helper.make_graph([N("Abs", ["y"], ["e"])], "else", [], [info("e")])
            given = {"c": np.array(truth) if n % 2 else np.array([truth]), "x": x, "y": y}
            keep = [N("Neg", ["x"], ["kx"]), N("Neg", ["y"], ["ky"])]
            S.model("If", f"{truth}", model([N("If", ["c"], ["z"], then_branch=then, else_branch=other), *keep], given, ["z", "kx", "ky"], max(opset, 6)), given)
            # two outputs of a condition computed inside, and what comes after
            then = helper.make_graph([N("Add", ["x", "x"], ["t"]), constant("u", np.float32(1))], "then", [], [info("t"), info("u")])
            other = helper.make_graph([N("Identity", ["x"], ["e"]), N("ReduceSum", ["x"], ["f"], keepdims=0)], "else", [], [info("e"), info("f")])
            nodes = [N("ReduceSum", ["x"], ["s"], keepdims=0), constant("zero", np.float32(0)), N("Less", ["s", "zero"], ["c"]), N("If", ["c"], ["z", "w"], then_branch=then, else_branch=other), N("Mul", ["z", "w"], ["q"])]
            S.model("If", "two outputs", model(nodes, {"x": x * (1 if truth else -1)}, ["z", "w", "q"], max(opset, 9)), {"x": x * (1 if truth else -1)})
    for n in range(4):  # nested; the inner one captures from two frames
        x = v.f(5)
        inner = helper.make_graph([N("Mul", ["x", "m"], ["i"])], "inner", [], [info("i")])
        inner_else = helper.make_graph([N("Sub", ["x", "m"], ["j"])], "inner_else", [], [info("j")])
        then = helper.make_graph([constant("m", np.float32(3)), N("If", ["b"], ["t"], then_branch=inner, else_branch=inner_else)], "then", [], [info("t")])
        other = helper.make_graph([N("Neg", ["x"], ["e"])], "else", [], [info("e")])
        given = {"a": np.array(n < 3), "b": np.array(n % 2 == 0), "x": x}
        nodes = [N("If", ["a"], ["z"], then_branch=then, else_branch=other), N("Not", ["b"], ["nb"])]
        S.model("If", "nested", model(nodes, given, ["z", "nb"], 13), given)


def loops(S):
    v = Values("Loop")
    for opset in (9, 11, 13, 16, 19, 21):
        for trip in (0, 1, 5):
            # sum of squares; every step's sum is gathered
            body = helper.make_graph([N("Mul", ["x", "x"], ["q"]), N("Add", ["a", "q"], ["b"]), N("Identity", ["b"], ["g"]), N("Identity", ["c"], ["d"])], "body",
                                     [info("i", INT64, []), info("c", BOOL, []), info("a", FLOAT, [3])], [info("d", BOOL, []), info("b", FLOAT, [3]), info("g", FLOAT, [3])])  # fmt: skip
            given = {"n": np.array(trip, np.int64), "go": np.array(True), "x": v.f(3), "a0": v.f(3)}
            S.model("Loop", f"{trip} steps", model([N("Loop", ["n", "go", "a0"], ["y", "all"], body=body)], given, ["y", "all"], opset), given)
        # until a condition; no trip count; two carries change places
        body = helper.make_graph([N("Add", ["a", "x"], ["b"]), N("Less", ["b", "most"], ["d0"]), N("Squeeze" if opset < 13 else "Identity", ["d0"], ["d"]), N("Identity", ["b"], ["p"]), N("Identity", ["k"], ["q"])], "body",
                                 [info("i", INT64, []), info("c", BOOL, []), info("k", FLOAT, []), info("a", FLOAT, [])], [info("d", BOOL, []), info("p", FLOAT, []), info("q", FLOAT, [])])  # fmt: skip
        given = {"go": np.array(True), "x": np.float32(0.75), "k0": np.float32(0.5), "a0": np.float32(0.25), "most": np.float32(3.5)}
        given = {k: np.asarray(a) for k, a in given.items()}
        S.model("Loop", "until", model([N("Loop", ["", "go", "k0", "a0"], ["y", "z"], body=body)], given, ["y", "z"], opset), given)
    for n in range(6):  # the step's number; a carry that grows; a condition false from the start; nested loops
        grow = helper.make_graph([N("Concat", ["a", "x"], ["b"], axis=0), N("Cast", ["i"], ["g"], to=FLOAT), N("Identity", ["c"], ["d"])], "body",
                                 [info("i", INT64, []), info("c", BOOL, []), info("a")], [info("d", BOOL, []), info("b"), info("g", FLOAT, [])])  # fmt: skip
        given = {"n": np.array(n, np.int64), "go": np.array(n != 4), "x": v.f(2, 3), "a0": v.f(1, 3)}
        S.model("Loop", "grows", model([N("Loop", ["n", "go", "a0"], ["y", "all"], body=grow)], given, ["y", "all"], 13 + n), given)
        inner = helper.make_graph([N("Add", ["u", "x"], ["w"]), N("Add", ["w", "a"], ["w2"]), N("Identity", ["ic"], ["id"])], "inner", [info("ii", INT64, []), info("ic", BOOL, []), info("u", FLOAT, [2])], [info("id", BOOL, []), info("w2", FLOAT, [2])])
        outer = helper.make_graph([N("Loop", ["m", "", "a"], ["b"], body=inner), N("Identity", ["b"], ["g"]), N("Identity", ["c"], ["d"])], "outer", [info("i", INT64, []), info("c", BOOL, []), info("a", FLOAT, [2])], [info("d", BOOL, []), info("b", FLOAT, [2]), info("g", FLOAT, [2])])
        given = {"n": np.array(n, np.int64), "m": np.array(3 - n % 4, np.int64), "x": v.f(2), "a0": v.f(2)}
        S.model("Loop", "nested", model([N("Loop", ["n", "", "a0"], ["y", "all"], body=outer)], given, ["y", "all"], 13), given)


def scan_body(op, state=True):
    """Per step: b = a + x, y = op(b, x). Without a state: y = op(x, w) with w captured."""
    if state:
        return helper.make_graph([N("Add", ["a", "x"], ["b"]), N(op, ["b", "x"], ["y"])], "body", [info("a", FLOAT, [3]), info("x", FLOAT, [3])], [info("b", FLOAT, [3]), info("y", FLOAT, [3])])
    return helper.make_graph([N(op, ["x", "w"], ["y"])], "body", [info("x", FLOAT, [3])], [info("y", FLOAT, [3])])


def scans(S):
    v = Values("Scan")
    for n, opset in enumerate((9, 11, 16, 19, 21)):
        for steps in (1, 4, 7):
            op = ("Mul", "Sub", "Max")[n % 3]
            given = {"a0": v.f(3), "xs": v.f(steps, 3)}
            for attrs in ({}, {"scan_input_directions": [1]}, {"scan_output_directions": [1]}):
                S.model("Scan", f"{steps} steps {attrs}", model([N("Scan", ["a0", "xs"], ["b", "ys"], body=scan_body(op), num_scan_inputs=1, **attrs)], given, ["b", "ys"], opset), given)
        given = {"a0": v.f(3), "xs": v.f(3, 5)}
        for axis in (1, -1):
            S.model("Scan", "axes", model([N("Scan", ["a0", "xs"], ["b", "ys"], body=scan_body("Mul"), num_scan_inputs=1, scan_input_axes=[axis], scan_output_axes=[axis])], given, ["b", "ys"], max(opset, 11)), given)
        given = {"w": v.f(3), "xs": v.f(4, 3)}
        S.model("Scan", "captures", model([N("Scan", ["xs"], ["ys"], body=scan_body("Mul", False), num_scan_inputs=1)], given, ["ys"], opset), given)
        two = helper.make_graph([N("Mul", ["p", "q"], ["r"]), N("Add", ["a", "r"], ["b"]), N("Neg", ["r"], ["s"])], "body", [info("a", FLOAT, [2]), info("p", FLOAT, [2]), info("q", FLOAT, [2])], [info("b", FLOAT, [2]), info("r", FLOAT, [2]), info("s", FLOAT, [2])])
        given = {"a0": v.f(2), "ps": v.f(5, 2), "qs": v.f(5, 2)}
        S.model("Scan", "two lists", model([N("Scan", ["a0", "ps", "qs"], ["b", "rs", "ss"], body=two, num_scan_inputs=2, scan_input_directions=[0, 1])], given, ["b", "rs", "ss"], opset), given)
    for n in range(24):  # opset 8: a batch in front of everything, and how many steps each row has
        batch, steps = 1 + n % 3, 1 + n % 5
        given = {"a0": v.f(batch, 3), "xs": v.f(batch, steps, 3)}
        attrs = {"directions": [1]} if n % 4 == 3 else {}
        first = ""
        if n % 2:
            given["lens"] = v.i((batch,), 1, steps)
            first = "lens"
        S.model("Scan", f"batch {batch} of {steps}", model([N("Scan", [first, "a0", "xs"], ["b", "ys"], body=scan_body(("Mul", "Sub", "Max")[n % 3]), num_scan_inputs=1, **attrs)], given, ["b", "ys"], 8), given)


def cases(S):
    conditions(S)
    loops(S)
    scans(S)
