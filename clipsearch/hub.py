"""The indexes and models that this process has open: each of them once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from time import monotonic
from typing import Generic, Literal, Protocol, TypeVar

from .encoder import Encoder
from .errors import ClipSearchError, InvalidInputError

__all__ = ["Hub", "ModelState"]

ModelState = Literal["ready", "loading", "failed"]
_RETRY_S = 30.0


class _OpenIndex(Protocol):
    @property
    def model_name(self) -> str: ...

    def is_current(self) -> bool: ...

    def close(self) -> None: ...


I_co = TypeVar("I_co", bound=_OpenIndex, covariant=True)


class _Opener(Protocol[I_co]):
    def __call__(self, path: Path, *, load: Callable[[str, str], Encoder]) -> I_co: ...


class Hub(Generic[I_co]):
    """Opens each index and loads each model once, for all that use them; safe for threads.

    Whether an open index may still be used is asked when it is used. One that was migrated or
    replaced meanwhile is opened again.

    Args:
        load: From a model's name to the model.
        open_index: Opens an index, such as `Index.open`.
        retry_s: How long after a model could not be loaded that is tried again.
    """

    def __init__(
        self,
        load: Callable[[str], Encoder],
        *,
        open_index: _Opener[I_co],
        retry_s: float = _RETRY_S,
    ) -> None:
        self._load = load
        self._open_index = open_index
        self._retry_s = retry_s
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._keys: dict[Path, Path] = {}  # folder as it is asked for -> links resolved
        self._indexes: dict[Path, I_co] = {}
        # Work that is under way may still use them. They hold no files and no vectors any more.
        self._replaced: list[I_co] = []
        # Models are kept to the end: work under way may still use one that no index has.
        self._models: dict[str, Future[Encoder]] = {}
        self._failed_at: dict[str, float] = {}
        self._closed = False

    # --- indexes ------------------------------------------------------------------------------

    def index(self, folder: Path) -> I_co:
        """The index in a folder as it is now, opened on first use and when it was replaced.

        Raises:
            IndexNotFoundError: There is none (any more).
            InvalidInputError: The hub is closed.
            ClipSearchError: It cannot be opened.
        """
        key = self._keys[folder] = folder.resolve()
        held = self._indexes.get(key)
        if held is not None and held.is_current():
            return held
        with self._opening:
            held = self._indexes.get(key)  # another thread may have opened it meanwhile
            if held is not None and held.is_current():
                return held
            if held is not None:
                self._replaced.append(self._indexes.pop(key))
            self._check_open()
            opened = self._open_index(folder, load=lambda model, _: self.encoder(model))
            self._indexes[key] = opened
            return opened

    def held(self, folder: Path) -> I_co | None:
        """The index in a folder as it was when it was last opened, without a look at the disk.

        Whoever uses it is prepared for an `IndexMigratedError`, and then asks for `index`.
        """
        key = self._keys.get(folder)
        return None if key is None else self._indexes.get(key)

    # --- models -------------------------------------------------------------------------------

    def add_model(self, encoder: Encoder) -> None:
        """Hold a model that is loaded already."""
        loaded: Future[Encoder] = Future()
        loaded.set_result(encoder)
        with self._lock:
            self._models[encoder.name] = loaded
            self._failed_at.pop(encoder.name, None)

    def prepare(self, model: str) -> Future[Encoder]:
        """Begin to load a model in the background, unless it is loaded or loading.

        Returns:
            What will be the model, or the reason why it cannot be loaded.

        Raises:
            InvalidInputError: The hub is closed.
        """
        with self._lock:
            self._check_open()
            known = self._models.get(model)
            failed_at = self._failed_at.get(model)
            if known is not None and (failed_at is None or monotonic() < failed_at + self._retry_s):
                return known
            self._failed_at.pop(model, None)
            loading = self._models[model] = Future()
        threading.Thread(target=self._load_now, args=(model, loading), daemon=True).start()
        return loading

    def _load_now(self, model: str, loading: Future[Encoder]) -> None:
        try:
            encoder = self._load(model)
        except BaseException as exc:  # whoever waits gets it, whatever it is
            with self._lock:
                self._failed_at[model] = monotonic()
            loading.set_exception(exc)
            return
        with self._lock:
            loading.set_result(encoder)
            closed = self._closed
        if closed:
            _close(encoder)

    def encoder(self, model: str) -> Encoder:
        """A model by name, waiting for it where it is still loading.

        Raises:
            ModelNotFoundError, ModelLoadError: It cannot be loaded.
        """
        return self.prepare(model).result()

    def is_loaded(self, model: str) -> bool:
        """Whether a model can be used now."""
        known = self._models.get(model)
        return known is not None and _is_loaded(known)

    def model_state(self, model: str) -> ModelState:
        """Whether a model can be used now. Begins to load it if that is needed."""
        loading = self.prepare(model)
        if not loading.done():
            return "loading"
        return "ready" if _is_loaded(loading) else "failed"

    def failure_of(self, model: str) -> str:
        """Why a model could not be loaded, or "". The next one who asks for it tries again."""
        with self._lock:
            if self._failed_at.pop(model, None) is None:
                return ""
            failed = self._models.pop(model).exception()
        return str(failed) if isinstance(failed, ClipSearchError) else repr(failed)

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidInputError("the hub of indexes and models is closed")

    # --- closing ------------------------------------------------------------------------------

    def close(self) -> None:
        """Close all indexes, and the models that can be closed. Closing twice is harmless."""
        with self._opening, self._lock:
            self._closed = True
            indexes = [*self._indexes.values(), *self._replaced]
            models = [loaded.result() for loaded in self._models.values() if _is_loaded(loaded)]
            self._indexes.clear()
            self._replaced.clear()
            self._models.clear()
            self._failed_at.clear()
        with contextlib.ExitStack() as stack:
            for index in indexes:
                stack.callback(index.close)
            for encoder in models:
                stack.callback(_close, encoder)


def _is_loaded(loading: Future[Encoder]) -> bool:
    return loading.done() and loading.exception() is None


def _close(encoder: Encoder) -> None:
    """Close a model that holds threads or processes."""
    close = getattr(encoder, "close", None)
    if close is not None:
        close()
