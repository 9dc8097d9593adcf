#!/usr/bin/env bash
# bench.sh QUERN: how fast it is on this machine, beside ONNX Runtime in the same minutes. Reports; nothing passes or fails on time.
# QUERN_BENCH_SECONDS (1) is the time for each number; all of it takes about two minutes at most.
set -euo pipefail
quern=$(readlink -f "$1")
cd "$(dirname "$0")/../.."
seconds=${QUERN_BENCH_SECONDS:-1}
tmp=$(mktemp -d)
daemon=
cleanup() {
  [ -z "$daemon" ] || { kill "$daemon" && wait "$daemon"; } 2>/dev/null || true
  rm -rf "$tmp"
}
trap cleanup EXIT

echo "machine: $(lscpu | sed -n 's/^Model name: *//p' | head -1), $(nproc) CPUs; load before: $(cut -d' ' -f1-3 /proc/loadavg)"
peer=
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  echo "peer: none, no node and npm here (apt-get install nodejs npm)"
elif bash tests/peers/install.sh 2>"$tmp/npm.log"; then
  peer=yes
  echo "peer: ONNX Runtime 1.30.0 (npm onnxruntime-node, CPU), one thread"
else
  echo "peer: none, npm cannot install onnxruntime-node: $(tail -1 "$tmp/npm.log")"
fi

# -- offline ----------------------------------------------------------------------------------------------------------------------

zstd -dqc models/fashion/1/model.onnx.zst >"$tmp/fashion.onnx"

# row NAME MODEL BATCH NAME=KIND:SHAPE...: one line of the table; shapes without the batch
row() {
  local name=$1 model=$2 batch=$3 shapes=() feeds=() ms theirs=- ratio=-
  shift 3
  for i in "$@"; do
    feeds+=("${i%%:*}:${batch}x${i#*:}")
    shapes+=(--shape "${i%%=*}=${batch}x${i#*:}")
  done
  ms=$("$quern" bench "$model" "${shapes[@]}" --threads 1 --seconds "$seconds" --json | sed -nE 's/.*"median_ms": ([0-9.e+-]+).*/\1/p')
  if [ -n "$peer" ]; then
    theirs=$(node tests/bench/peer.js "$seconds" "$model" "${feeds[@]}")
    ratio=$(awk "BEGIN { printf \"%.2f\", $theirs / $ms }")
  fi
  awk -v n="$name" -v b="$batch" -v ms="$ms" -v t="$theirs" -v r="$ratio" \
    'BEGIN { printf "%-14s %6d %12.4f %12.0f %12s %8s\n", n, b, ms, b * 1000 / ms, t == "-" ? t : sprintf("%.4f", t), r }'
}

echo
echo "quern bench, one thread, median of $seconds s; the ratio is the peer's time over ours"
printf '%-14s %6s %12s %12s %12s %8s\n' model batch "median ms" rows/s "peer ms" ratio
for batch in 1 32; do
  row fashion "$tmp/fashion.onnx" $batch image=f32:1x28x28
  for form in "" _int8; do
    row mlp$form tests/fixtures/mlp$form/model.onnx $batch x=f32:37
    row lenet$form tests/fixtures/lenet$form/model.onnx $batch x=f32:1x28x28
    row resnet$form tests/fixtures/resnet$form/model.onnx $batch x=f32:3x16x16
  done
  row transformer tests/fixtures/transformer/model.onnx $batch ids=i64:16 mask=i64:16
done
if [ -n "$peer" ]; then
  /usr/bin/python3 - "$tmp/identity.onnx" <<'PY'
import sys

import onnx
from onnx import TensorProto, helper

x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy")
model = helper.make_model(helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y]), opset_imports=[helper.make_opsetid("", 13)])
model.ir_version = 7
onnx.save(model, sys.argv[1])
PY
  echo "of the peer's time, its Node binding takes about $(node tests/bench/peer.js "$seconds" "$tmp/identity.onnx" x=f32:1) ms a run (one Identity)"
fi

# -- HTTP -------------------------------------------------------------------------------------------------------------------------

: >"$tmp/quern.yaml"
"$quern" serve --config "$tmp/quern.yaml" --model-dir models --listen 127.0.0.1:0 2>"$tmp/log" &
daemon=$!
port=
for _ in $(seq 200); do
  port=$(sed -nE 's/.*listening on 127\.0\.0\.1:([0-9]+).*/\1/p' "$tmp/log" | head -1)
  [ -n "$port" ] && curl -fs "127.0.0.1:$port/v2/health/ready" >/dev/null && break
  kill -0 "$daemon" 2>/dev/null || break
  sleep 0.05
done
if [ -z "$port" ] || ! kill -0 "$daemon" 2>/dev/null; then
  echo "the daemon does not start:"
  cat "$tmp/log"
  exit 1
fi

echo
echo "HTTP, the fashion model, one image a request; wrk and the daemon share the $(nproc) CPUs"
printf '%-8s %12s %12s %10s %10s %8s\n' body connections requests/s "p50 ms" "p99 ms" errors
for form in json binary; do
  for connections in 1 64; do
    wrk -t1 -c$connections -d"$((3 * ${seconds%.*} + 1))"s -s tests/bench/http.lua "http://127.0.0.1:$port" -- $form docs/ankle-boot.json >"$tmp/wrk" 2>&1 || { cat "$tmp/wrk"; exit 1; }
    read -r rate p50 p99 errors < <(tail -1 "$tmp/wrk")
    printf '%-8s %12d %12s %10s %10s %8s\n' $form $connections "$rate" "$p50" "$p99" "$errors"
  done
done
