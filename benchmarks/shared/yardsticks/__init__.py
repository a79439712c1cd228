"""What maker is compared with. Each module is a program: ``python -m benchmarks.shared.yardsticks.NAME --help``.

All decide the same chain in the same way (`vote`), store every step, and print what `outcome` describes.
"""
