"""The TOML file: what it may hold, and what the errors say."""

from __future__ import annotations

import copy
import datetime
import re

import pytest

from deal.errors import UsageError
from deal.loop.config import parse_config, read_config
from deal.loop.preset import preset_names, preset_text
from deal.loop.rounds import RoundsConfig
from tests.helpers.runs import assert_refused

VALUES = {
    "experiment": "trial",
    "seeds": [0, 3],
    "data": {"dataset": "folder", "root": "data", "size": [48, 64]},
    "training": {"epochs": 2, "lr": 1, "scale": [0.5, 2]},
    "rounds": {"labeled": ["10%", "20%"]},
    "methods": {
        "ds": {"acquisition": "ds:entropy", "diverse": 2},
        "bald": {"acquisition": "bald", "dropout_passes": 5},
    },
}


def changed(path, value):
    values = copy.deepcopy(VALUES)
    *parents, last = path.split(".")
    table = values
    for name in parents:
        table = table[name]
    if value is None:
        del table[last]
    else:
        table[last] = value
    return values


def test_values_become_frozen_records_with_paths_beside_the_file(tmp_path):
    config = parse_config(VALUES, tmp_path)
    assert config.data.size == (48, 64)
    assert config.data.root == str(tmp_path / "data")
    assert config.training.scale == (0.5, 2.0)
    assert config.methods["ds"].selection == {"acquisition": "ds:entropy", "diverse": 2}
    assert config.methods["bald"].dropout_passes == 5
    assert config.seeds == (0, 3)


def test_picks_are_spread_only_where_a_method_says_so(tmp_path):
    config = parse_config(VALUES, tmp_path)
    assert {str(method.ranking().spread) for method in config.methods.values()} == {"off"}
    spread = parse_config(changed("methods.bald.spread", "auto"), tmp_path)
    assert spread.methods["bald"].asked(1, 1)["spread"] == "auto"
    assert spread.methods["ds"].asked(1, 1)["spread"] == "off"


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_configurations(name, tmp_path):
    path = tmp_path / "loop.toml"
    path.write_text(preset_text(name))
    assert read_config(path).experiment == name


