#!/usr/bin/env bash
# test_ms_quant.sh QUERN: Quern's quantized operators, one to a model, against a live ONNX Runtime. Prints ok / not ok lines.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if ! bash "$here/install.sh"; then
  echo "not ok the npm package onnxruntime-node can be installed"
  exit 1
fi
exec /usr/bin/python3 "$here/ms_quant.py" "$1"
