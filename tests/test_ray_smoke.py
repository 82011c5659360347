"""The road through Ray once, small enough for every run of CI; test_ray_*.py have the rest."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from clipsearch import Index, IngestOptions, Query
from clipsearch.server import ServerSettings, create_app

pytest.importorskip("ray")

from . import contract
from .raycluster import cluster, free_port

pytestmark = [pytest.mark.ray_smoke, pytest.mark.filterwarnings("ignore")]  # Ray has many
COUNT = 60


@pytest.fixture(scope="module")
def folder(photos, tmp_path_factory):
    """60 photos: those of installed packages, then the same mirrored, then rotated."""
    folder = tmp_path_factory.mktemp("smoke") / "photos"
    folder.mkdir()
    turns = (None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_90)
    made = [(photo, turn) for turn in turns for photo in photos][:COUNT]
    for n, (photo, turn) in enumerate(made):
        with Image.open(photo) as image:
            small = image.convert("RGB")
        small.thumbnail((400, 400))
        (small if turn is None else small.transpose(turn)).save(folder / f"{n:02}.png")
    assert len(made) == COUNT
    return folder


def test_one_worker_indexes_and_two_shards_answer_as_one_index(folder, encoder, photos, tmp_path):
    from clipsearch.cluster import (
        ClusterOptions,
        ServeOptions,
        add_on_cluster,
        serve_shards,
        shard_index,
    )

    with Index.create(tmp_path / "local", encoder) as local:
        expected = local.add(folder)
        items = local.items(limit=COUNT)
        ids = [item.id for item in items]
        vectors = local.vectors(ids)
    assert expected.indexed == COUNT
    with cluster(1, cpus=4), Index.create(tmp_path / contract.NAME, encoder) as index:
        report = add_on_cluster(
            index,
            folder,
            cluster=ClusterOptions(workers=1, device="cpu", precision="fp32"),
            options=IngestOptions(),
        )
        assert (report.seen, report.indexed) == (COUNT, COUNT)
        assert index.items(limit=COUNT) == items
        np.testing.assert_allclose(index.vectors(ids), vectors, atol=2e-3)
        assert index.verify(full=True).ok
        shards = shard_index(index.path, 2)
        assert [shard.items for shard in shards.shards] == [COUNT // 2, COUNT // 2]
        queries = (
            Query.text("a cat"),
            Query.text("a rocket") - Query.text("a person"),
            Query.image(photos[0]),
            Query.item(41),
        )
        settings = ServerSettings(
            tokens=(contract.TOKEN,), max_body_bytes=contract.MAX_BODY_MB * 1024**2
        )
        serving = ServeOptions(device="cpu", timeout_s=60.0, port=free_port(), settings=settings)
        with serve_shards(index.path, serving) as sharded:
            for query in queries:
                for options in ({}, {"where": "width > 250", "offset": 3}):
                    found = sharded.search(query, 7, **options)
                    whole = index.search(query, 7, exact=True, **options)
                    assert [hit.item for hit in found] == [hit.item for hit in whole]
                    np.testing.assert_allclose(
                        [hit.score for hit in found], [hit.score for hit in whole], atol=1e-6
                    )
                    assert not found.partial
            answers_over_http_as_one_index(index, encoder, serving, photos[0])


def answers_over_http_as_one_index(index, encoder, serving, photo):
    """The requests of the contract; test_http_contract.py sends them to both commands."""
    *ids, lost = (item.id for item in index.items(limit=COUNT))
    Path(index.item(lost).path).unlink()
    app = create_app(encoder, {contract.NAME: index.path}, settings=serving.settings, ui=False)
    with TestClient(app) as plain, httpx.Client(timeout=60) as sharded:
        for ask in contract.requests(photo, ids, lost, index.dim):
            answer = contract.send(sharded, f"http://{serving.host}:{serving.port}", ask)
            contract.compare(ask, contract.send(plain, "", ask), answer)
