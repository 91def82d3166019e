#!/usr/bin/python3
"""tte_numpy - compressed embedding tables in Python, as NumPy arrays

    import numpy, tte_numpy

    table = tte_numpy.compress(weights, ratio=8)
    table.save("table.tte")

    with tte_numpy.open("table.tte") as table:     # mapped, no byte is read before it is needed
        rows = table[[7, 42, 4711]]                # 3 x dim, float32
        scores = table.logits(rows[0])             # inner products with all rows
        tokens, best = table.top_k(rows[0], 10)

One file over ctypes: at first use it compiles tt_embed.h, which lies in the folder above (or where
TT_EMBED_H says), to a shared object with one command,

    cc -O2 -shared -fPIC ...                       (CC and TT_EMBED_CFLAGS change it, e.g. -fopenmp)

and keeps that in ~/.cache/tt_embed, by a hash of the header and the command. "python3 tte_numpy.py build"
does only this, "python3 tte_numpy.py build FILE.so" writes it elsewhere; TTE_NUMPY_SO names one to load.

Arguments are checked here, with errors of one line: TypeError for a wrong type or dtype, ValueError for
a wrong shape, order of bytes or memory, IndexError for a token beyond the table. What the library refuses
is an Error with its sentence as text, and .name and .status of the enum tte_status. Many threads may read
one table at once; close it after all of them.
"""
import builtins
import ctypes
import hashlib
import mmap
import os
import shlex
import subprocess
import sys
import tempfile
import threading

import numpy

__all__ = ["Error", "Table", "build", "compress", "load", "merge", "open", "train"]

LAYOUTS = ("auto", "table", "token")
CODINGS = ("auto", "f32", "f16", "i8", "i4", "trellis")
STATUS = ("OK", "ARGUMENT", "SHAPE", "NOT_FINITE", "MEMORY", "RANGE", "BUDGET", "FORMAT", "VERSION",
          "TRUNCATED", "CHECKSUM", "IO", "CANCELLED", "CONVERGENCE")
MAX_MODES = 16


class Error(Exception):
    """What the library refused: str() is its sentence, .status its number, .name that of the enum; .bytes
    of a budget that cannot be met is the size of the smallest image that would do."""

    def __init__(self, status, what="", size=0):
        self.status, self.bytes = status, size
        self.name = "TTE_OK" if status == 0 else "TTE_ERR_" + STATUS[status]
        text = library().tte_status_text(status).decode()
        if self.name == "TTE_ERR_IO" and ctypes.get_errno():
            text += ": " + os.strerror(ctypes.get_errno())
        if self.name == "TTE_ERR_BUDGET" and size:
            text += "; possible are %d bytes" % size
        super().__init__(what + ": " + text if what else text)


# ---- the structs of tt_embed.h, compared with the compiler's own layout when it is loaded --------------

class Shape(ctypes.Structure):
    _fields_ = [("modes", ctypes.c_int32), ("dim", ctypes.c_int32 * MAX_MODES)]


class Image(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_size_t)]


PROGRESS = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_double)
ROWS = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p)


class Options(ctypes.Structure):
    _fields_ = [("layout", ctypes.c_int), ("coding", ctypes.c_int), ("ratio", ctypes.c_float),
                ("eps", ctypes.c_float), ("shape", Shape), ("max_rank", ctypes.c_int32),
                ("effort", ctypes.c_int32), ("row_weight", ctypes.c_void_p), ("metric", ctypes.c_void_p),
                ("like", ctypes.c_void_p), ("progress", PROGRESS), ("progress_user", ctypes.c_void_p)]


class Info(ctypes.Structure):
    _fields_ = [("vocab", ctypes.c_size_t), ("dim", ctypes.c_size_t), ("bytes", ctypes.c_size_t),
                ("layout", ctypes.c_int), ("coding", ctypes.c_int), ("shape", Shape),
                ("ranks", ctypes.c_int32 * (MAX_MODES + 1)), ("rank", ctypes.c_int32),
                ("centroids", ctypes.c_int32), ("classes", ctypes.c_int32), ("effort", ctypes.c_int32),
                ("ratio", ctypes.c_double), ("mean_numbers", ctypes.c_double), ("rel_error", ctypes.c_double),
                ("weighted_error", ctypes.c_double), ("max_row_error", ctypes.c_double)]


