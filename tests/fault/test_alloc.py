"""Out of memory at allocation after allocation: one clear error, no crash, and the next request is answered with the same bits."""
import http.client
import json
import mmap
import os
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from harness import QUERN, ROOT, Daemon, known_answer, known_request, main  # noqa: E402

work = tempfile.mkdtemp(prefix="quern-fault-")
SHIM = os.path.join(work, "failmalloc.so")
subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", SHIM, os.path.join(ROOT, "tests/fault/failmalloc.c"), "-ldl"], check=True)


class Control:
    """The numbers the shim looks at."""

    def __init__(self):
        self.path = os.path.join(work, "control")
        with open(self.path, "wb") as f:
            f.write(bytes(4096))
        with open(self.path, "r+b") as f:
            self.m = mmap.mmap(f.fileno(), 4096)

    def fail_at(self, n):
        self.m[0:8] = struct.pack("<q", n)

    def pending(self):
        return struct.unpack("<q", self.m[0:8])[0] > 0

    def seen(self):
        return struct.unpack("<q", self.m[8:16])[0]

    def live(self):
        return struct.unpack("<q", self.m[16:24])[0]

    def reset(self):
        self.m[0:24] = bytes(24)

    def env(self):
        return {"LD_PRELOAD": SHIM, "FAILMALLOC": self.path}


ALL = os.environ.get("QUERN_FULL", "") != ""


