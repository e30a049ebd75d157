"""`tooln1 serve`: the command it runs, and its message if it cannot run one."""

import json
import shlex
import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from tooln1.chat_template import build_chat_template
from tooln1.cli import main
from tooln1.prompt import load_template
from tooln1.serve import command

OWN = "{{ messages }} é"


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """vLLM's CPU build, as far as the command needs it, and a folder for temporary files."""
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(command, "_vllm_is_for_cpu", lambda: True)
    for name in (*command.CPU_ENVIRONMENT, "VLLM_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


def write_model(folder, template=None):
    """An exported model as far as the command reads it; without a prompt template, any other model."""
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    (folder / "tokenizer.json").write_text("{}")
    head = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + b"\0\0\0\0")
    text = build_chat_template(OWN, template) if template else OWN
    (folder / "chat_template.jinja").write_text(text, encoding="utf-8")
    if template:
        (folder / "prompt_template.txt").write_text(template)
    return folder


@pytest.fixture
def exported(tmp_path):
    return write_model(tmp_path / "exported", load_template())


@pytest.fixture
def own(tmp_path):
    """The file of a chat template."""
    (tmp_path / "own.jinja").write_text(OWN, encoding="utf-8")
    return tmp_path / "own.jinja"


@pytest.fixture
def dry_run(capsys):
    """Returns the words that `tooln1 serve --dry-run` prints."""

    def run(*arguments):
        main(["serve", *map(str, arguments), "--dry-run"])
        (line,) = capsys.readouterr().out.splitlines()
        return shlex.split(line)

    return run


def option(words, name):
    """The value that an option has in the end, None without it."""
    return next((word.partition("=")[2] for word in reversed(words) if word.startswith(f"--{name}=")), None)


def test_an_exported_model_is_served_as_it_is_with_our_parsers(dry_run, exported, tmp_path):
    words = dry_run(exported, "--port", "8001")
    assert str(exported) in words and (option(words, "port"), option(words, "host")) == ("8001", "127.0.0.1")
    assert option(words, "chat-template") is None and not list((tmp_path / "tmp").iterdir())
    assert option(words, "tool-call-parser") == option(words, "reasoning-parser") == "tool_n1"
    for plugin in ("tool-parser-plugin", "reasoning-parser-plugin"):
        assert Path(option(words, plugin)).is_file()


def test_a_gpu_gets_vllm_serve_and_nothing_meant_for_a_cpu(dry_run, exported, monkeypatch):
    monkeypatch.setattr(command, "_vllm_is_for_cpu", lambda: False)
    words = dry_run(exported)
    assert words[1:5] == ["-m", "vllm.entrypoints.cli.main", "serve", str(exported)]
    assert "--enforce-eager" not in words and not any(word.startswith("VLLM_CPU") for word in words)


def test_the_environments_own_settings_are_kept(dry_run, exported, monkeypatch):
    assert "VLLM_CPU_KVCACHE_SPACE=2" in dry_run(exported)
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    assert not any(word.startswith("VLLM_CPU_KVCACHE_SPACE") for word in dry_run(exported))


