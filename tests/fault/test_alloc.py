"""Out of memory at allocation after allocation: one clear error, no crash, and the next request is answered with the same bits."""
import http.client
import json
import mmap
import os
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from harness import QUERN, ROOT, Daemon, known_answer, known_request, main  # noqa: E402

work = tempfile.mkdtemp(prefix="quern-fault-")
SHIM = os.path.join(work, "failmalloc.so")
subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", SHIM, os.path.join(ROOT, "tests/fault/failmalloc.c"), "-ldl"], check=True)


class Control:
    """The two numbers the shim looks at."""

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

    def env(self):
        return {"LD_PRELOAD": SHIM, "FAILMALLOC": self.path}


def sites(total, most):
    """1..total, thinned to about `most`: the first hundred each, then evenly."""
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


def a_daemon_survives_failed_allocations_in_requests_and_reloads():
    control = Control()
    with Daemon(env=control.env()) as d:
        want = known_answer(d)
        actions = {
            "predict": lambda: d.post("/v1/models/fashion:predict", known_request()),
            "infer": lambda: d.post("/v2/models/fashion/infer", {"inputs": [{"name": "image", "shape": [1, 1, 28, 28], "datatype": "FP32", "data": [0.0] * 784}]}),
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
                        assert status in (503, 507, 400, 404), (name, n, status, body[:200])
                        json.loads(body)
                except (ConnectionError, http.client.HTTPException):
                    failures += 1  # the library under the socket had no memory for the connection
                control.fail_at(0)
                assert d.process.poll() is None, f"{name}, allocation {n} of {total}: the daemon died\n" + d.log_tail()
                if name == "reload":  # the folder is as it was: a second reload must bring the model back if it was lost
                    d.wait_until(lambda: d.post("/admin/reload")[0] == 200, "reload after a failed one")
                status, _, body = d.post("/v1/models/fashion:predict", known_request())
                assert status == 200 and json.loads(body) == want, (name, n, status, body[:200])
            print(f"# {name}: {total} allocations, {len(todo)} made to fail, {failures} refused")


main([load_and_run_survive_every_failed_allocation, a_daemon_survives_failed_allocations_in_requests_and_reloads])
