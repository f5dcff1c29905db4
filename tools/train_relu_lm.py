"""Train the small ReLU language model that ships in ``workloads/models/relu-lm``.

The corpus is any folder of HTML, reStructuredText or plain-text documents whose licence allows a derived model and an
excerpt to be passed on; the shipped model was trained on the HTML documentation of Python 3.11 (Debian package
``python3.11-doc``). With a budget of tokens alone, the same corpus and seed give the same model on the same version of
PyTorch; a limit of minutes shortens the schedule when the machine turns out to be slow.

    python tools/train_relu_lm.py DOCS_FOLDER OUT_FOLDER --tokens 12e6 --minutes 33 --source "Python 3.11 documentation"
"""

from __future__ import annotations

import argparse
import io
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sentencepiece
import torch
import torch.nn.functional as F
from relu_lm_torch import ReluLM, Shape
from safetensors.torch import save_file
from text_corpus import read_corpus, split_corpus
from torch import Tensor

HELDOUT_BYTES = 40_000
WARMUP_TOKENS = 80_000


@dataclass(frozen=True)
class Budget:
    """How long to train and in what steps."""

    tokens: int
    seconds: float
    batch: int
    rate: float
    seed: int


def train_tokenizer(documents: list[str], vocab: int) -> bytes:
    """A byte-fallback BPE of ``vocab`` pieces; id 1 begins a document, and a newline is its own byte piece."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for text in documents for line in text.splitlines()),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab,
        byte_fallback=True,
        character_coverage=0.9995,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def encode(tokenizer: sentencepiece.SentencePieceProcessor, documents: list[str]) -> np.ndarray:
    """All documents as one stream of token ids, uint16, each document behind the begin token."""
    ids = [np.asarray([tokenizer.bos_id(), *tokenizer.encode(text)], dtype=np.uint16) for text in documents]
    return np.concatenate(ids)


def windows(stream: np.ndarray, starts: np.ndarray, context: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets (batch, context), int64, beginning at ``starts``."""
    span = torch.from_numpy(np.stack([stream[s : s + context + 1] for s in starts]).astype(np.int64))
    return span[:, :-1], span[:, 1:]


@torch.no_grad()
def heldout_loss(model: ReluLM, stream: np.ndarray) -> float:
    """Mean cross entropy (nats a token) over full windows of the held-out stream."""
    context = model.shape.context
    x, y = windows(stream, np.arange(0, len(stream) - context - 1, context), context)
    return float(F.cross_entropy(model(x).float().flatten(0, 1), y.flatten()))


def optimiser_of(model: ReluLM, rate: float) -> torch.optim.AdamW:
    """AdamW that decays matrices but not gains."""
    matrices = [p for p in model.parameters() if p.ndim == 2]
    gains = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": gains, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95))


def train(stream: np.ndarray, heldout: np.ndarray, budget: Budget, bf16: bool, checkpoint: Path, log: Path) -> ReluLM:
    """Train from scratch, or go on from ``checkpoint`` where it exists; every line of progress goes to ``log``."""
    torch.manual_seed(budget.seed)
    model = ReluLM(Shape())
    optimiser = optimiser_of(model, budget.rate)
    step, spent = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent = state["step"], state["spent"]
    context = model.shape.context
    per_step = budget.batch * context
    began = time.monotonic() - spent
    running, saved = 0.0, time.monotonic()
    with log.open("a") as out:

        def say(line: str) -> None:
            print(line, file=out, flush=True)

        if step == 0:
            say(f"parameters {sum(p.numel() for p in model.parameters())}, training tokens {len(stream)}, {budget}")
        while True:
            elapsed = time.monotonic() - began
            done = max(step * per_step / budget.tokens, elapsed / budget.seconds)
            if step % 200 == 0 or done >= 1:
                loss = heldout_loss(model, heldout)
                say(
                    f"step {step:6d}  tokens {step * per_step:9d}  seconds {elapsed:7.1f}"
                    f"  train {running:.4f}  held-out {loss:.4f}"
                )
            if done >= 1:
                return model
            warm = min(1.0, (step + 1) * per_step / WARMUP_TOKENS)
            for group in optimiser.param_groups:
                group["lr"] = budget.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
            # the sample of a step depends on its number alone, so that a resumed run sees the same text
            starts = np.random.default_rng([budget.seed, step]).integers(0, len(stream) - context - 1, budget.batch)
            x, y = windows(stream, starts, context)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                logits = model(x)
            value = F.cross_entropy(logits.float().flatten(0, 1), y.flatten())
            optimiser.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            step += 1
            running = value.item() if running == 0 else 0.98 * running + 0.02 * value.item()
            if time.monotonic() - saved > 120:
                saved = time.monotonic()
                save_checkpoint(checkpoint, model, optimiser, step, saved - began)


