"""One module or folder per system, all behind `base.Adapter`."""