STRUCTS = (("tte_shape", Shape), ("tte_image", Image), ("tte_options", Options), ("tte_info", Info))


def source():
    """The C file: the library, and how the compiler has laid out its structs."""
    numbers = ["sizeof(tte_table)", "sizeof(tte_layout)", "sizeof(tte_status)", "TTE_MAX_MODES",
               "TTE_ERR_CONVERGENCE"]
    for name, struct in STRUCTS:
        numbers.append("sizeof(%s)" % name)
        for field in struct._fields_:
            numbers.append("offsetof(%s, %s)" % (name, field[0]))
            numbers.append("sizeof(((%s *)0)->%s)" % (name, field[0]))
    return ('#define TT_EMBED_IMPLEMENTATION\n#include "tt_embed.h"\n'
            "extern const size_t tte_numpy_layout[%d];\nconst size_t tte_numpy_layout[%d] = {%s};\n"
            % (len(numbers), len(numbers), ", ".join(numbers)))


def expected_layout():
    numbers = [None, ctypes.sizeof(ctypes.c_int), ctypes.sizeof(ctypes.c_int), MAX_MODES, len(STATUS) - 1]
    for _, struct in STRUCTS:
        numbers.append(ctypes.sizeof(struct))
        for field in struct._fields_:
            numbers.append(getattr(struct, field[0]).offset)
            numbers.append(getattr(struct, field[0]).size)
    return numbers


# ---- the shared object ------------------------------------------------------------------------------

def header_path():
    beside = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "tt_embed.h")
    return os.path.abspath(os.environ.get("TT_EMBED_H") or beside)


def command(c_file, so_file):
    return (shlex.split(os.environ.get("CC") or "cc") + ["-O2", "-shared", "-fPIC"]
            + shlex.split(os.environ.get("TT_EMBED_CFLAGS", ""))
            + ["-I" + os.path.dirname(header_path()), "-o", so_file, c_file, "-lm"])


def build(path=None):
    """Compile the shared object and return its path: `path`, or the cache, where it may be already."""
    header = header_path()
    try:
        with builtins.open(header, "rb") as file:
            known = file.read()
    except OSError as error:
        raise RuntimeError("tte_numpy: %s: %s; TT_EMBED_H names tt_embed.h" % (header, error.strerror))
    if path is None:
        key = hashlib.sha256(known + source().encode() + "\0".join(command("", "")).encode())
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        cache = os.path.join(cache, "tt_embed")
        try:
            os.makedirs(cache, mode=0o700, exist_ok=True)
            if not os.access(cache, os.W_OK) or os.stat(cache).st_uid != os.getuid():
                raise OSError
        except OSError:
            cache = tempfile.mkdtemp(prefix="tte_numpy.")   # a new one: others cannot prepare it
        path = os.path.join(cache, "tte_numpy-%s.so" % key.hexdigest()[:24])
        if os.path.exists(path):
            return path
    with tempfile.TemporaryDirectory(prefix="tte_numpy.") as room:
        c_file = os.path.join(room, "tte_numpy.c")
        with builtins.open(c_file, "w") as file:
            file.write(source())
        temporary = "%s.tmp%d" % (path, os.getpid())   # beside its place: two programs may build at once
        words = command(c_file, temporary)
        try:
            done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            if done.returncode != 0:
                said = done.stdout.decode(errors="replace").strip().split("\n")
                said = [line for line in said if "error" in line and "collect2" not in line] + said
                raise RuntimeError("tte_numpy: %s: %s" % (" ".join(words[:4]), said[0]))
            os.replace(temporary, path)
        except OSError as error:
            raise RuntimeError("tte_numpy: %s: %s" % (error.filename or words[0], error.strerror))
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)
    return path


_library = None
_library_lock = threading.Lock()


