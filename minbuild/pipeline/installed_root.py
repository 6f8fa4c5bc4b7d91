"""Installed root: a build whose files come from it instead of an archive's packages, and the check
that it needs nothing else."""

import contextlib
import functools
import hashlib
import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.archive.model import INSTALLED, Lock, Package
from minbuild.errors import ResolveError, UsageError, combine
from minbuild.facts.model import Elf, FileEntry, Malformed, Module, PackageFiles, Script
from minbuild.facts.rendered_files import collect_rendered_files
from minbuild.formats.root_entry import FileType
from minbuild.manifest.model import ANY_PACKAGE, Manifest
from minbuild.manifest.rule_files import load_rules
from minbuild.paths import RootPath
from minbuild.pipeline.lock_creation import find_tools, lock_tools_only
from minbuild.pipeline.named_paths import resolve_named_paths
from minbuild.pipeline.resolved_host import ResolvedHost
from minbuild.pipeline.session import BuildRequest, Session, locate_lock
from minbuild.pipeline.shell_check import drop_used_waivers, find_script_warnings
from minbuild.pipeline.tool_setup import open_tools
from minbuild.process import RunProgram
from minbuild.resolve import error_messages
from minbuild.resolve.builtin_tables import RUNTIME_DIRECTORIES, identify_architecture
from minbuild.resolve.closed_world import RootCheck, check_closed_world
from minbuild.resolve.model import Closure, NeedKind, UnmetNeed
from minbuild.resolve.policy import DEFAULT_POLICY, ResolvePolicy, Waivers, make_policy
from minbuild.resolve.root_selection import list_roots, map_to_installed_root
from minbuild.roots.model import ExternalReaders, RootSource
from minbuild.roots.oci import ANY_IMAGE, ImageChoice
from minbuild.roots.open import open_root_source
from minbuild.roots.root_packages import RootPackages, make_lazy_files
from minbuild.toolbox.toolbox import Toolbox

RPM_CONFIG_DIRECTORY = RootPath("/usr/lib/rpm")


def resolve_root(
    request: BuildRequest, manifest: Manifest, tools_lock: Lock | None, session: Session
) -> ResolvedHost:
    """Resolve a manifest over the files of its root; the chosen files are kept in the store.

    The lock of the result has the toolbox of `tools_lock`; None: that of the lock beside the
    manifest, or of a lock of tools alone, which is fetched once the root is resolved.
    Raises: UsageError when there is no such root; ToolError; ResolveError.
    """
    work = Path(tempfile.mkdtemp(prefix="work-", dir=session.store.directory / "partial"))
    try:
        root_path = Path(manifest.archive.root)
        choice = ImageChoice(arch=manifest.arch)
        external_readers = make_external_readers(session, request)
        source = open_root_source(
            root_path, work, lambda: external_readers, choice=choice, prefer_boot=False
        )
        root_packages = RootPackages(
            source, use_database=manifest.archive.owners, rpm=external_readers.rpm
        )
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    # facts are read when they are asked for, also by later steps: the work lasts as long
    weakref.finalize(root_packages, shutil.rmtree, work, ignore_errors=True)
    resolved = resolve_root_packages(manifest, root_packages, session)
    tools_lock = tools_lock or _load_tools_lock(request, manifest, session)
    lock = replace(resolved.lock, suites=tools_lock.suites, toolbox=tools_lock.toolbox)
    return replace(resolved, lock=lock)


def resolve_root_packages(
    manifest: Manifest, root_packages: RootPackages, session: Session
) -> ResolvedHost:
    """Resolve a manifest over a root; the lock lists the root's packages.

    Raises: ResolveError when the root lacks what a need asks for.
    """
    session.progress.step(f"reading {root_packages.source.name}")
    manifest_files = collect_rendered_files(
        (file for one in manifest.components for file in one.files), session.store
    )
    files = (manifest_files, *root_packages.files)

    def read_content(package: str, path: RootPath, digest: str) -> bytes:
        return root_packages.read_content(path) if package else session.store.require(digest)

    roots = map_to_installed_root(list_roots(manifest), files)
    closure = resolve_named_paths(
        roots, files, manifest, make_policy(manifest), read_content, session.store
    )
    closure = drop_used_waivers(closure, files, manifest.allow_missing, read_content, session.store)
    _note_hidden_files(closure, root_packages, session)
    if closure.unmet_needs or closure.unused_waivers:
        raise _explain_unmet(closure, files, root_packages)
    for path, selected in closure.files.items():
        if selected.package and selected.entry.kind is FileType.FILE:
            root_packages.add_to_cache(path, session.store)
    lock = Lock(manifest.arch, (), _list_root_packages(closure, root_packages), ())
    return ResolvedHost(manifest, lock, files, closure)


def _note_hidden_files(closure: Closure, root_packages: RootPackages, session: Session) -> None:
    for hidden, visible in root_packages.hidden_files:
        if visible.path in closure.files:
            session.progress.note(
                f"of two files one is left out: /{hidden.native_path}, for /{visible.native_path}"
            )


