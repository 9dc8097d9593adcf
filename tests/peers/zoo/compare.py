#!/usr/bin/python3
"""compare.py QUERN [WORD]: whole models in Quern and in ONNX Runtime 1.30. Called by ../test_zoo.sh; WORD picks models by name.

- zoo: exports of export.py, kept in build/zoo (or $QUERN_ZOO); the large ones are made again every time; some also in 16 bits (half.py);
- real: trained models out of npm packages, the table in real.py.

Every output must have ONNX Runtime's type and shape and be within 1e-3 of its value plus 1e-4 of the tensor's largest (f16: 1e-2 of
the largest); integers must be equal. Of some models every value between is compared as well. Where the rows of a batch do not know each other, the middle row of three
must have the same bits when it runs alone. Times are told, never judged.
"""
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "..", "e2e"), HERE]
sys.dont_write_bytecode = True

from half import half  # noqa: E402
from harness import QUERN, ROOT  # noqa: E402

RTOL, ATOL = 1e-3, 1e-4
HALF_ATOL = 1e-2  # of f16 values: each is rounded to 11 bits, and ONNX Runtime fuses and so skips some of the roundings
FLOOR = 1e-7  # ONNX Runtime's Sigmoid errs by that much: of -15.29, where 2.289e-7 is right, it says 2.086e-7
HALVES = ["resnet18", "squeezenet1_1", "minilm", "gru", "dcgan"]
KEEP_BYTES = 150 << 20  # a larger model is not kept between runs
TIMEOUT = 300
ZOO_DIR = os.path.abspath(os.environ.get("QUERN_ZOO", os.path.join(ROOT, "build", "zoo")))
NPM = os.path.abspath(os.environ.get("QUERN_NPM", os.path.join(ROOT, "build", "npm")))


class Fault(Exception):
    """What a `not ok` line says."""


def file_name(value):
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in value) + ".npy"


def load(folder):
    return {f: np.load(os.path.join(folder, f)) for f in sorted(os.listdir(folder)) if f.endswith(".npy")}


