"""A filter by language, as py3langid identifies it (Lui and Baldwin 2012, "langid.py")."""

from functools import cache
from typing import Any

from lmlab.data.cleaning.filter import Filter
from lmlab.errors import UserError, nearest

_LOOKED_AT = 2000
"""Characters at the beginning of a document that are classified: the time is proportional to them."""


class Languages(Filter):
    """Keeps documents whose most probable language is one of ``languages``.

    Args:
        languages: codes of ISO 639, like ``en``.
        confidence: the least probability of that language; ``None``: any.

    Raises:
        UserError: a package is missing, or a language is unknown.
    """

    name = "languages"

    def __init__(self, languages: list[str], confidence: float | None = None) -> None:
        supported = set(map(str, _identifier().nb_classes))
        for language in languages:
            if language not in supported:
                raise UserError(
                    f"data.clean.languages={language}: unknown{nearest(language, supported)}; expected codes of "
                    "ISO 639, as [en,de]"
                )
        self.languages = frozenset(languages)
        self.confidence = confidence or 0.0

    def keeps(self, beginning: str, characters: int) -> bool:
        language, probability = _identifier().classify(beginning[:_LOOKED_AT])
        return language in self.languages and probability >= self.confidence


@cache
def _identifier() -> Any:
    """Return the classifier with the model of the package, for all of its languages."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise UserError("data.clean.languages: needs the package py3langid (pip install 'lmlab[corpora]')") from None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
