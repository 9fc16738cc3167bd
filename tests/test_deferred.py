"""What predicting doesn't use isn't imported before it is used, and is the real thing then."""

import subprocess
import sys

PROGRAM = """
import sys
from gia_mic.extract.encoders.deferred import DEFERRED, import_transformers
import_transformers()
import torch, transformers.models.roberta.modeling_roberta
assert not [name for name in DEFERRED if name in sys.modules], sys.modules.keys() & set(DEFERRED)
from transformers.core_model_loading import DtensorShardOperation
from transformers.loss.loss_for_object_detection import linear_sum_assignment
assert not isinstance(1, DtensorShardOperation)
rows, columns = linear_sum_assignment([[1, 0], [0, 1]])
assert columns.tolist() == [1, 0]
from scipy.optimize import linear_sum_assignment as real
assert linear_sum_assignment._real() is real
"""


def test_names_are_deferred_until_they_are_used():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=120)