def sites(total, most):
    """1..total, thinned to about `most` unless everything is asked for: the first hundred each, then evenly."""
    if ALL:
        return list(range(1, total + 1))
    step = max(1, total // most)
    return sorted(set(range(1, min(total, 100) + 1)) | set(range(1, total + 1, step)))


def load_and_run_survive_every_failed_allocation():
    control = Control()
    model = ROOT + "/models/fashion/1/model.onnx.zst"
    import numpy as np

    np.save(work + "/x.npy", np.zeros((1, 1, 28, 28), np.float32))
    cmd = [QUERN, "run", model, "--input", f"image={work}/x.npy", "--output-dir", work]
    env = dict(os.environ, **control.env())
    assert subprocess.run(cmd, env=env, stdout=subprocess.DEVNULL).returncode == 0
    total = control.seen()
    said = 0
    todo = sites(total, 250)
    for n in todo:
        control.fail_at(n)
        p = subprocess.run(cmd, env=env, capture_output=True, text=True, timeout=120)
        assert p.returncode >= 0, f"allocation {n} of {total}: killed by signal {-p.returncode}\n{p.stderr}"
        if p.returncode:
            said += 1
            assert p.stderr.strip(), f"allocation {n}: failed without a word"
    print(f"# {total} allocations, {len(todo)} made to fail, {said} ended in an error")
    assert said > 20


def start_and_stop_survive_every_failed_allocation():
    control = Control()
    keys = os.path.join(work, "keys.txt")
    with open(keys, "wb") as f:
        f.write(subprocess.run([QUERN, "key", "new", "--id", "k", "--scopes", "infer,admin"], capture_output=True, check=True).stderr)
    config = os.path.join(work, "quern.yaml")
    with open(config, "w") as f:
        f.write(f"server:\n  health_listen: 127.0.0.1:0\nsecurity:\n  keys_file: {keys}\n")
    cmd = [QUERN, "serve", "--config", config, "--model-dir", ROOT + "/models", "--listen", "127.0.0.1:0"]
    env = dict(os.environ, **control.env())
    log = os.path.join(work, "log")

    def once(n):
        """(exit code, log) of a start that goes as far as it gets, then SIGTERM."""
        control.reset()
        control.fail_at(n)
        with open(log, "wb") as f:
            p = subprocess.Popen(cmd, stderr=f, env=env)
        end = time.monotonic() + 120
        while p.poll() is None and "models read" not in open(log, errors="replace").read():
            assert time.monotonic() < end, f"allocation {n}: neither started nor ended\n" + open(log).read()
            time.sleep(0.002)
        p.terminate()
        code = p.wait(120)
        return code, open(log, errors="replace").read()

    code, text = once(0)
    assert code == 0, text
    total, usual = control.seen(), control.live()
    refused = 0
    for n in sites(total, 120):
        code, text = once(n)
        assert code in (0, 1, -15), f"allocation {n} of {total}: ended with {code}\n{text}"  # -15: the signal came before anybody could take it
        assert code == 0 or text.strip(), f"allocation {n}: no start, and no word about it"
        assert code == -15 or control.live() <= usual + 4, f"allocation {n}: {control.live()} allocations live at the end, usually {usual}\n{text}"
        refused += code == 1
    print(f"# start and stop: {total} allocations, {refused} starts refused, {usual} allocations live at the end")
    assert refused > 10


def settled(control):
    """Allocations that live when the last connection is gone: until the number stands still."""
    last, since = control.live(), time.monotonic()
    while time.monotonic() < since + 0.1:
        time.sleep(0.005)
        if control.live() != last:
            last, since = control.live(), time.monotonic()
    return last


def put_settings(d):
    with open(d.models + "/fashion/quern.yaml", "w") as f:
        f.write("labels: [a, b, c]\nversion_labels: {stable: 1}\n")


def a_daemon_survives_failed_allocations_in_requests_and_reloads():
    control = Control()
    with open(ROOT + "/models/fashion/1/model.onnx.zst", "rb") as f:
        model = f.read()
    daemon = Daemon(env=control.env())
    put_settings(daemon)
    ten = {"instances": known_request()["instances"] * 10}
    with daemon as d:
        want = known_answer(d)
        image = {"name": "image", "shape": [1, 1, 28, 28], "datatype": "FP32", "data": [0.0] * 784}
        example = {"examples": [{"image": [0.5] * 784}]}

        def upload():
            d.request("DELETE", "/v2/repository/models/other/versions/2")
            return d.request("PUT", "/v2/repository/models/other/versions/2", model)

        def promote():
            d.post("/v2/repository/models/fashion/promote", {"version": "latest"})
            return d.post("/v2/repository/models/fashion/promote", {"version": "1"})

        actions = {
            "predict": lambda: d.post("/v1/models/fashion:predict", known_request()),
            "infer": lambda: d.post("/v2/models/fashion/infer", {"inputs": [image]}),
            "classification": lambda: d.post("/v2/models/fashion/infer", {"inputs": [image], "outputs": [{"name": "probs", "parameters": {"classification": 3}}]}),
            "classify": lambda: d.post("/v1/models/fashion/labels/stable:classify", example),
            "gzip": lambda: d.post("/v1/models/fashion:predict", ten, {"Accept-Encoding": "gzip"}),
            "zstd": lambda: d.post("/v1/models/fashion:predict", ten, {"Accept-Encoding": "zstd"}),
            "config": lambda: d.get("/v2/models/fashion/config"),
            "openapi": lambda: d.get("/openapi.json"),
            "statistics": lambda: d.get("/v2/models/stats"),
            "profile": lambda: d.post("/v2/models/fashion/profile", {"runs": 1}),
            "model": lambda: d.get("/v2/repository/models/fashion"),
            "promote": promote,
            "rollback": lambda: d.post("/v2/repository/models/fashion/rollback"),
            "upload": upload,
            "metrics": lambda: d.get("/metrics"),
            "index": lambda: d.post("/v2/repository/index"),
            "reload": lambda: (os.utime(d.models + "/fashion/1/model.onnx.zst"), d.post("/admin/reload"))[1],
        }
        for name, act in actions.items():
            before = control.seen()
            act()
            total = max(control.seen() - before, 5)
            failures = 0
            todo = sites(total, 60)
            for n in todo:
                control.fail_at(n)
                try:
                    status, _, body = act()
                    if status >= 400:
                        failures += 1
                        assert status in (503, 507, 400, 404, 409), (name, n, status, body[:200])
                        json.loads(body)
                except (ConnectionError, http.client.HTTPException):
                    failures += 1  # the library under the socket had no memory for the connection
                control.fail_at(0)
                assert d.process.poll() is None, f"{name}, allocation {n} of {total}: the daemon died\n" + d.log_tail()
                if name in ("reload", "upload", "promote", "rollback"):  # the folder is as it was: a second reload must bring the model back if it was lost
                    d.wait_until(lambda: d.post("/admin/reload")[0] == 200, "reload after a failed one")
                status, _, body = d.post("/v1/models/fashion:predict", known_request())
                assert status == 200 and json.loads(body) == want, (name, n, status, body[:200])
            before = settled(control)
            for n in todo:  # once more: what could be allocated for good has been
                control.fail_at(n)
                try:
                    act()
                except (ConnectionError, http.client.HTTPException):
                    pass
                control.fail_at(0)
            if name in ("reload", "upload", "promote", "rollback"):
                d.wait_until(lambda: d.post("/admin/reload")[0] == 200, "reload after a failed one")
            d.wait_until(lambda: settled(control) <= before + 8, f"{name}: allocations that live on: {before} before, {control.live()} now", 20)
            print(f"# {name}: {total} allocations, {len(todo)} made to fail, {failures} refused, {control.live() - before:+d} live on")


main([load_and_run_survive_every_failed_allocation, start_and_stop_survive_every_failed_allocation, a_daemon_survives_failed_allocations_in_requests_and_reloads])
