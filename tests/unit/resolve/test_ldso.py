"""The loader's rules, one by one."""

import pytest

from minbuild.facts.model import Elf, Filter, LoaderConfigLines
from minbuild.resolve.model import NeedKind
from tests.unit.resolve.builders import (
    INTERPRETER,
    LIB,
    LOADER,
    Content,
    closed,
    edge,
    lack,
    libc,
    library,
    missing,
    note,
    package,
    program,
    regular,
    root,
)


def test_a_program_brings_its_interpreter_through_the_merged_link() -> None:
    closure = closed(libc(), package("app", {"/usr/bin/app": program("libc.so.6")}))
    assert regular(closure) == [
        "/lib64",
        "/usr/bin/app",
        f"{LIB}/ld-linux-x86-64.so.2",
        f"{LIB}/libc.so.6",
        "/usr/lib64/ld-linux-x86-64.so.2",
    ]
    assert not closure.unmet_needs
    need = edge(closure, "/usr/lib64/ld-linux-x86-64.so.2", "/usr/bin/app")
    assert (need.kind, need.evidence) == (NeedKind.INTERP, f"PT_INTERP {INTERPRETER}")
    # DT_NEEDED of the loader is the one already there, not a second look-up
    assert edge(closure, LOADER, f"{LIB}/libc.so.6").kind is NeedKind.NEEDED


def test_an_interpreter_may_lie_at_fixed_addresses() -> None:
    klibc = Elf(64, True, "EM_X86_64", "ET_EXEC")
    files = {
        "/usr/bin/app": program(interpreter="/lib/klibc.so"),
        "/usr/lib/klibc.so": klibc,
    }
    assert edge(closed(package("app", files)), "/usr/lib/klibc.so", "/usr/bin/app").kind == "interp"


def test_a_static_program_needs_nothing_of_the_loader() -> None:
    static = program(interpreter="")
    assert regular(closed(package("app", {"/usr/bin/app": static}))) == ["/usr/bin/app"]


def test_a_library_is_found_through_its_link() -> None:
    files: dict[str, Content] = {
        "/usr/bin/app": program("libz.so.1"),
        f"{LIB}/libz.so.1": "-> libz.so.1.3",
        f"{LIB}/libz.so.1.3": library("libz.so.1"),
    }
    closure = closed(libc(), package("app", files))
    assert edge(closure, f"{LIB}/libz.so.1", "/usr/bin/app").kind is NeedKind.NEEDED
    assert edge(closure, f"{LIB}/libz.so.1.3", f"{LIB}/libz.so.1").kind is NeedKind.LINK


def test_a_missing_library_names_the_chain_and_where_it_was_looked_for() -> None:
    files = {
        "/usr/bin/app": program("liba.so"),
        f"{LIB}/liba.so": library("liba.so", "libgone.so.1"),
    }
    found = lack(closed(libc(), package("app", files)))
    assert (found.kind, found.wanted, found.package) == (NeedKind.NEEDED, "libgone.so.1", "app")
    assert found.chain == ("boot/app", "/usr/bin/app", f"{LIB}/liba.so")
    assert found.looked == (LIB, "/usr/lib")


def test_runpath_is_not_inherited() -> None:
    files = {
        "/opt/app": program("liba.so", runpath=("/opt/libs",)),
        "/opt/libs/liba.so": library("liba.so", "libb.so"),
        "/opt/libs/libb.so": library("libb.so"),
    }
    closure = closed(libc(), package("app", files), roots=(root("/opt/app"),))
    assert missing(closure) == ["needed libb.so"]


def test_rpath_is_inherited_along_the_chain_of_loaders() -> None:
    files = {
        "/opt/app": program("liba.so", rpath=("/opt/libs",)),
        "/opt/libs/liba.so": library("liba.so", "libb.so", rpath=("$ORIGIN/sub",)),
        "/opt/libs/sub/libb.so": library("libb.so", "libc3.so"),
        "/opt/libs/sub/libc3.so": library("libc3.so"),
    }
    closure = closed(libc(), package("app", files), roots=(root("/opt/app"),))
    assert not closure.unmet_needs
    assert "/opt/libs/sub/libc3.so" in closure.files


