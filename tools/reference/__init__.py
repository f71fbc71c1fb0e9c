"""Makes the tables of the reference pages from the code: names, kinds, defaults, words.

Whatever the code says about itself is taken from there. What it has no place for (the meaning of a setting,
an example of a fault) stands here, beside the name that it is for.
"""
