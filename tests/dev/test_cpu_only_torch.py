"""The script that makes torch small for CPU nodes, on libraries compiled here."""

import ctypes
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "images" / "runtime" / "cpu_only_torch.py"
spec = importlib.util.spec_from_file_location("cpu_only_torch", SCRIPT)
script = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = script
spec.loader.exec_module(script)

pytestmark = pytest.mark.skipif(
    not (shutil.which("gcc") and shutil.which("readelf")), reason="needs gcc and binutils"
)


def compile_library(folder, soname, code, *options):
    source = folder / "source.c"
    source.write_text(code)
    command = ["gcc", "-shared", "-fPIC", "-o", folder / soname, source, f"-Wl,-soname,{soname}", *options]
    subprocess.run(command, check=True)
    return folder / soname


@pytest.fixture
def orphan(tmp_path):
    """A library that needs versioned and plain symbols of two libraries which are then removed."""
    versions = tmp_path / "versions.map"
    versions.write_text("cuda_13 { global: versioned; };")
    gone = [
        compile_library(
            tmp_path, "libgone.so.1", "int versioned() { return 1; }", f"-Wl,--version-script={versions}"
        ),
        compile_library(tmp_path, "libplain.so.2", "int plain() { return 2; }"),
    ]
    code = (
        "int versioned(); int plain(); int own() { return 7; } int call() { return versioned() + plain(); }"
    )
    library = compile_library(
        tmp_path, "libtorch.so", code, f"-L{tmp_path}", "-l:libgone.so.1", "-l:libplain.so.2"
    )
    for file in gone:
        file.unlink()
    return library


def stubs_for(library):
    return script.plan_stubs(
        [script.read_library(library)], [script.read_library(Path("/lib/x86_64-linux-gnu/libc.so.6"))]
    )


def load(folder, statement):
    code = f"import ctypes; library = ctypes.CDLL('{folder}/libtorch.so', mode=2); {statement}"
    environment = {"LD_LIBRARY_PATH": str(folder)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


def test_each_missing_library_gets_a_stub_with_what_is_undefined(orphan):
    stubs = {stub.soname: dict(stub.versions) for stub in stubs_for(orphan)}
    assert stubs.keys() == {"libgone.so.1", "libplain.so.2"}
    assert stubs["libgone.so.1"]["cuda_13"] == {"versioned"}
    assert any("plain" in symbols for versions in stubs.values() for symbols in versions.values())


def test_with_the_stubs_the_library_loads_and_its_own_code_runs(orphan):
    assert "cannot open shared object" in load(orphan.parent, "").stderr
    for stub in stubs_for(orphan):
        script.compile_stub(stub, orphan.parent)
    done = load(orphan.parent, "print(library.own())")
    assert done.stdout == "7\n", done.stderr


def test_calling_into_a_stub_says_what_was_called_and_stops(orphan):
    for stub in stubs_for(orphan):
        script.compile_stub(stub, orphan.parent)
    done = load(orphan.parent, "library.call()")
    assert done.returncode < 0
    assert "versioned of libgone.so.1 called: this image has no CUDA" in done.stderr


KERNELS = """
#include <stdio.h>
__attribute__((section(".kernels,\\"a\\",@progbits#"))) const char kernels[1 << 20] = {1, 2, 3};
const char *before = "before";
static const char after[] = "after";
const char *text() { return after; }
int middle() { return kernels[1 << 19]; }
"""


def test_a_section_taken_out_leaves_a_smaller_library_that_works(tmp_path):
    library = compile_library(tmp_path, "libkernels.so", KERNELS)
    small = script.without_section(library.read_bytes(), ".kernels")
    assert len(small) < library.stat().st_size - (1 << 20) + 2 * script.PAGE
    (tmp_path / "libsmall.so").write_bytes(small)
    loaded = ctypes.CDLL(str(tmp_path / "libsmall.so"))
    loaded.text.restype = ctypes.c_char_p
    assert loaded.text() == b"after"
    assert loaded.middle() == 0


def test_a_library_without_the_section_stays_as_it_is(tmp_path):
    library = compile_library(tmp_path, "libplain.so", "int one() { return 1; }").read_bytes()
    assert script.without_section(library, ".kernels") == library
