"""Words of other tools, and what this format says instead."""

ARCHITECTURES = {
    "x86_64": "amd64", "x86-64": "amd64", "x64": "amd64", "intel64": "amd64",
    "aarch64": "arm64", "armv8": "arm64",
    "armv7": "armhf", "armv7l": "armhf", "armv7hl": "armhf", "arm": "armhf",
    "i486": "i386", "i586": "i386", "i686": "i386", "x86": "i386", "386": "i386",
    "ppc64le": "ppc64el", "powerpc64le": "ppc64el", "loongarch64": "loong64",
    "riscv": "riscv64", "rv64": "riscv64",
}  # fmt: skip
"""What the kernel, Docker, RPM and compilers call machines → Debian's name. Source: uname -m, GOARCH."""

_KEEP = "name the files: keep: [{package: …, paths: [/usr/bin/…]}]; what they need comes along"
_USE = "write components below their section: services: {use: […]} (minbuild components lists them)"
_VARIABLE = "it is a variable: vars: {%s: …}"
_HOST = ("hostname", "address", "gateway", "nameservers", "ntp_servers", "ssh_keys", "ssh_port",
         "bridges", "uplink", "syslog_server")  # fmt: skip
KEYS = {
    **{name: _VARIABLE % name for name in _HOST},
    **dict.fromkeys(("variables", "env", "environment"), "write vars: {name: value}"),
    **dict.fromkeys(("package", "packages", "install"), _KEEP),
    **dict.fromkeys(("components", "component", "use"), _USE),
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
"""Keys that a manifest has not at its top → what to write."""
