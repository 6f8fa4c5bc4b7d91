"""Policy of a resolve: what a manifest leaves out, allows to be missing and adds by rules."""

from dataclasses import dataclass

from minbuild.manifest.model import DlopenPolicy, Manifest, Waiver
from minbuild.manifest.rule_files import NO_RULES, RuleSet, load_rules


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


DEFAULT_POLICY = ResolvePolicy()


def make_policy(manifest: Manifest) -> ResolvePolicy:
    """Read the policy of a manifest and its rule files."""
    return ResolvePolicy(
        manifest.drop, manifest.allow_missing, manifest.dlopen, load_rules(manifest.rules)
    )
