#!/usr/bin/python3
"""generate.py [QUERN] [--only FAMILY,...] [--op OP] [--keep DIR] [-v]: each row of Quern's table of ops over generated cases, against a live ONNX
Runtime. FAMILY is cases_nn or nn; QUERN is build/quern, with quern_conformance and quern_optable beside it; --keep leaves the cases in DIR.

One line a row: ok if at least 20 cases of it ran in both and agreed, and none differed or was refused by Quern alone; or if reasons.py says why
there cannot be that many. With --only or --op only the rows that the cases meet are asked. Cases that ONNX Runtime refuses do not count; -v lists
them. A row's case is one whose opset lies in the row's range.
"""
import argparse
import fnmatch
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
try:
    import onnx  # noqa: F401
except ImportError:  # another python3 than Debian's comes first on the path
    os.execv("/usr/bin/python3", ["/usr/bin/python3", *sys.argv])

from lib import Suite  # noqa: E402
from reasons import DIFFERENCES, REASONS  # noqa: E402

ENOUGH = 20


def families():
    return sorted(f[6:-3] for f in os.listdir(HERE) if f.startswith("cases_") and f.endswith(".py"))


def write_cases(root, only, op):
    cases = {}
    for family in only:
        importlib.import_module("cases_" + family).cases(Suite(os.path.join(root, family), cases, op))
    return cases


def table(build):
    """(op, domain, since, until) of every row, as quern_optable prints it."""
    page = subprocess.run([build + "/quern_optable"], check=True, capture_output=True, text=True).stdout
    for op, domain, since, until in re.findall(r"^\| (\w+) \| ([\w.]+) \| (\d+)(\+|\.\.\d+|) \|", page, re.M):
        last = 10**9 if until == "+" else int(until[2:]) if until else int(since)
        yield op, "" if domain == "ai.onnx" else domain, int(since), last


def peer_answers(root, cases):
    """ONNX Runtime's answers, as files; again from the next case on when one case kills it."""
    with open(root + "/jobs.json", "w") as f:
        json.dump([c.job for c in cases.values()], f)
    while True:
        p = subprocess.run(["node", HERE + "/ort.js", root + "/jobs.json"], capture_output=True, text=True)
        if p.returncode == 0:
            return
        if 0 < p.returncode < 128:
            raise SystemExit(f"not ok ONNX Runtime runs: {p.stderr.strip()}")


def quern_results(build, cases):
    folders = sorted({os.path.dirname(c.folder) for c in cases.values()})
    p = subprocess.run([build + "/quern_conformance", *folders], capture_output=True, text=True, errors="replace")
    results = {}
    for line in p.stdout.splitlines():
        m = re.match(r"(pass|FAIL|skip|drawn) ([^:]+?)(?:: (.*))?$", line)
        if m:
            results[m[2]] = (m[1], m[3])
    if p.returncode not in (0, 1):
        print(f"not ok quern_conformance ends well: exit status {p.returncode} {p.stderr.strip()[-300:]}")
    return results


def refusal(case):
    try:
        with open(case.folder + "/refused") as f:
            return f.read().strip().replace("\n", " ")
    except FileNotFoundError:
        return None


def excuse(case, used):
    for i, (op, which, why) in enumerate(DIFFERENCES):
        label = f"{case.domain}.{case.op}" if case.domain else case.op
        if fnmatch.fnmatchcase(label, op) and (which(case) if callable(which) else fnmatch.fnmatchcase(case.text, which)):
            used.add(i)
            return why
    return None


def judge(case, results, used):
    """("refused" | "agrees" | "excused" | "differs", why)"""
    refused = refusal(case)
    kind, why = results.get(case.name, ("FAIL", "no result: the run ended before it"))
    if refused is not None:
        return "refused", refused
    if kind == "pass":
        return "agrees", None
    excused = excuse(case, used)
    return ("excused", excused) if excused else ("differs", why if kind == "FAIL" else f"Quern refuses it: {why}")


def report(row, cases, verdicts, verbose):
    op, domain, since, until = row
    label = f"{domain + '.' if domain else ''}{op} {since}{'+' if until >= 10**9 else f'..{until}' if until != since else ''}"
    mine = [c for c in cases.values() if (c.op, c.domain) == (op, domain) and since <= c.version <= until]
    of = {k: [c for c in mine if verdicts[c.name][0] == k] for k in ("agrees", "refused", "excused", "differs")}
    good, bad, why = len(of["agrees"]), of["differs"], REASONS.get((domain, op)) or REASONS.get(op if not domain else (domain, "*"))
    others = "".join(f", {len(of[k])} {say}" for k, say in (("refused", "that ONNX Runtime refuses"), ("excused", "in which it departs")) if of[k])
    for c in bad:
        print(f"# {c.text[:300]}: {verdicts[c.name][1]}")
    for c in of["refused"] + of["excused"] if verbose else []:
        print(f"# {verdicts[c.name][0]} {c.text[:300]}: {verdicts[c.name][1][:200]}")
    if bad:
        print(f"not ok {label}: {len(bad)} of {len(mine)} differ, the first {bad[0].name}: {verdicts[bad[0].name][1]}")
    elif good >= ENOUGH:
        print(f"ok {label}: {good} cases{others}")
    elif why:
        print(f"ok {label}: {good} cases{others}; {why}")
    else:
        print(f"not ok {label}: {good} cases of {ENOUGH}{others}")
    return not bad and (good >= ENOUGH or why is not None)


def check(cases, build, everything, verbose):
    rows, used = list(table(build)), set()
    results = quern_results(build, cases)
    verdicts = {n: judge(c, results, used) for n, c in cases.items()}
    meets = {(c.op, c.domain) for c in cases.values()}
    ok = True
    for row in rows:
        if everything or row[:2] in meets:
            ok &= report(row, cases, verdicts, verbose)
    for name, c in cases.items():
        if verdicts[name][0] != "refused" and not any((c.op, c.domain) == r[:2] and r[2] <= c.version <= r[3] for r in rows):
            print(f"not ok {c.text[:300]}: no row of Quern's table")
            ok = False
    for i, d in enumerate(DIFFERENCES) if everything else []:
        if i not in used:
            print(f"not ok {d[0]}: reasons.py excuses a difference that is none: {d[2]}")
            ok = False
    count = {k: sum(v[0] == k for v in verdicts.values()) for k in ("agrees", "differs", "excused", "refused")}
    print("# " + ", ".join(f"{n} {k}" for k, n in count.items()))
    return ok


def main():
    p = argparse.ArgumentParser()
    p.add_argument("quern", nargs="?", default=os.environ.get("QUERN", HERE + "/../../../build/quern"))
    p.add_argument("--only")
    p.add_argument("--op")
    p.add_argument("--keep")
    p.add_argument("-v", action="store_true")
    args = p.parse_args()
    only = [f.removeprefix("cases_") for f in args.only.split(",")] if args.only else families()
    root = args.keep or tempfile.mkdtemp(prefix="quern-ops-")
    if args.keep:
        shutil.rmtree(root, ignore_errors=True)
        os.makedirs(root)
    try:
        cases = write_cases(root, only, args.op)
        peer_answers(root, cases)
        ok = check(cases, os.path.dirname(os.path.abspath(args.quern)), not args.only and not args.op, args.v)
    finally:
        if not args.keep:
            shutil.rmtree(root)
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
