"""Indexing on a real Ray cluster: the same index as on one machine, whatever is killed."""

from __future__ import annotations

import contextlib
import functools
import http.server
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest

from clipsearch import Index
from clipsearch.cluster import connection
from clipsearch.ingest import IngestOptions

pytest.importorskip("ray")

from .raycluster import (
    PATIENCE_S,
    cluster,
    descendants,
    leavings,
    node_with_other_files,
    processes,
    started,
    unmount,
    wait_for,
)

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]
MODEL = "clipsearch-mini"


@pytest.fixture(scope="module")
def two_nodes():
    with cluster(2) as made:
        yield made


@pytest.fixture(scope="module")
def mixed(shared_data, tmp_path_factory):
    """About 300 photos, duplicates, captions beside them, and odd, broken and foreign files."""
    folder = tmp_path_factory.mktemp("mixed") / "photos"
    photos = sorted((shared_data / "flickr/images").iterdir())[:230]
    photos += sorted((shared_data / "coco/images").iterdir())[:40]
    for n in range(7):
        (folder / f"{n}").mkdir(parents=True)
    for n, photo in enumerate(photos):
        target = folder / f"{n % 7}" / photo.name
        shutil.copy(photo, target)
        if n % 9 == 0:
            target.with_suffix(".txt").write_text(f"picture number {n}")
        if n % 25 == 0:
            shutil.copy(photo, folder / "3" / f"copy-{n}.jpg")
    for n, odd in enumerate(sorted((shared_data / "odd/pillow").iterdir())[::8]):
        if odd.is_file():
            shutil.copy(odd, folder / f"{n % 7}" / f"odd-{odd.name}")
    (folder / "5" / "notes.md").write_text("no picture")
    (folder / "5" / "cut.jpg").write_bytes(photos[0].read_bytes()[:1000])
    (folder / "5" / "empty.png").touch()
    return folder


@pytest.fixture(scope="module")
def local(mixed, encoder, tmp_path_factory):
    """The index that one machine makes, and its report."""
    path = tmp_path_factory.mktemp("local") / "index"
    with Index.create(path, encoder) as index:
        report = index.add(mixed)
        yield index, report


def on_cluster(index, source, workers=1, **options):
    from clipsearch.cluster import ClusterOptions, add_on_cluster

    return add_on_cluster(
        index,
        source,
        cluster=ClusterOptions(workers=workers, device="cpu", precision="fp32"),
        options=IngestOptions(**options),
    )


def outcome(report):
    return {
        name: getattr(report, name)
        for name in (
            "seen", "indexed", "unchanged", "duplicate", "skipped", "updated", "moved", "ignored",
            "pruned", "skips",
        )
    }  # fmt: skip


def adds_up(report):
    return report.seen == report.indexed + report.unchanged + report.duplicate + report.skipped


def same(found, expected):
    """The same items under the same ids with the same vectors."""
    items = expected.items(limit=10_000)
    assert found.items(limit=10_000) == items
    for modality, has in (("image", "has_image"), ("caption", "has_caption")):
        ids = [item.id for item in items if getattr(item, has)]
        if ids:
            np.testing.assert_allclose(
                found.vectors(ids, modality), expected.vectors(ids, modality), atol=2e-3
            )
    assert found.verify(full=True).ok


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_same_index_as_on_one_machine(two_nodes, mixed, local, encoder, tmp_path, workers):
    index, report = local
    assert report.skipped > 5
    assert report.duplicate > 3
    with Index.create(tmp_path / "index", encoder) as made:
        found = on_cluster(made, mixed, workers, report_file=tmp_path / "report.jsonl")
        assert outcome(found) == outcome(report)
        assert adds_up(found)
        same(made, index)
        lines = (tmp_path / "report.jsonl").read_text().splitlines()
        assert len(lines) == found.seen
        if workers == 1:  # and again: nothing is done twice
            again = on_cluster(made, mixed, workers)
            assert again.indexed == 0
            assert again.unchanged == len(index)
            assert adds_up(again)
            same(made, index)


