"""Who reads it: tables and progress."""
