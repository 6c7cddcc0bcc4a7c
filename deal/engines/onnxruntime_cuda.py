"""ONNX Runtime on CUDA: outputs are bound to device memory and scored there.

The network runs on a stream of this engine (``user_compute_stream``); the kernel runs on a stream
that waits for it. A call returns before the run has ended
(``disable_synchronize_execution_providers``), except with a captured network, since ONNX Runtime
waits for each launch of a graph.

If the model takes images of a single size, the network is captured as a CUDA graph at its first run
(``enable_cuda_graph``). This fixes the addresses of inputs and outputs, so lanes copy their arrays
there and back within the device. ONNX Runtime keeps one graph per thread that runs a session, and
during a capture no thread may allocate memory on any device. So a single thread runs such a
session, and its first run is the probe when the model is opened. TF32 is off, so that fp32 means
fp32; for speed, export the model in fp16.

Options: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
"""

from __future__ import annotations

import contextlib
import ctypes
import io
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deal import _native
from deal._install import pip_install
from deal.engines.base import parse_device
from deal.engines.device import DeviceArray, DeviceEngine, check_kernels
from deal.engines.onnx_files import not_run
from deal.engines.onnxruntime import load, ort
from deal.errors import EngineUnavailableError, ModelError
from deal.machine.driver import Driver, find_driver
from deal.machine.packages import version_of
from deal.model.spec import read_spec

__all__ = ["OnnxRuntimeCudaEngine", "cuda_index"]

# Inputs, outputs and their binding, whose addresses a captured graph contains.
_Fixed = tuple[dict[str, DeviceArray], dict[str, DeviceArray], Any]

_CUDA = "CUDAExecutionProvider"
_PLACE = "cuda"  # ONNX Runtime's name for the memory of bound arrays
_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
}
# Libraries that the CUDA provider loads, by the major version of CUDA that it was built with.
_LIBRARIES = (
    "libcudart.so.{}",
    "libcublasLt.so.{}",
    "libcublas.so.{}",
    "libcurand.so.10",
    "libcudnn.so.9",
)


