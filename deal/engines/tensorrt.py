"""TensorRT on CUDA: an engine is built once per model and machine; outputs stay on the device.

Every lane has an execution context on its own stream. Shapes and addresses of a lane are fixed, so
its run is captured as a CUDA graph once and the graph is launched from then on. The precision is
that of the ONNX file, since the network is strongly typed.

API: https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/python-api/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from deal import _native
from deal.engines.device import DeviceArray, DeviceEngine
from deal.engines.tensorrt_cache import EngineCache, NotUsableError
from deal.engines.tensorrt_library import Messages, import_tensorrt, log
from deal.errors import ModelError
from deal.model.spec import read_spec

__all__ = ["TensorRTEngine"]

_PLANS = (".engine", ".plan", ".trt")
_MACHINE = Path("/etc/machine-id")
_DRIVER = Path("/sys/module/nvidia/version")


class TensorRTEngine(DeviceEngine):
    """One engine on a CUDA device, which all lanes share.

    Parameters
    ----------
    path, options
        As in :func:`deal.engines.open_engine`; the model is ONNX.
    index : int
        Index of the device (:func:`deal.engines.tensorrt_library.tensorrt_device`).
    batch : int, optional
        As in :class:`deal.engines.device.DeviceEngine`. Each batch size has its own engine.
    cache : EngineCache, optional
        The cache of built engines.

    Raises
    ------
    ModelError
        The model is not an ONNX file, takes images of any size, or TensorRT cannot build or run it.
    EngineUnavailableError
        TensorRT is missing, or the cache cannot be used.
    """

    name = "trt"

    def __init__(
        self,
        path: Path,
        index: int = 0,
        options: Mapping[str, Any] | None = None,
        batch: int | None = None,
        cache: EngineCache | None = None,
    ) -> None:
        if path.suffix in _PLANS:
            raise ModelError(
                f"{path} is a TensorRT engine, which is executable code: give the ONNX model; an "
                "engine is then built and kept on this machine"
            )
        spec = read_spec(path, options)
        if spec.input_size is None:
            raise ModelError(
                f"model {path} takes images of any size, but an engine is built for one size: give "
                "the model option input_size, such as --model-option input_size=[360,480]"
            )
        super().__init__(spec, index, batch)
        self._trt = import_tensorrt()
        self._messages = Messages(self._trt)
        with _current(index):
            with self._messages.starting():
                self._runtime = self._trt.Runtime(self._messages.logger)
            self._engine = self._stored_or_built(cache or EngineCache())
        self._roles = {name: role for role, name in spec.output_names.items()}

    # ---- the engine ---------------------------------------------------------------------------

    def _stored_or_built(self, cache: EngineCache) -> Any:
        from deal.export.tensorrt import build_engine, build_settings

        shapes = self._profiles()
        properties = _native.device_properties(self._index)
        facts = {
            "model": self.spec.digest(),
            "tensorrt": self._trt.__version__,
            "gpu": properties["name"],
            "compute_capability": ".".join(map(str, properties["compute_capability"])),
            "driver": _read(_DRIVER) or ".".join(map(str, properties["driver"])),
            "machine": _read(_MACHINE),
            "inputs": {
                name: [profile.minimum, profile.optimum, profile.maximum]
                for name, profile in shapes.items()
            },
            "settings": build_settings(),
        }
        return cache.get(
            facts,
            self._deserialized,
            lambda: build_engine(
                self.spec.path,
                shapes,
                precision=self.spec.precision,
                timing_cache=cache.timing_cache(facts),
            ),
            log.warning,
            name=self.spec.path.name,
        )

    def _profiles(self) -> dict[str, Any]:
        """Shapes of the inputs; if the graph allows it, batches of 1 up to this engine's batch."""
        from deal.export.tensorrt import InputProfile

        shape = self._input_shape(self.noise(1))[1:]
        fewest = self.spec.batch or 1
        most = (self.batch, *shape)
        profiles = {self.spec.input_name: InputProfile((fewest, *shape), most, most)}
        for layer in self.spec.dropout:
            mask = (1, layer.channels, 1, 1)
            profiles[layer.input] = InputProfile(mask, mask, mask)
        return profiles

    def _deserialized(self, plan: bytes) -> Any:
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise NotUsableError(self._messages.take() or "TensorRT gives no reason")
        return engine

    # ---- a lane -------------------------------------------------------------------------------

    def _bind(
        self, inputs: Mapping[str, DeviceArray]
    ) -> tuple[Mapping[str, DeviceArray], Callable[[], None]]:
        with _current(self._index):
            context = self._engine.create_execution_context()
            if context is None:
                raise self._failed("gives no execution context (is its memory used up?)")
            arrays = self._bound(context, inputs)
        stream = self.network_stream

        def run() -> None:
            with _current(self._index):
                if not context.execute_async_v3(stream.cuda_stream):
                    raise self._failed("does not run")

        outputs = {role: arrays[name] for name, role in self._roles.items()}
        run()  # TensorRT's one-time work must not happen while a graph is captured
        stream.synchronize()
        graph = _captured(run, stream)
        if graph is None:
            return outputs, run
        # The arrays that the graph uses must live as long as the graph.
        kept = context, arrays

        def launch(_: Any = kept) -> None:
            graph.launch(stream)

        return outputs, launch

    def _bound(self, context: Any, inputs: Mapping[str, DeviceArray]) -> dict[str, DeviceArray]:
        """Return inputs and outputs by name, after setting their shapes and addresses."""
        engine, trt = self._engine, self._trt
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        arrays = dict(inputs)
        for name in names:
            if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
                if name not in inputs or self._dtype(name) != inputs[name].dtype:
                    raise self._failed(f"has an input {name!r} that the model does not have")
                if not context.set_input_shape(name, inputs[name].shape):
                    raise self._failed(f"does not take {list(inputs[name].shape)} as {name!r}")
        if context.infer_shapes():
            raise self._failed("does not state the shapes of its outputs")
        for name in names:
            if name not in arrays:
                shape = tuple(context.get_tensor_shape(name))
                arrays[name] = DeviceArray.empty(shape, self._dtype(name), self.stream)
            if not context.set_tensor_address(name, arrays[name].address):
                raise self._failed(f"does not take memory for {name!r}")
        return arrays

    def _dtype(self, name: str) -> np.dtype[Any]:
        kind = self._engine.get_tensor_dtype(name)
        try:
            dtype: np.dtype[Any] = np.dtype(self._trt.nptype(kind))
        except TypeError as error:  # bf16 and smaller types
            raise ModelError(
                f"model {self.spec.path}: {name!r} is {kind}; inputs and outputs must be uint8, "
                "float32 or float16: export it again with deal export"
            ) from error
        return dtype

    def _failed(self, what: str) -> ModelError:
        reason = self._messages.take()
        return ModelError(
            f"the TensorRT engine of {self.spec.path} {what}{f' ({reason})' if reason else ''}: "
            "try a smaller --batch-size, or --engine ort"
        )


def _captured(run: Callable[[], None], stream: _native.Stream) -> _native.Graph | None:
    """Capture the work that ``run`` launches as a graph; None if that is impossible."""
    try:
        stream.begin_capture()
        try:
            run()
        finally:
            graph = stream.end_capture()
    except (OSError, ModelError) as error:
        log.warning("the engine is launched without a CUDA graph: %s", error)
        return None
    return graph


@contextmanager
def _current(index: int) -> Iterator[None]:
    """Make a device the current one in this thread, for TensorRT."""
    before = _native.current_device()
    _native.set_current_device(index)
    try:
        yield
    finally:
        _native.set_current_device(before)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
