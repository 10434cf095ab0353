"""Reads the values of a Python settings file from its syntax tree; nothing is executed.

Only constant expressions are evaluated: constants, lists, tuples, dictionaries, joined strings,
paths by ``os.path``, and names assigned before. Of any other expression only the position is known.
An import of another file that is read takes that file's values.
"""

from __future__ import annotations

import ast
import os.path
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from ar_sync_pipeline.errors import TerminalError

_LONGEST_BYTES = 4 << 20
_BRANCHES = (ast.If, ast.IfExp, ast.BoolOp, ast.Try, ast.For, ast.While, ast.Match)


class UnreadableSourceError(TerminalError):
    """A file is not Python 3 source."""


class Unreadable:
    """Stands for a value that only the running program has."""


@dataclass(frozen=True)
class Found:
    """A value in a settings file.

    Attributes:
        value: The value; the values of a dictionary are also `Found`.
        origin: File and line, such as ``settings.py:12``.
        conditional: Whether it, or a value in it or that it is computed from, is assigned in a
            branch.
    """

    value: Any
    origin: str
    conditional: bool = False


class _Runs(Enum):
    """How often a statement of a module runs."""

    ONCE = "once"
    PERHAPS = "in a branch"
    OFTEN = "in a loop"


@dataclass
class PythonValues:
    """Values that files assign; later files override earlier ones.

    Attributes:
        names: Values by name.
        pairs: Second string of lists and tuples, each with what is before it, and with the number
            of the assignment that it is part of; what is added to a list later has its number.
        unread: Statements that take settings from a file that was not read, each with its origin.
        unread_names: Names that are imported from such a file, each with its origin.
    """

    names: dict[str, Found] = field(default_factory=dict)
    pairs: list[tuple[Found, str, int]] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)
    unread_names: list[tuple[str, str]] = field(default_factory=list)
    _modules: dict[str, Path] = field(default_factory=dict)
    _read: dict[Path, dict[str, Found]] = field(default_factory=dict)
    _pairs_of: dict[Path, list[tuple[Found, str, int]]] = field(default_factory=dict)
    _in_branch: bool = False
    _assignments: dict[str, int] = field(default_factory=dict)
    _assignment: int = 0

    def read(self, paths: Sequence[Path]) -> None:
        """Add the values of files; a file that another one imports is read there.

        Raises:
            UnreadableSourceError: A file cannot be read, or is not Python 3.
        """
        self._modules |= {_module(path): path for path in paths}
        for path in paths:
            if path not in self._read:
                self._read_file(path, _Runs.ONCE)

    def _read_file(self, path: Path, runs: _Runs) -> None:
        before, pairs, tree = dict(self.names), len(self.pairs), _parse(path)
        self._read[path] = {}  # a file that imports itself, by others, gets nothing new
        for part in tree.body:
            for statement, inner in _statements(part, runs):
                self._take(statement, path, inner)
            for node, conditional in _nodes(part, conditional=runs is not _Runs.ONCE):
                self._take_node(node, path, conditional=conditional)
        self._pairs_of[path] = self.pairs[pairs:]
        self._read[path] = {
            name: found for name, found in self.names.items() if before.get(name) is not found
        }

    def find(self, name: str, *keys: str) -> Found | None:
        """Return the value of a name, or of a key in its dictionaries; None if not assigned.

        Every key of an unreadable value is unreadable.
        """
        found = self.names.get(name)
        for key in keys:
            if found is None or isinstance(found.value, Unreadable):
                return found
            if not isinstance(found.value, dict):
                return None
            inner = found.value.get(key)
            found = inner and replace(inner, conditional=inner.conditional or found.conditional)
        return found

    def put(self, found: Found, name: str, *keys: str) -> None:
        """Assign a value; missing dictionaries are created."""
        if not keys:
            self.names[name] = found
            return
        holder = self.names.setdefault(name, Found({}, found.origin))
        for key in keys[:-1]:
            if not isinstance(holder.value, dict):
                return
            holder = holder.value.setdefault(key, Found({}, found.origin))
        if isinstance(holder.value, dict):
            holder.value[keys[-1]] = found

    def _take(self, statement: ast.stmt, path: Path, runs: _Runs) -> None:
        if isinstance(statement, ast.ImportFrom):
            self._import(statement, path, runs)
            return
        targets, expression = _assignment(statement)
        match statement:
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=target))):
                # A method may change its object; a name without a value is a module.
                targets = [target] if any(self.find(*place) for place in _places(target)) else []
        origin = f"{path.name}:{statement.lineno}"
        unknown = Found(Unreadable(), origin, runs is not _Runs.ONCE)
        found = unknown
        if expression is not None and runs is not _Runs.OFTEN:
            found = self._found(expression, path, origin, conditional=unknown.conditional)
        for target in targets:
            for place in _places(target):
                self.put(found if _place(target) else unknown, *place)

    def _import(self, statement: ast.ImportFrom, path: Path, runs: _Runs) -> None:
        origin, conditional = f"{path.name}:{statement.lineno}", runs is not _Runs.ONCE
        source = self._modules.get((statement.module or "").rpartition(".")[2])
        before = self.names
        if source is not None and source not in self._read:
            self.names = dict(before)
            self._read_file(source, runs)
        elif source is not None and statement.names[0].name == "*":
            self.pairs += self._pairs_of.get(source, ())
        module = self._read.get(source, {}) if source else {}
        taken: dict[str, Found] = {}
        for alias in statement.names:
            name = alias.asname or alias.name
            if alias.name == "*":
                taken |= module
                if source is None:
                    self.unread.append(("import *", origin))
            elif alias.name in module:
                taken[name] = module[alias.name]
            elif source is None:
                self.unread_names.append((name, origin))
                # Without an earlier value it is as if it were not in the files.
                taken |= {name: Found(Unreadable(), origin)} if name in before else {}
        if conditional:
            taken = {name: replace(found, conditional=True) for name, found in taken.items()}
        self.names = module | before | taken

    def _take_node(self, node: ast.AST, path: Path, *, conditional: bool) -> None:
        origin = f"{path.name}:{getattr(node, 'lineno', 0)}"
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                adds = any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(value))
                self._number(name, adds=adds)
            case ast.AnnAssign(target=ast.Name(id=name)):
                self._number(name, adds=False)
            case (
                ast.AugAssign(target=ast.Name(id=name))
                | ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name))))
            ):
                self._number(name, adds=True)
            case ast.Tuple(elts=[before, second, *_]) | ast.List(elts=[before, second, *_]):
                job = self._found(second, path, origin, conditional=conditional)
                found = self._found(before, path, origin, conditional=job.conditional)
                if isinstance(job.value, str):
                    self.pairs.append((found, job.value, self._assignment))
            case ast.Call(func=ast.Name(id="exec" | "execfile" as name)):
                self.unread.append((name, origin))

    def _number(self, name: str, *, adds: bool) -> None:
        """Number the assignment to a name, unless it adds to the value that the name has."""
        if not adds or name not in self._assignments:
            self._assignments[name] = max(self._assignments.values(), default=0) + 1
        self._assignment = self._assignments[name]

    def _found(self, node: ast.expr, path: Path, origin: str, *, conditional: bool) -> Found:
        """Return the value of an expression, whose names may have values of a branch."""
        outer, self._in_branch = self._in_branch, False
        try:
            value = self._evaluate(node, path)
        except (_NoConstantError, TypeError, ValueError, KeyError, IndexError, RecursionError):
            value = Unreadable()
        found = Found(value, origin, conditional or self._in_branch)
        self._in_branch = outer
        return found

    def _evaluate(self, node: ast.expr, path: Path) -> Any:  # noqa: ANN401, PLR0911  a line for each form
        match node:
            case ast.Constant(value=value):
                return value
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                return [self._evaluate(element, path) for element in elements]
            case ast.Dict(keys=keys, values=values) if None not in keys:
                return {
                    self._evaluate(key, path): self._found(
                        value, path, f"{path.name}:{value.lineno}", conditional=False
                    )
                    for key, value in zip(keys, values, strict=True)
                    if key is not None
                }
            case ast.Name(id="__file__"):
                return str(path.absolute())
            case ast.Name() | ast.Subscript():
                return self._known(node)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self._evaluate(left, path) + self._evaluate(right, path)
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return str(Path(self._evaluate(left, path)) / self._evaluate(right, path))
            case ast.Call(func=function, args=arguments, keywords=[]):
                known = _FUNCTIONS.get(ast.unparse(function))
                if known is not None:
                    return known(*(self._evaluate(argument, path) for argument in arguments))
        raise _NoConstantError

    def _known(self, node: ast.expr) -> Any:  # noqa: ANN401
        place = _place(node)
        found = self.find(*place) if place else None
        if found is None or isinstance(found.value, Unreadable):
            raise _NoConstantError
        self._in_branch |= found.conditional
        return found.value


