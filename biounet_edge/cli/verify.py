"""`biounet-edge verify`: does this machine compute what PyTorch computed?"""

from pathlib import Path
from typing import Annotated

import typer

from biounet_edge.cli.console import print_json, say
from biounet_edge.cli.options import BundleArgument, DeviceOption, JsonOption, PrecisionOption


def verify(
    bundle: BundleArgument = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    images: Annotated[
        list[Path] | None,
        typer.Option("--images", help="Photographs, or folders of them, to compare with float32 too."),
    ] = None,
    certificate: Annotated[
        Path, typer.Option("--certificate", help="File to write the result to, as JSON.")
    ] = Path("verification.json"),
    as_json: JsonOption = False,
) -> None:
    """Check that this machine computes what PyTorch computed at export."""
    from biounet_edge.bundle.folder import Bundle
    from biounet_edge.checks.verification import verify as verify_bundle
    from biounet_edge.cli.process import silence_decoders
    from biounet_edge.cli.verification import print_certificate
    from biounet_edge.photographs.discovery import discover
    from biounet_edge.storage import write_atomically

    silence_decoders()
    photographs = [image.source for image in discover(images)] if images else []
    result = verify_bundle(Bundle.open(bundle), device, precision, photographs)
    write_atomically(certificate, result.to_json().encode())
    if as_json:
        print_json(result.to_dict())
    else:
        print_certificate(result)
    say(f"certificate: {certificate}")
    result.raise_if_failed()
