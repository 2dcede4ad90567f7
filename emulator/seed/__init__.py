"""What an emulator has from the beginning, as a file says it."""
