"""The commands of ``regrowth``, one file each."""
