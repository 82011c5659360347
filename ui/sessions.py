"""What is kept of visitors: few sessions, for a limited time, within a limited memory.

Gradio keeps 10,000 sessions, for ever, and in each the last value of every component for links of a
kind that the page does not have: up to a megabyte for each visitor, galleries among it. Here a
session is what the visitor gave (images, marks, chips), and the choices of changed menus.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from time import monotonic
from typing import Any

import gradio as gr
from gradio.state_holder import SessionState, StateHolder

__all__ = ["MOST_BYTES", "MOST_CLOSED", "MOST_SESSIONS", "Sessions"]

MOST_SESSIONS = 500  # of a language
MOST_CLOSED = 100  # of these, pages that were closed or lost their connection
MOST_BYTES = 256 * 1024**2  # of what their visitors gave
_CLOSED_S = 3600.0  # in which a page that lost its connection may come back
_IDLE_S = 24 * 3600.0  # an open page sends no event while nobody uses it


class _Session(SessionState):
    """What is kept of one visitor."""

    def __init__(self, blocks: gr.Blocks) -> None:
        super().__init__(blocks)
        self.config_values: dict[int, Any] = {}
        self.used = monotonic()
        self.size = 0  # bytes of what was given
        self._sizes: dict[int, int] = {}

    def __setitem__(self, key: int, value: Any) -> None:
        super().__setitem__(key, value)
        self.config_values.clear()
        if key in self.state_data:
            self._sizes[key] = len(pickle.dumps(value))
            self.size = sum(self._sizes.values())

    def _update_config(self, key: int) -> None:
        """Keep no copy of a component."""

    def _update_value_in_config(self, key: int, value: Any) -> None:
        """Keep no value that is on the page."""


class Sessions(StateHolder):
    """The sessions of a page; where there are too many, closed ones go first, then unused ones."""

    session_data: Any  # OrderedDict[str, _Session]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __getitem__(self, session_id: str) -> SessionState:
        with self.lock:
            found: _Session | None = self.session_data.get(session_id)
            if found is None:
                found = self.session_data[session_id] = _Session(self.blocks)
            found.used, found.is_closed = monotonic(), False
            self._shrink(keep=session_id)
        return found

    def delete_all_expired_state(self) -> None:
        """Forget visitors that have gone; Gradio asks for it every second."""
        with self.lock:
            now = monotonic()
            for name, kept in list(self.session_data.items()):
                if now - kept.used > (_CLOSED_S if kept.is_closed else _IDLE_S):
                    del self.session_data[name]
            self._shrink()

    def _shrink(self, keep: str = "") -> None:
        """Forget as many sessions as are too many, but not the one that is in use.

        What an event gives counts from the next event or second on.
        """
        kept: OrderedDict[str, _Session] = self.session_data
        held = sum(len(name) + one.size for name, one in kept.items())
        closed = sum(one.is_closed for one in kept.values())
        others = sorted(
            (name for name in kept if name != keep),
            key=lambda name: (not kept[name].is_closed, kept[name].used),
        )
        for name in others:
            if len(kept) <= MOST_SESSIONS and held <= MOST_BYTES and closed <= MOST_CLOSED:
                break
            gone = kept.pop(name)
            held -= len(name) + gone.size
            closed -= gone.is_closed
