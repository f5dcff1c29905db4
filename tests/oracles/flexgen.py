"""FlexGen's cost model from its paper (section 4.3, without disk), in plain Python: what a policy takes and needs."""

from collections.abc import Mapping

Numbers = Mapping[str, float]


def layer_seconds(one: Numbers, wg: float, cg: float, hg: float, host: bool, rate: float) -> float:
    """The longest of loading, storing and computing of one layer; `one`: the fields of a pass by name."""
    wc, cc, hc = 1 - wg, 1 - cg, 1 - hg
    ctog = (wc * one["weights"] + hc * one["hidden"]) / rate
    gtoc = (hc * one["hidden"] + cc * one["written"]) / rate
    compute = one["compute_s"]
    if host:
        compute += cg * one["attention_s"] + cc * one["host_s"] + cc * one["exchanged"] / rate
    else:
        ctog += cc * one["read"] / rate
        compute += one["attention_s"]
    return max(ctog, gtoc, compute)


def seconds(problem: Numbers, prompt: Numbers, token: Numbers, wg: float, cg: float, hg: float, host: bool) -> float:
    """The whole run: the prompt, then every token."""
    policy = (wg, cg, hg, host, problem["rate"])
    return problem["layers"] * (layer_seconds(prompt, *policy) + problem["passes"] * layer_seconds(token, *policy))


def fits(problem: Numbers, wg: float, cg: float, hg: float, host: bool) -> bool:
    """Whether the homes of all things and the buffers of what passes have room."""
    gpu = wg * problem["weights"] + cg * problem["cache"] + hg * problem["hidden"]
    gpu += 2 * (1 - wg) * problem["stage"]
    if not host:
        gpu += 2 * (1 - cg) * problem["cache"] / problem["layers"]
    cpu = (1 - wg) * problem["weights"] + (1 - cg) * problem["cache"] + (1 - hg) * problem["hidden"]
    return gpu <= problem["card"] and cpu <= problem["host"]
