"""Features of a frozen network, and a model of it with an open last layer.

``prepare.py CHECKPOINT ROOT`` writes, beside itself, ``features.pt`` of CamVid's training images
and ``template.onnx``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from deal.export.onnx import export_module
from deal.labeled.labels import CAMVID
from deal.training import WithDifficulty, load_checkpoint

HEIGHT, WIDTH = 144, 192


class Probe(nn.Module):
    """One linear layer on what a DeepLab knows of every fourth pixel.

    Its decoder, ASPP, backbone and low-level features, the mean colour and the place: y, x and
    their squares.
    """

    def __init__(self, network: nn.Module, channels: int, classes: int) -> None:
        super().__init__()
        self.network = network
        y, x = [[-1.0, -1.0], [1.0, 1.0]], [[-1.0, 1.0], [-1.0, 1.0]]
        self.register_buffer("corners", torch.tensor([[y, x]]))
        self.last = nn.Conv2d(channels, classes, 1)

    def features(self, image: Tensor) -> Tensor:
        """RGB [B,3,H,W] of 0…255 → [B,E,H/4,W/4]."""
        network = self.network
        low, deep = network.backbone(network.normalization(image))

        def resized(maps: Tensor) -> Tensor:
            return F.interpolate(maps, size=low.shape[-2:], mode="bilinear", align_corners=True)

        high = resized(network.aspp(deep))
        decoded = network.decoder.convolutions(
            torch.cat([high, network.decoder.low_level(low)], dim=1)
        )
        colours = resized(F.avg_pool2d(image.float() / 255, 4))
        place = resized(self.corners) + 0 * colours[:, :1]
        return torch.cat([decoded, high, resized(deep), low, colours, place, place * place], dim=1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits [B,C,H/4,W/4]."""
        return self.last(self.features(image))


@torch.inference_mode()
def training_images(probe: Probe, root: Path) -> dict[str, object]:
    """Features [N,E,h,w] in float16, and file names."""
    features, names = [], []
    for path in sorted((root / "train/images").iterdir()):
        image = Image.open(path).convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
        planes = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        features.append(probe.features(planes[None]).half()[0])
        names.append(path.name)
    return {"features": torch.stack(features), "names": names}


def main(checkpoint: str, root: str) -> None:
    """Write both files for a checkpoint of ``deal train`` and CamVid's folder."""
    here, classes = Path(__file__).parent, len(CAMVID.names)
    torch.set_num_threads(2)
    network = load_checkpoint(Path(checkpoint))[0].module.eval()
    data = training_images(Probe(network, 1, classes).eval(), Path(root))
    torch.save(data, here / "features.pt")
    export_module(
        WithDifficulty(Probe(network, data["features"].shape[1], classes), classes),
        here / "template.onnx",
        classes=CAMVID.names,
        input_size=(HEIGHT, WIDTH),
        ignore_index=CAMVID.ignore_index,
        embedding=True,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
