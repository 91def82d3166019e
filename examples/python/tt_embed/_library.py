"""The compiled core over ctypes, which releases the interpreter's lock while C runs: structs, prototypes,
statuses as exceptions."""
from __future__ import annotations

import ctypes
import enum
import os
from typing import Any, Tuple

MAX_MODES = 16
LAYOUTS = ("auto", "table", "token")
CODINGS = ("auto", "f32", "f16", "i8", "i4", "trellis")


class Status(enum.IntEnum):
    """What the C library says of a call; its enum tte_status without the prefix."""
    OK = 0
    ARGUMENT = 1
    SHAPE = 2
    NOT_FINITE = 3
    MEMORY = 4
    RANGE = 5
    BUDGET = 6
    FORMAT = 7
    VERSION = 8
    TRUNCATED = 9
    CHECKSUM = 10
    IO = 11
    CANCELLED = 12
    CONVERGENCE = 13


class Error(Exception):
    """What the library refused. str() is one sentence, `status` a Status; after Status.BUDGET, `bytes` is the
    size of the smallest image that would do, where the library knows it, else 0."""

    def __init__(self, text: str, status: int = Status.ARGUMENT, size: int = 0) -> None:
        super().__init__(text)
        self.status = Status(status)
        self.bytes = size

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (str(self), int(self.status), self.bytes)


# ---- the structs of tt_embed.h, compared with the compiler's own layout below ------------------------------

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


class RawInfo(ctypes.Structure):
    _fields_ = [("vocab", ctypes.c_size_t), ("dim", ctypes.c_size_t), ("bytes", ctypes.c_size_t),
                ("layout", ctypes.c_int), ("coding", ctypes.c_int), ("shape", Shape),
                ("ranks", ctypes.c_int32 * (MAX_MODES + 1)), ("rank", ctypes.c_int32),
                ("centroids", ctypes.c_int32), ("classes", ctypes.c_int32), ("effort", ctypes.c_int32),
                ("ratio", ctypes.c_double), ("mean_numbers", ctypes.c_double), ("rel_error", ctypes.c_double),
                ("weighted_error", ctypes.c_double), ("max_row_error", ctypes.c_double)]


def _expected_layout() -> list:
    numbers = [ctypes.sizeof(ctypes.c_int), int(max(Status))]
    for struct in (Shape, Image, Options, RawInfo):
        numbers.append(ctypes.sizeof(struct))
        for field in struct._fields_:
            numbers.append(getattr(struct, field[0]).offset)
            numbers.append(getattr(struct, field[0]).size)
    return numbers


def _load() -> Tuple[ctypes.CDLL, int, str]:
    """The shared object, the size of a tte_table, the version."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_core" + (".dll" if os.name == "nt" else ".so"))
    if not os.path.exists(path):
        raise ImportError("tt_embed: the compiled core is missing; install the package: "
                          "pip install ./examples/python")
    lib = ctypes.CDLL(path, use_errno=True)
    count = ctypes.c_size_t.in_dll(lib, "tte_python_layout_len").value
    layout = list((ctypes.c_size_t * count).in_dll(lib, "tte_python_layout"))
    if layout[2:] != _expected_layout():
        raise ImportError("tt_embed: %s was built from another tt_embed.h than this package is for" % path)
    address, size, u32, status = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32, ctypes.c_int
    options, image = ctypes.POINTER(Options), ctypes.POINTER(Image)
    for name, result, arguments in (
            ("status_text", ctypes.c_char_p, [status]),
            ("from_bf16", None, [address, size, address]),
            ("open", status, [address, address, size]),
            ("verify", status, [address]),
            ("get_info", status, [address, ctypes.POINTER(RawInfo)]),
            ("scratch_len", size, [address]),
            ("lookup_batch", status, [address, address, size, address, address]),
            ("logits", status, [address, address, u32, u32, address, address]),
            ("top_k", status, [address, address, u32, address, address, address]),
            ("compress", status, [address, size, size, options, image]),
            ("compress_rows", status, [ROWS, address, size, size, options, image]),
            ("train", status, [ROWS, address, size, size, options, image]),
            ("append", status, [address, address, size, address, image]),
            ("replace", status, [address, u32, address, ctypes.c_float, image]),
            ("merge", status, [address, size, image]),
            ("shrink", status, [address, options, image]),
            ("save", status, [ctypes.c_char_p, image]),
            ("free", None, [image]),
            ("python_one_thread", None, [])):
        function = getattr(lib, "tte_" + name)
        function.restype, function.argtypes = result, arguments
    version = layout[1]
    return lib, layout[0], "%d.%d.%d" % (version >> 16, version >> 8 & 255, version & 255)


LIB, TABLE_SIZE, VERSION = _load()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=LIB.tte_python_one_thread)


def failure(status: int, what: str = "", size: int = 0) -> Exception:
    """The exception for a status; `what` is the file or call that it is about."""
    text = LIB.tte_status_text(status).decode()
    number = ctypes.get_errno()
    if status == Status.IO and number:
        return OSError(number, os.strerror(number), what or None)
    if status == Status.BUDGET and size:
        text += "; possible are %d bytes" % size
    text = "%s: %s" % (what, text) if what else text
    if status == Status.MEMORY:
        return MemoryError(text)
    if status == Status.RANGE:
        return IndexError(text)
    return Error(text, status, size)


def check(status: int, what: str = "", size: int = 0) -> None:
    if status != Status.OK:
        raise failure(status, what, size)


def choice(name: str, value: str, names: Tuple[str, ...]) -> int:
    if value not in names:
        raise ValueError("%s: %r, expected one of %s" % (name, value, ", ".join(names)))
    return names.index(value)


def text_of(path: Any) -> str:
    return os.fsdecode(os.fspath(path))


