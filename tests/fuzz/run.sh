#!/usr/bin/env bash
# One libFuzzer target for a bounded time over its committed corpus. usage: run.sh TARGET [SECONDS]
set -u
target=$1
seconds=${2:-20}
name=$(basename "$target")
here=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/corpus"
seeds=()
[ -d "$here/corpus/$name" ] && seeds+=("$here/corpus/$name")
if "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 -artifact_prefix="$work/" "$work/corpus" "${seeds[@]}" >"$work/log" 2>&1; then
  echo "ok $name $(grep -oE 'number_of_executed_units: [0-9]+' "$work/log")"
else
  tail -40 "$work/log" | sed 's/^/# /'
  for f in "$work"/crash-* "$work"/oom-* "$work"/timeout-* "$work"/leak-*; do [ -f "$f" ] && echo "# input: $(base64 -w0 "$f" | head -c 4000)"; done
  echo "not ok $name: see the log"
  exit 1
fi
