"""Make torch small where there is no GPU: `python cpu_only_torch.py TORCH_FOLDER` (needs gcc and binutils).

PyPI's torch for Linux is built for CUDA. On a node without a GPU its CUDA kernels are never run, yet its
libraries won't load without NVIDIA's, 3 GB of them. This script puts a stub of some kilobytes in the place
of each library that is missing, which defines what the loader looks for (whoever calls into one is told so,
and stopped), and takes the kernels' machine code out of torch's own library.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

# loaded by name, by functions that need a GPU, and by nothing else
LOADED_ON_DEMAND = ("libtorch_cuda_linalg.so", "libcaffe2_nvrtc.so")
NEVER_USED = ("include", "share", "lib/*.a", "bin/protoc*")
SYSTEM = ("/lib64", "/usr/lib/x86_64-linux-gnu")
PAGE = 4096


@dataclass
class Library:
    """What the loader reads of a shared library."""

    path: Path
    needed: set[str] = field(default_factory=set)
    defined: set[str] = field(default_factory=set)
    undefined: dict[str, str] = field(default_factory=dict)  # symbol → its version, or ""
    versions: dict[str, set[str]] = field(
        default_factory=lambda: defaultdict(set)
    )  # library → versions needed


def read_library(path: Path) -> Library:
    """Parse `readelf`'s account of a library."""
    library, needs = Library(path), ""
    for line in _readelf("--dynamic", path):
        if found := re.search(r"\(NEEDED\).*\[(.+)\]", line):
            library.needed.add(found[1])
    for line in _readelf("--version-info", path):
        if found := re.search(r"File: (\S+)", line):
            needs = found[1]
        elif (found := re.search(r"Name: (\S+)\s+Flags:", line)) and needs:
            library.versions[needs].add(found[1])
    for line in _readelf("--dyn-syms", path):
        # Num: Value Size Type Bind Vis Ndx Name@Version (n)
        columns = line.split()
        if len(columns) < 8 or not columns[0].rstrip(":").isdigit():
            continue
        name, _, version = columns[7].partition("@")
        if columns[6] != "UND":
            library.defined.add(name)
        elif columns[4] != "WEAK":
            library.undefined[name] = version.lstrip("@")
    return library


@dataclass
class Stub:
    """A library to make: the symbols it must define, by version ("" for none)."""

    soname: str
    versions: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


def plan_stubs(libraries: Iterable[Library], system: Iterable[Library]) -> list[Stub]:
    """A stub for each library that is needed and not there; together they define all that is undefined.

    A symbol with a version goes where the loader looks for it; one without may be in any library.
    """
    libraries, system = list(libraries), list(system)
    there = {library.path.name for library in [*libraries, *system]}
    defined = set().union(*(library.defined for library in [*libraries, *system]))
    stubs: dict[str, Stub] = {}
    for library in libraries:
        missing = sorted(library.needed - there)
        home = {version: soname for soname in missing for version in library.versions.get(soname, ())}
        for version, soname in [*home.items(), *(("", soname) for soname in missing)]:
            stubs.setdefault(soname, Stub(soname)).versions[
                version
            ]  # a version may be needed without symbols
        for symbol in sorted(library.undefined.keys() - defined) if missing else ():
            version = library.undefined[symbol]
            stubs[home.get(version, missing[0])].versions[version].add(symbol)
    return list(stubs.values())


def source(stub: Stub) -> str:
    """The C source of a stub."""
    head = [
        "#include <stdio.h>",
        "#include <stdlib.h>",
        "static void refuse(const char *name) {",
        f'  fprintf(stderr, "%s of {stub.soname} called: this image has no CUDA\\n", name);',
        "  abort();",
        "}",
    ]
    symbols = sorted(set().union(*stub.versions.values()))
    return "\n".join([*head, *(f'void {s}(void) {{ refuse("{s}"); }}' for s in symbols), ""])


def version_script(stub: Stub) -> str:
    """The linker's script that gives symbols their versions; empty when none has one."""
    return "\n".join(
        f"{version} {{ {'global: ' + '; '.join(sorted(symbols)) + ';' if symbols else ''} }};"
        for version, symbols in sorted(stub.versions.items())
        if version
    )


