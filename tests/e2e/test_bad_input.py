"""Bad input: one clear 4xx each, and nothing lost. After each case the daemon gives its known answer with the same bits."""
import json
import socket
import time

from harness import Daemon, known_answer, known_request, main

GOOD = [0.5] * 784


def v2(**change):
    tensor = {"name": "image", "shape": [1, 1, 28, 28], "datatype": "FP32", "data": GOOD}
    tensor.update(change)
    return json.dumps({"inputs": [tensor]})


def text_with(token):
    return v2().replace("0.5", token, 1)


def bodies():
    """name, path, body, expected status, a word of the message"""
    infer, predict = "/v2/models/fashion/infer", "/v1/models/fashion:predict"
    return [
        ("wrong shape", infer, v2(shape=[1, 784]), 400, "[1,784]"),
        ("wrong inner dimension", infer, v2(shape=[1, 1, 28, 27]), 400, "expected [?,1,28,28]"),
        ("negative dimension", infer, v2(shape=[-1, 1, 28, 28]), 400, "-1"),
        ("dimensions that overflow", infer, v2(shape=[2**62, 1, 28, 28]), 400, "error"),
        ("too few elements", infer, v2(data=GOOD[:-1]), 400, "783"),
        ("too many elements", infer, v2(data=GOOD + [1]), 400, "785"),
        ("wrong dtype", infer, v2(datatype="INT32"), 400, "expected FP32"),
        ("unknown dtype", infer, v2(datatype="FLOAT"), 400, "FLOAT"),
        ("wrong name", infer, v2(name="picture"), 400, "picture"),
        ("no inputs", infer, "{}", 400, "inputs"),
        ("NaN literal", infer, text_with("NaN"), 400, "NaN"),
        ("Infinity literal", infer, text_with("Infinity"), 400, "Infinity"),
        ("1e999", infer, text_with("1e999"), 400, "1e999"),
        ("string for a number", infer, text_with('"1"'), 400, "string"),
        ("bool for a number", infer, text_with("true"), 400, "FP32"),
        ("truncated JSON", infer, v2()[:-1], 400, "too early"),
        ("empty body", infer, "", 400, ""),
        ("trailing bytes", infer, v2() + "x", 400, "behind"),
        ("duplicate keys", infer, v2()[:-1] + ',"inputs":[]}', 400, "twice"),
        ("invalid UTF-8", infer, b'{"id":"\xff","inputs":[]}', 400, "UTF-8"),
        ("10 MB of [", infer, "[" * 10_000_000, 400, ""),
        ("10 MB of nested arrays in data", infer, '{"inputs":[{"name":"image","data":' + "[" * 10_000_000, 400, "nested"),
        ("unknown model", "/v2/models/nosuch/infer", v2(), 404, "nosuch"),
        ("unknown version", "/v2/models/fashion/versions/7/infer", v2(), 404, "7"),
        ("version that is no number", "/v2/models/fashion/versions/one/infer", v2(), 404, ""),
        ("version beyond 64 bits", "/v2/models/fashion/versions/99999999999999999999/infer", v2(), 404, ""),
        ("path-like model name", "/v2/models/..%2f..%2fetc%2fpasswd/infer", v2(), 404, ""),
        ("dot-dot model name", "/v2/models/%2e%2e/infer", v2(), 404, ""),
        ("NUL in the path", "/v2/models/fashion%00x/infer", v2(), 400, ""),
        ("bad percent escape", "/v2/models/fashion%zz/infer", v2(), 400, ""),
        ("instances and inputs", predict, '{"instances":[],"inputs":[]}', 400, "exactly one"),
        ("ragged instances", predict, '{"instances":[[[[1,2],[3]]]]}', 400, "ragged"),
        ("flat instances", predict, json.dumps({"instances": [GOOD]}), 400, "expected [?,1,28,28]"),
        ("unknown signature", predict, '{"signature_name":"x","instances":[[1]]}', 400, "serving_default"),
    ]


