"""Compressed tables as arrays that read their rows from an image."""
from __future__ import annotations

import ctypes
import mmap as _mmap
import os
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Iterator, Optional, Sequence, Tuple, Union

import numpy as np

from . import _library as library
from ._arrays import as_array, floats, number, to_float32, vectors, whole
from ._library import LIB, Status, check
from .calibration import Calibration

Progress = Callable[[float], Any]
_BLOCK = 4096          # rows decoded at a time where all are asked for
_SCANS = 90            # so many scans of all records cost as much as decoding all rows


@dataclass(frozen=True)
class Info:
    """What an image records of itself."""
    vocab: int
    dim: int
    bytes: int                  #: the whole image
    layout: str                 #: "table" or "token"
    coding: str                 #: "trellis", or "f32", "f16", "i8", "i4"
    shape: Tuple[int, ...]      #: layout "token": modes of a row
    ranks: Tuple[int, ...]      #: layout "token": largest rank at each bond
    rank: int                   #: layout "table": coefficients of a row
    centroids: int
    classes: int
    effort: int
    ratio: float                #: vocab * dim * 4 / bytes
    mean_numbers: float         #: entries of cores for each token, those of the basis included
    rel_error: float            #: |W - W^| / |W|, measured at compression
    weighted_error: float       #: the same in row weights and metric
    max_row_error: float        #: the worst row's relative error


