"""What the guest boots: the kernel of Debian's linux-image package, and an initramfs of its modules, busybox, pppd,
slattach, `peer.c` and `eql_enslave.c`. Assembled from packages, kept in the user's cache, never committed."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import attrs

HERE = Path(__file__).parent
MODULES = (
    "slhc", "slip", "eql", "ppp_generic", "ppp_async", "crc-ccitt", "ppp_deflate", "bsd_comp",
    "sch_fq_codel", "af_packet", "ipv6", "virtio_pci", "virtio_console",
)  # fmt: skip
"""Loaded at boot, with what they need, where the kernel does not have them built in."""
TRANSFER_SIZE = 289284
"""Bytes of the file that the report of 1995 measured with; /data in the guest."""
SAMPLE_SIZE = 48000
"""Bytes of a file for tests that ask whether all arrives, not how fast; /sample in the guest."""
SOURCES = ("peer", "eql_enslave")
"""Programs of ours, compiled statically."""
PROGRAMS = ("pppd", "slattach")
"""Programs of Debian's that are copied with their libraries."""

INIT = """\
#!/bin/sh
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /run /tmp /dev/pts /var/run /var/lock
mount -t devpts devpts /dev/pts
for parameter in $(cat /proc/cmdline); do
  case $parameter in qdisc=*) qdisc=${parameter#qdisc=} ;; esac
done
for module in $(cat /modules.order); do insmod /modules/$module; done
[ -z "$qdisc" ] || echo $qdisc >/proc/sys/net/core/default_qdisc
echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter
echo 0 >/proc/sys/net/ipv4/conf/default/rp_filter
echo 1 >/proc/sys/net/ipv4/tcp_no_metrics_save
ip link set lo up
hostname guest
until [ -c /dev/vport0p1 ]; do sleep 0.1; done
exec 3<>/dev/vport0p1 2>/dev/ttyS0
exec <&3 >&3 3>&-
echo ready
while read -r number command; do
  echo "$command" | base64 -d >/tmp/command
  sh /tmp/command >/tmp/output 2>&1 </dev/null
  status=$?
  echo "= $number $status $(wc -c </tmp/output)"
  cat /tmp/output
done
poweroff -f
"""


class Unbuildable(AssertionError):
    """The image cannot be made here; says what is missing."""


@attrs.frozen
class Image:
    """Files for QEMU's -kernel and -initrd, and the helper for use at this end."""

    kernel: Path
    initrd: Path
    peer: Path
    files: dict[str, Path]
    """``/data`` and ``/sample``, which are in the guest by these names, at this end."""
    release: str
    """The kernel's, such as 6.1.0-56-amd64."""


def build() -> Image:
    """The image, from the cache where nothing has changed since.

    Raises:
        Unbuildable: a program or package is missing.
    """
    for program in ("apt-get", "apt-cache", "dpkg-deb", "busybox", *PROGRAMS, "cpio", "cc", "ldd", "modinfo"):
        if not shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
            raise Unbuildable(f"there is no {program} here; tests/interop/apt-packages.txt names the packages needed")
    package = _kernel_package()
    digest = hashlib.sha256()
    parts = [Path(__file__), *(HERE / f"{name}.c" for name in SOURCES), *(Path(_which(name)) for name in PROGRAMS)]
    for part in (package.encode(), *(path.read_bytes() for path in parts)):
        digest.update(part)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eqlbond-interop"
    home = cache / digest.hexdigest()[:16]
    release = package.split("=")[0].removeprefix("linux-image-")
    if not home.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as work:
            made = _assemble(Path(work), package.split("=")[0], release)
            shutil.rmtree(home, ignore_errors=True)
            made.rename(home)
    files = {f"/{name}": home / name for name in ("data", "sample")}
    return Image(home / "kernel", home / "initrd", home / "peer", files, release)


def _sh(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    if done.returncode:
        raise Unbuildable(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def _which(program: str) -> str:
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    assert found
    return found


def _kernel_package() -> str:
    """Name and version of the package that linux-image-amd64 stands for."""
    told = _sh("apt-cache", "depends", "linux-image-amd64")
    match = re.search(r"Depends: (linux-image-\S+)", told)
    if not match:
        raise Unbuildable(f"apt knows of no linux-image-amd64; an apt-get update may help:\n{told}")
    version = re.search(r"Candidate: (\S+)", _sh("apt-cache", "policy", match[1]))
    return f"{match[1]}={version[1] if version else ''}"


def _assemble(work: Path, package: str, release: str) -> Path:
    out = work / "out"
    out.mkdir()
    _sh("apt-get", "download", "-qq", package, cwd=work)
    (deb,) = work.glob("*.deb")
    _sh("dpkg-deb", "-x", str(deb), "unpacked", cwd=work)
    (work / "unpacked" / "boot" / f"vmlinuz-{release}").rename(out / "kernel")
    data = random.Random(1995).randbytes(TRANSFER_SIZE)
    (out / "data").write_bytes(data)
    (out / "sample").write_bytes(data[:SAMPLE_SIZE])
    for name in SOURCES:
        _sh("cc", "-O2", "-static", "-o", str(out / name), str(HERE / f"{name}.c"))

    root = work / "root"
    for directory in ("bin", "sbin", "etc/ppp", "proc", "sys", "dev", "modules", "usr/share/udhcpc"):
        (root / directory).mkdir(parents=True)
    shutil.copy(_which("busybox"), root / "bin" / "busybox")
    for applet in sorted(set(_sh("busybox", "--list").split()) - {"busybox"}):
        (root / "bin" / applet).symlink_to("busybox")
    for name in SOURCES:
        shutil.copy(out / name, root / "bin" / name)
    for name in PROGRAMS:
        _copy_program(Path(_which(name)), root / "sbin" / name, root)
    (root / "etc" / "ppp" / "options").write_text("")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    for name in ("data", "sample"):
        shutil.copy(out / name, root / name)
    loaded = _copy_modules(work / "unpacked" / "lib" / "modules" / release, root / "modules")
    (root / "modules.order").write_text("\n".join(loaded) + "\n")
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    names = "\n".join(sorted(str(path.relative_to(root)) for path in root.rglob("*"))) + "\n"
    archive = subprocess.run(
        ["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet"],
        input=names.encode(),
        capture_output=True,
        check=True,
        cwd=root,
    )
    (out / "initrd").write_bytes(gzip.compress(archive.stdout, 1))
    return out


def _copy_program(program: Path, target: Path, root: Path) -> None:
    """With the libraries that it is linked against."""
    shutil.copy(program, target)
    for path in re.findall(r"(/\S+) \(0x", _sh("ldd", str(program))):
        copy = root / path.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists():
            shutil.copy(path, copy)


def _copy_modules(source: Path, target: Path) -> list[str]:
    """The modules and what they need; their file names in the order of loading."""
    found = {path.name.split(".ko")[0].replace("-", "_"): path for path in source.rglob("*.ko*")}
    order: list[str] = []

    def add(name: str) -> None:
        path = found.get(name.replace("-", "_"))
        if path is None or path.name in order:  # built in, or there already
            return
        for need in filter(None, _sh("modinfo", "-F", "depends", str(path)).strip().split(",")):
            add(need)
        order.append(path.name)
        shutil.copy(path, target / path.name)

    for name in MODULES:
        add(name)
    return order
