"""The `onnx-gradcam` command: parses, calls the library, prints.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 a known error, 2 usage,
130 interrupted. Heavy imports are inside the commands, so that --help is quick.
"""
