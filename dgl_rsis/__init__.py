"""DGL-RSIS: training-free segmentation of remote-sensing images. Arrays in, arrays out.

Letters for shapes, everywhere in this package:
    N proposals, C classes, P phrases (all classes together), D embedding, E width of the vision
    transformer, H W pixels, h w patch grid, K = h · w patches, S side of a square crop or tile,
    B crops or tiles at a time, R coordinates of the pixel tower's features.

What is marked [paper] is named by the abstract of arXiv 2509.00598; what is marked [ours] is
reconstructed from the prior work that the docstring names.
"""
