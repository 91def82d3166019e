"""Compression: options, forms of input, growing and joining, what is refused."""
import os
import shutil
import subprocess

import numpy as np
import pytest

import tt_embed
from conftest import relative
from tt_embed import Error, Status, Table, compress

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


@pytest.mark.parametrize("options, bound", [
    ({}, 0.03), ({"layout": "table", "ratio": 12, "effort": 1}, 0.08), ({"eps": 0.05}, 0.05),
    ({"coding": "f32", "shape": [6, 8], "max_rank": 6}, 1e-5), ({"layout": "token", "eps": 0.2}, 0.2),
    ({"layout": "token", "coding": "i4", "ratio": 3, "shape": (6, 8)}, 0.9)], ids=repr)
def test_options(dense, options, bound):
    made = compress(dense, **options)
    about, error = made.info, relative(made, dense)
    token = "shape" in options or options.get("layout") == "token"
    assert about.layout == ("token" if token else "table") and error <= bound * 1.0001
    assert about.coding == options.get("coding", about.coding if token else "trellis")
    assert abs(error - about.rel_error) <= 1e-3 * error + 1e-6
    assert about.ratio >= (options.get("ratio", 0) if "eps" in options or token else 8)
    assert about.shape == tuple(options.get("shape", about.shape))
    assert max(about.ranks, default=1) <= options.get("max_rank", 48)


def bf16_bits(array):
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def test_forms_of_input(dense):
    """Whatever form the numbers come in, the image is that of the float32 they mean."""
    half, bits = dense.astype(np.float16), bf16_bits(dense)
    wide = (bits.astype(np.uint32) << 16).view(np.float32)
    same = {
        "float64": (dense.astype(float), dense), "float16": (half, half.astype(np.float32)), "bfloat16": (bits, wide),
        "columns first": (np.asfortranarray(dense), dense), "a part": (np.tile(dense, 2)[:, :48], dense),
        "upside down": (dense[::-1][::-1], dense), "bytes the other way": (dense.astype(dense.dtype.newbyteorder()), dense),
        "bfloat16, the other way": (bits.astype(bits.dtype.newbyteorder()), wide), "lists": (dense.tolist(), dense),
        "a row": (dense[:1], dense[:1])}
    for name, (given, meant) in same.items():
        assert compress(given, eps=0.3, effort=1).tobytes() == compress(meant, eps=0.3, effort=1).tobytes(), name


def test_ml_dtypes(dense):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    given = dense.astype(ml_dtypes.bfloat16)
    made = compress(given)
    assert made.tobytes() == compress(given.astype(np.float32)).tobytes()
    assert np.array_equal(made @ given[5], made @ given[5].astype(np.float32))


def test_weights_and_metric(dense):
    plain = compress(dense, ratio=12)
    weights = np.linspace(4, 0.01, 600)
    weighted = compress(dense, ratio=12, row_weight=weights)
    assert relative(weighted[:60], dense[:60]) < 0.85 * relative(plain[:60], dense[:60])
    metric = np.diag(np.linspace(4, 0.01, 48)).astype(np.float32)
    measured = compress(dense, ratio=12, metric=metric)
    gaps = [((one[:] - dense) ** 2).sum(axis=0) for one in (measured, plain)]
    assert gaps[0] @ metric.diagonal() < 0.85 * (gaps[1] @ metric.diagonal()) and gaps[0].sum() > gaps[1].sum()
    expected = (gaps[0] @ metric.diagonal() / ((dense**2).sum(axis=0) @ metric.diagonal())) ** 0.5
    assert abs(measured.info.weighted_error - expected) < 1e-4


