"""Start, stop, health, metrics, metadata: what an operator and a client library look at first."""
import json
import os
import re
import signal
import socket
import subprocess
import threading

from harness import QUERN, ROOT, Daemon, known_request, main


def sigterm_drains_and_exits_0():
    with Daemon() as d:
        stop, results = threading.Event(), []

        def client():
            c = d.connect()
            while not stop.is_set():
                try:
                    c.request("POST", "/v1/models/fashion:predict", json.dumps(known_request()), {"Content-Type": "application/json"})
                    r = c.getresponse()
                    results.append(r.status)
                    r.read()
                    if r.getheader("Connection") == "close":
                        break
                except OSError:
                    break  # refused: the listener is closed
                except Exception as e:  # an answer cut in the middle
                    results.append(repr(e))
                    break

        threads = [threading.Thread(target=client) for _ in range(4)]
        for t in threads:
            t.start()
        d.wait_until(lambda: len(results) > 40, "traffic")
        d.process.send_signal(signal.SIGTERM)
        assert d.process.wait(60) == 0
        stop.set()
        for t in threads:
            t.join()
        odd = [r for r in results if r not in (200, 503)]
        assert not odd, odd[:5]


def a_stopping_daemon_refuses_newcomers_and_ends_what_it_began():
    body = json.dumps(known_request()).encode()
    head = b"POST /v1/models/fashion:predict HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    with Daemon() as d, socket.create_connection(("127.0.0.1", d.port)) as begun:
        begun.sendall(head + body[:100])
        d.wait_until(lambda: re.search(rb"^quern_bytes_in_flight [1-9]", d.get("/metrics")[2], re.M), "the request is seen")
        d.process.send_signal(signal.SIGTERM)
        d.wait_for_log("stopping: [12] requests in flight")  # the one for metrics may not be over yet

        def refused():
            try:
                socket.create_connection(("127.0.0.1", d.port), 5).close()
                return False
            except ConnectionRefusedError:
                return True

        d.wait_until(refused, "newcomers are refused")
        begun.sendall(body[100:])
        answer = b"".join(iter(lambda: begun.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 ") and b"connection: close" in answer.lower(), answer[:300]
        assert d.process.wait(60) == 0


def health_metadata_and_index_have_the_protocol_shapes():
    with Daemon() as d:
        assert d.get("/v2/health/live")[0] == 200 and d.get("/v2/health/ready")[0] == 200 and d.get("/healthz")[0] == 200
        assert d.get("/v2/models/fashion/ready")[0] == 200 and d.get("/v2/models/nosuch/ready")[0] == 404
        server = json.loads(d.get("/v2")[2])
        assert server["name"] == "quern" and "binary_tensor_data" in server["extensions"], server
        meta = json.loads(d.get("/v2/models/fashion/versions/1")[2])
        assert meta["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 28, 28]}], meta
        assert meta["outputs"] == [{"name": "probs", "datatype": "FP32", "shape": [-1, 10]}] and meta["versions"] == ["1"], meta
        assert json.loads(d.post("/v2/repository/index")[2]) == [{"name": "fashion", "version": "1", "state": "READY"}]
        status = json.loads(d.get("/v1/models/fashion")[2])["model_version_status"][0]
        assert status["version"] == "1" and status["state"] == "AVAILABLE" and status["status"]["error_code"] == "OK", status
        reply = json.loads(d.post("/v2/models/fashion/infer", {"id": "r-17", "inputs": [{"name": "image", "shape": [1, 1, 28, 28], "datatype": "FP32", "data": [0.0] * 784}]})[2])
        assert reply["id"] == "r-17" and reply["model_name"] == "fashion" and reply["outputs"][0]["shape"] == [1, 10], reply


def metrics_parse_and_count():
    with Daemon() as d:
        for _ in range(5):
            d.post("/v1/models/fashion:predict", known_request())
        d.post("/v2/models/nosuch/infer", {})
        status, headers, text = d.get("/metrics")
        assert status == 200 and headers["content-type"].startswith("text/plain"), headers
        families, seen = {}, set()
        for line in text.decode().splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name not in families, f"family {name} twice"
                families[name] = kind
            elif line and not line.startswith("#"):
                m = re.fullmatch(r'([a-z_:][a-z0-9_:]*)(\{([a-z_]+="(?:[^"\\]|\\.)*",?)*\})? (-?[0-9.e+-]+|\+Inf|NaN)', line)
                assert m, line
                base = re.sub(r"_(bucket|sum|count)$", "", m.group(1))
                assert m.group(1) in families or base in families, line
                key = line.rsplit(" ", 1)[0]
                assert key not in seen, f"sample twice: {key}"
                seen.add(key)
        rows = re.search(r'quern_inference_rows_total\{[^}]*model="fashion"[^}]*\} (\d+)', text.decode())
        assert rows and int(rows.group(1)) == 5, text.decode()
        stats = json.loads(d.get("/v2/models/fashion/stats")[2])["model_stats"][0]
        assert stats["inference_count"] == 5 and stats["inference_stats"]["success"]["count"] == 5, stats
        sizes = stats["batch_stats"]
        assert sum(s["batch_size"] * s["compute_infer"]["count"] for s in sizes) == 5 and all(s["compute_infer"]["ns"] > 0 for s in sizes), sizes
        assert sum(s["compute_infer"]["ns"] for s in sizes) == stats["inference_stats"]["compute_infer"]["ns"] and stats["last_inference"] > 1.7e12, stats
        two = known_request()["instances"] * 2
        for _ in range(3):
            d.post("/v1/models/fashion:predict", {"instances": two})
        sizes = {s["batch_size"]: s["compute_infer"]["count"] for s in json.loads(d.get("/v2/models/fashion/stats")[2])["model_stats"][0]["batch_stats"]}
        assert sizes[2] == 3, sizes


def config_errors_name_line_and_key():
    cases = {
        "server:\n  listn: 127.0.0.1:8000\n": (":2", "listn"),
        "models:\n  dir: models\nserver:\n  max_connections: many\n": (":4", "max_connections"),
        "server:\n  max_connections: 10\n  max_connections: 20\n": (":3", "max_connections"),
        "server: [1\n": (":", ""),
        "a: &x 1\nb: *x\n": (":", ""),
    }
    for i, (text, words) in enumerate(cases.items()):
        path = f"/tmp/quern-config-{os.getpid()}-{i}.yaml"
        with open(path, "w") as f:
            f.write(text)
        p = subprocess.run([QUERN, "serve", "--config", path, "--check-config"], capture_output=True, text=True, timeout=60)
        os.unlink(path)
        assert p.returncode != 0 and all(w in p.stderr for w in words), (text, p.returncode, p.stderr)
    p = subprocess.run([QUERN, "serve", "--config", ROOT + "/config/quern.yaml", "--check-config"], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert p.returncode == 0, p.stderr


def a_public_address_is_refused_at_start():
    p = subprocess.run([QUERN, "serve", "--config", ROOT + "/config/quern.yaml", "--model-dir", ROOT + "/models", "--listen", "0.0.0.0:0"], capture_output=True, text=True, timeout=60)
    assert p.returncode != 0 and "0.0.0.0" in p.stderr, p.stderr


def an_empty_folder_of_models_is_served_and_ready():
    folder = f"/tmp/quern-empty-{os.getpid()}"
    os.makedirs(folder)
    try:
        with Daemon(models=folder) as d:
            assert json.loads(d.post("/v2/repository/index")[2]) == []
            assert d.post("/v2/models/x/infer", {})[0] == 404
    finally:
        os.rmdir(folder)


def deadlines_are_honoured():
    with Daemon(config="models:\n  workers: 1\n  defaults:\n    max_queue_delay_us: 300000\n    max_batch_rows: 64\n") as d:
        body = {"inputs": [{"name": "image", "shape": [1, 1, 28, 28], "datatype": "FP32", "data": [0.0] * 784}]}
        status, _, text = d.post("/v2/models/fashion/infer", body, {"X-Request-Timeout-Ms": "0"})
        assert status in (400, 504), (status, text)
        assert d.post("/v2/models/fashion/infer", body)[0] == 200


main([sigterm_drains_and_exits_0, a_stopping_daemon_refuses_newcomers_and_ends_what_it_began, health_metadata_and_index_have_the_protocol_shapes, metrics_parse_and_count, config_errors_name_line_and_key, a_public_address_is_refused_at_start,
      an_empty_folder_of_models_is_served_and_ready, deadlines_are_honoured])
