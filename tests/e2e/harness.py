"""What the end-to-end tests share: a daemon on a free port over a folder of models, small clients, and a runner that prints TAP lines.

Only the standard library and numpy. Nothing here depends on how fast the machine is: waits end on an event and have a generous limit.
"""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
QUERN = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else os.path.join(ROOT, "build", "quern")
QUICK = os.environ.get("QUERN_QUICK", "") == "" and ("asan" in QUERN or "tsan" in QUERN)  # sanitizer builds take fewer rounds


class Daemon:
    """quern serve on 127.0.0.1 with a port of its own; a context manager. `models` is a folder (default: a copy of the shipped one)."""

    def __init__(self, models=None, config="", args=(), env=None):
        self.dir = tempfile.mkdtemp(prefix="quern-e2e-")
        self.models = models or os.path.join(self.dir, "models")
        if not models:
            shutil.copytree(os.path.join(ROOT, "models"), self.models)
        self.config = os.path.join(self.dir, "quern.yaml")
        with open(self.config, "w") as f:
            f.write(config)
        self.log = os.path.join(self.dir, "log")
        self.args = list(args)
        self.env = dict(os.environ, **(env or {}))
        self.port = 0

    def __enter__(self):
        self.start()
        return self

    def start(self, wait_ready=True):
        cmd = [QUERN, "serve", "--config", self.config, "--model-dir", self.models, "--listen", f"127.0.0.1:{self.port}"] + self.args
        self.process = subprocess.Popen(cmd, stderr=open(self.log, "wb"), stdout=subprocess.DEVNULL, env=self.env)
        self.port = int(self.wait_for_log(r"listening on 127\.0\.0\.1:(\d+)"))
        if wait_ready:
            self.wait_until(lambda: self.get("/v2/health/ready")[0] == 200, "ready")

    def __exit__(self, *exc):
        died = self.process.poll() is not None and self.process.returncode != 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("the daemon did not stop on SIGTERM:\n" + self.log_tail())
        code, tail = self.process.returncode, self.log_tail()
        shutil.rmtree(self.dir, ignore_errors=True)
        if exc[0] is None and (died or code != 0):
            raise AssertionError(f"the daemon ended with {code}:\n{tail}")
        if exc[0] is not None:
            print("# daemon log: " + tail.replace("\n", "\n# "))

    def log_text(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def log_tail(self, lines=40):
        return "\n".join(self.log_text().splitlines()[-lines:])

    def wait_until(self, what, name, seconds=120):
        end = time.monotonic() + seconds
        while True:
            try:
                got = what()
                if got:
                    return got
            except (ConnectionError, http.client.HTTPException, socket.timeout):
                pass
            if self.process.poll() is not None:
                raise AssertionError(f"the daemon died ({self.process.returncode}) before: {name}\n{self.log_tail()}")
            if time.monotonic() > end:
                raise AssertionError(f"waited {seconds} s in vain for: {name}\n{self.log_tail()}")
            time.sleep(0.02)

    def wait_for_log(self, pattern, seconds=120):
        def look():
            m = re.search(pattern, self.log_text())
            return m and (m.group(1) if m.groups() else m.group(0))

        return self.wait_until(look, f"log line {pattern}", seconds)

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def request(self, method, path, body=None, headers=None):
        """(status, headers, body bytes) on a connection of its own."""
        c = self.connect()
        try:
            c.request(method, path, body=body, headers=headers or {})
            r = c.getresponse()
            return r.status, dict((k.lower(), v) for k, v in r.getheaders()), r.read()
        finally:
            c.close()

    def get(self, path):
        return self.request("GET", path)

    def post(self, path, value=None, headers=None):
        body = b"" if value is None else value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.request("POST", path, body, {"Content-Type": "application/json", **(headers or {})})

    def raw(self, data, wait=10):
        """Send bytes as they are; everything that comes back until the server closes or is silent."""
        s = socket.create_connection(("127.0.0.1", self.port), timeout=wait)
        got = b""
        try:
            for i in range(0, len(data), 65536):
                s.sendall(data[i : i + 65536])
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused early; the answer may still be there
        try:
            while True:
                part = s.recv(65536)
                if not part:
                    break
                got += part
        except (socket.timeout, ConnectionResetError):
            pass
        s.close()
        return got

    def alive(self):
        assert self.process.poll() is None, "the daemon died:\n" + self.log_tail()
        status, _, body = self.post("/v1/models/fashion:predict", known_request())
        assert status == 200 and json.loads(body) == known_answer(self), (status, body[:300])


_known = {}


def known_request():
    return {"instances": [[[[((i * 28 + j) % 256) / 255.0 for j in range(28)] for i in range(28)]]]}


def known_answer(daemon):
    """The first answer of this run; every later one must have the same bits."""
    key = daemon.models
    if key not in _known:
        status, _, body = daemon.post("/v1/models/fashion:predict", known_request())
        assert status == 200, body
        _known[key] = json.loads(body)
    return _known[key]


def fashion_test_set():
    """(x float32 [10000, 1, 28, 28] in 0..1, y uint8 [10000])"""
    import gzip

    import numpy as np

    folder = "/usr/share/datasets/fashion-mnist/"
    x = np.frombuffer(gzip.open(folder + "t10k-images-idx3-ubyte.gz").read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    y = np.frombuffer(gzip.open(folder + "t10k-labels-idx1-ubyte.gz").read(), np.uint8, offset=8)
    return (x / 255.0).astype(np.float32), y


def in_threads(n, work):
    """Run work(i) for i in 0..n-1 at the same time; the first exception is raised again."""
    errors = []

    def one(i):
        try:
            work(i)
        except BaseException as e:  # noqa: BLE001 - reported to the caller
            errors.append(e)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


def main(tests):
    """Run the functions and print TAP lines; their names are the sentences."""
    failed = 0
    only = sys.argv[2] if len(sys.argv) > 2 else ""
    for test in tests:
        if only not in test.__name__:
            continue
        name = test.__name__.replace("_", " ")
        try:
            test()
            print(f"ok {name}", flush=True)
        except BaseException as e:  # noqa: BLE001
            failed += 1
            print("# " + traceback.format_exc().replace("\n", "\n# "))
            print(f"not ok {name}: {str(e).splitlines()[0][:300] if str(e) else type(e).__name__}", flush=True)
    sys.exit(1 if failed else 0)
