"""Measuring, by hand: ``make bench-reading``. Figures of one machine at one time; compare within one run only."""
