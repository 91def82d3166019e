"""test_numpy.py: examples/tte_numpy.py from outside, for tests/test_numpy.sh, which gives it a folder to
write to, with rows that ttembed has read from an image. Ends with 'N passed, N failed'."""
import os
import sys
import threading

import numpy

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "examples"))
import tte_numpy   # noqa: E402

FOLDER = sys.argv[1]
passed = failed = 0


def report(good, name):
    global passed, failed
    if good:
        passed += 1
    else:
        failed += 1
        print("FAILED", name, file=sys.stderr)


def path(name):
    return os.path.join(FOLDER, name)


def relative(a, b):
    return float(numpy.linalg.norm(a.astype(float) - b) / numpy.linalg.norm(b))


def refused(kind, word, name, call, *arguments, **options):
    """The call raises this kind of exception, with one line that has the word in it."""
    try:
        call(*arguments, **options)
        report(False, "%s: nothing was raised" % name)
    except kind as error:
        text = str(error)
        good = type(error) is kind and word in text and "\n" not in text
        report(good, "%s: %r" % (name, error))
    except Exception as error:   # pylint: disable=broad-except
        report(False, "%s: %r" % (name, error))


# ---- what ttembed made and read ---------------------------------------------------------------------

exported = numpy.load(path("gpt2.npy"))
table = tte_numpy.open(path("gpt2.tte"))
report(len(table) == 4096 and table.dim == 128 and exported.shape == (4096, 128), "sizes")
report((table[:] == exported).all(), "all rows are those that ttembed exports")
report((table[17] == exported[17]).all() and table[17].shape == (128,), "one row")
ids = numpy.array([[5, 4095], [0, 5], [77, 5]])
report((table[ids] == exported[ids]).all() and table[ids].shape == (3, 2, 128), "rows of an array of ids")
for dtype in ("u1", "i2", "u4", "i8", ">i4", "u8"):
    report((table[ids.astype(dtype) % 100] == exported[ids.astype(dtype) % 100]).all(), "ids of " + dtype)
report((table[ids[:, ::-1].T] == exported[ids[:, ::-1].T]).all(), "ids that are not contiguous")
report(table[[]].shape == (0, 128) and table[numpy.empty((2, 0), int)].shape == (2, 0, 128), "no ids")
report((table[100:3:-7] == exported[100:3:-7]).all(), "a slice")
report((table[numpy.uint32(4095)] == exported[4095]).all(), "a scalar of numpy")
out = numpy.full((2, 128), 7, numpy.float32)
report(table.lookup([9, 8], out=out) is out and (out == exported[[9, 8]]).all(), "out=")
view = numpy.zeros((4, 128), numpy.float32)
table.lookup([1, 2], out=view[1:3])
report((view[1:3] == exported[[1, 2]]).all() and not view[::3].any(), "out= of a part")

info = table.info()
report(info["vocab"] == 4096 and info["dim"] == 128 and info["bytes"] == os.path.getsize(path("gpt2.tte"))
       and info["layout"] == "table" and info["coding"] == "trellis" and info["shape"] == info["ranks"] == ()
       and 64 < info["rank"] <= 128 and info["effort"] == 5 and info["classes"] >= 1
       and abs(info["ratio"] - 4096 * 512 / info["bytes"]) < 1e-9, "info: %r" % info)
with open(path("info.json")) as file:
    import json
    told = json.load(file)
report(all(abs(info[key] - told[key]) < 1e-6 for key in
           ("rel_error", "weighted_error", "max_row_error", "ratio", "rank", "centroids", "classes")),
       "info is that of ttembed")

hidden = numpy.random.default_rng(4).standard_normal(128).astype(numpy.float32)
exact = exported.astype(float) @ hidden
near = 3e-4 * numpy.linalg.norm(exported, axis=1).max() * numpy.linalg.norm(hidden)   # rounding of lookup
report(numpy.abs(table.logits(hidden) - exact).max() < near, "logits")
some = table.logits(hidden, first=100, count=50)
report(some.shape == (50,) and numpy.abs(some - exact[100:150]).max() < near, "logits of some")
room = numpy.empty(4096, numpy.float32)
report(table.logits(hidden, out=room) is room and (room == table.logits(hidden)).all(), "logits, out=")
tokens, scores = table.top_k(hidden, 12)
best = numpy.sort(exact)[::-1][:12]
report(len(set(tokens)) == 12 and numpy.abs(exact[tokens] - best).max() < 2 * near
       and numpy.abs(scores - exact[tokens]).max() < near and (numpy.diff(scores) <= 0).all(), "top_k")
