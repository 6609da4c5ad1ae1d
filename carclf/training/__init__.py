"""What surrounds a fit: device, run directory, callbacks, the stage itself."""