def test_changes_are_followed_as_on_one_machine(two_nodes, mixed, encoder, tmp_path):
    """Changed, moved, removed, touched and recaptioned files, with --prune."""
    folder = tmp_path / "photos"
    shutil.copytree(mixed / "1", folder)
    indexes = [Index.create(tmp_path / name, encoder) for name in ("local", "ray")]
    with indexes[0] as here, indexes[1] as there:
        assert outcome(here.add(folder)) == outcome(on_cluster(there, folder))
        photos = sorted(folder.glob("[0-9]*.jpg"))
        photos[0].unlink()
        photos[1].rename(folder / "moved.jpg")
        photos[2].write_bytes(photos[3].read_bytes())
        os.utime(photos[4])
        photos[5].with_suffix(".txt").write_text("a new caption")
        options = {"prune": True}
        one = here.add(folder, options=IngestOptions(**options))
        two = on_cluster(there, folder, **options)
        assert adds_up(two)
        assert outcome(two) == outcome(one)
        assert {i.key: i.caption for i in there.items(limit=999)} == {
            i.key: i.caption for i in here.items(limit=999)
        }
        assert there.verify(full=True).ok


def test_tables_shards_and_lists(two_nodes, mixed, encoder, tmp_path):
    photos = sorted((mixed / "2").glob("[0-9]*.jpg"))[:24]
    for n in range(3):
        with tarfile.open(tmp_path / f"part-{n}.tar", "w") as tar:
            for photo in photos[n * 8 : n * 8 + 8]:
                tar.add(photo, photo.name)
                text = f"caption of {photo.stem}".encode()
                info = tarfile.TarInfo(f"{photo.stem}.txt")
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text))
    (tmp_path / "part-3.tar").write_bytes((tmp_path / "part-0.tar").read_bytes()[:5000])
    for photo in photos:
        shutil.copy(photo, tmp_path / photo.name)
    table = tmp_path / "pairs.csv"
    rows = [f'{photo.name},"words for {photo.stem}",{n}' for n, photo in enumerate(photos)]
    table.write_text(
        "\n".join(["image,caption,stars", *rows, "missing.jpg,gone,0", ",only words,1"])
    )
    for source in (str(tmp_path / "part-{0..3}.tar"), str(table), (str(p) for p in photos[:9])):
        name = str(abs(hash(str(source))))
        sources = (list(source), None) if not isinstance(source, str) else (source, source)
        with (
            Index.create(tmp_path / f"a{name}", encoder) as here,
            Index.create(tmp_path / f"b{name}", encoder) as there,
        ):
            one = here.add(sources[0])
            two = on_cluster(there, sources[1] or iter(sources[0]))
            assert outcome(two) == outcome(one)
            same(there, here)
            if isinstance(source, str):
                again = on_cluster(there, source)
                assert again.indexed == 0
                assert outcome(again) == outcome(here.add(source))
                same(there, here)


