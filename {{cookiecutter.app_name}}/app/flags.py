"""What a feature flag means: its declaration, its value of the moment, who has the feature.

`app/flags.json` is AppConfig's feature-flag format, version 1
(https://docs.aws.amazon.com/appconfig/latest/userguide/appconfig-type-reference-feature-flags.html):
`flags` declares each flag and its attributes with their types, `values` holds the defaults.
Terraform deploys it as the first version; `make flag` deploys later ones; the service reads it for
the declarations and for the defaults that hold until AppConfig has answered.

These attributes decide who has a feature. All may be left out, and an empty list must be (AppConfig
refuses it):

- `enabled`    (every flag has it) false: nobody has the feature, whatever the attributes say.
               AppConfig sends no attributes of a flag that is not enabled
- `users_off`  list of strings: users who do not have it
- `users_on`   list of strings: users who do; `users_off` wins
- `percent`    number from 0 to 100: the share of all other users who have it. 100 when left out

A user is in the share when bucket < percent * 100, where bucket is the first eight bytes of
SHA-256("<flag>:<user>"), as a big-endian number, modulo 10000. So the answer for a user depends on
nothing but flag, user and percentage; who has the feature keeps it when the percentage grows; and
different flags choose different users.

Any other attribute is a value for the code, read with `Flags.attribute`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T", str, float, bool, list[str], list[float])

DECLARATIONS = Path(__file__).with_name("flags.json")
BUCKETS = 10_000


class FlagsError(ValueError):
    """A document of flags is not usable; the message says where."""


class UndeclaredError(KeyError):
    """The code asked for a flag or attribute that flags.json does not declare."""


Values = Mapping[str, Mapping[str, Any]]


def bucket(flag: str, user: str) -> int:
    """Return the place of a user in a flag's launch, from 0 to 9999."""
    digest = hashlib.sha256(f"{flag}:{user}".encode()).digest()
    return int.from_bytes(digest[:8]) % BUCKETS


class Flags:
    """The declared flags with the values of the moment.

    Safe to read while another thread calls `update`: values are replaced as a whole.
    """

    def __init__(self, declarations: Path = DECLARATIONS) -> None:
        """Read the declarations. Raises FlagsError."""
        try:
            document = json.loads(declarations.read_text(encoding="utf-8"))
            self._attributes: dict[str, dict[str, Any]] = {
                name: {attribute: declared["constraints"] for attribute, declared in flag.get("attributes", {}).items()}
                for name, flag in document["flags"].items()
            }
            defaults = document["values"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise FlagsError(f"{declarations} is no document of feature flags: {error!r}") from error
        self._defaults: Values = {name: {"enabled": False} for name in self._attributes}
        self._values = self._defaults
        self.update(defaults)
        self._defaults = self._values

    @property
    def names(self) -> list[str]:
        """The declared flags."""
        return list(self._attributes)

    def update(self, values: object) -> None:
        """Take new values, all or none.

        `values` maps flags to objects with `enabled` and attributes, as AppConfig serves them and
        as the key `values` of flags.json has them. A flag left out has its default; flags and
        attributes that are not declared are for another release and ignored. Raises FlagsError.
        """
        if not isinstance(values, dict):
            raise FlagsError("the values are no JSON object")
        taken = dict(self._defaults)
        for name, attributes in self._attributes.items():
            if name not in values:
                continue
            value = values[name]
            if not isinstance(value, dict) or not isinstance(value.get("enabled"), bool):
                raise FlagsError(f"{name} needs `enabled`, true or false")
            for attribute, constraints in attributes.items():
                if attribute in value:
                    _check(f"{name}.{attribute}", value[attribute], constraints)
            taken[name] = value
        self._values = taken

    def enabled(self, flag: str, user: str | None = None) -> bool:
        """Tell whether a user has a feature.

        Without a user: whether everybody has it. Raises UndeclaredError.
        """
        value = self._value(flag)
        if not value["enabled"]:
            return False
        percent: float = value.get("percent", 100)
        if user is None:
            return percent >= 100 and not value.get("users_off")
        if user in value.get("users_off", ()):
            return False
        if user in value.get("users_on", ()):
            return True
        return bucket(flag, user) < percent * (BUCKETS // 100)

    def attribute(self, flag: str, attribute: str, default: T) -> T:
        """Return an attribute of a flag, or `default` while the flag is off or does not set it.

        The declared type must be that of `default`. Raises UndeclaredError.
        """
        value = self._value(flag)
        constraints = self._attributes[flag].get(attribute)
        if constraints is None:
            raise UndeclaredError(f"flags.json declares no attribute {attribute} of {flag}")
        _check(f"the default of {flag}.{attribute}", default, {"type": constraints["type"]})
        found: T = value.get(attribute, default) if value["enabled"] else default
        return found

    def _value(self, flag: str) -> Mapping[str, Any]:
        try:
            return self._values[flag]
        except KeyError:
            raise UndeclaredError(f"flags.json declares no flag {flag}") from None


def _check(where: str, value: object, constraints: Mapping[str, Any]) -> None:
    """Raise FlagsError when a value does not have the declared type and range."""
    kind = constraints["type"]
    match kind:
        case "string":
            good = isinstance(value, str)
        case "boolean":
            good = isinstance(value, bool)
        case "number":
            good = (
                isinstance(value, (int, float))
                and not isinstance(value, bool)
                and value >= constraints.get("minimum", value)
                and value <= constraints.get("maximum", value)
            )
        case "array":
            element = constraints.get("elements", {})
            good = isinstance(value, list)
            if good and element:
                assert isinstance(value, list)  # noqa: S101 - for the type checker
                for number, member in enumerate(value):
                    _check(f"{where}[{number}]", member, element)
        case _:
            raise FlagsError(f"{where} is declared with the unknown type {kind!r}")
    if good and "enum" in constraints and value not in constraints["enum"]:
        good = False
    if not good:
        rule = ", ".join(f"{key} {wanted}" for key, wanted in constraints.items())
        raise FlagsError(f"{where} is {value!r}, declared as {rule}")
