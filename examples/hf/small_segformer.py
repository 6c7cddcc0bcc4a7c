"""Train a small SegFormer of transformers on generated street scenes and save it to a folder.

It stands for a checkpoint of your own or of the hub: config.json, preprocessor_config.json,
weights and a model card. Ten seconds on one core.

    python examples/hf/small_segformer.py segformer
    python examples/hf/small_segformer.py segformer --size 192x256 --steps 160
    python examples/hf/small_segformer.py segformer --b0 --size 192x256 --steps 100    # minutes
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812
from transformers import SegformerConfig, SegformerForSemanticSegmentation
from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

from deal.synthetic import CLASSES, scene

CARD = """---
license: apache-2.0
---

A small SegFormer, trained for seconds on generated scenes. It is an example, not a network to use.
"""


SMALL = {
    "num_encoder_blocks": 2,
    "depths": [1, 1],
    "sr_ratios": [4, 1],
    "patch_sizes": [7, 3],
    "strides": [4, 2],
    "hidden_sizes": [16, 32],
    "num_attention_heads": [1, 2],
    "mlp_ratios": [4, 4],
    "decoder_hidden_size": 64,
    "drop_path_rate": 0.0,
}


def main(folder: Path, size: tuple[int, int], steps: int, *, b0: bool) -> None:
    """Train and save a network for images of ``size`` (H, W), with the layers of B0 or fewer."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = SegformerConfig(
        **({} if b0 else SMALL),  # the defaults are those of B0
        id2label=dict(enumerate(CLASSES)),
        label2id={name: index for index, name in enumerate(CLASSES)},
    )
    network = SegformerForSemanticSegmentation(config)
    processor = SegformerImageProcessorPil(size={"height": size[0], "width": size[1]})
    scenes = [scene(seed, size) for seed in range(10_000, 10_040)]
    images = processor([image for image, _ in scenes], return_tensors="pt")["pixel_values"]
    labels = torch.from_numpy(np.stack([label for _, label in scenes])).long()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for _ in range(steps):
        batch = torch.randint(len(scenes), (8,))
        logits = F.interpolate(network(images[batch]).logits, size=size, mode="bilinear")
        loss = F.cross_entropy(logits, labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "README.md").write_text(CARD, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train a small SegFormer and save it.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", default="96x128", help="height x width")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--b0", action="store_true", help="the layers of SegFormer-B0")
    given = parser.parse_args()
    height, width = map(int, given.size.split("x"))
    main(given.folder, (height, width), given.steps, b0=given.b0)
