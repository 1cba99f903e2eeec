"""What a feature flag means: its declaration, its value of the moment, who has the feature.

`app/flags.json` is AppConfig's format, version 1: `flags` declares each flag and its attributes, `values` has defaults.
https://docs.aws.amazon.com/appconfig/latest/userguide/appconfig-type-reference-feature-flags.html
These attributes decide; all but `enabled` may be left out, and any other is a value for the code:
- `enabled`    false: nobody has the feature, whatever else is said. AppConfig then sends no other attribute
- `users_off`  list of users who do not have it
- `users_on`   list of users who do; `users_off` wins
- `percent`    number from 0 to 100: the share of all other users who have it. 100 when left out

A user is in the share when bucket < percent * 100: who has a feature keeps it when the percentage grows.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

DECLARATIONS = Path(__file__).with_name("flags.json")
BUCKETS = 10_000


class FlagsError(ValueError):
    """A document of flags is not usable; the message says where."""


def bucket(flag: str, user: str) -> int:
    """Return the place of a user in a flag's launch, from 0 to 9999: the first 8 bytes of a hash, big-endian."""
    return int.from_bytes(hashlib.sha256(f"{flag}:{user}".encode()).digest()[:8]) % BUCKETS


def _type(constraints: Mapping[str, Any]) -> Any:
    """Return the Python type of an attribute that is declared so."""
    if "enum" in constraints:
        return Literal[tuple(constraints["enum"])]
    match constraints["type"]:
        case "string":
            return str
        case "boolean":
            return bool
        case "number":
            low, high = constraints.get("minimum"), constraints.get("maximum")
            return Annotated[float, Field(ge=low, le=high, allow_inf_nan=False)]
        case "array":
            return list[_type(constraints["elements"]) if constraints.get("elements") else Any]  # type: ignore[misc]
    raise ValueError(f"the unknown type {constraints['type']!r}")


class Flags:
    """The declared flags with the values of the moment. They are replaced as a whole: another thread may `update`."""

    def __init__(self, declarations: Path = DECLARATIONS) -> None:
        """Read the declarations. Raises FlagsError."""
        try:
            document = json.loads(declarations.read_text(encoding="utf-8"))
            self._attributes: dict[str, dict[str, TypeAdapter[Any]]] = {
                name: {
                    attribute: TypeAdapter(_type(declared["constraints"]))
                    for attribute, declared in flag.get("attributes", {}).items()
                }
                for name, flag in document["flags"].items()
            }
            self._defaults: dict[str, dict[str, Any]] = {name: {"enabled": False} for name in self._attributes}
            self.update(document["values"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise FlagsError(f"{declarations} is no document of feature flags: {error!r}") from error
        self._defaults = self._values
        self.names = list(self._attributes)

    def update(self, values: object) -> None:
        """Take new values in the form of flags.json's `values`, all or none. Raises FlagsError.

        A flag left out has its default; what is not declared is for another release.
        """
        if not isinstance(values, dict):
            raise FlagsError("the values are no JSON object")
        taken: dict[str, dict[str, Any]] = dict(self._defaults)
        for name in self._attributes.keys() & values.keys():
            value = values[name]
            if not isinstance(value, dict) or not isinstance(value.get("enabled"), bool):
                raise FlagsError(f"{name} needs `enabled`, true or false")
            for attribute in self._attributes[name].keys() & value.keys():
                self._check(name, attribute, value[attribute])
            taken[name] = value
        self._values = taken

    def enabled(self, flag: str, user: str | None = None) -> bool:
        """Tell whether a user has a feature; without a user, whether everybody has it. Raises KeyError."""
        value = self._values[flag]
        if not value["enabled"]:
            return False
        percent: float = value.get("percent", 100)
        if user is None:
            return percent >= 100 and not value.get("users_off")
        if user in value.get("users_off", ()):
            return False
        return user in value.get("users_on", ()) or bucket(flag, user) < percent * (BUCKETS // 100)

    def attribute(self, flag: str, attribute: str, default: Any) -> Any:
        """Return an attribute of a flag, or `default` while the flag is off or does not set it.

        Raises KeyError for what is not declared, FlagsError for a default of another type than the declared one.
        """
        self._check(flag, attribute, default)
        return self._values[flag].get(attribute, default) if self._values[flag]["enabled"] else default

    def _check(self, flag: str, attribute: str, value: object) -> None:
        try:
            self._attributes[flag][attribute].validate_python(value, strict=True)
        except ValidationError as error:
            raise FlagsError(f"{flag}.{attribute} is {value!r}: {error.errors()[0]['msg']}") from None
