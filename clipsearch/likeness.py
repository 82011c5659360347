"""Whether two images show the same picture, whatever was done to one of them in between.

A cosine of embeddings says that two images are *about* the same; two receipts, two logos or two
photos of a burst are that as well. Here the pixels themselves are compared: one image is laid over
the other (scaled, cropped, with a border), its tones are mapped to the other's by a rising curve
(brightness, contrast, gamma), and what is left is looked at place by place. A copy leaves little
everywhere; another page, another frame or one changed line leaves much somewhere.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .vectors import Floats

__all__ = ["SIDES", "Place", "Sight", "is_confirmed", "place_in"]

SIDES = (256, 640)  # pixels; images are compared squashed to such squares, drawings to both
_COARSE = 40  # cells a side of the search for the place of one image in the other
_CURVES = 64  # cells a side from which the curves of the channels are taken
_COLOR = 32  # cells a side of the comparison of colors
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_CB = np.array([-0.168736, -0.331264, 0.5], np.float32)
_CR = np.array([0.5, -0.418688, -0.081312], np.float32)

# How one image may lie in the other: cropped, framed, or the one against the other.
_SCALES = (1.0, 0.96, 1 / 0.96, 0.92, 1 / 0.92, 0.88, 1 / 0.88, 0.84, 1 / 0.84)
_REACH = 6  # coarse cells that it may be shifted, beside what the scale does
_RIM = 2  # cells at the edges that are not compared: a border shines into them
_EDGE = 4  # coarse cells at the edges that are not searched for: a crop or a border changes them
_SMALLEST_SCALE = 0.8
_LEAST_COVERED = 0.64  # share of either image's area that the other one shows too

# Bounds that tell copies from others; tests/test_duplicates.py and the benchmark hold them.
_PLACED = 0.55  # correlation at the best place, below which it is not worth a closer look
_LIKELY = 0.6  # correlation after a correction, below which no further one helps
_SAME = 0.93  # correlation of fine structure
_ALMOST = 0.9  # correlation from which curves of the channels are tried
_NOISE = 36.0  # squared levels that are added to every local contrast: below it is noise
# Share of a place's contrast that is unexplained where it shows something else.
_PHOTO_DIFFERS = 0.55
_DRAWING_DIFFERS = 0.4
_CLOSER_DIFFERS = 0.22  # of drawings, on the closer look
# Share of the area that may differ: a spot or two of a photo, less than a line of a text.
_PHOTO_MOST_DIFFERENT = 0.005
_DRAWING_MOST_DIFFERENT = 0.0022
_FLAT = 2.5  # levels; an image that varies less shows nothing
_FLAT_APART = 3.0  # levels between two that show nothing, up to which they are alike
_GAIN = (0.35, 2.9)  # how much a tone curve may change the contrast

# A photo, as against a drawing or a document, may be made gray or be marked with some text.
_PHOTO_TONES = 3.2  # bits of entropy in 32 tones
_MOST_FLAT = 0.5  # share of the area without any texture
_MOST_MARKED = 0.12  # share of the area that a mark may cover ...
_ONE_SIGNED = 0.8  # ... which it makes brighter or darker, but not both
_MARKED = 0.95  # correlation of fine structure elsewhere
_SAME_COLOR = 0.8  # correlation of chroma
_GRAY = 3.0  # levels of chroma; less is no color
_ONE_HUE = 0.95

_Map = npt.NDArray[np.float32]
# The spectrum of an image, the shape of what it is of, and the energy at each place.
_Searched = tuple[npt.NDArray[np.complex128], tuple[int, int], npt.NDArray[np.float64]]
Place = tuple[float, float, float, float]  # scale and shift along x, scale and shift along y
_IDENTITY: Place = (1.0, 0.0, 1.0, 0.0)


@dataclass(slots=True)
class Sight:
    """What is compared of an image.

    Attributes:
        rgb: uint8 [size, size, 3].
        luma: float32 [size, size], 0 to 255.
        chroma: float32 [32, 32, 2], blue and red differences, -128 to 127.
        side: Pixels of the image's own shorter side: how finely it shows anything.
        is_photo: Whether it has the tones and textures of a photo.
    """

    rgb: npt.NDArray[np.uint8]
    luma: Floats
    chroma: Floats
    side: int
    is_photo: bool
    _levels: dict[int, _Map] = field(default_factory=dict, repr=False)
    _searched: list[_Searched] = field(default_factory=list, repr=False)

    @classmethod
    def of(cls, rgb: npt.NDArray[np.uint8], width: int, height: int) -> Sight:
        """Prepare an image for comparison.

        Args:
            rgb: The whole image, upright, squashed to uint8 [size, size, 3].
            width: Its own width in pixels.
            height: Its own height.
        """
        pixels = rgb.astype(np.float32)
        luma = pixels @ _LUMA
        step = rgb.shape[0] // _COLOR
        cells = pixels.reshape(_COLOR, step, _COLOR, step, 3).mean((1, 3))
        chroma = np.stack([cells @ _CB, cells @ _CR], axis=-1)
        return cls(rgb, luma, chroma, min(width, height), _is_photo(luma))

    @property
    def has_color(self) -> bool:
        """Whether it is not all gray."""
        return _strength(self.chroma.reshape(-1, 2)) >= _GRAY

    def level(self, cells: int) -> _Map:
        """Luma at `cells` x `cells`."""
        if cells not in self._levels:
            self._levels[cells] = _sampled(self.luma, cells, _IDENTITY)
        return self._levels[cells]

    def searched(self) -> list[_Searched]:
        """What `_places` needs of the image in which another one is searched, by scale."""
        if not self._searched:
            self._searched = [_search(self.luma, scale) for scale in _SCALES]
        return self._searched

    def forget(self) -> None:
        """Keep no more than another comparison needs."""
        self._searched = []


def place_in(one: Sight, other: Sight) -> Place | None:
    """Where an image lies in another one that shows the same picture; None if it shows another.

    Copies may be smaller, compressed, cropped or framed by some percent, brighter, darker, of more
    or less contrast; a photo may be gray, sepia or marked with a line of text. A mirrored one, and
    a drawing in other colors, are other pictures.

    Returns:
        The part of `one` that the whole of `other` shows: scale and shift along x, then along y,
        in shares of the sides.
    """
    flat = [image.luma.std() < _FLAT and np.ptp(image.level(_COARSE)) < 8 for image in (one, other)]
    if any(flat):
        return _IDENTITY if all(flat) and _same_flat(one, other) else None
    if _correlation(one.level(_COARSE), other.level(_COARSE)) >= _PLACED and _agree(
        one, other, _IDENTITY
    ):
        return _IDENTITY
    cells = _cells(one, other)
    for found in _places(one, other):
        place: Place | None = found
        for finer, rounds in ((min(64, cells), 5), (min(128, cells), 3), (cells, 2)):
            place = None if place is None else _refined(one, other, place, finer, rounds)
            if place is None or _match(one, other, place, min(64, cells)) < _LIKELY:
                break
        else:
            return place if place is not None and _agree(one, other, place) else None
    return None


def is_confirmed(one: Sight, other: Sight, place: Place) -> bool:
    """Whether a closer look at two images finds the same as `place_in` did.

    Args:
        one: An image, squashed to a larger square than before.
        other: The other one.
        place: What `place_in` found.
    """
    if _agree(one, other, place):
        return True
    closer = _refined(one, other, place, _cells(one, other), 2)
    return closer is not None and _agree(one, other, closer)


def _cells(one: Sight, other: Sight) -> int:
    """Cells a side of a comparison: finer, resampling would leave traces of its own."""
    finest = 3 * min(one.side, other.side, len(one.luma), len(other.luma)) // 4
    return max(_COARSE, finest)


# --- laying one over the other ------------------------------------------------------------------


@functools.lru_cache(maxsize=32)
def _kernel(size: int, cells: int, scale: float, shift: float) -> _Map:
    """Weights [cells, size] that sample a side of `size` from `shift` on, `scale` of it."""
    centres = (shift + scale * (np.arange(cells) + 0.5) / cells) * size - 0.5
    centres = np.clip(centres, 0, size - 1).astype(np.float32)
    reach = np.float32(max(scale * size / cells, 1.0))
    weights = np.arange(size, dtype=np.float32) - centres[:, None]
    np.abs(weights, out=weights)
    np.subtract(reach, weights, out=weights)
    np.maximum(weights, 0, out=weights)
    weights /= weights.sum(axis=1, keepdims=True)
    shares: _Map = weights.astype(np.float32, copy=False)
    return shares


def _sampled(luma: Floats, cells: int, place: Place) -> _Map:
    """The part of an image at a place, [cells, cells]."""
    along_x, along_y = (_kernel(len(luma), cells, *of) for of in (place[:2], place[2:]))
    sampled: _Map = (along_y @ luma @ along_x.T).astype(np.float32, copy=False)
    return sampled


def _places(one: Sight, other: Sight) -> list[Place]:
    """Where the other image may lie in the first one, best first."""
    template = _detail(other.level(_COARSE), 9)[_EDGE:-_EDGE, _EDGE:-_EDGE]
    template = template - template.mean()
    energy = float((template**2).sum())
    if energy < 1.0:
        return []
    found: list[tuple[float, Place]] = []
    for scale, (spectrum, shape, local) in zip(_SCALES, one.searched(), strict=True):
        middle = (1 - scale) / 2
        cross = np.fft.irfft2(spectrum * np.conj(np.fft.rfft2(template, shape)), shape)
        cross = cross[: local.shape[0], : local.shape[1]]
        scores = cross / np.sqrt(np.maximum(local, 1e-3 * energy + 1.0) * energy)
        row, column = np.unravel_index(int(np.argmax(scores)), scores.shape)
        shift_x = middle + scale * (int(column) - _REACH) / _COARSE
        shift_y = middle + scale * (int(row) - _REACH) / _COARSE
        place = (scale, shift_x, scale, shift_y)
        found.append((float(scores[row, column]), place))
    found.sort(reverse=True)
    return [place for value, place in found[:2] if value >= max(_PLACED, found[0][0] - 0.1)]


def _search(luma: Floats, scale: float) -> _Searched:
    """Prepare an image for the search of others in it, at one scale."""
    wide = _COARSE + 2 * _REACH
    whole = (scale * wide / _COARSE, (1 - scale) / 2 - scale * _REACH / _COARSE)
    detail = _detail(_sampled(luma, wide, (*whole, *whole)), 9)[_EDGE:-_EDGE, _EDGE:-_EDGE]
    size = _COARSE - 2 * _EDGE
    shape = (detail.shape[0] + size, detail.shape[1] + size)
    energy = _windows(detail**2, size) - _windows(detail, size) ** 2 / size**2
    return np.fft.rfft2(detail, shape), shape, energy


def _windows(values: npt.NDArray[Any], size: int) -> npt.NDArray[np.float64]:
    """Sums over all windows of `size` x `size`."""
    sums = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    sums[1:, 1:] = values.cumsum(0, dtype=np.float64).cumsum(1)
    return sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]


def _refined(one: Sight, other: Sight, place: Place, cells: int, rounds: int) -> Place | None:
    """A place corrected by least squares (Gauss-Newton, with gain and offset of the tones)."""
    target = other.level(cells)
    along = (np.arange(cells, dtype=np.float32) + 0.5) / cells
    current = np.array(place)
    for _ in range(rounds):
        sx, tx, sy, ty = current
        moved = _sampled(one.luma, cells, (sx, tx, sy, ty))
        rows, columns = _overlap((sx, tx, sy, ty), cells)
        if rows.sum() < cells // 2 or columns.sum() < cells // 2:
            return None
        slope_y, slope_x = np.gradient(moved)
        slope_x *= cells / sx
        slope_y *= cells / sy
        parts = (slope_x * along, slope_x, slope_y * along[:, None], slope_y, moved)
        inside = np.ix_(rows, columns)
        basis = np.stack([part[inside].ravel() for part in parts])
        basis = np.concatenate([basis, np.ones((1, basis.shape[1]), np.float32)])
        normal = (basis @ basis.T).astype(np.float64) + 1e-3 * np.eye(6)
        solved = np.linalg.solve(normal, basis @ target[inside].ravel())
        if solved[4] < 0.1:  # the tones run against each other
            return None
        step = np.clip(solved[:4] / solved[4], -0.03, 0.03)
        current = current + step
        if np.abs(step).max() < 0.1 / cells:
            break
    sx, tx, sy, ty = current.tolist()
    return (sx, tx, sy, ty) if _is_light((sx, tx, sy, ty)) else None


def _match(one: Sight, other: Sight, place: Place, cells: int) -> float:
    """Correlation of the fine structure of two images that are laid over each other."""
    inside = np.ix_(*_overlap(place, cells))
    first, second = _sampled(one.luma, cells, place)[inside], other.level(cells)[inside]
    return _correlation(_detail(first, 9), _detail(second, 9))


def _is_light(place: Place) -> bool:
    """Whether a place is that of a light crop or a small border."""
    share_of_other = share_of_one = 1.0
    for scale, shift in (place[:2], place[2:]):
        if not _SMALLEST_SCALE <= scale <= 1 / _SMALLEST_SCALE:
            return False
        common = max(0.0, min(1.0, shift + scale) - max(0.0, shift))
        share_of_one *= common
        share_of_other *= common / scale
    return min(share_of_one, share_of_other) >= _LEAST_COVERED


def _overlap(place: Place, cells: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Rows and columns of the other image that the first one shows too, bool [cells] each."""
    along = (np.arange(cells) + 0.5) / cells
    margin = 0.5 / cells
    sx, tx, sy, ty = place

    def inside(scale: float, shift: float) -> npt.NDArray[np.bool_]:
        at = shift + scale * along
        shown = (at >= margin * scale) & (at <= 1 - margin * scale)
        if (scale, shift) != (1.0, 0.0):
            shown[:_RIM] = shown[-_RIM:] = False
        return shown

    return inside(sy, ty), inside(sx, tx)


