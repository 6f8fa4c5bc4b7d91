"""Compilation of a kernel: configured by its own program, compiled by its own Makefile, and read.

The object tree is kept: another configuration compiles only what it touches. (A compiler cache was
tried: 45 % dearer when it is empty, and an object tree needs none.)
"""

import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.kernel.build_root import OBJECTS, SOURCE, BuildRoot
from minbuild.kernel.model import CompiledKernel, KernelArchitecture
from minbuild.progress import Progress

SETTINGS_FILE = "minbuild.config"
_COMPILED = re.compile(r"^  (?:CC|AS)(?: \[M\])?  +(\S+)$")
_SOURCE_LINE = re.compile(r"^source_\S+ := (\S+)$", re.MULTILINE)
_DEPENDENCIES = re.compile(r"^deps_\S+ := \\\n((?:.*\\\n)*.*)", re.MULTILINE)
_OWN_TOOLS = ("scripts/", "tools/", "usr/gen_init", "arch/x86/tools/")
_EXPECTED_OBJECTS = 1500
"""What the bar of a first compilation counts to; host.yaml's kernel has 1,284 C files."""


def build_make_command(architecture: KernelArchitecture, *words: str) -> str:
    """The command that runs the kernel's own Makefile."""
    variables = f"ARCH={architecture.arch} CC=gcc-14 HOSTCC=gcc-14"
    return " ".join(["make", "-C", SOURCE, f"O={OBJECTS}", variables, *words])


def build_environment(epoch: int) -> dict[str, str]:
    """What would differ from machine to machine and day to day, made constant.

    Source: Linux, Documentation/kbuild/reproducible-builds.rst.
    """
    date = datetime.fromtimestamp(epoch, tz=UTC)
    return {
        "KBUILD_BUILD_HOST": "minbuild",
        "KBUILD_BUILD_TIMESTAMP": date.strftime("%a %b %e %H:%M:%S UTC %Y"),
        "KBUILD_BUILD_USER": "minbuild",
        "KBUILD_BUILD_VERSION": "1",
    }


def render_settings(settings: Mapping[str, str], texts: frozenset[str]) -> str:
    """The file KCONFIG_ALLCONFIG; `texts`: options whose values are quoted."""
    lines = []
    for name, value in sorted(settings.items()):
        if value == "n":
            lines.append(f"# CONFIG_{name} is not set")
        else:
            lines.append(f'CONFIG_{name}="{value}"' if name in texts else f"CONFIG_{name}={value}")
    return "\n".join(lines) + "\n"


def configure_kernel(root: BuildRoot, architecture: KernelArchitecture, settings: str) -> None:
    """Write `.config`: `settings`, and nothing else that could be left out.

    A configuration that is there and equal stays untouched, so that nothing is compiled again.
    Raises: ToolError.
    """
    path = root.objects / SETTINGS_FILE
    path.write_text(settings, "utf-8")
    root.run(
        build_make_command(
            architecture, f"KCONFIG_ALLCONFIG={OBJECTS}/{SETTINGS_FILE} allnoconfig"
        ),
        purpose="configuring the kernel",
    )


def read_config(objects: Path) -> dict[str, str]:
    """The options of a built kernel's `.config`, without CONFIG_; those that are off are n."""
    options = {}
    for line in (objects / ".config").read_text("utf-8").splitlines():
        if line.startswith("CONFIG_"):
            name, _, value = line.removeprefix("CONFIG_").partition("=")
            options[name] = value.strip('"')
        elif line.startswith("# CONFIG_") and line.endswith(" is not set"):
            options[line.removeprefix("# CONFIG_").removesuffix(" is not set")] = "n"
    return options


def compile_kernel(
    root: BuildRoot, architecture: KernelArchitecture, epoch: int, release: str, progress: Progress
) -> CompiledKernel:
    """Compile what has changed since the last time, and read the result.

    An interrupt leaves the objects that are done: the next run goes on from there.
    Raises: ToolError with the compiler's last lines.
    """
    jobs = len(os.sched_getaffinity(0))
    command = build_make_command(architecture, f"-j{jobs}", architecture.target, "modules.builtin")
    count = 0
    for line in root.stream(command, purpose="compiling the kernel", env=build_environment(epoch)):
        if _COMPILED.match(line):
            count += 1
            progress.bar("compiling the kernel", count, max(count, _EXPECTED_OBJECTS))
    listing = root.run(
        f"cd {OBJECTS} && for archive in {' '.join(architecture.archives)}; do ar t $archive; done",
        purpose="listing what the kernel is linked from",
    )
    linked = frozenset(listing.decode().split())
    return read_compiled(root.objects, architecture, linked, release)


def read_compiled(
    objects: Path, architecture: KernelArchitecture, linked: frozenset[str], release: str
) -> CompiledKernel:
    """What an object tree holds once it is complete.

    `linked`: objects in the kernel; the tree keeps those of other configurations, too.
    Raises: ToolError.
    """
    try:
        return CompiledKernel(
            release=release,
            image=(objects / architecture.image).read_bytes(),
            config=(objects / ".config").read_bytes(),
            modules_builtin=(objects / "modules.builtin").read_bytes(),
            modules_builtin_modinfo=(objects / "modules.builtin.modinfo").read_bytes(),
            sources=tuple(sorted(set(_list_sources(objects, architecture, linked)))),
        )
    except FileNotFoundError as error:
        raise ToolError(
            "the kernel was compiled, and a file of it is missing",
            where=str(error.filename),
            fix="remove the object tree and run the same command again: minbuild store gc",
        ) from error


def _list_sources(
    objects: Path, architecture: KernelArchitecture, linked: frozenset[str]
) -> Iterator[str]:
    """Sources and headers that the compiler read, from the .cmd files beside the kernel's objects."""
    for path in objects.rglob(".*.cmd"):
        name = path.with_name(path.name[1:].removesuffix(".cmd")).relative_to(objects).as_posix()
        is_object = name.endswith(".o")
        if is_object and name not in linked and not name.startswith(architecture.programs):
            continue
        text = path.read_text("utf-8", "replace")
        for match in _SOURCE_LINE.finditer(text):
            yield from _clean_source(match[1])
        for match in _DEPENDENCIES.finditer(text):
            for word in re.findall(r"[\w./+-]+\.[chS]\b", match[1]):
                yield from _clean_source(word)


def _clean_source(path: str) -> Iterator[str]:
    relative = path.removeprefix(f"{SOURCE}/")
    if not relative.startswith(("/", *_OWN_TOOLS)) and "generated/" not in relative:
        yield relative
