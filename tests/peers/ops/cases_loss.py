"""SoftmaxCrossEntropyLoss and NegativeLogLikelihoodLoss."""
import numpy as np

from values import Values, cycle

SHAPES = [(3, 5), (1, 2), (67, 3), (2, 5, 4), (3, 5, 2, 3), (2, 3, 2, 2, 2), (5, 130)]


def cases(S):
    for op in ("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss"):
        v, opsets = Values(op), cycle([12, 13, 22] if op[0] == "N" else [12, 13, 21])
        for n, shape in enumerate(SHAPES):
            for reduction in (None, "none", "sum", "mean"):
                for weights in (False, True):
                    for ignore in (None, 1):
                        attrs = {**({"reduction": reduction} if reduction else {}), **({"ignore_index": ignore} if ignore is not None else {})}
                        labels = v.i((shape[0], *shape[2:]), 0, shape[1] - 1, np.int64 if n % 2 else np.int32)
                        labels.flat[0] = 0  # not all of them may be ignored: a mean of nothing has no value
                        x = v.f(*shape, lo=-4, hi=4) if op[0] == "S" else np.log(v.f(*shape, lo=0.01, hi=1))
                        inputs = [x, labels] + ([v.f(shape[1], lo=0.2, hi=2)] if weights else [])
                        S.case(op, opset=next(opsets), attrs=attrs, inputs=inputs, n_out=2 if op[0] == "S" and n % 2 else 1, tol="sum")
        labels = np.array([0, -100, 2], np.int64)
        S.case(op, opset=13, attrs={"ignore_index": -100}, inputs=[v.f(3, 5), labels], tol="sum")
