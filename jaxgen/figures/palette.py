"""The colours of every figure, each in a light and a dark shade; safe for colour-blind readers.

Figures are drawn in the light shades. In the page each becomes a CSS variable, so that one drawing
serves both colour schemes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import matplotlib
from matplotlib.colors import to_hex


@dataclasses.dataclass(frozen=True)
class Shade:
    """One colour under both schemes. The light one is unique, because a drawing refers to the colour by it."""

    name: str
    light: str
    dark: str


INK = Shade("ink", "#1c2027", "#e9ebef")
MUTED = Shade("muted", "#5b6370", "#a3abb8")
GRID = Shade("grid", "#e3e5e9", "#2d333c")
AXIS = Shade("axis", "#b3b8c1", "#4b535f")
PAGE = Shade("page", "#fdfdfb", "#14171b")
CELL_INK = Shade("cell-ink", "#14181e", "#14181f")
EMPTY = Shade("cell-empty", "#f0f1f3", "#20252c")

SPLITS = {
    "train": Shade("train", "#0072b2", "#58b4f0"),
    "test": Shade("test", "#d55e00", "#ff8f45"),
    "corrupted": Shade("corrupted", "#aa4499", "#df8fcf"),
    "corrupted_true": Shade("corrupted-true", "#117733", "#63c088"),
    "uncorrupted": Shade("uncorrupted", "#55606e", "#b4bdc9"),
}

SERIES = (
    Shade("series-0", "#332288", "#a79bf5"),
    Shade("series-1", "#1f9e8f", "#4fd1c1"),
    Shade("series-2", "#a3215f", "#f07fb0"),
    Shade("series-3", "#8f8410", "#d8cd55"),
    Shade("series-4", "#3f93c4", "#93d3f7"),
    Shade("series-5", "#6b4a2b", "#cfa27a"),
)

CELLS = (
    Shade("cell-0", "#8fc1ea", "#7fb2dc"),
    Shade("cell-1", "#f4df8c", "#e3cd77"),
    Shade("cell-2", "#f29b7c", "#e08a6b"),
    Shade("cell-3", "#c9b3e6", "#b7a0d6"),
    Shade("cell-4", "#cfd3d9", "#9aa1ab"),
    Shade("cell-5", "#6fcbb0", "#5fb99f"),
    Shade("cell-6", "#ffb3c2", "#ec9fb0"),
    Shade("cell-7", "#c7d45a", "#b3c04a"),
)


def _ramp(stops: int) -> tuple[Shade, ...]:
    # Viridis without the end that would vanish against the page: the pale end in light, the dark end in dark.
    viridis = matplotlib.colormaps["viridis"]
    places = [i / (stops - 1) for i in range(stops)]
    return tuple(
        Shade(f"ramp-{i}", to_hex(viridis(0.85 * place)), to_hex(viridis(0.25 + 0.75 * place)))
        for i, place in enumerate(places)
    )


RAMP = _ramp(16)
SHADES = (INK, MUTED, GRID, AXIS, PAGE, CELL_INK, EMPTY, *SPLITS.values(), *SERIES, *CELLS, *RAMP)


def series(count: int) -> list[Shade]:
    """Returns the colours of `count` lines: distinct ones, or a ramp if there are too many lines."""
    if count <= len(SERIES):
        return list(SERIES[:count])
    return [RAMP[round(i * (len(RAMP) - 1) / (count - 1))] for i in range(count)]


def split_shades(names: Sequence[str]) -> dict[str, Shade]:
    """Returns the colour of each name. A known split has the same colour in every figure; other names take free
    colours."""
    unknown = [name for name in dict.fromkeys(names) if name not in SPLITS]
    return SPLITS | dict(zip(unknown, series(len(unknown)), strict=True))


def variables(scheme: str) -> str:
    """Returns the CSS declarations of every shade under the scheme `light` or `dark`."""
    return "".join(f"--{shade.name}:{getattr(shade, scheme)};" for shade in SHADES)
