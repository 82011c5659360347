"""The decoder processes: a bad file costs that file alone."""

from __future__ import annotations

import errno
import io
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import pytest
from PIL import Image

from clipsearch.errors import ImageDecodeError, StorageError
from clipsearch.images import Preprocessing, prepare
from clipsearch.intake import decoders
from clipsearch.intake.decoders import DecoderPool
from clipsearch.intake.embedder import Embedder
from clipsearch.intake.pairs import Pair
from clipsearch.intake.triage import Candidate

from . import kept
from .drawn import endless_jpeg
from .fakes import FakeEncoder

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
    with DecoderPool(SPEC, workers=1, timeout_s=2, slot_images=8) as pool:
        slot = pool.slots.take()
        ends = pool.submit_many([str(path) for path in some], slot, 2).result()
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


def test_a_decoder_killed_in_the_middle_of_a_batch_costs_its_file_alone(photos, tmp_path):
    """As the system does when memory runs out: the file is tried again in the next run."""
    slow = tmp_path / "never.jpg"
    slow.write_bytes(endless_jpeg())
    some = [photos[0], photos[1], slow, photos[2], photos[3]]
    with DecoderPool(SPEC, workers=1, slot_images=8) as pool:
        slot = pool.slots.take()
        future = pool.submit_many([str(path) for path in some], slot)
        while pool.slots.progress[0] != 2:
            time.sleep(0.01)
        killed = pool._children[0]._process
        os.kill(killed.pid, signal.SIGKILL)
        ends = future.result()
        assert killed.poll() is not None  # nothing writes there any more
    for at in (0, 1, 3, 4):
        np.testing.assert_array_equal(slot.pixels[at], prepare(some[at], SPEC))
    assert "never.jpg: crashed the decoder (SIGKILL)" in str(ends[2])
    assert ends[2].passing == "trouble"


def _jpeg(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (12, 9), (level, 255 - level, 90)).save(buffer, "JPEG")
    return buffer.getvalue()


class _Watching(FakeEncoder):
    preprocessing = Preprocessing(size=(8, 8), mean=(0.5,) * 3, std=(0.5,) * 3)
    batches = 0

    def encode_pixels(self, pixels):
        self.batches += 1
        return super().encode_pixels(pixels)


def test_batches_come_in_order_whatever_is_broken_or_equal_in_them():
    files = [_jpeg(level) for level in range(40)]
    files[5], files[6], files[9] = b"broken", files[4], files[4]
    files += [files[0], b"", _jpeg(77)]
    encoder = _Watching()
    pairs = [Pair(key=f"{n}.jpg", image=data) for n, data in enumerate(files)]
    with Embedder(encoder, batch_size=4, workers=2) as embedder:
        chunks = [[Candidate(pair) for pair in pairs[n : n + 9]] for n in range(0, 43, 9)]
        found = [*itertools.chain.from_iterable(embedder.embed(chunks, stored=lambda _: ()))]
    assert [one.pair.key for one in found] == [pair.key for pair in pairs]
    assert [n for n, one in enumerate(found) if one.error] == [5, 41]
    for n, one in enumerate(found):
        if one.image is not None:
            pixels = prepare(files[n], encoder.preprocessing)
            np.testing.assert_array_equal(one.image, encoder.vector(f"image {pixels.tobytes()}"))
        elif not one.error:  # equal to one just before it, and there if that is not stored
            np.testing.assert_array_equal(one.pixels, prepare(files[n], encoder.preprocessing))
    assert found[6].image is None  # of the batch of its equal


def test_slots_are_used_again_so_that_memory_stays_flat():
    encoder = _Watching()
    pairs = (Pair(key=f"{n}.jpg", image=_jpeg(n % 250)) for n in range(600))
    with Embedder(encoder, batch_size=4, workers=2) as embedder:
        for _ in embedder.embed_pairs(pairs):
            assert os.fstat(embedder._decoders.slots.fd).st_size < 2**20
        assert encoder.batches == 150
        assert embedder._decoders.slots._count <= 10


def test_an_interrupted_run_leaves_no_process_and_no_thread(photos):
    before = threading.active_count()
    with Embedder(_Watching(), batch_size=4, workers=2) as embedder:
        batches = embedder.embed_pairs(Pair(key=str(p), image=str(p)) for p in photos * 9)
        assert any(batches)
        children = [child._process for child in embedder._decoders._children]
        batches.close()
    assert all(child.poll() is not None for child in children)
    assert threading.active_count() == before


def test_without_files_in_memory_an_unnamed_temporary_file_serves(photos, tmp_path, monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)  # as on macOS
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with DecoderPool(SPEC, workers=1) as pool:
        pixels = pool.submit(str(photos[0])).result().prepared.pixels
        np.testing.assert_array_equal(pixels, prepare(photos[0], SPEC))
        assert not [*tmp_path.iterdir()]

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(StorageError, match=f"in {tmp_path} .*No space left"):
            pool.slots.take(), pool.slots.take()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks at processes of Linux")
def test_a_killed_run_leaves_no_decoder_and_no_memory(photos):
    script = (
        "import sys\n"
        "from clipsearch.intake.decoders import DecoderPool\n"
        "from clipsearch.images import Preprocessing\n"
        "pool = DecoderPool(Preprocessing((8, 8), (0,) * 3, (1,) * 3), workers=1)\n"
        f"pool.submit({str(photos[0])!r}).result()\n"
        "print(pool._children[0]._process.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    before = {*os.listdir("/dev/shm")}
    run = [sys.executable, "-c", script]
    with subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
    end = time.monotonic() + 20
    while _runs(child):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert not [name for name in {*os.listdir("/dev/shm")} - before if "clipsearch" in name]


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
