"""Text, CSV, JSON lines and Parquet manifests."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from deal.errors import PoolError
from deal.pool.manifest import ManifestRow, read_manifest

WEIRD = os.fsdecode(b"with space\xff.jpg")


def rows(path: Path, content: str | bytes | list[dict[str, Any]]) -> list[ManifestRow]:
    if isinstance(content, list):
        parquet.write_table(pa.Table.from_pylist(content), path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_manifest(str(path)))


def test_text_has_one_path_a_line(tmp_path: Path) -> None:
    content = b" lead and trail .jpg \n\nsub/b.jpg\r\n" + os.fsencode(WEIRD) + b"\n#c.jpg"
    found = rows(tmp_path / "list.txt", content)
    names = [" lead and trail .jpg ", "sub/b.jpg", WEIRD, "#c.jpg"]
    assert [row.relative for row in found] == names
    assert [row.path for row in found] == [f"{tmp_path}/{name}" for name in names]
    assert [row.line for row in found] == [1, 3, 4, 5]
    assert all(row.id is None and row.attributes == {} for row in found)


FULL = {
    "uri": "a.jpg",
    "id": "A",
    "sequence": "s",
    "camera": "c",
    "timestamp_ns": 1_700_000_000_123_456_789,
    "weather": "rain",
}


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "CSV"])
def test_columns_are_the_same_in_every_format(tmp_path: Path, suffix: str) -> None:
    bare = {**dict.fromkeys(FULL), "uri": "sub/b c.jpg"}
    path = tmp_path / f"list.{suffix}"
    table = [FULL, bare]
    if suffix.lower() == "csv":
        lines = [",".join("" if v is None else str(v) for v in row.values()) for row in table]
        found = rows(path, "\n".join([",".join(FULL), *lines]))
    elif suffix == "jsonl":
        found = rows(path, "\n".join(map(json.dumps, table)) + "\n\n")
    else:
        found = rows(path, table)
    first, second = found
    assert (first.id, first.sequence, first.camera) == ("A", "s", "c")
    assert first.timestamp_ns == FULL["timestamp_ns"]
    assert first.attributes == {"weather": "rain"}
    assert (second.relative, second.path) == ("sub/b c.jpg", f"{tmp_path}/sub/b c.jpg")
    assert (second.id, second.sequence, second.camera, second.timestamp_ns) == (None,) * 4
    assert second.attributes == {}


def test_names_with_newlines_and_foreign_bytes_survive(tmp_path: Path) -> None:
    name = os.fsdecode(b'line\nbreak, "quoted"\xff\xfe.jpg')
    quoted = os.fsencode('"' + name.replace('"', '""') + '"')
    assert rows(tmp_path / "l.csv", b"uri\n" + quoted + b"\n")[0].relative == name
    assert rows(tmp_path / "l.jsonl", json.dumps({"uri": name}))[0].relative == name
    assert rows(tmp_path / "l.parquet", [{"uri": os.fsencode(name)}])[0].relative == name


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "uri": st.text(min_size=1).filter(lambda s: "\0" not in s and "/" not in s),
                "id": st.none() | st.text(min_size=1),
                # numbers between are times of today in other units, which are refused
                "timestamp_ns": st.none()
                | st.integers(-(2**63), 0)
                | st.integers(10**18, 2**63 - 1),
                "note": st.none() | st.text(min_size=1),
            }
        ),
        min_size=1,
        max_size=5,
    )
)
def test_json_lines_and_parquet_carry_any_text(
    tmp_path_factory: pytest.TempPathFactory, table: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    schema = pa.schema(
        [("uri", "string"), ("id", "string"), ("timestamp_ns", "int64"), ("note", "string")]
    )
    parquet.write_table(pa.Table.from_pylist(table, schema), folder / "l.parquet")
    from_parquet = list(read_manifest(str(folder / "l.parquet")))
    from_lines = rows(folder / "l.jsonl", "\n".join(map(json.dumps, table)))
    assert from_lines == from_parquet
    for row, wanted in zip(from_lines, table, strict=True):
        assert (row.id, row.timestamp_ns) == (wanted["id"], wanted["timestamp_ns"])
        assert row.attributes.get("note") == wanted["note"]
        assert row.path == os.path.normpath(f"{folder}/{wanted['uri']}")


def test_relative_paths_start_at_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lists").mkdir()
    content = f"./a.jpg\nb/../c.jpg\n../up.jpg\n{tmp_path}/lists/d/e.jpg\n/else/f.jpg\n"
    (tmp_path / "lists/l.txt").write_text(content)
    monkeypatch.chdir(tmp_path)
    found = list(read_manifest("lists/l.txt"))
    assert [row.relative for row in found] == [
        "a.jpg",
        "c.jpg",
        "../up.jpg",
        "d/e.jpg",
        "/else/f.jpg",
    ]
    assert [row.path for row in found] == [
        f"{tmp_path}/lists/a.jpg",
        f"{tmp_path}/lists/c.jpg",
        f"{tmp_path}/up.jpg",
        f"{tmp_path}/lists/d/e.jpg",
        "/else/f.jpg",
    ]


def test_file_uris_are_percent_decoded_and_paths_are_not(tmp_path: Path) -> None:
    found = rows(tmp_path / "l.txt", "file:///x/a%20b%FF.jpg\nFILE:///x/c.jpg\na%20b.jpg\n")
    assert [row.path for row in found] == [
        os.fsdecode(b"/x/a b\xff.jpg"),
        "/x/c.jpg",
        f"{tmp_path}/a%20b.jpg",
    ]


@pytest.mark.parametrize("uri", ["hdfs://host/a.jpg", "ftp://host/a.jpg", "file://host/a.jpg"])
def test_addresses_that_are_not_read_are_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(PoolError, match=r"line 2: .*neither a path nor file:///path"):
        rows(tmp_path / "l.txt", f"a.jpg\n{uri}\n")


def test_other_values_become_text(tmp_path: Path) -> None:
    line = {"uri": "a.jpg", "id": 7, "n": 1.5, "ok": True, "tags": ["ü", 2], "none": None}
    (row,) = rows(tmp_path / "l.jsonl", json.dumps(line))
    assert row.id == "7"
    assert row.attributes == {"n": "1.5", "ok": "true", "tags": '["ü", 2]'}


def test_parquet_times_keep_their_nanoseconds(tmp_path: Path) -> None:
    path = tmp_path / "l.parquet"
    stamp = 1_700_000_000_000_000_001
    columns = {
        "uri": ["a.jpg", "b.jpg"],
        "timestamp_ns": pa.array([stamp, None], pa.timestamp("ns", "UTC")),
        "seen": pa.array([stamp, None], pa.timestamp("ns")),
        "day": pa.array([1, None], pa.date32()),
    }
    parquet.write_table(pa.table(columns), path)
    first, second = read_manifest(str(path))
    assert (first.timestamp_ns, second.timestamp_ns) == (stamp, None)
    assert first.attributes == {"seen": "2023-11-14 22:13:20.000000001", "day": "1970-01-02"}
    assert second.attributes == {}


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    assert rows(tmp_path / "l.csv", "\ufeffuri\na.jpg\n")[0].relative == "a.jpg"
    assert rows(tmp_path / "l.txt", "\ufeffa.jpg\n")[0].relative == "a.jpg"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("l.csv", "", r"columns none; it needs a column 'uri'"),
        ("l.csv", "file,id\na,b\n", r"columns 'file', 'id'; it needs a column 'uri'"),
        ("l.csv", "uri,a,a\n1,2,3\n", r"column 'a' twice"),
        ("l.csv", "uri,id\na.jpg,1\nb.jpg\n", r"line 3: 1 cells under 2 columns"),
        ("l.csv", 'uri\n"a.jpg\n', r"line 2: unexpected end of data"),
        ("l.csv", "uri,id\n,x\n", r"line 2: no 'uri'"),
        ("l.csv", "uri,timestamp_ns\na.jpg,1.5\n", r"line 2: 'timestamp_ns' is '1.5', not a 64"),
        ("l.csv", f"uri,timestamp_ns\na.jpg,{2**63}\n", r"not a 64-bit integer"),
        ("l.csv", b"uri,id\na.jpg,\xff\n", r"line 2: 'id' is .*not UTF-8"),
        ("l.jsonl", '{"uri": "a.jpg"}\n{"uri": ', r"line 2: not JSON"),
        ("l.jsonl", '"a.jpg"\n', r"line 1: not a JSON object"),
        ("l.jsonl", '{"id": "a"}\n', r"line 1: no 'uri'"),
        ("l.jsonl", '{"uri": ["a"]}\n', r"line 1: 'uri' is \['a'\], not a path"),
        ("l.jsonl", '{"uri": "a\\u0000b"}\n', r"not a path"),
        ("l.jsonl", '{"uri": "file:///a%00b"}\n', r"not a path"),
        ("l.jsonl", '{"uri": "\\ud800"}\n', r"not a path"),
        ("l.jsonl", '{"uri": "a", "timestamp_ns": 1e19}\n', r"not a 64-bit integer"),
        ("l.jsonl", '{"uri": "a", "timestamp_ns": 1e400}\n', r"not a 64-bit integer"),
        ("l.jsonl", '{"uri": "a", "timestamp_ns": "2024-05-01"}\n', r"a column 'timestamp'"),
        ("l.jsonl", '{"uri": NaN}\n', r"line 1: no 'uri'"),
        ("l.csv", "uri,camera,Camera\na,b,c\n", r"column 'camera' twice"),
        ("l.csv", "image,path\na,b\n", r"no column 'uri', but image and path: call the one"),
        ("l.csv", b"\xff\xfeu", r"begins as UTF-16 and is not"),
        ("l.csv", "uri,timestamp\na,1714557604\nb,1714557604000\n", r"line 3: .*not in seconds"),
        ("l.csv", "uri,timestamp_ns\na,1714557604\nb,1714557605\n", r"if it counts seconds, .*"),
        (
            "l.csv",
            "uri,timestamp_ns\na,1714557604000\nb,1714557605000\n",
            r"milliseconds, .*10{6}$",
        ),
        ("l.jsonl", '{"uri": "a", "timestamp_ns": true}\n', r"not a 64-bit integer"),
        ("l.jsonl", "[" * 100_000, r"line 1: not JSON"),
        ("l.parquet", "PAR1 but not really", r"not a readable Parquet file"),
        ("l.parquet", [{"file": "a.jpg"}], r"columns 'file'; it needs a column 'uri'"),
        ("l.parquet", [{"uri": "a.jpg"}, {"uri": None}], r"line 2: no 'uri'"),
    ],
)
def test_malformed_manifests_name_file_line_and_problem(
    tmp_path: Path, name: str, content: Any, message: str
) -> None:
    with pytest.raises(PoolError, match=message) as caught:
        rows(tmp_path / name, content)
    assert f"manifest '{tmp_path}/{name}'" in str(caught.value)
    assert "\n" not in str(caught.value)


def noted(path: Path, content: Any) -> tuple[list[ManifestRow], list[str]]:
    rows(path, content)
    notes: list[str] = []
    return list(read_manifest(str(path), notes.append)), list(dict.fromkeys(notes))


@pytest.mark.parametrize("header", ["uri, camera, Sequence", "URI , camera ,sequence"])
def test_spaces_and_case_of_column_names_do_not_matter_and_are_noted(
    tmp_path: Path, header: str
) -> None:
    (row,), notes = noted(tmp_path / "l.csv", f"{header}\na.jpg, front,s 1\n")
    assert (row.relative, row.sequence, row.attributes) == ("a.jpg", "s 1", {})
    assert (row.camera or "").strip() == "front"
    assert any("is taken for 'sequence'" in note or "'URI ' is taken" in note for note in notes)


@pytest.mark.parametrize("name", ["image", "file_name", "filepath", "path", "Path"])
def test_other_names_of_the_column_with_the_paths_are_taken(tmp_path: Path, name: str) -> None:
    (row,), notes = noted(tmp_path / "l.jsonl", json.dumps({name: "a.jpg", "n": "1"}))
    assert (row.relative, row.attributes) == ("a.jpg", {"n": "1"})
    assert notes == [f"its column {name!r} is taken for 'uri'"]
    (row,), notes = noted(tmp_path / "m.jsonl", json.dumps({name: "b.jpg", "uri": "a.jpg"}))
    assert (row.relative, row.attributes, notes) == ("a.jpg", {name: "b.jpg"}, [])


@pytest.mark.parametrize(
    ("name", "separator", "said"),
    [("l.tsv", "\t", ""), ("l.csv", ";", "semicolons"), ("l.csv", "\t", "tabs")],
)
def test_other_separators_are_seen_by_the_header(
    tmp_path: Path, name: str, separator: str, said: str
) -> None:
    content = f'"uri"{separator}camera\n"a{separator}b.jpg"{separator}front, left\n'
    (row,), notes = noted(tmp_path / name, content)
    assert (row.relative, row.camera) == (f"a{separator}b.jpg", "front, left")
    assert [said in note for note in notes] == ([True] if said else [])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(tmp_path: Path, encoding: str) -> None:
    text = "uri\nü.jpg\n" if encoding != "utf-16-be" else "\ufeffuri\nü.jpg\n"
    (row,), notes = noted(tmp_path / "l.csv", text.encode(encoding))
    assert row.relative == "ü.jpg"
    assert notes == [f"read as {encoding[:6].upper()}"]


def test_text_in_columns_of_binary_type_is_text(tmp_path: Path) -> None:
    (row,) = rows(tmp_path / "l.parquet", [{"uri": b"a.jpg", "id": b"f1", "camera": b"front"}])
    assert (row.id, row.camera) == ("f1", "front")
    with pytest.raises(PoolError, match=r"line 1: 'id' is .*not UTF-8"):
        rows(tmp_path / "l.parquet", [{"uri": b"a.jpg", "id": b"\xff"}])


def test_parquet_text_that_is_not_utf_8_is_a_name_or_an_error_and_no_traceback(
    tmp_path: Path,
) -> None:
    path = tmp_path / "l.parquet"
    odd = pa.array([b"a\xff.jpg"], pa.binary())
    text = pa.StringArray.from_buffers(1, *odd.buffers()[1:])
    parquet.write_table(pa.table({"uri": text}), path)
    assert [row.relative for row in read_manifest(str(path))] == [os.fsdecode(b"a\xff.jpg")]
    parquet.write_table(pa.table({"uri": ["a"], "id": text}), path)
    with pytest.raises(PoolError, match=r"line 1: 'id' is .*not UTF-8"):
        list(read_manifest(str(path)))
    parquet.write_table(
        pa.table({"uri": ["a"], "tags": pa.ListArray.from_arrays([0, 1], text)}), path
    )
    with pytest.raises(PoolError, match=r"not a readable Parquet file: .*utf-8"):
        list(read_manifest(str(path)))


def test_categories_and_missing_numbers_of_data_frames_are_read(tmp_path: Path) -> None:
    path = tmp_path / "l.parquet"
    columns = {
        "uri": pa.array(["a", "b"]).dictionary_encode(),
        "camera": pa.array(["front", None]).dictionary_encode(),
        "timestamp_ns": pa.array([1714557604000000000.0, float("nan")]),
        "speed": pa.array([1.5, float("nan")]),
    }
    parquet.write_table(pa.table(columns), path)
    first, second = read_manifest(str(path))
    assert (first.timestamp_ns, second.timestamp_ns) == (1714557604000000000, None)
    assert (first.camera, first.attributes) == ("front", {"speed": "1.5"})
    assert (second.camera, second.attributes) == (None, {})


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("NaN", None),
        ("NaT", None),
        ("<NA>", None),
        ("1714557604000000000.0", 1714557604000000000),
        ("1.714557604e+18", 1714557604000000000),
        ("+12", 12),
        ("-3", -3),
    ],
)
def test_what_data_frames_write_for_numbers_is_read(
    tmp_path: Path, text: str, time: int | None
) -> None:
    (row,) = rows(tmp_path / "l.csv", f"uri,timestamp_ns\na,{text}\n")
    assert row.timestamp_ns == time


@pytest.mark.parametrize(
    ("value", "time", "said"),
    [
        ("1714557604", 1714557604 * 10**9, "seconds"),
        ("1714557604.25", 1714557604 * 10**9 + 250_000_000, "seconds"),
        ("1714557604123", 1714557604123 * 10**6, "milliseconds"),
        ("1714557604123456", 1714557604123456 * 10**3, "microseconds"),
        ("1714557604123456789", 1714557604123456789, "nanoseconds"),
        ("2024-05-01", 1714521600 * 10**9, "dates"),
        ("2024-05-01 10:00:04.123456789", 1714557604123456789, "dates"),
        ("2024-05-01T12:00:04+02:00", 1714557604 * 10**9, "dates"),
        ("2024-05-01T04:30:04-0530", 1714557604 * 10**9, "dates"),
        ("2024-05-01T10:00:04Z", 1714557604 * 10**9, "dates"),
    ],
)
def test_a_column_timestamp_is_read_in_the_unit_that_fits_and_noted(
    tmp_path: Path, value: str, time: int, said: str
) -> None:
    (row, gap), notes = noted(tmp_path / "l.csv", f"uri,timestamp\na,{value}\nb,NaT\n")
    assert (row.timestamp_ns, row.attributes) == (time, {})
    assert (gap.timestamp_ns, gap.attributes) == (None, {})
    assert notes == [f"its column 'timestamp' is the time of the images, read as {said}"]


@pytest.mark.parametrize("value", ["12.5", "noon", "2024-13-01"])
def test_a_column_timestamp_that_tells_no_time_stays_an_attribute(
    tmp_path: Path, value: str
) -> None:
    (row,), notes = noted(tmp_path / "l.csv", f"uri,timestamp\na,{value}\n")
    assert (row.timestamp_ns, row.attributes) == (None, {"timestamp": value})
    assert "is an attribute" in notes[0]


def test_nanoseconds_since_any_start_are_no_seconds(tmp_path: Path) -> None:
    content = "uri,timestamp_ns\na,0\nb,1000000000\nc,2000000000\n"
    assert [row.timestamp_ns for row in rows(tmp_path / "l.csv", content)] == [0, 10**9, 2 * 10**9]


@pytest.mark.parametrize("suffix", ["txt", "csv", "jsonl"])
def test_a_line_without_end_is_refused(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deal.pool.manifest_tables._LONGEST_LINE", 100)
    with pytest.raises(PoolError, match="line 1: more than 100 characters"):
        rows(tmp_path / f"l.{suffix}", "a" * 101)


@pytest.mark.parametrize("suffix", ["txt", "csv", "tsv", "jsonl", "parquet"])
def test_a_pipe_or_device_is_no_manifest(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / f"pipe.{suffix}")
    (tmp_path / f"zero.{suffix}").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(PoolError, match="cannot be read: it is not a regular file"):
            list(read_manifest(f"{tmp_path}/{name}.{suffix}"))


def test_an_unreadable_manifest_is_refused(tmp_path: Path) -> None:
    for name in ("gone.txt", "gone.parquet"):
        with pytest.raises(PoolError, match=r"cannot be read: .*No such file"):
            list(read_manifest(str(tmp_path / name)))


def test_manifests_are_streamed(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("uri\n" + "a.jpg\n" * 5 + "x,y\n")
    stream = read_manifest(str(path))
    assert next(stream).relative == "a.jpg"  # the last line is not read yet
    with pytest.raises(PoolError, match="line 7"):
        list(stream)
