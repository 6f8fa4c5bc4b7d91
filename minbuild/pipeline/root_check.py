"""The proof that a root needs nothing outside of it, for any root: built by us or not."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from minbuild.errors import UsageError
from minbuild.facts.model import Elf, FileEntry, Malformed, Module, PackageFiles, Script
from minbuild.formats.root_entry import FileType
from minbuild.manifest.rule_files import load_rules
from minbuild.pipeline.installed_root import open_sandboxed_root
from minbuild.pipeline.session import Session
from minbuild.pipeline.shell_check import find_script_warnings
from minbuild.resolve.arch import identify_architecture
from minbuild.resolve.builtin_knowledge import RUNTIME_DIRECTORIES
from minbuild.resolve.closed_world import RootCheck, check_closed_world
from minbuild.resolve.policy import DEFAULT_POLICY, ResolvePolicy
from minbuild.resolve.waivers import Waivers
from minbuild.roots.oci import ANY_IMAGE, ImageChoice
from minbuild.roots.root_packages import RootPackages, make_lazy_files


def check_root(
    path: Path,
    session: Session,
    *,
    arch: str = "",
    choice: ImageChoice = ANY_IMAGE,
    policy: ResolvePolicy = DEFAULT_POLICY,
) -> RootCheck:
    """Check the root that `path` names: a directory, a tar, a container image, a disk, a UKI, a build.

    `arch`: "" for the one that most of its programs are made for. `choice`: which of several.
    `policy`: its waivers; the rules are those that minbuild ships.
    Raises: UsageError when there is no such root; ToolError when it is damaged.
    """
    with open_sandboxed_root(path, session, choice=choice, skip=RUNTIME_DIRECTORIES) as source:
        session.progress.step(f"reading {source.name}")
        root_packages = RootPackages(source, use_database=False, usrmerge=False)
        files = _read_unmerged_files(root_packages)
        if not any(one.kind is FileType.FILE for one in root_packages.by_native_path.values()):
            raise _explain_empty("it holds no file", source.name)
        arch = arch or _guess_arch(files)
        unmet = check_closed_world(files, arch=arch, policy=replace(policy, rules=load_rules()))
        if not unmet and not any(
            isinstance(files.facts(path), _CHECKED_TYPES) for path in files.entries
        ):
            raise _explain_empty(
                "it holds no program, library, script or kernel module", source.name
            )
        waivers = Waivers((), policy.allow_missing)
        script_warnings = find_script_warnings(
            files, root_packages.read_content, waivers, session.store
        )
        return RootCheck(source.name, arch, len(files.entries), unmet, script_warnings)


_CHECKED_TYPES = (Elf, Script, Module, Malformed)


def _explain_empty(reason: str, where: str) -> UsageError:
    return UsageError(
        f"there is nothing to prove: {reason}", where=where,
        fix="name a root that holds programs, or another partition: --partition",
    )  # fmt: skip


def _read_unmerged_files(root_packages: RootPackages) -> PackageFiles:
    """A root's files, and the links to what it keeps under other names than are told."""
    files = make_lazy_files(root_packages)
    links = {
        path: FileEntry(path, FileType.LINK, 0o777, target=text)
        for path, text in root_packages.layout.links.items()
    }
    return replace(files, entries=dict(sorted({**files.entries, **links}.items())))


def _guess_arch(files: PackageFiles) -> str:
    """The architecture of most programs and libraries; without any, one is as good as another."""
    counts: Counter[str] = Counter()
    for path in files.entries:
        facts = files.facts(path)
        if isinstance(facts, Elf) and facts.dynamic and (name := identify_architecture(facts)):
            counts[name] += 1
    return max(sorted(counts), key=lambda name: counts[name], default="amd64")
