"""Files that other libraries write, read by examples/ttembed.c, and files that it writes, read by them.

Run by tests/test_python.sh; TTEMBED names the program. gguf decodes every block type bit for bit; transformers loads
models whose table was replaced."""
import os
import subprocess

import pytest

np = pytest.importorskip("numpy")
TTEMBED = os.environ.get("TTEMBED", "ttembed")


def run(*arguments, status=0):
    done = subprocess.run([TTEMBED, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done


def exact(table, folder, width, *options):
    """The numbers that were read: one mode keeps a row as it is."""
    image, back = folder / "exact.tte", folder / "exact.npy"
    run("compress", table, image, "--force", "--quiet", "--coding", "f32", "--shape", width, "--max-rank", 1, *options)
    run("export", image, back, "--force", "--quiet")
    return np.load(back)


def gguf_types():
    gguf = pytest.importorskip("gguf")
    from gguf import quants
    return [t for t in gguf.GGMLQuantizationType if t in quants._type_traits or t.name in ("F32", "F16")]


def write_gguf(path, kind, stored, more=()):
    import gguf
    writer = gguf.GGUFWriter(path, "test")
    writer.add_token_list(["w%d" % i for i in range(len(stored))])
    writer.add_tensor("blk.0.norm.weight", np.arange(8, dtype=np.float32))
    writer.add_tensor("token_embd.weight", stored, raw_dtype=kind)
    for name, value in more:
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "TQ1_0": [52], "TQ2_0": [64], "IQ1_M": [], "MXFP4": [],
          "NVFP4": []}   # where a block has numbers of 16 bits; the others at 0


def draw(kind, rows, cols, seed):
    """Rows of random blocks with finite scales, as they are stored."""
    import gguf
    numbers, size = gguf.GGML_QUANT_SIZES[kind]
    random = np.random.default_rng(seed)
    if numbers == 1:
        return (random.standard_normal((rows, cols)).astype(np.float32).view(np.uint8) if kind.name == "F32" else
                random.standard_normal((rows, cols)).astype(np.float16).view(np.uint8) if kind.name == "F16" else
                (random.standard_normal((rows, cols)).astype(np.float32).view(np.uint32) >> 16)
                .astype(np.uint16).view(np.uint8))
    blocks = random.integers(0, 256, (rows * cols // numbers, size), dtype=np.uint8)
    for at in SCALES.get(kind.name, [0]):
        scale = random.standard_normal(len(blocks)).astype(np.float16)
        scale[::7] *= np.float16(1e-6)   # subnormal ones
        blocks[:, at:at + 2] = scale.view(np.uint8).reshape(-1, 2)
    if kind.name == "IQ1_M":   # the scale's bits are the top four of four numbers
        blocks[:, 55] &= 0xBF
    if kind.name == "MXFP4":
        blocks[:, 0] = 110 + blocks[:, 0] % 30   # what an image of float32 keeps
    return blocks.reshape(rows, -1)


@pytest.mark.parametrize("kind", gguf_types(), ids=lambda k: k.name)
def test_gguf_types(kind, tmp_path):
    import gguf
    rows, cols = 37, 512
    stored = draw(kind, rows, cols, int(kind) + 1)
    write_gguf(tmp_path / "t.gguf", kind, stored)
    want = gguf.dequantize(stored, kind).astype(np.float32).reshape(rows, cols)
    assert np.isfinite(want).all()
    got = exact(tmp_path / "t.gguf", tmp_path, cols)
    want[want == 0] = 0   # the image keeps no sign of zero
    assert got.shape == want.shape and (got.view(np.uint32) == want.view(np.uint32)).all()


def test_words_of_gguf(tmp_path):
    pytest.importorskip("gguf")
    from gguf import GGMLQuantizationType
    write_gguf(tmp_path / "t.gguf", GGMLQuantizationType.F32, draw(GGMLQuantizationType.F32, 5, 32, 1))
    exact(tmp_path / "t.gguf", tmp_path, 32)
    assert (tmp_path / "exact.vocab").read_text().split() == ["w0", "w1", "w2", "w3", "w4"]


@pytest.mark.parametrize("name", ["F32", "F16", "BF16", "Q8_0"])
def test_graft_gguf(name, tmp_path):
    """gguf reads what was written: the table as it rounds numbers itself, all other tensors as they were."""
    gguf = pytest.importorskip("gguf")
    kind = gguf.GGMLQuantizationType.Q4_0
    write_gguf(tmp_path / "t.gguf", kind, draw(kind, 37, 96, 3), [("output_norm.weight", np.arange(7, dtype=np.float32))])
    run("compress", tmp_path / "t.gguf", tmp_path / "t.tte", "--ratio", 4, "--quiet")
    run("export", tmp_path / "t.tte", tmp_path / "t.npy", "--quiet")
    run("graft", tmp_path / "t.tte", tmp_path / "t.gguf", tmp_path / "out.gguf", "--type", name)
    rows, kind = np.load(tmp_path / "t.npy"), gguf.GGMLQuantizationType[name]
    old, new = gguf.GGUFReader(tmp_path / "t.gguf"), gguf.GGUFReader(tmp_path / "out.gguf")
    assert list(old.fields) == list(new.fields) and len(new.tensors) == 3
    for a, b in zip(old.tensors, new.tensors):
        assert a.name == b.name
        if a.name == "token_embd.weight":
            assert b.tensor_type == kind
            assert (gguf.dequantize(b.data, kind) == gguf.dequantize(gguf.quantize(rows, kind), kind)).all()
        else:
            assert a.tensor_type == b.tensor_type and (a.data == b.data).all()


def gpt2(**more):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(5)
    config = transformers.GPT2Config(vocab_size=300, n_positions=32, n_embd=64, n_layer=2, n_head=4, bos_token_id=0,
                                     eos_token_id=0, **more)
    return transformers.GPT2LMHeadModel(config).eval()


@pytest.mark.parametrize("shards", [False, True])
def test_graft_transformers(shards, tmp_path):
    """transformers loads the model with its new table, tied, and sees nothing else changed."""
    model = gpt2()
    import torch
    import transformers
    model.save_pretrained(tmp_path / "old", max_shard_size="100KB" if shards else "1GB")
    run("compress", tmp_path / "old", tmp_path / "t.tte", "--ratio", 4, "--quiet")
    run("export", tmp_path / "t.tte", tmp_path / "t.npy", "--quiet")
    run("graft", tmp_path / "t.tte", tmp_path / "old", tmp_path / "new")
    assert len(list((tmp_path / "new").glob("*.safetensors"))) == len(list((tmp_path / "old").glob("*.safetensors")))
    grafted = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "new").eval()
    rows = torch.from_numpy(np.load(tmp_path / "t.npy"))
    assert not torch.equal(rows, model.transformer.wte.weight)
    model.transformer.wte.weight.data.copy_(rows)
    for name, value in model.state_dict().items():
        assert torch.equal(grafted.state_dict()[name], value), name
    ids = torch.arange(12)[None]
    assert torch.equal(grafted(ids).logits, model(ids).logits)
