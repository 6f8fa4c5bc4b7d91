"""Templates and variables."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment

from minbuild.manifest import templates
from minbuild.manifest.model import VariableValue
from minbuild.manifest.text_use import InvalidTemplate
from tests.unit.manifest.conftest import Desk

_VALUES: dict[str, VariableValue] = {"text": "a b", "number": 5, "flag": True, "many": ("x", "y")}


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("no marks }} here\n", "no marks }} here\n"),
        ("{{ text }}-{{number}}\n\n", "a b-5\n\n"),
        ("{{ flag }}", "True"),
        ("{% for one in many %}{{ one }};{% endfor %}", "x;y;"),
        ("{{ text | upper }}", "A B"),
        ("{{ absent | default('-') }}{% if absent is defined %}x{% endif %}", "-"),
        ("{# a comment #}x", "x"),
        ("{{{ text }}}", None),
        ("{{ 'a' * 3 }}{{ 2 * number }}", "aaa10"),
        ("${HOME} {x}", "${HOME} {x}"),
    ],
)
def test_texts_are_rendered(text: str, rendered: str | None) -> None:
    if rendered is None:
        with pytest.raises(InvalidTemplate):
            templates.render_template(text, _VALUES)
    else:
        assert templates.render_template(text, _VALUES) == rendered


@given(
    st.lists(
        st.sampled_from(
            ["{{ text }}", "{{number}}", "{{  flag }}", "}}", "{", " ", "\n", "é", "%}", "#"]
        )
    )
)
def test_the_short_way_renders_as_jinja2_does(pieces: list[str]) -> None:
    text = "".join(pieces)
    try:
        rendered = templates.render_template(text, _VALUES)
    except InvalidTemplate:
        return
    assert rendered == Environment(keep_trailing_newline=True).from_string(text).render(_VALUES)


@given(st.text(alphabet="{}%#'\"ab.|()[]0 \n*-"))
def test_any_text_is_rendered_or_faulty(text: str) -> None:
    for way in (
        lambda: templates.render_template(text, _VALUES),
        lambda: templates.find_variables(text),
    ):
        with contextlib.suppress(InvalidTemplate):
            way()


@pytest.mark.parametrize(
    "text",
    [
        "{{ 9 ** 9 }}",
        "{{ 'a' * 100000000 }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ many.append('z') }}",
        "{% include '/etc/passwd' %}",
        "{{ 1 / 0 }}",
        "{{ text + 1 }}",
        "{{ text | nofilter }}",
        "{{ lipsum() }}",
        "{{ many | random }}",
        "{{ range(10000000) | list }}",
        "{{ text.nothing }}",
    ],
)
def test_what_is_no_business_of_a_template_is_faulty(text: str) -> None:
    with pytest.raises(InvalidTemplate):
        templates.render_template(text, _VALUES)


def test_every_undefined_variable_of_a_template_is_told_at_its_place(desk: Desk) -> None:
    desk.component("network/a", "vars: {hostname: x}\nfiles: {/x: {template: x.j2}}\n")
    desk.write(
        {"components/network/x.j2": "{{ name }}\n  {{ hostnme }}\n\n{% if other %}{% endif %}\n"}
    )
    assert desk.problems("network: {use: [a]}\n") == [
        ("components/network/x.j2:2:6", "the variable 'hostnme' is not defined", "did you mean hostname?"),
        ("components/network/x.j2:4:7", "the variable 'other' is not defined", "define it under vars:"),
    ]  # fmt: skip


def test_an_undefined_variable_in_a_text_is_told_at_the_text(desk: Desk) -> None:
    assert desk.problems("vars: {region: x}\nsummary: in {{ regoin }}\n") == [
        ("host.yaml:4:10 (summary)", "the variable 'regoin' is not defined", "did you mean region?")
    ]


def test_a_fault_in_a_block_is_told_at_its_line(desk: Desk) -> None:
    text = "files:\n  /x:\n    content: |\n      one\n      {{ tow }}\n"
    ((where, what, _),) = desk.problems(text)
    assert (where, what) == (
        "host.yaml:7:1 (files[/x].content)",
        "the variable 'tow' is not defined",
    )


def test_a_fault_while_rendering_is_told_at_its_line(desk: Desk) -> None:
    desk.write({"x.j2": "a\nb\n{{ name / 2 }}\n", "y.j2": "a\n{% if %}\n"})
    problems = desk.problems("files: {/x: {template: x.j2}, /y: {template: y.j2}}\n")
    assert [(where, what) for where, what, _ in problems] == [
        ("x.j2:3:1", "cannot render the template: unsupported operand type(s) for /: 'str' and 'int'"),
        ("y.j2:2:1", "not a template: Expected an expression, got 'end of statement block'"),
    ]  # fmt: skip


def test_a_component_s_default_gives_way_to_the_manifest_and_that_to_a_setting(desk: Desk) -> None:
    desk.component("network/a", "vars: {x: default, y: default, z: default}\n")
    text = "network: {use: [a]}\nvars: {y: manifest, z: manifest}\n"
    variables = desk.load(text, z="setting").variables
    assert [variables[name] for name in "xyz"] == ["default", "manifest", "setting"]


def test_variables_use_other_variables(desk: Desk) -> None:
    desk.component("network/a", "vars: {url: 'http://{{ host }}/', list: ['{{ host }}', b]}\n")
    text = "network: {use: [a]}\nvars: {host: '{{ name }}.{{ domain }}', domain: lan}\n"
    variables = desk.load(text, domain="{{ arch }}.lan").variables
    assert variables["url"] == "http://host.amd64.lan/"
    assert variables["list"] == ("host.amd64.lan", "b")


def test_variables_in_a_circle_are_refused(desk: Desk) -> None:
    assert desk.problems("vars:\n  a: '{{ b }}'\n  b: '{{ c|upper }}'\n  c: '{{ a }}'\n") == [
        (
            "host.yaml:4:3 (vars.a)",
            "variables use each other in a circle: a → b → c → a",
            "give one of them a value of its own",
        )
    ]


@pytest.mark.parametrize(
    ("declared", "given", "value"),
    [
        ("text", "42", "42"), ("text", "", ""), ("text", "'a: b'", "a: b"), ("text", "0755", "0755"),
        ("text", "ü", "ü"), ("5", "7", 7), ("true", "false", False), ("[a]", "[b, c]", ("b", "c")),
        ("[a]", "[]", ()),
    ],
)  # fmt: skip
def test_a_setting_has_the_kind_of_what_it_sets(
    desk: Desk, declared: str, given: str, value: object
) -> None:
    text = f"vars: {{v: {declared}}}\nsummary: '{{{{ v }}}}'\n"
    assert desk.load(text, v=given).variables["v"] == value


@pytest.mark.parametrize(
    ("declared", "given", "what", "fix"),
    [
        ("text", "a: b", "v is text, but 'a: b' is not", "write it like --set 'v=\"a: b\"'"),
        ("text", "'open", 'v is text, but "\'open" is not', "write it like --set 'v=\"'open\"'"),
        ("5", "five", "v is a whole number, but 'five' is not", "write it like --set 'v=5'"),
        ("true", "1", "v is true or false, but '1' is not", "write it like --set 'v=true'"),
        ("[a]", "b", "v is a list of texts, but 'b' is not", "write it like --set 'v=[a, b]'"),
        ("text", "\udcff", "v is text, but '\\udcff' is not", "write it like --set 'v=\"\udcff\"'"),
    ],
)
def test_a_setting_of_another_kind_is_refused(
    desk: Desk, declared: str, given: str, what: str, fix: str
) -> None:
    assert desk.problems(f"vars: {{v: {declared}}}\n", v=given) == [(f"--set v={given}", what, fix)]


def test_a_setting_of_no_variable_is_refused_with_the_nearest_name(desk: Desk) -> None:
    desk.component("network/a", "vars: {hostname: x}\n")
    assert desk.problems("network: {use: [a]}\n", hostnme="y", arch="arm64") == [
        ("--set arch=arm64", "'arch' cannot be set", "write arch: in the manifest"),
        ("--set hostnme=y", "no variable is named 'hostnme'", "did you mean hostname?"),
    ]


def test_two_defaults_of_one_variable_are_refused(desk: Desk) -> None:
    desk.component("network/a", "vars: {x: one, same: 1}\n")
    desk.component("network/b", "vars: {x: two, same: 1}\n")
    assert desk.problems("network: {use: [a, b]}\n") == [
        (
            "components/network/b.yaml:2:8 (vars.x)",
            "the variable 'x' has another default at components/network/a.yaml:2:8 (vars.x)",
            "rename it, or set x under the manifest's vars:",
        )
    ]
    assert desk.load("network: {use: [a, b]}\nvars: {x: mine}\n").variables["x"] == "mine"


def test_a_variable_keeps_the_kind_of_its_default(desk: Desk) -> None:
    desk.component("network/a", "vars: {x: [a]}\n")
    ((where, what, _),) = desk.problems("network: {use: [a]}\nvars: {x: a}\n")
    assert (where, what) == ("host.yaml:4:8 (vars.x)", "x is text, its default a list of texts")


@pytest.mark.parametrize("name", ["name", "arch", "true", "loop", "a-b", "1a"])
def test_names_that_no_variable_can_have_are_refused(desk: Desk, name: str) -> None:
    ((where, _, _),) = desk.problems(f"vars: {{{name}: x}}\n")
    assert where == f"host.yaml:3:8 (vars.{name})"


def test_a_variable_with_a_bad_value_is_not_undefined_too(desk: Desk) -> None:
    ((where, _, _),) = desk.problems("vars: {x: 1.5}\nsummary: '{{ x }}'\n")
    assert where == "host.yaml:3:11 (vars.x)"


def test_a_variable_that_nothing_knows_and_nothing_uses_is_refused(desk: Desk) -> None:
    desk.component("network/a", "vars: {hostname: x}\n")
    assert desk.problems("network: {use: [a]}\nvars: {hostnme: x}\n") == [
        ("host.yaml:4:8 (vars.hostnme)", "nothing uses the variable 'hostnme'", "did you mean hostname?")
    ]  # fmt: skip


def test_a_variable_is_used_by_another_one_or_by_a_component(desk: Desk) -> None:
    desk.component("network/a", "vars: {x: '{{ y }}'}\ncmdline: ['{{ z }}']\n")
    variables = desk.load("network: {use: [a]}\nvars: {y: '1', z: '2'}\n").variables
    assert (variables["x"], variables["z"]) == ("1", "2")


EXHAUSTING = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "doubling": "{% set n = namespace(x='a' * 1000) %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "a wide format": "{{ '%999999999d' | format(1) }}{{ '%9999999999d' | format(1) }}",
    "padding": "{{ 'a' | center(99999999999) }}",
    "indenting": "{{ ('a\n' * 99999) | indent(99999) | indent(99999) }}",
    "replacing": "{{ ('a' * 999999) | replace('a', 'b' * 999999) }}",
    "joining": "{{ range(99999) | join('x' * 999999) }}",
    "lists": "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "calling itself": "{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "batches": "{{ range(9) | batch(9999999999, 'x') | list }}",
    "powers": "{{ 9 ** 9 ** 9 }}",
    "products": "{{ 'a' * 999999999 }}",
}


@pytest.mark.parametrize("text", EXHAUSTING.values(), ids=EXHAUSTING.keys())
def test_a_template_that_would_eat_the_machine_is_refused(text: str) -> None:
    with pytest.raises(InvalidTemplate):
        templates.render_template(text, {})
