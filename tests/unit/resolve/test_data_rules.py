"""What rules bring in: by path, by line, by library and by wish."""

from dataclasses import replace

import pytest

from minbuild.facts.model import PackageFiles, TextLines
from minbuild.manifest.model import Location, Priority
from minbuild.manifest.rule_files import Rule, RuleSet
from minbuild.resolve.closed_world import check_closed_world
from minbuild.resolve.error_messages import make_unresolved_error
from minbuild.resolve.model import Closure, NeedKind, Root
from minbuild.resolve.policy import ResolvePolicy
from minbuild.resolve.resolution import resolve
from tests.support.trees import as_package_files, find_needless
from tests.unit.resolve.builders import (
    LIB,
    edge,
    lack,
    libc,
    library,
    missing,
    package,
    program,
    regular,
    root,
    waiver,
)

HERE = Location("components/rules/app.yaml", 4, 5)
LINES = Rule(
    HERE,
    ("/usr/lib/{triplet}/app/{plugin}.so", "/usr/lib/app/{plugin}.so"),
    file="/etc/app.conf",
    line=r"^\s*load\s+(?P<plugin>\S+)",
    package="app-{plugin}",
    topic="app",
)
WISH = Rule(HERE, ("/usr/share/zones/{value}",), value=".+", package="zones", topic="zone")


def with_rules(*rules: Rule, files: tuple[PackageFiles, ...], roots: tuple[Root, ...]) -> Closure:
    topics = tuple(sorted({rule.topic for rule in rules}))
    return resolve(
        roots, files, arch="amd64", policy=ResolvePolicy(rules=RuleSet(rules, (), topics))
    )


def configured(*lines: str, **more: str) -> PackageFiles:
    return package("app", {"/etc/app.conf": TextLines(lines), **dict.fromkeys(more.values())})


CONF = (root("/etc/app.conf"),)


def test_a_line_of_a_file_names_what_is_needed() -> None:
    files = configured("# plug-ins", "load  one", a="/usr/lib/app/one.so")
    closure = with_rules(LINES, files=(files,), roots=CONF)
    assert not closure.unmet_needs
    found = edge(closure, "/usr/lib/app/one.so", "/etc/app.conf")
    assert found.kind is NeedKind.DATA
    assert found.evidence == 'line 2 "load one"; components/rules/app.yaml:4:5'


def test_the_first_path_that_is_there_is_taken() -> None:
    both = {"a": f"{LIB}/app/one.so", "b": "/usr/lib/app/one.so"}
    closure = with_rules(LINES, files=(configured("load one", **both),), roots=CONF)
    assert f"{LIB}/app/one.so" in closure.files
    assert "/usr/lib/app/one.so" not in closure.files


def test_what_is_not_there_is_missing_with_its_package_line_and_rule() -> None:
    found = lack(with_rules(LINES, files=(configured("load two"),), roots=CONF))
    assert (found.wanted, found.package) == (f"{LIB}/app/two.so", "app-two")
    assert found.chain == ("boot/app", "/etc/app.conf")
    assert 'line 1 "load two"' in found.evidence


def test_each_match_of_a_line_is_a_need_and_what_gives_no_name_is_passed_over() -> None:
    rule = replace(LINES, line="^hosts:(?P<rest>.*)", each=r"\[[^]]*\]|(?P<plugin>\w+)")
    paths = {"a": "/usr/lib/app/one.so", "b": "/usr/lib/app/two.so"}
    files = configured("hosts: one [x=y] two", "users: three", **paths)
    closure = with_rules(rule, files=(files,), roots=CONF)
    assert regular(closure) == ["/etc/app.conf", *paths.values()]


def test_a_name_from_a_file_is_no_glob() -> None:
    files = configured("load *", a="/usr/lib/app/one.so")
    assert missing(with_rules(LINES, files=(files,), roots=CONF)) == [f"data {LIB}/app/[*].so"]


def test_a_need_can_be_waived_and_dropped() -> None:
    files = configured("load one", a="/usr/lib/app/one.so")
    book = RuleSet((LINES,))
    policy = ResolvePolicy(drop=(waiver("/usr/lib/app/*"),), rules=book)
    closure = resolve(CONF, (files,), arch="amd64", policy=policy)
    assert (regular(closure), closure.unused_waivers) == (["/etc/app.conf"], ())
    allowed = (waiver("/usr/lib/*/app/two.so"),)
    policy = ResolvePolicy(allow_missing=allowed, rules=book)
    none = resolve(CONF, (configured("load two"),), arch="amd64", policy=policy)
    assert (none.unmet_needs, none.unused_waivers) == ((), ())


