"""`tooln1 serve`: the command it runs, and what it says instead when it cannot."""

import shlex
import shutil
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed")

from tooln1.cli import main
from tooln1.serve import command
from tooln1.serve.chat_template import served_template

TEMPLATES = Path(__file__).parents[2] / "tooln1" / "templates"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder of written chat templates."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in command.CPU_ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache" / "tooln1" / "chat_templates"


@pytest.fixture
def dry_run(capsys):
    """Returns the words that `tooln1 serve --dry-run` prints."""

    def run(*arguments):
        main(["serve", *map(str, arguments), "--dry-run"])
        (line,) = capsys.readouterr().out.splitlines()
        return shlex.split(line)

    return run


def option(words, name):
    """The value that an option has in the end."""
    return [word.partition("=")[2] for word in words if word.startswith(f"--{name}=")][-1]


def test_the_command_names_template_and_parsers(dry_run, tiny_model, cache):
    words = dry_run(tiny_model, "--port", "8001")
    assert str(tiny_model) in words and words[-2:] == ["--port", "8001"]
    assert Path(option(words, "chat-template")).read_text(encoding="utf-8") == served_template(tiny_model)
    assert option(words, "tool-call-parser") == option(words, "reasoning-parser") == "tool_n1"
    for plugin in ("tool-parser-plugin", "reasoning-parser-plugin"):
        assert Path(option(words, plugin)).is_file()
    assert len(list(cache.iterdir())) == 1
    assert dry_run(tiny_model, "--port", "8001") == words


def test_vllm_understands_every_option(dry_run, tiny_model):
    from vllm.entrypoints.openai.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    words = dry_run(tiny_model, "--max-model-len", "512")
    parser = make_arg_parser(FlexibleArgumentParser())
    arguments = parser.parse_args(words[words.index("--model") :])
    validate_parsed_serve_args(arguments)
    assert arguments.enable_auto_tool_choice and arguments.max_model_len == 512
    assert arguments.structured_outputs_config.enable_in_reasoning is True


def test_a_gpu_gets_vllm_serve_and_nothing_meant_for_a_cpu(dry_run, tiny_model, monkeypatch):
    monkeypatch.setattr(command, "_vllm_is_for_cpu", lambda: False)
    words = dry_run(tiny_model)
    assert words[1:5] == ["-m", "vllm.entrypoints.cli.main", "serve", str(tiny_model)]
    assert "--enforce-eager" not in words and not any(word.startswith("VLLM_CPU") for word in words)


def test_the_environments_own_settings_are_kept(dry_run, tiny_model, monkeypatch):
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    assert not any(word.startswith("VLLM_CPU_KVCACHE_SPACE") for word in dry_run(tiny_model))


@pytest.mark.parametrize("template", ["compact", TEMPLATES / "compact.txt"])
def test_the_prompt_template_is_the_one_of_the_training(template, dry_run, tiny_model):
    words = dry_run("--template", template, tiny_model)
    expected = served_template(tiny_model, (TEMPLATES / "compact.txt").read_text())
    assert Path(option(words, "chat-template")).read_text(encoding="utf-8") == expected
    assert dry_run(tiny_model, "--template", template) == words


def test_the_template_that_a_model_notes_is_taken_unless_another_is_named(dry_run, tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "prompt_template.txt").write_text("Mine: {tools}")
    for options, text in (([], "Mine: {tools}"), (["--template", "compact"], (TEMPLATES / "compact.txt").read_text())):
        words = dry_run(folder, *options)
        assert Path(option(words, "chat-template")).read_text(encoding="utf-8") == served_template(tiny_model, text)


def test_a_model_trained_without_reasoning_gets_no_reasoning_parser(dry_run, tiny_model):
    words = dry_run(tiny_model, "--template", "direct")
    assert option(words, "tool-call-parser") == "tool_n1_direct"
    assert not any("reasoning" in word for word in words)


@pytest.mark.parametrize("glued", [True, False])
def test_another_chat_template_takes_the_place_of_the_checkpoints(glued, dry_run, tiny_model, tmp_path):
    (tmp_path / "own.jinja").write_text("{{ messages }} é", encoding="utf-8")
    given = tmp_path / "own.jinja"
    words = dry_run(tiny_model, *([f"--chat-template={given}"] if glued else ["--chat-template", given]))
    assert str(given) not in " ".join(words)
    assert Path(option(words, "chat-template")).read_text(encoding="utf-8").endswith("{{ messages }} é")


def a_folder_without_weights(model, folder):
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors"))


def a_broken_config(model, folder):
    shutil.copytree(model, folder)
    (folder / "config.json").write_text("{")


def a_checkpoint_of_verls(model, folder):
    (folder / "actor").mkdir(parents=True)
    (folder / "actor" / "model_world_size_2_rank_0.pt").touch()


@pytest.mark.parametrize(
    "make, options, expected",
    [
        (lambda model, folder: None, [], "no such folder"),
        (lambda model, folder: folder.touch(), [], "a file; expected a folder"),
        (lambda model, folder: folder.mkdir(), [], "no config.json"),
        (a_broken_config, [], "config.json: not readable as JSON"),
        (a_folder_without_weights, [], "no weights"),
        (a_checkpoint_of_verls, [], "merge it first: python -m verl.model_merger merge --backend fsdp --local_dir"),
        (shutil.copytree, ["--template", "none.txt"], "give a file, or one of compact, direct, thinking"),
        (shutil.copytree, ["--chat-template", "none.jinja"], "--chat-template none.jinja: cannot be read"),
        (shutil.copytree, ["--chat-template"], "--chat-template: expected a file after it"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(make, options, expected, tiny_model, tmp_path, capsys):
    make(tiny_model, tmp_path / "it's")
    with pytest.raises(SystemExit) as stopped:
        main(["serve", str(tmp_path / "it's"), *options])
    captured = capsys.readouterr()
    assert stopped.value.code == 2 and captured.out == ""
    (line,) = captured.err.splitlines()
    assert expected in line


def test_a_missing_vllm_is_said(tiny_model, monkeypatch, capsys):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        main(["serve", str(tiny_model)])
    assert "vLLM is not installed here; run: pip install" in capsys.readouterr().err
