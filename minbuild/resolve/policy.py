"""Policy of a resolve: what a manifest leaves out, allows to be missing (waivers, and which of them
are used) and adds by rules."""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from minbuild.manifest.model import DlopenPolicy, Manifest, Waiver
from minbuild.manifest.rule_files import NO_RULES, RuleSet, load_rules
from minbuild.paths import to_root_path
from minbuild.resolve import path_glob
from minbuild.resolve.model import UnmetNeed


@dataclass(frozen=True, slots=True)
class ResolvePolicy:
    """What changes the answer to the same roots over the same packages.

    The empty policy takes every need, allows nothing to be missing and knows no data rules.
    """

    drop: tuple[Waiver, ...] = ()
    """Files that are left out although something needs them: `drop: [{path: /usr/bin/perl, …}]`."""
    allow_missing: tuple[Waiver, ...] = ()
    """Needs that may stay unmet: a path, soname, module or firmware name, or a glob of one."""
    dlopen: tuple[DlopenPolicy, ...] = ()
    """The lowest priority of `.note.dlopen` that is followed, by path; the last match counts."""
    rules: RuleSet = NO_RULES
    """Data rules of `rules/TOPIC.yaml`."""
    firmware: bool = True
    """False: firmware that modules name is left out."""


DEFAULT_POLICY = ResolvePolicy()


def make_policy(manifest: Manifest) -> ResolvePolicy:
    """Read the policy of a manifest and its rule files."""
    return ResolvePolicy(
        manifest.drop,
        manifest.allow_missing,
        manifest.dlopen,
        load_rules(manifest.rules),
        manifest.kernel.firmware,
    )


_PROOF_PREFIXES = ("symbol ", "version ")
"""How names of needs begin that only the closed-world check of a tree finds."""


class Waivers:
    """`drop` and `allow-missing` of a manifest; remembers which were used."""

    def __init__(self, drop: Sequence[Waiver] = (), allow_missing: Sequence[Waiver] = ()) -> None:
        self._drop = tuple((waiver, str(to_root_path(waiver.path))) for waiver in drop)
        self._allow = tuple(allow_missing)
        self._used: set[Waiver] = set()

    def drops(self, path: str) -> bool:
        """Tell whether a file is left out."""
        matches = [waiver for waiver, glob in self._drop if path_glob.matches(glob, path)]
        self._used.update(matches)
        return bool(matches)

    def allows(self, unmet: UnmetNeed) -> bool:
        """Tell whether a need may stay unmet: allowed by name, or the file was left out."""
        matches = [waiver for waiver in self._allow if _covers(waiver.path, unmet.wanted)]
        paths = [unmet.wanted, *(posixpath.join(at, unmet.wanted) for at in unmet.looked)]
        matches += [
            waiver
            for waiver, glob in self._drop
            if any(path_glob.matches(glob, str(to_root_path(place))) for place in paths)
        ]
        self._used.update(matches)
        return bool(matches)

    @property
    def used_paths(self) -> tuple[str, ...]:
        """As written, sorted."""
        return tuple(sorted({waiver.path for waiver in self._used}))

    @property
    def unused_waivers(self) -> tuple[Waiver, ...]:
        """Those that nothing needed, in the manifest's order; but for those of the proof."""
        all_waivers = (*(waiver for waiver, _ in self._drop), *self._allow)
        return tuple(
            waiver
            for waiver in all_waivers
            if waiver not in self._used and not waiver.path.startswith(_PROOF_PREFIXES)
        )

    @property
    def unused_by_check(self) -> tuple[Waiver, ...]:
        """Those of symbols and versions that a closed-world check did not need."""
        return tuple(
            waiver
            for waiver in self._allow
            if waiver not in self._used and waiver.path.startswith(_PROOF_PREFIXES)
        )


def _covers(waiver_path: str, name: str) -> bool:
    if name.startswith("/"):
        return path_glob.matches(str(to_root_path(waiver_path)), str(to_root_path(name)))
    return path_glob.matches(waiver_path, name)
