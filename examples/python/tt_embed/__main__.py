"""python -m tt_embed: compress, info, calibrate."""
from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from typing import List, Optional

from . import Calibration, Error, Table, __version__, compress
from .files import read_table

DESCRIPTION = """\
Compress a token-embedding table and calibrate compression for a model.

  python -m tt_embed calibrate MODEL calibration.safetensors
  python -m tt_embed compress MODEL table.tte --ratio 16 --calibration calibration.safetensors
  python -m tt_embed info table.tte
"""


class Bar:
    """Progress on a terminal's standard error; nothing elsewhere."""

    def __init__(self, what: str, quiet: bool) -> None:
        self.what, self.shown, self.start = what, -1, time.monotonic()
        self.on = not quiet and sys.stderr.isatty()

    def __call__(self, fraction: float) -> None:
        percent = int(100 * fraction)
        if not self.on or percent == self.shown:
            return
        self.shown, spent = percent, time.monotonic() - self.start
        left = spent * (1 - fraction) / fraction if fraction > 0 else 0
        sys.stderr.write("\r%s %3d %%, %d s left \033[K" % (self.what, percent, round(left)))
        sys.stderr.flush()

    def end(self) -> None:
        if self.on and self.shown >= 0:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tt_embed", description=DESCRIPTION,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version="tt_embed " + __version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    made = commands.add_parser("compress", help="a table to a .tte image")
    made.add_argument("source", metavar="SOURCE", help="a model's folder, a .safetensors, .npy or .gguf file")
    made.add_argument("image", metavar="OUT.tte")
    made.add_argument("--ratio", type=float, help="times smaller than float32; default 8, unless --eps")
    made.add_argument("--eps", type=float, help="bound on the relative error")
    made.add_argument("--effort", type=int, help="1 (fast) to 9 (smallest error); default 5")
    made.add_argument("--calibration", metavar="FILE", help="what `calibrate` has written")
    made.add_argument("--table", choices=("input", "output"),
                      help="of a model with two; default: the calibration's, or input")
    made.add_argument("--tensor", metavar="NAME", help="the table's name, where it is not found by itself")
    made.add_argument("--quiet", action="store_true", help="no progress, no summary")

    told = commands.add_parser("info", help="what an image or a calibration records")
    told.add_argument("file", metavar="FILE")
    told.add_argument("--json", action="store_true")

    seen = commands.add_parser("calibrate", help="row weights and metric of a transformers model")
    seen.add_argument("model", metavar="MODEL", help="a model's folder or a .gguf file")
    seen.add_argument("out", metavar="OUT.safetensors")
    seen.add_argument("--text", metavar="FILE", help="what the model reads; without it, it writes a text itself")
    seen.add_argument("--tokens", type=int, help="to write or to read; default 16384")
    seen.add_argument("--seed", type=int, default=1, help="of what it writes; default 1")
    seen.add_argument("--table", choices=("input", "output"), help="of a model with two; default output")
    seen.add_argument("--quiet", action="store_true", help="no progress, no summary")
    return parser


def run_compress(a: argparse.Namespace) -> None:
    calibration = None if a.calibration is None else Calibration.load(a.calibration)
    table = a.table
    if table is None:
        table = "output" if calibration and calibration.about.get("table") == "output" else "input"
    array = read_table(a.source, a.tensor, table)
    bar = Bar("compressing", a.quiet)
    try:
        made = compress(array, a.ratio, eps=a.eps, effort=a.effort, calibration=calibration, progress=bar)
    finally:
        bar.end()
    made.save(a.image)
    if not a.quiet:
        about = made.info
        print("%s: %d x %d, %d bytes, %.2f times smaller than float32, relative error %.4f%s" % (
            a.image, about.vocab, about.dim, about.bytes, about.ratio, about.rel_error,
            ", %.4f as calibrated" % about.weighted_error if calibration else ""))


def run_info(a: argparse.Namespace) -> None:
    if a.file.endswith(".safetensors"):
        calibration = Calibration.load(a.file)
        about = dict(calibration.about)
        for name in ("row_weight", "metric"):
            value = getattr(calibration, name)
            about[name] = "none" if value is None else " x ".join(map(str, value.shape))
    else:
        with Table.open(a.file, verify=True) as table:
            about = dataclasses.asdict(table.info)
    if a.json:
        print(json.dumps(about))
        return
    for name, value in about.items():
        if value != ():
            print("%-14s  %s" % (name, "%.6g" % value if isinstance(value, float) else value))


def run_calibrate(a: argparse.Namespace) -> None:
    try:
        from . import models
        from transformers.utils import logging
    except ImportError as error:
        raise ValueError("calibrate takes torch and transformers: pip install torch transformers (%s)" % error)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    if not os.path.exists(a.model):
        raise FileNotFoundError(2, os.strerror(2), a.model)
    text = None
    if a.text is not None:
        with open(a.text, encoding="utf-8", errors="replace") as file:
            text = file.read()
    name = os.path.basename(os.path.abspath(a.model))
    more = {"text": text, "name": name, "source": os.path.basename(a.text or ""), "seed": a.seed}
    if a.tokens is not None:
        more["tokens"] = a.tokens
    bar = Bar("calibrating", a.quiet)
    started = time.monotonic()
    try:
        if os.path.isdir(a.model) and models.is_encoder(a.model):
            if a.table == "output":
                raise ValueError("%s: an encoder has no output table" % a.model)
            calibration = models.calibrate_encoder(a.model, progress=bar, **more)
        else:
            model, tokenizer = models.load(a.model)
            started = time.monotonic()
            calibration = models.calibrate(model, tokenizer, table=a.table, progress=bar, **more)
    finally:
        bar.end()
    calibration.save(a.out)
    if not a.quiet:
        print("%s: %s of %s, %s, %s tokens, %.0f s" % (
            a.out, " and ".join(part for part in ("row_weight", "metric") if getattr(calibration, part) is not None),
            name, calibration.about["text"], calibration.about["tokens"], time.monotonic() - started))


def main(words: Optional[List[str]] = None) -> int:
    a = make_parser().parse_args(words)
    try:
        {"compress": run_compress, "info": run_info, "calibrate": run_calibrate}[a.command](a)
    except KeyboardInterrupt:
        print("tt_embed: stopped", file=sys.stderr)
        return 130
    except (Error, OSError, ValueError, TypeError, MemoryError) as error:
        text = str(error)
        if isinstance(error, OSError) and error.filename is not None and error.strerror:
            text = "%s: %s" % (error.filename, error.strerror)
        print("tt_embed: %s" % (text.strip() or type(error).__name__).splitlines()[0], file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
