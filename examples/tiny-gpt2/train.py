#!/usr/bin/env python3
"""Train a small GPT-2 on a folder of plain text and write it in Hugging Face's file format.

    python3 train.py TEXT_FOLDER HELD_OUT_FILE OUTPUT_FOLDER

The output folder receives

    vocab.json, merges.txt   a byte-level BPE vocabulary in GPT-2's format, trained on the text
    config.json              the sizes of the model
    model.safetensors        the weights, float16, under GPT-2's own tensor names
    reference.json           what a correct tokenizer and forward pass give for this model

Needs the modules `regex` (the word pattern uses Unicode classes) and `torch`. Both are imported
where they are first used, so that --help works without them.
"""

import argparse
import collections
import functools
import json
import math
import pathlib
import struct
import time

END_OF_TEXT = "<|endoftext|>"
WORD_PATTERN = (r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+"
                r"|\s+(?!\S)|\s+")

HEAD_WIDTH = 64             # the width of one attention head, as in every GPT-2
BATCH = 8                   # windows in a training batch
PEAK_LEARNING_RATE = 2e-3
WARM_UP_STEPS = 100
FINAL_FRACTION = 0.02       # of the peak learning rate, where the cosine ends
WEIGHT_DECAY = 0.1          # on matrices only
REPORT_EVERY = 100          # steps
SAVE_EVERY = 1000           # steps; the held-out text is measured then, too
CHECK_WINDOWS = 60          # windows of held-out text measured during training

# Cases of reference.json: contractions, runs of spaces, digits, accents, scripts, emoji.
TOKENIZER_TEXTS = [
    "Hello, world!",
    "It's a dog's life; we'll see, I'd say, they've gone and you're late. "
    "I'm DON'T 'Tis 's",
    "  two  spaces   three\n\n\nnewlines\t\ttabs \n mixed \r\n end  ",
    "1234567890 3.14159 42nd 1,000,000",
    "café naïve über straße Ångström Œuvre",
    "你好，世界 こんにちは 한국어",
    "emoji 😀🚀 and flags 🇫🇷",
    "Привет αβγ שלום مرحبا",
    "quotes “curly” ‘single’ — dash …",
    "a" * 50,
    "!!!???...---___***",
    "The Scarecrow and the Tin Woodman stood up in a corner.",
    "x=y+z; if(a<b){c[d]=e&&f;}",
    "\u00a0non\u00a0breaking\u2003em space\u200bzero width",
    "½ ² Ⅷ ٣ fractions and other digits",
    " leading space",
    "trailing space ",
    "",
    "\n",
]
PROMPTS = [
    "The old man looked at",
    "Once upon a time there was a little girl who",
    '"My dear Watson," said Holmes,',
]
GREEDY_TOKENS = 24          # length of the continuation stored for each prompt


# ---- byte-level BPE ---------------------------------------------------------------------------

def byte_symbols():
    """Return GPT-2's printable character for every byte: itself where it is one, else U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols = {byte: chr(byte) for byte in printable}
    hidden = [byte for byte in range(256) if byte not in symbols]
    symbols.update((byte, chr(256 + index)) for index, byte in enumerate(hidden))
    return symbols


SYMBOLS = byte_symbols()
BYTES = {symbol: byte for byte, symbol in SYMBOLS.items()}


@functools.lru_cache(maxsize=None)
def word_pattern():
    """Compile GPT-2's word pattern on first use."""
    import regex
    return regex.compile(WORD_PATTERN)


def split_words(text):
    """Cut a text into the words inside which pairs may be merged."""
    return word_pattern().findall(text)


def word_symbols(word):
    """Spell a word as a list of one symbol for each byte of its UTF-8."""
    return [SYMBOLS[byte] for byte in word.encode("utf-8")]


def merge_pair(symbols, pair):
    """Return the symbols with every occurrence of the pair joined, from left to right."""
    merged = []
    position = 0
    while position < len(symbols):
        if tuple(symbols[position:position + 2]) == pair:
            merged.append(pair[0] + pair[1])
            position += 2
        else:
            merged.append(symbols[position])
            position += 1
    return merged


