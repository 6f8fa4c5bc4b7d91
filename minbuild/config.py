"""Config file of the user, config.toml: defaults of variables and of the options of commands."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from minbuild.errors import ArchiveError, find_close_name


@dataclass(frozen=True, slots=True)
class Setting:
    """A key of the config file that is no option of one command."""

    name: str
    default: str
    """For people: what applies without it."""
    meaning: str
    variable: str = ""
    """Environment variable that wins over the file; "" for none."""
    choices: tuple[str, ...] = ()
    takes: str = "text"
    """text, `text or list`, list, `true or false`, `whole number`, directory."""
    default_value: str | int | bool | tuple[str, ...] | None = None
    """What applies without it, as a value of the file; None where that is no value."""
    key: str = ""
    """Where it stands in the file; "" for its name. `store.directory`, too, beside tables of the
    commands of `store`: a key of TOML is a value or a table."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.key or self.name)

    @property
    def example(self) -> str:
        """A value as the file takes it."""
        return f'"{self.choices[-1]}"' if self.choices else _EXAMPLES[self.takes]


TEXT, TEXT_OR_LIST, LIST = "text", "text or list", "list"
BOOLEAN, NUMBER, DIRECTORY = "true or false", "whole number", "directory"

SETTINGS = (
    Setting("mirror", "the machine's apt sources", "Debian mirrors, the best one first.",
            "MINBUILD_MIRROR", takes=TEXT_OR_LIST),
    Setting("security-mirror", "beside the mirror", "Mirrors of Debian's security archive.",
            takes=TEXT_OR_LIST),
    Setting("offline", "false", "Use no network, only what the store has.",
            "MINBUILD_OFFLINE", takes=BOOLEAN, default_value=False),
    Setting("timeout", "30", "Seconds that a server may stay silent.",
            "MINBUILD_TIMEOUT", takes=NUMBER, default_value=30),
    Setting("store", "$XDG_CACHE_HOME/minbuild", "Directory of the cache.",
            "MINBUILD_STORE", takes=DIRECTORY, key="store.directory"),
    Setting("store.remote", "none", "Store that several machines share: a directory, or a URL of fsspec.",
            "MINBUILD_STORE_REMOTE"),
    Setting("store.remote-mode", "read-write", "`read-only`: nothing is written to the shared store.",
            "MINBUILD_STORE_REMOTE_MODE", choices=("read-write", "read-only"),
            default_value="read-write"),
    Setting("store.keys", "none", "Public keys (FILE:FILE) whose records of the shared store are believed.",
            "MINBUILD_STORE_KEYS"),
    Setting("store.sign", "none", "Secret key that seals the records given to the shared store.",
            "MINBUILD_STORE_SIGN"),
    Setting("trusted", "none", "Directories whose manifests have all rights of the user.",
            takes=LIST, default_value=()),
    Setting("sandbox", "auto", "`require`: reading foreign files without a sandbox is an error.",
            "MINBUILD_SANDBOX", choices=("auto", "require"), default_value="auto"),
    Setting("accel", "auto", "Accelerator of the lab's virtual machines.",
            "MINBUILD_ACCEL", choices=("auto", "kvm", "tcg"), default_value="auto"),
    Setting("color", "auto", "Colours: on a terminal (auto), always, never.",
            "MINBUILD_COLOR", choices=("auto", "always", "never"), default_value="auto"),
    Setting("log", "normal", "How much is told on stderr: a level (quiet, normal, verbose, debug), or a file.",
            "MINBUILD_LOG", default_value="normal"),
)  # fmt: skip
"""Every key beside the tables of commands, in the order of `minbuild config`."""

_EXAMPLES = {
    TEXT: '"TEXT"',
    TEXT_OR_LIST: '["URL", "URL"]',
    LIST: '["DIR"]',
    BOOLEAN: "true",
    NUMBER: "60",
    DIRECTORY: '"/srv/minbuild"',
}


