"""The fixture models (tests/fixtures) through `quern run` and over HTTP, against what ONNX Runtime answered when they were made."""
import functools
import json
import os
import shutil
import subprocess
import tempfile
import zlib

import numpy as np
import onnx
from onnx import helper, numpy_helper

from harness import QUERN, QUICK, ROOT, Daemon, in_threads, main

FIXTURES = os.path.join(ROOT, "tests", "fixtures")
FLOAT = ["mlp", "lenet", "resnet", "transformer"]
INT8 = ["mlp_int8", "lenet_int8", "resnet_int8"]


def arrays(*path):
    folder = os.path.join(FIXTURES, *path)
    return {f[:-4]: np.load(os.path.join(folder, f)) for f in sorted(os.listdir(folder)) if f.endswith(".npy")}


def run(name, inputs, *options):
    """{value: array}, or None if this CPU lacks the instructions."""
    with tempfile.TemporaryDirectory() as d:
        args = []
        for key, a in inputs.items():
            np.save(f"{d}/{key}.npy", a)
            args += ["--input", f"{key}={d}/{key}.npy"]
        p = subprocess.run([QUERN, "run", f"{FIXTURES}/{name}/model.onnx", *args, "--output-dir", d + "/out", *options], capture_output=True, text=True)
        if p.returncode and "--isa" in options and "lacks" in p.stderr:
            return None
        assert p.returncode == 0, f"exit {p.returncode}: {p.stderr}"
        return {f[:-4]: np.load(f"{d}/out/{f}") for f in sorted(os.listdir(d + "/out"))}


@functools.cache
def answers(name, batch):
    return run(name, arrays(name, batch, "in"))


def same(got, want, what):
    assert got.keys() == want.keys(), (what, sorted(got), sorted(want))
    for key, a in want.items():
        assert got[key].dtype == a.dtype and got[key].shape == a.shape, (what, key, got[key].shape, a.shape)
        assert got[key].tobytes() == a.tobytes(), f"{what}: {key} has other bits, {int((got[key] != a).sum())} of {a.size}"


def outputs_are_close_to_golden(name):
    for batch in ("b1", "b3"):
        got = answers(name, batch)
        for key, want in arrays(name, batch, "golden").items():
            if want.dtype != np.float32:
                continue
            assert got[key].shape == want.shape, (batch, key, got[key].shape, want.shape)
            off = np.abs(got[key] - want) - (1e-3 * np.abs(want) + 1e-4 * np.abs(want).max())
            assert off.max() <= 0, f"{batch}: {key} is {np.abs(got[key] - want).max()} from golden, of {np.abs(want).max()}"


def bits_are_the_same_on_every_instruction_set_and_team(name):
    tried = set()
    for batch in ("b1", "b3"):
        for isa in ("scalar", "avx2", "avx512", "vnni"):
            for threads in ("1",) if QUICK and isa != "scalar" else ("1", "2"):
                got = run(name, arrays(name, batch, "in"), "--isa", isa, "--threads", threads)
                if got is None:
                    continue
                tried.add(isa)
                same(got, answers(name, batch), f"{batch} {isa} {threads} threads")
    assert "scalar" in tried


def rows_alone_have_the_bits_of_the_batch(name):
    inputs, whole = arrays(name, "b3", "in"), answers(name, "b3")
    for r in range(3):
        alone = run(name, {key: a[r : r + 1] for key, a in inputs.items()})
        same(alone, {key: a[r : r + 1] for key, a in whole.items()}, f"row {r}")


def every_quantized_value_equals_golden(name):
    """Bit for bit what ONNX Runtime's fused integer operators gave. Every QuantizeLinear of the file must be seen."""
    for batch in ("b1", "b3"):
        for isa in ("scalar", "avx2", "avx512", "vnni"):
            got = run(name, arrays(name, batch, "in"), "--all-values", "--isa", isa)
            if got is None:
                continue
            seen = 0
            for key, want in arrays(name, batch, "golden").items():
                assert key in got, f"{batch} {isa}: {key} is not among the values: {sorted(got)}"
                assert got[key].dtype == want.dtype and got[key].shape == want.shape, (key, got[key].dtype, got[key].shape)
                diff = got[key].astype(np.float64) - want
                assert not diff.any(), f"{batch} {isa}: {key} differs in {int((diff != 0).sum())} of {want.size}, by up to {np.abs(diff).max()}"
                seen += want.dtype in (np.uint8, np.int8)
            assert seen >= 4, seen


