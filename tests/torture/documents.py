"""Damaged manifests, heads, side-cars and parts: refused by one clear error, or read right."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from pyarrow import parquet

from deal import DifficultyHead
from deal.errors import DealError
from deal.model.spec import read_spec
from deal.pool.ids import id_to_path
from deal.pool.listing import Pool
from deal.results.reading import read_regions, read_results
from deal.text import printable
from deal.types import FailedItem
from tests.helpers.models import CLASSES, save_model
from tests.helpers.outputs import open_output, write
from tests.torture.cases import Case, Finding
from tests.torture.mutations import damaged, edited

__all__ = ["heads", "manifests", "parts", "side_cars"]


def refused(error: DealError) -> str:
    """The outcome of a refusal, which has to be one line that says something."""
    text = printable(str(error))  # as the command line prints it
    if len(text) < 10:
        raise Finding(f"not a clear line: {text!r}") from error
    return "refused"


# ---- JSON -------------------------------------------------------------------------------------


@contextmanager
def heads(folder: Path) -> Iterator[Case]:
    """Difficulty heads: the numbers that are read are those that the file holds."""
    path = folder / "head.json"
    whole = {"gamma": 0.7, "weight": [0.5, -1.0, 1.5, 0.25], "bias": -0.2, "grid": [6, 8]}
    variants = [
        json.dumps(whole).encode(),
        json.dumps({**whole, "uncertainty_weight": [1, 0, 2.5, -1]}, indent=1).encode(),
        json.dumps({**whole, "grid": None, "provenance": {"by": "fit", "n": [1]}}).encode(),
    ]

    def case(rng: random.Random) -> str:
        path.write_bytes(edited(rng, rng.choice(variants)))
        try:
            head = DifficultyHead.load(path)
        except DealError as error:
            return refused(error)
        values = json.loads(path.read_bytes())
        uncertainty = values.get("uncertainty_weight") or []
        uncertainty = uncertainty if any(uncertainty) else []
        same = (
            [head.gamma, head.bias] == _floats([values["gamma"], values["bias"]])
            and list(head.weight) == _floats(values["weight"])
            and list(head.grid or []) == (values.get("grid") or [])
            and list(head.uncertainty_weight or []) == _floats(uncertainty)
        )
        if not same or not all(map(math.isfinite, (head.gamma, head.bias, *head.weight))):
            raise Finding(f"{head} from {values}")
        return "read right"

    yield case


def _floats(numbers: list[Any]) -> list[float]:
    return list(map(float, numbers))


@contextmanager
def side_cars(folder: Path) -> Iterator[Case]:
    """Side-cars of a model: every key that is taken has the value that the file holds."""
    model = save_model(folder / "m.onnx", floating=True)
    path = folder / "m.json"
    whole = {
        "format": 1,
        "classes": list(CLASSES),
        "palette": [[index, 0, 255] for index in range(5)],
        "ignore_index": 255,
        "input_format": "float-rgb",
        "size_multiple": 4,
        "interpolation": "bilinear-antialias",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "align_corners": True,
        "output_kind": "logits",
        "provenance": {"from": "tests"},
        "difficulty_head": {"gamma": 0.5, "weight": [1, 2, 3, 4, 5], "bias": 0, "grid": None},
    }
    plain = ("ignore_index", "input_format", "size_multiple", "interpolation", "align_corners")
    variants = [json.dumps(whole).encode(), json.dumps(whole, indent=2).encode()]

    def case(rng: random.Random) -> str:
        path.write_bytes(edited(rng, rng.choice(variants)))
        try:
            spec = read_spec(model)
        except DealError as error:
            return refused(error)
        values = json.loads(path.read_bytes())
        found = {name: getattr(spec, name) for name in plain}
        wanted: dict[str, Any] = {name: values.get(name, found[name]) for name in plain}
        for name in ("mean", "std"):
            found[name], wanted[name] = list(getattr(spec, name)), _floats(values[name])
        if isinstance(values["classes"], list):
            found["classes"], wanted["classes"] = list(spec.classes), values["classes"]
        if found != wanted:
            raise Finding(f"{found} from {wanted}")
        return "read right"

    yield case


# ---- manifests --------------------------------------------------------------------------------


@contextmanager
def manifests(folder: Path) -> Iterator[Case]:
    """Manifests of each format: every path that comes out stands in the file."""
    names = [f"a/{index:02}.png" for index in range(6)]
    (folder / "a").mkdir()
    for name in names[::2]:
        (folder / name).write_bytes(b"x")
    records = [
        {"uri": name, "id": f"i{index}", "camera": "front", "timestamp_ns": index * 10**9}
        for index, name in enumerate(names)
    ]
    table = io.StringIO()
    writer = csv.DictWriter(table, list(records[0]))
    writer.writeheader()
    writer.writerows(records)
    as_parquet = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(records), as_parquet)
    variants = {
        ".txt": "".join(f"{name}\n" for name in names).encode(),
        ".csv": table.getvalue().encode(),
        ".jsonl": "".join(f"{json.dumps(record)}\n" for record in records).encode(),
        ".parquet": as_parquet.getvalue(),
    }

    def case(rng: random.Random) -> str:
        suffix = rng.choices(list(variants), [2, 4, 4, 3])[0]
        path = folder / f"m{suffix}"
        content = variants[suffix]
        data = damaged(rng, content, content)[1] if suffix == ".parquet" else edited(rng, content)
        path.write_bytes(data)
        try:
            items = [entry.item if isinstance(entry, FailedItem) else entry for entry in Pool(path)]
        except DealError as error:
            return f"{suffix} {refused(error)}"
        if len({item.id for item in items}) < len(items):
            raise Finding(f"an id stands twice: {items}")
        if suffix == ".parquet":  # nothing in such a file protects its values
            known = {str(folder / name) for name in names}
            right = {id_to_path(item.uri) for item in items} <= known
            return f".parquet read {'right' if right else 'as it is'}"
        known = {os.path.normpath(folder / text) for text in _texts(suffix, data)}
        for item in items:
            found = id_to_path(item.uri)
            if found not in known:
                raise Finding(f"{found!r} does not stand in {data!r}")
        return f"{suffix} read right"

    yield case


def _texts(suffix: str, data: bytes) -> set[str]:
    """Whatever in a manifest may name a path, as Python's own readers see it."""
    text = data.decode("utf-8-sig", "surrogateescape")
    found: set[str] = set()
    if suffix == ".jsonl":
        for line in text.split("\n"):
            try:
                found.update(_leaves(json.loads(line)))
            except ValueError:
                continue
    elif suffix == ".csv":
        for delimiter in ",;\t":
            for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
                found.update(row)
    else:
        found.update(text.split("\n"))
    for name in list(found):
        found.update({name.strip(), name.removesuffix("\r")})
    for name in list(found):
        if name.lower().startswith("file://"):
            found.add(unquote(name[7:], errors="surrogateescape"))
    return {name for name in found if "\0" not in name}


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)


# ---- parts ------------------------------------------------------------------------------------


@contextmanager
def parts(folder: Path) -> Iterator[Case]:
    """Parts of stored tables: refused, or every value is the one that was stored."""
    root = folder / "out"
    with open_output(root) as output:
        write(output, *(f"image-{index:03}" for index in range(40)))
    readers = {"images": read_results, "regions": read_regions}
    files = {name: next((root / name).glob("part-*")) for name in readers}
    contents = {name: path.read_bytes() for name, path in files.items()}
    tables = {name: reader(root) for name, reader in readers.items()}

    def case(rng: random.Random) -> str:
        name = rng.choice(list(files))
        kind, data = damaged(rng, contents[name], contents[rng.choice(list(files))])
        files[name].write_bytes(data)
        try:
            table = readers[name](root)
        except DealError as error:
            return f"{name} {refused(error)}"
        finally:
            files[name].write_bytes(contents[name])
        if not table.equals(tables[name], check_metadata=False):
            raise Finding(f"{name}, {kind}: other values than were stored, without a word")
        return f"{name} read right"

    yield case
