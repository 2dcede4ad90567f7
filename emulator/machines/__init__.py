"""The machines behind instances: real ones under QEMU, and ones that play a transcript."""
