"""Command that prints the closure as a tree: tree."""

import click

from minbuild.cli.footprints import find_footprint
from minbuild.cli.options import BuildOptions, build_options, complete, image_options
from minbuild.cli.output_files import FormatTargets, find_text_width, write_formats
from minbuild.cli.output_options import PathArgumentCommand, output_options
from minbuild.errors import UsageError
from minbuild.explain.weights import weigh_closure
from minbuild.report.tree import render_tree, render_tree_json


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
    and not built. With PATH (or a component): only what that leads to.
    """
    if len(words) > 2:
        raise UsageError("tree takes one image and one path", fix="minbuild tree build/host PATH")
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
