"""Config file of the user, config.toml: mirrors and trusted directories."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from minbuild.errors import ArchiveError

TEXT_KEYS = ("mirror", "security-mirror")
LIST_KEYS = ("trusted",)


@dataclass(frozen=True, slots=True)
class Config:
    """Values of the config file; the defaults apply without a file."""

    file: Path
    mirror: tuple[str, ...] = ()
    """Addresses, the best one first."""
    security_mirror: tuple[str, ...] = ()
    trusted: tuple[Path, ...] = ()
    """Directories whose manifests have all rights of the user; `~` is the home directory."""


def find_config_file(environment: Mapping[str, str] | None = None) -> Path:
    """Return the path of the config file. Source: XDG Base Directory Specification."""
    environment = os.environ if environment is None else environment
    home = environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME", "~"), ".config")
    return Path(home, "minbuild", "config.toml")


def load_config(file: Path) -> Config:
    """Read a config file; a missing one is empty.

    Raises: ArchiveError if it is not readable, or has an unknown key or invalid value.
    """
    if not file.exists():
        return Config(file)
    import tomllib  # 4 ms, and few users have a config file

    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArchiveError(
            f"cannot read the config file: {error}",
            where=str(file),
            fix='correct it; an example of a line: mirror = "URL"',
        ) from error
    _check_values(values, file)
    directories = [Path(text).expanduser() for text in values.get("trusted", [])]
    return Config(
        file,
        _as_tuple(values.get("mirror", [])),
        _as_tuple(values.get("security-mirror", [])),
        tuple(_require_absolute(directory, file) for directory in directories),
    )


def _check_values(values: Mapping[str, object], file: Path) -> None:
    unknown = [key for key in values if key not in {*TEXT_KEYS, *LIST_KEYS}]
    if unknown:
        raise ArchiveError(
            f"unknown keys in the config file: {', '.join(sorted(unknown))}",
            where=str(file),
            fix=f"remove them; known keys: {', '.join((*TEXT_KEYS, *LIST_KEYS))}",
        )
    for key, value in values.items():
        items = value if isinstance(value, list) else [value]
        if (key in LIST_KEYS and items is not value) or not all(
            isinstance(item, str) for item in items
        ):
            kind = '["DIR"]' if key in LIST_KEYS else '"URL", or ["URL", "URL"]'
            raise ArchiveError(
                f"{key} in the config file is not a {'list of strings' if key in LIST_KEYS else 'string'}",
                where=str(file),
                fix=f"write {key} = {kind}",
            )


def _as_tuple(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _require_absolute(path: Path, file: Path) -> Path:
    if not path.is_absolute():
        raise ArchiveError(
            f"a trusted directory is not an absolute path: {path}",
            where=str(file),
            fix="start it with / or ~/",
        )
    return path
