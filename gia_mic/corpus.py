"""What a corpus of one's own is read with; `docs/plug-ins.md` says how.

    def my_corpus(path: Path) -> Iterator[Utterance]:
        for file in sorted(path.rglob("*.wav")):
            yield Utterance(id=file.stem, label=file.parent.name, audio=Clip(file.relative_to(path).as_posix()))

Such a file needs no other name of this package.
"""

from gia_mic.extract.corpora.release import ReleaseContents
from gia_mic.extract.corpus import Clip, Utterance
from gia_mic.extract.settings import setting

__all__ = ["Clip", "ReleaseContents", "Utterance", "setting"]