def _module(path: Path) -> str:
    """Return the name by which other files import a file."""
    return path.absolute().parent.name if path.stem == "__init__" else path.stem


def _assignment(statement: ast.stmt) -> tuple[Sequence[ast.expr], ast.expr | None]:
    """Return what a statement assigns to, and the value; None: only a run has it."""
    targets: Sequence[ast.expr] = []
    value: ast.expr | None = None
    match statement:
        case ast.Assign(targets=targets, value=value):
            pass
        case ast.Delete(targets=targets):
            pass
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            targets = [target]
        case ast.AugAssign(target=target, op=ast.Add(), value=added):
            targets, value = [target], ast.BinOp(_loaded(target), ast.Add(), added)
        case ast.AugAssign(target=target) | ast.For(target=target):
            targets = [target]
        case ast.With(items=items):
            targets = [item.optional_vars for item in items if item.optional_vars]
    return targets, value


def _place(node: ast.expr) -> tuple[str, ...] | None:
    """Return the name and the keys of ``NAME['key']['key']``; None for anything else."""
    match node:
        case ast.Name(id=name):
            return (name,)
        case ast.Subscript(value=holder, slice=ast.Constant(value=str(key))):
            outer = _place(holder)
            return (*outer, key) if outer else None
    return None


def _places(target: ast.expr) -> Iterator[tuple[str, ...]]:
    """Yield the places that an assignment to any target changes, as closely as they are known."""
    place = _place(target)
    match target:
        case _ if place:
            yield place
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            for element in elements:
                yield from _places(element)
        case ast.Subscript(value=holder) | ast.Attribute(value=holder) | ast.Starred(value=holder):
            yield from _places(holder)


