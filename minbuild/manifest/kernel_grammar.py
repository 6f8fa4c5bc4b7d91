"""Grammar of a manifest's `kernel`, and of the modules that components name."""

from minbuild.manifest import kernel_cmdline
from minbuild.manifest.document.containers import AlterableList, Key, ListOf, Record
from minbuild.manifest.document.scalars import (
    Boolean,
    Located,
    TemplatedValue,
    Text,
    ValueShape,
)
from minbuild.manifest.names import (
    COMPONENT_REFERENCE,
    LOCAL_FILE,
    OPTION_SETTING,
    PACKAGE_NAME,
)
from minbuild.manifest.raw import RawKernel

MODULES = ListOf(
    Located(Text("a module's name", "[^ \\t\\n\\x00]+", "write a name, an alias, a path or a glob"))
)
KERNEL: ValueShape[RawKernel] = Record(
    RawKernel,
    "The kernel.",
    (
        Key("package", PACKAGE_NAME, "The package of the kernel; it can be a metapackage."),
        Key(
            "build",
            PACKAGE_NAME,
            "The package of a kernel's source, which is compiled with the options that the components "
            "ask for; in place of `package`.",
        ),
        Key(
            "protection",
            TemplatedValue(Boolean()),
            "false: a kernel that is built has neither mitigations nor self-protection.",
        ),
        Key(
            "options",
            AlterableList(ListOf(Located(OPTION_SETTING))),
            "Options of a kernel that is built, besides those of components: NAME, NAME=VALUE, or a "
            "glob of names.",
        ),
        Key(
            "patches",
            AlterableList(ListOf(LOCAL_FILE)),
            "Unified diffs that are applied to the source of a kernel that is built, in this order; "
            "relative to this document.",
        ),
        Key(
            "cmdline",
            AlterableList(ListOf(kernel_cmdline.CmdlineWord())),
            "Words of the kernel command line.",
        ),
        Key(
            "xen-cmdline",
            AlterableList(ListOf(kernel_cmdline.CmdlineWord())),
            "Words of Xen's own command line, for a host that starts it.",
        ),
        Key(
            "modules",
            AlterableList(MODULES),
            "Modules besides those of components: by name, alias (fs-ext4, pci:v00001AF4d*), path "
            "or glob.",
        ),
        Key(
            "hardware",
            LOCAL_FILE,
            "A list of modaliases of a machine by `minbuild hardware`, relative to this document; "
            "its drivers are included.",
        ),
        Key(
            "firmware",
            TemplatedValue(Boolean()),
            "false: firmware files that the drivers name are left out.",
        ),
        Key("use", AlterableList(ListOf(COMPONENT_REFERENCE)), "Components of this section."),
    ),
)