def test_a_program_linked_with_a_library_sets_a_rule_off() -> None:
    rule = Rule(HERE, ("/etc/pam.d/{name}",), file="/usr/*bin/*", linked="libpam.so.0")
    app = package(
        "app",
        {
            "/usr/bin/app": program("libpam.so.0"),
            "/etc/pam.d/app": None,
            f"{LIB}/libpam.so.0": library("libpam.so.0"),
            f"{LIB}/mod.so": library("mod.so", "libpam.so.0"),
        },
    )
    closure = with_rules(rule, files=(app, libc()), roots=(root("/usr/bin/app"),))
    assert edge(closure, "/etc/pam.d/app", "/usr/bin/app").evidence.startswith("DT_NEEDED libpam")
    plugin = with_rules(rule, files=(app, libc()), roots=(root(f"{LIB}/mod.so"),))
    assert not plugin.unmet_needs
    assert "/etc/pam.d/app" not in plugin.files


def test_what_is_not_required_is_listed_and_not_taken() -> None:
    rule = replace(LINES, priority=Priority.RECOMMENDED, because="faster")
    files = configured("load one", a="/usr/lib/app/one.so")
    closure = with_rules(rule, files=(files,), roots=CONF)
    assert regular(closure) == ["/etc/app.conf"]
    (found,) = closure.optional_files
    assert (found.by, found.wanted) == ("/etc/app.conf", f"{LIB}/app/one.so")
    assert (found.priority, found.because) == ("recommended", "faster")


def test_own_files_are_those_of_the_same_package() -> None:
    rule = Rule(HERE, ("/usr/share/app/*",), file="/usr/bin/app", own=True)
    mine = package("app", {"/usr/bin/app": None, "/usr/share/app/a": None})
    other = package("other", {"/usr/share/app/b": None})
    closure = with_rules(rule, files=(mine, other), roots=(root("/usr/bin/app"),))
    assert regular(closure) == ["/usr/bin/app", "/usr/share/app/a"]


def asked(text: str) -> Root:
    return Root(NeedKind.DATA, text, "services/app", "host.yaml:7:9")


def test_a_manifest_asks_for_data_by_name() -> None:
    zones = package("zones", {"/usr/share/zones/Europe/Berlin": None})
    closure = with_rules(WISH, files=(zones,), roots=(asked("zone/Europe/Berlin"),))
    found = edge(closure, "/usr/share/zones/Europe/Berlin", "services/app")
    assert found.evidence == "host.yaml:7:9; components/rules/app.yaml:4:5"


@pytest.mark.parametrize(
    ("wish", "says", "fix"),
    [
        ("zone/Europe/Berln", "does not contain /usr/share/zones/Europe/Berln", "Europe/Berlin"),
        ("zon/UTC", "there are no rules of zon", "did you mean zone?"),
    ],
)
def test_a_wish_that_nothing_meets_is_an_error(wish: str, says: str, fix: str) -> None:
    zones = package("zones", {"/usr/share/zones/Europe/Berlin": None})
    closure = with_rules(WISH, files=(zones,), roots=(asked(wish),))
    problem = make_unresolved_error(closure, (zones,))
    assert says in problem.what
    assert problem.where.startswith("host.yaml:7:9")
    assert fix in problem.fix


def test_a_value_that_no_rule_of_its_topic_knows_is_an_error() -> None:
    rule = replace(WISH, value="UTC")
    problem = make_unresolved_error(with_rules(rule, files=(), roots=(asked("zone/CET"),)))
    assert problem.what == "no rule of zone matches CET"


def test_the_closed_world_check_follows_rules_too() -> None:
    files = (configured("load one", a="/usr/lib/app/one.so"),)
    policy = ResolvePolicy(rules=RuleSet((LINES,)))
    closure = resolve(CONF, files, arch="amd64", policy=policy)
    whole = as_package_files(closure, files)
    assert check_closed_world(whole, arch="amd64", policy=policy) == ()
    left = {path: entry for path, entry in whole.entries.items() if "one.so" not in path}
    (found,) = check_closed_world(replace(whole, entries=left), arch="amd64", policy=policy)
    assert found.wanted == f"{LIB}/app/one.so"
    assert list(find_needless(closure, files, arch="amd64")) == []
