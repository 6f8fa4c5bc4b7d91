"""The formats that a manifest can ask for: ours by name, diskimage-builder's by a mapping."""

from minbuild.manifest.scalars import Choice, Named, Text
from minbuild.manifest.shapes import Either, Key, Many, Record
from minbuild.manifest.types import DibFormat, DibLayout, DibWish, ImageFormat
from minbuild.manifest.written import DibEntry

_ELEMENT = Text("an element's name", "[A-Za-z0-9][A-Za-z0-9_.-]*", "write the name of an element")
ELEMENTS = Key(
    "elements",
    Many(Named(_ELEMENT), least=1),
    "diskimage-builder's elements, applied to the host's tree.",
)
FORMAT = Either(
    Choice("image format", ImageFormat),
    Record(
        DibEntry,
        "Images that diskimage-builder makes.",
        (
            Key(
                "dib",
                Record(
                    DibWish,
                    "One run of disk-image-create.",
                    (
                        Key("elements", Many(_ELEMENT), "Elements beside minbuild-root."),
                        Key("layout", Choice("layout", DibLayout), "plain or gpt."),
                        Key("formats", Many(Choice("format", DibFormat), least=1), "Its outputs."),
                    ),
                ),
                "One run of disk-image-create.",
                required=True,
            ),
        ),
    ),
)
