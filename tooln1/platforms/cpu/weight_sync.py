"""How vLLM's CPU worker takes the actor's weights.

Set by rollout.engine_kwargs.vllm.worker_extension_cls, an extension point of verl and vLLM.
"""

from verl.workers.rollout.vllm_rollout.bucketed_weight_transfer import BucketedWeightReceiver
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension

from tooln1.platforms.cpu.verl_patches import with_raylet


class CPUWorkerExtension(vLLMColocateWorkerExtension):
    """verl's worker extension, with a weight update that suits vLLM's CPU kernels."""

    def _get_zmq_handle(self) -> str:
        return with_raylet(super()._get_zmq_handle())

    def update_weights_from_ipc(self, peft_config: dict = None, base_sync_done: bool = False, use_shm: bool = True):
        """Replace the model's weights by those that the actor sends.

        vLLM repacks linear weights for its CPU kernels after loading, so verl's loading in place finds tensors of
        another shape. The model runner's reload_weights restores, loads and repacks them.
        """
        weights = {}

        def keep(bucket, is_last: bool) -> None:
            # The bucket's memory is reused after this call, and Tensor.to("cpu") did not copy it.
            weights.update((name, tensor.clone()) for name, tensor in bucket)

        receiver = BucketedWeightReceiver(zmq_handle=self._get_zmq_handle(), device=self.device, use_shm=use_shm)
        receiver.receive_weights(on_bucket_received=keep)
        self.model_runner.reload_weights(weights_iterator=iter(weights.items()))