# --- what is left -------------------------------------------------------------------------------


def _agree(one: Sight, other: Sight, place: Place) -> bool:
    """Whether two images, laid over each other, show the same everywhere."""
    cells = _cells(one, other)
    inside = np.ix_(*_overlap(place, cells))
    first = one.level(cells) if place == _IDENTITY else _sampled(one.luma, cells, place)
    first, second = first[inside], other.level(cells)[inside]
    photos = one.is_photo and other.is_photo
    # What is clipped in one of them can be predicted from the other, but not the other way round.
    for x, y in ((first, second), (second, first)):
        if _explains(x, _toned(x, y), y, photos=photos):
            if _same_colors(one, other, place, photos=photos):
                return True
            if not photos:
                return False
    if _correlation(first, second) < _ALMOST or not (one.has_color and other.has_color):
        return False
    # A curve for each channel explains saturated colors too, where there are the same ones.
    return any(
        _explains(x, expected[inside], y, photos=photos)
        for x, expected, y in (
            (first, _sampled(_recolored(one, other, place), cells, place), second),
            (second, _sampled(_recolored(other, one, _inverse(place)), cells, _IDENTITY), first),
        )
    )


def _recolored(one: Sight, other: Sight, place: Place) -> Floats:
    """Luma of an image whose channels went through the curves to those of the other one."""
    inside = np.ix_(*_overlap(place, _CURVES))
    out = np.zeros(one.luma.shape, np.float32)
    for channel, weight in enumerate(_LUMA.tolist()):
        x = _sampled(one.rgb[..., channel].astype(np.float32), _CURVES, place)[inside]
        y = _sampled(other.rgb[..., channel].astype(np.float32), _CURVES, _IDENTITY)[inside]
        curve = _toned(x, y, np.arange(256, dtype=np.float32))
        out += weight * curve[one.rgb[..., channel]]
    return out


