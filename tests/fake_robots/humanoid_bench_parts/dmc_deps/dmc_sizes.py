"""The sizes of MuJoCo's arrays in its version 3.1.6, of which one is no more."""

array_sizes = {'mjmodel': {'flex_xvert0': ('nflexvert', 3)}}
