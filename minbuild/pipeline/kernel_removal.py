"""Removal of a component or an option from the kernel that is built for a host."""

from collections.abc import Sequence

from minbuild.explain.kernel_option import check_options_on
from minbuild.kconfig.needs import PREFIX
from minbuild.kconfig.removal import OptionRemoval, remove_options
from minbuild.pipeline.kernel_inputs import open_option_tree, prepare_kernel
from minbuild.pipeline.load import load_manifest
from minbuild.pipeline.lock_creation import load_or_select_lock
from minbuild.pipeline.package_sources import with_archives
from minbuild.pipeline.resolved_host import ResolvedHost
from minbuild.pipeline.session import BuildRequest, Session


def simulate_option_removal(
    request: BuildRequest, resolved: ResolvedHost, words: Sequence[str], session: Session
) -> OptionRemoval | None:
    """Resolve the options again without `words`: options (CONFIG_NAME), and what asks for some.

    None where none of them is either. Raises: UsageError for an option that is off.
    """
    options = resolved.kernel_options
    needs = tuple(options.needs.values()) if options else ()
    names = check_options_on(needs, [word for word in words if word.startswith(PREFIX)])
    asking = {one.by for one in options.requests} if options else set()
    components = asking & set(words)
    if options is None or not (names or components):
        return None
    manifest = load_manifest(request, session)
    request = with_archives(request, manifest)
    lock = load_or_select_lock(request, manifest, session)
    tree = open_option_tree(prepare_kernel(request, manifest, lock, session))
    return remove_options(tree, options, names, components)
