"""Turns each known corpus into a manifest, one file per corpus."""

import logging
from pathlib import Path

from gia_mic.extract.corpus import Corpus, corpus_names, find_corpus

__all__ = ["find_or_demo"]

logger = logging.getLogger(__name__)


def find_or_demo(features: Path, name: str | None) -> Corpus:
    """Return the named corpus, or the only one there is; where there is none at all, make the demo corpus.

    Raises:
        CorpusError: There is none of that name, or several to choose from.
    """
    if name in (None, "demo") and not corpus_names(features):
        from gia_mic.extract.corpora import demo

        logger.info(f"No corpus is prepared in {features}: making the demo corpus there.")
        return demo.prepare_demo(features)
    return find_corpus(features, name)
