"""Requests of different lengths share a run where quern.yaml says how to fill them up, and get their own answer, cut to their own length."""
import json
import os
import random
import shutil
import tempfile
import threading

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from harness import QUICK, Daemon, in_threads, main

ROUNDS = 300 if QUICK else 3000
WIDTH = 24
PADDING = "padding: {ids: 0, mask: 0}\npadding_multiple: 8\n"


def encoder():
    """One attention layer over ids with a mask: hidden [n, length, WIDTH], the masked mean [n, WIDTH], and the ids as they came."""
    rng = np.random.default_rng(1)
    f, i = TensorProto.FLOAT, TensorProto.INT64
    weights = {
        "table": rng.normal(0, 1, (100, WIDTH)), "wq": rng.normal(0, 0.3, (WIDTH, WIDTH)), "wk": rng.normal(0, 0.3, (WIDTH, WIDTH)), "wv": rng.normal(0, 0.3, (WIDTH, WIDTH)),
        "one": np.array(1.0), "far": np.array(-1e4), "scale": np.array(WIDTH**-0.5),
    }
    n = helper.make_node
    nodes = [
        n("Gather", ["table", "ids"], ["e"]),
        n("MatMul", ["e", "wq"], ["q"]), n("MatMul", ["e", "wk"], ["k"]), n("MatMul", ["e", "wv"], ["v"]),
        n("Transpose", ["k"], ["kt"], perm=[0, 2, 1]), n("MatMul", ["q", "kt"], ["s0"]), n("Mul", ["s0", "scale"], ["s1"]),
        n("Cast", ["mask"], ["m"], to=f), n("Sub", ["one", "m"], ["gone"]), n("Mul", ["gone", "far"], ["minus"]),
        n("Unsqueeze", ["minus", "axis1"], ["minus1"]), n("Add", ["s1", "minus1"], ["s2"]), n("Softmax", ["s2"], ["p"], axis=-1),
        n("MatMul", ["p", "v"], ["c"]), n("Add", ["c", "e"], ["hidden"]),
        n("Unsqueeze", ["m", "axis2"], ["m2"]), n("Mul", ["hidden", "m2"], ["hm"]), n("ReduceSum", ["hm", "axis1"], ["sum"], keepdims=0),
        n("ReduceSum", ["m", "axis1"], ["count"], keepdims=1), n("Div", ["sum", "count"], ["pooled"]), n("Identity", ["ids"], ["same"]),
    ]
    graph = helper.make_graph(
        nodes, "encoder",
        [helper.make_tensor_value_info("ids", i, ["n", "length"]), helper.make_tensor_value_info("mask", i, ["n", "length"])],
        [helper.make_tensor_value_info("hidden", f, ["n", "length", WIDTH]), helper.make_tensor_value_info("pooled", f, ["n", WIDTH]), helper.make_tensor_value_info("same", i, ["n", "length"])],
        [numpy_helper.from_array(np.array(a, np.float32), k) for k, a in weights.items()] + [numpy_helper.from_array(np.array([k], np.int64), f"axis{k}") for k in (1, 2)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


class Folder:
    def __init__(self, settings):
        self.dir = tempfile.mkdtemp(prefix="quern-padding-")
        os.makedirs(f"{self.dir}/encoder/1")
        with open(f"{self.dir}/encoder/1/model.onnx", "wb") as f:
            f.write(encoder())
        with open(f"{self.dir}/encoder/quern.yaml", "w") as f:
            f.write(settings)

    def __enter__(self):
        return self.dir

    def __exit__(self, *exc):
        shutil.rmtree(self.dir)


def ask(connection, ids, mask):
    body = {"inputs": [{"name": k, "shape": a.shape, "datatype": "INT64", "data": a.ravel().tolist()} for k, a in (("ids", ids), ("mask", mask))]}
    connection.request("POST", "/v2/models/encoder/infer", json.dumps(body), {"Content-Type": "application/json"})
    r = connection.getresponse()
    reply = json.loads(r.read())
    assert r.status == 200, reply
    return {o["name"]: np.array(o["data"]).reshape(o["shape"]) for o in reply["outputs"]}


def sizes(d):
    return {s["batch_size"]: s["compute_infer"]["count"] for s in json.loads(d.get("/v2/models/encoder/stats")[2])["model_stats"][0]["batch_stats"]}


def lengths_share_runs_and_answers_keep_their_own():
    rng = np.random.default_rng(5)
    pool = []
    for k in range(60):
        length, rows = int(rng.integers(1, 41)), int(rng.integers(1, 4))
        mask = np.ones((rows, length), np.int64)
        mask[0, max(1, length - k % 5) :] = 0  # some have a mask of their own
        pool.append((rng.integers(1, 100, (rows, length)), mask))
    with Folder(PADDING) as models, Daemon(models=models, config="models:\n  defaults:\n    max_queue_delay_us: 2000\n") as d:
        alone = [ask(d.connect(), *p) for p in pool]
        before, wrong, left = sizes(d), [], [ROUNDS]
        lock = threading.Lock()

        def client(seed):
            pick, c = random.Random(seed), d.connect()
            while True:
                with lock:
                    left[0] -= 1
                    if left[0] < 0:
                        return
                k = pick.randrange(len(pool))
                got = ask(c, *pool[k])
                for name, want in alone[k].items():
                    if got[name].shape != want.shape or not np.allclose(got[name], want, rtol=1e-5, atol=1e-6) or (name == "same" and not np.array_equal(got[name], pool[k][0])):
                        wrong.append((k, name, got[name].shape, want.shape))

        threads = [threading.Thread(target=client, args=(s,)) for s in range(24)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not wrong, wrong[:3]
        runs = sum(sizes(d).values()) - sum(before.values())
        print(f"# {ROUNDS} requests of 1..40 places in {runs} runs")


def different_lengths_meet_in_one_run():
    """Eight clients ask at once, each with a length of its own: without filling up every request has a run of its own."""
    rounds, clients = 20, 8
    with Folder(PADDING) as models, Daemon(models=models, config="models:\n  defaults:\n    max_queue_delay_us: 100000\n") as d:
        together = threading.Barrier(clients)

        def client(i):
            c, ids = d.connect(), np.full((1, 17 + i), i + 1)  # 17..24: one bucket
            for _ in range(rounds):
                together.wait()
                assert np.array_equal(ask(c, ids, np.ones_like(ids))["same"], ids)

        in_threads(clients, client)
        runs = sum(sizes(d).values())
        print(f"# {rounds * clients} requests of {clients} lengths in {runs} runs")
        assert runs < rounds * clients, runs


def a_declaration_that_does_not_fit_is_refused():
    cases = [
        ("padding: {nosuch: 0}\n", "nosuch"),
        ("padding: {ids: 0.5}\n", "0.5"),
        ("padding: {ids: 1e30}\n", "1e+30"),
        ("padding: {ids: zero}\n", "'zero'"),
        ("padding: {ids: 0}\npadding_multiple: 0\n", "padding_multiple"),
    ]
    for settings, word in cases:
        with Folder(settings) as models:
            d = Daemon(models=models)
            d.start(wait_ready=False)
            try:
                d.wait_for_log("model failed to load")
                assert word in d.log_text(), (settings, d.log_text())
                assert d.get("/v2/health/ready")[0] == 503
            finally:
                d.process.terminate()
                d.process.wait(60)
                shutil.rmtree(d.dir)


main([lengths_share_runs_and_answers_keep_their_own, different_lengths_meet_in_one_run, a_declaration_that_does_not_fit_is_refused])