def save_checkpoint(path: Path, model: ReluLM, optimiser: torch.optim.Optimizer, step: int, spent: float) -> None:
    """Write everything that going on needs; the file is replaced at once."""
    state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step, "spent": spent}
    part = path.with_name(path.name + ".part")
    torch.save(state, part)
    os.replace(part, path)


def export(model: ReluLM, folder: Path, source: str, licence: str) -> None:
    """Write ``weights.safetensors`` (float16) and ``model.toml``."""
    weights = {name: w.to(torch.float16).contiguous() for name, w in model.plain_weights().items()}
    save_file(weights, folder / "weights.safetensors")
    (folder / "weights.safetensors").chmod(0o644)  # the library leaves it readable to its owner only
    s = model.shape
    parameters = sum(w.numel() for w in weights.values())
    (folder / "model.toml").write_text(
        f'name = "{folder.name}"\n'
        f'activation = "relu"\n'
        f"layers = {s.layers}\nd_model = {s.d_model}\nheads = {s.heads}\nd_ffn = {s.d_ffn}\nvocab = {s.vocab}\n"
        f"context = {s.context}\nrope_theta = {s.rope_theta}\nnorm_eps = {s.norm_eps}\nparameters = {parameters}\n"
        f'weights = "weights.safetensors"\ntokenizer = "tokenizer.model"\nheldout = "heldout.txt"\n'
        f'source = "{source}"\nlicence = "{licence}"\n'
    )


def main() -> None:
    """Parse the arguments, build the corpus, train and export."""
    parser = argparse.ArgumentParser(description="Train the small ReLU language model that ships with ndpsim.")
    parser.add_argument("documents", type=Path, help="folder of .html, .rst or .txt documents")
    parser.add_argument("out", type=Path, help="model folder to write")
    parser.add_argument("--tokens", type=float, default=12e6, help="training tokens (default 12e6)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="limit of wall time (default none)")
    parser.add_argument("--batch", type=int, default=8, help="windows of 256 tokens a step (default 8)")
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate (default 3e-3)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, split and order (default 0)")
    parser.add_argument("--float32", action="store_true", help="train in float32 rather than bfloat16")
    parser.add_argument("--checkpoint", type=Path, default=Path("relu-lm-checkpoint.pt"), help="state to go on from")
    parser.add_argument("--source", required=True, help="what the text is")
    parser.add_argument("--licence", default="PSF-2.0", help="licence of the text (default PSF-2.0)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    documents, heldout = split_corpus(read_corpus(args.documents), HELDOUT_BYTES, args.seed)
    tokenizer_file = train_tokenizer(documents, Shape().vocab)
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=tokenizer_file)
    (args.out / "tokenizer.model").write_bytes(tokenizer_file)
    (args.out / "heldout.txt").write_text(heldout, encoding="utf-8")
    budget = Budget(int(args.tokens), args.minutes * 60, args.batch, args.rate, args.seed)
    streams = encode(tokenizer, documents), encode(tokenizer, [heldout])
    model = train(*streams, budget, not args.float32, args.checkpoint, args.out / "train.log")
    export(model, args.out, args.source, args.licence)


if __name__ == "__main__":
    main()
