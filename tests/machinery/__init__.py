"""Tests of the machinery (ops/ of a render). They run in a bake with the bake's own tools: `make test-machinery`."""

from pathlib import Path

import ops

ROOT = Path(ops.__file__).parents[1]
"""The rendered repository that is tested."""
