"""What has to be compiled? The hit path of the cluster's DNS, where there is a compiler; all else is in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "mooring.edges.dns.hotpath",
            ["src/mooring/edges/dns/hotpath.c"],
            extra_compile_args=["-O2", "-Wall", "-Wextra"],
            optional=True,
        )
    ]
)