def every_bad_body_gets_one_clear_4xx():
    with Daemon() as d:
        known_answer(d)
        for name, path, body, status, word in bodies():
            got, headers, text = d.request("POST", path, body, {"Content-Type": "application/json"})
            assert got == status, (name, got, text[:300])
            error = json.loads(text)["error"]
            assert isinstance(error, str) and error and word in error + "error", (name, error)
            assert "/tmp" not in error and "0x" not in error, (name, error)
            assert headers["content-type"].startswith("application/json"), headers
            d.alive()


def a_body_over_the_limit_is_413_before_it_is_sent():
    with Daemon(config="server:\n  max_body_bytes: 65536\n") as d:
        head = b"POST /v2/models/fashion/infer HTTP/1.1\r\nHost: q\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        reply = d.raw(head % (10**9) + b"Expect: 100-continue\r\n\r\n")
        assert reply.startswith(b"HTTP/1.1 413"), reply[:200]
        reply = d.raw(head % 70000 + b"\r\n" + b" " * 70000)
        assert reply.startswith(b"HTTP/1.1 413"), reply[:200]
        chunked = b"POST /v2/models/fashion/infer HTTP/1.1\r\nHost: q\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + b"8000\r\n" + b" " * 0x8000 + b"\r\n"
        reply = d.raw(chunked + (b"8000\r\n" + b" " * 0x8000 + b"\r\n") * 3 + b"0\r\n\r\n")
        assert reply.startswith(b"HTTP/1.1 413"), reply[:200]
        d.alive()


def wrong_methods_say_which_are_allowed():
    with Daemon() as d:
        for method, path, allow in [("GET", "/v2/models/fashion/infer", "POST"), ("POST", "/v2/health/live", "GET"), ("DELETE", "/v2/models/fashion", "GET"), ("PUT", "/admin/reload", "POST"),
                                    ("GET", "/v1/models/fashion:predict", "POST"), ("TRACE", "/v2", "GET"), ("PATCH", "/metrics", "GET")]:
            status, headers, text = d.request(method, path)
            assert status == 405 and allow in headers["allow"], (method, path, status, headers)
            assert json.loads(text)["error"]
        status, _, _ = d.get("/nosuch")
        assert status == 404
        status, headers, body = d.request("HEAD", "/v2/health/live")
        assert status == 200 and body == b""
        d.alive()


