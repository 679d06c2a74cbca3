"""A small file like NYU Depth V2's labelled set, with MATLAB's order of axes."""

import h5py
import numpy as np
from scipy.io import savemat

SCENES = ("kitchen_0001", "kitchen_0001", "bedroom_0012", "study_0002", "bedroom_0012", "bath_0003")
SIZE = (6, 8)


def nyu_arrays(count=12, size=SIZE):
    """What MATLAB sees: images (H, W, 3, n), maps (H, W, n)."""
    rng = np.random.default_rng(0)
    depths = rng.uniform(1, 9, (*size, count)).astype("f4")
    raw = np.where(rng.random(depths.shape) < 0.3, 0, depths).astype("f4")
    labels = rng.integers(0, 6, (*size, count)).astype("u2")
    images = rng.integers(0, 256, (*size, 3, count)).astype("u1")
    return {"images": images, "depths": depths, "rawDepths": raw, "labels": labels}


def write_nyu(folder, count=12, train=8, size=SIZE):
    """Write the .mat file and its split; of images 0, 1, ... the even ones come first in it."""
    arrays = nyu_arrays(count, size)
    path = folder / "nyu_depth_v2_labeled.mat"
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            # HDF5 has C's order, MATLAB Fortran's.
            file.create_dataset(name, data=values.T, chunks=(1, *values.T.shape[1:]))
        # A cell array of texts: references to arrays of characters.
        cells = file.create_dataset("scenes", (1, count), dtype=h5py.ref_dtype)
        for i in range(count):
            text = np.array([[ord(c)] for c in SCENES[i % len(SCENES)]], "u2")
            cells[0, i] = file.create_dataset(f"#refs#/s{i}", data=text).ref
    numbers = np.array([*range(0, count, 2), *range(1, count, 2)]) + 1
    splits = {"trainNdxs": numbers[:train, None], "testNdxs": numbers[train:, None]}
    savemat(folder / "splits.mat", {key: each.astype("u2") for key, each in splits.items()})
    return {"name": "nyu", "root": str(path)}, arrays, numbers - 1
