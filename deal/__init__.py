"""Difficulty-aware active learning for semantic segmentation: what to label next.

Score a pool of images and choose which to label, without writing any code around it::

    deal.score_pool("pool/", model="model.onnx", output="out/")    # the network runs once
    deal.select(["out/"], acquisition="de", budget=500).ids        # ask again in milliseconds

Score images that are already in memory::

    with deal.Scorer("model.onnx") as scorer:
        columns = scorer.score([image])                            # uint8 [H, W, 3], RGB

Score logits of a network that runs elsewhere::

    head = deal.DifficultyHead.load("head.json")                   # deal.fit_head writes it
    statistics = deal.score_logits(logits, size=(360, 480), head=head)
    deal.acquisition_scores(statistics.images, "ds:entropy")

Hand them to a labeling tool, and take the labels back::

    deal.annotate("out/", to="label-studio", output="tasks/")
    deal.collect("export.json", from_="label-studio", output="labeled/", tasks="tasks/")

Select from frames as they come, on a rig::

    stream = deal.Stream(budget=500, min_gap="2s")
    for decision in stream.push("0001.jpg", score=0.3, timestamp_ns=time_ns):
        print(decision.action, decision.id, decision.why)          # keep, evict or drop

Score on a Ray cluster::

    deal.ray.score("pool.parquet", model="model.onnx", output="out/")

Score on an engine of your own choice, many processes at once, into one output::

    rows = deal.BatchScorer("model.onnx")(items)                   # tables: id, uri, bytes, …
    deal.results.write(table, "out/")                              # rows of image columns
    deal.results.open("out/").missing("pool.parquet")              # what has no row yet
    deal.results.compact("out/")                                   # few parts of many

Add an acquisition function of your own with ``@deal.acquisition``.

Public names are imported on first use, so that ``import deal`` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deal._namesake import warn_of_namesake
from deal._version import __version__

if TYPE_CHECKING:
    import deal.ray as ray
    import deal.results as results
    from deal.acquisitions.binding import acquisition_scores
    from deal.acquisitions.plugins import load_plugin
    from deal.acquisitions.registry import acquisition, acquisition_names
    from deal.annotation.collect import Collection, collect
    from deal.annotation.export import Annotation, annotate
    from deal.errors import (
        DealError,
        EngineUnavailableError,
        ItemError,
        ModelError,
        OutputError,
        PoolError,
        ResultsError,
        TooManyErrorsError,
        UsageError,
    )
    from deal.fitting import FitReport, fit_head
    from deal.kernel.geometry import components
    from deal.kernel.regions import Grid, Segments
    from deal.kernel.statistics import difficulty_map, score_logits
    from deal.model.head import DifficultyHead
    from deal.model.spec import ModelSpec, read_spec
    from deal.regions.sources import Components, GivenSegments, Superpixels
    from deal.results.frames import Results
    from deal.results.reading import read_regions, read_results
    from deal.rig.recorder import Recorder
    from deal.run.batch_scorer import BatchScorer
    from deal.run.pipeline import score_pool
    from deal.run.progress import InterruptedRunError, Progress, RunReport
    from deal.scoring.scorer import Scorer
    from deal.selection import Selection, select
    from deal.selection.stream import Decision, Stream
    from deal.types import Statistics
    from deal.viewing.view import view
else:  # type checkers take a module with __getattr__ to have every name
    from deal._lazy import on_first_use

    __getattr__ = on_first_use(
        __name__,
        {
            "Annotation": "deal.annotation.export",
            "BatchScorer": "deal.run.batch_scorer",
            "Collection": "deal.annotation.collect",
            "Components": "deal.regions.sources",
            "DealError": "deal.errors",
            "Decision": "deal.selection.stream",
            "DifficultyHead": "deal.model.head",
            "EngineUnavailableError": "deal.errors",
            "FitReport": "deal.fitting",
            "GivenSegments": "deal.regions.sources",
            "Grid": "deal.kernel.regions",
            "InterruptedRunError": "deal.run.progress",
            "ItemError": "deal.errors",
            "ModelError": "deal.errors",
            "ModelSpec": "deal.model.spec",
            "OutputError": "deal.errors",
            "PoolError": "deal.errors",
            "Progress": "deal.run.progress",
            "Recorder": "deal.rig.recorder",
            "Results": "deal.results.frames",
            "ResultsError": "deal.errors",
            "RunReport": "deal.run.progress",
            "Scorer": "deal.scoring.scorer",
            "Segments": "deal.kernel.regions",
            "Selection": "deal.selection",
            "Statistics": "deal.types",
            "Stream": "deal.selection.stream",
            "Superpixels": "deal.regions.sources",
            "TooManyErrorsError": "deal.errors",
            "UsageError": "deal.errors",
            "acquisition": "deal.acquisitions.registry",
            "acquisition_names": "deal.acquisitions.registry",
            "acquisition_scores": "deal.acquisitions.binding",
            "annotate": "deal.annotation.export",
            "collect": "deal.annotation.collect",
            "components": "deal.kernel.geometry",
            "difficulty_map": "deal.kernel.statistics",
            "fit_head": "deal.fitting",
            "load_plugin": "deal.acquisitions.plugins",
            "ray": "deal.ray",
            "read_regions": "deal.results.reading",
            "read_results": "deal.results.reading",
            "read_spec": "deal.model.spec",
            "results": "deal.results",
            "score_logits": "deal.kernel.statistics",
            "score_pool": "deal.run.pipeline",
            "select": "deal.selection",
            "view": "deal.viewing.view",
        },
    )

__all__ = [
    "Annotation",
    "BatchScorer",
    "Collection",
    "Components",
    "DealError",
    "Decision",
    "DifficultyHead",
    "EngineUnavailableError",
    "FitReport",
    "GivenSegments",
    "Grid",
    "InterruptedRunError",
    "ItemError",
    "ModelError",
    "ModelSpec",
    "OutputError",
    "PoolError",
    "Progress",
    "Recorder",
    "Results",
    "ResultsError",
    "RunReport",
    "Scorer",
    "Segments",
    "Selection",
    "Statistics",
    "Stream",
    "Superpixels",
    "TooManyErrorsError",
    "UsageError",
    "__version__",
    "acquisition",
    "acquisition_names",
    "acquisition_scores",
    "annotate",
    "collect",
    "components",
    "difficulty_map",
    "fit_head",
    "load_plugin",
    "ray",
    "read_regions",
    "read_results",
    "read_spec",
    "results",
    "score_logits",
    "score_pool",
    "select",
    "view",
]

warn_of_namesake()


def __dir__() -> list[str]:
    return sorted(__all__)
