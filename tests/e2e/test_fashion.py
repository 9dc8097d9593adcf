"""The shipped model over HTTP: every test image, as JSON and as binary tensors, and the same answer from every door."""
import json
import os
import subprocess
import tempfile

import numpy as np
from harness import QUERN, QUICK, ROOT, Daemon, fashion_test_set, in_threads, main

EXPECTED_RIGHT = 9258  # of 10,000; ONNX Runtime 1.30 says the same: tests/peers/test_onnxruntime.sh


def offline(x):
    """The same images through `quern run`."""
    with tempfile.TemporaryDirectory() as d:
        np.save(d + "/x.npy", x)
        subprocess.run(["zstd", "-dq", ROOT + "/models/fashion/1/model.onnx.zst", "-o", d + "/model.onnx"], check=True)
        subprocess.run([QUERN, "run", d + "/model.onnx", "--input", f"image={d}/x.npy", "--output-dir", d], check=True, stdout=subprocess.DEVNULL)
        return np.load(d + "/probs.npy")


def all_test_images_as_json():
    x, y = fashion_test_set()
    if QUICK:
        x, y = x[:600], y[:600]
    want = offline(x)
    got = np.zeros((len(x), 10), np.float32)
    step = len(x) // 4
    with Daemon() as d:

        def client(i):
            c = d.connect()
            for r in range(i * step, (i + 1) * step):
                n = 1 if r % 2 else 2 if r + 1 < (i + 1) * step else 1  # rows of neighbours overlap: batches of one and two
                body = json.dumps({"inputs": [{"name": "image", "shape": [n, 1, 28, 28], "datatype": "FP32", "data": x[r : r + n].ravel().tolist()}]})
                c.request("POST", "/v2/models/fashion/infer", body)
                reply = c.getresponse()
                text = reply.read()
                assert reply.status == 200, text
                got[r] = json.loads(text)["outputs"][0]["data"][:10]

        in_threads(4, client)
    assert np.array_equal(got, want), "over HTTP and offline the answers differ"
    right = int((got.argmax(1) == y).sum())
    print(f"# accuracy over HTTP as JSON: {right} of {len(x)}")
    assert QUICK or right == EXPECTED_RIGHT, right


def all_test_images_as_binary_tensors():
    x, y = fashion_test_set()
    if QUICK:
        x, y = x[:600], y[:600]
    want = offline(x)
    got = []
    with Daemon() as d:
        c = d.connect()
        for r in range(0, len(x), 50):
            raw = x[r : r + 50].tobytes()
            head = json.dumps({
                "inputs": [{"name": "image", "shape": [50, 1, 28, 28], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}],
                "outputs": [{"name": "probs", "parameters": {"binary_data": True}}],
            }).encode()
            c.request("POST", "/v2/models/fashion/infer", head + raw, {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))})
            reply = c.getresponse()
            body = reply.read()
            assert reply.status == 200, body[:300]
            n = int(reply.getheader("Inference-Header-Content-Length"))
            meta = json.loads(body[:n])
            assert meta["outputs"][0]["parameters"]["binary_data_size"] == len(body) - n == 50 * 40
            got.append(np.frombuffer(body[n:], np.float32).reshape(50, 10))
    got = np.concatenate(got)
    assert np.array_equal(got, want)
    right = int((got.argmax(1) == y).sum())
    print(f"# accuracy over HTTP as binary tensors: {right} of {len(x)}")
    assert QUICK or right == EXPECTED_RIGHT, right


def every_door_gives_the_same_bits():
    x, _ = fashion_test_set()
    x = x[:3]
    want = offline(x)
    with Daemon() as d:
        rows = json.loads(d.post("/v1/models/fashion:predict", {"instances": x.tolist()})[2])["predictions"]
        named = json.loads(d.post("/v1/models/fashion:predict", {"instances": [{"image": r} for r in x.tolist()]})[2])["predictions"]
        columns = json.loads(d.post("/v1/models/fashion/versions/1:predict", {"inputs": x.tolist()})[2])["outputs"]
        status, _, raw = d.request("POST", "/v2/models/fashion/versions/1/infer", x.tobytes(), {"Inference-Header-Content-Length": "0", "Content-Type": "application/octet-stream"})
        assert status == 200, raw[:200]
        raw = np.frombuffer(raw[-120:], np.float32).reshape(3, 10)
    for got in (rows, named, columns, raw):
        assert np.array_equal(np.array(got, np.float32), want)


def instruction_sets_give_the_same_bits():
    x, _ = fashion_test_set()
    x = x[:64]
    want = None
    with tempfile.TemporaryDirectory() as t:
        np.save(t + "/x.npy", x)
        subprocess.run(["zstd", "-dq", ROOT + "/models/fashion/1/model.onnx.zst", "-o", t + "/model.onnx"], check=True)
        for isa in ("scalar", "avx2", "avx512", "vnni"):
            for threads in ("1", "2"):
                p = subprocess.run([QUERN, "run", t + "/model.onnx", "--input", f"image={t}/x.npy", "--output-dir", t, "--isa", isa, "--threads", threads], capture_output=True, text=True)
                if p.returncode and "lacks" in p.stderr:
                    continue  # this CPU has no such instructions
                assert p.returncode == 0, p.stderr
                got = np.load(t + "/probs.npy")
                assert want is None or np.array_equal(got, want), (isa, threads)
                want = got


def inspect_names_the_kernels():
    p = subprocess.run([QUERN, "inspect", ROOT + "/models/fashion/1/model.onnx.zst", "--json"], capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    report = json.loads(p.stdout)
    assert report["inputs"][0]["name"] == "image" and report["outputs"][0]["name"] == "probs"
    steps = [s["multiply_adds"] for s in report["steps"]]
    assert report["run"]["multiply_adds"] == sum(steps) > 4e6 and 8192 < report["run"]["arena_bytes"] < 1 << 20 and report["run"]["steps_metered"] == 0, report["run"]
    text = subprocess.run([QUERN, "inspect", ROOT + "/models/fashion/1/model.onnx.zst"], capture_output=True, text=True).stdout
    assert "QLinearConv" in text, text  # the Q/DQ pairs were absorbed
    assert f"{sum(steps)} multiply-adds" in text, text
    assert os.path.getsize(ROOT + "/models/fashion/1/model.onnx.zst") <= 250 * 1000


main([all_test_images_as_json, all_test_images_as_binary_tensors, every_door_gives_the_same_bits, instruction_sets_give_the_same_bits, inspect_names_the_kernels])
