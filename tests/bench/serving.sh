#!/usr/bin/env bash
# serving.sh QUERN [SECONDS]: requests a second and latency of an MLP 784-512-512-10 over HTTP, beside a server that only reads the body
# and answers a constant with the same library (echo.c). Reports; nothing passes or fails on time.
set -euo pipefail
quern=$(readlink -f "$1")
seconds=${2:-3}
cd "$(dirname "$0")/../.."
tmp=$(mktemp -d)
daemon=
cleanup() {
  [ -z "$daemon" ] || { kill "$daemon" && wait "$daemon"; } 2>/dev/null || true
  rm -rf "$tmp"
}
trap cleanup EXIT

/usr/bin/python3 - "$tmp/models/mlp/1" <<'PY'
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

os.makedirs(sys.argv[1])
rng, nodes, weights, last = np.random.default_rng(0), [], [], "x"
sizes = [784, 512, 512, 10]
for k, (a, b) in enumerate(zip(sizes, sizes[1:])):
    weights += [numpy_helper.from_array((rng.normal(0, 1, (a, b)) / np.sqrt(a)).astype(np.float32), f"w{k}"), numpy_helper.from_array(np.zeros(b, np.float32), f"b{k}")]
    nodes.append(helper.make_node("Gemm", [last, f"w{k}", f"b{k}"], [f"h{k}"]))
    last = f"h{k}"
    if k < 2:
        nodes.append(helper.make_node("Relu", [last], [f"r{k}"]))
        last = f"r{k}"
x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", s]) for n, s in (("x", 784), (last, 10)))
model = helper.make_model(helper.make_graph(nodes, "mlp", [x], [y], weights), ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
onnx.save(model, sys.argv[1] + "/model.onnx")
PY

free_port() { /usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# measure FORM PATH URL CONNECTIONS: "requests/s p50 p99 errors"
measure() { wrk -t1 -c"$4" -d"${seconds}s" -s tests/bench/serving.lua "$3" -- "$1" "$2" 784 | tail -1; }

port=$(free_port)
coproc ECHO { exec "$(dirname "$quern")/quern_bench_echo" "$port" 1; }
read -r _ <&"${ECHO[0]}"
echo "machine: $(lscpu | sed -n 's/^Model name: *//p' | head -1), $(nproc) CPUs; load before: $(cut -d' ' -f1-3 /proc/loadavg)"
echo "MLP 784-512-512-10, one row a request; wrk, one thread, shares the CPUs with the server; $seconds s each"
: >"$tmp/quern.yaml"
"$quern" serve --config "$tmp/quern.yaml" --model-dir "$tmp/models" --listen 127.0.0.1:0 2>"$tmp/log" &
daemon=$!
own=
for _ in $(seq 200); do
  own=$(sed -nE 's/.*listening on 127\.0\.0\.1:([0-9]+).*/\1/p' "$tmp/log" | head -1)
  [ -n "$own" ] && curl -fs "127.0.0.1:$own/v2/health/ready" >/dev/null && break
  kill -0 "$daemon" 2>/dev/null || { cat "$tmp/log"; exit 1; }
  sleep 0.05
done
printf '%-8s %12s | %10s %8s %8s %7s | %10s %8s %8s | %6s\n' body connections requests/s "p50 ms" "p99 ms" errors "echo: /s" "p50 ms" "p99 ms" "share"
/usr/bin/python3 - "$tmp" <<'PY'
import json
import sys

import numpy as np

x = (np.arange(784) * 37 % 256 / 255).astype(np.float32)
np.save(sys.argv[1] + "/x.npy", x[None])
with open(sys.argv[1] + "/body.json", "w") as f:
    json.dump({"instances": [[float("%.4g" % v) for v in x]]}, f)
PY

for form in json binary; do
  path=/v1/models/mlp:predict
  [ $form = json ] || path=/v2/models/mlp/infer
  for connections in 1 8 64; do
    read -r rate p50 p99 errors < <(measure $form $path "http://127.0.0.1:$own" $connections)
    read -r erate ep50 ep99 _ < <(measure $form $path "http://127.0.0.1:$port" $connections)
    printf '%-8s %12d | %10s %8s %8s %7s | %10s %8s %8s | %5.1f%%\n' $form $connections "$rate" "$p50" "$p99" "$errors" "$erate" "$ep50" "$ep99" \
      "$(awk "BEGIN { print 100 * $rate / $erate }")"
  done
done

echo
echo "the same with quern load: closed loop, then open loop at half of that rate (latency counts from when a request was due)"
printf '%-8s %12s | %10s %8s %8s | %10s %8s %8s %8s\n' body connections requests/s "p50 ms" "p99 ms" "open: /s" "p50 ms" "p99 ms" p99.9
for form in json binary; do
  what=(--body "$tmp/body.json")
  url=http://127.0.0.1:$own/v1/models/mlp:predict
  [ $form = json ] || { what=(--input "x=$tmp/x.npy"); url=http://127.0.0.1:$own/v2/models/mlp/infer; }
  for connections in 1 8 64; do
    "$quern" load "$url" "${what[@]}" --connections $connections --seconds "$seconds" --json "$tmp/closed" >/dev/null
    rate=$(/usr/bin/python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["answered_per_s"] / 2)' "$tmp/closed")
    "$quern" load "$url" "${what[@]}" --connections $connections --seconds "$seconds" --rate "$rate" --json "$tmp/open" >/dev/null
    /usr/bin/python3 - "$form" $connections "$tmp/closed" "$tmp/open" <<'PY'
import json
import sys

closed, open_ = (json.load(open(f)) for f in sys.argv[3:])
c, o = closed["latency_ms"], open_["latency_ms"]
print(f"{sys.argv[1]:8} {sys.argv[2]:>12} | {closed['good_per_s']:10.0f} {c['p50']:8.3f} {c['p99']:8.3f} | {open_['good_per_s']:10.0f} {o['p50']:8.3f} {o['p99']:8.3f} {o['p99_9']:8.3f}")
PY
  done
done
