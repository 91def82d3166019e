"""Calibration of transformers models: what a language model's own use of a table says about its rows.

The hidden states that meet the output head and the gradients with respect to input rows give the metric, the
probabilities that the model then gives give the row weights. Without a text the model writes one itself."""
from __future__ import annotations

import contextlib
import inspect
import os
from typing import Any, Callable, Iterator, List, Optional, Tuple

import numpy as np
import torch

from .calibration import MADE_BY, MIXTURE, POWER, Calibration, metric_of, weights_of
from .files import Path, read_config

TOKENS = 16384         # that a model writes, or that are read of a text
LENGTH = 512           # of a text that a model writes
TEMPERATURE = 0.8      # of it: Gemma 3 270m at 38.4x lost .17 nats with 256 and 1, .14 with 512 and 1, .12 with these
WINDOW = 512           # tokens of a text that are read at a time
BATCH = 64             # texts written at a time
LOGITS = 1 << 26       # numbers of logits in memory at a time
SMALL = 1 << 25        # parameters of a model whose layers are too small to be shared by threads
BACKWARD = 4096        # tokens that a model runs backward on, too
SENTENCE = 64          # tokens of a text that an encoder sees at a time
ZIPF = 0.1             # part of an encoder's row weights that is the law of Zipf, for tokens that no text had
Progress = Callable[[float], Any]


class Watch:
    """Runs a causal model and adds up what its output head meets and gives.

        moment     (dim, dim), float64: sum over positions of h h', h the input of the head
        mass       (vocab,), float64: sum of the probabilities, `positions` in all
        counts     (rows of the input table,), int64: how often each token was read
        head_noise sum of the traces of the Hessian of the loss with respect to the logits, each times |h|^2: what white
                   noise of unit variance in the rows of the head adds to the loss, twice
        texts      what was read: (n, length) token ids
    """

    def __init__(self, model: Any) -> None:
        self.model, self.head = model, model.get_output_embeddings()
        if self.head is None:
            raise ValueError("%s has no output head" % type(model).__name__)
        vocab, dim = self.head.weight.shape
        self.moment = torch.zeros(dim, dim, dtype=torch.float64)
        self.mass = torch.zeros(vocab, dtype=torch.float64)
        self.counts = torch.zeros(model.get_input_embeddings().weight.shape[0], dtype=torch.int64)
        self.head_noise, self.positions = 0.0, 0
        self.met: List[torch.Tensor] = []
        self.texts: List[torch.Tensor] = []
        self.device = self.head.weight.device
        known = inspect.signature(model.forward).parameters   # the name depends on the version of transformers
        self.cache = "cache" if "cache" in known else "past_key_values"

    def __enter__(self) -> "Watch":
        self.hook = self.head.register_forward_pre_hook(
            lambda module, args, kwargs: self.met.append(args[0] if args else next(iter(kwargs.values()))),
            with_kwargs=True)
        return self

    def __exit__(self, *unused: Any) -> None:
        self.hook.remove()

    @torch.no_grad()
    def feed(self, ids: torch.Tensor, past: Tuple[Any, Optional[torch.Tensor]] = (None, None)) -> Tuple[
            torch.Tensor, Tuple[Any, torch.Tensor]]:
        """Tokens (n, length) that go on from past: the probabilities (n, length, vocab), and the past for what
        comes next: keys and values, where the model keeps them, and all tokens."""
        cache, before = past
        whole = ids if before is None else torch.cat((before, ids), 1)
        given = ids if cache is not None else whole
        self.met.clear()
        more = {} if cache is None else {self.cache: cache}
        out = self.model(input_ids=given, attention_mask=torch.ones_like(whole), use_cache=True, **more)
        length = ids.shape[1]
        if len(self.met) != 1:
            raise ValueError("%s called its output head %d times, expected once" % (
                type(self.model).__name__, len(self.met)))
        hidden = self.met.pop().reshape(given.shape + (-1,))[:, -length:].flatten(0, 1).float()
        probabilities = torch.softmax(out.logits[:, -length:].float(), -1)
        self.moment += (hidden.T @ hidden).double().cpu()
        self.mass += probabilities.flatten(0, 1).sum(0).double().cpu()
        self.head_noise += float(((1 - probabilities.flatten(0, 1).square().sum(1)) * hidden.square().sum(1)).sum())
        self.counts += torch.bincount(ids.flatten().cpu(), minlength=len(self.counts))
        self.positions += ids.numel()
        return probabilities, (getattr(out, self.cache, None), whole)


