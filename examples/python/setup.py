"""Builds the compiled core: tt_embed.h of the same checkout, or the copy that an sdist carries."""
import os
import re
import shutil
import tempfile

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

HERE = os.path.dirname(os.path.abspath(__file__))
HEADER = "tt_embed.h"
FOLDER = HERE if os.path.exists(os.path.join(HERE, HEADER)) else os.path.dirname(os.path.dirname(HERE))

# What _library.py calls; only compilers that export nothing by themselves need it.
EXPORTS = ["tte_" + name for name in (
    "status_text", "from_bf16", "open", "verify", "get_info", "scratch_len", "lookup_batch", "logits", "top_k",
    "compress", "compress_rows", "train", "append", "replace", "merge", "shrink", "save", "free",
    "python_layout", "python_layout_len", "python_one_thread")]


def version():
    with open(os.path.join(FOLDER, HEADER), encoding="utf-8") as file:
        number = int(re.search(r"^#define TTE_VERSION (0x[0-9a-fA-F]+)", file.read(), re.M).group(1), 16)
    return "%d.%d.%d" % (number >> 16, number >> 8 & 255, number & 255)


class BuildCore(build_ext):
    """A plain shared object for ctypes: no module of Python, and the same for all its versions."""

    def get_ext_filename(self, fullname):
        return os.path.join(*fullname.split(".")) + (".dll" if os.name == "nt" else ".so")

    def get_export_symbols(self, ext):
        return ext.export_symbols

    def build_extension(self, ext):
        if self.compiler.compiler_type == "msvc":
            ext.extra_compile_args = ["/O2"]
        else:
            ext.extra_compile_args = ["-O2"]
            ext.libraries = ["m"]
            if self.links_openmp():
                ext.extra_compile_args.append("-fopenmp")
                ext.extra_link_args = ["-fopenmp"]
        super().build_extension(ext)

    def links_openmp(self):
        """Whether the compiler makes a shared object that uses OpenMP."""
        with tempfile.TemporaryDirectory() as room:
            source = os.path.join(room, "threads.c")
            with open(source, "w", encoding="utf-8") as file:
                file.write("#include <omp.h>\nint threads(void);\n"
                           "int threads(void) { return omp_get_max_threads(); }\n")
            try:
                made = self.compiler.compile([source], output_dir=room, extra_preargs=["-fopenmp"])
                self.compiler.link_shared_object(made, os.path.join(room, "threads.so"),
                                                 extra_postargs=["-fopenmp"])
            except Exception:   # pylint: disable=broad-except  # each compiler class has errors of its own
                return False
        return True


class WheelOfAnyPython(bdist_wheel):
    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


class SdistWithHeader(sdist):
    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        shutil.copy(os.path.join(FOLDER, HEADER), base_dir)


setup(
    version=version(),
    ext_modules=[Extension("tt_embed._core", ["tt_embed/_core.c"], include_dirs=[FOLDER],
                           depends=[os.path.join(FOLDER, HEADER)], export_symbols=EXPORTS)],
    cmdclass={"build_ext": BuildCore, "bdist_wheel": WheelOfAnyPython, "sdist": SdistWithHeader},
)
