"""Reads what Python files use of TensorRT.

TensorRT's objects are followed through assignments, calls and closures; their classes are those
that the bindings' docstrings say. Where the class of something cannot be told, that is a problem
too, so no use escapes.
"""

from __future__ import annotations

import ast
import builtins
import re
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

# Kinds of values: ("module",), ("class", C), ("object", C), ("method", C, name), ("list", kind) of
# what holds values of one kind, ("tuple", kinds), ("function", node, scope), ("lambda", kind),
# OTHER for what is not TensorRT's, None for what is not known.
OTHER = ("other",)
MODULE = ("module",)
Kind = Any

# Builtins whose results are not the objects that they are given.
_PLAIN = {"bool", "bytes", "float", "int", "isinstance", "len", "print", "range", "repr", "str"}
_ALIASES = {"IParserError": "ParserError"}  # a name that the bindings do not translate


@dataclass
class Signature:
    """One line ``name(self: X, a: Y, b: Z = 0) -> R`` of a docstring."""

    names: list[str]
    required: int
    result: str


def signatures(function: Any) -> list[Signature]:
    """Of a function of pybind11, one an overload."""
    found = []
    for line in (function.__doc__ or "").splitlines():
        match = re.match(r"(?:\d+\. )?\w+\((.*)\)(?: -> (.*))?$", line.strip())
        if match and not match[1].startswith("*args"):
            parts = [part for part in _split(match[1]) if not part.startswith("self")]
            names = [part.split(":")[0].split("=")[0].strip() for part in parts]
            required = sum("=" not in part for part in parts)
            found.append(Signature(names, required, _class_name(match[2] or "")))
    return found


def _split(text: str) -> list[str]:
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([<{") - (letter in ")]>}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _class_name(annotation: str) -> str:
    name = re.split(r"[.:]+", annotation.strip())[-1]
    return _ALIASES.get(name, name)


@dataclass
class Scope:
    """Names of one function, and those around it."""

    outer: Scope | None = None
    owner: str | None = None  # the class, for self
    names: dict[str, Kind] = field(default_factory=dict)

    def find(self, name: str) -> Kind:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.outer
        return OTHER if hasattr(builtins, name) else None


