"""Command that explains why a path is in an image: why."""

from dataclasses import replace
from pathlib import Path

import click

from minbuild.cli.footprints import find_footprint, find_newest_build
from minbuild.cli.options import BuildOptions, build_options, complete, image_options
from minbuild.cli.output_files import FormatTargets, find_text_width, write_formats
from minbuild.cli.output_options import PathArgumentCommand, output_options
from minbuild.cli.requests import open_session
from minbuild.cli.terminal import Terminal
from minbuild.errors import UsageError
from minbuild.explain.providers import suggest_providers
from minbuild.explain.why import Explanation, explain_all
from minbuild.report import need_chains
from minbuild.resolve.path_glob import is_glob


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
    Exits with 1 when PATH is not in the image, and prints what leaves it out, which package of
    the lock or which component would add it, and similar names.
    """
    if len(words) > 2:
        raise UsageError(
            "why takes one image and one path", fix="minbuild why build/host /usr/bin/vm"
        )
    image = words[0] if len(words) == 2 else str(find_newest_build())
    explanations = tuple(
        _add_other_sources(explanation, Path(image), build)
        if explanation.row is None
        else explanation
        for explanation in explain_all(find_footprint(image, build), words[-1], all_chains=every)
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
    return 0 if any(explanation.chains for explanation in explanations) else 1


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
