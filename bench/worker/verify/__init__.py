"""Whether a case is what it says and trains as it should."""