SMUGGLING = [
    ("content-length and transfer-encoding", b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two content-lengths", b"Content-Length: 2\r\nContent-Length: 4\r\n\r\n{}{}"),
    ("two equal content-lengths", b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"),
    ("content-length list", b"Content-Length: 2, 2\r\n\r\n{}"),
    ("negative content-length", b"Content-Length: -2\r\n\r\n{}"),
    ("plus content-length", b"Content-Length: +2\r\n\r\n{}"),
    ("hex content-length", b"Content-Length: 0x2\r\n\r\n{}"),
    ("content-length of 2^64", b"Content-Length: 18446744073709551616\r\n\r\n{}"),
    ("content-length of 2^64-1", b"Content-Length: 18446744073709551615\r\n\r\n{}"),
    ("transfer-encoding gzip, chunked", b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("transfer-encoding identity", b"Transfer-Encoding: identity\r\n\r\n{}"),
    ("transfer-encoding xchunked", b"Transfer-Encoding: xchunked\r\n\r\n{}"),
    ("transfer-encoding with a vertical tab", b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("two hosts", b"Host: other\r\nContent-Length: 2\r\n\r\n{}"),
    ("control byte in a value", b"X-A: a\x01b\r\nContent-Length: 2\r\n\r\n{}"),
    ("bare CR in a value", b"X-A: a\rb\r\nContent-Length: 2\r\n\r\n{}"),
    ("space before the colon", b"X-A : b\r\nContent-Length: 2\r\n\r\n{}"),
    ("bad header name", b"X(A: b\r\nContent-Length: 2\r\n\r\n{}"),
    ("chunk size 2^63", b"Transfer-Encoding: chunked\r\n\r\n8000000000000000\r\n"),
]


def ambiguous_framing_gets_one_400_and_a_close():
    with Daemon() as d:
        for name, rest in SMUGGLING:
            reply = d.raw(b"POST /v2/models/fashion/infer HTTP/1.1\r\nHost: q\r\nContent-Type: application/json\r\n" + rest + b"GET /v2/health/live HTTP/1.1\r\nHost: q\r\n\r\n")
            first = reply.split(b"\r\n", 1)[0]
            if name == "chunk size 2^63":  # libmicrohttpd waits for the chunk; nothing behind it may be taken for a request, and the deadline ends it
                assert reply == b"" or first.startswith(b"HTTP/1.1 4"), (name, reply[:300])
                continue
            assert first.startswith((b"HTTP/1.1 4", b"HTTP/1.1 501")), (name, reply[:300])
            assert reply.count(b'{"error"') <= 1 and b'"live"' not in reply, (name, "a second request was answered", reply)
            assert reply.count(b"HTTP/1.1 200") == 0, (name, reply)
        reply = d.raw(b"GET /v2/health/live HTTP/1.1\r\n\r\n")
        assert reply.startswith(b"HTTP/1.1 400"), reply[:200]
        reply = d.raw(b"POST /v2/models/fashion/infer HTTP/1.1\r\nHost: q\r\nExpect: 200-ok\r\nContent-Length: 2\r\n\r\n{}")
        assert reply.startswith(b"HTTP/1.1 417"), reply[:200]
        reply = d.raw(b"POST /v2/models/fashion/infer HTTP/1.1\r\nHost: q\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}")
        assert reply.startswith(b"HTTP/1.1 415"), reply[:200]
        reply = d.raw(b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: q\r\n\r\n")
        assert reply.startswith((b"HTTP/1.1 414", b"HTTP/1.1 431")), reply[:200]
        d.alive()


def slow_clients_are_cut_at_their_deadline():
    with Daemon(config="server:\n  header_timeout_ms: 1000\n  body_timeout_ms: 1500\n") as d:
        for start in (b"GET /v2/health/live HTTP/1.1\r\nX: ", b"POST /v2/models/fashion/infer HTTP/1.1\r\nHost: q\r\nContent-Length: 1000\r\n\r\n{"):
            s = socket.create_connection(("127.0.0.1", d.port), timeout=1)
            s.sendall(start)
            closed = False
            for _ in range(300):  # a byte now and then for at most a minute
                try:
                    s.sendall(b" ")
                    time.sleep(0.2)
                    s.settimeout(0.001)
                    if s.recv(4096) == b"":
                        closed = True
                        break
                except socket.timeout:
                    continue
                except OSError:
                    closed = True
                    break
            s.close()
            assert closed, "a dripping client was let in for ever"
        d.alive()


def abandoned_requests_leave_nothing_behind():
    with Daemon() as d:
        body = json.dumps(known_request()).encode()
        head = b"POST /v1/models/fashion:predict HTTP/1.1\r\nHost: q\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        for i in range(300):
            s = socket.create_connection(("127.0.0.1", d.port), timeout=10)
            s.sendall((head + body)[: len(head) + len(body) - i % 7 * 100])
            s.close()
        d.wait_until(lambda: b"quern_bytes_in_flight 0" in d.get("/metrics")[2], "no bytes in flight")
        d.alive()


main([every_bad_body_gets_one_clear_4xx, a_body_over_the_limit_is_413_before_it_is_sent, wrong_methods_say_which_are_allowed, ambiguous_framing_gets_one_400_and_a_close,
      slow_clients_are_cut_at_their_deadline, abandoned_requests_leave_nothing_behind])
