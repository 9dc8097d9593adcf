"""Reloads without end while 64 connections ask: no request fails, none gets a mixture, none an older version than one already acknowledged."""
import http.client
import json
import os
import shutil
import tempfile
import threading

import numpy as np
import onnx
from harness import QUICK, Daemon, main
from onnx import TensorProto, helper, numpy_helper

ROUNDS = 40 if QUICK else 1000
CONNECTIONS = 64
ROWS = [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0], [-1.0, -2.0, -3.0, -4.0]]


def model_bytes(generation):
    """y = x + generation, the generation as a weight for each column."""
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 4]) for n in "xy")
    k = numpy_helper.from_array(np.full(4, generation, np.float32), "k")
    graph = helper.make_graph([helper.make_node("Add", ["x", "k"], ["y"])], "stamp", [x], [y], [k])
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


class Folder:
    """A model `stamp` whose version g adds g."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="quern-torture-")
        os.makedirs(self.path + "/stamp")
        self.publish(1, model_bytes(1))

    def publish(self, generation, data):
        """The folder appears whole."""
        aside = f"{self.path}/stamp/.new"
        os.makedirs(aside)
        with open(aside + "/model.onnx", "wb") as f:
            f.write(data)
        os.rename(aside, f"{self.path}/stamp/{generation}")

    def drop(self, generation):
        shutil.rmtree(f"{self.path}/stamp/{generation}", ignore_errors=True)

    def close(self):
        shutil.rmtree(self.path)


class Clients:
    """64 connections that ask until they are told to stop, each checking what it gets."""

    def __init__(self, port):
        self.port, self.acknowledged, self.begun = port, 1, 1
        self.stop, self.wrong, self.count, self.lock = threading.Event(), [], 0, threading.Lock()
        self.threads = [threading.Thread(target=self.ask_on) for _ in range(CONNECTIONS)]
        for t in self.threads:
            t.start()

    def ask_on(self):
        body = json.dumps({"inputs": [{"name": "x", "shape": [len(ROWS), 4], "datatype": "FP32", "data": ROWS}]})
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        n = 0
        while not self.stop.is_set() and len(self.wrong) < 5:
            oldest = self.acknowledged
            try:
                c.request("POST", "/v2/models/stamp/infer", body, {"Content-Type": "application/json"})
                r = c.getresponse()
                text = r.read()
                self.check(r.status, text, oldest)
            except (OSError, http.client.HTTPException) as e:
                self.wrong.append(f"no answer: {e!r}")
                c.close()
            n += 1
        c.close()
        with self.lock:
            self.count += n

    def check(self, status, text, oldest):
        if status != 200:
            self.wrong.append(f"status {status}: {text[:200]!r}")
            return
        answer = json.loads(text)
        y = np.array(answer["outputs"][0]["data"], np.float32).reshape(-1, 4)
        stamps = set((y - np.array(ROWS, np.float32)).ravel().tolist())
        if len(stamps) != 1 or float(answer["model_version"]) not in stamps:
            self.wrong.append(f"a mixture: version {answer['model_version']} added {sorted(stamps)}")
        elif not oldest <= int(answer["model_version"]) <= self.begun:
            self.wrong.append(f"version {answer['model_version']}, though {oldest} was acknowledged before it was asked (newest begun {self.begun})")

    def end(self):
        self.stop.set()
        for t in self.threads:
            t.join()
        assert not self.wrong, self.wrong[:5]
        return self.count


def resident_kib(d):
    with open(f"/proc/{d.process.pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


def every_acknowledged_reload_holds_for_all_who_ask_after_it():
    folder = Folder()
    try:
        with Daemon(models=folder.path) as d:
            clients = Clients(d.port)
            before = 0
            for g in range(2, ROUNDS + 2):
                folder.publish(g, model_bytes(g))
                folder.drop(g - 2)
                clients.begun = g
                status, _, text = d.post("/admin/reload", {})
                assert status == 200 and json.loads(text)["loaded"] == 1, (g, status, text)
                clients.acknowledged = g
                if g == ROUNDS // 4:
                    before = resident_kib(d)
            n = clients.end()
            after = resident_kib(d)
            print(f"# {ROUNDS} reloads, {n} requests, 0 wrong; resident {before} KiB after a quarter of them, {after} KiB at the end")
            assert QUICK or after <= max(before * 1.1, before + 8192), (before, after)
    finally:
        folder.close()


def bad_files_change_nothing():
    folder = Folder()
    good = model_bytes(2)
    try:
        with Daemon(models=folder.path) as d:
            clients = Clients(d.port)
            for k in range(ROUNDS):
                bad = [b"", b"no model", good[: len(good) // 2], good.replace(b"Add", b"Adx"), good[:-20] + b"\xff" * 20][k % 5]
                folder.publish(2, bad)
                status, _, text = d.post("/admin/reload", {})
                assert 400 <= status < 500 and b"stamp" in text, (k, status, text)
                folder.drop(2)
            n = clients.end()
            assert json.loads(d.get("/v2/models/stamp")[2])["versions"] == ["1"]
            print(f"# {ROUNDS} bad files, {n} requests, 0 failed")
    finally:
        folder.close()


main([every_acknowledged_reload_holds_for_all_who_ask_after_it, bad_files_change_nothing])
