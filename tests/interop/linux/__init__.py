"""Debian's kernel in QEMU as a peer: the image, the guest, and the paced lines between it and the host."""
