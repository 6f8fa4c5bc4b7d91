"""Commands that look at what was built: report, why, diff, check."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minbuild.cli import check, diff, ship
from minbuild.cli import completion as shell
from minbuild.cli.console import Terminal
from minbuild.cli.footprints import _find_newest_build, find_footprint, open_footprint
from minbuild.cli.options import (
    build_options,
    get_image_choice,
    image_options,
    make_trust,
    open_session,
    partition_option,
    store_option,
)
from minbuild.cli.output_options import (
    FormatOptionsCommand,
    PathArgumentCommand,
    find_text_width,
    output_options,
    split_targets,
    write_formats,
)
from minbuild.cli.scaffold import hardware
from minbuild.errors import UsageError

if TYPE_CHECKING:
    from minbuild.explain.why import Explanation
    from minbuild.resolve.policy import ResolvePolicy


@click.command(cls=FormatOptionsCommand)
@click.argument("image", required=False, shell_complete=shell.complete_images)
@click.option("--top", default=10, show_default=True, type=click.IntRange(min=0), metavar="N",
              help="Lines of a long table; 0: all.")  # fmt: skip
@click.option(
    "--by",
    type=click.Choice(["section", "component", "package", "directory", "kind", "file"]),
    default="section",
    show_default=True,
    help="What the table sums up.",
)
@click.option(
    "--sort",
    type=click.Choice(["bytes", "packed", "added", "files", "name"]),
    help="Order of the table's lines.  [default: bytes; sections in their own order]",
)
@click.option(
    "--baseline",
    metavar="IMAGE",
    shell_complete=shell.complete_images,
    help="What the HTML page shows changes against.",
)
@partition_option
@image_options
@output_options("text", "md", "json", "csv", "html", "junit", "sarif", "dot")
def report(
    image: str | None, top: int, by: str, sort: str | None, baseline: str | None,
    **targets: str | None,
) -> None:  # fmt: skip
    """Print the footprint of IMAGE.

    IMAGE is a build directory, a footprint.json, an image (host.efi, host.raw, qcow2, an
    initramfs: unpacked and measured anew), a root directory, a tar archive of one, a container
    image (docker save, OCI layout, also as a tar), or git:REF.
    Without IMAGE: the only build below ./build. Several formats may be written in one run.
    """
    from minbuild.report.formats import list_renderers

    footprint = open_footprint(image)
    baseline_footprint = open_footprint(baseline) if baseline else None
    formats = list_renderers(
        footprint,
        baseline_footprint,
        by=by,
        sort=sort or "",
        top=top,
        width=find_text_width(targets),
    )
    write_formats(formats, targets)


@click.command(cls=PathArgumentCommand)
@click.argument("words", nargs=-1, required=True, metavar="[IMAGE|MANIFEST] PATH",
                shell_complete=shell.complete_paths)  # fmt: skip
@click.option("--all", "every", is_flag=True, help="Every reason, not only the shortest.")
@click.option("--precise", is_flag=True, help="Say where the evidence of each need stands.")
@output_options("text", "json", "dot")
@image_options
@build_options
def why(words: tuple[str, ...], every: bool, precise: bool, store: Path | None,
        **options: Any) -> int:  # fmt: skip
    """Say why PATH is in IMAGE: the chain of needs from a component down to it, with evidence.

    IMAGE is what report takes; without it, the newest build below ./build. A manifest is resolved
    and not built. A name without a slash stands for every path that ends with it; a glob ('*.ko*',
    '/usr/bin/*') for every path that it matches.
    Exits with 1 when PATH is not in the image, and says what leaves it out, which package of the
    lock or which component would bring it, and what has a similar name.
    """
    from minbuild.explain.why import explain_all
    from minbuild.report import need_chains

    targets, build_args = split_targets(options)
    if len(words) > 2:
        raise UsageError(
            "why takes one image and one path", fix="minbuild why build/host /usr/bin/vm"
        )
    image = words[0] if len(words) == 2 else str(_find_newest_build())
    explanations = explain_all(
        find_footprint(image, store, build_args), words[-1], all_chains=every
    )
    explanations = tuple(
        _add_other_sources(one, Path(image), store, build_args["components"])
        if one.row is None
        else one
        for one in explanations
    )
    write_formats(
        {
            "text": lambda: "\n".join(
                need_chains.render_explanation(one, precise=precise, width=find_text_width(targets))
                for one in explanations
            ),
            "json": lambda: need_chains.render_explanations_json(*explanations),
            "dot": lambda: need_chains.render_explanations_dot(*explanations),
        },
        targets,
    )
    return 0 if any(one.chains for one in explanations) else 1


def _add_other_sources(
    explanation: "Explanation", image: Path, store: Path | None, components: tuple[Path, ...]
) -> "Explanation":
    """Add where the path could come from; the lock lies with the image, or with the manifest."""
    from minbuild.explain.providers import suggest_providers
    from minbuild.resolve.path_glob import is_glob

    if is_glob(explanation.path):  # of every package that there is something would match
        return explanation
    build = image if image.is_dir() else image.parent
    locks = {path.name: path for path in build.glob("*.lock")}
    lock = locks.get(f"{explanation.image}.lock")
    sources = suggest_providers(
        explanation.path, lock, open_session(store, Terminal()).store, components
    )
    return replace(explanation, other_sources=sources)


COMMANDS = (report, why, *diff.COMMANDS, *check.COMMANDS, *ship.COMMANDS)


@click.command("check-tree", cls=FormatOptionsCommand)
@click.argument("root", metavar="DIR|IMAGE", type=click.Path(path_type=Path))
@click.option("--arch", default="", help="Debian architecture.  [default: that of most programs]")
@click.option("--waivers", "manifest", metavar="MANIFEST", shell_complete=shell.complete_manifests,
              help="Leave out what this manifest's drop and allow-missing waive.")  # fmt: skip
@click.option("--strict", is_flag=True, help="Weak findings make the verdict no, too.")
@output_options("text", "json")
@partition_option
@image_options
@store_option
def check_tree(root: Path, arch: str, manifest: str | None, strict: bool,
               store: Path | None, **targets: str | None) -> int:  # fmt: skip
    """Prove that a root needs nothing outside of it, and list what dangles.

    DIR|IMAGE is any root, built by minbuild or not: a directory, a tar archive, a container image
    (docker save, OCI layout), a UKI, a disk (the UKI that it starts, or its root), an initramfs, a
    build directory (its image). Exits with 1 when something dangles that keeps a
    program, a kernel module, or what stands where programs are looked for from starting. The rest
    is weak: plug-ins that no program here loads, scripts and links elsewhere, firmware.
    """
    from minbuild.pipeline.root_check import check_root
    from minbuild.report import check_tree as dangling

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
            "text": lambda: dangling.render_root_check(root_check, strict=strict),
            "json": lambda: dangling.render_root_check_json(root_check, strict=strict),
        },
        targets,
    )
    strong, _ = dangling.split_by_severity(root_check, strict=strict)
    return 1 if strong else 0


def _load_policy(manifest: str | None) -> "ResolvePolicy":
    from minbuild.manifest.loader import read_manifest
    from minbuild.manifest.shipped_manifests import find_manifest
    from minbuild.resolve.policy import DEFAULT_POLICY, ResolvePolicy

    if manifest is None:
        return DEFAULT_POLICY
    loaded = read_manifest(find_manifest(manifest), settings={}, components=[], trust=make_trust())
    return ResolvePolicy(loaded.drop, loaded.allow_missing)


@click.command(cls=PathArgumentCommand)
@click.argument("words", nargs=-1, metavar="[IMAGE|MANIFEST] [PATH]",
                shell_complete=shell.complete_paths)  # fmt: skip
@click.option(
    "--depth", default=0, type=click.IntRange(min=0), metavar="N", help="Levels to print; 0: all."
)
@output_options("text", "json")
@image_options
@build_options
def tree(words: tuple[str, ...], depth: int, store: Path | None, **options: Any) -> int:
    """Print the closure as a tree: what needs what, with three sizes for each.

    Own: the file itself. Closure: it and all that it leads to. Added: it and all that only it
    leads to, which is what would go if it went. IMAGE is what report takes; a manifest is resolved
    and not built. With PATH (or a component): only what that leads to.
    """
    from minbuild.cli.footprints import find_footprint
    from minbuild.errors import UsageError
    from minbuild.explain.weights import weigh_closure
    from minbuild.report import tree

    if len(words) > 2:
        raise UsageError("tree takes one image and one path", fix="minbuild tree build/host PATH")
    targets, build_args = split_targets(options)
    path = words[-1] if len(words) == 2 else ""
    footprint = find_footprint(words[0] if words else None, store, build_args)
    weighed_closure = weigh_closure(footprint, path)
    write_formats(
        {
            "text": lambda: tree.render_tree(
                weighed_closure, depth=depth, width=find_text_width(targets)
            ),
            "json": lambda: tree.render_tree_json(weighed_closure),
        },
        targets,
    )
    return 0


ROOT_COMMANDS = (tree, check_tree, hardware)
