"""Resolved options as JSON."""

import pytest

from minbuild.errors import UsageError
from minbuild.kconfig.document import parse_options, render_options
from minbuild.kconfig.model import How, KernelOptions, OptionNeed, OptionRequest

OPTIONS = KernelOptions(
    "6.12.1",
    {
        "BRIDGE": OptionNeed("BRIDGE", "y", "network/bridge", How.ASKED, "bridge.yaml:1:1"),
        "NET": OptionNeed("NET", "y", "BRIDGE", How.DEPENDS),
    },
    {"BRIDGE": "y", "NET": "y"},
    (OptionRequest("BRIDGE", "y", "network/bridge", "bridge.yaml:1:1"),),
    frozenset({"CHARSET"}),
)


def test_what_was_written_is_read() -> None:
    assert parse_options(render_options(OPTIONS), "x") == OPTIONS


@pytest.mark.parametrize(
    "text", ["", "[]", '{"schema": "other"}', "{", '{"schema": "minbuild.kernel-options/1"}']
)
def test_anything_else_is_an_error_in_words(text: str) -> None:
    with pytest.raises(UsageError, match="not a list of kernel options"):
        parse_options(text, "kernel-options.json")
