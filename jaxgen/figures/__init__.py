"""Figures: views over trajectories."""

from jaxgen.figures.base import Figure
from jaxgen.figures.kinds import BySetting, CellMap, Curves, Profile

__all__ = ["BySetting", "CellMap", "Curves", "Figure", "Profile"]
