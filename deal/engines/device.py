"""The base of engines on a CUDA device: images are copied there, and outputs stay there.

An engine is a *lane*: memory for one batch, and a stream on which images are copied to the device
(through pinned memory) and outputs are processed. Several lanes share one loaded network
(:meth:`DeviceEngine.lane`), each for its own thread, so that one batch is copied and scored while
the network runs on another.
"""

from __future__ import annotations

import copy
import threading
from abc import abstractmethod
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from deal import _native
from deal.engines.base import Engine, Images, on_host
from deal.errors import EngineUnavailableError
from deal.model.dropout import Masks
from deal.model.spec import ModelSpec
from deal.types import EngineOutput

__all__ = ["DEFAULT_BATCH", "DeviceArray", "DeviceEngine", "check_kernels"]

DEFAULT_BATCH = 32
"""Number of images in a batch on a device."""

# Number of batches whose times take_seconds() can return.
_TIMED = 64

# Number of input sizes whose memory a lane keeps; with more, each change allocates memory anew.
_SIZES = 4


def check_kernels(device: str) -> None:
    """Raise EngineUnavailableError if this build has no CUDA kernels."""
    if "cuda=yes" not in _native.build_info():
        raise EngineUnavailableError(
            f"device {device}: this build of deal has no CUDA kernels, so it cannot score on the "
            "device: install deal-score again from source with DEAL_CUDA=1 and nvcc on PATH, or "
            "use --device cpu"
        )


class DeviceArray:
    """A C-contiguous array on a CUDA device, which keeps its memory alive.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    address : int
        Address of the first element on the device.
    stream : deal._native.Stream
        The stream on which the array is written. Work launched there later sees the values; other
        streams must wait (``__cuda_array_interface__`` names the stream).
    """

    def __init__(
        self,
        memory: _native.DeviceMemory,
        shape: Sequence[int],
        dtype: DTypeLike,
        stream: _native.Stream,
    ) -> None:
        self._memory = memory
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        self.stream = stream
        self.address = memory.address

    @classmethod
    def empty(cls, shape: Sequence[int], dtype: DTypeLike, stream: _native.Stream) -> DeviceArray:
        """Take memory on the stream's device; its content is undefined."""
        size = prod(shape) * np.dtype(dtype).itemsize
        return cls(_native.DeviceMemory(stream.device, size), shape, dtype, stream)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "version": 3,
            "stream": self.stream.cuda_stream,
        }

    def __len__(self) -> int:
        return self.shape[0]

    def first(self, rows: int) -> DeviceArray:
        """The first rows, in the same memory."""
        return self.seen_as((rows, *self.shape[1:]), self.dtype)

    def seen_as(self, shape: Sequence[int], dtype: DTypeLike) -> DeviceArray:
        """The beginning of the same memory, as an array of another shape and dtype."""
        return DeviceArray(self._memory, shape, dtype, self.stream)

    def put(self, index: int, array: DeviceArray) -> None:
        """Copy an array to index ``index`` of the first dimension, in the order of both streams."""
        _follow(array.stream, self.stream)  # earlier readers of this array must finish first
        array.stream.copy(self.address + index * array.nbytes, array.address, array.nbytes)
        _follow(self.stream, array.stream)

    def to_host(self) -> NDArray[Any]:
        """Copy the array to the host; waits for the stream."""
        values = np.empty(self.shape, self.dtype)
        self.stream.copy(values.ctypes.data, self.address, self.nbytes)
        self.stream.synchronize()
        return values


@dataclass(frozen=True, slots=True)
class _Buffers:
    """The memory of one lane for images of one size."""

    staged: Mapping[str, NDArray[Any]]  # pinned memory, by input name
    inputs: Mapping[str, DeviceArray]
    outputs: Mapping[str, DeviceArray]  # logits, and difficulty and embedding if there are any
    launch: Callable[[], None]
    copied: _native.Event


