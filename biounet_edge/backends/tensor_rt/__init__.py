"""TensorRT engines: compiled for one kind of GPU, one library version and one graph, and rejected elsewhere.

backend.py runs an engine, in the execution contexts of contexts.py. building.py compiles a bundle's graphs,
by compilation.py and progress.py; sidecar.py says what an engine was made for; engine_files.py reads and
writes both, with every check; library.py is tensorrt or tensorrt_rtx.
"""
