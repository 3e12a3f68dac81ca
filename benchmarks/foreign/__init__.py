"""An evaluation set of foreign pictures, which a familiarity score must tell from dermoscopy photographs."""
