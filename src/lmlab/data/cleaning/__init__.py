"""Cleaning of documents: Unicode normalisation, scrubbing of personal data, filters, and removal of duplicates."""

from lmlab.data.cleaning.cleaning import Cleaning
from lmlab.data.cleaning.survey import CleanedDocument, Survey

__all__ = ["CleanedDocument", "Cleaning", "Survey"]
