"""TensorRT as far as deal uses it, for the emulated device: engines run on ONNX Runtime's CPU.

What it has, and what its parameters are called, is held against the real bindings in
``test_tensorrt_api.py``. It says nothing of what the real one accepts, builds or computes.
"""

from __future__ import annotations

import ctypes
import enum
import json
import os
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto

__version__ = "10.16.1.11"

_MAGIC = b"fake engine\n"
_DETAILS = {
    TensorProto.FLOAT: "Float",
    TensorProto.FLOAT16: "Half",
    TensorProto.BFLOAT16: "BFloat16",
    TensorProto.INT8: "Int8",
}
_NOT_TOLD = "N/A due to dynamic shapes"


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class BuilderFlag(enum.Enum):
    TF32 = 7


class ProfilingVerbosity(enum.Enum):
    DETAILED = 2


class LayerInformationFormat(enum.Enum):
    JSON = 1


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class DataType(enum.Enum):
    FLOAT = "tensor(float)"
    HALF = "tensor(float16)"
    UINT8 = "tensor(uint8)"
    BF16 = "tensor(bfloat16)"
    INT8 = "tensor(int8)"


_TYPES = {
    TensorProto.FLOAT: DataType.FLOAT,
    TensorProto.FLOAT16: DataType.HALF,
    TensorProto.BFLOAT16: DataType.BF16,
    TensorProto.INT8: DataType.INT8,
}


def nptype(trt_type: DataType) -> type:
    known = {DataType.FLOAT: np.float32, DataType.HALF: np.float16, DataType.UINT8: np.uint8}
    if trt_type not in known:
        raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")
    return known[trt_type]


class ILogger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def __init__(self) -> None:
        pass


class IProgressMonitor:
    def __init__(self) -> None:
        pass


class ITimingCache:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> bytes:
        return self._content


class IOptimizationProfile:
    def __init__(self) -> None:
        self._shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002
        if not all(a <= b <= c for a, b, c in zip(min, opt, max, strict=True)):
            raise RuntimeError("Shape provided for max is inconsistent with other shapes.")
        self._shapes[input] = tuple(min), tuple(opt), tuple(max)


class IBuilderConfig:
    def __init__(self) -> None:
        self.profiling_verbosity: Any = None
        self.progress_monitor: Any = None
        self._cleared: list[BuilderFlag] = []
        self._profiles: list[IOptimizationProfile] = []
        self._cache = ITimingCache(b"")

    def clear_flag(self, flag: BuilderFlag) -> None:
        self._cleared.append(flag)

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        content = bytes(serialized_timing_cache)
        return None if content.startswith(b"damaged") else ITimingCache(content)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if not isinstance(cache, ITimingCache):
            raise TypeError("set_timing_cache(): incompatible function arguments")
        if cache._content and not cache._content.startswith(b"measured"):
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache:
        return self._cache


class ITensor:
    def __init__(self, dtype: DataType | None) -> None:
        self._dtype = dtype

    @property
    def dtype(self) -> DataType | None:
        return self._dtype


class ILayer:
    def __init__(self, kinds: list[int]) -> None:
        self._kinds = kinds

    @property
    def num_outputs(self) -> int:
        return len(self._kinds)

    def get_output(self, index: int) -> ITensor:
        return ITensor(_TYPES.get(self._kinds[index]))


class INetworkDefinition:
    def __init__(self, flags: int) -> None:
        self._flags = flags
        self._content = b""
        self._layers: list[ILayer] = []

    @property
    def num_layers(self) -> int:
        return len(self._layers)

    def get_layer(self, index: int) -> ILayer:
        return self._layers[index]


class ParserError:
    def __init__(self, operator: str, name: str, text: str) -> None:
        self._told = operator, name, text

    def node_operator(self) -> str:
        return self._told[0]

    def node_name(self) -> str:
        return self._told[1]

    def desc(self) -> str:
        return self._told[2]


class OnnxParser:
    """Takes everything but zero points and uint8 that is not cast first, as the real one."""

    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network = network
        self._errors: list[ParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def parse(self, model: bytes, path: str | None = None) -> bool:
        assert path is not None
        graph = onnx.load_from_string(model).graph
        constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
        images = {i.name for i in graph.input if i.type.tensor_type.elem_type == TensorProto.UINT8}
        for node in graph.node:
            if node.op_type == "QuantizeLinear":
                zero = constants.get(node.input[2]) if len(node.input) > 2 else None
                if zero is None or zero.any() or zero.dtype != np.int8:
                    self._errors.append(ParserError(node.op_type, node.name, "Non-zero zero point"))
            elif node.op_type != "Cast" and not images.isdisjoint(node.input):
                self._errors.append(ParserError(node.op_type, node.name, "UINT8 is not supported"))
        self._network._content = bytes(model)
        self._network._layers = _layers(model)
        return not self._errors


def _layers(content: bytes) -> list[ILayer]:
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(content)).graph
    kinds = {i.name: i.type.tensor_type.elem_type for i in (*graph.value_info, *graph.output)}
    return [ILayer([kinds.get(name, 0) for name in node.output]) for node in graph.node]