def test_train_like_and_merge(dense):
    weights = np.linspace(4, 0.01, 600, dtype=np.float32)
    metric = np.diag(np.linspace(4, 0.01, 48))
    basis = tt_embed.train(dense, 6, row_weight=weights, metric=metric)
    assert len(basis) == 0 and basis.shape == (0, 48) and basis.info.rank > 0
    assert np.asarray(basis).shape == (0, 48) and basis[:].shape == (0, 48) and (basis @ dense[0]).shape == (0,)
    parts = [compress(dense[part], like=basis, row_weight=weights[part], metric=metric)
             for part in (slice(250), slice(250, 600))]
    whole = compress(dense, 6, row_weight=weights, metric=metric)
    assert tt_embed.merge(parts).tobytes() == whole.tobytes()


def test_growing_and_shrinking(dense, table, decoded):
    more = table.append(dense[:3])
    assert len(more) == 603 and np.array_equal(more[:600], decoded) and relative(more[600:], dense[:3]) < 0.3
    assert len(table.append(dense[:3].astype(float), row_weight=[1.0, 2.0, 3.0])) == 603
    for token in (5, -595):
        other = table.replace(token, dense[9])
        assert relative(other[5], dense[9]) < 0.3 and np.array_equal(other[6:], decoded[6:])
    small = table.shrink(12, effort=1)
    assert small.info.ratio >= 12 and relative(small, dense) <= small.info.rel_error < 0.5
    assert len(table) == 600


def test_progress(dense):
    fractions = []
    compress(dense, ratio=6, progress=fractions.append)
    assert fractions and fractions == sorted(fractions) and 0 <= fractions[0] and fractions[-1] <= 1
    with pytest.raises(Error) as caught:
        compress(dense, progress=lambda fraction: True)
    assert caught.value.status == Status.CANCELLED

    def broken(fraction):
        raise ZeroDivisionError("at %g" % fraction)

    with pytest.raises(ZeroDivisionError):
        compress(dense, progress=broken)


def one_line(caught):
    assert "\n" not in str(caught.value) and str(caught.value)


@pytest.mark.parametrize("options", [
    {"layout": "row"}, {"coding": "f64"}, {"ratio": 0}, {"ratio": -1}, {"ratio": float("nan")}, {"eps": 2},
    {"eps": 0}, {"effort": 0}, {"effort": 10}, {"max_rank": -1}, {"shape": [2] * 17}, {"shape": []},
    {"shape": (0, 5)}, {"row_weight": np.ones(9)}, {"row_weight": np.zeros(600)}, {"row_weight": np.full(600, np.nan)},
    {"metric": np.eye(9)}, {"metric": np.full((48, 48), np.nan)}, {"metric": -np.eye(48)},
    {"metric": np.triu(np.ones((48, 48)))}, {"layout": "token", "coding": "trellis"}, {"layout": "token", "effort": 3},
    {"layout": "table", "max_rank": 3}, {"coding": "i8", "row_weight": np.ones(600)},
    {"layout": "table", "coding": "i8"}], ids=lambda options: repr(options)[:50].replace("\n", " "))
def test_options_out_of_their_range(dense, options):
    with pytest.raises(ValueError) as caught:
        compress(dense, **options)
    one_line(caught)


@pytest.mark.parametrize("options", [{"ratio": "8"}, {"ratio": True}, {"effort": 1.5}, {"like": "a.tte"}, {"wieght": 1},
                                     {"row_weight": ["a"] * 600}], ids=lambda options: repr(options)[:50])
def test_options_of_another_type(dense, options):
    with pytest.raises(TypeError) as caught:
        compress(dense, **options)
    one_line(caught)


@pytest.mark.parametrize("array, kind", [
    (np.ones(5), ValueError), (np.ones((0, 5)), ValueError), (np.ones((5, 0)), ValueError), (np.ones((2, 2, 2)), ValueError),
    (np.ones((5, 5), int), TypeError), (np.ones((5, 5), complex), TypeError), ("dog", TypeError), (None, TypeError)],
    ids=repr)
def test_arrays_that_are_none(array, kind):
    for call in (compress, tt_embed.train):
        with pytest.raises(kind) as caught:
            call(array)
        one_line(caught)