def compile_stub(stub: Stub, into: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        code, script = Path(folder) / "stub.c", Path(folder) / "stub.map"
        code.write_text(source(stub))
        script.write_text(version_script(stub))
        command = ["gcc", "-shared", "-fPIC", "-O1", "-w", "-o", str(into / stub.soname), str(code)]
        command += [f"-Wl,-soname,{stub.soname}"]
        command += [f"-Wl,--version-script={script}"] if script.stat().st_size else []
        subprocess.run(command, check=True)


def without_section(elf: bytes, section: str) -> bytes:
    """A 64-bit ELF library in which a read-only section is zeros that take no room in the file.

    Its segment is split in two: the first ends before the section and is longer in memory than in the file,
    which the loader fills with zeros. The second takes the place of a PT_NOTE in the table of segments.
    Unchanged if there is no such section. Layout: System V ABI, chapters 4 and 5.
    """
    load, note, nobits = 1, 4, 8
    e_phoff, e_shoff = struct.unpack_from("<QQ", elf, 32)
    e_phnum, _, e_shnum, e_shstrndx = struct.unpack_from("<4H", elf, 56)
    sections = [list(struct.unpack_from("<IIQQQQIIQQ", elf, e_shoff + 64 * i)) for i in range(e_shnum)]
    names = sections[e_shstrndx][4]
    titles = [elf[names + s[0] : elf.index(b"\0", names + s[0])].decode() for s in sections]
    if section not in titles:
        return elf
    target = sections[titles.index(section)]
    begin = -(-target[4] // PAGE) * PAGE
    end = (target[4] + target[5]) // PAGE * PAGE
    gap = end - begin

    def moved(offset: int) -> int:
        return offset - gap if offset >= end else offset

    segments = []
    for i in range(e_phnum):
        kind, flags, offset, address, physical, in_file, in_memory, align = struct.unpack_from(
            "<IIQQQQQQ", elf, e_phoff + 56 * i
        )
        if kind == load and offset <= begin and end <= offset + in_file:
            head = begin - offset
            rest = offset + in_file - end
            segments.append((kind, flags, offset, address, physical, head, head + gap, align))
            ahead = head + gap
            segments.append((kind, flags, begin, address + ahead, physical + ahead, rest, rest, align))
        elif kind != note:
            segments.append((kind, flags, moved(offset), address, physical, in_file, in_memory, align))
    if len(segments) > e_phnum:
        raise ValueError(f"no PT_NOTE to spare for {section}")
    target[1] = nobits
    result = bytearray(elf[:begin] + elf[end:])
    for i, segment in enumerate(segments):
        struct.pack_into("<IIQQQQQQ", result, e_phoff + 56 * i, *segment)
    for i, values in enumerate(sections):
        values[4] = moved(values[4])
        struct.pack_into("<IIQQQQIIQQ", result, moved(e_shoff) + 64 * i, *values)
    struct.pack_into("<Q", result, 40, moved(e_shoff))
    struct.pack_into("<H", result, 56, len(segments))
    return bytes(result)


def main() -> None:
    torch = Path(sys.argv[1])
    for pattern in NEVER_USED:
        for path in torch.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in LOADED_ON_DEMAND:
        (torch / "lib" / name).unlink(missing_ok=True)
    files = [*torch.glob("*.so"), *torch.glob("lib/*.so*")]
    for file in files:
        subprocess.run(["strip", "--strip-unneeded", str(file)], check=True)
    kernels = torch / "lib" / "libtorch_cuda.so"
    kernels.write_bytes(without_section(kernels.read_bytes(), ".nv_fatbin"))
    # torch finds NVIDIA's runtime beside itself, as one of pip's packages: that one is small, and real
    files += torch.parent.glob("nvidia/cu*/lib/libcudart.so.*")
    libraries = [read_library(file) for file in files]
    names = set().union(*(library.needed for library in libraries))
    system = [Path(folder) / name for folder in SYSTEM for name in names]
    for stub in plan_stubs(libraries, [read_library(path) for path in system if path.exists()]):
        compile_stub(stub, torch / "lib")
        print(f"{stub.soname}: {sum(map(len, stub.versions.values()))} symbols")


def _readelf(what: str, path: Path) -> list[str]:
    done = subprocess.run(["readelf", "--wide", what, str(path)], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


if __name__ == "__main__":
    main()
