"""Declared types of a component's variables: what a value may be, checked when a manifest is loaded."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from minbuild.manifest.document.containers import Key, ListOf, Record
from minbuild.manifest.document.scalars import (
    SIZE_PATTERN,
    Boolean,
    Integer,
    Keyword,
    Text,
    ValueShape,
)
from minbuild.manifest.model import VariableValue


class VariableType(StrEnum):
    """What a value is. Each item of a list is checked; an empty text is no value, and allowed."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    ADDRESS = "address"
    NETWORK_ADDRESS = "address/prefix"
    HOST_NAME = "host-name"
    HOSTS = "hosts"
    LINK = "link"
    LINK_NAME = "link-name"
    PATH = "path"
    SIZE = "size"
    LABEL = "label"
    SSH_KEY = "ssh-key"
    PASSWORD_HASH = "password-hash"
    CHOICE = "choice"


@dataclass(frozen=True, slots=True)
class VariableDeclaration:
    """A variable of a component: its type, default and meaning."""

    default: VariableValue
    type: VariableType = VariableType.TEXT
    meaning: str = ""
    choices: tuple[str, ...] = ()
    """Of the type `choice`: its values."""
    min: int | None = None
    max: int | None = None
    required: bool = False
    """True: a host without a value is an error."""
    unless: str = ""
    """Component (section/name) with which a required variable may stay empty."""
    empty: str = ""
    """What a host without a value does, as a note for people; "" where that is as it should be."""
    runtime: bool = False
    """True: boot/credentials takes a value for one machine when it starts."""
    credential: str = ""
    """Name of its credential after `minbuild.`; "" for the variable's, with - for _."""
    credential_only: bool = False
    """True: a file of the data partition gives no value."""


@dataclass(frozen=True, slots=True)
class ValueProblem:
    """Why a value is not of its type."""

    message: str
    """`300.1.2.3 is not an IPv4 address`."""
    fix: str


_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = rf"{_LABEL}(?:\.{_LABEL})*"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_ADDRESS = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_LINK_MATCH = (
    r"(?:MACAddress=[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}|Path=[A-Za-z0-9.:_*?-]+"
    r"|Driver=[A-Za-z0-9_-]+|Order=[1-9][0-9]{0,2})"
)
_SALT = r"\$(?:rounds=[1-9][0-9]{3,8}\$)?[./0-9A-Za-z]{1,16}\$"
_HOST = rf"(?:{_ADDRESS}|(?![0-9.]+(?::|$)){_HOST_NAME})(?::[0-9]{{1,5}})?"

_PATTERNS: Mapping[VariableType, tuple[str, str, str]] = {
    VariableType.ADDRESS: (_ADDRESS, "an IPv4 address", "write it like 192.0.2.1"),
    VariableType.NETWORK_ADDRESS: (
        rf"{_ADDRESS}/(?:3[0-2]|[12]?[0-9])",
        "an IPv4 address with its prefix",
        "write it like 192.0.2.10/24",
    ),
    VariableType.HOST_NAME: (
        rf"(?=.{{1,64}}$){_HOST_NAME}",
        "a host name",
        "use letters, digits and -, at most 63 between dots",
    ),
    VariableType.HOSTS: (
        rf"{_HOST}(?: +{_HOST})*",
        "a host name or an IPv4 address, or several with blanks between",
        "write it like ntp.example.net or 192.0.2.1",
    ),
    VariableType.LINK: (
        r"(?!\.{1,2}$)[^/:\s\"']{1,15}",
        "a link's name",
        "use at most 15 characters, without blanks, / and :",
    ),
    VariableType.LINK_NAME: (
        rf"[A-Za-z][A-Za-z0-9_-]{{0,14}}={_LINK_MATCH}(?:\+{_LINK_MATCH})*",
        "a link's name with its card",
        "write NAME= and MACAddress=, Path=, Driver= or Order=, joined by +: lan=Driver=igb+Order=2",
    ),
    VariableType.PASSWORD_HASH: (
        rf"\$(?:5{_SALT}[./0-9A-Za-z]{{43}}|6{_SALT}[./0-9A-Za-z]{{86}})",
        "a password's hash",
        "write what `openssl passwd -6` prints",
    ),
    VariableType.PATH: (r"/[^\x00\n]*", "an absolute path", "begin it with /"),
    VariableType.SIZE: (SIZE_PATTERN, "a size", "write it like 64 MiB"),
    VariableType.LABEL: (
        r"[A-Za-z0-9_.-]{1,16}", "a label", "use at most 16 of A-Z a-z 0-9 _ . -",
    ),
}  # fmt: skip
"""Type → pattern of the whole value, its name in an error, and the fix.

Source: RFC 1123, 2.1 (host names); Linux, dev_valid_name() (links, IFNAMSIZ), __NEW_UTS_LEN;
systemd.link(5), [MATCH] (cards; Order is ours); crypt(5), sha256crypt and sha512crypt.
"""

_SSH_TYPES = (
    "ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
)  # fmt: skip
"""Source: dropbear(8), authorized_keys."""


