"""The prompts of a run as its model reads them, and right responses as its reward reads them.

Both with the model's own tokenizer and chat template, applied as verl applies them: for GRPO to the whole prompt with
add_generation_prompt=True (verl/utils/dataset/rl_dataset.py), for SFT to each message alone
(verl/utils/dataset/multiturn_sft_dataset.py). Importing transformers imports torch, which takes seconds.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from tooln1.chat_template import load_tokenizer
from tooln1.checks.data_files import check_batch, read_rows
from tooln1.checks.findings import Finding, fact, fault, ok, warning
from tooln1.checks.reward import problem_of, report_problem, right_response
from tooln1.checks.upcoming_run import UpcomingRun
from tooln1.files import one_line
from tooln1.prompt import opens_reasoning
from tooln1.reward_score.toolcall import END_THINK, SPACE, TAGS, THINK

_BATCH = 500
_SAMPLE = 20
# A file that was meant for this limit loses fewer rows.
_MANY_DROPPED = 0.05
_ROWS_SHOWN = 5
_TAKE_ANOTHER = "take another model, or set its custom_chat_template"


def check_prompts(run: UpcomingRun) -> Iterator[Finding]:
    """Messages that the chat template drops, and tags of a right response that the reward would not see.

    The rows are the first of each file, and the first with each combination of roles.
    """
    if run.rows is None or (run.val_rows is None and not run.is_sft):
        return
    if run.whole_model is None:
        yield warning("prompts are not rendered or counted: that takes a whole model, with its tokenizer")
        return
    model = run.model.get("tokenizer_path") or run.whole_model
    run.tokenizer = load_tokenizer(model, run.model.get("custom_chat_template"))
    rows = {place: row for path in _files(run) for place, row in _sample(path, _column(run)).items()}
    rendered = {place: _render(run, row[_column(run)]) for place, row in rows.items()}
    refused = {place: text for place, text in rendered.items() if text.refusal}
    if len(refused) == len(rendered):
        place, text = next(iter(refused.items()))
        run.tokenizer = None
        yield fault(
            f"{place}: the chat template refuses every prompt ({text.refusal}); take an instruction-tuned model, whose "
            f"template knows system, user, assistant and tool messages"
        )
        return
    seen = {place: text.text for place, text in rendered.items() if not text.refusal}
    yield from _check_messages(run, {place: (rows[place][_column(run)], text) for place, text in seen.items()})
    if not run.is_sft:
        yield from _check_reasoning(run, list(seen.values()))
        yield from _check_responses(run, {place: rows[place] for place in seen})
    scored = "" if run.is_sft else ", and the reward reads a right response to each"
    yield ok(f"{len(seen)} prompts rendered: every message is in them{scored}")


class _Rendered(NamedTuple):
    text: str
    refusal: str = ""


def _render(run: UpcomingRun, messages: Sequence[Mapping[str, str]]) -> _Rendered:
    options = {"tokenize": False, **(run.config.data.get("apply_chat_template_kwargs") or {})}
    try:
        if not run.is_sft:
            return _Rendered(run.tokenizer.apply_chat_template(messages, add_generation_prompt=True, **options))
        from verl.utils.tokenizer.chat_template import apply_chat_template

        texts = [apply_chat_template(run.tokenizer, [one], add_generation_prompt=False, **options) for one in messages]
        return _Rendered("\n".join(texts))
    except Exception as error:  # verl drops a row for any exception of the template
        return _Rendered("", one_line(error, 160))


def _sample(path: str, column: str) -> dict[str, dict[str, Any]]:
    """{place: row}."""
    sample, roles = {}, set()
    for number, row in enumerate(read_rows(path)):
        found = frozenset(message["role"] for message in row[column])
        if number < _SAMPLE or found not in roles:
            sample[f"{path}, row {number}"] = row
        roles.add(found)
    return sample


def _files(run: UpcomingRun) -> list[str]:
    return [*run.train_files, *run.val_files]


def _column(run: UpcomingRun) -> str:
    return run.config.data.messages_key if run.is_sft else "prompt"


def _check_messages(run: UpcomingRun, rows: Mapping[str, tuple[Sequence[Mapping[str, str]], str]]) -> Iterator[Finding]:
    """The first message of each role that is not in the rendered text."""
    lost = {}
    for place, (messages, text) in rows.items():
        for message in messages:
            # A template may write the result of a tool in another form.
            content, is_tool = message["content"].strip(), message["role"] == "tool"
            words = re.findall(r"\w+", content)
            if content not in text and not (is_tool and words and all(word in text for word in words)):
                lost.setdefault(message["role"], place)
    for role, place in lost.items():
        what = {"system": "system message, and with it the tools", "assistant": "text of the assistant"}
        yield fault(
            f"{place}: the chat template of {run.whole_model} leaves out the {what.get(role, f'{role} message')}; "
            f"{_TAKE_ANOTHER}"
        )


def _check_reasoning(run: UpcomingRun, prompts: Sequence[str]) -> Iterator[Finding]:
    """Whether the prompts open <think>, which the reward must know; run.opens_think keeps it."""
    opened = sum(map(opens_reasoning, prompts))
    run.opens_think = bool(opened)
    if 0 < opened < len(prompts):
        yield fault(f"{run.whole_model}: the chat template opens {THINK} in some prompts only; {_TAKE_ANOTHER}")
    elif opened and run.has_our_reward:
        yield fact(f"the prompts end with an open {THINK}: responses are read as beginning inside the reasoning")
    elif opened:
        yield warning(f"the prompts end with an open {THINK}: the responses that your reward gets begin without it")
    if any(prompt.rstrip(SPACE).endswith(END_THINK) for prompt in prompts):
        yield warning(
            f"the prompts end with {END_THINK}, as if the model had reasoned already, and the reward wants reasoning; "
            f"set +data.apply_chat_template_kwargs.enable_thinking=true"
        )


def _check_responses(run: UpcomingRun, rows: Mapping[str, dict[str, Any]]) -> Iterator[Finding]:
    """The first right response that loses a tag, or its reward, between the model's tokens and the reward."""
    for place, row in rows.items():
        written = right_response(run, row)
        tokens = run.tokenizer.encode(written, add_special_tokens=False)
        decoded = run.tokenizer.decode(tokens, skip_special_tokens=True)  # as verl's reward managers
        lost = [tag for tag in TAGS if tag in written and tag not in decoded]
        if lost and run.has_our_reward:
            yield fault(
                f"{run.whole_model}: {', '.join(lost)}: special tokens of the tokenizer, which verl leaves out of the "
                f'responses that it gives to the reward; make them ordinary ones ("special": false in tokenizer.json, '
                f"and not among the special tokens of tokenizer_config.json)"
            )
            return
        problem = run.reward and problem_of(run, row, decoded)
        if problem:
            yield report_problem(
                run, f"{place}: encoded and decoded by the tokenizer, {problem}; it reads {decoded!r:.200}"
            )
            return


