"""What was seen: run files, their journal, and the machine they were seen on."""
