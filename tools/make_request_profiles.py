"""Make a profile of a request trace: `python tools/make_request_profiles.py FILE NAME SOURCE LICENCE > NAME.toml`.

The file is one that `ndpsim serve --requests` reads. What is kept are quantiles of its lengths, its rate and the spread
of its gaps; see `ndpsim/serving/sources/profiles.py`.
"""

import json
import sys

import numpy as np

from ndpsim.serving.sources.files import read_workload

SHARES = (
    0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8,
    0.85, 0.9, 0.925, 0.95, 0.965, 0.98, 0.99, 0.995, 0.999, 1,
)  # fmt: skip


def main(path: str, name: str, source: str, licence: str) -> None:
    """Print the profile of a trace."""
    workload = read_workload(path)
    print(f"name = {json.dumps(name)}\nsource = {json.dumps(source)}\nlicence = {json.dumps(licence)}")
    print(f"requests = {len(workload)}")
    gaps = np.diff(workload.arrivals) * 1e-12
    if gaps.any():
        print(f"rate_per_s = {1 / gaps.mean():.4g}  # its own")
        print(f"gap_cv = {gaps.std() / gaps.mean():.4g}  # standard deviation of the gaps by their mean")
    print(f"shares = [{', '.join(f'{share:g}' for share in SHARES)}]")
    for field, lengths in (("input_tokens", workload.prompts), ("output_tokens", workload.outputs)):
        print(f"{field} = [{', '.join(f'{value:.6g}' for value in np.quantile(lengths, SHARES))}]")


if __name__ == "__main__":
    main(*sys.argv[1:])