def test_urls(two_nodes, mixed, encoder, tmp_path):
    """Tar shards and a table behind a real HTTP server, and a folder behind file://."""
    pytest.importorskip("aiohttp")
    folder = tmp_path / "served"
    folder.mkdir()
    photos = sorted((mixed / "6").glob("[0-9]*.jpg"))[:16]
    for n in range(2):
        with tarfile.open(folder / f"part-{n}.tar", "w") as tar:
            for photo in photos[n * 8 : n * 8 + 8]:
                tar.add(photo, photo.name)
    for photo in photos:
        shutil.copy(photo, folder / photo.name)
    names = "\n".join(photo.name for photo in photos)
    (folder / "pairs.csv").write_text(f"image\n{names}\nmissing.jpg\n")
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        sources = (f"{url}/part-{{0..2}}.tar", f"{url}/pairs.csv", f"file://{folder}")
        for n, source in enumerate(sources):
            with (
                Index.create(tmp_path / f"here-{n}", encoder) as here,
                Index.create(tmp_path / f"there-{n}", encoder) as there,
            ):
                one, two = here.add(source), on_cluster(there, source)
                assert outcome(two) == outcome(one)
                assert two.indexed == len(photos)
                assert two.skipped >= 1  # a shard, a row or the table and the shards themselves
                same(there, here)
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Says nothing of requests."""

    def log_message(self, *_):
        pass


def test_a_poisoned_file_costs_itself_alone(two_nodes, mixed, encoder, tmp_path):
    """A named pipe that nobody writes to, and a file that kills its decoder, among good ones."""
    folder = tmp_path / "photos"
    shutil.copytree(mixed / "4", folder)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "locked.jpg").mkdir()
    with (
        Index.create(tmp_path / "a", encoder) as here,
        Index.create(tmp_path / "b", encoder) as there,
    ):
        one, two = here.add(folder), on_cluster(there, folder)
        assert outcome(two) == outcome(one)
        assert any("pipe.jpg" in skip.key for skip in two.skips)
        same(there, here)


def test_strict_stops_at_the_first_bad_file(two_nodes, mixed, encoder, tmp_path):
    from clipsearch import ImageDecodeError

    with Index.create(tmp_path / "index", encoder) as index:
        with pytest.raises(ImageDecodeError, match=r"5/cut.jpg|odd-"):
            on_cluster(index, mixed, on_error="raise")
        assert index.verify(full=True).ok


# --- what is killed ------------------------------------------------------------------------------


class Meanwhile(threading.Thread):
    """Does something while the job runs."""

    def __init__(self, work):
        super().__init__(daemon=True)
        self._work = work
        self.error: BaseException | None = None
        self.start()

    def run(self):
        try:
            self._work()
        except BaseException as exc:
            self.error = exc


def embedding_workers(root: int) -> list[int]:
    """Processes of the actor pool that hold a model and decode."""
    return [pid for pid, line in descendants(root).items() if "MapWorker" in line and decoders(pid)]


def decoders(pid: int) -> list[int]:
    return [
        child for child, line in descendants(pid).items() if "clipsearch.intake.decoders" in line
    ]


def test_a_worker_killed_in_the_middle(two_nodes, mixed, local, encoder, tmp_path):
    index, report = local
    killed = []

    def kill():
        victim = wait_for(lambda: embedding_workers(os.getpid()), what="a busy worker")[0]
        children = decoders(victim)
        os.kill(victim, signal.SIGKILL)
        killed.append((victim, children))

    with Index.create(tmp_path / "index", encoder) as made:
        helper = Meanwhile(kill)
        found = on_cluster(made, mixed, 2)
        helper.join()
        assert helper.error is None
        assert killed
        assert outcome(found) == outcome(report)
        same(made, index)
    for pid in killed[0][1]:  # no decoder outlives its worker
        wait_for(lambda pid=pid: not Path(f"/proc/{pid}").exists(), what="the end of a decoder")


def test_a_node_killed_in_the_middle(mixed, local, tmp_path):
    index, report = local
    with cluster(2, connect=False) as nodes:
        victim = next(iter(nodes.worker_nodes))
        raylet = victim.all_processes["raylet"][0].process.pid
        with started(command(mixed, tmp_path / "index", nodes)) as driver:
            wait_for(
                lambda: embedding_workers(raylet) or driver.poll() is not None,
                what="a busy worker on the second node",
            )
            nodes.remove_node(victim, allow_graceful=False)
            said = driver.stderr.read()
        assert driver.returncode == 3, said  # some files were skipped
        assert "was lost" in said
    with Index.open(tmp_path / "index") as made:
        same(made, index)
        found = made.get_meta("last_report")
        for name in ("seen", "indexed", "unchanged", "duplicate", "skipped", "ignored"):
            assert found[name] == getattr(report, name)


def command(source: Path, target: Path, nodes) -> list[str]:
    return [
        sys.executable, "-m", "clipsearch", "index", str(source), "-i", str(target), "--ray",
        nodes.address, "--num-workers", "2", "--precision", "fp32", "--device", "cpu",
    ]  # fmt: skip


def test_a_driver_killed_in_the_middle_resumes(two_nodes, shared_data, encoder, tmp_path):
    photos = sorted((shared_data / "flickr/images").iterdir())[:700]
    (tmp_path / "photos").mkdir()
    for photo in photos:
        shutil.copy(photo, tmp_path / "photos" / photo.name)
    job = [*command(tmp_path / "photos", tmp_path / "index", two_nodes), "--batch-size", "16"]

    def committed():
        with contextlib.suppress(Exception), Index.open(tmp_path / "index") as index:
            return len(index)
        return 0

    with started(job, stdout=subprocess.DEVNULL) as driver:
        wait_for(committed, what="a first commit")
        driver.kill()
    count = committed()
    assert 0 < count < len(photos)
    with Index.open(tmp_path / "index", encoder) as index:
        assert index.verify(full=True).ok
        assert [item.id for item in index.items(limit=999)] == list(range(1, count + 1))
    wait_for(lambda: not embedding_workers(os.getpid()), what="the end of the job's workers")
    done = subprocess.run(job, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert f"{count:,} unchanged" in done.stderr
    with Index.open(tmp_path / "index", encoder) as index:
        assert [item.id for item in index.items(limit=999)] == list(range(1, len(photos) + 1))
        assert index.verify(full=True).ok
        report = index.get_meta("last_report")
    assert report["indexed"] == len(photos) - count


# --- what is missing -----------------------------------------------------------------------------


def run_cli(*arguments: object, **env: str):
    done = subprocess.run(
        [sys.executable, "-m", "clipsearch", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, **env},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def refused(done, *words: str):
    assert done.returncode == 1, done
    # Ray's native part logs to stderr as well, of how Ray Data starts its actors.
    said = [line for line in done.stderr.splitlines() if "core_worker.cc" not in line]
    lines = [line for line in said if line.strip()]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]


def test_no_gpu_where_one_is_asked_for(two_nodes, mixed, tmp_path):
    done = run_cli(
        "index", mixed, "-i", tmp_path / "index", "--ray", two_nodes.address, "--gpus-per-worker", 1
    )
    refused(done, "wants 1 GPUs", "--num-gpus")


def test_more_workers_than_fit(two_nodes, mixed, tmp_path):
    done = run_cli(
        "index", mixed, "-i", tmp_path / "index", "--ray", two_nodes.address, "--num-workers", 99
    )
    refused(done, "99 workers", "room for 4")


def test_a_gpu_that_is_offered_but_not_there(mixed, encoder, tmp_path):
    """A node that was started with --num-gpus on a machine where torch finds none."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with cluster(1, connect=False) as nodes:
        nodes.add_node(**nodes.common, num_gpus=1)
        done = run_cli(
            "index", mixed, "-i", tmp_path / "index", "--ray", nodes.address,
            "--gpus-per-worker", 1,
        )  # fmt: skip
        refused(done, "torch finds none", "node")


