"""The environment: read once at start, every problem reported at once."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class SettingsError(Exception):
    """The environment is not usable; `problems` has one line for each variable."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n".join([f"The environment has {count}:", *(f"  {line}" for line in problems)]))


class Environment:
    """Reads typed values from environment variables and remembers what is wrong with them.

    A method returns a usable value even when the variable is missing or wrong, so that reading goes
    on and finds the other problems; `check` then raises.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._problems: list[str] = []

    def text(self, name: str, meaning: str, default: str | None = None, *, pattern: str = r".+") -> str:
        """Return a string that matches `pattern` entirely."""

        def convert(value: str) -> str:
            if not re.fullmatch(pattern, value):
                raise ValueError
            return value

        return self._read(name, meaning, default, convert, "")

    def integer(self, name: str, meaning: str, default: int | None = None, *, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`."""

        def convert(value: str) -> int:
            number = int(value)
            if not low <= number <= high:
                raise ValueError
            return number

        return self._read(name, f"{meaning}, from {low} to {high}", default, convert, low)

    def seconds(self, name: str, meaning: str, default: float, *, low: float, high: float) -> float:
        """Return a duration in seconds from `low` to `high`."""

        def convert(value: str) -> float:
            number = float(value)
            if not (math.isfinite(number) and low <= number <= high):
                raise ValueError
            return number

        return self._read(name, f"{meaning}, from {low:g} to {high:g}", default, convert, low)

    def choice(self, name: str, meaning: str, default: str, choices: tuple[str, ...]) -> str:
        """Return one of `choices`."""

        def convert(value: str) -> str:
            if value not in choices:
                raise ValueError
            return value

        meaning = f"{meaning}: one of {', '.join(choices)}"
        return self._read(name, meaning, default, convert, default)

    def file(self, name: str, meaning: str, default: Path) -> Path:
        """Return the path of a file that can be read."""

        def convert(value: str) -> Path:
            path = Path(value)
            with path.open("rb"):
                return path

        value = self._variables.get(name) or str(default)
        try:
            return convert(value)
        except OSError as error:
            self._problems.append(f"{name} is {value!r}: {meaning}; {error.strerror}")
            return default

    def is_set(self, name: str) -> bool:
        """Tell whether a variable has a value."""
        return bool(self._variables.get(name))

    def problem(self, line: str) -> None:
        """Report what is wrong beyond a single variable."""
        self._problems.append(line)

    def check(self) -> None:
        """Raise SettingsError when any value that was read is missing or wrong."""
        if self._problems:
            raise SettingsError(self._problems)

    def _read(
        self,
        name: str,
        meaning: str,
        default: T | None,
        convert: Callable[[str], T],
        placeholder: T,
    ) -> T:
        value = self._variables.get(name, "")
        if not value:
            if default is None:
                self._problems.append(f"{name} is missing: {meaning}")
                return placeholder
            return default
        try:
            return convert(value)
        except ValueError:
            self._problems.append(f"{name} is {value!r}: {meaning}")
            return placeholder


@dataclass(frozen=True)
class Settings:
    """What the process itself needs; components read their own."""

    app_name: str
    environment: str
    release: str
    listen_on: str
    port: int
    log_level: str
    metrics: bool
    request_seconds: float
    request_bytes: int
    stop_seconds: float


def read_settings(env: Environment) -> Settings:
    """Read the settings that every service has, whatever it consists of."""
    return Settings(
        app_name=env.text("APP_NAME", "name of the application, such as my-app"),
        environment=env.text("ENVIRONMENT", "name of the environment, such as dev"),
        release=env.text("RELEASE", "what is running, such as an image digest", "unknown"),
        # All of them: the container's network namespace is its own.
        listen_on=env.text("LISTEN_ON", "address to listen on", "0.0.0.0"),  # noqa: S104
        port=env.integer("PORT", "TCP port to listen on", 8000, low=1, high=65535),
        log_level=env.choice("LOG_LEVEL", "least important log line", "info", ("debug", "info", "warning", "error")),
        metrics=env.choice("METRICS", "whether metrics are written", "on", ("on", "off")) == "on",
        request_seconds=env.seconds(
            "REQUEST_SECONDS",
            "longest time to answer a request, in seconds",
            30,
            low=0.1,
            high=3600,
        ),
        request_bytes=env.integer("REQUEST_BYTES", "largest request body, in bytes", 1_000_000, low=0, high=10**9),
        stop_seconds=env.seconds(
            "STOP_SECONDS",
            "longest time to finish requests after SIGTERM, in seconds",
            25,  # Below the 30 seconds after which ECS kills the container.
            low=0,
            high=110,
        ),
    )
