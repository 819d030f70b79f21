"""Atomic files, object stores, and protection against links that lead out of a run."""
