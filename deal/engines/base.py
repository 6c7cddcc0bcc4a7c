"""The base of all engines: checks of images, conversion to the network's input, and to logits."""

from __future__ import annotations

import hashlib
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deal.engines.probing import compare_runs, examine
from deal.errors import ModelError, UsageError
from deal.model.dropout import Masks, keep_all
from deal.model.placing import nearest_multiple
from deal.model.spec import ModelSpec
from deal.types import EngineOutput

__all__ = [
    "PROBABILITY_FLOORS",
    "Engine",
    "HostEngine",
    "Images",
    "as_numpy",
    "on_host",
    "parse_device",
]

Images = NDArray[np.uint8] | Sequence[NDArray[np.uint8]]
"""uint8 [B, H, W, 3], or a sequence of [H, W, 3] of one size."""

PROBABILITY_FLOORS = {np.dtype(np.float32): 2.0**-126, np.dtype(np.float16): 2.0**-24}
"""Smallest probability by the network's dtype; lower ones are raised to it before the logarithm.

It is the smallest number of the dtype (without float32's subnormals, which some processors flush to
0), so logits reach down to -87.3 or -16.6.
"""

_PROBE_SIZE = 128
_TAKEN = 2**16  # pixels


def parse_device(device: str) -> tuple[str, int]:
    """Return kind (``auto``, ``cpu``, ``cuda``) and index of a device; UsageError otherwise."""
    match = re.fullmatch(r"(auto|cpu|cuda)(?::(\d+))?", device)
    if match is None or (match[2] and match[1] != "cuda"):
        raise UsageError(f"device {device!r} is unknown; use auto, cpu, cuda or cuda:<index>")
    return match[1], int(match[2] or 0)


def on_host(output: EngineOutput) -> EngineOutput:
    """Return an output as NumPy arrays; waits for the device."""
    arrays = output.logits, output.difficulty, output.embedding
    return EngineOutput(*map(as_numpy, arrays))


def as_numpy(array: Any) -> Any:
    """Return an array of an output (or None) on the host; waits for the device."""
    return array.to_host() if hasattr(array, "to_host") else array


