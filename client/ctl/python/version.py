# version.py - which Python this is, and whether numpy is there.
import importlib.util
import platform

numpy = None
if importlib.util.find_spec("numpy"):
    import numpy as found

    numpy = found.__version__
answer(version=f"{platform.python_implementation()} {platform.python_version()}", numpy=numpy)
