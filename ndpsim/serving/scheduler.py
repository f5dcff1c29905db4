"""The order of decisions of vLLM V1, as kernels: running requests first, then waiting ones; see docs/SERVING.md."""

from ndpsim.jit import borrowing
from ndpsim.serving import state as at
from ndpsim.serving.kv_blocks import NONE, KvBlocks, find, give_back, hold, mark, take
from ndpsim.serving.state import Rules, State


@borrowing
def arrive(rules: Rules, state: State, now: int) -> None:
    """Let all requests wait that the scheduler has got by now."""
    counts = state.counts
    while counts[at.ARRIVED] < len(rules.ready) and rules.ready[counts[at.ARRIVED]] <= now:
        _push(rules, state, counts[at.ARRIVED])
        counts[at.ARRIVED] += 1


@borrowing
def schedule(rules: Rules, state: State, kv: KvBlocks, now: int) -> None:
    """Decide what a step computes: `new` tokens of the first SCHEDULED running requests."""
    counts = state.counts
    counts[at.LEFT] = counts[at.SWAPPED_OUT] = counts[at.SWAPPED_IN] = 0
    budget = _running(rules, state, kv)
    if counts[at.LEFT] == 0:
        while counts[at.WAITING] > 0 and budget > 0 and counts[at.RUNNING] < rules.most_sequences:
            new = _admit(rules, state, kv, budget, now)
            if new == 0:
                break
            budget -= new


@borrowing
def complete(rules: Rules, state: State, kv: KvBlocks, end: int) -> None:
    """End a step: tokens are computed, requests get theirs, and those that have their last one leave."""
    counts = state.counts
    counts[at.LEFT] = 0
    for i in range(counts[at.SCHEDULED]):
        r = state.running[i]
        state.computed[r] += state.new[i]
        if state.computed[r] < rules.prompt[r] + state.produced[r]:
            continue
        state.produced[r] += 1
        state.last_token[r] = end
        if state.produced[r] == 1:
            state.first_token[r] = end
        if state.produced[r] == rules.output[r]:
            _release(state, kv, r)
            counts[at.DONE] += 1
    kept = 0
    for i in range(counts[at.RUNNING]):
        r = state.running[i]
        if state.place[r] != NONE:
            state.running[kept] = r
            kept += 1
    counts[at.RUNNING] = kept
    counts[at.SCHEDULED] = 0


