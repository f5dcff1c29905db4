"""A serving job: rooms, and the greatest rate that keeps limits."""

import numpy as np
import pytest

from ndpsim.errors import InputError
from ndpsim.runs.setup import Setup
from ndpsim.serving.job import PRECISION, ServingJob, capacity
from ndpsim.serving.profile import load_profile
from ndpsim.serving.sources.generated import RandomRequests
from ndpsim.serving.workload import Workload


def job(system="gpu-only", prompt=19, output=5, **more):
    return ServingJob(Setup.of(system, "relu-lm", prompt=prompt, output=output), load_profile("vllm-0.19"), **more)


WORK = RandomRequests(num_prompts=8, random_input_len=19, random_output_len=5).draw(seed=0)


def test_limits_are_the_engines_unless_others_are_given():
    made = job()
    limits = made.limits(made.system())
    assert (limits.max_num_seqs, limits.max_num_batched_tokens, limits.block_tokens) == (256, 2048, 16)
    assert limits.kv_blocks == made.system().kv_room(1_690_000_000)["gpu"] // 16
    assert limits.prefix_caching and limits.chunked_prefill and not limits.by_priority
    made = job(kv_blocks=7, max_num_seqs=3, max_num_batched_tokens=50, prefix_caching=False, by_priority=True)
    limits = made.limits(made.system())
    assert (limits.kv_blocks, limits.max_num_seqs, limits.max_num_batched_tokens) == (7, 3, 50)
    assert not limits.prefix_caching and limits.by_priority


@pytest.mark.parametrize("system", ["hermes", "hermes-base", "flexgen", "gpu-only"])
def test_every_place_has_room_for_the_longest_request(system):
    served, _ = job(system, max_num_seqs=2).run(WORK)
    assert served.preemptions.tolist() == [0] * 8
    assert (served.last_token > served.first_token).all()
    if system != "gpu-only":
        assert served.kv_blocks == 2 * 2  # 24 tokens are two blocks


def test_capacity_is_kept_and_a_hundredth_more_is_not():
    made, tried = job(max_num_seqs=2), []
    limit = made.run(WORK)[0].first_token.max() / 2  # of all at once, of which two run at a time

    def keeps(served):
        return (served.first_token - served.arrival).max() <= limit

    rate, served, system = capacity(made, WORK, keeps, seed=3, tell=tried.append)
    assert keeps(served) and rate in tried and system.name == "gpu-only"
    refused = [one for one in tried if one > rate]
    assert refused and min(refused) <= rate * (1 + PRECISION)
    assert capacity(made, WORK, keeps, seed=3)[0] == rate


def test_limits_that_all_rates_keep_or_none_are_refused():
    made = job(max_num_seqs=2)
    with pytest.raises(InputError, match=r"^--capacity: expected limits that some rate does not keep"):
        capacity(made, WORK, lambda served: True)
    with pytest.raises(InputError, match=r"^--capacity: expected limits that 0\.001 requests a second keep"):
        capacity(made, WORK, lambda served: False)


def test_a_request_longer_than_the_room_is_refused_by_its_number():
    work = Workload(np.array([0, 1]), np.array([10, 40]), np.array([1, 1]))
    with pytest.raises(InputError, match=r"^request 2: expected at most 2 KV blocks of 16 tokens, found 3"):
        job(prompt=40, output=1, kv_blocks=2).run(work)
