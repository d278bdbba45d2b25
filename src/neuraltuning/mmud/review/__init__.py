"""The step `review`: people check what was tagged, on a local page or in Label Studio.

Both ways read the items of a `queue.ReviewQueue` and end in its journal of `Review` records.
"""
