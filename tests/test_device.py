"""What is said of devices, against what torch and the system say of them."""

import re
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made_features import make_corpus, make_stores
from made_runs import make_fold

from gia_mic.extract import device
from gia_mic.extract.cluster import share_out
from gia_mic.extract.corpus import Clip, Utterance, write_corpus
from gia_mic.extract.errors import EncoderError

LINE = "This processor has no instructions for bfloat16: here it takes several times as long as float32."
ABOUT = Path("/proc/cpuinfo")


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_every_processor_multiplies_float32():
    assert device.has_products("float32")
    assert device.has_products("float64") is None


@pytest.mark.skipif(not ABOUT.exists(), reason="only Linux says what its processor can do")
def test_bfloat16_is_what_the_system_says():
    words = set(ABOUT.read_text().split())
    if "avx512_bf16" in words or "bf16" in words:
        assert device.has_products("bfloat16")
    elif torch.backends.mkldnn.is_available() and "avx" in words and not words & {"avx512bw", "avx_ne_convert"}:
        assert not device.has_products("bfloat16")


def test_only_what_costs_time_is_said(monkeypatch):
    monkeypatch.setattr(device, "has_products", lambda precision: precision == "float32")
    assert device.slow("bfloat16", "cpu") == LINE
    assert device.slow("float32", "cpu") is None
    assert device.slow("bfloat16", "cuda:1") is None
    monkeypatch.setattr(device, "has_products", lambda precision: True)
    assert device.slow("bfloat16", "cpu") is None


@pytest.mark.parametrize(
    ("command", "has", "lines"),
    [
        ("fuse-train --fold 1 --epochs 1 --device cpu", False, 1),
        ("fuse-train --fold 1 --epochs 1 --device cpu", None, 0),
        ("fuse-train --fold 1 --epochs 1 --device cpu", True, 0),
        ("ablate --epochs 1 --width 8 --heads 2 --device cpu", False, 1),
        ("tune --trials 1 --epochs 1 --device cpu", False, 1),
        ("extract --modality text --encoder tiny --device cpu", False, 1),
    ],
)
def test_each_command_says_so_once(tmp_path, monkeypatch, command, has, lines, mer):
    monkeypatch.setattr(device, "has_products", lambda precision: has)
    monkeypatch.chdir(tmp_path)
    make_stores(make_corpus(tmp_path / "features"))
    answer = mer(*command.split(), "--precision", "bfloat16")
    assert answer.exit_code == 0, answer.output
    assert answer.output.count(LINE) == lines


@pytest.mark.parametrize("name", ["mps", "xpu", "meta", "tpu", "hpu", "vulkan", "cuda:99", "nonsense", "-1"])
@pytest.mark.parametrize(
    "command",
    [
        "extract --modality speech --encoder tiny",
        "fuse-train",
        "ablate",
        "transcribe --model nowhere",
        "predict runs/small/gia-mic --text Hello",
        "listen runs/small/gia-mic -",
        "demo",
    ],
)
def test_a_device_that_can_not_be_used_is_one_sentence(tmp_path, monkeypatch, mer, command, name):
    if device.kind_of(name) in device.choices() and name != "cuda:99":
        pytest.skip("this machine has one")
    monkeypatch.chdir(tmp_path)
    make_fold(tmp_path / "runs", [0, 1], [0, 1])
    write_corpus(tmp_path / "features", "mute", [Utterance("u", "a", audio=Clip("u.wav"))], root=tmp_path)
    answer = mer(*command.split(), "--device", name)
    assert answer.exit_code == 1, answer.output
    assert len(answer.output.splitlines()) == 1
    pattern = rf"Error: .*there is no device '{re.escape(name)}' here \(.+choose .*cpu.*\n"
    assert re.fullmatch(pattern, answer.output, re.IGNORECASE)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("HIP out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB, max allowed: 18.13 GB)."),
        RuntimeError("Invalid buffer size: 9.75 GB"),
        RuntimeError("XPU out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
        RuntimeError("level_zero backend failed with error: 40 (UR_RESULT_ERROR_OUT_OF_RESOURCES)"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:116] data. DefaultCPUAllocator: not enough memory: you tried to …"
        ),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_too_little_memory_is_told_from_other_errors(error):
    assert device.is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"),
        ValueError("out of memory"),
        KeyboardInterrupt(),
    ],
)
def test_other_errors_are_not_taken_for_too_little_memory(error):
    assert not device.is_out_of_memory(error)