def test_an_object_with_runpath_uses_no_rpath_at_all() -> None:
    files = {
        "/opt/app": program("liba.so", rpath=("/opt/libs", "/opt/more")),
        "/opt/libs/liba.so": library("liba.so", "libb.so", runpath=("/nowhere",)),
        "/opt/more/libb.so": library("libb.so"),
    }
    closure = closed(libc(), package("app", files), roots=(root("/opt/app"),))
    assert missing(closure) == ["needed libb.so"]


def test_rpath_beside_runpath_is_void_for_those_below_too() -> None:
    files = {
        "/opt/app": program("liba.so", rpath=("/opt/more",), runpath=("/opt/libs",)),
        "/opt/libs/liba.so": library("liba.so", "libb.so"),
        "/opt/more/libb.so": library("libb.so"),
    }
    closure = closed(libc(), package("app", files), roots=(root("/opt/app"),))
    assert missing(closure) == ["needed libb.so"]


def test_runpath_goes_before_the_system_directories() -> None:
    files = {
        "/usr/bin/app": program("liba.so", runpath=("/opt/libs",)),
        "/opt/libs/liba.so": library("liba.so"),
        f"{LIB}/liba.so": library("liba.so"),
    }
    closure = closed(libc(), package("app", files))
    assert "/opt/libs/liba.so" in closure.files
    assert f"{LIB}/liba.so" not in closure.files


def test_a_soname_loads_once_for_each_process() -> None:
    files = {
        "/usr/bin/app": program("liba.so", "libb.so", rpath=("/opt/one",)),
        "/opt/one/liba.so": library("liba.so"),
        f"{LIB}/libb.so": library("libb.so", "liba.so", runpath=("/opt/two",)),
        "/opt/two/liba.so": library("liba.so"),
    }
    closure = closed(libc(), package("app", files))
    assert "/opt/two/liba.so" not in closure.files
    assert edge(closure, "/opt/one/liba.so", f"{LIB}/libb.so").kind is NeedKind.NEEDED


def test_loading_is_breadth_first() -> None:
    # libx is asked for by the program's second library before liba's own library asks for it
    files = {
        "/usr/bin/app": program("liba.so", "libb.so"),
        f"{LIB}/liba.so": library("liba.so", "libdeep.so"),
        f"{LIB}/libdeep.so": library("libdeep.so", "libx.so", runpath=("/opt/deep",)),
        f"{LIB}/libb.so": library("libb.so", "libx.so", runpath=("/opt/broad",)),
        "/opt/deep/libx.so": library("libx.so"),
        "/opt/broad/libx.so": library("libx.so"),
    }
    closure = closed(libc(), package("app", files))
    assert "/opt/broad/libx.so" in closure.files
    assert "/opt/deep/libx.so" not in closure.files


def test_a_loaded_object_answers_to_its_soname() -> None:
    files = {
        "/usr/bin/app": program("libplain.so", "libother.so", rpath=("/opt",)),
        "/opt/libplain.so": library("libreal.so.1"),
        "/opt/libother.so": library("libother.so", "libreal.so.1"),
    }
    closure = closed(libc(), package("app", files))
    assert not closure.unmet_needs
    assert edge(closure, "/opt/libplain.so", "/opt/libother.so").evidence == (
        "DT_NEEDED libreal.so.1"
    )


def test_origin_of_a_program_is_where_it_really_is() -> None:
    files: dict[str, Content] = {
        "/usr/bin/app": "-> ../../opt/app/bin/app",
        "/opt/app/bin/app": program("liba.so", runpath=("${ORIGIN}/../lib",)),
        "/opt/app/lib/liba.so": library("liba.so"),
    }
    closure = closed(libc(), package("app", files))
    assert not closure.unmet_needs
    assert "/opt/app/lib/liba.so" in closure.files


