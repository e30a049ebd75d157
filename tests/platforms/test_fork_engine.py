"""Ray's workers, forked from one process, are different workers."""

import os
import subprocess
import sys
import time

from tooln1.platforms.fork import SOCKET_VARIABLE

ASK = (
    "import sys; forked = 'transfer_queue' in sys.modules; import ray; print(forked, ray.ObjectRef.from_random().hex())"
)


def test_two_workers_draw_different_ids(tmp_path):
    path = tmp_path / "socket"
    environment = os.environ | {SOCKET_VARIABLE: str(path), "RAY_JOB_ID": "01", "RAY_RAYLET_PID": "7"}
    # transfer_queue declares remote functions, for which Ray draws ids: from then on its generator is seeded.
    server = subprocess.Popen(
        [sys.executable, "-m", "tooln1.platforms.fork.server", str(path), "--", "ray", "transfer_queue"]
    )
    try:
        while not path.exists():
            assert server.poll() is None
            time.sleep(0.02)
        client = [os.path.join(os.path.dirname(sys.executable), "tooln1-python"), "-c", ASK]
        said = [subprocess.run(client, env=environment, capture_output=True, text=True).stdout for _ in range(3)]
    finally:
        server.kill()
        server.wait()
    assert [line.split()[0] for line in said] == ["True"] * 3
    assert len({line.split()[1] for line in said}) == 3
