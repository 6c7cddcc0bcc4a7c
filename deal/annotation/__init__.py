"""The way into labeling tools and back: picks as tasks with pre-annotations, exports as labels.

A format has a file of its own with pure functions: label maps → documents → label maps. `export`
writes a folder of tasks, `collect` makes a labeled data set of what a tool exports. A *label map*
is unsigned [H, W] at the size of the upright image: class index + 1, and 0 where there is no label.
"""
