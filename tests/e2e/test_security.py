"""Keys over HTTP: who may ask what, and how keys change while the daemon runs."""
import json
import os
import signal
import subprocess
import tempfile
import time

from harness import QUERN, Daemon, known_request, main

BODY = known_request()
ADMIN_ROUTES = [("POST", "/admin/reload"), ("POST", "/v2/repository/index"), ("POST", "/v2/repository/models/fashion/load"), ("GET", "/v2/models/fashion/profile")]
INFER_ROUTES = [("GET", "/v2/models/fashion"), ("GET", "/v2/models/stats"), ("GET", "/v1/models/fashion"), ("GET", "/metrics"), ("GET", "/v2/models/fashion/ready")]
OPEN_ROUTES = [("GET", "/healthz"), ("GET", "/v2/health/live"), ("GET", "/v2/health/ready"), ("GET", "/v2")]


def new_key(key_id, scopes, *more):
    """(the key, its line)"""
    p = subprocess.run([QUERN, "key", "new", "--id", key_id, "--scopes", scopes, *more], capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    return p.stdout.strip(), p.stderr


class Keyed:
    """A daemon with keys `infer` and `admin`, and their file."""

    def __init__(self, more=""):
        self.folder = tempfile.TemporaryDirectory(prefix="quern-keys-")
        self.path = os.path.join(self.folder.name, "keys.txt")
        self.infer, self.infer_line = new_key("shop", "infer")
        self.admin, self.admin_line = new_key("root", "admin")
        self.write(self.infer_line + self.admin_line + more)
        self.daemon = Daemon(config=f"security:\n  keys_file: {self.path}\nlog:\n  requests: true\n")

    def write(self, text):
        with open(self.path + ".new", "w") as f:
            f.write(text)
        os.rename(self.path + ".new", self.path)

    def __enter__(self):
        self.daemon.__enter__()
        return self

    def __exit__(self, *exc):
        self.daemon.__exit__(*exc)
        self.folder.cleanup()

    def ask(self, method, path, key=None, body=None, **headers):
        given = {"Authorization": f"Bearer {key}"} if key else {}
        status, headers, text = self.daemon.request(method, path, body, {**given, **headers, **({"Content-Type": "application/json"} if body else {})})
        return status, {k.lower(): v for k, v in headers.items()}, text

    def predict(self, key=None):
        return self.ask("POST", "/v1/models/fashion:predict", key, json.dumps(BODY))


def every_route_wants_the_scope_of_its_row():
    with Keyed() as k:
        for routes, right, wrong in ((INFER_ROUTES, k.infer, k.admin), (ADMIN_ROUTES, k.admin, k.infer)):
            for method, path in routes:
                status, headers, text = k.ask(method, path)
                assert status == 401 and headers["www-authenticate"] == 'Bearer realm="quern"' and b"Authorization" in text, (path, status, headers, text)
                status, headers, text = k.ask(method, path, "qn_wrong")
                assert status == 401 and b"unknown" in text, (path, status, text)
                status, _, text = k.ask(method, path, wrong)
                assert status == 403 and b"lacks the scope" in text, (path, status, text)
                status, _, text = k.ask(method, path, right)
                assert status == 200, (path, status, text)
        for method, path in OPEN_ROUTES:
            assert k.ask(method, path)[0] == 200, path
        assert k.ask("GET", "/v2/none")[0] == 404
        status, _, text = k.predict(k.infer)
        assert status == 200, text
        for key, want in ((None, 401), (k.admin, 403), ("x" * 500, 401)):
            status, _, text = k.predict(key)
            assert status == want and b"error" in text, (status, text)


def logs_name_the_key_and_never_show_it():
    with Keyed() as k:
        assert k.predict(k.infer)[0] == 200
        assert k.predict("qn_guess_that_is_wrong")[0] == 401
        k.daemon.wait_for_log("status=401")
        log = k.daemon.log_text()
        assert "key=shop" in log, log
        for secret in (k.infer, k.admin, "qn_guess_that_is_wrong"):
            assert secret not in log
        text = k.ask("GET", "/metrics", k.infer)[2]
        assert b'code="401"} 1' in text


def a_rate_is_answered_with_when_to_come_back():
    key, line = new_key("slow", "infer", "--rate", "1/3")
    with Keyed(more=line) as k:
        answers = [k.predict(key) for _ in range(12)]
        states = [a[0] for a in answers]
        assert states[:3] == [200, 200, 200] and 429 in states and set(states) <= {200, 429}, states
        limited = next(a for a in answers if a[0] == 429)
        assert int(limited[1]["retry-after"]) >= 1 and b"rate" in limited[2], limited
        assert k.predict(k.infer)[0] == 200  # others are not touched
        time.sleep(int(limited[1]["retry-after"]))
        assert k.predict(key)[0] == 200


def keys_change_while_it_serves():
    with Keyed() as k:
        new, line = new_key("new", "infer")
        assert k.predict(new)[0] == 401
        k.write(k.admin_line + line)
        status, _, text = k.ask("POST", "/admin/reload", k.admin)
        assert status == 200, text
        assert k.predict(new)[0] == 200 and k.predict(k.infer)[0] == 401
        k.write(k.admin_line + line + "broken\n")
        status, _, text = k.ask("POST", "/admin/reload", k.admin)
        assert status == 400 and b"line 3" in text, (status, text)
        assert k.predict(new)[0] == 200
        k.write(k.admin_line + k.infer_line)
        os.kill(k.daemon.process.pid, signal.SIGHUP)
        k.daemon.wait_for_log("2 keys read")
        assert k.predict(new)[0] == 401 and k.predict(k.infer)[0] == 200
        k.write("")
        os.kill(k.daemon.process.pid, signal.SIGHUP)
        k.daemon.wait_for_log("the keys stay as they were")
        assert k.predict(k.infer)[0] == 200


def a_public_address_needs_keys():
    with tempfile.TemporaryDirectory() as d:
        _, line = new_key("a", "infer")
        with open(d + "/keys", "w") as f:
            f.write(line)
        with open(d + "/quern.yaml", "w") as f:
            f.write(f"security:\n  keys_file: {d}/keys\n")
        p = subprocess.run([QUERN, "serve", "--listen", "0.0.0.0:0", "--check-config"], capture_output=True, text=True)
        assert p.returncode == 1 and "security.keys_file" in p.stderr, p.stderr
        p = subprocess.run([QUERN, "serve", "--listen", "0.0.0.0:0", "--config", d + "/quern.yaml", "--check-config"], capture_output=True, text=True)
        assert p.returncode == 0, p.stderr
        os.unlink(d + "/keys")
        p = subprocess.run([QUERN, "serve", "--listen", "0.0.0.0:0", "--config", d + "/quern.yaml"], capture_output=True, text=True, timeout=60)
        assert p.returncode == 1 and "security.keys_file" in p.stderr, p.stderr


def wrong_options_of_key_new_say_what_is_expected():
    for args in ([], ["new"], ["old"], ["new", "--id", "a"], ["new", "--id", "a", "--scopes"], ["new", "--id", "a", "--scopes", "all"], ["new", "--id", "a b", "--scopes", "infer"],
                 ["new", "--id", "a", "--scopes", "infer", "--rate", "fast"], ["new", "--id", "a", "--scopes", "infer", "--colour", "red"]):  # fmt: skip
        p = subprocess.run([QUERN, "key", *args], capture_output=True, text=True)
        assert p.returncode == 2 and p.stderr and not p.stdout, (args, p)


main([
    every_route_wants_the_scope_of_its_row,
    logs_name_the_key_and_never_show_it,
    a_rate_is_answered_with_when_to_come_back,
    keys_change_while_it_serves,
    a_public_address_needs_keys,
    wrong_options_of_key_new_say_what_is_expected,
])
