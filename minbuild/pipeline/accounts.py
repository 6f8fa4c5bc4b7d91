"""Users, groups and directories that chosen packages declare, as files of the host."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from minbuild.facts.config_files import (
    DeclaredDirectory,
    DeclaredGroup,
    DeclaredUser,
    parse_sysusers,
    parse_tmpfiles,
)
from minbuild.facts.model import PackageFiles, TextLines
from minbuild.formats.root_entry import FileType
from minbuild.manifest.files import create_applet_links
from minbuild.manifest.model import (
    Component,
    LocatedName,
    Location,
    Manifest,
    RenderedFile,
    Section,
)
from minbuild.paths import RootPath, to_root_path
from minbuild.resolve.builtin_tables import RUNTIME_DIRECTORIES
from minbuild.resolve.model import Closure

DECLARED_COMPONENT = "services/declared"
SYSUSERS, TMPFILES = "/usr/lib/sysusers.d/", "/usr/lib/tmpfiles.d/"
PASSWD, GROUP = RootPath("/etc/passwd"), RootPath("/etc/group")
INIT, BOOT_DIRECTORIES = (
    RootPath("/usr/lib/minbuild/init"),
    RootPath("/usr/lib/minbuild/directories"),
)
HIGHEST_ID, LOWEST_ID = 999, 100
"""Numbers for users that ask for none, from the highest down. Source: sysusers.d(5); Policy 9.2."""
STATIC_GIDS = {
    "root": 0, "daemon": 1, "bin": 2, "sys": 3, "adm": 4, "tty": 5, "disk": 6, "lp": 7, "mail": 8,
    "news": 9, "uucp": 10, "man": 12, "proxy": 13, "kmem": 15, "dialout": 20, "fax": 21,
    "voice": 22, "cdrom": 24, "floppy": 25, "tape": 26, "sudo": 27, "audio": 29, "dip": 30,
    "www-data": 33, "backup": 34, "operator": 37, "list": 38, "irc": 39, "src": 40, "shadow": 42,
    "utmp": 43, "video": 44, "sasl": 45, "plugdev": 46, "staff": 50, "games": 60, "users": 100,
    "nogroup": 65534,
}  # fmt: skip
"""Debian's groups whose numbers never change. Source: base-passwd's group.master."""
_ROOT_ROWS = {PASSWD: "root:*:0:0:root:/root:/bin/sh\n", GROUP: "root:*:0:\n"}


def with_declared_accounts(
    manifest: Manifest, closure: Closure, files: Sequence[PackageFiles]
) -> Manifest:
    """The manifest with a component of what its packages declare; itself when they declare nothing.

    A package counts when a program of it is chosen.
    Raises: ArchiveError for a file that is no sysusers.d or tmpfiles.d.
    """
    users, directories = _find_declarations(closure, files)
    if not users and not directories:
        return manifest
    existing_files = {file.path: file for account in manifest.components for file in account.files}
    tables = _AccountTables(existing_files)
    for _, account in users:
        tables.add(account)
    directory_files = list(_render_directories(directories, tables, existing_files))
    new_files = [*tables.render_files((*users, *directories)[0][0]), *directory_files]
    replaced = {file.path for file in new_files}
    components = tuple(
        replace(account, files=tuple(file for file in account.files if file.path not in replaced))
        for account in manifest.components
    )
    about = "users, groups and directories that packages declare"
    if not new_files:
        return manifest
    links = tuple(
        LocatedName(file.path.rpartition("/")[2], file.where) for file in new_files if file.link
    )
    component = Component(
        DECLARED_COMPONENT,
        Section.SERVICES,
        about,
        new_files[0].where,
        files=tuple(new_files),
        applets=links,
    )
    return replace(manifest, components=(*components, component))


def _find_declarations(
    closure: Closure, files: Sequence[PackageFiles]
) -> tuple[
    list[tuple[Location, DeclaredUser | DeclaredGroup]], list[tuple[Location, DeclaredDirectory]]
]:
    started_packages = {
        selected.package
        for path, selected in closure.files.items()
        if selected.entry.kind is FileType.FILE
        and selected.entry.mode & 0o111
        and ".so" not in path
    }
    users: list[tuple[Location, DeclaredUser | DeclaredGroup]] = []
    directories: list[tuple[Location, DeclaredDirectory]] = []
    for package_files in sorted(files, key=lambda package_files: package_files.owner):
        if not package_files.owner or package_files.owner not in started_packages:
            continue
        for path in package_files.entries:
            if path.startswith((SYSUSERS, TMPFILES)) and path.endswith(".conf"):
                lines, where = _read_lines(package_files, path), f"{package_files.owner}: {path}"
                if path.startswith(SYSUSERS):
                    users += (
                        (Location(path, row.line, 1), row) for row in parse_sysusers(lines, where)
                    )
                else:
                    directories += (
                        (Location(path, row.line, 1), row) for row in parse_tmpfiles(lines, where)
                    )
    return users, directories


def _read_lines(files: PackageFiles, path: RootPath) -> tuple[str, ...]:
    facts = files.facts(path)
    return facts.lines if isinstance(facts, TextLines) else ()


@dataclass(slots=True)
class _AccountTables:
    """The two tables of names as they grow; names that are there stay as they are."""

    existing_files: dict[RootPath, RenderedFile]
    rows: dict[RootPath, list[list[str]]] = field(default_factory=dict)
    initial_texts: dict[RootPath, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in (PASSWD, GROUP):
            file = self.existing_files.get(path)
            text = file.content.decode("utf-8", "replace") if file else _ROOT_ROWS[path]
            self.rows[path] = [line.split(":") for line in text.splitlines() if line]
            self.initial_texts[path] = "".join(":".join(row) + "\n" for row in self.rows[path])

    def add(self, account: DeclaredUser | DeclaredGroup) -> None:
        if isinstance(account, DeclaredUser):
            self._add_user(account)
        else:
            self._add_group(account.name, account.gid)
            if account.member:
                self._add_member(account.name, account.member)

    def resolve_id(self, path: RootPath, name: str) -> int:
        """The number of a user or group by its name; a number stands for itself."""
        if name.isdecimal():
            return int(name)
        if path == GROUP:
            self._add_group(name, None)
        return next((int(row[2]) for row in self.rows[path] if row[0] == name), 0)

    def render_files(self, location: Location) -> Iterator[RenderedFile]:
        """Both tables, when anything was added."""
        texts = {
            path: "".join(":".join(row) + "\n" for row in rows) for path, rows in self.rows.items()
        }
        if texts == self.initial_texts:
            return
        for path, text in texts.items():
            file = self.existing_files.get(path)
            yield RenderedFile(path, location, text.encode(), file.mode if file else 0o644)

    def _add_user(self, user: DeclaredUser) -> None:
        if any(row[0] == user.name for row in self.rows[PASSWD]):
            return
        uid = self._allocate_id(user.uid, user.name)
        gid = self.resolve_id(GROUP, user.group) if user.group else self._add_group(user.name, uid)
        row = [user.name, "*", str(uid), str(gid), user.gecos, user.home, user.shell]
        self.rows[PASSWD].append(row)

    def _add_group(self, name: str, gid: int | None) -> int:
        for row in self.rows[GROUP]:
            if row[0] == name:
                return int(row[2])
        number = self._allocate_id(STATIC_GIDS.get(name, gid), name)
        self.rows[GROUP].append([name, "*", str(number), ""])
        return number

    def _add_member(self, group: str, member: str) -> None:
        row = next(row for row in self.rows[GROUP] if row[0] == group)
        members = [name for name in row[3].split(",") if name]
        row[3] = ",".join(dict.fromkeys([*members, member]))

    def _allocate_id(self, requested_id: int | None, name: str) -> int:
        """The number that is asked for, or one that no user and no other group has."""
        if requested_id is not None:
            return requested_id
        group_id = next((int(row[2]) for row in self.rows[GROUP] if row[0] == name), None)
        taken_ids = {int(row[2]) for path in (PASSWD, GROUP) for row in self.rows[path]}
        taken_ids |= set(STATIC_GIDS.values())
        free_ids = (
            number for number in range(HIGHEST_ID, LOWEST_ID - 1, -1) if number not in taken_ids
        )
        return group_id if group_id is not None else next(free_ids, HIGHEST_ID + 1)


def _render_directories(
    directories: Sequence[tuple[Location, DeclaredDirectory]],
    tables: _AccountTables,
    existing_files: dict[RootPath, RenderedFile],
) -> Iterator[RenderedFile]:
    """Directories of the tree, and for those of /run a list that init makes them by."""
    runtime_directories: list[tuple[RootPath, DeclaredDirectory]] = []
    seen: set[RootPath] = set()
    for location, directory in directories:
        path = to_root_path(directory.path)
        if path in seen or path in existing_files:
            continue
        seen.add(path)
        if path.startswith(tuple(f"{top}/" for top in RUNTIME_DIRECTORIES)):
            runtime_directories.append((path, directory))
            continue
        uid, gid = (
            tables.resolve_id(PASSWD, directory.user),
            tables.resolve_id(GROUP, directory.group),
        )
        yield RenderedFile(path, location, mode=directory.mode, uid=uid, gid=gid, directory=True)
    if runtime_directories and INIT in existing_files:
        location = directories[0][0]
        text = "# directories of /run, made when it is mounted\n" + "".join(
            _render_boot_command(path, directory, tables) for path, directory in runtime_directories
        )
        yield RenderedFile(BOOT_DIRECTORIES, location, text.encode(), 0o644)
        for link in create_applet_links(
            LocatedName(applet, location) for applet in ("mkdir", "chmod", "chown")
        ):
            if link.path not in existing_files:
                yield link


def _render_boot_command(
    path: RootPath, directory: DeclaredDirectory, tables: _AccountTables
) -> str:
    owner = (
        f"{tables.resolve_id(PASSWD, directory.user)}:{tables.resolve_id(GROUP, directory.group)}"
    )
    return f"mkdir -p {path} && chmod {directory.mode:o} {path} && chown {owner} {path}\n"