class Engine(ABC):
    """Runs one network on one device; not to be shared between threads.

    Subclasses implement :meth:`_run` and trust their input.

    Attributes
    ----------
    spec : ModelSpec
    device : str
        The device in use: ``cpu`` or ``cuda:<index>``.
    embedding_size : int or None
        E, after :meth:`probe` has run; None without an embedding.
    batch : int or None
        The fixed number of images that run together; None means any number.
    dtype : numpy.dtype or None
        Dtype of the network's output, after :meth:`probe` has run.
    on_device : bool
        Whether outputs stay on a device, as :class:`deal.engines.device.DeviceArray`.
    precision : str or None
        The precision in which the network is computed: that of the file, unless the engine was told
        another one that it has; None if the file does not record its own.
    doubts : tuple of str
        Findings of :meth:`probe` that may be unintended, one sentence each.
    """

    name: ClassVar[str]
    batch: int | None = None
    dtype: np.dtype[Any] | None = None
    on_device: bool = False
    doubts: tuple[str, ...] = ()

    def __init__(self, spec: ModelSpec, device: str) -> None:
        self.spec = spec
        self.device = device
        self.precision = spec.precision
        self.embedding_size: int | None = None
        self._seconds = 0.0
        self._keep_all = keep_all(spec.dropout)
        self._reversed = spec.input_format.endswith(("bgr", "bgr8"))
        self._levels: NDArray[Any] | None = None
        if spec.mean is not None and spec.std is not None:
            unit = np.arange(256)[None, :] / 255.0
            levels = (unit - np.array(spec.mean)[:, None]) / np.array(spec.std)[:, None]
            self._levels = levels.astype(spec.input_dtype)

    def infer(self, images: Images, masks: Masks | None = None) -> EngineOutput:
        """Run the network on a batch.

        Parameters
        ----------
        images : ndarray of uint8 [B, H, W, 3], or sequence of [H, W, 3]
            RGB at the network's input size (:func:`deal.model.spec.raster_size`).
        masks : tuple of ndarray of float32 [1, C, 1, 1], optional
            Masks of the layers in ``spec.dropout``; without masks nothing is dropped.

        Returns
        -------
        EngineOutput
            Logits [B, C, h, w] in the network's dtype. The output of a CUDA device stays there
            (:mod:`deal.engines.device`). Some outputs are converted on the host: probabilities to
            their logarithms (see ``PROBABILITY_FLOORS``), a sigmoid to the logits [0, z], float64
            and bfloat16 to float32, channels last to a view.

        Raises
        ------
        UsageError
            The network does not take this shape or dtype.
        ModelError
            The network cannot run on such a batch.
        """
        begin = time.perf_counter()
        spec, first = self.spec, images[0] if len(images) else np.empty((0, 0, 3), np.uint8)
        if first.dtype != np.uint8 or first.ndim != 3 or first.shape[2] != 3 or not first.size:
            raise UsageError(
                f"engines take uint8 [B, H, W, 3], not {first.dtype} {[len(images), *first.shape]}"
            )
        size = first.shape[0], first.shape[1]
        if spec.input_size not in (None, size) or any(n % spec.size_multiple for n in size):
            raise UsageError(f"the network does not take images of {size[0]}×{size[1]} (H×W)")
        raw = self._run(images, self._keep_all if masks is None else masks)
        if len(raw.logits) != len(images):
            raise ModelError(
                f"model {spec.path} gives {len(raw.logits)} maps for a batch of {len(images)}: "
                "re-export it with a dynamic batch, or set the model option batch to its batch size"
            )
        if self.spec.gives_logits:
            output = raw
        else:
            output = EngineOutput(
                self._to_logits(self._as_float(raw.logits)),
                self._as_float(raw.difficulty),
                raw.embedding,
            )
        self._seconds += time.perf_counter() - begin
        return output

    def take_seconds(self) -> dict[str, float]:
        """Seconds by stage since the last call; waits for work on a device."""
        seconds, self._seconds = self._seconds, 0.0
        return {"network": seconds}

    def probe(self) -> None:
        """Run the network twice on the same noise and check its outputs against the contract.

        Raises
        ------
        ModelError
            The network does not run, shapes do not fit, the outputs are random, or the graph ends
            in argmax, softmax or a sigmoid (:mod:`deal.engines.probing`).
        """
        try:
            noise = self.noise(self.spec.batch or 1)
            raw, again = (self._probed(noise) for _ in range(2))
        except MemoryError as error:
            raise ModelError(
                f"model {self.spec.path}: not enough memory for an input of "
                f"{list(self.spec.input_size or ())} (H×W): set input_size to the size of your "
                "images"
            ) from error
        self.doubts = (*examine(self.spec, raw, len(noise)), *compare_runs(self.spec, raw, again))
        self.dtype = raw.logits.dtype
        if raw.embedding is not None:
            self.embedding_size = raw.embedding.shape[1]

    def _probed(self, noise: NDArray[np.uint8]) -> EngineOutput:
        raw = on_host(self._run(noise, self._keep_all))
        return EngineOutput(
            self._as_float(raw.logits), self._as_float(raw.difficulty), raw.embedding
        )

    def lane(self) -> Engine | None:
        """The same loaded network for another thread; None if it must be loaded once more."""
        return None

    def noise(self, count: int) -> NDArray[np.uint8]:
        """Noise images [count, H, W, 3] of a size that the network takes; always the same ones."""
        spec = self.spec
        side = nearest_multiple(_PROBE_SIZE, spec.size_multiple)
        shape = (count, *(spec.input_size or (side, side)), 3)
        noise = hashlib.shake_256().digest(prod(shape))  # importing NumPy's takes 10 ms
        return np.frombuffer(noise, np.uint8).reshape(shape).copy()

    def needed_entries(self) -> tuple[tuple[str, str], ...]:
        """Entries of ONNX Runtime's sessions, key and value, without which logits are others.

        Tried on noise; empty if a session as its makers open it gives the same bits, and for
        engines that have no such session.
        """
        return ()

    def own_numbers(self) -> dict[str, Any]:
        """What the engine, and not the file, decides of stored numbers, as JSON; usually nothing.

        Results with different entries are not mixed. Engines that agree within rounding have none.
        """
        return {} if self.precision == self.spec.precision else {"precision": self.precision}

    @abstractmethod
    def _run(self, images: Images, masks: Masks) -> EngineOutput:
        """Run images [B, H, W, 3] and return the network's unconverted outputs."""

    def _input_shape(self, images: Images) -> tuple[int, ...]:
        """Shape of the network's input for these images."""
        height, width, channels = images[0].shape
        if self.spec.input_layout == "nhwc":
            return len(images), height, width, channels
        return len(images), channels, height, width

    def _as_taken(self, image: NDArray[np.uint8]) -> bool:
        """Whether the network can take the image without a conversion."""
        spec = self.spec
        is_alike = spec.input_dtype == image.dtype and spec.input_layout == "nhwc"
        # PyTorch warns about read-only memory.
        is_usable = image.flags.c_contiguous and image.flags.writeable
        return is_alike and not self._reversed and is_usable

    def _prepare(self, images: Images, out: NDArray[Any]) -> None:
        """Write images to ``out`` in the format of the network's input."""
        if self.spec.input_layout == "nchw":
            out = out.transpose(0, 2, 3, 1)
        for image, target in zip(images, out, strict=True):
            source = image[..., ::-1] if self._reversed else image
            if self._levels is None:
                np.copyto(target, source)
                continue
            # Each channel has 256 levels, so a table computed in double gives every pixel's value.
            # NumPy makes indices 8 bytes wide, so only a few rows are taken at a time.
            rows = max(_TAKEN // max(source.shape[1], 1), 1)
            for top in range(0, len(source), rows):
                part = source[top : top + rows]
                for channel, levels in enumerate(self._levels):
                    into = target[top : top + rows, :, channel]
                    np.take(levels, part[..., channel], out=into, mode="clip")

    def _as_float(self, array: Any) -> Any:
        """Return maps as float32 or float16, channels first; None and other arrays unchanged."""
        if array is None or array.ndim != 4:
            return array
        if array.dtype == np.float64:
            with np.errstate(over="ignore"):  # the kernel counts values that become infinite
                array = array.astype(np.float32)
        return array if self.spec.output_layout == "nchw" else np.moveaxis(array, 3, 1)

    def _to_logits(self, raw: NDArray[Any]) -> NDArray[Any]:
        is_sigmoid = self.spec.activation == "sigmoid"
        if self.spec.output_kind == "probabilities":
            p = raw.astype(np.float32)
            floor, step = PROBABILITY_FLOORS[raw.dtype], np.finfo(raw.dtype).epsneg
            raw = np.log(np.maximum(p, np.float32(floor)))
            if is_sigmoid:
                raw -= np.log(np.maximum(1 - p, np.float32(step)))
        if is_sigmoid:
            raw = np.concatenate([np.zeros_like(raw), raw], axis=1)
        return raw


class HostEngine(Engine):
    """An engine that takes batches of any size and returns NumPy arrays.

    Subclasses implement :meth:`_infer` and trust their input.
    """

    @abstractmethod
    def _infer(self, batch: NDArray[Any], masks: Masks) -> EngineOutput:
        """Run a batch in the network's format and return its unconverted outputs."""

    def _prepared(self, images: Images) -> NDArray[Any]:
        if len(images) == 1 and self._as_taken(images[0]):
            return images[0][None]
        batch = np.empty(self._input_shape(images), self.spec.input_dtype)
        self._prepare(images, batch)
        return batch

    def _run(self, images: Images, masks: Masks) -> EngineOutput:
        batch, fixed = self._prepared(images), self.spec.batch
        if fixed is None or fixed == len(batch):
            return self._infer(batch, masks)
        parts = []
        for start in range(0, len(batch), fixed):
            part = batch[start : start + fixed]
            filled = np.resize(part, (fixed, *part.shape[1:]))
            parts.append((self._infer(filled, masks), len(part)))

        def joined(arrays: list[tuple[Any, int]]) -> Any:
            if arrays[0][0] is None:
                return None
            return np.concatenate([array[:count] for array, count in arrays])

        return EngineOutput(
            joined([(out.logits, count) for out, count in parts]),
            joined([(out.difficulty, count) for out, count in parts]),
            joined([(out.embedding, count) for out, count in parts]),
        )
