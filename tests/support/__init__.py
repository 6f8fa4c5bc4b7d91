"""What tests build their world from: ELF files, packages and signed archives, without any tool.

deb.py      packages as text → real .debs
elf.py      ELF objects and kernel modules, byte by byte
archive.py  a signed archive, in a directory or served on loopback
server.py   a small web server that fails on request
"""
