"""What `make dist` puts into an sdist."""

import subprocess
import tomllib
from pathlib import Path

TOP = Path(__file__).parents[2]
NOT_SHIPPED = {".gitattributes", ".gitignore"}
"""What only git reads."""
ALWAYS = {"pyproject.toml"}
"""What hatchling adds by itself."""


def test_an_sdist_has_all_that_its_tests_and_pages_refer_to() -> None:
    settings = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))
    included = set(settings["tool"]["hatch"]["build"]["targets"]["sdist"]["include"])
    argv = ["git", "-C", str(TOP), "ls-files"]
    if (TOP / ".git").exists():
        listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        tops = {name.partition("/")[0] for name in listed.splitlines()}
    else:  # the tree of an sdist
        tops = included - {"SECURITY.md"}
    assert tops - NOT_SHIPPED - ALWAYS <= included
    assert included <= {path.name for path in TOP.iterdir()}
