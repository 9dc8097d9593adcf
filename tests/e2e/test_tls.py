"""HTTPS, certificates that change under way, and health on a listener of its own."""
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import warnings

from harness import QUERN, Daemon, in_threads, known_request, main

BODY = json.dumps(known_request()).encode()
HEADERS = {"Content-Type": "application/json"}


def make_pair(folder, name, kind="ec", days=30):
    """folder/name.crt and .key by the openssl command."""
    crt, key = os.path.join(folder, name + ".crt"), os.path.join(folder, name + ".key")
    algorithm = ["-newkey", "rsa:2048"] if kind == "rsa" else ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    subprocess.run(
        ["openssl", "req", "-x509", "-nodes", "-days", str(days), "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", crt] + algorithm,
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    return crt, key


class TlsDaemon(Daemon):
    """A daemon whose port speaks TLS, trusted by the certificate that it was started with."""

    def __init__(self, config="", kind="ec"):
        super().__init__()
        self.crt, self.key = make_pair(self.dir, "first", kind)
        self.now = [os.path.join(self.dir, n) for n in ("now.crt", "now.key")]
        self.use(self.crt, self.key)
        with open(self.config, "w") as f:
            f.write(f"security:\n  tls_certificate_file: {self.now[0]}\n  tls_key_file: {self.now[1]}\n{config}")
        self.context = ssl.create_default_context(cafile=self.crt)

    def use(self, *pair):
        for source, target in zip(pair, self.now):
            with open(source, "rb") as f, open(target + ".new", "wb") as g:
                g.write(f.read())
            os.rename(target + ".new", target)

    def connect(self):
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=120, context=self.context)

    def subject(self):
        with socket.create_connection(("127.0.0.1", self.port), 60) as s, ssl._create_unverified_context().wrap_socket(s) as t:
            der = t.getpeercert(True)
        return "second" if b"second" in der else "first"


def predictions_work_over_tls():
    for kind in ("ec", "rsa"):
        with TlsDaemon(kind=kind) as d:
            d.alive()
            c = d.connect()
            for _ in range(20):  # one handshake
                c.request("POST", "/v2/models/fashion/infer", json.dumps({"inputs": [{"name": "image", "shape": [1, 1, 28, 28], "datatype": "FP32", "data": known_request()["instances"]}]}), HEADERS)
                r = c.getresponse()
                assert r.status == 200 and len(json.loads(r.read())["outputs"][0]["data"]) == 10
            big = json.dumps({"instances": known_request()["instances"] * 400}).encode()
            status, _, body = d.request("POST", "/v1/models/fashion:predict", big, HEADERS)
            assert status == 200 and len(json.loads(body)["predictions"]) == 400
            in_threads(8, lambda i: [d.alive() for _ in range(10)])
            out = subprocess.run(["curl", "-s", "--cacert", d.crt, f"https://127.0.0.1:{d.port}/v2"], stdout=subprocess.PIPE, check=True).stdout
            assert json.loads(out)["name"] == "quern"


