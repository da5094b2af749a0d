"""Run the tests as other processors, thread counts and loaded machines would run them.

    python tools/test_everywhere.py -o docs/tested-on.md

One machine stands in for many. ``ATEN_CPU_CAPABILITY`` and ``ONEDNN_MAX_CPU_ISA`` hide vector
instructions, ``VOS_LITE_DTYPE`` sets the precision of ``lite``, ``OMP_NUM_THREADS`` sets the number of
threads, busy processes take computing time, and a parent that ignores SIGINT acts like ``nohup`` and some
CI runners. Writes a table of outcomes and times.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent

CORE = (
    "test_discriminant",
    "test_engine",
    "test_geometry",
    "test_hints",
    "test_mask_decoder",
    "test_parity",
    "test_prior",
    "test_private_api",
    "test_read_out",
    "test_scale_weights",
    "test_windows",
)
"""Test files whose outcome depends on what the models and the tracker compute, and that are quick."""

LOADED = ("test_annotate_page", "test_bad_input", "test_batch", "test_live", "test_runs")
"""Test files that need a signal, a port, a browser or other processes: what a loaded machine is hard on."""

FEW = ("test_engine", "test_private_api")
"""Test files for a precision that the processor only emulates, at a sixth of the speed."""


@dataclass(frozen=True)
class Situation:
    """One way to run the tests.

    Attributes:
        name: name in the table.
        environment: environment variables to set, ``OMP_NUM_THREADS`` among them.
        files: test files to run, see :data:`CORE` and :data:`LOADED`.
        busy: number of processes beside it that each keep one core busy.
        ignores_sigint: run the tests under a parent that ignores SIGINT.
    """

    name: str
    environment: dict[str, str]
    files: tuple[str, ...] = CORE
    busy: int = 0
    ignores_sigint: bool = False


def situations() -> list[Situation]:
    """List all situations: one thing differs at a time, each with both precisions of ``lite``."""
    environments = {
        "no vector instructions in torch": {"ATEN_CPU_CAPABILITY": "default"},
        "AVX2 in torch": {"ATEN_CPU_CAPABILITY": "avx2"},
        "AVX-512 in torch": {"ATEN_CPU_CAPABILITY": "avx512"},
        "AVX2 in oneDNN": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
        "AVX2 in both": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
        "1 thread": {"OMP_NUM_THREADS": "1"},
        "2 threads": {"OMP_NUM_THREADS": "2"},
        "4 threads": {"OMP_NUM_THREADS": "4"},
    }
    found = []
    for name, variables in environments.items():
        for dtype in ("float32", "bfloat16"):
            emulated = dtype == "bfloat16" and "ONEDNN_MAX_CPU_ISA" in variables
            environment = {"OMP_NUM_THREADS": "1"} | variables | {"VOS_LITE_DTYPE": dtype}
            found.append(Situation(f"{name}, {dtype}", environment, FEW if emulated else CORE))
    busy = "two busy processes, a parent that ignores SIGINT"
    return [*found, Situation(busy, {"OMP_NUM_THREADS": "1"}, LOADED, busy=2, ignores_sigint=True)]


def run(situation: Situation, arguments: Sequence[str]) -> tuple[bool, str, float]:
    """Run the tests in one situation; return whether they passed, pytest's last line, and the seconds."""
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", *arguments]
    if all(each.startswith("-") for each in arguments):  # no test files among them
        command += [str(ROOT / "tests" / f"{name}.py") for name in situation.files]
    if situation.environment["OMP_NUM_THREADS"] == "1":  # as `make test` does
        command += ["--numprocesses", "auto", "--dist", "loadfile", "--no-loadscope-reorder"]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if situation.ignores_sigint else None
    began = time.monotonic()
    try:
        with busy(situation.busy):
            done = subprocess.run(
                command, cwd=ROOT, env=os.environ | situation.environment, capture_output=True, text=True, check=False
            )
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)
    lines = [line for line in done.stdout.splitlines() if line.strip()] or [done.stderr.strip()[-200:]]
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-2000:], sep="\n", file=sys.stderr)
    return done.returncode == 0, re.sub(r" in [\d.]+s.*", "", lines[-1].strip("= ")), time.monotonic() - began


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Run so many processes that never rest."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def processor() -> str:
    """Describe the processor, its vector instructions and its cores."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        name = found[1] if found else name
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    extra = [flag for flag in ("avx2", "avx512_bf16", "amx_bf16") if flag in flags]
    return f"{name} ({', '.join(extra) or 'no vector instructions known'}), {os.cpu_count()} cores"


def commit() -> str:
    """Name the commit that is tested."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def earlier(page: Path | None) -> dict[str, str]:
    """Read the rows of a page by the situation's name, so that a matrix can be run in parts."""
    if page is None or not page.exists():
        return {}
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines[1:]}


def table(rows: Sequence[str]) -> str:
    """Write the page: the machine, and a row for each situation."""
    lines = [
        "# Tested on",
        "",
        "Written by `make test-everywhere` (`tools/test_everywhere.py`): the tests that depend on what is computed, in",
        "one situation after the other, and on a busy machine those that need signals, ports, a browser or other",
        "processes. What is not in the table was not run.",
        "",
        f"{date.today().isoformat()}: {processor()}, torch {torch.__version__}, Python {platform.python_version()}.",
        "",
        "| situation | outcome | seconds | commit |",
        "|---|---|---|---|",
    ]
    return "\n".join([*lines, *rows]) + "\n"


def main() -> int:
    """Run the command; return 1 if a situation failed, else 0."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="PAGE",
        help="write the table there; rows of situations that are not run stay",
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="situations with this in their names")
    parser.add_argument("pytest", nargs="*", help="further arguments of pytest, after --")
    options = parser.parse_args()
    rows, failed = earlier(options.output), False
    for situation in situations():
        if options.only in situation.name:
            passed, outcome, seconds = run(situation, options.pytest)
            failed |= not passed
            print(f"{situation.name}: {outcome} in {seconds:.0f} s", flush=True)
            rows[situation.name] = f"| {situation.name} | {outcome} | {seconds:.0f} | {commit()} |"
            if options.output:
                known = [rows[each.name] for each in situations() if each.name in rows]
                options.output.write_text(table(known), encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
