"""Tables as arrays: what reading gives is what the decoded table has."""
import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

import tt_embed
from conftest import relative


def test_version_and_names():
    assert tt_embed.__version__.count(".") == 2
    for name in tt_embed.__all__:
        assert getattr(tt_embed, name) is not None


def test_what_an_array_has(table, dense, decoded):
    assert len(table) == 600 and table.shape == (600, 48) and table.ndim == 2 and table.size == dense.size
    assert table.dtype == np.float32 and decoded.dtype == np.float32 and decoded.shape == (600, 48)
    assert table.nbytes == len(table.tobytes()) == table.info.bytes
    assert "600 x 48" in repr(table)


def test_info(table, dense, decoded):
    about = table.info
    assert (about.vocab, about.dim, about.layout, about.coding) == (600, 48, "table", "trellis")
    assert about.shape == about.ranks == () and about.effort == 5 and 6 <= about.ratio
    assert abs(about.ratio - dense.nbytes / about.bytes) < 1e-9
    assert abs(about.rel_error - relative(decoded, dense)) < 1e-6
    assert about.weighted_error == about.rel_error
    row_errors = np.linalg.norm(decoded.astype(float) - dense, axis=1) / np.linalg.norm(dense.astype(float), axis=1)
    assert abs(about.max_row_error - row_errors.max()) < 1e-5


INDICES = [
    5, -1, np.int16(7), np.uint8(200), np.array(3), [1, 2], [], [[1, 2], [3, -600]], np.array([5, 5, 599]),
    np.array([[0], [-1]], np.int8), np.arange(12, dtype=">i4")[::-3], np.empty((2, 0), int), slice(3, 9),
    slice(None), slice(500, 2, -7), slice(700, 800), slice(-3, None), np.arange(600) % 7 == 0, [True] * 600,
    np.zeros(600, bool), (3, 7), (-2, slice(4, 9)), (slice(2, 5), 1), ([1, 2], slice(3, 5)), ([1, 2], [3, 4]),
    ([[1], [2]], [3, 4]), (np.arange(600) < 3, 2), (5, None), (slice(0, 3), None), Ellipsis, (Ellipsis, 3), None,
    (), (5,), ([3, 1],), (5, Ellipsis), (slice(None, 4), np.arange(48) % 2 == 0), True]


@pytest.mark.parametrize("index", INDICES, ids=lambda index: repr(index)[:40])
def test_indexing_is_that_of_numpy(table, decoded, index):
    got, expected = table[index], decoded[index]
    assert got.shape == expected.shape and got.dtype == expected.dtype
    assert np.array_equal(got, expected)


def test_a_mask_of_numbers(table, decoded):
    mask = decoded > 1
    assert np.array_equal(table[mask], decoded[mask])


@pytest.mark.parametrize("index", [600, -601, [0, 600], [2**40], np.array([-601]), 1.5, "dog", [1.5], [True],
                                   np.ones(599, bool), (0, 48), (0, 0, 0), ([0], 99), {}, 2**70])
def test_indices_that_numpy_refuses(table, decoded, index):
    with pytest.raises(IndexError):
        decoded[index]
    with pytest.raises(IndexError) as caught:
        table[index]
    assert "\n" not in str(caught.value)


def test_take(table, decoded):
    out = np.zeros((4, 48), np.float32)
    assert table.take([9, 8], out=out[1:3]).base is out
    assert np.array_equal(out[1:3], decoded[[9, 8]]) and not out[::3].any()
    assert np.array_equal(np.take(table, [1, 2], axis=0), decoded[[1, 2]])
    for bad in (out, out[:2, :47], np.zeros((2, 96), np.float32)[:, ::2], np.frombuffer(bytes(384), "f4").reshape(2, 48)):
        with pytest.raises(ValueError):
            table.take([9, 8], out=bad)
    for bad in (out[:2].astype(float), [0], out[:2].astype(">f4" if sys.byteorder == "little" else "<f4")):
        with pytest.raises(TypeError):
            table.take([9, 8], out=bad)


def test_iteration_and_conversion(table, decoded):
    assert np.array_equal(np.stack(list(table)), decoded)
    assert np.array_equal(np.asarray(table, np.float16), decoded.astype(np.float16))
    assert np.array_equal(np.array(table, dtype=float), decoded.astype(float))
    with pytest.raises(ValueError):
        table.__array__(copy=False)


def near(decoded, vectors):
    """What scores may differ by: rounding of the rows, 3e-4 of norm times norm."""
    return 3.1e-4 * np.linalg.norm(decoded, axis=1).max() * np.linalg.norm(vectors, axis=-1).max()


@pytest.mark.parametrize("count", [None, 0, 1, 3, 100])
def test_matmul(table, decoded, count):
    q = np.random.default_rng(4).standard_normal((48,) if count is None else (48, count)).astype(np.float32)
    got, exact = table @ q, decoded.astype(float) @ q
    assert got.shape == exact.shape and got.dtype == np.float32
    assert not exact.size or np.abs(got - exact).max() <= near(decoded, q.T)
    assert np.abs(table @ q.astype(float) - got).max(initial=0) < 1e-3