def _inverse(place: Place) -> Place:
    sx, tx, sy, ty = place
    return (1 / sx, -tx / sx, 1 / sy, -ty / sy)


def _explains(x: _Map, expected: _Map, y: _Map, *, photos: bool) -> bool:
    """Whether `y` is `x` with other tones, [rows, columns] all.

    Args:
        x: One image.
        expected: The same with the tones of the other one.
        y: The other image.
        photos: Whether both are photos.
    """
    before, after = float(x.std()), float(expected.std())
    if not _GAIN[0] <= after / (before + 1e-3) <= _GAIN[1]:
        return False
    window = min(max(5, x.shape[0] // 24), 13) | 1
    residual = y - expected
    clipped = ((y >= 250) & (expected >= 215)) | ((y <= 5) & (expected <= 40))
    residual[clipped] = np.clip(residual[clipped], -4, 4)
    left = _box(residual**2, window)
    mean, expected_mean = _box(y, window), _box(expected, window)
    contrast = np.maximum(_box(y**2, window) - mean**2, 0)
    contrast += np.maximum(_box(expected**2, window) - expected_mean**2, 0)
    closer = x.shape[0] > SIDES[0]
    drawing = _CLOSER_DIFFERS if closer else _DRAWING_DIFFERS
    limit = _PHOTO_DIFFERS if photos else drawing
    differs = left > limit * (contrast / 2 + _NOISE)
    share = float(differs.mean())
    fine, expected_fine = y - mean, expected - expected_mean
    if share <= (_PHOTO_MOST_DIFFERENT if photos else _DRAWING_MOST_DIFFERENT):
        return _correlation(fine, expected_fine) >= _SAME
    if not photos or share > _MOST_MARKED:
        return False
    total = float(np.abs(residual[differs]).sum())
    if abs(float(residual[differs].sum())) < _ONE_SIGNED * total:
        return False
    return _correlation(fine[~differs], expected_fine[~differs]) >= _MARKED


def _toned(x: _Map, y: _Map, of: _Map | None = None) -> _Map:
    """`x`, or `of`, through the rising curve of tones that brings `x` nearest to `y`."""
    of = x if of is None else of
    bins = np.clip(x * (32 / 256), 0, 31).astype(np.intp).ravel()
    count = np.bincount(bins, minlength=32).astype(np.float64)
    there = count >= max(4.0, 5e-4 * x.size)
    if not there.any():
        return of.copy()
    from_ = (np.bincount(bins, x.ravel(), 32)[there] / count[there]).tolist()
    to = (np.bincount(bins, y.ravel(), 32)[there] / count[there]).tolist()
    runs: list[tuple[float, float, int]] = []  # value, weight, tones: those that fall are pooled
    for value, weight in zip(to, count[there].tolist(), strict=True):
        run = (value, weight, 1)
        while runs and runs[-1][0] > run[0]:
            above, heavy, tones = runs.pop()
            both = heavy + run[1]
            run = ((above * heavy + run[0] * run[1]) / both, both, tones + run[2])
        runs.append(run)
    curve = [value for value, _, tones in runs for _ in range(tones)]
    toned: _Map = np.interp(of, from_, curve).astype(np.float32)
    return toned


def _same_colors(one: Sight, other: Sight, place: Place, *, photos: bool) -> bool:
    """Whether the colors agree, or one of two photos has given them up."""
    if place == _IDENTITY:
        first = one.chroma
    else:
        sx, tx, sy, ty = place
        at = (np.arange(_COLOR) + 0.5) / _COLOR
        columns = np.clip((tx + sx * at) * _COLOR, 0, _COLOR - 1).astype(np.intp)
        rows = np.clip((ty + sy * at) * _COLOR, 0, _COLOR - 1).astype(np.intp)
        first = one.chroma[np.ix_(rows, columns)]
    second = other.chroma
    inside = np.ix_(*_overlap(place, _COLOR))
    first, second = first[inside].reshape(-1, 2), second[inside].reshape(-1, 2)
    strength = [_strength(first), _strength(second)]
    if max(strength) < _GRAY:
        return True
    raw = float((first * second).sum()) / (len(first) * strength[0] * strength[1] + 1e-6)
    if raw >= _SAME_COLOR and max(strength) <= 3 * min(strength) + _GRAY:
        return True
    if not photos:
        return False
    if _correlation(first - first.mean(axis=0), second - second.mean(axis=0)) >= _SAME_COLOR:
        return True  # another white balance
    return sum(map(_has_one_hue, (first, second))) == 1 or min(strength) < _GRAY


def _strength(chroma: Floats) -> float:
    """How much color there is, in levels."""
    return float(np.sqrt((chroma**2).sum(axis=1).mean()))


def _has_one_hue(chroma: Floats) -> bool:
    """Whether there is no color, or one alone (sepia)."""
    lengths = float(np.sqrt((chroma**2).sum(axis=1)).sum())
    if lengths < _GRAY * len(chroma):
        return True
    return float(np.sqrt((chroma.sum(axis=0) ** 2).sum())) >= _ONE_HUE * lengths


def _same_flat(one: Sight, other: Sight) -> bool:
    """Whether two images that show nothing have the same color."""
    apart = abs(float(one.luma.mean() - other.luma.mean()))
    colors = one.chroma.mean(axis=(0, 1)) - other.chroma.mean(axis=(0, 1))
    return max(apart, float(np.abs(colors).max())) <= _FLAT_APART


def _is_photo(luma: Floats) -> bool:
    share = np.bincount(np.clip(luma / 8, 0, 31).astype(np.intp).ravel(), minlength=32) / luma.size
    share = share[share > 0]
    if float(-(share * np.log2(share)).sum()) < _PHOTO_TONES:
        return False
    mean = _box(luma, 5)
    flat = _box(luma**2, 5) - mean**2 < 2.0
    return float(flat.mean()) <= _MOST_FLAT


def _detail(values: _Map, window: int) -> _Map:
    detail: _Map = values - _box(values, window)
    return detail


def _box(values: _Map, window: int) -> _Map:
    """Mean over a window around each place; edges are repeated."""
    from scipy.ndimage import uniform_filter

    mean: _Map = uniform_filter(values, window, mode="nearest")
    return mean


def _correlation(x: npt.NDArray[np.floating], y: npt.NDArray[np.floating]) -> float:
    """Correlation of two maps, -1 to 1; 0 where one of them is flat."""
    x, y = x - x.mean(), y - y.mean()
    scale = math.sqrt(float((x**2).sum()) * float((y**2).sum()))
    return float((x * y).sum()) / scale if scale > 1e-3 else 0.0