def train_bpe(texts, vocab_size):
    """Learn merges from the texts; return the vocabulary (token to id) and the merges in order.

    The most frequent pair is merged first; among equals, the pair that sorts last. Learning ends
    when the vocabulary is full or no pair occurs twice.
    """
    word_counts = collections.Counter()
    for text in texts:
        word_counts.update(split_words(text))
    words = [word_symbols(word) for word in word_counts]
    counts = list(word_counts.values())

    pair_counts = collections.Counter()
    words_with = collections.defaultdict(set)
    for index, symbols in enumerate(words):
        for pair in zip(symbols, symbols[1:]):
            pair_counts[pair] += counts[index]
            words_with[pair].add(index)

    alphabet = sorted(SYMBOLS.values())
    merges = []
    while pair_counts and len(alphabet) + len(merges) < vocab_size - 1:
        best = max(pair_counts, key=lambda pair: (pair_counts[pair], pair))
        if pair_counts[best] < 2:
            break
        merges.append(best)
        for index in list(words_with[best]):
            before = words[index]
            after = words[index] = merge_pair(before, best)
            for pair in zip(before, before[1:]):
                pair_counts[pair] -= counts[index]
            for pair in zip(after, after[1:]):
                pair_counts[pair] += counts[index]
                words_with[pair].add(index)
        del pair_counts[best]
        del words_with[best]

    tokens = alphabet + [left + right for left, right in merges] + [END_OF_TEXT]
    return {token: index for index, token in enumerate(tokens)}, merges


class Tokenizer:
    """GPT-2's tokenizer for a vocabulary and its merges."""

    def __init__(self, vocab, merges):
        self.vocab = vocab
        self.tokens = list(vocab)
        self.ranks = {tuple(pair): rank for rank, pair in enumerate(merges)}
        self.cache = {}

    def encode_word(self, word):
        """Merge the pair of the lowest rank again and again, the leftmost first."""
        if word not in self.cache:
            symbols = word_symbols(word)
            while len(symbols) > 1:
                ranks = [self.ranks.get(pair, math.inf) for pair in zip(symbols, symbols[1:])]
                lowest = min(ranks)
                if lowest == math.inf:
                    break
                left = ranks.index(lowest)
                symbols[left:left + 2] = [symbols[left] + symbols[left + 1]]
            self.cache[word] = [self.vocab[symbol] for symbol in symbols]
        return self.cache[word]

    def encode(self, text):
        """Return the token ids of a text."""
        return [token_id for word in split_words(text) for token_id in self.encode_word(word)]

    def decode(self, token_ids):
        """Return the text of token ids; bytes that are not UTF-8 become U+FFFD."""
        symbols = "".join(self.tokens[token_id] for token_id in token_ids)
        return bytes(BYTES[symbol] for symbol in symbols).decode("utf-8", errors="replace")


# ---- the model --------------------------------------------------------------------------------

def model_config(vocab_size, width, layers, context):
    """Return the contents of config.json."""
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": vocab_size,
        "n_positions": context,
        "n_ctx": context,
        "n_embd": width,
        "n_layer": layers,
        "n_head": width // HEAD_WIDTH,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-05,
        "tie_word_embeddings": True,
        "bos_token_id": vocab_size - 1,
        "eos_token_id": vocab_size - 1,
    }


def parameter_plan(config):
    """Return (name, shape, mean, deviation) of every tensor in the order of the file.

    A tensor of deviation 0 is filled with its mean. Random draws happen in this order, so the
    order is part of what a seed means.
    """
    width, layers = config["n_embd"], config["n_layer"]
    residual = 0.02 / math.sqrt(2 * layers)

    plan = [("wte.weight", (config["vocab_size"], width), 0.0, 0.02),
            ("wpe.weight", (config["n_positions"], width), 0.0, 0.01)]
    for layer in range(layers):
        block = f"h.{layer}."
        for norm in ("ln_1", "ln_2"):
            plan += [(block + norm + ".weight", (width,), 1.0, 0.0),
                     (block + norm + ".bias", (width,), 0.0, 0.0)]
        for name, inputs, outputs, deviation in (
                ("attn.c_attn", width, 3 * width, 0.02),
                ("attn.c_proj", width, width, residual),
                ("mlp.c_fc", width, 4 * width, 0.02),
                ("mlp.c_proj", 4 * width, width, residual)):
            plan += [(block + name + ".weight", (inputs, outputs), 0.0, deviation),
                     (block + name + ".bias", (outputs,), 0.0, 0.0)]
    plan += [("ln_f.weight", (width,), 1.0, 0.0), ("ln_f.bias", (width,), 0.0, 0.0)]
    return plan


