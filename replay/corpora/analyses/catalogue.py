"""Catalogue of analyses, by their names: a new one is a module beside this, and a line here."""

from __future__ import annotations

from replay.corpora.analyses.coverage import COVER
from replay.corpora.analyses.faults import SWEEP
from replay.corpora.analyses.verdicts import VERDICTS

__all__ = ["ANALYSES"]

ANALYSES = {analysis.name: analysis for analysis in (VERDICTS, SWEEP, COVER)}