def test_origin_of_a_library_is_where_it_was_opened() -> None:
    files: dict[str, Content] = {
        "/usr/bin/app": program("liba.so", runpath=("/opt/links",)),
        "/opt/links/liba.so": "-> ../real/liba.so",
        "/opt/real/liba.so": library("liba.so", "libb.so", runpath=("$ORIGIN",)),
        "/opt/links/libb.so": library("libb.so"),
        "/opt/real/libb.so": library("libb.so"),
    }
    closure = closed(libc(), package("app", files))
    assert "/opt/links/libb.so" in closure.files
    assert "/opt/real/libb.so" not in closure.files


@pytest.mark.parametrize(
    ("text", "directory"),
    [
        ("/opt/$LIB", "/opt/lib/x86_64-linux-gnu"),
        ("/opt/${PLATFORM}/x", "/opt/x86_64/x"),
        ("/opt/$LIBRARY", "/opt/$LIBRARY"),
        ("$ORIGIN/../$LIB", "/usr/lib/x86_64-linux-gnu"),
    ],
)
def test_tokens_are_replaced(text: str, directory: str) -> None:
    files = {
        "/usr/bin/app": program("liba.so", runpath=(text,), nodeflib=True),
        f"{directory}/liba.so": library("liba.so"),
    }
    assert not closed(libc(), package("app", files)).unmet_needs


def test_directories_relative_to_the_working_directory_are_not_searched() -> None:
    files = {
        "/usr/bin/app": program("liba.so", runpath=("", "lib", ".")),
        "/lib/liba.so.d/x": None,
        "/liba.so": library("liba.so"),
    }
    assert missing(closed(libc(), package("app", files))) == ["needed liba.so"]


def test_nodeflib_closes_the_system_directories() -> None:
    files = {
        "/usr/bin/app": program("liba.so", nodeflib=True),
        f"{LIB}/liba.so": library("liba.so"),
    }
    assert missing(closed(libc(), package("app", files))) == ["needed liba.so"]


def test_objects_of_another_class_or_machine_are_passed_over() -> None:
    files = {
        "/usr/bin/app": program("liba.so", runpath=("/opt/32", "/opt/arm")),
        "/opt/32/liba.so": library("liba.so", bits=32, machine="EM_386"),
        "/opt/arm/liba.so": library("liba.so", machine="EM_AARCH64"),
        f"{LIB}/liba.so": library("liba.so"),
    }
    closure = closed(libc(), package("app", files))
    assert f"{LIB}/liba.so" in closure.files
    assert "/opt/32/liba.so" not in closure.files


def test_a_file_that_is_no_library_ends_the_search() -> None:
    files = {
        "/usr/bin/app": program("liba.so", runpath=("/opt",)),
        "/opt/liba.so": None,
        f"{LIB}/liba.so": library("liba.so"),
    }
    assert lack(closed(libc(), package("app", files))).looked == ("/opt/liba.so (no ELF file)",)


def test_links_in_a_circle_end_one_list_of_directories() -> None:
    # found against ld.so: errors other than "no such file" end the RPATH of one object
    files: dict[str, Content] = {
        "/usr/bin/app": program("liba.so", rpath=("/opt/more",)),
        f"{LIB}/liba.so": library("liba.so", "libb.so", rpath=("/opt/loop", "/opt/lost")),
        "/opt/loop/libb.so": "-> libb.so",
        "/opt/lost/libb.so": library("libb.so"),
        "/opt/more/libb.so": library("libb.so"),
    }
    closure = closed(libc(), package("app", files))
    assert "/opt/more/libb.so" in closure.files
    assert "/opt/lost/libb.so" not in closure.files


