"""Read a checkpoint of transformers from a folder, without a network and without its code.

https://huggingface.co/docs/transformers/main_classes/model
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import ModelCard
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_INSTANCE_SEGMENTATION_MAPPING_NAMES,
    MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES,
    MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES,
)

from deal.errors import ModelError
from deal.model.strict_json import read_json_object

__all__ = ["CONFIG", "PREPARATION", "HfCheckpoint", "read_checkpoint"]

CONFIG = "config.json"
PREPARATION = "preprocessor_config.json"

_DENSE = frozenset(MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES.values())
_QUERIES = frozenset(
    name
    for names in (
        MODEL_FOR_INSTANCE_SEGMENTATION_MAPPING_NAMES,
        MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES,
    )
    for value in names.values()
    for name in ([value] if isinstance(value, str) else value)
)
_INSTEAD = (
    "SegFormer, UperNet, BEiT, Data2Vec, DPT, MobileNetV2 and MobileViT for semantic segmentation "
    "can be exported"
)
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_BACKGROUND = frozenset({"background", "void", "unlabeled", "unlabelled", "ignore", "unknown"})
_UNTRAINED = "(untrained)"


@dataclass(frozen=True)
class HfCheckpoint:
    """A network of transformers for semantic segmentation, and what its folder says of it.

    Attributes
    ----------
    folder : Path
    architecture : str
        The class in transformers.
    network : nn.Module
        In float32 and evaluation mode, without its auxiliary head.
    processor : image processor of transformers
        Its Pillow backend, which needs no torchvision.
    classes : tuple of str
        One name per class; two for a network with one channel.
    channels : int
        Of the logits.
    ignore_index : int or None
        Label of void pixels in the training.
    weights_sha256 : str
        Digest of the files of weights.
    license : str or None
        What the model card states.
    notes : tuple of str
    """

    folder: Path
    architecture: str
    network: Any
    processor: Any
    classes: tuple[str, ...]
    channels: int
    ignore_index: int | None
    weights_sha256: str
    license: str | None
    notes: tuple[str, ...]


def read_checkpoint(name: str | Path) -> HfCheckpoint:
    """Read the checkpoint in a folder.

    Nothing is downloaded, no code of the folder runs, and pickled weights are read by PyTorch's
    ``weights_only``.

    Raises
    ------
    ModelError
        It is not a folder or lacks a file; it is for another task; it names no classes; weights are
        missing; or transformers cannot read it.
    """
    folder = Path(name)
    if not folder.is_dir():
        raise _no_folder(str(name), folder)
    config = _config(folder)
    architecture = _architecture(folder, config)
    names = _names(folder / CONFIG, config)
    if not (folder / PREPARATION).is_file():
        raise ModelError(
            f"{folder} has no {PREPARATION}, which says how images are prepared: save it there "
            "from the image processor of the training, with processor.save_pretrained(folder)"
        )
    with _quiet():
        processor = _loaded(folder, _processor)
        network, found = _loaded(folder, _network)
    missing = sorted(found["missing_keys"])
    if missing:
        raise ModelError(
            f"the weights in {folder} lack {len(missing)} tensors of {architecture}, such as "
            f"{missing[0]}: transformers would draw them at random. Give a checkpoint that was "
            "trained for semantic segmentation"
        )
    if getattr(network, "auxiliary_head", None) is not None:
        network.auxiliary_head = None  # only training needs it
    channels = len(names)
    names, notes = _named_classes(names, bool(getattr(processor, "do_reduce_labels", False)))
    for key in ("semantic_loss_ignore_index", "loss_ignore_index"):
        ignored = getattr(network.config, key, None)
        if isinstance(ignored, int):
            break
    return HfCheckpoint(
        folder=folder,
        architecture=architecture,
        network=network.eval(),
        processor=processor,
        classes=names,
        channels=channels,
        ignore_index=ignored if isinstance(ignored, int) else None,
        weights_sha256=_digest(folder),
        license=_license(folder),
        notes=notes,
    )


def _no_folder(name: str, folder: Path) -> ModelError:
    if folder.is_file():
        return ModelError(f"{name} is a file: name the folder it lies in, as hf:{folder.parent}")
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        last = name.rpartition("/")[2]
        return ModelError(
            f"there is no folder {name}, and deal downloads nothing: get the checkpoint with "
            f"`hf download {name} --local-dir {last}`, then name the folder, hf:{last}"
        )
    return ModelError(f"there is no folder {name}: name the folder of a checkpoint, as hf:DIR")


def _config(folder: Path) -> Mapping[str, Any]:
    if not (folder / CONFIG).is_file():
        hint = "name the folder that holds config.json, preprocessor_config.json and the weights"
        if (folder / "adapter_config.json").is_file():
            hint = "it holds an adapter (PEFT): merge it into its network and save that"
        raise ModelError(f"{folder} has no {CONFIG}: {hint}")
    return read_json_object(folder / CONFIG, "settings of transformers")


def _architecture(folder: Path, config: Mapping[str, Any]) -> str:
    listed = config.get("architectures")
    names = listed if isinstance(listed, list) else []
    name = str(names[0]) if names else ""
    if name in _DENSE:
        if config.get("quantization_config") is not None:
            raise ModelError(
                f"{folder} holds quantized weights: give the original ones, and convert the export "
                "with deal export --precision"
            )
        return name
    if name in _QUERIES or "Mask2Former" in name or "MaskFormer" in name or "Detr" in name:
        raise ModelError(
            f"{folder} holds {name}, a network of queries: it scores a class at a pixel by a sum "
            "over masks, not by the logit of a softmax, so entropy, margin and difficulty would "
            f"be of probabilities that the network never learned. {_INSTEAD}"
        )
    if not name:
        raise ModelError(
            f'{folder / CONFIG} names no architecture: add "architectures": ["…"] with the class '
            "that was trained, or save the checkpoint with save_pretrained"
        )
    if config.get("auto_map"):
        raise ModelError(
            f"{folder} holds {name}, whose code comes with the checkpoint, and deal runs no such "
            "code: export it with torch.onnx.export, and see deal check"
        )
    raise ModelError(
        f"{folder} holds {name}, which is not for semantic segmentation in transformers "
        f"{transformers.__version__}. {_INSTEAD}"
    )


def _names(file: Path, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the channels."""
    table = config.get("id2label")
    pairs = table.items() if isinstance(table, Mapping) else ()
    found = {str(key): str(value) for key, value in pairs}
    names = [found.get(str(index)) for index in range(len(found))]
    if not found or None in names:
        raise ModelError(
            f'{file} names no classes: write them into it, as "id2label": {{"0": "road", '
            '"1": "car", …}}, one per channel of the logits, numbered from 0'
        )
    if all(re.fullmatch(r"LABEL_\d+", str(name)) for name in names):
        raise ModelError(
            f"{file} calls the classes {names[0]}, {names[-1]} and so on: write their names into "
            '"id2label", so that results can be read'
        )
    return tuple(map(str, names))


