"""Views as text, pages and charts; progress."""
