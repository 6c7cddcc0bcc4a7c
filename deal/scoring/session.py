"""``Session``: a network and everything that scores its outputs, for one thread of a run."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions import Bound, bind
from deal.acquisitions.measures import Measure, measure_of
from deal.engines.base import as_numpy
from deal.engines.device import DEFAULT_BATCH
from deal.errors import ItemError, UsageError
from deal.machine.meter import Meter
from deal.model.placing import Placement
from deal.model.spec import ModelSpec, choose_difficulty
from deal.scoring.batch_scores import BatchScores, failure_of, joined
from deal.scoring.columns import scores_of
from deal.scoring.committee import Committee, Members
from deal.scoring.doubts import doubts_of_spec
from deal.scoring.inputs import ImageExtras, InputGroup, Inputs, extras_of
from deal.scoring.kept import KeptOutput
from deal.scoring.mapmaker import MapMaker
from deal.scoring.maps import ClassMap, Maps, ScoreMap
from deal.scoring.options import Scoring, ScoringOptions
from deal.scoring.region_plan import RegionPlan, Regions
from deal.scoring.statistics import Kernel
from deal.types import EngineOutput, Statistics

__all__ = ["Session"]

_BATCH = 8

Image8 = NDArray[np.uint8]


class Session:
    """One network with everything that scores its outputs, for one thread; `Scorer` wraps it.

    Parameters
    ----------
    model : path or sequence of paths
        Several models are a committee.
    scoring : Scoring
    region_score : str or mapping, optional
        As in `Scorer`.

    Attributes
    ----------
    nothing : BatchScores
        The scores of an empty batch, which show names, dtypes and widths of all columns.
    doubts : tuple of str
        Warnings from opening the models, one sentence each; usually empty.
    meter : Meter
        Seconds by stage (:class:`deal.RunReport`), including sessions opened by :meth:`again`.

    Raises
    ------
    UsageError, EngineUnavailableError, ModelError
        As in `Scorer`.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        scoring: Scoring,
        region_score: str | Mapping[str, Any] | None = None,
    ) -> None:
        runtime, network, pixels = scoring.runtime, scoring.network, scoring.pixels
        chosen = scoring.choice
        self._threads = runtime.threads
        self._batch_size = runtime.batch_size
        self._opened: Committee | None = Committee(
            Members.of(model, scoring.voting),
            runtime.engine,
            runtime.device,
            runtime.precision,
            runtime.threads,
            network.model_options,
            runtime.batch_size,
        )
        self.doubts = (*self._engine.doubts, *doubts_of_spec(self.spec))
        self._inputs = Inputs(
            self.spec,
            pixels.raster,
            pixels.mask,
            chosen.regions,
            scaled_decode=pixels.scaled_decode,
        )
        self._head, self._from_graph = choose_difficulty(self.spec, network.difficulty_head)
        self._kernel = Kernel(self.spec, self._head, self._from_graph, runtime.threads)
        self.meter = Meter()
        self._plan = RegionPlan(
            chosen.regions, self._bound(region_score), chosen.keep_regions, chosen.outlines
        )
        self.nothing = self._no_rows()
        self._plan.check(self.nothing.regions or ())

    @classmethod
    def open(
        cls,
        model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        region_score: str | Mapping[str, Any] | None = None,
        **options: Unpack[ScoringOptions],
    ) -> Session:
        """Open a session with options by keyword, as `Scorer` takes them."""
        return cls(model, Scoring.of(**options), region_score)

    @property
    def _engine(self) -> Committee:
        if self._opened is None:
            raise UsageError("the scorer is closed: open another one")
        return self._opened

    @property
    def spec(self) -> ModelSpec:
        """The contract of the first model, with options applied."""
        return self._engine.spec

    @property
    def device(self) -> str:
        """The device in use: ``cpu`` or ``cuda:<index>``."""
        return self._engine.model.device

    @property
    def engine(self) -> str:
        """Name of the engine in use."""
        return self._engine.model.name

    @property
    def batch_size(self) -> int:
        """Images that go through the network together."""
        default = _BATCH if self.device == "cpu" else DEFAULT_BATCH
        return self._engine.model.batch or self._batch_size or default

    @property
    def has_committee(self) -> bool:
        """Whether several members vote: models, mirrored or dropout passes."""
        return self._engine.size > 1

    @property
    def has_difficulty(self) -> bool:
        """Whether difficulty comes from an option, from the graph or from its metadata."""
        return self._head is not None or self._from_graph

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def again(self, *, threads: int | None = None) -> Session:
        """Open the same networks once more, for another thread, without repeating the checks.

        ``threads`` changes the number of threads for network and kernel; None keeps it.
        """
        twin = copy.copy(self)
        twin._threads = self._threads if threads is None else threads
        twin._opened = self._engine.again(twin._threads)
        twin._kernel = self._kernel.again(twin._threads)
        return twin

    def close(self) -> None:
        """Release the network; later calls raise UsageError. Closing twice is harmless."""
        self._opened = None

    @property
    def at_least(self) -> tuple[int, int] | None:
        """The least (H, W) to which images may be scaled while decoding; None: decode in full."""
        return self._inputs.at_least

    def sizes(self, original: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Sizes (H, W) of an image's network input and raster; raises ItemError ``size``."""
        return self._inputs.sizes(original)

    def prepared(
        self,
        image: Image8,
        *,
        original: tuple[int, int] | None = None,
        item_id: str | None = None,
        camera: str | None = None,
    ) -> tuple[Image8, ImageExtras]:
        """Do the part of :meth:`score_batch` that comes before the network, for one image.

        Any thread may call this. Raises ItemError ``segments`` or ``size``.

        Parameters
        ----------
        image : ndarray of uint8 [H, W, 3]
        original : (H, W), optional
            Size of the oriented original of which ``image`` is a smaller version
            (:attr:`at_least`).
        item_id, camera : str, optional
            They decide which file of segments and which mask are used.

        Returns
        -------
        image : ndarray of uint8 [h, w, 3]
            At the network's input size.
        extras : ImageExtras
            The image's segments or superpixels, camera and original size.
        """
        return self._inputs.prepared(image, original=original, item_id=item_id, camera=camera)

    def score_batch(
        self,
        images: Sequence[Image8],
        extras: Sequence[ImageExtras] | None = None,
        *,
        keep: Callable[[InputGroup, Sequence[int], EngineOutput], None] | None = None,
    ) -> BatchScores:
        """Score a batch; images of equal size go through the network together.

        ``extras`` has one entry per image (:meth:`prepared`), and ``keep`` is called with each
        group, its rows that are ok, and its output. An image that fails is in ``failures`` and
        nowhere else. Raises UsageError for an item that is not a uint8 RGB image, or another number
        of extras.
        """
        extras = extras_of(len(images)) if extras is None else extras
        groups, failures = self._inputs.groups(images, extras)
        parts = []
        for group in groups:
            output = self._engine.infer(group.images)
            regions, crowded = self._regions_of(group, output)
            stats = self._statistics(output, group, regions)
            self.meter.add(self._engine.take_seconds())
            ok = []
            for row, index in enumerate(group.indices):
                error = failure_of(stats, row) or crowded.get(row)
                if error is None:
                    ok.append(row)
                else:
                    failures[index] = error
            if keep is not None:
                keep(group, ok, output)
            parts.append(
                scores_of(group, stats, as_numpy(output.embedding), ok, regions, self._plan)
            )
        return joined(parts or [self.nothing], failures)

    def difficulty_maps(self, images: Sequence[Image8]) -> list[NDArray[np.float32] | None]:
        """Difficulty [H, W] in 0…1 on the raster of each image; None for an image that fails.

        Masked pixels also get a difficulty. For a model that boxes or crops, the map covers the
        whole resized image without padding, and is 0 where the image is cut off. The maps are
        computed on the host, even if the network runs on a device. Raises UsageError for a model
        without difficulty.
        """
        if not self.has_difficulty:
            raise UsageError(
                f"model {self.spec.path} has no difficulty: give a difficulty_head (deal fit-head "
                "--model MODEL --data LABELED -o head.json fits one)"
            )
        return self._maps.difficulty(images)

    def predict(
        self, images: Sequence[Image8], *, cameras: Sequence[str | None] | None = None
    ) -> list[ClassMap | None]:
        """Predicted class of every pixel; :meth:`deal.Scorer.predict` documents it."""
        return self._maps.classes(images, cameras)

    def maps(
        self,
        images: Sequence[Image8],
        *,
        acquisition: str | Mapping[str, Any] | None = None,
        cameras: Sequence[str | None] | None = None,
    ) -> list[Maps | None]:
        """Maps of every pixel at each image's own size; None for an image that fails.

        The maps are computed on the host, even if the network runs on a device. With a committee
        they are those of the first model, except ``score``.

        Parameters
        ----------
        images : sequence of ndarray of uint8 [H, W, 3]
            Oriented RGB, of any sizes.
        acquisition : str or mapping, optional
            The function whose measure ``score`` shows, as ``region_score`` names it; ``ds`` by
            default, ``entropy`` for a model without difficulty.
        cameras : sequence of str or None, optional
            For masks by camera: one name per image.

        Raises
        ------
        UsageError
            An item is not a uint8 RGB image, the function or one of its options is unknown, or it
            needs a committee and there is none.
        """
        found = self.maps_or_errors(images, acquisition=acquisition, cameras=cameras)
        return [None if isinstance(maps, ItemError) else maps for maps in found]

    def maps_or_errors(
        self,
        images: Sequence[Image8],
        *,
        acquisition: str | Mapping[str, Any] | None = None,
        cameras: Sequence[str | None] | None = None,
        outputs: Sequence[KeptOutput | None] | None = None,
    ) -> list[Maps | ItemError]:
        """What :meth:`maps` gives, with the reason for each image that fails.

        ``outputs`` has one entry per image: what the network gave for it before, or None.
        """
        return self._maps.maps(images, cameras, self._measure_here(acquisition), outputs)

    def score_maps_or_errors(
        self,
        images: Sequence[Image8],
        *,
        acquisition: str | Mapping[str, Any] | None = None,
        cameras: Sequence[str | None] | None = None,
        outputs: Sequence[KeptOutput | None] | None = None,
    ) -> list[ScoreMap | ItemError]:
        """Classes and score of :meth:`maps_or_errors`, without the work for the others."""
        return self._maps.scores(images, cameras, self._measure_here(acquisition), outputs)

    def _measure_here(self, acquisition: str | Mapping[str, Any] | None) -> Measure:
        measure = self.measure(acquisition)
        if measure.of_committee and not self.has_committee:
            raise UsageError(
                f"{measure.label} needs the votes of a committee: give several models, --flip or "
                "--dropout-passes"
            )
        return measure

    def measure(self, acquisition: str | Mapping[str, Any] | None = None) -> Measure:
        """What :meth:`maps` shows as ``score`` for a function; raises UsageError."""
        return measure_of(self._bound(acquisition, "images"), has_difficulty=self.has_difficulty)

    @property
    def _maps(self) -> MapMaker:
        return MapMaker(
            self._engine,
            self._kernel,
            self._inputs,
            self.has_difficulty,
            self.batch_size,
            self._threads,
        )

    def fingerprint_settings(self) -> dict[str, Any]:
        """Settings that change a stored number, as JSON.

        Device and threads do not, and an engine does only by :meth:`Engine.own_numbers`.
        """
        spec = self.spec
        head = self._head.to_dict() if self._head is not None else None
        committee = self._engine.fingerprint_settings()
        return {
            "model": spec.digest(),
            **spec.number_settings(),
            "difficulty": "graph" if self._from_graph else head,
            **self._inputs.fingerprint_settings(),
            "regions": self._plan.settings(),
            "precision": spec.precision,
            **self._engine.model.own_numbers(),
            **({} if committee is None else {"committee": committee}),
        }

    def _bound(self, score: str | Mapping[str, Any] | None, table: str = "regions") -> Bound:
        default = "ds" if self.has_difficulty else "entropy"
        options = dict(score) if isinstance(score, Mapping) else {"acquisition": score or default}
        name = options.pop("acquisition")
        return bind(name, table=table, classes=self.spec.classes, **options)

    def _regions_of(
        self, group: InputGroup, output: EngineOutput
    ) -> tuple[Regions, dict[int, ItemError]]:
        return self._plan.regions(group, output.logits, self.spec.align_corners, self._threads)

    def _statistics(self, output: EngineOutput, group: InputGroup, regions: Regions) -> Statistics:
        return self._kernel.statistics(output, group.size, regions, group.mask, self.meter)

    def _no_rows(self) -> BatchScores:
        """The scores of an empty batch, which show names, dtypes and widths of all columns."""
        floats = np.zeros((1, self.spec.num_classes, 1, 1), np.float32)
        width = self._engine.model.embedding_size
        embedding = None if width is None else np.zeros((1, width), np.float32)
        members = np.stack([floats] * 2) if self.has_committee else None
        output = EngineOutput(floats, floats[:, :1], embedding, members)
        segments = [np.zeros((1, 1), np.int32)]
        place = Placement((1, 1), (1, 1))
        group = InputGroup((1, 1), [0], originals=[(1, 1)], placements=[place], segments=segments)
        regions, _ = self._regions_of(group, output)
        stats = self._statistics(output, group, regions)
        return scores_of(group, stats, embedding, [], regions, self._plan)
