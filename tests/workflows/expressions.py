"""GitHub's expression language, for what GitHub evaluates itself before a runner gets a job.

https://docs.github.com/en/actions/reference/workflows-and-actions/expressions
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

Functions = Mapping[str, Callable[..., Any]]

TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>-?(?:0x[0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?))
    | (?P<string>'(?:[^']|'')*')
    | (?P<name>[A-Za-z_][A-Za-z0-9_-]*)
    | (?P<mark>&&|\|\||==|!=|<=|>=|[!<>()\[\].,*])
    )""",
    re.VERBOSE,
)
EMBEDDED = re.compile(r"\$\{\{((?:[^'}]|'[^']*'|\}(?!\}))*)\}\}")
LITERALS = {"true": True, "false": False, "null": None}


class ExpressionError(Exception):
    """An expression that GitHub would refuse."""


class Token(NamedTuple):
    """A piece of an expression and where it stands."""

    kind: str
    text: str
    start: int
    end: int


def tokens(text: str) -> list[Token]:
    """The pieces of an expression. Raises ExpressionError for what is none."""
    found, position = [], 0
    while text[position:].strip():
        match = TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise ExpressionError(f"unexpected {text[position:].strip()[:20]!r} in {text!r}")
        found.append(Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup), match.end()))
        position = match.end()
    return found


def evaluate(text: str, contexts: Mapping[str, Any], functions: Functions | None = None) -> Any:
    """The value of one expression, without `${{ }}`. Raises ExpressionError."""
    parser = _Parser(text, contexts, {**FUNCTIONS, **(functions or {})})
    value = parser.either()
    if parser.rest:
        raise ExpressionError(f"unexpected {parser.rest[0].text!r} in {text!r}")
    return value


def condition(text: Any, contexts: Mapping[str, Any], functions: Functions) -> bool:
    """Whether an `if:` holds; `success()` is meant where no function of the status is called."""
    if isinstance(text, bool):
        text = str(text).lower()
    inner = EMBEDDED.fullmatch(text.strip())
    text = inner[1] if inner else text
    if EMBEDDED.search(text):
        return truthy(interpolate(text, contexts, functions))
    if not calls_status(text):
        text = f"success() && ({text})"
    return truthy(evaluate(text, contexts, functions))


def calls_status(text: str) -> bool:
    """Whether an expression asks how the jobs before it ended."""
    pieces = tokens(text)
    return any(
        piece.kind == "name"
        and piece.text.lower() in ("success", "failure", "always", "cancelled")
        and after.text == "("
        for piece, after in itertools.pairwise(pieces)
    )


def interpolate(value: Any, contexts: Mapping[str, Any], functions: Functions | None = None) -> Any:
    """A value of a workflow file with every `${{ }}` in it replaced; a lone one keeps its type."""
    if isinstance(value, Mapping):
        return {key: interpolate(inner, contexts, functions) for key, inner in value.items()}
    if isinstance(value, list):
        return [interpolate(inner, contexts, functions) for inner in value]
    if not isinstance(value, str):
        return value
    whole = EMBEDDED.fullmatch(value.strip())
    if whole:
        return evaluate(whole[1], contexts, functions)
    return EMBEDDED.sub(lambda match: text_of(evaluate(match[1], contexts, functions)), value)


def resolved(value: Any, contexts: Mapping[str, Any], *, bare: bool = False) -> Any:
    """A value of a workflow file in which some contexts are written out as literals, for the runner's own evaluator.

    `bare`: the value is an `if:`, an expression without marks.
    """
    if isinstance(value, Mapping):
        return {key: resolved(inner, contexts, bare=key == "if") for key, inner in value.items()}
    if isinstance(value, list):
        return [resolved(inner, contexts) for inner in value]
    if not isinstance(value, str):
        return value
    if bare and not EMBEDDED.search(value):
        return _written_out(value, contexts)
    return EMBEDDED.sub(lambda match: "${{" + _written_out(match[1], contexts) + "}}", value)


def _written_out(text: str, contexts: Mapping[str, Any]) -> str:
    pieces, written, position = tokens(text), "", 0
    for before, piece, after in zip([None, *pieces], pieces, [*pieces[1:], None], strict=False):
        free = (before is None or before.text != ".") and (after is None or after.text != "(")
        if piece.kind == "name" and free and piece.text in contexts:
            literal = json.dumps(contexts[piece.text]).replace("'", "''")
            written += text[position : piece.start] + f"fromJSON('{literal}')"
            position = piece.end
    return written + text[position:]


