"""``Scorer``: decoded images in, columns of statistics out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from deal._options import takes
from deal.errors import ModelError
from deal.model.spec import ModelSpec
from deal.scoring.batch_scores import BatchScores, Columns, tabulated
from deal.scoring.faults import network_fault
from deal.scoring.inputs import ImageExtras, check_images, extras_of
from deal.scoring.maps import ClassMap
from deal.scoring.options import CONCERNS, ScoringOptions
from deal.scoring.session import Session

__all__ = ["Scorer"]

Image8 = NDArray[np.uint8]


@takes(ScoringOptions, *CONCERNS)
class Scorer:
    """Scores decoded images with one network. Use one per thread.

    Parameters
    ----------
    model : path, or sequence of paths
        ONNX file, or checkpoint of ``deal train`` (engine ``torch``). Several models are a
        committee and also give the columns ``vote_entropy_mean``, ``mutual_information_mean`` and
        ``consensus_entropy_mean``. All other columns are those of the first model.
    region_score : str or mapping, optional
        The acquisition function by which ``keep_regions`` chooses, by name or as
        ``{"acquisition": name, …}`` with its options; ``ds`` by default, ``entropy`` for a model
        without difficulty. Ties go by region number.

    Raises
    ------
    UsageError, EngineUnavailableError, ModelError
        An option is invalid, the engine or device is missing, or the model breaks its contract.
        Everything that can be checked without images is checked here.

    Examples
    --------
    >>> with deal.Scorer("model.onnx", engine="ort", device="cpu") as scorer:
    ...     columns = scorer.score([image])
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        region_score: str | Mapping[str, Any] | None = None,
        **options: Unpack[ScoringOptions],
    ) -> None:
        self._session = Session.open(model, region_score=region_score, **options)
        self._sizes_run: set[tuple[int, int]] = set()

    @property
    def spec(self) -> ModelSpec:
        """The contract of the first model, with options applied."""
        return self._session.spec

    @property
    def device(self) -> str:
        """The device in use: ``cpu`` or ``cuda:<index>``."""
        return self._session.device

    @property
    def engine(self) -> str:
        """Name of the engine in use, also where ``auto`` was asked for."""
        return self._session.engine

    @property
    def batch_size(self) -> int:
        """Images that go through the network together."""
        return self._session.batch_size

    @property
    def doubts(self) -> tuple[str, ...]:
        """Warnings from opening the models, one sentence each; usually empty."""
        return self._session.doubts

    @property
    def has_committee(self) -> bool:
        """Whether several members vote; if not, the columns of a committee are absent."""
        return self._session.has_committee

    @property
    def has_difficulty(self) -> bool:
        """Whether difficulty comes from an option, from the graph or from its metadata.

        If not, difficulty columns are absent, and ``ds`` and ``de`` cannot be computed.
        """
        return self._session.has_difficulty

    def __enter__(self) -> Scorer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the network; later calls raise UsageError. Closing twice is harmless."""
        self._session.close()

    def score(
        self,
        images: Sequence[Image8],
        *,
        segments: Sequence[NDArray[Any]] | None = None,
        cameras: Sequence[str | None] | None = None,
    ) -> Columns:
        """Score images, one row per image, as :meth:`score_with_regions` but without regions."""
        return self.score_with_regions(images, segments=segments, cameras=cameras)[0]

    def score_with_regions(
        self,
        images: Sequence[Image8],
        *,
        segments: Sequence[NDArray[Any]] | None = None,
        cameras: Sequence[str | None] | None = None,
    ) -> tuple[Columns, Columns | None]:
        """Score images and their regions, one row per image and per region.

        Parameters
        ----------
        images : sequence of ndarray of uint8 [H, W, 3]
            Oriented RGB images, of any sizes.
        segments : sequence of ndarray of integers [H, W], optional
            For ``regions=GivenSegments()``: one map per image, of the image's size; ids below
            65,535, negative for no region.
        cameras : sequence of str or None, optional
            For masks by camera: one name per image.

        Returns
        -------
        images : dict of column name to ndarray [n] or [n, K]
            The columns of ``images/*.parquet`` that derive from pixels, and ``status``
            (``ok`` or ``error``), ``error_code`` and ``error`` (None where ok). An image that the
            network refuses is such a row too. In rows of status ``error`` floats are NaN and counts
            0, but ``width`` and ``height`` are set.
        regions : dict of column name to ndarray [m], or None without regions
            The columns of ``regions/*.parquet``, with ``image``, the index in ``images``, instead
            of ``id``.

        Raises
        ------
        UsageError
            An item is not a uint8 RGB image, or ``segments`` or ``cameras`` do not have one entry
            per image.
        """
        check_images(images)
        session = self._session
        extras, size = extras_of(len(images), segments, cameras), session.batch_size
        batches = (
            scores
            for start in range(0, len(images), size)
            for scores in self._scored(images[start : start + size], extras[start : start + size])
        )
        return tabulated(batches, images, session.nothing)

    def difficulty_maps(self, images: Sequence[Image8]) -> list[NDArray[np.float32] | None]:
        """Difficulty [H, W] in 0…1 on the raster of each image; None for an image that fails.

        ``images`` are uint8 [H, W, 3], oriented RGB. Masked pixels also get a difficulty. The maps
        are computed on the host, even if the network runs on a device. Raises UsageError for a
        model without difficulty.
        """
        check_images(images)
        return self._session.difficulty_maps(images)

    def predict(
        self, images: Sequence[Image8], *, cameras: Sequence[str | None] | None = None
    ) -> list[ClassMap | None]:
        """Predict the class of every pixel.

        The classes are the argmax of the logits, resized bilinearly by the model's own convention.
        An image of the raster's size has as many pixels of each class as ``class_pixels`` counts.
        They are computed on the host, even if the network runs on a device. With a committee they
        are those of the first model.

        Parameters
        ----------
        images : sequence of ndarray of uint8 [H, W, 3]
            Oriented RGB, of any sizes.
        cameras : sequence of str or None, optional
            For masks by camera: one name per image.

        Returns
        -------
        list of ndarray of uint8 [H, W], or None
            One per image, at the image's own size: the index of the predicted class, or 255 where
            the image is masked, or cut off by a model that crops. A model of more than 255 classes
            gives uint16 and 65,535. None for an image that fails.

        Raises
        ------
        UsageError
            An item is not a uint8 RGB image, or ``cameras`` does not have one entry per image.
        """
        check_images(images)
        return self._session.predict(images, cameras=cameras)

    def _scored(
        self, images: Sequence[Image8], extras: Sequence[ImageExtras]
    ) -> Iterator[BatchScores]:
        """Score a batch; if the network refuses it, image by image, so that one fails alone."""
        session = self._session
        try:
            scores = session.score_batch(images, extras)
        except (ModelError, MemoryError, RuntimeError) as error:
            if len(images) > 1:
                for image, extra in zip(images, extras, strict=True):
                    yield from self._scored([image], [extra])
                return
            size = session.sizes(images[0].shape[:2])[0]
            failure = network_fault(error, size, fits=size in self._sizes_run)
            nothing = session.nothing
            yield BatchScores(nothing.ok, nothing.columns, nothing.regions, {0: failure})
            return
        self._sizes_run.update(session.sizes(images[index].shape[:2])[0] for index in scores.ok)
        yield scores