class _View:
    """An opened image; whoever holds it holds its bytes."""

    def __init__(self, data: np.ndarray, name: str) -> None:
        self.data = data
        self.struct = (ctypes.c_uint64 * ((library.TABLE_SIZE + 7) // 8))()
        self.address = ctypes.addressof(self.struct)
        check(LIB.tte_open(self.address, data.ctypes.data, data.size), name)
        self.scratch_len = LIB.tte_scratch_len(self.address)

    def scratch(self) -> np.ndarray:
        return np.empty(self.scratch_len, np.float32)


class Table:
    """A compressed table of shape (vocab, dim), read as an array of float32 that does not change.

        len(t), t.shape, t.dtype       as an array has them
        t[5], t[-1], t[[1, 2]], t[3:9], t[mask], t[3, 7]
                                       rows, decoded when they are asked for; any index that numpy takes
        t @ q                          scores of all rows: q of shape (dim,) or (dim, n)
        t.topk(q, k)                   the best k of them
        numpy.asarray(t)               the whole table

    Many threads may read one table at once, and Python's lock is released meanwhile. Tables never change:
    append, replace and shrink give new ones.
    """

    def __init__(self, data: Any, name: str = "", verify: bool = False) -> None:
        view = memoryview(data)
        if not view.readonly or not view.contiguous:   # nobody may change the bytes while C reads them
            view = memoryview(view.tobytes())
        self._name = name
        self._view: Optional[_View] = _View(np.frombuffer(view, np.uint8), name)
        self._info = self._read_info()
        if verify:
            self.verify()

    # ---- where tables come from and go -------------------------------------------------------------------

    @classmethod
    def open(cls, path: Union[str, os.PathLike], verify: bool = False, mmap: bool = True) -> "Table":
        """The table in a .tte file. It is mapped: nothing is read before it is needed. verify reads all of it
        once and compares checksums; mmap=False reads it into memory."""
        name = library.text_of(path)
        with open(path, "rb") as file:
            if not mmap or os.fstat(file.fileno()).st_size == 0:
                return cls(file.read(), name, verify)
            return cls(_mmap.mmap(file.fileno(), 0, access=_mmap.ACCESS_READ), name, verify)

    @classmethod
    def frombytes(cls, data: Union[bytes, bytearray, memoryview, np.ndarray], verify: bool = False) -> "Table":
        """The table in the bytes of a .tte file. Bytes that cannot change are not copied."""
        return cls(data, "", verify)

    def tobytes(self) -> bytes:
        """The image: the bytes of the .tte file."""
        return self._opened().data.tobytes()

    def save(self, path: Union[str, os.PathLike]) -> None:
        """Write the image; under the path is the old file or the new one, whole, whatever happens."""
        view = self._opened()
        image = library.Image(view.data.ctypes.data, view.data.size)
        ctypes.set_errno(0)
        check(LIB.tte_save(os.fsencode(path), ctypes.byref(image)), library.text_of(path))

    def close(self) -> None:
        """Let go of the image. Arrays that were read stay; a second call is harmless."""
        self._view = None

    def __enter__(self) -> "Table":
        self._opened()
        return self

    def __exit__(self, *unused: Any) -> None:
        self.close()

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (self.tobytes(), self._name)

    def __copy__(self) -> "Table":
        return type(self)(self._opened().data, self._name)   # shares the bytes, closes on its own

    def __deepcopy__(self, memo: Any) -> "Table":
        return self.__copy__()

    def _opened(self) -> _View:
        view = self._view
        if view is None:
            raise ValueError("%s is closed" % (self._name or "the table"))
        return view

    # ---- what it is --------------------------------------------------------------------------------------

    def _read_info(self) -> Info:
        raw, view = library.RawInfo(), self._opened()
        check(LIB.tte_get_info(view.address, ctypes.byref(raw)), self._name)
        values = {name: getattr(raw, name) for name in (field[0] for field in library.RawInfo._fields_)}
        modes = raw.shape.modes
        values.update(layout=library.LAYOUTS[raw.layout], coding=library.CODINGS[raw.coding],
                      shape=tuple(raw.shape.dim[:modes]), ranks=tuple(raw.ranks[:modes + 1 if modes else 0]))
        return Info(**values)

    @property
    def info(self) -> Info:
        """Sizes, settings and errors, as the image records them."""
        return self._info

    @property
    def shape(self) -> Tuple[int, int]:
        return self._info.vocab, self._info.dim

    @property
    def ndim(self) -> int:
        return 2

    @property
    def dtype(self) -> np.dtype:
        """float32, of the rows that are read."""
        return np.dtype(np.float32)

    @property
    def size(self) -> int:
        """Numbers in the table: vocab * dim."""
        return self._info.vocab * self._info.dim

    @property
    def nbytes(self) -> int:
        """Bytes of the image."""
        return self._info.bytes

    def __len__(self) -> int:
        return self._info.vocab

    def __repr__(self) -> str:
        about = self._info
        return "<tt_embed.Table %s%d x %d, %.1f times smaller%s>" % (
            self._name + ": " if self._name else "", about.vocab, about.dim, about.ratio,
            ", closed" if self._view is None else "")

    def verify(self) -> None:
        """Read every byte and compare checksums: Error with Status.CHECKSUM when some have changed."""
        check(LIB.tte_verify(self._opened().address), self._name)

    # ---- rows ----------------------------------------------------------------------------------------------

    def take(self, ids: Any, out: Optional[np.ndarray] = None) -> np.ndarray:
        """Rows of an integer or an array of them, negative ones from the end: an array of shape
        ids.shape + (dim,), or `out`, which is contiguous float32 of that shape."""
        view, (vocab, dim) = self._opened(), self.shape
        array = np.asarray(ids)
        if array.size == 0 and not isinstance(ids, np.ndarray):
            array = array.astype(np.intp)
        if array.dtype.kind not in "iu":
            raise IndexError("rows are chosen by integers, slices and masks, not by %s" % (
                array.dtype if isinstance(ids, (np.ndarray, list, tuple)) else type(ids).__name__))
        if array.size:
            least, most = int(array.min()), int(array.max())
            if least < -vocab or most >= vocab:
                raise IndexError("row %d of a table of %d" % (least if least < -vocab else most, vocab))
            if least < 0:
                array = np.where(array < 0, array.astype(np.int64) + vocab, array)
        tokens = np.require(array, np.uint32, ["C", "A"])
        rows, scratch = _room("out", out, array.shape + (dim,)), view.scratch()
        check(LIB.tte_lookup_batch(view.address, tokens.ctypes.data, tokens.size, rows.ctypes.data,
                                   scratch.ctypes.data), self._name)
        return rows

    def __getitem__(self, index: Any) -> np.ndarray:
        first, rest = (index[0], index[1:]) if isinstance(index, tuple) and index else (index, ())
        if isinstance(first, (int, np.integer)) and not isinstance(first, bool):
            row = self.take(first)
            return row[rest] if rest else row
        if isinstance(first, slice):
            rows = self.take(np.arange(*first.indices(len(self))))
            return rows[(slice(None),) + rest] if rest else rows
        if isinstance(first, (list, np.ndarray)):
            chosen = np.asarray(first)
            if chosen.dtype == bool and chosen.ndim == 1:
                if len(chosen) != len(self):
                    raise IndexError("a mask of %d for a table of %d rows" % (len(chosen), len(self)))
                chosen = np.flatnonzero(chosen)
            if chosen.dtype != bool:
                if not rest:
                    return self.take(chosen if chosen.size or isinstance(first, np.ndarray) else [])
                different, places = np.unique(chosen, return_inverse=True)
                return self.take(different)[(places.reshape(chosen.shape),) + rest]
        np.broadcast_to(np.float32(0), self.shape)[index]   # what numpy refuses, before all rows are decoded
        return np.asarray(self)[index]

    def __iter__(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self), 512):
            yield from self[start:start + 512]

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> np.ndarray:
        if copy is False:
            raise ValueError("rows are decoded: an array of them is always a copy")
        out = np.empty(self.shape, self.dtype if dtype is None else dtype)
        for start in range(0, len(self), _BLOCK):
            out[start:start + _BLOCK] = self[start:start + _BLOCK]
        return out

    # ---- scores --------------------------------------------------------------------------------------------

    def scores(self, hidden: Any, start: int = 0, stop: Optional[int] = None) -> np.ndarray:
        """Inner products with the rows start to stop - 1, by default all: hidden of shape (.., dim) to
        (.., stop - start). They are computed from the records, without the rows; many vectors at once from rows
        that are decoded block by block."""
        view, (vocab, dim) = self._opened(), self.shape
        stop = whole("stop", vocab if stop is None else stop, 0, vocab)
        start = whole("start", start, 0, stop)
        hidden = vectors("hidden", hidden, dim)
        flat = hidden.reshape(-1, dim) if hidden.size else hidden.reshape(0, dim)
        out = np.empty((len(flat), stop - start), np.float32)
        if len(flat) > _SCANS:
            self._products(flat, start, stop, out)
        else:
            scratch = view.scratch()
            for vector, place in zip(flat, out):
                check(LIB.tte_logits(view.address, vector.ctypes.data, start, stop - start, place.ctypes.data,
                                     scratch.ctypes.data), "scores")
        return out.reshape(hidden.shape[:-1] + (stop - start,))

    def _products(self, flat: np.ndarray, start: int, stop: int, out: np.ndarray) -> None:
        if not np.isfinite(flat).all():
            raise library.failure(Status.NOT_FINITE, "scores")
        for first in range(start, stop, _BLOCK):
            last = min(first + _BLOCK, stop)
            np.matmul(flat, self[first:last].T, out=out[:, first - start:last - start])

    def __matmul__(self, other: Any) -> np.ndarray:
        """t @ q: q of shape (dim,) gives (vocab,), (dim, n) gives (vocab, n)."""
        other = as_array("@", other)
        if other.ndim not in (1, 2) or other.shape[0] != self.shape[1]:
            raise ValueError("@: shape %s, expected (%d,) or (%d, n)" % (
                other.shape, self.shape[1], self.shape[1]))
        return self.scores(other) if other.ndim == 1 else self.scores(other.T).T

    def topk(self, query: Any, k: int = 10) -> Tuple[np.ndarray, np.ndarray]:
        """The ids and scores of the k rows with the largest inner product, descending; equal scores in order of
        id. A query of shape (.., dim) gives two arrays of shape (.., k), int64 and float32."""
        view, (vocab, dim) = self._opened(), self.shape
        k = whole("k", k, 1, vocab)
        query = vectors("query", query, dim)
        shape = query.shape[:-1]
        ids, scores = np.empty(shape + (k,), np.uint32), np.empty(shape + (k,), np.float32)
        if ids.size:
            scratch = view.scratch()
            for vector, some, best in zip(query.reshape(-1, dim), ids.reshape(-1, k), scores.reshape(-1, k)):
                check(LIB.tte_top_k(view.address, vector.ctypes.data, k, some.ctypes.data, best.ctypes.data,
                                    scratch.ctypes.data), "topk")
        return ids.astype(np.int64), scores

    # ---- new tables ------------------------------------------------------------------------------------------

    def append(self, rows: Any, row_weight: Any = None) -> "Table":
        """A table with n rows more at its end: rows (n, dim), row_weight (n,), by default what most rows have."""
        view, image = self._opened(), library.Image()
        rows = floats("rows", rows, (None, self.shape[1]))
        weights = None if row_weight is None else positive("row_weight", row_weight, len(rows))
        return taken(LIB.tte_append(view.address, rows.ctypes.data, len(rows), _address(weights),
                                    ctypes.byref(image)), image, "append")

    def replace(self, token: int, row: Any, row_weight: Optional[float] = None) -> "Table":
        """A table with another row in the place of one: row (dim,)."""
        view, image = self._opened(), library.Image()
        if not -len(self) <= whole("token", token, -2**63, 2**63 - 1) < len(self):
            raise IndexError("row %d of a table of %d" % (token, len(self)))
        row = floats("row", row, (self.shape[1],))
        weight = 0.0 if row_weight is None else number("row_weight", row_weight, 3e38)
        return taken(LIB.tte_replace(view.address, int(token) % len(self), row.ctypes.data, weight,
                                     ctypes.byref(image)), image, "replace")

    def shrink(self, ratio: Optional[float] = None, **options: Any) -> "Table":
        """A smaller table made from this one, without the original; the options of compress."""
        view = self._opened()
        return make("shrink", lambda *both: LIB.tte_shrink(view.address, *both), *self.shape, ratio=ratio, **options)


def _address(array: Optional[np.ndarray]) -> Optional[int]:
    return None if array is None else array.ctypes.data


def _room(name: str, out: Optional[np.ndarray], shape: Tuple[int, ...]) -> np.ndarray:
    """`out` after its checks, or a new array."""
    if out is None:
        return np.empty(shape, np.float32)
    if not isinstance(out, np.ndarray) or out.dtype != np.float32 or not out.dtype.isnative:
        raise TypeError("%s: expected an array of float32" % name)
    if out.shape != shape:
        raise ValueError("%s: shape %s, expected %s" % (name, out.shape, shape))
    if not out.flags.c_contiguous or not out.flags.aligned or not out.flags.writeable:
        raise ValueError("%s: expected a contiguous array that may be written to" % name)
    return out


def positive(name: str, value: Any, count: int) -> np.ndarray:
    weights = floats(name, value, (count,))
    if not (np.isfinite(weights) & (weights > 0)).all():
        raise ValueError("%s: expected finite numbers above 0" % name)
    return weights


def taken(status: int, image: library.Image, what: str) -> Table:
    """The image that a call has made, as a table that owns a copy."""
    check(status, what, image.size)
    try:
        data = ctypes.string_at(image.data, image.size)
    finally:
        LIB.tte_free(ctypes.byref(image))
    return Table(data)


def make(what: str, call: Callable[..., int], vocab: int, dim: int, *, ratio: Optional[float] = None,
         eps: Optional[float] = None, effort: Optional[int] = None, row_weight: Any = None, metric: Any = None,
         calibration: Any = None, layout: str = "auto", coding: str = "auto",
         shape: Optional[Sequence[int]] = None, max_rank: Optional[int] = None, like: Optional[Table] = None,
         progress: Optional[Progress] = None) -> Table:
    """What call(options, image) makes, as a table; the options of compress."""
    options, image = library.Options(), library.Image()
    options.layout = library.choice("layout", layout, library.LAYOUTS)
    options.coding = library.choice("coding", coding, library.CODINGS)
    options.ratio = 0.0 if ratio is None else number("ratio", ratio, 3e38)
    options.eps = 0.0 if eps is None else number("eps", eps, 1)
    options.max_rank = 0 if max_rank is None else whole("max_rank", max_rank, 1, 2**31 - 1)
    options.effort = 0 if effort is None else whole("effort", effort, 1, 9)
    if shape is not None:
        options.shape.modes = whole("modes of shape", len(shape), 1, library.MAX_MODES)
        for k, side in enumerate(shape):
            options.shape.dim[k] = whole("shape", side, 1, 2**31 - 1)
    if calibration is not None:
        if not isinstance(calibration, Calibration):
            calibration = Calibration.load(calibration)
        calibration.check(vocab, dim)
        row_weight = calibration.row_weight if row_weight is None else row_weight
        metric = calibration.metric if metric is None else metric
    weights = None if row_weight is None else positive("row_weight", row_weight, vocab)
    matrix = None if metric is None else floats("metric", metric, (dim, dim))
    options.row_weight, options.metric = _address(weights), _address(matrix)
    view = None
    if like is not None:
        if not isinstance(like, Table):
            raise TypeError("like: expected a Table, got %s" % type(like).__name__)
        view = like._opened()
        options.like = view.address
        if like.shape[1] != dim:
            raise ValueError("like: a table of dim %d, expected %d" % (like.shape[1], dim))
        if ratio is not None or eps is not None or effort is not None:
            raise ValueError("like: has its own ratio, eps and effort")
    per_token = layout == "token" or (layout == "auto" and (shape is not None or max_rank is not None
                                                            or coding not in ("auto", "trellis")))
    if per_token:
        wrong = [name for name, value in (("row_weight", weights), ("metric", matrix), ("like", like),
                                          ("effort", effort)) if value is not None]
        wrong += ["coding trellis"] if coding == "trellis" else []
    else:
        wrong = [name for name, value in (("shape", shape), ("max_rank", max_rank)) if value is not None]
        wrong += ["coding " + coding] if coding not in ("auto", "trellis") else []
    if wrong:
        raise ValueError("%s: not with layout %s" % (wrong[0], "token" if per_token else "table"))

    raised = []

    def report(_: Any, fraction: float) -> int:   # Python sees Ctrl-C only here
        try:
            return 1 if progress is not None and progress(fraction) else 0
        except BaseException as error:   # pylint: disable=broad-except
            raised.append(error)
            return 1

    options.progress = library.PROGRESS(report)
    status = call(ctypes.byref(options), ctypes.byref(image))
    if raised:
        LIB.tte_free(ctypes.byref(image))
        raise raised[0]
    if status == Status.ARGUMENT and matrix is not None:
        raise ValueError("metric: expected a symmetric, positive semidefinite matrix of finite numbers, not zero")
    return taken(status, image, what)


def compress(array: Any, ratio: Optional[float] = None, *, eps: Optional[float] = None,
             effort: Optional[int] = None, row_weight: Any = None, metric: Any = None,
             calibration: Union[None, str, os.PathLike, Calibration] = None, layout: str = "auto",
             coding: str = "auto", shape: Optional[Sequence[int]] = None, max_rank: Optional[int] = None,
             like: Optional[Table] = None, progress: Optional[Progress] = None) -> Table:
    """A Table from an array of shape (vocab, dim).

    array        float32, float16 or float64, a tensor of torch, or bfloat16: of ml_dtypes, or its bits as uint16.
                 What is not contiguous float32 is converted a few thousand rows at a time
    ratio        at least this many times smaller than float32, every byte counted; default 8, unless eps says
                 how much
    eps          bound on the relative error of the table, in row weights and metric, or, with layout "token", of
                 every row
    effort       1 (fast) to 9 (smallest error); default 5; reading is as fast
    row_weight   (vocab,), above 0: how much each row matters
    metric       (dim, dim), symmetric, positive semidefinite: the error e of a row counts as e M e'
    calibration  a file with both, or a Calibration; row_weight and metric come before what it has
    layout       "table": one train for all rows; "token": one for each; default: "token" where shape or max_rank
                 is given
    coding       layout "token": "f32", "f16", "i8", "i4"; default: what does best on a sample
    shape        layout "token": the modes of a row, e.g. (8, 16); default: what suits the table
    max_rank     layout "token": no bond gets a larger rank
    like         a Table, also of no rows, that gives basis, centroids and classes, so that both merge
    progress     called now and then with a fraction rising to 1; what is true stops, with an Error
    """
    return _from_rows("compress", array, ratio=ratio, eps=eps, effort=effort, row_weight=row_weight, metric=metric,
                      calibration=calibration, layout=layout, coding=coding, shape=shape, max_rank=max_rank,
                      like=like, progress=progress)


def train(array: Any, ratio: Optional[float] = None, **options: Any) -> Table:
    """What compress learns of an array before it encodes, as a Table of no rows: compress(part, like=it) of all
    parts and merge make the same bytes as compress(array). The options of compress, layout "table"."""
    return _from_rows("train", array, ratio=ratio, **options)


def _from_rows(what: str, array: Any, **options: Any) -> Table:
    rows = as_array("array", array, (None, None))
    vocab, dim = rows.shape
    if what == "compress" and rows.dtype == np.float32 and rows.flags.c_contiguous and rows.flags.aligned \
            and rows.dtype.isnative:
        address = rows.ctypes.data
        return make(what, lambda *both: LIB.tte_compress(address, vocab, dim, *both), vocab, dim, **options)
    raised = []

    def bring(_: Any, first: int, count: int, to: int) -> int:
        try:
            part = to_float32(rows[first:first + count])
            ctypes.memmove(to, part.ctypes.data, part.nbytes)
            return 0
        except BaseException as error:   # pylint: disable=broad-except
            raised.append(error)
            return 1

    callback = library.ROWS(bring)
    call = LIB.tte_train if what == "train" else LIB.tte_compress_rows
    try:
        return make(what, lambda *both: call(callback, None, vocab, dim, *both), vocab, dim, **options)
    except Exception:
        if raised:
            raise raised[0] from None
        raise


def merge(tables: Iterable[Table]) -> Table:
    """Shards of one table, in order, as one."""
    parts = list(tables)
    for part in parts:
        if not isinstance(part, Table):
            raise TypeError("merge: expected Tables, got %s" % type(part).__name__)
    if not parts:
        raise ValueError("merge: expected at least one Table")
    views = [part._opened() for part in parts]
    joined = b"".join(ctypes.string_at(view.address, library.TABLE_SIZE) for view in views)
    room = (ctypes.c_uint64 * (len(joined) // 8 + 1)).from_buffer_copy(joined + bytes(16))
    image = library.Image()
    status = LIB.tte_merge(room, len(parts), ctypes.byref(image))
    if status == Status.ARGUMENT:
        raise ValueError("merge: the tables were not compressed alike: dim, settings, and basis must be the same")
    return taken(status, image, "merge")
