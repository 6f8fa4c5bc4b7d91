"""Kconfig files of a kernel, read by kconfiglib: nothing else here imports it.

What kconfiglib 14.1.0 (2020) does not know of newer kernels is met here: the attribute `modules` of
a symbol, which Linux 6.1 put in place of `option modules`.
Source: Linux, Documentation/kbuild/kconfig-language.rst, kconfig-macro-language.rst.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import kconfiglib

from minbuild.errors import ToolError
from minbuild.kconfig.model import Both, Comparison, Constant, Either, Expression, Name, Not

_LOGICAL = (kconfiglib.BOOL, kconfiglib.TRISTATE)
RunShell = Callable[[str], str]
"""Runs a command of a Kconfig file's $(shell …) and returns what it prints."""


class _Kconfig(kconfiglib.Kconfig):  # type: ignore[misc]
    """kconfiglib with variables and a shell of ours, and nothing of this process's environment."""

    def __init__(self, directory: Path, variables: Mapping[str, str], run_shell: RunShell) -> None:
        self._directory = directory
        self._own_functions: dict[str, tuple[Callable[..., str], int, int]] = {
            name: (partial(_give_value, value), 0, 0) for name, value in variables.items()
        }
        self._own_functions["shell"] = partial(_run_command, run_shell), 1, 1
        super().__init__(str(directory / "Kconfig"), warn_to_stderr=False)

    def _open(self, filename: str, mode: str) -> Any:
        self.srctree = str(self._directory)
        self._srctree_prefix = f"{self._directory}/"
        self._functions.update(self._own_functions)
        file = super()._open(filename, mode)
        text = file.read()
        file.close()
        return io.StringIO(text.replace("\n\tmodules\n", "\n\toption modules\n"))


def _give_value(value: str, _kconfig: object, _name: str) -> str:
    """What $(NAME) becomes."""
    return value


def _run_command(run_shell: RunShell, _kconfig: object, _name: str, command: str) -> str:
    """What $(shell …) becomes. Source: kconfig-macro-language.rst, "shell"."""
    return run_shell(command).rstrip("\n").replace("\n", " ")


