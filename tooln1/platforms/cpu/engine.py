"""verl's FSDP engine for the CPU: registered for device "cpu", without pinned memory for the reference policy."""

import dataclasses

from verl.workers.engine.base import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

import tooln1.platforms.cpu.attention  # noqa: F401  (importing it registers it)


# Only fsdp2: FSDP1 refuses modules on the CPU.
@EngineRegistry.register(model_type="language_model", backend="fsdp2", device="cpu")
class CPUFSDPEngineWithLMHead(FSDPEngineWithLMHead):
    """FSDP2 over gloo, in float32 or bfloat16."""

    def _build_module(self):
        """Build the model without override_config.attn_implementation in its configuration.

        verl has applied the setting already, and would write it into every checkpoint. Only this platform knows the
        name sdpa_varlen.
        """
        vars(self.model_config.hf_config).pop("attn_implementation", None)
        return super()._build_module()

    def _build_fsdp_module(self, module):
        """Shard ``module``, the reference policy's like the actor's.

        verl gives a forward-only engine CPUOffloadPolicy(pin_memory=True). Without an accelerator there is nothing to
        offload, and pinning fails.
        """
        engine_config = self.engine_config
        self.engine_config = dataclasses.replace(engine_config, forward_only=False, offload_policy=False)
        try:
            return super()._build_fsdp_module(module)
        finally:
            self.engine_config = engine_config