def test_scores(table, decoded):
    hidden = np.random.default_rng(4).standard_normal((2, 3, 48)).astype(np.float32)
    exact = hidden.astype(float) @ decoded.T
    got = table.scores(hidden)
    assert got.shape == (2, 3, 600) and np.abs(got - exact).max() <= near(decoded, hidden)
    some = table.scores(hidden[0, 0], 100, 150)
    assert some.shape == (50,) and np.abs(some - exact[0, 0, 100:150]).max() <= near(decoded, hidden)
    many = table.scores(np.tile(hidden[0], (40, 1)), 7, 11)
    assert many.shape == (120, 4) and np.abs(many[:3] - exact[0, :, 7:11]).max() <= near(decoded, hidden)
    for call in (lambda: table.scores(hidden[..., :47]), lambda: table.scores(hidden, 601), lambda: table @ hidden,
                 lambda: table.scores(hidden, 5, 4), lambda: table @ hidden[0], lambda: table.scores(1.0)):
        with pytest.raises(ValueError):
            call()
    with pytest.raises(TypeError):
        table @ np.arange(48)


@pytest.mark.parametrize("count", [1, 100])
def test_scores_of_what_is_not_finite(table, count):
    hidden = np.zeros((count, 48), np.float32)
    hidden[-1, 3] = np.nan
    with pytest.raises(tt_embed.Error) as caught:
        table.scores(hidden)
    assert caught.value.status == tt_embed.Status.NOT_FINITE


def test_topk(table, decoded):
    q = np.random.default_rng(4).standard_normal((2, 48)).astype(np.float32)
    ids, scores = table.topk(q, 12)
    assert ids.shape == scores.shape == (2, 12) and ids.dtype == np.int64 and scores.dtype == np.float32
    exact = q.astype(float) @ decoded.T
    assert np.abs(np.take_along_axis(exact, ids, 1) - -np.sort(-exact)[:, :12]).max() <= 2 * near(decoded, q)
    assert np.abs(scores - np.take_along_axis(exact, ids, 1)).max() <= near(decoded, q)
    assert (np.diff(scores) <= 0).all()
    one, best = table.topk(q[1], 3)
    assert np.array_equal(one, ids[1, :3]) and np.array_equal(best, scores[1, :3])
    assert table.topk(q[0])[0].shape == (10,)
    assert table.topk(q[:0], 3)[0].shape == (0, 3)
    for k in (0, 601):
        with pytest.raises(ValueError):
            table.topk(q, k)
    with pytest.raises(TypeError):
        table.topk(q, 1.5)


def test_files(table, decoded, tmp_path):
    path = tmp_path / "a.tte"
    table.save(path)
    assert path.read_bytes() == table.tobytes()
    for again in (tt_embed.Table.open(path), tt_embed.Table.open(str(path), verify=True),
                  tt_embed.Table.open(path, mmap=False), tt_embed.Table.frombytes(path.read_bytes()),
                  tt_embed.Table.frombytes(bytearray(path.read_bytes())),
                  tt_embed.Table.frombytes(np.fromfile(path, np.uint8))):
        with again:
            assert np.array_equal(again[:], decoded) and again.info == table.info
    data = bytearray(path.read_bytes())
    copied = tt_embed.Table.frombytes(data)
    data[:] = bytes(len(data))
    assert np.array_equal(copied[:], decoded)


def test_closed(table, decoded, tmp_path):
    table.save(tmp_path / "a.tte")
    other = tt_embed.Table.open(tmp_path / "a.tte")
    again = copy.copy(other)
    row = other[3]
    with other as entered:
        assert entered is other
    other.close()
    assert np.array_equal(row, decoded[3]) and np.array_equal(again[3], row)
    assert "closed" in repr(other) and len(other) == 600
    for call in (lambda: other[3], lambda: other @ row, lambda: other.topk(row), other.tobytes, other.verify,
                 lambda: other.save(tmp_path / "b.tte"), other.__enter__, lambda: pickle.dumps(other)):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_pickle_and_copy(table, decoded, tmp_path):
    table.save(tmp_path / "a.tte")
    for one in (table, tt_embed.Table.open(tmp_path / "a.tte")):
        for other in (pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one)):
            assert np.array_equal(other[:], decoded) and other.info == table.info
    error = tt_embed.Error("no", 6, 99)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.status, again.bytes) == ("no", tt_embed.Status.BUDGET, 99)


def test_threads(table, decoded):
    good = []

    def read(seed):
        chosen = np.random.default_rng(seed).integers(0, 600, 300)
        q = decoded[seed]
        scores = table @ q
        good.append(all(np.array_equal(table[chosen], decoded[chosen]) and np.array_equal(table @ q, scores)
                        for _ in range(20)))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert good == [True] * 4


def test_other_threads_run_meanwhile(dense):
    """The interpreter's lock is free while C compresses: no call of Python comes between two of progress."""
    counted, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            counted[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    try:
        before = counted[0]
        tt_embed.compress(np.tile(dense, (4, 1)), ratio=6)
        assert counted[0] > before + 100
    finally:
        stop.set()
        thread.join()


def in_a_process(table):
    return float(np.asarray(table).sum()), float((table @ table[5]).sum()), tt_embed.compress(table[:], 8).nbytes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_process_made_by_fork(table):
    """Threads of OpenMP that the parent had are gone in the child."""
    expected = in_a_process(table)
    code = ("import pickle, sys, os, numpy as np, tt_embed; t = pickle.load(sys.stdin.buffer);"
            "f = lambda: (float(np.asarray(t).sum()), float((t @ t[5]).sum()), tt_embed.compress(t[:], 8).nbytes);"
            "a = f(); child = os.fork();\n"
            "if child == 0: os._exit(0 if f() == a else 1)\n"
            "print(os.waitpid(child, 0)[1], a)")
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(table), capture_output=True, timeout=120,
                          env=dict(os.environ, OMP_NUM_THREADS="3"))
    assert done.stdout.decode().strip() == "0 %s" % (expected,), done.stderr.decode()


def test_a_pool_of_processes(table):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(np.asarray, (table,)).shape == (600, 48)
