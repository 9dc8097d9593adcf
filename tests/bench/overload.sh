#!/usr/bin/env bash
# overload.sh QUERN [SECONDS] [TIMES]: what is left of the good answers when TIMES (5) as many requests come as can be answered. For each
# model: the most it answers in a closed loop; then TIMES that rate by the clock, with deadlines, while a second generator asks four times
# a second to see the time after the load ends that answers take until they are as before. Reports; nothing passes or fails on time.
set -euo pipefail
quern=$(readlink -f "$1")
seconds=${2:-20}
times=${3:-5}
tmp=$(mktemp -d)
daemon=
cleanup() {
  [ -z "$daemon" ] || { kill "$daemon" && wait "$daemon"; } 2>/dev/null || true
  rm -rf "$tmp"
}
trap cleanup EXIT

# mlp: an answer is mostly HTTP. tokens: 6 blocks 256 -> 1024 -> 256 over 128 tokens, an answer is mostly the run.
/usr/bin/python3 - "$tmp" <<'PY'
import json
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(0)


def save(name, nodes, weights, x, y):
    folder = f"{sys.argv[1]}/models/{name}/1"
    os.makedirs(folder)
    graph = helper.make_graph(nodes, name, [x], [y], weights)
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), folder + "/model.onnx")


def weight(name, *dims):
    return numpy_helper.from_array((rng.normal(0, 1, dims) / np.sqrt(dims[0])).astype(np.float32), name)


nodes, weights, last, sizes = [], [], "x", [784, 512, 512, 10]
for k, (a, b) in enumerate(zip(sizes, sizes[1:])):
    weights += [weight(f"w{k}", a, b), numpy_helper.from_array(np.zeros(b, np.float32), f"b{k}")]
    nodes.append(helper.make_node("Gemm", [last, f"w{k}", f"b{k}"], [f"h{k}"]))
    last = f"h{k}"
    if k < 2:
        nodes.append(helper.make_node("Relu", [last], [f"r{k}"]))
        last = f"r{k}"
save("mlp", nodes, weights, helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 784]), helper.make_tensor_value_info(last, TensorProto.FLOAT, ["N", 10]))

nodes, weights, last = [helper.make_node("Gather", ["table", "ids"], ["e"])], [weight("table", 1000, 256)], "e"
for k in range(6):
    weights += [weight(f"u{k}", 256, 1024), weight(f"d{k}", 1024, 256)]
    nodes += [helper.make_node("MatMul", [last, f"u{k}"], [f"a{k}"]), helper.make_node("Relu", [f"a{k}"], [f"r{k}"]), helper.make_node("MatMul", [f"r{k}", f"d{k}"], [f"m{k}"]), helper.make_node("Add", [f"m{k}", last], [f"s{k}"])]
    last = f"s{k}"
