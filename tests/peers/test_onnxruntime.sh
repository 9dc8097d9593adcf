#!/usr/bin/env bash
# test_onnxruntime.sh QUERN: Quern's bits against a live ONNX Runtime. Prints ok / not ok lines. Downloads an npm package the first time.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if ! bash "$here/install.sh"; then
  echo "not ok the npm package onnxruntime-node can be installed"
  exit 1
fi
exec /usr/bin/python3 "$here/onnxruntime.py" "$1"
