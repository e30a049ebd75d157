"""The reward inside verl 0.9.1: responses as verl decodes them, its reward loop, its validation metrics and its dumps.

Nothing of verl is imitated: the configuration is composed by Hydra, the workers and their thread pools are verl's (Ray
actors in the slow tests, threads otherwise), and the functions that make metrics and dumps are the trainer's.
"""

import asyncio
import json
import random
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice

import numpy as np
import pytest
from toolcall_cases import GAMING, KEYS, ONE, REWARDS, THINK, TWO, called, f, judge

from benchmarks.reward import FRAMES
from tooln1 import reward_score

torch = pytest.importorskip("torch")
ray = pytest.importorskip("ray")
hydra = pytest.importorskip("hydra")

SOURCES = ("toolcall/xlam", "toolcall/toolace_single_turn")
UNICODE = '[{"name": "caf\u00e9", "arguments": {"x": "na\u00efve \U0001f525 , it \'s \u4f60\u597d ."}}]'


@pytest.fixture(scope="module")
def llama_like(tmp_path_factory):
    """A folder with a tokenizer of Llama 3's shape: byte-level BPE, its special tokens, its tokenizer_config.json.

    The tags are ordinary text to it, and `clean_up_tokenization_spaces` is true as in the released Llama 3 tokenizers.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: number for number, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|begin_of_text|>", "<|eot_id|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"]
    tokenizer.add_special_tokens([AddedToken(one, special=True, normalized=False) for one in special])
    folder = tmp_path_factory.mktemp("llama")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=special[0],
        eos_token=special[1],
        pad_token=special[2],
        clean_up_tokenization_spaces=True,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(llama_like):
    from verl.utils import hf_tokenizer

    return hf_tokenizer(str(llama_like))


def config(tokenizer_folder, manager, *overrides):
    """verl's own configuration with this reward, as a user sets it on the command line."""
    from importlib.resources import files

    settings = [
        f"actor_rollout_ref.model.path={tokenizer_folder}",
        f"reward.custom_reward_function.path={reward_score.REWARDS['strict']}",
        "reward.custom_reward_function.name=compute_score",
        f"reward.reward_manager.name={manager}",
        "reward.num_workers=2",
        *overrides,
    ]
    with hydra.initialize_config_dir(str(files("verl") / "trainer" / "config"), version_base=None):
        return hydra.compose("ppo_trainer", settings)


def batch(tokenizer, rows):
    """The rows, (data source, response, ground_truth), as the batch of token ids that verl's reward loop is given."""
    from verl import DataProto

    tokens = [
        tokenizer.encode(response, add_special_tokens=False) + [tokenizer.eos_token_id] for _, response, _ in rows
    ]
    width = max(map(len, tokens))
    responses = torch.tensor([one + [tokenizer.pad_token_id] * (width - len(one)) for one in tokens])
    mask = torch.tensor([[1] * (1 + len(one)) + [0] * (width - len(one)) for one in tokens])
    prompts = torch.zeros(len(rows), 1, dtype=torch.long)
    columns = {
        "data_source": [source for source, _, _ in rows],
        "reward_model": [{"style": "rule", "ground_truth": one} for _, _, one in rows],
        "extra_info": [{"index": number} for number in range(len(rows))],
    }
    return DataProto.from_dict(
        tensors={"prompts": prompts, "responses": responses, "attention_mask": mask},
        non_tensors={name: np.array(column, dtype=object) for name, column in columns.items()},
    )


def responses(count):
    """Rows of all sorts: right responses, attempts at gaming, degenerate responses."""
    texts = ["", THINK, *map(called, (ONE, TWO, UNICODE, f(2), "[]")), *(case[1] for case in GAMING)]
    units = ("<tool_call>", "</tool_call>", "[", "1,", "{},", "\\")
    texts += [frame % (unit * 30) for frame in FRAMES for unit in units]
    ground_truths = cycle([ONE, TWO, UNICODE, "[]"])
    rows = [(source, text, next(ground_truths)) for text, source in zip(islice(cycle(texts), count), cycle(SOURCES))]
    rows += [(SOURCES[0], called(one), one) for one in (ONE, TWO, UNICODE, "[]")]
    random.Random(0).shuffle(rows)
    return rows


LLAMA_TURN = "<|start_header_id|>assistant<|end_header_id|>\n\n{}<|eot_id|>"


@pytest.mark.parametrize("calls", [ONE, TWO, UNICODE, f('"a , b . c ? d ! do n\'t"'), f('"  two  spaces  "')])
def test_a_llama_response_scores_after_verls_decoding(tokenizer, calls):
    response = called(f"\n{calls}\n", THINK + "\n")
    tokens = tokenizer.encode(response + "<|eot_id|>", add_special_tokens=False)
    assert tokenizer.clean_up_tokenization_spaces, "as in the released tokenizers; transformers ignores it for BPE"
    decoded = tokenizer.decode(torch.tensor(tokens), skip_special_tokens=True)
    assert decoded == response
    assert [judge(decoded, calls, reward)["score"] for reward in REWARDS] == [1.0, 1.0]


