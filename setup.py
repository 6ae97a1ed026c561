"""Compiles what every request passes to native code, where there is a C compiler.

The list stands in pyproject.toml ([tool.weft.compiled]). mypyc translates those modules as they
are; what imports them can't tell. Without a compiler, with WEFT_PURE=1 and in an editable install
the modules stay what they are: Python. `weft version` tells which it is.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

TRANSLATED = "build/native"


def modules() -> list[str]:
    folders = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["weft"]["compiled"]
    return [f"{folder}/{name}.py" for folder, names in folders.items() for name in names]


def wanted() -> bool:
    """An editable install is for who edits: a compiled module would hide the edits."""
    if os.environ.get("WEFT_PURE") or any("editable" in word for word in sys.argv):
        return False
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        print(f"weft: no C compiler ({compiler}): the proxy stays pure Python, which is slower")
        return False
    return True


def extensions() -> list[Extension]:
    from mypyc.build import mypycify

    # Types that only the checked tree has (.stubs) are not needed here.
    options = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent"]
    # `make test` checks types meanwhile, with other options: neither may undo the other's cache.
    options.append(f"--cache-dir={TRANSLATED}/mypy_cache")
    translated = mypycify(
        [*options, *modules()],
        opt_level="2",
        debug_level="0",
        multi_file=True,
        target_dir=TRANSLATED,
        group_name="weft",
    )
    return list(translated)


class ParallelBuild(build_ext):
    """One library of many files: compiled side by side, those that have not changed not again."""

    def build_extensions(self) -> None:
        compiler = self.compiler
        headers = Path(TRANSLATED).rglob("*.h")
        newest = max((path.stat().st_mtime for path in headers), default=0.0)

        def compile_all(sources: list[str], **options: Any) -> list[str]:
            _macros, objects, after, flags, build = compiler._setup_compile(
                options["output_dir"], options["macros"], options["include_dirs"], sources,
                options["depends"], options["extra_postargs"],
            )  # fmt: skip
            words = compiler._get_cc_args(flags, options["debug"], None)

            def compile_one(target: str) -> None:
                source, suffix = build[target]
                path = Path(target)
                changed = max(Path(source).stat().st_mtime, newest)
                if not path.exists() or path.stat().st_mtime < changed:
                    compiler._compile(target, source, suffix, words, after, flags)

            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(compile_one, build))
            return list(objects)

        compiler.compile = compile_all
        super().build_extensions()


if wanted():
    setup(ext_modules=extensions(), cmdclass={"build_ext": ParallelBuild})
else:
    setup()
