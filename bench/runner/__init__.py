"""The process that plans and asks workers; it never imports torch."""
