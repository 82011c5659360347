"""The runtime without torch: the vectors of torch, from a cache that may be gone or broken."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from clipsearch import Index, load_encoder
from clipsearch.cache import CACHE_VARIABLE
from clipsearch.encoders import devices, export
from clipsearch.encoders.light import LightEncoder
from clipsearch.encoders.lightmodel import bundled_model, kept_model
from clipsearch.encoders.loader import open_encoder
from clipsearch.encoders.openclip import OpenClipEncoder
from clipsearch.encoders.weights import float8_values
from clipsearch.errors import EncoderMismatchError
from clipsearch.images import prepare
from clipsearch.models import _BUNDLED_FOLDER, load_text_encoder

BUNDLED = f"local-dir:{_BUNDLED_FOLDER}"
TEXTS = ["a red bus", "two dogs & a CAT, running?", "ein Hund läuft 😀"]


@pytest.fixture(scope="module")
def in_torch(other):
    return open_encoder(other, device="cpu", precision="fp32")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def kept(cache, other):
    """The folder of a model that torch has exported."""
    load_encoder(other, device="cpu", precision="fp32")
    (folder,) = (cache / "models").iterdir()
    return folder


def least_cosine(one, other):
    return (one * other).sum(axis=1).min()


def agrees(encoder, reference, photos) -> bool:
    return bool(
        least_cosine(encoder.encode_images(photos), reference.encode_images(photos)) > 0.9999
        and least_cosine(encoder.encode_texts(TEXTS), reference.encode_texts(TEXTS)) > 0.9999
    )


def test_8_bit_floats_are_read_as_torch_reads_them():
    theirs = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float().numpy()
    np.testing.assert_array_equal(float8_values(), theirs)


def test_a_model_is_exported_once_and_then_needs_no_torch(
    cache, other, in_torch, photos, monkeypatch
):
    first = load_encoder(other, device="cpu", precision="fp32")
    assert (first.runtime, first.device, first.precision) == ("openvino", "cpu", "fp32")
    monkeypatch.setattr("clipsearch.encoders.loader.open_encoder", None)
    later = load_encoder(other, device="cpu", precision="fp32")
    by_index = load_text_encoder(other, in_torch.fingerprint, device="cpu", precision="fp32")
    for light in (first, later, by_index):
        assert isinstance(light, LightEncoder)
        assert agrees(light, in_torch, photos)
        for name in ("name", "dim", "fingerprint", "preprocessing", "logit_bias", "context_length"):
            assert getattr(light, name) == getattr(in_torch, name)
        assert light.logit_scale == pytest.approx(in_torch.logit_scale)
        assert light.encode_images([]).shape == light.encode_texts([]).shape == (0, in_torch.dim)


def test_a_few_images_are_encoded_on_all_cores(encoder, photos, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    light = load_encoder("clipsearch-mini", device="cpu", precision="fp32")
    for some in (photos[:1], photos[:4]):
        assert least_cosine(light.encode_images(some), encoder.encode_images(some)) > 0.99999
    assert sorted(light._images) == [(1, 1), (1, 4)]


def test_threads_may_share_it_and_nobody_is_told(encoder, photos):
    root = logging.getLogger()
    before = (root.level, list(root.filters), list(root.handlers))
    light = load_encoder("clipsearch-mini", device="cpu", precision="fp32")
    pixels = [
        np.stack([prepare(p, light.preprocessing) for p in photos[i : i + 5]]) for i in (0, 5)
    ]
    expected = [encoder.encode_pixels(some) for some in pixels]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(light.encode_pixels, pixels * 4))
    for number, vectors in enumerate(found):
        np.testing.assert_allclose(vectors, expected[number % 2], atol=2e-5)
    assert sys.modules["openvino_telemetry"] is None
    assert (root.level, root.filters, root.handlers) == before


@pytest.mark.skipif(not devices.has_bfloat16(), reason="the CPU has no bfloat16")
def test_bfloat16_is_computed_in_blocks_of_which_the_last_is_filled_up(
    cache, other, in_torch, photos
):
    half = load_encoder(other, device="cpu", precision="bf16")
    assert (half.runtime, half.precision) == ("openvino", "bf16")
    for some in (photos[:21], photos[:2]):
        vectors = half.encode_images(some)
        assert 0.99 < least_cosine(vectors, in_torch.encode_images(some)) < 0.999999


def test_what_the_light_runtime_lacks_goes_to_torch(cache, other, monkeypatch):
    assert isinstance(load_encoder(other, device="cpu", precision="fp16"), OpenClipEncoder)
    monkeypatch.setattr("clipsearch.encoders.runtimes.has_bfloat16", lambda: False)
    assert isinstance(load_encoder(other, device="cpu", precision="bf16"), OpenClipEncoder)
    monkeypatch.setattr("clipsearch.encoders.runtimes.has_openvino", lambda: False)
    assert isinstance(load_encoder(other, device="cpu"), OpenClipEncoder)


def test_torch_is_asked_for_a_gpu_only_where_there_may_be_one(monkeypatch):
    monkeypatch.setattr(devices, "_GPU_FILES", ())
    assert not devices.may_have_gpu()
    monkeypatch.setattr(devices, "_GPU_FILES", (os.devnull,))
    assert devices.may_have_gpu()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not devices.may_have_gpu()


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_texts_do_not_wait_to_see_whether_there_is_a_gpu(encoder, photos, monkeypatch, device):
    if device == "mps":
        monkeypatch.setattr(devices, "sys", SimpleNamespace(platform="darwin"))
        monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(devices, "_GPU_FILES", (os.devnull,))
    light = load_text_encoder("clipsearch-mini", encoder.fingerprint)
    assert (light.device, light.runtime) == (device, "torch")  # as far as can be seen
    np.testing.assert_allclose(light.encode_texts(TEXTS), encoder.encode_texts(TEXTS), atol=1e-6)
    if not torch.cuda.is_available():
        assert (
            least_cosine(light.encode_images(photos[:2]), encoder.encode_images(photos[:2]))
            > 1 - 1e-5
        )
        assert (light.device, light.runtime) == ("cpu", "openvino")


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("image.bin", "other bytes"),
        ("image.bin", "gone"),
        ("image.xml", "cut short"),
        ("tokens.npy", "other bytes"),
        ("model.json", "cut short"),
    ],
)
def test_a_damaged_export_is_made_again(kept, other, in_torch, photos, monkeypatch, file, damage):
    path = kept / file
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + (b"#" + whole[middle + 1 :]) * (damage != "cut short"))
    assert agrees(load_encoder(other, device="cpu", precision="fp32"), in_torch, photos[:3])
    monkeypatch.setattr("clipsearch.encoders.loader.open_encoder", None)
    light = load_encoder(other, device="cpu", precision="fp32")
    assert agrees(light, in_torch, photos[:3])
    assert light.runtime == "openvino"


def test_an_export_of_another_version_is_not_used(kept, in_torch):
    path = kept / "model.json"
    document = json.loads(path.read_text())
    facts = {**document["model"], "fingerprint": "0" * 64}
    for change in (
        {"format": 0},
        {"model": {}},
        {"model": facts},
        {"sums": None},
        {"text": {"x": 1}},
    ):
        path.write_text(json.dumps({**document, **change}))
        assert kept_model(in_torch.fingerprint) is None, change
    path.write_text(json.dumps(document))
    assert kept_model(in_torch.fingerprint) is not None


def test_an_index_may_name_any_fingerprint(cache):
    for fingerprint in ("", "../../etc", "0" * 64, "\0"):
        assert kept_model(fingerprint) is None


def test_a_cache_that_cannot_be_written_serves_one_process(
    other, in_torch, photos, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    light = load_encoder(other, device="cpu", precision="fp32")
    assert light.runtime == "openvino"
    assert agrees(light, in_torch, photos[:3])
    assert (tmp_path / "file").read_bytes() == b""


@pytest.fixture
def changing(other, tmp_path):
    """A model whose weights may be replaced, and what replaces them."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(other.partition(":")[2], folder)
    weights = folder / "open_clip_model.safetensors"

    def change():
        state = load_file(weights)
        state["visual.proj"] = state["visual.proj"].flip(1).contiguous()
        before = weights.stat()
        save_file(state, tmp_path / "new")
        os.utime(tmp_path / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
        os.replace(tmp_path / "new", weights)
        assert weights.stat().st_size == before.st_size

    return f"local-dir:{folder}", change


def test_weights_that_change_behind_a_path_are_noticed(cache, changing, photos, tmp_path):
    name, change = changing
    first = load_encoder(name, device="cpu", precision="fp32")
    Index.create(tmp_path / "index", first).close()
    change()
    second = load_encoder(name, device="cpu", precision="fp32")
    assert second.fingerprint != first.fingerprint
    assert least_cosine(second.encode_images(photos[:2]), first.encode_images(photos[:2])) < 0.9
    asked = load_text_encoder(name, first.fingerprint, device="cpu")
    np.testing.assert_allclose(asked.encode_texts(TEXTS), first.encode_texts(TEXTS), atol=1e-6)
    with pytest.raises(EncoderMismatchError, match="weights have changed"):
        asked.encode_images(photos[:1])


class _NotInOpenVino(torch.nn.Module):
    """A tower with an operation that OpenVINO does not know."""

    def __init__(self, tower):
        super().__init__()
        self.tower = tower

    def forward(self, x):
        return self.tower(x) + 0 * torch.special.bessel_j0(x).mean()


def _cannot_be_traced(*_, **__):
    raise RuntimeError("an operation that cannot be traced")


@pytest.mark.parametrize("what", ["an operation that cannot be traced", "bessel_j0", "cosine"])
def test_what_cannot_be_exported_stays_in_torch_and_is_noted_once(
    cache, other, in_torch, photos, monkeypatch, caplog, what
):
    if what == "bessel_j0":
        settle = OpenClipEncoder.settle

        def odd(self, precision):
            settle(self, precision)
            self._model.visual = _NotInOpenVino(self._model.visual).eval()

        monkeypatch.setattr(OpenClipEncoder, "settle", odd)
    elif what == "cosine":
        monkeypatch.setattr(export, "_AGREEMENT", 1.1)
    else:
        monkeypatch.setattr(torch.jit, "trace", _cannot_be_traced)
    encoder = load_encoder(other, device="cpu", precision="fp32")
    assert encoder.runtime == "torch"
    np.testing.assert_allclose(
        encoder.encode_images(photos[:6]), in_torch.encode_images(photos[:6]), atol=2e-5
    )
    assert "torch" in caplog.text
    assert what in caplog.text
    caplog.clear()
    again = load_encoder(other, device="cpu", precision="fp32")
    assert (again.runtime, caplog.text) == ("torch", "")
    assert agrees(again, in_torch, photos[:2])


def test_items_of_both_runtimes_live_in_one_index(cache, other, in_torch, photos, tmp_path):
    with Index.create(tmp_path / "mixed", in_torch) as index:
        index.add(photos[:10])
    light = load_encoder(other, device="cpu", precision="fp32")
    with Index.open(tmp_path / "mixed", light) as index:
        index.add(photos)
        assert len(index) == len(photos)
        for photo in photos[::5]:
            best = index.search(photo, k=1)[0]
            assert best.score > 0.9999


_KILLED = """if True:
    import os, sys
    from clipsearch import load_encoder
    from clipsearch.encoders import lightmodel
    write = lightmodel.shutil.copyfile
    def killed(source, target):
        write(source, target)
        os.kill(os.getpid(), 9)
    if sys.argv[2] == "killed":
        lightmodel.shutil.copyfile = killed
    print(load_encoder(sys.argv[1], device="cpu", precision="fp32").runtime)
"""


@pytest.mark.slow
def test_a_kill_during_the_export_and_two_at_once_leave_a_whole_one(cache, other, in_torch, photos):
    def start(how):
        command = [sys.executable, "-c", _KILLED, other, how]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    killed = start("killed")
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert kept_model(in_torch.fingerprint) is None
    both = [start("whole"), start("whole")]
    assert [one.communicate(timeout=120)[0] for one in both] == ["openvino\n"] * 2
    assert agrees(load_encoder(other, device="cpu", precision="fp32"), in_torch, photos[:3])


_COMMANDS = """if True:
    import contextlib, os, sys
    from clipsearch.cli.app import assemble
    folder, index = sys.argv[1:]
    photo = f"{folder}/cat/{os.listdir(folder + '/cat')[0]}"
    for command in (
        ["index", folder, "-i", index],
        ["search", "--image", photo, "-i", index],
        ["classify", photo, "-l", "cat", "-l", "dog"],
        ["fit", folder, "-o", f"{index}.clip"],
        ["duplicates", "-i", index],
        ["info", "-i", index, "-f", "json"],
    ):
        out = sys.stdout if command[0] == "info" else sys.stderr
        with contextlib.redirect_stdout(out):
            assert not assemble()(command, standalone_mode=False), command
        heavy = {"torch", "torchvision", "open_clip", "timm"} & set(sys.modules)
        assert not heavy, (command, heavy)
"""


def test_the_commands_of_every_day_import_no_torch(cache, photos, tmp_path):
    folder = tmp_path / "photos"
    for kind in ("cat", "dog"):
        (folder / kind).mkdir(parents=True)
        for photo in photos[:4]:
            shutil.copy(photo, folder / kind)
    command = [sys.executable, "-c", _COMMANDS, str(folder), str(tmp_path / "index")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["model"]["runtime"] == "openvino"


def test_the_bundled_facts_are_those_of_the_weights(encoder):
    model = open_encoder(BUNDLED, device="cpu", precision="fp32")
    bundled = bundled_model(_BUNDLED_FOLDER)
    assert bundled.facts == export.facts_of(model)
    assert bundled.text().facts == model.text_tower().facts
