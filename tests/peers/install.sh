#!/usr/bin/env bash
# Put ONNX Runtime (npm package onnxruntime-node, CPU) into build/npm, or $QUERN_NPM, unless it is there. Never committed.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
npm=${QUERN_NPM:-$root/build/npm}
version=1.30.0
grep -q "\"version\": \"$version\"" "$npm/node_modules/onnxruntime-node/package.json" 2>/dev/null && exit 0
mkdir -p "$npm"
# --ignore-scripts: the package's script would fetch GPU libraries; the CPU library is in the package itself
npm install --prefix "$npm" --ignore-scripts --no-audit --no-fund --silent "onnxruntime-node@$version" >&2
