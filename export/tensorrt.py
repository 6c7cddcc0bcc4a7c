"""Builds a TensorRT engine from an ONNX model.

The network is strongly typed: precision is what the ONNX file says (``deal export --precision``),
and no flag converts anything. TF32 is off, as on every other engine of deal: fp32 is fp32.

API: https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/python-api/
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from deal import _native
from deal._install import pip_install
from deal.engines.tensorrt_library import Messages, import_tensorrt, log
from deal.errors import EngineUnavailableError, ModelError
from deal.machine.files import replacing

__all__ = ["BuiltEngine", "InputProfile", "build_engine", "build_settings", "precisions_used"]

# Words by which the inspector calls data types, alone or in a sentence about the layout.
# The first word that occurs counts.
_WORDS = (
    ("uint8", None),
    ("bfloat16", "bf16"),
    ("bf16", "bf16"),
    ("half", "fp16"),
    ("fp16", "fp16"),
    ("int8", "int8"),
    ("float", "fp32"),
    ("fp32", "fp32"),
)


@dataclass(frozen=True)
class InputProfile:
    """Shapes of one network input: the fewest, those to be fast for, and the most."""

    minimum: tuple[int, ...]
    optimum: tuple[int, ...]
    maximum: tuple[int, ...]


@dataclass(frozen=True)
class BuiltEngine:
    """A serialised engine.

    Attributes
    ----------
    plan : bytes
    layers : str
        What the inspector says of its layers, JSON.
    """

    plan: bytes
    layers: str


def build_settings() -> dict[str, Any]:
    """What is chosen for every engine, as JSON values: part of what an engine depends on."""
    return {"strongly_typed": True, "tf32": False, "verbosity": "detailed"}


def build_engine(
    path: Path,
    profiles: Mapping[str, InputProfile],
    *,
    precision: str | None,
    timing_cache: Path | None = None,
) -> BuiltEngine:
    """Build an engine for the current CUDA device; takes minutes, shown on stderr.

    Parameters
    ----------
    path : Path
        ONNX model; external weights beside it.
    profiles : mapping of input name to InputProfile
        Of every input with a dimension that is not fixed.
    precision : ``fp32``, ``fp16``, ``bf16`` or ``int8``, optional
        The precision that the model states; the engine must have it.
    timing_cache : Path, optional
        File of measured kernels: read if it fits, and written.

    Raises
    ------
    EngineUnavailableError
        TensorRT or the package ``onnx`` is not there.
    ModelError
        TensorRT cannot parse or build the model, or its layers are of another precision.
    KeyboardInterrupt
        The build was interrupted; nothing is written.
    """
    content = _parsable(path)
    trt = import_tensorrt()
    messages = Messages(trt)
    with messages.starting():
        builder = trt.Builder(messages.logger)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    parser = trt.OnnxParser(network, messages.logger)
    # The path says where external weights are.
    if not parser.parse(content, path=str(path)):
        raise _not_parsed(trt, path, parser, messages, precision)
    # Known before the minutes of a build: types of a strongly typed network are inferred.
    _check_precision(trt, path, "reads", _network_precisions(trt, network), precision)
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.clear_flag(trt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    try:
        for name, shapes in profiles.items():
            profile.set_shape(name, shapes.minimum, shapes.optimum, shapes.maximum)
        fits = config.add_optimization_profile(profile) >= 0
    except RuntimeError:  # of set_shape; messages say more
        fits = False
    if not fits:
        raise ModelError(
            f"model {path} does not take inputs of {dict(profiles)}: set the model option "
            f"input_size to what it takes ({messages.take()})"
        )
    _start_timing_cache(config, timing_cache)
    serialized = _serialized(trt, builder, network, config)
    if serialized is None:
        raise ModelError(
            f"TensorRT {trt.__version__} cannot build {path}: use --engine ort, or a smaller "
            f"--batch-size if memory is short ({messages.take()})"
        )
    plan = bytes(serialized)
    _keep_timing_cache(config, timing_cache)
    layers = _inspected(trt, messages, plan, profiles)
    used = precisions_used(layers)
    if used:
        _check_precision(trt, path, "built", used, precision)
    else:
        log.warning("TensorRT %s does not tell the precision it uses", trt.__version__)
    return BuiltEngine(plan, layers)


def _parsable(path: Path) -> bytes:
    try:
        from deal.export.tensorrt_graph import parsable
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise EngineUnavailableError(
            f"building a TensorRT engine needs the package onnx: {pip_install('trt')}"
        ) from error
    return parsable(path)


def precisions_used(layers: str) -> set[str]:
    """Precisions that occur among the inputs, outputs and weights of an engine's layers.

    Parameters
    ----------
    layers : str
        The inspector's JSON, of an engine built with detailed verbosity.
    """
    try:
        entries = json.loads(layers).get("Layers", [])
    except ValueError:  # not every version escapes the names in it: unread, not minutes wasted
        return set()
    found = set()
    for layer in entries:
        if not isinstance(layer, dict):  # a name alone: built without details
            continue
        told = [
            tensor.get("Format/Datatype", "")
            for tensor in (*layer.get("Inputs", []), *layer.get("Outputs", []))
        ]
        weights = layer.get("Weights")  # told where shapes, and so formats, are not known
        told.append(weights.get("Type", "") if isinstance(weights, dict) else "")
        for text in map(str.lower, map(str, told)):
            found.add(next((name for word, name in _WORDS if word in text), None))
    return {name for name in found if name is not None}


def _network_precisions(trt: ModuleType, network: Any) -> set[str]:
    """Precisions of what the layers of a parsed network give."""
    kinds = trt.DataType
    names = {kinds.FLOAT: "fp32", kinds.HALF: "fp16", kinds.BF16: "bf16", kinds.INT8: "int8"}
    found = set()
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        for place in range(layer.num_outputs):
            found.add(names.get(layer.get_output(place).dtype))
    return {name for name in found if name is not None}


def _check_precision(
    trt: ModuleType, path: Path, verb: str, used: set[str], precision: str | None
) -> None:
    is_held = used == {"fp32"} if precision == "fp32" else precision in used
    if precision is not None and not is_held:
        raise ModelError(
            f"model {path} says {precision}, and TensorRT {trt.__version__} {verb} it as "
            f"{', '.join(sorted(used))}: export it again with deal export --precision {precision}"
        )


def _not_parsed(
    trt: ModuleType, path: Path, parser: Any, messages: Messages, precision: str | None
) -> ModelError:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    told = "; ".join(
        f"{error.node_operator()} {error.node_name()!r}: {error.desc()}".strip() for error in errors
    )
    remedy = "use --engine ort, or a newer TensorRT"
    if precision == "int8":
        remedy = (
            "TensorRT takes int8 without zero points only: convert the fp32 model with deal export "
            "--precision int8 --target gpu"
        )
    return ModelError(
        f"TensorRT {trt.__version__} cannot parse {path} ({(told or messages.take())[:1000]}): "
        f"{remedy}"
    )


def _inspected(
    trt: ModuleType, messages: Messages, plan: bytes, profiles: Mapping[str, InputProfile]
) -> str:
    """The inspector's text. It needs shapes, because without them it knows no formats."""
    with messages.starting():
        runtime = trt.Runtime(messages.logger)
    engine = runtime.deserialize_cuda_engine(plan)
    context = None if engine is None else engine.create_execution_context()
    if engine is None or context is None:
        raise ModelError(
            f"TensorRT {trt.__version__} cannot load the engine that it has just built "
            f"({messages.take()}): is the GPU's memory used up?"
        )
    for name, shapes in profiles.items():
        context.set_input_shape(name, shapes.optimum)
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    told: str = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    return told


