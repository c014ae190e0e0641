"""What the generator of ROS makes of interface packages that no wheel brings: ours, and vision_msgs, whose fields are in fixtures."""

import contextlib
import io
import json
import pathlib
import sys
import tempfile

from rosidl_adapter.action import convert_action_to_idl
from rosidl_adapter.msg import convert_msg_to_idl
from rosidl_adapter.srv import convert_srv_to_idl
from rosidl_generator_type_description import generate_type_hash

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = {"perihelion_msgs": ROOT / "jetson" / "ros2" / "perihelion_msgs", "vision_msgs": ROOT / "tests" / "fixtures" / "vision_msgs"}
NEEDED = ("action_msgs", "builtin_interfaces", "geometry_msgs", "sensor_msgs", "service_msgs", "std_msgs", "unique_identifier_msgs")
CONVERT = dict(msg=convert_msg_to_idl, srv=convert_srv_to_idl, action=convert_action_to_idl)
SHARE = pathlib.Path(sys.prefix) / "share"


def generated():
    """Descriptions and hashes by type, as ROS keeps them beside its own: also of the types that are made of a service or an action."""
    found = {}
    for package, root in PACKAGES.items():
        with tempfile.TemporaryDirectory() as work, contextlib.redirect_stdout(io.StringIO()):
            work = pathlib.Path(work)
            texts = sorted(path for kind in CONVERT for path in root.glob(f"{kind}/*.{kind}"))
            for path in texts:
                CONVERT[path.parent.name](root, package, path.relative_to(root), work / path.parent.name)
            arguments = dict(package_name=package, idl_tuples=[f"{work}:{path.parent.name}/{path.stem}.idl" for path in texts], output_dir=str(work),
                             include_paths=[f"{other}:{SHARE / other}" for other in NEEDED])
            (work / "arguments.json").write_text(json.dumps(arguments))
            generate_type_hash(str(work / "arguments.json"))
            for path in texts:
                whole = json.loads((work / path.parent.name / f"{path.stem}.json").read_text())
                found |= {name: description(name, whole) for name in [f"{package}/{path.parent.name}/{path.stem}", *parts(whole)]}
    return found


def parts(whole):
    """The types that are made of this one's text."""
    own = whole["type_description_msg"]["type_description"]["type_name"]
    names = (one["type_name"] for one in whole["type_description_msg"]["referenced_type_descriptions"])
    return [name for name in names if name.startswith(f"{own}_")]


def description(name, whole):
    """What is told of one type, of all that is told of another that has it within it."""
    told = whole["type_description_msg"]
    known = {one["type_name"]: one for one in [told["type_description"], *told["referenced_type_descriptions"]]}
    within, more = set(), [name]
    while more:
        nested = {field["type"]["nested_type_name"] for field in known[more.pop()]["fields"]} - {""} - within
        within |= nested
        more += nested
    return dict(type_hashes=whole["type_hashes"], type_description_msg=dict(
        type_description=known[name], referenced_type_descriptions=[known[one] for one in sorted(within)]))