def write(watch: Watch, opener: Optional[int], tokens: int, seed: int, progress: Progress) -> None:
    """The model writes `tokens` tokens, sampled at TEMPERATURE, in texts that begin with the opener; without one,
    with tokens chosen by the seed."""
    generator = torch.Generator(watch.device).manual_seed(seed)
    length = min(LENGTH, context(watch.model), tokens)
    texts = -(-tokens // length)
    total, done = texts * length, 0
    for first in range(0, texts, BATCH):
        rows = min(BATCH, texts - first)
        if opener is None:
            ids = torch.randint(len(watch.counts), (rows, 1), generator=generator, device=watch.device)
        else:
            ids = torch.full((rows, 1), opener, device=watch.device)
        past: Any = (None, None)
        for _ in range(length):
            probabilities, past = watch.feed(ids, past)
            ids = sample(probabilities[:, -1] ** (1 / TEMPERATURE), generator)
            done += rows
            progress(done / total)
        watch.texts.append(past[1])


def sample(probabilities: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A token for each row of probabilities (n, vocab): (n, 1). One random number a row; multinomial takes one a
    token, which is as slow as the model."""
    sums = probabilities.double().cumsum(1)
    at = torch.rand(len(sums), 1, generator=generator, dtype=torch.float64, device=sums.device) * sums[:, -1:]
    return torch.searchsorted(sums, at, right=True).clamp_(max=sums.shape[1] - 1)


def read(watch: Watch, opener: Optional[int], ids: np.ndarray, tokens: int, progress: Progress) -> None:
    """The model reads windows of a text's tokens, each behind the opener: all of them, or as many as hold `tokens`,
    evenly spread."""
    window = min(WINDOW, context(watch.model))
    step = window - (opener is not None)
    starts = np.arange(0, len(ids), step)
    wanted = max(1, tokens // window)
    if len(starts) > wanted:
        starts = starts[np.linspace(0, len(starts) - 1, wanted).round().astype(int)]
    cut = [ids[start:start + step] for start in starts]
    vocab, done, total = len(watch.mass), 0, sum(map(len, cut))
    batch = max(1, min(8, LOGITS // vocab))
    chunk = max(1, LOGITS // (vocab * batch))
    for group in _of_one_length(cut, batch):
        part = torch.as_tensor(np.stack(group), dtype=torch.int64, device=watch.device)
        if opener is not None:
            part = torch.nn.functional.pad(part, (1, 0), value=opener)
        past: Any = (None, None)
        for first in range(0, part.shape[1], chunk):
            _, past = watch.feed(part[:, first:first + chunk], past)
        watch.texts.append(part)
        done += sum(map(len, group))
        progress(done / total)


def backward(watch: Watch, opener: Optional[int], tokens: int, seed: int, progress: Progress) -> Tuple[np.ndarray, float]:
    """The mean of g g' (dim, dim), g the gradients of log p(y) with respect to input rows, y drawn by the model at every
    position: its trace is what white noise of unit variance in the rows that are read adds to the loss, twice. And
    the part of the head in the harm that noise in a table does at both ends, from 0 to 1. From about `tokens` tokens
    of the texts that were read, evenly spread; the opener is left out, which is one row of many."""
    generator = torch.Generator(watch.device).manual_seed(seed)
    embedding = watch.model.get_input_embeddings()
    dim, count = embedding.weight.shape[1], 0
    moment = torch.zeros(dim, dim, dtype=torch.float64)
    texts = [text for group in watch.texts for text in group]
    texts = texts[::max(1, sum(map(len, texts)) // tokens)]
    most = max(1, LOGITS // len(watch.mass))
    for done, text in enumerate(texts):
        rows = embedding(text[None, :most]).detach()
        scale = float(rows.norm() / embedding.weight.detach()[text[:most]].norm())   # some models scale what they read
        rows.requires_grad_()
        with torch.enable_grad():
            chances = torch.log_softmax(watch.model(inputs_embeds=rows, use_cache=False).logits[0].float(), -1)
            drawn = sample(chances.detach().exp(), generator)
            gradient, = torch.autograd.grad(chances.gather(1, drawn).sum(), rows)
        flat = scale * gradient[0, int(opener is not None):].double().cpu()
        moment += flat.T @ flat
        count += len(flat)
        progress((done + 1) / len(texts))
    moment /= max(count, 1)
    read, scored = float(moment.trace()), watch.head_noise / watch.positions
    return moment.numpy(), scored / (read + scored) if scored > 0 else 0.0


def _of_one_length(windows: List[np.ndarray], most: int) -> Iterator[List[np.ndarray]]:
    group: List[np.ndarray] = []
    for window in windows:
        if group and (len(group) == most or len(group[0]) != len(window)):
            yield group
            group = []
        group.append(window)
    if group:
        yield group


def context(model: Any) -> int:
    """How many tokens the model can look at."""
    config = model.config
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    for name in ("max_position_embeddings", "n_positions", "max_seq_len"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return 1 << 30


@contextlib.contextmanager
def running(model: Any) -> Iterator[None]:
    """The model without dropout; a small one in one thread, where several would only wait for each other."""
    training, threads = model.training, torch.get_num_threads()
    model.eval()
    if sum(parameter.numel() for parameter in model.parameters()) < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        model.train(training)
        torch.set_num_threads(threads)


def opener_of(model: Any, tokenizer: Any = None) -> Optional[int]:
    """The token that texts begin with: bos, or what the model has instead of one."""
    vocab = model.get_input_embeddings().weight.shape[0]
    for name in ("bos_token_id", "eos_token_id"):
        for place in (tokenizer, getattr(model, "generation_config", None), model.config):
            value = getattr(place, name, None)
            value = value[0] if isinstance(value, (list, tuple)) and value else value
            if isinstance(value, int) and 0 <= value < vocab:
                return value
    return None


def is_tied(model: Any) -> bool:
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def calibrate(model: Any, tokenizer: Any = None, *, text: Optional[str] = None, tokens: int = TOKENS,
              seed: int = 1, table: Optional[str] = None, name: str = "", source: str = "",
              progress: Optional[Progress] = None) -> Calibration:
    """The calibration of a causal language model of transformers.

    text      what the model reads, cut by the tokenizer; None: it writes `tokens` tokens itself, by the seed
    table     "input" or "output", for a head with a weight of its own, which is then the default; a tied table is
              both
    name, source   of the model and of the text, for the file

    Tied or "output": row_weight from the probabilities that the model gives each token, metric from the input of its
    head, tied with a part from the gradients of input rows, see backward(). "input" of an untied model: row_weight
    from how often a token is read, metric from those gradients.
    """
    tied = is_tied(model)
    if table not in (None, "input", "output"):
        raise ValueError("table: %r, expected input or output" % table)
    if text is not None and tokenizer is None:
        raise ValueError("text: needs a tokenizer")
    if tokens < 1:
        raise ValueError("tokens: %d, expected at least 1" % tokens)
    kind = "tied" if tied else table or "output"
    report = progress or (lambda fraction: None)
    forward = 1.0 if kind == "output" else 0.7       # of the progress
    opener = opener_of(model, tokenizer)
    with running(model):
        with Watch(model) as watch:
            if text is None:
                write(watch, opener, tokens, seed, lambda part: report(forward * part))
            else:
                ids = np.asarray(tokenizer(text, add_special_tokens=False)["input_ids"], np.int64)
                if not ids.size:
                    raise ValueError("text: has no tokens")
                read(watch, opener, ids, tokens, lambda part: report(forward * part))
        if kind != "output":
            gradients, mixture = backward(watch, opener, BACKWARD, seed, lambda part: report(forward + (1 - forward) * part))
    mass, counts = watch.mass.numpy(), watch.counts.numpy()
    if kind == "output":
        row_weight, metric, mixture = weights_of(mass), metric_of(watch.moment.numpy()), MIXTURE
    elif kind == "input":
        # What was read, and what might have been: few tokens of a large vocabulary come in a short text.
        expected = counts / 2
        both = min(len(expected), len(mass))
        expected[:both] += mass[:both] / 2
        row_weight, metric, mixture = weights_of(expected, opener), metric_of(gradients), MIXTURE
    else:
        row_weight = weights_of(mass, opener)
        metric = metric_of(watch.moment.numpy(), mixture, gradients)
    return Calibration(row_weight, metric, {
        "made_by": MADE_BY, "model": name, "table": kind,
        "text": "written by the model itself" if text is None else source or "a text",
        "tokens": str(watch.positions), "power": "%g" % POWER, "mixture": "%.3g" % mixture})


def calibrate_encoder(path: Path, *, text: Optional[str] = None, tokens: int = BACKWARD, seed: int = 1,
                      name: str = "", source: str = "", progress: Optional[Progress] = None) -> Calibration:
    """The calibration of the input table of an encoder in a folder, such as one of sentence-transformers.

    Row weights are token counts of a text and, for tokens that it has not, the law of Zipf by id, 1 / (id + 50); without
    a text the law alone. The metric is the second moment of gradients: how much the normalized sentence vector moves
    with the row of a token, met in the text or, without one, in random tokens by that law.
    """
    from transformers import AutoModel, AutoTokenizer
    if tokens < 1:
        raise ValueError("tokens: %d, expected at least 1" % tokens)
    folder, report = os.fspath(path), progress or (lambda fraction: None)
    model = AutoModel.from_pretrained(folder).float().eval().requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    vocab = model.get_input_embeddings().weight.shape[0]
    law = 1 / (np.arange(vocab) + 50)
    law /= law.sum()
    before = _first(tokenizer, vocab, "cls_token_id", "bos_token_id")
    after = _first(tokenizer, vocab, "sep_token_id", "eos_token_id")
    step = min(SENTENCE, context(model)) - len(before) - len(after)
    if text is None:
        ids = np.random.default_rng(seed).choice(vocab, -(-tokens // step) * step, p=law)
        counts = law * ids.size
    else:
        ids = np.asarray(tokenizer(text, add_special_tokens=False)["input_ids"], np.int64)
        if not ids.size:
            raise ValueError("text: has no tokens")
        counts = np.bincount(ids, minlength=vocab) + ZIPF * ids.size * law
    starts = np.arange(0, max(1, len(ids) - step + 1), step)
    wanted = max(1, tokens // step)
    if len(starts) > wanted:
        starts = starts[np.linspace(0, len(starts) - 1, wanted).round().astype(int)]
    windows = [np.concatenate((before, ids[start:start + step], after)).astype(np.int64) for start in starts]
    for token in before + after:
        counts[token] += ids.size / step
    with running(model):
        moment, seen = _gradients(model, windows, _pooling(folder), seed, report)
    return Calibration(weights_of(counts), metric_of(moment), {
        "made_by": MADE_BY, "model": name, "table": "input",
        "text": "random tokens by the law of Zipf" if text is None else source or "a text",
        "tokens": str(seen), "power": "%g" % POWER, "mixture": "%g" % MIXTURE})


def _first(tokenizer: Any, vocab: int, *names: str) -> List[int]:
    """The first of these tokens that there is, or none."""
    values = [getattr(tokenizer, name, None) for name in names]
    return [value for value in values if isinstance(value, int) and value < vocab][:1]


def _pooling(folder: str) -> str:
    """How a sentence-transformers model makes one vector of all: "cls", or "mean", also where nothing says so."""
    about = read_config(os.path.join(folder, "1_Pooling"))
    return "cls" if about.get("pooling_mode_cls_token") else "mean"


def _gradients(model: Any, windows: List[np.ndarray], pooling: str, seed: int,
               progress: Progress) -> Tuple[np.ndarray, int]:
    """The sum of g g', g the gradients of random projections of the sentence vector with respect to input rows."""
    generator = torch.Generator().manual_seed(seed)
    embedding = model.get_input_embeddings()
    device, dim = embedding.weight.device, embedding.weight.shape[1]
    moment, seen, done = torch.zeros(dim, dim, dtype=torch.float64), 0, 0
    for group in _of_one_length(windows, 16):
        rows = embedding(torch.as_tensor(np.stack(group), device=device)).detach().requires_grad_()
        with torch.enable_grad():
            states = model(inputs_embeds=rows).last_hidden_state
            vector = states[:, 0] if pooling == "cls" else states.mean(1)
            vector = torch.nn.functional.normalize(vector, dim=1)
            projection = torch.randn(vector.shape, generator=generator).to(device)
            gradient, = torch.autograd.grad((vector * projection).sum(), rows)
        flat = gradient.flatten(0, 1).double().cpu()
        moment += flat.T @ flat
        seen, done = seen + len(flat), done + len(group)
        progress(done / len(windows))
    return moment.numpy(), seen


def load(path: Path, dtype: torch.dtype = torch.float32) -> Tuple[Any, Any]:
    """A causal language model and its tokenizer, from a folder, a name that transformers knows, or a .gguf file."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    where, more = os.fspath(path), {}
    if where.endswith(".gguf"):
        where, more = os.path.dirname(where) or ".", {"gguf_file": os.path.basename(where)}
    model: Any = AutoModelForCausalLM.from_pretrained(where, **more)
    model = model.to(dtype).eval()
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, **more)
    except (OSError, ValueError, ImportError, KeyError):   # only texts need it
        tokenizer = None
    return model, tokenizer


def is_encoder(path: Path) -> bool:
    """Whether a folder holds a sentence-transformers model or another one without an output head."""
    if os.path.exists(os.path.join(path, "modules.json")):
        return True
    kinds = read_config(path).get("architectures") or [""]
    return bool(kinds[0]) and not any(word in kinds[0] for word in ("CausalLM", "LMHead", "ConditionalGeneration"))


