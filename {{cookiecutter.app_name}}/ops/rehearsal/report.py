"""The report of a rehearsal: a summary on the terminal, and one HTML file that needs nothing else."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ops.rehearsal.progress import Bar, Progress, clock

if TYPE_CHECKING:
    from ops.rehearsal.driver import Rehearsal

STYLE = """
:root { color-scheme: light dark; --good: #1a7f37; --bad: #cf222e; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0 } h2 { margin-top: 2.5rem } .good { color: var(--good) } .bad { color: var(--bad) }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .25rem .6rem;
border-bottom: 1px solid var(--line); vertical-align: top } pre { white-space: pre-wrap; background: #8881;
padding: 1rem } .bar { position: relative; height: 1.1rem; background: #8881 } .bar i { position: absolute;
top: 0; bottom: 0; background: #58a6ff; min-width: 2px } .bar i.part { background: #58a6ff88 }
.bar i.failed { background: var(--bad) } details { margin: .3rem 0 } summary { cursor: pointer }
small { color: #888 }
"""


def write(rehearsal: Rehearsal, progress: Progress, *, worked: bool) -> Path:
    """Print the summary and write `ops/rehearsal/report/index.html` in the repository; returns its path."""
    folder = rehearsal.render / "ops" / "rehearsal" / "report"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "index.html"
    _replace(file, _page(rehearsal, progress, worked=worked))
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
    if worked:
        proved = f", applied and proved after {clock(found.proved_after)}" if found.proved_after else ""
        lines.append(
            f"It works: {clock(progress.elapsed)}{proved}, {progress.calls} AWS calls, "
            f"{found.peak_memory / 1e9:.1f} GB of memory at most."
        )
    else:
        lines.append(f"It does not work:\n{found.error}")
    return "\n".join(lines)


def _page(rehearsal: Rehearsal, progress: Progress, *, worked: bool) -> str:
    found = rehearsal.findings
    title = f"Rehearsal of {rehearsal.project.app}, {rehearsal.environment}"
    verdict = (
        '<p class="good">It works.</p>'
        if worked
        else f'<p class="bad">It does not work.</p><pre>{_text(found.error or "")}</pre>'
    )
    return "\n".join(
        [
            '<!doctype html><html lang="en"><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{_text(title)}</title><style>{STYLE}</style>",
            f"<h1>{_text(title)}</h1>",
            f"<p><small>{clock(progress.elapsed)} minutes, {progress.calls} AWS calls, "
            f"{found.peak_memory / 1e9:.1f} GB of memory at most</small></p>",
            verdict,
            *(f"<p>{_text(note)}</p>" for note in found.notes),
            "<h2>Timeline</h2>",
            _timeline(progress),
            "<h2>Components</h2>",
            *_components(rehearsal),
            "<h2>Who can reach what</h2>",
            _table(
                ("from", "to", "", "because"),
                [
                    (
                        row.source,
                        row.target,
                        row.verdict.reach + (" — must" if row.wanted else " — must not" if row.wanted is False else ""),
                        row.verdict.because,
                    )
                    for row in found.rows
                ],
            ),
            "<h2>What the simulator adds to moto</h2>",
            "<p>Each row is a gap that the rehearsal closes. AWS itself behaves as the left column needs.</p>",
            _table(("for", "without it"), [(gap["resource"], gap["lack"]) for gap in _gaps(rehearsal)]),
            "<h2>What a rehearsal does not show</h2><ul>"
            "<li>IAM is read, and asked for the calls named above; the simulator does not enforce it.</li>"
            "<li>Packets are not sent through security groups: reachability is computed from them.</li>"
            "<li>Tasks run on this machine's Python, processor and packages, not in the image; the "
            "read-only file system is enforced in Python; the certificate bundle has this machine's "
            "authority added.</li>"
            "<li>Times, prices, quotas and performance are AWS's own.</li></ul>",
            "</html>",
        ]
    )


def _gaps(rehearsal: Rehearsal) -> list[dict[str, str]]:
    file = rehearsal.directory.path / "gaps.json"
    gaps: list[dict[str, str]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return sorted(gaps, key=lambda gap: gap["resource"])


def _timeline(progress: Progress) -> str:
    whole = max(progress.elapsed, 1)

    def bar(found: Bar, kind: str) -> str:
        ended = found.ended if found.ended is not None else progress.elapsed
        left, width = 100 * found.started / whole, 100 * (ended - found.started) / whole
        failed = " failed" if found.state == "failed" else ""
        return (
            f'<tr><td>{"&emsp;" if kind else ""}{_text(found.name)}<td style="width:55%"><div class="bar">'
            f'<i class="{kind}{failed}" style="left:{left:.2f}%;width:{width:.2f}%"></i></div>'
            f"<td>{ended - found.started:.0f} s<td><small>{_text(found.detail)}</small>"
        )

    rows = []
    for step in progress.bars:
        rows.append(bar(step, ""))
        rows += [bar(part, "part") for part in step.parts.values()]
    return f"<table>{''.join(rows)}</table>"


def _components(rehearsal: Rehearsal) -> list[str]:
    parts = []
    for result in rehearsal.findings.results:
        if not result.chosen:
            parts.append(f"<p><small>{_text(result.component)}: not chosen</small></p>")
            continue
        sign = '<span class="good">✓</span>' if result.holds else '<span class="bad">✗</span>'
        rows = [("✓" if claim.holds else "✗", claim.text, claim.detail) for claim in result.claims]
        parts.append(
            f"<details{'' if result.holds else ' open'}><summary>{sign} {_text(result.component)} "
            f"<small>{len(rows)} claims</small></summary>{_table(('', 'claim', 'found'), rows)}</details>"
        )
    return parts


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    header = "".join(f"<th>{_text(cell)}" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}" for cell in row) for row in rows)
    return f"<table><tr>{header}{body}</table>"


def _text(value: object) -> str:
    return html.escape(str(value))
