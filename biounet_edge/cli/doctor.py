"""`biounet-edge doctor`: what is wrong with this installation."""

from typing import TYPE_CHECKING

import typer

from biounet_edge.cli.console import print_json, say
from biounet_edge.cli.options import BundleArgument, JsonOption
from biounet_edge.results.text import printable

if TYPE_CHECKING:
    from biounet_edge.doctor.findings import Finding

_STYLES = {"ok": "green", "warning": "yellow", "problem": "red"}


def doctor(
    bundle: BundleArgument = None,
    as_json: JsonOption = False,
) -> None:
    """Look for what keeps this machine from running a bundle, or from running it fast."""
    from biounet_edge.doctor.diagnosis import diagnose

    findings = diagnose(bundle)
    problems = sum(finding.status == "problem" for finding in findings)
    if as_json:
        print_json({"problems": problems, "findings": [finding.to_dict() for finding in findings]})
    else:
        _print_findings(findings)
    if problems:
        say(f"{problems} {'problem' if problems == 1 else 'problems'} found", style="red")
        raise typer.Exit(1)


def _print_findings(findings: "list[Finding]") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("Check", "Status", box=box.SIMPLE_HEAD)
    table.add_column("Finding and remedy", overflow="fold")
    for finding in findings:
        text = Text(printable(finding.text))
        if finding.remedy is not None:
            text.append(f"\n-> {printable(finding.remedy)}", style="bold")
        status = Text(finding.status, _STYLES[finding.status])
        table.add_row(Text(printable(finding.name)), status, text)
    Console().print(table)