class _Parser:
    """Evaluates while it reads: `&&` and `||` have no side effects to leave out."""

    def __init__(self, text: str, contexts: Mapping[str, Any], functions: Functions) -> None:
        self.text = text
        self.rest = tokens(text)
        self.contexts = {name.lower(): value for name, value in contexts.items()}
        self.functions = {name.lower(): function for name, function in functions.items()}

    def next(self) -> Token:
        if not self.rest:
            raise ExpressionError(f"{self.text!r} ends too early")
        return self.rest.pop(0)

    def take(self, *marks: str) -> str | None:
        if self.rest and self.rest[0].kind == "mark" and self.rest[0].text in marks:
            return self.rest.pop(0).text
        return None

    def must(self, mark: str) -> None:
        if not self.take(mark):
            raise ExpressionError(f"{mark!r} is missing in {self.text!r}")

    def either(self) -> Any:
        value = self.both()
        while self.take("||"):
            other = self.both()
            value = value if truthy(value) else other
        return value

    def both(self) -> Any:
        value = self.compared()
        while self.take("&&"):
            other = self.compared()
            value = other if truthy(value) else value
        return value

    def compared(self) -> Any:
        value = self.negated()
        while mark := self.take("==", "!=", "<", "<=", ">", ">="):
            value = compare(value, mark, self.negated())
        return value

    def negated(self) -> Any:
        return not truthy(self.negated()) if self.take("!") else self.reached()

    def reached(self) -> Any:
        value = self.primary()
        while mark := self.take(".", "["):
            if mark == "[":
                key = self.either()
                self.must("]")
            elif self.take("*"):
                value = list(value.values()) if isinstance(value, Mapping) else value
                value = _Each(value if isinstance(value, list) else [])
                continue
            else:
                key = self.next().text
            value = _Each(reach(item, key) for item in value) if isinstance(value, _Each) else reach(value, key)
        return list(value) if isinstance(value, _Each) else value

    def primary(self) -> Any:
        if self.take("("):
            value = self.either()
            self.must(")")
            return value
        token = self.next()
        if token.kind == "string":
            return token.text[1:-1].replace("''", "'")
        if token.kind == "number":
            return float(int(token.text, 16)) if "0x" in token.text.lower() else float(token.text)
        if token.kind != "name":
            raise ExpressionError(f"unexpected {token.text!r} in {self.text!r}")
        name = token.text.lower()
        if self.take("("):
            return self.called(name)
        if name in LITERALS:
            return LITERALS[name]
        if name not in self.contexts:
            raise ExpressionError(f"Unrecognized named-value: '{token.text}' in {self.text!r}")
        return self.contexts[name]

    def called(self, name: str) -> Any:
        given = []
        while not self.take(")"):
            given.append(self.either())
            if not self.take(","):
                self.must(")")
                break
        if name not in self.functions:
            raise ExpressionError(f"Unrecognized function: '{name}' in {self.text!r}")
        return self.functions[name](*given)


class _Each(list[Any]):
    """The result of `.*`, into which the next `.name` reaches."""


def reach(value: Any, key: Any) -> Any:
    """A property or an element; null where there is none. Names are compared without regard to case."""
    if isinstance(value, Mapping):
        wanted = text_of(key).lower()
        return next((inner for name, inner in value.items() if str(name).lower() == wanted), None)
    if isinstance(value, list) and isinstance(key, int | float):
        return value[int(key)] if 0 <= int(key) < len(value) else None
    return None


def truthy(value: Any) -> bool:
    """What counts as true: all but false, 0, NaN, the empty string and null."""
    return not (value is None or value is False or value in (0, "") or value != value)


def number_of(value: Any) -> float:
    """A value as the number as which it is compared with another type."""
    if value is None or value == "":
        return 0.0
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def text_of(value: Any) -> str:
    """A value as it stands in a text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() else repr(value)
    return (
        value
        if isinstance(value, str)
        else "Array"
        if isinstance(value, list)
        else "Object"
        if isinstance(value, Mapping)
        else str(value)
    )


def compare(left: Any, mark: str, right: Any) -> bool:
    """A loose comparison: text without regard to case, different types as numbers, objects by identity."""
    if isinstance(left, Mapping | list) or isinstance(right, Mapping | list):
        return (left is right) == (mark == "==") if mark in ("==", "!=") else False
    if isinstance(left, str) and isinstance(right, str):
        a, b = left.lower(), right.lower()
        return {"==": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[mark]
    x, y = number_of(left), number_of(right)
    return {"==": x == y, "!=": x != y, "<": x < y, "<=": x <= y, ">": x > y, ">=": x >= y}[mark]


def _contains(where: Any, what: Any) -> bool:
    if isinstance(where, list):
        return any(compare(item, "==", what) for item in where)
    return text_of(what).lower() in text_of(where).lower()


def _format(pattern: str, *values: Any) -> str:
    def pieces() -> Iterator[str]:
        for match in re.finditer(r"\{\{|\}\}|\{(\d+)\}|[^{}]+|.", pattern, re.DOTALL):
            yield {"{{": "{", "}}": "}"}.get(match[0]) or (text_of(values[int(match[1])]) if match[1] else match[0])

    return "".join(pieces())


def _from_json(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError) as error:
        raise ExpressionError(f"Error parsing fromJson: {error}: {text!r}") from error


FUNCTIONS: Functions = {
    "contains": _contains,
    "startsWith": lambda text, start: text_of(text).lower().startswith(text_of(start).lower()),
    "endsWith": lambda text, end: text_of(text).lower().endswith(text_of(end).lower()),
    "format": _format,
    "join": lambda items, mark=",": text_of(mark).join(map(text_of, items if isinstance(items, list) else [items])),
    "toJSON": lambda value: json.dumps(value, indent=2),
    "fromJSON": _from_json,
}