tokens, scores = table.nearest(17, 5)
lengths = numpy.linalg.norm(exported.astype(float), axis=1)
cosines = exported.astype(float) @ exported[17] / (lengths * lengths[17])
cosines[17] = -2
best = numpy.sort(cosines)[::-1][:5]
report(len(set(tokens)) == 5 and numpy.abs(cosines[tokens] - best).max() < 2e-3
       and numpy.abs(scores - cosines[tokens]).max() < 1e-3, "nearest")

# Threads, each with its own scratch.
good = []


def read(number):
    chosen = numpy.random.default_rng(number).integers(0, 4096, 300)
    good.append(all((table[chosen] == exported[chosen]).all() for _ in range(5)))


threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
report(good == [True] * 4, "four threads")

# ---- compression ---------------------------------------------------------------------------------------

rng = numpy.random.default_rng(5)
dense = (rng.standard_normal((600, 12)) @ rng.standard_normal((12, 48))
         + 0.3 * rng.standard_normal((600, 48))).astype(numpy.float32)
for options, bound in (
        ({}, 0.03), ({"layout": "table", "ratio": 12, "effort": 1}, 0.08), ({"eps": 0.05}, 0.05),
        ({"coding": "f32", "shape": [6, 8], "max_rank": 6}, 1e-5), ({"layout": "token", "eps": 0.2}, 0.2),
        ({"layout": "token", "coding": "i4", "ratio": 3, "shape": (6, 8)}, 0.9)):
    made = tte_numpy.compress(dense, **options)
    about = made.info()
    error = relative(made[:], dense)
    name = "compress %r: error %g, %r" % (options, error, about)
    token = "shape" in options or options.get("layout") == "token"
    good = about["layout"] == ("token" if token else "table") and error <= bound * 1.0001
    good = good and about["coding"] == options.get("coding", about["coding"] if token else "trellis")
    good = good and abs(error - about["rel_error"]) <= 1e-3 * error + 1e-6
    good = good and about["ratio"] >= (options.get("ratio", 0) if "eps" in options or token else 8)
    good = good and about["shape"] == tuple(options.get("shape", about["shape"]))
    good = good and max(about["ranks"], default=1) <= options.get("max_rank", 48)
    report(good, name)

made = tte_numpy.compress(dense, ratio=6)
made.save(path("made.tte"))
for again in (tte_numpy.open(path("made.tte"), verify=True), tte_numpy.load(path("made.tte"))):
    with again:
        report((again[:] == made[:]).all() and again.info() == made.info(), "save, open and load")
weights = numpy.linspace(4, 0.01, 600, dtype=numpy.float32)
made = tte_numpy.compress(dense, ratio=12)
weighted = tte_numpy.compress(dense, ratio=12, row_weight=weights)
report(relative(weighted[:60], dense[:60]) < 0.85 * relative(made[:60], dense[:60]), "row_weight")
metric = numpy.diag(numpy.linspace(4, 0.01, 48, dtype=numpy.float32))
measured = tte_numpy.compress(dense, ratio=12, metric=metric)
gaps = [((table[:] - dense) ** 2).sum(axis=0) for table in (measured, made)]
report(gaps[0] @ metric.diagonal() < 0.85 * (gaps[1] @ metric.diagonal()) and gaps[0].sum() > gaps[1].sum()
       and abs(measured.info()["weighted_error"]
               - (gaps[0] @ metric.diagonal() / ((dense**2).sum(axis=0) @ metric.diagonal()))**0.5) < 1e-4,
       "metric: %r" % measured.info())
