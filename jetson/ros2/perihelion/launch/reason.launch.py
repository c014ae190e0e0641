"""Answers about a camera: `ros2 launch perihelion reason.launch.py engine:=reason.engine image:=/camera/image_raw`.

It starts anew two seconds after it ended: exit code 70, for one, says that the device is lost, which a new process mends.
"""

import shlex

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

ARGUMENTS = [
    ("engine", None, "the engine; two, one that answers and one that forecasts, are parted by a space"),
    ("image", "/camera/image_raw", "the camera's topic"),
    ("prompt", "", "the question"),
    ("name", "perihelion", "the node's name"),
    ("namespace", "", "the node's namespace"),
    ("params_file", "", "a parameter file"),
    ("options", "", "further options of `perihelion run`"),
]


def start(context):
    given = {name: LaunchConfiguration(name).perform(context) for name, _, _ in ARGUMENTS}
    words = ["run", *shlex.split(given["engine"]), *shlex.split(given["options"])]
    if given["prompt"]:
        words += ["--prompt", given["prompt"]]
    node = Node(
        package="perihelion",
        executable="perihelion",
        name=given["name"],
        namespace=given["namespace"],
        arguments=words,
        remappings=[("image", given["image"])],
        parameters=[given["params_file"]] if given["params_file"] else [],
        output="screen",
        respawn=True,
        respawn_delay=2.0,
    )
    return [node]


def generate_launch_description():
    def declared(name, default, description):
        return DeclareLaunchArgument(name, default_value=default, description=description)

    return LaunchDescription([*(declared(*argument) for argument in ARGUMENTS), OpaqueFunction(function=start)])
