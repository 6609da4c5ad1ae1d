"""Everything around a fit: device, run directory, callbacks, checkpoints, the stage itself."""