def new_weights(config):
    """Return freshly drawn weights: a dictionary from tensor name to tensor."""
    import torch
    weights = {}
    for name, shape, mean, deviation in parameter_plan(config):
        tensor = torch.empty(*shape)
        if deviation > 0:
            tensor.normal_(mean, deviation)
        else:
            tensor.fill_(mean)
        weights[name] = tensor.requires_grad_()
    return weights


def forward(weights, config, tokens):
    """Return the logits (batch, length, vocabulary) for token ids (batch, length)."""
    import torch
    import torch.nn.functional as functional
    batch, length = tokens.shape
    width, heads = config["n_embd"], config["n_head"]

    def normalize(values, name):
        return functional.layer_norm(values, (width,), weights[name + ".weight"],
                                     weights[name + ".bias"], config["layer_norm_epsilon"])

    def affine(values, name):
        return values @ weights[name + ".weight"] + weights[name + ".bias"]

    future = torch.full((length, length), float("-inf")).triu(1)
    state = weights["wte.weight"][tokens] + weights["wpe.weight"][:length]
    for layer in range(config["n_layer"]):
        block = f"h.{layer}."
        joined = affine(normalize(state, block + "ln_1"), block + "attn.c_attn")
        query, key, value = (
            part.view(batch, length, heads, HEAD_WIDTH).transpose(1, 2)
            for part in joined.split(width, 2))
        scores = query @ key.transpose(2, 3) / math.sqrt(HEAD_WIDTH) + future
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(batch, length, width)
        state = state + affine(mixed, block + "attn.c_proj")
        hidden = affine(normalize(state, block + "ln_2"), block + "mlp.c_fc")
        state = state + affine(functional.gelu(hidden, approximate="tanh"), block + "mlp.c_proj")
    return normalize(state, "ln_f") @ weights["wte.weight"].T


def perplexity(weights, config, tokens, max_windows=None):
    """Return the perplexity of a tensor of token ids, cut into windows that do not overlap."""
    import torch
    import torch.nn.functional as functional
    context = config["n_positions"]
    predictions = len(tokens) - 1
    if max_windows is not None:
        predictions = min(predictions, max_windows * context)
    total = 0.0
    with torch.no_grad():
        for start in range(0, predictions, context):
            end = min(start + context, predictions)
            logits = forward(weights, config, tokens[None, start:end])[0]
            targets = tokens[start + 1:end + 1]
            total += functional.cross_entropy(logits, targets, reduction="sum").item()
    return math.exp(total / predictions)


# ---- training ---------------------------------------------------------------------------------

def learning_rate(step, done):
    """Return the rate for a step when the fraction `done` of the training is over."""
    warm_up = min(1, (step + 1) / WARM_UP_STEPS)
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    return PEAK_LEARNING_RATE * warm_up * (FINAL_FRACTION + (1 - FINAL_FRACTION) * cosine)


def random_batch(tokens, context):
    """Return BATCH random windows and, for each of their tokens, the token that follows it."""
    import torch
    starts = torch.randint(len(tokens) - context - 1, (BATCH,))
    inputs = torch.stack([tokens[start:start + context] for start in starts])
    targets = torch.stack([tokens[start + 1:start + context + 1] for start in starts])
    return inputs, targets


def new_optimizer(weights):
    """Return AdamW with weight decay on matrices only; the rate is set at each step."""
    import torch
    matrices = [tensor for tensor in weights.values() if tensor.dim() == 2]
    vectors = [tensor for tensor in weights.values() if tensor.dim() < 2]
    return torch.optim.AdamW([{"params": matrices, "weight_decay": WEIGHT_DECAY},
                              {"params": vectors, "weight_decay": 0}],
                             lr=1, betas=(0.9, 0.98))


