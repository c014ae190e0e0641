"""What the generator of ROS makes of interface packages that no wheel brings: ours, and vision_msgs, whose fields are in fixtures."""

import contextlib
import io
import json
import pathlib
import sys
import tempfile

from rosidl_adapter.msg import convert_msg_to_idl
from rosidl_generator_type_description import generate_type_hash

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = {"perihelion_msgs": ROOT / "jetson" / "ros2" / "perihelion_msgs", "vision_msgs": ROOT / "tests" / "fixtures" / "vision_msgs"}
SHARE = pathlib.Path(sys.prefix) / "share"


def generated():
    """Descriptions and hashes by type, as ROS keeps them beside its own."""
    found = {}
    for package, root in PACKAGES.items():
        with tempfile.TemporaryDirectory() as work, contextlib.redirect_stdout(io.StringIO()):
            work = pathlib.Path(work)
            messages = sorted((root / "msg").glob("*.msg"))
            for message in messages:
                convert_msg_to_idl(root, package, message.relative_to(root), work / "msg")
            arguments = dict(package_name=package, idl_tuples=[f"{work}:msg/{message.stem}.idl" for message in messages], output_dir=str(work),
                             include_paths=[f"{other}:{SHARE / other}" for other in ("builtin_interfaces", "geometry_msgs", "std_msgs")])
            (work / "arguments.json").write_text(json.dumps(arguments))
            generate_type_hash(str(work / "arguments.json"))
            found |= {f"{package}/msg/{message.stem}": json.loads((work / "msg" / f"{message.stem}.json").read_text()) for message in messages}
    return found