class OptionTree:
    """Every option of one kernel for one architecture, and a configuration that can be changed.

    It begins as `allnoconfig`: each option that can be off is off.
    """

    def __init__(self, directory: Path, variables: Mapping[str, str], run_shell: RunShell) -> None:
        """Read `directory`/Kconfig and what it includes.

        `variables` are those of the kernel's Makefile: ARCH, SRCARCH, CC, KERNELVERSION ….
        Raises: ToolError for files that cannot be read as Kconfig.
        """
        try:
            self._kconfig = _Kconfig(directory, variables, run_shell)
        except (kconfiglib.KconfigError, OSError, UnicodeDecodeError) as error:
            raise ToolError(
                f"the kernel's options cannot be read: {str(error).strip().splitlines()[0]}",
                where=str(directory / "Kconfig"),
                fix="name another kernel source in kernel.build",
            ) from error
        self.clear()

    def clear(self) -> None:
        """Take every value away that was set, as `allnoconfig` does."""
        self._kconfig.unset_values()
        for symbol in self._symbols():
            if symbol.orig_type in _LOGICAL and symbol.choice is None and _has_prompt(symbol):
                symbol.set_value(0)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every option that has a definition, sorted."""
        return tuple(sorted(symbol.name for symbol in self._symbols()))

    def is_known(self, name: str) -> bool:
        symbol = self._kconfig.syms.get(name)
        return symbol is not None and bool(symbol.nodes)

    def is_settable(self, name: str) -> bool:
        """Whether a person can set it: it has a prompt."""
        return _has_prompt(self._kconfig.syms[name])

    def is_module(self, name: str) -> bool:
        """Whether it can be built as a module."""
        return self.is_known(name) and bool(
            self._kconfig.syms[name].orig_type == kconfiglib.TRISTATE
        )

    def is_logical(self, name: str) -> bool:
        """Whether it is y, m or n, not a number or a text."""
        return bool(self._kconfig.syms[name].orig_type in _LOGICAL)

    def is_text(self, name: str) -> bool:
        return bool(self._kconfig.syms[name].orig_type == kconfiglib.STRING)

    def get_value(self, name: str) -> str:
        """Its value as things stand: y, m, n, or the number or text."""
        return str(self._kconfig.syms[name].str_value)

    def set_value(self, name: str, value: str) -> None:
        self._kconfig.syms[name].set_value(value)

    def reset(self, name: str) -> None:
        """Off again, or its default."""
        symbol = self._kconfig.syms[name]
        if symbol.orig_type in _LOGICAL and symbol.choice is None and _has_prompt(symbol):
            symbol.set_value(0)
        else:
            symbol.unset_value()

    def list_dependencies(self, name: str) -> tuple[Expression, ...]:
        """What it depends on, once for each place that defines it; any one of them will do."""
        symbol = self._kconfig.syms[name]
        choice = symbol.choice
        expressions = []
        for node in symbol.nodes:
            expression = self._translate(node.dep)
            if choice is not None:
                expression = Both(expression, self._translate(choice.direct_dep))
            expressions.append(expression)
        return tuple(expressions)

    def list_defaults(self, name: str) -> tuple[Expression, ...]:
        """What each of its defaults that is not n asks for: the value, and its condition."""
        return tuple(
            Both(self._translate(value), self._translate(condition))
            for value, condition in self._kconfig.syms[name].orig_defaults
            if value is not self._kconfig.n
        )

    def list_selectors(self, name: str) -> tuple[str, ...]:
        """Options that select it, sorted."""
        return self._selectors.get(name, ())

    def find_active_selector(self, name: str) -> str:
        """The first option, by name, that is on and selects it; "" for none."""
        symbol = self._kconfig.syms[name]
        for selector in self.list_selectors(name):
            other = self._kconfig.syms[selector]
            if other.tri_value and any(
                target is symbol and kconfiglib.expr_value(condition)
                for target, condition in other.selects
            ):
                return selector
        return ""

    def is_met(self, expression: Expression) -> bool:
        """Whether it holds, as things stand."""
        match expression:
            case Name(name):
                return self.get_value(name) in {"y", "m"}
            case Constant(is_true):
                return is_true
            case Both(left, right):
                return self.is_met(left) and self.is_met(right)
            case Either(left, right):
                return self.is_met(left) or self.is_met(right)
            case Not(inner):
                return not self.is_met(inner)
            case Comparison(handle=handle):
                return bool(kconfiglib.expr_value(handle))

    def list_active(self) -> Iterator[tuple[str, str]]:
        """Every option that is y or m, and numbers and texts that have a value; sorted."""
        for name in self.names:
            value = self.get_value(name)
            if value not in {"n", ""} and (self.is_logical(name) or self.is_visible(name)):
                yield name, value

    def is_visible(self, name: str) -> bool:
        """Whether its dependencies are met and it has a prompt."""
        return bool(self._kconfig.syms[name].visibility)

    def render_config(self) -> str:
        """The configuration as the kernel's own file `.config` has it."""
        return str(self._kconfig._config_contents(""))

    def _symbols(self) -> list[Any]:
        return list(self._kconfig.unique_defined_syms)

    @cached_property
    def _selectors(self) -> dict[str, tuple[str, ...]]:
        by_target: dict[str, set[str]] = {}
        for symbol in self._symbols():
            for target, _ in symbol.selects:
                by_target.setdefault(target.name, set()).add(symbol.name)
        return {name: tuple(sorted(selectors)) for name, selectors in by_target.items()}

    def _translate(self, expression: Any) -> Expression:
        if isinstance(expression, kconfiglib.Symbol):
            if expression.is_constant:
                return Constant(expression is not self._kconfig.n)
            return Name(expression.name)
        if isinstance(expression, kconfiglib.Choice):
            return Constant(True)
        operator, *operands = expression
        if operator is kconfiglib.AND:
            return Both(self._translate(operands[0]), self._translate(operands[1]))
        if operator is kconfiglib.OR:
            return Either(self._translate(operands[0]), self._translate(operands[1]))
        if operator is kconfiglib.NOT:
            return Not(self._translate(operands[0]))
        return Comparison(kconfiglib.expr_str(expression), expression)


def render_expression(expression: Expression) -> str:
    """An expression as Kconfig writes it."""
    match expression:
        case Name(name):
            return name
        case Constant(is_true):
            return "y" if is_true else "n"
        case Both(left, right):
            return f"{_parenthesise(left)} && {_parenthesise(right)}"
        case Either(left, right):
            return f"{render_expression(left)} || {render_expression(right)}"
        case Not(inner):
            return f"!{_parenthesise(inner, Both)}"
        case Comparison(text=text):
            return text


def _parenthesise(expression: Expression, *more: type) -> str:
    text = render_expression(expression)
    return f"({text})" if isinstance(expression, (Either, *more)) else text


def _has_prompt(symbol: Any) -> bool:
    return any(node.prompt for node in symbol.nodes)