def check_value(declaration: VariableDeclaration, value: VariableValue) -> ValueProblem | None:
    """Check a value against its declaration; None when it fits."""
    items = value if isinstance(value, tuple) else (value,)
    for item in items:
        if item != "" and (problem := _check_item(declaration, item)) is not None:
            return problem
    return None


def infer_type(value: VariableValue) -> VariableType:
    """The type that a default shows by itself."""
    if isinstance(value, bool):
        return VariableType.BOOLEAN
    return VariableType.NUMBER if isinstance(value, int) else VariableType.TEXT


def describe_type(declaration: VariableDeclaration) -> str:
    """The type for people: `number, 1 to 65535`; `list of ssh-key`; `choice: a, b`."""
    text = str(declaration.type)
    if declaration.choices:
        text += f": {', '.join(declaration.choices)}"
    if declaration.min is not None and declaration.max is not None:
        text += f", {declaration.min} to {declaration.max}"
    elif declaration.min is not None:
        text += f", {declaration.min} or more"
    elif declaration.max is not None:
        text += f", {declaration.max} or less"
    if isinstance(declaration.default, tuple):
        text = f"list of {text}"
    if declaration.runtime:
        text += ", at boot too"
    return f"{text}, required" if declaration.required else text


def is_empty(value: VariableValue) -> bool:
    """Whether a variable has no value: an empty text or list."""
    return value in ("", ())


def _check_item(declaration: VariableDeclaration, item: str | int) -> ValueProblem | None:
    if isinstance(item, bool):
        return None
    if isinstance(item, int):
        return _check_number(declaration, item)
    match declaration.type:
        case VariableType.CHOICE:
            if item in declaration.choices:
                return None
            words = ", ".join(declaration.choices)
            return ValueProblem(f"{item!r} is none of {words}", f"write one of {words}")
        case VariableType.SSH_KEY:
            return _check_ssh_key(item)
        case _:
            pattern, noun, fix = _PATTERNS.get(declaration.type, ("", "", ""))
            if not pattern or re.fullmatch(pattern, item):
                return None
            return ValueProblem(f"{item!r} is not {noun}", fix)


def _check_number(declaration: VariableDeclaration, number: int) -> ValueProblem | None:
    least, most = declaration.min, declaration.max
    if (least is None or number >= least) and (most is None or number <= most):
        return None
    if least is not None and most is not None:
        bounds = f"from {least} to {most}"
    else:
        bounds = f"{least} or more" if least is not None else f"{most} or less"
    return ValueProblem(f"{number} is not {bounds}", f"write a number {bounds}")


def _check_ssh_key(line: str) -> ValueProblem | None:
    """A line of authorized_keys: options, type, key, comment; the key says its type again.

    Source: sshd(8), AUTHORIZED_KEYS FILE FORMAT; RFC 4253, 6.6.
    """
    fix = "write a line of a .pub file: ssh-ed25519 AAAA… name"
    shown = line if len(line) < 40 else f"{line[:36]}…"
    words = line.split()
    kind = next((word for word in words if word in _SSH_TYPES), "")
    if "PRIVATE KEY" in line:
        return ValueProblem("a private key is no line of authorized_keys", fix)
    if not kind or "\n" in line:
        return ValueProblem(f"{shown!r} is not a public SSH key", fix)
    try:
        blob = base64.b64decode(words[words.index(kind) + 1], validate=True)
    except (IndexError, binascii.Error):
        return ValueProblem(f"the key of {shown!r} is cut off or damaged", fix)
    name = len(kind).to_bytes(4, "big") + kind.encode()
    if not blob.startswith(name) or len(blob) < len(name) + 36:
        return ValueProblem(f"the key of {shown!r} is cut off or damaged", fix)
    return None


def make_declaration_shape(value: ValueShape[VariableValue]) -> Record[VariableDeclaration]:
    """The shape of a declaration; `value` is that of its default."""
    return Record(
        VariableDeclaration,
        "A variable with its type.",
        (
            Key("type", Keyword("type", VariableType), "What a value is."),
            Key("default", value, 'Its value where a manifest has none; "" or [] for no value.',
                required=True),
            Key("meaning", Text(template=False), "For people; by default the comment on its line."),
            Key("choices", ListOf(Text(template=False), min_items=1), "Values of the type choice."),
            Key("min", Integer(-(2**63), 2**63 - 1), "Least number."),
            Key("max", Integer(-(2**63), 2**63 - 1), "Largest number."),
            Key("required", Boolean(), "true: a host without a value is an error."),
            Key("unless", Text(template=False),
                "Component, section/name, with which a required variable may stay empty."),
            Key("empty", Text(template=False),
                "What a host without a value does; minbuild says so when it builds one."),
            Key("runtime", Boolean(),
                "true: a machine may be given its own value at boot, with boot/credentials."),
            Key("credential", Text("the name of a credential", "[a-z][a-z0-9-]{0,40}", template=False),
                "Name of that credential after `minbuild.`; by default the variable's, with - for _."),
            Key("credential-only", Boolean(),
                "true: no file of the data partition gives a value."),
        ),
    )  # fmt: skip