def library():
    global _library
    with _library_lock:
        if _library is None:
            _library = load_library(os.environ.get("TTE_NUMPY_SO") or build())
    return _library


def load_library(path):
    expected = expected_layout()
    try:
        lib = ctypes.CDLL(os.path.abspath(path), use_errno=True)
        layout = (ctypes.c_size_t * len(expected)).in_dll(lib, "tte_numpy_layout")
    except (OSError, ValueError) as error:
        raise RuntimeError("tte_numpy: %s" % error)
    expected[0] = layout[0]   # of tte_table, which stays opaque here
    if list(layout) != expected:
        raise RuntimeError("tte_numpy: %s: its structs are not those of this file" % path)
    lib.table_size = layout[0]
    address, size, u32, status = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32, ctypes.c_int
    options, image = ctypes.POINTER(Options), ctypes.POINTER(Image)
    for name, result, arguments in (
            ("status_text", ctypes.c_char_p, [status]),
            ("compress", status, [address, size, size, options, image]),
            ("train", status, [ROWS, address, size, size, options, image]),
            ("free", None, [image]),
            ("append", status, [address, address, size, address, image]),
            ("replace", status, [address, u32, address, ctypes.c_float, image]),
            ("merge", status, [address, size, image]),
            ("shrink", status, [address, options, image]),
            ("open", status, [address, address, size]),
            ("verify", status, [address]),
            ("get_info", status, [address, ctypes.POINTER(Info)]),
            ("scratch_len", size, [address]),
            ("lookup_batch", status, [address, address, size, address, address]),
            ("logits", status, [address, address, u32, u32, address, address]),
            ("top_k", status, [address, address, u32, address, address, address]),
            ("save", status, [ctypes.c_char_p, image])):
        function = getattr(lib, "tte_" + name)
        function.restype = result
        function.argtypes = arguments
    return lib


# ---- arguments ----------------------------------------------------------------------------------------

def floats(name, array, shape):
    """A float32 array as C can read it; a None in `shape` stands for any side but 0."""
    if not isinstance(array, numpy.ndarray):
        raise TypeError("%s: expected a numpy array, got %s" % (name, type(array).__name__))
    if array.dtype.kind != "f" or array.dtype.itemsize != 4:
        raise TypeError("%s: dtype %s, expected float32" % (name, array.dtype))
    if not array.dtype.isnative:
        raise ValueError("%s: dtype %s, expected native byte order" % (name, array.dtype))
    if array.ndim != len(shape) or any(side == 0 if wanted is None else side != wanted
                                       for side, wanted in zip(array.shape, shape)):
        raise ValueError("%s: shape %s, expected (%s)" % (
            name, array.shape, ", ".join("any" if side is None else str(side) for side in shape)))
    if not array.flags.c_contiguous or not array.flags.aligned:
        raise ValueError("%s: not contiguous; numpy.ascontiguousarray makes it so" % name)
    return array


def result(out, shape):
    """`out` after its checks, or a new array."""
    if out is None:
        return numpy.empty(shape, numpy.float32)
    if isinstance(out, numpy.ndarray) and not out.flags.writeable:
        raise ValueError("out: read-only")
    return floats("out", out, shape)


def whole(name, value, least, most):
    if isinstance(value, bool) or not isinstance(value, (int, numpy.integer)):
        raise TypeError("%s: expected a whole number, got %s" % (name, type(value).__name__))
    if not least <= value <= most:
        raise ValueError("%s: %d, expected %d to %d" % (name, value, least, most))
    return int(value)


def number(name, value):
    if isinstance(value, bool) or not isinstance(value, (int, float, numpy.number)):
        raise TypeError("%s: expected a number, got %s" % (name, type(value).__name__))
    return float(value)


def choice(name, value, names):
    if value not in names:
        raise ValueError("%s: %r, expected one of %s" % (name, value, ", ".join(names)))
    return names.index(value)


# ---- tables -------------------------------------------------------------------------------------------

