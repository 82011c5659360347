"""The decoder processes: a bad file costs that file alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from clipsearch.errors import ImageDecodeError
from clipsearch.images import Preprocessing, prepare
from clipsearch.intake import decoders
from clipsearch.intake.decoders import DecoderPool

from . import kept
from .drawn import endless_jpeg

SPEC = Preprocessing(size=(64, 64), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.fixture(autouse=True)
def _processes_of_their_own(monkeypatch):
    monkeypatch.setattr(decoders, "_Child", kept.OWN)


def test_pool_gives_what_prepare_gives(photos):
    with DecoderPool(SPEC, workers=2) as pool:
        futures = [pool.submit(str(photo)) for photo in photos]
        futures += [pool.submit(photos[0].read_bytes())]
        results = [future.result() for future in futures]
    for photo, result in zip([*photos, photos[0]], results, strict=True):
        np.testing.assert_array_equal(result.prepared.pixels, prepare(photo, SPEC))
        assert result.size_bytes == photo.stat().st_size


def test_a_hanging_and_a_crashing_decoder_cost_their_file_alone(photos, tmp_path):
    slow = tmp_path / "never.jpg"
    slow.write_bytes(endless_jpeg())
    with DecoderPool(SPEC, workers=1, timeout_s=2) as pool:
        before, hanging, after = (
            pool.submit(str(photos[0])),
            pool.submit(str(slow)),
            pool.submit(str(photos[1])),
        )
        assert before.result().prepared.pixels.shape == (64, 64, 3)
        with pytest.raises(ImageDecodeError, match=r"never\.jpg: took over 2 s"):
            hanging.result()
        assert after.result().prepared.pixels.shape == (64, 64, 3)
        crashing = pool.submit(str(slow))
        time.sleep(0.3)
        os.kill(pool._children[0]._process.pid, signal.SIGSEGV)
        with pytest.raises(ImageDecodeError, match="SIGSEGV"):
            crashing.result()
        assert pool.submit(str(photos[2])).result().size_bytes > 0


def test_files_that_one_process_decodes_together_have_an_end_each(photos, tmp_path):
    slow, broken = tmp_path / "never.jpg", tmp_path / "broken.jpg"
    slow.write_bytes(endless_jpeg())
    broken.write_bytes(b"broken")
    some = [photos[0], broken, slow, photos[1], tmp_path / "absent.jpg", photos[2]]
    with DecoderPool(SPEC, workers=1, timeout_s=2) as pool:
        ends = pool.submit_many([str(path) for path in some]).result()
    for at in (0, 3, 5):
        np.testing.assert_array_equal(ends[at].prepared.pixels, prepare(some[at], SPEC))
    assert "broken.jpg: not an image" in str(ends[1])
    assert "never.jpg: took over 2 s" in str(ends[2])
    assert "absent.jpg: the file is gone" in str(ends[4])


def test_no_process_is_left(photos):
    with DecoderPool(SPEC, workers=2) as pool:
        pool.submit(str(photos[0])).result()
        children = [child._process for child in pool._children]
    assert all(child.poll() is not None for child in children)


def test_decoding_works_from_a_script_without_a_main_guard(photos, tmp_path):
    """A `multiprocessing` pool would run such a script again in every child."""
    script = tmp_path / "script.py"
    script.write_text(
        "from clipsearch.intake.decoders import DecoderPool\n"
        "from clipsearch.images import Preprocessing\n"
        "spec = Preprocessing(size=(8, 8), mean=(0, 0, 0), std=(1, 1, 1))\n"
        "with DecoderPool(spec, workers=2) as pool:\n"
        f"    print(pool.submit({str(photos[0])!r}).result().prepared.pixels.shape)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["(8, 8, 3)"], done.stderr
