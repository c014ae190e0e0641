"""The packages of ROS under `jetson/ros2`, read as ament's tools read them: what they declare, and that launch files are Python and YAML.

    packages.py REPOSITORY
"""

import ast
import pathlib
import sys
import tomllib

import yaml
from catkin_pkg.package import parse_package

root = pathlib.Path(sys.argv[1])
version = tomllib.loads((root / "Cargo.toml").read_text())["workspace"]["package"]["version"]
warnings, found = [], {}
for description in sorted(root.glob("jetson/ros2/*/package.xml")):
    package = parse_package(description, warnings=warnings)
    found[description.parent.name] = package
    assert package.name == description.parent.name, f"{description}: names {package.name}"
    assert package.version == version, f"{description}: version {package.version}, Cargo.toml says {version}"
    assert f"project({package.name}" in (description.parent / "CMakeLists.txt").read_text(), f"{description}: CMakeLists.txt is another's"
assert not warnings, warnings
assert set(found) == {"perihelion", "perihelion_msgs"}, f"found {sorted(found)}"
for launch in sorted(root.glob("jetson/**/launch/*.launch.*")):
    text = launch.read_text()
    if launch.suffix == ".py":
        names = {node.name for node in ast.walk(ast.parse(text, launch.name)) if isinstance(node, ast.FunctionDef)}
        assert "generate_launch_description" in names, f"{launch}: describes nothing"
    else:
        assert any("node" in entry for entry in yaml.safe_load(text)["launch"]), f"{launch}: starts nothing"
print(f"{', '.join(sorted(found))} {version}: as ament's tools expect")