def served(names):
    """A folder of models for the daemon."""
    folder = tempfile.mkdtemp(prefix="quern-fixtures-")
    for name in names:
        os.makedirs(f"{folder}/{name}/1")
        shutil.copy(f"{FIXTURES}/{name}/model.onnx", f"{folder}/{name}/1/model.onnx")
    return folder


def over_http_the_bits_are_those_of_quern_run():
    kinds = {np.dtype(np.float32): "FP32", np.dtype(np.int64): "INT64"}
    folder = served(FLOAT + INT8)

    def infer(d, name, inputs):
        body = {"inputs": [{"name": k, "shape": a.shape, "datatype": kinds[a.dtype], "data": a.ravel().tolist()} for k, a in inputs.items()]}
        status, _, text = d.post(f"/v2/models/{name}/infer", body)
        assert status == 200, (name, status, text[:300])
        return {o["name"]: np.array(o["data"], np.float32).reshape(o["shape"]) for o in json.loads(text)["outputs"]}

    def rows_at_the_same_time(d, name):
        inputs, whole = arrays(name, "b3", "in"), answers(name, "b3")

        def one(r):
            same(infer(d, name, {k: a[r : r + 1] for k, a in inputs.items()}), {k: a[r : r + 1] for k, a in whole.items()}, f"{name} row {r}")

        in_threads(3, one)

    try:
        with Daemon(models=folder) as d:
            for name in FLOAT + INT8:
                for batch in ("b1", "b3"):
                    same(infer(d, name, arrays(name, batch, "in")), answers(name, batch), f"{name} {batch}")
                rows_at_the_same_time(d, name)
    finally:
        shutil.rmtree(folder)


def a_request_may_ask_where_its_time_went_and_for_its_class():
    body = {"inputs": [{"name": "x", "shape": [1, 37], "datatype": "FP32", "data": [0.5] * 37}]}
    folder = served(["mlp"])
    try:
        with Daemon(models=folder, config="log:\n  format: json\n  requests: true\n") as d:
            status, headers, _ = d.post("/v2/models/mlp/infer", body)
            assert status == 200 and "server-timing" not in {k.lower() for k in headers}, headers
            status, headers, _ = d.post("/v2/models/mlp/infer", body, {"X-Server-Timing": "1", "X-Request-Priority": "high"})
            timing = {k.lower(): v for k, v in headers.items()}.get("server-timing", "")
            parts = dict(p.split(";dur=") for p in timing.split(", "))
            assert status == 200 and list(parts) == ["body", "queue", "run", "encode"] and all(float(v) >= 0 for v in parts.values()), timing
            for level, want in ((0, 200), (1, 200), (3, 200), (4, 400), ("high", 400)):
                status, _, text = d.post("/v2/models/mlp/infer", {**body, "parameters": {"priority": level}})
                assert status == want, (level, status, text)
            status, _, text = d.post("/v2/models/mlp/infer", body, {"X-Request-Priority": "urgent"})
            assert status == 400 and b"X-Request-Priority" in (text if isinstance(text, bytes) else text.encode()), text
            status, _, text = d.get("/metrics")
            text = text.decode() if isinstance(text, bytes) else text
            assert 'quern_stage_duration_seconds_count{stage="run"} 5' in text, [line for line in text.splitlines() if "stage" in line and "count" in line]
            assert sum(int(line.split()[-1]) for line in text.splitlines() if line.startswith("quern_batches_left_total{")) == 5
            lines = [json.loads(line) for line in d.log_text().splitlines()]
            assert sum(line.get("path") == "/v2/models/mlp/infer" and line["status"] == 200 for line in lines) == 5, lines
    finally:
        shutil.rmtree(folder)


def a_profile_shows_the_nodes_of_live_runs():
    body = {"inputs": [{"name": "x", "shape": [1, 37], "datatype": "FP32", "data": [0.5] * 37}]}
    folder = served(["mlp"])
    try:
        with Daemon(models=folder) as d:
            status, _, text = d.post("/v2/models/mlp/profile", {"runs": 3})
            assert status == 200 and json.loads(text)["runs"] == 0 and json.loads(text)["nodes"] == [], text
            for _ in range(5):
                assert d.post("/v2/models/mlp/infer", body)[0] == 200
            profile = json.loads(d.get("/v2/models/mlp/versions/1/profile")[2])
            assert profile["runs"] == profile["asked"] == profile["rows"] == 3, profile
            assert len(profile["nodes"]) >= 3 and all(n["runs"] == 3 and n["op"] and n["kernel"] for n in profile["nodes"]), profile
            assert 0 < sum(n["share"] for n in profile["nodes"]) <= 1.01
            for bad in ({"runs": 0}, {"runs": "x"}, {"run": 3}, {"runs": 10**9}):
                assert d.post("/v2/models/mlp/profile", bad)[0] == 400, bad
            assert d.post("/v2/models/none/profile", {})[0] == 404
    finally:
        shutil.rmtree(folder)


