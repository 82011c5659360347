"""Measure the embedding pipeline: files on disk to a committed index, and the cold text query.

    python scripts/benchmark.py embed --work /tmp/embed
    python scripts/benchmark.py embed --work /tmp/embed --clip-retrieval VENV --rclip VENV

Ratios come from alternating rounds of one run, so that a busy machine slows both sides. Weights are
seeded random initialisations where no bundled model serves: speed does not depend on their values.
Peers run in virtual environments of their own, and are left out, with the reason, where none is
given: `pip install clip-retrieval==2.45.0 "setuptools<81"` on Python 3.11, and
`pip install rclip==4.0.8` on Python 3.12, whose models are exported here with the package `onnx`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

SMALL, LARGE = (640, 480), (4032, 3024)
VIT, VIT_256 = "ViT-B-32", "ViT-B-32-256"
MINI = "clipsearch-mini"
LEAST_SHARE = 0.85  # of the rate of encoding alone, end to end
GPU_SHARES = {VIT: 0.5, "ViT-L-14": 0.9}  # the same on a GPU with 16 cores


@dataclass(frozen=True)
class Line:
    """One measured figure, with its bar if it has one."""

    what: str
    value: float
    unit: str = ""
    least: float | None = None
    most: float | None = None

    @property
    def missed(self) -> bool:
        """Whether the value is beyond its bar."""
        low = self.least is not None and self.value < self.least
        return low or (self.most is not None and self.value > self.most)

    def __str__(self) -> str:
        bar = f">= {self.least:g}" if self.least is not None else ""
        bar = f"<= {self.most:g}" if self.most is not None else bar
        verdict = "MISSED" if self.missed else "ok" if bar else ""
        return f"{self.what:<66}{self.value:>10.3f} {self.unit:<9}{bar:>9}  {verdict}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `embed`."""
    parser.add_argument("--work", type=Path, required=True, help="scratch folder, kept")
    parser.add_argument("--photos", type=Path, help="folder of JPEGs; the demo's by default")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", help="also try int8")
    parser.add_argument("--small", type=int, default=300, help="files of 640 x 480")
    parser.add_argument("--large", type=int, default=40, help="files of 4032 x 3024")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", default=f"{MINI},{VIT}", help="of the end-to-end share")
    parser.add_argument("--parts", default="decode,share,query,peers", help="also: memory")
    parser.add_argument("--clip-retrieval", type=Path, help="virtual environment of 2.45.0")
    parser.add_argument(
        "--rclip",
        type=Path,
        help="virtual environment of 4.0.8",
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, print the table, and return 1 when a bar is missed."""
    work: Path = arguments.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    os.environ["CLIPSEARCH_CACHE"] = str(work / "cache")
    parts = {
        "decode": decode_lines,
        "share": share_lines,
        "query": query_lines,
        "peers": peer_lines,
        "memory": memory_lines,
    }
    chosen = arguments.parts.split(",")
    if unknown := sorted(set(chosen) - set(parts)):
        raise SystemExit(f"--parts: no {', '.join(unknown)}; there are {', '.join(parts)}")
    make_images(arguments, work)
    missed = 0
    for part in chosen:
        for line in parts[part](arguments, work):
            print(line, flush=True)
            missed += line.missed
    return 1 if missed else 0


def make_images(arguments: argparse.Namespace, work: Path) -> None:
    """Distinct JPEGs of the two sizes, from real photos."""
    from clipsearch.cli.demo import demo_photos

    photos = demo_photos()
    if arguments.photos:
        photos = [f for f in sorted(arguments.photos.rglob("*")) if f.suffix.lower()[:3] == ".jp"]
    for size, count in ((SMALL, arguments.small), (LARGE, arguments.large)):
        folder = work / f"{size[0]}x{size[1]}-{count}"
        if folder.is_dir():
            continue
        folder.mkdir()
        with ProcessPoolExecutor() as pool:
            list(pool.map(partial(make_image, photos, size, folder), range(count)))


def make_image(photos: list[Path], size: tuple[int, int], folder: Path, number: int) -> None:
    """One JPEG unlike the others."""
    with Image.open(photos[number % len(photos)]) as photo:
        fitted = ImageOps.fit(photo.convert("RGB"), size, Image.Resampling.BICUBIC)
    # More than one pixel, which JPEG may drop: the files would be duplicates.
    colour = (number % 16 * 16, number // 16 % 16 * 16, number // 256 * 8 % 256)
    fitted.paste(colour, (0, 0, 16, 16))
    fitted.save(folder / f"{number:05}.jpg", quality=90)


def folder_of(arguments: argparse.Namespace, work: Path, size: tuple[int, int]) -> Path:
    """The folder with the files of one size."""
    count = arguments.small if size == SMALL else arguments.large
    return work / f"{size[0]}x{size[1]}-{count}"


def named(model: str, work: Path) -> str:
    """The name that `load_encoder` takes; random weights are made where the model is no file."""
    if model == MINI:
        return model
    file = work / f"{model}.pt"
    if not file.is_file():
        import open_clip
        import torch

        torch.manual_seed(0)
        torch.save(open_clip.create_model(model, pretrained=None).state_dict(), file)
    tag = "datacomp_s34b_b86k" if model == VIT_256 else "datacomp_xl_s13b_b90k"
    return f"{model}/{tag}:{file}"


def load(arguments: argparse.Namespace, work: Path, model: str, precision: str) -> Any:
    """An encoder on the device asked for."""
    from clipsearch import load_encoder

    name: Any = precision
    return load_encoder(named(model, work), device=arguments.device, precision=name)


def alternate(rounds: int, **sides: Callable[[], float]) -> dict[str, float]:
    """The median of each side, measured in turns after one round to warm up."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            value = side()
            if turn:
                found[name].append(value)
    return {name: statistics.median(values) for name, values in found.items()}


# --- decoding -------------------------------------------------------------------------------------


def decode_lines(arguments: argparse.Namespace, work: Path) -> Iterator[Line]:
    """Scaled against full decoding, with the same resize after it."""
    from clipsearch.images import prepare

    encoder = load(arguments, work, MINI, "fp32")
    spec = encoder.preprocessing
    for size, bar in ((LARGE, 5.0), (SMALL, None)):
        files = sorted(folder_of(arguments, work, size).iterdir())[:20]

        def rate(scaled: bool, files: list[Path] = files) -> float:
            started = time.process_time()
            for file in files:
                prepare(file, spec, scaled_decode=scaled)
            return len(files) / (time.process_time() - started)

        found = alternate(arguments.rounds, scaled=lambda: rate(True), full=lambda: rate(False))
        what = f"{size[0]} x {size[1]}: scaled decode"
        yield Line(f"{what}, one core", found["scaled"], "images/s")
        yield Line(f"{what} / full decode", found["scaled"] / found["full"], "", bar)
        fast = encoder.encode_pixels(np.stack([prepare(file, spec) for file in files]))
        full = encoder.encode_pixels(
            np.stack([prepare(file, spec, scaled_decode=False) for file in files])
        )
        yield Line(f"{what}: least cosine", float((fast * full).sum(1).min()), "", 0.998)


# --- end to end -----------------------------------------------------------------------------------


def end_to_end(encoder: Any, source: Path, work: Path) -> tuple[float, Any]:
    """Seconds from files to a committed index, and the report."""
    from clipsearch import Index

    shutil.rmtree(work / "index", ignore_errors=True)
    with Index.create(work / "index", encoder) as index:
        started = time.perf_counter()
        report = index.add(source)
        seconds = time.perf_counter() - started
    if report.indexed != report.seen:
        raise SystemExit(f"{source}: only {report.indexed} of {report.seen} files were indexed")
    return seconds, report


def share_lines(arguments: argparse.Namespace, work: Path) -> Iterator[Line]:
    """The end-to-end rate over that of encoding alone, on ready pixels.

    Encoding alone is torch's `encode_image`, and where OpenVINO encodes, that as well. On a GPU it
    is also done in two threads, as `index` does it: then copies overlap with computing.
    The rate at which the device multiplies matrices says how much faster encoding could be at all.
    """
    from clipsearch.encoder import batch_for, is_on_gpu

    for model in arguments.models.split(","):
        encoder = load(arguments, work, model, arguments.precision)
        is_light = encoder.runtime == "openvino"
        in_torch = encoder.in_torch() if is_light else encoder
        batch = batch_for(encoder)
        rounds = -(-arguments.small // batch)
        pixels = np.random.default_rng(0).integers(
            0, 256, (batch, *encoder.preprocessing.size, 3), dtype=np.uint8
        )
        reports = []

        def alone(
            encoder: Any, threads: int = 1, pixels: Any = pixels, rounds: int = rounds
        ) -> float:
            started = time.perf_counter()
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(encoder.encode_pixels, [pixels] * rounds))
            return rounds * len(pixels) / (time.perf_counter() - started)

        def whole(encoder: Any = encoder, reports: list[Any] = reports) -> float:
            seconds, report = end_to_end(encoder, folder_of(arguments, work, SMALL), work)
            reports.append(report)
            return float(report.indexed / seconds)

        sides = {"torch": partial(alone, in_torch), "whole": whole}
        if is_light:
            sides["compiled"] = partial(alone, encoder)
        if is_on_gpu(encoder):
            sides["two"] = partial(alone, encoder, 2)
        found = alternate(arguments.rounds, **sides)
        what = f"{model} {encoder.precision} 640 x 480"
        yield Line(f"{what}: encode_image alone", found["torch"], "images/s")
        if encoder.precision != "int8":
            work_done = found["torch"] * operations(in_torch)
            share = work_done / matrix_rate(in_torch)
            yield Line(f"{what}: encode_image alone / matrix rate", share)
        yield Line(f"{what}: end to end", found["whole"], "images/s")
        least = GPU_SHARES.get(model, LEAST_SHARE) if "two" in found else LEAST_SHARE
        yield Line(f"{what}: end to end / alone", found["whole"] / found["torch"], "", least)
        if "two" in found:
            yield Line(f"{what}: alone, two threads / one", found["two"] / found["torch"])
        if "compiled" in found:
            yield Line(f"{what}: compiled, alone", found["compiled"], "images/s")
            yield Line(f"{what}: compiled / torch", found["compiled"] / found["torch"])
            yield Line(f"{what}: end to end / compiled", found["whole"] / found["compiled"])
        for stage, share in reports[-1].busy.items():
            yield Line(f"{what}: {stage} busy", share)


def operations(encoder: Any) -> float:
    """Floating-point operations that the image encoder spends on an image, as torch counts them."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    pixels = torch.zeros(1, 3, *encoder.preprocessing.size)
    tower = encoder._model.visual
    torch.backends.mha.set_fastpath_enabled(False)  # its fused kernel would not be counted
    try:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            tower(pixels.to(next(tower.parameters())))
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    return float(counter.get_total_flops())


def matrix_rate(encoder: Any) -> float:
    """Operations a second of a large product of matrices, where and as the encoder works."""
    import torch

    weights = next(encoder._model.visual.parameters())
    size = 2048 if weights.device.type == "cpu" else 8192
    one = torch.randn(size, size).to(weights)
    seconds = []
    for _ in range(10):
        started = time.perf_counter()
        one @ one
        if weights.device.type != "cpu":
            torch.get_device_module(weights.device).synchronize()
        seconds.append(time.perf_counter() - started)
    return float(2 * size**3 / statistics.median(seconds))


# --- the cold query -------------------------------------------------------------------------------


def query_lines(arguments: argparse.Namespace, work: Path) -> Iterator[Line]:
    """A text query in a new process, with and without the kept text encoder."""
    for model, bar in ((MINI, 0.7), (VIT, 1.0)):
        encoder = load(arguments, work, model, "fp32")
        end_to_end(encoder, folder_of(arguments, work, LARGE), work)
        index = work / f"query-{model}"
        shutil.rmtree(index, ignore_errors=True)
        (work / "index").rename(index)

        def ask(cache: Path, index: Path = index) -> tuple[float, float]:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "clipsearch", "search", "a red bus", "-i", str(index)],
                check=True,
                capture_output=True,
                env={**os.environ, "CLIPSEARCH_CACHE": str(cache)},
            )
            wall = time.perf_counter() - started
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

        light = [ask(work / "cache") for _ in range(arguments.rounds + 3)][1:]
        torch = [ask(Path(os.devnull)) for _ in range(arguments.rounds)]
        cpu, torch_cpu = (statistics.median(c for _, c in runs) for runs in (light, torch))
        wall, torch_wall = (statistics.median(w for w, _ in runs) for runs in (light, torch))
        yield from (
            Line(f"{model}: cold text query, wall", wall, "s", most=bar),
            Line(f"{model}: cold text query, least wall", min(w for w, _ in light), "s"),
            Line(f"{model}: cold text query, CPU", cpu, "s"),
            Line(f"{model}: the same through torch, wall", torch_wall, "s"),
            Line(f"{model}: CPU / CPU through torch", cpu / torch_cpu, "", most=1 / 3),
        )


# --- memory ---------------------------------------------------------------------------------------


def memory_lines(arguments: argparse.Namespace, work: Path) -> list[Line]:
    """Peak memory of the command for many files over that for a tenth of them.

    The pipeline is the real one; the model is tiny, or 100,000 images would take hours.
    """
    peaks = {}
    model = tiny_model(work)
    for count in (10_000, 100_000):
        folder = work / f"tiny-{count}"
        if not folder.is_dir():
            for number in range(count):
                sub = folder / f"{number // 1000:03}"
                sub.mkdir(parents=True, exist_ok=True)
                pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(sub / f"{number:06}.bmp")
        index = work / f"memory-{count}"
        shutil.rmtree(index, ignore_errors=True)
        command = [sys.executable, "-m", "clipsearch", "index", str(folder), "-i", str(index)]
        command += ["-m", model]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"indexing {folder} failed")
        peaks[count] = usage.ru_maxrss / 1024
    ratio = peaks[100_000] / peaks[10_000]
    return [
        *(Line(f"peak memory of {count:,} files", peak, "MiB") for count, peak in peaks.items()),
        Line("peak memory, 100,000 / 10,000 files", ratio, "", most=1.1),
    ]


def tiny_model(work: Path) -> str:
    """A model of one small layer a tower with random weights, as `load_encoder` names it."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder = work / "tiny-model"
    folder.mkdir(exist_ok=True)
    config = {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 64, "layers": 1},
        "text_cfg": {"context_length": 16, "width": 64, "heads": 2, "layers": 1},
    }
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    document = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(document))
    torch.manual_seed(0)
    model = open_clip.CLIP(64, config["vision_cfg"], config["text_cfg"])
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


