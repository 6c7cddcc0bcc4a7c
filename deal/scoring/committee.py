"""A committee: several models, mirrored and dropout passes behind the interface of one engine.

Member 0 is the main model: its contract decides raster and resize, and its difficulty is stored.
The others only vote. Every member sees the same resized image, normalised by its own contract.

Disagreement under mirroring is the score of EquAL: Golestaneh & Kitani, "Importance of
self-consistency in active learning for semantic segmentation", BMVC 2020. Dropout passes:
:mod:`deal.model.dropout`.
"""

from __future__ import annotations

import copy
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import repeat, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deal.engines import open_engine
from deal.engines.base import Images, on_host
from deal.engines.choosing import AUTO, choose_engine
from deal.engines.device import DeviceArray
from deal.errors import ModelError, UsageError
from deal.model.dropout import Masks, draw_masks
from deal.model.spec import ModelSpec
from deal.scoring.options import Voting
from deal.types import EngineOutput

if TYPE_CHECKING:
    from deal.engines.base import Engine

__all__ = ["Committee", "Members"]

_MAX_MEMBERS = 64  # DEAL_MAX_MEMBERS of csrc/abi/deal.h


@dataclass(frozen=True, slots=True)
class Members(Voting):
    """The members that vote: models, and the passes that `Voting` adds.

    Dropout passes cannot be combined with ``flip`` or further models: the source of a disagreement
    would be unclear.

    Attributes
    ----------
    models : tuple of Path
        At least one; the first is member 0.
    """

    models: tuple[Path, ...]

    def __post_init__(self) -> None:
        if not self.models:
            raise UsageError("no model: give one, or several for a committee")
        if self.dropout_passes < 0:
            raise UsageError(f"dropout_passes must be at least 0, not {self.dropout_passes}")
        if not 0 <= self.dropout_seed < 2**63:
            raise UsageError(f"dropout_seed must be in 0…2⁶³−1, not {self.dropout_seed}")
        if self.count > _MAX_MEMBERS:
            raise UsageError(
                f"a committee of {self.count} members: at most {_MAX_MEMBERS} can vote, give fewer "
                "models or passes"
            )
        if self.dropout_passes and (self.flip or len(self.models) > 1):
            raise UsageError(
                "dropout passes work with a single model only: leave out "
                + ("--flip" if self.flip else "the other models")
                + ", or --dropout-passes"
            )

    @classmethod
    def of(
        cls,
        model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        voting: Voting | None = None,
    ) -> Members:
        """Make members of one or several models; UsageError for none, or a bad combination."""
        models = [model] if isinstance(model, (str, os.PathLike)) else model
        return cls(tuple(map(Path, models)), **asdict(voting or Voting()))

    @property
    def count(self) -> int:
        """M, the number of members that vote; 1 means no committee."""
        return len(self.models) * (1 + self.flip) + self.dropout_passes


