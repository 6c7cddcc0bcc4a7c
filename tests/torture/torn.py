"""Stored files cut or zeroed, as a power cut leaves them: noticed, or without harm."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.torture.cases import Case, Finding
from tests.torture.commands import Workshop, open_workshop
from tests.torture.kills import arguments_text
from tests.torture.mutations import torn

__all__ = ["torn_case", "torn_writes"]


@contextmanager
def torn_writes(folder: Path) -> Iterator[Case]:
    """One file of a finished run is torn, and the same command runs again."""
    with open_workshop(folder) as workshop:
        yield lambda rng: torn_case(rng, workshop)


def torn_case(rng: random.Random, workshop: Workshop, *names: str) -> str:
    operation = workshop.choose(rng, *names)
    with workshop.place(operation) as place:
        arguments = operation.arguments(place)
        if workshop.runner.run(arguments, place).code:
            raise RuntimeError(f"{arguments} failed")
        files = sorted(path for path in place.rglob("*") if path.is_file())
        path = rng.choice([path for path in files if path.suffix != ".toml"])
        content = path.read_bytes()
        hurt = torn(rng, content)
        path.unlink()  # and not in place: a loop's files may have a second name
        path.write_bytes(hurt)
        os.utime(path)
        name = path.relative_to(place)
        done = f"{arguments_text(operation, place)}, {name} torn to {len(hurt)} of {len(content)}"
        ended = workshop.runner.run(arguments, place)
        if ended.code == 0 and operation.outcome(place) == operation.expected:
            return "without harm"
        if ended.code == 0:
            raise Finding(f"{done}: other results without a word")
        lines = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
        if ended.code != 1 or len(lines) != 1 or "internal error" in ended.stderr:
            raise Finding(f"{done}: ended with {ended.code}: {ended.stderr}")
        if operation.before is not None:
            return "refused"
        # The remedy that messages name: delete it and perhaps another file, or its folder.
        if "folder" in lines[0]:
            shutil.rmtree(path.parent)
        else:
            path.unlink(missing_ok=True)
        if also := re.search("delete it and ([^,]+),", lines[0]):
            Path(also[1]).unlink()
        workshop.check(operation, place, f"{done}, refused ({lines[0]}), deleted")
    return "refused, and right without it"