@contextlib.contextmanager
def open_sandboxed_root(
    path: Path, session: Session, *, choice: ImageChoice, skip: Sequence[str] = ()
) -> Iterator[RootSource]:
    """Open a root for a while. Raises: as `open_source`."""
    with session.store.create_temp_dir() as work:
        external_readers = make_external_readers(session)
        yield open_root_source(path, work, lambda: external_readers, choice=choice, skip=skip)


def make_external_readers(session: Session, request: BuildRequest | None = None) -> ExternalReaders:
    """The toolbox's programs for a root that a stranger made: each runs in a sandbox."""
    tool_request = request or BuildRequest(Path())
    return ExternalReaders(
        lambda name: _make_tool_runner(name, tool_request, session),
        session.progress.note,
        session.partition,
    )


def _make_tool_runner(name: str, request: BuildRequest, session: Session) -> RunProgram:
    """A tool of the toolbox, fetched when it is first run."""
    get_toolbox = _defer_tool(name, request, session)

    def run_tool(
        args: Sequence[str | Path],
        *,
        purpose: str,
        reads: Sequence[Path] = (),
        writes: Path | None = None,
        stdin: bytes = b"",
        stdout: Path | None = None,
        output: int = 256 << 20,
        file: int = 1 << 20,
        codes: Sequence[int] = (0,),
    ) -> bytes:
        env = (
            {"RPM_CONFIGDIR": str(get_toolbox().find_path(RPM_CONFIG_DIRECTORY))}
            if name == "rpm"
            else {}
        )
        return get_toolbox().run_confined(
            name, args, purpose=purpose, reads=reads, writes=writes, stdin=stdin, stdout=stdout,
            output=output, file=file, env=env, codes=codes, note=session.progress.note,
        )  # fmt: skip

    return run_tool


def _defer_tool(name: str, request: BuildRequest, session: Session) -> Callable[[], Toolbox]:
    @functools.cache
    def open_single_tool() -> Toolbox:
        tools = find_tools(name)
        return open_tools(request, lock_tools_only(request, session, tools), session, tools)

    return open_single_tool


def _load_tools_lock(request: BuildRequest, manifest: Manifest, session: Session) -> Lock:
    lock_path = locate_lock(request, manifest)
    return (
        lockfile.read_lock(lock_path) if lock_path.exists() else lock_tools_only(request, session)
    )


def _describe_entry(entry: FileEntry) -> str:
    """One line that stands for a file in the digest of its package; locks hold such digests."""
    kind = f"<Kind.{entry.kind.name}: {entry.kind.value!r}>"
    values = {field.name: getattr(entry, field.name) for field in fields(entry)}
    words = (f"{name}={kind if name == 'kind' else repr(value)}" for name, value in values.items())
    return f"Entry({', '.join(words)})"


def _list_root_packages(closure: Closure, root_packages: RootPackages) -> tuple[Package, ...]:
    """The root's packages that the closure takes files from, each known by those files."""
    lines: dict[str, list[str]] = {}
    for selected in closure.files.values():
        if selected.package:
            lines.setdefault(selected.package, []).append(_describe_entry(selected.entry))
    distribution = root_packages.os_release.get("ID", "linux")
    suite = root_packages.os_release.get("VERSION_CODENAME") or root_packages.os_release.get(
        "VERSION_ID", ""
    )
    packages = []
    for name, entries in sorted(lines.items()):
        owner = root_packages.installed_packages.get(name)
        packages.append(
            Package(
                name=name,
                version=owner.version if owner else "",
                arch=owner.arch if owner else "",
                root="",
                path=f"{INSTALLED}/{owner.kind}/{distribution}" if owner else f"{INSTALLED}/",
                size=0,
                sha256=hashlib.sha256("\n".join(entries).encode()).hexdigest(),
                suite=suite if owner else "",
                source=owner.source if owner else "",
                source_version=owner.source_version if owner else "",
            )
        )
    return tuple(packages)


def _describe_package(missing: UnmetNeed) -> str:
    if missing.package == ANY_PACKAGE:
        return "what has it"
    return f"{missing.package} (or what your distribution calls it)"


def _explain_unmet(
    closure: Closure, files: tuple[PackageFiles, ...], root_packages: RootPackages
) -> ResolveError:
    """Say of a root what it lacks: no other package will bring it."""
    resolve_error = error_messages.make_unresolved_error(closure, files)
    problems: list[ResolveError] = []
    for number, error in enumerate((resolve_error, *resolve_error.also)):
        problem = error
        missing = closure.unmet_needs[number] if number < len(closure.unmet_needs) else None
        if missing is not None and missing.kind is NeedKind.ROOT and missing.package:
            problem = ResolveError(
                f"the root holds no {missing.wanted}",
                where=f"{root_packages.source.name}; {missing.evidence}, component {missing.by}",
                fix=f"install {_describe_package(missing)} in the root, or leave the component out",
            )
        if isinstance(problem, ResolveError):
            problems.append(problem)
    return combine(problems)


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
