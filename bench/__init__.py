"""The instrument: times subjects, keeps records, and says what they mean."""

__version__ = "0.1.0"
