"""The whole state of an emulator in one file, and back."""
