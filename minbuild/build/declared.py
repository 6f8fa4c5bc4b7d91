"""Users, groups and directories that chosen packages declare, as files of the host."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from minbuild.facts.sysusers import Group, Place, User, accounts, places
from minbuild.facts.types import Files, Kind, Text
from minbuild.manifest.files import applet_links
from minbuild.manifest.types import Component, Manifest, Name, RenderedFile, Section, Where
from minbuild.paths import RootPath, rootpath
from minbuild.resolve.knowledge import RUNTIME
from minbuild.resolve.types import Closure

COMPONENT = "services/declared"
SYSUSERS, TMPFILES = "/usr/lib/sysusers.d/", "/usr/lib/tmpfiles.d/"
PASSWD, GROUP = RootPath("/etc/passwd"), RootPath("/etc/group")
INIT, AT_BOOT = RootPath("/usr/lib/minbuild/init"), RootPath("/usr/lib/minbuild/directories")
HIGHEST, LOWEST = 999, 100
"""Numbers for users that ask for none, from the highest down. Source: sysusers.d(5); Policy 9.2."""
STATIC = {
    "root": 0, "daemon": 1, "bin": 2, "sys": 3, "adm": 4, "tty": 5, "disk": 6, "lp": 7, "mail": 8,
    "news": 9, "uucp": 10, "man": 12, "proxy": 13, "kmem": 15, "dialout": 20, "fax": 21,
    "voice": 22, "cdrom": 24, "floppy": 25, "tape": 26, "sudo": 27, "audio": 29, "dip": 30,
    "www-data": 33, "backup": 34, "operator": 37, "list": 38, "irc": 39, "src": 40, "shadow": 42,
    "utmp": 43, "video": 44, "sasl": 45, "plugdev": 46, "staff": 50, "games": 60, "users": 100,
    "nogroup": 65534,
}  # fmt: skip
"""Debian's groups whose numbers never change. Source: base-passwd's group.master."""
_ROOT = {PASSWD: "root:*:0:0:root:/root:/bin/sh\n", GROUP: "root:*:0:\n"}


def with_declared(manifest: Manifest, closure: Closure, files: Sequence[Files]) -> Manifest:
    """The manifest with a component of what its packages declare; itself when they declare nothing.

    A package counts when a program of it is chosen.
    Raises: ArchiveError for a file that is no sysusers.d or tmpfiles.d.
    """
    users, directories = _declarations(closure, files)
    if not users and not directories:
        return manifest
    given = {file.path: file for one in manifest.components for file in one.files}
    book = _Book(given)
    for _, one in users:
        book.add(one)
    own_places = list(_places(directories, book, given))
    made = [*book.files((*users, *directories)[0][0]), *own_places]
    replaced = {file.path for file in made}
    before = tuple(
        replace(one, files=tuple(file for file in one.files if file.path not in replaced))
        for one in manifest.components
    )
    about = "users, groups and directories that packages declare"
    if not made:
        return manifest
    links = tuple(Name(file.path.rpartition("/")[2], file.where) for file in made if file.link)
    own = Component(
        COMPONENT, Section.SERVICES, about, made[0].where, files=tuple(made), applets=links
    )
    return replace(manifest, components=(*before, own))


def _declarations(
    closure: Closure, files: Sequence[Files]
) -> tuple[list[tuple[Where, User | Group]], list[tuple[Where, Place]]]:
    started = {
        chosen.package
        for path, chosen in closure.chosen.items()
        if chosen.entry.kind is Kind.FILE and chosen.entry.mode & 0o111 and ".so" not in path
    }
    users: list[tuple[Where, User | Group]] = []
    directories: list[tuple[Where, Place]] = []
    for one in sorted(files, key=lambda one: one.owner):
        if not one.owner or one.owner not in started:
            continue
        for path in one.entries:
            if path.startswith((SYSUSERS, TMPFILES)) and path.endswith(".conf"):
                lines, where = _lines(one, path), f"{one.owner}: {path}"
                if path.startswith(SYSUSERS):
                    users += ((Where(path, row.line, 1), row) for row in accounts(lines, where))
                else:
                    directories += ((Where(path, row.line, 1), row) for row in places(lines, where))
    return users, directories


def _lines(files: Files, path: RootPath) -> tuple[str, ...]:
    facts = files.facts(path)
    return facts.lines if isinstance(facts, Text) else ()


@dataclass(slots=True)
class _Book:
    """The two tables of names as they grow; names that are there stay as they are."""

    given: dict[RootPath, RenderedFile]
    rows: dict[RootPath, list[list[str]]] = field(default_factory=dict)
    before: dict[RootPath, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in (PASSWD, GROUP):
            file = self.given.get(path)
            text = file.content.decode("utf-8", "replace") if file else _ROOT[path]
            self.rows[path] = [line.split(":") for line in text.splitlines() if line]
            self.before[path] = "".join(":".join(row) + "\n" for row in self.rows[path])

    def add(self, one: User | Group) -> None:
        if isinstance(one, User):
            self._user(one)
        else:
            self._group(one.name, one.gid)
            if one.member:
                self._join(one.name, one.member)

    def number(self, path: RootPath, name: str) -> int:
        """The number of a user or group by its name; a number stands for itself."""
        if name.isdecimal():
            return int(name)
        if path == GROUP:
            self._group(name, None)
        return next((int(row[2]) for row in self.rows[path] if row[0] == name), 0)

    def files(self, where: Where) -> Iterator[RenderedFile]:
        """Both tables, when anything was added."""
        texts = {
            path: "".join(":".join(row) + "\n" for row in rows) for path, rows in self.rows.items()
        }
        if texts == self.before:
            return
        for path, text in texts.items():
            file = self.given.get(path)
            yield RenderedFile(path, where, text.encode(), file.mode if file else 0o644)

    def _user(self, user: User) -> None:
        if any(row[0] == user.name for row in self.rows[PASSWD]):
            return
        uid = self._free(user.uid, user.name)
        gid = self.number(GROUP, user.group) if user.group else self._group(user.name, uid)
        row = [user.name, "*", str(uid), str(gid), user.gecos, user.home, user.shell]
        self.rows[PASSWD].append(row)

    def _group(self, name: str, gid: int | None) -> int:
        for row in self.rows[GROUP]:
            if row[0] == name:
                return int(row[2])
        number = self._free(STATIC.get(name, gid), name)
        self.rows[GROUP].append([name, "*", str(number), ""])
        return number

    def _join(self, group: str, member: str) -> None:
        row = next(row for row in self.rows[GROUP] if row[0] == group)
        members = [name for name in row[3].split(",") if name]
        row[3] = ",".join(dict.fromkeys([*members, member]))

    def _free(self, wanted: int | None, name: str) -> int:
        """The number that is asked for, or one that no user and no other group has."""
        if wanted is not None:
            return wanted
        own = next((int(row[2]) for row in self.rows[GROUP] if row[0] == name), None)
        taken = {int(row[2]) for path in (PASSWD, GROUP) for row in self.rows[path]}
        taken |= set(STATIC.values())
        free = (number for number in range(HIGHEST, LOWEST - 1, -1) if number not in taken)
        return own if own is not None else next(free, HIGHEST + 1)


def _places(
    directories: Sequence[tuple[Where, Place]], book: _Book, given: dict[RootPath, RenderedFile]
) -> Iterator[RenderedFile]:
    """Directories of the tree, and for those of /run a list that init makes them by."""
    late: list[tuple[RootPath, Place]] = []
    seen: set[RootPath] = set()
    for where, one in directories:
        path = rootpath(one.path)
        if path in seen or path in given:
            continue
        seen.add(path)
        if path.startswith(tuple(f"{top}/" for top in RUNTIME)):
            late.append((path, one))
            continue
        uid, gid = book.number(PASSWD, one.user), book.number(GROUP, one.group)
        yield RenderedFile(path, where, mode=one.mode, uid=uid, gid=gid, directory=True)
    if late and INIT in given:
        where = directories[0][0]
        text = "# directories of /run, made when it is mounted\n" + "".join(
            _made_at_boot(path, one, book) for path, one in late
        )
        yield RenderedFile(AT_BOOT, where, text.encode(), 0o644)
        for link in applet_links(Name(applet, where) for applet in ("mkdir", "chmod", "chown")):
            if link.path not in given:
                yield link


def _made_at_boot(path: RootPath, one: Place, book: _Book) -> str:
    owner = f"{book.number(PASSWD, one.user)}:{book.number(GROUP, one.group)}"
    return f"mkdir -p {path} && chmod {one.mode:o} {path} && chown {owner} {path}\n"
