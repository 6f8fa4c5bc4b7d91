"""Resolution of options: what is asked for, and all that this depends on, each with its reason.

An option that somebody asks for needs what it depends on, and that in turn what it depends on. Of
alternatives (`A || B`) the one that is on is taken, else the first that can be. Nothing is taken away
from who asked for it. Requests are met in the order of their names, so that the answer does not
depend on theirs.
"""

import fnmatch
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from minbuild.errors import ResolveError, combine, find_close_name
from minbuild.kconfig.model import (
    Both,
    Constant,
    Either,
    Expression,
    How,
    KernelOptions,
    Name,
    Not,
    OptionNeed,
    OptionRequest,
)
from minbuild.kconfig.tree import OptionTree, render_expression

_ON = frozenset({"y", "m"})


class Unmet(Exception):
    """An option that cannot have the value that is asked; the text says why."""


def resolve_options(
    tree: OptionTree, requests: Iterable[OptionRequest], version: str
) -> KernelOptions:
    """Turn on what is asked for and all that it needs; `tree` then has that configuration.

    Raises: ResolveError with every request that cannot be met.
    """
    problems: list[ResolveError] = []
    expanded = list(_expand_globs(tree, requests, problems))
    problems += _find_contradictions(expanded)
    asked: dict[str, OptionNeed] = {}
    if not problems:
        failures, asked = meet_requests(tree, expanded)
        problems += [_describe(request, Unmet(text)) for request, text in failures]
    if problems:
        raise combine(problems)
    needs = dict(sorted({**_explain_rest(tree), **asked}.items()))
    settings = {name: asked[name].value for name in sorted(asked) if tree.is_settable(name)}
    texts = frozenset(filter(tree.is_text, settings))
    return KernelOptions(version, needs, settings, tuple(expanded), texts)


def meet_requests(
    tree: OptionTree, requests: Sequence[OptionRequest]
) -> tuple[list[tuple[OptionRequest, str]], dict[str, OptionNeed]]:
    """Turn on what requests without globs ask for: those that failed and why, and the reasons of the rest."""
    resolver = _Resolver(tree)
    failures = [(request, str(error)) for request, error in resolver.meet_all(requests)]
    return failures or list(resolver.prove(requests)), resolver.needs


def _expand_globs(
    tree: OptionTree, requests: Iterable[OptionRequest], problems: list[ResolveError]
) -> Iterator[OptionRequest]:
    """Write globs out; one that means nothing, and an unknown name, is a problem."""
    ordered = sorted(set(requests), key=lambda one: (one.name, one.value, one.by, one.evidence))
    for request in ordered:
        if "*" in request.name:
            names = [
                name for name in fnmatch.filter(tree.names, request.name) if tree.is_settable(name)
            ]
            if not names:
                problems.append(
                    _describe(request, Unmet("this kernel has no option of such a name"))
                )
            yield from (replace(request, name=name) for name in names)
        elif not tree.is_known(request.name):
            near = find_close_name(request.name, tree.names)
            text = "this kernel has no such option" + (f"; did you mean {near}?" if near else "")
            problems.append(_describe(request, Unmet(text)))
        else:
            yield request


def _find_contradictions(requests: Sequence[OptionRequest]) -> Iterator[ResolveError]:
    first: dict[str, OptionRequest] = {}
    for request in requests:
        other = first.setdefault(request.name, request)
        if other.value != request.value:
            yield _describe(
                request, Unmet(f"{other.by} asks for {_show(other.value)} ({other.evidence})")
            )


