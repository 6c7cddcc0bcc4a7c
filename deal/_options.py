"""Options that several public calls take: declared once, and shown by each call that takes them.

The options of one concern are the parameters of a frozen record, or of a function that reads them:
there stand names, defaults and documentation. A ``TypedDict`` beside it says what type users may
give, for type checkers and editors. A call that takes them is written ::

    @takes(ScoringOptions, Runtime, Network)
    def call(model: str, **options: Unpack[ScoringOptions]) -> None: ...

so that a new option of a concern changes none of the calls. `takes` puts every option into the
call's signature and docstring, and refuses an unknown one with the nearest name.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, ForwardRef, TypeVar

from deal.errors import UsageError

__all__ = ["check_threads", "check_whole", "plain", "refuse_unknown", "takes"]

MOST_THREADS = 4096

T = TypeVar("T", bound=Callable[..., Any])

_HEADING = "Parameters\n----------\n"
_NEXT_HEADING = re.compile(r"\n\n\S[^\n]*\n-{3,}\n")


def takes(
    types: type,
    *concerns: Callable[..., Any],
    otherwise: str = "",
    without: Mapping[str, str] | None = None,
) -> Callable[[T], T]:
    """Decorate a function or class whose ``**options`` are those of ``concerns``.

    Parameters
    ----------
    types : TypedDict
        Name and type of every option.
    *concerns : callable
        Their keyword parameters are the options, in order, with defaults; they are documented
        under "Parameters" of their docstrings.
    otherwise : str
        What to say of an unknown option that is near none.
    without : mapping of str to str, optional
        Options of similar calls that this one does not have, with what to do instead.
    """
    refused = without or {}
    options = {
        parameter.name: parameter.replace(annotation=_written(types.__annotations__, parameter))
        for concern in concerns
        for parameter in inspect.signature(concern).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in refused
    }
    documents = [_documented(concern, refused) for concern in concerns]

    def decorate(target: T) -> T:
        function = target.__init__ if inspect.isclass(target) else target
        own = inspect.signature(function)
        named = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        known = [*(p.name for p in named), *options]

        @functools.wraps(function)
        def call(*args: Any, **given: Any) -> Any:
            for name in given.keys() & refused.keys():
                raise UsageError(f"{target.__name__} has no option {name!r}; {refused[name]}")
            refuse_unknown(target.__name__, given, known, otherwise)
            return function(*args, **{name: plain(value) for name, value in given.items()})

        shown = own.replace(parameters=[*named, *options.values()])
        call.__signature__ = shown  # type: ignore[attr-defined]
        document = _with_parameters(inspect.getdoc(target) or "", documents)
        if inspect.isclass(target):
            target.__init__ = call  # type: ignore[method-assign]
            target.__doc__ = document
            return target
        call.__doc__ = document
        return call  # type: ignore[return-value]

    return decorate


def check_whole(least: int, **values: Any) -> None:
    """Raise UsageError unless each value is None or a whole number from ``least`` on."""
    for name, value in values.items():
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            raise UsageError(f"{name} must be a whole number, not {value!r}")
        if value < least:
            raise UsageError(f"{name} must be at least {least}, not {value}")


def check_threads(**values: Any) -> None:
    """Raise UsageError unless each value is None or a number of threads that a machine can have.

    Libraries crash or hang with more than their own integers or the system's threads.
    """
    check_whole(1, **values)
    for name, value in values.items():
        if value is not None and value > MOST_THREADS:
            raise UsageError(f"{name} must be at most {MOST_THREADS}, not {value}")


def plain(value: Any) -> Any:
    """A number of NumPy as Python's: it is stored as JSON and handed to native code."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    is_number = hasattr(value, "dtype") and getattr(value, "ndim", None) == 0
    return value.item() if is_number else value


def refuse_unknown(
    call: str, given: Mapping[str, Any], known: Sequence[str], otherwise: str = ""
) -> None:
    """Raise UsageError for an option that ``call`` does not have; says the nearest name."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else otherwise
            raise UsageError(f"{call} has no option {name!r}{'; ' if hint else ''}{hint}")


def _written(annotations: Mapping[str, Any], parameter: inspect.Parameter) -> Any:
    """The annotation as the source has it: some of its names only type checkers import."""
    annotation = annotations[parameter.name]
    return annotation.__forward_arg__ if isinstance(annotation, ForwardRef) else annotation


def _documented(concern: Callable[..., Any], refused: Container[str]) -> str:
    _, _, rest = (inspect.getdoc(concern) or "").partition(_HEADING)
    end = _NEXT_HEADING.search(rest)
    text = rest[: end.start() if end else len(rest)].rstrip()
    parts = re.split(r"\n(?=\S)", text)
    return "\n".join(part for part in parts if part.partition(" : ")[0] not in refused)


def _with_parameters(document: str, documents: list[str]) -> str:
    before, heading, rest = document.partition(_HEADING)
    if not heading:  # python -OO has no docstrings
        return document
    end = _NEXT_HEADING.search(rest)
    stop = end.start() if end else len(rest)
    return "".join([before, heading, "\n".join([rest[:stop].rstrip(), *documents]), rest[stop:]])
