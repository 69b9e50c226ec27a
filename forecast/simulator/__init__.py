"""A physical compute fleet as the embedded data source: jobs → power → heat → sensors → faults.

`simulate.simulate` writes what a site would have recorded, with the truth about what was broken beside it.
"""