class Committee:
    """Runs all members of a committee, or a single network, on one device.

    Use it from one thread at a time. Members run one after another, each with all ``threads``.

    Parameters
    ----------
    members : Members
    engine, device, precision, threads, options, batch_size
        As in :func:`deal.engines.open_engine`, the same for every model; ``auto`` is measured on
        the first.

    Attributes
    ----------
    model : Engine
        Member 0.

    Raises
    ------
    UsageError, EngineUnavailableError, ModelError
        As ``open_engine``. Also ModelError if models cannot vote together (their classes, input
        sizes, sampling conventions or logits grids differ), or if dropout passes are asked of a
        model without dropout inputs.
    """

    def __init__(
        self,
        members: Members,
        engine: str = "ort",
        device: str = "auto",
        precision: str | None = None,
        threads: int | None = None,
        options: Mapping[str, Any] | None = None,
        batch_size: int | None = None,
    ) -> None:
        self._members = members
        if engine == AUTO:
            first, *others = members.models
            engine = choose_engine(
                first, device, precision, threads, options, others=others, batch_size=batch_size
            ).engine
        self._open = partial(
            open_engine,
            engine=engine,
            device=device,
            precision=precision,
            threads=threads,
            options=options,
            batch_size=batch_size,
        )
        self._engines: list[Engine] = []
        for path in members.models:
            self._engines.append(self._open(path))
            _check_together(self.spec, self._engines[-1].spec)
        if members.dropout_passes and not self.spec.dropout:
            raise ModelError(
                f"model {self.spec.path} has no inputs for dropout masks, which --dropout-passes "
                "needs: export its checkpoint with deal export --dropout"
            )
        self._masks = [
            draw_masks(self.spec.dropout, members.dropout_seed, index)
            for index in range(1, 1 + members.dropout_passes)
        ]
        self._memory: DeviceArray | None = None  # holds the members' logits on a device
        if len(self._engines) > 1:
            self.infer(self.model.noise(1))

    @property
    def model(self) -> Engine:
        """Member 0, without the others."""
        return self._engines[0]

    @property
    def spec(self) -> ModelSpec:
        """The contract of member 0."""
        return self.model.spec

    @property
    def size(self) -> int:
        """M, the number of members that vote; 1 means no committee."""
        return self._members.count

    @property
    def doubts(self) -> tuple[str, ...]:
        """Warnings from opening the models, one sentence each."""
        return tuple(doubt for engine in self._engines for doubt in engine.doubts)

    @property
    def on_device(self) -> bool:
        """Whether outputs stay on a device.

        They come to the host if members are mirrored or give different dtypes.
        """
        engines = self._engines
        is_alike = not self._members.flip and len({engine.dtype for engine in engines}) == 1
        return is_alike and all(engine.on_device for engine in engines)

    def again(self, threads: int | None = None) -> Committee:
        """Open all members once more, for another thread, without repeating the checks.

        ``threads`` changes the number of threads; None keeps it.
        """
        twin = copy.copy(self)
        if threads is not None:
            twin._open = partial(self._open, threads=threads)
        twin._memory = None
        twin._engines = [
            engine.lane() or twin._open(path, probe=False)
            for engine, path in zip(self._engines, self._members.models, strict=True)
        ]
        return twin

    def take_seconds(self) -> dict[str, float]:
        """Seconds by stage since the last call, summed over all members."""
        total: Counter[str] = Counter()
        for engine in self._engines:
            total.update(engine.take_seconds())
        return dict(total)

    def infer(self, images: Images) -> EngineOutput:
        """Run every member on a batch.

        Parameters
        ----------
        images : ndarray of uint8 [B, H, W, 3], or sequence of [H, W, 3]
            RGB at member 0's input size.

        Returns
        -------
        EngineOutput
            The output of member 0. With more than one member, ``members`` [M, B, C, h, w] holds
            the models in their order, then the models on the mirrored images with their logits
            mirrored back; or the model, then its dropout passes. If members give float16 and
            float32, all come as float32, which changes no value.

        Raises
        ------
        UsageError
            As :meth:`deal.engines.base.Engine.infer`.
        ModelError
            A member cannot be run on such a batch, or its logits lie on another grid.
        """
        if self.size == 1:
            return self.model.infer(images)
        if self.on_device:
            return self._infer_on_device(images)
        images = np.asarray(images)
        first = on_host(self.model.infer(images))
        members = [first.logits]
        for logits in self._others(images):
            self._check_grid(images, len(members), first.logits.shape, logits.shape)
            members.append(logits)
        stacked = np.stack(members)
        return EngineOutput(stacked[0], first.difficulty, first.embedding, stacked)

    def fingerprint_settings(self) -> dict[str, Any] | None:
        """Settings of other members that change stored numbers, as JSON; None for one member."""
        if self.size == 1:
            return None
        dropout = None
        if self._masks:
            dropout = {
                "passes": self._members.dropout_passes,
                "seed": self._members.dropout_seed,
                "rates": [layer.rate for layer in self.spec.dropout],
            }
        return {
            "models": [
                {
                    "model": engine.spec.digest(),
                    **engine.spec.number_settings(),
                    **engine.own_numbers(),
                }
                for engine in self._engines[1:]
            ],
            "flip": self._members.flip,
            "dropout": dropout,
        }

    def _others(self, images: NDArray[np.uint8]) -> Iterator[NDArray[Any]]:
        """Logits [B, C, h, w] of members 1 … M-1, in the orientation of the unmirrored image."""
        for engine in self._engines[1:]:
            yield on_host(engine.infer(images)).logits
        if self._members.flip:
            mirrored = np.ascontiguousarray(images[:, :, ::-1])
            for engine in self._engines:
                yield on_host(engine.infer(mirrored)).logits[..., ::-1]
        for masks in self._masks:
            yield on_host(self.model.infer(images, masks)).logits

    def _infer_on_device(self, images: Images) -> EngineOutput:
        """Like :meth:`infer`, but the members' logits stay on the device in one array."""
        runs: list[tuple[int, Engine, Masks | None]] = list(
            zip(range(len(self._engines)), self._engines, repeat(None))
        )
        # The passes share their model's memory, so the model itself runs last, with all outputs.
        runs = [(1 + i, self.model, masks) for i, masks in enumerate(self._masks)] + runs
        first: EngineOutput | None = None
        stack: DeviceArray | None = None
        for place, engine, masks in runs:
            output = engine.infer(images, masks)
            if place == 0:
                first = output
            if stack is None:
                shape, dtype = (self.size, *output.logits.shape), output.logits.dtype
                if self._memory is None or self._memory.nbytes < self.size * output.logits.nbytes:
                    self._memory = DeviceArray.empty(shape, dtype, output.logits.stream)
                stack = self._memory.seen_as(shape, dtype)
            self._check_grid(images, place, stack.shape[1:], output.logits.shape)
            stack.put(place, output.logits)
        assert first is not None
        return EngineOutput(first.logits, first.difficulty, first.embedding, stack)

    def _check_grid(
        self, images: Images, place: int, expected: tuple[int, ...], found: tuple[int, ...]
    ) -> None:
        if found == expected:
            return
        path = self._members.models[place % len(self._members.models)]
        grids = [f"{shape[2]}×{shape[3]}" for shape in (expected, found)]
        raise ModelError(
            f"the committee's logits lie on different grids: {self.spec.path} gives {grids[0]}, "
            f"{path} {grids[1]} (h×w) for an input of {images[0].shape[0]}×{images[0].shape[1]}: "
            "re-export them with the same output stride"
        )