class Peer:
    """ONNX Runtime at work beside us: one process that loads the model once and runs every case."""

    def __init__(self, model, cases, outs, level="all"):
        pairs = [p for case, out in zip(cases, outs) for p in (case, out)]
        self.process = subprocess.Popen(["node", HERE + "/peer.js", level, model, *pairs], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait(self):
        out, err = self.process.communicate(timeout=TIMEOUT)
        if self.process.returncode != 0:
            raise Fault("ONNX Runtime: " + (err.strip().splitlines() or ["died"])[-1][:300])
        return json.loads(out)


def quern(*args):
    p = subprocess.run([QUERN, *args], capture_output=True, text=True, timeout=TIMEOUT)
    if p.returncode != 0:
        raise Fault(f"quern {args[0]}: exit status {p.returncode}: " + (p.stderr.strip().splitlines() or [""])[-1][:300])
    return p.stdout


def quern_run(model, inputs, case, out, *options):
    shutil.rmtree(out, ignore_errors=True)
    quern("run", model, *(a for name in inputs for a in ("--input", f"{name}={case}/in/{file_name(name)}")), "--output-dir", out, *options)
    return load(out)


def difference(got, want):
    """(how far, what is wrong or None): the largest error in units of what is allowed."""
    rtol, atol = (RTOL, ATOL) if want.dtype != np.float16 else (0, HALF_ATOL)
    if got.shape != want.shape or got.dtype != want.dtype:
        return float("inf"), f"is {got.dtype}{list(got.shape)}, not {want.dtype}{list(want.shape)}"
    if want.size == 0:
        return 0.0, None
    if want.dtype.kind != "f":
        n = int((got != want).sum())
        return float(n), f"{n} of {want.size} differ" if n else None
    a, b = got.astype(np.float64), want.astype(np.float64)
    special = ~np.isfinite(b) | (np.abs(b) > 1e30)  # infinities and masks: they say nothing about the scale of the others
    if not np.array_equal(a[special], b[special], equal_nan=True):
        return float("inf"), "infinities, NaN or masks differ"
    a, b = a[~special], b[~special]
    if a.size == 0:
        return 0.0, None
    top = np.abs(b).max()
    with np.errstate(invalid="ignore"):
        error = np.abs(a - b) / (rtol * np.abs(b) + atol * top + FLOOR)
    worst = float(np.nan_to_num(error, nan=np.inf).max())
    if worst <= 1:
        return worst, None
    i = int(np.argmax(np.nan_to_num(error, nan=np.inf)))
    return worst, f"{a[i]:.6g}, not {b[i]:.6g} (largest {top:.4g}, {int((~(error <= 1)).sum())} of {b.size} differ)"


def agree(what, got, want, keys=None):
    worst = 0.0
    for key in keys or sorted(want):
        if key not in got:
            raise Fault(f"{what}: {key} is missing")
        far, why = difference(got[key], want[key])
        if why:
            raise Fault(f"{what}: {key[:-4]} {why}")
        worst = max(worst, far)
    return worst


def with_all_values(path, out):
    """The model with every value of its graph (not of graphs within nodes) as an output."""
    model = onnx.load(path)
    have = {o.name for o in model.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name and name not in have:
                have.add(name)
                model.graph.output.append(onnx.ValueInfoProto(name=name))
    onnx.save(model, out)


def rows(tensors, first, last):
    return {k: v[first:last] for k, v in tensors.items()}


def check_values(model, inputs, case, work):
    wide = work + "/wide.onnx"
    with_all_values(model, wide)
    peer = Peer(wide, [case], [work + "/values-peer"], "disabled")
    got = quern_run(model, inputs, case, work + "/values", "--all-values")
    peer.wait()
    want = load(work + "/values-peer")
    keys = [k for k in want if k in got]
    worst = agree("all values", got, want, keys)
    shutil.rmtree(work + "/values")
    shutil.rmtree(work + "/values-peer")
    return f"{len(keys)} values within {worst:.3f} of what is allowed; "


def check_rows(cases, answers, work):
    """Cases NAME named b3... and b1...: row 1 of the one is all of the other."""
    n = 0
    for case in cases:
        name = os.path.basename(case)
        if name.startswith("b3") and "b1" + name[2:] in answers:
            for key, alone in answers["b1" + name[2:]].items():
                if answers[name][key][1:2].tobytes() != alone.tobytes():
                    raise Fault(f"{name}: row 1 of {key[:-4]} has other bits than alone")
            n += 1
    return "rows have the bits they have alone; " if n else ""


def bench(model, inputs, case):
    shapes = []
    for name in inputs:
        shape = np.load(f"{case}/in/{file_name(name)}", mmap_mode="r").shape
        if shape:
            shapes += ["--shape", name + "=" + "x".join(map(str, shape))]
    return json.loads(quern("bench", model, *shapes, "--seconds", "0.1", "--json"))["median_ms"]


def check(model, cases, independent=True, all_values=False):
    """cases: folders with in/INPUT.npy. The sentence to print; raises Fault."""
    work = tempfile.mkdtemp(prefix="quern-zoo-")
    try:
        proto = onnx.load(model, load_external_data=False)
        constants = {i.name for i in proto.graph.initializer}
        inputs = [i.name for i in proto.graph.input if i.name not in constants]
        outs = [f"{work}/{os.path.basename(c)}" for c in cases]
        answers, worst = {}, 0.0
        peer = Peer(model, cases, [o + "-peer" for o in outs])
        try:
            for case, out in zip(cases, outs):
                began = time.monotonic()
                answers[os.path.basename(case)] = quern_run(model, inputs, case, out)
                took = (time.monotonic() - began) * 1e3
        finally:
            times = peer.wait()
        for case, out in zip(cases, outs):
            worst = max(worst, agree(os.path.basename(case), answers[os.path.basename(case)], load(out + "-peer")))
        said = f"within {worst:.3f} of what is allowed; "
        said += check_rows(cases, answers, work) if independent else ""
        said += check_values(model, inputs, cases[-1], work) if all_values else ""
        theirs = times["run_ms"][-1]
        try:
            ms = bench(model, inputs, cases[-1])
        except Fault:  # its inputs are made up: a sample rate of 1, say, is refused
            return said + f"not timed (ONNX Runtime {theirs:.2f} ms)"
        return said + f"load {max(took - ms, 0):.0f} ms (ONNX Runtime {times['load_ms']:.0f}), run {ms:.2f} ms ({theirs:.2f}), {ms / theirs:.2f} of its time"
    finally:
        shutil.rmtree(work, ignore_errors=True)


# -- the two families ------------------------------------------------------------------------------------------------------------


def zoo_names():
    return subprocess.run(["/usr/bin/python3", HERE + "/export.py"], check=True, capture_output=True, text=True).stdout.split()


def zoo_model(name):
    """The folder of an export, made unless it is there and of this export.py; and whether all its values are to be compared."""
    folder = f"{ZOO_DIR}/{name}"
    with open(HERE + "/export.py", "rb") as f:
        stamp = hashlib.sha256(f.read()).hexdigest()
    try:
        with open(folder + "/stamp") as f:
            fresh = f.read() == stamp and os.path.exists(folder + "/model.onnx")
    except OSError:
        fresh = False
    if not fresh:
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        p = subprocess.run(["/usr/bin/python3", HERE + "/export.py", name, folder], capture_output=True, text=True)
        if p.returncode != 0:
            raise Fault("export.py: " + p.stderr.strip().splitlines()[-1][:300])
        with open(folder + "/stamp", "w") as f:
            f.write(stamp)
    return folder


def check_zoo(name):
    folder = zoo_model(name)
    model = folder + "/model.onnx"
    cases = sorted(f"{folder}/{c}" for c in os.listdir(folder) if os.path.isdir(f"{folder}/{c}/in"))[::-1]
    try:
        return check(model, cases, all_values=os.path.exists(folder + "/all_values"))
    finally:
        if os.path.getsize(model) > KEEP_BYTES:
            os.remove(model)


def check_half(name):
    """The same export with every weight and value in 16 bits."""
    source, folder = zoo_model(name), tempfile.mkdtemp(prefix="quern-half-")
    try:
        model = folder + "/model.onnx"
        onnx.save(half(onnx.load(source + "/model.onnx")), model)
        cases = []
        for case in sorted(c for c in os.listdir(source) if os.path.isdir(f"{source}/{c}/in"))[::-1]:
            cases.append(f"{folder}/{case}")
            os.makedirs(cases[-1] + "/in")
            for key, a in load(f"{source}/{case}/in").items():
                np.save(f"{cases[-1]}/in/{key}", a.astype(np.float16) if a.dtype == np.float32 else a)
        return check(model, cases)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_real(real, entry):
    folder = tempfile.mkdtemp(prefix="quern-real-")
    try:
        model = os.path.join(NPM, "node_modules", entry.path)
        if not os.path.exists(model):
            raise Fault(f"{entry.path} is not in {NPM}")
        cases = []
        for case, inputs in real.cases(entry).items():
            cases.append(f"{folder}/{case}")
            os.makedirs(cases[-1] + "/in")
            for key, a in inputs.items():
                np.save(f"{cases[-1]}/in/{file_name(key)}", a)
        return check(model, cases, independent=entry.independent, all_values=entry.all_values)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main():
    import real

    word = sys.argv[2] if len(sys.argv) > 2 else ""
    os.environ["QUERN_NPM"] = NPM
    tests = [(f"zoo: {name}", lambda name=name: check_zoo(name)) for name in zoo_names()]
    tests += [(f"zoo in 16 bits: {name}", lambda name=name: check_half(name)) for name in HALVES]
    tests += [(f"real: {e.name}", lambda e=e: check_real(real, e)) for e in real.ENTRIES]
    failed = 0
    for name, test in tests:
        if word not in name:
            continue
        began = time.monotonic()
        try:
            print(f"ok {name}: {test()}", flush=True)
        except (Fault, subprocess.TimeoutExpired, OSError, ValueError) as e:
            failed += 1
            print(f"not ok {name}: {str(e)[:500]}", flush=True)
        print(f"# {name} took {time.monotonic() - began:.1f} s", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
