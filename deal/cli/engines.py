"""``deal engines``: TensorRT engines, built ahead, listed and removed."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from deal.cli.common import GroupedCommand, key_value, option
from deal.errors import UsageError
from deal.text import printable

if TYPE_CHECKING:
    from deal.engines.tensorrt_cache import EngineCache, Entry

__all__ = ["command"]

_KEY = 12  # letters of a key that are shown, and enough to name it
_DAY = 86400


@click.command(
    cls=GroupedCommand,
    short_help="Build TensorRT engines ahead, list and remove them.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="deal engines camvid-fp16.onnx --batch-size 32\n\ndeal engines --remove all",
)
@click.argument("models", nargs=-1, type=click.Path())
@option("Building", "--device", default="auto", show_default=True, metavar="auto|cuda|cuda:N")
@option(
    "Building",
    "--batch-size",
    type=click.IntRange(min=1),
    help="As deal score will be given: another one is another engine. [default: 32]",
)
@option(
    "Building",
    "--model-option",
    "model_options",
    multiple=True,
    metavar="KEY=VALUE",
    help="As deal score will be given; repeatable.",
)
@option(
    "Removing",
    "--remove",
    "removed",
    multiple=True,
    metavar="KEY|all",
    help="Delete the engine of this key, as it is listed; repeatable.",
)
@option("Output", "--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(
    models: Sequence[str],
    device: str,
    batch_size: int | None,
    model_options: Sequence[str],
    removed: Sequence[str],
    as_json: bool,
) -> None:
    """Build the engines of ONNX MODELS ahead of deal score --engine trt, and list all.

    An engine is built at its first use anyway, which takes minutes. Engines are kept in
    $DEAL_CACHE/engines, else in the user's cache directory, and are of use only where they were
    built: not on another GPU, nor after a new driver or TensorRT.
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
                f"--remove {key}: {len(found)} engines are called that; give a key of those that "
                "deal engines lists"
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