def test_what_the_processors_own_allocator_says_is_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**58)
    assert device.is_out_of_memory(caught.value)


def test_a_processor_has_a_name_and_nothing_to_empty():
    assert device.device_name("cpu") == "cpu"
    assert device.free_bytes("cpu") is None
    device.empty_cache()


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu"])
def test_an_accelerator_is_asked_for_its_memory_by_its_own_kind(monkeypatch, kind):
    emptied = []
    accelerator = SimpleNamespace(
        empty_cache=lambda: emptied.append(kind),
        mem_get_info=lambda on: (700, 1000),
        recommended_max_memory=lambda: 1000,
        driver_allocated_memory=lambda: 300,
        get_device_name=lambda on: f"Fast {on}",
    )
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device(kind))
    monkeypatch.setattr(torch, kind, accelerator)
    device.empty_cache()
    assert emptied == [kind]
    assert device.free_bytes(f"{kind}:0") == 700
    assert device.device_name(f"{kind}:0") == f"Fast {kind}:0"
    assert device.choices() == f"cpu or {kind}"


def test_a_device_nobody_knows_gets_the_batches_of_an_accelerator():
    assert device.batch_positions("npu:0") == device.batch_positions("cuda") > device.batch_positions("cpu")
    assert device.free_bytes("npu:0") is None


def test_only_gpus_that_have_tf32_take_it(monkeypatch):
    device.check_precision("float32", "cpu")
    with pytest.raises(EncoderError, match="cpu has no tf32, which NVIDIA's GPUs have from Ampere on"):
        device.check_precision("tf32", "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda on: (7, 5))
    with pytest.raises(EncoderError, match="cuda:1 has no tf32"):
        device.check_precision("tf32", "cuda:1")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda on: (8, 0))
    device.check_precision("tf32", "cuda:1")
    assert device.dtype_of("tf32") == torch.float32


def test_a_gpu_without_bfloat16_is_told_of(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device", lambda on: nullcontext())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert "no instructions for bfloat16" in device.slow("bfloat16", "cuda")
    assert device.slow("float16", "cuda") is None
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert device.slow("bfloat16", "cuda") is None


def test_what_copies_by_itself_is_waited_for_where_it_is_wanted(monkeypatch):
    waits = []
    event = SimpleNamespace(synchronize=lambda: waits.append("wait"))
    stream = SimpleNamespace(record_event=lambda: event)
    monkeypatch.setattr(device, "COPYING", ("cpu",))
    monkeypatch.setattr(torch, "cpu", SimpleNamespace(current_stream=lambda on: stream))
    empty, pinned = torch.empty, []

    def remember(*shape, pin_memory=False, **options):
        pinned.append(pin_memory)
        return empty(*shape, **options)

    monkeypatch.setattr(torch, "empty", remember)
    buffer = device.host_buffer((2, 3), np.dtype(np.float32), torch.device("cpu"))
    assert (buffer.shape, buffer.dtype) == ((2, 3), torch.float32)
    take = device.to_host(torch.arange(3))
    assert not waits
    assert take().tolist() == [0, 1, 2]
    assert waits == ["wait"]
    assert pinned == [True, True]


@pytest.mark.parametrize(("workers", "count", "share"), [(None, 8, 1), (3, 3, 1), (12, 12, 0.5), (16, 16, 0.5)])
def test_a_worker_asks_ray_for_a_gpu_or_a_part_of_one(workers, count, share):
    ray = SimpleNamespace(cluster_resources=lambda: {"CPU": 64.0, "GPU": 8.0})
    assert share_out(ray, workers, None) == (count, {"num_cpus": 64 // count, "num_gpus": share}, "cuda")
