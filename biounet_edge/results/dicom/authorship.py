"""Which program and model a result comes from, what it must not be used for, and which series it is in."""

from dataclasses import dataclass
from typing import Any

from highdicom import AlgorithmIdentificationSequence
from highdicom.sr import AlgorithmIdentification
from pydicom.uid import generate_uid

from biounet_edge.bundle.folder import Bundle
from biounet_edge.photographs.dicom.subject import PRODUCT
from biounet_edge.results.dicom.codes import ARTIFICIAL_INTELLIGENCE, private_scheme
from biounet_edge.results.dicom.source import SourceImage
from biounet_edge.version import __version__

_SERIES_NUMBERS = {"dicom-seg": 9101, "dicom-sr": 9102, "dicom-sc": 9103, "dicom-pm": 9104}
_TITLES = {
    "dicom-seg": "indicator masks",
    "dicom-sr": "melanoma assessment",
    "dicom-sc": "overlay",
    "dicom-pm": "indicator heatmaps",
}
_LONG_STRING = 64  # characters of VR LO: PS3.5, section 6.2


@dataclass(frozen=True, slots=True)
class Authorship:
    """A bundle and a run of it, as every object names them."""

    name: str
    """Name of the model."""
    version: str
    """Version of the model."""
    checksum: str
    """SHA-256 of the bundle's manifest, which holds the checksums of all its files."""
    notice: str | None
    """What the model must not be used for; None where the bundle has no notice."""
    run_uid: str
    """Random, so that a later run makes series of its own and never changes objects that an archive has."""

    @classmethod
    def of(cls, bundle: Bundle) -> "Authorship":
        """Describe a new run.

        Args:
            bundle: The bundle that computes.

        Returns:
            The authorship of all objects of the run.
        """
        manifest = bundle.manifest
        return cls(manifest.name, manifest.version, bundle.checksum, manifest.notice, generate_uid())

    def algorithm(self) -> AlgorithmIdentificationSequence:
        """Name the algorithm in images.

        Returns:
            A new Algorithm Identification Sequence.
        """
        return AlgorithmIdentificationSequence(
            name=_cut(f"{PRODUCT} {self.name}"),
            family=ARTIFICIAL_INTELLIGENCE,
            version=_cut(self.version),
            source=PRODUCT,
            parameters=dict(line.split("=", 1) for line in self.parameters()),
        )

    def algorithm_of_report(self) -> AlgorithmIdentification:
        """Name the algorithm in structured reports.

        Returns:
            Content items of TID 4019.
        """
        return AlgorithmIdentification(
            name=_cut(f"{PRODUCT} {self.name}"),
            version=_cut(self.version),
            parameters=self.parameters(),
            family=ARTIFICIAL_INTELLIGENCE,
        )

    def parameters(self) -> list[str]:
        """List what tells this model from another.

        Returns:
            Lines of the form name=value.
        """
        lines = [f"{PRODUCT}={__version__}", f"bundle_sha256={self.checksum}"]
        return [*lines, f"notice={self.notice}"] if self.notice else lines

    def remark(self, warning: str | None = None) -> str:
        """Say in one text what the object comes from, for people.

        Args:
            warning: What else has to be said first; None for nothing.

        Returns:
            The warning, the notice, the model and the bundle's checksum.
        """
        origin = f"{PRODUCT} {__version__}, model {self.name} {self.version}, bundle SHA-256 {self.checksum}."
        warned = f"The photograph is {warning}." if warning else None
        return " ".join(text for text in (warned, self.notice, origin) if text)

    def device_uid(self) -> str:
        """Identify this version of the program with this bundle, as the observer in reports.

        Returns:
            The same UID on every machine and in every run.
        """
        return generate_uid(entropy_srcs=[PRODUCT, __version__, self.checksum])

    def description(self, kind: str) -> str:
        """Name an object where a viewer lists it.

        Args:
            kind: Such as "dicom-seg".

        Returns:
            At most 64 characters, which say "not for clinical use" where the bundle has a notice.
        """
        title = f"{PRODUCT} {_TITLES[kind]}"
        return f"Not for clinical use: {title}" if self.notice else title

    def series(self, kind: str, source: SourceImage) -> dict[str, Any]:
        """Make what highdicom's constructors have in common.

        A run's objects of one kind are one series per series of their sources.

        Args:
            kind: Such as "dicom-seg".
            source: What the object is about.

        Returns:
            Keyword arguments: series, instance, equipment and coding scheme.
        """
        entropy = [self.run_uid, str(source.dataset.SeriesInstanceUID), kind]
        return {
            "series_instance_uid": generate_uid(entropy_srcs=entropy),
            "series_number": _SERIES_NUMBERS[kind],
            "sop_instance_uid": generate_uid(),
            "instance_number": source.instance_number,
            "series_description": self.description(kind),
            "manufacturer": PRODUCT,
            "manufacturer_model_name": PRODUCT,
            "software_versions": [__version__, _cut(f"{self.name} {self.version}")],
            "device_serial_number": self.checksum,
            "coding_schemes": [private_scheme()],
        }


def _cut(text: str) -> str:
    return text[:_LONG_STRING]
