"""Small checkpoints of transformers with random weights, as ``save_pretrained`` writes them."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

from tests.helpers.models import CLASSES

__all__ = ["NETWORKS", "pipeline_of", "processor", "save_checkpoint", "settings_of"]

_PROCESSORS = {
    "segformer": "SegformerImageProcessorPil",
    "beit": "BeitImageProcessorPil",
    "dpt": "DPTImageProcessorPil",
    "mobilenet_v2": "MobileNetV2ImageProcessorPil",
    "mobilevit": "MobileViTImageProcessorPil",
}

_VIT = {
    "image_size": 64,
    "patch_size": 16,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
_BEIT = {
    **_VIT,
    "num_hidden_layers": 4,
    "out_indices": [1, 2, 3, 4],
    "auxiliary_channels": 8,
}


def _segformer(labels: int) -> Any:
    return transformers.SegformerForSemanticSegmentation(
        transformers.SegformerConfig(
            num_labels=labels,
            num_encoder_blocks=2,  # one whose keys are reduced, and one whose are not
            depths=[1, 1],
            sr_ratios=[4, 1],
            patch_sizes=[7, 3],
            strides=[4, 2],
            hidden_sizes=[8, 16],
            decoder_hidden_size=16,
            num_attention_heads=[1, 2],
            mlp_ratios=[4, 4],
        )
    )


def _upernet(labels: int) -> Any:
    backbone = transformers.ConvNextConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 16, 16],
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = transformers.UperNetConfig(
        backbone_config=backbone,
        num_labels=labels,
        hidden_size=16,
        auxiliary_channels=8,
        auxiliary_in_channels=16,
    )
    return transformers.UperNetForSemanticSegmentation(config)


def _beit(labels: int) -> Any:
    config = transformers.BeitConfig(**_BEIT, num_labels=labels, use_relative_position_bias=True)
    return transformers.BeitForSemanticSegmentation(config)


def _data2vec(labels: int) -> Any:
    config = transformers.Data2VecVisionConfig(**_BEIT, num_labels=labels)
    return transformers.Data2VecVisionForSemanticSegmentation(config)


def _dpt(labels: int) -> Any:
    config = transformers.DPTConfig(
        **_VIT,
        num_hidden_layers=2,
        backbone_out_indices=[0, 1],
        reassemble_factors=[4, 2],
        neck_hidden_sizes=[8, 16],
        fusion_hidden_size=16,
        num_labels=labels,
    )
    return transformers.DPTForSemanticSegmentation(config)


def _mobilenet(labels: int) -> Any:
    config = transformers.MobileNetV2Config(depth_multiplier=0.25, num_labels=labels)
    return transformers.MobileNetV2ForSemanticSegmentation(config)


def _mobilevit(labels: int) -> Any:
    config = transformers.MobileViTConfig(
        image_size=64,
        hidden_sizes=[16, 24, 32],
        neck_hidden_sizes=[8, 8, 8, 16, 16, 16, 32],
        aspp_out_channels=16,
        num_labels=labels,
    )
    return transformers.MobileViTForSemanticSegmentation(config)


_WIDE = {"size": {"height": 64, "width": 96}}
_SQUARE = {"size": {"height": 64, "width": 64}, "do_center_crop": False}

NETWORKS: Mapping[str, tuple[Callable[[int], Any], str, Mapping[str, Any]]] = {
    "segformer": (_segformer, "segformer", _WIDE),
    "upernet": (_upernet, "segformer", _WIDE),
    "beit": (_beit, "beit", {**_SQUARE, "do_reduce_labels": True}),
    "data2vec": (_data2vec, "beit", _SQUARE),
    "dpt": (_dpt, "dpt", {"size": {"height": 64, "width": 64}, "resample": 2}),
    "mobilenet": (
        _mobilenet,
        "mobilenet_v2",
        {"size": {"shortest_edge": 65}, "crop_size": {"height": 65, "width": 65}},
    ),
    "mobilevit": (
        _mobilevit,
        "mobilevit",
        {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}},
    ),
}
"""By name: a function from number of channels to network, kind of processor, its settings."""


def processor(kind: str, **settings: Any) -> Any:
    """An image processor that needs no torchvision."""
    module = importlib.import_module(f"transformers.models.{kind}.image_processing_pil_{kind}")
    return getattr(module, _PROCESSORS[kind])(**settings)


def save_checkpoint(
    folder: Path,
    name: str = "segformer",
    classes: tuple[str, ...] | None = CLASSES,
    channels: int | None = None,
    **settings: Any,
) -> Path:
    """Write a network of ``NETWORKS``; ``settings`` change those of its processor.

    Without ``classes`` they have the names that transformers invents.
    """
    make, kind, own = NETWORKS[name]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = make(channels or (5 if classes is None else len(classes)))
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=1.3 / parameter[0].numel() ** 0.5)
        spread = network.eval()(torch.randn(1, 3, 64, 64)).logits.std()
        classifiers = [
            module
            for name, module in network.named_modules()
            if isinstance(module, torch.nn.Conv2d)
            and module.out_channels == network.config.num_labels
            and not name.startswith("auxiliary_head")
        ]
        classifiers[-1].weight.div_(spread)
    if classes is not None:
        network.config.id2label = dict(enumerate(classes))
        network.config.label2id = {name: index for index, name in enumerate(classes)}
    network.save_pretrained(folder)
    processor(kind, **{**own, **settings}).save_pretrained(folder)
    return folder


def pipeline_of(folder: Path, **settings: Any) -> Callable[[Any], tuple[Any, Any, Any]]:
    """The pipeline of transformers: image → logits [C,h,w], class map [H,W], input [3,H,W]."""
    network = transformers.AutoModelForSemanticSegmentation.from_pretrained(folder).eval()
    prepare = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")

    @torch.inference_mode()
    def run(image: Any) -> tuple[Any, Any, Any]:
        pixels = prepare(images=[image], return_tensors="pt", **settings)["pixel_values"]
        output = network(pixels)
        size = tuple(pixels.shape[2:])
        (found,) = prepare.post_process_semantic_segmentation(output, target_sizes=[size])
        return output.logits[0].numpy(), found.numpy(), pixels[0].numpy()

    return run


def settings_of(folder: Path, file: str, **changes: Any) -> None:
    """Change a JSON file of a checkpoint; None removes a key."""
    path = folder / file
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: v for key, v in values.items() if v is not None}))
