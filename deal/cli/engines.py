"""``deal engines``: build, list and remove TensorRT engines."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from deal.cli.common import key_value
from deal.cli.grouped import GroupedCommand, option
from deal.errors import UsageError
from deal.text import printable

if TYPE_CHECKING:
    from deal.engines.tensorrt_cache import EngineCache, Entry

__all__ = ["command"]

_KEY = 12  # letters of a key that are shown, and enough to name it
_DAY = 86400


@click.command(
    cls=GroupedCommand,
    short_help="Build, list and remove TensorRT engines.",
    examples=["deal engines camvid-fp16.onnx --batch-size 32", "deal engines --remove all"],
)
@click.argument("models", nargs=-1, type=click.Path())
@option(
    "Building",
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cuda|cuda:N",
    help="Build for this GPU. auto: the first one.",
)
@option(
    "Building",
    "--batch-size",
    type=click.IntRange(min=1),
    metavar="N",
    help="The --batch-size you will give to deal score; each size needs its own engine. Default: "
    "32.",
)
@option(
    "Building",
    "--model-option",
    "model_options",
    multiple=True,
    metavar="KEY=VALUE",
    help="A --model-option you will give to deal score. Repeatable.",
)
@option(
    "Removing",
    "--remove",
    "removed",
    multiple=True,
    metavar="KEY|all",
    help="Remove the engine with this key from the list, or all. Repeatable.",
)
@option("Output", "--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    models: Sequence[str],
    device: str,
    batch_size: int | None,
    model_options: Sequence[str],
    removed: Sequence[str],
    as_json: bool,
) -> None:
    """Build TensorRT engines of the ONNX files MODELS, and list all engines.

    `deal score --engine trt` builds a missing engine by itself, which takes minutes; this command
    builds it ahead of time. Engines lie in $DEAL_CACHE/engines, or in your cache directory. An
    engine works only on the GPU, driver and TensorRT that it was built with.
    """
    from deal.engines.tensorrt_cache import EngineCache

    if models and removed:
        raise UsageError("build engines or remove some: give MODELS or --remove")
    cache = EngineCache()
    for model in models:
        _build(model, device, batch_size, dict(map(key_value, model_options)))
    for entry in _chosen(cache, removed):
        cache.remove(entry)
    entries = cache.entries()
    if as_json:
        click.echo(json.dumps({"folder": str(cache.folder), "engines": list(map(_told, entries))}))
        return
    size = sum(entry.size for entry in entries) / 1e6
    click.echo(f"{len(entries)} engines, {size:.0f} MB in {printable(str(cache.folder))}")
    for entry in sorted(entries, key=lambda entry: -entry.used):
        click.echo(printable(_line(entry)))


def _build(model: str, device: str, batch_size: int | None, options: dict[str, Any]) -> None:
    from deal.engines import open_engine

    open_engine(model, "trt", device, options=options or None, batch_size=batch_size)


def _chosen(cache: EngineCache, keys: Sequence[str]) -> list[Entry]:
    entries = cache.entries()
    if "all" in keys:
        return entries
    chosen = []
    for key in keys:
        found = [entry for entry in entries if entry.path.stem.startswith(key)]
        if len(found) != 1 or len(key) < 4:
            raise UsageError(
                f"--remove {key}: {len(found)} engines match; give at least 4 letters of a key "
                "that deal engines lists"
            )
        chosen += found
    return chosen


def _told(entry: Entry) -> dict[str, Any]:
    return {
        "key": entry.path.stem,
        "name": entry.name,
        "bytes": entry.size,
        "used": entry.used,
        "facts": entry.facts,
    }


def _line(entry: Entry) -> str:
    facts = entry.facts
    inputs = ", ".join(
        f"{name} {'×'.join(map(str, shapes[-1]))}" for name, shapes in facts["inputs"].items()
    )
    days = max(time.time() - entry.used, 0) // _DAY
    return (
        f"  {entry.path.stem[:_KEY]}  {entry.size / 1e6:6.1f} MB  used {days:.0f} days ago  "
        f"{entry.name} ({facts['model'][:_KEY]})  {inputs}  "
        f"TensorRT {facts['tensorrt']}  {facts['gpu']}  driver {facts['driver']}"
    )
