"""Reads the values of a Python settings file from its syntax tree; nothing is executed.

Only constant expressions are evaluated: constants, lists, tuples, dictionaries, joined strings,
paths by ``os.path``, and names assigned before. Of any other expression only the position is known.
"""

from __future__ import annotations

import ast
import os.path
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ar_sync_pipeline.errors import TerminalError

_LONGEST_BYTES = 4 << 20


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
        conditional: Whether it is assigned in a branch.
    """

    value: Any
    origin: str
    conditional: bool = False


@dataclass
class PythonValues:
    """Values that files assign; later files override earlier ones.

    Attributes:
        names: Values by name.
        pairs: Tuples that begin with two strings, each with its origin.
        star_imports: Origins of ``from ... import *``.
    """

    names: dict[str, Found] = field(default_factory=dict)
    pairs: list[tuple[str, str, str]] = field(default_factory=list)
    star_imports: list[str] = field(default_factory=list)

    def read(self, path: Path) -> None:
        """Add the values of one file.

        Raises:
            UnreadableSourceError: The file cannot be read, or is not Python 3.
        """
        tree = _parse(path)
        for statement, conditional in _statements(tree):
            self._take(statement, path, conditional=conditional)
        for node in ast.walk(tree):
            if isinstance(node, ast.Tuple):
                match [self._value(element, path) for element in node.elts[:2]]:
                    case [str(first), str(second)]:
                        self.pairs.append((first, second, f"{path.name}:{node.lineno}"))

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
            found = found.value.get(key)
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

    def _take(self, statement: ast.stmt, path: Path, *, conditional: bool) -> None:
        origin = f"{path.name}:{statement.lineno}"
        value: Any = Unreadable()
        targets: list[ast.expr] = []
        match statement:
            case ast.Assign(targets=targets, value=expression):
                value = self._value(expression, path)
            case ast.AnnAssign(target=target, value=ast.expr() as expression):
                targets, value = [target], self._value(expression, path)
            case ast.AugAssign(target=target, op=ast.Add(), value=expression):
                targets = [target]
                value = self._value(ast.BinOp(_loaded(target), ast.Add(), expression), path)
            case ast.AugAssign(target=target):
                targets = [target]
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=target))):
                # A method may change its object; a name without a value is a module.
                targets = [target] if (place := _place(target)) and self.find(*place) else []
            case ast.ImportFrom(names=[ast.alias(name="*")]):
                self.star_imports.append(origin)
        for place in filter(None, map(_place, targets)):
            self.put(Found(value, origin, conditional), *place)

    def _value(self, node: ast.expr, path: Path) -> Any:  # noqa: ANN401  any value of a program
        try:
            return self._evaluate(node, path)
        except (_NoConstantError, TypeError, ValueError, KeyError, IndexError, RecursionError):
            return Unreadable()

    def _evaluate(self, node: ast.expr, path: Path) -> Any:  # noqa: ANN401, PLR0911  a line for each form
        match node:
            case ast.Constant(value=value):
                return value
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                return [self._evaluate(element, path) for element in elements]
            case ast.Dict(keys=keys, values=values) if None not in keys:
                return {
                    self._evaluate(key, path): Found(
                        self._value(value, path), f"{path.name}:{value.lineno}"
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
        return found.value


def _place(node: ast.expr) -> tuple[str, ...] | None:
    """Return the name and the keys of ``NAME['key']['key']``; None for anything else."""
    match node:
        case ast.Name(id=name):
            return (name,)
        case ast.Subscript(value=holder, slice=ast.Constant(value=str(key))):
            outer = _place(holder)
            return (*outer, key) if outer else None
    return None


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


def _statements(tree: ast.Module) -> Iterator[tuple[ast.stmt, bool]]:
    """Yield the statements of a module in order, each with whether it is in a branch."""
    waiting = [(statement, False) for statement in reversed(tree.body)]
    while waiting:
        statement, conditional = waiting.pop()
        yield statement, conditional
        match statement:
            case ast.If(body=body, orelse=other):
                inner, conditional = [*body, *other], True
            case ast.Try(body=body, handlers=handlers, orelse=other, finalbody=last):
                handled = [line for handler in handlers for line in handler.body]
                inner, conditional = [*handled, *body, *other, *last], True
            case ast.With(body=inner):
                pass
            case _:
                continue
        waiting += reversed([(line, conditional) for line in inner])