def train(weights, config, tokens, held_out, budget, save):
    """Train until the budget is used up; `save` is called with the weights now and then.

    `budget` maps (steps done, seconds passed) to the fraction of the training that is over.
    """
    import torch
    import torch.nn.functional as functional
    optimizer = new_optimizer(weights)
    begin = time.monotonic()
    step = 0
    while True:
        done = budget(step, time.monotonic() - begin)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, done)
        inputs, targets = random_batch(tokens, config["n_positions"])
        logits = forward(weights, config, inputs)
        loss = functional.cross_entropy(logits.view(-1, config["vocab_size"]), targets.view(-1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        step += 1
        if step % REPORT_EVERY == 0:
            seconds = time.monotonic() - begin
            print(f"step {step}, {seconds / 60:.1f} min, loss {loss.item():.3f}, "
                  f"{step * inputs.numel() / seconds:.0f} tokens/s", flush=True)
        if step % SAVE_EVERY == 0:
            value = perplexity(weights, config, held_out, CHECK_WINDOWS)
            print(f"  held-out perplexity {value:.2f}", flush=True)
            save(weights)
    save(weights)


# ---- files ------------------------------------------------------------------------------------

def write_safetensors(path, tensors):
    """Write (name, shape, flat list of numbers) as float16 tensors in the safetensors format."""
    header = {}
    offset = 0
    for name, shape, _ in tensors:
        end = offset + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    header["__metadata__"] = {"format": "pt"}
    text = json.dumps(header).encode("utf-8")
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, values in tensors:
            file.write(struct.pack(f"<{len(values)}e", *values))


def save_weights(path, weights):
    """Write the weights as model.safetensors."""
    write_safetensors(path, [(name, tuple(tensor.shape), tensor.detach().flatten().tolist())
                             for name, tensor in weights.items()])


def write_vocabulary(folder, vocab, merges):
    """Write vocab.json and merges.txt."""
    with open(folder / "vocab.json", "w", encoding="utf-8") as file:
        json.dump(vocab, file, ensure_ascii=False)
    with open(folder / "merges.txt", "w", encoding="utf-8", newline="\n") as file:
        file.write("#version: 0.2\n")
        file.writelines(f"{left} {right}\n" for left, right in merges)


def write_json(path, contents, indent=None):
    """Write plain ASCII JSON."""
    with open(path, "w", encoding="ascii", newline="\n") as file:
        json.dump(contents, file, indent=indent)


# ---- reference.json ---------------------------------------------------------------------------

def continue_prompt(weights, config, tokenizer, prompt):
    """Return the reference for one prompt: the best next tokens and the greedy continuation."""
    import torch
    prompt_ids = tokenizer.encode(prompt)
    top = None
    greedy = []
    with torch.no_grad():
        for _ in range(GREEDY_TOKENS):
            window = (prompt_ids + greedy)[-config["n_positions"]:]
            scores, best = forward(weights, config, torch.tensor([window]))[0, -1].topk(5)
            if top is None:
                top = [[token_id, round(score, 4), tokenizer.tokens[token_id]]
                       for token_id, score in zip(best.tolist(), scores.tolist())]
            greedy.append(best[0].item())
    return {"prompt": prompt, "ids": prompt_ids, "top5": top, "greedy": greedy,
            "greedy_text": tokenizer.decode(greedy)}


def reference(weights, config, tokenizer, held_out_name, held_out_ids):
    """Return the contents of reference.json.

    The weights are rounded to float16 first, because that is what a reader of the file gets.
    """
    import torch
    stored = {name: tensor.detach().half().float() for name, tensor in weights.items()}
    value = perplexity(stored, config, torch.tensor(held_out_ids))
    return {
        "about": "float32 forward pass of model.safetensors (weights as stored in float16). "
                 "Perplexity: the text tokenized whole, cut into windows of "
                 f"{config['n_positions']} tokens that do not overlap, each token of a window "
                 "predicts the next one (the last predicts the first of the next window), mean "
                 "over all predictions.",
        "tokenizer": [{"text": text, "ids": tokenizer.encode(text)} for text in TOKENIZER_TEXTS],
        "single_bytes": [{"bytes_hex": f"{byte:02x}", "id": tokenizer.vocab[SYMBOLS[byte]]}
                         for byte in range(256)],
        "perplexity": {held_out_name: {"tokens": len(held_out_ids), "perplexity": value,
                                       "first_ids": held_out_ids[:16]}},
        "next_token": [continue_prompt(stored, config, tokenizer, prompt) for prompt in PROMPTS],
    }


# ---- command line -----------------------------------------------------------------------------

def parse_arguments():
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        description="Train a small GPT-2 on plain text and write it in Hugging Face's format. "
                    "The defaults are the settings of the model in this folder.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("text_folder", type=pathlib.Path,
                        help="folder of UTF-8 files *.txt, one for each book")
    parser.add_argument("held_out", type=pathlib.Path,
                        help="UTF-8 text that is measured and never trained on")
    parser.add_argument("output_folder", type=pathlib.Path, help="made where it is missing")
    parser.add_argument("--vocab-size", type=int, default=4096, help="tokens, 257 or more")
    parser.add_argument("--width", type=int, default=128, help=f"a multiple of {HEAD_WIDTH}")
    parser.add_argument("--layers", type=int, default=4, help="transformer blocks")
    parser.add_argument("--context", type=int, default=256, help="tokens in a window")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=108, help="train for this long")
    length.add_argument("--steps", type=int, default=argparse.SUPPRESS,
                        help="train for this many steps instead; makes a run repeatable")
    parser.add_argument("--threads", type=int, default=1, help="threads torch may use")
    parser.add_argument("--seed", type=int, default=1, help="of the weights and the batches")
    arguments = parser.parse_args()

    if arguments.vocab_size < 257:
        parser.error("--vocab-size: 256 bytes and the end of text need 257 tokens")
    if arguments.width < HEAD_WIDTH or arguments.width % HEAD_WIDTH:
        parser.error(f"--width: must be a multiple of {HEAD_WIDTH}")
    for name in ("layers", "context", "minutes", "steps", "threads"):
        if not getattr(arguments, name, 1) > 0:
            parser.error(f"--{name}: must be above 0")
    if not any(arguments.text_folder.glob("*.txt")):
        parser.error(f"no *.txt in {arguments.text_folder}")
    if not arguments.held_out.is_file():
        parser.error(f"no file {arguments.held_out}")
    return arguments