def test_the_help_names_every_preset_and_the_command_prints_them(deal):
    names = ("camvid-cpu", "camvid-gpu", "cityscapes", "synthetic", "synthetic-drives")
    assert preset_names() == names
    assert ", ".join(names) in " ".join(deal("loop", "--help")[1].split())
    assert deal("loop", "--preset", "camvid-gpu") == (0, preset_text("camvid-gpu"), "")
    assert_refused(deal("loop", "--preset", "kitti"), 2, "no preset 'kitti'", *names)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("trainings", {}, "no key 'trainings': did you mean training?"),
        ("training.epoch", 3, "did you mean epochs?"),
        ("output", "s3://bucket/runs", "output 's3://bucket/runs' is an address, not a path"),
        ("training.steps", 100, "either epochs or steps"),
        ("training.epochs", None, "either epochs or steps"),
        ("training.lr", "fast", r"\[training\] lr cannot be 'fast': give a number"),
        ("training.batch_size", 1, "at least 2"),
        ("training.batch_size", True, "give a whole number"),
        ("training.lr", float("nan"), r"\[training\] lr must be positive, not nan"),
        ("training.momentum", 1.0, "momentum must be at least 0 and below 1"),
        ("training.color_jitter", 1.5, "color_jitter must be at least 0 and below 1"),
        ("training.blur", 5.0, "blur must be a probability, 0 to 1, not 5.0"),
        ("training.crop", [0, 48], r"\[training\] crop needs a height and a width of at least 1"),
        ("training.grid", [-1, 4], r"\[training\] grid needs a height and a width of at least 1"),
        ("training.threads", 10**14, r"\[training\] threads must be at most 4096"),
        ("training.threads", -3, "threads must be a number, or 0 for every core, not -3"),
        ("data.size", [48, 0], r"\[data\] size needs a height and a width of at least 1"),
        ("training.precision", "fp8", "fp32 or bf16"),
        ("training.compile", "yes", "default or reduce-overhead, not 'yes'"),
        ("data", None, "needs data"),
        ("data.size", [48], "a list of a whole number and a whole number"),
        ("rounds.labeled", ["10%"], "two rounds"),
        ("rounds.labeled", ["10%", "many"], "neither a number"),
        ("rounds.pool_subset", "half", "percentage"),
        ("rounds.regions", "cells", r"\[rounds\] regions must be grid:PX, slic:N or components"),
        ("rounds.regions", "segments:.", "cannot be segments that lie in files"),
        ("rounds.label", "one", "label must be true or dominant, not 'one'"),
        ("rounds.label", "dominant", "label dominant is one class per region: give regions"),
        ("rounds.sieve", 0.5, "sieve needs label dominant"),
        ("rounds.sieve", 1.5, "sieve must be a share from 0 to 1, not 1.5"),
        ("rounds.budget", "clicks:9", "budget needs label dominant"),
        ("methods", {}, "no method"),
        ("methods.ds", {}, r"\[methods.ds\] needs acquisition"),
        ("methods.ds.acquisition", "dss", "dss"),
        ("methods.ds.budget", 5, "sets it itself"),
        ("methods.ds.levels", 7, r"\[methods.ds\]"),
        ("methods.ds.stochastic", "top", r"\[methods.ds\] stochastic 'top': write power or"),
        ("methods.ds.stochastic", "power:1..x", r"\[methods.ds\] stochastic 'power:1..x': write"),
        ("methods.ds.quota", [1, 2], r"\[methods.ds\] quota 1: write ATTRIBUTE=P%"),
        ("methods.ds.acquisition_options", 5, "acquisition_options 5: give a table of names"),
        ("methods.ds.stratify", datetime.date(2020, 1, 1), "stratify cannot be a date"),
        ("methods.ds.own", {"a": [float("nan")]}, r"\[methods.ds\] own cannot be nan: give a fin"),
        ("methods.ds", {"acquisition": "focus:entropy", "focus": 5}, "focus 5: list names of"),
        ("methods.ds", {"acquisition": "focus:entropy", "focus": {"car": 2}}, "list names of"),
        ("methods.ds.stratify", "class:0%", r"\[methods.ds\] stratify 'class:0%': write class"),
        ("methods.common", {"acquisition": "ds"}, "the loop itself uses this name"),
        ("methods.full", {"acquisition": "ds"}, "the loop itself uses this name"),
        ("methods", {"a b": {"acquisition": "ds"}}, "use letters, digits"),
        ("seeds", [1, 1], "different whole numbers"),
        ("seeds", [-1], "each of seeds must be a whole number from 0"),
        ("seeds", [2**63], r"each of seeds must be a whole number from 0 to 2\^63 - 1"),
        ("experiment", "../up", "name of a folder"),
    ],
)
def test_an_error_names_the_key_and_the_remedy(path, value, message):
    with pytest.raises(UsageError, match=message):
        parse_config(changed(path, value))


def test_a_file_that_is_no_toml_is_named(tmp_path):
    path = tmp_path / "loop.toml"
    with pytest.raises(UsageError, match=r"loop.toml cannot be read: No such file"):
        read_config(path)
    path.write_text("experiment = ")
    with pytest.raises(UsageError, match=r"loop.toml is not TOML"):
        read_config(path)


def test_a_file_of_a_windows_editor_is_read_with_its_byte_order_mark(tmp_path):
    path = tmp_path / "loop.toml"
    path.write_text(preset_text("synthetic"), encoding="utf-8-sig")
    assert read_config(path).experiment == "synthetic"


def test_weights_lie_beside_the_file_as_the_data_do(tmp_path):
    values = changed("training.weights", "mobilenet.pth")
    assert parse_config(values, tmp_path).training.weights == str(tmp_path / "mobilenet.pth")
    assert parse_config(values, tmp_path).shared() == parse_config(values).shared()


