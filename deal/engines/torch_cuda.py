"""PyTorch on CUDA: run checkpoints of ``deal train`` in float32 and leave logits on the device.

Every lane launches on its own stream. TF32 is switched off for the whole process, which is the only
way in PyTorch, so that fp32 means fp32, as with ONNX Runtime. For speed, export the model in fp16.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from deal.engines.base import parse_device
from deal.engines.device import DeviceArray, DeviceEngine, check_kernels
from deal.engines.torch import RgbNetwork, module_spec, not_run
from deal.errors import EngineUnavailableError

__all__ = ["TorchCudaEngine", "cuda_index"]

_OUTPUTS = ("logits", "embedding")


class TorchCudaEngine(DeviceEngine):
    """Runs a network on a CUDA device.

    Parameters
    ----------
    network : RgbNetwork
        The network, which is put into evaluation mode and moved to the device.
    metadata : mapping
        The model contract of the network.
    path : Path
        Name of the network in errors.
    index : int
        Index of the device.
    options
        As in :func:`deal.engines.open_engine`.
    batch : int, optional
        As in :class:`deal.engines.device.DeviceEngine`.
    """

    name = "torch"

    def __init__(
        self,
        network: RgbNetwork,
        metadata: Mapping[str, Any],
        path: Path,
        index: int = 0,
        options: Mapping[str, Any] | None = None,
        batch: int | None = None,
    ) -> None:
        super().__init__(module_spec(network, metadata, path, options), index, batch)
        torch.backends.cudnn.allow_tf32 = False
        self._network = network.eval().to(self.device)

    def _bind(
        self, inputs: Mapping[str, DeviceArray]
    ) -> tuple[Mapping[str, DeviceArray], Callable[[], None]]:
        image, *masks = (torch.as_tensor(array, device=self.device) for array in inputs.values())

        @torch.inference_mode()
        def run() -> tuple[torch.Tensor, ...]:
            try:
                found = self._network(image, tuple(masks))
            except RuntimeError as error:
                raise not_run(image.shape, error) from error
            return (found,) if isinstance(found, torch.Tensor) else found

        external: Any = torch.cuda.ExternalStream  # the stub has no types
        stream = external(self.network_stream.cuda_stream, device=self.device)
        with torch.cuda.stream(stream):
            found = run()
        outputs = {
            name: DeviceArray.empty(tuple(value.shape), "float32", self.stream)
            for name, value in zip(_OUTPUTS, found, strict=False)
        }
        targets = [torch.as_tensor(array, device=self.device) for array in outputs.values()]

        def launch() -> None:
            with torch.cuda.stream(stream):
                for target, value in zip(targets, run(), strict=True):
                    target.copy_(value)

        return outputs, launch


def cuda_index(device: str) -> int | None:
    """Index of the CUDA device to run on; None for the CPU. ``auto`` takes one that PyTorch finds.

    Raises
    ------
    UsageError
        The name of the device is unknown.
    EngineUnavailableError
        PyTorch does not find the device, or this build has no CUDA kernels.
    """
    kind, index = parse_device(device)
    count = torch.cuda.device_count()
    if kind == "cpu" or (kind == "auto" and not count):
        return None
    if index >= count:
        raise EngineUnavailableError(
            f"device {device}: PyTorch {torch.__version__} sees {count} CUDA devices; install a "
            "CUDA build of torch and a driver, or use --device cpu"
        )
    check_kernels(device)
    return index