def open(path, verify=False):   # pylint: disable=redefined-builtin
    """Map an image; with verify, read all of it and compare checksums."""
    with builtins.open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise Error(STATUS.index("FORMAT"), os.fspath(path))
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return Table(numpy.frombuffer(mapped, numpy.uint8), os.fspath(path), mapped, verify)


def load(path):
    """Read an image into memory and compare checksums."""
    return Table(numpy.fromfile(path, numpy.uint8), os.fspath(path), verify=True)


def take_image(status, image, what):
    """The image that a call has made, as a table that owns a copy."""
    if status != 0:
        raise Error(status, what, image.size)
    data = numpy.empty(image.size, numpy.uint8)
    ctypes.memmove(data.ctypes.data, image.data, image.size)
    library().tte_free(ctypes.byref(image))
    return Table(data, what)


def make_image(what, call, vocab, dim, ratio=0.0, eps=0.0, layout="auto", coding="auto", shape=None,
               max_rank=0, effort=0, row_weight=None, metric=None, like=None, progress=None):
    """What call(options, image) makes, as a table; the options of compress."""
    if like is not None and not isinstance(like, Table):
        raise TypeError("like: expected a Table, got %s" % type(like).__name__)
    options, image, raised = Options(), Image(), []
    options.layout = choice("layout", layout, LAYOUTS)
    options.coding = choice("coding", coding, CODINGS)
    options.ratio, options.eps = number("ratio", ratio), number("eps", eps)
    options.max_rank = whole("max_rank", max_rank, 0, 2**31 - 1)
    options.effort = whole("effort", effort, 0, 9)
    if shape is not None:
        options.shape.modes = whole("modes of shape", len(shape), 1, MAX_MODES)
        for k, side in enumerate(shape):
            options.shape.dim[k] = whole("shape", side, 1, 2**31 - 1)
    if row_weight is not None:
        options.row_weight = floats("row_weight", row_weight, (vocab,)).ctypes.data
    if metric is not None:
        options.metric = floats("metric", metric, (dim, dim)).ctypes.data
    if like is not None:
        options.like = like._pointer()

    def report(_, fraction):   # Python sees Ctrl-C only here
        try:
            return 1 if progress is not None and progress(fraction) else 0
        except BaseException as error:   # pylint: disable=broad-except
            raised.append(error)
            return 1
    options.progress = PROGRESS(report)
    status = call(ctypes.byref(options), ctypes.byref(image))
    if raised:
        library().tte_free(ctypes.byref(image))
        raise raised[0]
    return take_image(status, image, what)


def compress(table, **options):
    """A new Table from a float32 array of vocab x dim.

    ratio       at least this many times smaller than float32; default 8, unless eps or max_rank says how much
    eps         bound on the relative error of the table, in row weights and metric, or, with layout "token",
                of every row
    effort      1 (fast) to 9 (smallest error); default 5; reading is as fast
    row_weight  vocab float32 numbers above 0: how much each row matters
    metric      dim x dim float32, symmetric, positive semidefinite: the error e of a row counts as e M e'
    like        a Table, also of no rows, that gives basis, centroids and classes, so that both merge
    layout      "table": one train for all rows; "token": one for each; default: "token" where shape or
                max_rank is given
    coding      layout "token": "f32", "f16", "i8", "i4"; default: what does best on a sample
    shape       layout "token": the modes of a row, e.g. (8, 16); default: what suits the table
    max_rank    layout "token": no bond gets a larger rank
    progress    called now and then with a fraction rising to 1; what is true stops, with an Error
    """
    table = floats("table", table, (None, None))
    call = library().tte_compress
    return make_image("compress", lambda *both: call(table.ctypes.data, *table.shape, *both), *table.shape,
                      **options)


def train(table, **options):
    """What compress learns of a table before it encodes, as a Table of no rows: compress(part, like=it) of
    all parts and merge make the same bytes as compress(table). Options as there."""
    table = floats("table", table, (None, None))

    def rows(_, first, count, to):
        ctypes.memmove(to, table[first:].ctypes.data, count * table.strides[0])
        return 0
    call, rows = library().tte_train, ROWS(rows)
    return make_image("train", lambda *both: call(rows, None, *table.shape, *both), *table.shape, **options)


