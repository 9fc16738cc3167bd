"""Turns a configuration into what its model takes and gives, by its class and by a run without weights.

Nothing here knows models by name. A class of transformers says what it takes; what it gives is seen on torch's meta
device, where tensors have shapes and no values, so that a model of any size is tried in a moment.
"""

import copy
import inspect
import re
import sys
import warnings
from importlib import import_module
from typing import Any

import torch
from torch import nn

from gia_mic.extract.errors import EncoderError, first_line, one_line

__all__ = ["check_inputs", "find_network", "outline", "places"]

SPEECH_INPUTS = ("input_values", "input_features")
TEXT_INPUTS = ("input_ids",)
PICTURE_INPUTS = ("pixel_values", "pixel_values_videos")


def find_network(config: Any) -> Any:
    """Return the class of transformers that computes hidden states by a configuration; None where there is none.

    AutoModel knows most. The towers of some models of pictures and texts have a class that AutoModel doesn't know: it
    stands beside the configuration's own class.
    """
    from transformers import MODEL_MAPPING, PreTrainedModel

    if type(config) in MODEL_MAPPING:
        network = MODEL_MAPPING[type(config)]
        return network[0] if isinstance(network, tuple | list) else network
    module_name = type(config).__module__.replace(".configuration_", ".modeling_")
    if not module_name.startswith("transformers.models.") or module_name == type(config).__module__:
        return None
    beside: list[Any] = [value for value in vars(import_module(module_name)).values() if inspect.isclass(value)]
    fitting = [
        value
        for value in beside
        if issubclass(value, PreTrainedModel)
        and value.config_class is type(config)
        and re.search(r"(?<!PreTrained)Model$", value.__name__)
    ]
    return fitting[0] if fitting else None


def check_inputs(network: Any, inputs: tuple[str, ...], name: str, alternative: str) -> str:
    """Return which of these inputs a network takes.

    Args:
        network: What `find_network` found.
        inputs: Names of inputs of one modality.
        name: What to call the model in messages.
        alternative: What to choose instead.

    Raises:
        EncoderError: It takes none of them, or needs others beside it, or a library that isn't installed.
    """
    if network is None:
        raise EncoderError(f"{name} has no network that gives hidden states: choose {alternative}.")
    try:
        main = str(network.main_input_name)
    except ImportError as error:  # transformers puts a dummy where a library is missing
        raise EncoderError(f"{name} can't be built here ({first_line(error)}): choose {alternative}.") from error
    if main not in inputs:
        raise EncoderError(f"{name} takes {main}, not {' or '.join(inputs)}: choose {alternative}.")
    parameters = inspect.signature(network.forward).parameters.values()
    others = [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        and parameter.name not in ("self", main)
    ]
    if others:
        raise EncoderError(f"{name} needs {one_line(others)} beside {main}: choose {alternative}.")
    return main


def outline(network: Any, config: Any, name: str, alternative: str) -> Any:
    """Return the network without weights, on the meta device, to look at its parts or to run it on shapes.

    Raises:
        EncoderError: It can't be built, such as for want of a library.
    """
    try:
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")
            return network(copy.deepcopy(config)).eval()
    except Exception as error:  # whatever a configuration from elsewhere does to a constructor
        raise EncoderError(f"{name} can't be built ({first_line(error)}): choose {alternative}.") from error


def places(model: nn.Module) -> int:
    """Return how many tokens the position embeddings of a network have room for.

    RoBERTa and its relatives count positions from their padding id on, so that 2 of 514 places hold no token: such
    embeddings have a padding index. `sys.maxsize` where no table of positions has one.
    """
    rooms = [
        module.num_embeddings - module.padding_idx - 1
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and "position" in name and module.padding_idx is not None
    ]
    return min(rooms, default=sys.maxsize)
