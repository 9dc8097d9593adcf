"""A restart behind a socket that outlives the process, as systemd hands it over: no connection is refused, no request is lost."""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from harness import QUERN, ROOT, in_threads, known_request, main

BODY = json.dumps(known_request()).encode()
HEADERS = {"Content-Type": "application/json"}


class Supervisor:
    """Holds the listening socket and starts daemons on it: socket activation, sd_listen_fds(3)."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="quern-restart-")
        shutil.copytree(os.path.join(ROOT, "models"), os.path.join(self.dir, "models"))
        open(os.path.join(self.dir, "quern.yaml"), "w").close()
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(1024)
        self.port = self.socket.getsockname()[1]
        self.n = 0

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()
        if exc[0]:
            for i in range(self.n):
                with open(os.path.join(self.dir, f"log{i}"), errors="replace") as f:
                    print("# daemon log: " + f.read().replace("\n", "\n# "))
        shutil.rmtree(self.dir, ignore_errors=True)

    def start(self):
        log = os.path.join(self.dir, f"log{self.n}")
        self.n += 1
        # the shell moves the socket to descriptor 3 and keeps its process for the daemon, so that LISTEN_PID is right
        command = f'exec 3<&{self.socket.fileno()}; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@"'
        args = [QUERN, "serve", "--config", os.path.join(self.dir, "quern.yaml"), "--model-dir", os.path.join(self.dir, "models")]
        with open(log, "wb") as f:
            p = subprocess.Popen(["sh", "-c", command] + args, stderr=f, pass_fds=[self.socket.fileno()])
        end = time.monotonic() + 120
        while True:
            with open(log, errors="replace") as f:
                if re.search("models read", f.read()):
                    return p
            assert p.poll() is None and time.monotonic() < end, "no start"
            time.sleep(0.005)

    def stop(self, p):
        p.send_signal(signal.SIGTERM)
        assert p.wait(120) == 0, p.returncode


def one_connection_a_request(port, stop, failures, counts, i):
    while not stop.is_set():
        try:
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            c.request("POST", "/v1/models/fashion:predict", BODY, HEADERS)
            r = c.getresponse()
            r.read()
            c.close()
            counts[i] += 1
            if r.status != 200:
                failures.append(r.status)
        except OSError as e:
            failures.append(repr(e))
        except http.client.HTTPException as e:
            failures.append(repr(e))


def kept_connections(port, stop, failures, counts, i):
    """A client that never sends a request twice: it opens another connection only when it was told so."""
    c = None
    while not stop.is_set():
        try:
            if c is None:
                c = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
                c.connect()
                c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            time.sleep(i * 0.0005)  # some are always between two requests
            c.request("POST", "/v1/models/fashion:predict", BODY, HEADERS)
            r = c.getresponse()
            r.read()
            counts[i] += 1
            if r.status != 200:
                failures.append(r.status)
            if r.getheader("Connection", "").lower() == "close":
                c.close()
                c = None
        except (OSError, http.client.HTTPException) as e:
            failures.append(repr(e))
            c = None


def restarts(overlapping, client):
    failures, counts, stop = [], [0] * 8, threading.Event()
    with Supervisor() as s:
        p = s.start()

        def operator():
            nonlocal p
            try:
                for _ in range(5):
                    before = sum(counts)
                    while sum(counts) < before + 100:
                        time.sleep(0.005)
                    if overlapping:
                        following = s.start()
                        s.stop(p)
                    else:
                        s.stop(p)
                        following = s.start()
                    p = following
            finally:
                stop.set()

        in_threads(9, lambda i: operator() if i == 8 else client(s.port, stop, failures, counts, i))
        s.stop(p)
    print(f"# 5 restarts, {sum(counts)} requests, {len(failures)} failed")
    assert not failures, (len(failures), failures[:3])


def one_process_after_the_other_loses_no_new_connection():
    restarts(False, one_connection_a_request)


def one_process_after_the_other_loses_no_request_on_a_kept_connection():
    restarts(False, kept_connections)


def two_processes_at_once_lose_nothing():
    restarts(True, one_connection_a_request)
    restarts(True, kept_connections)


main(
    [
        one_process_after_the_other_loses_no_new_connection,
        one_process_after_the_other_loses_no_request_on_a_kept_connection,
        two_processes_at_once_lose_nothing,
    ]
)