class Reader:
    """Follows the objects of one file; several rounds, until nothing new is learned."""

    def __init__(self, trt: Any, path: Path, types: dict[str, str]) -> None:
        self.trt = trt
        self.path = path
        self.uses: set[str] = set()
        self.problems: set[str] = set()
        self.attributes: dict[tuple[str, str], Kind] = {}
        for name, kind in types.items():
            self.attributes[tuple(name.split("."))] = ("object", kind)  # type: ignore[index]
        self.parameters: dict[ast.AST, dict[str, Kind]] = {}
        self.results: dict[ast.AST, Kind] = {}
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for _ in range(6):
            self.uses, self.problems = set(), set()
            self.body(tree.body, Scope())

    # ---- statements ---------------------------------------------------------------------------

    def body(self, statements: list[ast.stmt], scope: Scope) -> None:
        for node in statements:  # functions may be called above their definition
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                scope.names.setdefault(node.name, ("function", node, scope))
        for node in statements:
            self.statement(node, scope)

    def statement(self, node: ast.stmt, scope: Scope) -> None:
        match node:
            case ast.Import() | ast.ImportFrom():
                for alias in node.names:
                    scope.names[(alias.asname or alias.name).split(".")[0]] = OTHER
            case ast.FunctionDef():
                self.function(node, scope)
            case ast.ClassDef():
                self.class_(node, scope)
            case ast.Assign() | ast.AnnAssign():
                kind = self.value(node.value, scope) if node.value is not None else OTHER
                if isinstance(node, ast.AnnAssign) and "Any" not in ast.unparse(node.annotation):
                    kind = OTHER
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    self.assign(target, kind, scope)
            case ast.For():
                self.assign(node.target, _element(self.value(node.iter, scope)), scope)
                self.body([*node.body, *node.orelse], scope)
            case ast.With():
                for item in node.items:
                    kind = self.value(item.context_expr, scope)
                    if item.optional_vars is not None:
                        self.assign(item.optional_vars, kind, scope)
                self.body(node.body, scope)
            case ast.Return() if node.value is not None:
                scope.names["return"] = self.value(node.value, scope) or scope.names.get("return")
            case ast.Try():
                self.body(node.body, scope)
                for handler in node.handlers:
                    scope.names[handler.name or "_"] = OTHER
                    self.body(handler.body, scope)
                self.body([*node.orelse, *node.finalbody], scope)
            case ast.If() | ast.While():
                self.value(node.test, scope)
                self.body([*node.body, *node.orelse], scope)
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self.value(child, scope)

    def function(self, node: ast.FunctionDef, scope: Scope) -> None:
        inner = Scope(scope, scope.owner)
        known = self.parameters.get(node, {})
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        for argument in [*every, node.args.vararg, node.args.kwarg]:
            if argument is not None:
                kind = _annotated(argument)
                inner.names[argument.arg] = (
                    known.get(argument.arg, kind) if kind != MODULE else kind
                )
        if scope.owner is not None and every and every[0].arg in ("self", "cls"):
            inner.names[every[0].arg] = ("self", scope.owner)
        self.body(node.body, inner)
        self.results[node] = inner.names.get("return", OTHER)

    def class_(self, node: ast.ClassDef, scope: Scope) -> None:
        bases = [self.value(base, scope) for base in node.bases]
        ours = [kind[1] for kind in bases if kind and kind[0] == "class"]
        self.body(node.body, Scope(scope, node.name))
        for item in node.body:
            if ours and isinstance(item, ast.FunctionDef) and item.name != "__init__":
                self.overridden(ours[0], item)

    def overridden(self, name: str, item: ast.FunctionDef) -> None:
        given = [argument.arg for argument in item.args.args[1:]]
        self.use(name, item.name)
        known = signatures(getattr(self.named(name), item.name, None))
        if known and all(len(one.names) != len(given) for one in known):
            self.problem(item, f"{name}.{item.name} is called with {known[0].names}, not {given}")

    def assign(self, target: ast.expr, kind: Kind, scope: Scope) -> None:
        match target:
            case ast.Name():
                scope.names[target.id] = kind or scope.names.get(target.id)
            case ast.Attribute(value=ast.Name(id="self")) if scope.owner is not None:
                key = scope.owner, target.attr
                self.attributes[key] = self.attributes.get(key) or kind
            case ast.Attribute():
                base = self.value(target.value, scope)
                if base and base[0] == "object":
                    self.set(target, base[1])
                else:
                    self.value(target, scope)
            case ast.Tuple() | ast.List():
                parts = kind[1] if kind and kind[0] == "tuple" else [_element(kind)] * 99
                for part, one in zip(target.elts, parts, strict=False):
                    self.assign(part, one, scope)
            case _:
                self.value(target, scope)

    def set(self, target: ast.Attribute, name: str) -> None:
        self.use(name, target.attr)
        found = getattr(self.named(name), target.attr, None)
        if found is None:
            self.problem(target, f"{name} has no {target.attr}")
        elif isinstance(found, property) and found.fset is None:
            self.problem(target, f"{name}.{target.attr} cannot be set")

    # ---- expressions --------------------------------------------------------------------------

    def value(self, node: ast.expr, scope: Scope) -> Kind:
        match node:
            case ast.Name():
                return scope.find(node.id)
            case ast.Attribute():
                return self.attribute(node, scope)
            case ast.Call():
                return self.call(node, scope)
            case ast.IfExp():
                self.value(node.test, scope)
                return self.value(node.body, scope) or self.value(node.orelse, scope)
            case ast.ListComp() | ast.GeneratorExp() | ast.SetComp():
                inner = self.comprehension(node.generators, scope)
                return "list", self.value(node.elt, inner)
            case ast.DictComp():
                inner = self.comprehension(node.generators, scope)
                self.value(node.key, inner)
                return "list", self.value(node.value, inner)
            case ast.Lambda():
                inner = Scope(scope, scope.owner, {a.arg: None for a in node.args.args})
                return "lambda", self.value(node.body, inner)
            case ast.NamedExpr():
                kind = self.value(node.value, scope)
                self.assign(node.target, kind, scope)
                return kind
            case ast.Tuple():
                return "tuple", [self.value(part, scope) for part in node.elts]
            case ast.List() | ast.Set():
                return "list", _first([self.value(part, scope) for part in node.elts])
            case ast.Dict():
                for key in filter(None, node.keys):
                    self.value(key, scope)
                return "list", _first([self.value(part, scope) for part in node.values])
            case ast.Subscript():
                self.value(node.slice, scope)
                return _element(self.value(node.value, scope))
            case ast.BoolOp():
                return _first([self.value(part, scope) for part in node.values])
            case ast.Yield() if node.value is not None:
                scope.names["return"] = self.value(node.value, scope)
                return OTHER
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.value(child, scope)
        return OTHER

    def comprehension(self, generators: list[ast.comprehension], scope: Scope) -> Scope:
        inner = Scope(scope, scope.owner)
        for one in generators:
            self.assign(one.target, _element(self.value(one.iter, inner)), inner)
            for test in one.ifs:
                self.value(test, inner)
        return inner

    def attribute(self, node: ast.Attribute, scope: Scope) -> Kind:
        base = self.value(node.value, scope)
        if base is None:
            self.problem(node, f"the class of {ast.unparse(node.value)} cannot be told")
            return None
        match base:
            case ("self", owner):
                return self.of_self(owner, node.attr, scope)
            case ("module",):
                return self.of_module(node)
            case ("class" | "object", name):
                return self.of_class(node, name, is_class=base[0] == "class")
        return OTHER

    def of_self(self, owner: str, name: str, scope: Scope) -> Kind:
        if name == "_trt":
            return MODULE
        if (owner, name) in self.attributes:
            return self.attributes[owner, name]
        kind = scope.find(owner)
        if kind and kind[0] == "function" and isinstance(kind[1], ast.ClassDef):
            for item in kind[1].body:
                if isinstance(item, ast.FunctionDef) and item.name == name:
                    return "function", item, kind[2]
        return OTHER  # of a base class, which knows nothing of TensorRT

    def of_module(self, node: ast.Attribute) -> Kind:
        self.uses.add(node.attr)
        found = getattr(self.trt, node.attr, None)
        if found is None:
            self.problem(node, f"there is no {node.attr}")
            return OTHER
        return ("class", node.attr) if isinstance(found, type) else OTHER

    def of_class(self, node: ast.Attribute, name: str, *, is_class: bool) -> Kind:
        self.use(name, node.attr)
        own = self.named(name)
        found = getattr(own, node.attr, None)
        if found is None:
            self.problem(node, f"{name} has no {node.attr}")
            return OTHER
        if isinstance(found, type):  # ILogger.Severity
            return "class", f"{name}.{node.attr}"
        if is_class:
            return ("object", name) if isinstance(found, own) else OTHER
        if isinstance(found, property):
            told = signatures(found.fget) or [Signature([], 0, "")]
            return self.kind(told[0].result)
        return "method", name, node.attr

    def call(self, node: ast.Call, scope: Scope) -> Kind:
        called = self.value(node.func, scope)
        given = [self.value(argument, scope) for argument in node.args]
        named = {word.arg: self.value(word.value, scope) for word in node.keywords}
        text = ast.unparse(node)
        if text in ("import_tensorrt()", "importlib.import_module('tensorrt')"):
            return MODULE
        match called:
            case ("class", name):
                self.matched(node, name, "__init__")
                return "object", name
            case ("method", name, method):
                return self.kind(self.matched(node, name, method))
            case ("function", ast.FunctionDef() as function, _):
                arguments = [a.arg for a in function.args.args]
                if arguments[:1] == ["self"]:
                    arguments = arguments[1:]
                known = self.parameters.setdefault(function, {})
                for name, kind in [*zip(arguments, given, strict=False), *named.items()]:
                    if name is not None and kind is not None:
                        known[name] = kind
                return self.results.get(function)
            case ("function", ast.ClassDef(), _):
                return OTHER
        if isinstance(node.func, ast.Name) and node.func.id in _PLAIN:
            return OTHER
        # What else is given TensorRT's objects, or what makes them, may give them back.
        given += named.values()
        return None if called is None or any(map(self.gives, given)) else OTHER

    def gives(self, kind: Kind) -> bool:
        """Whether one of TensorRT's objects is there, or what makes one."""
        match kind:
            case ("object" | "method", *_):
                return True
            case ("list" | "lambda", inner):
                return self.gives(inner)
            case ("tuple", parts):
                return any(map(self.gives, parts))
            case ("function", ast.FunctionDef() as node, _):
                return self.gives(self.results.get(node))
        return False

    def matched(self, node: ast.Call, name: str, method: str) -> str:
        """Hold a call against the docstring; gives the name of the result's class."""
        known = signatures(getattr(self.named(name), method))
        words = [word.arg for word in node.keywords]
        for one in known:
            free = one.names[len(node.args) :]
            fits = len(node.args) <= len(one.names) and set(words) <= set(free)  # type: ignore[arg-type]
            if fits and len(node.args) + len(words) >= one.required:
                return one.result
        if known:
            told = " or ".join(str(one.names) for one in known)
            self.problem(node, f"{name}.{method} takes {told}: {ast.unparse(node)}")
        return known[0].result if known else ""

    def kind(self, name: str) -> Kind:
        return ("object", name) if isinstance(getattr(self.trt, name, None), type) else OTHER

    def named(self, name: str) -> Any:
        return attrgetter(name)(self.trt)

    def use(self, name: str, member: str) -> None:
        self.uses.add(f"{name}.{member}")

    def problem(self, node: ast.AST, text: str) -> None:
        self.problems.add(f"{self.path.name}:{getattr(node, 'lineno', 0)}: {text}")


def _annotated(argument: ast.arg) -> Kind:
    """What an annotation says; None for Any and for none."""
    text = "" if argument.annotation is None else ast.unparse(argument.annotation)
    if text == "ModuleType" and argument.arg == "trt":
        return MODULE
    return None if text in ("", "Any") else OTHER


def _element(kind: Kind) -> Kind:
    """What iterating or indexing gives."""
    match kind:
        case ("list", inner):
            return inner
        case ("tuple", parts):
            return _first(parts)
    return None if kind is None else OTHER


def _first(kinds: list[Kind]) -> Kind:
    """The first of TensorRT's; unknown if one is, or if there is none."""
    own = [kind for kind in kinds if kind not in (None, OTHER)]
    return own[0] if own else OTHER if kinds and None not in kinds else None
