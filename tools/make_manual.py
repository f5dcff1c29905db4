"""Write `isa/MANUAL.md` from `isa/ndp.toml`."""

from ndpsim.data import isa_dir
from ndpsim.isa.manual import manual
from ndpsim.isa.spec import isa

if __name__ == "__main__":
    (isa_dir() / "MANUAL.md").write_text(manual(isa()), encoding="utf-8")
