"""The command that a benchmark records is one that measures the same again."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deal.bench import acquisition, head, kernel, scale
from deal.bench.command import recorded
from deal.bench.report import Report
from deal.cli.bench import command
from deal.cli.common import Size
from deal.errors import PoolError

PRESENTATION = {"as_json", "output"}
QUESTIONS = sorted(command.commands)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "a model's.onnx"
    path.touch()
    return str(path)


def values(parameter: click.Parameter, file: str) -> st.SearchStrategy[str]:
    """Texts that an option or argument takes."""
    kind = parameter.type
    if isinstance(kind, click.Choice):
        return st.sampled_from([str(choice) for choice in kind.choices])
    if isinstance(kind, click.IntRange):
        return st.integers(int(kind.min or 0), 10**6).map(str)
    if isinstance(kind, click.FloatRange):
        return st.floats(1e-3, 1e6).map(str)
    if isinstance(kind, click.Path):
        return st.just(file if kind.file_okay else str(Path(file).parent))
    if isinstance(kind, Size):
        return st.tuples(st.integers(1, 9999), st.integers(1, 9999)).map("{0[0]}x{0[1]}".format)
    if kind is click.FLOAT:
        return st.floats(0.01, 0.99).map(str)
    assert kind is click.STRING, f"no values are known for {parameter.name}"
    return st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


@st.composite
def command_lines(draw: st.DrawFn, question: str, file: str) -> list[str]:
    """Arguments of a question: some of its options, with values."""
    words, arguments = [], []
    for parameter in command.commands[question].params:
        if not parameter.expose_value:
            continue
        if isinstance(parameter, click.Argument):
            least = int(parameter.required)
            most = 3 if parameter.nargs == -1 else 1
            arguments = draw(st.lists(values(parameter, file), min_size=least, max_size=most))
        elif not (parameter.required or draw(st.booleans())):
            continue
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            words.append(draw(st.sampled_from([*parameter.opts, *parameter.secondary_opts])))
        else:
            for _ in range(draw(st.integers(1, 3)) if parameter.multiple else 1):
                words += [parameter.opts[0], draw(values(parameter, file))]
    return [*words, "--", *arguments]


def parsed(question: str, words: list[str]) -> click.Context:
    return command.commands[question].make_context(question, list(words))


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_recorded_command_is_parsed_to_the_same_parameters(question: str, file: str) -> None:
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(command_lines(question, file))
    def check(words: list[str]) -> None:
        context = parsed(question, words)
        name = shlex.split(recorded(context))
        assert name[:3] == ["deal", "bench", question]
        again = parsed(question, name[3:]).params
        for key in context.params.keys() - PRESENTATION:
            assert again[key] == context.params[key], key
        assert all(again[key] in (None, False) for key in PRESENTATION & again.keys())

    check()


def test_the_recorded_command_has_what_was_given_and_nothing_else(file: str) -> None:
    assert recorded(parsed("kernel", [])) == "deal bench kernel"
    words = ["--no-int8", "--model", file, "--rounds", "5", "--json"]
    expected = f"deal bench engine --model {shlex.quote(file)} --rounds 5 --no-int8"
    assert recorded(parsed("engine", words)) == expected


def test_a_report_has_the_command_that_made_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(acquisition, "run", lambda **options: Report("acquisition", options, ()))
    words = ["acquisition", "--rows", "7", "--output", str(tmp_path / "q.json"), "--json"]
    printed = CliRunner().invoke(command, words)
    assert printed.exit_code == 0, printed.output
    for text in (printed.output, (tmp_path / "q.json").read_text()):
        assert json.loads(text)["command"] == "deal bench acquisition --rows 7"


@pytest.mark.parametrize(
    ("question", "option", "module", "name"),
    [
        ("kernel", "shape", kernel, "SHAPES"),
        ("head", "grid", head, "GRIDS"),
        ("scale", "acquisition", scale, "FUNCTIONS"),
    ],
)
def test_the_command_line_offers_what_the_question_knows(
    question: str, option: str, module: ModuleType, name: str
) -> None:
    parameters = {parameter.name: parameter for parameter in command.commands[question].params}
    kind = parameters[option].type
    assert isinstance(kind, click.Choice)
    assert set(kind.choices) == set(getattr(module, name))


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    found = CliRunner().invoke(command, ["decode", str(tmp_path)])
    assert isinstance(found.exception, PoolError)
    assert f"image {tmp_path / 'cut.jpg'}: " in str(found.exception)
    assert "mend or remove it" in str(found.exception)
