"""A container file's steps, run without a container: in a folder that stands for the image's root.

Only what our files use is understood; anything else is an error, so that no step is left out in silence.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Image:
    """One stage after its steps.

    Attributes:
        root: stands for `/`.
        base: the image it starts from, as written.
    """

    root: Path
    base: str
    folder: str = "/"
    user: str = "root"
    variables: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)

    def inside(self, path: str) -> Path:
        """Where a path of the image lies here."""
        return self.root / os.path.normpath(Path(self.folder) / path).lstrip("/")

    def moved(self, text: str) -> str:
        """A command with the image's own places in the root; the machine's programs stay where they are."""
        return re.sub(r"(?<![\w./-])/(?=(opt|var/lib)/fleetcast\b)", f"{self.root}/", text)

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        folder = self.inside(".")
        folder.mkdir(parents=True, exist_ok=True)
        passed = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        environment = passed | {"PATH": os.environ["PATH"], "HOME": str(self.root)} | self.variables
        words = [self.moved(word) for word in command]
        return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def instructions(text: str) -> list[tuple[str, str]]:
    """Name and argument of each, continued lines joined, comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [(name.upper(), rest.strip()) for name, _, rest in (line.partition(" ") for line in joined if line)]


def build(file: Path, context: Path, folder: Path) -> Image:
    """Do every step of `file`; return the last stage.

    Raises:
        RuntimeError: a step failed.
        NotImplementedError: a step that this does not understand.
    """
    stages: dict[str, Image] = {}
    image = None
    for name, rest in instructions(file.read_text()):
        if name == "FROM":
            base, _, label = rest.partition(" AS ")
            image = stages[label] = Image(folder / (label or "last"), base)
            continue
        if image is None:
            raise NotImplementedError(f"{name} before FROM")
        _do(image, name, rest, stages, context)
    if image is None:
        raise NotImplementedError("no FROM")
    return image


def _do(image: Image, name: str, rest: str, stages: dict[str, Image], context: Path) -> None:
    if name == "RUN":
        done = image.run(["/bin/sh", "-ec", rest])
        if done.returncode:
            raise RuntimeError(f"RUN {rest}: {done.stderr[-2000:]}")
    elif name == "COPY":
        _copy(image, shlex.split(rest), stages, context)
    elif name == "ENV":
        image.variables |= dict(word.split("=", 1) for word in shlex.split(rest))
    elif name == "WORKDIR":
        image.folder = rest
    elif name == "USER":
        image.user = rest
    elif name == "VOLUME":
        image.volumes.append(rest)
    elif name == "ENTRYPOINT":
        image.entrypoint = json.loads(rest)
    elif name != "ARG":  # a build argument without a value is nothing
        raise NotImplementedError(name)


def _copy(image: Image, words: list[str], stages: dict[str, Image], context: Path) -> None:
    """As COPY does: a folder's content, a file under its name in a folder that ends in a slash."""
    origin = next((word.removeprefix("--from=") for word in words if word.startswith("--from=")), None)
    *sources, to = [word for word in words if not word.startswith("--from=")]
    target = image.inside(to)
    for source in sources:
        path = context / source if origin is None else stages[origin].inside(source)
        if path.is_dir():
            shutil.copytree(path, target, symlinks=True, dirs_exist_ok=True)
        else:
            into = target / path.name if to.endswith("/") else target
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, into)
