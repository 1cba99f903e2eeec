"""The environment: read once at start, every problem told at once."""

from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(str.lower)]


class SettingsError(Exception):
    """The environment is not usable; the message has a line for each problem."""


class FromEnvironment(BaseSettings):
    """Fields are environment variables of the same names, described for whom they are missing. An empty one is none."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", arbitrary_types_allowed=True)


Kind = TypeVar("Kind", bound=FromEnvironment)


class Settings(FromEnvironment):
    """What every service has, whatever it consists of."""

    app_name: str = Field(description="name of the application, such as my-app")
    environment: str = Field(description="name of the environment, such as dev")
    release: str = Field("unknown", description="what is running, such as an image digest")
    listen_on: str = Field("0.0.0.0", description="address to listen on")  # noqa: S104 - the namespace is its own
    port: int = Field(8000, ge=1, le=65535, description="TCP port to listen on")
    log_level: LogLevel = Field("info", description="least important log line")
    metrics: bool = Field(True, description="whether metrics are written, on or off")
    request_bytes: int = Field(1_000_000, ge=0, le=10**9, description="largest request body, in bytes")
    stop_seconds: int = Field(
        25, ge=1, le=110, description="longest time to finish requests after SIGTERM; ECS waits 30"
    )


def read(*kinds: type[Kind]) -> list[Kind]:
    """Return the settings of these kinds, in their order. Raises SettingsError with every problem of all of them."""
    found: list[Kind] = []
    problems: dict[str, None] = {}
    for kind in kinds:
        try:
            found.append(kind())
        except ValidationError as error:
            problems |= dict.fromkeys(_lines(kind, error))
        except ValueError as error:  # A list or an object that is no JSON.
            problems[str(error)] = None
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise SettingsError("\n".join([f"The environment has {count}:", *(f"  {line}" for line in problems)]))
    return found


def _lines(kind: type[FromEnvironment], error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors(include_url=False):
        message = problem["msg"].removeprefix("Value error, ")
        if problem["loc"]:  # Else it is of several variables together; the message names them.
            name = str(problem["loc"][0])
            field = kind.model_fields[name.lower()]
            value = "not usable" if field.annotation is SecretStr else repr(problem["input"])
            words = f"{value}: {field.description}; {message}"
            message = f"{name.upper()} is {words if problem['type'] != 'missing' else f'missing: {field.description}'}"
        lines.append(message)
    return lines
