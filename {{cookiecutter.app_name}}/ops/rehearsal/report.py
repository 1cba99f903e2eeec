"""The report of a rehearsal: a summary on the terminal, an HTML page, and the same as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ops.rehearsal.page import page
from ops.rehearsal.progress import Progress, clock

if TYPE_CHECKING:
    from ops.rehearsal.driver import Rehearsal


def write(rehearsal: Rehearsal, progress: Progress, *, worked: bool) -> Path:
    """Print the summary and write `ops/rehearsal/report/index.html` in the repository; returns its path."""
    folder = rehearsal.render / "ops" / "rehearsal" / "report"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "index.html"
    _replace(file, page(rehearsal, progress, worked=worked))
    _replace(folder / "report.json", json.dumps(_data(rehearsal, progress, worked=worked), indent=1))
    progress.say(_summary(rehearsal, progress, worked=worked))
    progress.say(f"\nReport: {file}")
    return file


def _replace(file: Path, text: str) -> None:
    new = file.with_suffix(f".{id(text)}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(file)


def _data(rehearsal: Rehearsal, progress: Progress, *, worked: bool) -> dict[str, object]:
    found = rehearsal.findings
    return {
        "worked": worked,
        "error": found.error,
        "environment": rehearsal.environment,
        "seconds": round(progress.elapsed, 1),
        "proved_after_seconds": round(found.proved_after, 1),
        "peak_memory_bytes": found.peak_memory,
        "aws_calls": progress.calls,
        "steps": {bar.name: round((bar.ended or progress.elapsed) - bar.started, 1) for bar in progress.bars},
        "claims": {result.component: {claim.text: claim.holds for claim in result.claims} for result in found.results},
        "attempts": [
            {"who": a.who, "what": a.what, "call": a.call, "refused": a.refused, "because": a.because}
            for a in found.attempts
        ],
        "privileges": {
            role: {
                "used": found.usage.of(role)[0],
                "granted": found.usage.of(role)[1],
                "unused": [f"{one.policy} {one.sid}: {one.action}" for one in found.usage.unused(role)],
            }
            for role in found.usage.roles()
        },
        "deciding_seconds": round(found.usage.seconds, 2),
        "limits": found.limits,
        "reachability": [[row.source, row.target, row.verdict.reach] for row in found.rows],
    }


def _summary(rehearsal: Rehearsal, progress: Progress, *, worked: bool) -> str:
    found = rehearsal.findings
    lines = [""]
    if found.rows:
        width = max(len(row.source) for row in found.rows)
        wide = max(len(row.target) for row in found.rows)
        lines.append("Who can reach what")
        lines += [
            f"  {row.source:{width}}  →  {row.target:{wide}}  {row.verdict.reach:6} {row.verdict.because}"
            for row in found.rows
        ]
        lines.append("")
    if found.results:
        lines.append("Components")
        for result in found.results:
            sign = "–" if not result.chosen else "✓" if result.holds else "✗"
            words = "not chosen" if not result.chosen else f"{len(result.claims)} claims"
            lines.append(f"  {sign} {result.component}: {words}")
            lines += [f"      ✗ {claim.text}: {claim.detail}" for claim in result.claims if not claim.holds]
        lines.append("")
    if found.attempts:
        refused = sum(attempt.refused for attempt in found.attempts)
        lines += [f"Attempts of roles at what is not theirs: {refused} of {len(found.attempts)} refused", ""]
    if roles := found.usage.roles():
        names = {role: role.rpartition("/")[2] for role in roles}
        width = max(map(len, names.values()))
        lines.append("Actions used of those that are granted")
        lines += [f"  {names[role]:{width}}  {' of '.join(map(str, found.usage.of(role)))}" for role in roles]
        lines.append("")
    if worked:
        proved = f", applied and proved after {clock(found.proved_after)}" if found.proved_after else ""
        lines.append(
            f"It works: {clock(progress.elapsed)}{proved}, {progress.calls} AWS calls, "
            f"{found.usage.seconds:.1f} s of processor time spent deciding them, "
            f"{found.peak_memory / 1e9:.1f} GB of memory at most."
        )
    else:
        lines.append(f"It does not work:\n{found.error}")
    return "\n".join(lines)
