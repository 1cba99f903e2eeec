"""What the service answers.

Each module here has a `router`, and `parts` when it needs some. It is part of the service by being here.
"""

import importlib
import pkgutil
from types import ModuleType


def discover() -> list[ModuleType]:
    """Return the modules, in alphabetical order."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [importlib.import_module(f"{__name__}.{name}") for name in names]
