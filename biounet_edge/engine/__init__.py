"""TensorRT engines: compiled for one kind of GPU, one library version and one graph, and refused elsewhere.

    build.py      compiles a bundle's graphs       compilation.py, progress.py    how
    sidecar.py    what an engine was made for      files.py                       reading, writing, every check
    gpu.py        the GPU that is here             library.py                     tensorrt or tensorrt_rtx
"""