@borrowing
def _running(rules: Rules, state: State, kv: KvBlocks) -> int:
    """Schedule running requests, and return what is left of the budget."""
    counts, budget, i = state.counts, rules.most_tokens, 0
    while i < counts[at.RUNNING] and budget > 0:
        r = state.running[i]
        new = min(rules.prompt[r] + state.produced[r] - state.computed[r], budget)
        needed = -(-(state.computed[r] + new) // rules.block_tokens)
        while needed - state.held[state.place[r]] > kv.free[0]:
            victim = _victim(rules, state)
            itself = victim == i
            if victim < i:
                i -= 1
                budget += state.new[victim]
                for j in range(victim, i):
                    state.new[j] = state.new[j + 1]
            _preempt(rules, state, kv, victim)
            if itself:
                counts[at.SCHEDULED] = i
                return int(budget)
        _grow(rules, state, kv, r, new)
        state.new[i] = new
        budget -= new
        i += 1
    counts[at.SCHEDULED] = i
    return int(budget)


@borrowing
def _victim(rules: Rules, state: State) -> int:
    """Return where the running request with the largest key stands; of one priority that is the last."""
    last = state.counts[at.RUNNING] - 1
    if rules.by_priority:
        for i in range(last):
            if _before(rules, state.running[last], state.running[i]):
                last = i
    return int(last)


@borrowing
def _preempt(rules: Rules, state: State, kv: KvBlocks, victim: int) -> None:
    """Take a running request's place and blocks, and let it wait."""
    counts, r = state.counts, state.running[victim]
    _release(state, kv, r)
    state.preemptions[r] += 1
    needed = max(-(-state.computed[r] // rules.block_tokens), 1)
    if rules.swapping and needed <= counts[at.SWAP_FREE]:
        state.swapped[r] = needed
        counts[at.SWAP_FREE] -= needed
        counts[at.SWAPPED_OUT] += needed
    else:
        state.computed[r] = 0
    counts[at.RUNNING] -= 1
    for j in range(victim, counts[at.RUNNING]):
        state.running[j] = state.running[j + 1]
    _push(rules, state, r)


@borrowing
def _admit(rules: Rules, state: State, kv: KvBlocks, budget: int, now: int) -> int:
    """Admit the head of the waiting requests, and return its new tokens; 0 if it cannot be."""
    counts, r, place = state.counts, state.waiting[0], 0
    while state.owner[place] != NONE:
        place += 1
    known, hits, idle = rules.prompt[r] + state.produced[r], 0, 0
    if rules.caching and state.swapped[r] == 0:
        most = (known - 1) // rules.block_tokens
        while hits < most:
            block = find(kv, _identity(rules, r, hits))
            if block == NONE:
                break
            state.blocks[place, hits] = block
            idle += kv.holders[block] == 0
            hits += 1
    computed = state.computed[r] if state.swapped[r] > 0 else hits * rules.block_tokens
    new = known - computed
    if not rules.chunked and new > budget:
        return 0
    new = min(new, budget)
    if -(-(computed + new) // rules.block_tokens) - hits + idle > kv.free[0]:
        return 0
    _pop(rules, state)
    for j in range(hits):
        hold(kv, state.blocks[place, j])
    state.owner[place], state.place[r] = r, place
    state.held[place] = state.marked[place] = hits
    state.computed[r] = computed
    counts[at.SWAP_FREE] += state.swapped[r]
    counts[at.SWAPPED_IN] += state.swapped[r]
    state.swapped[r] = 0
    if state.first_scheduled[r] == NONE:
        state.first_scheduled[r] = now
        state.cached[r] = computed
    _grow(rules, state, kv, r, new)
    last = counts[at.RUNNING]
    state.running[last], state.new[last] = r, new
    counts[at.RUNNING] += 1
    counts[at.SCHEDULED] += 1
    return int(new)


@borrowing
def _grow(rules: Rules, state: State, kv: KvBlocks, r: int, new: int) -> None:
    """Give a request the blocks for its new tokens, and those that will be full their identities."""
    place, tokens = state.place[r], state.computed[r] + new
    needed = -(-tokens // rules.block_tokens)
    for j in range(state.held[place], needed):
        state.blocks[place, j] = take(kv)
    state.held[place] = max(state.held[place], needed)
    if rules.caching:
        full = tokens // rules.block_tokens
        for j in range(state.marked[place], full):
            mark(kv, state.blocks[place, j], _identity(rules, r, j))
        state.marked[place] = max(state.marked[place], full)


@borrowing
def _release(state: State, kv: KvBlocks, r: int) -> None:
    """Take a request's blocks back, its last one first, and its place."""
    place = state.place[r]
    for j in range(state.held[place] - 1, -1, -1):
        give_back(kv, state.blocks[place, j])
    state.place[r] = state.owner[place] = NONE
    state.left[state.counts[at.LEFT]] = place
    state.counts[at.LEFT] += 1


@borrowing
def _identity(rules: Rules, r: int, block: int) -> int:
    """Return the number that equal blocks have: of their common prefix, or of a request that shares it with nobody."""
    end = (block + 1) * rules.block_tokens
    owner = rules.own + r
    if rules.prefix_tokens > 0 and end <= rules.prompt[r]:
        owner = rules.prefixes[rules.prefix_starts[r] + (end - 1) // rules.prefix_tokens]
    return int(owner * rules.most_blocks + block)


@borrowing
def _before(rules: Rules, one: int, other: int) -> bool:
    """Tell whether a request goes before another one: by priority, then by arrival."""
    first, second = rules.priority[one], rules.priority[other]
    return bool(first < second or (first == second and one < other))


@borrowing
def _push(rules: Rules, state: State, r: int) -> None:
    """Let a request wait: a heap whose least entry is the head."""
    heap, i = state.waiting, state.counts[at.WAITING]
    state.counts[at.WAITING] += 1
    while i > 0 and _before(rules, r, heap[(i - 1) // 2]):
        heap[i] = heap[(i - 1) // 2]
        i = (i - 1) // 2
    heap[i] = r


@borrowing
def _pop(rules: Rules, state: State) -> None:
    """Remove the head of the waiting requests."""
    state.counts[at.WAITING] -= 1
    heap, size, i = state.waiting, state.counts[at.WAITING], 0
    r = heap[size]
    while 2 * i + 1 < size:
        child = 2 * i + 1
        if child + 1 < size and _before(rules, heap[child + 1], heap[child]):
            child += 1
        if not _before(rules, heap[child], r):
            break
        heap[i] = heap[child]
        i = child
    heap[i] = r
