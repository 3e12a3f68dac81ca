"""`biounet-edge info`: what a bundle is."""

from biounet_edge.cli.console import print_json
from biounet_edge.cli.options import BundleArgument, JsonOption


def info(bundle: BundleArgument = None, as_json: JsonOption = False) -> None:
    """Describe a bundle after checking its files."""
    from biounet_edge.bundle.folder import Bundle
    from biounet_edge.cli.bundle_table import describe_bundle, print_bundle

    description = describe_bundle(Bundle.open(bundle))
    if as_json:
        print_json(description)
    else:
        print_bundle(description)