# ---- measured kernels -------------------------------------------------------------------------


def _start_timing_cache(config: Any, path: Path | None) -> None:
    content = b""
    if path is not None and path.exists():
        content = path.read_bytes()
    cache = config.create_timing_cache(content)
    # There is none for a file that is cut off.
    if content and not (cache and config.set_timing_cache(cache, ignore_mismatch=False)):
        log.warning(
            "timing cache %s is of another GPU or TensorRT, or damaged: a new one is made", path
        )
        content = b""
    if not content:
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)


def _keep_timing_cache(config: Any, path: Path | None) -> None:
    """Write what was measured; without it only the next build takes longer."""
    if path is None:
        return
    try:
        with replacing(path) as file:
            file.write(bytes(config.get_timing_cache().serialize()))
    except OSError as error:
        log.warning("timing cache %s is not written: %s", path, error.strerror)


# ---- the build itself -------------------------------------------------------------------------


def _serialized(trt: ModuleType, builder: Any, network: Any, config: Any) -> Any:
    """Build in another thread: in this one Ctrl-C would wait for the end of the build."""
    device, found, failed = _native.current_device(), [], []

    def build() -> None:
        try:
            _native.set_current_device(device)
            found.append(builder.build_serialized_network(network, config))
        except BaseException as error:  # raised again by the thread that waits
            failed.append(error)

    with _progress(trt, config) as cancel:
        thread = threading.Thread(target=build, name="deal-tensorrt-build")
        thread.start()
        try:
            thread.join()
        except KeyboardInterrupt:
            cancel.set()
            thread.join()
            raise
    if failed:
        raise failed[0]
    return found[0]


@contextmanager
def _progress(trt: ModuleType, config: Any) -> Iterator[threading.Event]:
    """Show the phases of a build, which ends at its next step once the event is set."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    shown = Progress(*columns, console=Console(stderr=True), transient=True)
    cancel = threading.Event()
    tasks: dict[str, TaskID] = {}

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        """Called from any of TensorRT's threads."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            indent = "  " if parent_phase else ""
            tasks[phase_name] = shown.add_task(f"TensorRT: {indent}{phase_name}", total=num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            shown.update(tasks[phase_name], completed=step + 1)
            return not cancel.is_set()

        def phase_finish(self, phase_name: str) -> None:
            shown.remove_task(tasks.pop(phase_name))

    with shown:
        config.progress_monitor = Monitor()
        yield cancel
