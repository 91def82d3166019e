"""Models of transformers: small ones with random weights, made here."""
import json

import numpy as np
import pytest

import tt_embed

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from tt_embed import calibration, models   # noqa: E402
from tt_embed.__main__ import main   # noqa: E402
from tt_embed.files import read_table   # noqa: E402
from tt_embed.torch import Embedding, Head, replace   # noqa: E402

VOCAB = 300
torch.set_num_threads(1)   # models this small only wait for each other's threads


def gpt2(**more):
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=VOCAB, n_positions=64, n_embd=32, n_layer=2, n_head=2, initializer_range=0.2, bos_token_id=1,
        eos_token_id=2, **more)).eval()


def llama(**more):
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=96, initializer_range=0.2, bos_token_id=1, eos_token_id=2,
        **more)).eval()


MODELS = {"gpt2, tied": gpt2, "llama, tied": lambda: llama(tie_word_embeddings=True),
          "llama, untied": lambda: llama(tie_word_embeddings=False)}


@pytest.fixture(params=list(MODELS))
def model(request):
    return MODELS[request.param]()


class Words:
    """Stands for a tokenizer: a letter is a token."""
    bos_token_id = 3

    def __call__(self, text, add_special_tokens=True):
        return {"input_ids": [10 + ord(letter) % 26 for letter in text]}


def dense_states(model, ids):
    """The last hidden states, as the model itself returns them: after its last norm."""
    with torch.no_grad():
        out = model(input_ids=ids, output_hidden_states=True)
    return out.hidden_states[-1].reshape(-1, out.hidden_states[-1].shape[-1]), torch.softmax(out.logits, -1)


def test_feed_meets_what_the_head_meets(model):
    """In pieces with a cache of keys and values, and whole: the same states and probabilities."""
    ids = torch.randint(0, VOCAB, (3, 40), generator=torch.Generator().manual_seed(2))
    states, probabilities = dense_states(model, ids)
    with models.Watch(model) as watch:
        past, parts = (None, None), []
        for first, last in ((0, 1), (1, 17), (17, 40)):
            part, past = watch.feed(ids[:, first:last], past)
            parts.append(part)
        assert past[0] is not None
    assert torch.allclose(torch.cat(parts, 1), probabilities, atol=1e-5)
    moment = (states.T @ states).double()
    assert float((watch.moment - moment).norm() / moment.norm()) < 1e-4
    assert watch.positions == 120 and abs(float(watch.mass.sum()) - 120) < 1e-3
    assert torch.allclose(watch.mass, probabilities.sum((0, 1)).double(), atol=1e-3)
    assert torch.equal(watch.counts, torch.bincount(ids.flatten(), minlength=VOCAB))
    model(input_ids=ids)
    assert not watch.met   # the hook is gone


def test_a_model_without_a_cache(model):
    ids = torch.randint(0, VOCAB, (2, 9), generator=torch.Generator().manual_seed(2))
    states, probabilities = dense_states(model, ids)
    with models.Watch(model) as watch:
        watch.cache = "none"
        _, past = watch.feed(ids[:, :4])
        part, past = watch.feed(ids[:, 4:], past)
    assert torch.allclose(part, probabilities[:, 4:], atol=1e-5) and watch.positions == 18
    assert torch.allclose(watch.moment, (states.T @ states).double(), rtol=1e-3, atol=1e-3)


def test_self_written_text_is_reproducible(model):
    made = [models.calibrate(model, tokens=500, seed=seed) for seed in (1, 1, 2)]
    assert np.array_equal(made[0].row_weight, made[1].row_weight) and np.array_equal(made[0].metric, made[1].metric)
    assert not np.array_equal(made[0].row_weight, made[2].row_weight)
    about = made[0].about
    assert about["text"] == "written by the model itself" and int(about["tokens"]) >= 500
    assert about["made_by"] == "tt_embed " + tt_embed.__version__
    assert about["power"] == "%g" % calibration.POWER and 0 < float(about["mixture"]) < 1
    assert about["table"] == ("tied" if models.is_tied(model) else "output")
    assert made[0].row_weight.shape == (VOCAB,) and made[0].metric.shape == (32, 32)
    assert np.isclose(np.trace(made[0].metric), 32, rtol=1e-4)


