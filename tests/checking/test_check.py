"""``deal check``: everything at once, a draft, and a picture of one prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from deal.checking.check import ModelReport, check_model, write_draft
from deal.checking.neighbours import read_neighbours
from deal.checking.picture import draw_prediction
from deal.checking.prediction import predict
from deal.engines import open_engine
from deal.errors import ModelError
from tests.helpers.models import CLASSES, MEAN, STD, metadata, redressed, save_model, scenes
from tests.helpers.runs import Deal, assert_refused

FULL = {
    **metadata(),
    "input_size": [48, 64],
    "resize": "stretch",
    "interpolation": "bilinear-antialias",
    "output_kind": "logits",
}
SCENE = scenes(1, (60, 120))[0]


def levels(report: ModelReport) -> list[tuple[str, str | None]]:
    return [(finding.level, finding.key) for finding in report.findings]


def hub_files(folder: Path, **preparation: Any) -> None:
    """``config.json`` and ``preprocessor_config.json`` as the transformers library writes them."""
    names = {str(index): name for index, name in enumerate(CLASSES)}
    config = {"architectures": ["SegformerForSemanticSegmentation"], "id2label": names}
    (folder / "config.json").write_text(json.dumps(config))
    settings = {
        "do_normalize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "image_mean": list(MEAN),
        "image_std": list(STD),
        "do_resize": True,
        "size": {"height": 48, "width": 64},
        "resample": 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | preparation))


def test_a_model_that_says_all_is_good(tmp_path: Path) -> None:
    report = check_model(save_model(tmp_path / "m.onnx", props=FULL), [("a", SCENE)])
    assert (report.findings, report.exit_code, report.draft) == ([], 0, {})
    (prediction,) = report.predictions
    assert sum(prediction.shares.values()) == pytest.approx(1)


def test_defaults_are_told_and_refuse_nothing(tmp_path: Path) -> None:
    report = check_model(save_model(tmp_path / "m.onnx", props={"classes": 5}))
    assert report.exit_code == 0
    keys = ["input_format", "input_size", "resize", "interpolation", "align_corners", "output_kind"]
    assert levels(report) == [("assumed", key) for key in keys]


def test_everything_missing_is_told_at_once(tmp_path: Path) -> None:
    report = check_model(save_model(tmp_path / "m.onnx", floating=True))
    missing = [key for level, key in levels(report) if level == "missing"]
    assert missing == ["classes", "mean", "std"]
    assert report.exit_code == 1
    assert report.draft["classes"] == 5
    assert report.spec is not None  # it was tried with the draft
    assert report.spec.num_classes == 5


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    wrong = {"clases": 5, "mean": [123.7, 116.3, 103.5], "palette": [[0, 0, 256]], "resize": "fit"}
    path = save_model(tmp_path / "m.onnx", floating=True)
    path.with_suffix(".json").write_text(json.dumps(wrong))
    report = check_model(path, options={"size_multiple": 0})
    texts = [finding.text for finding in report.findings if finding.level == "wrong"]
    for word in ("clases", "divide them by 255", "palette", "resize must be", "size_multiple"):
        assert any(word in text for text in texts), word


def test_keys_that_do_not_go_together_are_all_told(tmp_path: Path) -> None:
    props = {"classes": 5, "mean": [0.5] * 3, "palette": [[0, 0, 0]], "input_size": [33, 64]}
    path = save_model(tmp_path / "m.onnx", props={**props, "size_multiple": 32})
    texts = [finding.text for finding in check_model(path).findings if finding.level == "wrong"]
    assert len(texts) == 3


@pytest.mark.parametrize("content", [b"", b"no model"])
def test_what_is_no_model_is_one_finding(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    report = check_model(tmp_path / "m.onnx")
    assert levels(report) == [("wrong", None)]


def test_a_side_car_that_is_no_json_is_a_finding(tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", props=FULL)
    path.with_suffix(".json").write_text("{")
    report = check_model(path)
    assert levels(report) == [("wrong", None)]


def test_what_only_a_run_shows_is_told(tmp_path: Path) -> None:
    path = redressed(save_model(tmp_path / "m.onnx", props=FULL), noise=1.0)
    (finding,) = check_model(path).findings
    assert (finding.level, "it is random" in finding.text) == ("wrong", True)


def test_doubts_of_noise_and_of_images_are_told(tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", gain=0, bias=[0, 0, 9, 0, 0], props=FULL)
    report = check_model(path, [("a", SCENE), ("b", SCENE)])
    assert report.exit_code == 3
    texts = [finding.text for finding in report.findings]
    assert any("the same at every pixel" in text for text in texts)
    assert any("all 2 images is predicted as 'car'" in text for text in texts)


def test_an_image_the_model_does_not_take_is_doubtful(tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", props=FULL | {"resize": "none"})
    report = check_model(path, [("a.png", SCENE)])
    (finding,) = report.findings
    assert finding.text.startswith("a.png: the image is 60×120")


# ---- the draft --------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "onnx"])
def test_settings_beside_the_model_become_the_draft(tmp_path: Path, below: str) -> None:
    hub_files(tmp_path)
    (tmp_path / below).mkdir(exist_ok=True)
    path = save_model(tmp_path / below / "model.onnx", floating=True)
    report = check_model(path, [("a", SCENE)])
    assert report.draft == {
        "classes": list(CLASSES),
        "mean": list(MEAN),
        "std": list(STD),
        "resize": "stretch",
        "input_size": [48, 64],
        "interpolation": "bicubic-antialias",
    }
    assert report.exit_code == 1
    assert report.predictions
    write_draft(report)
    again = check_model(path, [("a", SCENE)])
    assert (again.exit_code, again.draft) == (0, {})


def test_a_draft_keeps_what_the_side_car_says(tmp_path: Path) -> None:
    hub_files(tmp_path)
    path = save_model(tmp_path / "model.onnx", floating=True)
    path.with_suffix(".json").write_text(json.dumps({"classes": 5, "resize": "none"}))
    write_draft(check_model(path))
    told = json.loads(path.with_suffix(".json").read_text())
    assert (told["classes"], told["resize"], told["mean"]) == (5, "none", list(MEAN))
    path.with_suffix(".json").write_text("{")
    with pytest.raises(ModelError, match="not JSON"):
        write_draft(check_model(path))


@pytest.mark.parametrize("name", ["道路", "half \ud800"])
def test_a_draft_holds_any_name(tmp_path: Path, name: str) -> None:
    names = {str(index): f"{name} {index}" for index in range(5)}
    (tmp_path / "config.json").write_text(json.dumps({"id2label": names}))
    path = save_model(tmp_path / "model.onnx")
    write_draft(check_model(path))
    spec = check_model(path).spec
    assert spec is not None
    assert spec.classes == tuple(names.values())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # levels 0…255 go into (x − mean) / std as they are
        ({"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [51.0] * 3}, (0.5, 0.2)),
        ({"do_normalize": False}, (0.0, 1.0)),
        (
            {"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3},
            (0.5, 0.5),
        ),
    ],
)
def test_mean_and_std_are_those_of_0_to_1(
    tmp_path: Path, settings: dict[str, Any], expected: tuple[float, float]
) -> None:
    hub_files(tmp_path, **settings)
    values = read_neighbours(tmp_path / "m.onnx", is_float=True).values
    np.testing.assert_allclose(values["mean"], [expected[0]] * 3, rtol=1e-9)
    np.testing.assert_allclose(values["std"], [expected[1]] * 3, rtol=1e-9)
    # the same numbers as the library's own steps, for one level
    level, factor = 200, settings.get("rescale_factor", 1 / 255)
    x = level * factor if settings.get("do_rescale", True) else level
    if settings.get("do_normalize", True):
        x = (x - settings["image_mean"][0]) / settings["image_std"][0]
    assert (level / 255 - values["mean"][0]) / values["std"][0] == pytest.approx(x)


def test_crops_and_padding_are_read(tmp_path: Path) -> None:
    crop = {"do_center_crop": True, "size": {"shortest_edge": 48}, "crop_size": 48}
    hub_files(tmp_path, **crop)
    found = read_neighbours(tmp_path / "m.onnx", is_float=False)
    assert (found.values["resize"], found.values["input_size"]) == ("crop", [48, 48])
    assert found.doubts == []
    hub_files(tmp_path, **crop | {"size": {"shortest_edge": 60}})
    assert (
        "sees more of the image" in read_neighbours(tmp_path / "m.onnx", is_float=False).doubts[0]
    )
    hub_files(tmp_path, do_resize=False, size_divisor=32)
    found = read_neighbours(tmp_path / "m.onnx", is_float=False)
    assert (found.values["resize"], found.values["size_multiple"]) == ("letterbox", 32)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"id2label": {"0": "a", "2": "b"}}', '{"id2label": {"x": 1}}']
)
def test_settings_that_cannot_be_read_are_doubtful(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    found = read_neighbours(tmp_path / "m.onnx", is_float=False)
    assert found.values == {}
    assert len(found.doubts) == 1


def test_a_draft_takes_the_place_of_null(tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", floating=True)
    side_car = tmp_path / "m.json"
    side_car.write_text(json.dumps({"classes": 5, "mean": None, "std": None, "palette": None}))
    report = check_model(path, [("a", SCENE)])
    assert {("missing", "mean"), ("missing", "std")} <= set(levels(report))
    assert len(report.predictions) == 1  # it was tried with the draft
    write_draft(report)
    told = json.loads(side_car.read_text())
    assert told == {"classes": 5, **report.draft, "palette": None}
    assert check_model(path).exit_code == 0


# ---- the prediction and its picture -----------------------------------------------------------


def test_a_prediction_counts_only_what_shows_the_image(tmp_path: Path) -> None:
    props = FULL | {"resize": "letterbox", "input_size": [64, 64]}
    engine = open_engine(save_model(tmp_path / "m.onnx", props=props), device="cpu")
    prediction = predict(engine, "a", SCENE)
    assert prediction.image.shape == (64, 64, 3)
    assert prediction.labels.shape == (16, 16)
    assert prediction.counts.sum() == 8 * 16  # the image fills half of the box
    z = engine.infer(prediction.image[None]).logits[0, :, 4:12].astype(np.float64)
    p = np.exp(z) / np.exp(z).sum(axis=0)
    np.testing.assert_array_equal(prediction.labels[4:12], z.argmax(axis=0))
    assert prediction.entropy == pytest.approx(float(-(p * np.log(p)).sum(axis=0).mean()))


def test_the_picture_shows_classes_in_their_colours(tmp_path: Path) -> None:
    palette = [[250, 0, 0], [0, 250, 0], [0, 0, 250], [250, 250, 0], [0, 250, 250]]
    props = FULL | {"palette": palette}
    path = save_model(tmp_path / "m.onnx", gain=0, bias=[0, 0, 9, 0, 0], props=props)
    engine = open_engine(path, device="cpu")
    picture = np.asarray(draw_prediction(predict(engine, "a", SCENE), engine.spec.palette))
    swatch = (picture == (0, 0, 250)).all(axis=-1)
    assert 200 < swatch.sum() < 300  # 17 × 17 without its outline: the legend has this class alone
    for other in palette[:2]:
        assert not (picture == other).all(axis=-1).any()


# ---- the command ------------------------------------------------------------------------------


def test_the_command_tells_writes_and_draws(deal: Deal, tmp_path: Path) -> None:
    hub_files(tmp_path)
    path = save_model(tmp_path / "model.onnx", floating=True)
    Image.fromarray(SCENE).save(tmp_path / "a.png")
    picture = tmp_path / "p.png"
    code, told, _ = deal("check", path, tmp_path / "a.png", "--write", "--picture", picture)
    assert code == 1
    assert "missing   classes is stated in config.json" in told
    assert "a.png: " in told
    with Image.open(picture) as drawn:
        assert drawn.size[0] > 1000
    code, told, _ = deal("check", path, "--json")
    document = json.loads(told)
    assert (code, document["exit_code"], document["draft"]) == (0, 0, {})
    assert document["contract"]["input_size"] == [48, 64]


def test_the_command_names_no_picture_that_it_did_not_draw(deal: Deal, tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", bias=[np.nan] * 5, props=FULL)
    Image.fromarray(SCENE).save(tmp_path / "a.png")
    code, told, said = deal("check", path, tmp_path / "a.png", "--picture", tmp_path / "p.png")
    assert code == 3
    assert "note: no picture" in said
    assert "picture: " not in told
    assert not (tmp_path / "p.png").exists()


def test_the_command_looks_at_the_first_image_of_any_source(deal: Deal, tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", props=FULL)
    Image.fromarray(SCENE).save(tmp_path / "a[1].png")
    (tmp_path / "list.txt").write_text("a[1].png\n")
    (tmp_path / "list.csv").write_text("uri\na[1].png\n")
    for source in ("", "a[1].png", "*.png", "list.txt", "list.csv"):
        code, told, said = deal("check", path, f"{tmp_path}/{source}")
        assert code == 0, said
        assert "mean entropy" in told


def test_the_command_refuses_what_it_cannot_do(deal: Deal, tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", props=FULL)
    assert deal("check", path, "--picture", tmp_path / "p.png")[0] == 2
    assert deal("check", path, tmp_path / "none.png")[0] == 2
    assert deal("check", path, "--model-option", "classes=" + "[" * 100_000)[0] == 2


def test_the_command_cuts_an_argmax(deal: Deal, tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", kind="argmax3", props=metadata())
    code, told, _ = deal("export", path, "-o", tmp_path / "cut.onnx", "--cut")
    assert code == 0
    assert "removed ArgMax" in told
    assert deal("check", tmp_path / "cut.onnx")[0] == 0
    assert onnx.load(tmp_path / "cut.onnx").graph.output[0].name == "logits"
    assert deal("export", path, "-o", tmp_path / "x.onnx", "--cut", "--static", "48x64")[0] == 2


def test_a_picture_of_another_ending_is_refused(deal: Deal, tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", props=FULL)
    Image.fromarray(SCENE).save(tmp_path / "a.png")
    result = deal("check", path, tmp_path / "a.png", "--picture", tmp_path / "p.jpg")
    assert_refused(result, 2, "p.jpg", "let its name end in .png")
