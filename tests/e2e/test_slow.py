"""Two hundred clients that are slow in every way are each cut off at their own deadline, while others are answered as if they were not there."""
import json
import os
import selectors
import shutil
import socket
import subprocess
import tempfile
import time

import numpy as np
import onnx
from harness import QUERN, QUICK, ROOT, Daemon, known_request, main
from onnx import TensorProto, helper, numpy_helper

MS = {"header": 1500, "body": 2000, "idle": 1500, "write": 2500}
CONFIG = "server:\n" + "".join(f"  {k}_timeout_ms: {v}\n" for k, v in MS.items()) + "  body_min_bytes_per_s: 0\nmodels:\n  workers: 1\n"  # one session of `large` is kept, not as many as happened to run at once
LARGE = 4 << 20  # floats of the large answer: more than both sockets' buffers take
DRIP_S = 0.1


def served():
    """fashion, and `large`, whose answer to one number is LARGE times that number."""
    folder = tempfile.mkdtemp(prefix="quern-slow-")
    shutil.copytree(ROOT + "/models/fashion", folder + "/fashion")
    os.makedirs(folder + "/large/1")
    shape = numpy_helper.from_array(np.array([1, LARGE], np.int64), "shape")
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, d]) for n, d in (("x", 1), ("y", LARGE)))
    graph = helper.make_graph([helper.make_node("Expand", ["x", "shape"], ["y"])], "large", [x], [y], [shape])
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), folder + "/large/1/model.onnx")
    return folder


def post(path, body):
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


