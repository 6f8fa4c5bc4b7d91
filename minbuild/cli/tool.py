"""Command that runs a tool of the toolbox: tool."""

import click

from minbuild.cli.options import BuildOptions, GatheringCommand, build_options, complete
from minbuild.cli.requests import build_request, open_session
from minbuild.cli.terminal import Terminal
from minbuild.image.ukify import add_stub_argument
from minbuild.manifest.tool_documents import load_tools
from minbuild.pipeline.boot_setup import open_single_tool
from minbuild.pipeline.session import detect_machine_arch
from minbuild.process import exec_program


@click.command(cls=GatheringCommand, context_settings={"ignore_unknown_options": True})
@click.argument("name", shell_complete=complete("tools"))
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option("--manifest", default="host", metavar="MANIFEST", show_default=True,
              shell_complete=complete("manifests"), help="Whose lock pins the tool.")  # fmt: skip
@build_options
def tool(name: str, args: tuple[str, ...], manifest: str, build: BuildOptions) -> None:
    """Run a tool of the toolbox: minbuild tool mcopy -- -i disk.img ::

    Tools come from the archive, pinned by the lock, and run with none of this machine's
    libraries. `minbuild tool list` lists them.
    """
    if name == "list" and not args:
        _list_tools()
        return
    terminal = Terminal()
    toolbox = open_single_tool(
        build_request(manifest, build), open_session(build.store, terminal), name
    )
    arguments = [*args]
    if name == "ukify":
        arguments = add_stub_argument(args, toolbox, detect_machine_arch())
    argv = [*toolbox.build_argv(name), *arguments]
    terminal.finish()
    exec_program(argv, env=toolbox.build_environment(), purpose=f"running {name}")


def _list_tools() -> None:
    tools = load_tools()
    width = max(len(known_tool.name) for known_tool in tools)
    for known_tool in tools:
        click.echo(f"{known_tool.name:<{width}}  {known_tool.summary}")