def check_prompt_tokens(run: UpcomingRun) -> Iterator[Finding]:
    """Prompts that are too long, counted as verl's data.filter_overlong_prompts counts them."""
    if run.is_sft or run.tokenizer is None or run.rows < run.prompts:
        return
    counted = [count_tokens(run, path) for path in _files(run)]
    for path, one in zip(_files(run), counted, strict=True):
        yield _describe(run, path, one)
    kept = [[length for length in one.lengths if length and length <= run.prompt_length] for one in counted]
    train, val = sum(kept[: len(run.train_files)], []), sum(kept[len(run.train_files) :], [])
    run.rows, run.mean_prompt = len(train), float(np.mean(train or [0]))
    yield from check_batch(run, "rows that fit")
    if not val:
        yield fault("data.val_files: no prompt is left to validate with; raise data.max_prompt_length")


class PromptTokens(NamedTuple):
    """The prompts of one file."""

    lengths: list[int | None]  # in tokens, row by row; None for a prompt that the chat template refuses
    refusal: str  # what the chat template says about the first prompt that it refuses


def count_tokens(run: UpcomingRun, path: str) -> PromptTokens:
    """Count the prompts of a file with run.tokenizer, without special tokens besides the template's."""
    lengths: list[int | None] = []
    refusal = ""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH, columns=["prompt"]):
            rendered = [_render(run, prompt) for prompt in batch["prompt"].to_pylist()]
            counts = iter(_lengths(run.tokenizer, [one.text for one in rendered if not one.refusal]))
            for one in rendered:
                refusal = refusal or one.refusal and f"row {len(lengths)}: {one.refusal}"
                lengths.append(None if one.refusal else next(counts))
    return PromptTokens(lengths, refusal)


def _lengths(tokenizer: Any, texts: list[str]) -> list[int]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not texts or backend is None:
        return [len(tokenizer.encode(text, add_special_tokens=False)) for text in texts]
    # Seven times as fast as calling the tokenizer, which also works out each token's place in the text. Unlike verl's
    # call, the backend obeys a truncation in tokenizer.json.
    backend.no_truncation()
    backend.no_padding()
    return [len(encoding) for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]


def _describe(run: UpcomingRun, path: str, counted: PromptTokens) -> Finding:
    limit, rows = run.prompt_length, len(counted.lengths)
    lengths = {row: length for row, length in enumerate(counted.lengths) if length is not None}
    too_long = [row for row, length in lengths.items() if length > limit]
    refused = [row for row in range(rows) if row not in lengths]
    values = list(lengths.values()) or [0]
    ranks = [f"p{rank} {np.percentile(values, rank, method='inverted_cdf'):g}" for rank in (50, 95, 99)]
    measured = f"prompt tokens {', '.join(ranks)}, longest {max(values)} of {limit}"
    if not too_long and not refused:
        return fact(f"{path}: {rows} rows, {measured}")
    if too_long and not run.config.data.filter_overlong_prompts and run.config.data.truncation == "error":
        return fault(
            f"{path}: {len(too_long)} of {rows} prompts too long ({measured}), and the first would stop the run; set "
            f"data.filter_overlong_prompts=true or raise data.max_prompt_length"
        )
    reasons = {f"longer than {limit} tokens": too_long, f"refused by the chat template ({counted.refusal})": refused}
    dropped = [f"{len(which)} {reason}, {_some(which)}" for reason, which in reasons.items() if which]
    note = f"{path}: verl drops {len(too_long) + len(refused)} of {rows} prompts: {'; '.join(dropped)}; {measured}"
    if len(too_long) + len(refused) > _MANY_DROPPED * rows:
        return warning(f"{note}; raise data.max_prompt_length or shorten the prompts")
    return fact(note)


def _some(rows: Sequence[int]) -> str:
    shown = ", ".join(map(str, rows[:_ROWS_SHOWN]))
    return f"row{'s' if len(rows) > 1 else ''} {shown}{', …' if len(rows) > _ROWS_SHOWN else ''}"