def training_budget(arguments):
    """Return the function from (steps, seconds) to the fraction of the training that is over."""
    if "steps" in arguments:
        return lambda step, seconds: step / arguments.steps
    return lambda step, seconds: seconds / 60 / arguments.minutes


def main():
    """Train the vocabulary, then the model, and write every file."""
    arguments = parse_arguments()
    import torch    # before the minute of work that would be lost if it were missing
    folder = arguments.output_folder
    folder.mkdir(parents=True, exist_ok=True)

    texts = [path.read_text(encoding="utf-8")
             for path in sorted(arguments.text_folder.glob("*.txt"))]
    vocab, merges = train_bpe(texts, arguments.vocab_size)
    write_vocabulary(folder, vocab, merges)
    tokenizer = Tokenizer(vocab, merges)
    train_ids = [token_id for text in texts
                 for token_id in tokenizer.encode(text) + [vocab[END_OF_TEXT]]]
    held_out_ids = tokenizer.encode(arguments.held_out.read_text(encoding="utf-8"))
    print(f"{len(vocab)} tokens in the vocabulary, {len(train_ids)} in the training text, "
          f"{len(held_out_ids)} in the held-out text", flush=True)
    if len(train_ids) < arguments.context + 2 or len(held_out_ids) < 2:
        raise SystemExit("train.py: too little text for a single prediction")

    config = model_config(len(vocab), arguments.width, arguments.layers, arguments.context)
    write_json(folder / "config.json", config, indent=1)

    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    weights = new_weights(config)
    print(f"{sum(tensor.numel() for tensor in weights.values())} parameters", flush=True)
    train(weights, config, torch.tensor(train_ids), torch.tensor(held_out_ids),
          training_budget(arguments),
          functools.partial(save_weights, folder / "model.safetensors"))

    expected = reference(weights, config, tokenizer, arguments.held_out.stem, held_out_ids)
    write_json(folder / "reference.json", expected, indent=0)
    for name, measured in expected["perplexity"].items():
        print(f"perplexity of {name}: {measured['perplexity']:.2f}")


if __name__ == "__main__":
    main()