def _named_classes(
    names: tuple[str, ...], reduces: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the classes, and notes on them."""
    if len(names) == 1:  # one logit, a sigmoid
        return ("background", *names), ()
    if not reduces:
        return names, ()
    notes = [
        "do_reduce_labels: in the training label 0 of the data was void, and label k was class "
        "k − 1; deal fit-head reads labels that are class indices"
    ]
    if names[0].lower() in _BACKGROUND:
        notes.append(
            f"id2label names the labels of the data: {names[0]!r} is removed from the classes, and "
            f"the last channel, which the training never saw, is called {_UNTRAINED!r}"
        )
        names = (*names[1:], _UNTRAINED)
    return names, tuple(notes)


def _processor(folder: str) -> Any:
    return transformers.AutoImageProcessor.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, backend="pil"
    )


def _network(folder: str) -> Any:
    return transformers.AutoModelForSemanticSegmentation.from_pretrained(
        folder,
        local_files_only=True,
        trust_remote_code=False,
        weights_only=True,
        dtype=torch.float32,
        output_loading_info=True,
    )


def _loaded(folder: Path, read: Any) -> Any:
    try:
        return read(str(folder))
    except Exception as error:  # transformers raises many kinds, by the file that is damaged
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(
            f"transformers {transformers.__version__} cannot read {folder}: {reason[:300]}. Does "
            "the folder hold a whole checkpoint, as save_pretrained writes it?"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars and advice of transformers."""
    logs = transformers.utils.logging
    level, has_bars = logs.get_verbosity(), logs.is_progress_bar_enabled()
    logs.set_verbosity(logs.CRITICAL)
    logs.disable_progress_bar()
    try:
        yield
    finally:
        logs.set_verbosity(level)
        if has_bars:
            logs.enable_progress_bar()


def _digest(folder: Path) -> str:
    """SHA-256 of the weights, file after file."""
    for pattern in _WEIGHTS:
        if files := sorted(folder.glob(pattern)):
            break
    digest = hashlib.sha256()
    for file in files:
        with open(file, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _license(folder: Path) -> str | None:
    """The license of the model card, README.md; None where there is none."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    try:
        told = ModelCard.load(card, ignore_metadata_errors=True).data.to_dict()
    except Exception:  # whatever the card's YAML is: a license is no condition
        return None
    parts = [told.get(key) for key in ("license", "license_name", "license_link")]
    return ", ".join(str(part) for part in parts if part) or None