def a_large_answer_comes_compressed_to_who_asks():
    folder = served(["mlp"])
    big = {"inputs": [{"name": "x", "shape": [200, 37], "datatype": "FP32", "data": [0.5] * 7400}]}
    try:
        with Daemon(models=folder) as d:
            status, headers, plain = d.post("/v2/models/mlp/infer", big)
            headers = {k.lower(): v for k, v in headers.items()}
            assert status == 200 and "content-encoding" not in headers and headers["vary"] == "Accept-Encoding", headers
            for encoding, unpack in (("gzip", lambda b: zlib.decompress(b, 31)), ("deflate", zlib.decompress)):
                c = d.connect()
                c.request("POST", "/v2/models/mlp/infer", json.dumps(big), {"Content-Type": "application/json", "Accept-Encoding": encoding})
                r = c.getresponse()
                packed = r.read()
                assert r.status == 200 and r.getheader("Content-Encoding") == encoding and len(packed) < len(plain) / 2, (r.status, len(packed))
                assert json.loads(unpack(packed)) == json.loads(plain)
                c.close()
            for headers in ({"Accept-Encoding": "br"}, {"Accept-Encoding": "gzip;q=0"}):
                status, headers, body = d.post("/v2/models/mlp/infer", big, headers)
                assert status == 200 and json.loads(body) == json.loads(plain)
            status, headers, _ = d.post("/v2/models/mlp/infer", {"inputs": []}, {"Accept-Encoding": "gzip"})
            assert status == 400 and "content-encoding" not in {k.lower() for k in headers}
    finally:
        shutil.rmtree(folder)


def a_sequence_is_a_file_an_element():
    """A reversal of three tensors of different lengths, made of SequenceAt and SequenceConstruct."""
    node, info = helper.make_node, helper.make_tensor_sequence_value_info
    at = [numpy_helper.from_array(np.int64(k), f"k{k}") for k in range(3)]
    nodes = [node("SequenceAt", ["xs", f"k{k}"], [f"x{k}"]) for k in range(3)] + [node("SequenceConstruct", ["x2", "x1", "x0"], ["ys"])]
    graph = helper.make_graph(nodes, "reverse", [info("xs", 1, None)], [info("ys", 1, None)], at)
    xs = [np.arange(n, dtype=np.float32) for n in (1, 4, 2)]
    with tempfile.TemporaryDirectory() as d:
        onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), d + "/model.onnx")
        for k, x in enumerate(xs):
            np.save(f"{d}/{k}.npy", x)
        args = [QUERN, "run", d + "/model.onnx", "--output-dir", d + "/out"]
        for k in range(3):
            args += ["--input", f"xs={d}/{k}.npy"]
        p = subprocess.run(args, capture_output=True, text=True)
        assert p.returncode == 0, p.stderr
        assert sorted(os.listdir(d + "/out")) == ["ys.0.npy", "ys.1.npy", "ys.2.npy"], os.listdir(d + "/out")
        for k, x in enumerate(reversed(xs)):
            assert np.array_equal(np.load(f"{d}/out/ys.{k}.npy"), x), k
        p = subprocess.run(args[:-2], capture_output=True, text=True)  # two of three
        assert p.returncode == 1 and "position 2 in a sequence of 2 elements" in p.stderr, p.stderr


def each(check, names):
    out = []
    for name in names:
        f = functools.partial(check, name)
        f.__name__ = f"{name}: {check.__name__}"
        out.append(f)
    return out


main(
    each(outputs_are_close_to_golden, FLOAT + INT8)
    + each(bits_are_the_same_on_every_instruction_set_and_team, FLOAT + INT8)
    + each(rows_alone_have_the_bits_of_the_batch, FLOAT + INT8)
    + each(every_quantized_value_equals_golden, INT8)
    + [over_http_the_bits_are_those_of_quern_run, a_request_may_ask_where_its_time_went_and_for_its_class, a_large_answer_comes_compressed_to_who_asks, a_profile_shows_the_nodes_of_live_runs, a_sequence_is_a_file_an_element]
)
