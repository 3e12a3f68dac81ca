"""One ONNX graph on its way through TensorRT's parser and builder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from biounet_edge.backends.tensor_rt.engine_files import write_compiled
from biounet_edge.backends.tensor_rt.library import make_log, reason
from biounet_edge.backends.tensor_rt.progress import ProgressListener, make_monitor
from biounet_edge.backends.tensor_rt.sidecar import BatchProfile
from biounet_edge.errors import BackendUnavailableError


class Compilation:
    """A parsed graph that can be compiled."""

    def __init__(self, library: Any, graph: Path) -> None:
        """Parse the graph, strongly typed: it computes in the types that it is written in.

        Args:
            library: From `import_tensorrt`.
            graph: The ONNX file; its external data is beside it.

        Raises:
            BackendUnavailableError: If the library cannot read it.
        """
        self._library, self._graph = library, graph
        self._log = make_log(library)
        self._builder = library.Builder(self._log)
        # From TensorRT 11 on every network is, and the flag is deprecated.
        flags = getattr(library, "NetworkDefinitionCreationFlag", None)
        typed = getattr(flags, "STRONGLY_TYPED", None)
        self._network = self._builder.create_network(0 if typed is None else 1 << int(typed))
        self._parser = library.OnnxParser(self._network, self._log)  # holds the weights
        if not self._parser.parse_from_file(str(graph)):  # finds weights.bin beside it
            raise self._failure("read")

    @property
    def layers(self) -> int:
        """Number of layers before the builder fuses them."""
        return int(self._network.num_layers)

    def run(
        self,
        batches: BatchProfile,
        capabilities: Sequence[Any],
        listener: ProgressListener,
        timing_cache: Path | None,
    ) -> memoryview:
        """Compile the graph.

        Args:
            batches: Batch sizes.
            capabilities: Architectures as the library's ComputeCapability; none for the GPU of this machine.
            listener: Follows the build; an error of its own ends it.
            timing_cache: File that keeps how fast each kernel was; None for no such file.

        Returns:
            Content of the engine.

        Raises:
            BackendUnavailableError: If the library cannot compile it.
            OutputError: If the timing cache cannot be written.
        """
        config = self._builder.create_builder_config()
        config.clear_flag(self._library.BuilderFlag.TF32)  # which would make 10 bits of float32's 23
        if capabilities:
            config.num_compute_capabilities = len(capabilities)
            if not all([config.set_compute_capability(cc, i) for i, cc in enumerate(capabilities)]):
                raise self._failure("take these compute capabilities for")
        profile = self._builder.create_optimization_profile()
        for index in range(self._network.num_inputs):
            tensor = self._network.get_input(index)
            row = tuple(tensor.shape)[1:]
            profile.set_shape(tensor.name, *((size, *row) for size in batches))
        if config.add_optimization_profile(profile) < 0:
            raise self._failure("give a batch profile to")
        cache = _load_timing_cache(config, timing_cache) if timing_cache else None
        monitor = make_monitor(self._library, listener)  # the configuration does not keep it alive
        config.progress_monitor = monitor
        content = self._builder.build_serialized_network(self._network, config)
        if listener.error is not None:
            raise listener.error
        if content is None:
            raise self._failure("compile")
        if timing_cache is not None and cache is not None:
            write_compiled(timing_cache, memoryview(cache.serialize()))
        return memoryview(content)

    def _failure(self, verb: str) -> BackendUnavailableError:
        library = f"{self._library.__name__} {self._library.__version__}"
        return BackendUnavailableError(f"{library} cannot {verb} {self._graph}: {reason(self._log)}")


def _load_timing_cache(config: Any, path: Path) -> Any:
    """Attach the times of earlier builds; those of another version or GPU are left."""
    try:
        content = path.read_bytes()
    except OSError:
        content = b""  # the first build
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache
