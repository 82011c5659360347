"""`serve` and `serve --ray` are one application: the same requests get the same answers."""

from __future__ import annotations

import shutil

import pytest

from clipsearch import Index
from clipsearch.cluster import shard_index

pytest.importorskip("ray")

from . import contract  # needs ray
from .raycluster import PATIENCE_S, cluster, free_port
from .server.conftest import serving

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def index(encoder, photos, tmp_path_factory):
    """An index of photos in two shards; the file of its last item is gone."""
    base = tmp_path_factory.mktemp("contract")
    folder = base / "pictures"
    folder.mkdir()
    for photo in photos:
        shutil.copy(photo, folder / photo.name)
    with Index.create(base / "indexes" / contract.NAME, encoder) as made:
        made.add(folder)
        shard_index(made.path, 2)
        last = made.items(limit=100)[-1]
        (folder / last.path).unlink()
        yield made


@pytest.mark.parametrize("token", [contract.TOKEN, ""], ids=["with a token", "without a token"])
def test_both_ways_to_serve_answer_alike(index, photos, token):
    ids = [item.id for item in index.items(limit=100)]
    asked = (
        contract.requests(photos[0], ids[:-1], ids[-1], index.dim)
        if token
        else contract.open_requests()
    )
    assert not token or len(asked) >= 40
    home, common = (
        index.path.parent,
        ("-i", contract.NAME, "--max-body-mb", str(contract.MAX_BODY_MB)),
    )
    with (
        cluster(1, cpus=4, connect=False) as nodes,
        serving(home, *common, "--no-ui", token=token) as plain,
        serving(
            home, *common, "--ray", nodes.address, "--port", str(free_port()),
            "--shard-timeout-s", "60", token=token, stop_s=PATIENCE_S,
        ) as sharded,
    ):  # fmt: skip
        for ask in asked:
            answers = [contract.send(one.http, one.url, ask) for one in (plain, sharded)]
            contract.compare(ask, *answers)