both = {"row_weight": weights, "metric": metric}
basis = tte_numpy.train(dense, ratio=6, **both)
report(len(basis) == 0 and basis.dim == 48 and basis.info()["rank"] > 0, "train: %r" % basis.info())
parts = [tte_numpy.compress(dense[part], like=basis, row_weight=weights[part], metric=metric)
         for part in (slice(250), slice(250, 600))]
tte_numpy.merge(parts).save(path("joined.tte"))
tte_numpy.compress(dense, ratio=6, **both).save(path("whole.tte"))
with open(path("joined.tte"), "rb") as a, open(path("whole.tte"), "rb") as b:
    report(a.read() == b.read(), "train, like and merge: the same bytes")
more = made.append(dense[:3])
report(len(more) == 603 and (more[:600] == made[:]).all() and relative(more[600:], dense[:3]) < 0.3,
       "append")
other = made.replace(5, dense[9])
report(relative(other[5], dense[9]) < 0.3 and (other[6:] == made[6:]).all(), "replace")
small = made.shrink(ratio=12, effort=1)
report(small.info()["ratio"] >= 12 and relative(small[:], dense) <= small.info()["rel_error"] < 0.5,
       "shrink: %r" % small.info())
coded = tte_numpy.compress(dense[:9], max_rank=2)
fractions = []
tte_numpy.compress(dense, ratio=6, progress=fractions.append)
report(fractions and fractions == sorted(fractions) and 0 <= fractions[0] and fractions[-1] <= 1,
       "progress")

# ---- what must be refused ------------------------------------------------------------------------------

refused(tte_numpy.Error, "cancelled", "progress that stops", tte_numpy.compress, dense,
        progress=lambda fraction: True)


def broken(fraction):
    raise ZeroDivisionError("at %g" % fraction)


refused(ZeroDivisionError, "at 0", "progress that raises", tte_numpy.compress, dense, progress=broken)
for name, kind, word, tokens in (
        ("beyond", IndexError, "token 4096: the table has 0 to 4095", 4096),
        ("negative", IndexError, "token -1", -1), ("in an array", IndexError, "token 5000", [1, 5000, 2]),
        ("2^32 and more", IndexError, "token 4294967296", [2**32]),
        ("beyond 64 bits", TypeError, "dtype object", [2**70]),
        ("floats", TypeError, "float64", [1.0]), ("bools", TypeError, "bool", [True]),
        ("text", TypeError, "expected integers", "dog"), ("none", TypeError, "expected integers", None)):
    refused(kind, word, "ids: " + name, table.lookup, tokens)
good = numpy.zeros((2, 128), numpy.float32)
for name, kind, word, out in (
        ("a list", TypeError, "out: expected a numpy array", [0]),
        ("f8", TypeError, "float64", good.astype("f8")),
        ("too small", ValueError, "shape (2, 127), expected (2, 128)", good[:, :127].copy()),
        ("one row", ValueError, "shape", good[0]), ("a part", ValueError, "contiguous",
                                                    numpy.zeros((2, 256), numpy.float32)[:, ::2]),
        ("bytes the other way", ValueError, "byte order", good.astype(">f4" if sys.byteorder == "little"
                                                                       else "<f4")),
        ("not aligned", ValueError, "contiguous", numpy.zeros(1025, "u1")[1:].view("f4").reshape(2, 128)),
        ("read-only", ValueError, "read-only", numpy.frombuffer(bytes(1024), "f4").reshape(2, 128))):
    refused(kind, word, "out: " + name, table.lookup, [1, 2], out=out)
refused(ValueError, "hidden: shape (127,)", "logits: short", table.logits, hidden[:127])
refused(TypeError, "hidden", "logits: ints", table.logits, numpy.zeros(128, int))
refused(ValueError, "count: 97, expected 0 to 96", "logits: count", table.logits, hidden, 4000, 97)
refused(ValueError, "k: 0", "top_k: 0", table.top_k, hidden, 0)
refused(ValueError, "k: 4097", "top_k: too many", table.top_k, hidden, 4097)
refused(tte_numpy.Error, "NaN", "top_k: NaN", table.top_k, numpy.full(128, numpy.nan, numpy.float32))
refused(TypeError, "table: dtype float64", "compress: float64", tte_numpy.compress, dense.astype(float))
refused(TypeError, "list", "compress: a list", tte_numpy.compress, [[1.0]])
refused(ValueError, "table: shape (48,)", "compress: one row", tte_numpy.compress, dense[0])
refused(ValueError, "table: shape (0, 48)", "compress: no rows", tte_numpy.compress, dense[:0])
refused(ValueError, "contiguous", "compress: columns first", tte_numpy.compress,
        numpy.asfortranarray(dense))
