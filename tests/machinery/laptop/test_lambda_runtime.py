"""Functions run through AWS's runtime client, and fail as in Lambda."""

from __future__ import annotations

from pathlib import Path

from ops.laptop.lambda_runtime import LambdaFunction

CODE = """
import os, sys, time

print("loaded")

def echo(event, context):
    return {"event": event, "id": context.aws_request_id, "home": os.environ.get("HOME")}

def fail(event, context):
    raise ValueError("no " + event["what"])

def big(event, context):
    return "x" * 7_000_000

def slow(event, context):
    time.sleep(60)

def leave(event, context):
    os._exit(3)
"""


def test_it_answers_again_and_again_from_one_process(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    with LambdaFunction(tmp_path, "mine.echo", {}) as found:
        first, second = found.invoke({"é": [1, None]}), found.invoke("x")
        assert first.payload == {"event": {"é": [1, None]}, "id": first.request_id, "home": None}
        assert second.payload["id"] == second.request_id != first.request_id
        assert found.logs().count("loaded") == 1


def run(tmp_path: Path, name: str, event: object = None, timeout: float = 30) -> dict[str, str]:
    (tmp_path / "mine.py").write_text(CODE)
    with LambdaFunction(tmp_path, f"mine.{name}", {}, timeout=timeout) as found:
        answer = found.invoke(event)
        assert answer.error == "Unhandled"
        return dict(answer.payload)


def test_an_exception_is_a_function_error(tmp_path: Path) -> None:
    answer = run(tmp_path, "fail", {"what": "luck"})
    assert (answer["errorType"], answer["errorMessage"]) == ("ValueError", "no luck")


def test_an_answer_has_a_limit(tmp_path: Path) -> None:
    assert "6291456 bytes" in run(tmp_path, "big")["errorMessage"]


def test_time_has_a_limit(tmp_path: Path) -> None:
    assert "timed out after 1.00 seconds" in run(tmp_path, "slow", timeout=1)["errorMessage"]


def test_a_process_that_ends_is_an_error(tmp_path: Path) -> None:
    assert run(tmp_path, "leave")["errorType"] == "Runtime.ExitError"


def test_a_handler_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert "missing" in run(tmp_path, "missing")["errorMessage"]
