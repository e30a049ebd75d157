"""A server for a block of code: it is awaited, its failures are reported, and it is stopped."""

import sys

import psutil
import pytest

from tooln1.errors import UserError
from tooln1.serve.server import served


@pytest.fixture
def serve_with(tmp_path, monkeypatch):
    """Runs `served` with a Python program in the place of the server, and returns its process id with `served`'s."""

    def start(program, **options):
        script = tmp_path / "server"
        script.write_text(f"#!{sys.executable}\n{program}")
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))
        return served(tmp_path / "model", tmp_path / "server.log", **options)

    return start


def test_a_server_that_ends_is_reported_with_the_end_of_its_log(serve_with):
    with pytest.raises(UserError, match=r"tooln1 serve ended \(2\); its output is in .*server\.log and ends: no model"):
        with serve_with("import sys; print('loading'); print('no model'); sys.exit(2)"):
            pytest.fail("the server does not run")


def test_a_server_that_does_not_answer_in_time_is_stopped(serve_with, tmp_path):
    with pytest.raises(UserError, match="did not answer within 0.5 seconds"):
        with serve_with("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)", patience=0.5):
            pytest.fail("the server does not answer")
    assert not psutil.pid_exists(int((tmp_path / "server.log").read_text()))


ANSWERS = f"""
import http.server, os, subprocess, sys
child = subprocess.Popen([{sys.executable!r}, "-c", "import time; time.sleep(600)"])
print(os.getpid(), child.pid, flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError("x")])
def test_nothing_of_a_server_outlives_the_block(serve_with, tmp_path, error):
    with pytest.raises(error if isinstance(error, type) else UserError):
        with serve_with(ANSWERS) as address:
            assert address.startswith("http://127.0.0.1:") and address.endswith("/v1")
            raise error
    numbers = map(int, (tmp_path / "server.log").read_text().split()[:2])
    processes = [psutil.Process(number) for number in numbers if psutil.pid_exists(number)]
    _, alive = psutil.wait_procs(processes, timeout=5)
    assert not alive
