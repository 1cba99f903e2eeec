"""Tests of the machinery (ops/ of a render). They run in a bake with the bake's own tools: `make test-machinery`."""

import os
from pathlib import Path

import ops

# In a git hook these say where the repository is; the tests make repositories of their own.
for name in [name for name in os.environ if name.startswith("GIT_")]:
    del os.environ[name]

ROOT = Path(ops.__file__).parents[1]
"""The rendered repository that is tested."""
