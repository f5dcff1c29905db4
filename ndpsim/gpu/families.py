"""All families of kernels."""

from typing import Final

from ndpsim.gpu.attention import ATTENTION
from ndpsim.gpu.family import KernelFamily
from ndpsim.gpu.gemm import GEMM
from ndpsim.gpu.links import LINKS
from ndpsim.gpu.rows import ROWS

FAMILIES: Final[tuple[KernelFamily, ...]] = (GEMM, ATTENTION, ROWS, LINKS)
