"""The modules beside nn.Embedding and nn.Linear that hold the decoded rows."""
import copy
import io
import pickle

import numpy as np
import pytest

import tt_embed

torch = pytest.importorskip("torch")
from tt_embed.torch import Embedding, Head   # noqa: E402


@pytest.fixture(scope="module")
def weight(decoded):
    return torch.from_numpy(decoded.copy())


def test_tensors_are_arrays(dense):
    tensor = torch.from_numpy(dense.copy())
    whole = tt_embed.compress(dense, 12, effort=1).tobytes()
    assert tt_embed.compress(torch.nn.Parameter(tensor), 12, effort=1).tobytes() == whole
    assert tt_embed.compress(tensor.double().T.contiguous().T, 12, effort=1).tobytes() == whole
    for kind in (torch.bfloat16, torch.float16):
        half = tensor.to(kind)
        made = tt_embed.compress(half, 12, effort=1)
        assert made.tobytes() == tt_embed.compress(half.float(), 12, effort=1).tobytes()
    assert np.array_equal(made.scores(tensor[:2]), made.scores(dense[:2]))
    assert np.array_equal(made.topk(tensor[1].bfloat16(), 3)[0], made.topk(tensor[1].bfloat16().float(), 3)[0])
    assert np.array_equal(made @ tensor[1], made @ dense[1])


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 0), (1, 2, 3, 4)])
@pytest.mark.parametrize("kind", [torch.int64, torch.int32])
def test_embedding(table, weight, shape, kind):
    ids = torch.randint(0, 600, shape, generator=torch.Generator().manual_seed(1)).to(kind)
    dense = torch.nn.Embedding.from_pretrained(weight)
    ours = Embedding(table)
    assert torch.equal(ours(ids), dense(ids)) and ours(ids).dtype == torch.float32
    assert (ours.num_embeddings, ours.embedding_dim) == (600, 48)
    assert torch.equal(ours.weight, weight)
    assert torch.equal(Embedding(table, scale=2.0)(ids), 2 * dense(ids))


def test_padding(table, weight):
    ids = torch.tensor([[3, 599, 3], [0, 1, 2]])
    for index in (3, -597):
        dense = torch.nn.Embedding(600, 48, padding_idx=index)
        with torch.no_grad():
            dense.weight.copy_(weight)
            dense.weight[dense.padding_idx] = 0   # as it begins
        ours = Embedding(table, padding_idx=index)
        assert ours.padding_idx == dense.padding_idx and torch.equal(ours(ids), dense(ids))
    with pytest.raises(IndexError):
        Embedding(table, padding_idx=600)


def test_dtype_and_device(table, weight):
    ids = torch.tensor([4, 5])
    ours = Embedding(table, dtype=torch.bfloat16)
    assert ours(ids).dtype == torch.bfloat16 and torch.equal(ours(ids), weight[ids].bfloat16())
    assert ours.half()(ids).dtype == torch.float16 and ours.to(torch.float64)(ids).dtype == torch.float64
    assert ours.to("meta")(ids).device.type == "meta"
    head = Head(table, bias=torch.ones(600), dtype=torch.bfloat16)
    assert head.float()(weight[:2]).dtype == torch.float32
    assert not list(Embedding(table).parameters()) and not Embedding(table).state_dict()


def test_what_is_refused(table):
    for ids in (torch.tensor([0.5]), torch.tensor([True])):
        with pytest.raises(TypeError):
            Embedding(table)(ids)
    for ids in (torch.tensor([600]), torch.tensor([-1])):
        with pytest.raises(IndexError):
            Embedding(table)(ids)
    with pytest.raises(TypeError):
        Embedding("a.tte")
    with pytest.raises(ValueError):
        Head(table, bias=torch.ones(3))
    with pytest.raises(ValueError):
        Head(table)(torch.ones(2, 47))


@pytest.mark.parametrize("shape", [(48,), (2, 48), (3, 40, 48)])
def test_head(table, weight, shape):
    hidden = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    bias = torch.linspace(-1, 1, 600)
    exact = hidden.double() @ weight.double().T
    near = 3.1e-4 * float(weight.norm(dim=1).max() * hidden.norm(dim=-1).max())
    assert float((Head(table)(hidden) - exact).abs().max()) <= near
    assert float((Head(table, bias)(hidden).detach() - exact - bias).abs().max()) <= near
    head = Head(table)
    assert (head.in_features, head.out_features) == (48, 600) and "48" in repr(head)


def test_gradient_reaches_hidden(table, weight):
    hidden = torch.randn(2, 3, 48, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(600)
    ours, dense = Head(table, bias), torch.nn.Linear(48, 600)
    with torch.no_grad():
        dense.weight.copy_(weight)
        dense.bias.zero_()
    factor = torch.randn(2, 3, 600)
    (ours(hidden) * factor).sum().backward()
    got, hidden.grad = hidden.grad, None
    (dense(hidden.float()) * factor).sum().backward()
    assert got.dtype == torch.float64 and torch.allclose(got, hidden.grad, rtol=1e-4, atol=1e-3)
    assert torch.allclose(ours.bias.grad, dense.bias.grad, atol=1e-4)


def test_copies(table, weight):
    ids = torch.tensor([4, 5])
    for module in (Embedding(table, padding_idx=7), Head(table)):
        room = io.BytesIO()
        torch.save(module, room)
        room.seek(0)
        for again in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), torch.load(room, weights_only=False)):
            given = ids if isinstance(module, Embedding) else weight[:2]
            assert torch.equal(again(given), module(given))