BODY = json.dumps(known_request()).encode()
PREDICT = post("/v1/models/fashion:predict", BODY)
ASK_LARGE = post("/v2/models/large/infer", json.dumps({"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}], "parameters": {"binary_data_output": True}}).encode())
HEAD = PREDICT.index(b"\r\n\r\n") + 4

# kind: (clients, what is sent at once, what is dripped behind it, the deadline that ends it)
KINDS = {
    "drips its head": (45, PREDICT[:1], PREDICT[1 : HEAD - 1], "header"),
    "stops in its head": (20, PREDICT[:40], b"", "header"),
    "drips its body": (45, PREDICT[:HEAD], PREDICT[HEAD:-1], "body"),
    "stops in its body": (20, PREDICT[:-1], b"", "body"),
    "reads a large answer slowly": (2 if QUICK else 10, ASK_LARGE, b"", "write"),
    "keeps its connection and is silent": (30, PREDICT, b"", "idle"),
    "connects and is silent": (20, b"", b"", "header"),
    "closes half of its connection in the head": (10, PREDICT[:40], b"", "header"),
}
assert QUICK or sum(k[0] for k in KINDS.values()) == 200


class Slow:
    """One slow client; `end` is how its connection was closed once it was."""

    def __init__(self, port, kind):
        self.kind, (_, first, self.drip, self.stage) = kind, KINDS[kind]
        self.reads_slowly, self.got, self.n_got, self.end = self.stage == "write", b"", 0, None
        self.s = socket.socket()
        if self.reads_slowly:
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.s.connect(("127.0.0.1", port))
        self.began = time.monotonic()
        self.s.sendall(first)
        if kind.startswith("closes half"):
            self.s.shutdown(socket.SHUT_WR)
        self.s.setblocking(False)

    def send(self):
        if self.drip:
            try:
                self.drip = self.drip[self.s.send(self.drip[:1]) :]
            except OSError:
                self.drip = b""  # cut off: what was said is still to be read

    def receive(self):
        try:
            data = self.s.recv(512 if self.reads_slowly else 65536)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        self.got += data if self.n_got < 65536 else b""
        self.n_got += len(data)
        if not data:
            self.end = time.monotonic()
        return bool(data)

    def check(self):
        took = (self.end - self.began) * 1e3
        half = self.kind.startswith("closes half")
        assert half or took >= MS[self.stage], f"a client that {self.kind} was cut off after {took:.0f} ms, its deadline is {MS[self.stage]}"
        status = self.got[9:12]
        if self.stage == "write":
            assert status == b"200" and self.n_got < 4 * LARGE, (self.kind, self.got[:100], self.n_got)
        elif self.stage == "idle":
            assert status == b"200" and self.got.count(b"HTTP/1.1 ") == 1, (self.kind, self.got[:300])
        elif not half:
            assert status == b"408" and b"error" in self.got and self.got.count(b"HTTP/1.1 ") == 1, (self.kind, self.got[:300])


def cut_off(d, stage):
    """Connections that ended at this deadline so far."""
    name = f'quern_connections_timed_out_total{{stage="{stage}"}} '
    return int(float(next(line for line in d.get("/metrics")[2].decode().splitlines() if line.startswith(name))[len(name) :]))


def wave(d):
    """All the slow clients at once, until the last one is gone."""
    before = cut_off(d, "write")
    slow = [Slow(d.port, kind) for kind, row in KINDS.items() for _ in range(row[0])]
    sel, limit = selectors.DefaultSelector(), time.monotonic() + 120
    for c in slow:
        sel.register(c.s, selectors.EVENT_READ, c)
    left = set(slow)
    while left:
        assert time.monotonic() < limit, "still there after two minutes: " + ", ".join(sorted({c.kind for c in left}))
        next_drip = time.monotonic() + DRIP_S
        for c in left:
            c.send()
        readers = {c for c in left if c.reads_slowly}  # these take a little now, and not as it comes
        drained = left == readers and cut_off(d, "write") - before == len(readers)  # the rest is what the kernel had taken for them
        while left and (wait := next_drip - time.monotonic()) > 0:
            ready = {key.data for key, _ in sel.select(wait)}
            for c in ready - readers:
                c.receive()
                if c.end:
                    sel.unregister(c.s)
                    left.discard(c)
            if not ready - readers:
                time.sleep(max(0.0, min(0.01, next_drip - time.monotonic())))
        for c in readers:
            while c.receive() and drained:
                pass
            if c.end:
                sel.unregister(c.s)
                left.discard(c)
    for c in slow:
        c.s.close()
        c.check()
    return {kind: max(c.end - c.began for c in slow if c.kind == kind) for kind in KINDS}


def load(d, folder, seconds, warmup):
    """Others, five hundred requests a second, in the background. The large answers are made in the warm-up: that work is no slow client's."""
    path = folder + "/body.json"
    with open(path, "wb") as f:
        f.write(BODY)
    url = f"http://127.0.0.1:{d.port}/v1/models/fashion:predict"
    return subprocess.Popen([QUERN, "load", url, "--body", path, "--rate", "500", "--connections", "16", "--seconds", str(seconds), "--warmup", str(warmup), "--timeout", "60000", "--json", "-"], stdout=subprocess.PIPE)


def result(process):
    r = json.loads(process.communicate(timeout=120)[0])
    late = r["errors"].pop("not_sent")  # by a generator that finds no time on this machine: no fault of the server
    assert set(r["status"]) == {"200"} and r["good"] == r["due"] - late > 0 and not any(r["errors"].values()), (r["status"], r["errors"])
    return r["latency_ms"]["p99"]


def usage(d):
    """(files, threads, resident KiB)"""
    text = open(f"/proc/{d.process.pid}/status").read()
    field = lambda name: int(next(line.split()[1] for line in text.splitlines() if line.startswith(name + ":")))  # noqa: E731
    return len(os.listdir(f"/proc/{d.process.pid}/fd")), field("Threads"), field("VmRSS")


def two_hundred_slow_clients_are_cut_at_their_deadlines_and_others_do_not_notice():
    folder = served()
    sanitized = "san" in QUERN
    try:
        with Daemon(models=folder, config=CONFIG) as d:
            usual = result(load(d, folder, 2, 0.5))
            time.sleep(MS["idle"] / 1e3 + 0.5)  # what the generator left is closed by its deadline
            files, threads, _ = usage(d)
            wave(d)  # buffers that are kept are made
            d.wait_until(lambda: usage(d)[0] <= files, "files as before the first wave")
            resident = usage(d)[2]
            others = load(d, folder, 1.8, 0.6)
            took = wave(d)
            beside = result(others)
            for kind, s in took.items():
                print(f"# {KINDS[kind][0]:3} that {kind}: the last one gone after {s:.2f} s, its deadline is {MS[KINDS[kind][3]] / 1e3} s")
            print(f"# others: p99 {usual:.2f} ms without slow clients, {beside:.2f} ms beside them ({beside / usual:.2f}x); none failed")
            d.wait_until(lambda: usage(d)[0] <= files and usage(d)[1] <= threads, "files and threads as before")
            grown = usage(d)[2] - resident
            print(f"# resident {resident} KiB after the first wave, {grown:+} KiB after the second")
            if not sanitized:  # these keep what was freed
                assert grown <= 65536, (resident, grown)  # an answer has 16 MiB: the heap may hold another, a leak would hold ten
            status, _, _ = d.post("/v1/models/fashion:predict", known_request())
            assert status == 200
    finally:
        shutil.rmtree(folder)


main([two_hundred_slow_clients_are_cut_at_their_deadlines_and_others_do_not_notice])
