"""The precisions of weights that can be asked for."""

OWN = ("q8", "q4")  # made by cpu/prepare.py
CHOICES = ("none", *OWN, "4bit", "8bit")  # the last two by bitsandbytes
