"""The README's first request, and the line that ./run serve prints, do what they say."""
import os
import re
import shlex
import signal
import subprocess
import time

from harness import ROOT, Daemon, main


def readme():
    with open(ROOT + "/README.md") as f:
        return f.read()


def the_first_request_gives_the_printed_answer():
    text = readme()
    command = re.search(r"^curl -s localhost:8000(/v1/models/fashion:predict -d @docs/ankle-boot.json)$", text, re.M).group(1)
    answer = re.search(r'^\{"predictions".*$', text, re.M).group(0)
    with Daemon() as d:
        path, rest = command.split(" ", 1)
        out = subprocess.run(["curl", "-s", f"http://127.0.0.1:{d.port}{path}"] + shlex.split(rest), cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.strip() == answer, out


def the_links_of_the_readme_exist():
    for link in re.findall(r"\]\(([^)]+)\)", readme()):
        assert os.path.exists(os.path.join(ROOT, link)), link


def run_serve_prints_a_curl_line_that_works():
    log = f"/tmp/quern-serve-{os.getpid()}.log"
    import socket

    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
    s.close()
    with open(log, "wb") as f:
        p = subprocess.Popen([ROOT + "/run", "serve", "--listen", f"127.0.0.1:{port}"], stdout=f, stderr=f, start_new_session=True)
    try:
        end = time.monotonic() + 300
        line = None
        while not line:
            assert p.poll() is None and time.monotonic() < end, open(log).read()
            line = re.search(r"^ *(curl .*)$", open(log).read(), re.M)
            time.sleep(0.1)
        out = subprocess.run(["bash", "-c", line.group(1)], cwd="/", capture_output=True, text=True, check=True).stdout
        assert "predictions" in out, out
        p.send_signal(signal.SIGTERM)
        assert p.wait(60) == 0
    finally:
        try:
            os.killpg(p.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.unlink(log)


main([the_first_request_gives_the_printed_answer, the_links_of_the_readme_exist, run_serve_prints_a_curl_line_that_works])
