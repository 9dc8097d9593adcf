"""LSTM, GRU and RNN: every input left out and given, every attribute."""
import numpy as np

from values import Values, cycle

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
ACTS = {"RNN": 1, "GRU": 2, "LSTM": 3}
NAMES = ["Relu", "Tanh", "Sigmoid", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu", "Softsign", "Softplus"]
TOL = (1e-4, 2e-6)  # a step's rounding goes on to the next
DIRECTIONS = ["forward", "reverse", "bidirectional"]


def inputs(v, op, size, direction, bias=False, lens=False, state=False, cell=False, peep=False, layout=0):
    seq, batch, n_in, h = size
    d, g = (2 if direction == "bidirectional" else 1), GATES[op]
    k = 1 / np.sqrt(h)
    states = (batch, d, h) if layout else (d, batch, h)
    out = [v.f(*((batch, seq) if layout else (seq, batch)), n_in), v.f(d, g * h, n_in, lo=-k, hi=k), v.f(d, g * h, h, lo=-k, hi=k)]
    out.append(v.f(d, 2 * g * h, lo=-k, hi=k) if bias else None)
    out.append(v.i((batch,), 1, seq, np.int32) if lens else None)
    out.append(v.f(*states) if state else None)
    if op == "LSTM":
        out.append(v.f(*states) if cell else None)
        out.append(v.f(d, 3 * h, lo=-k, hi=k) if peep else None)
    while out[-1] is None:
        out.pop()
    return out


def family(S, op):
    v, opsets = Values(op), cycle([7, 14, 21])
    n_out = 3 if op == "LSTM" else 2

    def case(size, direction, attrs=None, layout=0, opset=None, n_out=n_out, **given):
        attrs = {"hidden_size": size[3], "direction": direction, **(attrs or {}), **({"layout": 1} if layout else {})}
        S.case(op, opset=opset or next(opsets), attrs=attrs, inputs=inputs(v, op, size, direction, layout=layout, **given), n_out=n_out, consts=[1, 2, 3], tol=TOL)

    for size in [(1, 1, 1, 1), (5, 2, 3, 4), (7, 3, 5, 17), (2, 1, 33, 32), (13, 4, 8, 5)]:
        for direction in DIRECTIONS:
            case(size, direction)
            case(size, direction, bias=True, state=True, cell=True)
            case(size, direction, bias=True, lens=True)
            case(size, direction, bias=True, lens=True, state=True)
            if op == "LSTM":
                case(size, direction, bias=True, peep=True)
                case(size, direction, bias=True, lens=True, cell=True, peep=True)
                case(size, direction, {"input_forget": 1}, bias=True, cell=True)
                case(size, direction, {"input_forget": 1}, bias=True, peep=True, lens=True)
            if op == "GRU":
                case(size, direction, {"linear_before_reset": 1})
                case(size, direction, {"linear_before_reset": 1}, bias=True, state=True)
                case(size, direction, {"linear_before_reset": 1}, bias=True, state=True, lens=True)
            case(size, direction, {"clip": 0.3}, bias=True, state=True)
            case(size, direction, {"clip": 0.05}, lens=True)
    for direction in DIRECTIONS:
        case((5, 2, 3, 4), direction, layout=1, opset=14, bias=True)
        case((5, 2, 3, 4), direction, layout=1, opset=14, bias=True, state=True, cell=True, lens=True)
        case((5, 1, 3, 4), direction, layout=1, opset=21, bias=True)
        case((5, 2, 3, 4), direction, n_out=1, bias=True)
        d = 2 if direction == "bidirectional" else 1
        for first in range(len(NAMES)):
            names = [NAMES[(first + 4 * a) % len(NAMES)] for a in range(ACTS[op])]
            if op != "RNN" and first % 2:
                names[0] = "Sigmoid"
            names = names * d
            case((4, 2, 3, 5), direction, {"activations": names}, bias=True)
            if first % 3 == 0:
                attrs = {"activations": names}
                alphas = [x for x in names if x in ("Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu")]
                betas = [x for x in names if x in ("Affine", "ScaledTanh", "HardSigmoid")]
                if alphas:
                    attrs["activation_alpha"] = [round(float(v.f(lo=0.1, hi=0.6)), 2) for _ in alphas]
                if betas:
                    attrs["activation_beta"] = [round(float(v.f(lo=0.1, hi=0.6)), 2) for _ in betas]
                case((4, 2, 3, 5), direction, attrs, bias=True, state=True)
                case((4, 2, 3, 5), direction, {**attrs, "clip": 0.5}, bias=True, lens=True)
    for name, alpha, beta in [("Affine", 0.7, 0.2), ("LeakyRelu", 0.3, None), ("ThresholdedRelu", 0.2, None), ("ScaledTanh", 0.6, 1.4), ("HardSigmoid", 0.3, 0.4), ("Elu", 0.8, None)]:
        attrs = {"activations": ([name] if op == "RNN" else ["Sigmoid", name] if op == "GRU" else ["Sigmoid", name, "Tanh"]), "activation_alpha": [alpha]}
        if beta is not None:
            attrs["activation_beta"] = [beta]
        case((4, 2, 3, 5), "forward", attrs, bias=True)
        attrs = {**attrs, "activations": attrs["activations"] * 2, "activation_alpha": [alpha, 0.5]}
        if beta is not None:
            attrs["activation_beta"] = [beta, 0.25]
        case((4, 2, 3, 5), "bidirectional", attrs, bias=True)
    long = inputs(v, op, (6, 3, 4, 5), "forward", bias=True, lens=True)
    long[4] = np.array([6, 0, 3], np.int32)
    S.case(op, opset=14, attrs={"hidden_size": 5}, inputs=long, n_out=n_out, consts=[1, 2, 3], tol=TOL)
    S.case(op, opset=14, attrs={"hidden_size": 5}, inputs=inputs(v, op, (6, 3, 4, 5), "forward", bias=True), n_out=n_out, consts=[], tol=TOL)


def cases(S):
    for op in ("RNN", "GRU", "LSTM"):
        family(S, op)
