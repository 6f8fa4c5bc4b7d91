"""Modules that are imported at the top of a file and run when they are first used.

For what is slow to import and seldom needed. Not for modules that several threads use first.
"""

import importlib
import importlib.util
import sys
from types import ModuleType


def import_lazily(package: str, *names: str) -> tuple[ModuleType, ...]:
    """Modules of a package, each run by the first access to an attribute of it.

    For the type checker, the same import stands under `TYPE_CHECKING`.
    Raises: ImportError for a module that does not exist.
    """
    return tuple(_import_lazily(f"{package}.{name}") for name in names)


def _import_lazily(name: str) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ImportError(f"there is no module {name}", name=name)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
