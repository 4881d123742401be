"""The flight loop: lines in, products out."""