nodes.append(helper.make_node("ReduceMean", [last], ["y"], axes=[1], keepdims=0))
save("tokens", nodes, weights, helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", 128]), helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 256]))

with open(sys.argv[1] + "/mlp.json", "w") as f:
    json.dump({"instances": [[float("%.4g" % (i * 37 % 256 / 255)) for i in range(784)]]}, f)
with open(sys.argv[1] + "/tokens.json", "w") as f:
    json.dump({"instances": [[i * 37 % 1000 for i in range(128)]]}, f)
PY

echo "machine: $(lscpu | sed -n 's/^Model name: *//p' | head -1), $(nproc) CPUs, shared by server and generator; load before: $(cut -d' ' -f1-3 /proc/loadavg)"
: >"$tmp/quern.yaml"
"$quern" serve --config "$tmp/quern.yaml" --model-dir "$tmp/models" --listen 127.0.0.1:0 2>"$tmp/log" &
daemon=$!
port=
for _ in $(seq 200); do
  port=$(sed -nE 's/.*listening on 127\.0\.0\.1:([0-9]+).*/\1/p' "$tmp/log" | head -1)
  [ -n "$port" ] && curl -fs "127.0.0.1:$port/v2/health/ready" >/dev/null && break
  kill -0 "$daemon" 2>/dev/null || { cat "$tmp/log"; exit 1; }
  sleep 0.05
done

value() { /usr/bin/python3 -c 'import json, sys; print(eval(sys.argv[2], {"r": json.load(open(sys.argv[1]))}))' "$1" "$2"; }

# overload MODEL CONNECTIONS DEADLINE_MS
overload() {
  local url=http://127.0.0.1:$port/v1/models/$1:predict body=(--body "$tmp/$1.json") peak due
  peak=0
  for connections in 16 64 256; do # the best of three
    "$quern" load "$url" "${body[@]}" --connections $connections --seconds "$(awk "BEGIN { print $seconds / 4 }")" --json "$tmp/closed" >/dev/null
    if awk "BEGIN { exit !($(value "$tmp/closed" 'r["good_per_s"]') > $peak) }"; then
      peak=$(value "$tmp/closed" 'r["good_per_s"]')
      cp "$tmp/closed" "$tmp/peak"
    fi
  done
  due=$(awk "BEGIN { print $times * $peak }")
  "$quern" load "$url" "${body[@]}" --connections 1 --seconds 2 --rate 20 --json "$tmp/calm" >/dev/null
  "$quern" load "$url" "${body[@]}" --connections "$2" --seconds "$seconds" --rate "$due" --header "X-Request-Timeout-Ms: $3" --json "$tmp/over" >/dev/null
  /usr/bin/python3 - "$url" "$tmp" "$(value "$tmp/calm" 'r["latency_ms"]["p99"]')" >"$tmp/after" <<'PY'
# Twenty requests a second from the end of the load on: until when was one slower than twice the p99 of a calm server?
import sys
import time
import urllib.request

body = open(f"{sys.argv[2]}/{sys.argv[1].rsplit('/', 1)[1].split(':')[0]}.json", "rb").read()
usual, began, slow_until, worst = max(2 * float(sys.argv[3]), 5.0), time.monotonic(), 0.0, 0.0
while time.monotonic() < began + 5:
    t = time.monotonic()
    try:
        urllib.request.urlopen(urllib.request.Request(sys.argv[1], body, {"Content-Type": "application/json"}), timeout=10).read()
        ms = (time.monotonic() - t) * 1e3
    except OSError:
        ms = 1e9
    worst = max(worst, ms)
    if ms > usual:
        slow_until = time.monotonic() - began
    time.sleep(0.05)
print(f"{slow_until:.2f} s until answers take <= {usual:.1f} ms again (5 s watched, slowest {worst:.1f} ms)")
PY
  /usr/bin/python3 - "$1" "$3" "$tmp/peak" "$tmp/over" "$tmp/after" <<'PY'
import json
import sys

name, deadline, (peak, over) = sys.argv[1], float(sys.argv[2]), (json.load(open(f)) for f in sys.argv[3:5])
status, refused, good = over["status"], over["refused"], over["good_latency_ms"]
print(f"{name}: peak {peak['good_per_s']:.0f}/s ({peak['connections']} connections, p99 {peak['latency_ms']['p99']:.1f} ms); asked for {over['rate']:.0f}/s, {over['answered_per_s']:.0f}/s answered over {over['connections']} connections, deadline {deadline:.0f} ms")
print(f"  goodput   {over['good_per_s']:.0f}/s = {100 * over['good_per_s'] / peak['good_per_s']:.1f} % of the peak; p50 {good['p50']:.1f}, p99 {good['p99']:.1f} ms, from when they were due")
print(f"  refused   {refused['count']} (503, 429), {refused['retry_after']} of them with Retry-After; p50 {refused['service_ms']['p50']:.2f}, p99 {refused['service_ms']['p99']:.2f} ms")
tried = over["good"] + status.get("504", 0)
print(f"  504       {status.get('504', 0)} = {100 * status.get('504', 0) / max(tried, 1):.1f} % of those that were taken; errors {over['errors']}")
print(f"  recovery  {open(sys.argv[5]).read().strip()}")
PY
}

echo "$times times the peak for $seconds s"
overload tokens 1000 500
overload tokens 1000 100
overload tokens 1000 20
overload mlp 1000 100
