"""The calibration file, tables in files, the command line."""
import json
import struct
import subprocess
import sys

import numpy as np
import pytest

import tt_embed
from tt_embed import Calibration, calibration, files
from tt_embed.__main__ import main


@pytest.fixture
def made(dense):
    rng = np.random.default_rng(1)
    moment = dense.T.astype(float) @ dense
    return Calibration(rng.random(600) + 0.1, calibration.metric_of(moment), {"model": "m", "tokens": "5"})


def test_weights_and_metric():
    weights = calibration.weights_of(np.array([0.0, 1.0, 16.0, 0.0]), opener=3)
    assert weights.dtype == np.float32 and (weights > 0).all()
    assert np.isclose(weights[2] / weights[1], 16**calibration.POWER)
    assert np.isclose(weights[3] / weights[1], (17 * calibration.OPENER) ** calibration.POWER)
    moment = np.diag([1.0, 3.0])
    metric = calibration.metric_of(moment)
    assert np.isclose(np.trace(metric), 2) and np.isclose(
        metric[0, 0], calibration.MIXTURE * 0.5 + 1 - calibration.MIXTURE)


def test_file(made, dense, tmp_path):
    path = tmp_path / "c.safetensors"
    made.save(path)
    again = Calibration.load(path)
    assert np.array_equal(again.row_weight, made.row_weight) and np.array_equal(again.metric, made.metric)
    assert again.about == made.about
    whole = tt_embed.compress(dense, 12, row_weight=made.row_weight, metric=made.metric).tobytes()
    assert tt_embed.compress(dense, 12, calibration=path).tobytes() == whole
    assert tt_embed.compress(dense, 12, calibration=made).tobytes() == whole
    plain = tt_embed.compress(dense, 12)
    assert tt_embed.compress(dense, 12, calibration=path, row_weight=np.ones(600), metric=np.eye(48)).tobytes() \
        == tt_embed.compress(dense, 12, row_weight=np.ones(600), metric=np.eye(48)).tobytes() != whole
    assert plain.shrink(20, calibration=path).info.ratio >= 20
    with pytest.raises(ValueError, match="calibration of m: for 600 rows, the table has 9"):
        tt_embed.compress(dense[:9], calibration=path)
    with pytest.raises(ValueError, match="for rows of 48, the table's have 8"):
        tt_embed.compress(dense[:, :8], calibration=path)
    Calibration(metric=made.metric).save(path)
    assert Calibration.load(path).row_weight is None
    assert tt_embed.compress(dense[:99], calibration=path).shape == (99, 48)


