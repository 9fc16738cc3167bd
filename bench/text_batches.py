"""Measure a text encoder in batches against the same one utterance at a time: a DeBERTa of base size, random weights.

    python bench/text_batches.py --utterances 96 --rounds 3

Both sides take the same transcripts, threads and weights, in turns; prints utterances per second, the medians of the
rounds, and as its last line `ratio N`.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import transformers
from section import measured
from tokenizers import Tokenizer, models, pre_tokenizers

from gia_mic.extract.encoders.contract import EncodeJob, Window
from gia_mic.extract.encoders.make import make_encoder

WORDS = 1000


def save_deberta(folder: Path) -> None:
    config = transformers.DebertaV2Config(
        vocab_size=WORDS + 4,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        position_buckets=256,
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
        max_position_embeddings=512,
    )
    transformers.DebertaV2Model(config).save_pretrained(folder)
    words = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, **{f"w{number}": number + 4 for number in range(WORDS)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)


def transcripts(count: int) -> list[EncodeJob]:
    """Make transcripts as long as IEMOCAP's: 1 to 80 words, mean about 13."""
    generator = np.random.default_rng(0)
    lengths = np.clip(generator.lognormal(2.3, 0.75, count), 1, 80).astype(int)
    texts = [" ".join(f"w{word}" for word in generator.integers(WORDS, size=length)) for length in sorted(lengths)]
    return [EncodeJob(f"u{number}", "", text=text) for number, text in enumerate(texts)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=96)
    parser.add_argument("--batch", type=int, default=32, help="utterances together")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        save_deberta(Path(folder))
        encoder = make_encoder("text", folder).to(options.device)
        pieces: list[Window] = [piece for job in transcripts(options.utterances) for piece in encoder.pieces(job)]
        speeds: dict[int, list[float]] = {1: [], options.batch: []}
        for _ in range(options.rounds):
            for size, rates in speeds.items():
                begun = time.perf_counter()
                for begin in range(0, len(pieces), size):
                    encoder.encode(pieces[begin : begin + size])
                rates.append(options.utterances / (time.perf_counter() - begun))
    alone, together = (statistics.median(rates) for rates in speeds.values())
    print(f"one by one               {alone:7.1f} utterances per second")
    print(f"in batches of {options.batch:<10} {together:7.1f} utterances per second")
    print(f"ratio {together / alone:.1f}")


if __name__ == "__main__":
    measured(main)