def test_what_only_speeds_training_up_may_differ_between_machines():
    plain = parse_config(VALUES).shared()
    assert parse_config(changed("training.compile", "default")).shared() == plain
    assert parse_config(changed("training.device", "cpu")).shared() == plain


def test_beta_grows_by_one_factor_from_round_to_round():
    methods = {
        "one": {"acquisition": "ds", "stochastic": "power:2"},
        "grows": {"acquisition": "ds", "stochastic": "power:1..100"},
        "clasp": {"acquisition": "clasp"},
        "own": {"acquisition": "clasp", "stochastic": "power:3", "stratify": "class:50%"},
    }
    config = parse_config(changed("methods", methods))
    asked = {name: [m.asked(k, 3) for k in (1, 2, 3)] for name, m in config.methods.items()}
    betas = {name: [str(each["stochastic"]) for each in of] for name, of in asked.items()}
    assert betas == {
        "one": ["power:2"] * 3,
        "grows": ["power:1", "power:10", "power:100"],
        "clasp": ["power:1", "power:10", "power:100"],
        "own": ["power:3"] * 3,
    }
    assert [str(config.methods["grows"].asked(1, 1)["stochastic"])] == ["power:1"]
    rankings = {name: method.ranking() for name, method in config.methods.items()}
    assert rankings["clasp"].acquisition == "entropy"
    assert [str(rankings[name].stratify) for name in ("clasp", "own")] == ["class:66%", "class:50%"]
    assert config.of_method("grows")["selection"]["stochastic"] == "power:1..100"


def test_a_quota_that_a_round_could_meet_is_taken():
    methods = {"shared": {"acquisition": "ds", "quota": "camera:front=10%"}}
    config = parse_config(changed("methods", methods))
    (quota,) = config.methods["shared"].ranking().quotas
    assert str(quota) == "camera:front=10%"


def test_clicks_are_those_that_an_image_is_worth():
    dominant = RoundsConfig(labeled=(1, 2), regions="components", label="dominant")
    assert dominant.clicks_per_image is None
    assert dominant.shared() == {
        "labeled": (1, 2),
        "pool_subset": None,
        "regions": "components",
        "label": "dominant",
    }
    for budget in ("pixels:9", "clicks:1.5", "clicks:10%", "9", "many"):
        with pytest.raises(UsageError, match=r"budget must be clicks:N.* not '" + budget):
            RoundsConfig(labeled=(1, 2), regions="grid:8", label="dominant", budget=budget)
    worth = RoundsConfig(labeled=(1, 2), regions="grid:8", label="dominant", budget="clicks:9")
    assert worth.clicks_per_image == 9
    assert set(RoundsConfig(labeled=(1, 2)).shared()) == {"labeled", "pool_subset"}


def test_rounds_are_counts_or_shares_rounded_up():
    rounds = parse_config(VALUES).rounds
    assert rounds.counts(367) == (37, 74)
    assert rounds.subset(330) == 330
    half = parse_config(changed("rounds.pool_subset", "50%")).rounds
    assert half.subset(33) == 17


@pytest.mark.parametrize(
    ("labeled", "message"), [(["20%", "10%"], "must grow"), ([5, 400], "training split has 367")]
)
def test_rounds_that_cannot_be_are_refused(labeled, message):
    rounds = parse_config(changed("rounds.labeled", labeled)).rounds
    with pytest.raises(UsageError, match=message):
        rounds.counts(367)


def test_the_drives_of_synthetic_drives_are_known_without_an_expression():
    def data(**values):
        return parse_config({**VALUES, "data": values}).data

    known = data(dataset="synthetic-drives").sequence_from
    assert re.search(known, "crowd-004_0012.png")[1] == "crowd-004"
    assert data(dataset="synthetic-drives", sequence_from="^(x)").sequence_from == "^(x)"
    assert data(dataset="synthetic").sequence_from is None


def test_an_expression_for_drives_is_refused_by_its_own_name():
    data = {"dataset": "synthetic", "sequence_from": "scene"}
    with pytest.raises(UsageError, match=r"^\[data\] sequence_from 'scene' has no group"):
        parse_config({**VALUES, "data": data})
