"""Readers of the data sets, the occlusion-set folder, and paper B's synthesis of occluded people."""
