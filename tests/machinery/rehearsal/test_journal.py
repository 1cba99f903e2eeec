"""The journal before the simulator: whose calls it answers one at a time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from ops.rehearsal.simulator.journal import Journal
from ops.rehearsal.simulator.world import World


@pytest.mark.parametrize(("service", "together"), [("iam", 1), ("ec2", 1), ("lambda", 4)])
def test_what_only_computes_is_answered_one_at_a_time(tmp_path: Path, service: str, together: int) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def application(_: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        # One at a time is waited for; others wait for each other, however slow the machine is.
        deadline = time.monotonic() + (0.1 if together == 1 else 30)
        while time.monotonic() < deadline and (together == 1 or most < together):
            time.sleep(0.01)
        with lock:
            now -= 1
        start_response("200 OK", [])
        return [b"{}"]

    world = World(tmp_path, "123456789012", "us-east-1", tmp_path, "", "")
    journal = Journal(application, tmp_path / "journal.jsonl", world)
    key = world.identities.internal[0]
    signed = f"AWS4-HMAC-SHA256 Credential={key}/20260101/us-east-1/{service}/aws4_request, "
    request = {"REQUEST_METHOD": "POST", "HTTP_AUTHORIZATION": signed, "HTTP_X_AMZ_TARGET": "Service.Call"}
    calls = [threading.Thread(target=journal, args=(dict(request), lambda *_: None)) for _ in range(4)]
    with contextlib.closing(journal.file):
        for call in calls:
            call.start()
        for call in calls:
            call.join()
    assert most == together
    assert len((tmp_path / "journal.jsonl").read_text(encoding="utf-8").splitlines()) == 4