def test_writing(model):
    """Texts begin with the opener and have as many tokens as asked for; what is sampled is what is likely."""
    with models.Watch(model) as watch:
        models.write(watch, 1, 64 * 3, 5, lambda fraction: None)
    assert watch.positions == 192 and abs(float(watch.mass.sum()) - 192) < 1e-2
    assert int(watch.counts[1]) >= 192 // min(models.LENGTH, models.context(model))
    probabilities = torch.tensor([[0.0, 0.25, 0.0, 0.75], [1.0, 0.0, 0.0, 0.0]]).repeat(4000, 1)
    drawn = models.sample(probabilities, torch.Generator().manual_seed(1)).reshape(4000, 2)
    counts = torch.bincount(drawn[:, 0], minlength=4)
    assert counts[0] == counts[2] == 0 and abs(int(counts[3]) - 3000) < 150 and not drawn[:, 1].any()


def test_reading_a_text(model):
    text = "it was a bright cold day in april and the clocks were striking thirteen " * 5
    made = models.calibrate(model, Words(), text=text, source="t.txt", name="m")
    assert made.about["text"] == "t.txt" and made.about["model"] == "m"
    with models.Watch(model) as watch:
        models.read(watch, 3, np.asarray(Words()(text)["input_ids"]), 10**6, lambda fraction: None)
    window = models.context(model)
    windows = -(-len(text) // (window - 1))
    assert watch.positions == len(text) + windows == int(made.about["tokens"])
    assert int(watch.counts[3]) == windows
    first = torch.tensor([[3] + Words()(text)["input_ids"][:window - 1]])
    states, probabilities = dense_states(model, first)
    with models.Watch(model) as watch:
        models.read(watch, 3, np.asarray(Words()(text)["input_ids"][:window - 1]), 10**6, lambda fraction: None)
    assert torch.allclose(watch.mass, probabilities.sum((0, 1)).double(), atol=1e-3)
    some = models.calibrate(model, Words(), text=text, tokens=2 * window)
    assert int(some.about["tokens"]) <= 2 * window
    for more in ({"text": ""}, {"tokens": 0}, {"table": "both"}):
        with pytest.raises(ValueError):
            models.calibrate(model, Words(), **more)
    with pytest.raises(ValueError, match="tokenizer"):
        models.calibrate(model, text=text)


def test_untied_tables():
    model = llama(tie_word_embeddings=False)
    made = models.calibrate(model, tokens=300, table="input")
    assert made.metric.shape[0] == made.metric.shape[1] and made.about["table"] == "input"
    assert (made.row_weight > 0).all()
    expected = np.argsort(-made.row_weight)[0]
    with models.Watch(model) as watch:
        models.write(watch, 1, 300, 1, lambda fraction: None)
    assert expected in (1, int(watch.counts.argmax()), int((watch.counts + watch.mass).argmax()))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_replace(model, kind):
    """A model that reads its tables compressed, beside one that holds the decoded rows."""
    model, tied = model.to(kind), models.is_tied(model)
    table = tt_embed.compress(model.get_input_embeddings().weight, 5)
    output = None if tied else tt_embed.compress(model.get_output_embeddings().weight, 5)
    with torch.no_grad():
        dense = MODELS["gpt2, tied"]() if model.config.model_type == "gpt2" else llama(tie_word_embeddings=tied)
        dense = dense.to(kind)
        dense.get_input_embeddings().weight.copy_(torch.from_numpy(table[:]))
        if output is not None:
            dense.get_output_embeddings().weight.copy_(torch.from_numpy(output[:]))
        assert replace(model, table, output) is model
        assert isinstance(model.get_input_embeddings(), Embedding) and isinstance(model.get_output_embeddings(), Head)
        ids = torch.randint(0, VOCAB, (2, 20), generator=torch.Generator().manual_seed(2))
        ours, theirs = model(input_ids=ids).logits, dense(input_ids=ids).logits
    assert ours.dtype == kind
    bound = 2e-2 if kind == torch.bfloat16 else 1e-3
    assert float((ours - theirs).abs().max()) < bound * float(theirs.abs().max())
    if kind == torch.float32:
        more = {"max_new_tokens": 8, "do_sample": False, "attention_mask": torch.ones_like(ids), "pad_token_id": 0}
        assert torch.equal(model.generate(ids, **more), dense.generate(ids, **more))


def test_replace_one_of_two():
    model = llama(tie_word_embeddings=False)
    table = tt_embed.compress(model.get_input_embeddings().weight, 5)
    replace(model, table)
    assert isinstance(model.get_input_embeddings(), Embedding)
    assert isinstance(model.get_output_embeddings(), torch.nn.Linear)
    model = llama(tie_word_embeddings=False)
    replace(model, None, tt_embed.compress(model.get_output_embeddings().weight, 5))
    assert isinstance(model.get_input_embeddings(), torch.nn.Embedding)
    assert isinstance(model.get_output_embeddings(), Head)


def test_replace_of_scaled_embeddings():
    if not hasattr(transformers, "Gemma3ForCausalLM"):
        pytest.skip("this version of transformers has no Gemma 3")
    config = transformers.Gemma3TextConfig(
        vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=16,
        intermediate_size=64, initializer_range=0.2, sliding_window=16)
    torch.manual_seed(0)
    model = transformers.Gemma3ForCausalLM(config).eval()
    table = tt_embed.compress(model.get_input_embeddings().weight, 5)
    ids = torch.randint(0, VOCAB, (2, 20), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        with models.Watch(model) as watch:   # longer than the window of its local attention
            past, parts = (None, None), []
            for first, last in ((0, 13), (13, 14), (14, 20)):
                part, past = watch.feed(ids[:, first:last], past)
                parts.append(part)
        assert torch.allclose(torch.cat(parts, 1), torch.softmax(model(input_ids=ids).logits, -1), atol=1e-5)
        model.get_input_embeddings().weight.copy_(torch.from_numpy(table[:]))
        expected = model(input_ids=ids).logits
        replace(model, table)
        assert abs(model.get_input_embeddings().scale - 32**0.5) < 1e-5
        assert float((model(input_ids=ids).logits - expected).abs().max()) < 1e-3 * float(expected.abs().max())


def test_replace_refuses(table):
    for call in (lambda: replace(gpt2(), table), lambda: replace(llama(tie_word_embeddings=False), None, table)):
        with pytest.raises(ValueError, match="a table of 600 x 48, the model has 300 x 32"):
            call()
    with pytest.raises(ValueError, match="no output head of its own"):
        replace(gpt2(), table, table)
    with pytest.raises(TypeError):
        replace(torch.nn.Linear(2, 2), table)
    model = gpt2()
    model.get_input_embeddings().register_forward_hook(lambda module, given, out: out + 1)
    with pytest.raises(TypeError, match="more with a row"):
        replace(model, tt_embed.compress(model.get_input_embeddings().weight, 5))


def test_command_line(model, tmp_path, capsys):
    folder, cal, image = tmp_path / "model", str(tmp_path / "c.safetensors"), str(tmp_path / "a.tte")
    model.save_pretrained(folder)
    capsys.readouterr()
    assert main(["calibrate", str(folder), cal, "--tokens", "200", "--quiet"]) == 0
    made = tt_embed.Calibration.load(cal)
    assert made.about["model"] == "model" and made.metric.shape == (32, 32)
    assert main(["compress", str(folder), image, "--ratio", "6", "--calibration", cal, "--quiet"]) == 0
    table = tt_embed.Table.open(image)
    head = model.get_output_embeddings().weight.detach().numpy()
    assert table.shape == head.shape
    assert np.linalg.norm(table[:] - head) < 0.7 * np.linalg.norm(head)   # the output table where there are two
    if not models.is_tied(model):
        assert main(["calibrate", str(folder), cal, "--tokens", "200", "--quiet", "--table", "input"]) == 0
        assert np.array_equal(read_table(folder), model.get_input_embeddings().weight.detach().numpy())
    assert main(["calibrate", str(folder), cal, "--tokens", "-1", "--quiet"]) == 1
    assert main(["calibrate", str(tmp_path), cal]) == 1
    assert capsys.readouterr().err.count("\n") == 2


def test_encoder(tmp_path):
    """A folder as sentence-transformers has them: metric from gradients, weights from a text or by id."""
    folder = tmp_path / "encoder"
    torch.manual_seed(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + list(letters) + ["##" + letter for letter in letters]
    config = transformers.BertConfig(vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                                     intermediate_size=64, max_position_embeddings=40)
    transformers.BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    (folder / "modules.json").write_text("[]")
    assert models.is_encoder(folder)
    cal, text = str(tmp_path / "c.safetensors"), tmp_path / "t.txt"
    text.write_text("the quick brown fox jumps over the lazy dog " * 20)
    weights = []
    for more in ([], ["--text", str(text)], ["--text", str(text), "--tokens", "99"]):
        assert main(["calibrate", str(folder), cal, "--quiet", "--tokens", "200"] + more) == 0
        made = tt_embed.Calibration.load(cal)
        assert made.about["table"] == "input" and made.metric.shape == (32, 32) and len(made.row_weight) == len(words)
        assert int(made.about["tokens"]) <= 320
        weights.append(made.row_weight)
    assert not np.array_equal(weights[0], weights[1])
    assert weights[1][words.index("##o")] > 2 * weights[1][words.index("z")]
    assert main(["compress", str(folder), str(tmp_path / "a.tte"), "--calibration", cal, "--ratio", "4", "--quiet"]) == 0
    assert main(["calibrate", str(folder), cal, "--table", "output"]) == 1
