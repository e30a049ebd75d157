"""The `tooln1` command: what it prints and how it exits."""

import subprocess
import sys

import pytest

from tooln1.cli import main
from tooln1.data.rows import make_row, write_parquet


def _row():
    messages = [{"role": "system", "content": "tools"}, {"role": "user", "content": "call a taxi"}]
    return make_row(
        data_source="toolcall/synthetic", messages=messages, calls=[], source_row=0, num_tools=0, split="train", index=0
    )


def test_validate_counts_the_rows(tmp_path, capsys):
    write_parquet(tmp_path / "rows.parquet", [_row(), _row()])
    main(["validate", str(tmp_path / "rows.parquet")])
    assert "2 rows" in capsys.readouterr().out


def test_a_missing_file_is_one_line_and_exit_code_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["validate", str(tmp_path / "absent.parquet")])
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "absent.parquet" in lines[0]


def test_the_version_is_the_packages(capsys):
    from importlib.metadata import version

    with pytest.raises(SystemExit):
        main(["--version"])
    assert version("tooln1") in capsys.readouterr().out


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    write_parquet(tmp_path / "rows.parquet", [_row()])
    command = f"{sys.executable} -m tooln1.cli validate {tmp_path / 'rows.parquet'} | true"
    done = subprocess.run(["bash", "-c", f"{command}; echo ${{PIPESTATUS[0]}}"], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "141")  # by whether it wrote before the reader was gone
