"""A scene as layers that image editors open: stacking, OpenRaster files, marks on what was invented, COCO JSON."""