def test_statuses(dense, table, tmp_path):
    with pytest.raises(Error, match="possible are") as caught:
        compress(dense, ratio=100000)
    error = caught.value
    one_line(caught)
    assert error.status == Status.BUDGET
    assert compress(dense, ratio=0.99999 * dense.nbytes / error.bytes).nbytes <= error.bytes
    bad = dense.copy()
    bad[599, 47] = np.inf
    image = table.tobytes()
    changed = image[:-200] + bytes(8) + image[-192:]
    folder = tmp_path / "none" / "a.tte"
    for status, call in (
            (Status.SHAPE, lambda: compress(dense, shape=(3, 5))),
            (Status.NOT_FINITE, lambda: compress(bad)),
            (Status.NOT_FINITE, lambda: compress(bad.astype(float))),
            (Status.NOT_FINITE, lambda: compress(dense.astype(float) * 1e300)),
            (Status.FORMAT, lambda: Table.frombytes(bytes(500))),
            (Status.FORMAT, lambda: Table.frombytes(image + b" ")),
            (Status.TRUNCATED, lambda: Table.frombytes(b"")),
            (Status.TRUNCATED, lambda: Table.frombytes(image[:-1])),
            (Status.CHECKSUM, lambda: Table.frombytes(changed, verify=True))):
        with pytest.raises(Error) as caught:
            call()
        one_line(caught)
        assert caught.value.status == status
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(Error, match="empty") as caught:
        Table.open(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="none"):
        Table.open(folder)
    with pytest.raises(OSError, match="none") as caught:
        table.save(folder)
    assert caught.value.errno
    strangers = compress(dense[:9], max_rank=2)
    for call in (lambda: tt_embed.merge([]), lambda: tt_embed.merge([table, strangers]),
                 lambda: table.append(dense[:, :9]), lambda: table.append(dense, row_weight=np.ones(3)),
                 lambda: table.replace(0, dense), lambda: table.replace(0, dense[0], row_weight=-1.0),
                 lambda: compress(dense[:, :9], like=table), lambda: compress(dense, 6, like=table)):
        with pytest.raises(ValueError) as caught:
            call()
        one_line(caught)
    with pytest.raises(TypeError):
        tt_embed.merge([table, dense])
    with pytest.raises(IndexError):
        table.replace(600, dense[0])


@pytest.mark.skipif(not os.path.exists(os.path.join(ROOT, "examples", "ttembed.c")) or not shutil.which("cc"),
                    reason="no checkout or no compiler here")
def test_beside_the_command_line_tool(tmp_path):
    """ttembed reads what the package makes, images and calibrations, and gives the same rows."""
    tool, image, rows = str(tmp_path / "ttembed"), str(tmp_path / "a.tte"), str(tmp_path / "a.npy")
    subprocess.run(["cc", "-O1", "-o", tool, os.path.join(ROOT, "examples", "ttembed.c"), "-lm"], check=True)
    from tt_embed.files import read_table
    array = read_table(os.path.join(ROOT, "examples", "tiny-gpt2"))
    assert array.shape == (4096, 128) and array.dtype == np.float16
    made = compress(array, 16, effort=1)
    made.save(image)
    subprocess.run([tool, "export", image, rows, "--quiet"], check=True)
    assert np.array_equal(np.load(rows), made[:])
    weights, metric = np.linspace(2, 0.1, 4096), np.diag(np.linspace(2, 0.1, 128))
    tt_embed.Calibration(weights, metric, {"model": "m"}).save(tmp_path / "c.safetensors")
    subprocess.run([tool, "compress", os.path.join(ROOT, "examples", "tiny-gpt2"), image, "--ratio", "16", "--effort", "1",
                    "--calibration", str(tmp_path / "c.safetensors"), "--quiet", "--force"], check=True)
    theirs = Table.open(image).info
    ours = compress(array, 16, effort=1, calibration=tmp_path / "c.safetensors").info
    assert abs(theirs.weighted_error - ours.weighted_error) < 1e-6 and ours.weighted_error < 0.9 * ours.rel_error