def test_a_name_with_a_slash_is_a_path() -> None:
    files = {
        "/opt/bin/app": program("$ORIGIN/../lib/liba.so"),
        "/opt/lib/liba.so": library("liba.so"),
    }
    closure = closed(libc(), package("app", files), roots=(root("/opt/bin/app"),))
    assert "/opt/lib/liba.so" in closure.files


def test_directory_links_on_the_way_are_needs() -> None:
    files: dict[str, Content] = {
        "/usr/bin/app": program("liba.so", runpath=("/opt/current/lib",)),
        "/opt/current": "-> v2",
        "/opt/v2/lib/liba.so": library("liba.so"),
    }
    closure = closed(libc(), package("app", files))
    assert edge(closure, "/opt/current", "/usr/bin/app").kind is NeedKind.LINK
    assert edge(closure, "/opt/v2/lib/liba.so", "/usr/bin/app").kind is NeedKind.NEEDED


def test_variants_for_newer_processors_are_never_taken() -> None:
    files = {
        "/usr/bin/app": program("liba.so"),
        f"{LIB}/glibc-hwcaps/x86-64-v3/liba.so": library("liba.so"),
        f"{LIB}/liba.so": library("liba.so"),
    }
    closure = closed(libc(), package("app", files))
    assert f"{LIB}/glibc-hwcaps/x86-64-v3/liba.so" not in closure.files


def test_required_dlopen_is_followed_and_recommended_is_not() -> None:
    notes = note("liba.so") + note("libgone.so", priority="recommended")
    files = {
        "/usr/bin/app": program(dlopen=notes),
        f"{LIB}/liba.so": library("liba.so", "libb.so"),
        f"{LIB}/libb.so": library("libb.so"),
    }
    closure = closed(libc(), package("app", files))
    assert not closure.unmet_needs
    assert edge(closure, f"{LIB}/liba.so", "/usr/bin/app").kind is NeedKind.DLOPEN
    assert f"{LIB}/libb.so" in closure.files


def test_of_alternatives_the_first_that_is_there_wins() -> None:
    files = {
        "/usr/bin/app": program(dlopen=note("libnew.so", "libold.so", "libolder.so")),
        f"{LIB}/libold.so": library("libold.so"),
        f"{LIB}/libolder.so": library("libolder.so"),
    }
    closure = closed(libc(), package("app", files))
    assert f"{LIB}/libold.so" in closure.files
    assert f"{LIB}/libolder.so" not in closure.files


def test_ending_a_thread_brings_the_unwinder() -> None:
    files: dict[str, Content] = {
        "/usr/bin/app": program("libc.so.6", cancel_function="pthread_exit"),
        f"{LIB}/libgcc_s.so.1": library("libgcc_s.so.1"),
    }
    need = edge(closed(libc(), package("app", files)), f"{LIB}/libgcc_s.so.1", "/usr/bin/app")
    assert need.evidence == "pthread_exit opens libgcc_s.so.1"


def test_a_library_that_ends_threads_without_glibc_brings_no_unwinder() -> None:
    ends = library("libapp.so", cancel_function="pthread_cancel")
    files: dict[str, Content] = {
        "/usr/bin/app": program("libc.so.6", "libapp.so"),
        f"{LIB}/libapp.so": ends,
    }
    assert not closed(libc(), package("app", files)).unmet_needs


def test_a_plug_in_without_a_program_is_resolved_on_its_own() -> None:
    files = {
        f"{LIB}/plug/plug.so": library("", "liba.so"),
        f"{LIB}/liba.so": library("liba.so", "libgone.so"),
    }
    closure = closed(libc(), package("app", files), roots=(root(f"{LIB}/plug/*.so"),))
    assert f"{LIB}/liba.so" in closure.files
    assert missing(closure) == ["needed libgone.so"]


