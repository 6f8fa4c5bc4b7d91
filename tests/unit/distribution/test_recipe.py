"""The recipe: what is written is read, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbuild.distribution.recipe import DamagedRecipe, read_recipe, write_recipe
from minbuild.errors import UsageError
from minbuild.formats.uki_parts import UkiPart

PARTS = (UkiPart("headers", b"MZ"), UkiPart("linux", b"kernel"), UkiPart("initrd", b"x" * 9))
RECIPE = write_recipe("rack", "amd64", PARTS, version=7, expires=99)
TEXT = RECIPE.render()


def test_a_recipe_is_read_as_it_was_written() -> None:
    assert read_recipe(TEXT, "x") == RECIPE
    assert RECIPE.size == 17
    assert TEXT.decode().splitlines()[:6] == [
        "minbuild-recipe 1", "name rack", "arch amd64", "version 7", "expires 99", "size 17",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"recipe 1", b"recipe 2"), (b"name rack", b"name ../rack"), (b"name rack", b"name RACK"),
        (b"version 7", b"version 07"), (b"version 7", b"version -7"), (b"version 7", b"version 7\n"),
        (b"size 17", b"size 18"), (b"arch amd64", b"arch z80"), (b"expires 99\n", b""),
        (b" 2 headers", b" 2 headers/../x"), (b" 2 headers", b" 0 headers"),
        (b"version 7", b"version \xd9\xa7"), (b"\npart", b"\r\npart"),
    ],
)  # fmt: skip
def test_another_line_than_that_of_a_recipe_is_refused(old: bytes, new: bytes) -> None:
    changed = TEXT.replace(old, new, 1)
    assert changed != TEXT
    with pytest.raises(DamagedRecipe):
        read_recipe(changed, "x")


@pytest.mark.parametrize("text", [b"", TEXT + b"\n", TEXT[:-1], TEXT + TEXT, b"\xff", TEXT * 1000])
def test_more_or_less_than_a_recipe_is_refused(text: bytes) -> None:
    with pytest.raises(DamagedRecipe):
        read_recipe(text, "x")


@given(st.binary())
def test_any_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DamagedRecipe):
        read_recipe(data, "x")


def test_a_name_that_no_registry_would_take_is_refused_when_it_is_written() -> None:
    with pytest.raises(UsageError, match="cannot be published as Rack 7"):
        write_recipe("Rack 7", "amd64", PARTS, version=1, expires=0)
