"""The sizes of MuJoCo's arrays in version 3.1.6; one of them is no more."""

array_sizes = {'mjmodel': {'flex_xvert0': ('nflexvert', 3)}}
