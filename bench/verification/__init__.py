"""Cases run once, untimed, and checked against what they should do."""
