"""Rows of many requests share runs: the bits of an answer are those of the row alone, and a row that fails takes no other with it."""
import json
import os
import random
import shutil
import subprocess
import tempfile
import threading

import numpy as np
from harness import QUERN, QUICK, ROOT, Daemon, main
from onnx import TensorProto, helper, numpy_helper

FIXTURES = os.path.join(ROOT, "tests", "fixtures")
ROUNDS = 400 if QUICK else 5000
CLIENTS = 24
KINDS = {np.dtype(np.float32): "FP32", np.dtype(np.int64): "INT64"}
POOL = 40  # rows of each model


def pools():
    """{model: {input: rows}}: an MLP, a CNN and an encoder, with rows of every size."""
    rng = np.random.default_rng(3)
    return {
        "mlp": {"x": rng.normal(0, 1, (POOL, 37)).astype(np.float32)},
        "lenet": {"x": rng.random((POOL, 1, 28, 28)).astype(np.float32)},
        "transformer": {"ids": rng.integers(0, 50, (POOL, 16)), "mask": (np.arange(16)[None] < rng.integers(4, 17, (POOL, 1))).astype(np.int64)},
    }


def infer(connection, model, inputs):
    """(status, {output: array} or the message), with binary tensors both ways."""
    head = {"inputs": [{"name": k, "shape": a.shape, "datatype": KINDS[a.dtype], "parameters": {"binary_data_size": a.nbytes}} for k, a in inputs.items()], "parameters": {"binary_data_output": True}}
    text = json.dumps(head).encode()
    body = text + b"".join(np.ascontiguousarray(a).tobytes() for a in inputs.values())
    connection.request("POST", f"/v2/models/{model}/infer", body, {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(text))})
    r = connection.getresponse()
    data = r.read()
    if r.status != 200:
        return r.status, data.decode()
    at = int(r.getheader("Inference-Header-Content-Length"))
    out = {}
    for o in json.loads(data[:at])["outputs"]:
        n = o["parameters"]["binary_data_size"]
        out[o["name"]] = np.frombuffer(data[at : at + n], np.float32).reshape(o["shape"])
        at += n
    return 200, out


def served():
    folder = tempfile.mkdtemp(prefix="quern-batching-")
    for name in pools():
        os.makedirs(f"{folder}/{name}/1")
        shutil.copy(f"{FIXTURES}/{name}/model.onnx", f"{folder}/{name}/1/model.onnx")
    return folder


class Mix:
    """Clients that ask for random rows of random models and compare with what each row gave alone."""

    def __init__(self, d, spoil):
        self.d, self.spoil, self.pools = d, spoil, pools()
        c = d.connect()
        self.alone = {name: [self.one(c, name, r) for r in range(POOL)] for name in self.pools}
        c.close()
        self.wrong, self.left, self.lock = [], ROUNDS, threading.Lock()

    def one(self, c, name, r):
        status, out = infer(c, name, {k: a[r : r + 1] for k, a in self.pools[name].items()})
        assert status == 200, out
        return out

    def ask_on(self, seed):
        rng, c = random.Random(seed), self.d.connect()
        while not self.wrong:
            with self.lock:
                self.left -= 1
                if self.left < 0:
                    break
            name = rng.choice(list(self.pools))
            rows = [rng.randrange(POOL) for _ in range(rng.choice((1, 1, 1, 2, 3, 5)))]
            inputs = {k: a[rows] for k, a in self.pools[name].items()}
            bad = self.spoil and name == "transformer" and rng.random() < 0.3
            if bad:
                inputs["ids"] = inputs["ids"].copy()
                inputs["ids"][rng.randrange(len(rows)), 5] = 10**9  # beyond the vocabulary: its Gather fails
            try:
                self.compare(name, rows, bad, *infer(c, name, inputs))
            except OSError as e:
                self.wrong.append(repr(e))
        c.close()

    def compare(self, name, rows, bad, status, out):
        if bad:
            if status != 400 or "1000000000" not in out:
                self.wrong.append(f"{name}: a row that fails was answered {status} {out}")
            return
        if status != 200:
            self.wrong.append(f"{name} rows {rows}: {status} {out}")
            return
        for key, got in out.items():
            want = np.concatenate([self.alone[name][r][key] for r in rows])
            if got.tobytes() != want.tobytes():
                self.wrong.append(f"{name} rows {rows}: {key} has other bits than the rows alone, at most {np.abs(got - want).max()} apart")

    def run(self):
        threads = [threading.Thread(target=self.ask_on, args=(seed,)) for seed in range(CLIENTS)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not self.wrong, self.wrong[:3]


def batch_rows(d):
    """(rows, runs) so far."""
    text = d.get("/metrics")[2].decode()
    return tuple(int(float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"quern_batch_rows_{k} ")))) for k in ("sum", "count"))


def rows_have_the_bits_they_have_alone():
    folder = served()
    try:
        # a little patience, so that runs are shared on any machine
        with Daemon(models=folder, config="models:\n  defaults:\n    max_queue_delay_us: 2000\n") as d:
            mix = Mix(d, spoil=False)
            rows, runs = batch_rows(d)
            mix.run()
            more_rows, more_runs = (b - a for a, b in zip((rows, runs), batch_rows(d)))
            print(f"# {ROUNDS} requests, {more_rows} rows in {more_runs} runs, all with their own bits")
            assert more_runs < 0.9 * ROUNDS, (more_rows, more_runs)  # runs were shared
    finally:
        shutil.rmtree(folder)


def a_row_that_fails_fails_alone():
    folder = served()
    try:
        with Daemon(models=folder, config="models:\n  defaults:\n    max_queue_delay_us: 2000\n") as d:
            Mix(d, spoil=True).run()
            stats = json.loads(d.get("/v2/models/transformer/stats")[2])["model_stats"][0]["inference_stats"]
            assert stats["fail"]["count"] > 0 and stats["success"]["count"] > 0, stats
    finally:
        shutil.rmtree(folder)


def a_table_of_places_keeps_rows_apart_along_the_length_only():
    """x + table[:size of x along an axis]: what encoders with learnt positions do along the length, and nobody may along the batch."""
    for axis, shape, word in ((1, ["n", "length", 4], "independent"), (0, ["n", 4], "not proved")):
        graph = helper.make_graph(
            [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Gather", ["s", "axis"], ["size"]), helper.make_node("Slice", ["table", "zero", "size", "zero"], ["t"]), helper.make_node("Add", ["x", "t"], ["y"])],
            "places",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(np.ones((512, 4), np.float32), "table"), numpy_helper.from_array(np.array([axis]), "axis"), numpy_helper.from_array(np.array([0]), "zero")],
        )
        with tempfile.TemporaryDirectory() as folder:
            with open(f"{folder}/model.onnx", "wb") as f:
                f.write(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString())
            text = subprocess.run([QUERN, "inspect", f"{folder}/model.onnx"], stdout=subprocess.PIPE, check=True).stdout.decode()
            assert next(line for line in text.splitlines() if line.startswith("rows")).split(None, 1)[1].startswith(word), text


main([a_table_of_places_keeps_rows_apart_along_the_length_only, rows_have_the_bits_they_have_alone, a_row_that_fails_fails_alone])
