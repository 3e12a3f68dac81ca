"""The HTML report of a run: photographs, findings, and how each probability comes about.

`writer` streams the entries of a run into one page, `entry` reduces a prediction to what its entry shows, and
`card`, `steps` and `page` make HTML of it.
"""

from biounet_edge.results.html.card_file import forget_cards
from biounet_edge.results.html.writer import REPORT_NAME, ReportWriter

__all__ = ["REPORT_NAME", "ReportWriter", "forget_cards"]
