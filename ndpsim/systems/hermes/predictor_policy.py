"""The parameters of Hermes' predictor and placement as a policy has them; Hermes and Hermes-host share them."""

from typing import Annotated, Literal

from pydantic import Field

from ndpsim.kinds import Unit
from ndpsim.sparsity.prediction.predictor import PredictorRule, Score, State
from ndpsim.tables import Given, Switch, Table


class PredictorPolicy(Table):
    """Where hot neurons begin, whether they are copied to the GPU later, and what the predictor goes by.

    bundle: neurons that are placed together; gpu_probe: of each kind, in the kernels from which the time of one more
    neuron on the GPU is taken.
    """

    placement: Given[Literal["greedy", "optimal", "random"]]
    bundle: Annotated[Given[Annotated[int, Field(strict=True, ge=1, le=1 << 20)]], Unit("neuron")]
    gpu_probe: Annotated[Given[Annotated[int, Field(strict=True, ge=1, le=1 << 20)]], Unit("neuron")]
    adjust: Switch
    predictor: Given[Literal["both", "token", "layer"]]
    rise: Given[State]
    fall: Given[State]
    weight: Given[Score]
    threshold: Given[Score]
    strict: Switch
    threshold_alone: Given[State]
    hot_above: Given[State]

    def rule(self) -> PredictorRule:
        """Return the numbers of the predictor."""
        return PredictorRule(
            part=self.predictor.value,
            rise=self.rise.value,
            fall=self.fall.value,
            weight=self.weight.value,
            threshold=self.threshold.value,
            strict=self.strict.value,
            threshold_alone=self.threshold_alone.value,
            hot=self.hot_above.value,
        )