def test_a_plug_in_that_a_program_loads_lives_by_that_programs_rpath() -> None:
    files = {
        "/opt/app": program(rpath=("/opt/libs",), dlopen=note("plug.so")),
        "/opt/libs/plug.so": library("plug.so", "liba.so"),
        "/opt/libs/liba.so": library("liba.so"),
    }
    roots = (root("/opt/libs/plug.so"), root("/opt/app"))
    assert not closed(libc(), package("app", files), roots=roots).unmet_needs


def test_firmware_in_elf_is_no_library() -> None:
    rom = library("", "libgone.so", little=False, machine="EM_PPC64")
    closure = closed(
        package("app", {"/usr/share/qemu/rom": rom}), roots=(root("/usr/share/qemu/*"),)
    )
    assert not closure.unmet_needs


def test_a_program_of_another_machine_says_so() -> None:
    foreign = program(machine="EM_AARCH64", interpreter="/lib/ld-linux-aarch64.so.1")
    found = lack(closed(package("app", {"/usr/bin/app": foreign})))
    assert found.kind is NeedKind.INTERP
    assert "EM_AARCH64 program in a host for amd64" in found.evidence


def test_directories_of_ld_so_conf_are_searched_where_it_is_in_the_image() -> None:
    files: dict[str, Content] = {
        "/usr/bin/app": program("libx.so", "mod.so"),
        "/opt/b/libx.so": library("libx.so"),
        "/opt/a/mod.so": library("mod.so"),
        "/etc/ld.so.conf": LoaderConfigLines(("include /etc/ld.so.conf.d/*.conf", "/opt/b")),
        "/etc/ld.so.conf.d/a.conf": LoaderConfigLines(("/opt/a",)),
    }
    roots = tuple(map(root, ("/usr/bin/app", "/etc/ld.so.conf", "/etc/ld.so.conf.d/a.conf")))
    closure = closed(libc(), package("app", files), roots=roots)
    assert edge(closure, "/opt/b/libx.so", "/usr/bin/app").kind is NeedKind.NEEDED
    # ldconfig takes names that begin with lib or ld- only
    assert missing(closure) == ["needed mod.so"]
    assert missing(closed(libc(), package("app", files))) == ["needed libx.so", "needed mod.so"]


def test_a_cache_that_is_there_is_what_the_loader_reads() -> None:
    cached = ("771 libx.so /opt/a/libx.so", "2563 liby.so /opt/a/liby.so")
    files: dict[str, Content] = {
        "/usr/bin/app": program("libx.so", "liby.so"),
        "/opt/a/libx.so": library("libx.so"),
        "/opt/a/liby.so": library("liby.so"),
        "/etc/ld.so.conf": LoaderConfigLines(("/opt/a",)),
        "/etc/ld.so.cache": LoaderConfigLines(cached),
    }
    roots = tuple(map(root, ("/usr/bin/app", "/etc/ld.so.conf", "/etc/ld.so.cache")))
    closure = closed(libc(), package("app", files), roots=roots)
    assert missing(closure) == ["needed liby.so"]
    assert "/opt/a/libx.so" in regular(closure)


def test_preloads_are_loaded_into_every_program() -> None:
    files: dict[str, Content] = {
        "/usr/bin/app": program("libb.so"),
        f"{LIB}/liba.so": library("liba.so"),
        f"{LIB}/libb.so": library("libb.so", "libgone.so"),
        "/etc/ld.so.preload": LoaderConfigLines(("liba.so", "/usr/lib/libgone2.so")),
    }
    roots = tuple(map(root, ("/usr/bin/app", "/etc/ld.so.preload")))
    closure = closed(libc(), package("app", files), roots=roots)
    need = edge(closure, f"{LIB}/liba.so", "/usr/bin/app")
    assert need.evidence == "/etc/ld.so.preload liba.so"
    assert missing(closure) == ["needed /usr/lib/libgone2.so", "needed libgone.so"]


