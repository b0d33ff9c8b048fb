"""Which cases there are: axes, cases, presets, and why a case cannot run here."""
