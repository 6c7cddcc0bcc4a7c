"""Checkpoints: a round trip, and files that are none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from deal.errors import ModelError
from deal.training.checkpoint import (
    CheckpointMeta,
    build_module,
    load_checkpoint,
    save_checkpoint,
)

META = CheckpointMeta(
    network="light",
    width=0.1,
    classes=("road", "sky"),
    palette=((1, 2, 3), (4, 5, 6)),
    ignore_index=255,
    mean=(0.4, 0.5, 0.6),
    std=(0.2, 0.2, 0.3),
    align_corners=True,
    grid=(6, 8),
    input_size=(32, 48),
    provenance={"recipe": {"epochs": 3}},
)


def test_a_checkpoint_gives_back_network_and_description(tmp_path):
    torch.manual_seed(0)
    module = build_module(META).eval()
    with torch.no_grad():
        module.difficulty.gamma.fill_(0.4)
    save_checkpoint(tmp_path / "best.pt", module, META)
    loaded, meta = load_checkpoint(tmp_path / "best.pt")
    assert meta == META
    assert not loaded.training
    assert loaded.head() == module.head()
    image = torch.randint(0, 256, (1, 3, 32, 48))
    with torch.inference_mode():
        for mine, theirs in zip(loaded(image), module(image), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_a_checkpoint_keeps_the_weights_of_uncertainty_and_has_no_key_without(tmp_path):
    meta = replace(META, uncertainty=True)
    module = build_module(meta)
    with torch.no_grad():
        module.difficulty.uncertainty_weight.normal_()
    save_checkpoint(tmp_path / "with.pt", module, meta)
    loaded, found = load_checkpoint(tmp_path / "with.pt")
    assert found == meta
    assert loaded.head() == module.head()
    assert loaded.head().uncertainty_weight is not None
    save_checkpoint(tmp_path / "without.pt", build_module(META), META)
    assert "uncertainty" not in torch.load(tmp_path / "without.pt", weights_only=True)


def test_nothing_but_the_checkpoint_is_left_behind(tmp_path):
    save_checkpoint(tmp_path / "best.pt", build_module(META), META)
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"text", "is not a checkpoint of `deal train`, or is damaged"),
        ({"state_dict": {}}, "is not a checkpoint of `deal train`"),
        ([1], "is not a checkpoint of `deal train`"),
        ({"format": 1, "network": "light"}, "lacks width, classes"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "other.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ModelError, match=message):
        load_checkpoint(path)


def test_parameters_of_another_network_are_refused(tmp_path):
    save_checkpoint(tmp_path / "best.pt", build_module(META), META)
    values = torch.load(tmp_path / "best.pt", weights_only=True)
    values["state_dict"].popitem()
    torch.save(values, tmp_path / "best.pt")
    with pytest.raises(ModelError, match="does not fit its own network"):
        load_checkpoint(tmp_path / "best.pt")


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"none\.pt cannot be read"):
        load_checkpoint(tmp_path / "none.pt")
