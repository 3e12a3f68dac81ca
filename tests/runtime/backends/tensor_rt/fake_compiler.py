"""A TensorRT that compiles nothing and keeps what it was told."""

import enum
import types

Severity = enum.IntEnum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING"])


class FakeCompiler(types.ModuleType):
    """The functions of `tensorrt`, or `tensorrt_rtx`, that building calls."""

    def __init__(self, name: str = "tensorrt", version: str = "10.14.1") -> None:
        super().__init__(name)
        self.__version__ = version
        self.told: dict[str, object] = {}
        self.parses = self.compiles = True
        self.known_caches = {b"", b"times"}
        library = self

        class ILogger:
            pass

        ILogger.Severity = Severity

        class Cache:
            def __init__(self, content: bytes) -> None:
                self.content = content

            def serialize(self) -> bytes:
                return self.content + b"+"

        class Config:
            progress_monitor = None
            num_compute_capabilities = 0

            def __init__(self) -> None:
                self.capabilities: dict[int, object] = {}

            def clear_flag(self, flag):
                library.told["cleared"] = flag

            def set_compute_capability(self, capability, index):
                self.capabilities[index] = capability
                return capability != library.ComputeCapability.SM80

            def add_optimization_profile(self, profile):
                library.told["profile"] = profile.shapes
                return 0 if all(shapes[0] for shapes in profile.shapes.values()) else -1

            def create_timing_cache(self, content):
                return Cache(content)

            def set_timing_cache(self, cache, ignore_mismatch):
                library.told["timing"] = (cache.content, ignore_mismatch)
                return cache.content in library.known_caches

        class Profile:
            def __init__(self) -> None:
                self.shapes = {}

            def set_shape(self, name, low, usual, high):
                self.shapes[name] = (low, usual, high)

        class Builder:
            def __init__(self, log):
                self.log = log

            def create_network(self, flags):
                library.told["flags"] = flags
                return Network()

            def create_builder_config(self):
                return Config()

            def create_optimization_profile(self):
                return Profile()

            def build_serialized_network(self, network, config):
                library.told["capabilities"] = [
                    config.capabilities[i] for i in range(len(config.capabilities))
                ]
                assert config.num_compute_capabilities == len(config.capabilities)
                monitor = config.progress_monitor
                monitor.phase_start("Building", None, 4)
                monitor.phase_start("Tactics", "Building", 2)
                for step in range(2):
                    if not monitor.step_complete("Tactics", step):
                        library.told["stopped"] = step
                        return None
                monitor.phase_finish("Tactics")
                monitor.step_complete("Building", 0)
                monitor.phase_start("Weights", "Building", 1)
                if not library.compiles:
                    self.log.log(Severity.WARNING, "this is slow")
                    self.log.log(Severity.ERROR, "no kernel for Conv_7 ")
                    return None
                return b"compiled " + network.path.encode()

        class Network:
            num_layers, num_inputs = 1000, 2
            path = ""

            def get_input(self, index):
                return types.SimpleNamespace(name=f"input_{index}", shape=(-1, 12, 8 + index))

        class OnnxParser:
            def __init__(self, network, log):
                self.network, self.log = network, log

            def parse_from_file(self, path):
                self.network.path = path
                if not library.parses:
                    self.log.log(Severity.ERROR, "unknown operator Foo")
                return library.parses

        self.ILogger, self.Builder, self.OnnxParser = ILogger, Builder, OnnxParser
        self.IProgressMonitor = type("IProgressMonitor", (), {})
        self.BuilderFlag = enum.Enum("BuilderFlag", ["TF32", "REFIT"])
        self.NetworkDefinitionCreationFlag = enum.IntEnum("Flag", {"OTHER": 0, "STRONGLY_TYPED": 1})
        self.ComputeCapability = enum.Enum("ComputeCapability", ["NONE", "CURRENT", "SM80", "SM89", "SM120"])