class Builder:
    """Builds in three steps; ``_builds`` counts what it was asked for."""

    _builds = 0
    _as_precision: int | None = None  # what the layers are said to be, in place of the truth

    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> bytes | None:
        type(self)._builds += 1
        assert network._flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        assert config._cleared == [BuilderFlag.TF32]
        monitor = config.progress_monitor
        monitor.phase_start("Building", None, 3)
        monitor.phase_start("Timing", "Building", 2)
        try:
            for step in range(3):
                if not monitor.step_complete("Building", step):
                    self._logger.log(ILogger.Severity.ERROR, "the build was cancelled")
                    return None
        finally:
            monitor.phase_finish("Timing")
            monitor.phase_finish("Building")
        config._cache._content += b"measured"
        profile = config._profiles[0]._shapes
        head = {"profile": profile, "precision": self._as_precision}
        return _MAGIC + json.dumps(head).encode() + b"\n" + network._content


class EngineInspector:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self.execution_context: IExecutionContext | None = None

    def get_engine_information(self, format: LayerInformationFormat) -> str:  # noqa: A002
        model = onnx.load_from_string(self._engine._content)
        kinds = {tensor.data_type for tensor in model.graph.initializer}
        if self._engine._precision is not None:
            kinds = {self._engine._precision}
        context, profile = self.execution_context, self._engine._profile
        is_dynamic = any(fewest != most for fewest, _, most in profile.values())
        is_told = not is_dynamic or (
            context is not None and profile.keys() <= context._shapes.keys()
        )
        layers = [
            {
                "Name": f"layer {kind}",
                "Inputs": [
                    {"Name": "x", "Format/Datatype": _DETAILS[kind] if is_told else _NOT_TOLD}
                ],
                "Outputs": [],
            }
            for kind in sorted(kinds & _DETAILS.keys())
        ]
        return json.dumps({"Layers": [*layers, "a name alone"], "I/O Tensors": []})


class ICudaEngine:
    def __init__(self, content: bytes, profile: dict[str, Any], precision: int | None) -> None:
        self._content, self._profile, self._precision = content, profile, precision
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(content, options)
        self._inputs = {value.name: value.type for value in self._session.get_inputs()}
        self._types = self._inputs | {
            value.name: value.type for value in self._session.get_outputs()
        }

    @property
    def num_io_tensors(self) -> int:
        return len(self._types)

    def get_tensor_name(self, index: int) -> str:
        return list(self._types)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType(self._types[name])

    def create_execution_context(self) -> IExecutionContext:
        return IExecutionContext(self)

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self)


class IExecutionContext:
    """Runs when its stream gets there, and again with every launch of a graph it is captured in."""

    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._run)
        self._runs = 0

    def set_input_shape(self, name: str, shape: Any) -> bool:
        if name in self._engine._profile:
            fewest, _, most = self._engine._profile[name]
            if not all(a <= n <= b for a, n, b in zip(fewest, shape, most, strict=True)):
                return False
        self._shapes[name] = tuple(shape)
        return True

    def infer_shapes(self) -> list[str]:
        missing = [name for name in self._engine._inputs if name not in self._shapes]
        if not missing:
            zeros = {
                name: np.zeros(self._shapes[name], nptype(self._engine.get_tensor_dtype(name)))
                for name in self._engine._inputs
            }
            for name, value in self._computed(zeros).items():
                self._shapes[name] = value.shape
        return missing

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return memory != 0

    def execute_async_v3(self, stream_handle: int) -> bool:
        emulated = ctypes.CDLL(os.environ["DEAL_NATIVE"])
        emulated.cudaLaunchHostFunc(ctypes.c_void_p(stream_handle), self._function, None)
        return True

    def _run(self, _: Any) -> None:
        self._runs += 1
        inputs = {name: self._array(name).copy() for name in self._engine._inputs}
        for name, value in self._computed(inputs).items():
            self._array(name)[...] = value

    def _computed(self, inputs: dict[str, Any]) -> dict[str, Any]:
        names = [name for name in self._engine._types if name not in self._engine._inputs]
        return dict(zip(names, self._engine._session.run(names, inputs), strict=True))

    def _array(self, name: str) -> Any:
        dtype = np.dtype(nptype(self._engine.get_tensor_dtype(name)))
        shape = self._shapes[name]
        size = int(np.prod(shape)) * dtype.itemsize
        memory = (ctypes.c_char * size).from_address(self._addresses[name])
        return np.frombuffer(memory, dtype).reshape(shape)


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        if not serialized_engine.startswith(_MAGIC):
            self._logger.log(
                ILogger.Severity.ERROR, "Serialization assertion stdVersionRead failed"
            )
            return None
        head, content = serialized_engine[len(_MAGIC) :].split(b"\n", 1)
        told = json.loads(head)
        return ICudaEngine(content, told["profile"], told["precision"])
