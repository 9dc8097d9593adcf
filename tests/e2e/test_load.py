"""quern load: what it counts adds up, and a server that stalls does not hide it."""
import json
import socket
import subprocess
import tempfile
import threading
import time

import numpy as np
from harness import QUERN, Daemon, known_request, main


def load(url, *options, code=0):
    p = subprocess.run([QUERN, "load", url, *options, "--json", "-"], capture_output=True, text=True, timeout=120)
    assert p.returncode == code, (p.returncode, p.stdout, p.stderr)
    return json.loads(p.stdout) if code == 0 else p.stderr


def sane(r):
    assert r["answered"] == sum(r["status"].values()) and r["due"] == r["answered"] + sum(r["errors"].values()), r
    for times in (r["latency_ms"], r["service_ms"]):
        assert 0 < times["p50"] <= times["p90"] <= times["p99"] <= times["p99_9"] <= times["max"], times
    assert r["latency_ms"]["max"] >= r["service_ms"]["max"] * 0.999 or r["loop"] == "closed", r


def against_the_daemon_everything_is_answered():
    with Daemon() as d, tempfile.TemporaryDirectory() as f:
        url = f"http://127.0.0.1:{d.port}"
        with open(f + "/body.json", "w") as out:
            json.dump(known_request(), out)
        np.save(f + "/x.npy", np.array(known_request()["instances"], np.float32))
        short = ["--seconds", "0.5", "--warmup", "0.1", "--connections", "4"]
        for options in (["--body", f + "/body.json"], ["--body", f + "/body.json", "--rate", "200"], ["--body", f + "/body.json", "--rate", "200", "--arrivals", "fixed"]):
            r = load(url + "/v1/models/fashion:predict", *options, *short)
            sane(r)
            assert set(r["status"]) == {"200"} and r["good"] == r["answered"] > 0 and not any(r["errors"].values()), r
        assert 90 <= r["due"] <= 101, r  # half a second of a fixed 200 a second
        r = load(url + "/v2/models/fashion/infer", "--input", f"image={f}/x.npy", *short)
        sane(r)
        assert set(r["status"]) == {"200"}, r
        r = load(f"http://localhost:{d.port}/v2/models/none", "--header", "X-Request-Id: abc", *short)
        sane(r)
        assert set(r["status"]) == {"404"} and r["good"] == 0, r


class Server:
    """Answers with `reply` after `stall` seconds at request number `at`."""

    def __init__(self, reply, at=-1, stall=0.0):
        self.reply, self.at, self.stall, self.n = reply, at, stall, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                c, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        data = b""
        try:
            while True:
                part = c.recv(65536)
                if not part:
                    return
                data += part
                while b"\r\n\r\n" in data:
                    data = data.split(b"\r\n\r\n", 1)[1]
                    self.n += 1
                    if self.n == self.at:
                        time.sleep(self.stall)
                    c.sendall(self.reply)
                    if b"close" in self.reply:
                        c.close()
                        return
        except OSError:
            pass


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def a_stall_counts_for_all_that_were_due_in_it():
    server = Server(OK, at=40, stall=0.4)
    r = load(server.url, "--rate", "200", "--arrivals", "fixed", "--connections", "1", "--seconds", "1.5", "--warmup", "0")
    sane(r)
    # 80 requests became due while the one connection stood still: a quarter of all waited for some of it
    assert r["latency_ms"]["max"] >= 390 and r["latency_ms"]["p90"] >= 100 and r["most_waiting"] >= 60, r
    assert r["service_ms"]["max"] >= 390, r
    server.listener.close()


def every_kind_of_failure_has_its_count():
    short = ["--rate", "100", "--connections", "2", "--seconds", "0.4", "--warmup", "0"]
    free = socket.create_server(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    r = load(f"http://127.0.0.1:{port}/", *short)
    assert r["errors"]["connect"] + r["errors"]["not_sent"] == r["due"] > 0 and r["errors"]["connect"] > 0 and r["answered"] == 0, r
    for reply, kind in ((b"what?\r\n\r\n", "malformed"), (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nok", "cut_short")):
        server = Server(reply)
        r = load(server.url, *short)
        assert r["errors"][kind] == r["due"] > 0, (kind, r)
        server.listener.close()
    server = Server(OK, at=1, stall=5)
    r = load(server.url, *short, "--timeout", "200")
    assert r["errors"]["timeout"] == 1 and r["answered"] == r["due"] - 1, r
    server.listener.close()
    server = Server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    r = load(server.url, *short)
    sane(r)
    assert r["answered"] == r["due"], r
    server.listener.close()


def wrong_options_are_usage():
    url = "http://127.0.0.1:1/"
    for args in ([], [url, url], [url, "--rate"], [url, "--rate", "0"], [url, "--rate", "fast"], [url, "--connections", "0"], [url, "--arrivals", "now"], [url, "--header", "a\r\nb: c"], [url, "--colour", "red"]):
        p = subprocess.run([QUERN, "load", *args], capture_output=True, text=True)
        assert p.returncode == 2 and "usage" in p.stderr, (args, p)
    for args in (["ftp://x/"], ["http://"], [url, "--body", "/nowhere"], [url, "--input", "x=/nowhere.npy"]):
        p = subprocess.run([QUERN, "load", *args], capture_output=True, text=True)
        assert p.returncode == 1 and p.stderr.startswith("quern load: "), (args, p)


main([against_the_daemon_everything_is_answered, a_stall_counts_for_all_that_were_due_in_it, every_kind_of_failure_has_its_count, wrong_options_are_usage])