class OnnxRuntimeCudaEngine(DeviceEngine):
    """One inference session on a CUDA device, which all lanes share.

    Parameters
    ----------
    path, threads, options
        As in :func:`deal.engines.open_engine`. The threads run nodes that only the CPU supports.
    index : int
        Index of the device.
    batch : int, optional
        As in :class:`deal.engines.device.DeviceEngine`.

    Attributes
    ----------
    captured : bool
        Whether the network runs as a CUDA graph.

    Raises
    ------
    ModelError
        ONNX Runtime cannot load the file.
    EngineUnavailableError
        CUDA does not start.
    """

    name = "ort"

    def __init__(
        self,
        path: Path,
        index: int = 0,
        threads: int | None = None,
        options: Mapping[str, Any] | None = None,
        batch: int | None = None,
    ) -> None:
        super().__init__(read_spec(path, options), index, batch)
        self.network_stream = _native.Stream(index)
        self.captured = self.spec.input_size is not None
        self._names = self.spec.output_names
        self._session, self.captured = open_cuda_session(
            path, self.network_stream, threads or 1, captured=self.captured
        )
        self._fixed: list[_Fixed] = []  # one, once it is captured; shared by the lanes
        self._thread = ThreadPoolExecutor(1, "deal-ort-cuda") if self.captured else None

    def _bind(
        self, inputs: Mapping[str, DeviceArray]
    ) -> tuple[Mapping[str, DeviceArray], Callable[[], None]]:
        if not self.captured:
            outputs = self._outputs_of(inputs)
            binding = self._binding(inputs, outputs)
            return outputs, lambda: self._launch(binding)
        if not self._fixed:
            self._fixed.append(self._capture(inputs))
        fixed_inputs, fixed_outputs, binding = self._fixed[0]
        outputs = {name: self._like(array) for name, array in fixed_outputs.items()}

        def launch() -> None:
            for name, array in inputs.items():
                self._copy(fixed_inputs[name], array)
            self._launch(binding)
            for name, array in fixed_outputs.items():
                self._copy(outputs[name], array)

        return outputs, launch

    def _capture(self, inputs: Mapping[str, DeviceArray]) -> _Fixed:
        """Run once with arrays that stay in place; the runtime captures the graph of this run."""
        ours = {name: self._like(array) for name, array in inputs.items()}
        outputs = self._outputs_of(ours)
        binding = self._binding(ours, outputs)
        self._run_bound(binding, ort.RunOptions())
        self.network_stream.synchronize()
        return ours, outputs, binding

    def _outputs_of(self, inputs: Mapping[str, DeviceArray]) -> dict[str, DeviceArray]:
        """Take memory for the outputs of such inputs; one run shows their shapes."""
        binding = self._binding(inputs, {})
        index = self.network_stream.device
        for name in self._names.values():
            binding.bind_output(name, _PLACE, index)
        options = ort.RunOptions()
        options.add_run_config_entry("gpu_graph_id", "-1")  # do not capture this run
        self._run_bound(binding, options)
        self.network_stream.synchronize()
        values = zip(self._names, binding.get_outputs(), strict=True)
        return {
            role: DeviceArray.empty(value.shape(), _dtype(value.data_type()), self.stream)
            for role, value in values
        }

    def _binding(
        self, inputs: Mapping[str, DeviceArray], outputs: Mapping[str, DeviceArray]
    ) -> Any:
        binding, index = self._session.io_binding(), self.network_stream.device
        for name, array in inputs.items():
            binding.bind_input(name, _PLACE, index, array.dtype.type, array.shape, array.address)
        for role, array in outputs.items():
            binding.bind_output(
                self._names[role], _PLACE, index, array.dtype.type, array.shape, array.address
            )
        return binding

    def _launch(self, binding: Any) -> None:
        options = ort.RunOptions()
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        self._run_bound(binding, options)

    def _run_bound(self, binding: Any, options: Any) -> None:
        run = partial(self._session.run_with_iobinding, binding, options)
        try:
            if self._thread is None:
                run()
            else:
                self._thread.submit(run).result()
        except Exception as error:  # the runtime's exceptions share no other base
            raise not_run(self.spec, (self.batch,), error) from error

    def _like(self, array: DeviceArray) -> DeviceArray:
        return DeviceArray.empty(array.shape, array.dtype, self.stream)

    def _copy(self, to: DeviceArray, source: DeviceArray) -> None:
        self.network_stream.copy(to.address, source.address, source.nbytes)


def open_cuda_session(
    path: Path, stream: _native.Stream, threads: int, *, captured: bool
) -> tuple[Any, bool]:
    """Open a session that computes on the stream; also return whether it captures its runs.

    A network with nodes that only the CPU supports cannot be captured and runs without a graph.
    """
    _preload()
    options = {
        "device_id": stream.device,
        "user_compute_stream": str(stream.cuda_stream),
        "enable_cuda_graph": "1" if captured else "0",
        "use_tf32": "0",
    }
    ort.set_default_logger_severity(4)  # failures are reported below
    try:
        session = load(path, threads, [(_CUDA, options), "CPUExecutionProvider"])
    except ModelError as error:
        if captured and "graph capture" in str(error):
            return open_cuda_session(path, stream, threads, captured=False)
        raise
    finally:
        ort.set_default_logger_severity(2)  # the default
    if _CUDA not in session.get_providers():
        raise EngineUnavailableError(
            f"device cuda:{stream.device}: onnxruntime-gpu {ort.__version__} does not start CUDA: "
            + _missing_libraries()
        )
    session.compute_stream = stream  # the stream must outlive the session
    return session, captured


# ---- finding device, driver and libraries -----------------------------------------------------


