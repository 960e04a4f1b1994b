"""The seam between Voxtra and a PBX: one abstract adapter, one for Asterisk."""
