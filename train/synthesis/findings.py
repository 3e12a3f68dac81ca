"""What a lesion shows and, from it, whether it is a melanoma.

A hidden severity drives all findings, so that they occur together as they do in clinics. The diagnosis is
then drawn from a logistic function of two published scores of the findings themselves:

- ABCD rule: total dermoscopy score = 1.3 A + 0.1 B + 0.5 C + 0.5 D (asymmetric axes, abrupt eighths of the
  border, colours, structures); suspicious from 4.75, melanoma above 5.45.
- 7-point checklist: major criteria (atypical network, blue-white veil) 2 points, minor criteria (irregular
  streaks, irregular pigmentation, irregular globules, regression) 1 point; melanoma from 3. An irregular
  negative network, which the checklist does not know, counts one point here.

Source:
    Stolz et al., ABCD rule of dermatoscopy, Eur. J. Dermatol. 4 (1994) 521-527.
    Argenziano et al., Epiluminescence microscopy for the diagnosis of doubtful melanocytic skin lesions,
    Arch. Dermatol. 134 (1998) 1563-1570.
"""

import math
from dataclasses import dataclass

import numpy as np

TDS_CUT = 4.75
"""Total dermoscopy score from which a lesion is suspicious (Stolz 1994)."""
CHECKLIST_CUT = 3
"""Points from which the checklist calls melanoma (Argenziano 1998)."""
TDS_WEIGHT, CHECKLIST_WEIGHT = 0.9, 0.5
"""Log-odds per unit of each score: two points over both cuts make melanoma very likely, never certain."""
INTERCEPT = 0.8
"""Log-odds where both scores lie on their cuts; sets the share of melanomas to about 0.35."""

# Probability of each finding: at severity 0, and what severity 1 adds.
COLOUR_RATES = {
    "dark_brown": (0.55, 0.35),
    "black": (0.05, 0.45),
    "blue_grey": (0.03, 0.45),
    "red": (0.10, 0.30),
    "white": (0.03, 0.45),
}
"""Light brown is always there: it is the ground on which the others lie."""
INDICATOR_RATES = {
    "pigment_network": (0.55, 0.00),
    "negative_network": (0.06, 0.22),
    "streaks": (0.06, 0.22),
    "milia_like_cyst": (0.30, -0.12),
    "globules": (0.24, 0.15),
}
"""Melanoma or not, network is common; what tells them apart there is `irregularity`."""


@dataclass(frozen=True)
class Findings:
    """The dermoscopic findings of one lesion."""

    asymmetric_axes: int
    """Axes (of two perpendicular ones) about which colour and structure are asymmetric, 0 to 2."""
    abrupt_eighths: int
    """Eighths of the border where pigment ends abruptly, 0 to 8."""
    colours: frozenset[str]
    """Colours present: light_brown and any of `COLOUR_RATES`."""
    indicators: frozenset[str]
    """Indicators present, names of `INDICATOR_RATES`."""
    structureless: bool
    """Whether a homogeneous area is there."""
    irregularity: float
    """How irregular network, streaks and globules are, 0 regular to 1."""

    @property
    def total_dermoscopy_score(self) -> float:
        """Score of the ABCD rule, 1.0 to 8.9."""
        counted = self.indicators & {"pigment_network", "negative_network", "streaks", "globules"}
        structures = min(5, 1 + len(counted) + int(self.structureless))
        return (
            1.3 * self.asymmetric_axes
            + 0.1 * self.abrupt_eighths
            + 0.5 * len(self.colours)
            + 0.5 * structures
        )

    @property
    def checklist_points(self) -> int:
        """Points of the 7-point checklist, 0 to 8 (vessels are not drawn)."""
        irregular = self.irregularity > 0.5
        major = (irregular and "pigment_network" in self.indicators, "blue_grey" in self.colours)
        minor = (
            irregular and "streaks" in self.indicators,
            self.asymmetric_axes == 2 and "dark_brown" in self.colours,
            irregular and "globules" in self.indicators,
            "white" in self.colours,
        )
        return 2 * sum(major) + sum(minor) + int("negative_network" in self.indicators and irregular)

    @property
    def melanoma_probability(self) -> float:
        """Probability that a lesion with these findings is a melanoma, in (0, 1)."""
        tds_excess = self.total_dermoscopy_score - TDS_CUT
        point_excess = self.checklist_points - CHECKLIST_CUT
        logit = INTERCEPT + TDS_WEIGHT * tds_excess + CHECKLIST_WEIGHT * point_excess
        return 1 / (1 + math.exp(-logit))


def draw_findings(rng: np.random.Generator) -> Findings:
    """Draw the findings of one lesion."""
    severity = float(rng.beta(0.8, 1.4))

    def present(rates: dict[str, tuple[float, float]]) -> frozenset[str]:
        return frozenset(
            name for name, (base, slope) in rates.items() if rng.random() < base + slope * severity
        )

    return Findings(
        asymmetric_axes=int(rng.binomial(2, 0.1 + 0.8 * severity)),
        abrupt_eighths=int(rng.binomial(8, 0.1 + 0.6 * severity)),
        colours=frozenset({"light_brown"}) | present(COLOUR_RATES),
        indicators=present(INDICATOR_RATES),
        structureless=bool(rng.random() < 0.2 + 0.4 * severity),
        irregularity=float(np.clip(severity + rng.normal(0, 0.2), 0, 1)),
    )
