"""The plan's formulas, against arithmetic by hand and against published figures."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from plan import MEMORY_SHARE, SCAN_SHARES, Machine, Rates, Workload, main, plan

from clipsearch import InvalidInputError

RATES = Rates(encode_per_s=1000, decode_per_s=100)


def near(value: float, expected: float, share: float) -> bool:
    return abs(value - expected) <= share * expected


def test_clip_retrieval_embeds_100_million_pairs_in_20_hours_on_one_gpu():
    """Its README: 1,400 to 1,500 samples a second on an RTX 3080, 100 M in 20 hours."""
    work = Workload(items=100e6, hours=None, workers=1)
    rates = Rates(encode_per_s=1400, decode_per_s=200)
    found = plan(work, rates, Machine(cores=8)).embedding
    assert near(found.hours, 20, 0.02)
    assert found.bottleneck == "encode"


def test_clip_retrieval_is_held_up_by_decoding_on_eight_gpus():
    """Its docs: B/32 at 2,500 a second on one A100, but 7,000 on eight: resizing holds it up."""
    per_core = 7000 / 96  # of the 96 processors of such a machine, all eight workers together
    rates = Rates(encode_per_s=2500, decode_per_s=per_core, scaling=1.0, commit_per_s=1e9)
    found = plan(Workload(items=1e9, hours=None, workers=8), rates, Machine(cores=12)).embedding
    assert found.bottleneck == "decode"
    assert near(8 * found.worker_per_s, 7000, 0.01)
    assert found.worker_per_s < 2500


def test_laion_5b():
    """LAION-5B, ViT-L/14: 5.85 billion vectors of 768. Its image index is IVF with PQ codes."""
    work = Workload(items=5.85e9, dim=768, code_bytes=128, recall=0.9, hours=24 * 30)
    found = plan(work, RATES, Machine())
    assert near(found.vector_bytes, 9.0e12, 0.02)  # 5.85e9 x 768 x 2 bytes, and ids
    assert near(found.ann_bytes, 0.8e12, 0.02)  # 128 bytes of code and 8 of id a vector


def test_autofaiss_searches_200_million_vectors_in_15_gb():
    """Its README: 200 M vectors, 1 TB (1,280 float32), in 15 GB of memory."""
    work = Workload(items=200e6, dim=1280, code_bytes=64, recall=0.9)
    found = plan(work, RATES, Machine())
    assert near(200e6 * 1280 * 4, 1e12, 0.03)
    assert near(found.ann_bytes, 15e9, 0.04)


def test_workers_and_hours_are_two_sides_of_one_sum():
    rates = Rates(encode_per_s=1000, decode_per_s=1000, commit_per_s=1e9)
    by_hours = plan(Workload(items=1e9, hours=24), rates, Machine()).embedding
    assert by_hours.workers == 13  # 1e9 / (900 x 86,400) = 12.86
    assert by_hours.hours <= 24
    again = plan(Workload(items=1e9, hours=None, workers=13), rates, Machine()).embedding
    assert again.hours == pytest.approx(by_hours.hours)
    assert again.cost == pytest.approx(13 * again.hours)


def test_the_driver_can_be_what_holds_up():
    found = plan(
        Workload(items=1e9, hours=None, workers=100),
        dataclasses.replace(RATES, commit_per_s=5000),
        Machine(),
    ).embedding
    assert found.bottleneck == "commit"
    assert found.hours == pytest.approx(1e9 / 5000 / 3600)


def test_exact_search_is_split_by_latency_and_by_memory():
    rates = dataclasses.replace(RATES, scan_bytes_per_s=8e9)
    work = Workload(items=10e6, dim=512, recall=1.0, latency_ms=200, qps=1)
    by_latency = plan(work, rates, Machine(memory_gib=1000)).serving
    assert by_latency.shards == 13  # 20.48 GB at 8 GB/s takes 2.56 s: 12.8 times 200 ms
    assert by_latency.scan_ms <= 200
    by_memory = plan(
        dataclasses.replace(work, latency_ms=1e6), rates, Machine(memory_gib=4)
    ).serving
    assert by_memory.shards == 7  # 20.48 GB in pieces of 3 GiB
    assert by_memory.index_bytes / by_memory.shards <= 4 * 1024**3 * MEMORY_SHARE


def test_more_queries_want_more_replicas_and_more_recall_more_work():
    machine = Machine(cores=8)
    few = plan(Workload(items=1e9, qps=1), RATES, machine).serving
    many = plan(Workload(items=1e9, qps=1000), RATES, machine).serving
    assert many.replicas > few.replicas
    assert many.routers == 10
    busy = 1000 * many.core_s_per_query / (many.replicas * machine.cores)
    assert busy <= 0.7
    work = [
        plan(Workload(items=1e9, recall=r), RATES, machine).serving.scan_share
        for r in (0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.99, 0.999, 1.0)
    ]
    assert work == sorted(work)
    assert work[3] == SCAN_SHARES[0.90]
    assert work[-1] == 1.0


def test_captions_take_space_but_no_scan():
    plain = plan(Workload(items=1e6), RATES, Machine())
    captions = plan(Workload(items=1e6, captions=True), RATES, Machine())
    assert captions.vector_bytes == 2 * plain.vector_bytes
    assert captions.serving.scan_ms == plain.serving.scan_ms


@pytest.mark.parametrize(
    "bad",
    [
        {"items": 0},
        {"items": float("nan")},
        {"dim": -1},
        {"recall": 1.5},
        {"recall": 0.1},
        {"qps": 0},
        {"hours": None},
        {"workers": 2},
        {"hours": -1},
        {"hours": 0},
    ],
)
def test_numbers_that_make_no_sense(bad):
    with pytest.raises(InvalidInputError):
        Workload(**{"items": 1e6, **bad})


def test_rates_and_machines_that_make_no_sense():
    with pytest.raises(InvalidInputError):
        Rates(encode_per_s=0, decode_per_s=1)
    with pytest.raises(InvalidInputError):
        Machine(cores=0)
    with pytest.raises(InvalidInputError):
        plan(Workload(items=1e6), RATES, Machine(), scan_share=2.0)


def test_command(capsys):
    options = ["--dim", "512", "--images-per-s", "1400", "--decodes-per-s", "200", "--hours", "720"]
    assert main(["--items", "5e9", *options, "-f", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["embedding"]["workers"] == 2  # 5e9 / (1,260 x 2,592,000)
    assert found["vector_bytes"] == pytest.approx(5e9 * (1024 + 8))
    assert main(["--items", "1e6", "--images-per-s", "100", "--decodes-per-s", "50"]) == 0
    table = capsys.readouterr().out
    assert "workers" in table
    assert "shards" in table


@pytest.mark.slow
def test_command_measures_what_is_not_given(capsys):
    assert main(["--items", "1e6", "--commits-per-s", "1234", "-f", "json"]) == 0
    done = capsys.readouterr()
    assert done.err.startswith("measuring clipsearch-mini on this machine")
    rates = json.loads(done.out)["rates"]
    assert rates["commit_per_s"] == 1234
    assert min(rates["encode_per_s"], rates["decode_per_s"], rates["text_per_s"]) > 1


def test_command_with_nonsense():
    script = Path(__file__).parents[1] / "scripts" / "plan.py"
    done = subprocess.run(
        [sys.executable, script, "--items", "-5", "--images-per-s", "1", "--decodes-per-s", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: items must be a positive number")
    assert len(done.stderr.splitlines()) == 1