@dataclass(frozen=True, slots=True)
class Config:
    """Values of the config file; the defaults apply without a file."""

    file: Path
    mirror: tuple[str, ...] = ()
    """Addresses, the best one first."""
    security_mirror: tuple[str, ...] = ()
    trusted: tuple[Path, ...] = ()
    """Directories whose manifests have all rights of the user; `~` is the home directory."""
    values: Mapping[str, object] = field(default_factory=dict)
    """Key → value as the file has it."""
    commands: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Command → its table: option without dashes → value; not checked."""

    def to_environment(self) -> dict[str, str]:
        """Return the environment variables that the file gives a default."""
        return {
            setting.variable: _to_text(self.values[setting.name], setting)
            for setting in SETTINGS
            if setting.variable and setting.name in self.values and setting.name != "mirror"
        }


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
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArchiveError(
            f"cannot read the config file: {error}",
            where=str(file),
            fix='correct it; an example of a line: mirror = "URL"',
        ) from error
    commands = {key: value for key, value in document.items() if isinstance(value, dict)}
    values = {key: value for key, value in document.items() if key not in commands}
    names = {key: key for key in values}
    for setting in SETTINGS:
        table, _, key = setting.key.rpartition(".")
        if key in commands.get(table, {}):
            values[setting.name] = commands[table].pop(key)
            names[setting.name] = setting.key
    known = {setting.name: setting for setting in SETTINGS}
    for key, value in values.items():
        if key not in known:
            raise unknown_key_error(key, known, file)
        _check_value(known[key], names[key], value, file)
    directories = [Path(text).expanduser() for text in values.get("trusted", [])]
    return Config(
        file,
        _as_tuple(values.get("mirror", [])),
        _as_tuple(values.get("security-mirror", [])),
        tuple(_require_absolute(directory, file) for directory in directories),
        values,
        commands,
    )


def unknown_key_error(key: str, known: "Mapping[str, object]", file: Path) -> ArchiveError:
    """Make the error of a key that nobody knows, with the nearest one that there is."""
    near = find_close_name(key.replace("_", "-"), known)
    fix = f"did you mean {near}?" if near else f"remove it; known keys: {', '.join(known)}"
    return ArchiveError(f"unknown key in the config file: {key}", where=str(file), fix=fix)


def _check_value(setting: Setting, key: str, value: object, file: Path) -> None:
    """`key`: as the file names the setting."""
    items = value if isinstance(value, list) else [value]
    are_texts = all(isinstance(item, str) for item in items)
    match setting.takes:
        case "list":
            is_valid = items is value and are_texts
        case "text or list":
            is_valid = are_texts
        case "true or false":
            is_valid = isinstance(value, bool)
        case "whole number":
            is_valid = isinstance(value, int) and not isinstance(value, bool) and value > 0
        case "directory":
            is_valid = isinstance(value, str) and Path(value).expanduser().is_absolute()
        case _:
            is_valid = isinstance(value, str) and (not setting.choices or value in setting.choices)
    if not is_valid:
        kind = f"one of {', '.join(setting.choices)}" if setting.choices else _name_kind(setting)
        raise ArchiveError(
            f"{key} in the config file is not {kind}",
            where=str(file),
            fix=f"write {key} = {setting.example}",
        )


def _name_kind(setting: Setting) -> str:
    names = {
        LIST: "a list of strings",
        TEXT_OR_LIST: "a string or a list of strings",
        TEXT: "a string",
        NUMBER: "a whole number above 0",
        DIRECTORY: "an absolute directory",
    }
    return names.get(setting.takes, setting.takes)


def _to_text(value: object, setting: Setting) -> str:
    if isinstance(value, bool):
        return "1" if value else ""
    if setting.takes == DIRECTORY or setting.name == "log":
        return str(Path(str(value)).expanduser())
    return "" if setting.name == "sandbox" and value == "auto" else str(value)


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
