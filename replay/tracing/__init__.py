"""How traces are read and written: files (one file, and what of it is whole), migrations (older formats), checks (what
cannot be true), merging (several files as one trace), writing.
"""
