"""Multi30k: descriptions of images in several languages."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lmlab.data.examples.examples import Examples
from lmlab.errors import UserError, nearest

_LANGUAGES = {"de": "German", "en": "English", "fr": "French"}
_FILES = {"train": "train", "validation": "val", "test": "test_2016_flickr"}


class Multi30k(Examples):
    """Multi30k, task 1 (Elliott et al. 2016, "Multi30K: Multilingual English-German Image Descriptions").

    Args:
        source: language of the input: ``de``, ``en`` or ``fr``.
        target: language of the answer.
    """

    name = "multi30k"
    licence = "research use; see the data set's own terms"
    splits = ("train", "validation", "test")

    def __init__(
        self, source: str, target: str, template: Mapping[str, str], length: int, loss: str = "answer"
    ) -> None:
        super().__init__(template, length, loss)
        for option, value in (("source", source), ("target", target)):
            if value not in _LANGUAGES:
                raise UserError(f"data.{option}={value}: no such language{nearest(value, _LANGUAGES)}")
        if source == target:
            raise UserError(f"data.target={target}: is the source; expected another language")
        self.source = source
        self.target = target

    def find(self, corpora: Path | None, cache: Path, progress: bool = False) -> None:
        if corpora is None or not (corpora / "multi30k").is_dir():
            raise UserError(f"data=multi30k: LMLAB_CORPORA ({corpora}) names no folder that holds multi30k")
        self._folder = corpora / "multi30k"

    def records(self, split: str) -> Iterator[dict[str, Any]]:
        names = {"source_language": _LANGUAGES[self.source], "target_language": _LANGUAGES[self.target]}
        texts = [
            (self._folder / f"{_FILES[split]}.{language}").read_text(encoding="utf-8").splitlines()
            for language in (self.source, self.target)
        ]
        for source, target in zip(*texts, strict=True):
            yield {"source": source, "target": target, **names}

    def answer_metrics(self) -> list[Any]:
        from lmlab.data.judges.translation import Bleu, Chrf

        return [Bleu(), Chrf()]
