"""TensorRT engines: compiled for one kind of GPU, one library version and one graph, and refused elsewhere.

build.py compiles a bundle's graphs, by compilation.py and progress.py; sidecar.py says what an engine was
made for; files.py reads and writes both, with every check; gpu.py is the GPU that is here, library.py
tensorrt or tensorrt_rtx.
"""
