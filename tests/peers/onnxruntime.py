#!/usr/bin/python3
"""onnxruntime.py QUERN: Quern and ONNX Runtime on the same models in the same minute. Called by test_onnxruntime.sh.

What must be equal to the bit is every 8-bit value after a QuantizeLinear (outputs.py says why ONNX Runtime still fuses then).
"""
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnx

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "e2e"), HERE]
sys.dont_write_bytecode = True

from harness import QUERN, ROOT, fashion_test_set, main  # noqa: E402
from outputs import with_outputs_before_quantization, with_quantized_outputs  # noqa: E402
from patterns import patterns  # noqa: E402

FIXTURES = os.path.join(ROOT, "tests", "fixtures")
OWN_ARITHMETIC = ["Add", "Mul", "AveragePool"]  # com.microsoft QLinearAdd, QLinearMul, QLinearAveragePool
work = tempfile.mkdtemp(prefix="quern-peer-")


def load(folder):
    return {f[:-4]: np.load(os.path.join(folder, f)) for f in os.listdir(folder)}


class Case:
    """A model and inputs, in a folder of its own."""

    def __init__(self, name, model, inputs):
        self.name, self.model, self.folder = name, model, tempfile.mkdtemp(dir=work)
        onnx.save(model, self.folder + "/model.onnx")
        for file, add_outputs in (("wide", with_quantized_outputs), ("exact", with_outputs_before_quantization)):
            copy = onnx.ModelProto()
            copy.CopyFrom(model)
            onnx.save(add_outputs(copy), f"{self.folder}/{file}.onnx")
        os.mkdir(self.folder + "/in")
        for key, a in inputs.items():
            np.save(f"{self.folder}/in/{key}.npy", a)

    def quern(self, *options):
        args = [a for f in os.listdir(self.folder + "/in") for a in ("--input", f"{f[:-4]}={self.folder}/in/{f}")]
        p = subprocess.run([QUERN, "run", self.folder + "/model.onnx", *args, "--output-dir", self.folder + "/quern", *options], capture_output=True, text=True)
        assert p.returncode == 0, f"{self.name}: {p.stderr}"
        return load(self.folder + "/quern")


def onnxruntime(cases, file="wide.onnx", level="all"):
    args = [f"{c.folder}/{f}" for c in cases for f in (file, "in", "peer")]
    p = subprocess.run(["node", HERE + "/ort.js", level, *args], capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    return [load(c.folder + "/peer") for c in cases]


def differences(got, want):
    """One line a value that differs; [] if every 8-bit value is equal to the bit and every other one close."""
    lines = []
    for key, a in sorted(want.items(), reverse=True):
        if key not in got:
            lines.append(f"{key} is missing")
        elif got[key].dtype != a.dtype or got[key].shape != a.shape:
            lines.append(f"{key} is {got[key].dtype}{got[key].shape}, not {a.dtype}{a.shape}")
        elif a.dtype in (np.uint8, np.int8):
            d = got[key].astype(int) - a.astype(int)
            if d.any():
                lines.append(f"{key}: {int((d != 0).sum())} of {d.size} differ, by up to {np.abs(d).max()}")
        elif not np.allclose(got[key], a, rtol=1e-3, atol=1e-4 * np.abs(a).max()):
            lines.append(f"{key} is {np.abs(got[key] - a).max()} away, of {np.abs(a).max()}")
    return lines


def report(bad, n):
    for name, lines in bad.items():
        print("\n".join(f"# {name}: {line}" for line in lines))
    assert not bad, f"{len(bad)} of {n} differ: " + "; ".join(f"{name}: {lines[0]}" for name, lines in bad.items())


def agree(cases):
    bad = {}
    for case, want in zip(cases, onnxruntime(cases)):
        lines = differences(case.quern("--all-values"), want)
        if lines:
            bad[case.name] = lines
    report(bad, len(cases))


def agree_but_for_ties(cases):
    """For operators that ONNX Runtime fuses to an arithmetic of its own, in which x/scale + zero_point is rounded as one number, so
    that halves go to an even result and not to an even x/scale; and its float operations come in another order. A value may
    differ by one step where the real number lies within 1e-4 of half a step, and nowhere else."""
    bad = {}
    fused = onnxruntime(cases)
    exact = onnxruntime(cases, "exact.onnx", "disabled")
    for case, want, real in zip(cases, fused, exact):
        got = case.quern("--all-values")
        node = next(n for n in case.model.graph.node if n.output[0] == "y_q")
        scale = next(onnx.numpy_helper.to_array(i) for i in case.model.graph.initializer if i.name == node.input[1])
        steps = real[node.input[0]].astype(np.float64) / float(scale)
        d = got["y_q"].astype(int) - want["y_q"].astype(int)
        wrong = (np.abs(d) > 1) | ((d != 0) & (np.abs(steps - np.floor(steps) - 0.5) > 1e-4))
        if wrong.any():
            bad[case.name] = [f"y_q: {int(wrong.sum())} of {d.size} differ and are no ties"]
        elif d.any():
            print(f"# {case.name}: {int((d != 0).sum())} of {d.size} differ, all of them ties")
    report(bad, len(cases))


def fashion_model():
    raw = subprocess.run(["zstd", "-dqc", ROOT + "/models/fashion/1/model.onnx.zst"], check=True, capture_output=True).stdout
    return onnx.load_from_string(raw)


def fashion_has_the_same_bits_after_every_QuantizeLinear():
    x, _ = fashion_test_set()
    agree([Case("fashion, 1000 test images", fashion_model(), {"image": x[:1000]}), Case("fashion, one image", fashion_model(), {"image": x[1000:1001]})])


def fashion_has_the_same_accuracy():
    x, y = fashion_test_set()
    cases = [Case(f"fashion {i}", fashion_model(), {"image": x[i : i + 1000]}) for i in range(0, len(x), 1000)]
    theirs = np.concatenate([r["probs"] for r in onnxruntime(cases, "model.onnx")])
    ours = np.concatenate([c.quern()["probs"] for c in cases])
    right = [int((p.argmax(1) == y).sum()) for p in (ours, theirs)]
    print(f"# right of {len(y)}: Quern {right[0]}, ONNX Runtime {right[1]}; probabilities differ by up to {np.abs(ours - theirs).max():.2g}")
    assert right[0] == right[1], right
    assert (ours.argmax(1) == theirs.argmax(1)).all()


def fixtures_agree():
    cases = []
    for name in sorted(os.listdir(FIXTURES)):
        if not os.path.exists(f"{FIXTURES}/{name}/model.onnx"):
            continue
        for batch in ("b1", "b3"):
            cases.append(Case(f"{name} {batch}", onnx.load(f"{FIXTURES}/{name}/model.onnx"), load(f"{FIXTURES}/{name}/{batch}/in")))
    agree(cases)


def family(word):
    def test():
        cases = [Case(*p) for p in patterns() if p[0].startswith(word)]
        assert cases, word
        check(cases)

    check = agree_but_for_ties if word in OWN_ARITHMETIC else agree
    test.__name__ = f"patterns of {word}: {check.__name__}"
    return test


try:
    words = sorted({name.replace(",", "").split()[0] for name, _, _ in patterns()})
    main([fashion_has_the_same_bits_after_every_QuantizeLinear, fashion_has_the_same_accuracy, fixtures_agree] + [family(w) for w in words])
finally:
    shutil.rmtree(work)
