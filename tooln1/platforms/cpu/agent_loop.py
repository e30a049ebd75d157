"""verl's agent loop workers with one agent loop object for all prompts.

Set by rollout.agent.agent_loop_manager_class, verl's extension point. verl builds an agent loop for every rollout
through hydra.utils.instantiate, several milliseconds each: with a tiny model a quarter of the generation time.
"""

import copy
from types import SimpleNamespace

import hydra
import ray
from verl.experimental.agent_loop.agent_loop import DictConfigWrap, ToolListWrap, _agent_loop_registry
from verl.experimental.reward_loop.reward_loop import RewardLoopWorker
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ, AgentLoopWorkerTQ


class CachingAgentLoopWorker(AgentLoopWorkerTQ.__ray_metadata__.modified_class):
    """verl's worker; each rollout runs on a shallow copy of its agent loop's first object. No rollout tracing.

    With reward.num_workers=0 it computes the reward itself.
    """

    def __init__(self, config, llm_client, teacher_client=None, reward_loop_worker_handles=None):
        if reward_loop_worker_handles == []:
            reward_loop_worker_handles = [_InThisProcess(RewardLoopWorker(config))]
        super().__init__(config, llm_client, teacher_client, reward_loop_worker_handles)

    async def _run_agent_loop(self, sampling_params, trajectory, *, agent_name, trace=True, **kwargs):
        agent_loop = copy.copy(self._prototype(agent_name))
        output = await agent_loop.run(sampling_params, **kwargs)
        return await self._agent_loop_postprocess(output, trajectory["validate"], **kwargs)

    def _prototype(self, agent_name: str):
        known = self.__dict__.setdefault("_prototypes", {})
        if agent_name not in known:
            known[agent_name] = hydra.utils.instantiate(
                config=_agent_loop_registry[agent_name],
                trainer_config=DictConfigWrap(config=self.config),
                server_manager=self.llm_client,
                tokenizer=self.tokenizer,
                processor=self.processor,
                hf_model_type=self.hf_model_type,
                dataset_cls=self.dataset_cls,
                data_config=DictConfigWrap(self.config.data),
                tools=ToolListWrap(self.tools),
            )
        return known[agent_name]


class _InThisProcess:
    """Stands for the Ray handle of an actor of which only compute_score is called."""

    def __init__(self, worker: RewardLoopWorker):
        self.compute_score = SimpleNamespace(remote=worker.compute_score)


class CachingAgentLoopManager(AgentLoopManagerTQ):
    """AgentLoopManagerTQ that starts CachingAgentLoopWorker actors."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.agent_loop_workers_class = ray.remote(CachingAgentLoopWorker)