def merge(tables):
    """Shards of one table, in order, as one."""
    tables = list(tables)
    for table in tables:
        if not isinstance(table, Table):
            raise TypeError("merge: expected Tables, got %s" % type(table).__name__)
    size = library().table_size
    views = b"".join(ctypes.string_at(table._pointer(), size) for table in tables)
    parts = (ctypes.c_uint64 * (len(views) // 8 + 1)).from_buffer_copy(views + bytes(16))
    image = Image()
    return take_image(library().tte_merge(parts, len(tables), ctypes.byref(image)), image, "merge")


class Table:
    """A compressed table that reads rows from its image. len(table) is the vocabulary, table.dim the
    length of a row; table[5] is a row, table[[5, 7]] an array of rows."""

    def __init__(self, data, what, mapped=None, verify=False):
        lib = library()
        self._data, self._mapped, self._what = data, mapped, what
        self._view = (ctypes.c_uint64 * ((lib.table_size + 7) // 8))()
        self._scratch = threading.local()
        self._norms = None
        status = lib.tte_open(self._view, data.ctypes.data, data.size)
        if status == 0 and verify:
            status = lib.tte_verify(self._view)
        if status != 0:
            self.close()
            raise Error(status, what)
        about = self.info()
        self.vocab, self.dim = about["vocab"], about["dim"]
        self.layout, self.coding = about["layout"], about["coding"]

    def _pointer(self):
        if self._data is None:
            raise ValueError("%s: closed" % self._what)
        return ctypes.addressof(self._view)

    def _check(self, status):
        if status != 0:
            raise Error(status, self._what)

    def _room(self):
        """Scratch of this thread."""
        if getattr(self._scratch, "floats", None) is None:
            self._scratch.floats = numpy.empty(library().tte_scratch_len(self._pointer()), numpy.float32)
        return self._scratch.floats.ctypes.data

    def _ids(self, tokens):
        """Tokens as C reads them, in their shape."""
        ids = numpy.asarray(tokens)
        if ids.size == 0 and not isinstance(tokens, numpy.ndarray):
            ids = ids.astype(numpy.uint32)
        if ids.dtype.kind not in "iu":
            raise TypeError("tokens: dtype %s, expected integers" % ids.dtype)
        if ids.size and (ids.min() < 0 or ids.max() >= self.vocab):
            wrong = ids[(ids < 0) | (ids >= self.vocab)].flat[0]
            raise IndexError("token %d: the table has 0 to %d" % (wrong, self.vocab - 1))
        return numpy.ascontiguousarray(ids, numpy.uint32).reshape(ids.shape)

    def __enter__(self):
        self._pointer()
        return self

    def __exit__(self, *unused):
        self.close()

    def __len__(self):
        return self.vocab

    def __getitem__(self, tokens):
        if isinstance(tokens, slice):
            tokens = numpy.arange(*tokens.indices(self.vocab))
        return self.lookup(tokens)

    def __repr__(self):
        state = "closed" if self._data is None else "%s, %s" % (self.layout, self.coding)
        return "<tte_numpy.Table %s: %d x %d, %s>" % (self._what, self.vocab, self.dim, state)

    def close(self):
        """Unmap or free the image. Rows that were read stay; a second call is harmless."""
        self._data = None
        if self._mapped is not None:
            try:
                self._mapped.close()
            except BufferError:   # something still looks at the bytes: they go when it does
                pass
            self._mapped = None

    def info(self):
        """What the image records, as a dict."""
        info = Info()
        self._check(library().tte_get_info(self._pointer(), ctypes.byref(info)))
        about = {name: getattr(info, name) for name, _ in Info._fields_}
        modes = info.shape.modes
        about.update(layout=LAYOUTS[info.layout], coding=CODINGS[info.coding],
                     shape=tuple(info.shape.dim[:modes]), ranks=tuple(info.ranks[:modes + 1 if modes else 0]))
        return about

    def verify(self):
        """Read every byte and compare checksums; an Error when they differ."""
        self._check(library().tte_verify(self._pointer()))

    def lookup(self, tokens, out=None):
        """The rows of an integer, or of an array of integers: an array of its shape and dim, or `out`."""
        pointer, ids = self._pointer(), self._ids(tokens)
        rows = result(out, ids.shape + (self.dim,))
        self._check(library().tte_lookup_batch(pointer, ids.ctypes.data, ids.size, rows.ctypes.data,
                                               self._room()))
        return rows

    def logits(self, hidden, first=0, count=None, out=None):
        """Inner products of a vector with the rows first .. first + count - 1, by default all."""
        pointer, hidden = self._pointer(), floats("hidden", hidden, (self.dim,))
        first = whole("first", first, 0, self.vocab)
        count = whole("count", self.vocab - first if count is None else count, 0, self.vocab - first)
        scores = result(out, (count,))
        self._check(library().tte_logits(pointer, hidden.ctypes.data, first, count, scores.ctypes.data,
                                         self._room()))
        return scores

    def top_k(self, query, k=10):
        """The k tokens (uint32) of largest inner product with a vector, and the products, descending."""
        pointer, query = self._pointer(), floats("query", query, (self.dim,))
        k = whole("k", k, 1, self.vocab)
        tokens, scores = numpy.empty(k, numpy.uint32), numpy.empty(k, numpy.float32)
        self._check(library().tte_top_k(pointer, query.ctypes.data, k, tokens.ctypes.data,
                                        scores.ctypes.data, self._room()))
        return tokens, scores

    def nearest(self, token, k=10):
        """The k other tokens whose rows point in the most similar direction, and the cosines. The first
        call reads all rows, for their lengths."""
        row = self.lookup(whole("token", token, 0, self.vocab - 1))
        k = whole("k", k, 1, self.vocab - 1)
        if self._norms is None:
            norms = numpy.empty(self.vocab, numpy.float32)
            for first in range(0, self.vocab, 4096):
                norms[first:first + 4096] = numpy.linalg.norm(self[first:first + 4096], axis=1)
            self._norms = norms
        scale = self._norms * self._norms[token]
        scores = numpy.divide(self.logits(row), scale, out=numpy.zeros_like(scale), where=scale > 0)
        scores[token] = -numpy.inf
        tokens = numpy.argsort(-scores, kind="stable")[:k].astype(numpy.uint32)
        return tokens, scores[tokens]

    def save(self, path):
        """Write the image, under another name until all of it is on the disk."""
        self._pointer()
        image = Image(self._data.ctypes.data, self._data.size)
        status = library().tte_save(os.fsencode(path), ctypes.byref(image))
        if status != 0:
            raise Error(status, os.fspath(path))

    def append(self, rows, row_weight=None):
        """The table with rows more at its end, as a new one; weights as most rows have by default."""
        rows, image = floats("rows", rows, (None, self.dim)), Image()
        weights = None if row_weight is None else floats("row_weight", row_weight, rows.shape[:1]).ctypes.data
        return take_image(library().tte_append(self._pointer(), rows.ctypes.data, rows.shape[0], weights,
                                               ctypes.byref(image)), image, "append")

    def replace(self, token, row, row_weight=0.0):
        """The table with one row replaced, as a new one; weight 0: as most rows have."""
        row, image = floats("row", row, (self.dim,)), Image()
        token = int(self._ids(whole("token", token, -2**63, 2**63 - 1)))
        return take_image(library().tte_replace(self._pointer(), token, row.ctypes.data,
                                                number("row_weight", row_weight), ctypes.byref(image)), image,
                          "replace")

    def shrink(self, **options):
        """A smaller table of this one, without the original. Options as compress has them."""
        return make_image("shrink", lambda *both: library().tte_shrink(self._pointer(), *both), self.vocab,
                          self.dim, **options)


def main(words):
    if len(words) not in (1, 2) or words[0] != "build":
        print("usage: python3 tte_numpy.py build [FILE.so]", file=sys.stderr)
        return 2
    try:
        path = build(words[1] if len(words) == 2 else None)
        load_library(path)
    except (RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
