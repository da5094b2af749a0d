"""The benchmark for a GPU, on the processor with tiny models: its arithmetic, and its whole path."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Dinov2Model

from vos.benchmarks import gpu, gpu_cells, gpu_encoders, machine, random_models
from vos.benchmarks.gpu_encoders import AheadDinov2, AheadSam
from vos.benchmarks.gpu_table import HEAD, Cell, Measured, in_one_line, row, texts
from vos.encoders.dinov2 import Dinov2Encoder
from vos.encoders.same import SameEncoder
from vos.engine.session import Session
from vos.private_api import FAST_DTYPE
from vos.segmenters.sam import GuidedSam, SamSegmenter
from vos.structures import Frame
from vos.testing.clip import clip
from vos.trackers.persam import PerSAM

SIZE = (96, 160)
CPU = torch.device("cpu")
SMALL = ["--device", "cpu", "--size", *map(str, SIZE), "--seconds", "0", "--backend", "eager"]


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    drawn = clip(SIZE)
    return [next(drawn) for _ in range(4)]


@pytest.fixture
def sam() -> AheadSam:
    return random_models.random_sam(AheadSam, "tiny", CPU, torch.float32)


@pytest.fixture
def dinov2() -> AheadDinov2:
    return random_models.random_dinov2(AheadDinov2, "tiny-dinov2", CPU, torch.float32)


def test_the_whole_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every cell but those of CUDA graphs is measured, and the table and the file say the same."""
    file = tmp_path / "gpu.json"
    few = ["--models", "tiny", "--batches", "2", "--objects", "2", "-o", str(file)]
    gpu.main([*SMALL, *few])
    out = capsys.readouterr().out
    saved = json.loads(file.read_text())
    planned = list(gpu.plan(["tiny"], [2], [2]))
    assert [{name: line[name] for name in vars(planned[0])} for line in saved["cells"]] == [*map(vars, planned)]
    for line in saved["cells"]:
        if "graph" in line["mode"]:
            assert line["remark"].startswith("RuntimeError: a CUDA graph needs a CUDA device (gpu_encoders.py:")
        elif line["kind"] == "agreement":
            assert 0 < line["agreement"] <= 1
        else:
            assert line["ms"] > 0 and line["remark"] == ""
            assert line["frames_per_s"] == pytest.approx(1000 / line["ms"])
        assert (line["encoder_share"] is not None) == (line["kind"] == "steps" and line["remark"] == "")
        assert line["memory_mb"] is None  # torch does not count it on a processor
    table = [line for line in out.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(planned)
    assert {line.count("|") for line in table} == {len(HEAD) + 1}
    graphs = sum("graph" in cell.mode for cell in planned)
    assert f"{len(planned) - graphs} measured, {graphs} failed, 0 not begun" in out


def test_all_that_is_asked_for_is_in_the_plan() -> None:
    cells = list(gpu.plan(gpu.MODELS, gpu.BATCHES, gpu.OBJECTS))
    assert len(cells) == len(set(cells))
    for model in ("sam-vit-b", "sam-vit-l", "sam-vit-h"):
        for mode in gpu_encoders.MODES:
            assert {each.batch for each in cells if (each.kind, each.model, each.mode) == ("encoder", model, mode)} == {
                1,
                2,
                4,
                8,
            }
            assert Cell("steps", model, "dinov2-large", 1, 8, mode) in cells
        for count in (1, 4, 16, 64):
            assert {Cell("steps", model, prior, count) for prior in ("same", "dinov2-large")} <= set(cells)
        assert Cell("agreement", model, "same", gpu.COMPARED) in cells
    assert {Cell("steps", "lite", "same", count) for count in (1, 4, 16, 64)} <= set(cells)
    costs = {"plain": 0, "graph": 1, "compiled": 2, "compiled graph": 2}
    assert [costs[each.mode] for each in cells] == sorted(costs[each.mode] for each in cells)


def test_when_the_minutes_are_over_the_rest_is_not_begun() -> None:
    """Cells take 10, 20 and 40 s; in the 50 s that are left, one that may take 1.5 times 40 s is not begun."""
    now, measured = [0.0], []

    def measure(cell: Cell) -> Measured:
        measured.append(cell)
        now[0] += {"sam-vit-b": 10, "sam-vit-l": 20, "sam-vit-h": 40}[cell.model]
        return Measured(ms=1)

    cells = [Cell("encoder", model) for model in ("sam-vit-b", "sam-vit-l", "sam-vit-h", "sam-vit-b")]
    cells.append(Cell("steps", "sam-vit-b", "same", 1))  # of another kind: nothing is known of its time
    outcomes = list(gpu.within(iter(cells), measure, 120, lambda: now[0]))
    assert [cell for cell, _ in outcomes] == cells
    assert [outcome.remark for _, outcome in outcomes] == ["", "", "", gpu.OUT_OF_TIME, ""]
    assert measured == [*cells[:3], cells[4]]
    [(_, too_late)] = gpu.within(iter(cells[:1]), measure, now[0], lambda: now[0])
    assert too_late.remark == gpu.OUT_OF_TIME


def test_a_cell_that_fails_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = gpu_cells.Bench(CPU, torch.float32, SIZE, 0, "eager")

    def out_of_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate | 2 GiB")

    with monkeypatch.context() as patch:
        patch.setattr(AheadSam, "encode", out_of_memory)
        failed = bench.measure(Cell("encoder", "tiny"))
    assert failed.ms is None
    assert failed.remark.startswith(
        "OutOfMemoryError: CUDA out of memory. Tried to allocate / 2 GiB (test_benchmark_gpu"
    )
    assert bench.measure(Cell("encoder", "tiny")).ms > 0
    assert bench.measure(Cell("steps", "tiny", "same", 99)).remark.startswith("InputError: 99 objects: the clip shows")


def test_share_of_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two milliseconds of encoder in a step of eight are a quarter, and 125 steps a second."""
    monkeypatch.setattr(gpu_cells.Bench, "_median_ms", lambda *_: next(times))
    times = iter([2.0, 8.0])
    cell = Cell("steps", "tiny", "tiny-dinov2", 1)
    measured = gpu_cells.Bench(CPU, torch.float32, SIZE, 0, "eager").measure(cell)
    assert measured == Measured(ms=8.0, encoder_share=0.25)
    line = row(texts(cell, measured))
    assert line == "| steps | tiny | tiny-dinov2 | 1 | 1 | plain | 8.00 | 125.00 | 25.0% |  |  |  |"


def test_the_median_is_of_a_frame_and_without_the_first_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    took = iter([60.0, 50.0, 4.0, 8.0, 6.0, 1.0])  # seconds of each call, the first two of which warm up
    monkeypatch.setattr(gpu_cells.time, "perf_counter", lambda: now[0])

    def call() -> None:
        now[0] += next(took)

    bench = gpu_cells.Bench(CPU, torch.float32, SIZE, 5, "eager")
    assert bench._median_ms(lambda: call, 2) == 3000  # of 4, 8 and 6 s for two frames: after 5 s, three calls do


def test_agreement() -> None:
    """Of five pixels that are in a mask of either, three are of the same object in both."""
    one = np.array([[[0, 1, 1, 2], [0, 0, 2, 2]]])
    other = np.array([[[0, 1, 2, 2], [0, 0, 0, 2]]])
    assert gpu_cells.agreement(one, other) == 3 / 5
    assert gpu_cells.agreement(one, one) == 1
    with pytest.raises(ValueError, match="no object"):
        gpu_cells.agreement(0 * one, 0 * one)


def test_lite_is_compared_in_both_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FAST_DTYPE, "float32")
    loaded = []
    load = gpu_cells.load_segmenter
    monkeypatch.setattr(gpu_cells, "load_segmenter", lambda *given: loaded.append(load(*given)) or loaded[-1])
    bench = gpu_cells.Bench(CPU, torch.float32, SIZE, 0, "eager")
    assert bench.measure(Cell("agreement", "lite", "same", 2)).agreement > 0.5  # trained weights find the drawn discs
    assert [each.fast_dtype for each in loaded] == [torch.float32, torch.bfloat16]
    assert gpu_cells.os.environ[FAST_DTYPE] == "float32"
    monkeypatch.delenv(FAST_DTYPE)
    with gpu_cells.lite_in(torch.bfloat16):
        assert gpu_cells.os.environ[FAST_DTYPE] == "bfloat16"
    assert FAST_DTYPE not in gpu_cells.os.environ


@pytest.mark.parametrize("count", [1, 40, 41, 64, 80])
def test_as_many_objects_as_asked_for(count: int) -> None:
    drawn = gpu_cells.first_mask(count, (480, 854))
    assert drawn.object_ids == tuple(range(1, count + 1))
    areas = np.bincount(drawn.labels.ravel())[1:]
    assert areas.min() > 0.9 * areas.max()


def test_what_is_encoded_ahead_is_what_the_session_would_encode(
    frames: list[Frame], sam: AheadSam, dinov2: AheadDinov2
) -> None:
    plain = random_models.random_sam(SamSegmenter, "tiny", CPU, torch.float32)
    prior = random_models.random_dinov2(Dinov2Encoder, "tiny-dinov2", CPU, torch.float32)
    session = Session(PerSAM(), plain, prior)
    with torch.inference_mode():
        sam.encode_ahead(frames[:3])
        dinov2.encode_ahead(frames[:3])
        for frame in frames:  # the last is encoded when it is asked for
            embedding, ready = plain.embed(frame.rgb), sam.embed(frame.rgb)
            assert ready.geometry == embedding.geometry
            torch.testing.assert_close(ready.values, embedding.values)
            features, known = prior.features(session.context(frame)), dinov2.features(session.context(frame))
            assert known.geometry == features.geometry
            torch.testing.assert_close(known.values, features.values)


def test_an_encoding_made_ahead_is_used_once(frames: list[Frame], sam: AheadSam) -> None:
    """And the session, which asks for one a frame, encodes nothing else."""
    session = Session(PerSAM(), sam, SameEncoder())
    session.start(frames[0], gpu_cells.first_mask(2, SIZE))
    with torch.inference_mode():
        sam.encode_ahead(frames[1:3])
    asked = []
    sam.model.encode = lambda pixels: asked.append(pixels)  # an attribute of this one goes before its class's
    for frame in frames[1:3]:
        session.step(frame)
    assert asked == [] and sam._ready == {}


def test_blocks_of_one_kind_are_compiled_once(frames: list[Frame], sam: AheadSam) -> None:
    """SAM has two kinds, with windows and without; the tiny one has four blocks."""
    compiled = []

    def backend(module: torch.fx.GraphModule, _: object) -> object:
        compiled.append(module)
        return module.forward

    torch.compiler.reset()
    with torch.inference_mode():
        expected = sam.encode(sam.batch(frames[:2]))
        gpu_encoders.compile_blocks(sam.network, backend)
        pixels = gpu_encoders.run_in("compiled", sam, frames[:2])
        torch.testing.assert_close(sam.run(pixels), expected)
    assert len(compiled) == 2


def test_a_graph_keeps_its_own_input_and_gives_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """With stand-ins for what only CUDA has: a replay computes from the recorded input into the recorded output."""
    stream = type("Stream", (), {"wait_stream": lambda *_: None})

    class Recording:
        def replay(self) -> None:
            graph._features.copy_(2 * graph._pixels)

    for name, stand_in in {
        "Stream": stream,
        "current_stream": stream,
        "stream": lambda _: nullcontext(),
        "CUDAGraph": Recording,
        "graph": lambda _: nullcontext(),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    first, second = torch.ones(1, 3), torch.full((1, 3), 5.0)
    graph = gpu_encoders.Graph(lambda pixels: 2 * pixels, first)
    one, other = graph(first), graph(second)
    assert one.tolist() == [[2, 2, 2]] and other.tolist() == [[10, 10, 10]]
    assert first.tolist() == [[1, 1, 1]]


def test_a_graph_that_gives_something_else_is_not_timed() -> None:
    pixels = torch.ones(1, 3)
    gpu_encoders.check(lambda given: given * 1.01, lambda given: given, pixels)
    for wrong in (1.03, float("nan")):
        with pytest.raises(RuntimeError, match="the graph's features differ"):
            gpu_encoders.check(lambda given, wrong=wrong: given * wrong, lambda given: given, pixels)


MILLIONS = {"sam-vit-b": 91, "sam-vit-l": 308, "sam-vit-h": 636, "dinov2-large": 304}
"""Parameters of the image encoders, as the papers of SAM and DINOv2 give them."""


@pytest.mark.parametrize("name", MILLIONS)
def test_random_models_have_the_published_sizes(name: str) -> None:
    with torch.device("meta"):
        if name in random_models.SAMS:
            network = GuidedSam(random_models.sam_config(name)).vision_encoder
        else:
            network = Dinov2Model(random_models.dinov2_config(name))
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count / 1e6 == pytest.approx(MILLIONS[name], rel=0.02)


def test_random_weights_are_the_same_in_each_precision(sam: AheadSam) -> None:
    half = random_models.random_sam(SamSegmenter, "tiny", CPU, torch.bfloat16)
    weight, other = (each.model.vision_encoder.layers[0].mlp.lin1.weight for each in (sam, half))
    assert other.dtype == torch.bfloat16 and torch.equal(weight.bfloat16(), other)


def test_names_of_processors(tmp_path: Path) -> None:
    described = tmp_path / "cpuinfo"
    described.write_text("processor\t: 0\nmodel name\t: A Fine Processor @ 3 GHz\n")
    assert machine.processor_name(described) == "A Fine Processor @ 3 GHz"
    assert machine.processor_name(tmp_path / "not-there")
    assert machine.device_name(CPU).endswith(f", {torch.get_num_threads()} threads")


def test_a_remark_is_short_and_says_where() -> None:
    try:
        raise RuntimeError("a reason " * 100)
    except RuntimeError as error:
        remark = in_one_line(error)
    assert remark.startswith("RuntimeError: a reason a reason") and len(remark) < 170
    assert remark.count("(test_benchmark_gpu.py:") == 1