def test_a_cluster_of_other_versions(two_nodes, mixed, tmp_path):
    import ray
    from ray._common.usage.usage_constants import CLUSTER_METADATA_KEY as KEY

    store = ray._private.worker.global_worker.gcs_client  # where the head notes its versions
    before = store.internal_kv_get(KEY, b"cluster")
    other = json.dumps({**json.loads(before), "ray_version": "2.1.0"}).encode()
    store.internal_kv_put(KEY, other, True, b"cluster")
    try:
        done = run_cli("index", mixed, "-i", tmp_path / "index", "--ray", two_nodes.address)
    finally:
        store.internal_kv_put(KEY, before, True, b"cluster")
    refused(done, two_nodes.address, "Ray: 2.1.0", "the same Ray and Python on all machines")
    assert not (tmp_path / "index").exists()


def test_a_node_without_the_source_the_model_or_the_versions(two_nodes, mixed, tmp_path):
    """A real node that sees other files, until it is set right."""
    from clipsearch.cluster.preflight import check_nodes
    from clipsearch.errors import ClusterError

    photos, model = tmp_path / "photos", tmp_path / "model"
    shutil.copytree(mixed / "2", photos)
    model.mkdir()
    (model / "open_clip_config.json").write_text("{}")
    metadata = distribution("open_clip_torch")._path / "METADATA"
    other = tmp_path / "METADATA"
    other.write_text(re.sub(r"(?m)^Version: .*$", "Version: 1.2.3", metadata.read_text()))
    with node_with_other_files(
        two_nodes,
        f"-t tmpfs none {photos}",
        f"-t tmpfs none {model}",
        f"--bind {other} {metadata}",
    ) as pid:
        ask = {"model": f"local-dir:{model}", "sources": [str(photos / "notes")]}
        (photos / "notes").write_text("there")
        with pytest.raises(ClusterError, match=r"node .* has open_clip_torch 1\.2\.3, this"):
            check_nodes(**ask)
        unmount(pid, metadata)
        with pytest.raises(ClusterError, match=r"node .* the model's file .*open_clip_config"):
            check_nodes(**ask)
        unmount(pid, model)
        with pytest.raises(ClusterError, match=r"node .* cannot read the path .*notes"):
            check_nodes(**ask)
        unmount(pid, photos)
        assert len(check_nodes(**ask)) == 3


