"""Commands that explain an image: report, why, tree."""

from dataclasses import replace
from pathlib import Path

import click

from minbuild.cli.footprints import (
    find_footprint,
    find_newest_build,
    open_footprint,
    resolve_kernel_options,
)
from minbuild.cli.options import (
    BuildOptions,
    build_options,
    complete,
    image_options,
    partition_option,
)
from minbuild.cli.output_options import (
    FormatOptionsCommand,
    FormatTargets,
    PathArgumentCommand,
    find_text_width,
    output_options,
    write_formats,
)
from minbuild.cli.requests import open_session
from minbuild.cli.terminal import Terminal
from minbuild.errors import UsageError
from minbuild.explain import kernel_option
from minbuild.explain.kernel_option import grow_option_tree
from minbuild.explain.providers import suggest_providers
from minbuild.explain.weights import weigh_closure
from minbuild.explain.why import Explanation, explain_all
from minbuild.kconfig.needs import PREFIX
from minbuild.report import kernel_option as option_report
from minbuild.report import needs
from minbuild.report.formats import FOOTPRINT_FORMATS, FootprintReport, list_footprint_renderers
from minbuild.report.needs import render_tree, render_tree_json
from minbuild.resolve.path_glob import is_glob


@click.command(cls=FormatOptionsCommand)
@click.argument("image", required=False, shell_complete=complete("images"))
@click.option("--top", default=10, show_default=True, type=click.IntRange(min=0), metavar="N",
              help="Lines of a long table; 0: all.")  # fmt: skip
@click.option(
    "--by",
    type=click.Choice(["section", "component", "package", "directory", "kind", "file"]),
    default="section",
    show_default=True,
    help="Rows of the table.",
)
@click.option(
    "--sort",
    type=click.Choice(["bytes", "packed", "added", "files", "name"]),
    help="Order of the table's lines.  [default: bytes; sections in their own order]",
)
@click.option(
    "--baseline",
    metavar="IMAGE",
    shell_complete=complete("images"),
    help="Show changes against this image in the HTML page.",
)
@partition_option
@image_options
@output_options(*FOOTPRINT_FORMATS)
def report(
    image: str | None, top: int, by: str, sort: str | None, baseline: str | None,
    targets: FormatTargets,
) -> None:  # fmt: skip
    """Print the footprint of IMAGE.

    IMAGE is a build directory, a footprint.json, an image (host.efi, host.raw, qcow2, an
    initramfs: unpacked and measured), a root directory, a tar archive of one, a container
    image (docker save, OCI layout, also as a tar), or git:REF.
    Without IMAGE: the only build below ./build. Several formats may be written in one run.
    """
    page = FootprintReport(
        open_footprint(image),
        open_footprint(baseline) if baseline else None,
        by=by,
        sort=sort or "",
        top=top,
        width=find_text_width(targets),
    )
    write_formats(list_footprint_renderers(page), targets)


@click.command(cls=PathArgumentCommand)
@click.argument("words", nargs=-1, required=True, metavar="[IMAGE|MANIFEST] PATH",
                shell_complete=complete("paths"))  # fmt: skip
