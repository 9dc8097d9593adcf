"""System calls that fail while a model is read: the reload is refused, the served version stays, and nothing crashes.

strace injects the errors into the running daemon (strace -p), so the same process goes on afterwards.
"""
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from harness import Daemon, known_answer, known_request, main  # noqa: E402

FAULTS = [
    ("openat2", "EMFILE"),
    ("openat2", "ENOMEM"),
    ("openat2", "EIO"),
    ("pread64", "EIO"),
    ("mmap", "ENOMEM"),
]


def reads_that_fail_refuse_the_reload_and_keep_the_model():
    with Daemon() as d:
        want = known_answer(d)
        refused = 0
        for call, error in FAULTS:
            p = subprocess.Popen(["strace", "-f", "-qq", "-e", f"trace={call}", "-e", f"inject={call}:error={error}", "-o", os.path.join(d.dir, "strace"), "-p", str(d.process.pid)],
                                 stderr=subprocess.PIPE, text=True)
            end = time.monotonic() + 60
            while f"TracerPid:\t{p.pid}" not in open(f"/proc/{d.process.pid}/status").read():
                if p.poll() is not None:
                    print(f"# strace cannot attach here: {p.stderr.read().strip()[:200]}")
                    assert "ermission" in p.stderr.read() or "not permitted" in p.stderr.read(), "strace ended"
                    return
                assert time.monotonic() < end, "strace does not attach"
                time.sleep(0.02)
            os.utime(d.models + "/fashion/1/model.onnx.zst")
            try:
                status, _, body = d.post("/admin/reload")
                if status != 200:
                    refused += 1
                    assert 400 <= status < 600 and status != 500 and json.loads(body)["error"], (call, error, status, body)
            except ConnectionError:
                refused += 1  # a thread or buffer of the HTTP library could not be had
            p.terminate()
            p.wait()
            assert d.process.poll() is None, f"{call} {error}: the daemon died\n" + d.log_tail()
            status, _, body = d.post("/v1/models/fashion:predict", known_request())
            assert status == 200 and json.loads(body) == want, (call, error, status, body[:200])
            assert d.post("/admin/reload")[0] == 200, (call, error)
        print(f"# {len(FAULTS)} faults, {refused} refused reloads")
        assert refused >= 3


main([reads_that_fail_refuse_the_reload_and_keep_the_model])
