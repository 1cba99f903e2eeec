"""Draw docs/system-architecture.svg and .drawio: the architecture that the default answers give.

The source and the program are the rendered repository's own: ops/diagram in the template's folder.
"""

from __future__ import annotations

import runpy
import sys
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

from tools import template

SOURCE = template.RENDERED_ROOT / "ops" / "diagram"
DRAWN = template.ROOT / "docs"


def program() -> SimpleNamespace:
    """Return what draw.py defines. It is no part of a package, so it is run from its file."""
    return SimpleNamespace(**runpy.run_path(str(SOURCE / "draw.py"), run_name="draw"))


def default_answers() -> dict[str, Any]:
    """Return the answer to each question that somebody gives who only presses Enter."""
    answers = {name: value[0] if isinstance(value, list) else value for name, value in template.questions().items()}
    return {**answers, "github_repository": ""}


def default_diagram() -> Any:
    """Return the diagram of the defaults, whose links lead from docs/ to the template's folder."""
    inside = f"../{quote(template.RENDERED_ROOT.name)}"
    return program().load(default_answers(), code=inside, document=f"{inside}/docs/system-architecture.md")


def main() -> None:
    """Write both files."""
    for path in program().write(default_diagram(), DRAWN):
        sys.stdout.write(f"wrote {path.relative_to(template.ROOT)}\n")


if __name__ == "__main__":
    main()
