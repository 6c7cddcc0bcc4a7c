"""Scored results → their model and images once more, for pictures and maps of single images."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions.lookup import find
from deal.errors import DealError, ItemError, ModelError, ResultsError, UsageError
from deal.model.head import DifficultyHead
from deal.model.spec import read_spec
from deal.pool.decode import MAX_PIXELS, decode
from deal.pool.ids import id_to_path
from deal.pool.locator import locate
from deal.pool.remote_path import place
from deal.results.reading import iter_results
from deal.scoring.faults import fault
from deal.scoring.kept import KeptOutput
from deal.scoring.maps import Maps
from deal.scoring.masks import load_masks
from deal.scoring.session import Session
from deal.types import PoolItem

__all__ = [
    "StoredImage",
    "decode_and_map",
    "function_of",
    "latest_run",
    "map_pass",
    "model_palette",
    "ranking_function",
    "reopen",
    "shown_function",
    "stored_images",
]

Source = str | os.PathLike[str]
Drawn = TypeVar("Drawn")
Mapped: TypeAlias = "tuple[str, NDArray[np.uint8], Maps] | tuple[str, None, ItemError]"

_NAMED = ("engine", "flip", "dropout_passes", "dropout_seed", "raster", "scaled_decode")
_NOT_COMPARED = {"regions", "committee", "precision", "int8_by", "scaled_decode"}
_REOPENED = ("ort", "openvino", "torch")


@dataclass(frozen=True, slots=True)
class StoredImage:
    """Where the results say that an image lies, and what maps need to know of it.

    Attributes
    ----------
    item : PoolItem
    status : str
    size : (H, W) of the oriented original when it was scored, or None
    """

    item: PoolItem
    status: str
    size: tuple[int, int] | None


def latest_run(output: Source) -> dict[str, Any] | None:
    """The record of the latest run into an output folder (``runs/*.json``); None without one.

    Raises
    ------
    ResultsError
        A record cannot be read.
    """
    runs = []
    for path in sorted(place(output).glob("runs/*-of-*.json")):
        try:
            record = json.loads(path.read_bytes())
            runs.append((str(record["started"]), path.name, record))
            dict(record["settings"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ResultsError(
                f"{path} cannot be read ({error}): delete it, and give the model as --model FILE"
            ) from error
    return max(runs, key=lambda run: run[:2])[2] if runs else None


def model_palette(output: Source, model: Source | None = None) -> Any:
    """The colours of classes of the model that scored, or of ``model``.

    None if the model is no longer there or has none.
    """
    run = latest_run(output) or {}
    paths = run.get("settings", {}).get("model", [])
    try:
        if model is None:
            model = _found(output, paths[0], run) if paths else None
        return None if model is None else read_spec(Path(model)).palette
    except DealError:
        return None


def reopen(
    output: Source,
    model: Source | Sequence[Source] | None = None,
    *,
    engine: str | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> Session:
    """Open the model that scored an output folder, with the settings it was scored with.

    Parameters
    ----------
    output : path
        An output folder of ``deal-score``.
    model : path or sequence of paths, optional
        The model's file where it is now; by default where it was. A single file of a committee is
        enough: it is the first model that classes and difficulty come from.
    engine : str, optional
        By default the engine that scored; ONNX Runtime instead of TensorRT, whose engine may not be
        here. Always in the precision of the model's file.
    device : str
        As in `deal.Scorer`.
    threads : int, optional
        As in `deal.Scorer`.

    Raises
    ------
    ResultsError
        The folder holds no results, its model is gone, or ``model`` is not what scored it.
    UsageError, EngineUnavailableError, ModelError
        As `deal.Scorer` raises them.
    """
    stored = _stored_settings(output)
    run = latest_run(output)
    settings: dict[str, Any] = {} if run is None else run["settings"]
    if model is not None:
        paths = [model] if isinstance(model, (str, os.PathLike)) else list(model)
    elif run is None:
        raise ResultsError(f"{output} does not say which model scored it: give --model FILE")
    else:
        paths = [_found(output, path, run) for path in settings["model"]]
    options: dict[str, Any] = {name: settings[name] for name in _NAMED if name in settings}
    options["model_options"] = settings.get("model_options") or {}
    if len(paths) < len(settings.get("model", [])):
        options |= {"flip": False, "dropout_passes": 0}
    scored_by = options.get("engine")
    options["engine"] = engine or (scored_by if scored_by in _REOPENED else "ort")
    options |= {"raster": stored["raster"], "device": device, "threads": threads}
    if isinstance(stored["difficulty"], dict):
        options["difficulty_head"] = DifficultyHead.from_dict(stored["difficulty"])
    if stored.get("mask") is not None:
        options["mask"] = load_masks(place(output), stored["mask"])
    session = Session.open(paths, **options)
    try:
        _check_same(output, stored, session)
    except BaseException:
        session.close()
        raise
    return session


def ranking_function(output: Source) -> dict[str, Any] | None:
    """The function, with options, by which the selection in an output folder ranks.

    Returns
    -------
    dict or None
        As `Session.maps` takes ``acquisition``; None where no selection is stored, or the function
        is not known here.
    """
    try:
        metadata = json.loads((place(output) / "selection.json").read_bytes())
    except (OSError, ValueError):
        run = latest_run(output)
        metadata = {} if run is None else run["settings"].get("ranking", {})
    return function_of(metadata)


def function_of(metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    """The function, with options, that the metadata of a selection names; None if unknown here."""
    try:
        entry = find(metadata["acquisition"])
    except (KeyError, UsageError):
        return None
    options = {name: metadata[name] for name in entry.options if name in metadata}
    return {"acquisition": entry.name, **options}


def shown_function(
    session: Session, function: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    """The function, if its map can be drawn; None, the default, where only one model is open."""
    needs = session.measure(function).of_committee
    return None if needs and not session.has_committee else function


def stored_images(
    output: Source | Sequence[Source],
    ids: Iterable[str] | None = None,
    *,
    endpoint_url: str | None = None,
) -> dict[str, StoredImage]:
    """Look images up in one or several output folders; all by default, in the order stored.

    ``endpoint_url`` is that of `deal.pool.inside.Reading`.

    Raises ResultsError.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = None if ids is None else pa.array(sorted(set(ids)), pa.string())
    columns = ["id", "uri", "source_version", "camera", "status", "width", "height"]
    found: dict[str, StoredImage] = {}
    for batch in iter_results(output, columns):
        if wanted is not None:
            batch = batch.filter(pc.is_in(batch.column("id"), wanted))
        rows = zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
        for item_id, uri, version, camera, status, width, height in rows:
            place = locate(uri, version, endpoint_url=endpoint_url)
            item = PoolItem(item_id, uri, place, version, camera=camera)
            size = None if width is None or height is None else (height, width)
            found[item_id] = StoredImage(item, status, size)
    return found


def map_pass(
    output: Source | Sequence[Source],
    ids: Iterable[str],
    session: Session,
    *,
    acquisition: str | Mapping[str, Any] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[Mapped]:
    """Read images again, by where the results say they lie, and draw their maps.

    Parameters
    ----------
    output : path or sequence of paths
        Output folders of ``deal-score``.
    ids : iterable of str
    session : Session
        As :func:`reopen` opens it.
    acquisition : str or mapping, optional
        The function whose measure ``score`` of the maps shows; by default that of the selection in
        the (first) folder.
    max_pixels : int
        Larger images are not decoded.

    Yields
    ------
    id : str
    pixels : ndarray of uint8 [H, W, 3], or None
        The oriented original; None for an image that failed.
    maps : Maps, or ItemError
        Maps of that size; for an image that failed, the reason.
    """
    names = list(ids)
    if acquisition is None:
        first = output if isinstance(output, (str, os.PathLike)) else output[0]
        acquisition = shown_function(session, ranking_function(first))
    images = stored_images(output, names)
    for item_id in names:
        try:
            if item_id not in images:
                raise ItemError("io", "no row of the results has this id")
            pixels, maps = decode_and_map(
                images[item_id],
                session.maps_or_errors,
                acquisition=acquisition,
                max_pixels=max_pixels,
            )
        except (ItemError, MemoryError, ModelError, RuntimeError) as error:
            yield item_id, None, fault(error, "drawing its maps")
        else:
            yield item_id, pixels, maps


def decode_and_map(
    image: StoredImage,
    draw: Callable[..., Sequence[Drawn | ItemError]],
    *,
    acquisition: str | Mapping[str, Any] | None,
    max_pixels: int = MAX_PIXELS,
    known: KeptOutput | None = None,
) -> tuple[NDArray[np.uint8], Drawn]:
    """Decode one stored image and draw its maps; raises ItemError with the reason why not.

    ``draw`` is `Session.maps_or_errors`, or `Session.score_maps_or_errors` for the maps that rank.
    With an output that is ``known`` the network does not run.
    """
    pixels = _decoded(image, max_pixels)
    cameras = [image.item.camera]
    found = draw([pixels], acquisition=acquisition, cameras=cameras, outputs=[known])[0]
    if isinstance(found, ItemError):
        raise found
    return pixels, found


def _decoded(image: StoredImage, max_pixels: int) -> NDArray[np.uint8]:
    pixels = decode(image.item, max_pixels=max_pixels).image
    height, width = pixels.shape[:2]
    if image.size not in (None, (height, width)):
        assert image.size is not None
        raise ItemError(
            "size",
            f"the file is now {width}×{height} pixels, it was {image.size[1]}×{image.size[0]} when "
            "it was scored: score the pool again",
        )
    return pixels


def _stored_settings(output: Source) -> dict[str, Any]:
    """The settings that changed a stored number, from the footer of a part."""
    metadata = next(iter_results(output, ["id"])).schema.metadata or {}
    settings: dict[str, Any] = json.loads(metadata[b"deal.settings"])
    return settings


def _found(output: Source, path: str, run: Mapping[str, Any]) -> str:
    """Where the model of a run lies; a relative path may count from the folder the run ran in."""
    name = id_to_path(path)
    for folder in ("", id_to_path(run.get("working_folder", ""))):
        found = Path(folder) / name
        if found.exists():
            return str(found)
    raise ResultsError(
        f"the model that scored {output} is gone: {path} does not exist; give the same model as "
        "--model FILE"
    )


def _check_same(output: Source, stored: Mapping[str, Any], session: Session) -> None:
    """ResultsError if the session would not compute the numbers that are stored."""
    given = session.fingerprint_settings()
    if given["model"] != stored["model"]:
        raise ResultsError(
            f"{session.spec.path} is not the model that scored {output}, or was changed since: "
            "give that model as --model FILE, or score the pool again"
        )
    for name in given.keys() - _NOT_COMPARED:
        if json.dumps(given[name], sort_keys=True) != json.dumps(stored.get(name), sort_keys=True):
            raise ResultsError(
                f"{session.spec.path} is read with another {name} than when {output} was scored: "
                f"{stored.get(name)} → {given[name]}; score the pool again"
            )
