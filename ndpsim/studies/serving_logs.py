"""Request logs of vLLM runs as LLMServingSim's benchmark writes them: a JSON object a line, `*_meta.json` beside it."""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from ndpsim.errors import InputError
from ndpsim.gpu.card import card_names
from ndpsim.studies.serving_runs import LoggedRun, ServingCase, case_of, model_of

ENGINE: Final = "vllm-0.19"
MOST_TOKENS: Final = 1 << 20
NUMBERS: Final = ("arrival_time", "queued_ts", "first_token_ts", "last_token_ts")
COUNTS: Final = ("input_toks", "output_toks")


def log_case(path: Path, model_file: Path | None, card: str | None, kv_blocks: int | None) -> ServingCase:
    """Return the run of a request log.

    Model and limits are those of the file `*_meta.json` beside `*_requests.jsonl`; without one, Llama-3.1-8B and what
    the engine has by default. card: by default the one whose name stands in the file's name.

    Raises InputError naming file and line.
    """
    rows = sorted(_rows(path), key=lambda row: row["arrival_time"])
    meta = _meta(path)
    options = meta.get("engine_kwargs") if isinstance(meta.get("engine_kwargs"), dict) else {}
    run = LoggedRun(
        name=path.name.removesuffix(".jsonl"),
        source=str(path),
        model=model_of(str(meta.get("model", "llama3.1-8b")), model_file, str(path)),
        card=card or _card(path),
        engine=ENGINE,
        requests=str(path),
        max_num_seqs=_option(path, options, "max_num_seqs", 256),
        max_num_batched_tokens=_option(path, options, "max_num_batched_tokens", 2048),
        kv_blocks=kv_blocks,
        tp=_option(path, options, "tensor_parallel_size", 1),
    )
    columns = {name: np.array([row[name] for row in rows]) for name in (*NUMBERS, *COUNTS)}
    # the two clocks: the request that was queued soonest came then
    begin = columns["arrival_time"][0]
    other = begin + float((columns["queued_ts"] - columns["arrival_time"]).min())
    return case_of(
        run,
        columns["arrival_time"] - begin,
        columns["input_toks"],
        columns["output_toks"],
        columns["first_token_ts"] - other,
        columns["last_token_ts"] - other,
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a readable text file, found: {error}") from None
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise InputError(f"{path}: line {number}: expected a JSON object, found {line[:40]!r}")
        for name in NUMBERS:
            if type(row.get(name)) not in (int, float) or not abs(row[name]) < 1e12:
                raise InputError(f"{path}: line {number}: {name}: expected seconds, found {row.get(name)!r}")
        for name in COUNTS:
            if type(row.get(name)) is not int or not 1 <= row[name] <= MOST_TOKENS:
                found = row.get(name)
                raise InputError(f"{path}: line {number}: {name}: expected 1 to {MOST_TOKENS}, found {found!r}")
        rows.append(row)
    if not rows:
        raise InputError(f"{path}: expected at least one request, found none")
    return rows


def _meta(path: Path) -> dict[str, Any]:
    beside = path.with_name(path.name.replace("_requests.jsonl", "_meta.json"))
    if beside == path or not beside.is_file():
        return {}
    try:
        found = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{beside}: expected a JSON object, found something else")
    return found


def _option(path: Path, options: Any, name: str, default: int) -> int:
    value = options.get(name)
    if value is not None and (type(value) is not int or not 1 <= value <= MOST_TOKENS):
        raise InputError(f"{path}: {name} of its meta file: expected 1 to {MOST_TOKENS}, found {value!r}")
    return default if value is None else int(value)


def _card(path: Path) -> str:
    parts = path.name.lower().replace("-", "").split("_")
    for name in card_names():
        if name.replace("-", "") in parts:
            return name
    raise InputError(f"{path}: expected the name of a card in its name, or --card, found neither")
