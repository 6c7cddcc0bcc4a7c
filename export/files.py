"""A file that appears only when it is whole and right."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deal.errors import OutputError
from deal.model.spec import METADATA_KEY

if TYPE_CHECKING:
    import onnx

__all__ = ["new_file", "write_model", "write_synced"]


@contextmanager
def new_file(output: Path) -> Iterator[Path]:
    """Give a temporary path beside ``output``, and rename it to that if nothing is raised.

    Raises OutputError before the body runs where the file cannot be written.
    """
    temporary = output.with_name(f"_{output.name}")
    try:
        if output.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder; name a file")
        temporary.touch()
    except OSError as error:
        raise OutputError(f"cannot write {output}: {error.strerror}") from error
    try:
        yield temporary
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_model(path: Path, model: onnx.ModelProto, contract: Mapping[str, Any]) -> None:
    """Write a model; the contract is all that its metadata say."""
    import onnx

    del model.metadata_props[:]
    values = {METADATA_KEY: json.dumps(contract, ensure_ascii=False)}
    onnx.helper.set_model_props(model, values)
    write_synced(path, model.SerializeToString())