# --- peers ----------------------------------------------------------------------------------------


def peer_lines(arguments: argparse.Namespace, work: Path) -> Iterator[Line]:
    """End to end against peers with the same weights on the same files."""
    peers = (
        ("clip-retrieval 2.45.0", arguments.clip_retrieval, VIT, clip_retrieval, 4.0),
        ("rclip 4.0.8", arguments.rclip, VIT_256, rclip, 1.8),
    )
    for name, venv, model, rate, bar in peers:
        if venv is None:
            print(f"{name}: left out, no virtual environment given")
            continue
        weights = work / f"{model}.pt"
        encoder = load(arguments, work, model, arguments.precision)
        if rate is rclip and not export_for_rclip(weights, work / "rclip_data"):
            print(f"{name}: left out, exporting its models needs: pip install onnx")
            continue
        for size in (SMALL, LARGE):
            folder = folder_of(arguments, work, size)

            def ours(encoder: Any = encoder, folder: Path = folder, rate: Any = rate) -> float:
                if rate is rclip:
                    return beyond_one(lambda f: end_to_end(encoder, f, work)[0], folder, work)
                seconds, report = end_to_end(encoder, folder, work)
                return float(report.indexed / seconds)

            found = alternate(
                max(1, arguments.rounds - 1),
                ours=ours,
                peer=lambda rate=rate, venv=venv, folder=folder, weights=weights: rate(
                    venv, folder, work, weights
                ),
            )
            what = f"{model} {encoder.precision} {size[0]} x {size[1]}"
            yield Line(f"{what}: end to end", found["ours"], "images/s")
            yield Line(f"{what}: {name}", found["peer"], "images/s")
            yield Line(f"{what}: ratio to {name}", found["ours"] / found["peer"], "", bar)


