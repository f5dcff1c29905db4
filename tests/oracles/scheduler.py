"""Slow twin of the serving replay: every KV block is an object that knows whose tokens it holds."""

from dataclasses import dataclass, field


@dataclass(eq=False)
class Block:
    """A KV block: the sequence and the place in it whose tokens it holds, and how many of them are computed."""

    owner: object = None
    place: int = -1
    tokens: int = 0


@dataclass(eq=False)
class Sequence:
    """A request being served; `tokens` exist, of which those in its blocks are computed."""

    arrival_us: float
    prompt: int
    wanted: int
    tokens: int
    blocks: list = field(default_factory=list)
    given_us: list = field(default_factory=list)

    @property
    def computed(self):
        return sum(block.tokens for block in self.blocks)


def serve(requests, token_budget, sequences, blocks, block_tokens, step_us):
    """Serve (arrival in us, tokens in, tokens out) in order of arrival.

    step_us([(new tokens, computed tokens)]) is the time of a step. Returns the microseconds at which each request got
    each of its tokens, and the steps.
    """
    free = [Block() for _ in range(blocks)]  # the one that has been free for longest is first
    coming = [Sequence(arrival, prompt, wanted, prompt) for arrival, prompt, wanted in requests]
    everyone, waiting, running = list(coming), [], []
    now, steps = 0.0, 0

    def blocks_for(tokens):
        return -(-tokens // block_tokens)

    def still_held(one):
        found = [block for block in free if block.owner is one]
        return sorted(found, key=lambda block: block.place)

    while any(len(one.given_us) < one.wanted for one in everyone):
        if not waiting and not running:
            now = max(now, coming[0].arrival_us)
        while coming and coming[0].arrival_us <= now:
            waiting.append(coming.pop(0))

        batch, left, somebody_left = [], token_budget, False
        for one in list(running):
            if one not in running or left == 0:
                continue
            new = min(left, one.tokens - one.computed)
            while one in running and blocks_for(one.computed + new) - len(one.blocks) > len(free):
                last = running.pop()  # admitted last
                free += reversed(last.blocks)
                last.blocks = []
                waiting.insert(0, last)
                somebody_left = True
            if one in running:
                batch.append((one, new))
                left -= new
                _grow(one, blocks_for(one.computed + new), free)
        while waiting and left and not somebody_left and len(running) < sequences:
            one = waiting[0]
            held = still_held(one)
            computed = sum(block.tokens for block in held)
            new = min(left, one.tokens - computed)
            if blocks_for(computed + new) > len(free):
                break
            for block in held:
                free.remove(block)
            one.blocks = held
            _grow(one, blocks_for(computed + new), free)
            running.append(waiting.pop(0))
            batch.append((one, new))
            left -= new

        now += step_us([(new, one.computed) for one, new in batch])
        steps += 1
        for one, new in batch:
            _fill(one, new, block_tokens)
            if one.computed == one.tokens:
                one.tokens += 1
                one.given_us.append(now)
                if len(one.given_us) == one.wanted:
                    for block in one.blocks:
                        block.owner = None
                    free += one.blocks
                    running.remove(one)
    return [one.given_us for one in everyone], steps


def _grow(one, blocks, free):
    while len(one.blocks) < blocks:
        block = free.pop(0)
        block.owner, block.place, block.tokens = one, len(one.blocks), 0
        one.blocks.append(block)


def _fill(one, new, block_tokens):
    for block in one.blocks:
        taken = min(new, block_tokens - block.tokens)
        block.tokens += taken
        new -= taken
    assert new == 0
