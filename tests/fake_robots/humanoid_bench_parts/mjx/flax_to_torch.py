"""Needs what is not installed, as the real one."""

raise ModuleNotFoundError("No module named 'torch'")
