"""Swath sources: where lines come from.

=========== =====================================================================================
`contract`  what a source is, and how it is read to the full
`open`      opens a swath by what it is
`raw`       8 or 16-bit samples without a header, from a file, a named pipe or standard input
`sockets`   the same from `tcp://HOST:PORT` or `unix:PATH`
`listening` the same from who connects to `tcp-listen://HOST:PORT` or `unix-listen:PATH`
`pgm`       portable greymap P5, 8 or 16 bit, read by rows
`picture`   PNG and JPEG through Pillow; JPEG is decoded as far as lines are asked for
`jpeg`      damage inside a JPEG's data, told by the number of its blocks
=========== =====================================================================================

A source hands out blocks of lines into an array of the caller's. What is cut short is not lost: the
whole lines that are there come out, then `truncated` says what is missing.
"""
