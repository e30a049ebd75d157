"""Too little of the machine, and versions that were never tried, are refused with the numbers that matter."""

import os
import platform

import pytest

from tooln1.errors import UserError
from tooln1.preflight import machine

MB = 10**6


def test_what_any_machine_has_passes(tmp_path):
    machine.check_python()
    machine.check_memory(0.001)
    machine.check_disk(tmp_path / "not" / "yet", 0.0)
    machine.check_shared_memory(0.0)
    machine.check_shared_memory(10**9, tmp_path / "none")


@pytest.mark.parametrize(
    "check, pieces",
    [
        (lambda folder: machine.check_memory(10**6), ["memory: ", " GB available ", "1e+06 GB needed; end other"]),
        (
            lambda folder: machine.check_disk(folder / "a" / "b", 10**6),
            ["b: ", "GB free on this disk, 1e+06 GB needed"],
        ),
        (lambda folder: machine.check_disk(folder / "file" / "b", 0), ["file is a file; expected a folder"]),
        (lambda folder: machine.check_shared_memory(10**6, folder), ["GB free of", "--shm-size=1000000g"]),
    ],
)
def test_too_little_is_refused(check, pieces, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as error:
        check(tmp_path)
    for piece in pieces:
        assert piece in str(error.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="is not writable; choose another run folder"):
        machine.check_disk(tmp_path / "run", 0)


V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")


@pytest.mark.parametrize(
    "membership, folder, names, values, expected",
    [
        # 30 MB are used, of which 10 are cached pages: of 50 MB, 30 are left.
        ("0::/", "", V2, (50 * MB, 30 * MB, 10 * MB), 30 * MB),
        ("0::/a/b", "a/b", V2, (50 * MB, 30 * MB, 10 * MB), 30 * MB),
        ("0::/a/b", "a", V2, (50 * MB, 30 * MB, 10 * MB), 30 * MB),  # the limit of a group above
        ("0::/../seen/by/host", "", V2, (50 * MB, 30 * MB, 10 * MB), 30 * MB),
        ("4:memory:/a", "memory/a", V1, (50 * MB, 30 * MB, 10 * MB), 30 * MB),
        ("5:cpu,memory:/seen/by/host", "memory", V1, (50 * MB, 30 * MB, 10 * MB), 30 * MB),
        ("0::/", "", V2, (50 * MB, 60 * MB, 0), 0),
        ("0::/", "", V2, ("max", 30 * MB, 0), None),
        ("4:memory:/", "memory", V1, (2**63 - 4096, 30 * MB, 0), None),  # version 1's way of saying "no limit"
        ("3:cpuset:/", "", V2, (50 * MB, 30 * MB, 0), None),
        ("0::/", "elsewhere", V2, (50 * MB, 30 * MB, 0), None),
    ],
)
def test_a_containers_limit_bounds_the_memory(membership, folder, names, values, expected, tmp_path):
    (tmp_path / "membership").write_text(f"1:name=systemd:/\n{membership}\n")
    group = tmp_path / "cgroups" / folder
    group.mkdir(parents=True)
    (group / names[0]).write_text(f"{values[0]}\n")
    (group / names[1]).write_text(f"{values[1]}\n")
    (group / "memory.stat").write_text(f"anon 1\n{names[2]} {values[2]}\n")
    available, limit = machine.available_memory(tmp_path / "cgroups", tmp_path / "membership")
    if expected is None:
        assert available > 50 * MB and limit == "on this machine"
    else:
        assert (available, limit) == (expected, "under the container's limit of 0.1 GB")


def test_a_machine_without_cgroups_has_its_memory(tmp_path):
    assert machine.available_memory(tmp_path, tmp_path / "none")[1] == "on this machine"


def test_another_python_is_refused(monkeypatch):
    monkeypatch.setattr(platform, "python_version", lambda: "3.9.1")
    with pytest.raises(UserError, match=r"Python 3\.9\.1: expected .*>=3\.10"):
        machine.check_python()
