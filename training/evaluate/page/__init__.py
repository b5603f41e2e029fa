"""Pages that show an evaluation: one file each that opens offline, without a script."""