def _loaded(target: ast.expr) -> ast.expr:
    """Return an assignment target as an expression that reads it."""
    return ast.parse(ast.unparse(target), mode="eval").body


class _NoConstantError(Exception):
    """The expression is not constant."""


# Functions of strings alone: none of them reads a file, a variable or the clock.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "os.path.join": os.path.join,
    "os.path.dirname": os.path.dirname,
    "os.path.abspath": os.path.normpath,
    "os.path.normpath": os.path.normpath,
    "os.path.realpath": os.path.normpath,
    "int": int,
    "str": str,
    "Path": str,
}


def _parse(path: Path) -> ast.Module:
    try:
        with path.open("rb") as file:
            source = file.read(_LONGEST_BYTES)
        with warnings.catch_warnings():
            # A warning of the parser shows the line, which may have a password.
            warnings.simplefilter("ignore")
            return ast.parse(source, filename=path.name)
    except OSError as error:
        raise UnreadableSourceError(
            f"{path} cannot be read ({error.strerror})", remedy="name a readable file"
        ) from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = error.lineno if isinstance(error, SyntaxError) else None
        if line is None:
            raise UnreadableSourceError(
                f"{path} is not the source of a Python module ({error or type(error).__name__})",
                remedy="name the settings module of the old system, or a copy of it as plain text",
            ) from None
        raise UnreadableSourceError(
            f"{path} is not Python 3 source in line {line}",
            remedy="copy it, remove that line from the copy (a print statement of Python 2, for"
            " example), and name the copy",
        ) from None


def _statements(outermost: ast.stmt, runs: _Runs) -> Iterator[tuple[ast.stmt, _Runs]]:
    """Yield a statement and those in it, in order, each with how often it runs."""
    waiting = [(outermost, runs)]
    while waiting:
        statement, runs = waiting.pop()
        yield statement, runs
        branch = _Runs.OFTEN if runs is _Runs.OFTEN else _Runs.PERHAPS
        match statement:
            case ast.If(body=body, orelse=other):
                inner, runs = [*body, *other], branch
            case ast.Try(body=body, handlers=handlers, orelse=other, finalbody=last):
                handled = [line for handler in handlers for line in handler.body]
                inner, runs = [*handled, *body, *other, *last], branch
            case ast.Match(cases=cases):
                inner, runs = [line for one in cases for line in one.body], branch
            case ast.For(body=body, orelse=other) | ast.While(body=body, orelse=other):
                inner, runs = [*body, *other], _Runs.OFTEN
            case ast.With(body=inner):
                pass
            case _:
                continue
        waiting += reversed([(line, runs) for line in inner])


def _nodes(tree: ast.AST, *, conditional: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Yield the nodes of a statement in order, each with whether it is in a branch."""
    waiting: list[tuple[ast.AST, bool]] = [(tree, conditional)]
    while waiting:
        node, conditional = waiting.pop()
        yield node, conditional
        conditional |= isinstance(node, _BRANCHES)
        waiting += [(child, conditional) for child in reversed([*ast.iter_child_nodes(node)])]
