"""From blocks to estimates: intervals, drift, floors, the tidy frame."""
