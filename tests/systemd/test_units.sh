#!/usr/bin/env bash
# systemd: the unit's exposure score, readiness notification, and socket activation. usage: test_units.sh QUERN
set -u
quern=$(realpath "$1")
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
pids=()
trap 'for p in "${pids[@]}"; do kill "$p" 2>/dev/null; done; rm -rf "$work"' EXIT

check() { # check NAME COMMAND...
  local name=$1
  shift
  if "$@" >"$work/out" 2>&1; then echo "ok systemd $name"; else
    echo "not ok systemd $name: $(tail -3 "$work/out" | tr '\n' ' ')"
  fi
}

free_port() { /usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
wait_for() { # wait_for SECONDS COMMAND...
  local until=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $until ] || return 1
    sleep 0.1
  done
}

check "unit scores 1.5 or better" systemd-analyze security --offline=yes --threshold=15 systemd/quern.service

notify() { # Type=notify: a datagram READY=1 arrives on NOTIFY_SOCKET once models are loaded, STOPPING=1 on SIGTERM, WATCHDOG=1 in between
  /usr/bin/python3 - "$quern" <<'P'
import os, signal, socket, subprocess, sys, tempfile, time
with tempfile.TemporaryDirectory() as d:
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(d + "/notify")
    s.settimeout(30)
    env = dict(os.environ, NOTIFY_SOCKET=d + "/notify", WATCHDOG_USEC="1000000")
    p = subprocess.Popen([sys.argv[1], "serve", "--config", "config/quern.yaml", "--model-dir", "models", "--listen", "127.0.0.1:0"], env=env, stderr=subprocess.DEVNULL)
    env.pop("WATCHDOG_PID", None)
    seen = b""
    try:
        while b"READY=1" not in seen: seen += s.recv(4096) + b"\n"
        while b"WATCHDOG=1" not in seen: seen += s.recv(4096) + b"\n"
        p.send_signal(signal.SIGHUP)
        while b"RELOADING=1" not in seen: seen += s.recv(4096) + b"\n"
        p.send_signal(signal.SIGTERM)
        while b"STOPPING=1" not in seen: seen += s.recv(4096) + b"\n"
        assert p.wait(30) == 0, p.returncode
    finally:
        p.kill()
P
}
check "readiness, watchdog, reload and stop are notified" notify

port=$(free_port)
systemd-socket-activate -l "127.0.0.1:$port" "$quern" serve --config config/quern.yaml --model-dir models >"$work/activate.log" 2>&1 &
pids+=($!)
check "the activated daemon answers on the socket it was given" wait_for 30 curl -sf "http://127.0.0.1:$port/v2/health/ready"
