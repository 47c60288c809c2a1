"""Cross-entropy between the data's next token and the predicted distribution."""

from lmlab.data.batch import Batch
from lmlab.errors import UserError
from lmlab.models.language_model import LanguageModel
from lmlab.training.objectives.objective import Objective, Terms


class CrossEntropy(Objective):
    """Mean negative log-likelihood of the next token, in nats.

    With label smoothing e the target is (1 - e) one-hot + e uniform over the V types (Szegedy et al. 2016, section 7):
    loss = -(1 - e) log p_y - (e / V) sum_v log p_v.

    Raises:
        UserError: ``label_smoothing`` is not in [0, 1).
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing < 1:
            raise UserError(f"objective.label_smoothing={label_smoothing}: expected a number in [0, 1)")
        self.label_smoothing = label_smoothing

    def terms(self, model: LanguageModel, batch: Batch) -> Terms:
        output = model(batch.tokens, batch.state)
        loss = model.head.cross_entropy(*batch.scored(output.hidden), self.label_smoothing)
        return Terms(loss, batch.share, output)
