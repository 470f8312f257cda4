"""Stands for gymnasium-robotics, which dex_envs extends."""
