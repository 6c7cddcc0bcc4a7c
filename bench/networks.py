"""Networks for benchmarks that bring none of their own: random weights, sane activations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deal._install import pip_install
from deal.errors import UsageError
from deal.model.spec import read_spec
from deal.synthetic.scenes import scene

if TYPE_CHECKING:
    from deal.training.checkpoint import CheckpointMeta
    from deal.training.difficulty import WithDifficulty

__all__ = [
    "export",
    "half_model",
    "int8_model",
    "random_model",
    "random_module",
    "random_network",
    "static_model",
]

_SIZE = (360, 480)
_LOGIT_DEVIATION = 3.0
_CALIBRATION_SCENES = 8
_STATISTICS_SCENES = 4


def random_model(folder: Path, network: str, classes: int = 11) -> Path:
    """Return the export alone of :func:`random_network`."""
    return random_network(folder, network, classes)[1]


def random_network(folder: Path, network: str, classes: int = 11) -> tuple[WithDifficulty, Path]:
    """:func:`random_module`, and the path of its export in ``folder``."""
    module, meta = random_module(network, classes)
    return module, export(folder, module, meta)


def export(folder: Path, module: WithDifficulty, meta: CheckpointMeta) -> Path:
    """Write ``<network>.onnx`` into a folder."""
    from deal.engines.torch import RgbNetwork, checkpoint_metadata
    from deal.export.onnx import to_onnx

    path = folder / f"{meta.network}.onnx"
    network = RgbNetwork(module.module, module.num_classes)
    model = to_onnx(network, checkpoint_metadata(module, meta))
    path.write_bytes(model.SerializeToString())
    return path


def random_module(
    network: str, classes: int = 11, size: tuple[int, int] = _SIZE
) -> tuple[WithDifficulty, CheckpointMeta]:
    """Make ``paper`` or ``light`` with random weights: speed does not depend on them.

    Batch normalisation has the statistics of street scenes of that size and the logits of each
    class deviate by about 3: no probability is so small that arithmetic slows down (subnormal
    floats would, in peers that do not flush them), and scores of images differ.

    Parameters
    ----------
    network : ``paper`` or ``light``
    classes : int
    size : (H, W)
        Of its input; the attention grid is a sixth of it.

    Returns
    -------
    module : WithDifficulty
        In evaluation mode.
    meta : CheckpointMeta

    Raises
    ------
    UsageError
        Without the ``train`` extra.
    """
    try:
        import torch

        from deal.training.checkpoint import CheckpointMeta, build_module
    except ImportError as error:
        raise UsageError(
            f"a network with random weights needs PyTorch: {pip_install('train')}, or give --model"
        ) from error
    meta = CheckpointMeta(
        network=network,
        width=1.0,
        classes=tuple(f"class {i}" for i in range(classes)),
        palette=((0, 0, 0),) * classes,
        ignore_index=255,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        align_corners=True,
        grid=(size[0] // 6, size[1] // 6),
        input_size=size,
        provenance={"weights": "random"},
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        module = build_module(meta)
        scenes = np.stack([scene(seed, size)[0] for seed in range(_STATISTICS_SCENES)])
        batch = torch.from_numpy(scenes).permute(0, 3, 1, 2)
        for layer in module.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = None  # the statistics of this one batch, not a mix
        deeplab: Any = module.module
        module.train()
        deeplab(batch)
        module.eval()
        classifier = deeplab.decoder.classifier
        z = deeplab(batch)
        scale = _LOGIT_DEVIATION / z.std(dim=(0, 2, 3))
        classifier.bias.copy_(-z.mean(dim=(0, 2, 3)) * scale)
        classifier.weight *= scale.view(-1, 1, 1, 1)
        module.difficulty.gamma.fill_(0.8)
    return module, meta


def int8_model(path: Path) -> Path:
    """Quantise every layer of an exported network, as ``deal export --precision int8`` does.

    Without that command's judgement of what the network then selects, which random weights need
    not pass: a trained network may have to keep some layers in float32 and be slower. The file
    lies beside ``path``.
    """
    from deal.export.images import Scenes
    from deal.export.int8 import Int8Conversion
    from deal.machine.processor import has_int8_dot_product

    scenes = Scenes(range(_CALIBRATION_SCENES), _SIZE)
    conversion = Int8Conversion(
        path, scenes, not has_int8_dot_product(), lambda stage, done, total: None
    )
    return _beside(path, conversion.model(), "int8")


def static_model(path: Path, folder: Path, size: tuple[int, int]) -> Path:
    """Arrange a float32 network for CPUs, as ``deal export --static`` does, in a folder."""
    from deal.export.static import make_static

    output = folder / f"{path.stem}-static.onnx"
    make_static(path, output, size, images=[scene(seed, size)[0] for seed in range(2)])
    return output


def half_model(path: Path) -> Path:
    """Convert an exported network to float16, as ``deal export --precision fp16`` does, unjudged.

    The file lies beside ``path``.
    """
    from deal.export.graph import simplified
    from deal.export.half import halved

    return _beside(path, halved(simplified(path), read_spec(path), "fp16").model, "fp16")


def _beside(path: Path, model: Any, kind: str) -> Path:
    """Write a converted model with the contract of what it was made from."""
    import onnx

    del model.metadata_props[:]
    model.metadata_props.extend(onnx.load(path).metadata_props)
    converted = path.with_stem(f"{path.stem}-{kind}")
    converted.write_bytes(model.SerializeToString())
    return converted