def _check_together(first: ModelSpec, other: ModelSpec) -> None:
    """Refuse a model that cannot vote with member 0 (ModelError)."""
    where = f"{first.path} and {other.path} cannot be members of one committee"
    for index, (ours, theirs) in enumerate(zip_longest(first.classes, other.classes)):
        if ours != theirs:
            raise ModelError(
                f"{where}: class {index} is {_class_text(ours)} in the first and "
                f"{_class_text(theirs)} in the second ({first.num_classes} and "
                f"{other.num_classes} classes): give models of the same classes in the same "
                "order; if only names differ, the model option classes names them for all"
            )
    if first.align_corners != other.align_corners:
        raise ModelError(
            f"{where}: align_corners is {first.align_corners} in the first and "
            f"{other.align_corners} in the second: set the model option align_corners for all"
        )
    placing = [
        (spec.resize, spec.pad_value, spec.pad_position)
        for spec in (first, other)
        if spec.resize in ("letterbox", "crop")
    ]
    if len(set(placing)) > 1 or len(placing) == 1:
        raise ModelError(
            f"{where}: the first takes images by resize {first.resize}, the second by resize "
            f"{other.resize}, or they pad differently: set resize, pad_value and pad_position for "
            "all as model options"
        )
    size = first.input_size
    if other.input_size not in (None, size):
        seen = "any size" if size is None else f"{size[0]}×{size[1]}"
        raise ModelError(
            f"{where}: the first takes {seen} (H×W), the second "
            f"{other.input_size[0]}×{other.input_size[1]}: export both for one size, or set the "
            "model option input_size if their graphs take any"
        )
    if any(n % other.size_multiple for n in size or (first.size_multiple,)):
        raise ModelError(
            f"{where}: the first takes "
            + (f"multiples of {first.size_multiple}" if size is None else f"{size[0]}×{size[1]}")
            + f", the second multiples of {other.size_multiple}: set the model option "
            + ("size_multiple" if size is None else "input_size")
            + " to what both take"
        )


def _class_text(name: str | None) -> str:
    return "missing" if name is None else repr(name)
