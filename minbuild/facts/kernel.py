"""A kernel's configuration file."""

from minbuild.facts.types import KernelConfig


def kernel_config(data: bytes) -> KernelConfig:
    """Read /boot/config-VERSION: `CONFIG_X=y`; an option that is not set is not there."""
    options: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        name, equals, value = line.partition("=")
        if equals and name.startswith("CONFIG_"):
            options[name.removeprefix("CONFIG_")] = value.strip().strip('"')
    return KernelConfig(dict(sorted(options.items())))
