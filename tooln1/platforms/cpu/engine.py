"""verl's FSDP engine for the CPU: registered for device "cpu", and without the reference policy's pinned memory."""

import dataclasses

from verl.workers.engine.base import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

import tooln1.platforms.cpu.attention  # noqa: F401  (importing it registers it)


# Only fsdp2: FSDP1 refuses modules on the CPU.
@EngineRegistry.register(model_type="language_model", backend="fsdp2", device="cpu")
class CPUFSDPEngineWithLMHead(FSDPEngineWithLMHead):
    """FSDP2 over gloo, float32 or bfloat16."""

    def _build_module(self):
        """Build the model; its configuration forgets override_config.attn_implementation once it is applied.

        verl would write it into every checkpoint, and sdpa_varlen is a name that only this platform knows.
        """
        vars(self.model_config.hf_config).pop("attn_implementation", None)
        return super()._build_module()

    def _build_fsdp_module(self, module):
        """Shard ``module``; a forward-only one too is sharded like the actor.

        verl gives a forward-only engine CPUOffloadPolicy(pin_memory=True). There is nothing to offload here, and
        pinning fails without an accelerator.
        """
        engine_config = self.engine_config
        self.engine_config = dataclasses.replace(engine_config, forward_only=False, offload_policy=False)
        try:
            return super()._build_fsdp_module(module)
        finally:
            self.engine_config = engine_config
