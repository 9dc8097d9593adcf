#!/usr/bin/env bash
# test_ops.sh QUERN [FAMILY...] [-v]: each row of the table of ops, over generated cases, against a live ONNX Runtime. Prints ok / not ok lines.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if ! bash "$here/install.sh"; then
  echo "not ok the npm package onnxruntime-node can be installed"
  exit 1
fi
exec /usr/bin/python3 "$here/ops/generate.py" "$@"