class DeviceEngine(Engine):
    """Runs batches of one fixed size on a CUDA device; smaller batches are padded.

    The arrays of a batch stay on the device, in memory that the lane's next batch overwrites: work
    on them must be done, or launched on :attr:`stream`, before then. Probabilities and sigmoid
    outputs are converted on the host, so these outputs and their difficulty are copied there.

    Parameters
    ----------
    spec : ModelSpec
    index : int
        Index of the device.
    batch : int, optional
        Images that run together; a graph with a fixed batch decides it. ``DEFAULT_BATCH`` by
        default.

    Attributes
    ----------
    batch : int
    stream : deal._native.Stream
        The lane's stream, which copies images and processes outputs.
    network_stream : deal._native.Stream
        The stream on which the network runs; the lane's stream unless a subclass shares one.
    """

    batch: int

    def __init__(self, spec: ModelSpec, index: int, batch: int | None = None) -> None:
        super().__init__(spec, f"cuda:{index}")
        try:
            _native.Context(1, cuda=index)  # fails if this build has no code for this GPU
        except OSError as error:
            raise EngineUnavailableError(f"device {self.device}: {error}") from error
        self.batch = spec.batch or batch or DEFAULT_BATCH
        self.on_device = spec.gives_logits
        self._index = index
        self._turn = threading.Lock()  # one lane at a time uses the network
        self._open_lane()
        self.network_stream = self.stream

    def lane(self) -> DeviceEngine:
        """The same loaded network for another thread, with its own stream and memory."""
        twin = copy.copy(self)
        twin._open_lane()
        if self.network_stream is self.stream:
            twin.network_stream = twin.stream
        return twin

    @abstractmethod
    def _bind(
        self, inputs: Mapping[str, DeviceArray]
    ) -> tuple[Mapping[str, DeviceArray], Callable[[], None]]:
        """Return the outputs for inputs at these addresses, and a function that runs the network.

        Outputs are called ``logits``, ``difficulty`` and ``embedding``, the latter two if the graph
        has them. The function launches the network on ``network_stream``, from the inputs into the
        outputs, and may return before it is done. This method is called once per lane and input
        size. Neither it nor the function ever runs in two lanes at once.
        """

    def take_seconds(self) -> dict[str, float]:
        """Seconds since the last call; waits for the network.

        ``staging`` is the time of the host for writing images to pinned memory and launching;
        ``transfer`` and ``network`` are measured on the device, for the last batches.
        """
        staging, self._seconds = self._seconds, 0.0
        transfer = network = 0.0
        while self._runs:
            begin, copied, started, done = self._runs.popleft()
            done.synchronize()
            transfer += copied.milliseconds_since(begin) / 1000
            network += done.milliseconds_since(started) / 1000
        return {"staging": staging, "transfer": transfer, "network": network}

    def _open_lane(self) -> None:
        self._seconds = 0.0
        self._runs: deque[list[_native.Event]] = deque(maxlen=_TIMED)
        self.stream = _native.Stream(self._index)
        self._kept: OrderedDict[tuple[int, int], _Buffers] = OrderedDict()

    def _run(self, images: Images, masks: Masks) -> EngineOutput:
        run = self._run_batch if len(images) <= self.batch else self._run_batches
        try:
            output = run(images, masks)
        except MemoryError as error:
            raise EngineUnavailableError(
                f"device {self.device} has no memory left for batches of {self.batch} images of "
                f"{images[0].shape[0]}×{images[0].shape[1]} (H×W): use a smaller --batch-size, or "
                "--sessions 1"
            ) from error
        except OSError as error:
            raise EngineUnavailableError(f"device {self.device} failed: {error}") from error
        return output if self.on_device else on_host(output)

    def _run_batches(self, images: Images, masks: Masks) -> EngineOutput:
        """Run images in several batches and join the outputs on the device."""
        whole: dict[str, DeviceArray] = {}
        for start in range(0, len(images), self.batch):
            output = self._run_batch(images[start : start + self.batch], masks)
            for name in ("logits", "difficulty", "embedding"):
                part = getattr(output, name)
                if part is None:
                    continue
                if name not in whole:
                    shape = len(images), *part.shape[1:]
                    whole[name] = DeviceArray.empty(shape, part.dtype, self.stream)
                to = whole[name].address + start * (part.nbytes // len(part))
                self.stream.copy(to, part.address, part.nbytes)
        return _output(whole)

    def _run_batch(self, images: Images, masks: Masks) -> EngineOutput:
        count, spec = len(images), self.spec
        buffers = self._buffers(images)
        buffers.copied.synchronize()  # the last batch has left the pinned memory
        staged = buffers.staged[spec.input_name]
        self._prepare(images, staged[:count])
        staged[count:] = staged[0]
        for layer, mask in zip(spec.dropout, masks, strict=True):
            np.copyto(buffers.staged[layer.input], mask)
        run = begin, copied, started, done = [
            _native.Event(self._index, timing=True) for _ in range(4)
        ]
        begin.record(self.stream)
        for name, source in buffers.staged.items():
            target = buffers.inputs[name]
            self.stream.copy(target.address, source.ctypes.data, target.nbytes)
        copied.record(self.stream)
        buffers.copied.record(self.stream)
        # Wait for the lane's stream: work there may read outputs that the network will overwrite.
        with self._turn:
            self.network_stream.wait(copied)
            started.record(self.network_stream)
            buffers.launch()
            done.record(self.network_stream)
        self.stream.wait(done)
        self._runs.append(run)
        found = buffers.outputs
        if any(len(array) != self.batch for array in found.values()):
            return _output(found)  # the caller knows the right number of images and refuses it
        return _output({name: array.first(count) for name, array in found.items()})

    def _buffers(self, images: Images) -> _Buffers:
        size = images[0].shape[0], images[0].shape[1]
        if size not in self._kept:
            while len(self._kept) >= _SIZES:
                self._kept.popitem(last=False)
            self._kept[size] = self._new_buffers(images)
        self._kept.move_to_end(size)
        return self._kept[size]

    def _new_buffers(self, images: Images) -> _Buffers:
        spec = self.spec
        shape = self.batch, *self._input_shape(images)[1:]
        staged = {spec.input_name: self._pinned(shape, spec.input_dtype)}
        for layer in spec.dropout:
            staged[layer.input] = self._pinned((1, layer.channels, 1, 1), np.float32)
        inputs = {
            name: DeviceArray.empty(array.shape, array.dtype, self.stream)
            for name, array in staged.items()
        }
        with self._turn:
            outputs, launch = self._bind(inputs)
        return _Buffers(staged, inputs, outputs, launch, _native.Event(self._index))

    def _pinned(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        size = prod(shape) * np.dtype(dtype).itemsize
        memory = _native.PinnedMemory(self._index, size)
        return np.frombuffer(memoryview(memory), np.dtype(dtype), prod(shape)).reshape(shape)


def _follow(later: _native.Stream, earlier: _native.Stream) -> None:
    """Make later work of one stream wait for the present work of another."""
    if later is not earlier:
        event = _native.Event(earlier.device)
        event.record(earlier)
        later.wait(event)


def _output(arrays: Mapping[str, DeviceArray]) -> EngineOutput:
    return EngineOutput(arrays["logits"], arrays.get("difficulty"), arrays.get("embedding"))
