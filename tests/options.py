"""Option sets, derived from cookiecutter.json so that a new choice is tested on the day it is added."""

from __future__ import annotations

import pytest
from allpairspy import AllPairs

from tools import template

Options = dict[str, str]

CHOICES = {name: default for name, default in template.questions().items() if isinstance(default, list)}
# Free answers that change what is rendered or planned, beside their defaults.
VARIANTS = {"domain_name": ["shop.example.com"], "aws_region": ["us-gov-west-1", "cn-northwest-1"]}


def minimal() -> Options:
    """As little as can be chosen: `none` where it is a choice, otherwise the last one."""
    return {name: "none" if "none" in choices else choices[-1] for name, choices in CHOICES.items()}


def one_per_choice() -> list[Options]:
    """Each choice and each variant that is not the default, alone."""
    alternatives = {name: choices[1:] for name, choices in CHOICES.items()} | VARIANTS
    return [{name: value} for name, values in alternatives.items() for value in values]


def pairwise() -> list[Options]:
    """The fewest sets in which every two choices meet."""
    defaults = template.questions()
    parameters = CHOICES | {name: [str(defaults[name]), *values] for name, values in VARIANTS.items()}
    return [dict(zip(parameters, row, strict=True)) for row in AllPairs(list(parameters.values()))]


def covering() -> list[Options]:
    """Few sets that have, beside the defaults and the minimum, every choice and variant once."""
    sets: list[Options] = []
    for alternative in one_per_choice():
        if not alternative.items() <= minimal().items():
            room = next((options for options in sets if not options.keys() & alternative.keys()), None)
            if room is None:
                sets.append(room := {})
            room |= alternative
    return sets


def label(options: Options) -> str:
    """A short name for a test's report."""
    if len(options) == 1:
        return "=".join(*options.items())
    return ",".join(value or "-" for value in options.values()) or "defaults"


MAIN: list[Options] = [{}, minimal(), *one_per_choice()]
PAIRS: list[Options] = pairwise()
EVERY: list[Options] = MAIN + [options for options in PAIRS if options not in MAIN]

# `make test-fast` leaves the pairs out.
every_option_set = pytest.mark.parametrize(
    "options",
    [pytest.param(options, id=label(options), marks=[] if options in MAIN else pytest.mark.slow) for options in EVERY],
)
