"""Traced networks, kept under build/ from one test run to the next: tracing takes PyTorch long."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import inspect
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

import deal.export.onnx

_ROOT = Path(__file__).parents[2]
_KEPT = _ROOT / "build" / "traced"
# Whose code decides what a traced graph holds, beside that of the network's own classes.
_ROOMS = ("export", "deal/engines", "deal/model", "deal/training")
_PACKAGES = ("torch", "onnx", "onnxscript", "onnx-ir", "numpy", "transformers")

_to_onnx = deal.export.onnx.to_onnx


def traced(
    network: torch.nn.Module, metadata: Mapping[str, Any], *arguments: Any, **options: Any
) -> onnx.ModelProto:
    """``deal.export.onnx.to_onnx``, once per content of all that it reads.

    The key is a hash of code, versions, weights and arguments, so what is kept cannot be outdated.
    Workers that need the same graph at the same time wait for the first.
    """
    path = _KEPT / f"{_key(network, metadata, arguments, options)}.onnx"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_WRONLY)
    except OSError:  # somebody else's tree
        return _to_onnx(network, metadata, *arguments, **options)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            network.eval()  # as the export leaves it
            return onnx.load(path)
        model = _to_onnx(network, metadata, *arguments, **options)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(model.SerializeToString())
        temporary.replace(path)
        return model
    finally:
        os.close(lock)


@contextmanager
def kept_exports() -> Iterator[None]:
    """Let every export take the traced graph that is kept; its check is run all the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deal.export.onnx, "to_onnx", traced)
        yield


def _key(
    network: torch.nn.Module,
    metadata: Mapping[str, Any],
    arguments: Iterable[Any],
    options: Mapping[str, Any],
) -> str:
    parts = hashlib.sha256()

    def add(name: str, content: bytes) -> None:
        parts.update(f"{name} {len(content)}\n".encode())
        parts.update(content)

    for name, version in _versions():
        add(name, version.encode())
    for path in sorted(_sources(network)):
        add(str(path), path.read_bytes())
    for name, module in network.named_modules():
        told = {
            key: repr(value)
            for key, value in vars(module).items()
            if key[0] != "_" and key != "name_or_path"  # where transformers read it from
        }
        add(f"{name} {type(module).__qualname__}", json.dumps(told, sort_keys=True).encode())
    for name, value in (*network.named_parameters(), *network.named_buffers()):
        content = value.detach().cpu().numpy().tobytes()
        add(f"{name} {value.dtype} {tuple(value.shape)}", content)
    add("arguments", json.dumps([metadata, arguments, options], sort_keys=True).encode())
    return parts.hexdigest()


def _versions() -> Iterator[tuple[str, str]]:
    yield "python", platform.python_version()
    yield "processor", torch.backends.cpu.get_cpu_capability()  # constants are folded on it
    for name in _PACKAGES:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield name, "none"


def _sources(network: torch.nn.Module) -> set[Path]:
    found = {Path(__file__)}
    for room in _ROOMS:
        found.update((_ROOT / room).rglob("*.py"))
    return found | {Path(inspect.getfile(type(module))) for module in network.modules()}
