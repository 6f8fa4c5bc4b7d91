"""Why an option of a kernel is on."""

import json

from minbuild.explain.kernel_option import explain_option
from minbuild.kconfig.model import How, KernelOptions, OptionNeed, OptionRequest
from minbuild.report.kernel_option import render_option, render_option_json

OPTIONS = KernelOptions(
    "6.12.1",
    {
        "BRIDGE": OptionNeed("BRIDGE", "y", "network/bridge", How.ASKED, "bridge.yaml:1:1"),
        "NET": OptionNeed("NET", "y", "BRIDGE", How.DEPENDS),
        "STP": OptionNeed("STP", "y", "BRIDGE", How.SELECT),
    },
    {"BRIDGE": "y", "NET": "y"},
    (OptionRequest("BRIDGE", "y", "network/bridge", "bridge.yaml:1:1"),),
)


def test_the_chain_leads_from_the_component_to_the_option() -> None:
    text = render_option(explain_option(OPTIONS, "CONFIG_NET"))
    assert text == (
        "CONFIG_NET=y  in the kernel 6.12.1\n"
        "  network/bridge\n"
        "  └─ BRIDGE=y  asked for  bridge.yaml:1:1\n"
        "     └─ NET=y  depends on\n"
    )


def test_an_option_that_is_off_names_a_similar_one() -> None:
    text = render_option(explain_option(OPTIONS, "BRIGDE"))
    assert text == (
        "CONFIG_BRIGDE is off in the kernel 6.12.1: nothing asks for it\n  similar: CONFIG_BRIDGE\n"
    )


def test_the_json_has_every_step() -> None:
    document = json.loads(render_option_json(explain_option(OPTIONS, "STP")))
    assert [(one["option"], one["how"]) for one in document["chain"]] == [
        ("BRIDGE", "asked for"),
        ("STP", "select"),
    ]