class _Resolver:
    """The configuration while it grows."""

    def __init__(self, tree: OptionTree) -> None:
        self.tree = tree
        self.needs: dict[str, OptionNeed] = {}
        self._off: dict[str, OptionRequest] = {}

    def meet_all(self, requests: Sequence[OptionRequest]) -> list[tuple[OptionRequest, Unmet]]:
        """Meet every request; what one selects another may depend on, so again while that helps."""
        self._off = {one.name: one for one in requests if one.value == "n"}
        left = [one for one in requests if one.value != "n"]
        while True:
            failures = []
            for request in left:
                saved = dict(self.needs)
                try:
                    self._turn_on(request.name, request.value, request, (), How.ASKED)
                except Unmet as error:
                    self._restore(saved)
                    failures.append((request, error))
            if not failures or len(failures) == len(left):
                break
            left = [request for request, _ in failures]
        for name, request in sorted(self._off.items()):
            self.needs[name] = OptionNeed(name, "n", request.by, How.ASKED, request.evidence)
            if self.tree.is_settable(name):
                self.tree.set_value(name, "n")
        return failures

    def prove(self, requests: Sequence[OptionRequest]) -> Iterator[tuple[OptionRequest, str]]:
        """What was asked for and has another value after all."""
        for request in requests:
            value = self.tree.get_value(request.name)
            if value != request.value and not (request.value == "m" and value == "y"):
                yield request, self._explain_lost(request, value)

    def _explain_lost(self, request: OptionRequest, value: str) -> str:
        """Say why an option lost the value that it was given."""
        selector = self.tree.find_active_selector(request.name)
        if selector and request.value == "n":
            return f"{selector} selects it"
        try:
            self._meet_dependencies(request.name, request, (request.name,))
        except Unmet as error:
            return str(error)
        return f"the configuration has {_show(value)} for it"

    def _turn_on(
        self, name: str, value: str, request: OptionRequest, chain: tuple[str, ...], how: How
    ) -> None:
        need = self.needs.get(name)
        by = chain[-1] if chain else request.by
        evidence = "" if chain else request.evidence
        if name in chain:
            return
        if need is None:
            if self.tree.is_settable(name):
                self._meet_dependencies(name, request, (*chain, name))
            elif self.tree.get_value(name) not in _ON:
                self._meet_invisible(name, request, chain)
            self.needs[name] = OptionNeed(name, value, by, how, evidence)
            if self.tree.is_settable(name):
                self.tree.set_value(name, value)
        elif how is How.ASKED and need.how is not How.ASKED:
            self.needs[name] = OptionNeed(name, value, by, how, evidence)
            if self.tree.is_settable(name):
                self.tree.set_value(name, value)

    def _meet_dependencies(self, name: str, request: OptionRequest, chain: tuple[str, ...]) -> None:
        """Meet what one of its definitions depends on; a symbol mostly has one."""
        errors: list[Unmet] = []
        for expression in self.tree.list_dependencies(name):
            saved = dict(self.needs)
            try:
                self._meet(expression, request, chain, How.DEPENDS)
                return
            except Unmet as error:
                self._restore(saved)
                errors.append(error)
        raise errors[0]

    def _meet(
        self, expression: Expression, request: OptionRequest, chain: tuple[str, ...], how: How
    ) -> None:
        match expression:
            case Name(name):
                self._meet_name(name, request, chain, how)
            case Constant(is_true):
                if not is_true:
                    raise Unmet(f"{chain[-1]} cannot be turned on in this kernel")
            case Both(left, right):
                self._meet(left, request, chain, how)
                self._meet(right, request, chain, how)
            case Either():
                self._meet_either(expression, request, chain)
            case Not(inner):
                if self.tree.is_met(inner):
                    raise Unmet(self._explain_not(inner, chain[-1]))
            case _:
                if not self.tree.is_met(expression):
                    raise Unmet(f"{chain[-1]} needs {render_expression(expression)}")

    def _meet_name(
        self, name: str, request: OptionRequest, chain: tuple[str, ...], how: How
    ) -> None:
        wanting = chain[-1]
        if name in self._off:
            other = self._off[name]
            raise Unmet(
                f"{wanting} depends on {name}, which {other.by} sets to n ({other.evidence})"
            )
        if not self.tree.is_known(name):
            raise Unmet(f"{wanting} depends on {name}, which this architecture has not")
        if self.tree.get_value(name) in _ON:
            self._hold(name, wanting, how)
            return
        if self.tree.is_settable(name):
            self._turn_on(name, "y", request, chain, how)
        else:
            self._meet_invisible(name, request, chain)

    def _meet_invisible(self, name: str, request: OptionRequest, chain: tuple[str, ...]) -> None:
        """An option without a prompt comes by its own default, or because another one selects it."""
        wanting = chain[-1] if chain else request.by
        if name in chain:
            raise Unmet(f"{wanting} depends on {name}, which comes by itself only")
        reasons: list[str] = []
        for default in self.tree.list_defaults(name):
            saved = dict(self.needs)
            try:
                self._meet(default, request, (*chain, name), How.DEPENDS)
                self._meet_dependencies(name, request, (*chain, name))
            except Unmet as error:
                self._restore(saved)
                reasons.append(str(error))
                continue
            self.needs.setdefault(name, OptionNeed(name, "y", wanting, How.DEPENDS))
            return
        if reasons:
            raise Unmet("; ".join(dict.fromkeys(reasons)))
        selectors = self.tree.list_selectors(name)
        listed = ", ".join(selectors[:4])
        raise Unmet(
            f"{wanting} needs {name}, which nobody can set by hand; "
            + (
                f"{listed} would turn it on"
                if selectors
                else "no option of this kernel turns it on"
            )
        )

    def _meet_either(
        self, expression: Either, request: OptionRequest, chain: tuple[str, ...]
    ) -> None:
        if self.tree.is_met(expression):
            self._note_met(expression, chain[-1])
            return
        reasons = []
        for side in (expression.left, expression.right):
            saved = dict(self.needs)
            try:
                self._meet(side, request, chain, How.ALTERNATIVE)
                return
            except Unmet as error:
                self._restore(saved)
                reasons.append(str(error))
        raise Unmet(f"{chain[-1]} needs {render_expression(expression)}: {'; '.join(reasons)}")

    def _hold(self, name: str, wanting: str, how: How) -> None:
        """Keep on what is on by itself: `bool "…" if EXPERT` with a default is off once EXPERT is on."""
        if name not in self.needs and self.tree.is_settable(name):
            self.needs[name] = OptionNeed(name, "y", wanting, how)
            self.tree.set_value(name, "y")

    def _note_met(self, expression: Expression, wanting: str) -> None:
        """Say of what was on already, and meets alternatives, that it is needed."""
        match expression:
            case Name(name) if self.tree.is_met(expression):
                self._hold(name, wanting, How.ALTERNATIVE)
            case Either(left, right):
                self._note_met(left if self.tree.is_met(left) else right, wanting)
            case Both(left, right):
                self._note_met(left, wanting)
                self._note_met(right, wanting)
            case _:
                pass

    def _explain_not(self, inner: Expression, wanting: str) -> str:
        text = f"{wanting} needs {render_expression(Not(inner))}"
        need = self.needs.get(inner.name) if isinstance(inner, Name) else None
        return f"{text}, and {need.by} has it on ({need.how})" if need is not None else text

    def _restore(self, saved: dict[str, OptionNeed]) -> None:
        for name in self.needs.keys() - saved.keys():
            self.tree.reset(name)
        self.needs = saved


def _explain_rest(tree: OptionTree) -> dict[str, OptionNeed]:
    """The reason for each option that is on: who selects it, else its default."""
    needs = {}
    for name, value in tree.list_active():
        selector = tree.find_active_selector(name)
        how = How.SELECT if selector else How.DEFAULT
        needs[name] = OptionNeed(name, value, selector, how)
    return needs


def _describe(request: OptionRequest, error: Unmet) -> ResolveError:
    return ResolveError(
        f"{request.by} asks for {request.name}{'' if request.value == 'y' else '=' + request.value}: {error}",
        where=request.evidence,
        fix="remove the request or what stands against it; minbuild why CONFIG_NAME shows who asks for an option",
    )


def _show(value: str) -> str:
    return value or "nothing"