def test_an_auditor_is_found_by_rpath_and_not_by_runpath() -> None:
    files: dict[str, Content] = {
        "/usr/bin/one": program(audit=("libaud.so",), runpath=("/opt",)),
        "/usr/bin/two": program(audit=("libaud.so",), rpath=("/opt",)),
        "/opt/libaud.so": library("libaud.so", "libhelp.so"),
        "/opt/libhelp.so": library("libhelp.so"),
    }
    roots = tuple(map(root, ("/usr/bin/one", "/usr/bin/two")))
    closure = closed(libc(), package("app", files), roots=roots)
    assert [(lack.by, lack.wanted) for lack in closure.unmet_needs] == [
        ("/usr/bin/one", "libaud.so")
    ]
    assert edge(closure, "/opt/libaud.so", "/usr/bin/two").evidence == "DT_AUDIT libaud.so"
    assert "/opt/libhelp.so" in regular(closure)


def filtering(*names: str) -> Elf:
    """libx.so.1 with filters; `?name`: an auxiliary."""
    filters = tuple(Filter(name.lstrip("?"), name[0] == "?", 1) for name in names)
    return library("libx.so.1", "libz.so.1", filters=filters)


def filtered(*names: str, **more: Content) -> dict[str, Content]:
    files = {"/usr/bin/app": program("libx.so.1"), f"{LIB}/libx.so.1": filtering(*names)}
    return {**files, f"{LIB}/libz.so.1": library("libz.so.1"), **more}


def test_a_filter_needs_what_it_filters() -> None:
    files = filtered("libf.so.1", **{f"{LIB}/libf.so.1": library("libf.so.1")})
    need = edge(closed(libc(), package("app", files)), f"{LIB}/libf.so.1", f"{LIB}/libx.so.1")
    assert (need.kind, need.evidence) == (NeedKind.NEEDED, "DT_FILTER libf.so.1")
    assert missing(closed(libc(), package("app", filtered("libf.so.1")))) == ["needed libf.so.1"]


def test_an_auxiliary_is_loaded_where_it_is_and_missed_nowhere() -> None:
    files = filtered("?liba.so.1", **{f"{LIB}/liba.so.1": library("liba.so.1")})
    need = edge(closed(libc(), package("app", files)), f"{LIB}/liba.so.1", f"{LIB}/libx.so.1")
    assert (need.kind, need.evidence) == (NeedKind.DLOPEN, "DT_AUXILIARY liba.so.1")
    assert not closed(libc(), package("app", filtered("?liba.so.1"))).unmet_needs


def test_what_an_auxiliary_needs_is_needed() -> None:
    files = filtered("?liba.so.1", **{f"{LIB}/liba.so.1": library("liba.so.1", "libgone.so.1")})
    assert missing(closed(libc(), package("app", files))) == ["needed libgone.so.1"]


def test_libraries_that_filter_each_other_end() -> None:
    other = library("libf.so.1", filters=(Filter("libx.so.1", auxiliary=False, after=0),))
    files = filtered("libf.so.1", "libx.so.1", **{f"{LIB}/libf.so.1": other})
    assert not closed(libc(), package("app", files)).unmet_needs


def test_the_cache_takes_numbers_for_numbers() -> None:
    files: dict[str, Content] = {
        "/usr/bin/app": program("libx.so.1"),
        "/opt/a/libx.so.01": library("libx.so.01"),
        "/etc/ld.so.conf": LoaderConfigLines(("/opt/a",)),
    }
    roots = tuple(map(root, ("/usr/bin/app", "/etc/ld.so.conf")))
    assert not closed(libc(), package("app", files), roots=roots).unmet_needs
    files["/etc/ld.so.cache"] = LoaderConfigLines(("771 libx.so.01 /opt/a/libx.so.01",))
    roots = tuple(map(root, ("/usr/bin/app", "/etc/ld.so.cache")))
    assert not closed(libc(), package("app", files), roots=roots).unmet_needs