@pytest.mark.parametrize("text, strict", [("{}<|eot_id|>", 0.0), (LLAMA_TURN, 0.0), ("{}", 1.0), ("\n\n{}\n", 1.0)])
def test_markers_that_decoding_did_not_skip_cost_the_strict_reward_only(text, strict):
    response = text.format(called(ONE))
    assert [judge(response, ONE, reward)["score"] for reward in REWARDS] == [strict, 1.0]


def run_worker(settings, data):
    """What one of verl's reward workers returns for a batch, in an event loop as in the worker's process."""
    from verl.experimental.reward_loop.reward_loop import RewardLoopWorker

    async def run():
        return await RewardLoopWorker(settings).compute_score_batch(data)

    return asyncio.run(run())


@pytest.mark.parametrize("manager", ["naive", "dapo"])
def test_verls_reward_workers_score_thousands_of_responses_like_the_function(manager, llama_like, tokenizer):
    rows = responses(2000)
    settings = config(llama_like, manager)
    with ThreadPoolExecutor(2) as workers:  # each scores in its own thread pool
        halves = batch(tokenizer, rows).chunk(2)
        scored = [one for half in workers.map(partial(run_worker, settings), halves) for one in half]
    expected = [judge(response, ground_truth) for _, response, ground_truth in rows]
    assert [one["reward_extra_info"] for one in scored] == expected
    assert [one["reward_score"] for one in scored] == [one["score"] for one in expected]


@pytest.mark.slow
@pytest.mark.parametrize("manager", ["naive", "dapo"])
def test_verls_reward_loop_on_ray_gives_the_same(manager, llama_like, tokenizer):
    from verl.experimental.reward_loop.reward_loop import RewardLoopManager
    from verl.trainer.ppo.reward import extract_reward

    rows = responses(2001)  # odd, so that verl pads the batch to its two workers
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    try:
        loop = RewardLoopManager(config(llama_like, manager))
        rewards, extra = extract_reward(loop.compute_rm_score(batch(tokenizer, rows)))
    finally:
        ray.shutdown()
    expected = [judge(response, ground_truth) for _, response, ground_truth in rows]
    assert {key: extra[key].tolist() for key in extra} == {key: [one[key] for one in expected] for key in KEYS}
    assert rewards.sum(dim=1).tolist() == [one["score"] for one in expected]


@pytest.mark.parametrize("manager", ["naive", "dapo"])
def test_settings_choose_the_reward_and_the_variant(manager, llama_like, tokenizer):
    settings = ["+reward.custom_reward_function.reward_kwargs.variant=partial_reason_name"]
    settings += [f"reward.custom_reward_function.path={reward_score.REWARDS['paper']}"]
    rows = [(SOURCES[0], called(f(2)) + " bye", ONE), (SOURCES[0], called(ONE) + " bye", ONE)]
    scored = run_worker(config(llama_like, manager, *settings), batch(tokenizer, rows))
    assert [one["reward_score"] for one in scored] == [0.4, 1.0]


def test_the_diagnostics_reach_the_validation_metrics_of_each_source():
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    rows = [(SOURCES[0], called(ONE)), (SOURCES[0], called(f(2))), (SOURCES[1], called(ONE, "")), (SOURCES[1], "")]
    scores = [judge(response) for _, response in rows]
    infos = {"reward": [one["score"] for one in scores], **{key: [one[key] for one in scores] for key in KEYS}}
    metrics = PPOTrainer._val_metrics_update(None, [one for one, _ in rows], list("abcd"), infos, [])
    assert metrics[f"val-core/{SOURCES[0]}/acc/mean@1"] == 0.5, "acc is what verl takes for the core metric"
    found = {key: [metrics[f"val-aux/{source}/{key}/mean@1"] for source in SOURCES] for key in KEYS if key != "acc"}
    assert found == {"score": [0.5, 0.0], "format": [1.0, 0.0], "tool_name": [1.0, 0.5], "arguments": [0.5, 0.5]}


def test_the_diagnostics_reach_the_dumps_and_score_reads_them(tmp_path, capsys):
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    from tooln1.cli import main

    outputs = [called(ONE), called(f(2)), called(UNICODE)]
    scores = [judge(response) for response in outputs]
    infos = {key: np.array([one[key] for one in scores]) for key in KEYS}
    for step in (9, 10):
        PPOTrainer._write_generations(["?"] * 3, outputs, [ONE] * 3, [1.0, 0.0, 0.0], infos, str(tmp_path), step)
    written = [json.loads(line) for line in (tmp_path / "9.jsonl").read_text().splitlines()]
    assert [{key: one[key] for key in KEYS} for one in written] == scores
    capsys.readouterr()
    main(["score", str(tmp_path), "--output", str(tmp_path / "out.jsonl")])
    printed = capsys.readouterr().out
    assert printed.index("step 9") < printed.index("step 10") < printed.index("wrong arguments")
    again = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [{key: one[key] for key in KEYS} for one in again] == scores * 2
