"""``results.json``: what all parts of an output share, said once.

Whoever writes first creates it, and only one can. So a writer that knows of no other one can tell
whether its rows belong into the output, without opening parts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from deal.errors import OutputError
from deal.machine.files import replacing
from deal.pool.remote_path import RemotePath
from deal.results.parts import first_part, footer
from deal.results.schema import SCHEMA_VERSIONS, settings_difference

__all__ = [
    "CLAIM",
    "OtherSettingsError",
    "check_metadata",
    "check_part",
    "claim",
    "claimed",
    "take_over",
]

CLAIM = "results.json"


class OtherSettingsError(OutputError):
    """The output holds results of other settings."""


def claimed(root: Path) -> dict[str, str] | None:
    """What the parts of an output share; None for an output without any.

    Raises OutputError if the file is damaged, or if a part is someone else's.
    """
    with suppress(FileNotFoundError):
        return _parse(root / CLAIM, (root / CLAIM).read_bytes())
    part = first_part(root / "images")  # of a version that wrote no such file
    if part is None:
        return None
    found = footer(part)
    _check_own(part, found)
    return found


def claim(root: Path, metadata: Mapping[str, str]) -> None:
    """Hold metadata against that of the output, or be the first to say what it is.

    Raises
    ------
    OutputError
        The output holds results of other settings, or of a schema that is not known here.
    OSError
        The file cannot be written.
    """
    found = claimed(root)
    if found is None or not (root / CLAIM).exists():
        check_metadata(root, found or metadata, metadata)
        _create(root / CLAIM, _text(metadata))
        found = claimed(root)
    check_metadata(root, found or metadata, metadata)


def take_over(root: Path, metadata: Mapping[str, str]) -> None:
    """Say what the parts share, whatever was said before: for who has seen that no part differs."""
    text = _text(metadata)
    with suppress(FileNotFoundError):
        if (root / CLAIM).read_bytes() == text:
            return
    with replacing(root / CLAIM) as file:
        file.write(text)


def check_metadata(root: Path, found: Mapping[str, str], own: Mapping[str, str]) -> None:
    """Hold what an output holds against what is to be written into it; raises OutputError."""
    elsewhere = "another --output"
    if not isinstance(root, RemotePath):  # where nothing is overwritten
        elsewhere = f"--overwrite or {elsewhere}"
    if found["deal.schema"] not in SCHEMA_VERSIONS:  # parts of an older one stay as they are
        raise OutputError(
            f"{root} holds results of schema {found['deal.schema']}, which this version of deal "
            f"does not know; use the version that wrote them, {elsewhere}"
        )
    if found["deal.fingerprint"] != own["deal.fingerprint"]:
        raise OtherSettingsError(
            f"{root} holds results of other settings ({settings_difference(found, own)}); use "
            f"{elsewhere}"
        )


def check_part(path: Path, own: Mapping[str, str]) -> None:
    """Hold a part of an output against the metadata of those that are to be written beside it.

    Raises
    ------
    OutputError
        It is someone else's, or of another schema or other settings.
    ResultsError
        It is damaged.
    """
    try:
        found = footer(path)
    except FileNotFoundError:
        return  # another shard has just dropped its last row
    _check_own(path, found)
    check_metadata(path.parent.parent, found, own)


def _check_own(path: Path, found: Mapping[str, str]) -> None:
    if "deal.schema" not in found:
        raise OutputError(f"{path} was not written by deal-score; choose another --output")


def _text(metadata: Mapping[str, str]) -> bytes:
    return f"{json.dumps(metadata, indent=1, sort_keys=True, ensure_ascii=False)}\n".encode()


def _parse(path: Path, text: bytes) -> dict[str, str]:
    try:
        found = json.loads(text)
        return {name: str(found[name]) for name in ("deal.schema", "deal.fingerprint", *found)}
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{path} is damaged: delete it; the next run writes it again from the parts"
        ) from error


def _create(path: Path, text: bytes) -> None:
    """Create a file with its text in one step; nothing if there is one already."""
    if isinstance(path, RemotePath):
        with suppress(FileExistsError):
            path.create(text)
        return
    temporary = path.with_name(f"_{path.name}.{uuid4().hex}")
    try:
        temporary.write_bytes(text)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
        except OSError:  # a file system without hard links: the last of several wins
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
