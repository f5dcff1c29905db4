"""A small evaluation in the form of Hermes' published one, of a model that runs at once."""

from ndpsim.studies.hermes_points import Published

SMALL = {"dimm.count": 2, "model.layers": 2}
PUBLISHED = Published.model_validate(
    {
        "source": "made up",
        "prompt": 8,
        "output": 4,
        "setups": {"hermes-base": {"dimm.count": 2}},
        "steady": ["accelerate"],
        "bars": [
            {"figure": "Fig. 1", "model": "relu-lm", "batches": [1],
             "tokens_per_s": {"accelerate": [10.0], "hermes": [400.0]}},
            {"figure": "Fig. 2", "model": "relu-lm", "batches": [1, 2],
             "tokens_per_s": {"hermes": [401.0, 800.0], "hermes-base": [100.0, 160.0]}},
        ],
        "speedups": [
            {"section": "V", "over": ["hermes", "hermes-base"], "models": ["relu-lm"], "batches": [1, 2], "value": 4.6},
            {"section": "V", "over": ["hermes", "hermes-base"], "models": ["relu-lm"], "batches": [1, 2],
             "statistic": "least", "value": 4.0},
            {"section": "V", "over": ["hermes", "hermes-base"], "models": ["relu-lm"], "batches": [1, 2],
             "statistic": "greatest", "value": 5.0},
            {"section": "VI", "over": ["hermes", "gpu-only"], "models": ["relu-lm"], "batches": [1], "value": 0.5},
        ],
        "ablation": {
            "figure": "Fig. 3",
            "models": ["relu-lm"],
            "batches": [1, 2],
            "variants": {"partition": {"policy.adjust": False, "policy.remap": False}, "hermes": {}},
            "steps": [{"from": "partition", "to": "hermes", "gain": 1.5}],
        },
        "shares": [
            {"section": "V", "system": "hermes", "measure": "prompt", "models": ["relu-lm"], "value": 0.4},
            {"section": "V", "system": "hermes-base", "measure": "dimms", "models": ["relu-lm"], "value": 0.2,
             "bound": "above"},
        ],
        "readings": [
            {"name": ">=", "about": "a rule", "models": ["relu-lm"], "batches": [1, 2],
             "changes": {"policy.strict": False}},
        ],
    }
)  # fmt: skip