def test_a_node_without_the_folder_or_the_package(two_nodes, mixed, tmp_path):
    """What the command says."""
    import clipsearch

    photos, package = tmp_path / "photos", Path(clipsearch.__file__).parent
    shutil.copytree(mixed / "2", photos)
    job = ["index", photos, "-i", tmp_path / "index", "--ray", two_nodes.address]
    with node_with_other_files(two_nodes, f"-t tmpfs none {package}"):
        refused(run_cli(*job), "node", "has no clipsearch", "pip install")
    with node_with_other_files(two_nodes, f"-t tmpfs none {photos.parent}"):
        refused(run_cli(*job), "node", f"cannot read the path {photos}")


def test_other_weights_on_a_node(two_nodes, mixed, encoder, tmp_path, monkeypatch):
    from clipsearch.cluster import index_job
    from clipsearch.errors import EncoderMismatchError

    real = index_job.WorkerSettings

    def other(**settings):
        return real(**{**settings, "fingerprint": "0" * 64})

    monkeypatch.setattr(index_job, "WorkerSettings", other)
    with (
        Index.create(tmp_path / "index", encoder) as index,
        pytest.raises(EncoderMismatchError, match="others than the driver's"),
    ):
        on_cluster(index, mixed, 1)


def local_clusters() -> set[Path]:
    """Folders of clusters of single commands."""
    return set(Path("/tmp").glob("clipsearch-ray-*"))


def test_a_local_cluster_comes_and_goes(photo_folder, tmp_path):
    with connection._temp_folder():  # takes what commands killed earlier have left
        pass
    before, left = local_clusters(), leavings()
    done = run_cli("index", photo_folder, "-i", tmp_path / "index", "--ray", "local")
    assert done.returncode == 0, done.stderr
    assert local_clusters() == before
    assert leavings() == left
    info = json.loads(run_cli("info", "-i", tmp_path / "index", "-f", "json").stdout)
    assert info["items"] > 15


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_local_cluster_goes_with_its_command(mixed, tmp_path, end):
    """Interrupted, it clears up; killed, its processes end, and the next run takes its folder."""
    with connection._temp_folder():  # takes what commands killed earlier have left
        pass
    before, left = local_clusters(), leavings()
    job = [sys.executable, "-m", "clipsearch", "index", str(mixed), "-i", str(tmp_path / "index")]
    with started([*job, "--ray", "local"]) as driver:
        try:
            folder = wait_for(lambda: local_clusters() - before, what="a cluster").pop()
            wait_for(lambda: embedding_workers(driver.pid), what="a busy worker")
        finally:
            driver.send_signal(end)
        said = driver.stderr.read()
    assert driver.returncode == (130 if end == signal.SIGINT else -9), said
    assert "Traceback" not in said
    wait_for(lambda: not processes(str(folder)), what="the end of its processes")
    if end == signal.SIGKILL:
        assert folder.exists()
        with connection._temp_folder():  # as the next command does
            assert not folder.exists()
    assert local_clusters() == before
    wait_for(lambda: leavings() == left, what="the end of its sockets")
