"""Reloads: none loses a request, a bad file changes nothing, a newer version takes over, memory comes back."""
import json
import os
import re
import shutil
import signal
import subprocess
import threading

from harness import QUICK, ROOT, Daemon, known_answer, known_request, main

ROUNDS = 10 if QUICK else 100


def version_dir(d, v):
    return os.path.join(d.models, "fashion", str(v))


def publish_copy(d, v):
    """Version v beside the others, complete before it has its name."""
    tmp = os.path.join(d.models, "fashion", ".new")
    shutil.copytree(os.path.join(ROOT, "models/fashion/1"), tmp)
    os.rename(tmp, version_dir(d, v))


def a_hundred_reloads_under_load_fail_no_request():
    with Daemon() as d:
        script = os.path.join(d.dir, "post.lua")
        body = json.dumps(known_request())
        with open(script, "w") as f:
            f.write("wrk.method='POST'\nwrk.headers['Content-Type']='application/json'\nwrk.body=[==[" + body + "]==]\n")
        stop = threading.Event()
        versions = []

        def reloads():
            v = 1
            for i in range(ROUNDS):
                if i % 2:
                    v += 1
                    publish_copy(d, v)
                    if v > 3:
                        shutil.rmtree(version_dir(d, v - 2), ignore_errors=True)
                else:  # the same version again with a new stamp
                    os.utime(os.path.join(version_dir(d, v), "model.onnx.zst"))
                status, _, text = d.post("/admin/reload")
                assert status == 200, text
                status, _, text = d.get("/v2/models/fashion")
                versions.append(json.loads(text)["versions"])
                assert str(v) in versions[-1], (v, versions[-1])
            stop.set()

        t = threading.Thread(target=reloads)
        t.start()
        total = failed = 0
        while t.is_alive() or not total:
            out = subprocess.run(["wrk", "-t1", "-c8", "-d2s", "--timeout", "30s", "-s", script, f"http://127.0.0.1:{d.port}/v1/models/fashion:predict"], capture_output=True, text=True).stdout
            total += int(re.search(r"(\d+) requests in", out).group(1))
            bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
            errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
            failed += (int(bad.group(1)) if bad else 0) + (sum(int(g) for g in errors.groups()) if errors else 0)
        t.join()
        print(f"# {ROUNDS} reloads, {total} requests, {failed} failed")
        assert stop.is_set() and total > ROUNDS and failed == 0
        d.alive()


def after_a_reload_no_answer_comes_from_the_old_version():
    with Daemon() as d:
        for v in range(2, 8):
            publish_copy(d, v)
            assert d.post("/admin/reload")[0] == 200
            reply = json.loads(d.post("/v2/models/fashion/infer", {"inputs": [{"name": "image", "shape": [1, 1, 28, 28], "datatype": "FP32", "data": [0.0] * 784}]})[2])
            assert reply["model_version"] == str(v), reply


def a_corrupted_file_at_reload_changes_nothing():
    with Daemon() as d:
        want = known_answer(d)
        good = open(os.path.join(version_dir(d, 1), "model.onnx.zst"), "rb").read()
        cases = {"empty": b"", "text": b"not a model", "cut": good[: len(good) // 2], "flipped": good[:2000] + bytes([good[2000] ^ 0x55]) + good[2001:], "zeros": bytes(5000)}
        for name, data in cases.items():
            os.makedirs(version_dir(d, 2))
            with open(os.path.join(version_dir(d, 2), "model.onnx.zst"), "wb") as f:
                f.write(data)
            status, _, text = d.post("/admin/reload")
            assert 400 <= status < 500 and "error" in json.loads(text), (name, status, text)
            assert d.models not in text.decode(), "the answer shows a path"
            assert json.loads(d.post("/v1/models/fashion:predict", known_request())[2]) == want, name
            index = {e.get("version"): e for e in json.loads(d.post("/v2/repository/index")[2])}
            assert index["1"]["state"] == "READY" and index["2"]["state"] == "UNAVAILABLE" and index["2"]["reason"], index
            shutil.rmtree(version_dir(d, 2))
        # the served file itself overwritten in place: the loaded content goes on
        with open(os.path.join(version_dir(d, 1), "model.onnx.zst"), "wb") as f:
            f.write(b"damaged")
        status, _, text = d.post("/admin/reload")
        assert 400 <= status < 500, (status, text)
        assert json.loads(d.post("/v1/models/fashion:predict", known_request())[2]) == want
        with open(os.path.join(version_dir(d, 1), "model.onnx.zst"), "wb") as f:
            f.write(good)
        assert d.post("/admin/reload")[0] == 200
        d.alive()


def load_and_unload_by_name():
    with Daemon() as d:
        assert d.post("/v2/repository/models/fashion/unload")[0] == 200
        d.wait_until(lambda: d.post("/v1/models/fashion:predict", known_request())[0] == 404, "unloaded")
        entry = json.loads(d.post("/v2/repository/index")[2])[0]
        assert entry["state"] == "UNAVAILABLE" and entry["reason"] == "unloaded", entry
        assert d.post("/admin/reload")[0] == 200
        assert d.post("/v1/models/fashion:predict", known_request())[0] == 404, "a reload must not load what was unloaded"
        assert d.post("/v2/repository/models/fashion/load")[0] == 200
        assert d.post("/v1/models/fashion:predict", known_request())[0] == 200
        for name in ("nosuch", "..", "%2e%2e%2fetc", "a%2fb", "x" * 65, ".hidden", "a%00b"):
            status, _, text = d.post(f"/v2/repository/models/{name}/load")
            assert 400 <= status < 500 and json.loads(text)["error"], (name, status, text)
        d.alive()


def sighup_reads_the_folder_again():
    with Daemon() as d:
        publish_copy(d, 5)
        d.process.send_signal(signal.SIGHUP)
        d.wait_until(lambda: "5" in json.loads(d.get("/v2/models/fashion")[2])["versions"], "version 5")


def memory_comes_back_after_many_reloads():
    with Daemon() as d:

        def rss():
            return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{d.process.pid}/status").read()).group(1))

        def rounds(n):
            for _ in range(n):
                os.utime(os.path.join(version_dir(d, 1), "model.onnx.zst"))
                assert d.post("/admin/reload")[0] == 200
                assert d.post("/v1/models/fashion:predict", known_request())[0] == 200

        rounds(30)
        before = rss()
        rounds(30 if QUICK else 200)
        after = rss()
        fds = len(os.listdir(f"/proc/{d.process.pid}/fd"))
        print(f"# resident after 30 reloads {before} KiB, after more {after} KiB, {fds} descriptors")
        assert QUICK or after <= before * 1.1 + 8192, (before, after)
        assert fds < 64, fds


main([a_hundred_reloads_under_load_fail_no_request, after_a_reload_no_answer_comes_from_the_old_version, a_corrupted_file_at_reload_changes_nothing, load_and_unload_by_name,
      sighup_reads_the_folder_again, memory_comes_back_after_many_reloads])
