"""Lambda: what moto drops of a function's configuration."""

from typing import Any

from moto.awslambda.models import LambdaFunction

from ops.rehearsal.simulator.moto_additions.gaps import gap, wraps

KEPT = ("LoggingConfig", "DeadLetterConfig")


@gap("aws_lambda_function", "`logging_config` and `dead_letter_config` are dropped")
@wraps(LambdaFunction, "__init__")
def create(
    original: Any,
    function: LambdaFunction,
    account_id: str,
    spec: dict[str, Any],
    *rest: Any,
    **more: Any,
) -> None:
    original(function, account_id, spec, *rest, **more)
    function.__dict__["kept"] = {name: spec[name] for name in KEPT if name in spec}


@gap("aws_lambda_function", "changes of the key, tracing, logging and dead letters are dropped")
@wraps(LambdaFunction, "update_configuration")
def update(original: Any, function: LambdaFunction, updates: dict[str, Any]) -> Any:
    function.__dict__["kept"] |= {name: updates[name] for name in KEPT if name in updates}
    function.kms_key_arn = updates.get("KMSKeyArn", function.kms_key_arn)
    function.tracing_config = updates.get("TracingConfig", function.tracing_config)
    return original(function, updates)


@wraps(LambdaFunction, "get_configuration")
def show(original: Any, function: LambdaFunction, *args: Any, **kwargs: Any) -> Any:
    return original(function, *args, **kwargs) | function.__dict__["kept"]
