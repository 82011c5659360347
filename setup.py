"""The light installation, `CLIPSEARCH_LIGHT=1 pip install .`: the same package without torch.

Its metadata names what pyproject.toml names, less the packages below, and FAISS without CUDA; so
`pip check` is content, and an extra added later does not bring torch.
"""

import os
from typing import Any

from setuptools import Distribution, setup

HEAVY = ("torch", "open_clip_torch", "timm", "faiss-gpu")


class Light(Distribution):
    """A distribution that needs neither torch nor CUDA."""

    def parse_config_files(self, *args: Any, **kwargs: Any) -> None:
        """Read pyproject.toml, and lighten the dependencies."""
        super().parse_config_files(*args, **kwargs)
        self.metadata.install_requires = self.install_requires = [
            requirement.partition(";")[0] if requirement.startswith("faiss-cpu") else requirement
            for requirement in self.install_requires
            if not requirement.startswith(HEAVY)
        ]


setup(distclass=Light if os.environ.get("CLIPSEARCH_LIGHT") == "1" else Distribution)
