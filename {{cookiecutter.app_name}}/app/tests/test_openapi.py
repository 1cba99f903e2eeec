"""The service does what its OpenAPI document says, whatever it is asked."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from app.tests.service import Service


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_answer_is_described(service: Service, mode: GenerationMode) -> None:
    """Requests that fit the document and requests that do not, for every operation."""
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    checked = 0
    operations = 0
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        if mode == GenerationMode.NEGATIVE and not (list(operation.iter_parameters()) or operation.body):
            continue  # There is nothing to get wrong.
        operations += 1
        strategy = operation.as_strategy(generation_mode=mode)

        @given(case=strategy)
        @settings(
            max_examples=60,
            deadline=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def answers_as_described(case: schemathesis.Case[Any]) -> None:
            nonlocal checked
            case.call_and_validate(timeout=20)
            checked += 1

        answers_as_described()
    assert checked >= operations