def clip_retrieval(venv: Path, folder: Path, work: Path, weights: Path) -> float:
    """Its own count of images a second, without the loading of the model."""
    out = work / "clip-retrieval"
    shutil.rmtree(out, ignore_errors=True)
    command = [
        str(venv / "bin/clip-retrieval"), "inference", "--input_dataset", str(folder),
        "--output_folder", str(out), "--enable_text", "False", "--batch_size", "64",
        "--clip_model", f"open_clip:{VIT}/{weights}", "--num_prepro_workers", "4",
    ]  # fmt: skip
    offline = {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "PYTHONWARNINGS": "ignore"}
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **offline})
    stats = json.loads(next((out / "stats").glob("*.json")).read_text())
    return float(stats["sample_count"] / (stats["end_time"] - stats["start_time"]))


def export_for_rclip(weights: Path, folder: Path) -> bool:
    """Lay out the models as rclip keeps them offline; False where `onnx` is not installed."""
    import importlib.util

    models = folder / f"{VIT_256}-datacomp_s34b_b86k"
    if models.is_dir():
        return True
    if importlib.util.find_spec("onnx") is None:
        return False
    import open_clip
    import torch

    model = open_clip.create_model(VIT_256, pretrained=None).eval()
    model.load_state_dict(torch.load(weights))

    class Texts(torch.nn.Module):
        """The text encoder; without gradients torch would trace a kernel that ONNX lacks."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.model.encode_text(tokens)

    scratch = folder / "unfinished"
    shutil.rmtree(folder, ignore_errors=True)
    scratch.mkdir(parents=True)
    sides = {
        "visual": (model.visual, torch.zeros(1, 3, 256, 256)),
        "textual": (Texts().eval(), torch.zeros(1, 77, dtype=torch.long)),
    }
    for side, (module, example) in sides.items():
        torch.onnx.export(
            module, (example,), str(scratch / f"{side}.onnx"), input_names=["input"],
            output_names=["output"], opset_version=18, dynamo=False,
            dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
        )  # fmt: skip
    (folder / "tokenizer").mkdir()
    vocabulary = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    shutil.copy(vocabulary, folder / "tokenizer")
    for name in ("LICENSE", "OPENAI-CLIP-MIT.txt", "README.md", "THIRD_PARTY_NOTICES.md"):
        (folder / name).touch()  # rclip goes online unless they are there
    scratch.rename(models)
    return True


def rclip(venv: Path, folder: Path, work: Path, weights: Path) -> float:
    """Images a second over what a run on one image takes."""

    def seconds(target: Path) -> float:
        data = work / "rclip-run"
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir()
        for entry in (work / "rclip_data").iterdir():
            if not entry.name.startswith("db."):
                (data / entry.name).symlink_to(entry)
        started = time.perf_counter()
        subprocess.run(
            [str(venv / "bin/rclip"), "a photo of a dog"],
            check=True,
            capture_output=True,
            cwd=target,
            env={**os.environ, "RCLIP_DATADIR": str(data), "HF_HUB_OFFLINE": "1"},
        )
        return time.perf_counter() - started

    return beyond_one(seconds, folder, work)


def beyond_one(seconds: Callable[[Path], float], folder: Path, work: Path) -> float:
    """Images a second over what a run on one image takes, for start and end are not the pace."""
    one = work / "one"
    one.mkdir(exist_ok=True)
    shutil.copy(sorted(folder.iterdir())[0], one / "only.jpg")
    count = sum(1 for _ in folder.iterdir())
    fixed = seconds(one)
    return (count - 1) / (seconds(folder) - fixed)
