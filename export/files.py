"""Write a model's file, and its weights beside it if need be, so that it only appears whole."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import onnx

from deal.errors import ModelError, OutputError, UsageError
from deal.machine.files import check_not_read, check_replaceable
from deal.machine.working import working_folder
from deal.model.files import with_model_files
from deal.model.keys import checked
from deal.model.record import ModelSpec
from deal.model.spec import METADATA_KEY
from deal.model.strict_json import read_json_object

__all__ = ["is_large", "new_file", "save", "write_model"]

LARGEST = 2_000_000_000
"""Bytes of weights that fit one file: a protobuf message has at most 2 GiB."""

_INLINE = 1024  # bytes; smaller tensors stay in the model, where graphs look them up


@contextmanager
def new_file(
    output: Path, contract: Mapping[str, Any] | None = None, *, read: Iterable[object] = ()
) -> Iterator[Path]:
    """Give a temporary path, and rename it to ``output`` if nothing is raised.

    Parameters
    ----------
    output : Path
    contract : mapping, optional
        What the model will state of itself. A file ``OUTPUT.json`` that says otherwise is refused,
        since whoever opens the model reads it too, and it has the last word.
    read : iterable
        What the file is made of (:func:`deal.machine.files.check_not_read`); of a model also its
        side-car and the files of its weights.

    The temporary file has the name of ``output``, in a folder of its own, so that a model finds its
    weights before and after. Weights beside it, in ``NAME.data`` (:func:`save`), go along. Raises
    OutputError before the body runs where the file cannot be written, and UsageError where it would
    replace what is read.
    """
    read = tuple(with_model_files(read))
    check_not_read(output, read)
    if contract is not None:
        if output.suffix.lower() == ".json":
            raise UsageError(f"--output {output} is the name of a side-car: end it in .onnx")
        _check_side_car(output, contract)
    with ExitStack() as stack:
        with _writing(output):
            if output.is_dir():
                raise IsADirectoryError(errno.EISDIR, "it is a folder; name a file")
            check_replaceable(output)
            folder = stack.enter_context(working_folder(output.absolute().parent, output.name))
        temporary = folder / output.name
        yield temporary
        with _writing(output):
            weights = _weights_of(temporary)
            if weights.exists():
                check_not_read(_weights_of(output), read)
                weights.replace(_weights_of(output))
            temporary.replace(output)


def is_large(model: onnx.ModelProto) -> bool:
    """Whether a model's weights do not fit one file."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer) > LARGEST


def save(path: Path, model: onnx.ModelProto) -> None:
    """Write a model and wait until the disk has it.

    Weights that do not fit one file go into ``NAME.data`` beside it. Raises OutputError.
    """
    weights = _weights_of(path)
    with _writing(path):
        weights.unlink(missing_ok=True)  # onnx would append to it
        if is_large(model):
            copy = onnx.ModelProto()  # onnx takes the weights out of what it saves
            copy.CopyFrom(model)
            onnx.save(
                copy,
                path,
                save_as_external_data=True,
                location=weights.name,
                size_threshold=_INLINE,
            )
            _sync(weights)
        else:
            path.write_bytes(model.SerializeToString())
        _sync(path)


def write_model(path: Path, model: onnx.ModelProto, contract: Mapping[str, Any]) -> None:
    """:func:`save` a model; its metadata hold the contract and nothing else."""
    del model.metadata_props[:]
    values = {METADATA_KEY: json.dumps(contract, ensure_ascii=False)}
    onnx.helper.set_model_props(model, values)
    save(path, model)


def _check_side_car(output: Path, contract: Mapping[str, Any]) -> None:
    side_car = output.with_suffix(".json")
    if not side_car.exists():
        return
    states = {item.name: item.default for item in fields(ModelSpec)}
    states |= checked(contract, f"contract of {output}")
    try:
        says = checked(read_json_object(side_car, "side-car"), str(side_car))
    except ModelError as error:
        problem = f"it would be refused ({error})"
    else:
        says.pop("format", None)
        # Where a model comes from decides how some are computed, and each export adds to it.
        other = [key for key in says if key == "provenance" or says[key] != states.get(key)]
        if not other:
            return
        problem = f"its {', '.join(other)} would replace what the model itself states"
    raise OutputError(
        f"{side_car} is read as the side-car of {output}, and {problem}: remove or rename it (an "
        "exported model needs none), or give --output another name"
    )


@contextmanager
def _writing(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {output}: {error.strerror or error}") from error


def _weights_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.data")


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