def cuda_index(device: str) -> int | None:
    """Index of the CUDA device to run on; None for the CPU.

    ``auto`` takes CUDA if ONNX Runtime is built for it and the driver finds a device.

    Raises
    ------
    UsageError
        The name of the device is unknown.
    EngineUnavailableError
        CUDA was requested and something is missing; the text says what, and what to install.
    """
    kind, index = parse_device(device)
    has_cuda = _CUDA in ort.get_available_providers()
    if kind == "cpu" or (kind == "auto" and not has_cuda):
        return None
    if not has_cuda:
        raise EngineUnavailableError(f"device {device}: {_wrong_wheel()}, or use --device cpu")
    try:
        driver = find_driver()
    except EngineUnavailableError as error:
        if kind == "auto":
            return None
        raise EngineUnavailableError(f"device {device}: {error}") from error
    _check_driver(driver, device, index)
    check_kernels(device)
    return index


def _wrong_wheel() -> str:
    """The reason why the imported onnxruntime has no CUDA, and the remedy."""
    both = all(version_of(name) for name in ("onnxruntime", "onnxruntime-gpu"))
    if both:
        return (
            f"onnxruntime {version_of('onnxruntime')} and onnxruntime-gpu "
            f"{version_of('onnxruntime-gpu')} are both installed and overwrite each other's files; "
            f"the imported one is {ort.__version__} without CUDA: pip uninstall onnxruntime "
            f"onnxruntime-gpu, then {pip_install('ort-gpu')}"
        )
    return (
        f"the installed onnxruntime {ort.__version__} is built without CUDA: pip uninstall "
        f"onnxruntime, then {pip_install('ort-gpu')}"
    )


def _check_driver(driver: Driver, device: str, index: int) -> None:
    if index >= len(driver.devices):
        raise EngineUnavailableError(
            f"device {device}: there are {len(driver.devices)} devices ({driver}); give one of "
            "them, counted from 0"
        )
    built = _cuda_of_wheel()
    if built is not None and driver.cuda[0] < built:
        raise EngineUnavailableError(
            f"device {device}: the driver supports CUDA {driver.cuda[0]}.{driver.cuda[1]}, but "
            f"onnxruntime-gpu {ort.__version__} is built for CUDA {built}: update NVIDIA's "
            "driver, or install an older onnxruntime-gpu"
        )


def _missing_libraries() -> str:
    """The libraries of CUDA that do not load, and the remedy."""
    major = _cuda_of_wheel() or 12
    missing = []
    for library in (name.format(major) for name in _LIBRARIES):
        try:
            ctypes.CDLL(library)
        except OSError:
            missing.append(library)
    if missing:
        return (
            f"{', '.join(missing)} cannot be loaded: pip install "
            f"'onnxruntime-gpu[cuda,cudnn]=={ort.__version__}', or put CUDA {major} and cuDNN 9 on "
            "LD_LIBRARY_PATH"
        )
    provider = Path(ort.__file__).parent / "capi/libonnxruntime_providers_cuda.so"
    try:
        ctypes.CDLL(str(provider))
    except OSError as error:
        return f"{error}: install what its release notes require, or use --device cpu"
    return "its libraries load, so the GPU may be too old for it: use --device cpu"


def _preload() -> None:
    """Load the libraries that ``onnxruntime-gpu[cuda,cudnn]`` installs; no loader finds them."""
    if hasattr(ort, "preload_dlls"):  # from 1.21 on
        with contextlib.redirect_stdout(io.StringIO()):  # missing libraries are reported below
            ort.preload_dlls()


def _cuda_of_wheel() -> int | None:
    """Major version of the CUDA that the wheel is built with; None if it does not say."""
    version = str(getattr(ort, "cuda_version", "") or "")
    return int(version.split(".")[0]) if version.split(".")[0].isdecimal() else None


def _dtype(name: str) -> Any:
    """NumPy's dtype for ONNX Runtime's name of one; dtypes that are not floating fail later."""
    if name not in _DTYPES:
        raise ModelError(f"an output of the network is {name}: float32 or float16 is needed")
    return _DTYPES[name]