def test_file_is_that_of_safetensors(made, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "c.safetensors"
    made.save(path)
    assert np.array_equal(safetensors.load_file(path)["metric"], made.metric)
    safetensors.save_file({"row_weight": made.row_weight}, path, {"model": "x"})
    again = Calibration.load(path)
    assert again.about == {"model": "x"} and np.array_equal(again.row_weight, made.row_weight) and again.metric is None


@pytest.mark.parametrize("weights, metric", [
    (None, None), ([1.0, 0.0], None), ([1.0, np.nan], None), ([-1.0], None), (None, np.ones((2, 3))),
    (None, [[1.0, 2.0], [0.0, 1.0]]), (None, [[1.0, np.inf], [np.inf, 1.0]]), (None, np.zeros((2, 2))),
    (None, [[1.0, 0.0], [0.0, -1.0]]), ([[1.0]], None)], ids=repr)
def test_what_is_no_calibration(weights, metric):
    with pytest.raises(ValueError) as caught:
        Calibration(weights, metric)
    assert "\n" not in str(caught.value)


def write(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.mark.parametrize("header", [
    b"", b"[]", b"{", {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
    {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 40]}}, {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
    {"a": {"dtype": "F32", "shape": [1]}}, {"a": 3}, {"a": {"dtype": "F32", "shape": "x", "data_offsets": [0, 4]}},
    {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, {"__metadata__": 3}], ids=repr)
def test_what_is_no_safetensors(tmp_path, header):
    path = tmp_path / "a.safetensors"
    write(path, header, bytes(8))
    for call in (files.SafeTensors, Calibration.load):
        with pytest.raises(ValueError, match="not a safetensors file"):
            call(path)
    path.write_bytes(b"123")
    with pytest.raises(ValueError, match="not a safetensors file"):
        files.SafeTensors(path)


def test_tables_in_files(dense, tmp_path):
    half = dense.astype(np.float16)
    np.save(tmp_path / "a.npy", half)
    assert np.array_equal(files.read_table(tmp_path / "a.npy"), half)
    np.save(tmp_path / "b.npy", half[0])
    write(tmp_path / "bits.safetensors", {"x.wte.weight": {"dtype": "BF16", "shape": [300, 48], "data_offsets": [0, 28800]},
                                          "ids": {"dtype": "I64", "shape": [1, 1], "data_offsets": [28800, 28808]}},
          half[:300].tobytes() + bytes(8))
    assert np.array_equal(files.read_table(tmp_path / "bits.safetensors"), half[:300].view(np.uint16))
    with pytest.raises(ValueError, match="I64"):
        files.read_table(tmp_path / "bits.safetensors", "ids")
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(FileNotFoundError):
        files.read_table(folder)
    files.write_safetensors(folder / "part1.safetensors", {"model.embed_tokens.weight": dense}, {})
    files.write_safetensors(folder / "part2.safetensors", {"lm_head.weight": dense * 2, "up.weight": dense * 3}, {})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {
        "model.embed_tokens.weight": "part1.safetensors", "lm_head.weight": "part2.safetensors",
        "up.weight": "part2.safetensors"}}))
    assert np.array_equal(files.read_table(folder), dense)
    assert np.array_equal(files.read_table(folder, table="output"), dense * 2)
    assert np.array_equal(files.read_table(folder, "up.weight"), dense * 3)
    for call, word in ((lambda: files.read_table(folder, "down"), "no tensor down"),
                       (lambda: files.read_table(folder, table="both"), "input or output"),
                       (lambda: files.read_table(tmp_path / "b.npy"), "vocab"),
                       (lambda: files.read_table(tmp_path / "bits.safetensors", table="output"), "tied"),
                       (lambda: files.read_table(folder / "part2.safetensors"), "which tensor")):
        with pytest.raises(ValueError, match=word):
            call()


def test_command_line(dense, made, tmp_path, capsys):
    source, image, cal = (str(tmp_path / name) for name in ("a.npy", "a.tte", "c.safetensors"))
    np.save(source, dense)
    made.save(cal)
    assert main(["compress", source, image, "--ratio", "12", "--calibration", cal]) == 0
    out = capsys.readouterr().out
    assert "600 x 48" in out and "as calibrated" in out and out.count("\n") == 1
    assert tt_embed.Table.open(image).tobytes() == tt_embed.compress(dense, 12, calibration=made).tobytes()
    assert main(["info", image, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["vocab"] == 600
    assert main(["info", cal]) == 0
    assert "48 x 48" in capsys.readouterr().out
    assert main(["compress", source, image, "--quiet", "--eps", "0.2", "--effort", "1"]) == 0
    assert capsys.readouterr() == ("", "")
    np.save(source, dense[:5])
    for words in (["compress", source, image, "--calibration", cal], ["info", source], ["info", str(tmp_path / "none")],
                  ["compress", str(tmp_path / "none.npy"), image], ["compress", source, image, "--ratio", "1e9"],
                  ["compress", source, str(tmp_path / "none" / "x.tte")], ["compress", source, image, "--effort", "12"],
                  ["calibrate", str(tmp_path / "none"), cal]):
        assert main(words) == 1
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and err.startswith("tt_embed: ")


def test_module(tmp_path):
    done = subprocess.run([sys.executable, "-m", "tt_embed", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "tt_embed " + tt_embed.__version__
    done = subprocess.run([sys.executable, "-m", "tt_embed", "compres"], capture_output=True, text=True)
    assert done.returncode == 2