@pytest.mark.parametrize("options", [["--api-key", "secret"], ["--api_key=secret", "--api-key", "other"], []])
def test_a_key_is_neither_shown_nor_on_the_command_line(options, dry_run, exported, monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", "of the environment")
    words = dry_run(exported, *options)
    assert "TOOLN1_API_KEYS=..." in words and option(words, "middleware") == "tooln1.serve.middleware.Guard"
    assert not any("secret" in word or "other" in word or "environment" in word for word in words)
    keys = [word for word in " ".join(options).replace("=", " ").split() if not word.startswith("-")]
    line, environment = command.build_command(str(exported), [], api_keys=keys)
    assert environment["TOOLN1_API_KEYS"].split("\n") == (keys or ["of the environment"])
    assert not environment["VLLM_API_KEY"] and not any("secret" in word for word in line)


@pytest.fixture
def run_server(monkeypatch):
    """Records what would run as the server."""
    ran = []
    monkeypatch.setattr(command, "run", lambda *arguments: ran.append(arguments))
    return ran


@pytest.mark.parametrize(
    "options, warned",
    [
        (["--host", "0.0.0.0"], True),
        (["--host", ""], True),
        (["--host", "0.0.0.0", "--api-key", "k"], False),
        (["--host", "localhost"], False),
        ([], False),
    ],
)
def test_a_server_for_strangers_without_a_key_is_warned_of(options, warned, exported, run_server, capsys):
    main(["serve", str(exported), "--port", "0", "--shutdown-timeout", "5", *options])
    assert ("without --api-key: whoever reaches port 0 may use the model" in capsys.readouterr().err) == warned
    assert run_server[0][2] == 5


@pytest.mark.parametrize(
    "options, message",
    [
        (
            ["--port", "{taken}"],
            "cannot listen on 127.0.0.1, port {taken}: Address already in use; choose another --port",
        ),
        (["--port", "70000"], "port 70000: bind(): port must be 0-65535"),
        (["--host", "nowhere.invalid"], "cannot listen on nowhere.invalid, port 8000: "),
        (["--api-key", "secret", "other"], "a word that belongs to no option follows MODEL"),
    ],
)
def test_an_address_that_cannot_be_listened_on_is_one_line(options, message, exported, run_server, capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        with pytest.raises(SystemExit) as stopped:
            main(["serve", str(exported), *(option.format(taken=taken) for option in options)])
    (line,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and message.format(taken=taken) in line and not run_server


@pytest.mark.parametrize("first", [True, False])
def test_another_prompt_template_or_chat_template_goes_into_a_temporary_file(first, dry_run, exported, own):
    options = ["--template", "compact", f"--chat-template={own}"]
    words = dry_run(*options, exported) if first else dry_run(exported, *options)
    text = Path(option(words, "chat-template")).read_text(encoding="utf-8")
    assert text == build_chat_template(OWN, load_template("compact"))


def test_a_chat_template_that_writes_the_prompt_keeps_its_prompt_template(dry_run, exported, own):
    own.write_text(build_chat_template(OWN, load_template("direct")), encoding="utf-8")
    words = dry_run(exported, "--chat-template", own)
    assert Path(option(words, "chat-template")).read_text(encoding="utf-8") == own.read_text(encoding="utf-8")
    assert option(words, "tool-call-parser") == "tool_n1_direct"


def test_a_model_that_does_not_write_its_prompt_is_served_with_the_template_that_it_notes(dry_run, tmp_path, own):
    folder = write_model(tmp_path / "other")
    (folder / "prompt_template.txt").write_text("Mine: {tools} <think>")
    words = dry_run(folder, "--chat-template", own)
    text = Path(option(words, "chat-template")).read_text(encoding="utf-8")
    assert text == build_chat_template(OWN, "Mine: {tools} <think>")


def test_a_model_trained_without_reasoning_gets_no_reasoning_parser(dry_run, tmp_path):
    words = dry_run(write_model(tmp_path / "direct", load_template("direct")))
    assert option(words, "tool-call-parser") == "tool_n1_direct"
    assert not any("reasoning" in word for word in words)


def without_weights(model, folder):
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors"))


def with_a_broken_config(model, folder):
    shutil.copytree(model, folder)
    (folder / "config.json").write_text("{")


def checkpoint_of_verl(model, folder):
    (folder / "actor").mkdir(parents=True)
    (folder / "actor" / "model_world_size_2_rank_0.pt").touch()


@pytest.mark.parametrize(
    "make, options, expected",
    [
        (lambda model, folder: None, [], "no such folder"),
        (lambda model, folder: folder.touch(), [], "a file; expected a folder"),
        (lambda model, folder: folder.mkdir(), [], "no config.json"),
        (with_a_broken_config, [], "config.json: not JSON"),
        (without_weights, [], "no weights"),
        (checkpoint_of_verl, [], "in shards; run: tooln1 export RUN_DIR --output MODEL"),
        (shutil.copytree, ["--template", "none.txt"], "give a file, or one of compact, direct, thinking"),
        (shutil.copytree, ["--chat-template", "none.jinja"], "none.jinja: cannot be read"),
        (shutil.copytree, ["--chat-template"], "--chat-template: expected one argument"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(make, options, expected, exported, tmp_path, capsys):
    make(exported, tmp_path / "it's")
    with pytest.raises(SystemExit) as stopped:
        main(["serve", str(tmp_path / "it's"), *options])
    captured = capsys.readouterr()
    assert stopped.value.code == 2 and captured.out == ""
    (line,) = captured.err.splitlines()
    assert expected in line


def test_a_missing_vllm_is_an_error(exported, monkeypatch, capsys):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        main(["serve", str(exported)])
    assert "vLLM is not installed here; run: bash examples/setup_gpu.sh" in capsys.readouterr().err
