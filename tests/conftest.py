"""What the tests share: the bundled model, real photos of installed packages, odd files."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from clipsearch.cli.demo import demo_photos

from . import kept

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"

# No test depends on time, so none fails because the machine is busy.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

# A shell's background jobs ignore Ctrl-C, and so would every process that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARING = ("tests/browser", "tests/server")  # the files of each share a server, and one worker
# What takes longest comes first, so that no worker waits for another one at the end.
LONG = (
    *SHARING,
    *(f"tests/test_{name}.py" for name in (
        "mixed_library", "index_crash", "ingest", "readme", "index_damage", "power_cuts", "away",
        "evaluation", "migration", "cli", "curating", "edits", "index_readers", "zeroshot",
    )),
)  # fmt: skip


def _share(nodeid: str) -> str:
    """What one worker runs as a whole: a file, or a folder of them."""
    file = nodeid.partition("::")[0]
    return next((folder for folder in SHARING if file.startswith(f"{folder}/")), file)


def pytest_collection_modifyitems(items):
    places = {share: place for place, share in enumerate(LONG)}
    items.sort(key=lambda item: places.get(_share(item.nodeid), len(places)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Shares(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return _share(nodeid)

    return Shares(config, log)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory):
    """No test reads or fills the user's cache, nor what is known of the user's indexes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPSEARCH_STATE", str(tmp_path_factory.mktemp("state")))
        patch.setenv("CLIPSEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _decoders_are_kept():
    with kept.decoders_kept():
        yield


@pytest.fixture(scope="session")
def encoder():
    from clipsearch import load_encoder

    return load_encoder("clipsearch-mini", device="cpu", precision="fp32")


@pytest.fixture(scope="session")
def photos() -> list[Path]:
    found = demo_photos()
    assert len(found) >= 20, "the extra `demo` is not installed"
    return found


@pytest.fixture
def photo_folder(photos, tmp_path) -> Path:
    """A folder of one's own with every demo photo in it."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for photo in photos:
        shutil.copy(photo, folder / photo.name)
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public photo sets beside the checkout; what wants them is skipped where they are absent."""
    if not SHARED.is_dir():
        pytest.skip("needs the public photo sets in ../shared/data")
    return SHARED


@pytest.fixture(scope="session")
def bound() -> list[str]:
    """What to put before a command so that permissions bind it, as they do not bind root."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("permissions bind root only through setpriv (util-linux)")
    return ["setpriv", "--bounding-set=-dac_override"]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def commands():
    """What typer makes of all commands, which takes longer than a search."""
    from typer.main import get_command

    from clipsearch.cli.app import assemble

    return get_command(assemble())


@pytest.fixture
def cli(tmp_path, monkeypatch, commands):
    """Run a command as its user would, with its indexes in a scratch folder.

    In this process, where torch and the model are loaded already; `cli_process` starts its own.
    """
    monkeypatch.setenv("CLIPSEARCH_INDEXES", str(tmp_path / "indexes"))
    kept.model_kept(monkeypatch)

    def run(*arguments: object, expect: int | None = 0, stdin: str | None = None) -> Done:
        out, err = io.StringIO(), io.StringIO()
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as exit_,
        ):
            commands([str(argument) for argument in arguments])
        done = Done(int(exit_.value.code or 0), out.getvalue(), err.getvalue())
        assert expect in (None, done.returncode), done
        return done

    return run


@pytest.fixture
def cli_process(tmp_path):
    """Run a command in a process of its own."""

    def run(*arguments: object, expect: int | None = 0) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "clipsearch", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "CLIPSEARCH_INDEXES": str(tmp_path / "indexes")},
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert expect in (None, done.returncode), done
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def other(tmp_path_factory) -> str:
    """A second model: a small transformer with seeded random weights, in open_clip's format."""
    import torch
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    config = {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 224, "layers": 2, "width": 128, "patch_size": 32},
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 64,
            "heads": 2,
            "layers": 2,
        },
    }
    preprocessing = {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    folder = tmp_path_factory.mktemp("other")
    torch.manual_seed(0)
    save_file(CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    document = {"model_cfg": config, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(document))
    return f"local-dir:{folder}"


@pytest.fixture(scope="session")
def other_encoder(other):
    from clipsearch import load_encoder

    return load_encoder(other, device="cpu", precision="fp32")
