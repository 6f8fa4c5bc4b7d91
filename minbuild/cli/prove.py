"""Commands that prove and explain: check-tree, tree, hardware."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minbuild.cli import completion as shell
from minbuild.cli.options import (
    build_options,
    choice,
    doors_of,
    image_options,
    partition_option,
    store_option,
    trust_of,
)
from minbuild.cli.outputs import Explaining, Outputting, output_options, part, room, write
from minbuild.cli.terminal import Terminal

if TYPE_CHECKING:
    from minbuild.manifest.types import Waiver


@click.command("check-tree", cls=Outputting)
@click.argument("root", metavar="DIR|IMAGE", type=click.Path(path_type=Path))
@click.option("--arch", default="", help="Debian architecture.  [default: that of most programs]")
@click.option("--waivers", "manifest", metavar="MANIFEST", shell_complete=shell.manifests,
              help="Leave out what this manifest's drop and allow-missing waive.")  # fmt: skip
@click.option("--strict", is_flag=True, help="Weak findings make the verdict no, too.")
@output_options("text", "json")
@partition_option
@image_options
@store_option
def check_tree(root: Path, arch: str, manifest: str | None, strict: bool,
               store: Path | None, **given: str | None) -> int:  # fmt: skip
    """Prove that a root needs nothing outside of it, and list what dangles.

    DIR|IMAGE is any root, built by minbuild or not: a directory, a tar archive, a container image
    (docker save, OCI layout), a UKI, a disk (the UKI that it starts, or its root), an initramfs, a
    build directory (its image). Exits with 1 when something dangles that keeps a
    program, a kernel module, or what stands where programs are looked for from starting. The rest
    is weak: plug-ins that no program here loads, scripts and links elsewhere, firmware.
    """
    from minbuild.build.closed import examine
    from minbuild.report import dangling

    terminal = Terminal()
    drop, allowed = _waivers(manifest)
    wanted = replace(choice(), arch=arch)
    found = examine(
        root, doors_of(store, terminal), arch=arch, choice=wanted, drop=drop, allow_missing=allowed
    )
    terminal.done()
    write(
        {
            "text": lambda: dangling.as_text(found, strict=strict),
            "json": lambda: dangling.as_json(found, strict=strict),
        },
        given,
    )
    strong, _ = dangling.parted(found, strict=strict)
    return 1 if strong else 0


def _waivers(manifest: str | None) -> "tuple[Sequence[Waiver], Sequence[Waiver]]":
    from minbuild.manifest.find import manifest_file
    from minbuild.manifest.load import load

    if manifest is None:
        return (), ()
    loaded = load(manifest_file(manifest), settings={}, components=[], trust=trust_of())
    return loaded.drop, loaded.allow_missing


@click.command(cls=Explaining)
@click.argument("words", nargs=-1, metavar="[IMAGE|MANIFEST] [PATH]",
                shell_complete=shell.inside)  # fmt: skip
@click.option(
    "--depth", default=0, type=click.IntRange(min=0), metavar="N", help="Levels to print; 0: all."
)
@output_options("text", "json")
@image_options
@build_options
def tree(words: tuple[str, ...], depth: int, store: Path | None, **more: Any) -> int:
    """Print the closure as a tree: what needs what, with three sizes for each.

    Own: the file itself. Closure: it and all that it leads to. Added: it and all that only it
    leads to, which is what would go if it went. IMAGE is what report takes; a manifest is resolved
    and not built. With PATH (or a component): only what that leads to.
    """
    from minbuild.cli.inspect import measured
    from minbuild.errors import UsageError
    from minbuild.report import closure

    if len(words) > 2:
        raise UsageError("tree takes one image and one path", fix="minbuild tree build/host PATH")
    given, build = part(more)
    path = words[-1] if len(words) == 2 else ""
    footprint = measured(words[0] if words else None, store, build)
    grown = closure.grow(footprint, path)
    write(
        {
            "text": lambda: closure.as_text(grown, depth=depth, width=room(given)),
            "json": lambda: closure.as_json(grown),
        },
        given,
    )
    return 0


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False),
              help="Write a file instead of stdout.")  # fmt: skip
@click.option("--sys", "top", type=click.Path(path_type=Path, file_okay=False, exists=True),
              default=Path("/sys"), show_default=True, help="Where sysfs is mounted.")  # fmt: skip
def hardware(output: Path | None, top: Path) -> int:
    """List the devices of this running machine, for `kernel: {hardware: FILE}` of a manifest.

    One modalias a line. A host made with the list has the drivers of these devices and no others.
    """
    from minbuild.build.hardware import gather, write

    text = gather(top)
    if output is None:
        click.echo(text, nl=False)
    else:
        write(text, output)
        click.echo(f"wrote {output}: {text.count(chr(10)) - 1} kinds of devices")
    return 0


COMMANDS = (tree, check_tree, hardware)
