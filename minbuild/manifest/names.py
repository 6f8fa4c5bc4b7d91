"""Shapes of names and paths, and synonyms that other tools use for keys and architectures."""

from minbuild.manifest.document.scalars import Located, Text

ARCHITECTURE_SYNONYMS = {
    "x86_64": "amd64", "x86-64": "amd64", "x64": "amd64", "intel64": "amd64",
    "aarch64": "arm64", "armv8": "arm64",
    "armv7": "armhf", "armv7l": "armhf", "armv7hl": "armhf", "arm": "armhf",
    "i486": "i386", "i586": "i386", "i686": "i386", "x86": "i386", "386": "i386",
    "ppc64le": "ppc64el", "powerpc64le": "ppc64el", "loongarch64": "loong64",
    "riscv": "riscv64", "rv64": "riscv64",
}  # fmt: skip
"""Architecture of the kernel, Docker, RPM and compilers → Debian's name. Source: uname -m, GOARCH."""

_KEEP_FIX = "name the files: keep: [{package: …, paths: [/usr/bin/…]}]; what they need comes along"
_USE_FIX = (
    "write components below their section: services: {use: […]} (minbuild components lists them)"
)
_VARIABLE_FIX = "it is a variable: vars: {%s: …}"
_HOST_VARIABLES = ("hostname", "address", "gateway", "nameservers", "ntp_servers", "ssh_keys", "ssh_port",
         "bridges", "uplink", "syslog_server")  # fmt: skip
KEY_SYNONYMS = {
    **{name: _VARIABLE_FIX % name for name in _HOST_VARIABLES},
    **dict.fromkeys(("variables", "env", "environment"), "write vars: {name: value}"),
    **dict.fromkeys(("package", "packages", "install"), _KEEP_FIX),
    **dict.fromkeys(("components", "component", "use"), _USE_FIX),
    **dict.fromkeys(("include", "includes", "extend", "from", "base"), "write extends: [host]"),
    **dict.fromkeys(("architecture", "machine"), "write arch: amd64"),
    **dict.fromkeys(
        ("suite", "release", "distribution"), "write it below archive: archive: {suites: […]}"
    ),
    **dict.fromkeys(
        ("format", "output", "outputs"), "write it below image: image: {formats: [uki, raw]}"
    ),
    "remove": "write drop: [{path: …, because: …}] for a file, use: {remove: […]} for a component",
}
"""Unknown key at the top of a manifest → what to write instead."""


NAME_PATTERN = "[a-z0-9][a-z0-9+._-]*"


PACKAGE_NAME = Text("a package's name", "[a-z0-9][a-z0-9+.-]+", "write the name that apt knows")


ABSOLUTE_PATH = Text("an absolute path", "/[^\\x00]*", "begin it with /")


LOCAL_FILE = Located(Text("a file's name", "[^\\x00]+", "name a file, relative to this document"))


MANIFEST_FILE = Located(Text("a manifest's file", "[^\\x00]+", template=False))


WORD = Text("one word", "[^ \\t\\n\\x00]+", "write one word for each list item")


VARIABLE_NAME = Text(
    "a variable's name", "[A-Za-z_][A-Za-z0-9_]*", "use letters, digits and _", False
)


COMPONENT_REFERENCE = Located(
    Text(
        "a component's name",
        f"({NAME_PATTERN}/)?{NAME_PATTERN}",
        "write name, or section/name; names are lower case and hold no template",
        template=False,
    )
)


FULL_COMPONENT_REFERENCE = Located(
    Text(
        "a component's name", f"{NAME_PATTERN}/{NAME_PATTERN}", "write section/name", template=False
    )
)


SET_NAME = Text("a name", NAME_PATTERN, "use lower case, digits and -", template=False)


KERNEL_OPTION = Text("a kernel option", "(?!CONFIG_)[A-Za-z0-9_]+", "write it without CONFIG_")
OPTION_SETTING = Text(
    "a setting of a kernel option",
    r"(?!CONFIG_)[A-Za-z0-9_*]+(=[^\s\"]+)?",
    "write NAME, NAME=VALUE or a glob of names, without CONFIG_",
)


APPLET_NAME = Text("an applet's name", "[A-Za-z0-9_.+\\[-]+", "write what busybox --list calls it")
