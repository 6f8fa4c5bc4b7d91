"""The user's config file, config.toml: which keys it has, and their values."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from minbuild.errors import ArchiveError

TEXT_KEYS = ("mirror", "security-mirror")
LIST_KEYS = ("trusted",)


@dataclass(frozen=True, slots=True)
class Config:
    """What the user's config file says; the defaults are those of a file that is not there."""

    file: Path
    mirror: tuple[str, ...] = ()
    """Addresses, the best one first."""
    security_mirror: tuple[str, ...] = ()
    trusted: tuple[Path, ...] = ()
    """Directories whose manifests may do all that the user may; `~` is the home directory."""


def find_config_file(environment: Mapping[str, str] | None = None) -> Path:
    """Where the config file lies. Source: XDG Base Directory Specification."""
    environment = os.environ if environment is None else environment
    home = environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME", "~"), ".config")
    return Path(home, "minbuild", "config.toml")


def load_config(file: Path) -> Config:
    """Read a config file; one that is not there says nothing.

    Raises: ArchiveError when it cannot be read, or has a key or a value that is not known.
    """
    if not file.exists():
        return Config(file)
    import tomllib  # 4 ms, and few have a config file

    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArchiveError(
            f"the config file cannot be read: {error}",
            where=str(file),
            fix='correct it; a line of it is like mirror = "URL"',
        ) from error
    _check_values(values, file)
    directories = [Path(text).expanduser() for text in values.get("trusted", [])]
    return Config(
        file,
        _as_tuple(values.get("mirror", [])),
        _as_tuple(values.get("security-mirror", [])),
        tuple(_require_absolute(place, file) for place in directories),
    )


def _check_values(values: Mapping[str, object], file: Path) -> None:
    unknown = [key for key in values if key not in {*TEXT_KEYS, *LIST_KEYS}]
    if unknown:
        raise ArchiveError(
            f"the config file has unknown keys: {', '.join(sorted(unknown))}",
            where=str(file),
            fix=f"remove them; the known ones are {', '.join((*TEXT_KEYS, *LIST_KEYS))}",
        )
    for key, value in values.items():
        items = value if isinstance(value, list) else [value]
        if (key in LIST_KEYS and items is not value) or not all(
            isinstance(one, str) for one in items
        ):
            kind = '["DIR"]' if key in LIST_KEYS else '"URL", or ["URL", "URL"]'
            raise ArchiveError(
                f"the config file's {key} is no {'list of texts' if key in LIST_KEYS else 'text'}",
                where=str(file),
                fix=f"write {key} = {kind}",
            )


def _as_tuple(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _require_absolute(path: Path, file: Path) -> Path:
    if not path.is_absolute():
        raise ArchiveError(
            f"a trusted directory is no absolute path: {path}",
            where=str(file),
            fix="begin it with / or ~/",
        )
    return path
