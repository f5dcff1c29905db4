"""Print the lowest versions that setup.cfg allows, as pip takes them.

Arguments: extras whose requirements are to be there as well: `pip install $(python tools/lowest_versions.py test)`.
"""

import configparser
import re
import sys
from pathlib import Path


def lowest(extras: list[str]) -> list[str]:
    """Return `name==version` for each requirement of the package and of some extras."""
    config = configparser.ConfigParser()
    config.read(Path(__file__).parents[1] / "setup.cfg", encoding="utf-8")
    texts = [config["options"]["install_requires"], *(config["options.extras_require"][extra] for extra in extras)]
    found = []
    for line in "\n".join(texts).split():
        match = re.fullmatch(r"([\w-]+)>=([\d.]+)(,<[\d.]+)?", line)
        if match is None:
            raise SystemExit(f"setup.cfg: expected NAME>=VERSION, found {line}")
        found.append(f"{match[1]}=={match[2]}" + (".*" if match[2].count(".") < 2 else ""))
    return found


if __name__ == "__main__":
    print(" ".join(lowest(sys.argv[1:])))
