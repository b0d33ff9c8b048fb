"""Run files side by side: ratios, compile costs, verdicts on two runs."""
