"""Generates supalove.v1 from the public protos into the package while it is built.

Only the public API is taken: what controller and agents speak is none of a client's business.
"""

from importlib import resources
from pathlib import Path

from grpc_tools import protoc
from setuptools import setup
from setuptools.command.build_py import build_py

PROTO = Path(__file__).resolve().parents[2] / "proto"


class Build(build_py):
    """Copies the package, then generates beside it."""

    def run(self):
        super().run()
        files = sorted(str(path) for path in PROTO.glob("supalove/v1/*.proto"))
        if not files:
            raise SystemExit(f"no protos in {PROTO}; build the package inside the repository")
        out = self.build_lib
        well_known = resources.files("grpc_tools") / "_proto"
        arguments = [f"-I{PROTO}", f"-I{well_known}", f"--python_out={out}", f"--pyi_out={out}", f"--grpc_python_out={out}"]
        code = protoc.main(["protoc", *arguments, *files])
        if code != 0:
            raise SystemExit(f"protoc ended with {code}")


setup(cmdclass={"build_py": Build})
