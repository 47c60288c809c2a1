"""The Brier score: squared error between the predicted distribution and the one-hot target."""

from torch import Tensor

from lmlab.data.batch import Batch
from lmlab.models.language_model import LanguageModel
from lmlab.training.objectives.objective import Objective, Terms


class Brier(Objective):
    """Mean over tokens of sum_v (p_v - [v = y])^2, between 0 and 2 (Brier 1950, equation 2).

    This is the mean squared error over the V types times V. Written out it is sum_v p_v^2 - 2 p_y + 1, which needs no
    one-hot vector.
    """

    def terms(self, model: LanguageModel, batch: Batch) -> Terms:
        output = model(batch.tokens, batch.state)
        hidden_ND, targets_N = batch.scored(output.hidden)
        scores_N = model.head.per_token(brier_score, hidden_ND, targets_N)
        return Terms(scores_N.sum() / (targets_N >= 0).sum().clamp(min=1), batch.share, output)


def brier_score(log_probs_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Return the Brier scores [N], in [0, 2], of predictions [N, V] against ``targets_N`` [N]."""
    probs_NV = log_probs_NV.exp()
    probs_of_truth_N = probs_NV.gather(1, targets_N[:, None]).squeeze(1)
    return probs_NV.square().sum(1) - 2 * probs_of_truth_N + 1
