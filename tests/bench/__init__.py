"""`make bench`: the plugin beside what one would do without it, as ratios. A benchmark, never a test."""