refused(ValueError, "layout: 'row'", "compress: layout", tte_numpy.compress, dense, layout="row")
refused(ValueError, "coding: 'f64'", "compress: coding", tte_numpy.compress, dense, coding="f64")
refused(TypeError, "ratio", "compress: ratio of text", tte_numpy.compress, dense, ratio="8")
refused(ValueError, "max_rank: -1", "compress: max_rank", tte_numpy.compress, dense, max_rank=-1)
refused(ValueError, "modes", "compress: modes", tte_numpy.compress, dense, shape=[2] * 17)
refused(ValueError, "row_weight: shape", "compress: row_weight", tte_numpy.compress, dense,
        row_weight=weights[:9])
refused(ValueError, "metric: shape", "compress: metric", tte_numpy.compress, dense, metric=metric[:9])
refused(TypeError, "unexpected", "compress: an unknown option", tte_numpy.compress, dense, wieght=1)
refused(ValueError, "effort: 10", "compress: effort", tte_numpy.compress, dense, effort=10)
refused(TypeError, "like", "compress: like", tte_numpy.compress, dense, like="made.tte")
refused(TypeError, "merge", "merge of something else", tte_numpy.merge, [made, dense])
refused(tte_numpy.Error, "argument", "merge of nothing", tte_numpy.merge, [])
refused(tte_numpy.Error, "argument", "merge of strangers", tte_numpy.merge, [made, coded])
bad = dense.copy()
bad[599, 47] = numpy.inf
for name, status, call in (
        ("no setting", "BUDGET", lambda: tte_numpy.compress(dense, ratio=100000)),
        ("modes", "SHAPE", lambda: tte_numpy.compress(dense, shape=(3, 5))),
        ("eps of 2", "ARGUMENT", lambda: tte_numpy.compress(dense, eps=2)),
        ("trellis of a token", "ARGUMENT",
         lambda: tte_numpy.compress(dense, layout="token", coding="trellis")),
        ("infinity", "NOT_FINITE", lambda: tte_numpy.compress(bad)),
        ("not an image", "FORMAT", lambda: tte_numpy.open(path("gpt2.npy"))),
        ("an empty file", "FORMAT", lambda: tte_numpy.open(path("empty"))),
        ("a short file", "TRUNCATED", lambda: tte_numpy.open(path("short.tte"))),
        ("changed bytes", "CHECKSUM", lambda: tte_numpy.load(path("changed.tte"))),
        ("a folder that is none", "IO", lambda: made.save(path("none/a.tte")))):
    try:
        call()
        report(False, name + ": nothing was raised")
    except tte_numpy.Error as error:
        if status == "BUDGET":
            report(tte_numpy.compress(dense, ratio=0.99999 * dense.nbytes / error.bytes).info()["bytes"]
                   <= error.bytes, "the bytes that a budget names")
        report(error.name == "TTE_ERR_" + status and error.status > 0 and "\n" not in str(error),
               "%s: %r %s" % (name, error, error.name))
refused(FileNotFoundError, "none.tte", "no file", tte_numpy.open, path("none.tte"))
with tte_numpy.open(path("changed.tte")) as changed:
    refused(tte_numpy.Error, "checksum", "verify", changed.verify)

row = table[3]
table.close()
table.close()
report((row == exported[3]).all() and "closed" in repr(table), "rows outlive their table")
for name, call in (("lookup", lambda: table[3]), ("info", table.info),
                   ("save", lambda: table.save(path("no"))), ("with", table.__enter__),
                   ("like", lambda: tte_numpy.compress(exported, like=table))):
    refused(ValueError, "closed", "closed: " + name, call)

print("%d passed, %d failed" % (passed, failed))
sys.exit(failed != 0)
