"""Cases run once, untimed, and held against what they should do."""