def old_protocols_and_plain_text_are_refused():
    with TlsDaemon() as d:
        old = ssl._create_unverified_context()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old.minimum_version = ssl.TLSVersion.TLSv1
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        try:
            with socket.create_connection(("127.0.0.1", d.port), 60) as s, old.wrap_socket(s):
                raise AssertionError("TLS 1.1 was taken")
        except (ssl.SSLError, ConnectionResetError):
            pass
        for junk in (b"GET /v2 HTTP/1.1\r\nHost: t\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 5000, b"\x80\x2e\x01\x00\x02" + bytes(100), os.urandom(3000), b""):
            assert b"HTTP" not in d.raw(junk, wait=2), junk[:20]
        d.alive()


def refusals_come_through_the_stream():
    with TlsDaemon("server:\n  max_body_bytes: 4KiB\n  header_timeout_ms: 500\n  body_timeout_ms: 500\n") as d:
        status, _, body = d.request("POST", "/v1/models/fashion:predict", b"x" * 5000, HEADERS)
        assert status == 413 and b"error" in body
        status, _, body = d.request("POST", "/v1/models/fashion:predict", (b"[" * 1000 for _ in range(100)), HEADERS)  # chunked: found out on the way
        assert status in (400, 413) and b"error" in body, (status, body)
        status, _, body = d.request("POST", "/v1/models/fashion:predict", b"{", {**HEADERS, "Transfer-Encoding": "identity"})
        assert status == 400, status
        # late ones end without plain text in their stream
        for half in (b"GET /v2 HT", b"POST /v1/models/fashion:predict HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nabc"):
            with socket.create_connection(("127.0.0.1", d.port), 60) as s, d.context.wrap_socket(s, server_hostname="127.0.0.1") as t:
                t.sendall(half)
                try:
                    assert t.recv(100) == b""
                except (ssl.SSLEOFError, ConnectionResetError):
                    pass  # cut; SSLError for bytes that are no TLS would be a failure


def half_a_handshake_ends_at_its_deadline():
    with TlsDaemon("server:\n  header_timeout_ms: 1000\n") as d:
        idle = [socket.create_connection(("127.0.0.1", d.port), 60) for _ in range(100)]
        for s in idle[:50]:
            s.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
        for _ in range(20):
            d.alive()
        for s in idle:
            while s.recv(100):
                pass  # an alert, then the end
            s.close()
        d.alive()


def the_certificate_changes_under_open_connections():
    with TlsDaemon() as d:
        second = make_pair(d.dir, "second")
        kept = d.connect()

        def ask():
            kept.request("POST", "/v1/models/fashion:predict", BODY, HEADERS)
            r = kept.getresponse()
            return r.status == 200 and len(r.read()) > 0

        assert ask() and d.subject() == "first"
        d.use(*second)
        assert d.post("/admin/reload")[0] == 200 and d.subject() == "second" and ask()
        d.context = ssl.create_default_context(cafile=second[0])
        d.alive()
        d.use(second[0], d.key)  # not its key
        status, _, body = d.post("/admin/reload")
        assert status == 400 and b"not the private key" in body, body
        d.use("/dev/null", "/dev/null")
        status, _, body = d.post("/admin/reload")
        assert status == 400 and b"security.tls_certificate_file" in body, body
        assert d.subject() == "second" and ask()
        d.use(d.crt, d.key)
        d.process.send_signal(signal.SIGHUP)
        d.wait_for_log("certificate read, valid for")
        d.wait_until(lambda: d.subject() == "first", "the first again")
        # reloads under handshakes
        stop, n = threading.Event(), [0]

        def shake(i):
            try:
                while not stop.is_set():
                    if i == 0:
                        for k in range(30):
                            d.use(*(second if k % 2 else (d.crt, d.key)))
                            d.process.send_signal(signal.SIGHUP)
                            before = n[0]
                            d.wait_until(lambda: n[0] > before + 3, "handshakes")
                        return
                    d.subject()
                    n[0] += 1
            finally:
                stop.set()

        in_threads(5, shake)


def a_start_with_bad_files_says_which():
    with tempfile.TemporaryDirectory() as folder:
        crt, key = make_pair(folder, "first")
        other = make_pair(folder, "second")
        with open(os.path.join(folder, "junk"), "wb") as f:
            f.write(os.urandom(1000))
        junk = os.path.join(folder, "junk")
        cases = [
            (crt, "", "both or neither"),
            ("", key, "both or neither"),
            (crt, os.path.join(folder, "none"), "security.tls_key_file"),
            (os.path.join(folder, "none"), key, "security.tls_certificate_file"),
            (junk, key, "security.tls_certificate_file"),
            (crt, junk, "security.tls_key_file"),
            (crt, other[1], "not the private key"),
            (key, key, "security.tls_certificate_file"),
            (folder, key, "security.tls_certificate_file"),
        ]
        for c, k, word in cases:
            d = Daemon()
            with open(d.config, "w") as f:
                f.write(f"security:\n  tls_certificate_file: '{c}'\n  tls_key_file: '{k}'\n")
            try:
                d.start(wait_ready=False)
                raise AssertionError(f"started with {c}, {k}")
            except AssertionError as e:
                assert "died" in str(e) and word in d.log_text(), (c, k, d.log_text())


def health_answers_on_its_own_listener():
    with Daemon(config="server:\n  health_listen: 127.0.0.1:0\n  max_connections: 4\n") as d:
        port = int(d.wait_for_log(r"health on 127\.0\.0\.1:(\d+)"))

        def ask(path, method="GET"):
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            c.request(method, path)
            r = c.getresponse()
            return r.status, r.read()

        assert ask("/healthz")[0] == 200 and ask("/v2/health/live")[0] == 200 and ask("/v2/health/ready")[0] == 200
        assert ask("/v2/models/fashion")[0] == 404 and ask("/admin/reload", "POST")[0] == 404 and ask("/openapi.json")[0] == 404
        # the main one is full, far beyond its limit: it sheds, then it takes no more
        full = [socket.create_connection(("127.0.0.1", d.port), 60) for _ in range(60)]
        for _ in range(20):
            assert ask("/healthz")[0] == 200
        status, text = ask("/metrics")
        open_now = int(re.search(rb"^quern_connections (\d+)", text, re.M).group(1))
        assert status == 200 and open_now >= 4, open_now  # those of the main listener
        for s in full:
            s.close()
        d.wait_until(lambda: d.get("/v2/health/ready")[0] == 200, "room again")
        d.alive()


def keys_and_tls_go_together():
    with TlsDaemon() as d:
        made = subprocess.run([QUERN, "key", "new", "--id", "shop", "--scopes", "infer"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
        keys = os.path.join(d.dir, "keys.txt")
        with open(keys, "wb") as f:
            f.write(made.stderr)
        d.process.send_signal(signal.SIGTERM)
        d.process.wait(60)
        with open(d.config, "a") as f:
            f.write(f"  keys_file: {keys}\n")
        d.start(wait_ready=False)
        d.wait_until(lambda: d.get("/v2/health/ready")[0] == 200, "ready")
        assert d.post("/v1/models/fashion:predict", known_request())[0] == 401
        assert d.post("/v1/models/fashion:predict", known_request(), {"Authorization": "Bearer " + made.stdout.decode().strip()})[0] == 200


main(
    [
        predictions_work_over_tls,
        old_protocols_and_plain_text_are_refused,
        refusals_come_through_the_stream,
        half_a_handshake_ends_at_its_deadline,
        the_certificate_changes_under_open_connections,
        a_start_with_bad_files_says_which,
        health_answers_on_its_own_listener,
        keys_and_tls_go_together,
    ]
)
