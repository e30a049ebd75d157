"""The advantages on the page are verl's own."""

import numpy
import pytest
from verl_run import rollout, write_lines

from tooln1.report.data_sources import DataSources
from tooln1.report.dumps import DumpSettings, read_dump

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("scores", [[1.0, 0.0, 0.0, 1.0, 0.0], [0.2, 1.0, 0.0], [0.0, 0.0], [1.0]])
@pytest.mark.parametrize("by_std", [True, False])
def test_advantages_are_verls(scores, by_std, tmp_path):
    from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage

    rewards = torch.tensor(scores).unsqueeze(1)
    theirs, _ = compute_grpo_outcome_advantage(
        rewards, torch.ones_like(rewards), numpy.array(["a"] * len(scores)), norm_adv_by_std_in_grpo=by_std
    )
    rows = [rollout("", "[]", uid=f"a_{number}_0", score=score) for number, score in enumerate(scores)]
    write_lines(tmp_path / "1.jsonl", rows)
    dump = read_dump(tmp_path / "1.jsonl", DumpSettings(by_std=by_std), DataSources())
    ours = [one["advantage"] for one in dump.shown[0]["rollouts"]]
    assert ours == pytest.approx(theirs[:, 0].tolist(), abs=1e-5)
