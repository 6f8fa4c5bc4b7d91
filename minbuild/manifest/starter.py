"""Manifest of a new host by its purpose: what `minbuild init` writes."""

import re
from dataclasses import dataclass
from enum import StrEnum

from minbuild.manifest.document.yaml_editor import YamlEditor, quote_scalar
from minbuild.manifest.shipped_manifests import find_shipped, render_starter


class Purpose(StrEnum):
    """What a host is for."""

    VIRTUAL = "virtual"
    """A virtual machine: virtio cards and disks."""
    MACHINE = "machine"
    """The machine that this runs on: the drivers of its devices and no others."""
    RACK = "rack"
    """Servers in a rack: SSH, a watchdog, the power button, no person beside them."""


@dataclass(frozen=True, slots=True)
class StarterChoices:
    """What a user wants of a new host."""

    purpose: Purpose = Purpose.VIRTUAL
    address: str = ""
    """192.0.2.10/24; "" for DHCP."""
    gateway: str = ""
    nameservers: tuple[str, ...] = ()
    ssh_keys: tuple[str, ...] = ()
    """Lines of authorized_keys."""
    shell: bool = False
    """True: a root shell on the console, without a password."""


_BUDGETS = {
    Purpose.VIRTUAL: ("60", "20 MB"),
    Purpose.MACHINE: ("120", "60 MB"),
    Purpose.RACK: ("200", "40 MB"),
}
"""Files and packed size: far enough above a first build that the next kernel does not fail it."""


def compose_starter(name: str, choices: StarterChoices) -> str:
    """Compose the commented manifest of a host; the name is converted to a valid one.

    For `Purpose.MACHINE` it names the file NAME.hardware beside it.
    """
    editor = YamlEditor(render_starter(name), f"{name}.yaml")
    files, packed = _BUDGETS[choices.purpose]
    editor.set_value(("budget", "files"), files)
    editor.set_value(("budget", "packed"), packed)
    match choices.purpose:
        case Purpose.MACHINE:
            editor.set_value(("archive", "components"), "[main, non-free-firmware]", ("extends",))
            editor.set_value(("kernel", "package"), "linux-image-amd64", ("vars",))
            editor.set_value(("kernel", "hardware"), f"{name}.hardware")
        case Purpose.RACK:
            if find_shipped("metal") is not None:
                editor.replace_value(("extends",), "[metal]")
            for component in ("watchdog", "power-button"):
                editor.add_item(("services", "use"), component, ("vars", "kernel"))
        case Purpose.VIRTUAL:
            pass
    _set_address(editor, choices)
    if choices.ssh_keys:
        editor.add_item(("services", "use"), "ssh", ("vars", "kernel", "network"))
        for key in choices.ssh_keys:
            editor.add_item(("vars", "ssh_keys"), quote_scalar(key))
    if choices.shell:
        editor.add_item(("boot", "use"), "console-shell", ("vars", "kernel", "network", "services"))
    return _drop_examples(editor)


def _drop_examples(editor: YamlEditor) -> str:
    """The text without the commented examples of keys that it has itself."""
    text = editor.text
    for key in ("kernel", "services", "keep"):
        if editor.find((key,)) is not None:
            text = re.sub(rf"(?m)^# {key}:.*\n(?:#  .*\n)+\n?", "", text)
    return text


def _set_address(editor: YamlEditor, choices: StarterChoices) -> None:
    if not choices.address:
        return
    editor.set_value(("network", "use"), "{add: [static], remove: [dhcp]}", ("vars", "kernel"))
    editor.set_value(("vars", "address"), quote_scalar(choices.address))
    if choices.gateway:
        editor.set_value(("vars", "gateway"), quote_scalar(choices.gateway))
    if choices.nameservers:
        servers = ", ".join(map(quote_scalar, choices.nameservers))
        editor.set_value(("vars", "nameservers"), f"[{servers}]")
