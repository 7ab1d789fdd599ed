"""The long tail: services that take a note and give nothing back."""
