"""The DICOM files that a run leaves beside its other results."""

import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biounet_edge.bundle.folder import Bundle
from biounet_edge.errors import BiounetEdgeError, ImageError, InputError
from biounet_edge.photographs.dicom.signature import is_dicom_file
from biounet_edge.photographs.discovery import InputImage
from biounet_edge.photographs.file import checksum
from biounet_edge.prediction import Outcome, Prediction
from biounet_edge.results.kinds import DICOM_KINDS, Save
from biounet_edge.storage import write_result

if TYPE_CHECKING:
    from biounet_edge.results.dicom.authorship import Authorship
    from biounet_edge.results.dicom.source import SourceImage


class DicomFiles:
    """Writes predictions of DICOM sources into the sources' studies. May be used from several threads."""

    def __init__(
        self, save: Iterable[Save], bundle: Bundle, images: Iterable[InputImage], *, needed: bool = True
    ) -> None:
        """Check that what was asked for is available.

        Args:
            save: Kinds to write; kinds other than DICOM_KINDS are ignored.
            bundle: The bundle that computes, which every object names.
            images: The images of the run.
            needed: Whether at least one of them has to be a DICOM file.

        Raises:
            InputError: If DICOM files are to be written, and the extra is missing, no image is a DICOM file
                where one is needed, or masks are to be written and the bundle has no operating point at all.
        """
        self.kinds = [kind for kind in save if kind in DICOM_KINDS]
        """Kinds that are written."""
        self.others = 0
        """Images that are not DICOM files and get none of these kinds."""
        self.problems: dict[str, str] = {}
        """Predictions that could not be written as DICOM, by stem, and why; complete after the last write."""
        self._author: Authorship | None = None
        if not self.kinds:
            return
        try:
            from biounet_edge.results.dicom.authorship import Authorship as Author
        except ImportError as error:
            raise InputError(
                f"{', '.join(self.kinds)} cannot be written, because {error.name or 'highdicom'} is not "
                'installed: pip install "biounet-edge[dicom]", or leave them out of --save'
            ) from error
        points = bundle.manifest.operating_points.values()
        if "dicom-seg" in self.kinds and all(point.presence is None for point in points):
            raise InputError(
                f"dicom-seg cannot be written: the bundle {bundle.manifest.name} has no operating point for "
                "any indicator, hence no masks. Leave it out of --save"
            )
        found = [is_dicom_file(image.path) for image in images]
        self.others = found.count(False)
        if needed and not any(found):
            raise InputError(
                f"{', '.join(self.kinds)} are filed under the study of a DICOM source, and none of the "
                f"{len(found)} images is a DICOM file: leave them out of --save, or name DICOM files"
            )
        self._author = Author.of(bundle)

    def write(self, output: Path, image: InputImage, outcome: Outcome) -> list[str]:
        """Write the kinds asked for, if the image is a DICOM file.

        Of a photograph that is not assessed only the report is written, which says so.

        Args:
            output: Output folder.
            image: The image.
            outcome: What to write; dicom-sc needs its `preview`.

        Returns:
            The files' paths relative to the output folder, with "/".

        Raises:
            OutputError: If one cannot be written.
            InputError: If dicom-sc is asked for and there is no preview.
        """
        if self._author is None or not is_dicom_file(image.path):
            return []
        names = []
        try:
            from biounet_edge.results.dicom.source import read_source

            source = read_source(image.path, image.frame)
            # After the header was read, so that it is that of the photograph that was predicted.
            if checksum(image.source) != outcome.sha256:
                raise ImageError("the file changed after it was read: start again")
            for kind, dataset in self._datasets(source, outcome, self._author):
                content = _encode(dataset)
                name = f"{kind}/{image.stem}.dcm"
                write_result(output, name, content)
                names.append(name)
        except ImageError as error:
            self.problems[image.stem] = f"{outcome.source}: {error}"
        except BiounetEdgeError:
            raise
        except MemoryError:
            self.problems[image.stem] = (
                f"{outcome.source}: its DICOM files do not fit into the memory that is free now"
            )
        except Exception as error:  # attributes that break the standard raise whatever they meet
            self.problems[image.stem] = (  # without the error's text, which may hold one of their values
                f"{outcome.source}: its results cannot be written as DICOM ({type(error).__name__}): "
                "correct its attributes, or leave out the dicom kinds of --save"
            )
        return names

    def _datasets(
        self, source: "SourceImage", outcome: Outcome, author: "Authorship"
    ) -> "Iterator[tuple[str, Any]]":
        """Yield kind and object one by one, to hold one at a time."""
        if isinstance(outcome, Prediction):
            for kind in self.kinds:
                yield kind, _maker(kind)(source, outcome, author)
        elif "dicom-sr" in self.kinds:
            from biounet_edge.results.dicom.structured_report import make_empty_report

            yield "dicom-sr", make_empty_report(source, outcome, author)


def _maker(kind: str) -> "Callable[[SourceImage, Prediction, Authorship], Any]":
    """Find what makes a kind; only what is asked for is imported."""
    if kind == "dicom-seg":
        from biounet_edge.results.dicom.segmentation import make_segmentation

        return make_segmentation
    if kind == "dicom-sr":
        from biounet_edge.results.dicom.structured_report import make_structured_report

        return make_structured_report
    if kind == "dicom-sc":
        from biounet_edge.results.dicom.capture import make_capture

        return make_capture
    from biounet_edge.results.dicom.heatmaps import make_heatmaps

    return make_heatmaps


def _encode(dataset: Any) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
