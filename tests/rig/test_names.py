"""Names of files: one per id, readable, and no file where another id needs a folder."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deal.errors import UsageError
from deal.rig.names import file_parts, id_of
from deal.rig.recorder import Recorder

IDS = st.text(st.sampled_from(["a", "b", "/", ".", "%", "2", "E", "n", "e", "w", "é", "\udcff"]))


@settings(max_examples=400)
@given(IDS, IDS)
@example("a", "a/b")
@example("a.new", "a")
@example("a/", "a//b")
@example("v1.0", "v1.0/x.jpg")
def test_ids_have_names_of_their_own_which_tell_the_id(first, second):
    one, two = (PurePosixPath(*file_parts(name)) for name in (first, second))
    assert id_of(one.parts) == first
    assert not one.name.endswith(".new")
    assert not {".", ".."} & set(one.parts)
    if first != second:
        assert one != two
        assert one not in two.parents
        assert one.with_name(one.name + ".new") not in (two, *two.parents)


def test_usual_ids_stay_as_they_are():
    for name in (
        "drive 1/front_000123.jpg",
        "1700000000.25.png",
        "straße/#3 (a,b).jpeg",
        "हिन्दी/☃ 😀.jpg",
        "e\u0301.jpg",
    ):
        assert "/".join(file_parts(name)) == name


def test_names_of_earlier_versions_are_read():
    assert id_of(["a", "b"]) == "a/b"
    assert id_of(["v1.0", "%2Ehidden"]) == "v1.0/.hidden"
    assert id_of(["a", "%", "b.jpg"]) == "a//b.jpg"
    assert id_of(["%E2%98%83.jpg"]) == "☃.jpg"


def test_a_file_and_a_folder_of_one_name_are_both_kept(tmp_path):
    ids = ["a", "a/b", "a/b/c.jpg", "x.jpg", "x.jpg/1"]
    with Recorder(tmp_path, budget=9) as recorder:
        for name in ids:
            recorder.push(name, name.encode(), score=1.0)
        assert {recorder.path_of(name).read_bytes().decode() for name in ids} == set(ids)
    with Recorder(tmp_path, budget=9) as recorder:
        assert {d.id for d in recorder.kept()} == set(ids)


def test_a_folder_of_an_earlier_version_goes_on(tmp_path):
    with Recorder(tmp_path, budget=9) as recorder:
        recorder.push("v1.0/000123", b"data", score=1.0)
    new = recorder.path_of("v1.0/000123")
    old = tmp_path / "frames/v1.0/000123"
    old.parent.mkdir()
    new.rename(old)
    with Recorder(tmp_path, budget=9) as recorder:
        assert [d.id for d in recorder.kept()] == ["v1.0/000123"]
    assert new.read_bytes() == b"data"


def test_a_name_that_is_too_long_is_refused_and_costs_nothing(tmp_path):
    with Recorder(tmp_path, budget=9) as recorder:
        for name in ("a" * 300, "\udcff" * 90, "a/" * 2000):
            with pytest.raises(UsageError, match="give shorter ids"):
                recorder.push(name, b"data", score=1.0)
        recorder.push("é" * 120 + ".jpg", b"data", score=1.0)
        assert len(recorder.kept()) == 1
