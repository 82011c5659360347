"""Duplicates that are looked for in the background."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
from clipsearch.ui import copies
from clipsearch.ui.copies import Copies, CopiesAsked, Looking

from clipsearch import InvalidInputError

ASKED = CopiesAsked(kinds=("bytes",))


class SlowIndex(SimpleNamespace):
    """An index whose search ends when it may."""

    def __init__(self):
        super().__init__(path="/photos", seen_id="a", asked=[], may_end=threading.Event())

    def duplicates(self, threshold, *, kinds, where, progress):
        self.asked.append(where)
        if where == "wrong":
            raise InvalidInputError("no such field")
        done = 0
        while not self.may_end.wait(0.01):
            done = min(done + 1, 9)
            progress("images", done, 9)
        return [[where]]


@pytest.fixture
def desk(monkeypatch):
    monkeypatch.setattr(copies, "_PATIENCE_S", 0.1)
    desk = Copies()
    yield desk
    desk.close()


def until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_long_search_tells_how_far_it_is_and_is_kept_for_its_commit(desk):
    index = SlowIndex()
    looking = desk.groups(index, ASKED)
    assert isinstance(looking, Looking)
    until(lambda: looking.stage == "images" and looking.done)
    assert looking.of == 9
    assert desk.groups(index, ASKED) is looking
    index.may_end.set()
    until(lambda: desk.groups(index, ASKED) == [[None]])
    assert len(index.asked) == 1
    index.seen_id = "b"
    until(lambda: desk.groups(index, ASKED) == [[None]])
    assert len(index.asked) == 2


def test_one_that_fails_says_why_each_time(desk):
    wrong = CopiesAsked(where="wrong")
    for _ in range(2):
        with pytest.raises(InvalidInputError, match="no such field"):
            desk.groups(SlowIndex(), wrong)


def test_one_that_nobody_waits_for_makes_way_and_closing_stops_all(desk, monkeypatch):
    monkeypatch.setattr(copies, "_LEFT_S", 0.2)
    index, other = SlowIndex(), SlowIndex()
    other.path = "/scans"
    assert isinstance(desk.groups(index, ASKED), Looking)
    waiting = desk.groups(other, ASKED)
    until(lambda: desk.groups(other, ASKED) is waiting and waiting.stage == "images")
    assert isinstance(desk.groups(other, ASKED), Looking)
    desk.close()
    until(waiting.found.done)
    assert waiting.found.exception() is not None