@click.option("--all", "every", is_flag=True, help="Show every chain, not only the shortest.")
@click.option(
    "--precise", is_flag=True, help="Show the file and package of the evidence of each need."
)
@output_options("text", "json", "dot")
@image_options
@build_options
def why(words: tuple[str, ...], every: bool, precise: bool, targets: FormatTargets,
        build: BuildOptions) -> int:  # fmt: skip
    """Explain why PATH is in IMAGE: the chain of needs from a component to it, with evidence.

    IMAGE is what report takes; without it, the newest build below ./build. A manifest is resolved
    and not built. A name without a slash means every path that ends with it; a glob ('*.ko*',
    '/usr/bin/*') every path that it matches.
    CONFIG_NAME instead of a path is an option of a kernel that was built for the host.
    Exits with 1 when PATH is not in the image, and prints what leaves it out, which package of
    the lock or which component would add it, and similar names.
    """
    if len(words) > 2:
        raise UsageError(
            "why takes one image and one path", fix="minbuild why build/host /usr/bin/vm"
        )
    image = words[0] if len(words) == 2 else str(find_newest_build())
    if words[-1].startswith(PREFIX):
        return _explain_option(image, words[-1], targets, build)
    explanations = tuple(
        _add_other_sources(explanation, Path(image), build)
        if explanation.row is None
        else explanation
        for explanation in explain_all(find_footprint(image, build), words[-1], all_chains=every)
    )
    write_formats(
        {
            "text": lambda: "\n".join(
                needs.render_explanation(one, precise=precise, width=find_text_width(targets))
                for one in explanations
            ),
            "json": lambda: needs.render_explanations_json(*explanations),
            "dot": lambda: needs.render_explanations_dot(*explanations),
        },
        targets,
    )
    return 0 if any(explanation.chains for explanation in explanations) else 1


def _explain_option(image: str, name: str, targets: FormatTargets, build: BuildOptions) -> int:
    explanation = kernel_option.explain_option(resolve_kernel_options(image, build), name)
    write_formats(
        {
            "text": lambda: option_report.render_option(explanation),
            "json": lambda: option_report.render_option_json(explanation),
        },
        targets,
    )
    return 0 if explanation.chain else 1


def _add_other_sources(explanation: Explanation, image: Path, build: BuildOptions) -> Explanation:
    """Add where the path could come from; the lock is beside the image, or the manifest."""
    if is_glob(explanation.path):  # some package has a match of almost any glob
        return explanation
    directory = image if image.is_dir() else image.parent
    locks = {path.name: path for path in directory.glob("*.lock")}
    sources = suggest_providers(
        explanation.path,
        locks.get(f"{explanation.image}.lock"),
        open_session(build.store, Terminal()).store,
        build.components,
    )
    return replace(explanation, other_sources=sources)


@click.command(cls=PathArgumentCommand)
@click.argument("words", nargs=-1, metavar="[IMAGE|MANIFEST] [PATH]",
                shell_complete=complete("paths"))  # fmt: skip
@click.option(
    "--depth", default=0, type=click.IntRange(min=0), metavar="N", help="Levels to print; 0: all."
)
@output_options("text", "json")
@image_options
@build_options
def tree(words: tuple[str, ...], depth: int, targets: FormatTargets, build: BuildOptions) -> int:
    """Print the closure as a tree: what needs what, with three sizes for each.

    Own: the file itself. Closure: it and all that it leads to. Added: it and all that only it
    leads to, which is what would go if it went. IMAGE is what report takes; a manifest is resolved
    and not built. With PATH (or a component): only what that leads to. With CONFIG_NAME: what
    that option of a kernel that was built for the host leads to.
    """
    if len(words) > 2:
        raise UsageError("tree takes one image and one path", fix="minbuild tree build/host PATH")
    if words and words[-1].startswith(PREFIX):
        return _grow_option(words, depth, targets, build)
    path = words[-1] if len(words) == 2 else ""
    closure = weigh_closure(find_footprint(words[0] if words else None, build), path)
    write_formats(
        {
            "text": lambda: render_tree(closure, depth=depth, width=find_text_width(targets)),
            "json": lambda: render_tree_json(closure),
        },
        targets,
    )
    return 0


def _grow_option(
    words: tuple[str, ...], depth: int, targets: FormatTargets, build: BuildOptions
) -> int:
    image = words[0] if len(words) == 2 else str(find_newest_build())
    branch = grow_option_tree(find_footprint(image, build).kernel_options, words[-1])
    write_formats(
        {
            "text": lambda: option_report.render_option_tree(branch, depth=depth),
            "json": lambda: option_report.render_option_tree_json(branch),
        },
        targets,
    )
    return 0
