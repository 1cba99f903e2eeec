"""What the service answers.

Each module here has a `router`, and `parts` when it needs some. It is part of the service by being here, unless it has a
function `wanted` that says no.
"""

import importlib
import pkgutil
from types import ModuleType


def discover() -> list[ModuleType]:
    """Return the modules, in alphabetical order."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return [module for module in modules if not hasattr(module, "wanted") or module.wanted()]
