"""The packages of ROS under `jetson/ros2`, read as ament's tools read them: what they declare, and that launch files are Python and YAML.

    packages.py REPOSITORY
"""

import ast
import json
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

messages = root / "jetson" / "ros2" / "perihelion_msgs"
text, needed = (messages / "CMakeLists.txt").read_text(), {depend.name for depend in found["perihelion_msgs"].build_depends}
files = {f"{path.parent.name}/{path.name}" for kind in ("msg", "srv", "action") for path in messages.glob(f"{kind}/*.{kind}")}
listed = {word for word in text.split() if word.split("/")[0] in ("msg", "srv", "action")}
assert files == listed, f"{messages}: files {sorted(files)}, CMakeLists.txt lists {sorted(listed)}"
asked = set(text.split("DEPENDENCIES")[1].split(")")[0].split())
assert {"action_msgs", "unique_identifier_msgs"} <= asked == needed, f"{messages}: CMakeLists.txt needs {asked}, package.xml {needed}"

LAUNCHED = {"perihelion": {"reason.launch.py", "reason.launch.yaml"}, "launch": {"perihelion.launch.py"}}
seen = {folder: set() for folder in LAUNCHED}
for launch in sorted(root.glob("jetson/**/*.launch.*")):
    package = launch.parent.parent.name if launch.parent.name == "launch" and launch.parent.parent.name in found else None
    needs = {depend.name for depend in found[package].exec_depends} if package else None
    seen[package or launch.parent.name].add(launch.name)
    text = launch.read_text()
    if launch.suffix == ".py":
        tree = ast.parse(text, launch.name)
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert "generate_launch_description" in names, f"{launch}: describes nothing"
        imported = {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        missing = imported - (needs or imported)
        assert not missing, f"{launch}: imports {missing}, which package.xml does not declare"
    else:
        assert any("node" in entry for entry in yaml.safe_load(text)["launch"]), f"{launch}: starts nothing"
        assert needs is None or "launch_yaml" in needs, f"{launch}: package.xml does not declare launch_yaml"
assert seen == LAUNCHED, f"found {seen}"
# The layout's panels are those that it places.
layout = json.loads((root / "jetson" / "ros2" / "perihelion" / "foxglove" / "perihelion.json").read_text())
placed, open_ = set(), [layout["layout"]]
while open_:
    one = open_.pop()
    placed |= {one} if isinstance(one, str) else set()
    open_ += [one["first"], one["second"]] if isinstance(one, dict) else []
assert placed == set(layout["configById"]), f"placed {sorted(placed)}, set {sorted(layout['configById'])}"
print(f"{', '.join(sorted(found))} {version}: as ament's tools expect")
