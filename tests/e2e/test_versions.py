"""Versions over HTTP: upload, promote, rollback, labels, policies, the memory cap, and a client's view of all of them."""
import base64
import hashlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from harness import Daemon, in_threads, main


def adds(c, floats=1):
    """y = x + c as the bytes of a model; `floats` sets the bytes of its weights."""
    w = np.full(floats, c, np.float32)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "adds",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", floats])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", floats])],
        [numpy_helper.from_array(w, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


def put(folder, model, version, data):
    path = os.path.join(folder, model, str(version))
    os.makedirs(path)
    with open(os.path.join(path, "model.onnx"), "wb") as f:
        f.write(data)


class Folder:
    """A folder of models with m/1 .. m/n, version v adding v."""

    def __init__(self, n):
        self.dir = tempfile.mkdtemp(prefix="quern-versions-")
        for v in range(1, n + 1):
            put(self.dir, "m", v, adds(v))

    def __enter__(self):
        return self.dir

    def __exit__(self, *exc):
        shutil.rmtree(self.dir)


def value(d, path="/v1/models/m:predict"):
    status, _, body = d.post(path, {"instances": [[0.0]]})
    return json.loads(body)["predictions"][0][0] if status == 200 else status


def upload(d, version, data, headers=None, model="m"):
    status, _, body = d.request("PUT", f"/v2/repository/models/{model}/versions/{version}", data, headers or {})
    return status, json.loads(body)


def promote(d, version, **more):
    status, _, body = d.post("/v2/repository/models/m/promote", {"version": version, **more})
    return status, json.loads(body)


def rollback(d):
    status, _, body = d.post("/v2/repository/models/m/rollback")
    return status, json.loads(body)


def an_upload_is_served_and_outlives_a_restart():
    with Folder(1) as models:
        uploads_and_looks(models)
        with Daemon(models=models) as d:
            assert value(d) == 7


def uploads_and_looks(models):
    with Daemon(models=models) as d:
        data = adds(2)
        digest = hashlib.sha256(data)
        status, reply = upload(d, 2, data, {"Content-Digest": "sha-256=:%s:" % base64.b64encode(digest.digest()).decode()})
        assert status == 201, reply
        assert reply == {"name": "m", "version": "2", "bytes": len(data), "sha256": digest.hexdigest(), "state": "READY", "served": "2"}, reply
        assert value(d) == 2
        with open(os.path.join(models, "m", "2", "model.onnx"), "rb") as f:
            assert f.read() == data
        assert upload(d, 2, adds(3))[0] == 409 and value(d) == 2
        status, reply = upload(d, 1, data, model="fresh")
        assert status == 201 and value(d, "/v1/models/fresh:predict") == 2, reply
        compressed = subprocess.run(["zstd", "-q", "-c"], input=adds(7), stdout=subprocess.PIPE, check=True).stdout
        assert upload(d, 7, compressed, {"X-Checksum-Sha256": hashlib.sha256(compressed).hexdigest()})[0] == 201 and value(d) == 7
        assert os.listdir(os.path.join(models, "m", "7")) == ["model.onnx.zst"]
        assert os.listdir(os.path.join(models, ".quern")) == []


def a_bad_upload_leaves_nothing():
    with Folder(1) as models, Daemon(models=models, config="models:\n  limits:\n    file_bytes: 64KiB\n") as d:
        good = adds(2)
        wrong = base64.b64encode(hashlib.sha256(b"else").digest()).decode()
        cases = [
            (b"", {}, 400, "expected as the body"),
            (b"not a model", {}, 400, "m version 2"),
            (good[:-3], {}, 400, "m version 2"),
            (b"\x28\xb5\x2f\xfd" + b"x" * 100, {}, 400, "m version 2"),
            (b"x" * 65537, {}, 413, "65536"),
            (good, {"Content-Digest": f"sha-256=:{wrong}:"}, 400, "sha256"),
            (good, {"Repr-Digest": "sha-256=:AAAA:"}, 400, "32 bytes"),
            (good, {"X-Checksum-Sha256": "12"}, 400, "64 hex"),
        ]
        for data, headers, expected, word in cases:
            status, reply = upload(d, 2, data, headers)
            assert status == expected and word in reply["error"], (data[:20], status, reply)
        for path in ("m/versions/0", "m/versions/x", "..%2fup/versions/1", "a%2fb/versions/1", ".quern/versions/1"):
            status, _, _ = d.request("PUT", "/v2/repository/models/" + path, good)
            assert status in (400, 404), (path, status)
        # a client that leaves in the middle
        head = b"PUT /v2/repository/models/m/versions/2 HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % len(good)
        with socket.create_connection(("127.0.0.1", d.port)) as s:
            s.sendall(head + good[:50])
            d.wait_until(lambda: os.listdir(os.path.join(models, ".quern")), "the upload has begun")
        d.wait_until(lambda: not os.listdir(os.path.join(models, ".quern")), "nothing is left of it")
        assert sorted(os.listdir(models)) == [".quern", "m"] and os.listdir(os.path.join(models, "m")) == ["1"]
        assert value(d) == 1
        assert upload(d, 2, good)[0] == 201 and value(d) == 2
        status, _, body = d.request("PUT", "/v2/repository/models/m/versions/3", (part for part in [adds(3)[:40], adds(3)[40:]]))
        assert status == 201 and value(d) == 3, body


def two_uploads_of_one_version_make_one():
    with Folder(1) as models, Daemon(models=models) as d:
        got = []
        in_threads(8, lambda i: got.append((upload(d, 2, adds(10 + i)), 10 + i)))
        won = [c for (status, _), c in got if status == 201]
        assert len(won) == 1 and sorted(status for (status, _), _ in got) == [201] + [409] * 7, got
        assert value(d) == won[0]


def curl_uploads_as_the_documentation_says():
    with Folder(1) as models, Daemon(models=models) as d:
        with open(os.path.join(models, "up.onnx"), "wb") as f:
            f.write(adds(6))
        out = subprocess.run(["curl", "-s", "-T", os.path.join(models, "up.onnx"), f"http://127.0.0.1:{d.port}/v2/repository/models/m/versions/6"], stdout=subprocess.PIPE, check=True).stdout
        assert json.loads(out)["served"] == "6" and value(d) == 6, out


def promote_and_rollback_last():
    with Folder(4) as models:
        with Daemon(models=models) as d:
            assert value(d) == 4
            assert promote(d, "2") == (200, {"name": "m", "served": "2", "before": "4"}) and value(d) == 2
            assert promote(d, 3) == (200, {"name": "m", "served": "3", "before": "2"})
            assert rollback(d) == (200, {"name": "m", "served": "2", "before": "3"}) and value(d) == 2
            assert upload(d, 9, adds(9))[1]["served"] == "2" and value(d) == 2
        with Daemon(models=models) as d:
            assert value(d) == 2
            show = json.loads(d.get("/v2/repository/models/m")[2])
            assert show["served"] == "2" and show["pinned"] == "2" and [v["version"] for v in show["versions"] if v["state"] == "READY"] == ["2", "9"], show
            assert rollback(d)[1]["served"] == "4" and value(d) == 4
            assert promote(d, "latest")[1]["served"] == "9" and value(d) == 9
            assert json.loads(d.get("/v2/repository/models/m")[2])["pinned"] is None
            for body, word in (({}, "version"), ({"version": "x"}, "version"), ({"version": 0}, "version"), ({"verson": 1}, "verson"), ({"version": 3, "label": "a b"}, "label"), ({"version": 3, "label": 4}, "label")):
                status, _, reply = d.post("/v2/repository/models/m/promote", body)
                assert status == 400 and word in json.loads(reply)["error"], (body, reply)
            assert promote(d, 77)[0] == 404 and d.post("/v2/repository/models/none/rollback")[0] == 404 and d.post("/v2/repository/models/%2e%2e/promote", {"version": 1})[0] in (400, 404)
            assert value(d) == 9


def labels_answer_on_their_routes():
    with Folder(3) as models:
        with open(os.path.join(models, "m", "quern.yaml"), "w") as f:
            f.write("version_labels: {stable: 1, canary: 3}\n")
        with Daemon(models=models) as d:
            assert value(d, "/v1/models/m/labels/stable:predict") == 1 and value(d, "/v1/models/m/labels/canary:predict") == 3 and value(d) == 3
            assert value(d, "/v1/models/m/labels/none:predict") == 404
            status = json.loads(d.get("/v1/models/m/labels/stable")[2])["model_version_status"]
            assert [s["version"] for s in status] == ["1"], status
            assert json.loads(d.get("/v1/models/m/labels/stable/metadata")[2])["model_spec"]["version"] == "1"
            assert promote(d, 2, label="stable")[0] == 200 and value(d, "/v1/models/m/labels/stable:predict") == 2 and value(d) == 3
            assert json.loads(d.get("/v2/repository/models/m")[2])["labels"] == {"stable": "2", "canary": "3"}


def the_policy_is_in_the_configuration():
    for settings, policy in (("latest_versions: 2\n", {"latest": {"num_versions": 2}}), ("version_policy: all\n", {"all": {}}), ("version_policy: specific\nversions: [1, 3]\n", {"specific": {"versions": [1, 3]}})):
        with Folder(3) as models:
            with open(os.path.join(models, "m", "quern.yaml"), "w") as f:
                f.write(settings)
            with Daemon(models=models) as d:
                assert json.loads(d.get("/v2/models/m/config")[2])["version_policy"] == policy


def a_version_is_deleted_if_nobody_means_it():
    with Folder(3) as models, Daemon(models=models) as d:
        delete = lambda v: d.request("DELETE", f"/v2/repository/models/m/versions/{v}")[0]
        assert delete(3) == 409 and delete(2) == 200 and delete(2) == 404 and value(d) == 3
        assert sorted(os.listdir(os.path.join(models, "m"))) == ["1", "3"] and os.listdir(os.path.join(models, ".quern")) == []
        status, headers, _ = d.request("POST", "/v2/repository/models/m/versions/1")
        assert status == 405 and headers["allow"] == "PUT, DELETE, OPTIONS", headers


def promotions_and_uploads_cost_no_request():
    with Folder(2) as models, Daemon(models=models) as d:
        stop, bad, n = threading.Event(), [], [0]

        def client(_):
            c = d.connect()
            while not stop.is_set():
                c.request("POST", "/v1/models/m:predict", b'{"instances":[[0.0]]}', {"Content-Type": "application/json"})
                r = c.getresponse()
                body = r.read()
                n[0] += 1
                if r.status != 200 or json.loads(body)["predictions"][0][0] not in range(1, 60):
                    bad.append((r.status, body))

        def operator(_):
            for v in range(3, 43):
                assert upload(d, v, adds(v))[0] == 201
                assert promote(d, v - 1)[0] == 200 and value(d) == v - 1
                assert rollback(d)[0] == 200
                assert promote(d, "latest")[1]["served"] == str(v) and value(d) == v
            stop.set()

        def both(i):
            try:
                operator(i) if i == 0 else client(i)
            finally:
                stop.set()

        in_threads(9, both)
        assert not bad and n[0] > 100, (n, bad[:3])


def at_the_memory_cap_models_take_turns():
    with Folder(0) as models:
        for name in "abc":
            put(models, name, 1, adds(1, 50000))  # 200,000 bytes of weights
        with Daemon(models=models, config="models:\n  memory_bytes: 500000\n") as d:

            def ask(name):
                status, headers, _ = d.post(f"/v2/models/{name}/infer", {"inputs": [{"name": "x", "shape": [1, 50000], "datatype": "FP32", "data": [0] * 50000}]})
                assert status == 200 or (status == 503 and "retry-after" in headers), (status, headers)
                return status == 200

            for name in "abcabccba":
                d.wait_until(lambda: ask(name), f"{name} comes back")
                ready = [e for e in json.loads(d.post("/v2/repository/index")[2]) if e["state"] == "READY"]
                assert len(ready) <= 2, ready
            assert "leaves for want of memory" in d.log_text()


def polling_finds_what_was_put_there():
    with Folder(1) as models, Daemon(models=models, config="models:\n  poll_ms: 20\n") as d:
        put(models, "m", 2, adds(2))
        d.wait_until(lambda: value(d) == 2, "version 2 is served")
        put(models, "other", 1, adds(5))
        d.wait_until(lambda: value(d, "/v1/models/other:predict") == 5, "a new model is served")
        put(models, "m", 3, b"not a model")
        d.wait_until(lambda: "version=3" in d.log_text(), "version 3 was tried")
        shutil.rmtree(os.path.join(models, "other"))
        d.wait_until(lambda: value(d, "/v1/models/other:predict") == 404, "the model has left")
        assert value(d) == 2 and d.get("/v2/health/ready")[0] == 200
        assert d.log_text().count("version=3") == 1, d.log_tail()


main(
    [
        an_upload_is_served_and_outlives_a_restart,
        a_bad_upload_leaves_nothing,
        two_uploads_of_one_version_make_one,
        curl_uploads_as_the_documentation_says,
        promote_and_rollback_last,
        labels_answer_on_their_routes,
        the_policy_is_in_the_configuration,
        a_version_is_deleted_if_nobody_means_it,
        promotions_and_uploads_cost_no_request,
        at_the_memory_cap_models_take_turns,
        polling_finds_what_was_put_there,
    ]
)
