"""Command that finds unmet needs in any root: check-tree."""

from dataclasses import replace
from pathlib import Path

import click

from minbuild.cli.footprints import get_image_choice
from minbuild.cli.options import complete, image_options, partition_option, store_option
from minbuild.cli.output_files import FormatTargets, write_formats
from minbuild.cli.output_options import FormatOptionsCommand, output_options
from minbuild.cli.requests import make_trust, open_session
from minbuild.cli.terminal import Terminal
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.shipped_manifests import find_manifest
from minbuild.pipeline.root_check import check_root
from minbuild.report.check_tree import render_root_check, render_root_check_json
from minbuild.resolve.closed_world import split_by_severity
from minbuild.resolve.policy import DEFAULT_POLICY, ResolvePolicy


@click.command("check-tree", cls=FormatOptionsCommand)
@click.argument("root", metavar="DIR|IMAGE", type=click.Path(path_type=Path))
@click.option("--arch", default="", help="Debian architecture.  [default: that of most programs]")
@click.option("--waivers", "manifest", metavar="MANIFEST", shell_complete=complete("manifests"),
              help="Skip what drop and allow-missing of this manifest waive.")  # fmt: skip
@click.option("--strict", is_flag=True, help="Exit with 1 for weak findings, too.")
@output_options("text", "json")
@partition_option
@image_options
@store_option
def check_tree(root: Path, arch: str, manifest: str | None, strict: bool,
               store: Path | None, targets: FormatTargets) -> int:  # fmt: skip
    """Check that a root needs nothing outside of it, and list unmet needs.

    DIR|IMAGE is any root, built by minbuild or not: a directory, a tar archive, a container image
    (docker save, OCI layout), a UKI, a disk (the UKI that it starts, or its root), an initramfs, a
    build directory (its image). Exits with 1 when an unmet need keeps a program, a
    kernel module, or a script or link in a directory of PATH from starting. The others are weak:
    plug-ins that no program here loads, scripts and links elsewhere, firmware.
    """
    terminal = Terminal()
    container_choice = replace(get_image_choice(), arch=arch)
    root_check = check_root(
        root,
        open_session(store, terminal),
        arch=arch,
        choice=container_choice,
        policy=_load_policy(manifest),
    )
    terminal.finish()
    write_formats(
        {
            "text": lambda: render_root_check(root_check, strict=strict),
            "json": lambda: render_root_check_json(root_check, strict=strict),
        },
        targets,
    )
    strong, _ = split_by_severity(root_check, strict=strict)
    return 1 if strong else 0


def _load_policy(manifest: str | None) -> ResolvePolicy:
    if manifest is None:
        return DEFAULT_POLICY
    loaded = read_manifest(find_manifest(manifest), settings={}, components=[], trust=make_trust())
    return ResolvePolicy(loaded.drop, loaded.allow_missing)
