"""Variables that a machine may be given at boot: the table that the component boot/credentials reads."""

from collections.abc import Sequence
from dataclasses import dataclass

from minbuild.manifest.raw import VariableDefinition
from minbuild.manifest.variable_types import VariableDeclaration

CREDENTIAL_PREFIX = "minbuild."
TABLE = "runtime_variables"
"""The variable of templates that has their rows."""
READER = "boot/credentials"
"""The component that reads them."""


@dataclass(frozen=True, slots=True)
class RuntimeVariable:
    """A variable with its credential; the same one of several components once."""

    name: str
    component: str
    """The first that declares it, as section/name."""
    declaration: VariableDeclaration

    @property
    def credential(self) -> str:
        """The credential's whole name: `minbuild.ssh-keys`."""
        own = self.declaration.credential or self.name.replace("_", "-")
        return f"{CREDENTIAL_PREFIX}{own}"

    def format_row(self) -> str:
        """One line of the table: variable, credential, section, type, one or list, data or not, least, most, choices."""
        declared = self.declaration
        bounds = ("-" if bound is None else str(bound) for bound in (declared.min, declared.max))
        words = (
            self.name,
            self.credential.removeprefix(CREDENTIAL_PREFIX),
            self.component.partition("/")[0],
            str(declared.type),
            "list" if isinstance(declared.default, tuple) else "one",
            "credential" if declared.credential_only else "data",
            *bounds,
            *declared.choices,
        )
        return " ".join(words)


def list_runtime_variables(
    definitions: Sequence[VariableDefinition],
) -> tuple[RuntimeVariable, ...]:
    """The variables that any component declares with `runtime: true`, sorted by name."""
    variables: dict[str, RuntimeVariable] = {}
    for definition in definitions:
        if definition.declaration is not None and definition.declaration.runtime:
            variables.setdefault(
                definition.name,
                RuntimeVariable(definition.name, definition.component, definition.declaration),
            )
    return tuple(variables[name] for name in sorted(variables))
